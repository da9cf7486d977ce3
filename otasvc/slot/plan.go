package slot

import (
	"cmp"
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

	if v.Empty {
		if d, empty := p.empty(); empty {
			return d
		}
	}
	if d := p.stray(); d != nil {
		return d
	}
	if d := p.yield(); d != nil {
		return d
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
	users   []*Candidate          // those for which the slot has to hold their image, by their queue
	waiting []*Candidate          // those that could have the slot, who comes first first
	need    map[Key]time.Duration // how long those who wait need, by their image
	rates   rates
	timeout time.Duration // how long the users have to ask once more and be told to wait
	// promised asks again first of those that were told to wait; nil where there is none.
	promised *Candidate
}

// look sorts a view.
func look(v *View, now time.Time) *plan {
	p := &plan{View: v, now: now, rates: ratesOf(v.Upgrades)}
	for i := range v.Upgrades {
		if c := &v.Upgrades[i]; c.UsesSlot() {
			p.users = append(p.users, c)
		}
	}
	slices.SortFunc(p.users, byQueue)
	p.timeout = p.switchTimeout(p.toBePutOff()...)
	p.waiting = p.inLine()
	p.promised = p.firstPromised()
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
	return slices.ContainsFunc(v.Upgrades, func(c Candidate) bool { return c.LastBlock && c.InDownload() })
}

// usersKey is the image that the slot has to hold: the loaded one where one of its devices uses the slot,
// else that of the user who was there first. The zero key means that nobody uses the slot.
func (p *plan) usersKey() Key {
	if len(p.users) == 0 {
		return Key{}
	}
	if slices.ContainsFunc(p.users, func(c *Candidate) bool { return c.Key == p.Slot.key }) {
		return p.Slot.key
	}
	return p.users[0].Key
}

// stray gives way where devices of several images use the slot. That is so only when a device was taken for
// one that does not need the slot any more, and it does.
func (p *plan) stray() Decision {
	key := p.usersKey()
	others := slices.DeleteFunc(slices.Clone(p.users), func(c *Candidate) bool { return c.Key == key })
	if len(others) == 0 {
		return nil
	}
	return giveUp(others)
}

// next returns the upgrade whose image should be in the slot, or nil where nobody needs it: that of the
// downloads under way, else that of one who was told to wait and asks again soon, else that of the first who
// waits, else that of one who asks again at any later time.
func (p *plan) next() *Candidate {
	if len(p.users) > 0 {
		return p.users[0]
	}
	if p.promised != nil && p.nearly(p.promised) {
		return p.promised
	}
	if c := p.first(); c != nil && p.hasPlace() {
		return c
	}
	if p.promised != nil {
		return p.promised
	}
	return p.overlapping()
}

// first returns the first who waits; nil where nobody does who could take the slot now. One of the loaded
// image comes before all others: where it is as ready, or nobody has had anything of the header yet.
func (p *plan) first() *Candidate {
	var first *Candidate
	for _, c := range p.waiting {
		if !p.mayHaveSlot(c) {
			continue
		}
		if first == nil {
			first = c
		}
		if p.Slot.Holds(c.Key) && (p.Slot.fresh || c.readiness(p.now) < doubtful) {
			return c
		}
	}
	return first
}

// overlapping returns a download that goes on without the slot: while its header is loaded the dongle refuses
// none of its blocks, which costs less air time. It is nil where there is none.
func (p *plan) overlapping() *Candidate {
	var found *Candidate
	for i := range p.Upgrades {
		c := &p.Upgrades[i]
		if !c.InDownload() || c.UsesSlot() || c.isPutOff() {
			continue
		}
		if p.Slot.Holds(c.Key) {
			return c
		}
		if found == nil || byQueue(c, found) < 0 {
			found = c
		}
	}
	return found
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
	if len(p.users) > 0 && p.mustSwitch() {
		return p.beginSwitch()
	}
	if devices := p.comingBack(); len(devices) > 0 {
		return CallBack{Devices: devices}
	}
	return p.fillPlace()
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

// comingBack returns the devices of the loaded image that were put off and ask again soon, or may have asked
// already.
func (p *plan) comingBack() []message.IEEE {
	var devices []message.IEEE
	for _, c := range p.waiting {
		if !c.isPutOff() || c.Key != p.Slot.key {
			continue
		}
		if p.asksSoon(c) || !p.isPromised(c) && !p.tooLate(c) {
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
		switch {
		case c.Key != p.Slot.key || c.Stage != Queued:
		case c.InstallLater && len(p.users) > 0 || p.wouldDelay(c) || p.tooLate(c):
		case c.BatteryLow:
			return EndForBattery{Device: c.Device}
		default:
			return p.place(c)
		}
	}
	return nil
}

// wouldDelay reports whether a device that sleeps most of the time would keep the slot for longer than those
// who use it, while one that does not sleep waits for another image.
func (p *plan) wouldDelay(c *Candidate) bool {
	if !c.Sleepy || len(p.users) == 0 {
		return false
	}
	waits := func(other *Candidate) bool {
		return other.Key != c.Key && other.readiness(p.now) == ready && p.mayHaveSlot(other)
	}
	if !slices.ContainsFunc(p.waiting, waits) {
		return false
	}
	longest := time.Duration(0)
	for _, user := range p.users {
		longest = max(longest, p.remaining(user))
	}
	return !c.listens(p.now) || p.remaining(c) > longest+leastUse
}

// hasPlace reports whether one more device may download.
func (p *plan) hasPlace() bool {
	busy, _ := p.occupied()
	return busy < max(p.Policy.Concurrency, 1)
}

// occupied counts the devices that were offered their image: how many take it, and which do not.
func (p *plan) occupied() (busy int, idle []*Candidate) {
	for i := range p.Upgrades {
		switch c := &p.Upgrades[i]; {
		case !c.InDownload() || c.isPutOff():
		case p.isIdle(c, answerWithin(c)):
			idle = append(idle, c)
		default:
			busy++
		}
	}
	return busy, idle
}

// place offers the image to a device if there is a place for it. Those that were offered their image and do
// not answer take no place from others, but there are no more of them than places: the one that has had most
// time makes room for who is more likely to answer.
func (p *plan) place(c *Candidate) Decision {
	_, idle := p.occupied()
	switch {
	case !p.hasPlace():
		return nil
	case len(idle) < max(p.Policy.Concurrency, 1):
		return p.offer(c)
	}
	idle = slices.DeleteFunc(idle, func(c *Candidate) bool { return c.Stage != Offered })
	if len(idle) == 0 {
		return nil
	}
	oldest := slices.MinFunc(idle, func(a, b *Candidate) int {
		return cmp.Or(a.OfferedAt.Compare(b.OfferedAt), cmp.Compare(a.Device, b.Device))
	})
	if !p.isIdle(oldest, p.patience(oldest, c)) || !p.givesWay(oldest, c) {
		return nil
	}
	return GiveUp{Devices: []message.IEEE{oldest.Device}}
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
