package otasvc_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// overlapping has three devices take images of Telink's, each its own. It returns what the service knows of
// them when all have ended, and the most of them that downloaded at the same moment.
func overlapping(w *world, devices []sim.DeviceConfig) (together int) {
	for _, d := range devices {
		w.met(d.IEEE)
		w.add(d.IEEE, w.fleetFile(d.ImageType, 60_000, true))
	}
	for _, d := range devices {
		w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
	}
	w.within(12*time.Hour, "all upgrades end", func() bool {
		ended := 0
		downloading := 0
		for _, d := range devices {
			u := w.sink.device(d.IEEE).Upgrade
			if u.State == upgrade.Downloading {
				downloading++
			}
			if u.State.Ended() {
				ended++
			}
		}
		together = max(together, downloading)
		return ended == len(devices)
	})
	return together
}

// overlapDevices are three devices with images of their own.
func overlapDevices(stacks ...sim.Stack) []sim.DeviceConfig {
	var devices []sim.DeviceConfig
	for i, stack := range stacks {
		d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
		d.ImageType = uint16(0x2200 + i)
		d.Stack = stack
		d.BlockInterval = 100 * time.Millisecond
		devices = append(devices, d)
	}
	return devices
}

// Devices whose stack ignores that the dongle refuses their blocks download at once, each its own image. Where
// the user has switched that off they take turns, and nothing is refused.
func TestImagesOverlap(t *testing.T) {
	for name, tt := range map[string]struct {
		firmware sim.Firmware
		allowed  bool
		together int
	}{
		"v1 3.23":     {sim.V1323, true, 3},
		"v1 3.1c":     {sim.V131C, true, 3},
		"v2 3.24":     {sim.V2324, true, 3},
		"not allowed": {sim.V1323, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			devices := overlapDevices(sim.Telink, sim.Telink, sim.Telink)
			inWorld(t, sim.Config{Firmware: tt.firmware, Devices: devices}, func(w *world) {
				w.policy.Overlap = tt.allowed
				w.restart()
				if together := overlapping(w, devices); together != tt.together {
					t.Errorf("%d devices downloaded at once, want %d", together, tt.together)
				}
				for _, d := range devices {
					if u := w.sink.device(d.IEEE).Upgrade; u.State != upgrade.Succeeded || u.Attempt != 1 {
						t.Errorf("%v ended %+v", d.IEEE, u)
					}
					if s := w.sim.Device(d.IEEE).Snapshot(); s.Sessions != 1 || s.FileVersion != 2 {
						t.Errorf("%v began %d times and runs %d", d.IEEE, s.Sessions, s.FileVersion)
					}
				}
				if n := w.sim.Stats().BlocksRefused(); (n > 0) != tt.allowed {
					t.Errorf("the dongle refused %d blocks", n)
				}
			})
		})
	}
}

// A device that minds after all is found out at the first sign: it gets the slot for itself, is upgraded, and
// is remembered over a restart, so that its next upgrade is not disturbed any more.
func TestDeviceThatMindsIsRemembered(t *testing.T) {
	for _, stack := range []sim.Stack{sim.Ember, sim.NXP, sim.BitCloud} {
		t.Run(stack.String(), func(t *testing.T) {
			t.Parallel()
			devices := overlapDevices(stack, sim.Telink, sim.Telink)
			inWorld(t, sim.Config{Devices: devices}, func(w *world) {
				w.policy.Overlap = true
				w.restart()
				overlapping(w, devices)
				for _, d := range devices {
					if u := w.sink.device(d.IEEE).Upgrade; u.State != upgrade.Succeeded {
						t.Errorf("%v ended %+v", d.IEEE, u)
					}
					if s := w.sim.Device(d.IEEE).Snapshot(); s.FileVersion != 2 {
						t.Errorf("%v runs %d", d.IEEE, s.FileVersion)
					}
				}
				if !w.said.has("a device minds that the dongle refuses its blocks") {
					t.Error("nobody has noticed that the device minds")
				}

				w.restart()
				before := w.sim.Device(devices[0].IEEE).Snapshot().Sessions
				for _, d := range devices {
					w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE), Force: true})
				}
				for _, d := range devices {
					w.ended(12*time.Hour, d.IEEE)
				}
				if s := w.sim.Device(devices[0].IEEE).Snapshot(); s.Sessions > before+1 {
					t.Errorf("it began %d times after it was known that it minds", s.Sessions-before)
				}
			})
		})
	}
}
