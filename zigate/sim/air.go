package sim

import (
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Times of the radio.
const (
	airDelay       = 8 * time.Millisecond    // from one end to the other
	confirmDelay   = 5 * time.Millisecond    // until the frame is at the first hop
	ackTimeout     = 1600 * time.Millisecond // of one try with acknowledgement
	ackTries       = 4
	routeTimeout   = 1500 * time.Millisecond // until a route discovery has failed
	macTimeout     = 40 * time.Millisecond   // until a next hop counts as gone
	parentKeeps    = 7 * time.Second         // a message for a sleeping child
	routeDiscovery = 100 * time.Millisecond
)

// Sizes of a ZCL frame: what one radio frame can carry, and what a route through relays takes of it.
const (
	largestUnfragmented = 82
	routeOverhead       = 2
	relayOverhead       = 2
)

// Codes of failed deliveries.
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

const (
	profileZDP uint16 = 0x0000
	profileAny uint16 = 0xFFFF
)

// outgoing is a frame of the dongle on its way to one device.
type outgoing struct {
	frame AirFrame
	mode  message.AddrMode // as confirms show it
	ack   bool
	aps   uint8
	tries int
	sent  bool // it is at the first hop, and the host knows
	heard bool // by the device, whose stack drops it when it comes again
}

// transmit queues a frame in the way that an address mode asks for. The status is one of 0x8000: 0 or
// StatusTransmitFailed.
func (d *Dongle) transmit(mode message.AddrMode, addr uint16, frame AirFrame) uint8 {
	if !d.network {
		return message.StatusTransmitFailed
	}
	frame.FromDongle = true
	frame.Addr = addr
	switch mode {
	case message.AddrModeNone:
		return message.StatusOK
	case message.AddrModeNetwork, message.AddrModeNetworkNoAck:
		if addr >= firstBroadcastAddr {
			return d.broadcast(addr, frame)
		}
		return d.unicast(addr, mode == message.AddrModeNetwork, frame)
	case message.AddrModeGroup: // no device is in a group
		d.countAPS()
		return message.StatusOK
	case message.AddrModeBroadcast:
		// The class is one byte out of the memory of the address: which one depends on the byte
		// order of the chip.
		class := uint8(addr >> 8)
		if d.traits.v2 {
			class = uint8(addr)
		}
		switch class {
		case broadcastEverybody:
			return d.broadcast(addrEverybody, frame)
		case broadcastListeners:
			return d.broadcast(addrListeners, frame)
		case broadcastRouters:
			return d.broadcast(addrRouters, frame)
		}
	}
	// Nothing is bound, and IEEE addresses would come from memory that nobody wrote.
	return message.StatusTransmitFailed
}

func (d *Dongle) countAPS() uint8 {
	d.apsCounter++
	return d.apsCounter
}

// reserve takes one of the stack's few places for a frame under way. Without waiting there is no end of them:
// events of the same moment do not overlap in time.
func (d *Dongle) reserve(ack bool) bool {
	if d.pace.speed > 0 {
		code := uint8(0)
		switch {
		case d.dataRequests >= d.traits.dataRequests:
			code = stackNoDataRequest
		case ack && d.ackedRequests >= d.traits.ackedRequests:
			code = stackNoAckHandle
		}
		if code != 0 {
			d.after(0, func() { d.send(message.ExtendedStatus{Code: code}, 0) })
			return false
		}
	}
	d.dataRequests++
	if ack {
		d.ackedRequests++
	}
	return true
}

func (d *Dongle) release(o *outgoing) {
	d.dataRequests--
	if o.ack {
		d.ackedRequests--
	}
}

func (d *Dongle) unicast(addr uint16, ack bool, frame AirFrame) uint8 {
	v := d.byAddr[addr]
	limit := largestUnfragmented
	if v != nil && v.cfg.Relays > 0 {
		limit -= routeOverhead + relayOverhead*v.cfg.Relays
	}
	tooLong := len(frame.Payload) > limit
	if len(frame.Payload) > largestUnfragmented && !d.traits.fragmentation {
		return message.StatusTransmitFailed
	}
	if !d.reserve(ack) {
		return message.StatusTransmitFailed
	}
	o := &outgoing{frame: frame, mode: message.AddrModeNetwork, ack: ack, aps: d.countAPS()}
	d.tap(frame)
	switch {
	case v == nil || !v.joined:
		d.after(d.pace.wait(routeTimeout), func() { d.fail(o, radioRouteFailed) })
	case tooLong && !d.traits.fragmentation:
		d.after(d.pace.wait(confirmDelay), func() { d.fail(o, radioFrameTooLong) })
	case tooLong: // sent in fragments, which the devices do not understand
		d.after(d.pace.wait(confirmDelay), func() { d.confirm(o) })
		d.after(d.pace.wait(ackTries*ackTimeout), func() { d.expire(o) })
	default:
		d.attempt(o, v)
	}
	return message.StatusOK
}

// attempt is one try to deliver a frame.
func (d *Dongle) attempt(o *outgoing, v *Device) {
	o.tries++
	if v.away {
		d.after(d.pace.wait(macTimeout), func() { d.fail(o, radioNoMACAck) })
		return
	}
	hold := v.pollWait()
	if hold > parentKeeps {
		d.after(d.pace.wait(parentKeeps), func() { d.fail(o, radioExpired) })
		return
	}
	lost := chance(d.airRandom, d.cfg.Faults.LoseAir)
	ackLost := chance(d.airRandom, d.cfg.Faults.LoseAck)
	d.after(d.pace.wait(hold+confirmDelay), func() { d.confirm(o) })
	if lost || ackLost {
		d.stats.AirLost++
	}
	if !lost && !o.heard {
		o.heard = true
		d.after(d.pace.wait(hold+airDelay), func() { v.hear(o.frame) })
	}
	switch {
	case !o.ack:
		d.after(d.pace.wait(hold+airDelay), func() { d.release(o) })
	case lost || ackLost:
		d.after(d.pace.wait(hold+ackTimeout), func() {
			if o.tries < ackTries {
				d.attempt(o, v)
				return
			}
			d.expire(o)
		})
	default:
		d.after(d.pace.wait(hold+2*airDelay), func() {
			d.release(o)
			d.send(message.APSAck{
				Addr: o.frame.Addr, DstEndpoint: o.frame.DestinationEndpoint, Cluster: o.frame.Cluster,
				HasAPSSequence: d.traits.ackHasSequence, APSSequence: o.aps,
			}, d.noise())
		})
	}
}

// expire ends a frame that was sent and never acknowledged.
func (d *Dongle) expire(o *outgoing) {
	if !o.ack {
		d.release(o)
		return
	}
	d.fail(o, radioNoAPSAck)
}

func (d *Dongle) confirm(o *outgoing) {
	if o.sent {
		return
	}
	o.sent = true
	if d.traits.confirms {
		d.send(d.confirmation(o, message.TypeConfirm, 0), d.noise())
	}
}

func (d *Dongle) fail(o *outgoing, status uint8) {
	d.release(o)
	d.stats.Undelivered++
	d.send(d.confirmation(o, message.TypeConfirmFailed, status), d.noise())
	if !d.traits.routeAfterFailure {
		return
	}
	switch status {
	case radioRouteFailed, radioRouteError, radioNotBuffered, radioBuffered:
		addr := o.frame.Addr
		d.after(d.pace.wait(routeDiscovery), func() {
			d.send(message.RouteDiscovery{
				Status: radioRouteFailed, HasDestination: true, Destination: addr,
			}, d.noise())
		})
	}
}

func (d *Dongle) confirmation(o *outgoing, kind message.MsgType, status uint8) message.Confirm {
	c := message.Confirm{
		Kind:        kind,
		Status:      status,
		SrcEndpoint: o.frame.SourceEndpoint,
		DstEndpoint: o.frame.DestinationEndpoint,
		DstAddrMode: o.mode,
		Addr:        o.frame.Addr,
		APSSequence: o.aps,
	}
	if d.traits.buffersInConfirm {
		c.HasBuffers = true
		c.NPDUUsed = d.buffersInUse()
		if !d.traits.v2 {
			c.APDUUsed = c.NPDUUsed
		}
	}
	return c
}

// noise is a link quality that means nothing: of messages that have none, firmware sends
// whatever is in the memory.
func (d *Dongle) noise() uint8 { return uint8(d.airRandom.UintN(256)) }

// broadcast sends a frame to everybody, to those that listen when idle, or to routers.
func (d *Dongle) broadcast(addr uint16, frame AirFrame) uint8 {
	if len(frame.Payload) > largestUnfragmented || !d.reserve(false) {
		return message.StatusTransmitFailed
	}
	frame.Addr = addr
	frame.Broadcast = true
	o := &outgoing{frame: frame, mode: message.AddrModeNetwork, aps: d.countAPS()}
	d.tap(frame)
	for _, v := range d.devices {
		if !v.joined || v.away || v.cfg.Sleepy && addr != addrEverybody {
			continue
		}
		hold := v.pollWait()
		if hold > parentKeeps {
			continue
		}
		if chance(d.airRandom, d.cfg.Faults.LoseAir) {
			d.stats.AirLost++
			continue
		}
		d.after(d.pace.wait(hold+airDelay), func() { v.hear(frame) })
	}
	d.after(d.pace.wait(confirmDelay), func() { d.confirm(o) })
	d.after(d.pace.wait(2*airDelay), func() { d.release(o) })
	return message.StatusOK
}

func (d *Dongle) tap(frame AirFrame) {
	if d.cfg.OnAir != nil {
		frame.Payload = slices.Clone(frame.Payload)
		d.cfg.OnAir(frame)
	}
}
