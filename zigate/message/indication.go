package message

import "encoding/binary"

// Clusters of ZDP answers and announcements, and the profile of ZDP.
const (
	profileZDP           uint16 = 0x0000
	zdpDeviceAnnounce    uint16 = 0x0013
	zdpNwkAddrResponse   uint16 = 0x8000
	zdpIEEEAddrResponse  uint16 = 0x8001
	zdpNodeDescriptor    uint16 = 0x8002
	zdpPowerDescriptor   uint16 = 0x8003
	zdpSimpleDescriptor  uint16 = 0x8004
	zdpActiveEndpoints   uint16 = 0x8005
	zdpMatchDescriptor   uint16 = 0x8006
	zclReadResponse      byte   = 0x01
	zclReport            byte   = 0x0A
	zclDefaultResponse   byte   = 0x0B
	maxIndicatedMessages        = 64 // a frame holds fewer attributes
)

// Messages is what the firmware would have made of the frame in RawModeOff, where it is one that the firmware
// decodes: ZDP answers and announcements, and attributes that were read or reported. In RawModeRaw the dongle
// shows such frames as data indications only. nil for every other frame, and for one that is cut short. The
// messages of the OTA cluster have parsers of their own: ParseQueryNextImage, ParseImageBlockRequest,
// ParseUpgradeEndRequest.
func (m DataIndication) Messages() []Message {
	if m.SrcAddrMode != AddrModeShort {
		return nil // the decoded messages have no room for another address
	}
	if m.Profile == profileZDP && m.DstEndpoint == 0 {
		r := littleReader{b: m.Payload}
		if zdp := r.zdp(m.Cluster); zdp != nil && !r.short {
			return []Message{zdp}
		}
		return nil
	}
	return m.zcl()
}

// zcl decodes commands that every cluster has.
func (m DataIndication) zcl() []Message {
	b := m.Payload
	if len(b) < 3 || b[0]&(zclFrameTypeMask|zclManufacturerSpecific) != 0 {
		return nil
	}
	r := littleReader{b: b[3:]}
	at := Attribute{Sequence: b[1], Addr: m.SrcAddr, Endpoint: m.SrcEndpoint, Cluster: m.Cluster}
	switch b[2] {
	case zclReadResponse:
		at.Kind = TypeReadAttribute
	case zclReport:
		at.Kind = TypeReportAttribute
	case zclDefaultResponse:
		d := DefaultResponse{
			Sequence: b[1], SrcEndpoint: m.SrcEndpoint, Cluster: m.Cluster, Command: r.u8(), Status: r.u8(),
		}
		if r.short {
			return nil
		}
		return []Message{d}
	default:
		return nil
	}
	var list []Message
	for len(r.b) > 0 && len(list) < maxIndicatedMessages {
		at.ID = r.u16()
		at.Status = 0
		if at.Kind == TypeReadAttribute {
			at.Status = r.u8()
		}
		at.DataType = 0xFF
		at.Data = nil
		if at.Status == 0 {
			at.DataType = r.u8()
			at.Data = r.value(at.DataType)
		}
		if r.short {
			break
		}
		list = append(list, at)
	}
	return list
}

// littleReader takes little-endian fields off a ZDP or ZCL payload. Running out of bytes is remembered; what
// is read then is zero.
type littleReader struct {
	b     []byte
	short bool
}

func (r *littleReader) take(n int) []byte {
	if len(r.b) < n {
		r.short = true
		r.b = nil
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *littleReader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *littleReader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *littleReader) ieee() IEEE {
	if b := r.take(8); b != nil {
		return IEEE(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (r *littleReader) clusters() []uint16 {
	n := int(r.u8())
	if 2*n > len(r.b) {
		r.short = true
		return nil
	}
	var list []uint16
	for range n {
		list = append(list, r.u16())
	}
	return list
}

func (r *littleReader) zdp(cluster uint16) Message {
	sequence := r.u8()
	if cluster == zdpDeviceAnnounce {
		return DeviceAnnounce{Addr: r.u16(), IEEE: r.ieee(), Capability: r.u8()}
	}
	if cluster < zdpNwkAddrResponse || cluster > zdpMatchDescriptor {
		return nil
	}
	status := r.u8()
	switch cluster {
	case zdpNwkAddrResponse:
		return NwkAddrResponse{Sequence: sequence, Status: status, IEEE: r.ieee(), Addr: r.u16()}
	case zdpIEEEAddrResponse:
		return IEEEAddrResponse{Sequence: sequence, Status: status, IEEE: r.ieee(), Addr: r.u16()}
	case zdpPowerDescriptor:
		r.u16() // address
		m := PowerDescriptor{Sequence: sequence, Status: status}
		if status == 0 {
			m.BitFields = r.u16()
		}
		return m
	}
	addr := r.u16()
	switch cluster {
	case zdpNodeDescriptor:
		m := NodeDescriptor{Sequence: sequence, Status: status, Addr: addr}
		if status != 0 {
			return m
		}
		m.BitFields = r.u16()
		m.MACFlags = r.u8()
		m.ManufacturerCode = r.u16()
		m.MaxBuffer = r.u8()
		m.MaxRx = r.u16()
		m.ServerMask = r.u16()
		m.MaxTx = r.u16()
		m.DescriptorCapability = r.u8()
		return m
	case zdpSimpleDescriptor:
		m := SimpleDescriptor{Sequence: sequence, Status: status, Addr: addr}
		if status != 0 {
			return m
		}
		m.Length = r.u8()
		m.Endpoint = r.u8()
		m.Profile = r.u16()
		m.DeviceID = r.u16()
		m.VersionBits = r.u8()
		m.InClusters = r.clusters()
		m.OutClusters = r.clusters()
		return m
	}
	m := MatchDescriptor{Sequence: sequence, Status: status, Addr: addr}
	if status == 0 {
		m.Endpoints = append(m.Endpoints, r.take(int(r.u8()))...)
	}
	if cluster == zdpActiveEndpoints {
		return ActiveEndpoints(m)
	}
	return m
}

// value is an attribute's value as decoded messages have it: numbers big-endian, those of 24 bits in
// four bytes, strings without their length. A type of another kind ends the reading, because its
// length is not known.
func (r *littleReader) value(dataType uint8) []byte {
	switch dataType {
	case 0x41, 0x42: // octets, text
		return r.bytes(int(r.u8()))
	case 0x43, 0x44: // long ones
		return r.bytes(int(r.u16()))
	}
	n := valueSize(dataType)
	if n == 0 {
		r.short = true
		return nil
	}
	b := r.take(n)
	if b == nil {
		return nil
	}
	width := n
	if n == 3 {
		width = 4
	}
	value := make([]byte, width)
	for i, v := range b {
		value[width-1-i] = v
	}
	return value
}

func (r *littleReader) bytes(n int) []byte { return append([]byte(nil), r.take(n)...) }

// valueSize is how many bytes a value of a type has on air; 0: it is of no fixed size.
func valueSize(dataType uint8) int {
	switch {
	case dataType == 0x10, dataType == 0x30: // boolean, enumeration
		return 1
	case dataType == 0x31:
		return 2
	case dataType >= 0x08 && dataType <= 0x0F, // data
		dataType >= 0x18 && dataType <= 0x1F, // bitmaps
		dataType >= 0x20 && dataType <= 0x2F: // integers
		return int(dataType&0x07) + 1
	case dataType >= 0x38 && dataType <= 0x3A: // floating point
		return 2 << (dataType - 0x38)
	case dataType >= 0xE0 && dataType <= 0xE2: // times
		return 4
	case dataType == 0xE8, dataType == 0xE9: // cluster, attribute
		return 2
	case dataType == 0xEA: // BACnet object
		return 4
	case dataType == ieeeType:
		return 8
	}
	return 0
}
