package otasvc

import "time"

// How long the owner sleeps when no message wakes it.
const (
	pauseBusy = 250 * time.Millisecond // answers are due, or blocks are being served
	pauseSoon = time.Second            // something is to be done before long
	pauseIdle = 10 * time.Second
)

// pause is how long the owner may sleep when nothing happens: until the next thing that it has to do by the
// clock.
func (s *Service) pause(now time.Time) time.Duration {
	if s.questions.Any() || s.strangers.Any() || s.slot.state.IsBusy() || s.slot.state.Switching() {
		return pauseBusy
	}
	interviews := s.dongle.connected && s.interviews.schedule.Before(now.Add(pauseIdle))
	slotDue := now.Before(s.slot.state.KeptUntil()) || s.slot.state.Refusals() > 0
	pause := s.upgrades.nextLook(now)
	if !s.gate.opened || s.revisions() != s.saved || interviews || slotDue {
		pause = min(pause, pauseSoon)
	}
	return pause
}
