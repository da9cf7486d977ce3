package acceptance

import "time"

// Readings are what was counted since the service began, and what is so now.
type Readings struct {
	Taken   uint64 // blocks that the dongle has taken
	Refused uint64 // blocks that it has not taken, one that is sent again counted each time
	// MayReset says that the dongle can be reset now.
	MayReset bool
}

// Verdict is what the latest readings come to, where that is news.
type Verdict uint8

// Every verdict.
const (
	// NoNews: what was so before is so still.
	NoNews Verdict = iota
	// Doubted: the dongle has refused blocks and taken none for a while, which may have no meaning. A
	// device that is silent has given up for want of them, and has to be told of its image anew.
	Doubted
	// ResetIt: the dongle takes no blocks. It is to be reset, which may help; nobody needs to know yet.
	ResetIt
	// Refuses: the dongle takes no blocks, and a reset has not helped, or cannot.
	Refuses
	// TryIt: the dongle has refused blocks for a while. One device is to be given blocks, to see whether it
	// still does.
	TryIt
	// RefusesStill: the dongle has refused the blocks of that device, too.
	RefusesStill
	// Takes: the dongle takes blocks again.
	Takes
)

// How a dongle that refuses every block is told from one that has no room for a moment. The stack keeps a
// frame that does not arrive for 6 to 8 s: four tries of 1.6 s, or as long as a parent keeps it for a
// device that sleeps.
const (
	// doubtedAfter is how long no block must have been taken until that is news.
	doubtedAfter = 15 * time.Second
	// refusesAfter is how long no block must have been taken.
	refusesAfter = 30 * time.Second
	// spread is how far apart the first and the last refusal must be.
	spread = 8 * time.Second
	// refusalsNeeded is how many there must be.
	refusalsNeeded = 3
	// forgetAfter is how long after a refusal another one has nothing to do with it.
	forgetAfter = 10 * time.Minute
	// noResetAfter is after how long the dongle is given up if it could not be reset meanwhile.
	noResetAfter = 45 * time.Second
)

// How a dongle that was reset is looked at: its buffers are empty, so that the next blocks decide.
const (
	// startTime is what a dongle needs to start. What it says meanwhile of blocks does not count: the
	// endpoint of its OTA server may not be there yet.
	startTime = 3 * time.Second
	// refusesAgainAfter is for how long blocks must have been refused.
	refusesAgainAfter = 3 * time.Second
	// refusalsAgain is how many refusals there must be then, also when it is tried again.
	refusalsAgain = 2
	// resetCounts is how long nothing is known of a reset dongle of which no device asks for blocks, counted
	// from the last refusal where there were too few to say anything.
	resetCounts = 10 * time.Minute
	// resetAgainAfter is how long after a reset a further one may help: a dongle that refuses again sooner is
	// not helped by that.
	resetAgainAfter = 10 * time.Minute
)

// How a dongle that refuses is tried again. It may have recovered, or have been restarted, without a word.
const (
	// tryAfter is how long after it has refused blocks last.
	tryAfter = 15 * time.Minute
	// trialTime is for how long the blocks of the trial must have been refused.
	trialTime = spread
)

// stage is what is thought of the dongle.
type stage uint8

const (
	takes   stage = iota // it takes blocks, as far as is known
	reset                // it took none and was reset
	refuses              // it takes none
	trial                // it takes none, and is tried again
)

// Judgement is what is thought of the dongle. It is a value: After and the other methods that move it
// return the judgement afterwards. The zero Judgement is that of a dongle of which nothing is known, at
// readings of 0.
type Judgement struct {
	stage stage
	since time.Time // the stage began then
	run   run       // the refusals in this stage
	// refusedSince is when the first of the blocks was refused for which the dongle was judged.
	refusedSince time.Time
	resetAt      time.Time // zero where it was not reset

	taken, refused uint64 // the readings that were seen last
}

// run is refusals in a row, without a block that was taken in between.
type run struct {
	count       uint64
	first, last time.Time
	doubted     bool // that it goes on was news already
}

// with is the run with further refusals.
func (r run) with(refused uint64, now time.Time) run {
	if r.count == 0 || now.Sub(r.last) > forgetAfter {
		r = run{first: now}
	}
	r.count += refused
	r.last = now
	return r
}

// Refuses reports whether the dongle takes no blocks.
func (j Judgement) Refuses() bool { return j.stage == refuses || j.stage == trial }

// Holds reports whether nothing is to be begun because the dongle takes no blocks.
func (j Judgement) Holds() bool { return j.stage == refuses }

// Tries reports whether the dongle is tried again: one device at a time is to be given blocks.
func (j Judgement) Tries() bool { return j.stage == trial }

// RefusedSince is from when on no block was taken, where [Judgement.Refuses]: a device that has got blocks
// since then, to its request, has none of them.
func (j Judgement) RefusedSince() time.Time { return j.refusedSince }

// Connected is the judgement of a dongle that was connected: it may have been without power.
func (j Judgement) Connected() Judgement {
	return Judgement{resetAt: j.resetAt, taken: j.taken, refused: j.refused}
}

// Restarted is the judgement after the dongle has said that it has started. A reset that was ordered is no
// news.
func (j Judgement) Restarted() Judgement {
	if j.stage == reset {
		return j
	}
	return j.Connected()
}

// After returns the judgement after some readings, which are not older than those before, and what is new
// about it. It wants to see readings every second or so while devices download.
func (j Judgement) After(r Readings, now time.Time) (Judgement, Verdict) {
	taken := r.Taken != j.taken
	refused := r.Refused - j.refused
	j.taken = r.Taken
	j.refused = r.Refused
	if taken {
		return j.afterBlock(now)
	}
	starting := j.stage == reset && now.Sub(j.since) < startTime
	if refused > 0 && !starting {
		j.run = j.run.with(refused, now)
	}

	switch j.stage {
	case reset:
		return j.afterReset(now)
	case refuses:
		if now.Sub(j.lastRefusal()) >= tryAfter {
			return j.enter(trial, now), TryIt
		}
	case trial:
		if j.run.count >= refusalsAgain && now.Sub(j.run.first) >= trialTime {
			j.refusedSince = j.run.first
			return j.enter(refuses, now), RefusesStill
		}
	case takes:
		return j.doubt(r.MayReset, now)
	}
	return j, NoNews
}

// enter is the judgement at the begin of a stage.
func (j Judgement) enter(s stage, now time.Time) Judgement {
	j.stage = s
	j.since = now
	j.run = run{}
	return j
}

// lastRefusal is when a block was refused last, or the stage began.
func (j Judgement) lastRefusal() time.Time {
	if j.run.last.After(j.since) {
		return j.run.last
	}
	return j.since
}

// afterBlock is the judgement after a block that was taken.
func (j Judgement) afterBlock(now time.Time) (Judgement, Verdict) {
	verdict := NoNews
	if j.stage != takes {
		verdict = Takes
	}
	return j.enter(takes, now), verdict
}

// doubt is the judgement of a dongle of which nothing bad is known yet.
func (j Judgement) doubt(mayReset bool, now time.Time) (Judgement, Verdict) {
	lasts := now.Sub(j.run.first)
	if j.run.count > 0 && lasts >= doubtedAfter && !j.run.doubted {
		j.run.doubted = true
		return j, Doubted
	}
	if j.run.count < refusalsNeeded || lasts < refusesAfter || j.run.last.Sub(j.run.first) < spread {
		return j, NoNews
	}
	helps := j.resetAt.IsZero() || now.Sub(j.resetAt) >= resetAgainAfter
	j.refusedSince = j.run.first
	switch {
	case helps && mayReset:
		j.resetAt = now
		return j.enter(reset, now), ResetIt
	case helps && lasts < noResetAfter:
		return j, NoNews
	default:
		return j.enter(refuses, now), Refuses
	}
}

// afterReset is the judgement of a dongle that was reset.
func (j Judgement) afterReset(now time.Time) (Judgement, Verdict) {
	switch {
	case j.run.count >= refusalsAgain && now.Sub(j.run.first) >= refusesAgainAfter:
		return j.enter(refuses, now), Refuses
	case now.Sub(j.lastRefusal()) >= resetCounts:
		return j.enter(takes, now), NoNews
	default:
		return j, NoNews
	}
}
