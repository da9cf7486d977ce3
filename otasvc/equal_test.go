package otasvc_test

import (
	"cmp"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// There are products whose manufacturer code is 0xFFFF, which stands for any elsewhere. They get the images that have the
// same, and no other device does.
func TestManufacturerForAny(t *testing.T) {
	for name, firmware := range threeFirmwares {
		for kind, imageType := range map[string]uint16{"type 0x0000": 0, "type 0x00C8": 0xC8} {
			t.Run(name+", "+kind, func(t *testing.T) {
				cfg := bulbConfig(bulb)
				cfg.ManufacturerCode, cfg.ImageType = 0xFFFF, imageType
				other := bulbConfig(bulb2)
				other.ImageType = imageType
				inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg, other}}, func(w *world) {
					w.met(bulb)
					w.met(bulb2)
					url, data := w.image(0xFFFF, imageType, 2, 3_000)
					if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb2), URL: url, Force: true}); a.Reason != upgrade.ReasonImageValidationFailed {
						t.Errorf("of another device: %+v", a)
					}
					w.add(bulb, url)
					w.within(time.Second, "it is offered", func() bool { return w.sink.device(bulb).UpdateAvailable })
					if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Status != otasvc.InProgress {
						t.Fatalf("%+v", a)
					}
					if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
						t.Errorf("ended %+v", u)
					}
					w.holds(bulb, 2, data)
					if code := w.sink.device(bulb).ManufacturerCode; code == nil || *code != 0xFFFF {
						t.Errorf("its manufacturer code is %v", code)
					}
				})
			})
		}
	}
}

// A manufacturer code of 0xFFFF that only an attribute tells may be one that was never set: the device still takes what a
// person has chosen for it, and what it asks for in the end is what counts.
func TestManufacturerThatMayNotBeSet(t *testing.T) {
	inImageWorld(t, nil, func(w *imageWorld) {
		w.stop()
		w.forgetState()
		w.silent = true
		w.manufacturerCode = 0xFFFF
		w.start()
		if code := w.sink.device(bulb).ManufacturerCode; code == nil || *code != 0xFFFF {
			t.Errorf("its manufacturer code is %v", code)
		}
		if a := final(w.add(otasvc.AddImage{URL: w.file("a.ota", lampImage(2, nil))})); a.Status != otasvc.Success {
			t.Fatalf("%+v", a)
		}
		if !w.sink.device(bulb).UpdateAvailable {
			t.Error("what was added for it is not offered")
		}
		w.queried()
		w.attribute(message.AttrOTAManufacturer, 0xFFFF)
		time.Sleep(time.Second)
		if d := w.sink.device(bulb); *d.ManufacturerCode != 0x117C || !d.UpdateAvailable {
			t.Errorf("0x%04x, %v", *d.ManufacturerCode, d.UpdateAvailable)
		}
	})
}

// A file whose version is 0xFFFFFFFF is installed over whatever runs, by name and force. Whatever the device calls it
// afterwards is what it runs.
func TestVersionForAny(t *testing.T) {
	for name, firmware := range threeFirmwares {
		for kind, reports := range map[string]uint32{"tells that version": 0, "tells another one": 7} {
			t.Run(name+", "+kind, func(t *testing.T) {
				cfg := bulbConfig(bulb)
				cfg.FileVersion = 0x22010631
				cfg.ReportsVersion = reports
				inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
					w.met(bulb)
					url, data := w.image(0x117C, 0x2201, 0xFFFFFFFF, 3_000)
					w.add(bulb, url)
					if d := w.sink.device(bulb); d.UpdateAvailable || d.Offer != nil {
						t.Errorf("it is offered: %+v", d.Offer)
					}
					if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb)}); a.Reason != upgrade.ReasonImageInfoNotFound {
						t.Errorf("without its name: %+v", a)
					}
					version := uint32(0xFFFFFFFF)
					if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), ImageVersion: &version, Force: true}); a.Status != otasvc.InProgress {
						t.Fatalf("%+v", a)
					}
					u := w.ended(time.Hour, bulb)
					if u.State != upgrade.Succeeded || (u.RunningVersion != nil) != (reports != 0) {
						t.Errorf("ended %+v", u)
					}
					running := cmp.Or(reports, version)
					if d := w.sink.device(bulb); d.CurrentVersion == nil || *d.CurrentVersion != running {
						t.Errorf("it runs %v, not 0x%08x", d.CurrentVersion, running)
					}
					if got := w.sim.Device(bulb).Snapshot(); len(got.Installed) != len(data) {
						t.Errorf("%d bytes were installed", len(got.Installed))
					}
				})
			})
		}
	}
}
