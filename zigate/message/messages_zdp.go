package message

// The answer to a ZDP request carries the sequence number from the request's Status. A sleeping device
// answers when it is awake, an absent one never. An answer with a status other than 0 may end after the
// network address.

// NwkAddrRequest (0x0040) asks for the network address of the device with an IEEE address.
type NwkAddrRequest struct {
	Target      uint16 // network address of the router that is asked, or 0xFFFD for all that listen
	IEEE        IEEE   // of the device
	RequestType uint8  // 0 asks for the device alone, 1 for its children, too
	StartIndex  uint8  // of the first child to be told
}

// Type is 0x0040.
func (NwkAddrRequest) Type() MsgType { return typeNwkAddrRequest }

func (m NwkAddrRequest) fields(c *codec) Message {
	c.u16(&m.Target)
	c.ieee(&m.IEEE)
	c.u8(&m.RequestType)
	c.u8(&m.StartIndex)
	return m
}

// IEEEAddrRequest (0x0041) asks a device for its IEEE address.
type IEEEAddrRequest struct {
	Target      uint16 // network address of the device that is asked
	Addr        uint16 // network address of the device in question, usually the same
	RequestType uint8  // 0 asks for the device alone, 1 for its children, too
	StartIndex  uint8  // of the first child to be told
}

// Type is 0x0041.
func (IEEEAddrRequest) Type() MsgType { return typeIEEEAddrRequest }

func (m IEEEAddrRequest) fields(c *codec) Message {
	c.u16(&m.Target)
	c.u16(&m.Addr)
	c.u8(&m.RequestType)
	c.u8(&m.StartIndex)
	return m
}

// NwkAddrResponse (0x8040) answers a NwkAddrRequest.
type NwkAddrResponse struct {
	Sequence        uint8
	Status          uint8
	IEEE            IEEE
	Addr            uint16
	AssociatedCount uint8    // as the device says; Associated may hold fewer
	StartIndex      uint16   // of the first child; one byte on air, two on the serial link
	Associated      []uint16 // network addresses of the device's children
}

// IEEEAddrResponse (0x8041) answers an IEEEAddrRequest, in the same layout.
type IEEEAddrResponse NwkAddrResponse

// Type is 0x8040.
func (NwkAddrResponse) Type() MsgType { return typeNwkAddrResponse }

// Type is 0x8041.
func (IEEEAddrResponse) Type() MsgType { return typeIEEEAddrResponse }

func (m NwkAddrResponse) fields(c *codec) Message {
	m.visit(c)
	return m
}

func (m IEEEAddrResponse) fields(c *codec) Message {
	(*NwkAddrResponse)(&m).visit(c)
	return m
}

func (m *NwkAddrResponse) visit(c *codec) {
	c.u8(&m.Sequence)
	c.u8(&m.Status)
	c.ieee(&m.IEEE)
	c.u16(&m.Addr)
	if c.ended(m.Status, 3) {
		return
	}

	c.u8(&m.AssociatedCount)
	c.u16(&m.StartIndex)
	c.u16s(&m.Associated, min(int(m.AssociatedCount), c.left()/2))
}

// NodeDescriptorRequest (0x0042) asks a device for its NodeDescriptor.
type NodeDescriptorRequest struct {
	Addr uint16
}

// Type is 0x0042.
func (NodeDescriptorRequest) Type() MsgType { return typeNodeDescriptorRequest }

func (m NodeDescriptorRequest) fields(c *codec) Message {
	c.u16(&m.Addr)
	return m
}

// NodeDescriptor (0x8042) answers a NodeDescriptorRequest.
type NodeDescriptor struct {
	Sequence             uint8
	Status               uint8
	Addr                 uint16
	ManufacturerCode     uint16 // often, not always, the one of the device's OTA images
	MaxRx                uint16 // longest incoming transfer, in bytes
	MaxTx                uint16 // longest outgoing transfer, in bytes
	ServerMask           uint16
	DescriptorCapability uint8
	MACFlags             uint8  // MAC capability, see CapabilityRouter and others
	MaxBuffer            uint8  // longest frame, in bytes
	BitFields            uint16 // bits 0 to 2 logical type, the others features and bands
}

// Type is 0x8042.
func (NodeDescriptor) Type() MsgType { return TypeNodeDescriptor }

func (m NodeDescriptor) fields(c *codec) Message {
	c.u8(&m.Sequence)
	c.u8(&m.Status)
	c.u16(&m.Addr)
	if c.ended(m.Status, 13) {
		return m
	}
	c.u16(&m.ManufacturerCode)
	c.u16(&m.MaxRx)
	c.u16(&m.MaxTx)
	c.u16(&m.ServerMask)
	c.u8(&m.DescriptorCapability)
	c.u8(&m.MACFlags)
	c.u8(&m.MaxBuffer)
	c.u16(&m.BitFields)
	return m
}

// ActiveEndpointsRequest (0x0045) asks a device for its endpoints.
type ActiveEndpointsRequest struct {
	Addr uint16
}

// Type is 0x0045.
func (ActiveEndpointsRequest) Type() MsgType { return typeActiveEndpointsRequest }

func (m ActiveEndpointsRequest) fields(c *codec) Message {
	c.u16(&m.Addr)
	return m
}

// MatchDescriptor (0x8046) answers a MatchDescriptorRequest.
type MatchDescriptor struct {
	Sequence  uint8
	Status    uint8
	Addr      uint16
	Endpoints []uint8 // those that match, at most 255
}

// ActiveEndpoints (0x8045) answers an ActiveEndpointsRequest, in the same layout.
type ActiveEndpoints MatchDescriptor

// Type is 0x8046.
func (MatchDescriptor) Type() MsgType { return typeMatchDescriptor }

// Type is 0x8045.
func (ActiveEndpoints) Type() MsgType { return TypeActiveEndpoints }

func (m MatchDescriptor) fields(c *codec) Message {
	m.visit(c)
	return m
}

func (m ActiveEndpoints) fields(c *codec) Message {
	(*MatchDescriptor)(&m).visit(c)
	return m
}

func (m *MatchDescriptor) visit(c *codec) {
	c.u8(&m.Sequence)
	c.u8(&m.Status)
	c.u16(&m.Addr)
	if !c.ended(m.Status, 1) {
		c.countedBytes(&m.Endpoints)
	}
}

// SimpleDescriptorRequest (0x0043) asks for the SimpleDescriptor of an endpoint of a device.
type SimpleDescriptorRequest struct {
	Addr     uint16
	Endpoint uint8
}

// Type is 0x0043.
func (SimpleDescriptorRequest) Type() MsgType { return typeSimpleDescriptorRequest }

func (m SimpleDescriptorRequest) fields(c *codec) Message {
	c.u16(&m.Addr)
	c.u8(&m.Endpoint)
	return m
}

// SimpleDescriptor (0x8043) answers a SimpleDescriptorRequest. A device with ClusterOTA in OutClusters is an
// OTA client.
type SimpleDescriptor struct {
	Sequence    uint8
	Status      uint8
	Addr        uint16
	Length      uint8 // of the descriptor, in bytes
	Endpoint    uint8
	Profile     uint16
	DeviceID    uint16
	VersionBits uint8
	InClusters  []uint16 // server clusters, at most 255
	OutClusters []uint16 // client clusters, at most 255
}

// Type is 0x8043.
func (SimpleDescriptor) Type() MsgType { return TypeSimpleDescriptor }

func (m SimpleDescriptor) fields(c *codec) Message {
	c.u8(&m.Sequence)
	c.u8(&m.Status)
	c.u16(&m.Addr)
	if c.ended(m.Status, 9) {
		return m
	}
	c.u8(&m.Length)
	c.u8(&m.Endpoint)
	c.u16(&m.Profile)
	c.u16(&m.DeviceID)
	c.u8(&m.VersionBits)
	c.countedU16s(&m.InClusters)
	c.countedU16s(&m.OutClusters)
	return m
}

// PowerDescriptorRequest (0x0044) asks a device for its PowerDescriptor.
type PowerDescriptorRequest struct {
	Addr uint16
}

// Type is 0x0044.
func (PowerDescriptorRequest) Type() MsgType { return typePowerDescriptorRequest }

func (m PowerDescriptorRequest) fields(c *codec) Message {
	c.u16(&m.Addr)
	return m
}

// PowerDescriptor (0x8044) answers a PowerDescriptorRequest. Unlike the other descriptors it does not say
// which device it is of. Only the sequence number links it to the request, whose Status has the same.
type PowerDescriptor struct {
	Sequence  uint8
	Status    uint8
	BitFields uint16 // bits 0 to 3 mode, 4 to 7 available sources, 8 to 11 present source, 12 to 15 level
}

// Power sources, one bit each, in PowerDescriptor.
const (
	PowerMains      uint8 = 1 << 0
	PowerDisposable uint8 = 1 << 2 // a battery that is thrown away; 1 << 1 is a rechargeable one
)

// Type is 0x8044.
func (PowerDescriptor) Type() MsgType { return typePowerDescriptor }

func (m PowerDescriptor) fields(c *codec) Message {
	c.u8(&m.Sequence)
	c.u8(&m.Status)
	if c.ended(m.Status, 2) {
		return m
	}
	c.u16(&m.BitFields)
	return m
}

// Source returns what powers the device now, one of PowerMains to PowerDisposable, or 0 where the device
// does not say.
func (m PowerDescriptor) Source() uint8 { return uint8(m.BitFields>>8) & 0x0F }

// Level returns the charge of the present source in percent: 0 (critical), 33, 66 or 100, as the descriptor
// has no others.
func (m PowerDescriptor) Level() uint8 {
	const steps = 4 // 0b0000, 0b0100, 0b1000, 0b1100
	return uint8(m.BitFields>>12)/steps*33 + uint8(m.BitFields>>12)/12
}

// MatchDescriptorRequest (0x0046) asks which devices have any of the clusters. OTA clients answer to
// ClusterOTA in OutClusters.
type MatchDescriptorRequest struct {
	Target      uint16 // network address, or 0xFFFD for all that listen
	Profile     uint16
	InClusters  []uint16 // at most 10
	OutClusters []uint16 // at most 10
}

// Type is 0x0046.
func (MatchDescriptorRequest) Type() MsgType { return typeMatchDescriptorRequest }

func (m MatchDescriptorRequest) fields(c *codec) Message {
	c.u16(&m.Target)
	c.u16(&m.Profile)
	c.countedU16s(&m.InClusters)
	c.countedU16s(&m.OutClusters)
	return m
}

// Bind (0x0030) gives a device an entry in its binding table, so that it sends what one of its clusters
// reports to a destination. The dongle answers status 0xA9 if it does not know the device's network address.
type Bind struct {
	IEEE        IEEE // of the device
	Endpoint    uint8
	Cluster     uint16
	DstAddrMode AddrMode // AddrModeIEEE, or AddrModeGroup
	DstAddr     uint16   // of a group
	DstIEEE     IEEE     // if DstAddrMode is AddrModeIEEE
	DstEndpoint uint8    // ignored for a group
}

// Type is 0x0030.
func (Bind) Type() MsgType { return TypeBind }

func (m Bind) fields(c *codec) Message {
	c.ieee(&m.IEEE)
	c.u8(&m.Endpoint)
	c.u16(&m.Cluster)
	c.address(&m.DstAddrMode, &m.DstAddr, &m.DstIEEE)
	c.u8(&m.DstEndpoint)
	return m
}

// BindResponse (0x8030) answers a Bind. Newer firmware appends the device's network address, which is not
// read here.
type BindResponse struct {
	Sequence uint8
	Status   uint8
}

// Type is 0x8030.
func (BindResponse) Type() MsgType { return typeBindResponse }

func (m BindResponse) fields(c *codec) Message {
	c.u8(&m.Sequence)
	c.u8(&m.Status)
	return m
}

// ManagementLeaveRequest (0x0047) asks a device to leave the network, or to make another one leave. A Leave
// follows the answer when the device has gone.
type ManagementLeaveRequest struct {
	Addr           uint16 // of the device that is asked
	IEEE           IEEE   // of the device that is to leave; 0 stands for the one that is asked
	Rejoin         uint8  // 1 where it is to join again
	RemoveChildren uint8  // 1 where its children are to leave too
}

// Type is 0x0047.
func (ManagementLeaveRequest) Type() MsgType { return typeManagementLeaveRequest }

func (m ManagementLeaveRequest) fields(c *codec) Message {
	c.u16(&m.Addr)
	c.ieee(&m.IEEE)
	c.u8(&m.Rejoin)
	c.u8(&m.RemoveChildren)
	return m
}

// ManagementLeave (0x8047) answers a ManagementLeaveRequest.
type ManagementLeave struct {
	Sequence uint8
	Status   uint8
}

// Type is 0x8047.
func (ManagementLeave) Type() MsgType { return typeManagementLeave }

func (m ManagementLeave) fields(c *codec) Message {
	c.u8(&m.Sequence)
	c.u8(&m.Status)
	return m
}

// ManagementLQIRequest (0x004E) asks a device for its table of neighbours, from an entry on. The dongle
// answers it for itself where it is asked at its own network address, 0.
type ManagementLQIRequest struct {
	Target     uint16 // network address
	StartIndex uint8  // of the first entry to be told
}

// Type is 0x004E.
func (ManagementLQIRequest) Type() MsgType { return typeManagementLQIRequest }

func (m ManagementLQIRequest) fields(c *codec) Message {
	c.u16(&m.Target)
	c.u8(&m.StartIndex)
	return m
}

// ManagementLQI (0x804E) answers a ManagementLQIRequest with a few entries at a time. Firmware up to 3.0f
// does not append the source.
type ManagementLQI struct {
	Sequence   uint8
	Status     uint8
	Entries    uint8 // of the whole table
	StartIndex uint8 // of the first of Neighbours
	Neighbours []Neighbour
	HasSource  bool
	Source     uint16 // network address of the device that answers
}

// Neighbour is one entry of a device's table of neighbours.
type Neighbour struct {
	Addr          uint16
	ExtendedPANID uint64
	IEEE          IEEE
	Depth         uint8
	LQI           uint8 // link quality, 0 to 255
	// Kind has the device type in bits 0 and 1 (0 coordinator, 1 router, 2 end device) and whether the
	// receiver is on while idle in bits 6 and 7 (0 no, 1 yes, else not known).
	Kind uint8
}

// NeighbourListens are the bits of [Neighbour.Kind] of a device whose receiver is on while it is idle.
const NeighbourListens uint8 = 1 << 6

// Listens reports whether the neighbour's receiver is on while it is idle.
func (n Neighbour) Listens() bool { return n.Kind>>6 == NeighbourListens>>6 }

// Type is 0x804E.
func (ManagementLQI) Type() MsgType { return TypeManagementLQI }

func (m ManagementLQI) fields(c *codec) Message {
	c.u8(&m.Sequence)
	c.u8(&m.Status)
	if c.ended(m.Status, 3) {
		return m
	}
	n := uint8(len(counted(m.Neighbours)))
	c.u8(&m.Entries)
	c.u8(&n)
	c.u8(&m.StartIndex)
	if c.parsing {
		m.Neighbours = nil
	}
	if m.Status == 0 {
		m.neighbours(c, int(n))
	}
	if c.tail(&m.HasSource, 2) {
		c.u16(&m.Source)
	}
	return m
}

const neighbourSize = 21

// neighbours visits n entries.
func (m *ManagementLQI) neighbours(c *codec, n int) {
	if c.parsing && c.left() >= n*neighbourSize {
		m.Neighbours = append(m.Neighbours, make([]Neighbour, n)...)
	} else if c.parsing {
		c.short = true
		return
	}
	for i := range m.Neighbours[:n] {
		one := &m.Neighbours[i]
		c.u16(&one.Addr)
		c.u64(&one.ExtendedPANID)
		c.ieee(&one.IEEE)
		c.u8(&one.Depth)
		c.u8(&one.LQI)
		c.u8(&one.Kind)
	}
}
