package message

// Types of which only the answer is known. Other software on a shared dongle sends them.
const (
	networkKey         MsgType = 0x0054
	attributeDiscovery MsgType = 0x0140
	setTxPower         MsgType = 0x0806
	getTxPower         MsgType = 0x0807

	unbindResponse MsgType = 0x8031
	reportingSet   MsgType = 0x8120 // the answer to: configure reporting
	reportingRead  MsgType = 0x8122 // the answer to: read reporting configuration
)

// Ranges of types, with their first and last one.
const (
	firstZDPCommand     MsgType = 0x0030
	lastZDPCommand      MsgType = 0x004E
	firstZCLCommand     MsgType = 0x0060
	lastZCLCommand      MsgType = 0x04FF
	firstGroupCommand   MsgType = 0x0060 // of groups and scenes
	lastSceneCommand    MsgType = 0x00AF
	firstOTACommand     MsgType = 0x0500
	lastOTACommand      MsgType = 0x0506
	firstIOCommand      MsgType = 0x0800
	lastIOCommand       MsgType = 0x0A00
	firstStorageAnswer  MsgType = 0x8200
	lastStorageAnswer   MsgType = 0x8300
	firstAfterZCLAnswer MsgType = 0x8701
)

// answerBit is set in the type of an answer, and otherwise that is the command's type.
const answerBit MsgType = 0x8000

// Numbering says how an answer is matched to its command, besides by its type.
type Numbering uint8

const (
	// notNumbered means that there is no answer besides the status.
	notNumbered Numbering = iota
	// InOrder means that the answer has no number: it belongs to the oldest command of its type.
	InOrder
	// ByZDP means that the answer begins with the ZDP sequence number that the command's status told.
	ByZDP
	// ByZCL means that the answer begins with the ZCL sequence number that the command's status told.
	ByZCL
)

// Answer is the message that answers a command, besides its status. The zero value stands for none.
type Answer struct {
	Type      MsgType
	Numbering Numbering
	// AtOnce means that the dongle writes the answer right after the status, so that none comes any more
	// once another command has got its own. The others come from an event queue.
	AtOnce bool
	// Several means that one command may be answered by several such messages, and that the last one has no
	// mark.
	Several bool
	// ClusterCommand means that the device answers with a command of the cluster rather than with one that
	// all clusters have: those of groups and scenes.
	ClusterCommand bool
}

// AnswerOf returns the answer to a command. An answer's type is its command's with the highest bit set. The
// dongle's own answers have no number; the answer of a device carries the sequence number from the
// command's status.
func AnswerOf(command MsgType) Answer {
	a := Answer{Type: command | answerBit}
	switch command {
	case TypeGetVersion, TypeGetDevices, TypeGetTime, setTxPower, getTxPower:
		a.Numbering = InOrder
		a.AtOnce = true
	case typeGetNetworkState, typeGetPermitJoin, TypeStartNetwork, networkKey:
		a.Numbering = InOrder
	case attributeDiscovery:
		a.Numbering = InOrder
		a.Several = true // one message an attribute
	default:
		a.Numbering = numberingOf(command)
		a.ClusterCommand = command >= firstGroupCommand && command <= lastSceneCommand
	}
	if a.Numbering == notNumbered {
		return Answer{}
	}
	return a
}

// numberingOf returns the numbering of the answers of devices.
func numberingOf(command MsgType) Numbering {
	switch {
	case command|answerBit == typeLeave, command == TypeDeviceAnnounce, command == typePermitJoin:
		return notNumbered
	case command >= firstZDPCommand && command <= lastZDPCommand:
		return ByZDP
	case command.IsZCL():
		return ByZCL
	}
	return notNumbered
}

// AsAnswer returns how messages of a type answer a command. It is the zero value for a type that answers
// none.
func AsAnswer(t MsgType) Answer {
	if t&answerBit == 0 {
		return Answer{}
	}
	return AnswerOf(t &^ answerBit)
}

// IsZCL reports whether a command makes the dongle send a command of a ZCL cluster other than OTA. Such a
// command begins with address mode 1 and address 2, as those of OTA do.
func (t MsgType) IsZCL() bool { return t >= firstZCLCommand && t <= lastZCLCommand }

// IsOTA reports whether a command is one of the dongle's OTA commands.
func (t MsgType) IsOTA() bool { return t >= firstOTACommand && t <= lastOTACommand }

// IsIO reports whether a command is in the range of the chip's pins and timers. No firmware answers that
// such a command is unknown.
func (t MsgType) IsIO() bool { return t >= firstIOCommand && t <= lastIOCommand }

// IsStorageAnswer reports whether a command is the answer of a host that keeps the dongle's storage. The
// dongle executes these without a status.
func (t MsgType) IsStorageAnswer() bool { return t >= firstStorageAnswer && t <= lastStorageAnswer }

// Origin says what a dongle makes a message from.
type Origin uint8

const (
	// OriginDongle means that the message is the dongle's own.
	OriginDongle Origin = iota
	// OriginZCL means that the message is made of a ZCL frame from the air.
	OriginZCL
	// OriginZDP means that the message is made of a ZDP frame from the air.
	OriginZDP
	// OriginIndication means that the message is a frame from the air as it came.
	OriginIndication
)

// Origin returns what a dongle makes messages of this type from. The type need not be known. A
// DeviceAnnounce with a rejoin flag is the exception: the dongle makes it of the join itself.
func (t MsgType) Origin() Origin {
	switch {
	case t == TypeDataIndication:
		return OriginIndication
	case t == typeLeave, t == typePDMEvent:
		return OriginDongle
	case t == TypeDeviceAnnounce, t >= firstZDPCommand|answerBit && t <= lastZDPCommand|answerBit:
		return OriginZDP
	case t >= firstZCLCommand|answerBit && t < firstAfterZCLAnswer:
		return OriginZCL
	}
	return OriginDongle
}

// MadeOfZDP returns the type of the message that firmware makes from a ZDP frame, by the frame's cluster.
// It returns false where firmware makes none.
func MadeOfZDP(cluster uint16) (t MsgType, ok bool) {
	switch cluster {
	case zdpDeviceAnnounce:
		return TypeDeviceAnnounce, true
	case zdpNwkAddrResponse:
		return typeNwkAddrResponse, true
	case zdpIEEEAddrResponse:
		return typeIEEEAddrResponse, true
	case zdpNodeDescriptor:
		return TypeNodeDescriptor, true
	case zdpPowerDescriptor:
		return typePowerDescriptor, true
	case zdpSimpleDescriptor:
		return TypeSimpleDescriptor, true
	case zdpActiveEndpoints:
		return TypeActiveEndpoints, true
	case zdpMatchDescriptor:
		return typeMatchDescriptor, true
	case zdpBindResponse:
		return typeBindResponse, true
	case zdpUnbindResponse:
		return unbindResponse, true
	case zdpManagementLQIResponse:
		return TypeManagementLQI, true
	case zdpManagementLeaveResponse:
		return typeManagementLeave, true
	}
	return 0, false
}

// MadeOfZCL returns the type of the message that firmware makes from a ZCL frame whose command all clusters
// have. It returns false where firmware makes none.
func MadeOfZCL(command uint8) (t MsgType, ok bool) {
	switch command {
	case zclReadResponse:
		return TypeReadAttribute, true
	case zclWriteResponse:
		return TypeWriteAttribute, true
	case zclReportingSetResponse:
		return reportingSet, true
	case zclReportingReadResponse:
		return reportingRead, true
	case zclReport:
		return TypeReportAttribute, true
	case zclDefaultResponse:
		return TypeDefaultResponse, true
	}
	return 0, false
}

// Sender returns the device, and its cluster, that a message made from a ZCL frame is from. It returns
// false where the message does not say. Those about attributes do: they begin with sequence number 1,
// network address 2, endpoint 1, cluster 2.
func Sender(t MsgType, payload []byte) (addr, cluster uint16, ok bool) {
	switch t {
	case TypeReadAttribute, TypeWriteAttribute, reportingSet, reportingRead:
	default:
		return 0, 0, false
	}
	var sequence, endpoint uint8
	c := codec{parsing: true, b: payload}
	c.u8(&sequence)
	c.u16(&addr)
	c.u8(&endpoint)
	c.u16(&cluster)
	return addr, cluster, !c.short
}
