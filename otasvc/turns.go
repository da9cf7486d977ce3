package otasvc

import (
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
)

// The slot holds one image, so upgrades of several images take turns. When an image has waited for a slice,
// the downloads under way are put aside: each device's next request is answered with wait-for-data for as
// long as the others' turn may last. Only when all have been told is the slot given away, and it is back
// before the first of them asks again: the dongle would refuse it otherwise.

const (
	// turnPatience is how long the devices have to ask once more and be told to wait. One that does not ask
	// for so long has stalled, or is gone. One that is paused asks only every blocks.MaxHold seconds.
	turnPatience       = 20 * time.Second
	turnPatiencePaused = blocks.MaxHold*time.Second + 10*time.Second
	// turnMargin is for loading a header, and for a device whose clock runs fast.
	turnMargin = 3 * time.Second
	// turnStart is what a download needs besides its blocks: the notification, the query, the end.
	turnStart = 30 * time.Second
	// maxTurns is how many others' turns a device is told to wait for at most.
	maxTurns = 8
)

// patience is how long putting the downloads under way aside takes at the longest.
func (s *Service) patience() time.Duration {
	users := s.slotUsers()
	if slices.ContainsFunc(users, func(d *device) bool { return d.Upgrade.Held }) {
		return turnPatiencePaused
	}
	return min(turnPatience, max(s.policy.Slice, 5*time.Second)) + 2*s.policy.BlockInterval
}

// othersTurns is how long those who wait for other images than the loaded one may need, one image after the
// other: what they have to download at the rate of those who download now, at most a slice for each. A device
// that is put aside cannot be called back sooner, so a guess that is too long would leave the dongle idle.
func (s *Service) othersTurns(now time.Time) time.Duration {
	var rate int
	users := s.slotUsers()
	for _, d := range users {
		rate = max(rate, d.Upgrade.rate(now))
	}
	type image struct {
		devices int
		bytes   uint32
	}
	waiting := map[slotKey]image{}
	for _, d := range s.waiting(now) {
		if u := d.Upgrade; u.key() != s.slot.key() {
			im := waiting[u.key()]
			waiting[u.key()] = image{im.devices + 1, im.bytes + u.Size - u.Offset}
		}
	}
	var sum time.Duration
	turns := 0
	for _, im := range waiting {
		need := s.policy.Slice
		if rate > 0 {
			seconds := float64(im.bytes) / float64(rate) / float64(min(im.devices,
				max(s.policy.Concurrency, 1)))
			need = min(need, turnStart+time.Duration(1.25*seconds*float64(time.Second)))
		}
		sum += need + s.patience() + turnMargin // for it stands ready before its devices ask again
		if turns++; turns == maxTurns {
			break
		}
	}
	return sum
}

// longestAside is the longest that a device may have been told to wait for others' turns.
func (s *Service) longestAside() time.Duration {
	patience := turnPatiencePaused + 2*s.policy.BlockInterval
	return maxTurns*(s.policy.Slice+patience+turnMargin) + 2*patience + turnMargin
}

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

// urgent reports whether a device that was put aside will ask again soon. One that has asked already, and was
// refused, is not helped by hurry: it waits like any other.
func (s *Service) urgent(u *upgrade, now time.Time) bool {
	return now.Before(u.AsideUntil) && !now.Before(u.AsideUntil.Add(-s.patience()-turnMargin))
}

// turnDue reports whether another image than the loaded one is to have its turn now.
func (s *Service) turnDue(now time.Time) bool { return s.nextTurn(now) != nil }

// nextTurn is the device whose image, another than the loaded one, is to have its turn now; nil: none.
func (s *Service) nextTurn(now time.Time) *device {
	for _, d := range s.waiting(now) {
		u := d.Upgrade
		if u.key() == s.slot.key() {
			continue
		}
		waited := min(now.Sub(u.queuedSince()), now.Sub(s.slot.since))
		if s.urgent(u, now) || !now.Before(u.AsideUntil) && waited > s.policy.Slice {
			return d
		}
	}
	return nil
}

// considerTurn begins a change of turns where one is due and downloads are under way. Without any, the slot
// is free and simply goes to who is next.
func (s *Service) considerTurn(now time.Time) {
	users := s.slotUsers()
	if len(users) == 0 || !s.turnDue(now) {
		return
	}
	patience := s.patience()
	t := &turn{
		until: now.Add(patience + s.othersTurns(now) + patience + turnMargin), latest: now.Add(patience),
	}
	for _, d := range users {
		u := d.Upgrade
		if u.State == Notified && !u.runtime.begun {
			s.yield(d, now)
			continue
		}
		u.runtime.transfer.PutOff(t.until)
		t.devices = append(t.devices, d)
	}
	s.turnover = t
	s.log.Info("another image gets its turn; the downloads under way are held meanwhile",
		"downloads", len(t.devices))
}

// turning reports whether devices are still being told to wait. When all have been, they are put aside.
func (s *Service) turning(now time.Time) bool {
	if s.turnover == nil {
		return false
	}
	for _, d := range s.turnover.devices {
		u := d.active()
		if u != nil && u.runtime.transfer != nil && !u.runtime.transfer.PutOffTold() &&
			now.Before(s.turnover.latest) {
			return true
		}
	}
	for _, d := range s.turnover.devices {
		u := d.active()
		if u == nil || !u.State.holdsSlot() {
			continue // it has ended meanwhile
		}
		u.AsideUntil = s.turnover.until
		u.runtime.yieldedAt = now
		u.AsideTold = u.runtime.transfer != nil && u.runtime.transfer.PutOffTold()
		s.upgradeChanged(d)
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
		if u.AsideTold {
			// It asks when its wait is over, not before: until then it is not silent.
			u.runtime.lastActivity = later(now, u.AsideUntil)
			s.slot.since = later(s.slot.since, u.AsideUntil) // its turn begins then
		} else {
			// It was silent already. What others took does not count, what it had itself does: else devices
			// that are gone would hand the slot to each other for ever.
			u.runtime.lastActivity = u.runtime.lastActivity.Add(
				now.Sub(later(u.runtime.yieldedAt, u.runtime.restoredAt)),
			)
		}
		u.AsideUntil = time.Time{}
		u.AsideTold = false
		s.upgradeChanged(d)
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
