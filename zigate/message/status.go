package message

import "fmt"

// Values of Status.Status. Two number spaces share the byte: generic ones of the firmware's command
// interpreter, and those of its ZCL library. Values from 0xA0 on come from the stack, for ZDP commands.
const (
	StatusOK uint8 = 0x00
	// StatusIncorrectParameter is generic; in ZCL it is fail. From LoadImage it means a wrong file identifier
	// or a header that is too long.
	StatusIncorrectParameter uint8 = 0x01
	StatusUnhandled          uint8 = 0x02 // generic; ZCL: null parameter
	// StatusBusy is generic; in ZCL it is a parameter out of range, for example ImageNotify.PayloadType.
	StatusBusy            uint8 = 0x03
	StatusStackStarted    uint8 = 0x04 // generic; ZCL: heap
	StatusEndpointRange   uint8 = 0x05
	StatusEndpointUnknown uint8 = 0x06
	StatusClusterNotFound uint8 = 0x0A
	StatusNoAttributes    uint8 = 0x0D
	// StatusNoBuffer means that there is no APDU buffer, or that the frame is larger than one: back off, then
	// answer the next request.
	StatusNoBuffer uint8 = 0x14
	// StatusTransmitFailed means refused by the stack: network down, unknown address, bad
	// mode, or queue full.
	StatusTransmitFailed uint8 = 0x15
	StatusInvalidValue   uint8 = 0x25
)

// OTA statuses, in BlockSend, WaitForData and UpgradeEndRequest.
const (
	OTASuccess          uint8 = 0x00
	OTAAbort            uint8 = 0x95
	OTAInvalidImage     uint8 = 0x96
	OTAWaitForData      uint8 = 0x97
	OTANoImageAvailable uint8 = 0x98
	OTARequireMoreImage uint8 = 0x99
)

// StatusError is a Status other than 0.
type StatusError struct {
	Status Status
}

// Error says which command the dongle refused, and why.
func (e *StatusError) Error() string {
	s := e.Status
	return fmt.Sprintf("%s (%s): the dongle answered status 0x%02x (%s)",
		s.Request, s.Request.Name(), s.Status, s.Text())
}

// Busy tells whether the dongle ran out of buffers or could not queue the frame: worth trying again after a
// while (50 ms or more), unlike a wrong parameter.
func (e *StatusError) Busy() bool {
	return e.Status.Busy()
}

// Busy tells whether the status is StatusNoBuffer or StatusTransmitFailed, StatusBusy of a command that is
// not ZCL, StatusEndpointUnknown of one that is (a v2 dongle that has just started does not have its endpoint
// yet), or the stack's word that it has no buffer for a ZDP request.
func (m Status) Busy() bool {
	const zdpNoBuffer = 0xA6 // also: invalid parameter
	switch m.Status {
	case StatusNoBuffer, StatusTransmitFailed:
		return true
	case StatusBusy:
		return !m.Request.zcl()
	case StatusEndpointUnknown:
		return m.Request.zcl()
	case zdpNoBuffer:
		return m.Request >= TypeBind && m.Request <= TypePermitJoin
	}
	return false
}

// Text says in words what the status means for the command that it answers.
func (m Status) Text() string {
	return StatusText(m.Request, m.Status)
}

// zcl tells whether the dongle answers the command with statuses of its ZCL library. LoadImage is answered
// with one value (1) that means the same in both number spaces.
func (t MsgType) zcl() bool {
	switch t {
	case TypeBlockSend, TypeUpgradeEndResponse, TypeImageNotify, TypeWaitForData, TypeLoadImage:
		return true
	}
	return t >= 0x0060 && t < 0x0500
}

// StatusText says in words what a Status with this value means as the answer to a command.
func StatusText(request MsgType, status uint8) string {
	if request == TypeLoadImage && status == StatusIncorrectParameter {
		return "wrong file identifier, or header too long"
	}
	if request.zcl() {
		if text := zclLibraryText(status); text != "" {
			return text
		}
	}
	switch status {
	case StatusOK:
		return "ok"
	case StatusIncorrectParameter:
		return "incorrect parameters"
	case StatusUnhandled:
		return "unhandled command"
	case StatusBusy:
		return "busy"
	case StatusStackStarted:
		return "stack already started"
	case 0xC2:
		return "invalid request: the network is not up"
	}
	if text := zclLibraryText(status); text != "" {
		return text
	}
	if text := apsText(status); text != "" {
		return text
	}
	if text := RadioStatusText(status); text != unknownText {
		return text
	}
	return unknownText
}

const unknownText = "unknown"

func zclLibraryText(status uint8) string {
	switch status {
	case StatusOK:
		return "ok"
	case 0x01:
		return "failed"
	case 0x02:
		return "null parameter"
	case 0x03:
		return "parameter out of range"
	case 0x04:
		return "out of heap"
	case StatusEndpointRange:
		return "endpoint out of range"
	case StatusEndpointUnknown:
		return "unknown endpoint"
	case StatusClusterNotFound:
		return "cluster not found"
	case StatusNoAttributes:
		return "no attributes"
	case StatusNoBuffer:
		return "no APDU buffer, or frame too large"
	case StatusTransmitFailed:
		return "transmission refused by the stack"
	case StatusInvalidValue:
		return "invalid value"
	}
	return ""
}

func apsText(status uint8) string {
	switch status {
	case 0xA0:
		return "payload too long"
	case 0xA3:
		return "illegal request"
	case 0xA6:
		return "invalid parameter, or no buffer"
	case 0xA7:
		return "no APS acknowledgement"
	case 0xA9:
		return "no short address"
	case 0xAA:
		return "not supported"
	case 0xAE:
		return "table full"
	}
	return ""
}

// RadioStatusText says in words what a status of Confirm or RouteDiscovery means.
func RadioStatusText(status uint8) string {
	switch status {
	case 0x00:
		return "sent"
	case 0xC2:
		return "invalid request"
	case 0xCD:
		return "no key"
	case 0xCF:
		return "no routing capacity"
	case 0xD0:
		return "route discovery failed"
	case 0xD1:
		return "route error"
	case 0xD2:
		return "broadcast table full"
	case 0xD3:
		return "frame not buffered: device or parent unreachable"
	case 0xD4:
		return "frame buffered by the parent of a sleeping device"
	case 0xE1:
		return "channel access failure: the radio channel is busy"
	case 0xE5:
		return "frame too long"
	case 0xE9:
		return "no MAC acknowledgement: the next hop is gone"
	case 0xF0:
		return "transaction expired: the sleeping device did not poll"
	case 0xF1:
		return "transaction overflow: too much waits for sleeping devices"
	}
	if text := apsText(status); text != "" {
		return text
	}
	return unknownText
}

// Codes of Confirm that call for different reactions.
const (
	RadioNoAPSAck      uint8 = 0xA7 // device asleep or gone: wait for its next request
	RadioFrameBuffered uint8 = 0xD4 // a parent holds it: not an error as such
	RadioFrameTooLong  uint8 = 0xE5 // use smaller blocks
)

// NetworkStatusText says in words what NetworkStatus.Status and RouteDiscovery.NetworkStatus mean.
func NetworkStatusText(status uint8) string {
	switch status {
	case 0x00:
		return "no route available"
	case 0x01:
		return "tree link failure"
	case 0x02:
		return "link failure"
	case 0x03:
		return "low battery"
	case 0x04:
		return "no routing capacity"
	case 0x05:
		return "no indirect capacity"
	case 0x06:
		return "indirect transaction expired"
	case 0x07:
		return "target unavailable"
	case 0x08:
		return "target unallocated"
	case 0x09:
		return "parent link failure"
	case 0x0A:
		return "validate route"
	case 0x0B:
		return "source route failure"
	case 0x0C:
		return "many-to-one route failure"
	case 0x0D:
		return "address conflict"
	case 0x0E:
		return "verify addresses"
	case 0x0F:
		return "PAN id update"
	case 0x10:
		return "address update"
	case 0x11:
		return "bad frame counter"
	case 0x12:
		return "bad key sequence number"
	}
	return unknownText
}

// ExtendedStatusText says in words what ExtendedStatus.Code means.
func ExtendedStatusText(code uint8) string {
	switch code {
	case 0x80:
		return "no NPDU buffer"
	case 0x81:
		return "no APDU buffer"
	case 0x82:
		return "no slot for another data request"
	case 0x83:
		return "no slot for another APS acknowledgement"
	case 0x84:
		return "no slot for another fragmented transfer"
	case 0x85:
		return "no slot for another MAC request"
	case 0x86:
		return "loopback busy"
	case 0x87:
		return "address table full"
	case 0x88:
		return "no simple descriptor"
	case 0x89:
		return "bad parameter"
	case 0x8A:
		return "no routing entry"
	case 0x8B:
		return "broadcast table full"
	}
	if code >= 0x01 && code <= 0x06 {
		return "loopback or parameter error"
	}
	return unknownText
}

// OTAStatusText says in words what an OTA status means.
func OTAStatusText(status uint8) string {
	switch status {
	case OTASuccess:
		return "success"
	case OTAAbort:
		return "abort"
	case OTAInvalidImage:
		return "invalid image"
	case OTAWaitForData:
		return "wait for data"
	case OTANoImageAvailable:
		return "no image available"
	case OTARequireMoreImage:
		return "require more image"
	case 0x7E:
		return "not authorised"
	case 0x80:
		return "malformed command"
	case 0x81:
		return "unsupported command"
	case 0xC1:
		return "software failure"
	}
	return unknownText
}
