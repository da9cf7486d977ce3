package message

import "encoding/binary"

// Answers to ZDP requests carry the sequence number that the request's Status told; a sleeping device answers
// when it is awake, an absent one never. Answers with a status other than 0 may end after the short address.

// NwkAddrRequest (0x0040) asks who has an IEEE address, to learn the short one.
type NwkAddrRequest struct {
	Target      uint16 // 0xFFFD, or a router
	IEEE        IEEE
	RequestType uint8 // 0 this device, 1 with its children
	StartIndex  uint8
}

// Type is 0x0040.
func (NwkAddrRequest) Type() MsgType { return TypeNwkAddrRequest }

// AppendPayload appends the 12 bytes.
func (m NwkAddrRequest) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.Target)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.IEEE))
	return append(dst, m.RequestType, m.StartIndex)
}

// IEEEAddrRequest (0x0041) asks a device for its IEEE address.
type IEEEAddrRequest struct {
	Target      uint16 // who is asked
	Addr        uint16 // about whom; usually the same
	RequestType uint8  // 0 this device, 1 with its children
	StartIndex  uint8
}

// Type is 0x0041.
func (IEEEAddrRequest) Type() MsgType { return TypeIEEEAddrRequest }

// AppendPayload appends the 6 bytes.
func (m IEEEAddrRequest) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.Target)
	dst = binary.BigEndian.AppendUint16(dst, m.Addr)
	return append(dst, m.RequestType, m.StartIndex)
}

// NwkAddrResponse (0x8040) answers a NwkAddrRequest.
type NwkAddrResponse struct {
	Sequence        uint8
	Status          uint8
	IEEE            IEEE
	Addr            uint16
	AssociatedCount uint8    // as the device says; Associated may hold fewer
	StartIndex      uint16   // one byte in ZDP, two here
	Associated      []uint16 // the device's children
}

// IEEEAddrResponse (0x8041) answers an IEEEAddrRequest, in the same layout.
type IEEEAddrResponse NwkAddrResponse

// Type is 0x8040.
func (NwkAddrResponse) Type() MsgType { return TypeNwkAddrResponse }

// Type is 0x8041.
func (IEEEAddrResponse) Type() MsgType { return TypeIEEEAddrResponse }

// AppendPayload appends 15 bytes and the list.
func (m NwkAddrResponse) AppendPayload(dst []byte) []byte {
	dst = append(dst, m.Sequence, m.Status)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.IEEE))
	dst = binary.BigEndian.AppendUint16(dst, m.Addr)
	dst = append(dst, m.AssociatedCount)
	dst = binary.BigEndian.AppendUint16(dst, m.StartIndex)
	return appendU16s(dst, m.Associated)
}

// AppendPayload appends 15 bytes and the list.
func (m IEEEAddrResponse) AppendPayload(dst []byte) []byte {
	return NwkAddrResponse(m).AppendPayload(dst)
}

func parseNwkAddrResponse(r *reader) NwkAddrResponse {
	m := NwkAddrResponse{Sequence: r.u8(), Status: r.u8(), IEEE: IEEE(r.u64()), Addr: r.u16()}
	if m.Status != 0 && len(r.b) < 3 {
		return m
	}
	m.AssociatedCount = r.u8()
	m.StartIndex = r.u16()
	m.Associated = r.u16s(min(int(m.AssociatedCount), len(r.b)/2))
	return m
}

// NodeDescriptorRequest (0x0042) asks a device for its NodeDescriptor.
type NodeDescriptorRequest struct {
	Addr uint16
}

// Type is 0x0042.
func (NodeDescriptorRequest) Type() MsgType { return TypeNodeDescriptorRequest }

// AppendPayload appends the 2 bytes.
func (m NodeDescriptorRequest) AppendPayload(dst []byte) []byte {
	return binary.BigEndian.AppendUint16(dst, m.Addr)
}

// NodeDescriptor (0x8042) answers a NodeDescriptorRequest.
type NodeDescriptor struct {
	Sequence             uint8
	Status               uint8
	Addr                 uint16
	ManufacturerCode     uint16 // often, not always, the one of the device's OTA images
	MaxRx                uint16
	MaxTx                uint16
	ServerMask           uint16
	DescriptorCapability uint8
	MACFlags             uint8 // see CapabilityRouter and others
	MaxBuffer            uint8
	BitFields            uint16
}

// Type is 0x8042.
func (NodeDescriptor) Type() MsgType { return TypeNodeDescriptor }

// AppendPayload appends the 17 bytes.
func (m NodeDescriptor) AppendPayload(dst []byte) []byte {
	dst = append(dst, m.Sequence, m.Status)
	dst = binary.BigEndian.AppendUint16(dst, m.Addr)
	dst = binary.BigEndian.AppendUint16(dst, m.ManufacturerCode)
	dst = binary.BigEndian.AppendUint16(dst, m.MaxRx)
	dst = binary.BigEndian.AppendUint16(dst, m.MaxTx)
	dst = binary.BigEndian.AppendUint16(dst, m.ServerMask)
	dst = append(dst, m.DescriptorCapability, m.MACFlags, m.MaxBuffer)
	return binary.BigEndian.AppendUint16(dst, m.BitFields)
}

func parseNodeDescriptor(r *reader) NodeDescriptor {
	m := NodeDescriptor{Sequence: r.u8(), Status: r.u8(), Addr: r.u16()}
	if m.Status != 0 && len(r.b) < 13 {
		return m
	}
	m.ManufacturerCode = r.u16()
	m.MaxRx = r.u16()
	m.MaxTx = r.u16()
	m.ServerMask = r.u16()
	m.DescriptorCapability = r.u8()
	m.MACFlags = r.u8()
	m.MaxBuffer = r.u8()
	m.BitFields = r.u16()
	return m
}

// ActiveEndpointsRequest (0x0045) asks a device for its endpoints.
type ActiveEndpointsRequest struct {
	Addr uint16
}

// Type is 0x0045.
func (ActiveEndpointsRequest) Type() MsgType { return TypeActiveEndpointsRequest }

// AppendPayload appends the 2 bytes.
func (m ActiveEndpointsRequest) AppendPayload(dst []byte) []byte {
	return binary.BigEndian.AppendUint16(dst, m.Addr)
}

// MatchDescriptor (0x8046) answers a MatchDescriptorRequest.
type MatchDescriptor struct {
	Sequence  uint8
	Status    uint8
	Addr      uint16
	Endpoints []uint8 // that match; at most 255
}

// ActiveEndpoints (0x8045) answers an ActiveEndpointsRequest, in the same layout.
type ActiveEndpoints MatchDescriptor

// Type is 0x8046.
func (MatchDescriptor) Type() MsgType { return TypeMatchDescriptor }

// Type is 0x8045.
func (ActiveEndpoints) Type() MsgType { return TypeActiveEndpoints }

// AppendPayload appends 5 bytes and the endpoints.
func (m MatchDescriptor) AppendPayload(dst []byte) []byte {
	endpoints := counted(m.Endpoints)
	dst = append(dst, m.Sequence, m.Status)
	dst = binary.BigEndian.AppendUint16(dst, m.Addr)
	dst = append(dst, byte(len(endpoints)))
	return append(dst, endpoints...)
}

// AppendPayload appends 5 bytes and the endpoints.
func (m ActiveEndpoints) AppendPayload(dst []byte) []byte {
	return MatchDescriptor(m).AppendPayload(dst)
}

func parseMatchDescriptor(r *reader) MatchDescriptor {
	m := MatchDescriptor{Sequence: r.u8(), Status: r.u8(), Addr: r.u16()}
	if m.Status != 0 && len(r.b) == 0 {
		return m
	}
	m.Endpoints = r.bytes(int(r.u8()))
	return m
}

// SimpleDescriptorRequest (0x0043) asks what is on an endpoint of a device.
type SimpleDescriptorRequest struct {
	Addr     uint16
	Endpoint uint8
}

// Type is 0x0043.
func (SimpleDescriptorRequest) Type() MsgType { return TypeSimpleDescriptorRequest }

// AppendPayload appends the 3 bytes.
func (m SimpleDescriptorRequest) AppendPayload(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, m.Addr), m.Endpoint)
}

// SimpleDescriptor (0x8043) answers a SimpleDescriptorRequest. ClusterOTA in OutClusters: the
// device is an OTA client.
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

// AppendPayload appends 13 bytes and the two lists.
func (m SimpleDescriptor) AppendPayload(dst []byte) []byte {
	dst = append(dst, m.Sequence, m.Status)
	dst = binary.BigEndian.AppendUint16(dst, m.Addr)
	dst = append(dst, m.Length, m.Endpoint)
	dst = binary.BigEndian.AppendUint16(dst, m.Profile)
	dst = binary.BigEndian.AppendUint16(dst, m.DeviceID)
	dst = append(dst, m.VersionBits)
	return appendClusters(dst, m.InClusters, m.OutClusters)
}

func parseSimpleDescriptor(r *reader) SimpleDescriptor {
	m := SimpleDescriptor{Sequence: r.u8(), Status: r.u8(), Addr: r.u16()}
	if m.Status != 0 && len(r.b) < 9 {
		return m
	}
	m.Length = r.u8()
	m.Endpoint = r.u8()
	m.Profile = r.u16()
	m.DeviceID = r.u16()
	m.VersionBits = r.u8()
	m.InClusters = r.u16s(int(r.u8()))
	m.OutClusters = r.u16s(int(r.u8()))
	return m
}

// PowerDescriptorRequest (0x0044) asks a device for its PowerDescriptor.
type PowerDescriptorRequest struct {
	Addr uint16
}

// Type is 0x0044.
func (PowerDescriptorRequest) Type() MsgType { return TypePowerDescriptorRequest }

// AppendPayload appends the 2 bytes.
func (m PowerDescriptorRequest) AppendPayload(dst []byte) []byte {
	return binary.BigEndian.AppendUint16(dst, m.Addr)
}

// PowerDescriptor (0x8044) answers a PowerDescriptorRequest. Unlike the other descriptors it does not say
// which device it is of: only Sequence tells, which the Status of the request had, too.
type PowerDescriptor struct {
	Sequence  uint8
	Status    uint8
	BitFields uint16 // bits 0 to 3 mode, 4 to 7 available sources, 8 to 11 present source, 12 to 15 level
}

// Power sources, one bit each, in PowerDescriptor.
const (
	PowerMains        uint8 = 1 << 0
	PowerRechargeable uint8 = 1 << 1
	PowerDisposable   uint8 = 1 << 2
)

// Type is 0x8044.
func (PowerDescriptor) Type() MsgType { return TypePowerDescriptor }

// AppendPayload appends the 4 bytes.
func (m PowerDescriptor) AppendPayload(dst []byte) []byte {
	return binary.BigEndian.AppendUint16(append(dst, m.Sequence, m.Status), m.BitFields)
}

// Source is what powers the device now, PowerMains to PowerDisposable; 0: it does not say.
func (m PowerDescriptor) Source() uint8 { return uint8(m.BitFields>>8) & 0x0F }

// Level is the charge of the present source in percent: the descriptor knows 0 (critical), 33, 66 and 100.
func (m PowerDescriptor) Level() uint8 {
	const steps = 4 // 0b0000, 0b0100, 0b1000, 0b1100
	return uint8(m.BitFields>>12)/steps*33 + uint8(m.BitFields>>12)/12
}

func parsePowerDescriptor(r *reader) PowerDescriptor {
	m := PowerDescriptor{Sequence: r.u8(), Status: r.u8()}
	if m.Status != 0 && len(r.b) < 2 {
		return m
	}
	m.BitFields = r.u16()
	return m
}

// MatchDescriptorRequest (0x0046) asks who has any of the clusters. OTA clients answer to
// ClusterOTA in OutClusters.
type MatchDescriptorRequest struct {
	Target      uint16 // 0xFFFD: everybody that listens
	Profile     uint16
	InClusters  []uint16 // at most 10
	OutClusters []uint16 // at most 10
}

// Type is 0x0046.
func (MatchDescriptorRequest) Type() MsgType { return TypeMatchDescriptorRequest }

// AppendPayload appends 6 bytes and the two lists.
func (m MatchDescriptorRequest) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.Target)
	dst = binary.BigEndian.AppendUint16(dst, m.Profile)
	return appendClusters(dst, m.InClusters, m.OutClusters)
}

func parseMatchDescriptorRequest(r *reader) MatchDescriptorRequest {
	m := MatchDescriptorRequest{Target: r.u16(), Profile: r.u16()}
	m.InClusters = r.u16s(int(r.u8()))
	m.OutClusters = r.u16s(int(r.u8()))
	return m
}

func appendClusters(dst []byte, in, out []uint16) []byte {
	in = counted(in)
	out = counted(out)
	dst = appendU16s(append(dst, byte(len(in))), in)
	return appendU16s(append(dst, byte(len(out))), out)
}

// BindResponse (0x8030) answers a bind request. Newer firmware appends the device's address,
// which is not read here.
type BindResponse struct {
	Sequence uint8
	Status   uint8
}

// Type is 0x8030.
func (BindResponse) Type() MsgType { return TypeBindResponse }

// AppendPayload appends the 2 bytes.
func (m BindResponse) AppendPayload(dst []byte) []byte { return append(dst, m.Sequence, m.Status) }
