package otasvc

import (
	"slices"
	"time"
)

// How long the owner sleeps when no message wakes it.
const (
	pauseBusy = 250 * time.Millisecond // answers are due, or blocks are being served
	pauseSoon = time.Second            // something is to be done before long
	pauseIdle = 10 * time.Second
)

// pause is how long the owner may sleep when nothing happens: until the next thing that it has to do by the
// clock.
func (s *Service) pause(now time.Time) time.Duration {
	if len(s.asks) > 0 || len(s.strays) > 0 || s.slot.state.IsBusy() || s.slot.state.Switching() {
		return pauseBusy
	}
	interviews := s.dongle.connected && slices.ContainsFunc(s.interview.waiting, func(d *device) bool {
		return d.interview.next.Before(now.Add(pauseIdle))
	})
	slotDue := now.Before(s.slot.state.KeptUntil()) || s.slot.state.Refusals() > 0
	pause := s.upgrades.nextLook(now)
	if !s.settled || s.stateDirty || interviews || slotDue {
		pause = min(pause, pauseSoon)
	}
	return pause
}
