package share

import (
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// numbering is how an answer is tied to its command, besides by its type.
type numbering uint8

const (
	unanswered numbering = iota // nothing but the status comes
	inOrder                     // by nothing: the oldest command of its type is answered
	byZDP                       // by the ZDP sequence number, which begins the answer
	byZCL                       // by the ZCL sequence number, which begins the answer
)

// Types that the zigate package has no name for.
const (
	typeNetworkLeaveRequest  message.MsgType = 0x0047
	typeLeaveIndication      message.MsgType = 0x0048 // with the high bit: not the answer to anything
	typeManagementLQIRequest message.MsgType = 0x004E
	typeGetNetworkKey        message.MsgType = 0x0054 // the answer is a secret
	typeAttributeDiscovery   message.MsgType = 0x0140
	typeSetTxPower           message.MsgType = 0x0806
	typeGetTxPower           message.MsgType = 0x0807

	firstZCLCommand message.MsgType = 0x0060
	lastZCLCommand  message.MsgType = 0x04FF

	typeReportingSet  message.MsgType = 0x8120
	typeReportingRead message.MsgType = 0x8122

	answerBit message.MsgType = 0x8000

	// zdpResponse is the bit that tells the cluster of a ZDP response from its request's.
	zdpResponse uint16 = 0x8000
)

// answerTo is the type of the message that answers a command, and how the two are tied. An answer's type is
// its command's with the high bit set. Local questions are answered without a number; what a device answers
// carries the sequence number that the status told.
func answerTo(t message.MsgType) (message.MsgType, numbering) {
	switch {
	case t == message.TypeGetNetworkState, t == message.TypeGetVersion, t == message.TypeGetPermitJoin,
		t == message.TypeGetDevices, t == message.TypeGetTime, t == message.TypeStartNetwork,
		t == typeGetNetworkKey, t == typeSetTxPower, t == typeGetTxPower, t == typeAttributeDiscovery:
		return t | answerBit, inOrder
	case t == message.TypePermitJoin, t == typeLeaveIndication, t == message.TypeDeviceAnnounce:
		return 0, unanswered
	case t >= message.TypeBind && t <= typeManagementLQIRequest:
		return t | answerBit, byZDP
	case t >= firstZCLCommand && t <= lastZCLCommand:
		return t | answerBit, byZCL
	}
	return 0, unanswered
}

// atOnce tells whether the dongle writes this answer right after the status, so that none comes any more once
// another command has got its own. The others come from an event queue.
func atOnce(answer message.MsgType) bool {
	switch answer &^ answerBit {
	case message.TypeGetVersion, message.TypeGetDevices, message.TypeGetTime, typeSetTxPower, typeGetTxPower:
		return true
	}
	return false
}

// zdpMessage is the message that the firmware makes of a ZDP frame, by the frame's cluster.
func zdpMessage(cluster uint16) (message.MsgType, bool) {
	switch cluster {
	case 0x0013:
		return message.TypeDeviceAnnounce, true
	case 0x8000:
		return message.TypeNwkAddrResponse, true
	case 0x8001:
		return message.TypeIEEEAddrResponse, true
	case 0x8002:
		return message.TypeNodeDescriptor, true
	case 0x8003:
		return message.TypePowerDescriptor, true
	case 0x8004:
		return message.TypeSimpleDescriptor, true
	case 0x8005:
		return message.TypeActiveEndpoints, true
	case 0x8006:
		return message.TypeMatchDescriptor, true
	case 0x8021:
		return message.TypeBindResponse, true
	case 0x8022:
		return message.TypeBindResponse + 1, true
	case 0x8031:
		return message.TypeManagementLQI, true
	case 0x8034:
		return typeNetworkLeaveRequest | answerBit, true
	}
	return 0, false
}

// isOTACommand tells whether a command is one of the dongle's OTA commands, 0x0500 to 0x0506.
func isOTACommand(t message.MsgType) bool {
	return t >= message.TypeLoadImage && t <= message.TypeWaitForData
}

// rawCluster is the cluster of raw APS data (0x0530); ok is false where the payload does not reach that far.
// Address modes 3 and 8 take 8 bytes for the address, all others 2.
func rawCluster(payload []byte) (cluster uint16, ok bool) {
	if len(payload) == 0 {
		return 0, false
	}
	at := 5
	if m := message.AddrMode(payload[0]); m == message.AddrModeIEEE || m == message.AddrModeIEEENoAck {
		at += 6
	}
	if len(payload) < at+2 {
		return 0, false
	}
	return uint16(payload[at])<<8 | uint16(payload[at+1]), true
}
