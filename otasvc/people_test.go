package otasvc_test

import (
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// threeFirmwares are those that differ most.
var threeFirmwares = map[string]sim.Firmware{"3.1c": sim.V131C, "3.23": sim.V1323, "v2": sim.V2324}

// What a device says of its software for people is told with its record, and is another after an upgrade.
func TestSoftwareBuild(t *testing.T) {
	for name, firmware := range threeFirmwares {
		t.Run(name, func(t *testing.T) {
			silent := bulbConfig(bulb2)
			silent.NoSoftwareBuild = true
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb), silent}}, func(w *world) {
				w.within(2*time.Minute, "it has told its build", func() bool {
					return w.sink.device(bulb).ForPeople == otasvc.ForPeople{SoftwareBuild: "0.0.0.1", DateCode: "20240131"}
				})
				w.met(bulb2)
				url, data := w.image(0x117C, 0x2201, 2, 3_000)
				if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: url}); a.Status != otasvc.InProgress {
					t.Fatalf("%+v", a)
				}
				if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
					t.Errorf("ended %+v", u)
				}
				w.holds(bulb, 2, data)
				w.within(10*time.Minute, "it has told its new build", func() bool {
					return w.sink.device(bulb).ForPeople.SoftwareBuild == "0.0.0.2"
				})
				for _, d := range w.sink.recordsOf(bulb) {
					if build := d.ForPeople.SoftwareBuild; build != "" && !strings.HasSuffix(build, string(rune('0'+*d.CurrentVersion))) {
						t.Errorf("version %d was called %s", *d.CurrentVersion, build)
					}
				}
				if d := w.sink.device(bulb2); d.ForPeople != (otasvc.ForPeople{}) {
					t.Errorf("it tells nothing, and has %+v", d.ForPeople)
				}
				if !w.said.has(`fileVersion=0x00000002 running="0.0.0.1 (0x00000001)"`) {
					t.Error("the log does not say what it runs")
				}
				w.restart()
				w.within(time.Minute, "it is known after a restart", func() bool {
					return w.sink.device(bulb).ForPeople.SoftwareBuild == "0.0.0.2"
				})
			})
		})
	}
}

// A device that has another OTA server as its own is told so, with what to do; one that has none yet is not.
func TestOtherServer(t *testing.T) {
	const other message.IEEE = 0x00212effff00aabb
	for name, firmware := range threeFirmwares {
		t.Run(name, func(t *testing.T) {
			elsewhere := bulbConfig(bulb)
			elsewhere.UpgradeServer = other
			elsewhere.SilentToNotify = true
			none := bulbConfig(bulb2)
			none.UpgradeServer = 1<<64 - 1
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{elsewhere, none, plugConfig()}}, func(w *world) {
				w.met(bulb)
				w.met(bulb2)
				w.met(plug)
				w.within(time.Minute, "it is told", func() bool { return w.sink.device(bulb).ForPeople.OtherServer == other })
				for _, e := range []message.IEEE{bulb2, plug} {
					if d := w.sink.device(e); d.ForPeople.OtherServer != 0 {
						t.Errorf("%v is told to have %v", e, d.ForPeople.OtherServer)
					}
				}
				if n := strings.Count(w.said.String(), "has 0x00212effff00aabb as its OTA server"); n != 1 {
					t.Errorf("the log says it %d times", n)
				}
				url, _ := w.image(0x117C, 0x2201, 2, 3_000)
				a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: url})
				if a.Status != otasvc.InProgress || !strings.Contains(a.Error, "let it join again") {
					t.Errorf("%+v", a)
				}
				u := w.ended(24*time.Hour, bulb)
				if u.Reason != upgrade.ReasonNoResponse || !strings.Contains(u.Error, other.String()) {
					t.Errorf("ended %+v", u)
				}
			})
		})
	}
}
