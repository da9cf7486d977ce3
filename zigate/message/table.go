package message

// Types of commands, from the host to the dongle.
const (
	typeSetLogLevel             MsgType = 0x0001
	TypeSetRawMode              MsgType = 0x0002
	TypeSetHeartbeat            MsgType = 0x0008
	typeGetNetworkState         MsgType = 0x0009
	TypeGetVersion              MsgType = 0x0010
	TypeReset                   MsgType = 0x0011
	TypeErasePersistentData     MsgType = 0x0012
	typeGetPermitJoin           MsgType = 0x0014
	TypeGetDevices              MsgType = 0x0015
	typeSetTime                 MsgType = 0x0016
	TypeGetTime                 MsgType = 0x0017
	typeSetChannelMask          MsgType = 0x0021
	typeSetDeviceType           MsgType = 0x0023
	TypeStartNetwork            MsgType = 0x0024
	typeSetFlowControl          MsgType = 0x002F
	TypeBind                    MsgType = 0x0030
	typeNwkAddrRequest          MsgType = 0x0040
	typeIEEEAddrRequest         MsgType = 0x0041
	typeNodeDescriptorRequest   MsgType = 0x0042
	typeSimpleDescriptorRequest MsgType = 0x0043
	typePowerDescriptorRequest  MsgType = 0x0044
	typeActiveEndpointsRequest  MsgType = 0x0045
	typeMatchDescriptorRequest  MsgType = 0x0046
	typeManagementLeaveRequest  MsgType = 0x0047
	typePermitJoin              MsgType = 0x0049
	typeManagementLQIRequest    MsgType = 0x004E
	typeOnOff                   MsgType = 0x0092
	typeReadAttributes          MsgType = 0x0100
	TypeLoadImage               MsgType = 0x0500
	typeImageBlockResponse      MsgType = 0x0502
	typeUpgradeEndResponse      MsgType = 0x0504
	TypeImageNotify             MsgType = 0x0505
	typeWaitForData             MsgType = 0x0506
	TypeRawAPS                  MsgType = 0x0530
)

// Types of messages, from the dongle to the host.
const (
	TypeDeviceAnnounce    MsgType = 0x004D
	TypePDMLoaded         MsgType = 0x0302
	TypeStatus            MsgType = 0x8000
	TypeLog               MsgType = 0x8001
	TypeDataIndication    MsgType = 0x8002
	typeClusterList       MsgType = 0x8003
	typeAttributeList     MsgType = 0x8004
	typeCommandList       MsgType = 0x8005
	TypeRestart           MsgType = 0x8006
	TypeFactoryNewRestart MsgType = 0x8007
	TypeHeartbeat         MsgType = 0x8008
	typeNetworkState      MsgType = 0x8009
	TypeVersion           MsgType = 0x8010
	TypeAPSAck            MsgType = 0x8011
	TypeConfirm           MsgType = 0x8012
	typePermitJoinState   MsgType = 0x8014
	typeDeviceList        MsgType = 0x8015
	typeTime              MsgType = 0x8017
	TypeNetworkJoined     MsgType = 0x8024
	typeBindResponse      MsgType = 0x8030
	typePDMEvent          MsgType = 0x8035
	typeNwkAddrResponse   MsgType = 0x8040
	typeIEEEAddrResponse  MsgType = 0x8041
	TypeNodeDescriptor    MsgType = 0x8042
	TypeSimpleDescriptor  MsgType = 0x8043
	typePowerDescriptor   MsgType = 0x8044
	TypeActiveEndpoints   MsgType = 0x8045
	typeMatchDescriptor   MsgType = 0x8046
	typeManagementLeave   MsgType = 0x8047
	typeLeave             MsgType = 0x8048
	TypeManagementLQI     MsgType = 0x804E
	TypeReadAttribute     MsgType = 0x8100
	TypeDefaultResponse   MsgType = 0x8101
	TypeReportAttribute   MsgType = 0x8102
	TypeWriteAttribute    MsgType = 0x8110
	TypeImageBlockRequest MsgType = 0x8501
	TypeUpgradeEndRequest MsgType = 0x8503
	typeRouteDiscovery    MsgType = 0x8701
	TypeConfirmFailed     MsgType = 0x8702
	typeNetworkStatus     MsgType = 0x8703
	typeExtendedStatus    MsgType = 0x9999
)

// row describes one type.
type row struct {
	typ     MsgType
	name    string // in words
	dir     Direction
	message Message // describes the payload; a zero value, but for its Kind
}

// table has a row for each type. It is the only list of them.
var table = []row{
	{typeSetLogLevel, "set log level", ToDongle, SetLogLevel{}},
	{TypeSetRawMode, "set raw mode", ToDongle, SetRawMode{}},
	{TypeSetHeartbeat, "set heartbeat", ToDongle, SetHeartbeat{}},
	{typeGetNetworkState, "get network state", ToDongle, GetNetworkState{}},
	{TypeGetVersion, "get version", ToDongle, GetVersion{}},
	{TypeReset, "reset", ToDongle, Reset{}},
	{TypeErasePersistentData, "erase persistent data", ToDongle, ErasePersistentData{}},
	{typeGetPermitJoin, "get permit join", ToDongle, GetPermitJoin{}},
	{TypeGetDevices, "get devices", ToDongle, GetDevices{}},
	{typeSetTime, "set time", ToDongle, SetTime{}},
	{TypeGetTime, "get time", ToDongle, GetTime{}},
	{typeSetChannelMask, "set channel mask", ToDongle, SetChannelMask{}},
	{typeSetDeviceType, "set device type", ToDongle, SetDeviceType{}},
	{TypeStartNetwork, "start network", ToDongle, StartNetwork{}},
	{typeSetFlowControl, "set flow control", ToDongle, SetFlowControl{}},
	{TypeBind, "bind", ToDongle, Bind{}},
	{typeNwkAddrRequest, "network address request", ToDongle, NwkAddrRequest{}},
	{typeIEEEAddrRequest, "IEEE address request", ToDongle, IEEEAddrRequest{}},
	{typeNodeDescriptorRequest, "node descriptor request", ToDongle, NodeDescriptorRequest{}},
	{typeSimpleDescriptorRequest, "simple descriptor request", ToDongle, SimpleDescriptorRequest{}},
	{typePowerDescriptorRequest, "power descriptor request", ToDongle, PowerDescriptorRequest{}},
	{typeActiveEndpointsRequest, "active endpoints request", ToDongle, ActiveEndpointsRequest{}},
	{typeMatchDescriptorRequest, "match descriptor request", ToDongle, MatchDescriptorRequest{}},
	{typeManagementLeaveRequest, "management leave request", ToDongle, ManagementLeaveRequest{}},
	{typePermitJoin, "permit join", ToDongle, PermitJoin{}},
	{typeManagementLQIRequest, "management LQI request", ToDongle, ManagementLQIRequest{}},
	{typeOnOff, "on/off", ToDongle, OnOff{}},
	{typeReadAttributes, "read attributes", ToDongle, ReadAttributes{}},
	{TypeLoadImage, "load image header", ToDongle, LoadImage{}},
	{typeImageBlockResponse, "image block response", ToDongle, ImageBlockResponse{}},
	{typeUpgradeEndResponse, "upgrade end response", ToDongle, UpgradeEndResponse{}},
	{TypeImageNotify, "image notify", ToDongle, ImageNotify{}},
	{typeWaitForData, "wait for data", ToDongle, WaitForData{}},
	{TypeRawAPS, "raw APS data", ToDongle, RawAPS{}},

	{TypeDeviceAnnounce, "device announce", FromDongle, DeviceAnnounce{}},
	{TypePDMLoaded, "persistent data loaded", FromDongle, PDMLoaded{}},
	{TypeStatus, "status", FromDongle, Status{}},
	{TypeLog, "log", FromDongle, Log{}},
	{TypeDataIndication, "data indication", FromDongle, DataIndication{}},
	{typeClusterList, "cluster list", FromDongle, Opaque{Kind: typeClusterList}},
	{typeAttributeList, "attribute list", FromDongle, Opaque{Kind: typeAttributeList}},
	{typeCommandList, "command list", FromDongle, Opaque{Kind: typeCommandList}},
	{TypeRestart, "restart", FromDongle, RestartNotice{Kind: TypeRestart}},
	{TypeFactoryNewRestart, "factory new restart", FromDongle, RestartNotice{Kind: TypeFactoryNewRestart}},
	{TypeHeartbeat, "heartbeat", FromDongle, Heartbeat{}},
	{typeNetworkState, "network state", FromDongle, NetworkState{}},
	{TypeVersion, "version", FromDongle, Version{}},
	{TypeAPSAck, "APS acknowledgement", FromDongle, APSAck{}},
	{TypeConfirm, "APS confirm", FromDongle, Confirm{Kind: TypeConfirm}},
	{typePermitJoinState, "permit join state", FromDongle, PermitJoinState{}},
	{typeDeviceList, "device list", FromDongle, DeviceList{}},
	{typeTime, "time", FromDongle, Time{}},
	{TypeNetworkJoined, "network joined or formed", FromDongle, NetworkJoined{}},
	{typeBindResponse, "bind response", FromDongle, BindResponse{}},
	{typePDMEvent, "persistent data event", FromDongle, PDMEvent{}},
	{typeNwkAddrResponse, "network address response", FromDongle, NwkAddrResponse{}},
	{typeIEEEAddrResponse, "IEEE address response", FromDongle, IEEEAddrResponse{}},
	{TypeNodeDescriptor, "node descriptor", FromDongle, NodeDescriptor{}},
	{TypeSimpleDescriptor, "simple descriptor", FromDongle, SimpleDescriptor{}},
	{typePowerDescriptor, "power descriptor", FromDongle, PowerDescriptor{}},
	{TypeActiveEndpoints, "active endpoints", FromDongle, ActiveEndpoints{}},
	{typeMatchDescriptor, "match descriptor response", FromDongle, MatchDescriptor{}},
	{typeManagementLeave, "management leave response", FromDongle, ManagementLeave{}},
	{typeLeave, "leave", FromDongle, Leave{}},
	{TypeManagementLQI, "management LQI response", FromDongle, ManagementLQI{}},
	{TypeReadAttribute, "read attribute response", FromDongle, Attribute{Kind: TypeReadAttribute}},
	{TypeDefaultResponse, "default response", FromDongle, DefaultResponse{}},
	{TypeReportAttribute, "attribute report", FromDongle, Attribute{Kind: TypeReportAttribute}},
	{TypeWriteAttribute, "write attribute response", FromDongle, Attribute{Kind: TypeWriteAttribute}},
	{TypeImageBlockRequest, "image block request", FromDongle, ImageBlockRequest{}},
	{TypeUpgradeEndRequest, "upgrade end request", FromDongle, UpgradeEndRequest{}},
	{typeRouteDiscovery, "route discovery", FromDongle, RouteDiscovery{}},
	{TypeConfirmFailed, "APS confirm failed", FromDongle, Confirm{Kind: TypeConfirmFailed}},
	{typeNetworkStatus, "network status", FromDongle, NetworkStatus{}},
	{typeExtendedStatus, "extended status", FromDongle, ExtendedStatus{}},
}

// rows has the rows of the table, by type.
var rows = func() map[MsgType]row {
	byType := make(map[MsgType]row, len(table))
	for _, r := range table {
		byType[r.typ] = r
	}
	return byType
}()
