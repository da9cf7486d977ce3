package otasvc_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
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
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

type deadIndex struct {
	candidate library.Candidate
	ensured   atomic.Int32
}

func (c *deadIndex) Best(library.Device) (library.Candidate, bool) { return c.candidate, true }
func (c *deadIndex) All(library.Device) []library.Candidate        { return nil }
func (c *deadIndex) Explain(library.Device) error                  { return nil }
func (c *deadIndex) Refresh()                                      {}
func (c *deadIndex) Changed() <-chan struct{}                      { return nil }
func (c *deadIndex) Read() <-chan struct{}                         { return alreadyRead }
func (c *deadIndex) Ensure(context.Context, library.Candidate) (library.Image, error) {
	c.ensured.Add(1)
	return library.Image{}, library.ErrValidation
}

type okRadio struct{}

func (okRadio) Submit(_ message.Message, done func(message.Status, error)) {
	done(message.Status{}, nil)
}

type slowStore struct{ *library.Library }

func (s slowStore) Fetch(ctx context.Context, r library.Request) (library.Image, error) {
	time.Sleep(50 * time.Millisecond)
	return s.Library.Fetch(ctx, r)
}

// policy auto with an index whose image cannot be had; and with nothing to do. The image is tried once in the hour, and
// once all is known nothing is written.
func TestPolicyAutoIsQuiet(t *testing.T) {
	for name, tt := range map[string]struct {
		version uint32
		ensured int32
	}{
		"image cannot be had": {version: 2, ensured: 1},
		"nothing to do":       {version: 1, ensured: 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				lib, _ := library.Open(library.Options{Dir: filepath.Join(dir, "images")})
				index := &deadIndex{candidate: library.Candidate{Source: library.SourceIndex, URL: "https://example.org/x.ota", ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: tt.version}}
				p := defaultPolicy()
				p.Auto = true
				s, err := otasvc.New(otasvc.Options{Images: lib, Catalog: index, Observer: noObserver{}, Logger: slog.New(slog.DiscardHandler), Policy: p, StateDir: filepath.Join(dir, "state")})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { _ = s.Run(ctx, okRadio{}, newRecorder()) })
				defer running.Wait()
				defer cancel()
				s.HandleMessage(message.DeviceAnnounce{Addr: 0x4f4f, IEEE: bulb, Capability: message.CapabilityRxOnWhenIdle}, 100)
				s.HandleConnected(zigate.Info{Firmware: "3.23"})
				s.HandleMessage(message.DataIndication{Cluster: message.ClusterOTA, SrcAddrMode: message.AddrModeNetwork, SrcAddr: 0x4f4f, Payload: []byte{
					0x01, 0x07, 0x01, 0x00, 0x7C, 0x11, 0x01, 0x22, 0x01, 0x00, 0x00, 0x00}}, 100)
				time.Sleep(10 * time.Minute)
				// Each write makes another file. The first one is held, so that none can be taken for it.
				synctest.Wait()
				file := filepath.Join(dir, "state", "state.json")
				first, err := os.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				defer first.Close()
				before, err := first.Stat()
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				after, err := os.Stat(file)
				if err != nil || !os.SameFile(before, after) {
					t.Errorf("the state was written in an hour in which nothing happened: %v", err)
				}
				if n := index.ensured.Load(); n != tt.ensured {
					t.Errorf("the image was to be had %d times, want %d", n, tt.ensured)
				}
			})
		})
	}
}

// a request that is carried out by the farewell starts a goroutine that nobody waits for.
func TestFetchAtAStop(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		lib, _ := library.Open(library.Options{Dir: filepath.Join(dir, "images")})
		s, err := otasvc.New(otasvc.Options{Images: slowStore{lib}, Observer: noObserver{}, Logger: slog.New(slog.DiscardHandler), Policy: defaultPolicy(), StateDir: filepath.Join(dir, "state")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx, okRadio{}, newRecorder()) })
		s.HandleMessage(message.DeviceAnnounce{Addr: 0x4f4f, IEEE: bulb, Capability: message.CapabilityRxOnWhenIdle}, 100)
		time.Sleep(time.Second)
		finals := 0
		s.AddImage(otasvc.AddImage{Device: ref(bulb), URL: "file:///nowhere"}, func(a otasvc.Answer) {
			if a.Status.Final() {
				finals++
			}
		}) // waits to know whether the dongle is there
		time.Sleep(time.Second)
		cancel()
		running.Wait()
		time.Sleep(time.Hour)
		if finals != 1 {
			t.Errorf("%d final answers", finals)
		}
	})
}

// sweptStore is a store that notes when it is cleaned up, and has too much for a while.
type sweptStore struct {
	*library.Library
	mu      sync.Mutex
	sweeps  []time.Time
	allowed library.Allowance
	used    func(sha256 string) bool
}

func (s *sweptStore) Sweep(now time.Time, keep func(string) bool, allowed library.Allowance) (library.Swept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweeps = append(s.sweeps, now)
	s.allowed, s.used = allowed, keep
	return library.Swept{Surplus: int64(max(0, 3-len(s.sweeps)))}, nil
}

// TestStoreIsCleanedUpInTime: after many fetches the store is cleaned up at once, and again soon while there is too much.
func TestStoreIsCleanedUpInTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		lib, err := library.Open(library.Options{Dir: filepath.Join(dir, "images")})
		if err != nil {
			t.Fatal(err)
		}
		store := &sweptStore{Library: lib}
		s, err := otasvc.New(otasvc.Options{Images: store, Observer: noObserver{}, Logger: slog.New(slog.DiscardHandler), Policy: defaultPolicy(), StateDir: filepath.Join(dir, "state")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx, okRadio{}, newRecorder()) })
		defer func() { cancel(); running.Wait() }()
		s.HandleConnected(zigate.Info{Firmware: "3.23"})
		s.HandleMessage(message.DeviceAnnounce{Addr: 0x4f4f, IEEE: bulb, Capability: message.CapabilityRxOnWhenIdle}, 100)
		begun := time.Now()
		var last string
		for version := range uint32(8) {
			data := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 2 + version}, []byte("lamp"))
			name := fmt.Sprintf("%d.ota", version)
			if err := os.WriteFile(filepath.Join(dir, "images", name), data, 0o600); err != nil {
				t.Fatal(err)
			}
			s.AddImage(otasvc.AddImage{Device: ref(bulb), URL: "file://" + filepath.Join(dir, "images", name)}, func(a otasvc.Answer) {
				if a.Status.Final() && a.Status != otasvc.Success {
					t.Errorf("add_image: %+v", a)
				}
			})
			time.Sleep(time.Second)
			last = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		store.mu.Lock()
		defer store.mu.Unlock()
		if len(store.sweeps) != 3 {
			t.Fatalf("cleaned up at %v", store.sweeps)
		}
		if first := store.sweeps[0].Sub(begun); first > 20*time.Second {
			t.Errorf("cleaned up after %v for the first time", first)
		}
		for i, at := range store.sweeps[1:] {
			if after := at.Sub(store.sweeps[i]); after < time.Minute || after > 2*time.Minute {
				t.Errorf("cleaned up again after %v", after)
			}
		}
		if want := (library.Allowance{For: 7 * 24 * time.Hour, Bytes: 256 << 20}); store.allowed != want {
			t.Errorf("what may stay is %+v", store.allowed)
		}
		if !store.used(last) || store.used("another") {
			t.Error("what is registered is not what is used")
		}
	})
}

// lateIndex has its image only once it was read.
type lateIndex struct {
	oneImage
	read chan struct{}
	mu   sync.Mutex // held while the image is looked at, or fetched
}

func (c *lateIndex) known() bool {
	select {
	case <-c.read:
		return true
	default:
		return false
	}
}

func (c *lateIndex) Read() <-chan struct{} { return c.read }

func (c *lateIndex) Explain(library.Device) error { return library.ErrNoMatch }

func (c *lateIndex) Best(d library.Device) (library.Candidate, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known() || d.ImageType != c.candidate.ImageType {
		return library.Candidate{}, false
	}
	return c.oneImage.Best(d)
}

func (c *lateIndex) Ensure(ctx context.Context, candidate library.Candidate) (library.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.oneImage.Ensure(ctx, candidate)
}

func (c *lateIndex) All(d library.Device) []library.Candidate {
	best, ok := c.Best(d)
	if !ok {
		return nil
	}
	return []library.Candidate{best}
}

// whileRead are requests that depend on which images there are.
var whileRead = map[string]struct {
	ask func(w *world, respond otasvc.Respond)
	// found is the status where the image is known in the end, missed where it is not.
	found, missed otasvc.Status
}{
	"upgrade": {func(w *world, r otasvc.Respond) {
		w.service.Upgrade(otasvc.UpgradeRequest{Device: ref(bulb), Ticket: upgrade.Ticket(`"t"`)}, r)
	}, otasvc.Success, otasvc.Failure},
	"upgrade of all": {func(w *world, r otasvc.Respond) {
		w.service.Upgrade(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"t"`)}, r)
	}, otasvc.Success, otasvc.Success},
	"check": {func(w *world, r otasvc.Respond) {
		w.service.Check(ref(bulb), nil, r)
	}, otasvc.Success, otasvc.Success},
	"check of all": {func(w *world, r otasvc.Respond) { w.service.CheckAll(r) }, otasvc.Success, otasvc.Success},
	"load image": {func(w *world, r otasvc.Respond) {
		w.service.LoadImage(ref(bulb), r)
	}, otasvc.Success, otasvc.ImageInfoNotFound},
	"image info": {func(w *world, r otasvc.Respond) {
		w.service.ImageInfo(ref(bulb), nil, r)
	}, otasvc.Success, otasvc.ImageInfoNotFound},
}

// whileImagesAreRead asks for something while the image folder and the indexes are being read, and expects that this is
// answered; f goes on from there.
func whileImagesAreRead(
	t *testing.T, ask func(w *world, respond otasvc.Respond), f func(w *world, index *lateIndex, said *said),
) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		lib, err := library.Open(library.Options{Dir: filepath.Join(dir, "images")})
		if err != nil {
			t.Fatal(err)
		}
		index := &lateIndex{read: make(chan struct{})}
		index.library = lib
		index.candidate = library.Candidate{
			Source: library.SourceIndex, ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 2,
		}
		w := &world{t: t, dir: dir, policy: defaultPolicy(), library: lib, catalog: index}
		w.run(sim.Config{Speed: 1, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
			url, _ := w.image(0x117C, 0x2201, 2, 5_000)
			index.fetch = library.Request{URL: url}
			w.met(bulb)
			said := &said{}
			ask(w, said.respond)
			time.Sleep(20 * time.Second)
			a := said.all()
			if len(a) != 1 || a[0].Status != otasvc.InProgress || !strings.Contains(a[0].Error, "still being read") {
				t.Fatalf("while it is read: %+v", a)
			}
			f(w, index, said)
		})
	})
}

// TestRequestsWaitForImagesToBeRead: who asks for something that depends on which images there are, while the image
// folder and the indexes are being read, is told so, and answered when they were; or after a minute, with what is
// known.
func TestRequestsWaitForImagesToBeRead(t *testing.T) {
	for name, tt := range whileRead {
		for _, found := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, found %t", name, found), func(t *testing.T) {
				whileImagesAreRead(t, tt.ask, func(w *world, index *lateIndex, said *said) {
					want := tt.missed
					if found {
						want = tt.found
						close(index.read)
					}
					time.Sleep(10 * time.Minute)
					answers := append(said.all(), w.sink.final("t")...)
					last := answers[len(answers)-1]
					if last.Status != want {
						t.Errorf("in the end: %+v", answers)
					}
					update := last.UpdateAvailable != nil && *last.UpdateAvailable || len(last.UpgradeResults) == 1 ||
						len(last.CheckResults) == 1 && last.CheckResults[0].UpdateAvailable ||
						found && (name == "upgrade" || name == "load image")
					if update != found {
						t.Errorf("an update: %t, %+v", update, last)
					}
				})
			})
		}
	}
}

// Who waits for the images to be read when the service is stopped is answered that it is.
func TestStopWhileImagesAreRead(t *testing.T) {
	for name, tt := range whileRead {
		t.Run(name, func(t *testing.T) {
			whileImagesAreRead(t, tt.ask, func(w *world, _ *lateIndex, said *said) {
				w.stopService()
				if a := said.all(); len(a) != 2 || a[1].Status != otasvc.ServiceNotAvailable {
					t.Errorf("answered %+v", a)
				}
				w.start()
			})
		})
	}
}
