package otasvc

import (
	"slices"
	"time"
)

// The slot holds one image, so upgrades of several images take turns. When an image has waited for a slice, the
// downloads under way are put aside: each device's next request is answered with wait-for-data for as long as the others'
// turn may last. Only when all have been told is the slot given away, and it is back before the first of them asks
// again: the dongle would refuse it otherwise.

const (
	// turnGuard is how long before a device asks again the slot is to be taken back.
	turnGuard = 45 * time.Second
	// turnPatience is how long the devices have to ask once more and be told to wait. One that does not ask for so long
	// has stalled, or is gone.
	turnPatience = maxHold*time.Second + 10*time.Second
)

// turn is a change of turns under way: the devices that are being told to wait.
type turn struct {
	devices []*device
	until   time.Time // when they are to ask again
	latest  time.Time // the slot is given away then, whoever was told
}

// includes reports whether a device's download is being put aside.
func (t *turn) includes(u *upgrade) bool {
	return t != nil && slices.ContainsFunc(t.devices, func(d *device) bool { return d.Upgrade == u })
}

// urgent reports whether a device that was put aside will ask again soon. One that has asked already, and was refused, is
// not helped by hurry: it waits like any other.
func (u *upgrade) urgent(now time.Time) bool {
	return now.Before(u.AsideUntil) && !now.Before(u.AsideUntil.Add(-turnGuard))
}

// turnDue reports whether another image than the loaded one is to have its turn now.
func (s *Service) turnDue(now time.Time) bool {
	for _, d := range s.waiting(now) {
		u := d.Upgrade
		if u.key() == s.slot.key() {
			continue
		}
		waited := min(now.Sub(u.queuedSince()), now.Sub(s.slot.since))
		if u.urgent(now) || !now.Before(u.AsideUntil) && waited > s.policy.Slice {
			return true
		}
	}
	return false
}

// considerTurn begins a change of turns where one is due and downloads are under way. Without any, the slot is free and
// simply goes to who is next.
func (s *Service) considerTurn(now time.Time) {
	users := s.slotUsers()
	if len(users) == 0 || !s.turnDue(now) {
		return
	}
	t := &turn{until: now.Add(s.policy.Slice + turnPatience + 2*turnGuard), latest: now.Add(turnPatience)}
	for _, d := range users {
		u := d.Upgrade
		if u.State == Notified && !u.runtime.begun {
			s.yield(d, now)
			continue
		}
		u.runtime.transfer.putAside(t.until)
		t.devices = append(t.devices, d)
	}
	s.turnover = t
	s.log.Info("another image gets its turn; the downloads under way are held meanwhile", "downloads", len(t.devices))
}

// turning reports whether devices are still being told to wait. When all have been, they are put aside.
func (s *Service) turning(now time.Time) bool {
	if s.turnover == nil {
		return false
	}
	for _, d := range s.turnover.devices {
		u := d.active()
		if u != nil && u.runtime.transfer != nil && !u.runtime.transfer.told.Load() && now.Before(s.turnover.latest) {
			return true
		}
	}
	for _, d := range s.turnover.devices {
		u := d.active()
		if u == nil || !u.State.holdsSlot() {
			continue // it has ended meanwhile
		}
		u.AsideUntil, u.runtime.yieldedAt = s.turnover.until, now
		u.runtime.told = u.runtime.transfer != nil && u.runtime.transfer.told.Load()
		d.dirty, s.stateDirty = true, true
		if s.fire(d, triggerHold, now) {
			s.happened(s.upgradeEvent(EventDownloadPaused, d, u))
		}
	}
	s.turnover = nil
	return false
}

// callBack lets the downloads of the loaded image go on that had been put aside for others.
func (s *Service) callBack(now time.Time) {
	if len(s.slotUsers()) > 0 && s.turnDue(now) {
		return // the turn is about to end
	}
	for _, d := range s.sortedActive() {
		u := d.Upgrade
		if u.AsideUntil.IsZero() || u.key() != s.slot.key() {
			continue
		}
		if u.runtime.told {
			// It asks when its wait is over, not before: until then it is not silent.
			u.runtime.lastActivity = later(now, u.AsideUntil)
		} else {
			// It was silent already. What others took does not count, what it had itself does: else devices that are
			// gone would hand the slot to each other for ever.
			u.runtime.lastActivity = u.runtime.lastActivity.Add(now.Sub(u.runtime.yieldedAt))
		}
		u.AsideUntil = time.Time{}
		d.dirty, s.stateDirty = true, true
		s.setVerdict(u)
		if !u.Held && s.fire(d, triggerRelease, now) {
			s.happened(s.upgradeEvent(EventDownloadResumed, d, u))
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
