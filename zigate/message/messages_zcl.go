package message

import (
	"encoding/binary"
)

// Clusters and their profile.
const (
	ClusterBasic          uint16 = 0x0000
	ClusterOTA            uint16 = 0x0019
	ProfileHomeAutomation uint16 = 0x0104
)

// Attributes of the OTA cluster. They live on the device's client side: read them with DirectionToClient. All
// but AttrOTAServer and AttrOTAStatus are optional, and many devices lack them.
const (
	AttrOTAServer            uint16 = 0x0000 // IEEE address
	AttrOTAFileOffset        uint16 = 0x0001
	AttrOTAFileVersion       uint16 = 0x0002 // running
	AttrOTAStackVersion      uint16 = 0x0003
	AttrOTADownloadedVersion uint16 = 0x0004 // 0xFFFFFFFF: none
	AttrOTADownloadedStack   uint16 = 0x0005
	// AttrOTAStatus is 0 normal, 1 downloading, 2 complete, 3 waiting to upgrade, 4 count down,
	// or 5 wait for more.
	AttrOTAStatus         uint16 = 0x0006
	AttrOTAManufacturer   uint16 = 0x0007
	AttrOTAImageType      uint16 = 0x0008
	AttrOTAMinBlockPeriod uint16 = 0x0009
	AttrOTAImageStamp     uint16 = 0x000A
)

// Attributes of the basic cluster, all character strings.
const (
	AttrManufacturerName uint16 = 0x0004
	AttrModel            uint16 = 0x0005
	AttrDateCode         uint16 = 0x0006
	AttrSoftwareBuild    uint16 = 0x4000
)

// Directions of ReadAttributes.
const (
	DirectionToServer uint8 = 0 // the device is the cluster's server
	DirectionToClient uint8 = 1 // the device is the cluster's client, as for OTA attributes
)

// MaxReadAttributes is how many attributes one ReadAttributes may ask for. Firmware sends
// random ids for more.
const MaxReadAttributes = 10

// ReadAttributes (0x0100) reads attributes of a device. The answers are one Attribute (0x8100) each.
type ReadAttributes struct {
	Target
	Cluster              uint16
	Direction            uint8 // DirectionToServer, DirectionToClient
	ManufacturerSpecific bool
	Manufacturer         uint16
	IDs                  []uint16 // at most MaxReadAttributes
}

// Type is 0x0100.
func (ReadAttributes) Type() MsgType { return TypeReadAttributes }

// AppendPayload appends 12 bytes and the ids.
func (m ReadAttributes) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(m.Target.append(dst), m.Cluster)
	dst = append(dst, m.Direction, boolByte(m.ManufacturerSpecific))
	dst = binary.BigEndian.AppendUint16(dst, m.Manufacturer)
	ids := counted(m.IDs)
	return appendU16s(append(dst, byte(len(ids))), ids)
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func parseReadAttributes(r *reader) ReadAttributes {
	m := ReadAttributes{
		Target:               r.target(),
		Cluster:              r.u16(),
		Direction:            r.u8(),
		ManufacturerSpecific: r.u8() != 0,
		Manufacturer:         r.u16(),
	}
	m.IDs = r.u16s(int(r.u8()))
	return m
}

// OnOff (0x0092) switches a device.
type OnOff struct {
	Target
	Command uint8 // 0 off, 1 on, 2 toggle
}

// Type is 0x0092.
func (OnOff) Type() MsgType { return TypeOnOff }

// AppendPayload appends the 6 bytes.
func (m OnOff) AppendPayload(dst []byte) []byte { return append(m.Target.append(dst), m.Command) }

// DefaultResponse (0x8101) is a device's answer to a frame that has no other. It does not say which device.
type DefaultResponse struct {
	Sequence    uint8
	SrcEndpoint uint8
	Cluster     uint16
	Command     uint8 // that is answered
	Status      uint8
}

// Type is 0x8101.
func (DefaultResponse) Type() MsgType { return TypeDefaultResponse }

// AppendPayload appends the 6 bytes.
func (m DefaultResponse) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(append(dst, m.Sequence, m.SrcEndpoint), m.Cluster)
	return append(dst, m.Command, m.Status)
}

func parseDefaultResponse(r *reader) DefaultResponse {
	return DefaultResponse{
		Sequence: r.u8(), SrcEndpoint: r.u8(), Cluster: r.u16(), Command: r.u8(), Status: r.u8(),
	}
}

// DataIndication (0x8002) is a received APS frame as it was. What the dongle sends depends on its RawMode.
//
// There is no length field. A rare second kind, for endpoints outside of the firmware's ZCL library, has a
// length byte in front of the payload, which cannot be told apart and stays in Payload.
type DataIndication struct {
	Status      uint8
	Profile     uint16
	Cluster     uint16
	SrcEndpoint uint8
	DstEndpoint uint8
	SrcAddrMode AddrMode
	SrcAddr     uint16 // unless SrcAddrMode is AddrModeIEEE
	SrcIEEE     IEEE   // if SrcAddrMode is AddrModeIEEE
	DstAddrMode AddrMode
	DstAddr     uint16
	DstIEEE     IEEE
	Payload     []byte // ZCL or ZDP, little-endian
}

// Type is 0x8002.
func (DataIndication) Type() MsgType { return TypeDataIndication }

// AppendPayload appends 13 bytes (6 more for each 64-bit address) and the payload.
func (m DataIndication) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(append(dst, m.Status), m.Profile)
	dst = binary.BigEndian.AppendUint16(dst, m.Cluster)
	dst = append(dst, m.SrcEndpoint, m.DstEndpoint)
	dst = appendAddress(dst, m.SrcAddrMode, m.SrcAddr, m.SrcIEEE)
	dst = appendAddress(dst, m.DstAddrMode, m.DstAddr, m.DstIEEE)
	return append(dst, m.Payload...)
}

func appendAddress(dst []byte, mode AddrMode, addr uint16, ieee IEEE) []byte {
	dst = append(dst, byte(mode))
	if mode.long() {
		return binary.BigEndian.AppendUint64(dst, uint64(ieee))
	}
	return binary.BigEndian.AppendUint16(dst, addr)
}

func (r *reader) address() (mode AddrMode, addr uint16, ieee IEEE) {
	mode = AddrMode(r.u8())
	if mode.long() {
		return mode, 0, IEEE(r.u64())
	}
	return mode, r.u16(), 0
}

func parseDataIndication(r *reader) DataIndication {
	m := DataIndication{
		Status: r.u8(), Profile: r.u16(), Cluster: r.u16(), SrcEndpoint: r.u8(), DstEndpoint: r.u8(),
	}
	m.SrcAddrMode, m.SrcAddr, m.SrcIEEE = r.address()
	m.DstAddrMode, m.DstAddr, m.DstIEEE = r.address()
	m.Payload = r.rest()
	return m
}

// RawAPS (0x0530) sends an APS frame as it is. v1 ignores address modes other than those of short and IEEE
// addresses (status 0, nothing sent), v2 takes them for AddrModeShort. Data longer than the dongle's buffer
// (100 bytes on v1, 200 on v2) gives status 0x14.
type RawAPS struct {
	AddrMode    AddrMode
	Addr        uint16 // unless AddrMode is AddrModeIEEE or AddrModeIEEENoAck
	IEEE        IEEE
	SrcEndpoint uint8
	DstEndpoint uint8
	Cluster     uint16
	Profile     uint16 // v1 3.1e uses the endpoint's own for unicasts
	Security    uint8  // 2: network key
	Radius      uint8  // hops, 0: default
	Data        []byte // at most 255 bytes
}

// Type is 0x0530.
func (RawAPS) Type() MsgType { return TypeRawAPS }

// AppendPayload appends 12 bytes (18 with a 64-bit address) and the data.
func (m RawAPS) AppendPayload(dst []byte) []byte {
	dst = appendAddress(dst, m.AddrMode, m.Addr, m.IEEE)
	dst = binary.BigEndian.AppendUint16(append(dst, m.SrcEndpoint, m.DstEndpoint), m.Cluster)
	dst = binary.BigEndian.AppendUint16(dst, m.Profile)
	data := counted(m.Data)
	dst = append(dst, m.Security, m.Radius, byte(len(data)))
	return append(dst, data...)
}

func parseRawAPS(r *reader) RawAPS {
	var m RawAPS
	m.AddrMode, m.Addr, m.IEEE = r.address()
	m.SrcEndpoint = r.u8()
	m.DstEndpoint = r.u8()
	m.Cluster = r.u16()
	m.Profile = r.u16()
	m.Security = r.u8()
	m.Radius = r.u8()
	m.Data = r.bytes(int(r.u8()))
	return m
}
