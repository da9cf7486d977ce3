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
	WaitsForOthers  Wait = "quicker" // it was put off for quicker ones
)

// Place is what can be said of when an upgrade has its turn.
type Place struct {
	Device message.IEEE
	// Position is its place in the queue, from 1; 0 stands for one that has begun.
	Position int
	WaitsFor Wait
	// Start is when the download is expected to begin or to go on, End when it is expected to be complete. A
	// zero time stands for one that nobody can tell.
	Start, End time.Time
}

// Forecast tells what is to be expected of all upgrades whose downloads have not ended, in the order in which
// they are to have the slot as things are now: those that download, those that could, those that wait for
// something else, and those that are scheduled. end is when the last of those downloads is expected to be
// complete of which that can be told; zero where there is none.
func Forecast(v View, now time.Time) (places []Place, end time.Time) {
	f := forecast{plan: look(&v, now), free: capacity{slot: now}}
	if !v.Usable || v.NoNew {
		f.blocked = true
	}
	f.running()
	for _, key := range f.imagesInLine() {
		f.image(key)
	}
	f.elsewhere()
	f.scheduled()
	return f.places, f.end
}

// Queue returns the devices whose upgrades wait, in the order in which they are to have the slot as things
// are now.
func Queue(v View, now time.Time) []message.IEEE {
	var queue []message.IEEE
	places, _ := Forecast(v, now)
	for _, place := range places {
		if place.Position > 0 {
			queue = append(queue, place.Device)
		}
	}
	return queue
}

// forecast runs through the queue ahead of time.
type forecast struct {
	*plan
	blocked bool    // nothing begins
	places  []Place // so far
	queued  int     // positions given so far
	end     time.Time
	free    capacity
}

// capacity is when there is room for further downloads.
type capacity struct {
	slot time.Time   // when the slot is free for the next image
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

// add notes an upgrade's place.
func (f *forecast) add(c *Candidate, waitsFor Wait, start, end time.Time) {
	f.queued++
	f.places = append(f.places, Place{
		Device: c.Device, Position: f.queued, WaitsFor: waitsFor, Start: start, End: end,
	})
	f.end = later(f.end, end)
}

// running takes in those that download now.
func (f *forecast) running() {
	var downloads []*Candidate
	for i := range f.Upgrades {
		if c := &f.Upgrades[i]; c.InDownload() && !c.isPutOff() {
			downloads = append(downloads, c)
		}
	}
	slices.SortFunc(downloads, byQueue)
	for _, c := range downloads {
		place := Place{Device: c.Device, Start: later(c.OfferedAt, time.Time{})}
		switch {
		case c.Held:
			place.WaitsFor = WaitsForPerson
		case f.isIdle(c, answerWithin(c)):
			place.WaitsFor = WaitsForDevice
		default:
			place.End = f.now.Add(f.likely(c))
			f.free.ends = append(f.free.ends, place.End)
			f.end = later(f.end, place.End)
			if c.UsesSlot() {
				f.free.slot = later(f.free.slot, place.End)
			}
		}
		f.places = append(f.places, place)
	}
}

// imagesInLine lists the images for which somebody waits: the loaded one first where it is in use, since its
// devices join in, then one that was promised the slot and asks for it soon, then the others in the order of
// the queue.
func (f *forecast) imagesInLine() []Key {
	var keys []Key
	if key := f.usersKey(); key != (Key{}) {
		keys = append(keys, key)
	}
	if c := f.promised(); c != nil && f.nearly(c) && !slices.Contains(keys, c.Key) {
		keys = append(keys, c.Key)
	}
	for _, c := range f.waiting {
		if !slices.Contains(keys, c.Key) {
			keys = append(keys, c.Key)
		}
	}
	return keys
}

// image lets the devices of an image download side by side, as many as may.
func (f *forecast) image(key Key) {
	joins := key == f.usersKey()
	from := f.free.slot
	if joins {
		from = f.now
	}
	for _, c := range f.waiting {
		if c.Key != key {
			continue
		}
		waitsFor := f.waitsFor(c, joins)
		if f.blocked || waitsFor == WaitsForDevice || waitsFor == WaitsForPerson {
			f.add(c, waitsFor, time.Time{}, time.Time{})
			continue
		}
		start := later(from, f.free.takePlace(f.Policy.Concurrency, f.now))
		if f.isPromised(c) {
			start = later(start, c.PutOffUntil)
		}
		end := start.Add(startTime + f.likely(c))
		f.free.ends = append(f.free.ends, end)
		f.add(c, waitsFor, start, end)
		if c.Overlaps {
			f.free.slot = later(f.free.slot, start.Add(startTime))
			from = f.free.slot
			continue
		}
		f.free.slot = later(f.free.slot, end)
	}
}

// waitsFor says what one who could have the slot waits for.
func (f *forecast) waitsFor(c *Candidate, joins bool) Wait {
	switch {
	case !f.Usable || f.NoNew:
		return WaitsForDongle
	case c.Held:
		return WaitsForPerson
	case c.readiness(f.now) >= doubtful:
		return WaitsForDevice
	case c.isPutOff():
		return WaitsForOthers
	case joins && len(f.users) > 0:
		return WaitsForPlace
	default:
		return WaitsForSlot
	}
}

// elsewhere takes in those that wait for something else than the slot.
func (f *forecast) elsewhere() {
	var rest []*Candidate
	for i := range f.Upgrades {
		c := &f.Upgrades[i]
		inQueue := c.Stage == Queued || c.Stage == PausedInQueue
		if inQueue && !slices.Contains(f.waiting, c) {
			rest = append(rest, c)
		}
	}
	slices.SortFunc(rest, byQueue)
	for _, c := range rest {
		waitsFor, start := f.obstacle(c)
		end := time.Time{}
		if !start.IsZero() {
			end = start.Add(startTime + f.likely(c))
		}
		f.add(c, waitsFor, start, end)
	}
}

// obstacle says what one that could not have the slot waits for, and when it is expected to begin.
func (f *forecast) obstacle(c *Candidate) (Wait, time.Time) {
	var unknown time.Time
	switch {
	case c.Stage == PausedInQueue:
		return WaitsForPerson, unknown
	case !f.Usable || f.NoNew:
		return WaitsForDongle, unknown
	case c.Canary != 0:
		return WaitsForCanary, f.expectedEnd(c.Canary)
	case !c.Located:
		return WaitsForDevice, unknown
	case f.now.Before(c.NotBefore):
		return WaitsForTime, later(c.NotBefore, f.free.slot)
	default:
		return WaitsForHolder, unknown
	}
}

// expectedEnd is when the download of a device is expected to be complete; zero where that cannot be told.
func (f *forecast) expectedEnd(device message.IEEE) time.Time {
	for _, place := range f.places {
		if place.Device == device {
			return place.End
		}
	}
	return time.Time{}
}

// scheduled takes in those whose time has not come.
func (f *forecast) scheduled() {
	var scheduled []*Candidate
	for i := range f.Upgrades {
		if c := &f.Upgrades[i]; c.Stage == Scheduled {
			scheduled = append(scheduled, c)
		}
	}
	slices.SortFunc(scheduled, func(a, b *Candidate) int {
		return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.Device, b.Device))
	})
	for _, c := range scheduled {
		start := later(c.DueAt, f.free.slot)
		f.add(c, WaitsForTime, start, start.Add(startTime+f.likely(c)))
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
