package slot

import (
	"cmp"
	"slices"
	"time"
)

// Who is ready for the slot comes before who may not even hear of it: a notification that nobody answers
// costs the others time. Among those who are equally ready, what was asked for by name comes first, then the
// image that is done soonest. Waiting makes up for all of it in the end, so that nobody waits for ever.

// readiness says how probable it is that a device takes the slot when it gets it. The lower, the sooner.
type readiness uint8

const (
	ready    readiness = iota // it hears all the time, and nothing speaks against it
	awake                     // it sleeps most of the time, and listens now
	doubtful                  // it did not answer its last notification, or fell silent in mid-download
	asleep                    // it sleeps, and hears only when it wakes
)

const (
	// agedAfter is how long an upgrade that nobody has asked for by name waits until it counts as much as one
	// that was.
	agedAfter = 12 * time.Hour
	// ageShare is the part of the time that an upgrade has waited by which it counts as being done sooner.
	ageShare = 2
)

// readiness says how probable it is that the device takes the slot when it gets it.
func (c *Candidate) readiness(now time.Time) readiness {
	switch {
	case c.listens(now):
		return awake
	case c.isPutOff() && c.Told && now.Before(c.PutOffUntil.Add(SilentAfter)):
		return ready // it asks when its wait is over, whether it sleeps or not
	case c.Sleepy:
		return asleep
	case c.Unanswered || c.isPutOff() && !c.Told:
		return doubtful
	default:
		return ready
	}
}

// rank is what decides whose turn it is; the lower, the sooner.
type rank struct {
	readiness readiness
	unnamed   bool
	score     time.Duration
	since     time.Time
}

// compare orders ranks.
func (r rank) compare(to rank) int {
	return cmp.Or(
		cmp.Compare(r.readiness, to.readiness),
		first(!r.unnamed, !to.unnamed),
		cmp.Compare(r.score, to.score),
		r.since.Compare(to.since),
	)
}

// rankOf is the rank of one that waits.
func (p *plan) rankOf(c *Candidate) rank {
	r := rank{readiness: c.readiness(p.now), since: c.QueuedSince}
	if r.readiness >= doubtful {
		return r // they take turns
	}
	waited := max(p.now.Sub(c.WaitsSince), 0)
	return rank{
		readiness: r.readiness,
		unnamed:   !c.Named && waited < agedAfter,
		score:     p.need[c.Key] - waited/ageShare,
		since:     r.since,
	}
}

// inLine lists the upgrades that could have the slot, in the order in which they are to have it: those that
// have not begun, and those that were put off for another image.
func (p *plan) inLine() []*Candidate {
	withheld := map[Key]bool{} // nobody may begin with the image
	putOff := map[Key]bool{}   // nobody may begin with the image who has to be alone
	for i := range p.Upgrades {
		c := &p.Upgrades[i]
		withheld[c.Key] = withheld[c.Key] || c.Stage == Withheld || c.isPutOff() && c.InstallLater
		putOff[c.Key] = putOff[c.Key] || c.isPutOff()
	}

	var waiting []*Candidate
	for i := range p.Upgrades {
		c := &p.Upgrades[i]
		barred := withheld[c.Key] || c.InstallLater && putOff[c.Key]
		if c.isPutOff() || p.mayBegin(c) && !barred {
			waiting = append(waiting, c)
		}
	}
	p.need = p.needs(waiting, cautiousRate)
	ranks := make(map[*Candidate]rank, len(waiting))
	for _, c := range waiting {
		ranks[c] = p.rankOf(c)
	}
	slices.SortFunc(waiting, func(a, b *Candidate) int {
		return cmp.Or(ranks[a].compare(ranks[b]), cmp.Compare(a.Device, b.Device))
	})
	return waiting
}

// mayBegin reports whether an upgrade is queued and waits for nothing but the slot.
func (p *plan) mayBegin(c *Candidate) bool {
	return c.Stage == Queued && !p.NoNew && c.Canary == 0 && c.Located && !p.now.Before(c.NotBefore)
}

// byQueue is the order in which upgrades came into the queue: who gave the slot up stands in line again.
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
