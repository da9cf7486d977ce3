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

func TestBlockInterval(t *testing.T) {
	for _, interval := range []time.Duration{500 * time.Millisecond, 3 * time.Second} {
		inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
			w.policy.BlockInterval = interval
			w.restart()
			data := upgraded(w, 6_000)
			w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 0 })
			begun := time.Now()
			w.within(time.Hour, "the download ends", func() bool { return w.stateOf(bulb) == upgrade.Applying })
			blocks := len(data)/63 - 1
			took := time.Since(begun).Seconds()
			least := float64(blocks) * interval.Seconds()
			if most := least + float64(blocks) + 60; took < least || took > most {
				t.Errorf("%d blocks %v apart took %.1f s", blocks, interval, took)
			}
			if u := w.ended(10*time.Minute, bulb); u.State != upgrade.Succeeded {
				t.Fatalf("ended %+v", u)
			}
			w.holds(bulb, 2, data)
		})
	}
}

func TestLowBattery(t *testing.T) {
	low := uint8(20)
	cfg := bulbConfig(bulb)
	cfg.Sleepy, cfg.BatteryPercent = true, &low
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.policy.MinBattery = 30
		w.restart()
		upgraded(w, 6_000)
		if u := w.ended(10*time.Minute, bulb); u.State != upgrade.Failed || u.Reason != upgrade.ReasonBatteryLow {
			t.Errorf("ended %+v", u)
		}
	})
}

func TestPolicyAuto(t *testing.T) {
	devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		// Fake time begins at midnight UTC: the window opens in two hours.
		begin := time.Duration(time.Now().Hour()+2) * time.Hour
		w.policy.Auto, w.policy.Window = true, &upgrade.Window{Begin: begin, End: begin + 3*time.Hour}
		w.restart()
		url, data := w.image(0x117C, 0x2201, 2, 6_000)
		for _, e := range []message.IEEE{bulb, bulb2} {
			w.met(e)
			w.add(e, url)
		}
		time.Sleep(time.Hour)
		if w.sink.device(bulb).Upgrade != nil {
			t.Fatal("it began before the window opened")
		}
		for _, e := range []message.IEEE{bulb, bulb2} {
			if u := w.ended(3*time.Hour, e); u.State != upgrade.Succeeded {
				t.Errorf("%v ended %+v", e, u)
			}
			w.holds(e, 2, data)
		}
	})
}

// threeBulbs are three devices of one image.
var threeBulbs = []message.IEEE{bulb, bulb2, bulb3}

// TestCanary asks for the upgrades of three bulbs to an image that none of them runs, with something that
// happens to the first.
func TestCanary(t *testing.T) {
	type ends = [3]upgrade.Reason // "" stands for a success
	failed := upgrade.ReasonCanaryFailed
	off := func(w *world) { w.sim.Device(bulb).PowerOff() }
	tests := map[string]struct {
		first  func(*sim.DeviceConfig)
		policy func(*otasvc.Policy)
		before func(*world) // the requests
		during func(*world) // when the first one is offered the image
		want   ends
	}{
		"it succeeds":              {want: ends{}},
		"it calls the image bad":   {first: func(d *sim.DeviceConfig) { d.InvalidAtEnd = true }, want: ends{upgrade.ReasonInvalidImage, failed, failed}},
		"it needs more images":     {first: func(d *sim.DeviceConfig) { d.RequireMore = true }, want: ends{upgrade.ReasonRequireMoreImages, failed, failed}},
		"it runs what it ran":      {first: func(d *sim.DeviceConfig) { d.KeepsOldVersion = true }, want: ends{upgrade.ReasonVersionUnchanged, failed, failed}},
		"it does not come back":    {first: func(d *sim.DeviceConfig) { d.NeverReturns = true }, want: ends{upgrade.ReasonNotRejoined, failed, failed}},
		"it gives every try up":    {first: func(d *sim.DeviceConfig) { d.AbortAt = 2000 }, want: ends{upgrade.ReasonDeviceAborted, failed, failed}},
		"it gives one try up":      {first: func(d *sim.DeviceConfig) { d.AbortAt, d.FailFirst = 2000, 1 }, want: ends{}},
		"it falls silent":          {first: func(d *sim.DeviceConfig) { d.StopsAt = 2000 }, want: ends{upgrade.ReasonStalled, "", ""}},
		"it is off from the start": {before: off, want: ends{upgrade.ReasonNoResponse, "", ""}},
		"it does not hear":         {first: func(d *sim.DeviceConfig) { d.SilentToNotify = true }, want: ends{upgrade.ReasonNoResponse, "", ""}},
		"it is switched off":       {during: off, want: ends{upgrade.ReasonNoResponse, "", ""}},
		"it is cancelled": {
			during: func(w *world) { w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) }) },
			want:   ends{upgrade.ReasonCancelled, "", ""},
		},
		"all are cancelled": {
			during: func(w *world) { w.ask(w.service.CancelAll) },
			want:   ends{upgrade.ReasonCancelled, upgrade.ReasonCancelled, upgrade.ReasonCancelled},
		},
		"the service is restarted": {during: (*world).restart, want: ends{}},
		"it is restarted, and the image is bad": {
			first:  func(d *sim.DeviceConfig) { d.InvalidAtEnd = true },
			during: (*world).restart,
			want:   ends{upgrade.ReasonInvalidImage, failed, failed},
		},
		"nobody goes first": {
			first:  func(d *sim.DeviceConfig) { d.InvalidAtEnd = true },
			policy: func(p *otasvc.Policy) { p.Canary = false },
			want:   ends{upgrade.ReasonInvalidImage, "", ""},
		},
	}
	for name, tt := range tests {
		for _, named := range []bool{true, false} {
			how := map[bool]string{true: "each by name", false: "all"}[named]
			t.Run(name+", "+how, func(t *testing.T) {
				devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2), bulbConfig(bulb3)}
				if tt.first != nil {
					tt.first(&devices[0])
				}
				inWorld(t, sim.Config{Devices: devices}, func(w *world) {
					w.policy.Canary = true
					w.policy.Retries = 1
					if tt.policy != nil {
						tt.policy(&w.policy)
					}
					w.restart()
					data := w.threeWait(tt.before, tt.during, named)
					for i, e := range threeBulbs {
						u := w.ended(3*time.Hour, e)
						if u.Reason != tt.want[i] {
							t.Errorf("%v ended %q, want %q", e, u.Reason, tt.want[i])
						}
						if u.State == upgrade.Succeeded {
							w.holds(e, 2, data)
						}
					}
				})
			})
		}
	}
}

// Whose image is still being fetched when the canary of that image fails does not get it: an index has it, while the
// canary was given it by hand.
func TestCanaryFailsDuringAFetch(t *testing.T) {
	for _, forced := range []bool{false, true} {
		t.Run(fmt.Sprintf("forced: %v", forced), func(t *testing.T) {
			web := newSlowWeb()
			data := bulbImage(2, 3_000)
			dir, lib, catalog := webHome(t, web, map[uint16][]byte{0x2201: data})
			web.put("/2201.ota", data, 40*time.Minute)
			devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
			devices[0].NeverReturns = true
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
				w.policy.Canary = true
				w.run(sim.Config{Devices: devices, Speed: 1}, func(w *world) {
					for _, e := range []message.IEEE{bulb, bulb2} {
						w.within(4*time.Minute, "an update is known", func() bool { return w.sink.device(e).UpdateAvailable })
					}
					w.add(bulb, web.put("/by-hand.ota", data, time.Second))
					w.asks(otasvc.UpgradeRequest{Device: ref(bulb)})
					w.within(5*time.Minute, "it downloads", func() bool { return w.stateOf(bulb) == upgrade.Downloading })
					w.asks(otasvc.UpgradeRequest{Device: ref(bulb2), Force: forced})
					w.fetching(bulb2, 1)
					if u := w.ended(time.Hour, bulb); u.Reason != upgrade.ReasonNotRejoined {
						t.Fatalf("the canary ended %+v", u)
					}
					want := upgrade.ReasonCanaryFailed
					if forced {
						want = ""
					}
					if u := w.ended(2*time.Hour, bulb2); u.Reason != want {
						t.Errorf("the other one ended %+v", u)
					}
				})
			})
		})
	}
}

// threeWait has three bulbs wait for an image, the first of which leads, and returns the image.
func (w *world) threeWait(before, during func(*world), named bool) []byte {
	w.t.Helper()
	url, data := w.image(0x117C, 0x2201, 2, 6_000)
	for _, e := range threeBulbs {
		w.met(e)
		w.add(e, url)
	}
	if before != nil {
		before(w)
	}
	requests := []otasvc.UpgradeRequest{{All: true}}
	if named {
		requests = []otasvc.UpgradeRequest{{Device: ref(bulb)}, {Device: ref(bulb2)}, {Device: ref(bulb3)}}
	}
	for _, req := range requests {
		if a := w.queue(req); a.Status != otasvc.InProgress {
			w.t.Fatalf("%+v", a)
		}
	}
	if during != nil {
		w.within(5*time.Minute, "the first one downloads, and the others wait for it", func() bool {
			leads := w.stateOf(bulb) == upgrade.Downloading
			return leads && w.sink.device(bulb2).Upgrade.WaitsFor == bulb && w.sink.device(bulb3).Upgrade.WaitsFor == bulb
		})
		during(w)
	}
	return data
}

// Who wants it forced waits for nobody, and nobody waits for an image that a device here runs.
func TestNobodyIsWaitedFor(t *testing.T) {
	tests := map[string]struct {
		runs  uint32 // what the third bulb runs
		force bool
	}{
		"forced":     {runs: 1, force: true},
		"known here": {runs: 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2), bulbConfig(bulb3)}
			devices[2].FileVersion = tt.runs
			inWorld(t, sim.Config{Devices: devices}, func(w *world) {
				w.policy.Canary = true
				w.restart()
				url, _ := w.image(0x117C, 0x2201, 2, 20_000)
				w.met(bulb3)
				for _, e := range []message.IEEE{bulb, bulb2} {
					w.met(e)
					w.add(e, url)
					if a := w.queue(otasvc.UpgradeRequest{Device: ref(e), Force: tt.force}); a.Status != otasvc.InProgress {
						t.Fatalf("%+v", a)
					}
				}
				w.within(2*time.Minute, "both download", func() bool {
					for _, e := range []message.IEEE{bulb, bulb2} {
						if u := w.sink.device(e).Upgrade; u.State != upgrade.Downloading || u.WaitsFor != 0 {
							return false
						}
					}
					return true
				})
			})
		})
	}
}

// The policy tries a device again that was switched off, once it is back; one that called the image invalid it
// leaves alone, and those that waited for it, too.
func TestPolicyTriesAgain(t *testing.T) {
	t.Run("back", func(t *testing.T) {
		inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
			url, data := w.image(0x117C, 0x2201, 2, 6_000)
			w.met(bulb)
			w.add(bulb, url)
			w.sim.Device(bulb).PowerOff()
			w.policy.Auto = true
			w.restart()
			if u := w.ended(time.Hour, bulb); u.Reason != upgrade.ReasonNoResponse {
				t.Fatalf("ended %+v", u)
			}
			time.Sleep(6 * time.Hour)
			if n := len(w.sink.device(bulb).History); n != 1 {
				t.Fatalf("it was tried %d times while it was off", n)
			}
			w.sim.Device(bulb).PowerOn()
			w.within(time.Hour, "it is upgraded", func() bool { return w.stateOf(bulb) == upgrade.Succeeded })
			w.holds(bulb, 2, data)
		})
	})
	t.Run("the next day", func(t *testing.T) {
		config := bulbConfig(bulb)
		config.StopsAt = 2000
		inWorld(t, sim.Config{Devices: []sim.DeviceConfig{config}}, func(w *world) {
			url, _ := w.image(0x117C, 0x2201, 2, 6_000)
			w.met(bulb)
			w.add(bulb, url)
			w.policy.Auto = true
			w.restart()
			w.ended(2*time.Hour, bulb)
			time.Sleep(3 * 24 * time.Hour)
			if n := len(w.sink.device(bulb).History); n < 2 || n > 4 {
				t.Errorf("it was tried %d times in three days", n)
			}
		})
	})
	t.Run("a bad image", func(t *testing.T) {
		devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
		devices[0].InvalidAtEnd = true
		inWorld(t, sim.Config{Devices: devices}, func(w *world) {
			url, _ := w.image(0x117C, 0x2201, 2, 6_000)
			for _, e := range []message.IEEE{bulb, bulb2} {
				w.met(e)
				w.add(e, url)
			}
			w.policy.Auto = true
			w.policy.Canary = true
			w.restart()
			time.Sleep(3 * 24 * time.Hour)
			for e, want := range map[message.IEEE]upgrade.Reason{bulb: upgrade.ReasonInvalidImage, bulb2: upgrade.ReasonCanaryFailed} {
				if r := w.sink.device(e); len(r.History) != 1 || r.Upgrade.Reason != want {
					t.Errorf("%v was tried %d times, and ended %q", e, len(r.History), r.Upgrade.Reason)
				}
			}
		})
	})
}
