package message

import "fmt"

// Values of Status.Status that other packages need. Two number spaces share the byte: that of the
// firmware's command interpreter, and that of its ZCL library. Values from 0xA0 on come from the stack, for
// ZDP commands.
const (
	StatusOK uint8 = 0x00
	// StatusIncorrectParameter belongs to the interpreter. From LoadImage it means a wrong file identifier
	// or a header that is too long.
	StatusIncorrectParameter uint8 = 0x01
	// StatusUnhandled belongs to the interpreter: the firmware does not know the command.
	StatusUnhandled uint8 = 0x02
	// StatusBusy belongs to the interpreter. From the ZCL library it means a parameter out of range, for
	// example ImageNotify.PayloadType.
	StatusBusy uint8 = 0x03
	// StatusEndpointRange and StatusEndpointUnknown belong to the ZCL library.
	StatusEndpointRange   uint8 = 0x05
	StatusEndpointUnknown uint8 = 0x06
	// StatusNoBuffer means that there is no APDU buffer, or that the frame is larger than one. The host
	// should back off, and answer the device's next request.
	StatusNoBuffer uint8 = 0x14
	// StatusTransmitFailed means that the stack refused the frame: the network is down, the address is not
	// known, the mode is bad, or the queue is full.
	StatusTransmitFailed uint8 = 0x15
)

// ZCL's statuses of the OTA cluster, in ImageBlockResponse, WaitForData and UpgradeEndRequest.
const (
	OTASuccess          uint8 = 0x00
	OTAAbort            uint8 = 0x95
	OTAInvalidImage     uint8 = 0x96
	OTAWaitForData      uint8 = 0x97
	OTANoImageAvailable uint8 = 0x98
	OTARequireMoreImage uint8 = 0x99
)

// RadioFrameTooLong is the status of a Confirm of a frame that was too long for the radio: use smaller
// blocks.
const RadioFrameTooLong uint8 = 0xE5

// RadioFrameBuffered is the status of a Confirm of a frame that a parent keeps for a device that sleeps. It
// is no failure as such.
const RadioFrameBuffered uint8 = 0xD4

// StatusError is a Status other than 0.
type StatusError struct {
	Status Status
}

// Error returns which command the dongle refused, and why.
func (e *StatusError) Error() string {
	s := e.Status
	return fmt.Sprintf("%s (%s): the dongle answered status 0x%02x (%s)",
		s.Request, s.Request.Name(), s.Status, s.Text())
}

// Busy reports whether the dongle ran out of buffers or could not queue the frame, so that another attempt
// may succeed after 50 ms or more.
func (e *StatusError) Busy() bool {
	return e.Status.Busy()
}

// Busy reports whether the status is StatusNoBuffer or StatusTransmitFailed, StatusBusy of a command that
// is not ZCL, StatusEndpointUnknown of one that is (a v2 dongle that has just started does not have its
// endpoint yet), or that of a stack that has no buffer for a ZDP request.
func (m Status) Busy() bool {
	const zdpNoBuffer = 0xA6 // also: invalid parameter
	switch m.Status {
	case StatusNoBuffer, StatusTransmitFailed:
		return true
	case StatusBusy:
		return !m.Request.usesZCLStatus()
	case StatusEndpointUnknown:
		return m.Request.usesZCLStatus()
	case zdpNoBuffer:
		return m.Request >= TypeBind && m.Request <= typePermitJoin
	}
	return false
}

// usesZCLStatus reports whether the dongle answers the command with statuses of its ZCL library. LoadImage
// is answered with one value (1) that means the same in both number spaces.
func (t MsgType) usesZCLStatus() bool { return t.IsZCL() || t.IsOTA() && t.Known() }

// Text returns in words what the status means for the command that it answers.
func (m Status) Text() string {
	if m.Request == TypeLoadImage && m.Status == StatusIncorrectParameter {
		return "wrong file identifier, or header too long"
	}
	if m.Request.usesZCLStatus() {
		return textOf(m.Status, zclLibraryTexts, interpreterTexts, apsTexts, radioTexts)
	}
	return textOf(m.Status, interpreterTexts, zclLibraryTexts, apsTexts, radioTexts)
}

// RadioStatusText returns in words what a status of Confirm or RouteDiscovery means.
func RadioStatusText(status uint8) string {
	return textOf(status, radioTexts, apsTexts)
}

// ExtendedStatusText returns in words what ExtendedStatus.Code means.
func ExtendedStatusText(code uint8) string {
	return textOf(code, extendedTexts)
}

// textOf returns the text of a code in the first table that has it, or "unknown".
func textOf(code uint8, tables ...map[uint8]string) string {
	for _, table := range tables {
		if text, ok := table[code]; ok {
			return text
		}
	}
	return "unknown"
}

// interpreterTexts are the statuses of the firmware's command interpreter.
var interpreterTexts = map[uint8]string{
	StatusOK:                 "ok",
	StatusIncorrectParameter: "incorrect parameters",
	StatusUnhandled:          "unhandled command",
	StatusBusy:               "busy",
	0x04:                     "stack already started",
	0xC2:                     "invalid request: the network is not up",
}

// zclLibraryTexts are the statuses of the firmware's ZCL library.
var zclLibraryTexts = map[uint8]string{
	StatusOK:              "ok",
	0x01:                  "failed",
	0x02:                  "null parameter",
	0x03:                  "parameter out of range",
	0x04:                  "out of heap",
	StatusEndpointRange:   "endpoint out of range",
	StatusEndpointUnknown: "unknown endpoint",
	0x0A:                  "cluster not found",
	0x0D:                  "no attributes",
	StatusNoBuffer:        "no APDU buffer, or frame too large",
	StatusTransmitFailed:  "transmission refused by the stack",
	0x25:                  "invalid value",
}

// apsTexts are the statuses of the stack's APS layer.
var apsTexts = map[uint8]string{
	0xA0: "payload too long",
	0xA3: "illegal request",
	0xA6: "invalid parameter, or no buffer",
	0xA7: "no APS acknowledgement",
	0xA9: "no short address",
	0xAA: "not supported",
	0xAE: "table full",
}

// radioTexts are the statuses of the stack's network and MAC layers.
var radioTexts = map[uint8]string{
	0x00:               "sent",
	0xC2:               "invalid request",
	0xCD:               "no key",
	0xCF:               "no routing capacity",
	0xD0:               "route discovery failed",
	0xD1:               "route error",
	0xD2:               "broadcast table full",
	0xD3:               "frame not buffered: device or parent unreachable",
	RadioFrameBuffered: "frame buffered by the parent of a sleeping device",
	0xE1:               "channel access failure: the radio channel is busy",
	RadioFrameTooLong:  "frame too long",
	0xE9:               "no MAC acknowledgement: the next hop is gone",
	0xF0:               "transaction expired: the sleeping device did not poll",
	0xF1:               "transaction overflow: too much waits for sleeping devices",
}

// extendedTexts are the stack's errors in an ExtendedStatus.
var extendedTexts = map[uint8]string{
	0x01: loopbackText,
	0x02: loopbackText,
	0x03: loopbackText,
	0x04: loopbackText,
	0x05: loopbackText,
	0x06: loopbackText,
	0x80: "no NPDU buffer",
	0x81: "no APDU buffer",
	0x82: "no slot for another data request",
	0x83: "no slot for another APS acknowledgement",
	0x84: "no slot for another fragmented transfer",
	0x85: "no slot for another MAC request",
	0x86: "loopback busy",
	0x87: "address table full",
	0x88: "no simple descriptor",
	0x89: "bad parameter",
	0x8A: "no routing entry",
	0x8B: "broadcast table full",
}

const loopbackText = "loopback or parameter error"
