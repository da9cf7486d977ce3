package sim

import (
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Bytes of a ZCL frame: what one radio frame can carry, and what a route through relays takes of it.
const (
	largestUnfragmented = 82
	routeOverhead       = 2
	relayOverhead       = 2
)

// Statuses of failed deliveries, in 0x8702.
const (
	radioNoAPSAck     uint8 = 0xA7
	radioRouteFailed  uint8 = 0xD0
	radioRouteError   uint8 = 0xD1
	radioNotBuffered  uint8 = 0xD3
	radioBuffered     uint8 = 0xD4
	radioFrameTooLong uint8 = 0xE5
	radioNoMACAck     uint8 = 0xE9
	radioExpired      uint8 = 0xF0
)

// Errors of the stack, in 0x9999.
const (
	stackNoDataRequest uint8 = 0x82
	stackNoAckHandle   uint8 = 0x83
)

// Classes of a broadcast in the OTA commands, and the addresses that they become.
const (
	broadcastEverybody uint8 = 0
	broadcastListeners uint8 = 1
	broadcastRouters   uint8 = 2

	addrEverybody      uint16 = 0xFFFF
	addrListeners      uint16 = 0xFFFD
	addrRouters        uint16 = 0xFFFC
	firstBroadcastAddr uint16 = 0xFFF8
)

// reach is to how many a frame goes.
type reach uint8

const (
	toNowhere reach = iota // the stack does not take the frame
	toNobody               // the stack takes the frame and sends nothing
	toGroup
	toOne
	toMany
)

// destination is where a frame goes.
type destination struct {
	reach reach
	addr  uint16 // network address, for one and for many
	ack   bool   // with APS acknowledgement, for one
}

// destinationOf reads the address of a command.
func destinationOf(mode message.AddrMode, addr uint16, v2 bool) destination {
	switch mode {
	case message.AddrModeNone:
		return destination{reach: toNobody}
	case message.AddrModeNetwork, message.AddrModeNetworkNoAck:
		if addr >= firstBroadcastAddr {
			return destination{reach: toMany, addr: addr}
		}
		return destination{reach: toOne, addr: addr, ack: mode == message.AddrModeNetwork}
	case message.AddrModeGroup:
		return destination{reach: toGroup}
	case message.AddrModeBroadcast:
		// The class is one byte out of the memory of the address: which one depends on the byte
		// order of the chip.
		class := uint8(addr >> 8)
		if v2 {
			class = uint8(addr)
		}
		switch class {
		case broadcastEverybody:
			return destination{reach: toMany, addr: addrEverybody}
		case broadcastListeners:
			return destination{reach: toMany, addr: addrListeners}
		case broadcastRouters:
			return destination{reach: toMany, addr: addrRouters}
		}
	}
	// Nothing is bound, and 64-bit addresses would come from memory that nobody wrote.
	return destination{reach: toNowhere}
}

// radio is the part of the firmware's stack that sends frames, with what it knows of those under way.
type radio struct {
	traits      *traits
	timeline    *timeline
	power       *power
	stats       *Stats
	air         *air
	devices     *deviceSet
	coordinator *coordinator
	sender      *sender

	apsCounter    uint8 // of the last frame
	dataRequests  int   // frames under way
	ackedRequests int   // those of them that wait for an acknowledgement
	blockRefusal  uint8 // the status with which every block is refused; 0 where they are taken
}

// powerUp is the state after the start.
func (r *radio) powerUp() {
	r.apsCounter = 0
	r.dataRequests = 0
	r.ackedRequests = 0
}

// outgoing is a frame of the dongle on its way to one device.
type outgoing struct {
	frame AirFrame
	ack   bool
	aps   uint8
	tries int
	sent  bool // the first hop has it, and the host knows
	heard bool // by the device, whose stack drops it when it comes again
}

// transmit queues a frame in the way that an address mode asks for. The status is one of 0x8000: 0 or
// StatusTransmitFailed.
func (r *radio) transmit(mode message.AddrMode, addr uint16, frame AirFrame) (status uint8) {
	if !r.coordinator.formed {
		return message.StatusTransmitFailed
	}
	to := destinationOf(mode, addr, r.traits.v2)
	frame.FromDongle = true
	frame.Addr = to.addr
	switch to.reach {
	case toNobody:
		return message.StatusOK
	case toGroup: // no device is in a group
		r.countAPS()
		return message.StatusOK
	case toOne:
		return r.unicast(frame, to.ack)
	case toMany:
		return r.broadcast(frame)
	}
	return message.StatusTransmitFailed
}

func (r *radio) countAPS() uint8 {
	r.apsCounter++
	return r.apsCounter
}

// reserve takes one of the stack's few places for a frame under way. Without waiting there is no end of them:
// events of the same moment do not overlap in time.
func (r *radio) reserve(ack bool) bool {
	if r.timeline.pace.speed > 0 {
		code := uint8(0)
		switch {
		case r.dataRequests >= r.traits.dataRequests:
			code = stackNoDataRequest
		case ack && r.ackedRequests >= r.traits.ackedRequests:
			code = stackNoAckHandle
		}
		if code != 0 {
			r.power.after(0, func() { r.sender.send(message.ExtendedStatus{Code: code}, 0) })
			return false
		}
	}
	r.dataRequests++
	if ack {
		r.ackedRequests++
	}
	return true
}

func (r *radio) release(o *outgoing) {
	r.dataRequests--
	if o.ack {
		r.ackedRequests--
	}
}

// buffersInUse is what a host is told of the buffers for frames under way.
func (r *radio) buffersInUse() uint8 {
	all := 14
	if r.traits.v2 {
		all = 18
	}
	if r.blockRefusal == message.StatusNoBuffer { // they have leaked
		return uint8(all)
	}
	return uint8(min(r.dataRequests, all))
}

// unicast sends a frame to one device.
func (r *radio) unicast(frame AirFrame, ack bool) (status uint8) {
	v := r.devices.byAddr[frame.Addr]
	size := len(frame.Payload)
	limit := largestUnfragmented
	if v != nil && v.cfg.Relays > 0 {
		limit -= routeOverhead + relayOverhead*v.cfg.Relays
	}
	if size > largestUnfragmented && !r.traits.fragmentation || !r.reserve(ack) {
		return message.StatusTransmitFailed
	}
	o := &outgoing{frame: frame, ack: ack, aps: r.countAPS()}
	r.air.tap(frame)

	pace := r.timeline.pace
	switch {
	case v == nil || !v.joined:
		r.power.after(pace.wait(routeTimeout), func() { r.fail(o, radioRouteFailed) })
	case size > limit && !r.traits.fragmentation:
		r.power.after(pace.wait(confirmDelay), func() { r.fail(o, radioFrameTooLong) })
	case size > limit: // sent in fragments, which the devices do not understand
		r.power.after(pace.wait(confirmDelay), func() { r.confirm(o) })
		r.power.after(pace.wait(ackTries*ackTimeout), func() { r.expire(o) })
	default:
		r.attempt(o, v)
	}
	return message.StatusOK
}

// attempt is one try to deliver a frame.
func (r *radio) attempt(o *outgoing, v *Device) {
	pace := r.timeline.pace
	o.tries++
	if v.away {
		r.power.after(pace.wait(macTimeout), func() { r.fail(o, radioNoMACAck) })
		return
	}
	hold := v.pollWait()
	if hold > parentKeeps {
		r.power.after(pace.wait(parentKeeps), func() { r.fail(o, radioExpired) })
		return
	}
	lost, ackLost := r.air.losesTry()
	lost = lost || v.deaf

	r.power.after(pace.wait(hold+confirmDelay), func() { r.confirm(o) })
	if !lost && !o.heard {
		o.heard = true
		r.power.after(pace.wait(hold+airDelay), func() { v.hear(o.frame) })
	}
	switch {
	case !o.ack:
		r.power.after(pace.wait(hold+airDelay), func() { r.release(o) })
	case !lost && !ackLost:
		r.power.after(pace.wait(hold+2*airDelay), func() { r.acknowledge(o) })
	default:
		r.power.after(pace.wait(hold+ackTimeout), func() {
			if o.tries < ackTries {
				r.attempt(o, v)
				return
			}
			r.expire(o)
		})
	}
}

// acknowledge ends a frame whose APS acknowledgement has come.
func (r *radio) acknowledge(o *outgoing) {
	r.release(o)
	r.sender.send(message.APSAck{
		Addr: o.frame.Addr, DstEndpoint: o.frame.DestinationEndpoint, Cluster: o.frame.Cluster,
		HasAPSSequence: r.traits.ackHasSequence, APSSequence: o.aps,
	}, r.air.noise())
}

// expire ends a frame that was sent and never acknowledged.
func (r *radio) expire(o *outgoing) {
	if !o.ack {
		r.release(o)
		return
	}
	r.fail(o, radioNoAPSAck)
}

// confirm tells the host, once, that the first hop has a frame.
func (r *radio) confirm(o *outgoing) {
	if o.sent {
		return
	}
	o.sent = true
	if r.traits.confirms {
		r.sender.send(r.confirmation(o, message.TypeConfirm, 0), r.air.noise())
	}
}

// fail ends a frame that was not delivered.
func (r *radio) fail(o *outgoing, status uint8) {
	r.release(o)
	r.stats.Undelivered++
	r.sender.send(r.confirmation(o, message.TypeConfirmFailed, status), r.air.noise())
	if !r.traits.routeAfterFailure {
		return
	}
	switch status {
	case radioRouteFailed, radioRouteError, radioNotBuffered, radioBuffered:
		addr := o.frame.Addr
		r.power.after(r.timeline.pace.wait(routeDiscovery), func() {
			r.sender.send(message.RouteDiscovery{
				Status: radioRouteFailed, HasDestination: true, Destination: addr,
			}, r.air.noise())
		})
	}
}

func (r *radio) confirmation(o *outgoing, kind message.MsgType, status uint8) message.Confirm {
	c := message.Confirm{
		Kind:        kind,
		Status:      status,
		SrcEndpoint: o.frame.SourceEndpoint,
		DstEndpoint: o.frame.DestinationEndpoint,
		DstAddrMode: message.AddrModeNetwork,
		Addr:        o.frame.Addr,
		APSSequence: o.aps,
	}
	if r.traits.buffersInConfirm {
		c.HasBuffers = true
		c.NPDUUsed = r.buffersInUse()
		if !r.traits.v2 {
			c.APDUUsed = c.NPDUUsed
		}
	}
	return c
}

// broadcast sends a frame to everybody, to those that listen when idle, or to routers.
func (r *radio) broadcast(frame AirFrame) (status uint8) {
	if len(frame.Payload) > largestUnfragmented || !r.reserve(false) {
		return message.StatusTransmitFailed
	}
	frame.Broadcast = true
	o := &outgoing{frame: frame, aps: r.countAPS()}
	r.air.tap(frame)

	pace := r.timeline.pace
	turn := airDelay
	for _, v := range r.devices.all {
		if !v.joined || v.away || v.cfg.Sleepy && frame.Addr != addrEverybody {
			continue
		}
		hold := v.pollWait()
		if hold > parentKeeps || r.air.loses() {
			continue
		}
		r.power.after(pace.wait(hold+turn), func() { v.hear(frame) })
		turn += airDelay // the answers share the channel
	}
	r.power.after(pace.wait(confirmDelay), func() { r.confirm(o) })
	r.power.after(pace.wait(2*airDelay), func() { r.release(o) })
	return message.StatusOK
}
