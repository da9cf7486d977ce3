package otasvc_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// A device that stopped asking in mid-download, because the dongle lost its header without a word or
// because it restarted unheard, goes on within a minute and in the same attempt: it is not left to
// the stall time-out.
func TestSilenceInMidDownload(t *testing.T) {
	mishaps := map[string]func(w *world){
		"the dongle restarts without a word":     func(w *world) { w.sim.SilentReset() },
		"the connection and the header are lost": func(w *world) { w.sim.Disconnect(); w.sim.SilentReset() },
		"the device restarts, and its announce is lost": func(w *world) {
			w.losing(func(m message.Message) bool {
				_, is := m.(message.DeviceAnnounce)
				return is
			})
			w.sim.Device(bulb).PowerOff()
			time.Sleep(5 * time.Second)
			w.sim.Device(bulb).PowerOn()
		},
	}
	for name, mishap := range mishaps {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				data := upgraded(w, 12_000)
				w.within(time.Minute, "the download has begun", func() bool {
					u := w.sink.device(bulb).Upgrade
					return u != nil && u.Offset > 1000
				})
				mishap(w)
				u := w.ended(4*time.Minute, bulb)
				if u.State != upgrade.Succeeded || u.Attempt != 1 {
					t.Errorf("%s (%s) in attempt %d", u.State, u.Reason, u.Attempt)
				}
				w.holds(bulb, 2, data)
			})
		})
	}
}

// A device has installed its image, and neither its word that it has it nor its announce was heard. It is
// found out, whether there are further attempts or not.
func TestNobodyHeardThatItIsDone(t *testing.T) {
	for _, retries := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d retries", retries), func(t *testing.T) {
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				w.policy.Retries, w.policy.QueryWatch = retries, otasvc.WatchNever
				w.restart()
				data := upgraded(w, 12_000)
				w.within(time.Minute, "it downloads", func() bool { return w.stateOf(bulb) == upgrade.Downloading })
				once := retries == 0
				w.losing(func(m message.Message) bool {
					switch m := m.(type) {
					case message.UpgradeEndRequest, message.DeviceAnnounce:
						return true
					case message.Attribute: // not before there is another attempt
						return !once && m.Cluster == message.ClusterOTA && w.sink.device(bulb).Upgrade.Attempt == 1
					}
					return false
				})
				if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 && once {
					t.Errorf("ended %s, %q, attempt %d", u.State, u.Reason, u.Attempt)
				}
				w.holds(bulb, 2, data)
			})
		})
	}
}
