package otasvc_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

const (
	bulb  message.IEEE = 0x000b57fffec6a5b2
	bulb2 message.IEEE = 0x000b57fffec6a5b3
	bulb3 message.IEEE = 0x000b57fffec6a5b4
	plug  message.IEEE = 0x00178801aabbccdd
)

func bulbConfig(e message.IEEE) sim.DeviceConfig {
	return sim.DeviceConfig{
		IEEE: e, ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 1, ManufacturerName: "IKEA of Sweden",
		ModelID: "TRADFRI bulb E27", BlockInterval: 100 * time.Millisecond, MaxDataSize: 63,
	}
}

func plugConfig() sim.DeviceConfig {
	return sim.DeviceConfig{
		IEEE: plug, Endpoint: 11, ManufacturerCode: 0x100B, ImageType: 0x0112, FileVersion: 10, ManufacturerName: "Signify",
		ModelID: "LOM001", BlockInterval: 100 * time.Millisecond, MaxDataSize: 48,
	}
}

func TestUpgradeFromEndToEnd(t *testing.T) {
	for name, firmware := range map[string]sim.Firmware{
		"3.1c": sim.V131C, "3.1d": sim.V131D, "3.1e": sim.V131E, "3.23": sim.V1323, "v2 3.24": sim.V2324,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				w.met(bulb)
				url, data := w.image(0x117C, 0x2201, 2, 20_000)
				w.add(bulb, url)
				if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Ticket: upgrade.Ticket(`"one"`)}); a.Status != otasvc.InProgress {
					t.Fatalf("upgrade: %+v", a)
				}
				u := w.ended(10*time.Minute, bulb)
				if u.State != upgrade.Succeeded || u.Progress != 100 {
					t.Fatalf("upgrade ended %+v", u)
				}
				w.holds(bulb, 2, data)
				w.within(10*time.Second, "the final answer", func() bool { return len(w.sink.final("one")) == 1 })
				if a := w.sink.final("one")[0]; a.Status != otasvc.Success || *a.Operation.OldImageVersion != 2 {
					t.Errorf("final answer %+v", a)
				}
				want := []otasvc.EventName{
					otasvc.EventImageAdded, otasvc.EventImageNotified, otasvc.EventDownloadStarted, otasvc.EventDownloadFinished,
					otasvc.EventUpgradeApplying, otasvc.EventDeviceAnnounced, otasvc.EventUpgradeSucceeded,
				}
				if diff := cmp.Diff(want, w.sink.names(bulb)); diff != "" {
					t.Error("events (-want +got):", diff)
				}
				if n := w.sim.Stats().BlocksRefused(); n != 0 {
					t.Errorf("the dongle refused %d blocks", n)
				}
				// The header is taken back, so that no device is offered what it runs already.
				w.within(time.Minute, "the slot is empty", func() bool { return w.sink.info.Slot == nil })
			})
		})
	}
}

func TestTwoDevicesOfOneImageSideBySide(t *testing.T) {
	devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(bulb2)}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		url, data := w.image(0x117C, 0x2201, 2, 30_000)
		for _, e := range []message.IEEE{bulb, bulb2} {
			w.met(e)
			w.add(e, url)
		}
		for _, e := range []message.IEEE{bulb, bulb2} {
			w.queue(otasvc.UpgradeRequest{Device: ref(e)})
		}
		w.within(time.Minute, "both download", func() bool {
			a, b := w.sink.device(bulb).Upgrade, w.sink.device(bulb2).Upgrade
			return a != nil && b != nil && a.State == upgrade.Downloading && b.State == upgrade.Downloading
		})
		for _, e := range []message.IEEE{bulb, bulb2} {
			if u := w.ended(20*time.Minute, e); u.State != upgrade.Succeeded {
				t.Errorf("%v: %+v", e, u)
			}
			w.holds(e, 2, data)
		}
		if n := w.sim.Stats().BlocksRefused(); n != 0 {
			t.Errorf("the dongle refused %d blocks", n)
		}
	})
}

func TestDevicesOfTwoImagesOneAfterTheOther(t *testing.T) {
	devices := []sim.DeviceConfig{bulbConfig(bulb), plugConfig()}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		w.met(bulb)
		w.met(plug)
		bulbURL, bulbData := w.image(0x117C, 0x2201, 2, 30_000)
		plugURL, plugData := w.image(0x100B, 0x0112, 11, 30_000)
		w.add(bulb, bulbURL)
		w.add(plug, plugURL)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		w.within(time.Minute, "the first downloads, the second waits", func() bool {
			a, b := w.sink.device(bulb).Upgrade, w.sink.device(plug).Upgrade
			return a.State == upgrade.Downloading && b.State == upgrade.Queued
		})
		for _, e := range []message.IEEE{bulb, plug} {
			if u := w.ended(20*time.Minute, e); u.State != upgrade.Succeeded {
				t.Errorf("%v: %+v", e, u)
			}
		}
		w.holds(bulb, 2, bulbData)
		w.holds(plug, 11, plugData)
		if n := w.sim.Stats().BlocksRefused(); n != 0 {
			t.Errorf("the dongle refused %d blocks", n)
		}
	})
}
