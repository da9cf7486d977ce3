package otasvc_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// clockPolicy is one for upgrades of a few seconds: fake time has no clock on the wall beside
// its monotonic one.
func clockPolicy() otasvc.Policy {
	p := defaultPolicy()
	p.RejoinTimeout, p.StallTimeout, p.BlockInterval = 6*time.Second, 30*time.Second, 5*time.Millisecond
	return p
}

// setWall is a time as it is read after the clock on the wall was set by so much: its monotonic
// reading, which nobody can set, stays. Package time keeps the seconds of the wall clock from bit 30 of
// its first word on.
func setWall(t time.Time, by time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(by/time.Second) << 30
	return t
}

func TestSetWall(t *testing.T) {
	before := time.Now()
	after := setWall(before, -24*time.Hour)
	if d := after.Sub(before); d != 0 {
		t.Errorf("the monotonic clock moved by %v", d)
	}
	if d := after.Round(0).Sub(before.Round(0)); d != -24*time.Hour {
		t.Errorf("the wall clock moved by %v", d)
	}
}

// A clock that is set by a day, as happens where a machine without one of its own learns the time, changes
// nothing for what runs: downloads, pauses, installations, and what is waited for.
func TestClockIsSet(t *testing.T) {
	const first, second = message.IEEE(0x000b57fffec6a5b2), message.IEEE(0x000b57fffec6a5c7)
	const day = 24 * time.Hour
	for _, by := range []time.Duration{day, -day} {
		for _, stopped := range []bool{false, true} { // the service, while the clock is set
			t.Run(fmt.Sprintf("%v, stopped %v", by, stopped), func(t *testing.T) {
				t.Parallel()
				devices := []sim.DeviceConfig{bulbConfig(first), bulbConfig(second)}
				inRealTime(t, sim.Config{Devices: devices, Speed: 30}, clockPolicy(), func(w *world) {
					var lives []*recorder // each life of the service has one of its own
					set := func(by time.Duration) {
						if stopped {
							lives = append(lives, w.sink)
							w.stopService()
						}
						w.clockSet(by)
						if stopped {
							w.start()
						}
					}
					url, data := w.image(0x117C, 0x2201, 0x23095631, 20_000)
					for _, e := range []message.IEEE{first, second} {
						w.met(e)
						w.add(e, url)
						w.queue(otasvc.UpgradeRequest{Device: ref(e), Ticket: upgrade.Ticket(`"` + e.String() + `"`)})
					}
					set(by)
					w.progressed(first, 30)
					set(-by)
					w.ask(func(r otasvc.Respond) { w.service.Pause(ref(second), time.Second, r) })
					// Not while it is stopped: a pause that outlives the service ends by the wall.
					w.clockSet(by)
					w.within(time.Minute, "applying", func() bool {
						u := w.sink.device(first).Upgrade
						return u != nil && u.State == upgrade.Applying
					})
					w.progressed(second, 60)
					set(-by)
					for _, e := range []message.IEEE{first, second} {
						if u := w.ended(time.Minute, e); u.State != upgrade.Succeeded || u.Attempt != 1 {
							t.Errorf("%v: %s %s in attempt %d", e, u.State, u.Reason, u.Attempt)
						}
						w.holds(e, 0x23095631, data)
						w.within(time.Minute, "final answer", func() bool {
							return slices.ContainsFunc(append(lives, w.sink), func(r *recorder) bool { return len(r.final(e.String())) > 0 })
						})
					}
					defer w.sink.lock()()
					for _, r := range w.sink.history[first] {
						if u := r.Upgrade; u != nil && u.RemainingSeconds != nil && *u.RemainingSeconds > 600 {
							t.Errorf("%d bytes a second, %d s left", u.BytesPerSecond, *u.RemainingSeconds)
						}
					}
				})
			})
		}
	}
}

// progressed waits until a device has so much of its image, in percent.
func (w *world) progressed(e message.IEEE, percent float64) {
	w.t.Helper()
	w.within(time.Minute, "progress", func() bool {
		u := w.sink.device(e).Upgrade
		return u != nil && (u.Progress >= percent || u.State.Ended())
	})
}

// A time of day that was asked for is one of the clock on the wall.
func TestScheduleFollowsTheWall(t *testing.T) {
	const bulb = message.IEEE(0x000b57fffec6a5b2)
	t.Parallel()
	inRealTime(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}, Speed: 100}, clockPolicy(), func(w *world) {
		url, _ := w.image(0x117C, 0x2201, 0x23095631, 5_000)
		w.met(bulb)
		w.add(bulb, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb), At: time.Now().Add(24 * time.Hour).Round(0)})
		w.ask(func(r otasvc.Respond) { w.service.ServiceStatus(nil, r) }) // a turn has passed
		if diff := cmp.Diff(upgrade.Scheduled, w.stateOf(bulb)); diff != "" {
			t.Error(diff)
		}
		w.clockSet(24 * time.Hour)
		if u := w.ended(time.Minute, bulb); u.State != upgrade.Succeeded {
			t.Errorf("%s %s", u.State, u.Reason)
		}
	})
}
