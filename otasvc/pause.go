package otasvc

import (
	"time"
)

// How long the owner sleeps when no message wakes it.
const (
	pauseBusy = 250 * time.Millisecond // answers are due, or blocks are being served
	pauseSoon = time.Second            // something is to be done before long
	pauseIdle = 10 * time.Second
)

// pause is how long the owner may sleep when nothing happens: until the next thing that it has
// to do by the clock.
func (s *Service) pause(now time.Time) time.Duration {
	if s.questions.Any() || s.strangers.Any() || s.slot.state.IsBusy() || s.slot.state.Switching() || s.finish.device != nil {
		return pauseBusy
	}
	pause := pauseIdle
	interviews := s.dongle.connected && s.interviews.schedule.Before(now.Add(pauseIdle))
	slotDue := now.Before(s.slot.state.KeptUntil()) || s.slot.state.Refusals() > 0
	if !s.gate.opened || s.revisions() != s.saved || interviews || slotDue {
		pause = pauseSoon
	}
	for _, d := range s.active {
		pause = min(pause, s.pauseFor(d.Upgrade, now))
	}
	return pause
}

// pauseFor is how long nothing has to be done for one upgrade.
func (s *Service) pauseFor(u *upgrade, now time.Time) time.Duration {
	var next time.Time
	switch {
	case u.State == Downloading:
		return pauseBusy
	case u.State == Scheduled:
		next = u.DueAt
	case !s.dongle.connected:
		return pauseIdle
	case u.State == Downloaded && u.Install == InstallAt:
		next = u.InstallAt
	case u.State == Paused && u.Held && u.AsideUntil.IsZero():
		next = u.PausedUntil
	case u.State == Notified && s.slot.state.HoldsImage():
		next = u.runtime.nextNotify
	case u.State == Downloaded:
		return pauseIdle
	default:
		return pauseSoon
	}
	return min(max(next.Sub(now), pauseBusy), pauseIdle)
}
