package sim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Times of the radio.
const (
	airDelay       = 8 * time.Millisecond    // from one end to the other
	confirmDelay   = 5 * time.Millisecond    // until the first hop has the frame
	ackTimeout     = 1600 * time.Millisecond // of one try with acknowledgement
	ackTries       = 4
	routeTimeout   = 1500 * time.Millisecond // until a route discovery has failed
	macTimeout     = 40 * time.Millisecond   // until a next hop counts as gone
	parentKeeps    = 7 * time.Second         // how long a parent keeps a message for a sleeping child
	routeDiscovery = 100 * time.Millisecond
)

// air is what lies between the dongle and its devices: it takes time, and loses frames.
type air struct {
	timeline *timeline
	stats    *Stats
	random   *rand.Rand // of everything random but the line and the devices
	faults   Faults
	onAir    func(AirFrame)
	toDongle func(AirFrame, uint8) // takes a frame that has arrived at the dongle, with its link quality
}

// tap shows a frame that is sent to who looks on.
func (a *air) tap(frame AirFrame) {
	if a.onAir != nil {
		frame.Payload = slices.Clone(frame.Payload)
		a.onAir(frame)
	}
}

// carry takes a frame from a device to the dongle, without acknowledgement.
func (a *air) carry(frame AirFrame, lqi uint8) {
	a.tap(frame)
	if a.loses() {
		return
	}
	a.timeline.later(a.timeline.pace.wait(airDelay), func() { a.toDongle(frame, lqi) })
}

// loses draws whether a frame that is sent without acknowledgement does not arrive.
func (a *air) loses() bool {
	lost := chance(a.random, a.faults.LoseAir)
	if lost {
		a.stats.AirLost++
	}
	return lost
}

// losesTry draws whether one try with acknowledgement does not arrive, or its acknowledgement does not.
func (a *air) losesTry() (frame, ack bool) {
	frame = chance(a.random, a.faults.LoseAir)
	ack = chance(a.random, a.faults.LoseAck)
	if frame || ack {
		a.stats.AirLost++
	}
	return frame, ack
}

// noise is a byte that nobody wrote: of messages that have no link quality, firmware sends whatever is in
// the memory.
func (a *air) noise() uint8 { return uint8(a.random.UintN(256)) }
