package share

import (
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The ZCL header: frame control, manufacturer code 2 if a bit says so, sequence number, command.
const (
	zclTypeMask        byte = 0x03
	zclGlobal          byte = 0x00
	zclClusterSpecific byte = 0x01
	zclManufacturerBit byte = 0x04
	zclToClientBit     byte = 0x08

	zclNoDefaultResponse byte = 0x10

	zclReadAttributes   byte = 0x00
	zclReadResponse     byte = 0x01
	zclWriteResponse    byte = 0x04
	zclReportRspd       byte = 0x07 // configure reporting response
	zclReadReportRspd   byte = 0x09
	zclReportAttributes byte = 0x0A
	zclDefaultResponse  byte = 0x0B
	zclDiscoverRspd     byte = 0x0D
)

const (
	profileZDP uint16 = 0x0000
	profileAny uint16 = 0xFFFF
)

// zclHeader is the header of a ZCL frame.
type zclHeader struct {
	control  byte
	sequence uint8
	command  byte
}

func parseZCL(b []byte) (zclHeader, bool) {
	if len(b) == 0 {
		return zclHeader{}, false
	}
	h := zclHeader{control: b[0]}
	b = b[1:]
	if h.control&zclManufacturerBit != 0 {
		b = b[min(2, len(b)):]
	}
	if len(b) < 2 {
		return zclHeader{}, false
	}
	h.sequence = b[0]
	h.command = b[1]
	return h, true
}

func (h zclHeader) global() bool          { return h.control&zclTypeMask == zclGlobal }
func (h zclHeader) clusterSpecific() bool { return h.control&zclTypeMask == zclClusterSpecific }
func (h zclHeader) toClient() bool        { return h.control&zclToClientBit != 0 }

// response tells whether the frame is one that a device sends because it was asked. Of cluster specific ones
// the header tells only the direction: a server's may be an answer or not.
func (h zclHeader) response() bool {
	if !h.global() {
		return h.toClient()
	}
	switch h.command {
	case zclReadResponse, zclWriteResponse, zclReportRspd, zclReadReportRspd, zclDefaultResponse,
		zclDiscoverRspd,
		0x10, 0x12, 0x14, 0x16: // structured writes, discovery of commands and of attributes with access
		return true
	}
	return false
}

// examined is what the firmware makes of a response; 0: nothing that is known.
func (h zclHeader) message() message.MsgType {
	if !h.global() {
		return 0
	}
	switch h.command {
	case zclReadResponse:
		return message.TypeReadAttribute
	case zclWriteResponse:
		return message.TypeWriteAttribute
	case zclReportRspd:
		return typeReportingSet
	case zclReadReportRspd:
		return typeReportingRead
	case zclReportAttributes:
		return message.TypeReportAttribute
	case zclDefaultResponse:
		return message.TypeDefaultResponse
	}
	return 0
}
