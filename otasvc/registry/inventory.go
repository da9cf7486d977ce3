package registry

import (
	"cmp"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// An inventory is gentle: it spares the radio, and leaves devices alone that have said who they are.
const (
	// noticesAMinute and noticeSpacing bound the notifications: so many in any minute, and no more than three
	// in any second.
	noticesAMinute = 20
	noticeSpacing  = 350 * time.Millisecond
	// renewAfter is how long what a device has said is good, by a fifth more or less: not all at once.
	renewAfter = 24 * time.Hour
	// noticeAgain is the pause after the first notification in vain. It grows with each further one, up to
	// noticeSeldom.
	noticeAgain  = 20 * time.Second
	noticeGrowth = 3
	noticeSeldom = 24 * time.Hour
	// noticeAwaited is the pause between two notifications of a device for whose answer somebody waits.
	noticeAwaited = 5 * time.Second
	// noticeBusy is when a device is asked again that was busy with something else.
	noticeBusy = 10 * time.Minute
)

// OTAClient says whether a device has an OTA client, as far as it has told.
type OTAClient uint8

// What is known of a device's OTA client.
const (
	// ClientUnheard: its endpoints are not known, and an interview that is to find them has not ended yet.
	ClientUnheard OTAClient = iota
	// ClientUnfound: its endpoints are not known, although it was interviewed. It is asked at endpoint 1,
	// where most have their OTA client: a device that has none refuses a notification without harm, and one
	// of whose descriptors too much was lost is known by its answer.
	ClientUnfound
	// ClientKnown: its endpoint is known.
	ClientKnown
	// ClientNone: it was interviewed whole, and none of its endpoints has an OTA client.
	ClientNone
)

// Acquaintance is what the inventory has to know of a device.
type Acquaintance struct {
	EUID      message.IEEE
	Reachable bool // its network address is known
	Sleepy    bool
	Client    OTAClient
	LastSeen  time.Time // zero where it never was
	// SaidAt is when it last said who it is, by looking for an image; zero where it has not said since its
	// version has changed.
	SaidAt time.Time
	// Stale says that its version is known from before the start, and that reading it has not helped.
	Stale bool
	// Occupied devices ask for blocks, or install: most would begin again from the start.
	Occupied bool
	// Unknown says that it has told no manufacturer code, image type or version in any other way: nothing can
	// be known of its images before it answers.
	Unknown bool
	Awaited bool // somebody waits for its answer
}

// Acquaintance is what the inventory has to know of the device. interviewed says that an interview of it has
// ended since the start, however; the other facts are the caller's.
func (f *Facts) Acquaintance(interviewed, occupied, awaited bool) Acquaintance {
	client := ClientUnheard
	switch {
	case f.Endpoint != 0:
		client = ClientKnown
	case f.Interviewed:
		client = ClientNone
	case interviewed:
		client = ClientUnfound
	}
	return Acquaintance{
		EUID:      f.EUID,
		Reachable: f.NetworkAddress != nil,
		Sleepy:    f.Sleepy,
		Client:    client,
		LastSeen:  f.LastSeen,
		SaidAt:    f.QueriedAt,
		Stale:     interviewed && !f.VersionFresh,
		Occupied:  occupied,
		Unknown:   f.ManufacturerCode == nil || f.ImageType == nil || f.CurrentVersion == nil,
		Awaited:   awaited,
	}
}

// Inventory decides which device is notified when, so that it says who it is: its Query Next Image names
// manufacturer code, image type, file version and, alone of all messages, hardware version. The inventory
// knows devices by their EUID, and of each what [Acquaintance] says. The zero value is ready.
type Inventory struct {
	asked map[message.IEEE]*inquiry
	sent  []time.Time // of the notifications of the last minute
}

// inquiry is how asking a device stands.
type inquiry struct {
	attempts int       // in vain since it last said who it is
	askedAt  time.Time // last; zero where it has answered since
	next     time.Time // not before, unless somebody waits
}

func (v *Inventory) of(euid message.IEEE) *inquiry {
	q := v.asked[euid]
	if q == nil {
		if v.asked == nil {
			v.asked = map[message.IEEE]*inquiry{}
		}
		q = &inquiry{}
		v.asked[euid] = q
	}
	return q
}

// get is the inquiry of a device, also of one that was never asked.
func (v *Inventory) get(euid message.IEEE) inquiry {
	if q := v.asked[euid]; q != nil {
		return *q
	}
	return inquiry{}
}

// Next picks the device that is to be notified now, 0 where there is none: those first for whose answer
// somebody waits, then those that sleep and listen now, then those that were never asked, and of these those
// of which nothing is known before. at is when to look again, if nothing happens before; zero where time
// alone changes nothing. Next changes nothing.
func (v *Inventory) Next(devices []Acquaintance, now time.Time) (pick message.IEEE, at time.Time) {
	room := v.Room(now)
	var picked *Acquaintance
	for i := range devices {
		d := &devices[i]
		due, asked := v.due(d, now)
		switch {
		case !asked:
		case due.After(now):
			at = sooner(at, later(due, room))
		case picked == nil || v.before(d, picked, now):
			picked = d
		}
	}
	switch {
	case picked == nil:
		return 0, at
	case room.After(now):
		return 0, sooner(at, room)
	default:
		return picked.EUID, at
	}
}

// before reports whether one device that is due is asked before another one.
func (v *Inventory) before(d, other *Acquaintance, now time.Time) bool {
	mine := v.get(d.EUID)
	others := v.get(other.EUID)
	return cmp.Or(
		first(d.Awaited, other.Awaited),
		first(d.listens(now), other.listens(now)),
		cmp.Compare(mine.attempts, others.attempts),
		first(d.SaidAt.IsZero(), other.SaidAt.IsZero()),
		first(d.Client == ClientKnown, other.Client == ClientKnown),
		first(d.Unknown, other.Unknown),
		mine.next.Compare(others.next),
		cmp.Compare(d.EUID, other.EUID),
	) < 0
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

// listens reports whether a device sleeps most of the time and was just heard.
func (d *Acquaintance) listens(now time.Time) bool {
	return d.Sleepy && now.Sub(d.LastSeen) < AwakeFor
}

// due is when a device is to be notified. It is false where that is not known, or never. One that sleeps is
// notified once without having been heard, for its parent may reach it, and then when it was just heard.
func (v *Inventory) due(d *Acquaintance, now time.Time) (time.Time, bool) {
	q := v.get(d.EUID)
	if !d.Reachable || d.Occupied {
		return time.Time{}, false
	}
	if d.Awaited {
		return q.askedAt.Add(noticeAwaited), true
	}
	firstTime := q.attempts == 0 && d.SaidAt.IsZero()
	switch {
	case d.Client == ClientNone, d.Client == ClientUnheard:
		return time.Time{}, false
	case d.Sleepy && !d.listens(now) && !firstTime:
		return time.Time{}, false
	}
	at := q.next
	if q.attempts == 0 && !d.SaidAt.IsZero() && !d.Stale {
		at = later(at, d.SaidAt.Add(spread(renewAfter, d.EUID)))
	}
	return at, true
}

// spread is a time, by a fifth more or less, so that many devices are not asked in step. It is always the
// same for a device.
func spread(d time.Duration, euid message.IEEE) time.Duration {
	const (
		mixer = 0x9E3779B97F4A7C15 // scatters addresses that follow each other
		bits  = 10
	)
	part := float64(uint64(euid)*mixer>>(64-bits)) / (1 << bits)
	return time.Duration(float64(d) * (0.8 + 0.4*part))
}

// Room is when the next notification may be sent.
func (v *Inventory) Room(now time.Time) time.Time {
	n := len(v.sent)
	if n == 0 {
		return now
	}
	at := v.sent[n-1].Add(noticeSpacing)
	if n >= noticesAMinute {
		at = later(at, v.sent[n-noticesAMinute].Add(time.Minute))
	}
	return at
}

// Asked notes that a notification was sent to a device.
func (v *Inventory) Asked(euid message.IEEE, now time.Time) {
	q := v.of(euid)
	q.attempts++
	q.askedAt = now
	q.next = now.Add(spread(pause(q.attempts), euid))
	v.Sent(now)
}

// Sent notes that a notification was sent, to whomever: with many at once their answers would be lost.
func (v *Inventory) Sent(now time.Time) {
	old := func(at time.Time) bool { return now.Sub(at) > time.Minute }
	v.sent = append(slices.DeleteFunc(v.sent, old), now)
}

// pause is how long a device is left alone after so many notifications in vain.
func pause(attempts int) time.Duration {
	wait := noticeAgain
	for range attempts - 1 {
		if wait *= noticeGrowth; wait >= noticeSeldom {
			return noticeSeldom
		}
	}
	return wait
}

// Said notes that a device has said who it is, whether it was asked or not.
func (v *Inventory) Said(euid message.IEEE) { *v.of(euid) = inquiry{} }

// Busy notes that a device has answered that it is busy with something else: it is there, and it is asked
// again later.
func (v *Inventory) Busy(euid message.IEEE, now time.Time) {
	q := v.of(euid)
	q.attempts = max(q.attempts-1, 0)
	q.askedAt = time.Time{}
	q.next = now.Add(spread(noticeBusy, euid))
}

// Refused notes that a device has refused a notification: it has no OTA client where it was asked, or obeys
// another OTA server.
func (v *Inventory) Refused(euid message.IEEE, now time.Time) {
	q := v.of(euid)
	q.askedAt = time.Time{}
	q.next = now.Add(spread(noticeSeldom, euid))
}

// Expects reports whether a notification was sent within a time and has no answer yet.
func (v *Inventory) Expects(within time.Duration, now time.Time) bool {
	if n := len(v.sent); n == 0 || now.Sub(v.sent[n-1]) >= within {
		return false
	}
	for _, q := range v.asked {
		if !q.askedAt.IsZero() && now.Sub(q.askedAt) < within {
			return true
		}
	}
	return false
}

// AwaitsWord reports whether the answer of a device that somebody waits for may still come.
func (v *Inventory) AwaitsWord(euid message.IEEE, now time.Time) bool {
	at := v.get(euid).askedAt
	return !at.IsZero() && now.Sub(at) < noticeAwaited
}

// InVain is how often a device was notified in vain since it last said who it is.
func (v *Inventory) InVain(euid message.IEEE) int { return v.get(euid).attempts }

// Forget drops a device.
func (v *Inventory) Forget(euid message.IEEE) { delete(v.asked, euid) }

// sooner is the earlier of two times, of which zero stands for none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// later is the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
