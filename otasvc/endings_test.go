package otasvc_test

import (
	"math"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// upgraded prepares a bulb with an image and queues its upgrade.
func upgraded(w *world, size int) []byte {
	w.t.Helper()
	w.within(2*time.Minute, "the bulb is known", func() bool { return w.sink.device(bulb).ModelID != "" })
	url, data := w.image(0x117C, 0x2201, 2, size)
	w.add(bulb, url)
	w.accepted(bulb, "t")
	return data
}

func TestHowUpgradesEnd(t *testing.T) {
	tests := map[string]struct {
		device  func(*sim.DeviceConfig)
		policy  func(*otasvc.Policy)
		within  time.Duration
		state   upgrade.State
		reason  upgrade.Reason
		attempt int
	}{
		"well": {state: upgrade.Succeeded, attempt: 1},
		"well at the second attempt, the first was aborted": {
			device: func(d *sim.DeviceConfig) { d.AbortAt, d.FailFirst = 4000, 1 },
			state:  upgrade.Succeeded, attempt: 2,
		},
		"aborted each time": {
			device: func(d *sim.DeviceConfig) { d.AbortAt = 4000 },
			state:  upgrade.Failed, reason: upgrade.ReasonDeviceAborted, attempt: 3,
		},
		"called invalid": {
			device: func(d *sim.DeviceConfig) { d.InvalidAtEnd = true },
			state:  upgrade.Failed, reason: upgrade.ReasonInvalidImage, attempt: 1,
		},
		"wants another image first": {
			device: func(d *sim.DeviceConfig) { d.RequireMore = true },
			state:  upgrade.Failed, reason: upgrade.ReasonRequireMoreImages, attempt: 1,
		},
		"never asked": {
			device: func(d *sim.DeviceConfig) { d.SilentToNotify = true },
			policy: func(p *otasvc.Policy) { p.NotifyAttempts, p.Retries = 3, 1 },
			state:  upgrade.Failed, reason: upgrade.ReasonNoResponse, attempt: 2,
		},
		"stopped asking": {
			device: func(d *sim.DeviceConfig) { d.StopsAt = 4000 },
			policy: func(p *otasvc.Policy) { p.Retries = 0 },
			state:  upgrade.Failed, reason: upgrade.ReasonStalled, attempt: 1,
		},
		"kept the old version": {
			device: func(d *sim.DeviceConfig) { d.KeepsOldVersion = true },
			state:  upgrade.Failed, reason: upgrade.ReasonVersionUnchanged, attempt: 1,
		},
		"kept the old version, and its announce was lost": {
			device: func(d *sim.DeviceConfig) { d.KeepsOldVersion, d.LosesAnnounce = true, true },
			state:  upgrade.Failed, reason: upgrade.ReasonVersionUnchanged, attempt: 1,
		},
		"well, and its announce was lost": {
			device: func(d *sim.DeviceConfig) { d.LosesAnnounce = true },
			state:  upgrade.Succeeded, attempt: 1,
		},
		"never came back": {
			device: func(d *sim.DeviceConfig) { d.NeverReturns = true },
			state:  upgrade.Failed, reason: upgrade.ReasonNotRejoined, attempt: 1,
		},
		"well, by a device that does not tell its version": {
			device: func(d *sim.DeviceConfig) { d.UnsupportedAttributes = []uint16{message.AttrOTAFileVersion} },
			state:  upgrade.Succeeded, attempt: 1,
		},
		"well, by pages": {
			device: func(d *sim.DeviceConfig) { d.PageRequests, d.PageSize = true, 1024 },
			state:  upgrade.Succeeded, attempt: 1,
		},
		"well, asleep most of the time": {
			device: func(d *sim.DeviceConfig) { d.Sleepy, d.PollInterval = true, 5*time.Second },
			state:  upgrade.Succeeded, attempt: 1,
		},
		"well, with the header first and blocks asked for again": {
			device: func(d *sim.DeviceConfig) { d.HeaderFirst, d.AsksAgain = true, 7 },
			state:  upgrade.Succeeded, attempt: 1,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			if tt.device != nil {
				tt.device(&cfg)
			}
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				if tt.policy != nil {
					tt.policy(&w.policy)
					w.restart()
				}
				data := upgraded(w, 12_000)
				u := w.ended(2*time.Hour, bulb)
				if u.State != tt.state || u.Reason != tt.reason || u.Attempt != tt.attempt {
					t.Fatalf("ended %s, reason %q, attempt %d; want %s, %q, %d", u.State, u.Reason, u.Attempt, tt.state, tt.reason, tt.attempt)
				}
				w.within(10*time.Second, "the final answer", func() bool { return len(w.sink.final("t")) == 1 })
				a := w.sink.final("t")[0]
				if tt.state == upgrade.Succeeded {
					w.holds(bulb, 2, data)
					if a.Status != otasvc.Success || a.Error != "" {
						t.Errorf("final answer %+v", a)
					}
				} else if a.Status != otasvc.Failure || a.Reason != tt.reason || a.Error == "" {
					t.Errorf("final answer %+v", a)
				}
				time.Sleep(30 * time.Minute)
				synctest.Wait()
				if n := len(w.sink.final("t")); n != 1 {
					t.Errorf("%d final answers", n)
				}
			})
		})
	}
}

func TestCancelRunningDownloadIsAborted(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		upgraded(w, 30_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
		if a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) }); a.Status != otasvc.Success {
			t.Fatalf("cancel: %+v", a)
		}
		if u := w.ended(time.Second, bulb); u.State != upgrade.Cancelled || u.Reason != upgrade.ReasonCancelled {
			t.Errorf("upgrade %+v", u)
		}
		w.within(time.Minute, "the device gave up", func() bool { return w.sim.Device(bulb).Snapshot().State == sim.Idle })
		asked := w.sim.Device(bulb).Snapshot().BlocksAsked
		time.Sleep(5 * time.Minute)
		if now := w.sim.Device(bulb).Snapshot(); now.BlocksAsked != asked || now.FileVersion != 1 {
			t.Errorf("the device went on: %+v", now)
		}
		if a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) }); a.Status != otasvc.Failure || a.Error == "" {
			t.Errorf("second cancel: %+v", a)
		}
		// The slate is clean: the next upgrade succeeds.
		if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Status != otasvc.InProgress {
			t.Fatalf("upgrade after cancel: %+v", a)
		}
		if u := w.ended(20*time.Minute, bulb); u.State != upgrade.Succeeded {
			t.Errorf("upgrade after cancel ended %+v", u)
		}
	})
}

func TestServiceRestartInMidDownload(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		data := upgraded(w, 30_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
		w.stop()
		before := w.sim.Device(bulb).Snapshot().Offset
		time.Sleep(7 * time.Second)
		w.start()
		if u := w.ended(20*time.Minute, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
			t.Fatalf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
		w.within(10*time.Second, "the final answer", func() bool { return len(w.sink.final("t")) == 1 })
		if a := w.sink.final("t")[0]; a.Status != otasvc.Success {
			t.Errorf("final answer %+v", a)
		}
		d := w.sim.Device(bulb).Snapshot()
		if d.Sessions != 1 {
			t.Errorf("the device began %d downloads; it should have gone on at %d", d.Sessions, before)
		}
		if n := w.sim.Stats().BlocksRefused(); n != 0 {
			t.Errorf("the dongle refused %d blocks", n)
		}
		for i, r := range w.sink.history[bulb] {
			if r.Upgrade == nil || r.Upgrade.State != upgrade.Downloading {
				continue
			}
			// The device may have got a block that it had not asked behind yet.
			if r.Upgrade.Offset+64 < before {
				t.Errorf("record %d after the restart says offset %d; the device was at %d", i, r.Upgrade.Offset, before)
			}
		}
	})
}

func TestDongleResetInMidDownload(t *testing.T) {
	for name, reset := range map[string]func(*sim.Dongle){
		"with notice": (*sim.Dongle).Reset, "the connection broke too": func(d *sim.Dongle) { d.SilentReset(); d.Disconnect() },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				data := upgraded(w, 30_000)
				w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
				reset(w.sim)
				if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
					t.Fatalf("ended %+v", u)
				}
				w.holds(bulb, 2, data)
			})
		})
	}
}

func TestNewNetworkAddressInMidDownload(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		data := upgraded(w, 30_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
		w.sim.Device(bulb).ChangeAddress(0x7777)
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
			t.Fatalf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
		if a := w.sink.device(bulb).NetworkAddress; a == nil || *a != 0x7777 {
			t.Errorf("network address %v", a)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		data := upgraded(w, 30_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
		if a := w.ask(func(r otasvc.Respond) { w.service.Pause(ref(bulb), 0, r) }); a.Status != otasvc.Success {
			t.Fatalf("pause: %+v", a)
		}
		time.Sleep(5 * time.Second)
		at := w.sim.Device(bulb).Snapshot().Offset
		time.Sleep(20 * time.Minute)
		if now := w.sim.Device(bulb).Snapshot(); now.Offset != at || w.stateOf(bulb) != upgrade.Paused {
			t.Fatalf("not held: offset %d, then %d, state %s", at, now.Offset, w.stateOf(bulb))
		}
		if a := w.ask(func(r otasvc.Respond) { w.service.Resume(ref(bulb), r) }); a.Status != otasvc.Success {
			t.Fatalf("resume: %+v", a)
		}
		if u := w.ended(20*time.Minute, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
			t.Fatalf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
	})
}

func TestDeviceThatAsksWithoutAnUpgradeIsRefused(t *testing.T) {
	devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		w.met(bulb2)
		data := upgraded(w, 30_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 1000 })
		w.sim.Device(bulb2).Query() // the dongle offers it the image: it cannot be told not to
		w.within(time.Minute, "it is refused and told", func() bool {
			for _, n := range w.sink.names(bulb2) {
				if n == otasvc.EventUnsolicitedRequest {
					return true
				}
			}
			return false
		})
		if u := w.ended(20*time.Minute, bulb); u.State != upgrade.Succeeded {
			t.Errorf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
		if d := w.sim.Device(bulb2).Snapshot(); d.FileVersion != 1 || d.BlocksReceived != 0 {
			t.Errorf("the other device got blocks: %+v", d)
		}
	})
}

// Where it is configured, a device that asks for the loaded image without an upgrade is served, from its first
// request on: one that was refused might not ask again for long.
func TestUnsolicitedRequestIsServedWhereConfigured(t *testing.T) {
	for _, firmware := range firmwares {
		for _, stack := range sim.Stacks() {
			if stack == sim.BitCloud && firmware != sim.V1323 {
				continue // its requests lack the period that they announce, and only this firmware passes them on
			}
			t.Run(firmware.String()+"/"+stack.String(), func(t *testing.T) {
				t.Parallel()
				devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
				takesStack(&devices[1], stack)
				devices[1].Addr = 0x1234
				air := &blockAnswers{addr: devices[1].Addr}
				cfg := sim.Config{Firmware: firmware, Devices: devices, OnAir: air.hear}
				inWorld(t, cfg, func(w *world) {
					w.policy.ServeUnsolicited = true
					w.restart()
					w.met(bulb2)
					data := upgraded(w, 30_000)
					w.within(time.Minute, "the download runs", func() bool {
						return w.sim.Device(bulb).Snapshot().Offset > 1000
					})
					w.sim.Device(bulb2).Query()
					for _, e := range []message.IEEE{bulb, bulb2} {
						if u := w.ended(30*time.Minute, e); u.State != upgrade.Succeeded || u.Attempt != 1 {
							t.Errorf("%v ended %+v", e, u)
						}
						w.holds(e, 2, data)
					}
					if n := air.refusals.Load(); n != 0 {
						t.Errorf("%d of its requests were refused", n)
					}
				})
			})
		}
	}
}

// blockAnswers counts what a device gets instead of blocks.
type blockAnswers struct {
	addr     uint16
	refusals atomic.Int32
}

func (a *blockAnswers) hear(f sim.AirFrame) {
	const blockResponse = 0x05
	if !f.FromDongle || f.Addr != a.addr || f.Cluster != message.ClusterOTA || len(f.Payload) < 4 {
		return
	}
	if f.Payload[2] == blockResponse && f.Payload[3] == message.OTAAbort {
		a.refusals.Add(1)
	}
}

// Who is not to have the loaded image is refused, also where others are served without an upgrade.
func TestUnsolicitedIsRefusedToWhoIsExcluded(t *testing.T) {
	for _, firmware := range firmwares {
		t.Run(firmware.String(), func(t *testing.T) {
			devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
			devices[1].Addr = 0x1234
			air := &blockAnswers{addr: devices[1].Addr}
			inWorld(t, sim.Config{Firmware: firmware, Devices: devices, OnAir: air.hear}, func(w *world) {
				w.policy.ServeUnsolicited = true
				w.restart()
				w.met(bulb2)
				yes := true
				w.configure(bulb2, needs.Settings{Excluded: &yes})
				data := upgraded(w, 30_000)
				w.within(time.Minute, "the download runs", func() bool {
					return w.sim.Device(bulb).Snapshot().Offset > 1000
				})
				w.sim.Device(bulb2).Query()
				w.within(time.Minute, "it is refused", func() bool { return air.refusals.Load() > 0 })
				if u := w.ended(20*time.Minute, bulb); u.State != upgrade.Succeeded {
					t.Errorf("ended %+v", u)
				}
				w.holds(bulb, 2, data)
				if d := w.sim.Device(bulb2).Snapshot(); d.FileVersion != 1 || d.BlocksReceived != 0 {
					t.Errorf("the other device got blocks: %+v", d)
				}
			})
		})
	}
}

func TestDevicesThatAreNotNeighbours(t *testing.T) {
	far := bulbConfig(bulb)
	far.Relays = 2
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{far}}, func(w *world) {
		url, data := w.image(0x117C, 0x2201, 2, 12_000)
		w.add(bulb, url) // by its EUID: it is looked for on the network
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		if u := w.ended(20*time.Minute, bulb); u.State != upgrade.Succeeded {
			t.Errorf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
		a := w.ask(func(r otasvc.Respond) { w.service.ImageInfo(ref(0x0102030405060708), nil, r) })
		if a.Status != otasvc.DeviceNotFound || a.Error == "" {
			t.Errorf("a device that is not there: %+v", a)
		}
	})
}

func TestFaultsOnLineAndAir(t *testing.T) {
	tests := map[string]sim.Faults{
		"frames lost both ways":     {LoseFromDongle: 0.1, LoseToDongle: 0.1},
		"30 percent lost both ways": {LoseFromDongle: 0.3, LoseToDongle: 0.3},
		"frames damaged":            {Corrupt: 0.1},
		"frames doubled":            {Duplicate: 0.3},
		"frames late":               {Late: 0.2, LateBy: 300 * time.Millisecond},
		"radio frames lost":         {LoseAir: 0.3},
		"acknowledgements lost":     {LoseAck: 0.3},
		"the dongle has no room":    {Refuse: 0.2},
		"resets now and then":       {ResetEvery: 2 * time.Minute},
		"silent resets":             {ResetEvery: 2 * time.Minute, SilentResets: true},
		"all at once":               {LoseFromDongle: 0.05, LoseToDongle: 0.05, Corrupt: 0.02, Duplicate: 0.05, Late: 0.05, LateBy: time.Second, LoseAir: 0.1, LoseAck: 0.1, Refuse: 0.05, ResetEvery: 5 * time.Minute},
	}
	for name, faults := range tests {
		t.Run(name, func(t *testing.T) {
			for _, firmware := range []sim.Firmware{sim.V1323, sim.V2324} {
				cfg := bulbConfig(bulb)
				cfg.RetryInterval, cfg.Retries = 5*time.Second, 10
				inWorld(t, sim.Config{Firmware: firmware, Seed: 7, Faults: faults, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
					w.policy.Retries = 20
					w.restart()
					known := func() bool { return w.sink.device(bulb).CurrentVersion != nil }
					time.Sleep(15 * time.Minute)
					for n := 0; n < 5 && !known(); n++ {
						// All attempts at an interview were lost: heard, it is asked again. What it says can be
						// lost as well, but devices speak now and then.
						w.sim.Device(bulb).Announce()
						time.Sleep(3 * time.Minute)
					}
					w.within(15*time.Minute, "the bulb is known", known)
					url, data := w.image(0x117C, 0x2201, 2, 15_000)
					w.add(bulb, url)
					w.accepted(bulb, "t")
					u := w.ended(24*time.Hour, bulb)
					if u.Reason == upgrade.ReasonInvalidImage && len(w.sim.Stats().DamagedBlocks) > 0 {
						return // the dongle took a block that was damaged on its way, and the device has found it out
					}
					if u.State != upgrade.Succeeded {
						w.t.Fatalf("%v: ended %+v", firmware, u)
					}
					// A byte lost on the way to the dongle can go unnoticed there; see TestRandomRuns.
					if faults.Corrupt == 0 {
						w.holds(bulb, 2, data)
					}
				})
			}
		})
	}
}

// Vendors exist whose devices tell another number than the image's file. Their upgrades succeed, the image is no update
// for them any more, and the same again, with force, succeeds too.
func TestDeviceTellsAnotherNumber(t *testing.T) {
	for name, device := range map[string]func(*sim.DeviceConfig){
		"announced":     func(*sim.DeviceConfig) {},
		"announce lost": func(d *sim.DeviceConfig) { d.LosesAnnounce = true },
		"asleep":        func(d *sim.DeviceConfig) { d.Sleepy, d.PollInterval = true, 5*time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			cfg.ReportsVersion = 0x77
			device(&cfg)
			// Its firmware does not compare versions, so the images keep theirs.
			inWorld(t, sim.Config{Firmware: sim.V2324, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				data := upgraded(w, 6_000)
				u := w.ended(time.Hour, bulb)
				if u.State != upgrade.Succeeded || u.RunningVersion == nil || *u.RunningVersion != 0x77 || *u.ImageVersion != 2 {
					t.Fatalf("ended %+v", u)
				}
				w.holds(bulb, 0x77, data)
				w.within(10*time.Second, "the final answer", func() bool { return len(w.sink.final("t")) == 1 })
				if a := w.sink.final("t")[0]; a.Status != otasvc.Success || a.RunningVersion == nil || *a.RunningVersion != 0x77 {
					t.Errorf("final answer %+v", a)
				}

				w.restart()
				w.within(time.Minute, "it is known again", func() bool { return w.sink.device(bulb).Upgrade != nil })
				if d := w.sink.device(bulb); d.UpdateAvailable || *d.CurrentVersion != 0x77 || *d.Upgrade.RunningVersion != 0x77 {
					t.Errorf("the device is told as %+v, its upgrade as %+v", d, d.Upgrade)
				}
				again := func(r otasvc.Respond) { w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(bulb)}, r) }
				if a := w.ask(again); a.Reason != upgrade.ReasonUpToDate {
					t.Errorf("the same again: %+v", a)
				}
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Force: true})
				w.within(time.Minute, "it has another upgrade", func() bool { return !w.stateOf(bulb).Ended() })
				if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
					t.Errorf("the same again, with force: %+v", u)
				}

				url, newer := w.image(0x117C, 0x2201, 3, 6_000)
				w.add(bulb, url)
				if !w.sink.device(bulb).UpdateAvailable {
					t.Error("a newer image is no update")
				}
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
				w.within(time.Minute, "it has another upgrade", func() bool { return !w.stateOf(bulb).Ended() })
				if u := w.ended(time.Hour, bulb); u.Reason != upgrade.ReasonVersionUnchanged {
					t.Errorf("another image under the same number: %+v", u)
				}
				w.holds(bulb, 0x77, newer)
			})
		})
	}
}

// A device that installs cannot be stopped: cancel says so, of all devices too, and the upgrade ends as it would have.
func TestCancelIsTooLate(t *testing.T) {
	for name, tt := range map[string]struct {
		device  func(*sim.DeviceConfig)
		state   upgrade.State
		reason  upgrade.Reason
		restart bool // of the service, while the device installs
	}{
		"it runs the image":        {func(*sim.DeviceConfig) {}, upgrade.Succeeded, upgrade.NoReason, false},
		"it runs the old one":      {func(d *sim.DeviceConfig) { d.KeepsOldVersion = true }, upgrade.Failed, upgrade.ReasonVersionUnchanged, false},
		"it is not there any more": {func(d *sim.DeviceConfig) { d.NeverReturns = true }, upgrade.Failed, upgrade.ReasonNotRejoined, false},
		"it comes back late":       {func(d *sim.DeviceConfig) { d.RebootTime = 5 * time.Minute }, upgrade.Succeeded, upgrade.NoReason, true},
	} {
		t.Run(name, func(t *testing.T) {
			const waiting = bulb + 1
			installs := bulbConfig(bulb)
			tt.device(&installs)
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{installs, bulbConfig(waiting)}}, func(w *world) {
				w.met(waiting)
				data := upgraded(w, 6_000)
				w.add(waiting, "file://"+filepath.Join(w.dir, "images", "117c-2201-00000002-6000.ota"))
				w.within(time.Minute, "it installs", func() bool { return w.stateOf(bulb) == upgrade.Applying })
				w.queue(otasvc.UpgradeRequest{Device: ref(waiting), At: time.Now().Add(time.Hour), Ticket: upgrade.Ticket(`"w"`)})
				if tt.restart {
					w.restart()
				}

				a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) })
				if a.Status != otasvc.Failure || a.Reason != upgrade.ReasonTooLate || a.Error == "" || a.Operation == nil {
					t.Errorf("cancel: %+v", a)
				}
				a = w.ask(w.service.CancelAll)
				if a.Status != otasvc.Failure || a.Reason != upgrade.ReasonTooLate || !strings.Contains(a.Error, bulb.String()) ||
					strings.Contains(a.Error, waiting.String()) {
					t.Errorf("cancel of all: %+v", a)
				}
				if u := w.sink.device(waiting).Upgrade; u.State != upgrade.Cancelled || u.Reason != upgrade.ReasonCancelled {
					t.Errorf("the other device's upgrade: %+v", u)
				}
				if u := w.sink.device(bulb).Upgrade; u.State != upgrade.Applying {
					t.Errorf("the device's upgrade: %+v", u)
				}

				if u := w.ended(time.Hour, bulb); u.State != tt.state || u.Reason != tt.reason {
					t.Errorf("ended %s, %q", u.State, u.Reason)
				}
				if tt.state == upgrade.Succeeded {
					w.holds(bulb, 2, data)
				}
				w.within(10*time.Second, "the final answer", func() bool { return len(w.sink.final("t")) == 1 })
				if a := w.ask(w.service.CancelAll); a.Status != otasvc.Success {
					t.Errorf("cancel of all, of whom none has an upgrade: %+v", a)
				}
			})
		})
	}
}

// Who forgets a device that installs gets the answer of its upgrade.
func TestForgottenWhileItInstalls(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		upgraded(w, 6_000)
		w.within(time.Minute, "it installs", func() bool { return w.stateOf(bulb) == upgrade.Applying })
		if a := w.ask(func(r otasvc.Respond) { w.service.Forget(ref(bulb), r) }); a.Status != otasvc.Success {
			t.Fatalf("forget: %+v", a)
		}
		w.within(time.Second, "the final answer", func() bool { return len(w.sink.final("t")) == 1 })
		if a := w.sink.final("t")[0]; a.Status != otasvc.Failure || a.Reason != upgrade.ReasonCancelled {
			t.Errorf("final answer %+v", a)
		}
	})
}

func TestOpenRequestsAreAnsweredAtAStop(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		time.Sleep(time.Minute) // its interview is over then
		finals := map[string][]otasvc.Status{}
		respond := func(name string) otasvc.Respond {
			return func(a otasvc.Answer) {
				if a.Status.Final() {
					finals[name] = append(finals[name], a.Status)
				}
			}
		}
		w.sim.Device(bulb).PowerOff()
		w.service.Check(ref(bulb), nil, respond("check"))
		w.service.Interview(ref(bulb), respond("interview"))
		w.service.ImageInfo(ref(0x0102030405060708), nil, respond("image_info of a stranger"))
		w.service.Rename(ref(bulb), "Cellar", respond("rename"))
		time.Sleep(100 * time.Millisecond)
		w.stopService()
		want := map[string][]otasvc.Status{
			"check": {otasvc.Failure}, "interview": {otasvc.Failure}, "image_info of a stranger": {otasvc.ServiceNotAvailable},
			"rename": {otasvc.Success},
		}
		if diff := cmp.Diff(want, finals); diff != "" {
			t.Error("final answers (-want +got):", diff)
		}
		w.start()
	})
}

// A device that calls its download complete before it has asked for the whole image is not told as one that
// has it. What it runs after its restart decides.
func TestDownloadThatEndsEarly(t *testing.T) {
	for name, tt := range map[string]struct {
		keeps    bool
		state    upgrade.State
		progress float64
	}{
		"it installs all the same":   {state: upgrade.Succeeded, progress: 100},
		"it runs its old version on": {keeps: true, state: upgrade.Failed, progress: 32},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			cfg.SucceedsAt = 4000
			cfg.KeepsOldVersion = tt.keeps
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				upgraded(w, 12_000)
				u := w.ended(2*time.Hour, bulb)
				if u.State != tt.state || math.Floor(u.Progress) != tt.progress {
					t.Errorf("ended %+v", u)
				}
				defer w.sink.lock()()
				for _, e := range w.sink.events {
					if e.Name == otasvc.EventDownloadFinished && (math.Floor(*e.Progress) != 32 || *e.Offset > 4100) {
						t.Errorf("told: at %d, %v percent", *e.Offset, *e.Progress)
					}
				}
				if !w.said.has("before it has asked for the whole image") {
					t.Error("the log does not say it")
				}
			})
		})
	}
}
