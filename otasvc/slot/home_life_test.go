package slot_test

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// takes reports whether a device takes blocks all the time.
func (d *resident) takes() bool {
	return d.Stage == slot.Downloading && !d.since.IsZero() && d.waitUntil.IsZero() && d.PutOffUntil.IsZero()
}

// silentAt is when a device that takes blocks falls silent; zero stands for never.
func (d *resident) silentAt() time.Time {
	if d.stopsAt == 0 {
		return time.Time{}
	}
	return d.since.Add(takes(max(d.left, d.stopsAt)-d.stopsAt, d.rate))
}

// takes is how long bytes take.
func takes(bytes uint32, rate int) time.Duration {
	return time.Duration(bytes) * time.Second / time.Duration(rate)
}

// advance notes what a device has by now.
func (d *resident) advance(now time.Time) {
	if !d.takes() {
		return
	}
	silent := d.silentAt()
	over := !silent.IsZero() && now.After(silent)
	if over {
		now = silent
	}
	took := now.Sub(d.since)
	d.Left = d.left - min(d.left, uint32(int64(took)*int64(d.rate)/int64(time.Second)))
	if over {
		d.Left = min(d.left, d.stopsAt)
	}
	if d.ActiveAt.Before(now) {
		d.ActiveAt = now
	}
	if took >= 30*time.Second {
		d.Rate = d.rate
	}
}

// mostSteps is how much happens in a home at most.
const mostSteps = 20_000

// step goes on to the next thing that happens. It reports false where nothing does any more.
func (h *home) step() bool {
	if h.steps++; h.steps > mostSteps {
		h.fault("it does not come to an end: the slot is %+v", h.slot)
		return false
	}
	next := h.soonest()
	if next.IsZero() {
		return false
	}
	if next.After(h.now) {
		h.now = next
	} else {
		h.now = h.now.Add(time.Millisecond)
	}
	if h.trouble && !h.now.Before(h.troubleAt) {
		h.troubleAt = h.now.Add(time.Duration(1+h.r.IntN(600)) * time.Second)
		h.meddle()
	}
	h.answer()
	for _, d := range h.residents {
		if !d.ended {
			h.live(d)
		}
	}
	h.settle()
	return true
}

// soonest is when the next thing happens.
func (h *home) soonest() time.Time {
	var next time.Time
	consider := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	later := func(at time.Time) {
		if at.After(h.now) {
			consider(at)
		}
	}
	if h.slot.IsBusy() {
		consider(h.answerAt)
	}
	if h.trouble {
		consider(h.troubleAt)
	}
	for _, at := range h.memory {
		later(at)
	}
	later(slot.Next(h.view(), h.now))
	for _, d := range h.residents {
		if !d.ended {
			consider(h.eventOf(d))
		}
	}
	return next
}

// eventOf is when a device does something next.
func (h *home) eventOf(d *resident) time.Time {
	var next time.Time
	consider := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	switch d.Stage {
	case slot.Scheduled:
		return d.DueAt
	case slot.Withheld:
		return d.releaseAt
	case slot.Elsewhere:
		return h.now
	}
	if d.Sleepy && (d.Stage == slot.Queued || d.Stage == slot.Offered) && !d.dead {
		consider(d.wakeAt)
		if d.wakeAt.IsZero() {
			return h.now
		}
	}
	if d.Stage == slot.Offered {
		consider(d.answerAt)
		if d.dead {
			consider(d.OfferedAt.Add(5*time.Minute + time.Millisecond))
		}
	}
	if d.Stage != slot.Downloading && d.Stage != slot.Paused {
		return next
	}
	if d.silent() {
		if d.PutOffUntil.IsZero() {
			consider(d.ActiveAt.Add(5 * time.Minute)) // its upgrade ends
		}
		return next
	}
	if d.takes() {
		done := d.since.Add(takes(d.left-min(d.stopsAt, d.left), d.rate) + time.Millisecond)
		if !done.After(h.now) {
			done = h.now.Add(time.Second) // it asks for its last block again
		}
		consider(done)
	}
	consider(d.waitUntil)
	consider(d.asksAt)
	return next
}

// silent reports whether a device has fallen silent.
func (d *resident) silent() bool { return d.stopsAt > 0 && d.Left <= d.stopsAt }

// answer has the dongle take the header that is under way, or not.
func (h *home) answer() {
	if !h.slot.IsBusy() || h.now.Before(h.answerAt) {
		return
	}
	switch {
	case h.trouble && h.r.IntN(10) == 0:
		h.slot = h.slot.Refused(h.now)
		h.clearing = false
		return
	case h.clearing:
		h.slot = h.slot.Cleared()
		h.clearing = false
	default:
		h.slot = h.slot.Loaded()
		h.unused = h.sent
	}
	h.hold(h.sent)
}

// hold has the dongle hold another header: it refuses the blocks of all others.
func (h *home) hold(k slot.Key) {
	h.held = k
	for _, d := range h.residents {
		if d.ended || !d.takes() || d.silent() {
			continue
		}
		switch {
		case d.Key == k:
			h.unused = slot.Key{}
		case !d.Overlaps && !d.LastBlock:
			h.refuse(d, "the header was changed")
		}
	}
}

// live lets a device do what it does now.
func (h *home) live(d *resident) {
	d.advance(h.now)
	if d.Stage == slot.Scheduled && !h.now.Before(d.DueAt) {
		d.Stage = slot.Queued
	}
	woke := d.Sleepy && !d.dead && !h.now.Before(d.wakeAt)
	if woke {
		d.wakeAt = h.now.Add(d.wakes)
	}
	switch d.Stage {
	case slot.Queued:
		if woke {
			d.AwakeUntil = h.now.Add(slot.ListensFor)
		}
	case slot.Offered:
		h.answersOffer(d, woke)
	case slot.Downloading, slot.Paused:
		h.ask(d)
	case slot.Withheld:
		if !h.now.Before(d.releaseAt) {
			d.Stage = slot.Elsewhere
		}
	case slot.Elsewhere:
		d.end()
	}
}

// answersOffer has a device that was notified begin.
func (h *home) answersOffer(d *resident, woke bool) {
	answers := !d.answerAt.IsZero() && !h.now.Before(d.answerAt)
	switch {
	case answers || woke:
		d.answerAt = time.Time{}
		if h.held != d.Key || h.slot.IsBusy() {
			return // the dongle has no image for it
		}
		d.Stage = slot.Downloading
		d.ActiveAt = h.now
		h.goOn(d)
	case d.dead && h.now.Sub(d.OfferedAt) > 5*time.Minute:
		d.end()
	}
}

// ask lets a device ask where it matters: when its wait is over, when it is to be told to wait, when it has
// everything, and when it has been silent for too long.
func (h *home) ask(d *resident) {
	if d.silent() {
		if d.PutOffUntil.IsZero() && h.now.Sub(d.ActiveAt) >= 5*time.Minute {
			d.end()
		}
		return
	}
	due := func(at *time.Time) bool {
		if at.IsZero() || h.now.Before(*at) {
			return false
		}
		*at = time.Time{}
		return true
	}
	if due(&d.waitUntil) || due(&d.asksAt) {
		h.asksNow(d)
	}
	if d.takes() && d.Left == 0 && !h.slot.TellsToWait(d.Device) {
		h.finish(d)
	}
}

// asksNow has a device ask for a block.
func (h *home) asksNow(d *resident) {
	if !d.waitUntil.IsZero() {
		return
	}
	if h.held != d.Key && !d.LastBlock && !d.Overlaps {
		h.refuse(d, "it asked")
	}
	d.ActiveAt = h.now
	switch {
	case h.slot.TellsToWait(d.Device) && h.now.Before(h.change.Until):
		d.advance(h.now)
		d.since = time.Time{}
		d.Told = true
		d.waitUntil = h.change.Until
	case !d.PutOffUntil.IsZero() && h.now.Before(d.PutOffUntil):
		d.Told = true
		d.waitUntil = d.PutOffUntil
	case d.Held:
		d.waitUntil = h.now.Add(h.policy.PauseStep)
	case d.PutOffUntil.IsZero() && d.since.IsZero():
		h.goOn(d)
	}
}

// finish ends a download. One whose installation is to wait gets its last block when the slot is empty.
func (h *home) finish(d *resident) {
	if !d.InstallLater {
		d.Stage = slot.Elsewhere
		d.Served = false
		return
	}
	if !h.slot.IsCleared() {
		if !h.slot.IsBusy() && !h.slot.PagesAsked() && !d.LastBlock {
			d.LastBlock = true
			h.slot = h.slot.Clearing()
			h.clearing = true
			h.send(slot.Key{})
		}
		return
	}
	d.LastBlock = false
	d.Stage = slot.Withheld
	d.Served = false
	d.releaseAt = h.now.Add(time.Duration(h.r.IntN(600)) * time.Second)
}

// meddle has something go wrong now and then.
func (h *home) meddle() {
	h.unused = slot.Key{}
	d := h.residents[h.r.IntN(len(h.residents))]
	switch h.r.IntN(15) {
	case 0:
		h.slot = h.slot.Restarted()
	case 1:
		h.slot = h.slot.Lost()
	case 2:
		h.slot = h.slot.Distrusted()
	case 3:
		h.slot = h.slot.PageAsked()
	case 4:
		h.unusable = !h.unusable
	case 5:
		h.noNew = !h.noNew
	case 6, 7:
		h.crowded = !h.crowded
	case 8:
		d.end()
	case 9:
		d.Located = !d.Located
	case 10:
		d.Canary = 0
	case 11:
		if d.Stage == slot.Downloading || d.Stage == slot.Offered {
			d.advance(h.now)
			d.Held = true
			d.Stage = slot.Paused
			d.Begun = true
			d.since = time.Time{}
			d.waitUntil = h.now.Add(h.policy.PauseStep)
		}
	case 12:
		if d.Held && d.PutOffUntil.IsZero() {
			d.Held = false
			d.Stage = slot.Downloading
		}
	case 13:
		if d.Stage == slot.Offered || d.Stage == slot.Downloading {
			h.giveUp([]message.IEEE{d.Device})
			d.since = time.Time{}
			d.NotBefore = h.now.Add(10 * time.Second)
		}
	case 14:
		h.slot = h.slot.Kept(h.now.Add(10 * time.Second))
	}
}
