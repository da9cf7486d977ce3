package slot

import (
	"slices"
	"time"
)

// A device that does not take the slot which it was given costs the others nothing but the time in which it
// could have answered.

const (
	// answerTimeout is how long a device that hears all the time has to answer its notification when others
	// wait: it is repeated within that time, and devices answer within seconds.
	answerTimeout = 45 * time.Second
	// sleepTimeout is how long a sleepy device that was notified keeps the slot when others wait that may not
	// hear of it either.
	sleepTimeout = 30 * time.Second
	// idleShare is the part of the time that a device has waited already for which it keeps the slot when
	// only devices wait that may not hear of it either. So devices that sleep for weeks do not have the
	// contents of the slot changed, told and written each half a minute.
	idleShare = 20
	// SilentAfter is how long a device is silent in mid-download until it is taken for one that has given up.
	// Nearly all of them have by then.
	SilentAfter = 60 * time.Second
	// blocksMissed is after how many blocks that a slow device would have asked for it is taken for silent.
	blocksMissed = 4
)

// isIdle reports whether a device that uses the slot does not take it: it has not answered its notification
// within a time, or has fallen silent in mid-download.
func (p *plan) isIdle(c *Candidate, answer time.Duration) bool {
	if c.Stage == Offered {
		return p.now.Sub(c.OfferedAt) > answer
	}
	return !c.Held && p.now.Sub(c.activeAt()) > p.silence(c)
}

// answerWithin is how long a device that was notified has to answer until it takes no place from others.
func answerWithin(c *Candidate) time.Duration {
	if c.Sleepy {
		return ListensFor // the parent of the device has thrown the notification away by then
	}
	return answerTimeout
}

// activeAt is when the device was active last: it asked for a block, was to ask after a wait, or got its
// right to blocks.
func (c *Candidate) activeAt() time.Time { return later(c.ActiveAt, c.OfferedAt) }

// silence is how long a device may be silent in mid-download.
func (p *plan) silence(c *Candidate) time.Duration {
	return max(SilentAfter+2*p.Policy.BlockInterval+c.Silence, blocksMissed*p.spacing(c))
}

// yield has the devices that do not take the slot give it up, if that is true of all that use it and others
// wait for another image who are more likely to take it.
func (p *plan) yield() Decision {
	if len(p.users) == 0 || !p.hasPlace() {
		return nil
	}
	key := p.usersKey()
	if p.promised != nil && p.promised.Key == key && p.nearly(p.promised) {
		return nil // the slot is about to be needed for it all the same
	}
	var others []*Candidate
	for _, c := range p.waiting {
		switch {
		case !p.mayHaveSlot(c):
		case c.Key != key:
			others = append(others, c)
		case c.readiness(p.now) < doubtful || len(others) == 0:
			return nil // it joins in
		}
	}
	if len(others) == 0 {
		return nil
	}
	for _, c := range p.users {
		if !p.isIdle(c, p.patience(c, others[0])) || !p.givesWay(c, others[0]) {
			return nil
		}
	}
	return giveUp(p.users)
}

// givesWay reports whether a device that does not take the slot gives way to one who waits: not to one who is
// less likely to take it, or it would be given the slot again at once. One that has fallen silent gives way
// only to who is more likely to take the slot; in its own time it is found out whether it is gone.
func (p *plan) givesWay(c, other *Candidate) bool {
	mine := doubtful // when it has given the slot up
	if c.Sleepy {
		mine = asleep
	}
	if c.Stage == Offered {
		return other.readiness(p.now) <= mine
	}
	return other.readiness(p.now) < mine
}

// patience is how long a device that was notified keeps the slot when another one waits for another image.
func (p *plan) patience(c, other *Candidate) time.Duration {
	if other.readiness(p.now) < doubtful {
		return answerWithin(c)
	}
	least := answerTimeout
	if c.Sleepy {
		least = sleepTimeout
	}
	if c.Sleepy && !other.Sleepy {
		return least
	}
	return max(least, min(p.now.Sub(c.WaitsSince)/idleShare, p.Policy.Slice))
}

// Quiet reports whether nobody downloads, and nobody can be expected to begin now: who was offered an image
// does not answer, and who waits sleeps or did not answer last time.
func Quiet(v View, now time.Time) bool { return look(&v, now).quiet() }

func (p *plan) quiet() bool {
	for i := range p.Upgrades {
		c := &p.Upgrades[i]
		if c.InDownload() && (c.Stage != Offered || c.listens(p.now) || !p.isIdle(c, answerWithin(c))) {
			return false
		}
	}
	begins := func(c *Candidate) bool { return c.readiness(p.now) < doubtful && p.mayHaveSlot(c) }
	return !slices.ContainsFunc(p.waiting, begins)
}

// empty empties the slot for others than upgrades, or leaves it empty for them. It reports false where it has
// to be as upgrades need it.
func (p *plan) empty() (Decision, bool) {
	if !p.quiet() || p.Slot.pagesAsked {
		return nil, false
	}
	d := p.clear()
	if _, clears := d.(Clear); clears && len(p.users) > 0 {
		d = Clear{ForAMoment: true}
	}
	return d, true
}

// giveUp has devices give the slot up: those that have not begun stand in the queue again, the others are put
// aside until the slot is theirs again.
func giveUp(upgrades []*Candidate) Decision {
	var d GiveUp
	for _, c := range upgrades {
		if c.Stage == Offered {
			d.Devices = append(d.Devices, c.Device)
		} else {
			d.Aside = append(d.Aside, c.Device)
		}
	}
	return d
}
