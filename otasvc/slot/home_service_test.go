package slot_test

import (
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// of are the residents of devices.
func (h *home) of(devices ...message.IEEE) []*resident {
	var found []*resident
	for _, d := range h.residents {
		if slices.Contains(devices, d.Device) {
			found = append(found, d)
		}
	}
	return found
}

// carryOut does what was decided.
func (h *home) carryOut(decision slot.Decision) {
	switch d := decision.(type) {
	case slot.Load:
		h.slot = h.slot.Loading(d.Key)
		h.loads++
		h.send(d.Key)
	case slot.Clear:
		h.slot = h.slot.Clearing()
		h.clearing = true
		h.send(slot.Key{})
	case slot.Reset:
		h.slot = h.slot.Reset(h.now)
		h.hold(slot.Key{})
	case slot.Read:
		h.memory[d.SHA256] = h.now.Add(time.Duration(h.r.IntN(3000)) * time.Millisecond)
	case slot.Admit:
		for _, r := range h.of(d.Devices...) {
			r.Served = true
		}
	case slot.Offer:
		h.slot = h.slot.Offered(h.crowded, h.now)
		h.offer(h.of(d.Device)[0])
	case slot.Defer:
		h.slot = h.slot.Deferred(h.now)
	case slot.EndForBattery:
		h.of(d.Device)[0].end()
	case slot.GiveUp:
		h.giveUp(d.Devices)
		for _, r := range h.of(d.Aside...) {
			r.putOff(h.now, h.now)
		}
	case slot.BeginSwitch:
		h.beginSwitch(d)
	case slot.FinishSwitch:
		h.slot = h.slot.SwitchFinished()
		for _, r := range h.of(d.Devices...) {
			r.putOff(d.Until, h.now)
		}
	case slot.CallBack:
		h.slot = h.slot.CalledBack()
		for _, r := range h.of(d.Devices...) {
			h.callBack(r)
		}
	}
}

// beginSwitch has devices told to wait when they ask next.
func (h *home) beginSwitch(d slot.BeginSwitch) {
	h.giveUp(d.GiveUp)
	h.slot = h.slot.SwitchBegun(d)
	h.change = d
	for _, r := range h.of(d.PutOff...) {
		r.Told = false
		if r.waitUntil.IsZero() {
			r.asksAt = h.now.Add(time.Duration(h.r.IntN(3000)) * time.Millisecond)
		}
	}
}

// putOff has a device wait for another image.
func (d *resident) putOff(until, now time.Time) {
	d.advance(now)
	d.since = time.Time{}
	d.PutOffUntil = until
	d.QueuedSince = now
	d.Stage = slot.Paused
}

// callBack lets a device go on.
func (h *home) callBack(d *resident) {
	if d.Told {
		d.ActiveAt = d.PutOffUntil
	}
	d.PutOffUntil = time.Time{}
	d.Told = false
	d.Stage = slot.Downloading
	if d.Held {
		d.Stage = slot.Paused
	}
	h.unused = slot.Key{}
	if d.waitUntil.IsZero() && d.since.IsZero() && !d.silent() {
		h.goOn(d)
	}
}

// goOn has a device take blocks.
func (h *home) goOn(d *resident) {
	d.since = h.now
	d.left = d.Left
	d.Begun = true
	h.unused = slot.Key{}
}

// send has the dongle answer within two seconds.
func (h *home) send(k slot.Key) {
	h.sent = k
	h.answerAt = h.now.Add(time.Duration(h.r.IntN(2000)) * time.Millisecond)
}

func (h *home) offer(d *resident) {
	d.Stage = slot.Offered
	d.Served = true
	d.Unanswered = false
	d.OfferedAt = h.now
	d.tries++
	d.answerAt = time.Time{}
	if !d.dead && !d.Sleepy || h.now.Before(d.AwakeUntil) {
		d.answerAt = h.now.Add(time.Duration(500+h.r.IntN(3000)) * time.Millisecond)
	}
	if d.servedAt.IsZero() {
		d.servedAt = h.now
	}
	h.unused = slot.Key{}
}

func (h *home) giveUp(devices []message.IEEE) {
	for _, d := range h.of(devices...) {
		d.Stage = slot.Queued
		d.Served = false
		d.Begun = false
		d.Unanswered = true
		d.QueuedSince = h.now
		d.answerAt = time.Time{}
		if d.tries > 20 {
			d.end()
		}
	}
}

func (d *resident) end() {
	d.ended = true
	d.Served = false
}
