package sim

import (
	"encoding/binary"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The ZCL frame control.
const (
	zclTypeMask          byte = 0x03
	zclGlobalFrame       byte = 0x00
	zclClusterFrame      byte = 0x01
	zclManufacturerBit   byte = 0x04
	zclToClientBit       byte = 0x08
	zclNoDefaultResponse byte = 0x10
)

// Commands that every cluster has.
const (
	zclReadAttributes   byte = 0x00
	zclReadResponse     byte = 0x01
	zclReportAttributes byte = 0x0A
	zclDefaultResponse  byte = 0x0B
)

// Statuses of ZCL.
const (
	zclSuccess           byte = 0x00
	zclFailure           byte = 0x01
	zclMalformed         byte = 0x80
	zclUnsupportedCmd    byte = 0x81
	zclUnsupportedGlobal byte = 0x82
	zclUnsupportedAttr   byte = 0x86
	zclInvalidValue      byte = 0x87
	zclSoftwareFailure   byte = 0xC1
)

// Clusters.
const (
	clusterBasic    = message.ClusterBasic
	clusterPower    = uint16(0x0001)
	clusterIdentify = uint16(0x0003)
	clusterOnOff    = uint16(0x0006)
	clusterOTA      = message.ClusterOTA
	profileHA       = message.ProfileHomeAutomation
)

// zclFrame is a parsed ZCL frame.
type zclFrame struct {
	control  byte
	sequence uint8
	command  byte
	payload  []byte
}

func (f zclFrame) clusterSpecific() bool    { return f.control&zclTypeMask == zclClusterFrame }
func (f zclFrame) toClient() bool           { return f.control&zclToClientBit != 0 }
func (f zclFrame) defaultResponseOff() bool { return f.control&zclNoDefaultResponse != 0 }

// parseZCL drops the manufacturer code; a frame without a complete header is none.
func parseZCL(b []byte) (zclFrame, bool) {
	if len(b) == 0 {
		return zclFrame{}, false
	}
	f := zclFrame{control: b[0]}
	b = b[1:]
	if f.control&zclManufacturerBit != 0 {
		if len(b) < 2 {
			return zclFrame{}, false
		}
		b = b[2:]
	}
	if len(b) < 2 {
		return zclFrame{}, false
	}
	f.sequence = b[0]
	f.command = b[1]
	f.payload = b[2:]
	return f, true
}

// fields takes little-endian numbers off a ZCL payload. A missing field is malformed, or all ones where the
// reader is tolerant and nothing of the field is there.
type fields struct {
	b         []byte
	tolerant  bool
	malformed bool
}

func (f *fields) take(n int) uint64 {
	if len(f.b) < n {
		if !f.tolerant || len(f.b) > 0 {
			f.malformed = true
		}
		f.b = nil
		return 1<<(8*n) - 1 // for 8 bytes the shift gives 0, and all ones again
	}
	var padded [8]byte
	copy(padded[:], f.b[:n])
	f.b = f.b[n:]
	return binary.LittleEndian.Uint64(padded[:])
}

func (f *fields) u8() uint8   { return uint8(f.take(1)) }
func (f *fields) u16() uint16 { return uint16(f.take(2)) }
func (f *fields) u32() uint32 { return uint32(f.take(4)) }
func (f *fields) u64() uint64 { return f.take(8) }

// contains tells whether a set has an endpoint, one a byte.
func contains(set string, endpoint uint8) bool {
	for i := range len(set) {
		if set[i] == endpoint {
			return true
		}
	}
	return false
}

// takeValue takes a type and a value off a ZCL payload; numbers are turned to big-endian, 24-bit ones grow to
// four bytes as they do in firmware, strings lose their length byte.
func takeValue(b []byte) (value, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	kind := b[0]
	b = b[1:]
	if kind == typeOctets || kind == typeText {
		n := int(b[0])
		if len(b) < 1+n {
			return nil, nil, false
		}
		return b[1 : 1+n], b[1+n:], true
	}
	n := sizeOf(kind)
	if n == 0 || len(b) < n {
		return nil, nil, false
	}
	width := n
	if n == 3 {
		width = 4
	}
	value = make([]byte, width)
	for i := range n {
		value[width-1-i] = b[i]
	}
	return value, b[n:], true
}

// ZCL data types.
const (
	typeBool     byte = 0x10
	typeBitmap8  byte = 0x18
	typeUint8    byte = 0x20
	typeUint16   byte = 0x21
	typeUint24   byte = 0x22
	typeUint32   byte = 0x23
	typeUint48   byte = 0x25
	typeUint64   byte = 0x27
	typeInt8     byte = 0x28
	typeInt16    byte = 0x29
	typeEnum8    byte = 0x30
	typeEnum16   byte = 0x31
	typeFloat    byte = 0x39
	typeOctets   byte = 0x41
	typeText     byte = 0x42
	typeUTC      byte = 0xE2
	typeIEEEAddr byte = 0xF0
)

func sizeOf(kind byte) int {
	switch kind {
	case typeBool, typeBitmap8, typeUint8, typeInt8, typeEnum8:
		return 1
	case typeUint16, typeInt16, typeEnum16:
		return 2
	case typeUint24:
		return 3
	case typeUint32, typeFloat, typeUTC:
		return 4
	case typeUint48:
		return 6
	case typeUint64, typeIEEEAddr:
		return 8
	}
	return 0
}
