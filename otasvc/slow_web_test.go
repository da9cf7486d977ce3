package otasvc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
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

// bulbImage is an image for the bulbs of the tests.
func bulbImage(version uint32, size int) []byte {
	return otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: version}, make([]byte, size))
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
