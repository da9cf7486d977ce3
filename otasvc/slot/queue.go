package slot

import (
	"cmp"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Wait says what an upgrade waits for. The strings are what people are told.
type Wait string

// Everything that an upgrade can wait for.
const (
	WaitsForNothing Wait = ""
	WaitsForDongle  Wait = "dongle"  // the dongle is away, or upgrades may not begin with it
	WaitsForSlot    Wait = "slot"    // another image has the header slot
	WaitsForPlace   Wait = "place"   // as many devices download as may
	WaitsForDevice  Wait = "device"  // it sleeps, does not answer, or its network address is not known
	WaitsForCanary  Wait = "canary"  // another device gets the same image first
	WaitsForHolder  Wait = "holder"  // another device has the same image and is not to install it yet
	WaitsForTime    Wait = "time"    // it is scheduled, or recovers from a failed attempt
	WaitsForPerson  Wait = "person"  // a person has paused it
	WaitsForQuicker Wait = "quicker" // it was put off, for quicker ones or for one that was promised the slot
)

// Place is what can be said of when an upgrade has its turn.
type Place struct {
	Device message.IEEE
	// Position is its place in the queue, from 1; 0 stands for one that has begun.
	Position int
	// WaitsFor is what it waits for; nothing where it begins at any moment, or goes on.
	WaitsFor Wait
	// Start is when the download of one that waits is expected to begin or to go on, End when a download is
	// expected to be complete. A zero time stands for one that nobody can tell.
	Start, End time.Time
}

// installTime is about how long a device takes to install its image and to come back.
const installTime = 2 * time.Minute

// Forecast tells what is to be expected of all upgrades whose downloads have not ended: first those that
// download, then those that wait, in the order in which they are to have the slot as things are now, then
// those of which nobody can tell when they begin, then those that are scheduled. end is when the last of
// those downloads is expected to be complete of which that can be told; zero where there is none.
func Forecast(v View, now time.Time) (places []Place, end time.Time) {
	f := forecast{
		plan: look(&v, now),
		ends: map[message.IEEE]time.Time{},
		kept: map[Key]bool{},
		free: capacity{slot: now},
	}
	f.running()
	f.lineUp()
	for first := f.nextTurn(); first != nil; first = f.nextTurn() {
		f.give(first)
	}
	f.order()
	for _, place := range f.places {
		end = later(end, place.End)
	}
	return f.places, end
}

// forecast runs through the queue ahead of time.
type forecast struct {
	plan   *plan
	places []Place
	line   []*turn                    // who waits, in the order of their ranks
	ends   map[message.IEEE]time.Time // when downloads are complete, as far as that is known
	kept   map[Key]bool               // the images that a device has or will have, and not install at once
	free   capacity
}

// turn is an upgrade that waits.
type turn struct {
	of         *Candidate
	waitsFor   Wait
	from       time.Time // when it could have the slot; zero where nobody can tell
	start, end time.Time // when it has the slot; zero while that is not known
}

// capacity is when there is room for further downloads.
type capacity struct {
	slot time.Time   // when the slot is free for the next image
	open Key         // whose devices can join the downloads until then; the zero key stands for no image
	ends []time.Time // when the places of those who download are free again, in any order
}

// takePlace returns when one more device may download, where so many may at once.
func (c *capacity) takePlace(concurrency int, now time.Time) time.Time {
	if len(c.ends) < max(concurrency, 1) {
		return now
	}
	i := 0
	for j, at := range c.ends {
		if at.Before(c.ends[i]) {
			i = j
		}
	}
	free := c.ends[i]
	c.ends = slices.Delete(c.ends, i, i+1)
	return free
}

// running takes in those that download now.
func (f *forecast) running() {
	var downloads []*Candidate
	for i := range f.plan.Upgrades {
		if c := &f.plan.Upgrades[i]; c.InDownload() && !c.isPutOff() {
			downloads = append(downloads, c)
		}
	}
	slices.SortFunc(downloads, byQueue)
	for _, c := range downloads {
		place := Place{Device: c.Device, WaitsFor: f.holdsUp(c)}
		if place.WaitsFor == WaitsForNothing || place.WaitsFor == WaitsForQuicker {
			place.End = f.completeAt(c)
			f.ends[c.Device] = place.End
			f.free.ends = append(f.free.ends, place.End)
		}
		if c.UsesSlot() && place.WaitsFor == WaitsForNothing {
			f.free.slot = later(f.free.slot, place.End)
		}
		f.places = append(f.places, place)
	}
	for _, c := range f.plan.users {
		f.kept[c.Key] = f.kept[c.Key] || c.InstallLater
	}
	f.free.open = f.plan.usersKey()
	if f.plan.Slot.Switching() {
		f.free.open = Key{}
		f.free.slot = later(f.plan.now, f.plan.Slot.change.deadline)
	}
}

// holdsUp says what a download that has begun waits for.
func (f *forecast) holdsUp(c *Candidate) Wait {
	switch {
	case c.Held:
		return WaitsForPerson
	case !f.plan.Usable:
		return WaitsForDongle
	case c.Stage == Offered && !c.Begun && c.Sleepy && !c.listens(f.plan.now),
		f.plan.isIdle(c, answerWithin(c)):
		return WaitsForDevice
	case f.plan.Slot.Switching() && f.plan.Slot.TellsToWait(c.Device):
		return WaitsForQuicker
	default:
		return WaitsForNothing
	}
}

// completeAt is when a download that has begun is expected to be complete.
func (f *forecast) completeAt(c *Candidate) time.Time {
	goesOn := later(f.plan.now, c.ActiveAt) // it may have been told to wait
	if c.Stage == Offered && !c.Begun {
		goesOn = later(goesOn, c.OfferedAt.Add(startTime))
	}
	if f.plan.Slot.Switching() && f.plan.Slot.TellsToWait(c.Device) {
		goesOn = later(goesOn, f.plan.Slot.change.until)
	}
	return goesOn.Add(f.plan.likely(c))
}

// lineUp takes in those that wait: those that could have the slot, those that wait for something else, and
// those that are scheduled.
func (f *forecast) lineUp() {
	inTurn := map[message.IEEE]bool{}
	for _, c := range f.plan.waiting {
		inTurn[c.Device] = true
		f.line = append(f.line, f.inTurn(c))
	}
	var rest, scheduled []*Candidate
	installing := map[message.IEEE]bool{}
	for i := range f.plan.Upgrades {
		c := &f.plan.Upgrades[i]
		switch {
		case c.Stage == Scheduled:
			scheduled = append(scheduled, c)
		case (c.Stage == Queued || c.Stage == PausedInQueue) && !inTurn[c.Device]:
			rest = append(rest, c)
		case c.Stage == Elsewhere && !c.InstallLater:
			installing[c.Device] = true
		}
	}
	slices.SortFunc(rest, byQueue)
	for _, c := range rest {
		t := f.elsewhere(c)
		if t.waitsFor == WaitsForCanary && installing[c.Canary] {
			t.from = f.unlessAsleep(c, f.plan.now.Add(installTime))
		}
		f.line = append(f.line, t)
	}
	slices.SortFunc(scheduled, func(a, b *Candidate) int {
		return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.Device, b.Device))
	})
	for _, c := range scheduled {
		f.line = append(f.line, &turn{of: c, waitsFor: WaitsForTime, from: f.unlessAsleep(c, c.DueAt)})
	}
}

// inTurn is the turn of one that could have the slot.
func (f *forecast) inTurn(c *Candidate) *turn {
	switch {
	case c.Held:
		return &turn{of: c, waitsFor: WaitsForPerson}
	case c.readiness(f.plan.now) >= doubtful:
		return &turn{of: c, waitsFor: WaitsForDevice}
	case f.plan.isPromised(c):
		return &turn{of: c, waitsFor: WaitsForQuicker, from: c.PutOffUntil}
	case c.isPutOff():
		return &turn{of: c, waitsFor: WaitsForQuicker, from: f.plan.now}
	default:
		return &turn{of: c, from: f.plan.now}
	}
}

// elsewhere is the turn of one that waits for something else than the slot.
func (f *forecast) elsewhere(c *Candidate) *turn {
	switch {
	case c.Stage == PausedInQueue:
		return &turn{of: c, waitsFor: WaitsForPerson}
	case c.Canary != 0:
		return &turn{of: c, waitsFor: WaitsForCanary}
	case !c.Located:
		return &turn{of: c, waitsFor: WaitsForDevice}
	case f.plan.now.Before(c.NotBefore):
		return &turn{of: c, waitsFor: WaitsForTime, from: f.unlessAsleep(c, c.NotBefore)}
	case f.plan.NoNew:
		return &turn{of: c, from: f.unlessAsleep(c, f.plan.now)}
	default:
		return &turn{of: c, waitsFor: WaitsForHolder}
	}
}

// unlessAsleep is a time at which a device could begin, or zero where nobody can tell when it hears of it.
func (f *forecast) unlessAsleep(c *Candidate, at time.Time) time.Time {
	if !c.Located || c.readiness(f.plan.now) >= doubtful {
		return time.Time{}
	}
	return at
}

// followsAt is when a device can begin that follows another one with the same image, whose download has an
// end by now; zero where nobody can tell.
func (f *forecast) followsAt(c *Candidate) time.Time {
	end, known := f.ends[c.Canary]
	if !known {
		return time.Time{}
	}
	return f.unlessAsleep(c, end.Add(installTime))
}

// nextTurn is the first of those whose image has the slot next: one that joins the downloads under way, else
// one that was promised the slot and asks for it soon, else the first in the line, else the first who can
// have it at any later time. It is nil where nobody is left of whom anything can be told.
func (f *forecast) nextTurn() *turn {
	var soon, first, next *turn
	for _, t := range f.line {
		if t.start.IsZero() && f.kept[t.of.Key] {
			t.holdBack()
		} else if t.waitsFor == WaitsForCanary && t.from.IsZero() {
			t.from = f.followsAt(t.of)
		}
		if t.from.IsZero() || !t.start.IsZero() {
			continue
		}
		if f.canJoin(t) {
			return t
		}
		promised := f.plan.isPromised(t.of)
		if promised && (soon == nil || t.from.Before(soon.from)) && f.isDue(t) {
			soon = t
		}
		if !promised && !t.from.After(f.free.slot) && (first == nil || f.preferred(t, first)) {
			first = t
		}
		if next == nil || t.from.Before(next.from) {
			next = t
		}
	}
	return cmp.Or(soon, first, next)
}

// holdBack notes that the image will be kept by another device before: nobody can tell when that installs it.
func (t *turn) holdBack() {
	t.from = time.Time{}
	if t.waitsFor == WaitsForNothing {
		t.waitsFor = WaitsForHolder
	}
}

// canJoin reports whether a device can join the downloads of its image that are under way when it could have
// the slot.
func (f *forecast) canJoin(t *turn) bool {
	return t.of.Key == f.free.open && !t.from.After(f.free.slot)
}

// isDue reports whether one that was promised the slot asks for it so soon after it is free that no other
// image gets it before.
func (f *forecast) isDue(t *turn) bool {
	return !t.from.After(f.free.slot.Add(f.plan.lead() + leastUse))
}

// preferred reports whether a turn comes before one that is in the line before it: its image is loaded, and
// nobody uses the slot.
func (f *forecast) preferred(t, before *turn) bool {
	unused := len(f.plan.users) == 0 && !f.free.slot.After(f.plan.now)
	return unused && f.plan.Slot.Holds(t.of.Key) && !f.plan.Slot.Holds(before.of.Key)
}

// give lets the devices of an image download side by side, as many as may. first is the one for whom it gets
// the slot.
func (f *forecast) give(first *turn) {
	from := later(f.free.slot, first.from)
	until := from // the image stays
	taken := from.After(f.plan.now) || len(f.plan.users) > 0
	if f.canJoin(first) {
		from = f.plan.now
		until = f.free.slot
		taken = false
	}
	for _, t := range f.line {
		given := !t.start.IsZero() || t.from.IsZero()
		if t.of.Key != first.of.Key || given || t.from.After(until) || f.kept[t.of.Key] {
			continue
		}
		alone := t.of.InstallLater // its end needs the slot empty
		if alone {
			from = later(from, until)
		}
		t.start = later(later(from, t.from), f.free.takePlace(f.plan.Policy.Concurrency, f.plan.now))
		t.end = t.start.Add(startTime + f.plan.likely(t.of))
		f.free.ends = append(f.free.ends, t.end)
		f.ends[t.of.Device] = t.end
		if t.waitsFor == WaitsForNothing {
			t.waitsFor = f.waitsForRoom(taken, t.start)
		}

		needed := t.end
		if t.of.Overlaps && !alone {
			needed = t.start.Add(startTime)
		}
		until = later(until, needed)
		f.kept[t.of.Key] = alone
	}
	f.free.slot = until
	f.free.open = first.of.Key
}

// waitsForRoom says what one that could have the slot waits for until it has it.
func (f *forecast) waitsForRoom(slotTaken bool, start time.Time) Wait {
	switch {
	case slotTaken:
		return WaitsForSlot
	case start.After(f.plan.now):
		return WaitsForPlace
	default:
		return WaitsForNothing
	}
}

// order numbers those who wait.
func (f *forecast) order() {
	class := func(t *turn) int {
		switch {
		case t.of.Stage == Scheduled:
			return 2
		case t.start.IsZero():
			return 1
		default:
			return 0
		}
	}
	slices.SortStableFunc(f.line, func(a, b *turn) int {
		return cmp.Or(cmp.Compare(class(a), class(b)), a.start.Compare(b.start))
	})
	blocked := !f.plan.Usable || f.plan.NoNew
	for i, t := range f.line {
		place := Place{Device: t.of.Device, Position: i + 1, WaitsFor: t.waitsFor, Start: t.start, End: t.end}
		if blocked && t.of.Stage == Queued || !f.plan.Usable && t.of.isPutOff() {
			place = Place{Device: t.of.Device, Position: i + 1, WaitsFor: WaitsForDongle}
		}
		f.places = append(f.places, place)
	}
}

// WithheldBy returns the device that keeps an upgrade with the same image from beginning, because it has the
// image and waits to be told to install it; 0 means that there is none.
func WithheldBy(v View, key Key) message.IEEE {
	for i := range v.Upgrades {
		if c := &v.Upgrades[i]; c.Stage == Withheld && c.Key == key {
			return c.Device
		}
	}
	return 0
}
