package otasvc_test

import (
	"os"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// reached brings the bulb's upgrade into a state, and gives the request that does it.
var reached = map[upgrade.State]func(*otasvc.UpgradeRequest, *world){
	upgrade.Scheduled:   func(r *otasvc.UpgradeRequest, _ *world) { r.At = time.Now().Add(3 * time.Hour) },
	upgrade.Queued:      func(_ *otasvc.UpgradeRequest, w *world) { w.sim.Device(plug).SetPoll(time.Second) },
	upgrade.Notified:    nil,
	upgrade.Downloading: nil,
	upgrade.Paused:      nil,
	upgrade.Downloaded:  func(r *otasvc.UpgradeRequest, _ *world) { r.Install = upgrade.InstallHold },
	upgrade.Applying:    nil,
}

// TestEveryStateHasAWayOut brings an upgrade into each state, has each calamity befall it, and waits
// until it has ended.
func TestEveryStateHasAWayOut(t *testing.T) {
	forGood := []struct {
		name   string
		befall func(*world)
		// The reason that a state ends with, where it is not the general one.
		reason upgrade.Reason
		but    map[upgrade.State]upgrade.Reason
		within time.Duration
	}{
		{
			name: "the dongle is gone for ever", befall: (*world).unplug, within: 32 * 24 * time.Hour, reason: upgrade.ReasonDongleLost,
		},
		{
			name:   "the dongle is gone for ever, and the service is started again each day",
			befall: func(w *world) { w.unplug(); w.daily() }, within: 34 * 24 * time.Hour, reason: upgrade.ReasonDongleLost,
		},
		{
			name: "the device is gone for ever", befall: func(w *world) { w.sim.Device(bulb).PowerOff() },
			within: 32 * 24 * time.Hour, reason: upgrade.ReasonNoResponse,
			but: map[upgrade.State]upgrade.Reason{
				upgrade.Applying: upgrade.ReasonNotRejoined, upgrade.Downloaded: upgrade.ReasonCancelled,
			},
		},
		{
			name: "another dongle is there instead", befall: func(w *world) {
				w.service.HandleDisconnected(errUnplugged)
				w.service.HandleConnected(zigate.Info{Major: 3, Minor: 0x323, Firmware: "3.23", IEEE: 0x00158d0009999999, PANID: 0x7777, NetworkUp: true})
				w.sim.Device(bulb).PowerOff()
			},
			within: time.Hour * 32 * 24, reason: upgrade.ReasonDongleLost,
			but: map[upgrade.State]upgrade.Reason{upgrade.Scheduled: upgrade.ReasonNoResponse, upgrade.Queued: upgrade.ReasonNoResponse},
		},
	}
	for _, calamity := range forGood {
		for state, prepare := range reached {
			t.Run(calamity.name+", "+string(state), func(t *testing.T) {
				takesAMonth := state == upgrade.Queued || state == upgrade.Scheduled ||
					calamity.reason == upgrade.ReasonNoResponse && (state == upgrade.Paused || state == upgrade.Downloaded)
				if takesAMonth {
					long(t)
				}
				t.Parallel()
				cfg := bulbConfig(bulb)
				cfg.NeverReturns = state == upgrade.Applying
				cfg.SilentToNotify = state == upgrade.Notified
				inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg, plugConfig()}}, func(w *world) {
					w.reach(state, prepare)
					calamity.befall(w)
					u := w.ended(calamity.within, bulb)
					want := calamity.reason
					if r, ok := calamity.but[state]; ok {
						want = r
					}
					if u.Reason != want {
						t.Errorf("ended %s, reason %q; want %q", u.State, u.Reason, want)
					}
				})
			})
		}
	}
}

// long is for tests in which weeks pass, which takes seconds of real time, and with -race a minute.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("ZIGATE_OTA_TEST_LONG") == "" {
		t.Skip("weeks pass: set ZIGATE_OTA_TEST_LONG=1")
	}
}

// daily starts the service again once a day from now on, until the bulb's upgrade has ended.
func (w *world) daily() {
	for range 33 {
		time.Sleep(24 * time.Hour)
		if u := w.sink.device(bulb).Upgrade; u.State.Ended() {
			return
		}
		w.restart()
		time.Sleep(time.Minute)
	}
}

func (w *world) reach(state upgrade.State, prepare func(*otasvc.UpgradeRequest, *world)) {
	w.t.Helper()
	w.met(bulb)
	w.met(plug)
	url, _ := w.image(0x117C, 0x2201, 2, 12_000)
	w.add(bulb, url)
	if state == upgrade.Queued {
		other, _ := w.image(0x100B, 0x0112, 11, 12_000)
		w.add(plug, other)
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		w.within(time.Minute, "the plug downloads", func() bool { return w.stateOf(plug) == upgrade.Downloading })
	}
	req := otasvc.UpgradeRequest{Device: ref(bulb)}
	if prepare != nil {
		prepare(&req, w)
	}
	if a := w.queue(req); a.Status != otasvc.InProgress {
		w.t.Fatalf("%+v", a)
	}
	if state == upgrade.Paused {
		w.within(time.Minute, "it downloads", func() bool { return w.stateOf(bulb) == upgrade.Downloading })
		w.ask(func(r otasvc.Respond) { w.service.Pause(ref(bulb), 0, r) })
	}
	for begun := time.Now(); w.stateOf(bulb) != state; time.Sleep(10 * time.Millisecond) { // some pass quickly
		if time.Since(begun) > 10*time.Minute {
			w.t.Fatalf("it is not %s, but %s", state, w.stateOf(bulb))
		}
	}
}

// A dongle that comes back after hours finds everything as it was.
func TestDongleAwayForHours(t *testing.T) {
	for state, prepare := range reached {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			cfg := bulbConfig(bulb)
			cfg.Retries = 10_000
			cfg.RebootTime = time.Minute
			inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg, plugConfig()}}, func(w *world) {
				w.policy.Retries = 0
				w.restart()
				w.met(bulb)
				time.Sleep(time.Minute) // it has said all then
				w.reach(state, prepare)
				w.unplug()
				time.Sleep(2 * time.Hour)
				if u := w.sink.device(bulb).Upgrade; u.State.Ended() {
					t.Fatalf("ended %s, %q while the dongle was away", u.State, u.Reason)
				}
				w.plug()
				time.Sleep(2 * time.Minute)
				switch state {
				case upgrade.Paused:
					w.ask(func(r otasvc.Respond) { w.service.Resume(ref(bulb), r) })
				case upgrade.Downloaded:
					w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
				}
				if u := w.ended(5*time.Hour, bulb); u.State != upgrade.Succeeded {
					t.Errorf("ended %s, %q, attempt %d", u.State, u.Reason, u.Attempt)
				}
			})
		})
	}
}

// Sleeping devices of several images that are gone must not hand the slot to each other for ever.
func TestSleepersThatAreGoneEnd(t *testing.T) {
	long(t)
	t.Parallel()
	first, second := bulbConfig(bulb), plugConfig()
	first.Sleepy, second.Sleepy = true, true
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{first, second}}, func(w *world) {
		for e, url := range map[message.IEEE]func() (string, []byte){
			bulb: func() (string, []byte) { return w.image(0x117C, 0x2201, 2, 3000) },
			plug: func() (string, []byte) { return w.image(0x100B, 0x0112, 11, 3000) },
		} {
			w.met(e)
			file, _ := url()
			w.add(e, file)
		}
		w.sim.Device(bulb).PowerOff()
		w.sim.Device(plug).PowerOff()
		w.policy.Retries = 0
		w.restart()
		w.within(time.Minute, "both are known again", func() bool {
			defer w.sink.lock()()
			return len(w.sink.devices) == 2
		})
		for _, e := range []message.IEEE{bulb, plug} {
			w.queue(otasvc.UpgradeRequest{Device: ref(e)})
		}
		for _, e := range []message.IEEE{bulb, plug} {
			if u := w.ended(33*24*time.Hour, e); u.Reason != upgrade.ReasonNoResponse {
				t.Errorf("%v ended %s, %q", e, u.State, u.Reason)
			}
		}
	})
}

func TestHistory(t *testing.T) {
	inWorld(t, sim.Config{Firmware: sim.V2324, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		begun := time.Now()
		data := upgraded(w, 12_000)
		w.ended(time.Hour, bulb)
		for range 11 {
			if a := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Force: true}); a.Status != otasvc.InProgress {
				t.Fatalf("%+v", a)
			}
			w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) })
			if n := len(w.sink.device(bulb).History); n == 10 {
				break
			}
		}
		h := w.sink.device(bulb).History
		if len(h) != 10 || h[0].State != upgrade.Cancelled || h[0].Reason != upgrade.ReasonCancelled {
			t.Fatalf("%d entries, the newest %+v", len(h), h[0])
		}
		first := h[9]
		if first.State != upgrade.Succeeded || *first.ImageVersion != 2 || *first.OldImageVersion != 1 ||
			int(first.Bytes) != len(data) || int(first.Size) != len(data) || first.Attempts != 1 {
			t.Errorf("the first: %+v", first)
		}
		download := float64(len(data)) / float64(first.BytesPerSecond)
		if took := first.EndedAt.Sub(first.StartedAt).Seconds(); download < 5 || download > took {
			t.Errorf("%d bytes a second in a download of at most %.0f s", first.BytesPerSecond, took)
		}
		if first.QueuedAt.Before(begun) || first.StartedAt.Before(first.QueuedAt) || first.EndedAt.Before(first.StartedAt) {
			t.Errorf("times: %+v", first)
		}
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Force: true})
		w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) })
		w.restart()
		w.within(time.Minute, "it is known again", func() bool { return w.sink.device(bulb).History != nil })
		if h := w.sink.device(bulb).History; len(h) != 10 || h[9].State != upgrade.Cancelled {
			t.Errorf("after an eleventh and a restart: %d entries, the oldest %+v", len(h), h[len(h)-1])
		}
	})
}

func TestQueueIsFairAndShown(t *testing.T) {
	var devices []sim.DeviceConfig
	for i := range 4 {
		d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
		d.ImageType = uint16(0x2200 + i%2)
		devices = append(devices, d)
	}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		w.policy.Concurrency = 1
		w.restart()
		for _, i := range []int{2, 3, 1, 0} {
			d := devices[i]
			w.met(d.IEEE)
			url, _ := w.image(0x117C, d.ImageType, 2, 30_000)
			w.add(d.IEEE, url)
			w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
			time.Sleep(time.Second)
		}
		// The one of the loaded image joins in, then come those of the other image.
		w.queueIs(devices[0].IEEE, devices[3].IEEE, devices[1].IEEE)
		w.ended(time.Hour, devices[2].IEEE)
		time.Sleep(5 * time.Second)
		w.queueIs(devices[3].IEEE, devices[1].IEEE)
		for _, d := range devices {
			if u := w.ended(3*time.Hour, d.IEEE); u.State != upgrade.Succeeded {
				t.Errorf("%v ended %+v", d.IEEE, u)
			}
		}
		w.queueIs()
	})
}

func (w *world) queueIs(want ...message.IEEE) {
	w.t.Helper()
	defer w.sink.lock()()
	got := map[int]message.IEEE{}
	for euid, d := range w.sink.devices {
		if d.Queue != nil && d.Queue.Position > 0 {
			got[d.Queue.Position] = euid
		}
	}
	if len(got) != len(want) {
		w.t.Fatalf("%d wait, want %d: %v", len(got), len(want), got)
	}
	for i, euid := range want {
		if got[i+1] != euid {
			w.t.Errorf("at place %d is %v, want %v", i+1, got[i+1], euid)
		}
	}
}
