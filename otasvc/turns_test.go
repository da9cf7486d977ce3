package otasvc_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// Downloads that take hours give way to a quick one, have the slot back when they ask again, and go on where
// they were.
func TestSlowDownloadsGiveWay(t *testing.T) {
	t.Parallel()
	first, second := bulbConfig(bulb), bulbConfig(bulb2)
	first.BlockInterval, second.BlockInterval = 1500*time.Millisecond, 2*time.Second
	devices := []sim.DeviceConfig{first, second, plugConfig()}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		bulbURL, bulbData := w.image(0x117C, 0x2201, 2, 200_000) // 80 minutes and more
		plugURL, plugData := w.image(0x100B, 0x0112, 11, 200_000)
		for e, url := range map[message.IEEE]string{bulb: bulbURL, bulb2: bulbURL, plug: plugURL} {
			w.met(e)
			w.add(e, url)
		}
		for _, e := range []message.IEEE{bulb, bulb2} {
			w.queue(otasvc.UpgradeRequest{Device: ref(e)})
		}
		w.within(10*time.Minute, "the bulbs download", func() bool {
			return w.sim.Device(bulb).Snapshot().Offset > 4000 && w.sim.Device(bulb2).Snapshot().Offset > 4000
		})
		begun := time.Now()
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		w.within(2*time.Minute, "the plug has the slot while the bulbs wait", func() bool {
			return w.stateOf(plug) == upgrade.Downloading && w.stateOf(bulb) == upgrade.Paused &&
				w.stateOf(bulb2) == upgrade.Paused
		})
		w.within(time.Hour, "the bulbs get the slot back", func() bool { return w.stateOf(bulb) == upgrade.Downloading })
		if u := w.ended(time.Hour, plug); u.State != upgrade.Succeeded || time.Since(begun) > 30*time.Minute {
			t.Errorf("the plug took %v: %+v", time.Since(begun), u)
		}
		for _, e := range []message.IEEE{bulb, bulb2} {
			if u := w.ended(5*time.Hour, e); u.State != upgrade.Succeeded || u.Attempt != 1 {
				t.Errorf("%v: %+v", e, u)
			}
			if n := w.sim.Device(e).Snapshot().Sessions; n != 1 {
				t.Errorf("%v began %d times", e, n)
			}
		}
		w.holds(bulb, 2, bulbData)
		w.holds(bulb2, 2, bulbData)
		w.holds(plug, 11, plugData)
		if n := w.sim.Stats().BlocksRefused(); n != 0 {
			t.Errorf("the dongle refused %d blocks", n)
		}
	})
}

// A device that gave way once, came back, and fell silent then, gives the slot up like any other: that it kept
// its word once does not count any more.
func TestSilentDeviceThatGaveWayBefore(t *testing.T) {
	slow, other := bulbConfig(bulb), bulbConfig(bulb2)
	slow.BlockInterval = 2 * time.Second
	other.ImageType = 0x2202
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{slow, other, plugConfig()}}, func(w *world) {
		bulbURL, _ := w.image(0x117C, 0x2201, 2, 400_000)
		otherURL, _ := w.image(0x117C, 0x2202, 2, 2_000_000) // so much that nobody gives way to it
		plugURL, _ := w.image(0x100B, 0x0112, 11, 100_000)
		for e, url := range map[message.IEEE]string{bulb: bulbURL, bulb2: otherURL, plug: plugURL} {
			w.met(e)
			w.add(e, url)
		}
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.within(3*time.Minute, "the bulb downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 2000 })
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		w.ended(time.Hour, plug)
		w.within(time.Hour, "the bulb goes on", func() bool { return w.stateOf(bulb) == upgrade.Downloading })
		time.Sleep(2 * time.Minute)
		w.sim.Device(bulb).PowerOff()
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb2)})
		w.within(5*time.Minute, "the other one downloads", func() bool {
			return w.stateOf(bulb2) == upgrade.Downloading
		})
	})
}

func TestFiftyDevicesOfFiveImages(t *testing.T) {
	t.Parallel()
	var devices []sim.DeviceConfig
	for i := range 50 {
		d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
		d.ImageType = uint16(0x2200 + i%5)
		d.BlockInterval = time.Duration(60+i) * time.Millisecond
		devices = append(devices, d)
	}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		w.policy.Slice = time.Minute
		w.restart()
		images := map[uint16][]byte{}
		urls := map[uint16]string{}
		for i := range uint16(5) {
			urls[0x2200+i], images[0x2200+i] = w.image(0x117C, 0x2200+i, 2, 10_000)
		}
		for _, d := range devices {
			w.met(d.IEEE)
			w.add(d.IEEE, urls[d.ImageType])
			w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE), Ticket: upgrade.Ticket(fmt.Sprintf("%q", d.IEEE))})
		}
		for _, d := range devices {
			if u := w.ended(24*time.Hour, d.IEEE); u.State != upgrade.Succeeded {
				t.Errorf("%v: %+v", d.IEEE, u)
			}
			w.holds(d.IEEE, 2, images[d.ImageType])
		}
		if n := w.sim.Stats().BlocksRefused(); n != 0 {
			t.Errorf("the dongle refused %d blocks", n)
		}
		w.within(time.Minute, "every final answer", func() bool { return len(w.sink.final(devices[49].IEEE.String())) == 1 })
		for _, d := range devices {
			if n := len(w.sink.final(d.IEEE.String())); n != 1 {
				t.Errorf("%v: %d final answers", d.IEEE, n)
			}
		}
	})
}

func TestInstallationIsHeld(t *testing.T) {
	for name, firmware := range map[string]sim.Firmware{"3.1c": sim.V131C, "3.23": sim.V1323, "v2": sim.V2324} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				w.met(bulb)
				url, data := w.image(0x117C, 0x2201, 2, 10_000)
				w.add(bulb, url)
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Install: upgrade.InstallHold, Ticket: upgrade.Ticket(`"hold"`)})
				w.within(10*time.Minute, "it is downloaded", func() bool { return w.stateOf(bulb) == upgrade.Downloaded })
				time.Sleep(3 * time.Hour)
				if d := w.sim.Device(bulb).Snapshot(); d.FileVersion != 1 || w.stateOf(bulb) != upgrade.Downloaded {
					t.Fatalf("not held: %+v", d)
				}
				w.restart() // the hold outlives a restart
				time.Sleep(time.Minute)
				if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Ticket: upgrade.Ticket(`"now"`)}); a.Status != otasvc.InProgress {
					t.Fatalf("%+v", a)
				}
				if u := w.ended(30*time.Minute, bulb); u.State != upgrade.Succeeded {
					t.Fatalf("ended %+v", u)
				}
				w.holds(bulb, 2, data)
				w.within(time.Minute, "both final answers", func() bool { return len(w.sink.final("now")) == 1 && len(w.sink.final("hold")) == 1 })
			})
		})
	}
}

func TestInstallationAtATime(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		url, data := w.image(0x117C, 0x2201, 2, 10_000)
		w.add(bulb, url)
		at := time.Now().Add(2 * time.Hour)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Install: upgrade.InstallAt, InstallAt: at})
		time.Sleep(time.Until(at) - time.Second)
		if d := w.sim.Device(bulb).Snapshot(); d.FileVersion != 1 || w.stateOf(bulb) != upgrade.Downloaded {
			t.Fatalf("not held: %+v", d)
		}
		if u := w.ended(10*time.Minute, bulb); u.State != upgrade.Succeeded {
			t.Fatalf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
	})
}

func TestDowngradeAndTheSameVersionAgain(t *testing.T) {
	// Firmware that compares versions gets the image under a newer one. The simulated device looks into the
	// file's header and refuses it, as many do: the user was told, and nothing else happens.
	for name, firmware := range map[string]sim.Firmware{"3.1c": sim.V131C, "3.23, which compares versions": sim.V1323, "v2": sim.V2324} {
		for _, version := range []uint32{1, 5} { // the device runs 5
			t.Run(fmt.Sprintf("%s to %d", name, version), func(t *testing.T) {
				cfg := bulbConfig(bulb)
				cfg.FileVersion = 5
				inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
					w.met(bulb)
					url, data := w.image(0x117C, 0x2201, version, 10_000)
					w.add(bulb, url)
					refused := map[uint32]upgrade.Reason{1: upgrade.ReasonDowngradeRefused, 5: upgrade.ReasonUpToDate}[version]
					if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Status != otasvc.Failure || a.Reason != refused {
						t.Fatalf("%+v, want %s", a, refused)
					}
					compares := firmware == sim.V1323
					a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Force: true, AllowDowngrade: true})
					if a.Status != otasvc.InProgress || (a.Error != "") != compares {
						t.Fatalf("%+v", a)
					}
					if compares {
						if u := w.ended(2*time.Hour, bulb); u.State != upgrade.Failed || u.Reason != upgrade.ReasonInvalidImage {
							t.Fatalf("ended %+v", u)
						}
						if d := w.sim.Device(bulb).Snapshot(); d.FileVersion != 5 {
							t.Errorf("it runs %d", d.FileVersion)
						}
						return
					}
					if u := w.ended(2*time.Hour, bulb); u.State != upgrade.Succeeded {
						t.Fatalf("ended %+v; the device got %d bytes", u, w.sim.Device(bulb).Snapshot().Offset)
					}
					w.holds(bulb, version, data)
				})
			})
		}
	}
}

// However short the slice, a change of turns never begins before the devices of the turn have asked: the
// images would change places for ever. Nobody waits much longer than the others need, either.
func TestShortSlices(t *testing.T) {
	for _, slice := range []time.Duration{3 * time.Second, 20 * time.Second, 15 * time.Minute} {
		t.Run(slice.String(), func(t *testing.T) {
			var devices []sim.DeviceConfig
			for i := range 4 {
				d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
				d.ImageType, d.BlockInterval = uint16(0x2200+i%3), 20*time.Millisecond
				devices = append(devices, d)
			}
			inWorld(t, sim.Config{Devices: devices}, func(w *world) {
				w.policy.Slice = slice
				w.restart()
				images := map[uint16][]byte{}
				for _, d := range devices {
					w.met(d.IEEE)
					url, data := w.image(0x117C, d.ImageType, 2, 20_000)
					images[d.ImageType] = data
					w.add(d.IEEE, url)
				}
				begun := time.Now()
				for _, d := range devices {
					w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
				}
				for _, d := range devices {
					if u := w.ended(time.Hour, d.IEEE); u.State != upgrade.Succeeded || u.Attempt != 1 {
						t.Errorf("%v: %+v", d.IEEE, u)
					}
					w.holds(d.IEEE, 2, images[d.ImageType])
				}
				if n := w.sim.Stats().BlocksRefused(); n != 0 {
					t.Errorf("the dongle refused %d blocks", n)
				}
				if took := time.Since(begun); took > 5*time.Minute {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// A device that was put aside and is gone comes to an end, also where the service was started again meanwhile
// and does not know any more since when it was aside.
func TestDeviceIsGoneWhileAsideOverARestart(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb), plugConfig()}}, func(w *world) {
		w.policy.Slice, w.policy.Retries = 2*time.Minute, 0
		w.restart()
		bulbURL, _ := w.image(0x117C, 0x2201, 2, 200_000)
		plugURL, plugData := w.image(0x100B, 0x0112, 11, 100_000)
		for e, url := range map[message.IEEE]string{bulb: bulbURL, plug: plugURL} {
			w.met(e)
			w.add(e, url)
		}
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.within(time.Minute, "the bulb downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 1000 })
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		w.sim.Device(bulb).PowerOff()
		w.within(10*time.Minute, "the bulb is put aside", func() bool { return w.stateOf(bulb) == upgrade.Paused })
		w.restart()
		if u := w.ended(3*time.Hour, bulb); u.Reason != upgrade.ReasonStalled {
			t.Errorf("the bulb ended %s, %q", u.State, u.Reason)
		}
		if u := w.ended(3*time.Hour, plug); u.State != upgrade.Succeeded {
			t.Errorf("the plug ended %+v", u)
		}
		w.holds(plug, 11, plugData)
	})
}

// One place, two images, more devices of one of them: whoever stands first in the queue has the loaded image,
// while the other image's turn is due. Neither may wait for the other.
func TestTurnsWithOnePlace(t *testing.T) {
	t.Parallel()
	var devices []sim.DeviceConfig
	for i := range 6 {
		d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
		d.ImageType = uint16(0x2200 + min(i%3, 1))
		d.BlockInterval = time.Duration(60+40*i) * time.Millisecond
		devices = append(devices, d)
	}
	for _, slice := range []time.Duration{45 * time.Second, 2 * time.Minute, 5 * time.Minute} {
		inWorld(t, sim.Config{Devices: devices}, func(w *world) {
			w.policy.Slice, w.policy.Concurrency = slice, 1
			w.restart()
			for _, d := range devices {
				w.met(d.IEEE)
				url, _ := w.image(0x117C, d.ImageType, 2, 60_000)
				w.add(d.IEEE, url)
				w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
			}
			w.sim.Device(devices[2].IEEE).PowerOff() // one of them never comes
			for i, d := range devices {
				if u := w.ended(12*time.Hour, d.IEEE); i != 2 && u.State != upgrade.Succeeded {
					t.Errorf("slices of %v: %v ended %+v", slice, d.IEEE, u)
				}
			}
		})
	}
}

// A device that was told to wait for another image's turn keeps its word while the service starts again: it
// is called back when it asks, not before, and is not taken for one that has fallen silent.
func TestDeviceIsAsideOverARestart(t *testing.T) {
	slow := bulbConfig(bulb)
	slow.BlockInterval = 2 * time.Second
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{slow, plugConfig()}}, func(w *world) {
		bulbURL, bulbData := w.image(0x117C, 0x2201, 2, 200_000)
		plugURL, _ := w.image(0x100B, 0x0112, 11, 300_000) // longer than the stall time-out
		for e, url := range map[message.IEEE]string{bulb: bulbURL, plug: plugURL} {
			w.met(e)
			w.add(e, url)
		}
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.within(time.Minute, "the bulb downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 1000 })
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		w.within(20*time.Minute, "the plug has its turn", func() bool {
			return w.stateOf(bulb) == upgrade.Paused && w.stateOf(plug) == upgrade.Downloading
		})
		w.restart()
		if a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(plug), r) }); a.Status != otasvc.Success {
			t.Fatalf("cancel: %+v", a)
		}
		if u := w.ended(4*time.Hour, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
			t.Errorf("ended %+v", u)
		}
		w.holds(bulb, 2, bulbData)
		if w.said.has("has stopped asking") {
			t.Error("a device that waits as it was told was suspected")
		}
	})
}

// Sleeping devices of several images that do not wake up give the slot to each other, ever more seldom, since
// each change is told and written. Who wakes up meanwhile, or never sleeps, is served at once all the same.
func TestSleepersChangeTurnsSeldom(t *testing.T) {
	t.Parallel()
	first, second, third := bulbConfig(bulb), plugConfig(), bulbConfig(bulb+1)
	first.Sleepy, second.Sleepy, third.ImageType = true, true, 0x2202
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{first, second, third}}, func(w *world) {
		files := map[message.IEEE]string{}
		for _, d := range []sim.DeviceConfig{first, second, third} {
			w.met(d.IEEE)
			files[d.IEEE], _ = w.image(d.ManufacturerCode, d.ImageType, d.FileVersion+1, 3000)
			w.add(d.IEEE, files[d.IEEE])
		}
		w.sim.Device(bulb).PowerOff()
		w.sim.Device(plug).PowerOff()
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		told := func() int {
			defer w.sink.lock()()
			return len(w.sink.history[bulb]) + len(w.sink.history[plug])
		}
		changes := func(over time.Duration) int {
			before := told()
			time.Sleep(over)
			synctest.Wait()
			return told() - before
		}
		if n := changes(time.Hour); n < 30 {
			t.Errorf("%d changes in the first hour: each is to have its chance", n)
		}
		time.Sleep(5 * time.Hour)
		if n := changes(12 * time.Hour); n < 24 || n > 200 {
			t.Errorf("%d changes in half a day", n)
		}
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb + 1)})
		w.within(90*time.Second, "the one that does not sleep downloads", func() bool {
			return w.stateOf(bulb+1) == upgrade.Downloading
		})
		w.ended(time.Hour, bulb+1)
		for _, e := range []message.IEEE{bulb, plug} { // one of the two is not in the slot
			w.sim.Device(e).PowerOn()
			w.within(90*time.Second, "who woke up downloads", func() bool {
				return w.stateOf(e) == upgrade.Downloading
			})
		}
	})
}

// Sleeping devices that speak all the time, and want nothing of what they are offered, do not keep one that
// never sleeps from its turn, however many they are.
func TestTalkingSleepersKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	var devices []sim.DeviceConfig
	for i := range 13 {
		d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
		d.ImageType = uint16(0x2200 + i)
		d.Sleepy, d.SilentToNotify = i < 12, i < 12
		devices = append(devices, d)
	}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		for _, d := range devices {
			w.met(d.IEEE)
			url, _ := w.image(d.ManufacturerCode, d.ImageType, 2, 3000)
			w.add(d.IEEE, url)
		}
		for _, d := range devices {
			w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
		}
		last := devices[12].IEEE
		for n := range 15 * 6 {
			for i, d := range devices[:12] {
				w.sim.Device(d.IEEE).SetBattery(uint8(50 + (i+n)%50))
			}
			time.Sleep(10 * time.Second)
		}
		if u := w.sink.device(last).Upgrade; u.StartedAt.IsZero() {
			t.Errorf("after 15 minutes it is %s", u.State)
		}
	})
}
