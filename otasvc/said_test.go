package otasvc_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// errorCounter counts useless frames.
type errorCounter struct {
	latencies
	errors int
}

func (c *errorCounter) FrameError(string) {
	c.mu.Lock()
	c.errors++
	c.mu.Unlock()
}

func (c *errorCounter) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.errors
}

// happened reports whether an event about the bulb or about no device was told so often.
func (w *world) happened(name otasvc.EventName, times int) bool {
	for _, e := range append(w.sink.names(bulb), w.sink.names(0)...) {
		if e == name {
			times--
		}
	}
	return times <= 0
}

// TestWhatHappenedIsSaid lets one thing go wrong in mid-download: the device has the right bytes in the end,
// and the log, an event or a metric tells what it was.
func TestWhatHappenedIsSaid(t *testing.T) {
	askedAgain := func(w *world, _ *errorCounter) bool {
		return w.said.has("askedAgain=") && !w.said.has("askedAgain=0 ")
	}
	tests := map[string]struct {
		device func(*sim.DeviceConfig)
		faults sim.Faults
		act    func(w *world)
		told   func(w *world, c *errorCounter) bool
	}{
		"garbled page requests": {
			device: func(d *sim.DeviceConfig) { d.PageRequests = true },
			told:   func(w *world, _ *errorCounter) bool { return w.said.has("asks for whole pages") },
		},
		"doubled frames": {faults: sim.Faults{Duplicate: 0.5}, told: askedAgain},
		"late frames":    {faults: sim.Faults{Late: 0.2, LateBy: 8 * time.Second}, told: askedAgain},
		"damaged frames": {
			faults: sim.Faults{Corrupt: 0.05},
			told:   func(_ *world, c *errorCounter) bool { return c.total() > 0 },
		},
		"another address": {
			act: func(w *world) { w.sim.Device(bulb).ChangeAddress(0x7777) },
			told: func(w *world, _ *errorCounter) bool {
				return w.said.has("has another network address") && w.happened(otasvc.EventDeviceAnnounced, 1)
			},
		},
		"a reset": {
			act: func(w *world) { w.sim.Reset() },
			told: func(w *world, _ *errorCounter) bool {
				return w.said.has("the dongle has restarted") && w.happened(otasvc.EventImageLoaded, 2)
			},
		},
		"a silent reset": {
			act: func(w *world) { w.sim.SilentReset() },
			told: func(w *world, _ *errorCounter) bool {
				return w.said.has("has stopped asking for blocks") && w.happened(otasvc.EventImageLoaded, 2)
			},
		},
		"the cable pulled": {
			act: func(w *world) { w.sim.Disconnect() },
			told: func(w *world, _ *errorCounter) bool {
				return w.happened(otasvc.EventDongleDisconnected, 1) && w.happened(otasvc.EventDongleConnected, 2)
			},
		},
	}
	for name, tc := range tests {
		for _, firmware := range []sim.Firmware{sim.V1323, sim.V2324} {
			t.Run(name+" "+firmware.String(), func(t *testing.T) {
				cfg := bulbConfig(bulb)
				cfg.Retries = 10
				if tc.device != nil {
					tc.device(&cfg)
				}
				inWorld(t, sim.Config{Firmware: firmware, Seed: 11, Faults: tc.faults, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
					c := &errorCounter{}
					w.observer = c
					w.policy.Retries = 10
					w.restart()
					w.within(30*time.Minute, "the bulb is known", func() bool {
						d := w.sink.device(bulb)
						return d.CurrentVersion != nil && d.ModelID != ""
					})
					data := upgraded(w, 15_000)
					w.within(10*time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
					if tc.act != nil {
						tc.act(w)
					}
					if u := w.ended(24*time.Hour, bulb); u.State != upgrade.Succeeded {
						t.Fatalf("ended %+v", u)
					}
					if tc.faults.Corrupt == 0 { // see TestFaultsOnLineAndAir
						w.holds(bulb, 2, data)
					}
					if !tc.told(w, c) {
						t.Error("nothing tells what happened")
					}
				})
			})
		}
	}
}
