package share

import (
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The ZCL header: frame control, manufacturer code (2 bytes, if a bit says so), sequence number, command.
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

	// zdpResponse is the bit that tells the cluster of a ZDP response from its request's.
	zdpResponse uint16 = 0x8000
)

// zclHeader is the header of a ZCL frame.
type zclHeader struct {
	control  byte
	sequence uint8
	command  byte
}

// parseZCL reads the header of a ZCL frame. ok is false if it is not complete.
func parseZCL(b []byte) (h zclHeader, ok bool) {
	if len(b) == 0 {
		return zclHeader{}, false
	}
	h.control = b[0]
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

// response tells whether a device sends such a frame because it was asked. Of cluster specific ones the
// header tells only the direction: those of a server may be answers or not.
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

// message is the type of the message that the firmware makes of a response; 0 if that is not known.
func (h zclHeader) message() message.MsgType {
	if !h.global() {
		return 0
	}
	t, _ := message.MadeOfZCL(h.command)
	return t
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
