package otasvc_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

func TestQueriesTellTheHardwareVersion(t *testing.T) {
	hw := uint16(3)
	cfg := bulbConfig(bulb)
	cfg.HardwareVersion = &hw
	cfg.UnsupportedAttributes = []uint16{message.AttrOTAFileVersion, message.AttrOTAManufacturer, message.AttrOTAImageType}
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		time.Sleep(2 * time.Minute) // idle long enough
		w.sim.Device(bulb).Query()
		w.within(10*time.Second, "what the query says is known", func() bool {
			d := w.sink.device(bulb)
			return d.HardwareVersion != nil && *d.HardwareVersion == 3 && d.CurrentVersion != nil && *d.CurrentVersion == 1 &&
				d.ManufacturerCode != nil && *d.ManufacturerCode == 0x117C && d.ImageType != nil && *d.ImageType == 0x2201
		})
	})
}

func TestRawModeIsOffDuringDownloadsAndAfterAStop(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		time.Sleep(2 * time.Minute)
		indications := func() uint64 { return w.sim.Stats().Sent[message.TypeDataIndication] }
		w.sim.Device(bulb).Query()
		w.within(10*time.Second, "hybrid mode shows queries", func() bool { return indications() > 0 })
		data := upgraded(w, 20_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
		before := indications()
		w.within(time.Minute, "it goes on", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 15000 })
		if n := indications() - before; n != 0 {
			t.Errorf("%d data indications during the download", n)
		}
		if u := w.ended(10*time.Minute, bulb); u.State != upgrade.Succeeded {
			t.Fatalf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
		time.Sleep(5 * time.Minute)
		w.stopService()
		before = indications()
		w.sim.Device(bulb).Query()
		time.Sleep(10 * time.Second)
		if n := indications() - before; n != 0 {
			t.Error("the dongle was left in hybrid mode")
		}
		w.start()
	})
}

func TestDownloadInHybridAndInRawMode(t *testing.T) {
	for name, firmware := range map[string]sim.Firmware{"3.23": sim.V1323, "v2": sim.V2324} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				w.policy.QueryWatch = otasvc.WatchAlways
				w.restart()
				data := upgraded(w, 8_000)
				if u := w.ended(10*time.Minute, bulb); u.State != upgrade.Succeeded {
					t.Fatalf("hybrid: ended %+v", u)
				}
				w.holds(bulb, 2, data)
				d := w.sim.Device(bulb).Snapshot()
				if asked, answered := w.sim.Stats().BlocksAsked, w.sim.Stats().BlocksAnswered; answered != asked || d.BlocksDropped != 0 {
					t.Errorf("%d blocks asked for, %d answered, %d dropped by the device", asked, answered, d.BlocksDropped)
				}
			})
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				w.policy.QueryWatch = otasvc.WatchNever
				w.restart()
				w.met(bulb)
				url, data := w.image(0x117C, 0x2201, 2, 8_000)
				w.add(bulb, url)
				w.command(message.SetRawMode{Mode: message.RawModeRaw}) // as other software may
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
				w.within(time.Hour, "the new image is installed", func() bool { return w.sim.Device(bulb).Snapshot().FileVersion == 2 })
				w.holds(bulb, 2, data)
			})
		})
	}
}

// TestQueryWakesAWaitingUpgrade has a sleeping device whose upgrade waits; it asks for an image once and
// listens for a moment, in which the header is loaded, the device notified and served.
func TestQueryWakesAWaitingUpgrade(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.Sleepy, cfg.PollInterval = true, 4*time.Second
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.met(bulb)
		w.sim.Device(bulb).SetPoll(24 * time.Hour) // from here on it only listens when it has said something
		time.Sleep(time.Minute)
		url, data := w.image(0x117C, 0x2201, 2, 10_000)
		w.add(bulb, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		time.Sleep(10 * time.Minute)
		if s := w.sim.Device(bulb).Snapshot(); s.Sessions != 0 {
			t.Fatal("it downloads while it sleeps")
		}
		w.sim.Device(bulb).Query()
		w.within(15*time.Second, "it downloads", func() bool { return w.sim.Device(bulb).Snapshot().Sessions == 1 })
		if u := w.ended(10*time.Minute, bulb); u.State != upgrade.Succeeded {
			t.Fatalf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
	})
}

// indicated is a request as a data indication shows it.
func indicated(req message.ImageBlockRequest) message.DataIndication {
	zcl := []byte{0x01, req.Sequence, 0x03, 0}
	zcl = binary.LittleEndian.AppendUint16(zcl, req.ManufacturerCode)
	zcl = binary.LittleEndian.AppendUint16(zcl, req.ImageType)
	zcl = binary.LittleEndian.AppendUint32(zcl, req.FileVersion)
	zcl = binary.LittleEndian.AppendUint32(zcl, req.Offset)
	return message.DataIndication{
		Profile: message.ProfileHomeAutomation, Cluster: message.ClusterOTA, SrcEndpoint: req.Endpoint, DstEndpoint: 1,
		SrcAddrMode: message.AddrModeNetwork, SrcAddr: req.Addr, DstAddrMode: message.AddrModeNetwork, Payload: append(zcl, req.MaxDataSize),
	}
}

// TestBlockIsServedOnce has one request come as a data indication, as a message, or as both in any order.
func TestBlockIsServedOnce(t *testing.T) {
	shown, told := "shown", "told"
	tests := map[string]struct {
		ways  []string
		apart time.Duration
	}{
		"as a message":                     {[]string{told}, 0},
		"as an indication":                 {[]string{shown}, 0},
		"both, indication first":           {[]string{shown, told}, 10 * time.Millisecond},
		"both, message first":              {[]string{told, shown}, 10 * time.Millisecond},
		"both, message late":               {[]string{shown, told}, 500 * time.Millisecond},
		"both, indication late":            {[]string{told, shown}, 500 * time.Millisecond},
		"the indication twice":             {[]string{shown, shown}, 10 * time.Millisecond},
		"the indication twice, some later": {[]string{shown, shown}, 500 * time.Millisecond},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			withRadio(t, nil, func(w *world, radio *script) {
				request := offered(w)
				blocks := func(sequence uint8) int {
					before, served := radio.count(message.ImageBlockResponse{}.Type()), 0
					for _, way := range tc.ways {
						req := request(sequence, 50*uint32(sequence))
						if way == shown {
							w.service.HandleMessage(indicated(req), 100)
						} else if len(w.service.HandleBlockRequest(&req, nil)) > 0 {
							served++
						}
						time.Sleep(tc.apart)
					}
					time.Sleep(time.Second + time.Millisecond)
					synctest.Wait()
					return served + radio.count(message.ImageBlockResponse{}.Type()) - before
				}
				for sequence := range uint8(20) {
					if n := blocks(sequence); n != 1 {
						t.Fatalf("request %d was answered %d times", sequence, n)
					}
				}
			})
		})
	}
}

// TestRawModeIsRestored stops the service while the dongle is, or may be, in hybrid mode.
func TestRawModeIsRestored(t *testing.T) {
	tests := map[string]func(radio *script){
		"hybrid": func(*script) {},
		"on the way to hybrid": func(radio *script) {
			radio.answers[message.TypeSetRawMode] = func(done func(message.Status, error)) {
				time.AfterFunc(500*time.Millisecond, func() { done(message.Status{}, nil) })
			}
		},
		"perhaps, for the status was lost": func(radio *script) {
			first := true
			radio.answers[message.TypeSetRawMode] = func(done func(message.Status, error)) {
				if first {
					first = false
					done(message.Status{}, zigate.ErrNoAnswer)
					return
				}
				done(message.Status{}, nil)
			}
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			withRadio(t, nil, func(w *world, radio *script) {
				prepare(radio)
				w.service.HandleConnected(zigate.Info{Firmware: "3.23", NetworkUp: true})
				w.within(2*time.Minute, "the raw mode is set", func() bool { return radio.count(message.TypeSetRawMode) > 0 })
				w.stop()
				if mode := radio.lastMode(); mode != message.RawModeOff {
					t.Errorf("the dongle was left in raw mode %d", mode)
				}
			})
		})
	}
}

// TestUnansweredEndpoint has a device that took another endpoint of the dongle for its OTA server.
func TestUnansweredEndpoint(t *testing.T) {
	tests := []struct {
		firmware sim.Firmware
		endpoint uint8
		deaf     bool
	}{
		{sim.V1323, 1, false}, {sim.V1323, 3, false}, {sim.V1323, 11, true}, {sim.V2324, 3, true}, {sim.V2324, 11, true},
	}
	for _, tc := range tests {
		t.Run(fmt.Sprintf("%v endpoint %d", tc.firmware, tc.endpoint), func(t *testing.T) {
			cfg := bulbConfig(bulb)
			cfg.ServerEndpoint = tc.endpoint
			inWorld(t, sim.Config{Firmware: tc.firmware, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				w.policy.NotifyAttempts, w.policy.Retries = 3, 0
				w.restart()
				w.met(bulb)
				time.Sleep(2 * time.Minute)
				w.sim.Device(bulb).Query()
				time.Sleep(time.Second)
				synctest.Wait()
				if said := w.said.has(fmt.Sprintf("endpoint %d of the dongle", tc.endpoint)); said != tc.deaf {
					t.Errorf("said: %t, want %t", said, tc.deaf)
				}
				upgraded(w, 2_000)
				u := w.ended(time.Hour, bulb)
				a := w.sink.final("t")
				if failed := u.Reason == upgrade.ReasonNoResponse; failed != tc.deaf || len(a) != 1 {
					t.Fatalf("ended %+v, answered %+v", u, a)
				}
				if tc.deaf && !strings.Contains(a[0].Error, "cannot answer them") {
					t.Errorf("the answer does not say why: %s", a[0].Error)
				}
			})
		})
	}
}
