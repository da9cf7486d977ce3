package sim

import (
	"encoding/binary"
	"slices"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// ZDP clusters of requests; the answer's has the high bit set.
const (
	zdpNwkAddr        uint16 = 0x0000
	zdpIEEEAddr       uint16 = 0x0001
	zdpNodeDescriptor uint16 = 0x0002
	zdpPower          uint16 = 0x0003
	zdpSimple         uint16 = 0x0004
	zdpActive         uint16 = 0x0005
	zdpMatch          uint16 = 0x0006
	zdpDeviceAnnounce uint16 = 0x0013
	zdpBind           uint16 = 0x0021
	zdpManagementLQI  uint16 = 0x0031
	zdpLeave          uint16 = 0x0034
	zdpResponse       uint16 = 0x8000
)

// Statuses of ZDP, and of 0x8000 for ZDP commands.
const (
	zdpSuccess          uint8 = 0x00
	zdpInvalidEndpoint  uint8 = 0x82
	zdpNotActive        uint8 = 0x83
	zdpInvalidParameter uint8 = 0xA6
	zdpInvalidRequest   uint8 = 0xC2 // the network is not up
)

func (d *Dongle) nextZDP() uint8 {
	d.zdpSeq++
	return d.zdpSeq
}

// transmitZDP sends a request; fields are what follows the sequence number.
func (d *Dongle) transmitZDP(addr uint16, cluster uint16, fields []byte) outcome {
	sequence := d.nextZDP()
	if !d.network {
		return done(zdpInvalidRequest)
	}
	status := d.transmit(message.AddrModeNetwork, addr, AirFrame{
		Profile: profileZDP, Cluster: cluster, Payload: append([]byte{sequence}, fields...),
	})
	if status != message.StatusOK {
		return done(zdpInvalidParameter)
	}
	return outcome{sequence: sequence, sent: message.RequestSentZDP}
}

func (d *Dongle) handleZDP(m message.Message) (outcome, bool) {
	switch m := m.(type) {
	case message.NwkAddrRequest:
		b := binary.LittleEndian.AppendUint64(nil, uint64(m.IEEE))
		return d.transmitZDP(m.Target, zdpNwkAddr, append(b, m.RequestType, m.StartIndex)), true
	case message.IEEEAddrRequest:
		b := binary.LittleEndian.AppendUint16(nil, m.Addr)
		return d.transmitZDP(m.Target, zdpIEEEAddr, append(b, m.RequestType, m.StartIndex)), true
	case message.NodeDescriptorRequest:
		return d.transmitZDP(m.Addr, zdpNodeDescriptor, binary.LittleEndian.AppendUint16(nil, m.Addr)), true
	case message.PowerDescriptorRequest:
		return d.transmitZDP(m.Addr, zdpPower, binary.LittleEndian.AppendUint16(nil, m.Addr)), true
	case message.ActiveEndpointsRequest:
		return d.transmitZDP(m.Addr, zdpActive, binary.LittleEndian.AppendUint16(nil, m.Addr)), true
	case message.SimpleDescriptorRequest:
		b := binary.LittleEndian.AppendUint16(nil, m.Addr)
		return d.transmitZDP(m.Addr, zdpSimple, append(b, m.Endpoint)), true
	case message.MatchDescriptorRequest:
		b := binary.LittleEndian.AppendUint16(nil, m.Target)
		b = binary.LittleEndian.AppendUint16(b, m.Profile)
		b = appendClusters(appendClusters(b, m.InClusters), m.OutClusters)
		return d.transmitZDP(m.Target, zdpMatch, b), true
	case message.Bind:
		return d.bind(m), true
	case message.ManagementLeaveRequest:
		b := binary.LittleEndian.AppendUint64(nil, uint64(m.IEEE))
		return d.transmitZDP(m.Addr, zdpLeave, append(b, m.Rejoin<<7|m.RemoveChildren<<6)), true
	}
	return outcome{}, false
}

func appendClusters(b []byte, clusters []uint16) []byte {
	b = append(b, uint8(len(clusters)))
	for _, c := range clusters {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return b
}

// bind asks a device that the dongle knows to bind; the device accepts it.
func (d *Dongle) bind(m message.Bind) outcome {
	v := d.byIEEE[m.IEEE]
	if v == nil {
		const noShortAddress = 0xA9
		return done(noShortAddress)
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(m.IEEE))
	b = binary.LittleEndian.AppendUint16(append(b, m.Endpoint), m.Cluster)
	b = append(b, uint8(m.DstAddrMode))
	if m.DstAddrMode == message.AddrModeGroup {
		b = binary.LittleEndian.AppendUint16(b, m.DstAddr)
	} else {
		b = append(binary.LittleEndian.AppendUint64(b, uint64(m.DstIEEE)), m.DstEndpoint)
	}
	return d.transmitZDP(v.addr, zdpBind, b)
}

// hearZDP turns an answer or an announcement into a message.
func (d *Dongle) hearZDP(v *Device, f AirFrame) {
	r := fields{b: f.Payload}
	sequence := r.u8()
	var m message.Message
	switch f.Cluster {
	case zdpDeviceAnnounce:
		m = message.DeviceAnnounce{Addr: r.u16(), IEEE: message.IEEE(r.u64()), Capability: r.u8()}
	case zdpNwkAddr | zdpResponse:
		m = r.address(sequence)
	case zdpIEEEAddr | zdpResponse:
		m = message.IEEEAddrResponse(r.address(sequence))
	case zdpNodeDescriptor | zdpResponse:
		m = r.nodeDescriptor(sequence)
	case zdpPower | zdpResponse: // the firmware leaves the address out
		p := message.PowerDescriptor{Sequence: sequence, Status: r.u8()}
		r.u16()
		if p.Status == zdpSuccess {
			p.BitFields = r.u16()
		}
		m = p
	case zdpSimple | zdpResponse:
		m = r.simpleDescriptor(sequence)
	case zdpActive | zdpResponse:
		m = message.ActiveEndpoints(r.endpoints(sequence))
	case zdpMatch | zdpResponse:
		m = r.endpoints(sequence)
	case zdpBind | zdpResponse:
		m = message.BindResponse{Sequence: sequence, Status: r.u8()}
	case zdpLeave | zdpResponse:
		m = message.ManagementLeave{Sequence: sequence, Status: r.u8()}
	case zdpManagementLQI | zdpResponse:
		payload := append([]byte{sequence}, r.b...)
		payload = binary.BigEndian.AppendUint16(payload, f.Addr)
		m = message.Opaque{Kind: message.TypeManagementLQI, Payload: payload}
	default:
		d.unwanted(v, f)
		return
	}
	if !r.malformed {
		d.send(m, v.lqi)
	}
}

func (f *fields) address(sequence uint8) message.NwkAddrResponse {
	return message.NwkAddrResponse{
		Sequence: sequence, Status: f.u8(), IEEE: message.IEEE(f.u64()), Addr: f.u16(),
	}
}

func (f *fields) endpoints(sequence uint8) message.MatchDescriptor {
	m := message.MatchDescriptor{Sequence: sequence, Status: f.u8(), Addr: f.u16()}
	for range f.u8() {
		m.Endpoints = append(m.Endpoints, f.u8())
	}
	return m
}

func (f *fields) nodeDescriptor(sequence uint8) message.NodeDescriptor {
	m := message.NodeDescriptor{Sequence: sequence, Status: f.u8(), Addr: f.u16()}
	if m.Status != zdpSuccess {
		return m
	}
	m.BitFields = f.u16()
	m.MACFlags = f.u8()
	m.ManufacturerCode = f.u16()
	m.MaxBuffer = f.u8()
	m.MaxRx = f.u16()
	m.ServerMask = f.u16()
	m.MaxTx = f.u16()
	m.DescriptorCapability = f.u8()
	return m
}

func (f *fields) simpleDescriptor(sequence uint8) message.SimpleDescriptor {
	m := message.SimpleDescriptor{Sequence: sequence, Status: f.u8(), Addr: f.u16(), Length: f.u8()}
	if m.Status != zdpSuccess {
		return m
	}
	m.Endpoint = f.u8()
	m.Profile = f.u16()
	m.DeviceID = f.u16()
	m.VersionBits = f.u8()
	m.InClusters = f.clusters()
	m.OutClusters = f.clusters()
	return m
}

func (f *fields) clusters() []uint16 {
	var list []uint16
	for range f.u8() {
		list = append(list, f.u16())
	}
	return list
}

// hearZDP is a request that arrived at the device. Requests about somebody else are not answered.
func (v *Device) hearZDP(f AirFrame) {
	r := fields{b: f.Payload}
	sequence := r.u8()
	answer := []byte{sequence, zdpSuccess}
	switch f.Cluster {
	case zdpNwkAddr:
		if message.IEEE(r.u64()) != v.cfg.IEEE {
			return
		}
		answer = binary.LittleEndian.AppendUint64(answer, uint64(v.cfg.IEEE))
		answer = binary.LittleEndian.AppendUint16(answer, v.addr)
	case zdpIEEEAddr:
		if r.u16() != v.addr {
			return
		}
		answer = binary.LittleEndian.AppendUint64(answer, uint64(v.cfg.IEEE))
		answer = binary.LittleEndian.AppendUint16(answer, v.addr)
	case zdpNodeDescriptor:
		answer = v.appendNodeDescriptor(binary.LittleEndian.AppendUint16(answer, v.addr))
	case zdpPower:
		answer = binary.LittleEndian.AppendUint16(answer, v.addr)
		answer = binary.LittleEndian.AppendUint16(answer, v.powerDescriptor())
	case zdpActive:
		answer = binary.LittleEndian.AppendUint16(answer, v.addr)
		answer = append(answer, uint8(len(v.cfg.OtherEndpoints)+1))
		answer = append(append(answer, v.cfg.OtherEndpoints...), v.cfg.Endpoint)
	case zdpSimple:
		r.u16()
		answer = v.appendSimpleDescriptor(answer, r.u8())
	case zdpMatch:
		r.u16()
		profile := r.u16()
		in := r.clusters()
		out := r.clusters()
		if !v.matches(profile, in, out) {
			return
		}
		answer = binary.LittleEndian.AppendUint16(answer, v.addr)
		answer = append(answer, 1, v.cfg.Endpoint)
	case zdpBind:
	case zdpLeave:
		who := message.IEEE(r.u64())
		if r.malformed || who != 0 && who != v.cfg.IEEE {
			return
		}
		defer v.Leave() // once it has answered; simulated devices do not rejoin by themselves
	case zdpManagementLQI:
		answer = append(answer, 0, 0, 0) // no neighbours, none listed, from the first
	default:
		return
	}
	if !r.malformed {
		v.transmit(AirFrame{Profile: profileZDP, Cluster: f.Cluster | zdpResponse, Payload: answer})
	}
}

func (v *Device) capability() uint8 {
	const allocateAddress = 1 << 7
	if v.cfg.Sleepy {
		return allocateAddress
	}
	return allocateAddress | message.CapabilityRouter | message.CapabilityMains |
		message.CapabilityRxOnWhenIdle
}

func (v *Device) appendNodeDescriptor(b []byte) []byte {
	const (
		router      = 0x01
		endDevice   = 0x02
		band2400    = 0x40
		bufferSize  = 82
		serverMask  = 0x2C00
		stackFields = 0
	)
	kind := byte(router)
	if v.cfg.Sleepy {
		kind = endDevice
	}
	b = append(b, kind, band2400, v.capability())
	b = binary.LittleEndian.AppendUint16(b, v.cfg.ManufacturerCode)
	b = append(b, bufferSize)
	b = binary.LittleEndian.AppendUint16(b, bufferSize)
	b = binary.LittleEndian.AppendUint16(b, serverMask)
	b = binary.LittleEndian.AppendUint16(b, bufferSize)
	return append(b, stackFields)
}

// powerDescriptor has the mode (0 if the receiver is as the node descriptor says), the available and the
// present source, and the level in steps of a third.
func (v *Device) powerDescriptor() uint16 {
	source := uint16(message.PowerMains)
	level := uint16(0xC)
	if v.cfg.Sleepy {
		source = uint16(message.PowerDisposable)
	}
	if b := v.cfg.BatteryPercent; b != nil {
		level = uint16(*b) / 33 * 4
	}
	return level<<12 | source<<8 | source<<4
}

func (v *Device) serverClusters() []uint16 {
	list := []uint16{clusterBasic, clusterIdentify, clusterOnOff}
	if v.cfg.BatteryPercent != nil {
		list = append(list, clusterPower)
	}
	return list
}

func (v *Device) clientClusters() []uint16 { return []uint16{clusterOTA} }

func (v *Device) appendSimpleDescriptor(b []byte, endpoint uint8) []byte {
	const onOffDevice = 0x0100
	const version = 1
	if slices.Contains(v.cfg.OtherEndpoints, endpoint) {
		b = binary.LittleEndian.AppendUint16(b, v.addr)
		descriptor := append([]byte{endpoint}, 0x04, 0x01, 0x00, 0x01, version)
		descriptor = appendClusters(appendClusters(descriptor, []uint16{clusterOnOff}), nil)
		return append(append(b, uint8(len(descriptor))), descriptor...)
	}
	if endpoint != v.cfg.Endpoint {
		b[1] = zdpNotActive
		if endpoint == 0 || endpoint > 240 {
			b[1] = zdpInvalidEndpoint
		}
		return append(binary.LittleEndian.AppendUint16(b, v.addr), 0)
	}
	b = binary.LittleEndian.AppendUint16(b, v.addr)
	descriptor := []byte{endpoint}
	descriptor = binary.LittleEndian.AppendUint16(descriptor, profileHA)
	descriptor = binary.LittleEndian.AppendUint16(descriptor, onOffDevice)
	descriptor = append(descriptor, version)
	descriptor = appendClusters(appendClusters(descriptor, v.serverClusters()), v.clientClusters())
	return append(append(b, uint8(len(descriptor))), descriptor...)
}

func (v *Device) matches(profile uint16, in, out []uint16) bool {
	if profile != profileHA && profile != profileAny {
		return false
	}
	return overlap(in, v.serverClusters()) || overlap(out, v.clientClusters())
}

func overlap(a, b []uint16) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}
