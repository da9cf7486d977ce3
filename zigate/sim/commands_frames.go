package sim

import (
	"encoding/binary"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The commands of the host that send a ZCL or ZDP frame to a device.

// zclCommand sends a ZCL request, which build makes of the command.
func zclCommand[M message.Message](build func(*chip, M) zclRequest) command {
	return withFields(func(c *chip, m M) outcome { return c.zcl.request(build(c, m)) })
}

// zdpCommand sends a ZDP request, which build makes of the command.
func zdpCommand[M message.Message](build func(M) zdpRequest) command {
	return withFields(func(c *chip, m M) outcome { return c.zdp.request(build(m)) })
}

// zclRequest is a ZCL frame that the dongle makes itself.
type zclRequest struct {
	to       message.Target
	cluster  uint16
	toClient bool
	kind     byte // zclGlobalFrame or zclClusterFrame
	command  byte
	payload  []byte
}

// zclSender is the ZCL library of the firmware as far as it sends.
type zclSender struct {
	traits *traits
	radio  *radio

	sequence          uint8 // of the last request
	noDefaultResponse bool  // forbid default responses; an OTA command sets this for all that follows
}

// powerUp is the state after the start.
func (s *zclSender) powerUp() {
	s.sequence = 0
	s.noDefaultResponse = false
}

const dongleEndpoint uint8 = 1

// validSource tells whether a command may name this endpoint of the dongle as its source.
func (s *zclSender) validSource(endpoint uint8) bool {
	return endpoint == dongleEndpoint || contains(s.traits.sourceAliases, endpoint)
}

func (s *zclSender) request(r zclRequest) outcome {
	if !s.validSource(r.to.SrcEndpoint) {
		return done(message.StatusEndpointUnknown)
	}
	control := r.kind
	if r.toClient {
		control |= zclToClientBit
	}
	if s.noDefaultResponse {
		control |= zclNoDefaultResponse
	}
	s.sequence++
	status := s.radio.transmit(r.to.AddrMode, r.to.Addr, AirFrame{
		Profile:             profileHA,
		Cluster:             r.cluster,
		SourceEndpoint:      r.to.SrcEndpoint,
		DestinationEndpoint: r.to.DstEndpoint,
		Payload:             append([]byte{control, s.sequence, r.command}, r.payload...),
	})
	if status != message.StatusOK {
		return outcome{status: status, sequence: s.sequence}
	}
	return outcome{sequence: s.sequence, sent: message.RequestSentZCL}
}

func onOff(_ *chip, m message.OnOff) zclRequest {
	return zclRequest{to: m.Target, cluster: clusterOnOff, kind: zclClusterFrame, command: m.Command}
}

func readAttributes(c *chip, m message.ReadAttributes) zclRequest {
	var payload []byte
	for i, id := range m.IDs {
		if i >= message.MaxReadAttributes { // firmware reads them from behind its own array
			id = uint16(c.air.random.UintN(0x10000))
		}
		payload = binary.LittleEndian.AppendUint16(payload, id)
	}
	return zclRequest{
		to: m.Target, cluster: m.Cluster, toClient: m.Direction != message.DirectionToServer,
		kind: zclGlobalFrame, command: zclReadAttributes, payload: payload,
	}
}

// sendRaw is 0x0530.
func sendRaw(c *chip, m message.RawAPS) outcome {
	addr := m.Addr
	mode := m.AddrMode
	switch mode {
	case message.AddrModeNetwork, message.AddrModeNetworkNoAck:
	case message.AddrModeIEEE, message.AddrModeIEEENoAck:
		v := c.devices.byIEEE[m.IEEE]
		if v == nil {
			return done(message.StatusTransmitFailed)
		}
		addr = v.addr
		mode = message.AddrModeNetwork
		if m.AddrMode == message.AddrModeIEEENoAck {
			mode = message.AddrModeNetworkNoAck
		}
	default:
		if !c.traits.v2 {
			return done(message.StatusOK) // nothing is sent
		}
		mode = message.AddrModeNetwork
	}
	if len(m.Data) > c.traits.apdu {
		return done(message.StatusNoBuffer)
	}
	profile := m.Profile
	if c.traits.rawAPSInProfileHA && addr < firstBroadcastAddr {
		profile = profileHA
	}
	status := c.radio.transmit(mode, addr, AirFrame{
		Profile:             profile,
		Cluster:             m.Cluster,
		SourceEndpoint:      m.SrcEndpoint,
		DestinationEndpoint: m.DstEndpoint,
		Payload:             m.Data,
	})
	o := outcome{status: status, sequence: c.radio.apsCounter}
	if status == message.StatusOK && c.traits.rawAPSIsRequest {
		o.sent = message.RequestSentZCL
	}
	return o
}

// zdpRequest is a ZDP request of the dongle.
type zdpRequest struct {
	addr    uint16 // network address
	cluster uint16
	fields  []byte // little-endian, what follows the sequence number
}

// zdpSender is the ZDP client of the firmware as far as it sends.
type zdpSender struct {
	coordinator *coordinator
	radio       *radio

	sequence uint8 // of the last request
}

// powerUp is the state after the start.
func (s *zdpSender) powerUp() {
	s.sequence = 0
}

func (s *zdpSender) nextSequence() uint8 {
	s.sequence++
	return s.sequence
}

func (s *zdpSender) request(r zdpRequest) outcome {
	sequence := s.nextSequence()
	if !s.coordinator.formed {
		return done(zdpInvalidRequest)
	}
	status := s.radio.transmit(message.AddrModeNetwork, r.addr, AirFrame{
		Profile: profileZDP, Cluster: r.cluster, Payload: append([]byte{sequence}, r.fields...),
	})
	if status != message.StatusOK {
		return done(zdpInvalidParameter)
	}
	return outcome{sequence: sequence, sent: message.RequestSentZDP}
}

// aboutItself asks a device something about itself: such requests begin with its network address.
func aboutItself(cluster, addr uint16, more ...byte) zdpRequest {
	return zdpRequest{
		addr: addr, cluster: cluster, fields: append(binary.LittleEndian.AppendUint16(nil, addr), more...),
	}
}

func nodeDescriptorRequest(m message.NodeDescriptorRequest) zdpRequest {
	return aboutItself(zdpNodeDescriptor, m.Addr)
}

func powerDescriptorRequest(m message.PowerDescriptorRequest) zdpRequest {
	return aboutItself(zdpPower, m.Addr)
}

func activeEndpointsRequest(m message.ActiveEndpointsRequest) zdpRequest {
	return aboutItself(zdpActive, m.Addr)
}

func simpleDescriptorRequest(m message.SimpleDescriptorRequest) zdpRequest {
	return aboutItself(zdpSimple, m.Addr, m.Endpoint)
}

func matchDescriptorRequest(m message.MatchDescriptorRequest) zdpRequest {
	clusters := appendClusters(appendClusters(nil, m.InClusters), m.OutClusters)
	profile := binary.LittleEndian.AppendUint16(nil, m.Profile)
	return aboutItself(zdpMatch, m.Target, append(profile, clusters...)...)
}

func ieeeAddrRequest(m message.IEEEAddrRequest) zdpRequest {
	b := binary.LittleEndian.AppendUint16(nil, m.Addr)
	return zdpRequest{addr: m.Target, cluster: zdpIEEEAddr, fields: append(b, m.RequestType, m.StartIndex)}
}

func nwkAddrRequest(m message.NwkAddrRequest) zdpRequest {
	b := binary.LittleEndian.AppendUint64(nil, uint64(m.IEEE))
	return zdpRequest{addr: m.Target, cluster: zdpNwkAddr, fields: append(b, m.RequestType, m.StartIndex)}
}

// leaveRequest asks a device to leave the network. Whether it joins again and whether its children leave are
// the two highest bits of the last byte.
func leaveRequest(m message.ManagementLeaveRequest) zdpRequest {
	b := binary.LittleEndian.AppendUint64(nil, uint64(m.IEEE))
	return zdpRequest{addr: m.Addr, cluster: zdpLeave, fields: append(b, m.Rejoin<<7|m.RemoveChildren<<6)}
}

// managementLQI asks a device for its neighbours. The dongle answers for itself when it is asked.
func managementLQI(c *chip, m message.ManagementLQIRequest) outcome {
	if m.Target != coordinatorAddr {
		return c.zdp.request(zdpRequest{
			addr: m.Target, cluster: zdpManagementLQI, fields: []byte{m.StartIndex},
		})
	}
	sequence := c.zdp.nextSequence()
	if !c.coordinator.formed {
		return done(zdpInvalidRequest)
	}
	return outcome{sequence: sequence, sent: message.RequestSentZDP, then: func() {
		c.power.after(0, func() { c.sender.send(c.ownNeighbours(sequence, m.StartIndex), 0) })
	}}
}

// coordinatorAddr is the dongle's own network address.
const coordinatorAddr uint16 = 0

// ownNeighbours are entries of the dongle's own table of neighbours: as many as fit a frame.
func (c *chip) ownNeighbours(sequence, first uint8) message.ManagementLQI {
	const perFrame = 2
	list := c.devices.neighbours(c.traits.neighbours).Devices
	m := message.ManagementLQI{
		Sequence: sequence, Entries: uint8(len(list)), StartIndex: first,
		HasSource: true, Source: coordinatorAddr,
	}
	for _, one := range list[min(int(first), len(list)):] {
		if len(m.Neighbours) == perFrame {
			break
		}
		const router = 1
		const endDevice = 2
		kind := router | message.NeighbourListens
		if one.PowerSource == 0 {
			kind = endDevice
		}
		m.Neighbours = append(m.Neighbours, message.Neighbour{
			Addr: one.Addr, ExtendedPANID: uint64(c.cfg.IEEE), IEEE: one.IEEE,
			Depth: 1, LQI: one.LQI, Kind: kind,
		})
	}
	return m
}

// bind asks a device that the dongle knows to bind; the device accepts it.
func bind(c *chip, m message.Bind) outcome {
	v := c.devices.byIEEE[m.IEEE]
	if v == nil {
		const noNetworkAddress = 0xA9
		return done(noNetworkAddress)
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(m.IEEE))
	b = binary.LittleEndian.AppendUint16(append(b, m.Endpoint), m.Cluster)
	b = append(b, uint8(m.DstAddrMode))
	if m.DstAddrMode == message.AddrModeGroup {
		b = binary.LittleEndian.AppendUint16(b, m.DstAddr)
	} else {
		b = append(binary.LittleEndian.AppendUint64(b, uint64(m.DstIEEE)), m.DstEndpoint)
	}
	return c.zdp.request(zdpRequest{addr: v.addr, cluster: zdpBind, fields: b})
}
