package slot

import (
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Plan says what is to be done next about the slot, or nil where there is nothing to do for now. It gives the
// same decision for the same arguments, whatever the order of the upgrades in the view. Once a decision was
// carried out, the view is another one and Plan is to be asked again.
func Plan(v View, now time.Time) Decision {
	if !v.Usable || v.Slot.busy || now.Before(v.Slot.retryAt) {
		return nil
	}
	p := look(&v, now)

	switch {
	case v.awaitsLastBlock():
		return nil
	case p.toBeTold():
		return nil
	case v.Slot.Switching():
		return p.finishSwitch()
	}

	if devices := p.asleep(); len(devices) > 0 {
		return GiveUp{Devices: devices}
	}
	next := p.next()
	if next == nil {
		return p.clear()
	}
	if !v.Slot.Holds(next.Key) || next.Image != ImageReady {
		return p.load(next)
	}
	return p.serve()
}

// plan is a view, sorted once for the rules that look at it.
type plan struct {
	*View
	now     time.Time
	users   []*Candidate // those that may ask for blocks at any moment, in the order of the queue
	waiting []*Candidate // those that could have the slot, who comes first first
	timeout time.Duration
	due     *Candidate // who waits for another image that is to have the slot now; nil if there is none
}

// look sorts a view.
func look(v *View, now time.Time) *plan {
	p := &plan{View: v, now: now}
	for i := range v.Upgrades {
		if c := &v.Upgrades[i]; c.UsesSlot() {
			p.users = append(p.users, c)
		}
	}
	slices.SortFunc(p.users, byQueue)

	anyHeld := slices.ContainsFunc(p.users, func(c *Candidate) bool { return c.Held })
	p.timeout = v.Policy.switchTimeout(anyHeld)
	p.waiting = p.inLine()
	p.due = p.nextImage()
	return p
}

// find returns the upgrade of a device, or nil.
func (v *View) find(device message.IEEE) *Candidate {
	i := slices.IndexFunc(v.Upgrades, func(c Candidate) bool { return c.Device == device })
	if i < 0 {
		return nil
	}
	return &v.Upgrades[i]
}

// awaitsLastBlock reports whether the slot has to stay as it is for the last block of a device.
func (v *View) awaitsLastBlock() bool {
	return slices.ContainsFunc(v.Upgrades, func(c Candidate) bool { return c.LastBlock && c.inDownload() })
}

// asleep returns the devices that use the slot, if all of them slept through their notification and another
// image waits.
func (p *plan) asleep() []message.IEEE {
	if len(p.users) == 0 {
		return nil
	}
	current := p.users[0].Key
	others := slices.DeleteFunc(slices.Clone(p.waiting), func(c *Candidate) bool { return c.Key == current })
	if len(others) == 0 {
		return nil
	}
	for _, c := range p.users {
		if !c.sleptThrough(p.sleepTimeout(c, others), p.now) {
			return nil
		}
	}
	return devicesOf(p.users)
}

// next returns the upgrade whose image should be in the slot, or nil where nobody needs it: that of the
// downloads under way, else that of who has waited for longer than a slice, else that of the first who waits.
func (p *plan) next() *Candidate {
	switch {
	case len(p.users) > 0:
		return p.users[0]
	case p.due != nil:
		// This holds even where a device of the loaded image stands before it: that image has had its slice.
		return p.due
	case len(p.waiting) > 0:
		return p.waiting[0]
	default:
		return nil
	}
}

// clear empties a slot that nobody needs.
func (p *plan) clear() Decision {
	switch {
	case p.Slot.IsCleared() || !p.now.After(p.Slot.keepUntil):
		return nil
	case p.Slot.pagesAsked:
		return Reset{}
	default:
		return Clear{}
	}
}

// load brings the header of an image into the slot.
func (p *plan) load(c *Candidate) Decision {
	switch {
	case c.Image == ImageAbsent:
		return Read{SHA256: c.Key.SHA256}
	case c.Image == ImageReading:
		return nil
	case p.Slot.pagesAsked && c.Key != p.Slot.key:
		return Reset{}
	default:
		return Load{Key: c.Key}
	}
}

// serve gives the image in the slot to the devices that are to have it, and ends its time where another one
// is due.
func (p *plan) serve() Decision {
	if devices := p.unserved(); len(devices) > 0 {
		return Admit{Devices: devices}
	}
	if devices := p.comingBack(); len(devices) > 0 {
		return CallBack{Devices: devices}
	}
	if p.due == nil {
		return p.fillPlace()
	}
	if len(p.users) > 0 {
		return p.beginSwitch()
	}
	return nil
}

// unserved returns the devices that download the loaded image and get no blocks.
func (p *plan) unserved() []message.IEEE {
	var devices []message.IEEE
	for _, c := range p.users {
		if !c.Served && c.Key == p.Slot.key {
			devices = append(devices, c.Device)
		}
	}
	return devices
}

// comingBack returns the devices of the loaded image that were put off and may go on.
func (p *plan) comingBack() []message.IEEE {
	if len(p.users) > 0 && p.due != nil {
		return nil // the time of the image is about to end
	}
	var devices []message.IEEE
	for _, c := range p.waiting {
		if c.isPutOff() && c.Key == p.Slot.key {
			devices = append(devices, c.Device)
		}
	}
	return devices
}

// fillPlace offers the loaded image to the first who waits for it, if one more may download.
func (p *plan) fillPlace() Decision {
	if slices.ContainsFunc(p.users, func(c *Candidate) bool { return c.InstallLater }) {
		return nil // it downloads alone
	}
	for _, c := range p.waiting {
		if c.Key != p.Slot.key || c.Stage != Queued || c.InstallLater && len(p.users) > 0 {
			continue
		}
		if c.BatteryLow {
			return EndForBattery{Device: c.Device}
		}
		if len(p.users) >= p.Policy.Concurrency {
			return nil
		}
		return p.offer(c)
	}
	return nil
}

// offer offers the loaded image to a device, or puts that off for a while where the dongle's buffers are
// full.
func (p *plan) offer(c *Candidate) Decision {
	since := p.Slot.deferredSince
	switch {
	case p.Crowded && since.IsZero():
		return Defer{}
	case p.Crowded && p.now.Sub(since) < p.Policy.CrowdedTimeout:
		return nil
	default:
		return Offer{Device: c.Device, Key: c.Key}
	}
}

// devicesOf returns the devices of upgrades, in their order.
func devicesOf(upgrades []*Candidate) []message.IEEE {
	devices := make([]message.IEEE, len(upgrades))
	for i, c := range upgrades {
		devices[i] = c.Device
	}
	return devices
}
