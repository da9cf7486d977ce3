package slot

import "time"

// Next is when Plan may have something else to say although nothing has happened but that time went by. It is
// zero where time alone changes nothing. Plan has to have been followed until it had nothing more to say.
func Next(v View, now time.Time) time.Time {
	n := soonest{now: now}
	n.consider(v.Slot.retryAt)
	if !v.Usable || v.Slot.busy {
		return n.at // the dongle's answer is awaited
	}

	p := look(&v, now)
	n.consider(v.Slot.keepUntil.Add(time.Nanosecond))
	n.consider(v.Slot.change.deadline)
	if !v.Slot.deferredSince.IsZero() && v.Crowded {
		n.consider(v.Slot.deferredSince.Add(v.Policy.CrowdedTimeout))
	}
	for i := range v.Upgrades {
		c := &v.Upgrades[i]
		if c.InDownload() && !c.isPutOff() {
			p.considerDownload(&n, c)
		}
		n.consider(c.NotBefore)
		n.consider(c.AwakeUntil)
		if c.Stage == Queued && !c.Named {
			n.consider(c.WaitsSince.Add(agedAfter))
		}
		if c.isPutOff() {
			n.consider(c.PutOffUntil.Add(-p.lead() - leastUse + time.Nanosecond))
			n.consider(c.PutOffUntil.Add(-p.lead()))
			n.consider(c.PutOffUntil)
			n.consider(c.PutOffUntil.Add(SilentAfter))
		}
	}
	for _, c := range p.waiting {
		if latest := p.latestBegin(c); !latest.IsZero() { // others may have the slot then
			n.consider(latest.Add(time.Nanosecond))
		}
	}
	if len(p.users) > 0 && len(p.waiting) > 0 {
		n.consider(now.Add(ratesLook))
	}
	return n.at
}

// ratesLook is how often the rates of downloads are looked at while others wait: who is slow gives way to who
// is quicker.
const ratesLook = 10 * time.Second

// considerDownload takes in when a device that was offered its image may be taken for idle.
func (p *plan) considerDownload(n *soonest, c *Candidate) {
	n.consider(c.ActiveAt) // one that was told to wait asks again
	if c.Stage != Offered {
		n.consider(c.activeAt().Add(p.silence(c) + time.Nanosecond))
		return
	}
	n.consider(c.OfferedAt.Add(answerWithin(c) + time.Nanosecond))
	for _, other := range p.waiting {
		n.consider(c.OfferedAt.Add(p.patience(c, other) + time.Nanosecond))
	}
}

// soonest is the first of some times that are still to come.
type soonest struct{ now, at time.Time }

// consider takes a time in.
func (n *soonest) consider(at time.Time) {
	if at.After(n.now) && (n.at.IsZero() || at.Before(n.at)) {
		n.at = at
	}
}
