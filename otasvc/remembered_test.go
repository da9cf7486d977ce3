package otasvc_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// An image that a device calls invalid each time that it is forced on it is remembered once.
func TestInvalidImageIsRememberedOnce(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.InvalidAtEnd = true
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 2_000)
		w.add(bulb, url)
		for i := range 3 {
			w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Force: true})
			w.within(time.Hour, "it ends", func() bool { return len(w.sink.device(bulb).History) == i+1 })
			if u := w.ended(time.Minute, bulb); u.Reason != otasvc.ReasonInvalidImage {
				t.Fatalf("ended %+v", u)
			}
		}
		time.Sleep(time.Minute)
		if n := len(w.kept(bulb).Invalid); n != 1 {
			t.Errorf("it is in the state file %d times", n)
		}
	})
}
