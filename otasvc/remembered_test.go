package otasvc_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// replaceSim puts another simulated dongle in the place of the one that runs, while the service is stopped.
func (w *world) replaceSim(cfg sim.Config) {
	w.stopSim()
	cfg.Speed = 1
	w.sim = sim.New(cfg)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.sim.Run(ctx) }()
	w.stopSim = func() { cancel(); <-done }
	synctest.Wait() // it runs
}

// A version that only the state file knows does not refuse an upgrade: the device may have been given another one while the
// service was not looking.
func TestRememberedVersion(t *testing.T) {
	tests := map[string]struct {
		device func(*sim.DeviceConfig)
	}{
		"awake":             {},
		"asleep, and polls": {device: func(d *sim.DeviceConfig) { d.Sleepy, d.PollInterval = true, 4*time.Second }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			if tt.device != nil {
				tt.device(&cfg)
			}
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				upgraded(w, 4000)
				if u := w.ended(time.Hour, bulb); u.State != otasvc.Succeeded {
					t.Fatalf("the upgrade before the restart: %+v", u)
				}
				w.stop()
				w.replaceSim(sim.Config{Devices: []sim.DeviceConfig{cfg}}) // with its old version again
				w.start()
				final := make(chan otasvc.Answer, 1)
				w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(bulb)}, func(a otasvc.Answer) {
					if a.Status.Final() {
						final <- a
					}
				})
				queued := func() bool {
					u := w.sink.device(bulb).Upgrade
					return u != nil && !u.State.Ended()
				}
				w.within(5*time.Minute, "the upgrade is queued or refused", func() bool { return queued() || len(final) > 0 })
				if !queued() {
					t.Errorf("refused: %+v", <-final)
				}
			})
		})
	}
}

// An image that a device calls invalid each time that it is forced on it is remembered once.
func TestInvalidImageIsRememberedOnce(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.InvalidAtEnd = true
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 2_000)
		w.add(bulb, url)
		for i := range 3 {
			w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Force: true})
			w.within(time.Hour, "it ends", func() bool { return len(w.sink.device(bulb).History) == i+1 })
			if u := w.ended(time.Minute, bulb); u.Reason != otasvc.ReasonInvalidImage {
				t.Fatalf("ended %+v", u)
			}
		}
		time.Sleep(time.Minute)
		if n := len(w.kept(bulb).Invalid); n != 1 {
			t.Errorf("it is in the state file %d times", n)
		}
	})
}
