package otasvc_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// Commands of the OTA cluster on air.
const (
	airNotify       = 0x00
	airQuery        = 0x01
	airBlockRequest = 0x03
	airPageRequest  = 0x04
	airBlockAnswer  = 0x05
	airUpgradeEnd   = 0x06
)

// airWatch looks at what is on air between the dongle and its devices.
type airWatch struct {
	mu       sync.Mutex
	asks     map[uint16]time.Time // by network address, the last request for a block of a download under way
	sequence map[uint16]uint8     // of that request
	gap      map[uint16]time.Duration
	waits    []airWait
	blocks   int
	notified []string // notifications to devices that asked for blocks
	odd      []string // answers that tell a device to wait in another form than the safe one
}

// airWait is a wait that a device was told.
type airWait struct {
	addr    uint16
	at      time.Time
	seconds uint32
}

func newAirWatch() *airWatch {
	return &airWatch{asks: map[uint16]time.Time{}, sequence: map[uint16]uint8{}, gap: map[uint16]time.Duration{}}
}

// asksFor is how long a device that has asked for a block must not be offered anything.
const asksFor = 20 * time.Second

func (a *airWatch) frame(f sim.AirFrame) {
	if f.Cluster != message.ClusterOTA || len(f.Payload) < 3 || f.Payload[0]&3 != 1 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	sequence, command, body := f.Payload[1], f.Payload[2], f.Payload[3:]
	now := time.Now()
	switch {
	case !f.FromDongle && (command == airBlockRequest || command == airPageRequest):
		a.asks[f.Addr], a.sequence[f.Addr] = now, sequence
	case !f.FromDongle && (command == airUpgradeEnd || command == airQuery):
		delete(a.asks, f.Addr)
	case f.FromDongle && command == airNotify:
		if at, asked := a.asks[f.Addr]; asked && now.Sub(at) < asksFor {
			a.notified = append(a.notified, fmt.Sprintf("0x%04x at %v, %v after its last request", f.Addr, now.Format(time.StampMilli), now.Sub(at)))
		}
	case f.FromDongle && command == airBlockAnswer:
		a.answer(f.Addr, sequence, body, now)
	}
}

func (a *airWatch) answer(addr uint16, sequence uint8, body []byte, now time.Time) {
	if at, asked := a.asks[addr]; asked {
		a.gap[addr] = max(a.gap[addr], now.Sub(at))
	}
	switch body[0] {
	case message.OTASuccess:
		a.blocks++
	case message.OTAWaitForData:
		if len(body) != 11 || sequence != a.sequence[addr] || binary.LittleEndian.Uint32(body[1:]) != 0 ||
			binary.LittleEndian.Uint16(body[9:]) != 0 {
			a.odd = append(a.odd, fmt.Sprintf("% x with sequence %d to a request with %d", body, sequence, a.sequence[addr]))
			return
		}
		seconds := binary.LittleEndian.Uint32(body[5:])
		if seconds < 1 || seconds > 3600 {
			a.odd = append(a.odd, fmt.Sprintf("%d s", seconds))
		}
		a.waits = append(a.waits, airWait{addr, now, seconds})
	default: // the download is over
		delete(a.asks, addr)
	}
}

// since are the waits that were told from a time on.
func (a *airWatch) since(begin time.Time) (waits []airWait) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.waits {
		if !w.at.Before(begin) {
			waits = append(waits, w)
		}
	}
	return waits
}

// check reports what must never be on air.
func (a *airWatch) check(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.notified {
		t.Errorf("a device that asks for blocks was notified: %s", n)
	}
	for _, o := range a.odd {
		t.Errorf("a wait that not every stack takes: %s", o)
	}
}

// inWatchedWorld is inWorld with a look at the air.
func inWatchedWorld(t *testing.T, cfg sim.Config, f func(w *world, air *airWatch)) {
	t.Helper()
	air := newAirWatch()
	cfg.OnAir = air.frame
	inWorld(t, cfg, func(w *world) {
		f(w, air)
		air.check(t)
	})
}

// someBulbs are so many bulbs of one kind, each with its own pace.
func someBulbs(n int, change func(*sim.DeviceConfig)) (devices []sim.DeviceConfig) {
	for i := range n {
		d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
		d.BlockInterval += time.Duration(i) * 30 * time.Millisecond
		if change != nil {
			change(&d)
		}
		devices = append(devices, d)
	}
	return devices
}

// downloading queues an upgrade of each device and waits until all download.
func (w *world) downloading(devices []sim.DeviceConfig, size int) (data []byte) {
	w.t.Helper()
	var url string
	for _, d := range devices {
		w.met(d.IEEE)
		url, data = w.image(d.ManufacturerCode, d.ImageType, 2, size)
		w.add(d.IEEE, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
	}
	for _, d := range devices {
		w.within(5*time.Minute, fmt.Sprintf("%v downloads", d.IEEE), func() bool { return w.sim.Device(d.IEEE).Snapshot().Offset > 0 })
	}
	return data
}

// finish waits until each device has its image, in one go.
func (w *world) finish(devices []sim.DeviceConfig, data []byte) {
	w.t.Helper()
	for _, d := range devices {
		if u := w.ended(12*time.Hour, d.IEEE); u.State != upgrade.Succeeded || u.Attempt != 1 {
			w.t.Errorf("%v: %s %s in attempt %d", d.IEEE, u.State, u.Reason, u.Attempt)
		}
		w.holds(d.IEEE, 2, data)
		if s := w.sim.Device(d.IEEE).Snapshot(); s.Sessions != 1 || s.GivenUp != 0 {
			w.t.Errorf("%v began %d times and gave up %d times", d.IEEE, s.Sessions, s.GivenUp)
		}
	}
}

// A clean stop tells every device that downloads to wait. After the start all go on where they were.
func TestCleanStopTellsToWait(t *testing.T) {
	tests := map[string]struct {
		cfg    sim.Config
		device func(*sim.DeviceConfig)
		policy func(*otasvc.Policy)
		n      int
		away   time.Duration
		most   time.Duration // that the stop may take
	}{
		"a quick restart":               {n: 4, away: 0, most: time.Second},
		"thirty seconds":                {n: 4, away: 30 * time.Second, most: time.Second},
		"a device that is slow":         {n: 2, away: 30 * time.Second, most: 3 * time.Second, device: func(d *sim.DeviceConfig) { d.BlockInterval = 2 * time.Second }},
		"blocks are far apart":          {n: 2, away: 30 * time.Second, most: 7 * time.Second, policy: func(p *otasvc.Policy) { p.BlockInterval = 3 * time.Second }},
		"the dongle has no room":        {n: 4, away: 20 * time.Second, most: 7 * time.Second, cfg: sim.Config{Seed: 3, Faults: sim.Faults{Refuse: 0.3}}, device: func(d *sim.DeviceConfig) { d.Retries = 10 }},
		"requests and answers get lost": {n: 4, away: 20 * time.Second, most: 7 * time.Second, cfg: sim.Config{Seed: 3, Faults: sim.Faults{LoseAir: 0.1}}, device: func(d *sim.DeviceConfig) { d.Retries = 10 }},
		"pages":                         {n: 1, away: 30 * time.Second, most: 7 * time.Second, device: func(d *sim.DeviceConfig) { d.PageRequests = true }},
		"firmware v2":                   {n: 3, away: 30 * time.Second, most: time.Second, cfg: sim.Config{Firmware: sim.V2324}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			devices := someBulbs(tt.n, tt.device)
			tt.cfg.Devices = devices
			inWatchedWorld(t, tt.cfg, func(w *world, air *airWatch) {
				if tt.policy != nil {
					tt.policy(&w.policy)
					w.restart()
				}
				data := w.downloading(devices, 12_000)
				stop := time.Now()
				w.stopService()
				if took := time.Since(stop); took > tt.most {
					t.Errorf("the stop took %v", took)
				}
				told := map[uint16]bool{}
				for _, wait := range air.since(stop) {
					told[wait.addr] = true
					if wait.seconds < 55 || wait.seconds > 60 {
						t.Errorf("0x%04x is to wait for %d s", wait.addr, wait.seconds)
					}
				}
				// Where answers are lost or refused, a device can be silent for longer than the stop waits. Not
				// all need to be told then, and one that was not may be suspected; all must end well all the same.
				lossless := tt.cfg.Faults.LoseAir == 0 && tt.cfg.Faults.Refuse == 0
				if len(told) == 0 || lossless && len(told) != tt.n {
					t.Errorf("%d of %d devices were told to wait", len(told), tt.n)
				}
				time.Sleep(tt.away)
				w.start()
				w.finish(devices, data)
				if lossless && w.said.has("has stopped asking") {
					t.Error("a device that waits was suspected")
				}
			})
		})
	}
}

// A stop with nobody to tell takes no time: nothing downloads, or who does waits already, or is silent.
func TestStopWithNobodyToTell(t *testing.T) {
	tests := map[string]struct {
		before func(w *world)
		most   time.Duration
	}{
		"nothing downloads": {before: func(w *world) { w.met(bulb) }},
		"a download has ended": {before: func(w *world) {
			upgraded(w, 3000)
			w.ended(time.Hour, bulb)
		}},
		"it is paused": {before: func(w *world) {
			w.pausedBulb(30_000)
			time.Sleep(10 * time.Second)
		}},
		"it is silent": {before: func(w *world) {
			upgraded(w, 30_000)
			w.within(time.Minute, "it downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
			w.sim.Device(bulb).PowerOff()
			time.Sleep(25 * time.Second)
		}},
		"the dongle is away": {before: func(w *world) {
			upgraded(w, 30_000)
			w.within(time.Minute, "it downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
			w.unplug()
			time.Sleep(time.Second)
		}},
		"it was switched off just now": {most: 6500 * time.Millisecond, before: func(w *world) {
			upgraded(w, 30_000)
			w.within(time.Minute, "it downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
			w.sim.Device(bulb).PowerOff()
			time.Sleep(time.Second)
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inWatchedWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world, _ *airWatch) {
				w.policy.QueryWatch = otasvc.WatchNever // its mode is taken back at the stop
				w.restart()
				tt.before(w)
				stop := time.Now()
				w.stopService()
				if took := time.Since(stop); took > tt.most {
					t.Errorf("the stop took %v", took)
				}
				w.plug()
				w.start()
			})
		})
	}
}

// A paused device that asks while the service is about to go is told to wait for as long as the others.
func TestPausedDeviceIsCoveredToo(t *testing.T) {
	devices := someBulbs(2, func(d *sim.DeviceConfig) { d.BlockInterval = 3 * time.Second })
	inWatchedWorld(t, sim.Config{Devices: devices}, func(w *world, air *airWatch) {
		data := w.downloading(devices, 12_000)
		paused := devices[0].IEEE
		if a := w.ask(func(r otasvc.Respond) { w.service.Pause(ref(paused), 0, r) }); a.Status != otasvc.Success {
			t.Fatalf("pause: %+v", a)
		}
		time.Sleep(300 * time.Millisecond)
		stop := time.Now()
		w.stopService()
		if told := air.since(stop); len(told) != 2 || told[0].seconds < 55 || told[1].seconds < 55 {
			t.Errorf("told %+v", told)
		}
		time.Sleep(40 * time.Second)
		w.start()
		if a := w.ask(func(r otasvc.Respond) { w.service.Resume(ref(paused), r) }); a.Status != otasvc.Success {
			t.Fatalf("resume: %+v", a)
		}
		w.finish(devices, data)
	})
}

// A crash costs the devices no more silence than the service needs to start.
func TestSilenceOfACrash(t *testing.T) {
	devices := someBulbs(4, nil)
	inWatchedWorld(t, sim.Config{Devices: devices}, func(w *world, air *airWatch) {
		data := w.downloading(devices, 60_000)
		for range 10 {
			w.crash(2 * time.Second)
			time.Sleep(20 * time.Second)
		}
		w.finish(devices, data)
		for addr, gap := range air.gap {
			if gap > time.Second { // of a request that was made while the dongle was there
				t.Errorf("0x%04x waited for %v for an answer", addr, gap)
			}
		}
	})
}

// Whatever happens in mid-download, a device that still asks for blocks is not offered its image.
func TestWhoAsksIsNotNotified(t *testing.T) {
	one := func(w *world) message.IEEE { return 0x000b57fffe000000 }
	tests := map[string]struct {
		cfg    sim.Config
		device func(*sim.DeviceConfig)
		policy func(*otasvc.Policy)
		happen func(w *world)
		times  int
	}{
		"the service crashes":          {happen: func(w *world) { w.crash(time.Second) }, times: 8},
		"a clean restart":              {happen: func(w *world) { w.stopService(); w.start() }, times: 3},
		"the dongle is pulled out":     {happen: func(w *world) { w.unplug(); time.Sleep(3 * time.Second); w.plug() }, times: 8},
		"the connection is cut":        {happen: func(w *world) { w.sim.Disconnect() }, times: 8},
		"it announces itself":          {happen: func(w *world) { w.sim.Device(one(w)).Announce() }, times: 8},
		"it has another address":       {happen: func(w *world) { w.sim.Device(one(w)).ChangeAddress(uint16(0x1000 + time.Now().Second())) }, times: 8},
		"it is paused and resumed":     {happen: func(w *world) { w.service.Pause(ref(one(w)), 5*time.Second, func(otasvc.Answer) {}) }, times: 4},
		"all devices are checked":      {happen: func(w *world) { w.service.CheckAll(func(otasvc.Answer) {}) }, times: 8},
		"it is checked":                {happen: func(w *world) { w.service.Check(ref(one(w)), nil, func(otasvc.Answer) {}) }, times: 8},
		"it is interviewed":            {happen: func(w *world) { w.service.Interview(ref(one(w)), func(otasvc.Answer) {}) }, times: 8},
		"another upgrade is asked":     {happen: func(w *world) { w.service.Upgrade(otasvc.UpgradeRequest{All: true}, func(otasvc.Answer) {}) }, times: 8},
		"a quarter is lost on the air": {cfg: sim.Config{Faults: sim.Faults{LoseAir: 0.25}}, device: func(d *sim.DeviceConfig) { d.Retries = 50 }},
		"it is slow": {
			device: func(d *sim.DeviceConfig) { d.BlockInterval = 18 * time.Second; d.RetryInterval = 15 * time.Second },
			happen: func(w *world) { w.crash(time.Second) }, times: 3,
		},
		"it is slower than the time-out": {
			device: func(d *sim.DeviceConfig) { d.BlockInterval = 35 * time.Second },
			policy: func(p *otasvc.Policy) { p.StallTimeout = 30 * time.Second; p.Retries = 100 },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			devices := someBulbs(3, tt.device)
			tt.cfg.Devices = devices
			inWatchedWorld(t, tt.cfg, func(w *world, _ *airWatch) {
				if tt.policy != nil {
					tt.policy(&w.policy)
					w.restart()
				}
				size := 60_000
				if devices[0].BlockInterval > time.Second {
					size = 3_000
				}
				data := w.downloading(devices, size)
				for range tt.times {
					tt.happen(w)
					time.Sleep(8 * time.Second)
				}
				for _, d := range devices {
					if u := w.ended(12*time.Hour, d.IEEE); u.State != upgrade.Succeeded {
						t.Errorf("%v: %s %s in attempt %d", d.IEEE, u.State, u.Reason, u.Attempt)
					}
					w.holds(d.IEEE, 2, data)
					if s := w.sim.Device(d.IEEE).Snapshot(); s.Sessions != 1 {
						t.Errorf("%v began %d times", d.IEEE, s.Sessions)
					}
				}
			})
		})
	}
}

// Crashes at any moment from the offer on: what the device had begun by then goes on.
func TestCrashAroundTheOffer(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 30 {
		at := time.Duration(random.Int64N(int64(3 * time.Second)))
		away := time.Duration(random.Int64N(int64(6 * time.Second)))
		t.Run(fmt.Sprintf("%v away %v", at, away), func(t *testing.T) {
			devices := someBulbs(2, func(d *sim.DeviceConfig) { d.Retries = 10 })
			inWatchedWorld(t, sim.Config{Devices: devices}, func(w *world, _ *airWatch) {
				var data []byte
				for _, d := range devices {
					w.met(d.IEEE)
					var url string
					url, data = w.image(d.ManufacturerCode, d.ImageType, 2, 6_000)
					w.add(d.IEEE, url)
					w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
				}
				time.Sleep(at)
				w.crash(away)
				w.finish(devices, data)
			})
		})
	}
}

// Who is cancelled and asked for anew in mid-download is told that the one is over before it is offered the other.
func TestCancelledAndAskedForAgain(t *testing.T) {
	devices := someBulbs(1, func(d *sim.DeviceConfig) { d.BlockInterval = 4 * time.Second })
	e := devices[0].IEEE
	inWatchedWorld(t, sim.Config{Devices: devices}, func(w *world, _ *airWatch) {
		data := w.downloading(devices, 6_000)
		w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(e), r) })
		w.queue(otasvc.UpgradeRequest{Device: ref(e)})
		if u := w.ended(time.Hour, e); u.State != upgrade.Succeeded {
			t.Errorf("%s %s", u.State, u.Reason)
		}
		w.holds(e, 2, data)
		if s := w.sim.Device(e).Snapshot(); s.Sessions != 2 {
			t.Errorf("it began %d times", s.Sessions)
		}
	})
}

// A device in the queue that goes on with what it had begun is served, not offered it again; one that only begins,
// because the dongle offers the image to everybody, waits for its turn.
func TestStrayRequestsInTheQueue(t *testing.T) {
	devices := someBulbs(2, nil)
	inWatchedWorld(t, sim.Config{Devices: devices}, func(w *world, _ *airWatch) {
		w.policy.Concurrency = 1
		w.restart()
		for _, d := range devices {
			w.met(d.IEEE)
			url, _ := w.image(d.ManufacturerCode, d.ImageType, 2, 60_000)
			w.add(d.IEEE, url)
			w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
		}
		first, second := devices[0].IEEE, devices[1].IEEE
		w.within(time.Minute, "the first downloads", func() bool { return w.sim.Device(first).Snapshot().Offset > 0 })
		w.sim.Device(second).Query()
		w.within(10*time.Second, "the second was refused", func() bool {
			s := w.sim.Device(second).Snapshot()
			return s.Sessions == 1 && s.State == sim.Idle
		})
		if u := w.sink.device(second).Upgrade; u.State != upgrade.Queued {
			t.Errorf("the second is %s", u.State)
		}
		time.Sleep(time.Minute)
		ask := func(offset uint32) {
			body := []byte{0x01, 0x77, airBlockRequest, 0}
			body = binary.LittleEndian.AppendUint16(body, devices[1].ManufacturerCode)
			body = binary.LittleEndian.AppendUint16(body, devices[1].ImageType)
			body = binary.LittleEndian.AppendUint32(body, 2)
			body = binary.LittleEndian.AppendUint32(body, offset)
			w.sim.Device(second).Transmit(sim.AirFrame{
				Profile: 0x0104, Cluster: message.ClusterOTA, SourceEndpoint: 1, DestinationEndpoint: 1, Payload: append(body, 50),
			})
			synctest.Wait()
		}
		ask(20_000)
		w.within(5*time.Second, "the second goes on", func() bool {
			u := w.sink.device(second).Upgrade
			return u.State == upgrade.Downloading && u.Offset == 20_000
		})
	})
}
