package otasvc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// slowWeb is a web whose files take a while, in fake time.
type slowWeb struct {
	mu      sync.Mutex
	files   map[string][]byte        // by path
	takes   map[string]time.Duration // how long a whole file takes, by path
	asked   map[string]int           // requests for a file, by path
	givenUp int                      // requests that were ended by who asked
}

func newSlowWeb() *slowWeb {
	return &slowWeb{files: map[string][]byte{}, takes: map[string]time.Duration{}, asked: map[string]int{}}
}

// put puts a file there, and gives its URL.
func (s *slowWeb) put(path string, data []byte, takes time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = data
	s.takes[path] = takes
	return "http://example.com" + path
}

// counts are how often a file was asked for, and how many requests were given up.
func (s *slowWeb) counts(path string) (asked, givenUp int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path], s.givenUp
}

func (s *slowWeb) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[r.URL.Path]++
	data, there := s.files[r.URL.Path]
	if !there {
		return &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	pieces := 200
	body := &slowBody{web: s, ctx: r.Context(), data: data, piece: len(data)/pieces + 1, pause: s.takes[r.URL.Path] / time.Duration(pieces)}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, ContentLength: int64(len(data)), Body: body, Request: r}, nil
}

// slowBody is a file that comes piece by piece.
type slowBody struct {
	web   *slowWeb
	ctx   context.Context
	data  []byte
	piece int
	pause time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	if len(b.data) == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(b.pause):
	case <-b.ctx.Done():
		b.web.mu.Lock()
		defer b.web.mu.Unlock()
		b.web.givenUp++
		return 0, b.ctx.Err()
	}
	n := copy(p, b.data[:min(b.piece, len(b.data))])
	b.data = b.data[n:]
	return n, nil
}

func (*slowBody) Close() error { return nil }

// inWebWorld is inWorld with a web.
func inWebWorld(t *testing.T, cfg sim.Config, f func(w *world, web *slowWeb)) {
	t.Helper()
	dir := t.TempDir()
	web := newSlowWeb()
	synctest.Test(t, func(t *testing.T) {
		cfg.Speed = 1
		w := &world{t: t, dir: dir, policy: defaultPolicy(), web: web}
		w.run(cfg, func(w *world) { f(w, web) })
	})
}

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

// bulbImage is an image for the bulbs of the tests.
func bulbImage(version uint32, size int) []byte {
	return otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: version}, make([]byte, size))
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

// webHome is a home of which an index on the web has the images.
func webHome(t *testing.T, web *slowWeb, images map[uint16][]byte) (dir string, lib *library.Library, catalog otasvc.Catalog) {
	t.Helper()
	dir = t.TempDir()
	var entries []map[string]any
	for imageType, data := range images {
		path := fmt.Sprintf("/%x.ota", imageType)
		entry := map[string]any{
			"url": "http://example.com" + path, "fileVersion": 2, "manufacturerCode": 0x117C, "imageType": imageType,
		}
		if data != nil {
			web.put(path, data, time.Duration(imageType-0x2200)*30*time.Second)
		}
		entries = append(entries, entry)
	}
	index, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "index.json")
	if err := os.WriteFile(file, index, 0o600); err != nil {
		t.Fatal(err)
	}
	lib, k := readIndexFrom(t, library.Options{Dir: filepath.Join(dir, "images"), Transport: web}, file)
	return dir, lib, readCatalog{k}
}

// typed is a bulb that takes images of a type.
func typed(e message.IEEE, imageType uint16) sim.DeviceConfig {
	d := bulbConfig(e)
	d.ImageType = imageType
	return d
}

// Of "all", each device shows that its image is being fetched, and begins when that is there. Two of one image share
// the fetch; whose image cannot be had fails alone; a restart in between changes nothing.
func TestAllShowsItsFetches(t *testing.T) {
	types := map[message.IEEE]uint16{bulb: 0x2201, bulb + 1: 0x2202, bulb + 2: 0x2202, bulb + 3: 0x2203, bulb + 4: 0x2204}
	images := map[uint16][]byte{}
	for _, imageType := range []uint16{0x2201, 0x2202, 0x2203, 0x2204} {
		images[imageType] = otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: imageType, FileVersion: 2}, make([]byte, 3_000))
	}
	images[0x2203] = nil // it is listed, and not there
	for _, firmware := range firmwares {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, killed: %v", firmware, killed), func(t *testing.T) {
				t.Parallel()
				web := newSlowWeb()
				dir, lib, catalog := webHome(t, web, images)
				var devices []sim.DeviceConfig
				for i := range message.IEEE(len(types)) {
					devices = append(devices, typed(bulb+i, types[bulb+i]))
				}
				synctest.Test(t, func(t *testing.T) {
					w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
					w.policy.Canary = true
					w.run(sim.Config{Firmware: firmware, Devices: devices, Speed: 1}, func(w *world) {
						for e := range types {
							w.within(4*time.Minute, "an update is known", func() bool { return w.sink.device(e).UpdateAvailable })
						}
						w.service.Upgrade(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"all"`)}, func(otasvc.Answer) {})
						slow := w.fetching(bulb+4, 20)
						if u := w.fetching(bulb+2, 20); u.ImageVersion == nil || *u.ImageVersion != 2 || slow.Size == 0 {
							t.Errorf("%+v, %+v", u, slow)
						}
						if killed {
							w.crash(10 * time.Second)
							w.fetching(bulb+4, 1)
						}
						w.within(time.Hour, "the first one has begun", func() bool { return w.stateOf(bulb) == upgrade.Downloading })
						if u := w.upgradeOf(bulb + 4); u.State != upgrade.Fetching {
							t.Errorf("meanwhile the last one is %+v", u)
						}
						w.within(3*time.Hour, "all are answered", func() bool { return len(w.sink.final("all")) > 0 })
						time.Sleep(time.Minute)
						answers := w.sink.final("all")
						if len(answers) != 1 || answers[0].Status != otasvc.Failure || len(answers[0].UpgradeResults) != len(types) {
							t.Fatalf("answered %+v", answers)
						}
						for _, r := range answers[0].UpgradeResults {
							want := upgrade.Succeeded
							if types[r.EUID] == 0x2203 {
								want = upgrade.Failed
							} else {
								w.holds(r.EUID, 2, images[types[r.EUID]])
							}
							if r.State != want || want == upgrade.Failed && r.Reason != upgrade.ReasonImageAccessFailed || w.stateOf(r.EUID) != want {
								t.Errorf("%v: %+v", r.EUID, r)
							}
						}
						if asked, _ := web.counts("/2202.ota"); asked > 2 || !killed && asked != 1 {
							t.Errorf("two devices had their image fetched %d times", asked)
						}
					})
				})
			})
		}
	}
}

// goneCatalog is a catalog that lists nothing any more from some moment on.
type goneCatalog struct {
	otasvc.Catalog
	gone atomic.Bool
}

func (c *goneCatalog) Best(d library.Device) (library.Candidate, bool) {
	if c.gone.Load() {
		return library.Candidate{}, false
	}
	return c.Catalog.Best(d)
}

// What is not listed any more when its fetch is to go on after a restart has failed for that, and says so.
func TestNotListedAfterARestart(t *testing.T) {
	for name, all := range map[string]bool{"all": true, "one": false} {
		t.Run(name, func(t *testing.T) {
			web := newSlowWeb()
			dir, lib, listed := webHome(t, web, map[uint16][]byte{0x2201: bulbImage(2, 3_000)})
			catalog := &goneCatalog{Catalog: listed}
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
				w.run(sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}, Speed: 1}, func(w *world) {
					w.within(4*time.Minute, "an update is known", func() bool { return w.sink.device(bulb).UpdateAvailable })
					w.asks(otasvc.UpgradeRequest{All: all, Device: ref(bulb), Ticket: upgrade.Ticket(`"x"`)})
					w.fetching(bulb, 20)
					catalog.gone.Store(true)
					w.crash(10 * time.Second)
					if u := w.ended(3*time.Minute, bulb); u.State != upgrade.Failed || u.Reason != upgrade.ReasonImageInfoNotFound || u.Error == "" {
						t.Errorf("%+v", u)
					}
					time.Sleep(time.Minute)
					if a := w.sink.final("x"); len(a) != 1 || a[0].Status != otasvc.Failure {
						t.Errorf("answered %+v", a)
					}
				})
			})
		})
	}
}

// "cancel all" ends all that are being fetched for "all".
func TestCancelAllWhileFetching(t *testing.T) {
	images := map[uint16][]byte{}
	var devices []sim.DeviceConfig
	for i := range uint16(6) {
		images[0x2201+i] = otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201 + i, FileVersion: 2}, make([]byte, 3_000))
		devices = append(devices, typed(bulb+message.IEEE(i), 0x2201+i))
	}
	web := newSlowWeb()
	dir, lib, catalog := webHome(t, web, images)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
		w.run(sim.Config{Devices: devices, Speed: 1}, func(w *world) {
			for _, d := range devices {
				w.within(4*time.Minute, "an update is known", func() bool { return w.sink.device(d.IEEE).UpdateAvailable })
			}
			w.service.Upgrade(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"all"`)}, func(otasvc.Answer) {})
			w.fetching(bulb+3, 10)
			if a := w.ask(w.service.CancelAll); a.Status != otasvc.Success {
				t.Errorf("%+v", a)
			}
			time.Sleep(10 * time.Minute)
			answers := w.sink.final("all")
			if len(answers) != 1 || len(answers[0].UpgradeResults) != len(devices) {
				t.Fatalf("answered %+v", answers)
			}
			for _, r := range answers[0].UpgradeResults {
				if r.State != upgrade.Cancelled || r.Reason != upgrade.ReasonCancelled || w.stateOf(r.EUID) != upgrade.Cancelled {
					t.Errorf("%+v", r)
				}
			}
			// Four at a time: the others were never asked for.
			for i := range uint16(6) {
				if asked, givenUp := web.counts(fmt.Sprintf("/%x.ota", 0x2201+i)); i >= 4 && asked > 0 || givenUp != 4 {
					t.Errorf("%x: asked for %d times, in all %d given up", 0x2201+i, asked, givenUp)
				}
			}
		})
	})
}

// What is fetched before anybody asks for it shows nothing. Who asks for it meanwhile sees how far it is, and waits for
// the same fetch.
func TestPrefetchShowsNothing(t *testing.T) {
	web := newSlowWeb()
	data := bulbImage(2, 3_000)
	dir, lib, catalog := webHome(t, web, map[uint16][]byte{0x2201: data})
	web.put("/2201.ota", data, 10*time.Minute)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
		w.policy.Prefetch = true
		w.run(sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}, Speed: 1}, func(w *world) {
			w.within(10*time.Minute, "it is being fetched", func() bool { asked, _ := web.counts("/2201.ota"); return asked > 0 })
			time.Sleep(5 * time.Minute)
			for _, d := range w.sink.recordsOf(bulb) {
				if d.Upgrade != nil {
					t.Fatalf("the record shows %+v", d.Upgrade)
				}
			}
			w.asks(otasvc.UpgradeRequest{Device: ref(bulb), Ticket: upgrade.Ticket(`"x"`)})
			if u := w.fetching(bulb, 40); u.Size != uint32(len(data)) {
				t.Errorf("%+v", u)
			}
			if a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) }); a.Status != otasvc.Success {
				t.Errorf("%+v", a)
			}
			if u := w.ended(time.Minute, bulb); u.State != upgrade.Cancelled {
				t.Errorf("%+v", u)
			}
			w.asks(otasvc.UpgradeRequest{Device: ref(bulb), Ticket: upgrade.Ticket(`"y"`)})
			w.within(time.Hour, "the second one has succeeded", func() bool { return len(w.sink.final("y")) > 0 })
			w.holds(bulb, 2, data)
			if asked, givenUp := web.counts("/2201.ota"); asked != 1 || givenUp != 0 {
				t.Errorf("asked for %d times, given up %d times", asked, givenUp)
			}
		})
	})
}

// An image that is added to be installed at once shows its fetch as well. Who cancels that has the image, and no
// upgrade; what cannot be fetched is an upgrade that failed, besides the answer.
func TestAddedImageShowsItsFetch(t *testing.T) {
	for name, tt := range map[string]struct {
		data   []byte
		cancel bool
		status otasvc.Status
		state  upgrade.State
	}{
		"installed":  {bulbImage(2, 3_000), false, otasvc.Success, upgrade.Succeeded},
		"cancelled":  {bulbImage(2, 3_000), true, otasvc.Success, upgrade.Cancelled},
		"no image":   {[]byte(strings.Repeat("nothing", 100)), false, otasvc.ImageValidationFailed, upgrade.Failed},
		"up to date": {bulbImage(1, 3_000), false, otasvc.Success, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWebWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world, web *slowWeb) {
				w.met(bulb)
				url := web.put("/a.ota", tt.data, 30*time.Second)
				final := make(chan otasvc.Answer, 1)
				w.service.AddImage(otasvc.AddImage{Device: ref(bulb), URL: url, Upgrade: true}, func(a otasvc.Answer) {
					if a.Status.Final() {
						final <- a
					}
				})
				w.fetching(bulb, 30)
				if tt.cancel {
					if a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) }); a.Status != otasvc.Success {
						t.Errorf("%+v", a)
					}
				}
				if a := <-final; a.Status != tt.status {
					t.Errorf("answered %+v", a)
				}
				time.Sleep(time.Hour)
				if state := w.stateOf(bulb); state != tt.state {
					t.Errorf("the upgrade is %q: %+v", state, w.upgradeOf(bulb))
				}
				if asked, _ := web.counts("/a.ota"); asked != 1 {
					t.Errorf("fetched %d times", asked)
				}
			})
		})
	}
}

// An upgrade that the policy wants shows its fetch. One that it tries again in vain leaves the record as it was, and
// one that a person has cancelled meanwhile is not begun again.
func TestPolicyShowsItsFetches(t *testing.T) {
	for name, cancelled := range map[string]bool{"not there": false, "cancelled": true} {
		t.Run(name, func(t *testing.T) {
			web := newSlowWeb()
			var data []byte
			if cancelled {
				data = bulbImage(2, 3_000)
			}
			dir, lib, catalog := webHome(t, web, map[uint16][]byte{0x2201: data})
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: catalog}
				w.policy.Auto = true
				w.run(sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}, Speed: 1}, func(w *world) {
					if cancelled {
						w.fetching(bulb, 20)
						if a := w.ask(func(r otasvc.Respond) { w.service.Cancel(ref(bulb), r) }); a.Status != otasvc.Success {
							t.Errorf("%+v", a)
						}
					}
					u := w.ended(10*time.Minute, bulb)
					time.Sleep(13 * time.Hour)
					if again := w.upgradeOf(bulb); again.Reason != u.Reason || !again.QueuedAt.Equal(u.QueuedAt) || len(w.sink.device(bulb).History) != 1 {
						t.Errorf("it was %+v and is %+v", u, again)
					}
					if asked, _ := web.counts("/2201.ota"); cancelled && asked != 1 || !cancelled && asked != 3 {
						t.Errorf("asked for %d times", asked)
					}
				})
			})
		})
	}
}
