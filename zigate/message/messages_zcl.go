package message

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
	AttrOTAFileVersion       uint16 = 0x0002 // that the device runs
	AttrOTAStackVersion      uint16 = 0x0003
	AttrOTADownloadedVersion uint16 = 0x0004 // 0xFFFFFFFF if there is none
	AttrOTADownloadedStack   uint16 = 0x0005
	// AttrOTAStatus is 0 normal, 1 downloading, 2 complete, 3 waiting to upgrade, 4 count down,
	// or 5 wait for more.
	AttrOTAStatus         uint16 = 0x0006
	AttrOTAManufacturer   uint16 = 0x0007
	AttrOTAImageType      uint16 = 0x0008
	AttrOTAMinBlockPeriod uint16 = 0x0009
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

// MaxReadAttributes is how many attributes one ReadAttributes may ask for. With more, firmware asks for
// random attributes.
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
func (ReadAttributes) Type() MsgType { return typeReadAttributes }

func (m ReadAttributes) fields(c *codec) Message {
	c.target(&m.Target)
	c.u16(&m.Cluster)
	c.u8(&m.Direction)
	c.flag(&m.ManufacturerSpecific)
	c.u16(&m.Manufacturer)
	c.countedU16s(&m.IDs)
	return m
}

// OnOff (0x0092) switches a device.
type OnOff struct {
	Target
	Command uint8 // 0 off, 1 on, 2 toggle
}

// Type is 0x0092.
func (OnOff) Type() MsgType { return typeOnOff }

func (m OnOff) fields(c *codec) Message {
	c.target(&m.Target)
	c.u8(&m.Command)
	return m
}

// DefaultResponse (0x8101) is a device's answer to a frame that has no other. It does not say which device.
type DefaultResponse struct {
	Sequence    uint8
	SrcEndpoint uint8
	Cluster     uint16
	Command     uint8 // of the frame that is answered
	Status      uint8
}

// Type is 0x8101.
func (DefaultResponse) Type() MsgType { return TypeDefaultResponse }

func (m DefaultResponse) fields(c *codec) Message {
	c.u8(&m.Sequence)
	c.u8(&m.SrcEndpoint)
	c.u16(&m.Cluster)
	c.u8(&m.Command)
	c.u8(&m.Status)
	return m
}

// DataIndication (0x8002) is a received APS frame, unchanged. The RawMode says for which frames the dongle
// sends one.
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

func (m DataIndication) fields(c *codec) Message {
	c.u8(&m.Status)
	c.u16(&m.Profile)
	c.u16(&m.Cluster)
	c.u8(&m.SrcEndpoint)
	c.u8(&m.DstEndpoint)
	c.address(&m.SrcAddrMode, &m.SrcAddr, &m.SrcIEEE)
	c.address(&m.DstAddrMode, &m.DstAddr, &m.DstIEEE)
	c.rest(&m.Payload)
	return m
}

// RawAPS (0x0530) sends an APS frame unchanged. v1 ignores address modes other than those of network and
// IEEE addresses (status 0, nothing sent), v2 takes them for AddrModeNetwork. Data longer than the dongle's
// buffer (100 bytes on v1, 200 on v2) gives status 0x14.
type RawAPS struct {
	AddrMode    AddrMode
	Addr        uint16 // unless AddrMode is AddrModeIEEE or AddrModeIEEENoAck
	IEEE        IEEE
	SrcEndpoint uint8
	DstEndpoint uint8
	Cluster     uint16
	Profile     uint16 // v1 3.1e uses the endpoint's own for unicasts
	Security    uint8  // 2 encrypts with the network key
	Radius      uint8  // most hops, 0 for the stack's default
	Data        []byte // at most 255 bytes
}

// Type is 0x0530.
func (RawAPS) Type() MsgType { return TypeRawAPS }

func (m RawAPS) fields(c *codec) Message {
	c.address(&m.AddrMode, &m.Addr, &m.IEEE)
	c.u8(&m.SrcEndpoint)
	c.u8(&m.DstEndpoint)
	c.u16(&m.Cluster)
	c.u16(&m.Profile)
	c.u8(&m.Security)
	c.u8(&m.Radius)
	c.countedBytes(&m.Data)
	return m
}
