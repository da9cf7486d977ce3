package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/httpapi"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const (
	kitchen message.IEEE = 0x000b57fffec6a5b2
	hall    message.IEEE = 0x000b57fffec6a5c7
	digest               = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

func ptr[T any](v T) *T { return &v }

// nobody is whom a bridge talks to besides the feed.
type nobody struct{}

func (nobody) Retain(string, []byte)                               {}
func (nobody) Clear(string)                                        {}
func (nobody) Publish(string, []byte)                              {}
func (nobody) PublishOwed(_ string, _ []byte, acknowledged func()) { acknowledged() }
func (nobody) Command(string, string)                              {}
func (nobody) DeviceChanged(otasvc.DeviceRecord)                   {}
func (nobody) DeviceGone(message.IEEE)                             {}
func (nobody) InfoChanged(otasvc.InfoRecord)                       {}

// shelf is Images that hold what they are given.
type shelf struct {
	folder  library.FolderState
	indexes []library.IndexStatus
	add     func(library.Added) (library.FolderImage, bool, error)
	removed []string
}

func (s *shelf) Folder() *library.FolderState   { return &s.folder }
func (s *shelf) Indexes() []library.IndexStatus { return s.indexes }

func (s *shelf) Add(_ context.Context, a library.Added) (library.FolderImage, bool, error) {
	if s.add == nil {
		return library.FolderImage{}, false, errors.New("no more images")
	}
	return s.add(a)
}

func (s *shelf) RemoveAdded(_ context.Context, name string) error {
	if strings.Contains(name, "missing") {
		return fmt.Errorf("%w: %q", library.ErrNotAdded, name)
	}
	s.removed = append(s.removed, name)
	return nil
}

// api is a server with an API, and what is behind it.
type api struct {
	t      *testing.T
	base   string
	feed   *bridge.Feed
	bridge *bridge.Bridge
	shelf  *shelf
	level  slog.LevelVar
	// asked takes what was asked for; nil: the bridge does, which can only refuse what is wrong, as
	// there is no service.
	asked func(id, operation string, payload []byte)
}

func (a *api) Ask(id, operation string, payload []byte) {
	if a.asked != nil {
		a.asked(id, operation, payload)
		return
	}
	a.bridge.Ask(id, operation, payload)
}

func startAPI(t *testing.T, change func(*httpapi.Options)) *api {
	t.Helper()
	a := &api{t: t, feed: bridge.NewFeed(), shelf: &shelf{}}
	a.bridge = bridge.New(bridge.Options{
		Topics: "zigate-ota", Version: "1.2.0", Out: nobody{}, Observer: nobody{}, Logger: slog.New(slog.DiscardHandler), Feed: a.feed,
	})
	options := httpapi.Options{
		Registry: prometheus.NewRegistry(), Feed: a.feed, Asker: a, Images: a.shelf, MaxImageBytes: 1 << 20, LogLevel: &a.level,
		Checks: []httpapi.Check{{Name: "dongle", Check: passing}, {Name: "mqtt", Check: failing}},
	}
	if change != nil {
		change(&options)
	}
	a.base, _ = start(t, options)
	return a
}

// known makes the records known that a running service always has, and two devices, one of which
// is being upgraded.
func (a *api) known() {
	a.bridge.InfoChanged(otasvc.InfoRecord{
		StartedAt: time.Now(), Devices: 2, Slot: &otasvc.Slot{ManufacturerCode: 4476, ImageType: 8705, ImageVersion: 2},
		Dongle: otasvc.DongleInfo{Connected: true, Port: "sim", Firmware: "3.23", EUID: 0x00158d0001020304, PANID: 0x1234, Channel: 15},
	})
	stored := storedImage()
	a.bridge.ImagesChanged([]otasvc.RegisteredImage{{
		Stored:  &stored,
		Offer:   otasvc.Offer{ManufacturerCode: 4476, ImageType: 8705, ImageVersion: 2, Size: 100, SHA256: digest, URL: "http://x/y", Title: "<b>"},
		Devices: []message.IEEE{kitchen}, AddedAt: time.Now(),
	}})
	a.bridge.DeviceChanged(device(kitchen, upgrade.Downloading, 40))
	a.bridge.DeviceChanged(device(hall, upgrade.Queued, 0))
}

// device is a record of a device with an upgrade in some state.
func device(euid message.IEEE, state upgrade.State, progress float64) otasvc.DeviceRecord {
	d := otasvc.DeviceRecord{EUID: euid, Name: "Bulb " + euid.String(), Heard: otasvc.Heard{LQI: ptr(uint8(100)), LastSeen: time.Now()}, CurrentVersion: ptr(uint32(1))}
	if state != "" {
		d.Upgrade = &upgrade.Record{State: state, ImageVersion: 2, Size: 100, Offset: uint32(progress), Progress: progress, Attempt: 1, QueuedAt: time.Now()}
	}
	return d
}

func storedImage() library.Image {
	return library.Image{
		SHA256: digest, Size: 100, Wrapper: "zip", Warnings: []string{"an odd one"},
		Header: otafile.Header{ManufacturerCode: 4476, ImageType: 8705, FileVersion: 2, StackVersion: 2, MinHardwareVersion: ptr(uint16(1)), MaxHardwareVersion: ptr(uint16(3))},
		Checks: []otafile.Check{
			{Name: "SHA-256 of the download", Status: otafile.Passed, Expected: "00", Found: "00", Detail: "as it should be"},
			{Name: otafile.CheckSignature, Status: otafile.NotVerifiable},
		},
	}
}

func folderImage(name string) library.FolderImage {
	i := storedImage()
	return library.FolderImage{Name: name, SHA256: i.SHA256, Size: i.Size, Header: i.Header, Wrapper: i.Wrapper, Warnings: i.Warnings, Checks: i.Checks}
}

func asList(v any) []any { list, _ := v.([]any); return list }

// call sends a request, and checks that the answer is as openapi.json says; headers are "Name: value". "Host" is one of them, too.
func (a *api) call(method, path, body string, headers ...string) reply {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.base+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Add(name, value)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	got := reply{res.StatusCode, res.Header, string(b)}
	d, err := sharedDocument()
	if err == nil {
		err = d.checkResponse(req, got)
	}
	if err != nil {
		a.t.Errorf("%s %s: status %d: %v", method, path, got.status, err)
	}
	return got
}

// sent is one server-sent event.
type sent struct{ name, id, data string }

// listen opens a stream of events. Its next event comes from the function, which fails the test at the
// end of the stream.
func (a *api) listen(lastID string) (next func() sent, stop func()) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 30*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", a.base+"/api/v1/events", nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	transport := &http.Transport{}
	res, err := transport.RoundTrip(req)
	if err != nil {
		a.t.Fatal(err)
	}
	stop = func() {
		cancel()
		res.Body.Close()
		transport.CloseIdleConnections()
	}
	a.t.Cleanup(stop)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		a.t.Fatalf("status %d, type %q", res.StatusCode, res.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(res.Body)
	return func() sent {
		a.t.Helper()
		var e sent
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				return e
			}
		}
		a.t.Fatalf("the stream ended: %v", lines.Err())
		return e
	}, stop
}

// until reads events up to one of a name, and returns them all.
func until(next func() sent, name string) []sent {
	for all := []sent{}; ; {
		e := next()
		if all = append(all, e); e.name == name {
			return all
		}
	}
}

// awaitStream opens a stream as soon as there is room for one: the server notices a little late that
// a reader has gone.
func (a *api) awaitStream() {
	a.t.Helper()
	for range 1000 {
		res, err := http.Get(a.base + "/api/v1/events")
		if err != nil {
			a.t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			http.DefaultClient.CloseIdleConnections()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	a.t.Error("there is no room for another stream")
}
