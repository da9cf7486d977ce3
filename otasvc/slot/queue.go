package slot

import (
	"cmp"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Queue returns the devices whose upgrades wait, in the order in which they are to have the slot as things
// are now: first those that could have it, then those that wait for something else, and last those that are
// scheduled.
func Queue(v View, now time.Time) []message.IEEE {
	p := look(&v, now)
	order := slices.Clone(p.waiting)

	var rest, scheduled []*Candidate
	for i := range v.Upgrades {
		c := &v.Upgrades[i]
		switch {
		case c.Stage == Scheduled:
			scheduled = append(scheduled, c)
		case c.Stage == Queued && !slices.Contains(p.waiting, c):
			rest = append(rest, c)
		}
	}
	slices.SortFunc(rest, byQueue)
	slices.SortFunc(scheduled, func(a, b *Candidate) int {
		return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.Device, b.Device))
	})

	order = append(order, rest...)
	order = append(order, scheduled...)
	return devicesOf(order)
}

// inLine lists the upgrades that could have the slot: those that have not begun, and those that were put off
// for another image. First comes who asks again soon, then who sleeps most of the time and listens now, then
// the order of the queue.
func (p *plan) inLine() []*Candidate {
	withheld := map[Key]bool{}
	for i := range p.Upgrades {
		if c := &p.Upgrades[i]; c.Stage == Withheld {
			withheld[c.Key] = true
		}
	}

	var waiting []*Candidate
	for i := range p.Upgrades {
		c := &p.Upgrades[i]
		if c.isPutOff() || p.mayBegin(c) && !withheld[c.Key] {
			waiting = append(waiting, c)
		}
	}
	slices.SortFunc(waiting, func(a, b *Candidate) int {
		return cmp.Or(
			first(p.asksSoon(a), p.asksSoon(b)),
			first(a.listens(p.now), b.listens(p.now)),
			byQueue(a, b),
		)
	})
	return waiting
}

// mayBegin reports whether an upgrade is queued and waits for nothing but the slot.
func (p *plan) mayBegin(c *Candidate) bool {
	return c.Stage == Queued && !p.NoNew && c.Canary == 0 && c.Located && !p.now.Before(c.NotBefore)
}

// byQueue is the order of the queue: first come, first served; who gave the slot up stands in line again.
func byQueue(a, b *Candidate) int {
	return cmp.Or(a.QueuedSince.Compare(b.QueuedSince), cmp.Compare(a.Device, b.Device))
}

// first puts what is true before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
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
