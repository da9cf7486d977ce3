package slot

import (
	"slices"
	"time"
)

// A healthy download keeps the slot. Only one that takes longer than a slice gives way to quicker ones, by a
// slot switch: the next request of each of its devices is answered with wait-for-data for as long as the
// others need. Only when all have been told is the slot given away, and it is back before the first of them
// asks again: the dongle would refuse its request otherwise. That is a promise. Who has the slot when one is
// due is told to wait for a moment, too.

const (
	// LongestWait is the longest that a device is told to wait. Some devices cut what is longer (Silicon
	// Labs' clients: an hour), and would ask while another image has the slot.
	LongestWait = time.Hour
	// toldTimeout is how long the devices have to ask once more and be told to wait. A device that does not
	// ask for so long has stalled, or is gone.
	toldTimeout = 20 * time.Second
	// longestTold bounds it for devices that take long from one block to the next.
	longestTold = 3 * time.Minute
	// toldMargin is how much later than its time a paused device may ask.
	toldMargin = 10 * time.Second
	// loadMargin is for loading a header, and for a device whose clock runs fast.
	loadMargin = 3 * time.Second
	// leastUse is the least time for which an image gets the slot before a promise is due.
	leastUse = 20 * time.Second
	// quicker is how much sooner than a slow download another image has to be done for the slow one to give
	// way, so that estimates which are a little wrong interrupt nobody.
	quicker = 2
)

// switchTimeout is how long putting the downloads of devices off takes at the longest: each asks once more,
// and one that a person has paused only when its time is over.
func (p *plan) switchTimeout(devices ...*Candidate) time.Duration {
	timeout := toldTimeout
	for _, c := range devices {
		timeout = max(timeout, min(3*p.spacing(c), longestTold))
	}
	if slices.ContainsFunc(devices, func(c *Candidate) bool { return c.Held }) {
		return max(timeout, p.Policy.PauseStep+toldMargin)
	}
	return timeout + 2*p.Policy.BlockInterval
}

// toBePutOff are those who use the slot and have to be told to wait in a slot switch. Who was offered the
// image and has not begun gives up at once.
func (p *plan) toBePutOff() []*Candidate {
	return slices.DeleteFunc(slices.Clone(p.users), func(c *Candidate) bool { return c.Stage == Offered })
}

// lead is how long before a device asks again a slot switch for it has to begin.
func (p *plan) lead() time.Duration { return p.timeout + loadMargin }

// gap is the least time between the ends of two waits of different images: the devices of the first are asked
// to wait again in between.
func (p *plan) gap() time.Duration { return max(p.timeout, toldTimeout) + 2*loadMargin + toldMargin }

// isPromised reports whether a device was told to wait until a time that is still to come.
func (p *plan) isPromised(c *Candidate) bool {
	return c.isPutOff() && c.Told && p.now.Before(c.PutOffUntil)
}

// firstPromised is the device that asks again first of those that were told to wait; nil where there is none.
func (p *plan) firstPromised() *Candidate {
	var earliest *Candidate
	for _, c := range p.waiting {
		if p.isPromised(c) && (earliest == nil || c.PutOffUntil.Before(earliest.PutOffUntil)) {
			earliest = c
		}
	}
	return earliest
}

// nearly reports whether a device that was told to wait asks again so soon that no other image is to get the
// slot before.
func (p *plan) nearly(c *Candidate) bool {
	return p.now.Add(p.lead() + leastUse).After(c.PutOffUntil)
}

// tooLate reports whether the slot is promised to another image so soon that a device, once it has begun,
// could not be told to wait in time. A slow one takes longer to be told.
func (p *plan) tooLate(c *Candidate) bool {
	latest := p.latestBegin(c)
	return !latest.IsZero() && p.now.After(latest)
}

// latestBegin is until when a device may begin because of what is promised to another image, or its header
// may be loaded for it to begin; zero stands for any time.
func (p *plan) latestBegin(c *Candidate) time.Time {
	if p.promised == nil || p.promised.Key == c.Key {
		return time.Time{}
	}
	lead := max(p.lead(), p.switchTimeout(c)+loadMargin)
	if !p.Slot.Holds(c.Key) {
		lead += loadMargin // else it would be too late once the header is loaded
	}
	return p.promised.PutOffUntil.Add(-lead - leastUse)
}

// mayHaveSlot reports whether one who waits could be given the slot now, as far as others are concerned: it
// is not to ask at a time of its own, nobody has paused it, and no promise is due before it could be told.
func (p *plan) mayHaveSlot(c *Candidate) bool { return !p.isPromised(c) && !c.Held && !p.tooLate(c) }

// asksSoon reports whether a device that was told to wait will ask again before a slot switch could end.
func (p *plan) asksSoon(c *Candidate) bool {
	return p.isPromised(c) && !p.now.Before(c.PutOffUntil.Add(-p.lead()))
}

// claim is the device of another image that asks again soon, so that the slot has to be given to it; nil
// where there is none.
func (p *plan) claim() *Candidate {
	if c := p.promised; c != nil && c.Key != p.Slot.key && p.asksSoon(c) {
		return c
	}
	return nil
}

// mustSwitch reports whether those who use the slot have to give way: a promise is due, or they are slow and
// others are quicker.
func (p *plan) mustSwitch() bool {
	if p.claim() != nil {
		return true
	}
	if p.promised != nil {
		return false // one at a time is told to wait for others
	}
	return len(p.quickerImages()) > 0
}

// slowness is how long those who use the slot still need at least, less what they have waited for already, so
// that nobody is put off for ever. It is 0 where one of them is not slow.
func (p *plan) slowness() time.Duration {
	least := never
	active := 0
	for _, c := range p.users {
		if p.isIdle(c, answerWithin(c)) {
			continue
		}
		active++
		if c.Rate == 0 && !c.Held || p.now.Before(c.ActiveAt) {
			return 0 // that is not known yet, or it is still to ask after a wait
		}
		left := p.remaining(c)
		if !c.Held {
			left -= max(p.now.Sub(c.WaitsSince), 0) / ageShare
		}
		if left <= p.Policy.Slice {
			return 0
		}
		least = min(least, left)
	}
	if active == 0 {
		return 0 // they give the slot up
	}
	return least
}

// quickerImages lists the images for which those who use the slot have to give way, in the order in which
// they are to have it.
func (p *plan) quickerImages() []Key {
	slow := p.slowness()
	var images []Key
	for _, c := range p.waiting {
		fits := c.Key != p.Slot.key && !c.Held && c.readiness(p.now) == ready && p.need[c.Key] <= slow/quicker
		if fits && !slices.Contains(images, c.Key) {
			images = append(images, c.Key)
		}
	}
	return images
}

// beginSwitch has the devices that download told to wait.
func (p *plan) beginSwitch() Decision {
	d := BeginSwitch{Until: p.waitsUntil()}
	asks := p.now
	for _, c := range p.users {
		asks = later(asks, c.ActiveAt) // one that was told to wait asks then, not before
		if c.Stage == Offered {
			d.GiveUp = append(d.GiveUp, c.Device)
		} else {
			d.PutOff = append(d.PutOff, c.Device)
		}
	}
	d.Deadline = asks.Add(p.timeout)
	if claim := p.claim(); claim != nil { // the promise is kept also to the cost of who asks too seldom
		d.Deadline = earlier(d.Deadline, later(p.now, claim.PutOffUntil.Add(-loadMargin)))
	}
	return d
}

// waitsUntil is when the devices that are told to wait now are to ask again: when the others are done as far
// as can be told, not within moments of another promise, and within an hour.
func (p *plan) waitsUntil() time.Time {
	until := p.now.Add(2*p.timeout + loadMargin)
	if claim := p.claim(); claim != nil {
		until = claim.PutOffUntil.Add(p.stay(claim))
	} else {
		// Who comes back too early costs the others a moment; who comes back too late, the slot's time.
		need := p.needs(p.waiting, likelyRate)
		for _, key := range p.quickerImages() {
			until = until.Add(need[key] + need[key]/4 + loadMargin)
		}
	}
	latest := p.now.Add(LongestWait)
	if until.After(latest) {
		until = latest
	}
	return p.apart(until, latest)
}

// stay is how long a device that was promised the slot keeps it before those who gave way for it come back:
// for a moment, in which it is told to wait again, where they are quicker; else for what it needs, a slice at
// most.
func (p *plan) stay(claim *Candidate) time.Duration {
	mine := time.Duration(0)
	for _, c := range p.users {
		if !c.Held {
			mine = max(mine, p.remaining(c))
		}
	}
	theirs := p.remaining(claim)
	if claim.Held || mine > 0 && mine <= theirs/quicker {
		return p.gap()
	}
	return p.gap() + min(theirs+theirs/4, p.Policy.Slice)
}

// apart moves the end of a wait away from those of other promises: later where that is possible, else sooner.
func (p *plan) apart(until, latest time.Time) time.Time {
	var taken []time.Time
	for _, c := range p.waiting {
		if p.isPromised(c) && c.Key != p.Slot.key {
			taken = append(taken, c.PutOffUntil)
		}
	}
	slices.SortFunc(taken, time.Time.Compare)
	gap := p.gap()
	moved := until
	for _, at := range taken {
		if at.Sub(moved).Abs() < gap {
			moved = at.Add(gap)
		}
	}
	if !moved.After(latest) {
		return moved
	}
	moved = latest
	for _, at := range slices.Backward(taken) {
		if at.Sub(moved).Abs() < gap {
			moved = at.Add(-gap)
		}
	}
	return moved
}

// toBeTold reports whether a slot switch is under way with a device that still may ask and be told to wait.
func (p *plan) toBeTold() bool {
	if !p.Slot.Switching() || !p.now.Before(p.Slot.change.deadline) {
		return false
	}
	for _, device := range p.Slot.change.devices {
		if c := p.find(device); c != nil && c.Served && !c.Told {
			return true
		}
	}
	return false
}

// finishSwitch puts the devices of the slot switch off, but for those whose download has ended meanwhile.
func (p *plan) finishSwitch() Decision {
	d := FinishSwitch{Until: p.Slot.change.until}
	for _, device := range p.Slot.change.devices {
		if c := p.find(device); c != nil && c.InDownload() {
			d.Devices = append(d.Devices, device)
		}
	}
	return d
}
