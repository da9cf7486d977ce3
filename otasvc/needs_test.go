package otasvc_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// blockSizes counts the image blocks that went on air, by their size in bytes.
type blockSizes struct {
	mu    sync.Mutex
	sizes map[int]int
}

func (b *blockSizes) tap(f sim.AirFrame) {
	const response, header = 5, 17
	if f.FromDongle && f.Cluster == message.ClusterOTA && len(f.Payload) > header && f.Payload[2] == response && f.Payload[3] == 0 {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.sizes[len(f.Payload)-header]++
	}
}

// usual is the size of most blocks.
func (b *blockSizes) usual() (size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s, n := range b.sizes {
		if n > b.sizes[size] {
			size = s
		}
	}
	return size
}

// firmwares are those that differ most.
var firmwares = []sim.Firmware{sim.V131C, sim.V1323, sim.V2324}

// TestBlocksAreWhatDevicesNeed: makers' devices, routes and persons decide how large blocks are, and what does not get
// through is made smaller by itself.
func TestBlocksAreWhatDevicesNeed(t *testing.T) {
	tests := map[string]struct {
		device func(*sim.DeviceConfig)
		policy func(*otasvc.Policy)
		set    needs.Settings
		usual  int
	}{
		"nothing known": {device: func(d *sim.DeviceConfig) {}, usual: 63},
		"Insta":         {device: func(d *sim.DeviceConfig) { d.ManufacturerCode = 0x117A }, usual: 40},
		"dresden":       {device: func(d *sim.DeviceConfig) { d.ManufacturerCode = 0x1135 }, usual: 40},
		"dresden, whose stack writes in units": {
			device: func(d *sim.DeviceConfig) { d.ManufacturerCode, d.Stack, d.MaxDataSize = 0x1135, sim.NXP, 48 }, usual: 32,
		},
		"Telink": {
			device: func(d *sim.DeviceConfig) {
				d.ManufacturerCode, d.Stack, d.MaxDataSize, d.FullBlocksOnly = 0x1141, sim.Telink, 48, true
			},
			policy: func(p *otasvc.Policy) { p.BlockSize = 32 }, usual: 48,
		},
		"a person's choice": {
			device: func(d *sim.DeviceConfig) { d.ManufacturerCode = 0x117A }, set: needs.Settings{BlockSize: ptrTo(uint8(30))}, usual: 30,
		},
		"48 get through":  {device: func(d *sim.DeviceConfig) { d.LosesBlocksOver = 50 }, usual: 48},
		"40 get through":  {device: func(d *sim.DeviceConfig) { d.LosesBlocksOver, d.MaxDataSize = 40, 64 }, usual: 32},
		"16 get through":  {device: func(d *sim.DeviceConfig) { d.LosesBlocksOver = 16 }, usual: 16},
		"16, and NXP":     {device: func(d *sim.DeviceConfig) { d.Stack, d.MaxDataSize, d.LosesBlocksOver = sim.NXP, 48, 16 }, usual: 16},
		"32, and Ember":   {device: func(d *sim.DeviceConfig) { d.Stack, d.LosesBlocksOver = sim.Ember, 40 }, usual: 32},
		"a route of five": {device: func(d *sim.DeviceConfig) { d.Relays = 5 }, usual: 53},
	}
	for name, tc := range tests {
		for _, firmware := range firmwares {
			t.Run(fmt.Sprint(name, " ", firmware), func(t *testing.T) {
				cfg := bulbConfig(bulb)
				cfg.QueryInterval = time.Hour
				tc.device(&cfg)
				sizes := &blockSizes{sizes: map[int]int{}}
				inWorld(t, sim.Config{Firmware: firmware, OnAir: sizes.tap, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
					if tc.policy != nil {
						tc.policy(&w.policy)
						w.restart()
					}
					w.lookFor(bulb)
					w.configure(bulb, tc.set)
					url, data := w.image(cfg.ManufacturerCode, cfg.ImageType, 2, 20_000)
					w.add(bulb, url)
					w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
					if u := w.ended(2*time.Hour, bulb); u.State != upgrade.Succeeded {
						t.Fatalf("ended %+v with blocks of %v", u, sizes.sizes)
					}
					w.holds(bulb, 2, data)
					usual := tc.usual
					if cfg.Relays > 0 && firmware.V2() {
						usual = 48 // it sends fragments and does not tell that nobody understands them
					}
					if got := sizes.usual(); got != usual {
						t.Errorf("blocks of %v, want most of %d", sizes.sizes, usual)
					}
				})
			})
		}
	}
}

// lookFor has a device that is no neighbour known.
func (w *world) lookFor(e message.IEEE) {
	w.t.Helper()
	w.ask(func(r otasvc.Respond) { w.service.Check(ref(e), nil, r) })
	w.met(e)
}

// configure sets what holds for a device.
func (w *world) configure(e message.IEEE, set needs.Settings) {
	w.t.Helper()
	a := w.ask(func(r otasvc.Respond) {
		w.service.Configure(ref(e), func(needs.Settings) needs.Settings { return set }, r)
	})
	if a.Status != otasvc.Success {
		w.t.Fatalf("not configured: %+v", a)
	}
}

func ptrTo[T any](v T) *T { return &v }

// TestDeviceIsSilentForLong: devices of some makers are silent for long in mid-download, and then go on.
func TestDeviceIsSilentForLong(t *testing.T) {
	tests := map[string]struct {
		code      uint16
		silent    time.Duration
		set       needs.Settings
		succeeds  bool
		sessions  int // of the device
		competing bool
	}{
		"Legrand":                {code: 0x1021, silent: 30 * time.Minute, succeeds: true, sessions: 1},
		"Bosch":                  {code: 0x1209, silent: time.Hour, succeeds: true, sessions: 1},
		"Sonoff":                 {code: 0x1286, silent: time.Hour, succeeds: true, sessions: 1},
		"Bosch, and others wait": {code: 0x1209, silent: time.Hour, succeeds: true, sessions: 1, competing: true},
		"a person knows":         {code: 0x117C, silent: 20 * time.Minute, set: needs.Settings{StallTimeout: ptrTo(30 * time.Minute)}, succeeds: true},
		"nobody knows":           {code: 0x117C, silent: 20 * time.Minute},
	}
	for name, tc := range tests {
		for _, firmware := range firmwares {
			t.Run(fmt.Sprint(name, " ", firmware), func(t *testing.T) {
				cfg := bulbConfig(bulb)
				cfg.ManufacturerCode, cfg.SilentAt, cfg.SilentFor, cfg.SilentToNotify = tc.code, 10_000, tc.silent, tc.sessions == 0
				other := bulbConfig(bulb2)
				other.ImageType = 0x2202
				inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg, other}}, func(w *world) {
					w.policy.Retries = 0
					w.restart()
					w.met(bulb)
					w.met(bulb2)
					w.configure(bulb, tc.set)
					url, data := w.image(cfg.ManufacturerCode, cfg.ImageType, 2, 20_000)
					w.add(bulb, url)
					if tc.sessions == 0 {
						w.sim.Device(bulb).Query()
					}
					w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
					if tc.sessions == 0 {
						time.Sleep(5 * time.Second)
						w.sim.Device(bulb).Query()
					}
					w.within(5*time.Minute, "it is silent", func() bool { return w.sim.Device(bulb).Snapshot().Offset >= 10_000 })
					if tc.competing {
						time.Sleep(time.Minute)
						url, _ := w.image(0x117C, 0x2202, 2, 5_000)
						w.add(bulb2, url)
						w.queue(otasvc.UpgradeRequest{Device: ref(bulb2)})
					}
					u := w.ended(3*time.Hour, bulb)
					if tc.succeeds != (u.State == upgrade.Succeeded) {
						t.Fatalf("ended %+v", u)
					}
					if !tc.succeeds {
						return
					}
					w.holds(bulb, 2, data)
					if n := w.sim.Device(bulb).Snapshot().Sessions; n != max(tc.sessions, 1) {
						t.Errorf("the device began %d times", n)
					}
					if tc.competing && w.ended(3*time.Hour, bulb2).State != upgrade.Succeeded {
						t.Error("the other one was not upgraded")
					}
				})
			})
		}
	}
}

// TestExcludedDevice: an excluded device is upgraded only when it is named, with force.
func TestExcludedDevice(t *testing.T) {
	for _, firmware := range firmwares {
		t.Run(firmware.String(), func(t *testing.T) {
			one, other := bulbConfig(bulb), bulbConfig(bulb2)
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{one, other}}, func(w *world) {
				w.policy.Auto = true
				w.policy.ServeUnsolicited = true
				w.policy.Canary = false
				w.restart()
				w.met(bulb)
				w.met(bulb2)
				w.configure(bulb, needs.Settings{Excluded: ptrTo(true)})
				url, _ := w.image(0x117C, 0x2201, 2, 10_000)
				w.add(bulb, url)
				w.add(bulb2, url)
				w.within(15*time.Minute, "the other downloads", func() bool { return w.sim.Device(bulb2).Snapshot().Offset > 500 })
				w.sim.Device(bulb).Query() // the dongle offers it the image of the other
				if u := w.ended(20*time.Minute, bulb2); u.State != upgrade.Succeeded {
					t.Errorf("the other ended %+v", u)
				}
				time.Sleep(time.Hour)
				if u := w.sink.device(bulb).Upgrade; u != nil {
					t.Errorf("the excluded one has an upgrade: %+v", u)
				}
				a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
				if a.Status != otasvc.Failure || a.Reason != upgrade.ReasonExcluded || a.Error == "" {
					t.Errorf("named, without force: %+v", a)
				}
				w.service.Upgrade(otasvc.UpgradeRequest{All: true, Force: true, Ticket: upgrade.Ticket(`"all"`)}, func(otasvc.Answer) {})
				w.within(time.Minute, "all are done", func() bool { return len(w.sink.final("all")) == 1 })
				if a := w.sink.final("all")[0]; len(a.UpgradeResults) != 0 {
					t.Errorf("of all: %+v", a)
				}
			})
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{one}}, func(w *world) {
				w.met(bulb)
				w.configure(bulb, needs.Settings{Excluded: ptrTo(true)})
				url, data := w.image(0x117C, 0x2201, 2, 10_000)
				w.add(bulb, url)
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Force: true})
				if u := w.ended(20*time.Minute, bulb); u.State != upgrade.Succeeded {
					t.Errorf("named, with force: ended %+v", u)
				}
				w.holds(bulb, 2, data)
			})
		})
	}
}

// TestExcludedMeanwhile: an upgrade that waits when its device is excluded is cancelled, unless it was forced or has
// begun.
func TestExcludedMeanwhile(t *testing.T) {
	later := func() time.Time { return time.Now().Add(time.Hour) }
	tests := map[string]struct {
		request func(*otasvc.UpgradeRequest)
		state   upgrade.State
	}{
		"waits for its time": {func(r *otasvc.UpgradeRequest) { r.At = later() }, upgrade.Cancelled},
		"was forced":         {func(r *otasvc.UpgradeRequest) { r.At, r.Force = later(), true }, upgrade.Succeeded},
		"has begun":          {func(*otasvc.UpgradeRequest) {}, upgrade.Succeeded},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				w.met(bulb)
				url, _ := w.image(0x117C, 0x2201, 2, 10_000)
				w.add(bulb, url)
				req := otasvc.UpgradeRequest{Device: ref(bulb)}
				tc.request(&req)
				w.queue(req)
				time.Sleep(2 * time.Second)
				w.configure(bulb, needs.Settings{Excluded: ptrTo(true)})
				if u := w.ended(2*time.Hour, bulb); u.State != tc.state {
					t.Errorf("ended %+v", u)
				}
			})
		})
	}
}

// TestSettingsOutliveTheService: what was set is kept, told, and holds after a crash.
func TestSettingsOutliveTheService(t *testing.T) {
	sizes := &blockSizes{sizes: map[int]int{}}
	cfg := sim.Config{OnAir: sizes.tap, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}
	set := needs.Settings{
		Excluded: ptrTo(false), BlockSize: ptrTo(uint8(40)), BlockInterval: ptrTo(200 * time.Millisecond),
		StallTimeout: ptrTo(time.Hour), NotifyAttempts: ptrTo(uint32(5)),
	}
	inWorld(t, cfg, func(w *world) {
		w.met(bulb)
		w.configure(bulb, set)
		w.crash(time.Minute)
		w.within(time.Minute, "its record is told", func() bool { return w.sink.device(bulb).EUID == bulb })
		if diff := cmp.Diff(set, w.sink.device(bulb).Settings); diff != "" {
			t.Errorf("settings: %s", diff)
		}
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 20_000)
		w.add(bulb, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 2000 })
		if got := sizes.usual(); got != 40 {
			t.Errorf("blocks of %v", sizes.sizes)
		}
		// A change counts for the download under way.
		w.configure(bulb, needs.Settings{BlockSize: ptrTo(uint8(20))})
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
			t.Errorf("ended %+v", u)
		}
		if got := sizes.usual(); got != 20 {
			t.Errorf("blocks of %v after the change", sizes.sizes)
		}
		w.configure(bulb, needs.Settings{})
		w.within(time.Minute, "nothing is set any more", func() bool { return w.sink.device(bulb).Settings == needs.Settings{} })
	})
}

// TestBlocksKeepTheirDistance: the shortest time between two blocks that is set for one device holds for it alone.
func TestBlocksKeepTheirDistance(t *testing.T) {
	for _, firmware := range firmwares {
		t.Run(firmware.String(), func(t *testing.T) {
			devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
			inWorld(t, sim.Config{Firmware: firmware, Devices: devices}, func(w *world) {
				url, _ := w.image(0x117C, 0x2201, 2, 3_000) // 50 blocks or so
				took := func(e message.IEEE) time.Duration {
					w.add(e, url)
					w.queue(otasvc.UpgradeRequest{Device: ref(e)})
					if u := w.ended(time.Hour, e); u.State != upgrade.Succeeded {
						t.Fatalf("%v ended %+v", e, u)
					}
					return w.lastOf(e, otasvc.EventDownloadFinished).Sub(w.lastOf(e, otasvc.EventDownloadStarted))
				}
				w.met(bulb)
				w.met(bulb2)
				w.configure(bulb, needs.Settings{BlockInterval: ptrTo(time.Second)})
				if d := took(bulb); d < 45*time.Second || d > 2*time.Minute {
					t.Errorf("a block a second: the download took %v", d)
				}
				if d := took(bulb2); d > 20*time.Second {
					t.Errorf("the download of the other one took %v", d)
				}
			})
		})
	}
}

// TestSettingsHold has settings that no other case shows.
func TestSettingsHold(t *testing.T) {
	tests := map[string]struct {
		device func(*sim.DeviceConfig)
		set    needs.Settings
		reason upgrade.Reason
		least  time.Duration
		most   time.Duration
	}{
		"few offers": {
			device: func(d *sim.DeviceConfig) { d.SilentToNotify = true }, set: needs.Settings{NotifyAttempts: ptrTo(uint32(2))},
			reason: upgrade.ReasonNoResponse, least: 20 * time.Second, most: 2 * time.Minute,
		},
		"a sleeper that is given up soon": {
			device: func(d *sim.DeviceConfig) {
				d.Sleepy, d.PollInterval, d.StopsAt = true, 4*time.Second, 2000
			},
			set: needs.Settings{StallTimeout: ptrTo(10 * time.Minute)}, reason: upgrade.ReasonStalled, least: 10 * time.Minute, most: 20 * time.Minute,
		},
		"one that is given up soon": {
			device: func(d *sim.DeviceConfig) { d.StopsAt = 2000 },
			set:    needs.Settings{StallTimeout: ptrTo(2 * time.Minute)}, reason: upgrade.ReasonStalled, least: 2 * time.Minute, most: 4 * time.Minute,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			tc.device(&cfg)
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				w.policy.Retries = 0
				w.restart()
				w.met(bulb)
				w.configure(bulb, tc.set)
				url, _ := w.image(0x117C, 0x2201, 2, 20_000)
				w.add(bulb, url)
				began := time.Now()
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
				u := w.ended(24*time.Hour, bulb)
				if took := time.Since(began); u.Reason != tc.reason || took < tc.least || took > tc.most {
					t.Errorf("ended %q after %v", u.Reason, took)
				}
			})
		})
	}
}
