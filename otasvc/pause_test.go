package otasvc_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// pausedBulb begins an upgrade of the bulb and pauses it in mid-download.
func (w *world) pausedBulb(size int) (data []byte) {
	w.t.Helper()
	data = upgraded(w, size)
	w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
	if a := w.ask(func(r otasvc.Respond) { w.service.Pause(ref(bulb), 0, r) }); a.Status != otasvc.Success {
		w.t.Fatalf("pause: %+v", a)
	}
	return data
}

// A device that gives up while it is paused is tried again, but only when it may go on.
func TestPausedOverTheNextAttempt(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		data := w.pausedBulb(30_000)
		w.service.HandleMessage(message.UpgradeEndRequest{
			Addr: *w.sink.device(bulb).NetworkAddress, Endpoint: 1, FileVersion: 2, ImageType: 0x2201, ManufacturerCode: 0x117C, Status: message.OTAAbort,
		}, 100)
		time.Sleep(5 * time.Minute)
		if u := w.sink.device(bulb).Upgrade; u.State != upgrade.Paused || u.Attempt != 2 {
			t.Errorf("%s in attempt %d, want it paused before the second", u.State, u.Attempt)
		}
		if a := w.ask(func(r otasvc.Respond) { w.service.Resume(ref(bulb), r) }); a.Status != otasvc.Success {
			t.Errorf("resume: %+v", a)
		}
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
			t.Fatalf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
	})
}

// A device that was told to wait is silent until it asks again; a resume in between does not
// make that suspicious.
func TestResumedDeviceIsNotSuspected(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		data := w.pausedBulb(30_000)
		time.Sleep(62 * time.Second) // it has been told to wait for 30 s just now
		if a := w.ask(func(r otasvc.Respond) { w.service.Resume(ref(bulb), r) }); a.Status != otasvc.Success {
			t.Fatalf("resume: %+v", a)
		}
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
			t.Fatalf("ended %+v", u)
		}
		w.holds(bulb, 2, data)
		if w.said.has("has stopped asking") {
			t.Error("the device was suspected")
		}
	})
}
