package otasvc_test

import (
	"slices"
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

// inventoryHomes are the firmwares with which devices are asked who they are, each with what it can show.
var inventoryHomes = map[string]struct {
	firmware sim.Firmware
	watch    otasvc.QueryWatch
}{
	"v1 3.1c, which has no hybrid mode": {sim.V131C, otasvc.WatchIdle},
	"v1 3.23":                           {sim.V1323, otasvc.WatchIdle},
	"v2 3.24":                           {sim.V2324, otasvc.WatchIdle},
	"v1 3.1c, nothing is watched":       {sim.V131C, otasvc.WatchNever},
	"v1 3.23, nothing is watched":       {sim.V1323, otasvc.WatchNever},
	"v2 3.24, nothing is watched":       {sim.V2324, otasvc.WatchNever},
}

// inHomes runs a test with each of them.
func inHomes(t *testing.T, devices []sim.DeviceConfig, f func(w *world, air *notices)) {
	t.Helper()
	for name, home := range inventoryHomes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			air := &notices{}
			cfg := sim.Config{Firmware: home.firmware, Devices: devices, OnAir: air.hear}
			inWorld(t, cfg, func(w *world) {
				if w.policy.QueryWatch != home.watch {
					w.policy.QueryWatch = home.watch
					w.restart()
				}
				f(w, air)
			})
		})
	}
}

// notices are the Image Notify frames that went on air.
type notices struct {
	mu   sync.Mutex
	list []notice
}

type notice struct {
	at       time.Time
	addr     uint16
	endpoint uint8
	kind     byte
	jitter   byte
}

func (n *notices) hear(f sim.AirFrame) {
	const imageNotify = 0x00
	if !f.FromDongle || f.Cluster != message.ClusterOTA || len(f.Payload) < 5 || f.Payload[0]&3 != 1 || f.Payload[2] != imageNotify {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, notice{time.Now(), f.Addr, f.DestinationEndpoint, f.Payload[3], f.Payload[4]})
}

// take gives those that were heard since it was called last.
func (n *notices) take() []notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

// gentle checks that no more than 20 are heard in any minute, and 3 in any second.
func gentle(t *testing.T, list []notice) {
	t.Helper()
	for i, n := range list {
		if i >= 3 && n.at.Sub(list[i-3].at) < time.Second {
			t.Errorf("4 notifications within %v", n.at.Sub(list[i-3].at))
		}
		if i >= 20 && n.at.Sub(list[i-20].at) < time.Minute {
			t.Errorf("21 notifications within %v", n.at.Sub(list[i-20].at))
		}
		if n.kind != message.NotifyJitter || n.jitter != 100 {
			t.Errorf("notified with type %d, jitter %d", n.kind, n.jitter)
		}
	}
}

// quietConfig is a bulb that tells nothing by attributes, as many devices do, and whose hardware version is told by
// its queries alone.
func quietConfig(e message.IEEE, hardware uint16) sim.DeviceConfig {
	return quietly(bulbConfig(e), hardware)
}

// quietly has a device tell nothing by attributes.
func quietly(d sim.DeviceConfig, hardware uint16) sim.DeviceConfig {
	d.HardwareVersion = &hardware
	d.UnsupportedAttributes = []uint16{message.AttrOTAFileVersion, message.AttrOTAManufacturer, message.AttrOTAImageType}
	return d
}

// hasSaid reports whether a device of quietConfig has said who it is.
func (w *world) hasSaid(d sim.DeviceConfig) bool {
	r := w.sink.device(d.IEEE)
	return r.HardwareVersion != nil && *r.HardwareVersion == *d.HardwareVersion && r.CurrentVersion != nil && *r.CurrentVersion == d.FileVersion &&
		r.ManufacturerCode != nil && *r.ManufacturerCode == d.ManufacturerCode && r.ImageType != nil && *r.ImageType == d.ImageType
}

// In a larger home those of which nothing is known are asked first.
func TestUnknownOnesAreAskedFirst(t *testing.T) {
	var devices []sim.DeviceConfig
	for i := range 60 {
		d := bulbConfig(bulb + message.IEEE(i))
		if i%2 == 1 {
			d = quietConfig(d.IEEE, uint16(i))
		}
		d.Addr = uint16(0x1000 + i)
		devices = append(devices, d)
	}
	inHomes(t, devices, func(w *world, air *notices) {
		w.within(90*time.Second, "the quiet ones are known", func() bool {
			for i, d := range devices {
				if i%2 == 1 && !w.hasSaid(d) {
					return false
				}
			}
			return true
		})
		gentle(w.t.(*testing.T), air.take())
	})
}

// Devices that tell their version only when they look for an image are asked as gently once all have installed theirs.
func TestQuietOnesAreAskedGentlyAfterDownloads(t *testing.T) {
	var devices []sim.DeviceConfig
	for i := range 30 {
		d := quietConfig(bulb+message.IEEE(i), uint16(i))
		d.Addr = uint16(0x1000 + i)
		devices = append(devices, d)
	}
	inHomes(t, devices, func(w *world, air *notices) {
		url, _ := w.image(0x117C, 0x2201, 2, 20_000)
		for _, d := range devices {
			w.within(3*time.Minute, "it is known", func() bool { return w.hasSaid(d) })
			w.add(d.IEEE, url)
		}
		for _, d := range devices {
			w.accepted(d.IEEE, "")
		}
		all := func(states ...upgrade.State) func() bool {
			return func() bool {
				return !slices.ContainsFunc(devices, func(d sim.DeviceConfig) bool {
					return !slices.Contains(states, w.stateOf(d.IEEE))
				})
			}
		}
		w.within(2*time.Hour, "all have their image", all(upgrade.Applying, upgrade.Succeeded))
		air.take()
		w.within(5*time.Minute, "all run it", all(upgrade.Succeeded))
		gentle(w.t.(*testing.T), air.take())
	})
}

// A home is known 90 s after the start, each device asked once, and the dongle's raw mode is changed rarely. Then
// nobody is asked for most of a day, and all are asked again in the next one.
func TestHomeIsKnown(t *testing.T) {
	var devices []sim.DeviceConfig
	for i := range 30 {
		d := quietConfig(bulb+message.IEEE(i), uint16(i+1))
		d.Addr = uint16(0x1000 + i)
		if i%3 == 1 {
			d.Endpoint, d.OtherEndpoints = 11, []uint8{1}
		}
		devices = append(devices, d)
	}
	inHomes(t, devices, func(w *world, air *notices) {
		modes := w.listen(message.TypeSetRawMode)
		w.within(90*time.Second, "the home is known", func() bool {
			for _, d := range devices {
				if !w.hasSaid(d) {
					return false
				}
			}
			return true
		})
		time.Sleep(5 * time.Minute)
		list := air.take()
		gentle(w.t.(*testing.T), list)
		asked := map[uint16]int{}
		for _, n := range list {
			asked[n.addr]++
			if want := max(devices[n.addr-0x1000].Endpoint, 1); n.endpoint != want {
				w.t.Errorf("0x%04x is asked at endpoint %d, not %d", n.addr, n.endpoint, want)
			}
		}
		for addr, times := range asked {
			if times != 1 {
				w.t.Errorf("0x%04x was asked %d times", addr, times)
			}
		}
		time.Sleep(18 * time.Hour)
		if n := len(air.take()); n > 0 {
			w.t.Errorf("%d were asked again within 18 hours", n)
		}
		if n := len(modes.take()); n > 3 {
			w.t.Errorf("the raw mode was changed %d times", n)
		}
		time.Sleep(12 * time.Hour)
		list = air.take()
		gentle(w.t.(*testing.T), list)
		if len(list) != len(devices) {
			w.t.Errorf("%d of %d were asked again within 30 hours", len(list), len(devices))
		}
	})
}

// The same behind a line of 115,200 baud, on which firmware v1 loses what does not fit its transmit queue.
func TestHomeBehindALineIsKnown(t *testing.T) {
	for _, firmware := range []sim.Firmware{sim.V131C, sim.V1323, sim.V2324} {
		t.Run(firmware.String(), func(t *testing.T) {
			t.Parallel()
			cfg := quietHome(firmware, 40)
			air := &notices{}
			cfg.OnAir = air.hear
			for i := range cfg.Devices {
				cfg.Devices[i].HardwareVersion = ptr(uint16(i + 1))
			}
			inWorld(t, cfg, func(w *world) {
				w.within(90*time.Second, "the home is known", func() bool {
					for _, d := range cfg.Devices {
						if !w.hasSaid(d) {
							return false
						}
					}
					return true
				})
				gentle(t, air.take())
			})
		})
	}
}

// A restart asks nobody who has said lately who it is, and tells all the same.
func TestRestartAsksNobodyAnew(t *testing.T) {
	devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
	inHomes(t, devices, func(w *world, air *notices) {
		w.settled(2)
		w.restart()
		w.met(bulb)
		air.take()
		time.Sleep(10 * time.Minute)
		if n := len(air.take()); n > 0 {
			w.t.Errorf("%d were asked after the restart", n)
		}
	})
}

// A device that joins is known within a minute.
func TestNewDeviceIsKnown(t *testing.T) {
	inHomes(t, []sim.DeviceConfig{bulbConfig(bulb)}, func(w *world, air *notices) {
		time.Sleep(time.Hour)
		air.take()
		cfg := quietConfig(plug, 9)
		d, err := w.sim.AddDevice(cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		d.Announce()
		w.within(time.Minute, "it is known", func() bool { return w.hasSaid(cfg) })
		time.Sleep(5 * time.Minute)
		if n := len(air.take()); n != 1 {
			w.t.Errorf("%d notifications", n)
		}
	})
}

// One that sleeps, and whose parent does not reach it, is asked when it is heard.
func TestSleeperIsKnownWhenItIsHeard(t *testing.T) {
	cfg := quietConfig(bulb, 3)
	cfg.Sleepy, cfg.PollInterval = true, 24*time.Hour
	inHomes(t, []sim.DeviceConfig{cfg}, func(w *world, air *notices) {
		time.Sleep(time.Hour)
		if n := len(air.take()); n > 1 {
			w.t.Errorf("asked %d times while it slept", n)
		}
		w.sim.Device(bulb).SetBattery(70)
		w.within(time.Minute, "it is known", func() bool {
			w.sim.Device(bulb).SetBattery(70)
			return w.hasSaid(cfg)
		})
		air.take()
		for range 100 {
			time.Sleep(time.Minute)
			w.sim.Device(bulb).SetBattery(70)
		}
		if n := len(air.take()); n > 0 {
			w.t.Errorf("asked %d times more though it has said who it is", n)
		}
	})
}

// One that does not answer is asked ever more seldom.
func TestDeafDeviceIsAskedSeldom(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.SilentToNotify = true
	inHomes(t, []sim.DeviceConfig{cfg}, func(w *world, air *notices) {
		modes := w.listen(message.TypeSetRawMode)
		time.Sleep(24 * time.Hour)
		list := air.take()
		gentle(w.t.(*testing.T), list)
		if n := len(list); n < 5 || n > 10 {
			w.t.Errorf("asked %d times on the first day", n)
		}
		time.Sleep(10 * 24 * time.Hour)
		if n := len(air.take()); n < 7 || n > 14 {
			w.t.Errorf("asked %d times in ten days", n)
		}
		if n := len(modes.take()); n > 50 {
			w.t.Errorf("the raw mode was changed %d times", n)
		}
	})
}

// Nobody is asked while a device downloads, nor while an image header is loaded.
func TestNobodyIsAskedDuringDownloads(t *testing.T) {
	inHomes(t, []sim.DeviceConfig{bulbConfig(bulb)}, func(w *world, air *notices) {
		w.settled(1)
		upgraded(w, 100_000)
		w.within(5*time.Minute, "it downloads", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 1000 })
		air.take()
		cfg := quietConfig(plug, 9)
		d, err := w.sim.AddDevice(cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		d.Announce()
		w.within(time.Hour, "the download ends", func() bool { return !w.lastOf(bulb, otasvc.EventDownloadFinished).IsZero() })
		for _, n := range air.take() {
			if n.at.Before(w.lastOf(bulb, otasvc.EventDownloadFinished)) {
				w.t.Errorf("0x%04x was notified during the download", n.addr)
			}
		}
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
			w.t.Errorf("ended %+v", u)
		}
		w.within(2*time.Minute, "the new device is known", func() bool { return w.hasSaid(cfg) })
		if n := w.sim.Device(bulb).Snapshot().Sessions; n != 1 {
			w.t.Errorf("the bulb has begun %d times", n)
		}
	})
}

// An image that waits for a device that sleeps keeps nobody from being known: the slot is empty for a moment, and
// the sleeper gets its image when it wakes.
func TestNewDeviceIsKnownWhileAnImageWaits(t *testing.T) {
	sleeper := bulbConfig(bulb)
	sleeper.Sleepy = true
	inHomes(t, []sim.DeviceConfig{sleeper}, func(w *world, air *notices) {
		w.settled(1)
		w.sim.Device(bulb).SetPoll(24 * time.Hour)
		data := upgraded(w, 5_000)
		time.Sleep(time.Hour)
		if s := w.stateOf(bulb); s != upgrade.Notified {
			w.t.Fatalf("the sleeper is %s", s)
		}
		loads := w.listen(message.LoadImage{}.Type())
		cfg := quietConfig(plug, 9)
		d, err := w.sim.AddDevice(cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		d.Announce()
		w.within(time.Minute, "the new one is known", func() bool { return w.hasSaid(cfg) })
		other := quietConfig(bulb2, 8)
		if d, err = w.sim.AddDevice(other); err != nil {
			w.t.Fatal(err)
		}
		d.Announce()
		time.Sleep(time.Second)
		a := w.ask(func(r otasvc.Respond) { w.service.Interview(ref(bulb2), r) })
		if a.Status != otasvc.Success || !w.hasSaid(other) {
			w.t.Errorf("another one, which is interviewed: %+v", a)
		}
		time.Sleep(time.Hour)
		if n := len(loads.take()); n > 12 {
			w.t.Errorf("%d headers were loaded", n)
		}
		w.sim.Device(bulb).SetPoll(5 * time.Second)
		w.sim.Device(bulb).SetBattery(80)
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
			w.t.Errorf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
	})
}

// lastOf is when something happened to a device last; zero where it has not.
func (w *world) lastOf(e message.IEEE, name otasvc.EventName) (at time.Time) {
	defer w.sink.lock()()
	for _, event := range w.sink.events {
		if event.EUID == e && event.Name == name {
			at = event.Time
		}
	}
	return at
}

// After an upgrade the device is asked anew who it is: its maker's name and code, model and image type may be
// others.
func TestDeviceIsAskedAnewAfterItsUpgrade(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.Becomes = sim.Identity{
		ManufacturerName: "Lamps Ltd", ModelID: "TRADFRI bulb E27 v2", ManufacturerCode: 0x1234, ImageType: 0x2202,
	}
	inHomes(t, []sim.DeviceConfig{cfg}, func(w *world, air *notices) {
		w.settled(1)
		upgraded(w, 5_000)
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
			w.t.Fatalf("ended %+v", u)
		}
		air.take()
		w.within(2*time.Minute, "it has told what it has become", func() bool {
			d := w.sink.device(bulb)
			became := sim.Identity{
				ManufacturerName: d.ManufacturerName, ModelID: d.ModelID,
				ManufacturerCode: *d.ManufacturerCode, ImageType: *d.ImageType,
			}
			return became == cfg.Becomes
		})
		time.Sleep(time.Hour)
		if d := w.sink.device(bulb); len(d.OtherImages) > 0 {
			w.t.Errorf("what it was before is told as another image: %+v", d.OtherImages)
		}
		if n := len(air.take()); n > 1 {
			w.t.Errorf("%d notifications", n)
		}
	})
}

// A device that tells its version only when it looks for an image is upgraded while another one downloads for long: it is
// not given up, and what it runs is known when that can be seen.
func TestQuietDeviceIsUpgradedBesideOthers(t *testing.T) {
	quiet := quietConfig(bulb, 3)
	big := plugConfig()
	big.BlockInterval = 50 * time.Millisecond
	inHomes(t, []sim.DeviceConfig{quiet, big}, func(w *world, _ *notices) {
		w.within(2*time.Minute, "both are known", func() bool {
			return w.hasSaid(quiet) && w.sink.device(plug).CurrentVersion != nil
		})
		url, data := w.image(0x117C, 0x2201, 2, 10_000)
		other, otherData := w.image(0x100B, 0x0112, 11, 1_500_000)
		w.add(bulb, url)
		w.add(plug, other)
		w.accepted(bulb, "")
		time.Sleep(2 * time.Second)
		w.accepted(plug, "")
		w.within(time.Hour, "the plug downloads, and the quiet one installs", func() bool {
			return w.stateOf(plug) == upgrade.Downloading && w.stateOf(bulb) == upgrade.Applying
		})
		for _, e := range []message.IEEE{plug, bulb} {
			if u := w.ended(6*time.Hour, e); u.State != upgrade.Succeeded {
				w.t.Errorf("%v ended %s, reason %q", e, u.State, u.Reason)
			}
		}
		w.holds(bulb, 2, data)
		w.holds(plug, 11, otherData)
		if r := w.sink.device(bulb); r.CurrentVersion == nil || *r.CurrentVersion != 2 || r.UpdateAvailable {
			w.t.Errorf("the quiet one is said to run %v, update %t", r.CurrentVersion, r.UpdateAvailable)
		}
	})
}

// A device whose version is another one by itself is asked anew, whoever noticed, and also by a later life of the
// service.
func TestDeviceIsAskedAnewWhenItsVersionChanges(t *testing.T) {
	tests := map[string]func(w *world){
		"it asks for an image": func(w *world) { w.sim.Device(bulb).Query() },
		"it announces itself":  func(w *world) { w.sim.Device(bulb).Announce() },
		"it is checked":        func(w *world) { w.ask(func(r otasvc.Respond) { w.service.Check(ref(bulb), nil, r) }) },
		"a restart":            func(w *world) { w.restart() },
	}
	for name, notice := range tests {
		t.Run(name, func(t *testing.T) {
			inHomes(t, []sim.DeviceConfig{bulbConfig(bulb)}, func(w *world, _ *notices) {
				if w.policy.QueryWatch == otasvc.WatchNever && name == "it asks for an image" {
					return // nobody sees that
				}
				w.settled(1)
				questions := w.listen(message.NodeDescriptorRequest{}.Type())
				time.Sleep(2 * time.Minute)
				questions.take()
				w.sim.Device(bulb).Reflash(5)
				notice(w)
				if name == "a restart" {
					questions = w.listen(message.NodeDescriptorRequest{}.Type())
				}
				w.within(2*time.Minute, "it is interviewed anew", func() bool {
					v := w.sink.device(bulb).CurrentVersion
					return v != nil && *v == 5 && len(questions.take()) > 0
				})
			})
		})
	}
}

// A mains device that is deaf to notifications and asks by itself gets its image when it asks. That it is waited
// for is told.
func TestDeafDeviceGetsItsImageWhenItAsks(t *testing.T) {
	for name, firmware := range map[string]sim.Firmware{"3.1c": sim.V131C, "3.23": sim.V1323, "v2": sim.V2324} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := bulbConfig(bulb)
			cfg.SilentToNotify, cfg.QueryInterval = true, 10*time.Hour
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				w.met(bulb)
				w.within(25*time.Hour, "it has asked by itself", func() bool { return w.sim.Stats().QueriesRefused > 0 })
				time.Sleep(time.Hour)
				data := upgraded(w, 5_000)
				time.Sleep(time.Hour)
				d := w.sink.device(bulb)
				if d.Upgrade.State.Ended() || d.Queue == nil || d.Queue.WaitsFor != "device" {
					t.Errorf("after an hour: %+v, %+v", d.Upgrade, d.Queue)
				}
				if !w.said.has("it gets its image when it does so") {
					t.Error("that it is waited for is not told")
				}
				if u := w.ended(24*time.Hour, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
					t.Errorf("ended %+v", u)
				}
				w.holds(bulb, 2, data)
			})
		})
	}
}

// The same over a real TCP port, in real time. That the device asks by itself was seen before the service was
// started again: to see it takes longer than a test may.
func TestDeafDeviceOverTCP(t *testing.T) {
	for _, firmware := range firmwares {
		t.Run(firmware.String(), func(t *testing.T) {
			t.Parallel()
			cfg := bulbConfig(bulb)
			cfg.SilentToNotify, cfg.QueryInterval = true, -1
			policy := defaultPolicy()
			policy.NotifyInterval, policy.NotifyAttempts = 500*time.Millisecond, 2
			w := &world{t: t, dir: t.TempDir(), policy: policy, real: true, tcp: true}
			w.run(sim.Config{Firmware: firmware, Speed: 10, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				w.met(bulb)
				w.stop()
				w.editState(func(state map[string]any) {
					d := state["devices"].([]any)[0].(map[string]any)
					d["asksByItself"], d["noHardwareVersion"], d["queriedAt"] = true, true, time.Now().UTC()
				})
				w.start()
				data := upgraded(w, 5_000)
				w.within(time.Minute, "it is waited for", func() bool { return w.said.has("it gets its image when it does so") })
				if u := w.upgradeOf(bulb); u.State.Ended() {
					t.Fatalf("it is not waited for: %+v", u)
				}
				w.within(time.Minute, "it gets its image", func() bool {
					w.sim.Device(bulb).Query()
					return w.stateOf(bulb).Ended()
				})
				if u := w.upgradeOf(bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
					t.Errorf("ended %+v", u)
				}
				w.holds(bulb, 2, data)
			})
		})
	}
}

// A device that answers a notification with a ZCL status is left alone for a while: one that says failure is busy.
func TestRefusedNotification(t *testing.T) {
	tests := map[string]struct {
		status      uint8
		least, most time.Duration
	}{
		"success":             {0x00, 10 * time.Second, time.Minute},
		"failure: it is busy": {0x01, 5 * time.Minute, 20 * time.Minute},
		"unsupported":         {0x81, 12 * time.Hour, 36 * time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			withRadio(t, nil, func(w *world, radio *script) {
				w.service.HandleConnected(zigate.Info{Firmware: "3.23", Major: 4, Minor: 0x0323, NetworkUp: true})
				notify := func() int { return radio.count(message.TypeImageNotify) }
				w.within(2*time.Minute, "the bulb is asked who it is", func() bool { return notify() == 1 })
				payload := []byte{0x00, 1, 0x0B, 0x00, tt.status}
				w.service.HandleMessage(message.DataIndication{
					Profile: message.ProfileHomeAutomation, Cluster: message.ClusterOTA, SrcEndpoint: 1, DstEndpoint: 1,
					SrcAddrMode: message.AddrModeNetwork, SrcAddr: 0x4f4f, DstAddrMode: message.AddrModeNetwork, Payload: payload,
				}, 100)
				synctest.Wait()
				asked := time.Now()
				w.within(48*time.Hour, "it is asked again", func() bool { return notify() > 1 })
				if took := time.Since(asked); took < tt.least || took > tt.most {
					t.Errorf("asked again after %v", took)
				}
			})
		})
	}
}

// What nobody could see a device say, its block requests tell: in answer to the offer of an image that a person
// has chosen for it, it asks for blocks only where it is of that code and type.
func TestQuietDeviceIsKnownByItsBlockRequests(t *testing.T) {
	cfg := quietConfig(bulb, 3)
	inHomes(t, []sim.DeviceConfig{cfg}, func(w *world, _ *notices) {
		w.losing(func(m message.Message) bool {
			_, query := m.(message.DataIndication) // in no raw mode is anything shown
			return query
		})
		w.within(time.Minute, "it is met", func() bool { return w.sink.device(bulb).ModelID != "" })
		a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		const unsaid = "it has not said yet which manufacturer code"
		if a.Reason != upgrade.ReasonImageInfoNotFound || !strings.Contains(a.Error, unsaid) {
			w.t.Errorf("without an image: %+v", a)
		}
		if d := w.sink.device(bulb); d.ManufacturerCode != nil || d.ImageType != nil {
			w.t.Fatalf("it has told who it is: %+v", d)
		}
		url, data := w.image(cfg.ManufacturerCode, cfg.ImageType, 2, 5_000)
		if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: url}); a.Status != otasvc.InProgress {
			w.t.Fatalf("%+v", a)
		}
		w.within(10*time.Minute, "it asks for blocks", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 500 })
		d := w.sink.device(bulb)
		if d.ManufacturerCode == nil || *d.ManufacturerCode != cfg.ManufacturerCode ||
			d.ImageType == nil || *d.ImageType != cfg.ImageType {
			w.t.Errorf("its block requests have told %+v", d)
		}
		w.within(10*time.Minute, "its image is installed", func() bool { return w.sim.Device(bulb).Snapshot().Installs == 1 })
		w.holds(bulb, 2, data)
	})
}

// The same over a real TCP port, in real time, with a device that joins.
func TestInventoryOverTCP(t *testing.T) {
	devices := []sim.DeviceConfig{quietConfig(bulb, 7), quietConfig(bulb2, 8)}
	(&world{t: t, dir: t.TempDir(), policy: defaultPolicy(), real: true, tcp: true}).run(sim.Config{Devices: devices, Speed: 10}, func(w *world) {
		for _, d := range devices {
			w.within(90*time.Second, "it is known", func() bool { return w.hasSaid(d) })
		}
		joins := quietConfig(plug, 9)
		d, err := w.sim.AddDevice(joins)
		if err != nil {
			t.Fatal(err)
		}
		d.Announce()
		w.within(time.Minute, "the new one is known", func() bool { return w.hasSaid(joins) })
	})
}

// A device whose endpoints were not heard of in its first interview is asked for them again, and is not taken for one
// without an OTA client.
func TestEndpointsAreLostAtFirst(t *testing.T) {
	inHomes(t, []sim.DeviceConfig{plugConfig()}, func(w *world, _ *notices) {
		w.met(plug)
		until := time.Now().Add(2 * time.Minute)
		w.losing(func(m message.Message) bool {
			_, endpoints := m.(message.ActiveEndpoints)
			return endpoints && time.Now().Before(until)
		})
		cfg := quietConfig(bulb, 3)
		d, err := w.sim.AddDevice(cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		d.Announce()
		w.within(time.Hour, "it has said who it is", func() bool { return w.hasSaid(cfg) })
	})
}
