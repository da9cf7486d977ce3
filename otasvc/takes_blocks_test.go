package otasvc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// refusals are the ways in which a dongle refuses every block.
var refusals = map[string]struct {
	firmware sim.Firmware
	status   uint8
}{
	"3.1c, leaked buffers":  {sim.V131C, message.StatusNoBuffer},
	"3.1c, hangs half way":  {sim.V131C, message.StatusTransmitFailed},
	"3.23, leaked buffers":  {sim.V1323, message.StatusNoBuffer},
	"3.23, hangs half way":  {sim.V1323, message.StatusTransmitFailed},
	"3.24, leaked buffers":  {sim.V2324, message.StatusNoBuffer},
	"3.24, hangs half way":  {sim.V2324, message.StatusTransmitFailed},
	"3.24, another trouble": {sim.V2324, 0x06},
}

// withRefusals runs a test for each of them, with so many bulbs. With lasts a reset does not help.
func withRefusals(t *testing.T, bulbs int, lasts bool, f func(t *testing.T, w *world, status uint8)) {
	t.Helper()
	for name, r := range refusals {
		t.Run(name, func(t *testing.T) {
			cfg := sim.Config{Firmware: r.firmware, Devices: someBulbs(bulbs, nil), Faults: sim.Faults{RefusalOutlastsReset: lasts}}
			inWorld(t, cfg, func(w *world) { f(t, w, r.status) })
		})
	}
}

// wellAgain waits until nothing is said against the dongle.
func (w *world) wellAgain(within time.Duration) {
	w.t.Helper()
	w.within(within, "nothing is wrong with the dongle", func() bool {
		return w.trouble() == "" && w.service.DongleHealth() == nil && !w.dongleRefuses.Load()
	})
}

// refusesBlocks checks that people are told that the dongle takes no blocks, and what helps.
func (w *world) refusesBlocks() {
	w.t.Helper()
	const says, helps = "takes no blocks", "pull it out and put it back"
	if told := w.trouble(); !strings.Contains(told, says) || !strings.Contains(told, helps) {
		w.t.Errorf("info says %q", told)
	}
	if err := w.service.DongleHealth(); err == nil || !strings.Contains(err.Error(), says) {
		w.t.Errorf("the health check says %v", err)
	}
	if !w.dongleRefuses.Load() {
		w.t.Error("the metric does not say so")
	}
	if !w.said.has(says) || !w.said.has(helps) {
		w.t.Error("the log does not say so")
	}
}

// bulbsQueued registers an image for the bulbs and has them upgraded to it.
func (w *world) bulbsQueued(devices []sim.DeviceConfig, size int) (data []byte) {
	w.t.Helper()
	url, data := w.image(0x117C, 0x2201, 2, size)
	for i, d := range devices {
		w.met(d.IEEE)
		w.add(d.IEEE, url)
		w.accepted(d.IEEE, fmt.Sprintf("t%d", i))
	}
	return data
}

// A dongle that refuses every block from the start on, and does so after a reset too, ends the download within a
// minute for that reason. Without power for a moment it is well again.
func TestDongleRefusesFromTheStart(t *testing.T) {
	withRefusals(t, 1, true, func(t *testing.T, w *world, status uint8) {
		w.sim.RefuseBlocks(status)
		devices := someBulbs(1, nil)
		data := w.bulbsQueued(devices, 20_000)
		first := devices[0].IEEE
		w.within(2*time.Minute, "the device asks for blocks", func() bool { return w.stateOf(first) == upgrade.Downloading })
		u := w.ended(time.Minute, first)
		if u.State != upgrade.Failed || u.Reason != upgrade.ReasonDongleRefuses || u.Attempt != 1 || !strings.Contains(u.Error, "took no blocks") {
			t.Errorf("ended %+v", u)
		}
		w.refusesBlocks()
		if n := w.sim.Stats().Resets; n != 1 {
			t.Errorf("%d resets, want one", n)
		}
		if a := w.sink.final("t0"); len(a) != 1 || a[0].Status != otasvc.Failure || a[0].Reason != upgrade.ReasonDongleRefuses {
			t.Errorf("the answer: %+v", a)
		}

		w.sim.PowerCycle()
		w.wellAgain(time.Minute)
		w.queue(otasvc.UpgradeRequest{Device: ref(first)})
		w.within(2*time.Minute, "it begins again", func() bool { return w.stateOf(first) == upgrade.Downloading })
		if u := w.ended(time.Hour, first); u.State != upgrade.Succeeded {
			t.Errorf("then it ended %+v", u)
		}
		w.holds(first, 2, data)
		w.wellAgain(0)
	})
}

// A reset that helps costs nobody anything: no upgrade fails, and no attempt is lost.
func TestResetHelps(t *testing.T) {
	withRefusals(t, 2, false, func(t *testing.T, w *world, status uint8) {
		devices := someBulbs(2, nil)
		data := w.bulbsQueued(devices, 30_000)
		w.within(5*time.Minute, "both download", func() bool {
			return w.sim.Device(devices[0].IEEE).Snapshot().Offset > 5000 && w.sim.Device(devices[1].IEEE).Snapshot().Offset > 5000
		})
		w.sim.RefuseBlocks(status)
		w.within(40*time.Second, "the dongle is reset", func() bool { return w.sim.Stats().Resets == 1 })
		for _, d := range devices {
			if u := w.ended(time.Hour, d.IEEE); u.State != upgrade.Succeeded || u.Attempt != 1 {
				t.Errorf("%v ended %+v", d.IEEE, u)
			}
			w.holds(d.IEEE, 2, data)
		}
		if n := w.sim.Stats().Resets; n != 1 {
			t.Errorf("%d resets", n)
		}
		if !w.said.has("it is reset, which may help") || !w.said.has("takes blocks again") {
			t.Error("the log does not say so")
		}
		w.wellAgain(0)
	})
}

// What is under way when the dongle begins to refuse every block fails within a minute. What waits in the queue goes on
// waiting, says so, and is done once the dongle was pulled out and put back.
func TestDongleRefusesInMidDownload(t *testing.T) {
	withRefusals(t, 4, true, func(t *testing.T, w *world, status uint8) {
		w.policy.Concurrency = 2
		w.restart()
		devices := someBulbs(4, nil)
		data := w.bulbsQueued(devices, 60_000)
		states := func() (n map[upgrade.State]int) {
			n = map[upgrade.State]int{}
			for _, d := range devices {
				n[w.stateOf(d.IEEE)]++
			}
			return n
		}
		w.within(5*time.Minute, "two download", func() bool {
			got := 0
			for _, d := range devices {
				if w.sim.Device(d.IEEE).Snapshot().Offset > 5000 {
					got++
				}
			}
			return got == 2 && states()[upgrade.Queued] == 2
		})
		w.sim.RefuseBlocks(status)
		w.within(time.Minute, "two fail", func() bool { return states()[upgrade.Failed] == 2 })
		w.refusesBlocks()
		time.Sleep(10 * time.Minute)
		if n := states(); n[upgrade.Failed] != 2 || n[upgrade.Queued] != 2 {
			t.Errorf("ten minutes later: %v", n)
		}
		w.refusesBlocks()
		for _, d := range devices {
			record := w.sink.device(d.IEEE)
			switch u := record.Upgrade; u.State {
			case upgrade.Failed:
				if u.Reason != upgrade.ReasonDongleRefuses || u.Attempt != 1 {
					t.Errorf("%v: %+v", d.IEEE, u)
				}
			case upgrade.Queued:
				if record.Queue == nil || record.Queue.WaitsFor != slot.WaitsForDongle {
					t.Errorf("%v waits for %+v", d.IEEE, record.Queue)
				}
			}
		}

		w.sim.PowerCycle()
		w.wellAgain(time.Minute)
		w.within(2*time.Hour, "those that waited are done", func() bool { return states()[upgrade.Succeeded] == 2 })
		if n := states(); n[upgrade.Failed] != 2 {
			t.Errorf("in the end: %v", n)
		}
		for _, d := range devices {
			if w.stateOf(d.IEEE) == upgrade.Succeeded {
				w.holds(d.IEEE, 2, data)
			}
		}
	})
}

// refusesOneOfThree has the dongle of withRefusals refuse all blocks while the first of three bulbs downloads and the
// others wait for their turn. All get the image that is returned.
func (w *world) refusesOneOfThree(status uint8) ([]sim.DeviceConfig, []byte) {
	w.t.Helper()
	w.policy.Concurrency = 1
	w.restart()
	devices := someBulbs(3, nil)
	data := w.bulbsQueued(devices, 20_000)
	first := w.sim.Device(devices[0].IEEE)
	w.within(5*time.Minute, "one downloads", func() bool { return first.Snapshot().Offset > 5000 })
	w.sim.RefuseBlocks(status)
	return devices, data
}

// A dongle that has refused blocks for a while is tried again with one device at a time, which loses nothing by that:
// its upgrade waits on. Once a block is taken, nothing is said against the dongle any more, though nobody has told of a
// restart.
func TestDongleIsTriedAgain(t *testing.T) {
	withRefusals(t, 3, true, func(t *testing.T, w *world, status uint8) {
		devices, data := w.refusesOneOfThree(status)
		w.ended(time.Minute, devices[0].IEEE)
		asked := func(e message.IEEE) uint64 { return w.sim.Device(e).Snapshot().BlocksAsked }
		w.within(20*time.Minute, "the second is tried", func() bool { return asked(devices[1].IEEE) > 0 })
		w.within(time.Minute, "it waits again", func() bool { return w.stateOf(devices[1].IEEE) == upgrade.Queued })
		if u := w.upgradeOf(devices[1].IEEE); u.Attempt != 1 || u.Offset != 0 {
			t.Errorf("the one that was tried: %+v", u)
		}
		w.refusesBlocks()
		w.within(20*time.Minute, "the third is tried", func() bool { return asked(devices[2].IEEE) > 0 })
		w.within(time.Minute, "it waits again", func() bool { return w.stateOf(devices[2].IEEE) == upgrade.Queued })
		time.Sleep(3 * time.Hour)
		w.refusesBlocks()

		w.sim.RefuseBlocks(message.StatusOK) // by itself
		w.wellAgain(20 * time.Minute)
		for _, d := range devices[1:] {
			if u := w.ended(time.Hour, d.IEEE); u.State != upgrade.Succeeded || u.Attempt != 1 {
				t.Errorf("%v ended %+v", d.IEEE, u)
			}
			w.holds(d.IEEE, 2, data)
		}
	})
}

// A service that is started again while the dongle refuses every block finds that out again, also of a download that
// was under way when it ended.
func TestServiceRestartWhileDongleRefuses(t *testing.T) {
	withRefusals(t, 3, true, func(t *testing.T, w *world, status uint8) {
		devices, data := w.refusesOneOfThree(status)
		first, second, third := devices[0].IEEE, devices[1].IEEE, devices[2].IEEE
		time.Sleep(5 * time.Second)
		w.crash(time.Second)
		if u := w.ended(2*time.Minute, first); u.Reason != upgrade.ReasonDongleRefuses {
			t.Errorf("the first ended %+v", u)
		}
		w.refusesBlocks()
		w.restart()
		if u := w.ended(4*time.Minute, second); u.Reason != upgrade.ReasonDongleRefuses {
			t.Errorf("the second ended %+v", u)
		}
		w.refusesBlocks()
		if u := w.upgradeOf(third); u.State != upgrade.Queued {
			t.Errorf("the third: %+v", u)
		}
		w.sim.PowerCycle()
		if u := w.ended(time.Hour, third); u.State != upgrade.Succeeded {
			t.Errorf("the third ended %+v", u)
		}
		w.holds(third, 2, data)
		w.wellAgain(0)
	})
}

// A dongle that has no room for a while, however often, is not taken for one that takes no blocks; nor is a device that
// is not reached, whose frames stay in the dongle's buffers until they are given up.
func TestDongleWithoutRoomForAWhile(t *testing.T) {
	tests := map[string]struct {
		faults sim.Faults
		// meanwhile is done while the bulbs download; fails says how many of them come to no end because of it.
		meanwhile func(w *world, devices []sim.DeviceConfig)
		fails     int
	}{
		"one frame in three is refused":  {faults: sim.Faults{Refuse: 0.3}},
		"half of the frames are refused": {faults: sim.Faults{Refuse: 0.5}},
		"no block is taken for twenty seconds, again and again": {meanwhile: func(w *world, _ []sim.DeviceConfig) {
			for range 20 {
				w.sim.RefuseBlocks(message.StatusNoBuffer)
				time.Sleep(20 * time.Second)
				w.sim.RefuseBlocks(message.StatusOK)
				time.Sleep(20 * time.Second)
			}
		}},
		"a device is switched off": {fails: 1, meanwhile: func(w *world, devices []sim.DeviceConfig) {
			w.sim.Device(devices[0].IEEE).PowerOff()
		}},
		"all devices are switched off": {fails: 3, meanwhile: func(w *world, devices []sim.DeviceConfig) {
			for _, d := range devices {
				w.sim.Device(d.IEEE).PowerOff()
			}
		}},
		"a third of the radio frames is lost": {faults: sim.Faults{LoseAir: 0.33}},
	}
	firmwares := map[string]sim.Firmware{"3.1c": sim.V131C, "3.23": sim.V1323, "3.24": sim.V2324}
	for name, tt := range tests {
		for version, firmware := range firmwares {
			t.Run(name+"/"+version, func(t *testing.T) {
				devices := someBulbs(3, func(d *sim.DeviceConfig) { d.Retries = 20 })
				inWorld(t, sim.Config{Firmware: firmware, Seed: 5, Faults: tt.faults, Devices: devices}, func(w *world) {
					w.bulbsQueued(devices, 10_000)
					w.within(10*time.Minute, "a device downloads", func() bool { return w.sim.Device(devices[0].IEEE).Snapshot().Offset > 1000 })
					if tt.meanwhile != nil {
						tt.meanwhile(w, devices)
					}
					failed := 0
					for _, d := range devices {
						switch u := w.ended(5*time.Hour, d.IEEE); {
						case u.Reason == upgrade.ReasonDongleRefuses:
							t.Errorf("%v ended %+v", d.IEEE, u)
						case u.State != upgrade.Succeeded:
							failed++
						}
					}
					if failed != tt.fails {
						t.Errorf("%d failed", failed)
					}
					if w.said.has("takes no blocks") || w.sim.Stats().Resets != 0 {
						t.Errorf("the dongle was taken for one that takes no blocks, and reset %d times", w.sim.Stats().Resets)
					}
				})
			})
		}
	}
}

// A device that is heard and does not hear, and asks so often that the frames for it fill all buffers, is not taken for
// a dongle that takes no blocks: each frame leaves the buffers in the end, and the next one is taken.
func TestDeafDeviceFillsTheBuffers(t *testing.T) {
	for name, firmware := range map[string]sim.Firmware{"3.1c": sim.V131C, "3.23": sim.V1323, "3.24": sim.V2324} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				upgraded(w, 30_000)
				deaf := w.sim.Device(bulb)
				w.within(5*time.Minute, "the device downloads", func() bool { return deaf.Snapshot().Offset > 5000 })
				deaf.SetDeaf(true)
				s := &scene{w: w}
				for n := range 3000 {
					s.ask(request{offset: 6000, size: 50}, byte(n))
					time.Sleep(100 * time.Millisecond)
				}
				if n := w.sim.Stats().Refused[sim.Refusal{Type: message.ImageBlockResponse{}.Type(), Status: message.StatusTransmitFailed}]; n < 1000 {
					t.Errorf("%d blocks were refused: the buffers were not full", n)
				}
				deaf.SetDeaf(false)
				if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
					t.Errorf("ended %+v", u)
				}
				if w.said.has("takes no blocks") || w.sim.Stats().Resets != 0 {
					t.Error("the dongle was taken for one that takes no blocks")
				}
			})
		})
	}
}

// Whatever the OTA client of a device does about blocks that do not come, its upgrade ends for what is the reason, and in
// its first attempt.
func TestDongleRefusesWhateverTheStack(t *testing.T) {
	for _, stack := range sim.Stacks() {
		for _, name := range []string{"3.23, leaked buffers", "3.24, hangs half way"} {
			r := refusals[name]
			if stack == sim.BitCloud && r.firmware != sim.V1323 {
				continue // its first requests are too short for that firmware, so it gets no blocks anyway
			}
			t.Run(stack.String()+"/"+name, func(t *testing.T) {
				device := bulbConfig(bulb)
				device.Stack = stack
				device.Retries = 0
				device.RetryInterval = 0
				cfg := sim.Config{Firmware: r.firmware, Devices: []sim.DeviceConfig{device}, Faults: sim.Faults{RefusalOutlastsReset: true}}
				inWorld(t, cfg, func(w *world) {
					upgraded(w, 60_000)
					w.within(2*time.Hour, "the device downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
					w.sim.RefuseBlocks(r.status)
					within := time.Minute
					if stack == sim.ZBOSS || stack == sim.Trident {
						within = 100 * time.Second // it asks every 45 s
					}
					u := w.ended(within, bulb)
					if u.Reason != upgrade.ReasonDongleRefuses || u.Attempt != 1 {
						t.Errorf("ended %+v", u)
					}
					w.refusesBlocks()
				})
			})
		}
	}
}

// With a request for all, an end that the dongle is to blame for says nothing against the image: another device goes
// first, once the dongle takes blocks again.
func TestDongleRefusesTheCanary(t *testing.T) {
	withRefusals(t, 3, true, func(t *testing.T, w *world, status uint8) {
		w.policy.Canary = true
		w.restart()
		devices := someBulbs(3, nil)
		url, _ := w.image(0x117C, 0x2201, 2, 20_000)
		for _, d := range devices {
			w.met(d.IEEE)
			w.add(d.IEEE, url)
		}
		w.sim.RefuseBlocks(status)
		w.queue(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"all"`)})
		states := func() (failed, waiting, succeeded int) {
			for _, d := range devices {
				switch u := w.upgradeOf(d.IEEE); {
				case u.Reason == upgrade.ReasonDongleRefuses:
					failed++
				case u.State == upgrade.Queued:
					waiting++
				case u.State == upgrade.Succeeded:
					succeeded++
				}
			}
			return failed, waiting, succeeded
		}
		w.within(2*time.Minute, "the first has failed", func() bool { failed, waiting, _ := states(); return failed == 1 && waiting == 2 })
		time.Sleep(10 * time.Minute)
		w.sim.PowerCycle()
		w.within(time.Hour, "the others are done", func() bool { failed, _, succeeded := states(); return failed == 1 && succeeded == 2 })
		if a := w.sink.final("all"); len(a) != 1 || a[0].Status != otasvc.Failure || len(a[0].UpgradeResults) != 3 {
			t.Errorf("the answer: %+v", a)
		}
	})
}

// The policy tries again what has failed because of the dongle as soon as that takes blocks again, and not before.
func TestPolicyTriesAgainAfterRefusals(t *testing.T) {
	withRefusals(t, 1, true, func(t *testing.T, w *world, status uint8) {
		w.policy.Auto = true
		w.restart()
		device := someBulbs(1, nil)[0].IEEE
		url, data := w.image(0x117C, 0x2201, 2, 20_000)
		w.met(device)
		w.sim.RefuseBlocks(status)
		w.add(device, url)
		failures := func() int {
			n := 0
			for _, name := range w.sink.names(device) {
				if name == otasvc.EventUpgradeFailed {
					n++
				}
			}
			return n
		}
		if u := w.ended(10*time.Minute, device); u.Reason != upgrade.ReasonDongleRefuses {
			t.Errorf("ended %+v", u)
		}
		time.Sleep(14 * time.Minute)
		if n := failures(); n != 1 || w.stateOf(device) != upgrade.Failed {
			t.Errorf("while the dongle refuses it failed %d times, and is %s", n, w.stateOf(device))
		}
		w.sim.PowerCycle()
		w.within(time.Hour, "it is upgraded", func() bool { return w.stateOf(device) == upgrade.Succeeded })
		w.holds(device, 2, data)
	})
}

// A download that a person has paused asks for no blocks and waits on. One that is resumed meanwhile ends for what is the
// reason, too.
func TestPausedWhileDongleRefuses(t *testing.T) {
	withRefusals(t, 3, true, func(t *testing.T, w *world, status uint8) {
		devices := someBulbs(3, nil)
		paused, resumed, other := devices[0].IEEE, devices[1].IEEE, devices[2].IEEE
		data := w.downloading(devices, 60_000)
		for _, e := range []message.IEEE{paused, resumed} {
			if a := w.ask(func(r otasvc.Respond) { w.service.Pause(ref(e), 0, r) }); a.Status != otasvc.Success {
				t.Fatalf("pause: %+v", a)
			}
		}
		time.Sleep(30 * time.Second) // they have been told to wait
		w.sim.RefuseBlocks(status)
		if u := w.ended(time.Minute, other); u.Reason != upgrade.ReasonDongleRefuses {
			t.Errorf("the one that goes on ended %+v", u)
		}
		if a := w.ask(func(r otasvc.Respond) { w.service.Resume(ref(resumed), r) }); a.Status != otasvc.Success {
			t.Fatalf("resume: %+v", a)
		}
		if u := w.ended(2*time.Minute, resumed); u.Reason != upgrade.ReasonDongleRefuses {
			t.Errorf("the one that was resumed ended %+v", u)
		}
		time.Sleep(10 * time.Minute)
		if u := w.upgradeOf(paused); u.State != upgrade.Paused {
			t.Errorf("the paused one is %+v", u)
		}
		w.sim.PowerCycle()
		w.wellAgain(time.Minute)
		w.ask(func(r otasvc.Respond) { w.service.Resume(ref(paused), r) })
		if u := w.ended(2*time.Hour, paused); u.State != upgrade.Succeeded {
			t.Errorf("the paused one ended %+v", u)
		}
		w.holds(paused, 2, data)
	})
}
