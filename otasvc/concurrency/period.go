package concurrency

import "time"

// Of what a period is judged.
const (
	periodLeast  = 20 * time.Second // a period is not shorter
	periodMost   = 2 * time.Minute  // nor longer, however few blocks there were
	periodBlocks = 40               // blocks after which it is long enough

	// Shares of the blocks of a period: from which on failed deliveries, the refused blocks among them, are
	// too many, and from which on they speak against one more download; and the same of what was lost: blocks
	// that are asked for again, and answers that the dongle says nothing about. A lost request is not seen,
	// but where requests are lost, so is what the dongle says.
	failedTooMany  = 0.05
	failedAtLeast  = 3 // so many frames: one or two say nothing
	failedTooRisky = 0.01
	lostTooMany    = 0.10
	lostTooRisky   = 0.05
	// Shares of the period in which the dongle's buffers were full.
	crowdedTooLong  = 0.5
	crowdedTooRisky = 0.1
	// lineFull is the share of what the line carries from which on there is no room on it: what is said comes
	// in bursts, and a dongle loses what it cannot send in time. So losses are the line's fault then.
	lineFull = 0.5
	// fullShare is the share of the readings in which as many devices must have downloaded as may.
	fullShare = 0.9
)

// period is what was seen since its begin.
type period struct {
	begun   time.Time // zero: there is none
	first   Readings
	last    Readings
	active  time.Time // when a device was last seen to download
	looks   int
	crowded int // looks at which the buffers were full
	full    int // looks at which as many devices downloaded as may
}

// begin is a period that begins now.
func begin(r Readings, now time.Time) period {
	return period{begun: now, first: r, last: r, active: now}
}

// goesOn reports whether readings belong to the period: counters do not go back, but those of a new
// connection do.
func (p period) goesOn(r Readings) bool {
	return !p.begun.IsZero() && r.Received >= p.last.Received && r.Sent >= p.last.Sent
}

// look is the period with a further reading.
func (p period) look(r Readings, allowed int, now time.Time) period {
	p.last = r
	p.active = now
	p.looks++
	if r.Crowded {
		p.crowded++
	}
	if r.Active >= allowed {
		p.full++
	}
	return p
}

// complete reports whether enough was seen to judge.
func (p period) complete(r Readings, now time.Time) bool {
	took := now.Sub(p.begun)
	return took >= periodMost || took >= periodLeast && r.Blocks-p.first.Blocks >= periodBlocks
}

// verdict is what a period speaks for.
type verdict uint8

const (
	stay    verdict = iota // for what is
	room                   // for one more
	tooMuch                // for fewer
)

// judge says what the period, which ends with some readings, speaks for.
func (p period) judge(r Readings, now time.Time) verdict {
	blocks := r.Blocks - p.first.Blocks
	failures := r.Failed - p.first.Failed + r.Refused - p.first.Refused
	failed := share(failures, blocks)
	lost := share(max(r.Again-p.first.Again, r.Unheard-min(p.first.Unheard, r.Unheard)), blocks)
	crowded := share(uint64(p.crowded), uint64(p.looks))
	line := p.line(r, now)
	switch {
	case failed > failedTooMany && failures >= failedAtLeast, crowded > crowdedTooLong,
		line > lineFull && lost > lostTooMany:
		return tooMuch
	case failed > failedTooRisky, crowded > crowdedTooRisky, line > lineFull, lost > lostTooRisky:
		return stay
	case blocks == 0, share(uint64(p.full), uint64(p.looks)) < fullShare:
		return stay
	default:
		return room
	}
}

// line is the share of what the line carries that was used, in the busier direction; 0 where no bound is
// known.
func (p period) line(r Readings, now time.Time) float64 {
	if r.LineRate <= 0 {
		return 0
	}
	busier := max(r.Received-p.first.Received, r.Sent-p.first.Sent)
	return float64(busier) / now.Sub(p.begun).Seconds() / float64(r.LineRate)
}

// share is a part of a whole; with no whole any part is all of it.
func share(part, whole uint64) float64 {
	if part == 0 {
		return 0
	}
	return float64(part) / float64(max(whole, 1))
}
