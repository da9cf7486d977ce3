package otasvc_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// an upgrade by pages through a v2 dongle.
func TestPagesOnV2(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.PageRequests, cfg.PageSize = true, 1024
	inWorld(t, sim.Config{Firmware: sim.V2324, Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		upgraded(w, 10_000)
		u := w.ended(2*time.Hour, bulb)
		if u.State != upgrade.Succeeded {
			t.Errorf("it runs version %d, and the upgrade ended %s, %s", w.sim.Device(bulb).Snapshot().FileVersion, u.State, u.Reason)
		}
	})
}
