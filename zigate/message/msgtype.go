package message

import "fmt"

// MsgType says what a frame is. Types below 0x8000 go to the dongle, except 0x004D and 0x0302.
type MsgType uint16

// Commands, host to dongle.
const (
	TypeSetLogLevel             MsgType = 0x0001
	TypeSetRawMode              MsgType = 0x0002
	TypeSetHeartbeat            MsgType = 0x0008
	TypeGetNetworkState         MsgType = 0x0009
	TypeGetVersion              MsgType = 0x0010
	TypeReset                   MsgType = 0x0011
	TypeErasePersistentData     MsgType = 0x0012
	TypeGetPermitJoin           MsgType = 0x0014
	TypeGetDevices              MsgType = 0x0015
	TypeSetTime                 MsgType = 0x0016
	TypeGetTime                 MsgType = 0x0017
	TypeSetChannelMask          MsgType = 0x0021
	TypeSetDeviceType           MsgType = 0x0023
	TypeStartNetwork            MsgType = 0x0024
	TypeSetFlowControl          MsgType = 0x002F
	TypeBind                    MsgType = 0x0030
	TypeNwkAddrRequest          MsgType = 0x0040
	TypeIEEEAddrRequest         MsgType = 0x0041
	TypeNodeDescriptorRequest   MsgType = 0x0042
	TypeSimpleDescriptorRequest MsgType = 0x0043
	TypePowerDescriptorRequest  MsgType = 0x0044
	TypeActiveEndpointsRequest  MsgType = 0x0045
	TypeMatchDescriptorRequest  MsgType = 0x0046
	TypePermitJoin              MsgType = 0x0049
	TypeOnOff                   MsgType = 0x0092
	TypeReadAttributes          MsgType = 0x0100
	TypeLoadImage               MsgType = 0x0500
	TypeBlockSend               MsgType = 0x0502
	TypeUpgradeEndResponse      MsgType = 0x0504
	TypeImageNotify             MsgType = 0x0505
	TypeWaitForData             MsgType = 0x0506
	TypeRawAPS                  MsgType = 0x0530
)

// Messages, dongle to host.
const (
	TypeDeviceAnnounce    MsgType = 0x004D
	TypePDMLoaded         MsgType = 0x0302
	TypeStatus            MsgType = 0x8000
	TypeLog               MsgType = 0x8001
	TypeDataIndication    MsgType = 0x8002
	TypeClusterList       MsgType = 0x8003
	TypeAttributeList     MsgType = 0x8004
	TypeCommandList       MsgType = 0x8005
	TypeRestart           MsgType = 0x8006
	TypeFactoryNewRestart MsgType = 0x8007
	TypeHeartbeat         MsgType = 0x8008
	TypeNetworkState      MsgType = 0x8009
	TypeVersion           MsgType = 0x8010
	TypeAPSAck            MsgType = 0x8011
	TypeConfirm           MsgType = 0x8012
	TypePermitJoinState   MsgType = 0x8014
	TypeDeviceList        MsgType = 0x8015
	TypeTime              MsgType = 0x8017
	TypeNetworkJoined     MsgType = 0x8024
	TypeBindResponse      MsgType = 0x8030
	TypePDMEvent          MsgType = 0x8035
	TypeNwkAddrResponse   MsgType = 0x8040
	TypeIEEEAddrResponse  MsgType = 0x8041
	TypeNodeDescriptor    MsgType = 0x8042
	TypeSimpleDescriptor  MsgType = 0x8043
	TypePowerDescriptor   MsgType = 0x8044
	TypeActiveEndpoints   MsgType = 0x8045
	TypeMatchDescriptor   MsgType = 0x8046
	TypeLeave             MsgType = 0x8048
	TypeManagementLQI     MsgType = 0x804E
	TypeReadAttribute     MsgType = 0x8100
	TypeDefaultResponse   MsgType = 0x8101
	TypeReportAttribute   MsgType = 0x8102
	TypeWriteAttribute    MsgType = 0x8110
	TypeImageBlockRequest MsgType = 0x8501
	TypeUpgradeEndRequest MsgType = 0x8503
	TypeRouteDiscovery    MsgType = 0x8701
	TypeConfirmFailed     MsgType = 0x8702
	TypeNetworkStatus     MsgType = 0x8703
	TypeExtendedStatus    MsgType = 0x9999
)

// FromDongle tells whether the type is one that the dongle sends: all from 0x8000 on, and two below.
func (t MsgType) FromDongle() bool {
	return t >= TypeStatus || t == TypeDeviceAnnounce || t == TypePDMLoaded
}

// Known tells whether this package has a name for the type.
func (t MsgType) Known() bool {
	return t.commandName() != "" || t.messageName() != ""
}

// String writes the type as 0x and four hexadecimal digits.
func (t MsgType) String() string {
	return fmt.Sprintf("0x%04x", uint16(t))
}

// Name says in words what the type is for, "unknown" for a type that has no constant here.
func (t MsgType) Name() string {
	if name := t.commandName(); name != "" {
		return name
	}
	if name := t.messageName(); name != "" {
		return name
	}
	return "unknown"
}

func (t MsgType) commandName() string {
	switch t {
	case TypeSetLogLevel:
		return "set log level"
	case TypeSetRawMode:
		return "set raw mode"
	case TypeSetHeartbeat:
		return "set heartbeat"
	case TypeGetNetworkState:
		return "get network state"
	case TypeGetVersion:
		return "get version"
	case TypeReset:
		return "reset"
	case TypeErasePersistentData:
		return "erase persistent data"
	case TypeGetPermitJoin:
		return "get permit join"
	case TypeGetDevices:
		return "get devices"
	case TypeSetTime:
		return "set time"
	case TypeGetTime:
		return "get time"
	case TypeSetChannelMask:
		return "set channel mask"
	case TypeSetDeviceType:
		return "set device type"
	case TypeStartNetwork:
		return "start network"
	case TypeSetFlowControl:
		return "set flow control"
	case TypeBind:
		return "bind"
	case TypeNwkAddrRequest:
		return "network address request"
	case TypeIEEEAddrRequest:
		return "IEEE address request"
	case TypeNodeDescriptorRequest:
		return "node descriptor request"
	case TypeSimpleDescriptorRequest:
		return "simple descriptor request"
	case TypePowerDescriptorRequest:
		return "power descriptor request"
	case TypeActiveEndpointsRequest:
		return "active endpoints request"
	case TypeMatchDescriptorRequest:
		return "match descriptor request"
	case TypePermitJoin:
		return "permit join"
	case TypeOnOff:
		return "on/off"
	case TypeReadAttributes:
		return "read attributes"
	case TypeLoadImage:
		return "load image header"
	case TypeBlockSend:
		return "image block response"
	case TypeUpgradeEndResponse:
		return "upgrade end response"
	case TypeImageNotify:
		return "image notify"
	case TypeWaitForData:
		return "wait for data"
	case TypeRawAPS:
		return "raw APS data"
	}
	return ""
}

func (t MsgType) messageName() string {
	switch t {
	case TypeDeviceAnnounce:
		return "device announce"
	case TypePDMLoaded:
		return "persistent data loaded"
	case TypeStatus:
		return "status"
	case TypeLog:
		return "log"
	case TypeDataIndication:
		return "data indication"
	case TypeClusterList:
		return "cluster list"
	case TypeAttributeList:
		return "attribute list"
	case TypeCommandList:
		return "command list"
	case TypeRestart:
		return "restart"
	case TypeFactoryNewRestart:
		return "factory new restart"
	case TypeHeartbeat:
		return "heartbeat"
	case TypeNetworkState:
		return "network state"
	case TypeVersion:
		return "version"
	case TypeAPSAck:
		return "APS acknowledgement"
	case TypeConfirm:
		return "APS confirm"
	case TypePermitJoinState:
		return "permit join state"
	case TypeDeviceList:
		return "device list"
	case TypeTime:
		return "time"
	case TypeNetworkJoined:
		return "network joined or formed"
	case TypeBindResponse:
		return "bind response"
	case TypePDMEvent:
		return "persistent data event"
	case TypeNwkAddrResponse:
		return "network address response"
	case TypeIEEEAddrResponse:
		return "IEEE address response"
	case TypeNodeDescriptor:
		return "node descriptor"
	case TypeSimpleDescriptor:
		return "simple descriptor"
	case TypePowerDescriptor:
		return "power descriptor"
	case TypeActiveEndpoints:
		return "active endpoints"
	case TypeMatchDescriptor:
		return "match descriptor response"
	case TypeLeave:
		return "leave"
	case TypeManagementLQI:
		return "management LQI response"
	case TypeReadAttribute:
		return "read attribute response"
	case TypeDefaultResponse:
		return "default response"
	case TypeReportAttribute:
		return "attribute report"
	case TypeWriteAttribute:
		return "write attribute response"
	case TypeImageBlockRequest:
		return "image block request"
	case TypeUpgradeEndRequest:
		return "upgrade end request"
	case TypeRouteDiscovery:
		return "route discovery"
	case TypeConfirmFailed:
		return "APS confirm failed"
	case TypeNetworkStatus:
		return "network status"
	case TypeExtendedStatus:
		return "extended status"
	}
	return ""
}
