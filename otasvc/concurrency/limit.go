package concurrency

import "time"

// Bounds of a limit that follows line and radio.
const (
	// First is how many devices may download at once when nothing is known yet.
	First = 4
	// Most is the most that may ever. The dongle's radio takes some ten frames at a time.
	Most = 16
)

// Readings are what was counted since the service began, and what is so now.
type Readings struct {
	Active int // devices that download: they have asked for a block lately

	Blocks  uint64 // blocks that devices were sent
	Again   uint64 // blocks that devices asked for again, or devices that began again
	Unheard uint64 // answers to block requests of which the dongle has not said that it has them
	Failed  uint64 // frames that did not arrive at devices that download
	Refused uint64 // blocks that the dongle had no room for
	Crowded bool   // the dongle's buffers are full

	// LineRate is how many bytes a second the line to the dongle carries in each direction; 0 means that no
	// bound is known. Received and Sent are the bytes from the dongle and to it, on this connection.
	LineRate       int
	Received, Sent uint64
}

// Limit is how many devices may download at once. The zero value allows none; [Fixed] and [Auto] make one.
type Limit struct {
	allowed int
	fixed   bool

	period  period
	good    int // periods that spoke for one more since it moved last, or was too much
	failure int // the number of downloads at which it was too much last; 0: it never was, or not any more
	caution int // how many good periods it takes to come back to that number
}

// Fixed returns a limit that stays what it is, at least 1.
func Fixed(n int) Limit { return Limit{allowed: max(n, 1), fixed: true} }

// Auto returns a limit that follows line and radio, between 1 and [Most]; it begins with [First].
func Auto() Limit { return Limit{allowed: First, caution: 1} }

// Allowed returns how many devices may download at once, at least 1.
func (l Limit) Allowed() int { return l.allowed }

// How the limit moves.
const (
	// idleAfter is after how long without downloads it begins anew: neither line nor radio need be as they
	// were.
	idleAfter = 10 * time.Minute
	// mostCaution bounds how many good periods it takes to come back to a number that was too much.
	mostCaution = 32
)

// After returns the limit after some readings, which are not older than those before. It wants to see
// readings every second or so while devices download; more of them change nothing.
func (l Limit) After(r Readings, now time.Time) Limit {
	if l.fixed {
		return l
	}
	if r.Active == 0 {
		return l.idle(r, now)
	}
	if !l.period.goesOn(r) {
		l.period = begin(r, now)
		return l
	}
	l.period = l.period.look(r, l.allowed, now)
	if !l.period.complete(r, now) {
		return l
	}

	verdict := l.period.judge(r, now)
	l.period = begin(r, now)
	switch verdict {
	case tooMuch:
		return l.down(r.Active)
	case room:
		return l.up()
	default:
		return l
	}
}

// idle is the limit while nothing downloads.
func (l Limit) idle(r Readings, now time.Time) Limit {
	if now.Sub(l.period.active) >= idleAfter {
		l = Auto()
	}
	active := l.period.active
	l.period = begin(r, now)
	l.period.active = active
	return l
}

// up is the limit after a period that speaks for one more.
func (l Limit) up() Limit {
	if l.failure != 0 && l.allowed >= l.failure {
		l.failure = 0 // it is not too much any more
		l.caution = max(l.caution/2, 1)
	}
	l.good++
	needed := 1
	if l.allowed+1 == l.failure {
		needed = l.caution
	}
	if l.good < needed || l.allowed >= Most {
		return l
	}
	l.good = 0
	l.allowed++
	return l
}

// down is the limit after a period that was too much for so many downloads. Those that are under way go on,
// so while there are more of them than allowed it is not known yet what the last change has brought.
func (l Limit) down(active int) Limit {
	l.good = 0
	if active > l.allowed {
		return l
	}
	again := l.allowed == l.failure
	l.failure = l.allowed
	l.caution = min(2*l.caution, mostCaution)
	if again {
		l.allowed-- // it was known to be good
	} else {
		l.allowed = l.allowed * 3 / 4
	}
	l.allowed = max(l.allowed, 1)
	return l
}
