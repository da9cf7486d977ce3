package otasvc

import (
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// QueryWatch is when the dongle runs in its hybrid raw mode. It then shows every frame as it came from the
// air, Query Next Image requests among them, which the dongle answers itself and tells nobody of otherwise:
// they name a device's running version and, alone of all messages, its hardware version, and show that a
// sleeping device is awake. Each frame then costs a further one on air, so the mode is for the time when
// nothing downloads.
//
// Firmware that has no hybrid mode (up to 3.1c) has the pure raw one: it shows each frame as it came from the
// air, and tells nothing else of it. The service reads all that it needs from such frames, block requests
// among them, but it does so later than the dongle would, and the dongle answers an upgrade end in another
// way. So that mode, too, is for the time when nothing downloads, also where WatchAlways asks for more.
type QueryWatch uint8

// These are the times at which queries can be watched.
const (
	WatchNever  QueryWatch = iota // not in hybrid mode; in the pure raw one while an answer is waited for
	WatchIdle                     // while nothing downloads
	WatchAlways                   // during downloads too
)

// watchAfter is how long nothing has to be going on before the mode changes. The dongle writes each change
// to its flash memory.
const watchAfter = time.Minute

// watchRetry is how long the owner waits after the dongle did not take a mode.
const watchRetry = 2 * time.Second

// watch sets the dongle's raw mode, which it knows as far as it was told. What is going on meanwhile it is
// told by who asks it to follow.
type watch struct {
	dongle *dongle
	sender *sending.Sender
	log    *slog.Logger
	policy QueryWatch
	now    func() time.Time

	rawMode
}

// rawMode is the dongle's raw mode as far as it is known.
type rawMode struct {
	mode  message.RawMode
	asked message.RawMode // that the dongle was told last
	busy  bool
	// touched says that the dongle may have another mode than off. What became of a command whose status was
	// lost is not known.
	touched bool
	// idleSince is when the last download ended; zero while something downloads, and before the first look.
	idleSince time.Time
	retryAt   time.Time
}

// reset notes that the dongle's mode is off, as it is after a handshake.
func (w *watch) reset() { w.rawMode = rawMode{} }

// shows reports whether the dongle shows what devices ask for.
func (w *watch) shows() bool { return w.mode != message.RawModeOff && !w.busy }

// decodes reports whether what is in a frame that the dongle shows is told in a further message.
func (w *watch) decodes() bool {
	return w.mode == message.RawModeHybrid || w.busy && w.asked == message.RawModeHybrid
}

// showing is the mode in which the dongle shows what devices ask for: the hybrid one where its firmware has
// it and it is wanted.
func (w *watch) showing() message.RawMode {
	if w.policy == WatchNever || !w.dongle.info.Version().HasHybrid() {
		return message.RawModeRaw
	}
	return message.RawModeHybrid
}

// noteWork notes whether something is going on, from which follows since when nothing is.
func (w *watch) noteWork(working bool, now time.Time) {
	if working {
		w.idleSince = time.Time{}
	} else if w.idleSince.IsZero() {
		w.idleSince = now
	}
}

// idleFor is how long nothing has been going on, as far as that was noted.
func (r *rawMode) idleFor(now time.Time) time.Duration {
	if r.idleSince.IsZero() {
		return 0
	}
	return now.Sub(r.idleSince)
}

// next decides which mode the dongle is to get now, and false where that stays as it is. Off comes at once,
// before anything downloads; another one comes after nothing has been going on for a while, or at once where
// it is urgent, and stays then. Where hybrid mode is not wanted, the pure one stays only while it is urgent:
// whoever does not want the one does not want the other for long. It changes nothing.
func (w *watch) next(working, urgent bool, now time.Time) (message.RawMode, bool) {
	if w.busy || now.Before(w.retryAt) {
		return w.mode, false
	}
	mode := message.RawModeOff
	showing := w.showing()
	switch {
	case w.policy == WatchAlways && showing == message.RawModeHybrid:
		mode = showing
	case working:
	case w.policy == WatchNever:
		if urgent {
			mode = showing
		}
	case w.mode == showing || urgent || w.idleFor(now) >= watchAfter:
		mode = showing
	}
	return mode, mode != w.mode
}

// setting notes that a command is under way.
func (w *watch) setting(mode message.RawMode) {
	w.busy = true
	w.asked = mode
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

// follow sets the dongle's raw mode. working says that a header is loaded or a device downloads, urgent that
// there is no other way to learn how an upgrade went, or that devices are to say now who they are.
func (w *watch) follow(working, urgent bool, now time.Time) {
	if !w.dongle.connected {
		return
	}
	w.noteWork(working, now)
	mode, change := w.next(working, urgent, now)
	if !change {
		return
	}
	w.setting(mode)
	session := w.dongle.session
	w.sender.Send(message.SetRawMode{Mode: mode}, func(_ message.Status, err error) {
		if w.dongle.session != session {
			return
		}
		w.set(mode, err, w.now())
		if err != nil {
			w.log.Warn("the dongle's raw mode was not set; it is tried again", "mode", mode, "err", err)
		}
	})
}

// How long a clean stop waits for the dongle to take its raw mode back, and how often it tries.
const (
	restoreTimeout = 2 * time.Second
	restoreTries   = 3
)

// restore leaves the dongle as other software expects it: it keeps its mode over resets. The mode that
// it had before cannot be read; off is what it is sold with, and what it was set to when it was connected.
func (w *watch) restore() {
	if !w.dongle.connected || !w.touched {
		return
	}
	timeout := time.After(restoreTimeout)
	for range restoreTries {
		done := make(chan error, 1)
		w.sender.Submit(message.SetRawMode{Mode: message.RawModeOff}, func(_ message.Status, err error) {
			done <- err
		})
		select {
		case err := <-done:
			if err == nil {
				return
			}
		case <-timeout:
			w.log.Warn("the dongle did not say that it has left its raw mode")
			return
		}
	}
}
