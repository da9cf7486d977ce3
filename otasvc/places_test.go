package otasvc_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/concurrency"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// atOnce is how many of the devices download now.
func (w *world) atOnce(devices []sim.DeviceConfig) (n int) {
	for _, d := range devices {
		if w.sim.Device(d.IEEE).Snapshot().State == sim.Downloading {
			n++
		}
	}
	return n
}

// How many devices download at once follows from what line and radio take. least and most are of what it is on average
// from the third minute on.
func TestDownloadsAtOnce(t *testing.T) {
	tests := map[string]struct {
		cfg         sim.Config
		atOnce      int           // 0: as many as line and radio take
		interval    time.Duration // between two blocks of a device
		least, most int
	}{
		"a fast line":          {interval: 500 * time.Millisecond, least: 12, most: 16},
		"a number":             {atOnce: 6, interval: 500 * time.Millisecond, least: 6, most: 6},
		"a paced line":         {cfg: sim.Config{LineRate: 11520}, interval: 500 * time.Millisecond, least: 12, most: 16},
		"a paced line is full": {cfg: sim.Config{LineRate: 11520}, interval: 20 * time.Millisecond, least: 1, most: 8},
		"a paced line with large loss": {
			cfg:      sim.Config{LineRate: 11520, Faults: sim.Faults{LoseFromDongle: 0.15, LoseToDongle: 0.05}},
			interval: 250 * time.Millisecond, least: 2, most: 6,
		},
		"an overloaded radio": {
			cfg:      sim.Config{Faults: sim.Faults{LoseAir: 0.55}},
			interval: 100 * time.Millisecond, least: 1, most: 3,
		},
		"a dongle that refuses": {
			cfg:      sim.Config{Faults: sim.Faults{Refuse: 0.15}},
			interval: 100 * time.Millisecond, least: 1, most: 3,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			devices := someBulbs(18, func(d *sim.DeviceConfig) {
				d.BlockInterval = tt.interval + d.BlockInterval%(70*time.Millisecond)
				d.Retries = 20
			})
			tt.cfg.Devices = devices
			inWorld(t, tt.cfg, func(w *world) {
				w.policy.Concurrency = tt.atOnce
				w.restart()
				url, _ := w.image(0x117C, 0x2201, 2, 400_000)
				asked := time.Now()
				for _, d := range devices {
					w.within(30*time.Minute, "it is known", func() bool {
						if time.Since(asked) > 20*time.Second { // what was said of it may have been lost
							asked = time.Now()
							w.sim.Device(d.IEEE).Announce()
						}
						return w.sink.device(d.IEEE).CurrentVersion != nil
					})
					w.add(d.IEEE, url)
					w.accepted(d.IEEE, "")
				}
				w.within(time.Hour, "downloads", func() bool { return w.atOnce(devices) > 0 })
				peak := max(tt.atOnce, concurrency.First)
				watched := 3 * 60 // seconds
				if tt.cfg.Faults.LoseAir > 0 {
					watched = 12 * 60 // it goes up and down, with chance
				}
				sum := 0 // of what may download at once in that time
				for second := range 2*60 + watched {
					time.Sleep(time.Second)
					synctest.Wait()
					allowed := int(w.allowed.Load())
					peak = max(peak, allowed)
					if second >= 2*60 {
						sum += allowed
					}
					// Who is silent for a while leaves its place to another, and may come back.
					if n := w.atOnce(devices); n > peak && tt.cfg.Faults == (sim.Faults{}) {
						t.Fatalf("%d devices download where %d may", n, peak)
					}
				}
				allowed := float64(sum) / float64(watched)
				t.Logf("%.1f may download at once, %d at most, %d do", allowed, peak, w.atOnce(devices))
				if allowed < float64(tt.least) || allowed > float64(tt.most) {
					t.Errorf("%.1f may download at once, want from %d to %d", allowed, tt.least, tt.most)
				}
			})
		})
	}
}

// What says nothing of the radio does not count: a device that sleeps, one that does not download, a frame that was
// too long for its route.
func TestFailuresThatSayNothing(t *testing.T) {
	tests := map[string]struct {
		status uint8
		addr   uint16
		sleepy bool
		falls  bool
	}{
		"no acknowledgement":            {status: 0xA7, addr: 0x4f4f, falls: true},
		"a device that sleeps":          {status: 0xA7, addr: 0x4f4f, sleepy: true},
		"one that does not download":    {status: 0xA7, addr: 0x5000},
		"the frame is too long":         {status: message.RadioFrameTooLong, addr: 0x4f4f},
		"the parent keeps it":           {status: message.RadioFrameBuffered, addr: 0x4f4f},
		"a device that nobody knows":    {status: 0xA7, addr: 0x6000},
		"the radio channel is too busy": {status: 0xE1, addr: 0x4f4f, falls: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			withRadio(t, nil, func(w *world, _ *script) {
				request := offered(w)
				w.introduces(bulb+1, 0x5000)
				if tt.sleepy {
					w.service.HandleMessage(message.NodeDescriptor{Addr: 0x4f4f}, 100)
				}
				for n := range 60 * 4 {
					req := request(uint8(n), uint32(n%60)*50)
					w.service.HandleBlockRequest(&req, nil)
					w.service.HandleBlockStatus(blockStatus(message.StatusOK, 1))
					if n%4 == 0 {
						w.service.HandleMessage(message.Confirm{Kind: message.TypeConfirmFailed, Status: tt.status, DstEndpoint: 1, DstAddrMode: message.AddrModeNetwork, Addr: tt.addr}, 0)
					}
					time.Sleep(250 * time.Millisecond)
					synctest.Wait()
				}
				if allowed := int(w.allowed.Load()); (allowed < 4) != tt.falls {
					t.Errorf("%d may download at once", allowed)
				}
			})
		})
	}
}

// A device that waits for a place gets it when one more may download.
func TestOneMorePlace(t *testing.T) {
	devices := someBulbs(5, func(d *sim.DeviceConfig) { d.BlockInterval = 200 * time.Millisecond })
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		w.policy.Concurrency = 0
		w.restart()
		url, _ := w.image(0x117C, 0x2201, 2, 60_000)
		for _, d := range devices {
			w.met(d.IEEE)
		}
		time.Sleep(10 * time.Second) // their interviews are over
		for _, d := range devices {
			w.add(d.IEEE, url)
			w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
		}
		last := devices[4].IEEE
		time.Sleep(15 * time.Second)
		if u := w.sink.device(last).Upgrade; u.State != upgrade.Queued {
			t.Errorf("the fifth is %s at first", u.State)
		}
		w.within(time.Minute, "the fifth downloads", func() bool { return w.stateOf(last) == upgrade.Downloading })
	})
}
