package otasvc_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// kept is what the state file holds of a device, besides what its record says.
type kept struct {
	EUID        message.IEEE `json:"euid"`
	PowerSource string       `json:"powerSource"`
	Battery     *uint8       `json:"battery"`
	Invalid     []string     `json:"invalid"`
}

// kept reads the state file, which must have been written.
func (w *world) kept(e message.IEEE) kept {
	w.t.Helper()
	b, err := os.ReadFile(w.stateFile())
	if err != nil {
		w.t.Fatal(err)
	}
	var state struct {
		Devices []kept `json:"devices"`
	}
	if err := json.Unmarshal(b, &state); err != nil {
		w.t.Fatal(err)
	}
	for _, d := range state.Devices {
		if d.EUID == e {
			return d
		}
	}
	w.t.Fatalf("%v is not in the state file", e)
	return kept{}
}

func TestInterviewLearnsEverything(t *testing.T) {
	battery := uint8(70)
	tests := map[string]struct {
		device  func(*sim.DeviceConfig)
		sleepy  bool
		power   string
		battery *uint8
	}{
		"mains":                  {func(*sim.DeviceConfig) {}, false, "mains", nil},
		"no power source":        {func(d *sim.DeviceConfig) { d.NoPowerSource = true }, false, "mains", nil},
		"battery":                {func(d *sim.DeviceConfig) { d.Sleepy, d.PollInterval, d.BatteryPercent = true, 4*time.Second, &battery }, true, "battery", &battery},
		"the OTA client is last": {func(d *sim.DeviceConfig) { d.Endpoint, d.OtherEndpoints = 11, []uint8{1, 2} }, false, "mains", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			tc.device(&cfg)
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				check := func(when string) {
					t.Helper()
					d := w.sink.device(bulb)
					if d.ModelID != cfg.ModelID || d.ManufacturerName != cfg.ManufacturerName || d.Endpoint != max(cfg.Endpoint, 1) ||
						d.Heard.Sleepy != tc.sleepy || d.CurrentVersion == nil || *d.CurrentVersion != cfg.FileVersion ||
						d.ManufacturerCode == nil || *d.ManufacturerCode != cfg.ManufacturerCode || d.ImageType == nil || *d.ImageType != cfg.ImageType {
						t.Errorf("%s: %+v", when, d)
					}
				}
				w.within(3*time.Minute, "the device is interviewed", func() bool { return w.said.has("a device was interviewed") })
				check("after the interview")
				w.stop()
				if k := w.kept(bulb); k.PowerSource != tc.power || (k.Battery == nil) != (tc.battery == nil) || k.Battery != nil && *k.Battery != *tc.battery {
					t.Errorf("kept %+v", k)
				}
				w.sim.Device(bulb).PowerOff() // so that nothing can be learnt anew
				w.start()
				w.within(time.Second, "its record is told", func() bool { return w.sink.device(bulb).EUID == bulb })
				check("after a restart")
			})
		})
	}
}

// TestInterviewIsGentle counts the questions under way while many devices are met.
func TestInterviewIsGentle(t *testing.T) {
	var devices []sim.DeviceConfig
	for i := range 40 {
		devices = append(devices, bulbConfig(bulb+message.IEEE(i)))
	}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		var mu sync.Mutex
		open := map[uint16]int{}
		most := 0
		questions := w.listen(message.SimpleDescriptorRequest{}.Type())
		w.losing(func(m message.Message) bool {
			if r, ok := m.(message.SimpleDescriptor); ok {
				mu.Lock()
				open[r.Addr]--
				mu.Unlock()
			}
			return false
		})
		w.within(10*time.Minute, "all are known", func() bool {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range questions.take() {
				open[m.(message.SimpleDescriptorRequest).Addr]++
			}
			under := 0
			for _, n := range open {
				under += max(n, 0)
			}
			most = max(most, under)
			for _, d := range devices {
				if w.sink.device(d.IEEE).CurrentVersion == nil {
					return false
				}
			}
			return true
		})
		if most > 3 {
			t.Errorf("%d interviews at a time", most)
		}
	})
}

// TestSleepingDeviceIsAskedWhenItWakes has a device whose parent never reaches it.
func TestSleepingDeviceIsAskedWhenItWakes(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.Sleepy, cfg.PollInterval = true, 24*time.Hour
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		time.Sleep(time.Minute)
		questions := func() uint64 {
			r := w.sim.Stats().Received
			return r[message.NodeDescriptorRequest{}.Type()] + r[message.ActiveEndpointsRequest{}.Type()] + r[message.ReadAttributes{}.Type()]
		}
		asleep := questions()
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		if n := questions() - asleep; n != 0 {
			t.Errorf("a sleeping device was asked %d times more", n)
		}
		// It wakes for a moment each minute, and says something.
		for range 10 {
			w.sim.Device(bulb).SetBattery(90)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if d := w.sink.device(bulb); d.ModelID != cfg.ModelID || d.CurrentVersion == nil {
			t.Errorf("not known after it woke: %+v", d)
		}
	})
}

// TestDevicesAreMetWhenHeard has devices that are in no list: what they say is all that there is.
func TestDevicesAreMetWhenHeard(t *testing.T) {
	tests := map[string]func(w *world, d *sim.Device){
		"announce": func(_ *world, d *sim.Device) { d.Announce() },
		"report":   func(_ *world, d *sim.Device) { d.SetBattery(50) },
		"query in hybrid mode": func(_ *world, d *sim.Device) {
			time.Sleep(2 * time.Minute)
			d.Query()
		},
		"any frame in hybrid mode": func(_ *world, d *sim.Device) {
			time.Sleep(2 * time.Minute)
			d.Transmit(sim.AirFrame{Profile: 0x0104, Cluster: 0x0006, SourceEndpoint: 1, DestinationEndpoint: 1, Payload: []byte{0x01, 0x05, 0x02}})
		},
		"announce in raw mode": func(w *world, d *sim.Device) {
			w.command(message.SetRawMode{Mode: message.RawModeRaw})
			d.Announce()
		},
		"query in raw mode": func(w *world, d *sim.Device) {
			w.command(message.SetRawMode{Mode: message.RawModeRaw})
			d.Query()
		},
	}
	for name, say := range tests {
		for _, firmware := range []sim.Firmware{sim.V131E, sim.V1323, sim.V2324} {
			t.Run(fmt.Sprint(name, " ", firmware), func(t *testing.T) {
				cfg := bulbConfig(bulb)
				cfg.Relays = 1 // no neighbour, so it is not listed
				inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
					time.Sleep(time.Second)
					say(w, w.sim.Device(bulb))
					w.within(3*time.Minute, "the device is known", func() bool {
						d := w.sink.device(bulb)
						return d.ModelID == cfg.ModelID && d.CurrentVersion != nil && d.NetworkAddress != nil
					})
				})
			})
		}
	}
}

// TestLostDescriptorIsAskedForAgain loses the one answer that tells where the OTA client is.
func TestLostDescriptorIsAskedForAgain(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.Endpoint, cfg.OtherEndpoints = 11, []uint8{1}
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		lost := 0
		w.losing(func(m message.Message) bool {
			r, ok := m.(message.SimpleDescriptor)
			if ok && r.Endpoint == 11 && lost == 0 {
				lost++
				return true
			}
			return false
		})
		w.within(5*time.Minute, "the OTA client is found", func() bool {
			d := w.sink.device(bulb)
			return d.Endpoint == 11 && d.CurrentVersion != nil
		})
		if lost != 1 {
			t.Fatal("nothing was lost")
		}
	})
}

// TestAbsentDeviceDoesNotHoldUpOthers has devices that are switched off.
func TestAbsentDeviceDoesNotHoldUpOthers(t *testing.T) {
	var devices []sim.DeviceConfig
	for i := range 12 {
		devices = append(devices, bulbConfig(bulb+message.IEEE(i)))
	}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		for _, d := range devices[:11] {
			w.sim.Device(d.IEEE).PowerOff()
		}
		w.within(2*time.Minute, "the one that is there is known", func() bool { return w.sink.device(devices[11].IEEE).CurrentVersion != nil })
		w.sim.Device(devices[3].IEEE).PowerOn()
		w.within(30*time.Second, "one that comes back is known", func() bool { return w.sink.device(devices[3].IEEE).CurrentVersion != nil })
	})
}

// TestSilentDeviceIsAskedAgain: all attempts at an interview are lost, and the device says nothing of its own
// accord. It is asked again, and ever more seldom as long as it does not answer.
func TestSilentDeviceIsAskedAgain(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		questions := w.listen(message.ActiveEndpointsRequest{}.Type())
		w.losing(func(m message.Message) bool {
			switch m.(type) {
			case message.DeviceList, message.Status, message.NetworkState, message.Version:
				return false // the dongle is heard, the device is not
			}
			return true
		})
		var asked []int // so many times a day
		for range 10 {
			time.Sleep(24 * time.Hour)
			asked = append(asked, len(questions.take()))
		}
		if first := asked[0]; first < 5 || first > 14 {
			t.Errorf("asked %d times on the first day; of all %v", first, asked)
		}
		// The longest backoff is a day, give or take a fifth: a single day may pass without a question.
		if last := asked[8] + asked[9]; last < 1 || last > 3 {
			t.Errorf("asked %d times on the last two days; of all %v", last, asked)
		}
		w.losing(func(message.Message) bool { return false })
		w.within(36*time.Hour, "the bulb is known", func() bool { return w.sink.device(bulb).CurrentVersion != nil })
	})
}

// TestAddressIsFollowedWithoutAnAnnounce: a device goes on under another address, and nobody says so.
func TestAddressIsFollowedWithoutAnAnnounce(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		data := upgraded(w, 30_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
		w.losing(func(m message.Message) bool { _, ok := m.(message.DeviceAnnounce); return ok })
		w.sim.Device(bulb).ChangeAddress(0x7777)
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
			t.Fatalf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
		if a := w.sink.device(bulb).NetworkAddress; a == nil || *a != 0x7777 {
			t.Errorf("network address %v", a)
		}
		if !w.said.has("has another network address") {
			t.Error("nothing was said of it")
		}
	})
}

// Who asks for an interview or a check gets an answer, also where the device sleeps and has
// been asked before.
func TestSleepingDeviceIsAskedOnRequest(t *testing.T) {
	requests := map[string]func(*world, otasvc.Respond){
		"interview": func(w *world, r otasvc.Respond) { w.service.Interview(ref(bulb), r) },
		"check":     func(w *world, r otasvc.Respond) { w.service.Check(ref(bulb), nil, r) },
		"check all": func(w *world, r otasvc.Respond) { w.service.CheckAll(r) },
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			cfg.Sleepy, cfg.PollInterval = true, 24*time.Hour
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				time.Sleep(time.Minute)
				a := w.ask(func(r otasvc.Respond) { request(w, r) })
				if len(a.CheckResults) == 1 && a.CheckResults[0].Status == otasvc.Failure {
					return
				}
				if a.Status != otasvc.Failure {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

// A device whose address goes to another one before its turn comes cannot be asked; who wants
// to know is told so.
func TestInterviewOfADeviceThatLostItsAddress(t *testing.T) {
	withRadio(t, nil, func(w *world, _ *script) {
		w.service.HandleConnected(zigate.Info{Firmware: "3.23", NetworkUp: true})
		for i := range 4 { // more than are interviewed at a time
			w.service.HandleMessage(message.DeviceAnnounce{Addr: 0x5000 + uint16(i), IEEE: plug + message.IEEE(i)}, 100)
		}
		synctest.Wait()
		a := w.ask(func(r otasvc.Respond) {
			w.service.Interview(ref(plug+3), r)
			w.service.HandleMessage(message.DeviceAnnounce{Addr: 0x5003, IEEE: plug + 4}, 100)
		})
		if a.Status != otasvc.Failure || a.Error == "" {
			t.Errorf("%+v", a)
		}
	})
}

// quietHome is a home of devices that say nothing of their own accord, behind a line of 115,200 baud.
func quietHome(firmware sim.Firmware, n int) sim.Config {
	cfg := sim.Config{Firmware: firmware, LineRate: 11520}
	for i := range n {
		d := bulbConfig(bulb + message.IEEE(i))
		d.Addr = uint16(0x1000 + 7*i)
		d.QueryInterval = -1
		cfg.Devices = append(cfg.Devices, d)
	}
	return cfg
}

// known reports how many devices have told who they are and what they run.
func (w *world) known(devices []sim.DeviceConfig) int {
	n := 0
	for _, c := range devices {
		d := w.sink.device(c.IEEE)
		if d.ManufacturerName == c.ManufacturerName && d.ModelID == c.ModelID && d.Endpoint != 0 && d.CurrentVersion != nil {
			n++
		}
	}
	return n
}

// TestQuietHomeIsKnown has homes whose list does not come whole: it is too long for the transmit queue of
// firmware v1, or damaged once. All of their devices are known soon all the same, whatever they do not say.
func TestQuietHomeIsKnown(t *testing.T) {
	for _, firmware := range []sim.Firmware{sim.V131C, sim.V1323, sim.V2324} {
		for name, tc := range map[string]struct {
			devices  int
			within   time.Duration
			lists    int  // that are lost
			noTable  bool // the dongle does not tell its table of neighbours
			watching bool

			longNames bool
		}{
			"8 devices":                {devices: 8, within: 10 * time.Second},
			"8, and the list is lost":  {devices: 8, within: 15 * time.Second, lists: 1},
			"40 with long names":       {devices: 40, within: 2 * time.Minute, longNames: true, watching: true},
			"40 devices":               {devices: 40, within: 2 * time.Minute},
			"40, and hybrid all along": {devices: 40, within: 2 * time.Minute, watching: true},
			"60 devices, and no list":  {devices: 60, within: 2 * time.Minute, lists: 1000},
			"40, and no table":         {devices: 40, within: 2 * time.Minute, lists: 1000, noTable: true},
			"40, hybrid, and no table": {devices: 40, within: 2 * time.Minute, lists: 1000, noTable: true, watching: true},
		} {
			t.Run(fmt.Sprint(firmware, " ", name), func(t *testing.T) {
				cfg := quietHome(firmware, tc.devices)
				for i := range cfg.Devices {
					if tc.longNames {
						cfg.Devices[i].ManufacturerName = strings.Repeat("maker-of-lamps.x", 2)
						cfg.Devices[i].ModelID = fmt.Sprintf("%-31d.", i)
					}
				}
				synctest.Test(t, func(t *testing.T) {
					cfg.Speed = 1
					w := &world{t: t, dir: t.TempDir(), policy: defaultPolicy()}
					if tc.watching {
						w.policy.QueryWatch = otasvc.WatchAlways
					}
					lists := 0
					w.losing(func(m message.Message) bool {
						switch m.(type) {
						case message.DeviceList:
							lists++
							return lists <= tc.lists
						case message.ManagementLQI:
							return tc.noTable
						}
						return false
					})
					w.run(cfg, func(w *world) {
						began := time.Now()
						w.within(tc.within, "all devices are known", func() bool { return w.known(cfg.Devices) == tc.devices })
						if !firmware.V2() && tc.devices > 8 && w.sim.Stats().OutputLost == 0 {
							t.Error("the dongle has lost nothing of what it said")
						}
						t.Logf("known after %v, %d bytes lost", time.Since(began).Round(time.Millisecond), w.sim.Stats().OutputLost)
					})
				})
			})
		}
	}
}
