package otasvc

import "time"

// Silence in mid-download makes the dongle's header doubtful: a dongle that was reset without a word refuses
// blocks, and devices that are refused stop asking. Loading the header again does no harm; then the device is
// told that there is an image, for it has given up if that is what happened. A device that stops at the same
// place again has other reasons, and is left to the stall time-out. Or it has everything, and installs or
// runs it, with its word and its announce lost: it is asked what it runs.
const (
	suspectAfter  = 20 * time.Second
	suspectPause  = time.Minute
	suspectNotify = 5 * time.Second // from the header to the notification
)

// suspicion is what an attempt remembers of its device's silence.
type suspicion struct {
	at       time.Time // of the last one
	beyond   uint32    // a further one needs a greater position
	notifyAt time.Time
	readAt   time.Time // when the version is read, not before
}

// suspectSilence looks at a download whose device does not ask any more.
func (s *Service) suspectSilence(d *device, u *upgrade, now time.Time) {
	sus := &u.runtime.suspicion
	tr := u.runtime.transfer
	if u.State != Downloading || tr == nil || s.slot.keyOf(d) != s.slot.state.Key() {
		return
	}
	patience := suspectAfter + 2*s.policy.BlockInterval
	if d.Sleepy() {
		patience += sleepyNotifyInterval
	}
	if now.Sub(later(u.runtime.lastActivity, s.dongle.connectedAt)) < patience {
		sus.notifyAt = time.Time{}
		return
	}
	if !now.Before(sus.readAt) {
		sus.readAt = now.Add(max(patience, suspectPause))
		s.interviews.readVersion(d, func(error) {}) // what it says is taken in wherever it comes from
	}
	if position := tr.Progress(now).Position + 1; position > sus.beyond && s.suspectReset(d, now) {
		sus.beyond = position
		sus.notifyAt = now.Add(suspectNotify)
	}
	if !sus.notifyAt.IsZero() && s.slot.holds(d) && !now.Before(sus.notifyAt) {
		sus.notifyAt = time.Time{}
		s.notify(d, now)
	}
}

// suspectReset has the header loaded again because a device behaves as if it were gone. It
// reports whether it did.
func (s *Service) suspectReset(d *device, now time.Time) bool {
	sus := &d.Upgrade.runtime.suspicion
	if now.Sub(sus.at) < suspectPause {
		return false
	}
	sus.at = now
	s.log.Warn("a device has stopped asking for blocks; in case the dongle was reset without saying so, "+
		"the image header is loaded again", "euid", d.EUID())
	s.slot.distrust()
	return true
}
