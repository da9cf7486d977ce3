package otasvc_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

func TestQueriesTellTheHardwareVersion(t *testing.T) {
	hw := uint16(3)
	cfg := bulbConfig(bulb)
	cfg.HardwareVersion = &hw
	cfg.UnsupportedAttributes = []uint16{zigate.AttrOTAFileVersion, zigate.AttrOTAManufacturer, zigate.AttrOTAImageType}
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
		indications := func() uint64 { return w.sim.Stats().Sent[zigate.TypeDataIndication] }
		w.sim.Device(bulb).Query()
		w.within(10*time.Second, "hybrid mode shows queries", func() bool { return indications() > 0 })
		data := upgraded(w, 20_000)
		w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
		before := indications()
		w.within(time.Minute, "it goes on", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 15000 })
		if n := indications() - before; n != 0 {
			t.Errorf("%d data indications during the download", n)
		}
		if u := w.ended(10*time.Minute, bulb); u.State != otasvc.Succeeded {
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
	for name, firmware := range map[string]sim.Firmware{"3.23": sim.V1_323, "v2": sim.V2_324} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				w.policy.QueryWatch = otasvc.WatchAlways
				w.restart()
				data := upgraded(w, 8_000)
				if u := w.ended(10*time.Minute, bulb); u.State != otasvc.Succeeded {
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
				w.command(zigate.SetRawMode{Mode: zigate.RawModeRaw}) // as other software may
				w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
				w.within(time.Hour, "the new image is installed", func() bool { return w.sim.Device(bulb).Snapshot().FileVersion == 2 })
				w.holds(bulb, 2, data)
			})
		})
	}
}
