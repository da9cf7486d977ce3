package otasvc_test

import (
	"testing"
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

func TestAllWithCanary(t *testing.T) {
	for name, fails := range map[string]bool{"the canary succeeds": false, "the canary fails": true} {
		t.Run(name, func(t *testing.T) {
			first := bulbConfig(bulb)
			first.InvalidAtEnd = fails
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{first, bulbConfig(bulb2)}}, func(w *world) {
				url, data := w.image(0x117C, 0x2201, 2, 6_000)
				for _, e := range []message.IEEE{bulb, bulb2} {
					w.met(e)
					w.add(e, url)
				}
				if a := w.queue(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"all"`)}); a.Status != otasvc.InProgress {
					t.Fatalf("%+v", a)
				}
				w.within(time.Minute, "the canary downloads alone", func() bool {
					return w.stateOf(bulb) == upgrade.Downloading && w.stateOf(bulb2) == upgrade.Queued
				})
				w.within(30*time.Minute, "the final answer", func() bool { return len(w.sink.final("all")) == 1 })
				a := w.sink.final("all")[0]
				if !fails {
					w.holds(bulb2, 2, data)
					if a.Status != otasvc.Success || len(a.UpgradeResults) != 2 {
						t.Errorf("%+v", a)
					}
					return
				}
				if a.Status != otasvc.Failure || a.UpgradeResults[0].Reason != upgrade.ReasonInvalidImage || a.UpgradeResults[1].Reason != upgrade.ReasonCanaryFailed {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}
