package slot

import (
	"time"
)

// Several images take the slot one after the other. When an image has waited for a slice, the downloads under
// way are put off by a slot switch: the next request of each device is answered with wait-for-data for as
// long as the other images may need. Only when all devices have been told is the slot given away, and it is
// back before the first of them asks again: the dongle would refuse its request otherwise.

const (
	// toldTimeout is how long the devices have to ask once more and be told to wait. A device that does not
	// ask for so long has stalled, or is gone.
	toldTimeout = 20 * time.Second
	// toldLeast is how long they have even where slices are shorter.
	toldLeast = 5 * time.Second
	// toldMargin is how much later than its time a paused device may ask.
	toldMargin = 10 * time.Second
	// loadMargin is for loading a header, and for a device whose clock runs fast.
	loadMargin = 3 * time.Second
	// startTime is what a download needs besides its blocks: the notification, the query, the end.
	startTime = 30 * time.Second
	// mostSlices is for how many images' time a device is told to wait at most.
	mostSlices = 8
	// sleepTimeout is how long a sleepy device that was notified keeps the slot when another image waits for
	// it.
	sleepTimeout = 30 * time.Second
	// sleepShare is the part of the time that a sleepy device has waited already for which it keeps the slot
	// when only sleepy devices wait for another image. So devices that sleep for weeks do not have the
	// contents of the slot changed, told and written each half a minute.
	sleepShare = 20
)

// switchTimeout is how long putting the downloads under way off takes at the longest. A device that a person
// has paused asks only when its time is over.
func (po Policy) switchTimeout(anyHeld bool) time.Duration {
	timeout := min(toldTimeout, max(po.Slice, toldLeast))
	if anyHeld {
		return po.PauseStep + toldMargin
	}
	return timeout + 2*po.BlockInterval
}

// LongestPutOff is the longest that a device may have been told to wait for other images.
func (po Policy) LongestPutOff() time.Duration {
	timeout := po.switchTimeout(true) + 2*po.BlockInterval
	return mostSlices*(po.Slice+timeout+loadMargin) + 2*timeout + loadMargin
}

// sleepTimeout is how long a device that was notified keeps the slot when others wait for another image.
func (p *plan) sleepTimeout(c *Candidate, others []*Candidate) time.Duration {
	allSleep := true
	for _, other := range others {
		if other.listens(p.now) {
			return ListensFor // the parent of the device has thrown the notification away by then
		}
		allSleep = allSleep && other.Sleepy
	}
	if !allSleep {
		return sleepTimeout
	}
	return max(sleepTimeout, min(p.now.Sub(c.WaitsSince)/sleepShare, p.Policy.Slice))
}

// nextImage returns the first who waits for another image than the loaded one and is to have the slot now, or
// nil. It is one that was put off and asks again soon, or one that has waited for longer than a slice since
// the loaded image got the slot.
func (p *plan) nextImage() *Candidate {
	for _, c := range p.waiting {
		if c.Key == p.Slot.key {
			continue
		}
		waited := min(p.now.Sub(c.QueuedSince), p.now.Sub(p.Slot.since))
		if p.asksSoon(c) || !p.now.Before(c.PutOffUntil) && waited > p.Policy.Slice {
			return c
		}
	}
	return nil
}

// asksSoon reports whether a device that was put off will ask again before a slot switch could end. One that
// has asked already, and was refused, gains nothing from a hurry: it waits like any other.
func (p *plan) asksSoon(c *Candidate) bool {
	return p.now.Before(c.PutOffUntil) && !p.now.Before(c.PutOffUntil.Add(-p.timeout-loadMargin))
}

// beginSwitch has the devices that download told to wait.
func (p *plan) beginSwitch() Decision {
	d := BeginSwitch{
		Until:    p.now.Add(p.timeout + p.othersNeed() + p.timeout + loadMargin),
		Deadline: p.now.Add(p.timeout),
	}
	for _, c := range p.users {
		if c.Stage == Offered && !c.Begun {
			d.GiveUp = append(d.GiveUp, c.Device)
		} else {
			d.PutOff = append(d.PutOff, c.Device)
		}
	}
	return d
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
		if c := p.find(device); c != nil && c.inDownload() {
			d.Devices = append(d.Devices, device)
		}
	}
	return d
}

// othersNeed estimates how long those who wait for other images than the loaded one need, one image after the
// other: what they have to download at the rate of those who download now, at most a slice for each. A device
// that is put off cannot be called back sooner, so an estimate that is too long would leave the slot idle.
func (p *plan) othersNeed() time.Duration {
	type need struct {
		devices int
		bytes   float64
	}
	needs := map[Key]need{}
	var images []Key // in the order of the queue
	for _, c := range p.waiting {
		if c.Key == p.Slot.key {
			continue
		}
		n, known := needs[c.Key]
		if !known {
			images = append(images, c.Key)
		}
		needs[c.Key] = need{devices: n.devices + 1, bytes: n.bytes + float64(c.Left)}
	}

	rate := 0
	for _, c := range p.users {
		rate = max(rate, c.Rate)
	}
	var sum time.Duration
	for _, key := range images[:min(len(images), mostSlices)] {
		n := needs[key]
		slice := p.Policy.Slice
		if rate > 0 {
			seconds := n.bytes / float64(rate) / float64(min(n.devices, max(p.Policy.Concurrency, 1)))
			slice = min(slice, startTime+time.Duration(1.25*seconds*float64(time.Second)))
		}
		sum += slice + p.timeout + loadMargin // for it stands ready before its devices ask again
	}
	return sum
}
