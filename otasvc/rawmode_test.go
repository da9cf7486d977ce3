package otasvc

import (
	"errors"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The raw mode is decided from values: off at once when something begins, hybrid after a minute of quiet, or at
// once where there is no other way to learn what a device runs. Firmware without the hybrid mode gets the pure one.
func TestWatchDecides(t *testing.T) {
	const off, raw, hybrid = message.RawModeOff, message.RawModeRaw, message.RawModeHybrid
	tests := map[string]struct {
		policy  QueryWatch
		mode    message.RawMode
		old     bool          // the firmware has no hybrid mode
		quiet   time.Duration // since nothing is going on
		working bool
		urgent  bool
		want    message.RawMode
	}{
		"never":                        {policy: WatchNever, mode: off, quiet: time.Hour, want: off},
		"never, but it is on":          {policy: WatchNever, mode: hybrid, quiet: time.Hour, want: off},
		"never, and it is urgent":      {policy: WatchNever, mode: off, urgent: true, want: raw},
		"never, and it was urgent":     {policy: WatchNever, mode: raw, want: off},
		"never, urgent, at work":       {policy: WatchNever, mode: raw, urgent: true, working: true, want: off},
		"always":                       {policy: WatchAlways, mode: off, want: hybrid},
		"always, during a download":    {policy: WatchAlways, mode: off, working: true, want: hybrid},
		"idle, just now":               {policy: WatchIdle, mode: off, want: off},
		"idle, for less than a minute": {policy: WatchIdle, mode: off, quiet: time.Minute - 1, want: off},
		"idle, for a minute":           {policy: WatchIdle, mode: off, quiet: time.Minute, want: hybrid},
		"idle, just now, and urgent":   {policy: WatchIdle, mode: off, urgent: true, want: hybrid},
		"idle, and on already":         {policy: WatchIdle, mode: hybrid, want: hybrid},
		"idle, and a download begins":  {policy: WatchIdle, mode: hybrid, quiet: time.Hour, working: true, want: off},

		"old, idle, for a minute":        {old: true, policy: WatchIdle, mode: off, quiet: time.Minute, want: raw},
		"old, idle, and on already":      {old: true, policy: WatchIdle, mode: raw, want: raw},
		"old, idle, and a download":      {old: true, policy: WatchIdle, mode: raw, working: true, want: off},
		"old, always, during a download": {old: true, policy: WatchAlways, mode: raw, working: true, want: off},
		"old, always, just now":          {old: true, policy: WatchAlways, mode: off, want: off},
		"old, always, after a minute":    {old: true, policy: WatchAlways, mode: off, quiet: time.Minute, want: raw},
		"old, never, and it is urgent":   {old: true, policy: WatchNever, mode: off, urgent: true, want: raw},
		"old, never, and it is not":      {old: true, policy: WatchNever, mode: off, quiet: time.Hour, want: off},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			w := watch{
				policy:  tc.policy,
				dongle:  &dongle{info: zigate.Info{Major: 4, Minor: 0x0323}},
				rawMode: rawMode{mode: tc.mode, idleSince: now.Add(-tc.quiet)},
			}
			if tc.old {
				w.dongle.info = zigate.Info{Major: 3, Minor: 0x031C}
			}
			before := w.rawMode
			mode, change := w.next(tc.working, tc.urgent, now)
			if mode != tc.want || change != (tc.want != tc.mode) {
				t.Errorf("mode %v, to be changed %v", mode, change)
			}
			if w.rawMode != before {
				t.Errorf("the decision changed %+v to %+v", before, w.rawMode)
			}
		})
	}
}

// The quiet begins with the first look after the last download, and is not asked for before it was noted.
func TestWatchNotesQuiet(t *testing.T) {
	now := time.Now()
	w := watch{policy: WatchIdle, dongle: &dongle{info: zigate.Info{Major: 5, Minor: 0x0324}}}
	if _, change := w.next(false, false, now); change {
		t.Error("nothing was noted yet, and the mode is to change")
	}
	for _, working := range []bool{false, true, false, false} {
		now = now.Add(watchAfter / 2)
		w.noteWork(working, now)
	}
	if quiet := w.idleFor(now); quiet != watchAfter/2 {
		t.Errorf("quiet for %v", quiet)
	}
	if mode, change := w.next(false, false, now.Add(watchAfter/2)); mode != message.RawModeHybrid || !change {
		t.Error("a minute after the download the mode stays")
	}
}

// One command at a time; one that the dongle did not take is tried again a little later, and its mode is doubtful
// until it has taken one.
func TestWatchTriesAgain(t *testing.T) {
	now := time.Now()
	w := watch{policy: WatchAlways, dongle: &dongle{info: zigate.Info{Major: 5, Minor: 0x0324}}}
	w.setting(message.RawModeHybrid)
	if _, change := w.next(false, false, now); change || w.shows() {
		t.Error("a second command while the first is under way")
	}
	w.set(message.RawModeHybrid, errors.New("refused"), now)
	if _, change := w.next(false, false, now.Add(watchRetry-1)); change || !w.touched {
		t.Error("a second command right after the first, or the dongle's mode is not doubted")
	}
	mode, change := w.next(false, false, now.Add(watchRetry))
	if mode != message.RawModeHybrid || !change {
		t.Error("it is not tried again")
	}
	w.setting(mode)
	w.set(mode, nil, now)
	if w.mode != message.RawModeHybrid || !w.touched {
		t.Errorf("set to %v, doubted %v", w.mode, w.touched)
	}
	w.reset()
	if w.shows() || w.touched || w.policy != WatchAlways {
		t.Errorf("after a handshake: %+v", w)
	}
}
