package otasvc_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
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
			if u := w.ended(time.Minute, bulb); u.Reason != upgrade.ReasonInvalidImage {
				t.Fatalf("ended %+v", u)
			}
		}
		time.Sleep(time.Minute)
		if n := len(w.kept(bulb).Invalid); n != 1 {
			t.Errorf("it is in the state file %d times", n)
		}
	})
}

// TestRememberedVersion has a device run another version than the one that the state file tells, as when it
// was reset while the service was away: it is asked before its upgrade is refused.
func TestRememberedVersion(t *testing.T) {
	tests := map[string]struct {
		sleepy, deaf bool
		want         upgrade.Reason // of the refusal; none: it is upgraded
	}{
		"awake":           {},
		"sleeping":        {sleepy: true},
		"does not answer": {deaf: true, want: upgrade.ReasonUpToDate},
		"sleeps, is deaf": {sleepy: true, deaf: true, want: upgrade.ReasonUpToDate},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := bulbConfig(bulb)
			cfg.FileVersion, cfg.Sleepy = 1, tt.sleepy
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
				w.met(bulb)
				url, data := w.image(0x117C, 0x2201, 2, 2_000)
				w.add(bulb, url)
				w.stop()
				w.rewrite(`"currentVersion":1`, `"currentVersion":2`)
				if tt.deaf {
					w.sim.Device(bulb).PowerOff()
				}
				w.start()
				answers := make(chan otasvc.Answer, 8)
				w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(bulb)}, func(a otasvc.Answer) {
					if a.Status.Final() {
						answers <- a
					}
				})
				w.within(10*time.Minute, "it is queued or refused", func() bool { return len(answers) > 0 || w.sink.device(bulb).Upgrade != nil })
				var got upgrade.Reason
				if len(answers) > 0 {
					got = (<-answers).Reason
				}
				if got != tt.want {
					t.Fatalf("refused with %q, want %q", got, tt.want)
				}
				if tt.want == upgrade.NoReason {
					if u := w.ended(3*24*time.Hour, bulb); u.State != upgrade.Succeeded {
						t.Fatalf("ended %+v", u)
					}
					w.holds(bulb, 2, data)
				}
			})
		})
	}
}

// rewrite changes the state file.
func (w *world) rewrite(before, after string) {
	w.t.Helper()
	file := w.stateFile()
	b, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(before)) {
		w.t.Fatalf("there is no %s in %s", before, b)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(b, []byte(before), []byte(after)), 0o600); err != nil {
		w.t.Fatal(err)
	}
}
