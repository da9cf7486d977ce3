package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// QueryWatch is when the dongle runs in its hybrid raw mode. It then shows every frame as it came from the
// air, Query Next Image requests among them, which the dongle answers itself and tells nobody of otherwise:
// they name a device's running version and, alone of all messages, its hardware version, and show that a
// sleeping device is awake. Each frame then costs a further one on air, so the mode is for the time when
// nothing downloads.
type QueryWatch uint8

// When queries are watched.
const (
	WatchNever  QueryWatch = iota
	WatchIdle              // while nothing downloads
	WatchAlways            // during downloads too
)

// watchAfter is how long nothing has to be going on before the mode changes. The dongle writes each change
// to its flash memory.
const watchAfter = time.Minute

// watchRetry is how long the owner waits after the dongle did not take a mode.
const watchRetry = 2 * time.Second

// watch is the dongle's raw mode as far as the owner knows it, and what it is to be.
type watch struct {
	policy QueryWatch
	mode   message.RawMode
	busy   bool
	// touched: the dongle may have another mode than off. What became of a command whose status was
	// lost is not known.
	touched bool
	// idleSince is when the last download ended.
	idleSince time.Time
	retryAt   time.Time
}

// reset notes that the dongle's mode is off, as it is after a handshake.
func (w *watch) reset() { *w = watch{policy: w.policy} }

// off reports whether nobody has set another mode.
func (w *watch) off() bool { return w.mode == message.RawModeOff && !w.busy }

// next decides which mode the dongle is to get now, and false where that stays as it is. Off comes at once,
// before anything downloads; hybrid comes after nothing has been going on for a while, or at once where it is
// urgent.
func (w *watch) next(working, urgent bool, now time.Time) (message.RawMode, bool) {
	if w.busy || now.Before(w.retryAt) {
		return w.mode, false
	}
	if working {
		w.idleSince = time.Time{}
	} else if w.idleSince.IsZero() {
		w.idleSince = now
	}
	mode := message.RawModeOff
	switch {
	case w.policy == WatchAlways:
		mode = message.RawModeHybrid
	case w.policy != WatchIdle || working:
	case w.mode == message.RawModeHybrid || urgent || now.Sub(w.idleSince) >= watchAfter:
		mode = message.RawModeHybrid
	}
	return mode, mode != w.mode
}

// setting notes that a command is under way.
func (w *watch) setting(mode message.RawMode) {
	w.busy = true
	w.touched = w.touched || mode != message.RawModeOff
}

// set notes what came of the command.
func (w *watch) set(mode message.RawMode, err error, now time.Time) {
	w.busy = false
	if err != nil {
		w.retryAt = now.Add(watchRetry)
		return
	}
	w.mode = mode
	w.touched = mode != message.RawModeOff
}

// watchQueries sets the dongle's raw mode.
func (s *Service) watchQueries(now time.Time) {
	if !s.dongle.connected {
		return
	}
	working := s.slot.working(now)
	urgent := false
	for _, d := range s.upgrades.active {
		// There is no other way to learn how its upgrade went.
		urgent = urgent || d.Mute() && d.Upgrade.State() == Applying
	}
	mode, change := s.watch.next(working, urgent, now)
	if !change {
		return
	}
	s.watch.setting(mode)
	session := s.dongle.session
	s.sender.Send(message.SetRawMode{Mode: mode}, func(_ message.Status, err error) {
		if s.dongle.session != session {
			return
		}
		s.watch.set(mode, err, time.Now())
		if err != nil {
			s.log.Warn("the dongle's raw mode was not set; it is tried again", "mode", mode, "err", err)
		}
	})
}

// How long a clean stop waits for the dongle to take its raw mode back, and how often it tries.
const (
	restoreTimeout = 2 * time.Second
	restoreTries   = 3
)

// restoreRawMode leaves the dongle as other software expects it: it keeps its mode over resets. The mode that
// it had before cannot be read; off is what it is sold with, and what it was set to when it was connected.
func (s *Service) restoreRawMode() {
	if !s.dongle.connected || !s.watch.touched {
		return
	}
	timeout := time.After(restoreTimeout)
	for range restoreTries {
		done := make(chan error, 1)
		s.sender.Submit(message.SetRawMode{Mode: message.RawModeOff}, func(_ message.Status, err error) {
			done <- err
		})
		select {
		case err := <-done:
			if err == nil {
				return
			}
		case <-timeout:
			s.log.Warn("the dongle did not say that it has left its hybrid raw mode")
			return
		}
	}
}
