package otasvc

import (
	"time"
)

// A dongle that is away for seconds or hours costs an upgrade nothing: it goes on where the device asks. One
// that does not come back must not keep upgrades open for ever, though, and with another dongle comes another
// network, in which the devices are not.

// awayStep is the longest that counts between two looks at the clock: a clock that is set does not make time
// pass.
const awayStep = time.Minute

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
