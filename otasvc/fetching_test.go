package otasvc_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// asks asks for an upgrade, and notes the answers that come by the way of the request.
func (w *world) asks(req otasvc.UpgradeRequest) func() []otasvc.Answer {
	var mu sync.Mutex
	var answers []otasvc.Answer
	w.service.Upgrade(req, func(a otasvc.Answer) {
		mu.Lock()
		defer mu.Unlock()
		answers = append(answers, a)
	})
	return func() []otasvc.Answer {
		mu.Lock()
		defer mu.Unlock()
		return append([]otasvc.Answer(nil), answers...)
	}
}

// fetching waits until the image of a device's upgrade is being fetched, and so much of it is there.
func (w *world) fetching(e message.IEEE, percent float64) upgrade.Record {
	w.t.Helper()
	w.within(5*time.Minute, fmt.Sprintf("%v percent are fetched", percent), func() bool {
		u := w.upgradeOf(e)
		return u.State == upgrade.Fetching && u.Progress >= percent
	})
	return w.upgradeOf(e)
}

// An upgrade whose image has to be fetched is there from the first moment, with the progress of the file, counts as
// under way and not as queued, and goes on as any other.
func TestFetchingIsShown(t *testing.T) {
	for _, firmware := range firmwares {
		t.Run(firmware.String(), func(t *testing.T) {
			t.Parallel()
			cfg := sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}
			inWebWorld(t, cfg, func(w *world, web *slowWeb) {
				w.met(bulb)
				data := bulbImage(2, 3_000)
				url := web.put("/a.ota", data, 100*time.Second)
				answers := w.asks(otasvc.UpgradeRequest{Device: ref(bulb), URL: url, Ticket: upgrade.Ticket(`"x"`)})

				first := w.fetching(bulb, 0)
				if first.ImageVersion != nil || first.StartedAt != (time.Time{}) || first.Attempt != 1 {
					t.Errorf("at first the record is %+v", first)
				}
				middle := w.fetching(bulb, 50)
				if middle.Size != uint32(len(data)) || middle.Offset < middle.Size/2 || !middle.QueuedAt.Equal(first.QueuedAt) {
					t.Errorf("half-way it is %+v", middle)
				}
				if info := w.info(); info.Active != 1 || info.Queued != 0 || w.sink.device(bulb).Queue != nil {
					t.Errorf("it counts as %+v", info)
				}
				second := w.ask(func(r otasvc.Respond) { w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(bulb)}, r) })
				if second.Reason != upgrade.ReasonAlreadyQueued {
					t.Errorf("a second request: %+v", second)
				}
				paused := w.ask(func(r otasvc.Respond) { w.service.Pause(ref(bulb), 0, r) })
				if paused.Status != otasvc.Failure || !strings.Contains(paused.Error, "is still being fetched") {
					t.Errorf("a pause: %+v", paused)
				}
				if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
					t.Fatalf("ended %+v", u)
				}
				w.holds(bulb, 2, data)
				w.toldWell(bulb, 50)
				if a := w.sink.final("x"); len(a) != 1 || a[0].Status != otasvc.Success {
					t.Errorf("the final answers are %+v", a)
				}
				for i, a := range answers() {
					if a.Status != otasvc.InProgress || i == 0 && !a.Kept {
						t.Errorf("answer %d is %+v", i, a)
					}
				}
			})
		})
	}
}

// toldWell holds the records that were told while an image was fetched against the rules for progress: so many at
// least, ever more, and once a second at most.
func (w *world) toldWell(e message.IEEE, least int) {
	w.t.Helper()
	told := 0
	var last upgrade.Record
	for _, d := range w.sink.recordsOf(e) {
		if d.Upgrade == nil || d.Upgrade.State != upgrade.Fetching {
			continue
		}
		if d.Upgrade.Progress < last.Progress {
			w.t.Errorf("progress goes back from %v to %v", last.Progress, d.Upgrade.Progress)
		}
		if d.Upgrade.Progress > last.Progress {
			told++
		}
		last = *d.Upgrade
	}
	if told < least || told > 101 {
		w.t.Errorf("progress was told %d times", told)
	}
}

// What comes of a fetch that is in vain, with every firmware: an upgrade that failed, or the answer alone, and then
// the record has what it had before.
func TestFetchesInVain(t *testing.T) {
	three, four := uint16(3), uint16(4)
	limited := otafile.Build(otafile.Header{
		ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 2, MinHardwareVersion: &three, MaxHardwareVersion: &four,
	}, make([]byte, 1_000))
	for name, tt := range map[string]struct {
		data   []byte // nil: there is nothing
		sha256 string
		reason upgrade.Reason
		says   string
		unseen bool
	}{
		"404":               {nil, "", upgrade.ReasonImageAccessFailed, "404", false},
		"wrong digest":      {bulbImage(2, 1_000), strings.Repeat("00", 32), upgrade.ReasonImageValidationFailed, "SHA-256", false},
		"no image":          {[]byte("<html>no such file</html>"), "", upgrade.ReasonImageValidationFailed, "", false},
		"for other devices": {otafile.Build(otafile.Header{ManufacturerCode: 1, ImageType: 2, FileVersion: 2}, nil), "", upgrade.ReasonImageValidationFailed, "does not fit", false},
		"other hardware":    {limited, "", upgrade.ReasonHardwareMismatch, "from 3 to 4", false},
		"older":             {bulbImage(0, 1_000), "", upgrade.ReasonDowngradeRefused, "older", false},
		"up to date":        {bulbImage(1, 1_000), "", upgrade.ReasonUpToDate, "already runs", true},
	} {
		for _, firmware := range firmwares {
			t.Run(name+", "+firmware.String(), func(t *testing.T) {
				t.Parallel()
				cfg := bulbConfig(bulb)
				one := uint16(1)
				cfg.HardwareVersion = &one
				inWebWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{cfg}}, func(w *world, web *slowWeb) {
					w.met(bulb)
					time.Sleep(2 * time.Minute)
					w.sim.Device(bulb).Query() // and tells its hardware version
					time.Sleep(10 * time.Second)
					before := w.queue(otasvc.UpgradeRequest{Device: ref(bulb), URL: "file:///nothing.ota"})
					if before.Reason != upgrade.ReasonImageAccessFailed {
						t.Fatalf("%+v", before)
					}
					was := w.upgradeOf(bulb)
					time.Sleep(10 * time.Second)

					url := "http://example.com/a.ota"
					if tt.data != nil {
						web.put("/a.ota", tt.data, 20*time.Second)
					}
					w.asks(otasvc.UpgradeRequest{Device: ref(bulb), URL: url, SHA256: tt.sha256, Ticket: upgrade.Ticket(`"x"`)})
					if tt.data != nil {
						w.fetching(bulb, 10)
					}
					w.within(2*time.Minute, "there is an answer", func() bool { return len(w.sink.final("x")) > 0 })
					time.Sleep(time.Minute)
					a := w.sink.final("x")
					if len(a) != 1 || a[0].Status != otasvc.Failure || a[0].Reason != tt.reason || !strings.Contains(a[0].Error, tt.says) {
						t.Errorf("answered %+v", a)
					}
					events, history := 2, 2
					if tt.unseen {
						events, history = 1, 1
					}
					failed := 0
					for _, name := range w.sink.names(bulb) {
						if name == otasvc.EventUpgradeFailed {
							failed++
						}
					}
					u := w.upgradeOf(bulb)
					if failed != events || len(w.sink.device(bulb).History) != history || tt.unseen != u.QueuedAt.Equal(was.QueuedAt) {
						t.Errorf("%d events, the record has %+v and was %+v", failed, u, was)
					}
					if !tt.unseen && (u.State != upgrade.Failed || u.Reason != tt.reason || u.Offset != 0 || u.Error != a[0].Error) {
						t.Errorf("the record has %+v", u)
					}
					w.restart()
					w.within(time.Minute, "the record is told again", func() bool { return w.upgradeOf(bulb).State != "" })
					if again := w.upgradeOf(bulb); again.Error != u.Error || again.Reason != u.Reason || len(w.sink.final("x")) != 0 {
						t.Errorf("after a restart the record has %+v, and there are %+v", again, w.sink.final("x"))
					}
				})
			})
		}
	}
}

// Whoever ends an upgrade whose image is being fetched has the fetch given up, unless another device waits for the
// same image.
func TestFetchIsEnded(t *testing.T) {
	const other = bulb + 1
	yes := true
	end := map[string]func(*world, otasvc.Respond){
		"cancel":     func(w *world, r otasvc.Respond) { w.service.Cancel(ref(bulb), r) },
		"cancel all": func(w *world, r otasvc.Respond) { w.service.CancelAll(r) },
		"forget":     func(w *world, r otasvc.Respond) { w.service.Forget(ref(bulb), r) },
		"exclude": func(w *world, r otasvc.Respond) {
			w.service.Configure(ref(bulb), func(set needs.Settings) needs.Settings { set.Excluded = &yes; return set }, r)
		},
	}
	for name, by := range end {
		for _, alone := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, alone: %v", name, alone), func(t *testing.T) {
				t.Parallel()
				devices := []sim.DeviceConfig{bulbConfig(bulb), bulbConfig(other)}
				inWebWorld(t, sim.Config{Devices: devices}, func(w *world, web *slowWeb) {
					w.met(bulb)
					w.met(other)
					data := bulbImage(2, 3_000)
					url := web.put("/a.ota", data, 60*time.Second)
					w.asks(otasvc.UpgradeRequest{Device: ref(bulb), URL: url, Ticket: upgrade.Ticket(`"x"`)})
					w.fetching(bulb, 20)
					if !alone {
						w.asks(otasvc.UpgradeRequest{Device: ref(other), URL: url, Ticket: upgrade.Ticket(`"y"`)})
						if u := w.fetching(other, 20); u.Size != uint32(len(data)) {
							t.Errorf("who comes later sees %+v", u)
						}
					}
					if a := w.ask(func(r otasvc.Respond) { by(w, r) }); a.Status != otasvc.Success {
						t.Errorf("%+v", a)
					}
					time.Sleep(2 * time.Second)
					if a := w.sink.final("x"); len(a) != 1 || a[0].Reason != upgrade.ReasonCancelled {
						t.Errorf("answered %+v", a)
					}
					if u := w.upgradeOf(bulb); name != "forget" && (u.State != upgrade.Cancelled || u.Reason != upgrade.ReasonCancelled) {
						t.Errorf("the record has %+v", u)
					}
					asked, givenUp := web.counts("/a.ota")
					goesOn := !alone && name != "cancel all"
					if asked != 1 || (givenUp == 0) != goesOn {
						t.Errorf("asked for %d times, given up %d times", asked, givenUp)
					}
					time.Sleep(5 * time.Minute)
					if goesOn {
						if u := w.ended(time.Hour, other); u.State != upgrade.Succeeded {
							t.Errorf("the other one: %+v", u)
						}
						w.holds(other, 2, data)
					}
					if asked, _ := web.counts("/a.ota"); asked != 1 || len(w.sink.final("x")) != 1 {
						t.Errorf("asked for %d times, answered %+v", asked, w.sink.final("x"))
					}
				})
			})
		}
	}
}

// A registration that is taken back ends the upgrade that fetches its image anew.
func TestRemovedWhileFetching(t *testing.T) {
	inWebWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world, web *slowWeb) {
		w.met(bulb)
		url := web.put("/a.ota", bulbImage(2, 3_000), 30*time.Second)
		w.add(bulb, url)
		w.asks(otasvc.UpgradeRequest{Device: ref(bulb), URL: url})
		w.fetching(bulb, 20)
		if a := w.ask(func(r otasvc.Respond) { w.service.RemoveImage(ref(bulb), 0x2201, r) }); a.Status != otasvc.Success {
			t.Errorf("%+v", a)
		}
		if u := w.ended(time.Minute, bulb); u.State != upgrade.Cancelled || u.Reason != upgrade.ReasonImageRemoved {
			t.Errorf("%+v", u)
		}
	})
}

// An upgrade whose image is being fetched outlives the process, whoever asked for it: it goes on with the fetch, and
// is answered once. What was asked for is not done twice where it is asked again by who kept it.
func TestFetchingOutlivesTheProcess(t *testing.T) {
	for name, restart := range map[string]func(*world){
		"killed":  func(w *world) { w.crash(10 * time.Second) },
		"stopped": func(w *world) { w.restart() },
	} {
		for _, firmware := range firmwares {
			t.Run(name+", "+firmware.String(), func(t *testing.T) {
				t.Parallel()
				cfg := sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}
				inWebWorld(t, cfg, func(w *world, web *slowWeb) {
					w.met(bulb)
					data := bulbImage(2, 3_000)
					req := otasvc.UpgradeRequest{
						Device: ref(bulb), URL: web.put("/a.ota", data, 60*time.Second), Ticket: upgrade.Ticket(`"x"`),
					}
					w.asks(req)
					queuedAt := w.fetching(bulb, 40).QueuedAt
					restart(w)

					answers := w.asks(req) // as a promise is carried out again
					u := w.fetching(bulb, 0)
					if !u.QueuedAt.Equal(queuedAt) || u.Progress > 10 {
						t.Errorf("it begins again with %+v", u)
					}
					w.fetching(bulb, 60)
					if a := answers(); len(a) != 1 || !a[0].Kept {
						t.Errorf("asked again: %+v", a)
					}
					if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
						t.Errorf("ended %+v", u)
					}
					w.holds(bulb, 2, data)
					time.Sleep(time.Minute)
					if asked, _ := web.counts("/a.ota"); asked != 2 || len(w.sink.final("x")) != 1 {
						t.Errorf("fetched %d times, answered %+v", asked, w.sink.final("x"))
					}
				})
			})
		}
	}
}

// What is kept of an address has no password and no query, so that an upgrade from such a one fails after a restart,
// and says why.
func TestSecretAddressIsNotKept(t *testing.T) {
	inWebWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world, web *slowWeb) {
		w.met(bulb)
		web.put("/a.ota", bulbImage(2, 3_000), 60*time.Second)
		w.asks(otasvc.UpgradeRequest{
			Device: ref(bulb), URL: "http://me:hunter2@example.com/a.ota?token=sesame", Ticket: upgrade.Ticket(`"x"`),
		})
		w.fetching(bulb, 20)
		kept, err := os.ReadFile(w.stateFile())
		if err != nil || strings.Contains(string(kept), "hunter2") || strings.Contains(string(kept), "sesame") {
			t.Errorf("%v: the state file has the secret:\n%s", err, kept)
		}
		w.crash(10 * time.Second)
		u := w.ended(time.Minute, bulb)
		if u.Reason != upgrade.ReasonImageAccessFailed || !strings.Contains(u.Error, "ask again") {
			t.Errorf("%+v", u)
		}
		if a := w.sink.final("x"); len(a) != 1 || a[0].Reason != upgrade.ReasonImageAccessFailed {
			t.Errorf("answered %+v", a)
		}
	})
}

// What a restart meets between a fetch and the final answer of one that came to nothing is answered still, and the
// record has what it had before.
func TestTakenBackIsStillOwed(t *testing.T) {
	inWebWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world, web *slowWeb) {
		w.met(bulb)
		w.asks(otasvc.UpgradeRequest{Device: ref(bulb), URL: "file:///nothing.ota", Ticket: upgrade.Ticket(`"before"`)})
		w.within(time.Minute, "it has failed", func() bool { return len(w.sink.final("before")) > 0 })
		w.brokerAway.Store(true)
		req := otasvc.UpgradeRequest{
			Device: ref(bulb), URL: web.put("/a.ota", bulbImage(1, 1_000), 10*time.Second), Ticket: upgrade.Ticket(`"x"`),
		}
		w.asks(req)
		w.within(time.Minute, "it is up to date", func() bool { return len(w.sink.final("x")) > 0 })
		time.Sleep(time.Minute)
		w.crash(10 * time.Second)
		answers := w.asks(req)
		w.within(time.Minute, "it is taken as it is", func() bool { return len(answers()) > 0 })
		w.restart() // so that the answer is given again
		w.brokerAway.Store(false)
		w.within(time.Minute, "it is answered", func() bool { return len(w.sink.final("x")) > 0 })
		time.Sleep(time.Minute)
		if a := w.sink.final("x"); len(a) != 1 || a[0].Reason != upgrade.ReasonUpToDate {
			t.Errorf("answered %+v", a)
		}
		if a := answers(); len(a) != 1 || !a[0].Kept {
			t.Errorf("asked again: %+v", a)
		}
		if u := w.upgradeOf(bulb); u.Reason != upgrade.ReasonImageAccessFailed || len(w.sink.final("before")) > 0 {
			t.Errorf("the record has %+v, answered %+v", u, w.sink.final("before"))
		}
	})
}
