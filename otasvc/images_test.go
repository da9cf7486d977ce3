package otasvc_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// imageWorld is a service that knows one device, with a real library and catalog but without a
// radio, in fake time.
type imageWorld struct {
	t       *testing.T
	dir     string // of the images
	service *otasvc.Service
	sink    *recorder
	stop    func()
	web     atomic.Value       // the onTheWeb that is asked; none: there is no network
	listed  *library.Candidate // nil: no index lists anything
	policy  func(*otasvc.Policy)
	// silent: the device has told what its OTA client is, and was not heard to look for an image.
	silent bool
	// manufacturerCode is what its attribute tells then, from 0x117C on; 0 stands for that.
	manufacturerCode uint32
}

func inImageWorld(t *testing.T, indexes map[string]string, f func(w *imageWorld)) {
	t.Helper()
	dir := t.TempDir()
	w := &imageWorld{dir: filepath.Join(dir, "images")}
	for name, content := range indexes {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(indexes) > 0 {
		w.listed = listedIn(t, w.dir, filepath.Join(dir, "index.json"))
	}
	synctest.Test(t, func(t *testing.T) {
		w.t = t
		w.start()
		defer func() { w.stop() }()
		f(w)
	})
}

func (w *imageWorld) start() {
	w.t.Helper()
	lib, err := library.Open(library.Options{Dir: w.dir, Transport: w})
	if err != nil {
		w.t.Fatal(err)
	}
	o := otasvc.Options{Images: lib, Observer: noObserver{}, Logger: slog.New(slog.DiscardHandler), StateDir: filepath.Join(w.dir, "..", "state"), Policy: defaultPolicy()}
	if w.policy != nil {
		w.policy(&o.Policy)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	if w.listed != nil { // the folder's watcher does not go with fake time
		o.Catalog = &oneListed{library: lib, listed: *w.listed}
	}
	if w.service, err = otasvc.New(o); err != nil {
		w.t.Fatal(err)
	}
	w.sink = newRecorder()
	running.Go(func() { _ = w.service.Run(ctx, okRadio{}, w.sink) })
	w.stop = func() { cancel(); running.Wait() }
	w.service.HandleConnected(zigate.Info{Firmware: "3.23"})
	w.service.HandleMessage(message.DeviceAnnounce{Addr: 0x4f4f, IEEE: bulb, Capability: message.CapabilityRxOnWhenIdle}, 100)
	if w.silent {
		w.attribute(message.AttrOTAFileVersion, 1)
		w.attribute(message.AttrOTAManufacturer, max(w.manufacturerCode, 0x117C))
		w.attribute(message.AttrOTAImageType, 0x2201)
	} else {
		w.queried()
	}
	time.Sleep(time.Minute)
}

// forgetState takes the state of the service away, which is stopped.
func (w *imageWorld) forgetState() {
	w.t.Helper()
	if err := os.RemoveAll(filepath.Join(w.dir, "..", "state")); err != nil {
		w.t.Fatal(err)
	}
}

// queried has the device look for an image: manufacturer code 0x117C, image type 0x2201, file version 1, and the
// hardware version where one is given.
func (w *imageWorld) queried(hardware ...uint8) {
	payload := []byte{0x01, 0x07, 0x01, 0x00, 0x7C, 0x11, 0x01, 0x22, 0x01, 0x00, 0x00, 0x00}
	for _, version := range hardware {
		payload[3] = 0x01
		payload = append(payload, version, 0x00)
	}
	w.service.HandleMessage(message.DataIndication{Cluster: message.ClusterOTA, SrcAddrMode: message.AddrModeNetwork, SrcAddr: 0x4f4f, Payload: payload}, 100)
}

// attribute has the device tell an attribute of its OTA client.
func (w *imageWorld) attribute(id uint16, value uint32) {
	w.service.HandleMessage(message.Attribute{
		Kind: message.TypeReadAttribute, Addr: 0x4f4f, Endpoint: 1, Cluster: message.ClusterOTA, ID: id, DataType: 0x23,
		Data: binary.BigEndian.AppendUint32(nil, value),
	}, 100)
}

// serves has the web answer in another way from now on.
func (w *imageWorld) serves(web onTheWeb) { w.web.Store(web) }

// RoundTrip serves what a test has put on the web.
func (w *imageWorld) RoundTrip(r *http.Request) (*http.Response, error) {
	web, ok := w.web.Load().(onTheWeb)
	if !ok {
		return nil, errors.New("no network")
	}
	return web.RoundTrip(r)
}

type onTheWeb func(r *http.Request) (*http.Response, error)

func (f onTheWeb) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// readIndex is a catalog that has read an index. It does not look at it again, since what watches files does not go
// with fake time.
func readIndex(t *testing.T, dir, index string) (*library.Library, *library.Catalog) {
	t.Helper()
	return readIndexFrom(t, library.Options{Dir: dir}, index)
}

// readIndexFrom is readIndex with a library that is made in a way of its own.
func readIndexFrom(t *testing.T, options library.Options, index string) (*library.Library, *library.Catalog) {
	t.Helper()
	lib, err := library.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	k, err := library.NewCatalog(lib, library.CatalogOptions{Indexes: []string{index}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = k.Run(ctx) })
	defer running.Wait()
	defer stop()
	for k.Indexes()[0].Images == 0 {
		select {
		case <-k.Changed():
		case <-time.After(time.Minute):
			t.Fatalf("%s lists nothing: %+v", index, k.Indexes()[0])
		}
	}
	return lib, k
}

// listedIn is what an index lists for the device of this world.
func listedIn(t *testing.T, dir, index string) *library.Candidate {
	t.Helper()
	_, k := readIndex(t, dir, index)
	device := library.Device{ManufacturerCode: 0x117C, ImageType: 0x2201, AnyHardware: true}
	c, ok := k.Best(device)
	if !ok {
		t.Fatalf("%s lists nothing for the device: %v", index, k.Explain(device))
	}
	return &c
}

// oneListed is a catalog that knows what an index lists, and fetches it as the real one does.
type oneListed struct {
	library *library.Library
	mu      sync.Mutex // held while listed is looked at
	listed  library.Candidate
}

func (c *oneListed) Best(d library.Device) (library.Candidate, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fits := c.listed.ManufacturerCode == d.ManufacturerCode && c.listed.ImageType == d.ImageType
	if why, _ := c.listed.JudgeHardware(d); why != "" && !d.AnyHardware {
		return library.Candidate{}, false
	}
	return c.listed, fits
}
func (c *oneListed) All(d library.Device) []library.Candidate {
	best, ok := c.Best(d)
	if !ok {
		return nil
	}
	return []library.Candidate{best}
}
func (c *oneListed) Explain(d library.Device) error {
	why, _ := c.listed.JudgeHardware(d)
	return fmt.Errorf("%w: what is listed %s", library.ErrNoMatch, why)
}
func (c *oneListed) Refresh()                 {}
func (c *oneListed) Changed() <-chan struct{} { return nil }
func (c *oneListed) Read() <-chan struct{}    { return alreadyRead }
func (c *oneListed) Ensure(ctx context.Context, e library.Candidate) (library.Image, error) {
	k, err := library.NewCatalog(c.library, library.CatalogOptions{})
	if err != nil {
		return library.Image{}, err
	}
	image, err := k.Ensure(ctx, e)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.listed.SHA256, c.listed.Stored = image.SHA256, true
	}
	return image, err
}

// answers makes a request and returns all its answers; the last one is final.
func (w *imageWorld) answers(request func(otasvc.Respond)) []otasvc.Answer {
	w.t.Helper()
	var all []otasvc.Answer
	done := make(chan struct{})
	request(func(a otasvc.Answer) {
		all = append(all, a)
		if a.Status.Final() {
			close(done)
		}
	})
	select {
	case <-done:
	case <-time.After(time.Hour):
		w.t.Fatalf("no final answer: %+v", all)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	return all
}

func (w *imageWorld) add(a otasvc.AddImage) []otasvc.Answer {
	w.t.Helper()
	a.Device = ref(bulb)
	return w.answers(func(r otasvc.Respond) { w.service.AddImage(a, r) })
}

// upgrade asks for an upgrade and returns the last of the answers that come within a minute.
func (w *imageWorld) upgrade(req otasvc.UpgradeRequest) (last otasvc.Answer) {
	w.t.Helper()
	req.Device, req.Ticket = ref(bulb), upgrade.Ticket(`"x"`)
	ended := len(w.sink.final("x"))
	var mu sync.Mutex
	w.service.Upgrade(req, func(a otasvc.Answer) { mu.Lock(); last = a; mu.Unlock() })
	time.Sleep(time.Minute)
	if w.silent {
		time.Sleep(20 * time.Minute) // it is asked who it is, in vain
	}
	mu.Lock()
	defer mu.Unlock()
	if answers := w.sink.final("x"); len(answers) > ended {
		return answers[len(answers)-1]
	}
	return last
}

// images are those that are registered, as last told.
func (w *imageWorld) images() []otasvc.RegisteredImage {
	defer w.sink.lock()()
	return w.sink.images
}

// file writes an image into the folder and returns its URL.
func (w *imageWorld) file(name string, content []byte) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return "file://" + path
}

// lampImage is an image for the device of this world.
func lampImage(version uint32, change func(h *otafile.Header), options ...otafile.BuildOption) []byte {
	h := otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: version}
	if change != nil {
		change(&h)
	}
	return otafile.Build(h, bytes.Repeat([]byte("lamp"), 100), options...)
}

func final(answers []otasvc.Answer) otasvc.Answer { return answers[len(answers)-1] }

// A download that takes long is told of every few seconds, and never after its final answer.
func TestAddImageTellsProgress(t *testing.T) {
	image := lampImage(2, nil)
	for name, length := range map[string]int64{"size known": int64(len(image)), "size unknown": -1} {
		t.Run(name, func(t *testing.T) {
			inImageWorld(t, nil, func(w *imageWorld) {
				w.serves(func(r *http.Request) (*http.Response, error) {
					body, feed := io.Pipe()
					go func() {
						for i := range image {
							time.Sleep(40 * time.Millisecond)
							feed.Write(image[i : i+1])
						}
						feed.Close()
					}()
					return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: length, Body: body, Request: r}, nil
				})
				answers := w.add(otasvc.AddImage{URL: "http://me:secret@example.com/a.ota"})
				if len(answers) < 4 || len(answers) > 8 || final(answers).Status != otasvc.Success {
					t.Fatalf("%d answers: %+v", len(answers), answers)
				}
				for i, a := range answers[1 : len(answers)-1] {
					says := "bytes so far"
					if length > 0 {
						says = "of 462 bytes ("
					}
					if a.Status != otasvc.InProgress || !strings.Contains(a.Error, says) || *a.Operation.URL != "http://example.com/a.ota" {
						t.Errorf("answer %d: %+v", i+1, a)
					}
				}
			})
		})
	}
}

// What was found when an image was taken stands in the list of images, also after a restart.
func TestRegisteredImagesHaveTheirReport(t *testing.T) {
	good := lampImage(2, nil, otafile.WithIntegrityCode())
	bad := bytes.Clone(good)
	bad[100] ^= 1
	inImageWorld(t, nil, func(w *imageWorld) {
		url := w.file("bad.ota", bad)
		a := final(w.add(otasvc.AddImage{URL: url}))
		if a.Status != otasvc.ImageValidationFailed || !strings.Contains(a.Error, "AES-MMO integrity code failed: expected ") || !strings.Contains(a.Error, ", found ") {
			t.Errorf("%+v", a)
		}
		later := time.Now().Add(100 * 24 * time.Hour)
		if a := w.upgrade(otasvc.UpgradeRequest{URL: url, Force: true, At: later}); a.Status != otasvc.InProgress {
			t.Fatalf("by force: %+v", a)
		}
		for range 2 {
			list := w.images()
			if len(list) != 1 || list[0].Stored == nil || len(list[0].Stored.Checks) != 1 {
				t.Fatalf("%+v", list)
			}
			want := otafile.Check{Name: otafile.CheckIntegrityCode, Status: otafile.Failed}
			got := list[0].Stored.Checks[0]
			if got.Expected == "" || got.Expected == got.Found {
				t.Errorf("%+v", got)
			}
			got.Expected, got.Found = "", ""
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			w.stop()
			w.start()
		}
	})
}

// What an index lists and fails a check is refused, and taken by force.
func TestForceTakesWhatAnIndexLists(t *testing.T) {
	image := lampImage(2, nil)
	entry := `[{"url":"a.ota","manufacturerCode":4476,"imageType":8705,"fileVersion":2,"sha512":"` + strings.Repeat("00", 64) + `"}]`
	inImageWorld(t, map[string]string{"index.json": entry, "a.ota": string(image)}, func(w *imageWorld) {
		later := time.Now().Add(time.Hour)
		if a := w.upgrade(otasvc.UpgradeRequest{At: later}); a.Reason != upgrade.ReasonImageValidationFailed || !strings.Contains(a.Error, "SHA-512 of the download failed: expected 0000") {
			t.Errorf("%+v", a)
		}
		if a := w.upgrade(otasvc.UpgradeRequest{At: later, Force: true}); a.Status != otasvc.InProgress {
			t.Errorf("%+v", a)
		}
		if u := w.sink.device(bulb).Upgrade; u == nil || u.State != upgrade.Scheduled || u.Size != uint32(len(image)) {
			t.Errorf("%+v", u)
		}
	})
}

// An image that needs a person's judgement is offered with the reason, but not given to a device among all.
func TestCautionNeedsAPerson(t *testing.T) {
	entry := `[{"url":"a.ota","manufacturerCode":4476,"imageType":8705,"fileVersion":2,"releaseNotes":"brighter"}]`
	inImageWorld(t, map[string]string{"index.json": entry, "a.ota": string(lampImage(2, nil))}, func(w *imageWorld) {
		later := time.Now().Add(100 * time.Hour)
		for _, caution := range []string{"It is for several products.", ""} {
			w.stop()
			w.listed.Caution = caution
			w.start()
			d := w.sink.device(bulb)
			if !d.UpdateAvailable || d.Offer == nil || d.Offer.ReleaseNotes != strings.TrimSpace(caution+"\n\nbrighter") {
				t.Errorf("%v, %+v", d.UpdateAvailable, d.Offer)
			}
			a := final(w.answers(func(r otasvc.Respond) { w.service.ImageInfo(ref(bulb), nil, r) }))
			if a.UpdateAvailable == nil || !*a.UpdateAvailable {
				t.Errorf("image_info: %+v", a)
			}
		}
		w.listed.SHA256 = fmt.Sprintf("%x", sha256.Sum256(lampImage(2, nil)))
		for _, caution := range []string{"It is for several products.", ""} {
			w.stop()
			w.listed.Caution = caution
			w.start()
			w.service.Upgrade(otasvc.UpgradeRequest{All: true, At: later, Ticket: upgrade.Ticket(`"all"`)}, func(otasvc.Answer) {})
			time.Sleep(time.Minute)
			if u := w.sink.device(bulb).Upgrade; (u != nil) != (caution == "") {
				t.Errorf("all, caution %q: %+v", caution, u)
			}
		}
	})
}

// Where that is wanted, the image of a device is there before anybody asks for it, and stays.
func TestPrefetch(t *testing.T) {
	image := lampImage(2, nil)
	entry := `[{"url":"http://example.com/a.ota","manufacturerCode":4476,"imageType":8705,"fileVersion":2}]`
	inImageWorld(t, map[string]string{"index.json": entry}, func(w *imageWorld) {
		sum := fmt.Sprintf("%x", sha256.Sum256(image))
		stored := func() bool {
			_, err := os.Stat(filepath.Join(w.dir, "store", sum+".ota"))
			return err == nil
		}
		var asked atomic.Int32
		serve := func(r *http.Request) (*http.Response, error) {
			asked.Add(1)
			return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: int64(len(image)), Body: io.NopCloser(bytes.NewReader(image)), Request: r}, nil
		}
		refuse := func(*http.Request) (*http.Response, error) { asked.Add(1); return nil, errors.New("no route") }
		w.serves(refuse)
		time.Sleep(time.Hour)
		if asked.Load() != 0 {
			t.Errorf("asked %d times for what nobody wants", asked.Load())
		}
		w.stop()
		w.policy = func(p *otasvc.Policy) { p.Prefetch = true }
		w.start()
		time.Sleep(5 * time.Hour)
		if asked.Load() != 1 || stored() {
			t.Errorf("asked %d times while there is no route", asked.Load())
		}
		w.serves(serve)
		time.Sleep(2 * time.Hour)
		if asked.Load() != 2 || !stored() {
			t.Errorf("asked %d times, stored: %v", asked.Load(), stored())
		}
		w.stop()
		w.listed.SHA256, w.listed.Stored = sum, true // as the catalog knows it now
		w.start()
		time.Sleep(20 * 24 * time.Hour)
		if asked.Load() != 2 || !stored() {
			t.Errorf("three weeks later: asked %d times, stored: %v", asked.Load(), stored())
		}
		if d := w.sink.device(bulb); d.Upgrade != nil || !d.UpdateAvailable {
			t.Errorf("%+v", d)
		}
	})
}

// An image whose version stands for any is installed over whatever runs by those who name it, and offered to
// nobody.
func TestVersionForAnyIsInstalledByName(t *testing.T) {
	inImageWorld(t, nil, func(w *imageWorld) {
		url := w.file("a.ota", lampImage(0xFFFFFFFF, nil))
		if a := final(w.add(otasvc.AddImage{URL: url, Upgrade: true})); a.Status != otasvc.Success {
			t.Errorf("%+v", a)
		}
		if d := w.sink.device(bulb); d.UpdateAvailable || d.Offer != nil || d.Upgrade != nil {
			t.Errorf("%+v", d)
		}
		if a := w.upgrade(otasvc.UpgradeRequest{URL: url, Force: true, At: time.Now().Add(time.Hour)}); a.Status != otasvc.InProgress {
			t.Errorf("%+v", a)
		}
		if u := w.sink.device(bulb).Upgrade; u == nil || *u.ImageVersion != 0xFFFFFFFF {
			t.Errorf("%+v", u)
		}
	})
}

// Images that are not for Zigbee, or for another device alone, are refused whatever the user says.
func TestAddImageRefusesMisfits(t *testing.T) {
	other, own := uint64(0x1122334455667788), uint64(bulb)
	for _, c := range []struct {
		name   string
		change func(h *otafile.Header)
		says   string
	}{
		{"Thread", func(h *otafile.Header) { h.HeaderVersion = otafile.HeaderVersionThread }, "Thread"},
		{"another device", func(h *otafile.Header) { h.Destination = &other }, "0x1122334455667788 alone"},
		{"this device", func(h *otafile.Header) { h.Destination = &own }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inImageWorld(t, nil, func(w *imageWorld) {
				url := w.file("a.ota", lampImage(2, c.change))
				a := final(w.add(otasvc.AddImage{URL: url}))
				if c.says == "" && a.Status != otasvc.Success || c.says != "" && (a.Status != otasvc.ImageValidationFailed || !strings.Contains(a.Error, c.says)) {
					t.Errorf("add_image: %+v", a)
				}
				if c.says == "" {
					if !w.sink.device(bulb).UpdateAvailable {
						t.Error("it is not offered")
					}
					return
				}
				a = w.upgrade(otasvc.UpgradeRequest{URL: url, Force: true})
				if a.Status != otasvc.Failure || a.Reason != upgrade.ReasonImageValidationFailed || !strings.Contains(a.Error, c.says) {
					t.Errorf("upgrade: %+v", a)
				}
				if len(w.images()) != 0 {
					t.Errorf("%+v was registered", w.images())
				}
			})
		})
	}
}

// An upgrade by URL takes the place of the image that the device has for itself, whatever driver version
// that was added with.
func TestUpgradeByURLHasNoDriverVersion(t *testing.T) {
	inImageWorld(t, nil, func(w *imageWorld) {
		if a := final(w.add(otasvc.AddImage{URL: w.file("a.ota", lampImage(2, nil)), DriverVersion: 7})); a.Status != otasvc.Success {
			t.Fatalf("%+v", a)
		}
		if a := final(w.add(otasvc.AddImage{URL: w.file("b.ota", lampImage(3, nil)), DriverVersion: 6})); a.Status != otasvc.IncompatibleDriverVersion {
			t.Fatalf("%+v", a)
		}
		url := w.file("b.ota", lampImage(3, nil))
		if a := w.upgrade(otasvc.UpgradeRequest{URL: url, At: time.Now().Add(time.Hour)}); a.Status != otasvc.InProgress {
			t.Errorf("%+v", a)
		}
		if list := w.images(); len(list) != 1 || list[0].Offer.ImageVersion != 3 || list[0].Offer.DriverVersion != 7 {
			t.Errorf("%+v", list)
		}
	})
}

// Every answer to add_image says what was asked for, also while the device is looked for and
// when it is not found.
func TestAddImageAnswersForAnUnknownDevice(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 1000)
		answers := make(chan otasvc.Answer, 10)
		w.service.AddImage(otasvc.AddImage{Device: ref(0x000b57fffe999999), URL: url}, func(a otasvc.Answer) { answers <- a })
		for {
			a := <-answers
			if a.Operation == nil || a.Operation.URL == nil || a.Operation.EUID != 0x000b57fffe999999 {
				t.Errorf("%s: %+v", a.Status, a.Operation)
			}
			if a.Status.Final() {
				break
			}
		}
	})
}
