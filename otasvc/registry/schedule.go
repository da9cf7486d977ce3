package registry

import (
	"cmp"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// An interview is gentle: few devices at a time, retried later, and a sleeping device is asked when it wakes.
const (
	interviewsAtOnce  = 3
	interviewAttempts = 4
	// interviewRetry is the backoff between those attempts.
	interviewRetry = 30 * time.Second
	// interviewPause is the backoff after all attempts, before a sign of life begins them anew. It doubles
	// each time.
	interviewPause = 10 * time.Minute
	// interviewSeldom is the longest backoff of a device that is not heard at all, before jitter.
	interviewSeldom = 24 * time.Hour
	// interviewSoon is when a device that was heard is asked. One that sleeps listens for a moment only, so
	// it is asked at once.
	interviewSoon = time.Second
)

// Standing is what the schedule of interviews has to know of a device.
type Standing struct {
	EUID        message.IEEE
	Reachable   bool // its network address is known
	Sleepy      bool
	Interviewed bool      // it has answered a whole interview before, and was not changed since
	LastSeen    time.Time // zero where it never was
	Awaited     bool      // somebody waits for the answers
}

// Standing is what the schedule of interviews has to know of the device. awaited says that somebody waits for
// the answers.
func (d *Device) Standing(awaited bool) Standing {
	return Standing{
		EUID:        d.facts.EUID,
		Reachable:   d.Reachable(),
		Sleepy:      d.facts.Sleepy,
		Interviewed: d.facts.Interviewed && !d.facts.Outdated,
		LastSeen:    d.facts.LastSeen,
		Awaited:     awaited,
	}
}

// Schedule decides which device is interviewed when. It knows devices by their EUID, and of each what
// [Standing] says.
type Schedule struct {
	appointments map[message.IEEE]*Appointment
	waiting      []*Appointment // by their place
	running      int
	places       uint64 // that were given out
	jitter       func(time.Duration) time.Duration
}

// Appointment is where a device stands in the schedule.
type Appointment struct {
	euid     message.IEEE
	wanted   bool
	running  bool
	attempts int       // since it was wanted
	place    uint64    // of those who wait, the one whose place was given out first is asked first
	next     time.Time // not before
	endedAt  time.Time // of the last attempt
}

// NewSchedule returns an empty schedule. jitter spreads a backoff, so that many devices do not act in step.
func NewSchedule(jitter func(time.Duration) time.Duration) *Schedule {
	return &Schedule{appointments: map[message.IEEE]*Appointment{}, jitter: jitter}
}

func (s *Schedule) of(euid message.IEEE) *Appointment {
	a := s.appointments[euid]
	if a == nil {
		a = &Appointment{euid: euid}
		s.appointments[euid] = a
	}
	return a
}

// Want has a device interviewed. One that waits already is not interviewed twice; one whose attempts were all
// in vain begins them anew.
func (s *Schedule) Want(euid message.IEEE) {
	a := s.of(euid)
	if a.wanted && a.attempts >= interviewAttempts {
		a.attempts = 0
		a.next = time.Time{}
	}
	if a.wanted || a.running {
		return
	}
	a.attempts = 0
	a.next = time.Time{}
	s.give(a)
	s.wait(a)
}

// give gives a device a new place, behind all others.
func (s *Schedule) give(a *Appointment) {
	s.places++
	a.place = s.places
}

// wait has a device wait at its place.
func (s *Schedule) wait(a *Appointment) {
	a.wanted = true
	at, _ := slices.BinarySearchFunc(s.waiting, a.place, func(other *Appointment, place uint64) int {
		return cmp.Compare(other.place, place)
	})
	s.waiting = slices.Insert(s.waiting, at, a)
}

// WantNow has a device interviewed without waiting for a backoff to end.
func (s *Schedule) WantNow(euid message.IEEE) {
	s.Want(euid)
	s.of(euid).next = time.Time{}
}

// Heard brings a device's next attempt forward, for it is awake now. One that has not been interviewed yet,
// and is not waiting either, is interviewed.
func (s *Schedule) Heard(d Standing, now time.Time) {
	a := s.of(d.EUID)
	soon := now
	if !d.Sleepy {
		soon = now.Add(interviewSoon)
	}
	paused := now.Sub(a.endedAt) > interviewPause
	switch {
	case a.running:
	case a.wanted && a.attempts >= interviewAttempts:
		if paused {
			s.Want(d.EUID)
		}
	case a.wanted:
		if a.attempts > 0 && a.next.After(soon) {
			a.next = soon
		}
	case !d.Interviewed && paused:
		s.Want(d.EUID)
	}
}

// Next picks the device that is to be interviewed now: of those that are due the one that was wanted or asked
// longest ago, but first those that were just heard, and so are awake. room says that there is room for one
// that nobody waits for; an interview that somebody waits for does not need any. It is nil where there is
// none. The schedule stays as it is: the same device is picked until [Schedule.Begin] has it asked.
func (s *Schedule) Next(now time.Time, standing func(message.IEEE) Standing, room bool) *Appointment {
	if s.running >= interviewsAtOnce {
		return nil
	}
	for _, awake := range []bool{true, false} {
		for _, a := range s.waiting {
			if now.Before(a.next) {
				continue
			}
			d := standing(a.euid)
			if !a.due(d, now, awake) || !d.Awaited && !room {
				continue
			}
			return a
		}
	}
	return nil
}

// Begin notes that an attempt begins, for an appointment that [Schedule.Next] has just picked. It is running
// from then on until [Schedule.Ended].
func (s *Schedule) Begin(a *Appointment) {
	s.waiting = slices.DeleteFunc(s.waiting, func(other *Appointment) bool { return other == a })
	a.wanted = false
	a.running = true
	a.attempts++
	s.give(a)
	s.running++
}

// due reports whether a device whose backoff is over is to be asked now; awake looks only at those that were
// just heard. A sleeping device is asked once without having been heard, for its parent may reach it, and
// then when it wakes, or when somebody waits for the answers: that it does not answer is one, too.
func (a *Appointment) due(d Standing, now time.Time, awake bool) bool {
	heard := now.Sub(d.LastSeen) < AwakeFor
	if !d.Reachable || awake && !heard {
		return false
	}
	return heard || !d.Sleepy || a.attempts == 0 || d.Awaited
}

// EUID is the device's IEEE address.
func (a *Appointment) EUID() message.IEEE { return a.euid }

// Attempts is how often the device was asked since it was wanted, the running attempt included.
func (a *Appointment) Attempts() int { return a.attempts }

// Spent reports whether the attempt is the last of those that follow each other closely.
func (a *Appointment) Spent() bool { return a.attempts == interviewAttempts }

// Ended notes how a running attempt ended: with the whole interview, or not. Where it did not, the device
// waits for the next one: after a short backoff at first, and then, unless it sleeps, for it tells when it is
// awake, after ever longer ones. Of a device that was interviewed before all but its version is known, so
// that is left at the first attempts.
func (s *Schedule) Ended(a *Appointment, d Standing, whole bool, now time.Time) {
	s.running--
	a.running = false
	a.endedAt = now
	if whole || s.appointments[a.euid] != a {
		return
	}
	backoff := interviewRetry
	if more := a.attempts - interviewAttempts; more >= 0 {
		if d.Sleepy || d.Interviewed {
			return
		}
		backoff = min(interviewPause<<min(more, 8), interviewSeldom)
	}
	a.next = now.Add(s.jitter(backoff))
	s.wait(a)
}

// Forget drops a device. An attempt that is running ends without consequence.
func (s *Schedule) Forget(euid message.IEEE) {
	s.waiting = slices.DeleteFunc(s.waiting, func(a *Appointment) bool { return a.euid == euid })
	delete(s.appointments, euid)
}

// Waits reports whether a device is to be interviewed and is not being interviewed yet.
func (s *Schedule) Waits(euid message.IEEE) bool {
	a := s.appointments[euid]
	return a != nil && a.wanted
}

// Tried reports whether an attempt to interview a device has ended, however.
func (s *Schedule) Tried(euid message.IEEE) bool {
	a := s.appointments[euid]
	return a != nil && !a.endedAt.IsZero()
}

// FirstRound reports whether there are devices that wait for their first attempt, or answer one now.
func (s *Schedule) FirstRound() bool {
	first := func(a *Appointment) bool { return a.attempts == 0 }
	return s.running > 0 || slices.ContainsFunc(s.waiting, first)
}

// Before reports whether an attempt is due before a time, as far as backoffs tell.
func (s *Schedule) Before(t time.Time) bool {
	return slices.ContainsFunc(s.waiting, func(a *Appointment) bool { return a.next.Before(t) })
}
