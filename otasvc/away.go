package otasvc

import (
	"time"
)

// A dongle that is away for seconds or hours costs an upgrade nothing: it goes on where the device asks. One
// that does not come back must not keep upgrades open for ever, though, and with another dongle comes another
// network, in which the devices are not.
const (
	// activePatience is how long an upgrade that has begun waits for the dongle.
	activePatience = 24 * time.Hour
	// longPatience is how long anything waits that only waits: a queued upgrade for the dongle, a sleeping
	// device to wake, a held one for the word to go on.
	longPatience = 30 * 24 * time.Hour
	// awayStep is the longest that counts between two looks at the clock: a clock that is set does
	// not make time pass.
	awayStep = time.Minute
)

// countAway adds up how long upgrades have not been possible, over restarts of the service too. hindered says
// that the dongle is of no use to any upgrade.
func (g *dongle) countAway(hindered bool, now time.Time) {
	passed := now.Sub(g.lookedAt)
	g.lookedAt = now
	// One that comes and goes within a minute is as good as away.
	if !hindered && !g.badFlash && now.Sub(g.connectedAt) >= awayStep {
		g.away = 0
		return
	}
	before := g.away
	g.away += min(max(passed, 0), awayStep)
	if before/time.Hour != g.away/time.Hour {
		g.revision++ // a restart forgets an hour at most
	}
}

// hindered reports whether the dongle is of no use to any upgrade: away, or it does not
// take the image header.
func (s *Service) hindered() bool {
	_, ok := s.dongle.usable()
	return !ok || s.slot.state.Refusals() > 0
}

// expireAway ends upgrades that have waited for the dongle for too long.
func (s *Service) expireAway(d *device, u *upgrade, now time.Time) {
	patience := activePatience
	if u.State == Queued || u.State == Paused && u.StartedAt.IsZero() {
		patience = longPatience
	} else if !s.hindered() {
		return
	}
	since := now.Sub(later(u.QueuedAt, u.DueAt)) // it cannot have waited for longer
	if s.dongle.away > patience && since > patience {
		s.fire(d, triggerDongleLost, now)
	}
}
