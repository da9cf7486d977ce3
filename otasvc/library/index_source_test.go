package library_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// site is a web server without sockets: what it has by URL, and what it was asked for.
type site struct {
	mu    sync.Mutex
	files map[string][]byte
	tags  map[string]string // entity tags
	dates map[string]string // of the last modification
	down  error             // nil: the network is there
	asked []string          // "URL", with " 304" where that was the answer
	auth  []string
}

// set changes the site while somebody may be asking it.
func (s *site) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// requests returns what was asked for so far.
func (s *site) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, _, _ := r.BasicAuth()
	s.auth = append(s.auth, user)
	bare := *r.URL
	bare.User = nil
	url := bare.String()
	s.asked = append(s.asked, url)
	if s.down != nil {
		return nil, s.down
	}
	content, ok := s.files[url]
	if !ok {
		return respond(r, 404, 0, http.NoBody), nil
	}
	var header []string
	tag, date := s.tags[url], s.dates[url]
	if tag != "" {
		header = append(header, "ETag", tag)
	}
	if date != "" {
		header = append(header, "Last-Modified", date)
	}
	if tag != "" && r.Header.Get("If-None-Match") == tag || tag == "" && date != "" && r.Header.Get("If-Modified-Since") == date {
		s.asked[len(s.asked)-1] += " 304"
		return respond(r, 304, 0, http.NoBody, header...), nil
	}
	return respond(r, 200, int64(len(content)), bytes.NewReader(content), header...), nil
}

// inCatalog runs a catalog in fake time.
func inCatalog(t *testing.T, dir string, options library.Options, catalog library.CatalogOptions, test func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log recorder
		options.Dir, options.Logger = dir, log.logger()
		l := open(t, options)
		k, err := library.NewCatalog(l, catalog)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- k.Unwatched().Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		test(t, l, k, &log)
	})
}

const indexURL = "https://example.com/index.json"

// checkVersions compares the versions that the catalog has for the test's device.
func checkVersions(t *testing.T, k *library.Catalog, want ...uint32) {
	t.Helper()
	var got []uint32
	for _, c := range k.All(device()) {
		got = append(got, c.FileVersion)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("versions %d, want %d", got, want)
	}
}

func indexOf(versions ...int) []byte {
	var entries []string
	for _, v := range versions {
		entries = append(entries, fmt.Sprintf(`{"fileVersion":%d,"imageType":66,"manufacturerCode":4660,"url":"images/%d.ota"}`, v, v))
	}
	return []byte("[" + strings.Join(entries, ",") + "]")
}

func TestIndexIsRefreshed(t *testing.T) {
	for _, c := range []struct {
		name       string
		tag, date  string
		newTag     string
		notChanged string // the answer where it has not changed
	}{
		{"by entity tag", `"1"`, "", `"2"`, " 304"},
		{"by weak entity tag", `W/"1"`, "", `W/"2"`, " 304"},
		{"by date", "", "Mon, 01 Jan 2001 00:00:00 GMT", "", " 304"},
		{"by both", `"1"`, "Mon, 01 Jan 2001 00:00:00 GMT", `"2"`, " 304"},
		{"by a server that says neither", "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &site{files: map[string][]byte{indexURL: indexOf(5)}, tags: map[string]string{indexURL: c.tag}, dates: map[string]string{indexURL: c.date}}
			inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}, Interval: time.Hour}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				checkVersions(t, k, 5)
				select {
				case <-k.Changed():
				default:
					t.Error("no change was told")
				}
				pass(2*time.Hour + 20*time.Minute) // the interval varies by a tenth
				if want := []string{indexURL, indexURL + c.notChanged, indexURL + c.notChanged}; !slices.Equal(s.requests(), want) {
					t.Errorf("asked %q, want %q", s.requests(), want)
				}
				select {
				case <-k.Changed():
					t.Error("a change was told that there was not")
				default:
				}
				s.set(func() { s.files[indexURL], s.tags[indexURL], s.dates[indexURL] = indexOf(5, 6), c.newTag, "" })
				pass(time.Hour + 10*time.Minute)
				checkVersions(t, k, 6, 5)
				<-k.Changed()
				status := k.Indexes()[0]
				if status.Name != indexURL || status.Format != "Zigbee2MQTT" || status.Images != 2 || status.Error != "" || time.Since(status.ReadAt) > time.Hour+10*time.Minute {
					t.Errorf("%+v", status)
				}
			})
		})
	}
}

// Whatever comes instead of the index, the last good one stays, and people hear of it once.
func TestIndexGoesBad(t *testing.T) {
	for _, c := range []struct {
		name string
		bad  func(s *site)
		says string
	}{
		{"the network", func(s *site) { s.down = errors.New("no route to host") }, "no route to host"},
		{"it is gone", func(s *site) { delete(s.files, indexURL) }, "404"},
		{"a web page", func(s *site) { s.files[indexURL] = []byte("<html>") }, "no index of images"},
		{"cut short", func(s *site) { s.files[indexURL] = indexOf(7, 8)[:70] }, "cut short"},
		{"nothing usable", func(s *site) { s.files[indexURL] = []byte(`[{}]`) }, "can be used"},
		{"huge", func(s *site) { s.files[indexURL] = make([]byte, 33<<20) }, "too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &site{files: map[string][]byte{indexURL: indexOf(5)}}
			inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}, Interval: 6 * time.Hour}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				s.set(func() { c.bad(s) })
				before := len(s.requests())
				pass(30 * time.Hour)
				checkVersions(t, k, 5)
				status := k.Indexes()[0]
				if !strings.Contains(status.Error, c.says) || status.Images != 1 {
					t.Errorf("%+v", status)
				}
				if n := strings.Count(log.lines.String(), "level=WARN"); n != 1 || !log.says(slog.LevelWarn, c.says) {
					t.Errorf("told %d times:\n%s", n, log.lines.String())
				}
				if n := len(s.requests()) - before; n < 10 || n > 60 {
					t.Errorf("%d attempts in a day", n)
				}
				s.set(func() { s.down, s.files[indexURL] = nil, indexOf(5) })
				pass(2 * time.Hour)
				if status := k.Indexes()[0]; status.Error != "" || !log.says(slog.LevelInfo, "can be read again") {
					t.Errorf("%+v\n%s", status, log.lines.String())
				}
				s.set(func() { s.files[indexURL] = indexOf(9) })
				pass(7 * time.Hour)
				checkVersions(t, k, 9)
			})
		})
	}
}

// A service that never had a network knows its folder, says once that the index cannot be read, and since when.
func TestIndexWithoutNetwork(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, versioned(20, 1), dir, "lamp.ota")
	s := &site{down: errors.New("no route to host")}
	inCatalog(t, dir, library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		began := time.Now().UTC().Format(time.RFC3339)
		pass(48 * time.Hour)
		checkVersions(t, k, 20)
		if n := strings.Count(log.lines.String(), "level=WARN"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log.lines.String())
		}
		if status := k.Indexes()[0]; status.Error != indexURL+": no route to host (since "+began+")" || !status.ReadAt.IsZero() {
			t.Errorf("%+v", status)
		}
	})
}

// An index is kept on the disk for a start without the network.
func TestIndexIsKept(t *testing.T) {
	dir := t.TempDir()
	s := &site{files: map[string][]byte{indexURL: indexOf(5), "https://example.com/other.json": indexOf(1)}, tags: map[string]string{indexURL: `"1"`}}
	options := library.CatalogOptions{Indexes: []string{"https://me:secret@example.com/index.json"}, Interval: time.Hour}
	run := func(t *testing.T, test func(t *testing.T, k *library.Catalog, log *recorder)) {
		t.Helper()
		s.asked = nil
		inCatalog(t, dir, library.Options{Transport: s}, options, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) { test(t, k, log) })
	}
	kept := func(t *testing.T) []string {
		t.Helper()
		paths, err := filepath.Glob(filepath.Join(dir, "store", "indexes", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return paths
	}
	run(t, func(t *testing.T, k *library.Catalog, log *recorder) {
		checkVersions(t, k, 5)
	})
	if s.auth[0] != "me" {
		t.Errorf("asked as %q", s.auth)
	}
	paths := kept(t)
	if len(paths) != 1 {
		t.Fatalf("kept: %q", paths)
	}
	content, err := os.ReadFile(paths[0])
	if err != nil || strings.Contains(paths[0]+string(content), "secret") || !strings.Contains(string(content), `"fileVersion":5`) {
		t.Errorf("%s, %v: %s", paths[0], err, content)
	}

	s.down = errors.New("no network")
	run(t, func(t *testing.T, k *library.Catalog, log *recorder) {
		checkVersions(t, k, 5)
		if asked := s.requests(); asked != nil {
			t.Errorf("it was just read, and is asked for again: %q", asked)
		}
		pass(2 * time.Hour)
		checkVersions(t, k, 5)
		if k.Indexes()[0].Error == "" {
			t.Error("no error is told")
		}
	})

	s.down = nil
	future := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // fake time begins in 2000: a clock that was wrong
	if err := os.Chtimes(paths[0], future, future); err != nil {
		t.Fatal(err)
	}
	run(t, func(t *testing.T, k *library.Catalog, log *recorder) {
		checkVersions(t, k, 5)
		if want := []string{indexURL + " 304"}; !slices.Equal(s.requests(), want) {
			t.Errorf("asked %q, want %q", s.requests(), want)
		}
	})

	for name, damage := range map[string][]byte{"empty": {}, "no revision": []byte("x\n[]"), "no index": []byte("{\"etag\":\"\\\"1\\\"\"}\nx"), "cut": content[:len(content)-5]} {
		t.Run(name, func(t *testing.T) {
			writeFile(t, damage, paths[0])
			run(t, func(t *testing.T, k *library.Catalog, log *recorder) {
				checkVersions(t, k, 5)
				if want := []string{indexURL}; !slices.Equal(s.requests(), want) || !log.says(slog.LevelWarn, "asked for again") {
					t.Errorf("asked %q, want %q\n%s", s.requests(), want, log.lines.String())
				}
			})
		})
	}

	options.Indexes = []string{"https://example.com/other.json"}
	run(t, func(t *testing.T, k *library.Catalog, log *recorder) { checkVersions(t, k, 1) })
	if now := kept(t); len(now) != 1 || now[0] == paths[0] {
		t.Errorf("kept: %q", now)
	}
}

// An index that is a file is read when it changes, but not while it is written.
func TestIndexFile(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	path := filepath.Join(elsewhere, "index.json")
	inCatalog(t, dir, library.Options{}, library.CatalogOptions{Indexes: []string{path}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		if status := k.Indexes()[0]; !strings.Contains(status.Error, "no such file") || status.Name != path {
			t.Errorf("%+v", status)
		}
		writeFile(t, indexOf(5), path)
		pass(30 * time.Second)
		checkVersions(t, k, 5)
		if status := k.Indexes()[0]; status.Error != "" {
			t.Errorf("%+v", status)
		}
		whole := indexOf(6, 7)
		for at := 10; at < len(whole); at += 10 {
			writeFile(t, whole[:at], path)
			pass(5 * time.Second)
			checkVersions(t, k, 5)
		}
		writeFile(t, whole, path)
		pass(30 * time.Second)
		checkVersions(t, k, 7, 6)
		if n := strings.Count(log.lines.String(), "level=WARN"); n != 1 { // that it was not there at first
			t.Errorf("told %d times:\n%s", n, log.lines.String())
		}
		writeFile(t, []byte("{"), path)
		pass(time.Hour)
		checkVersions(t, k, 7, 6)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		checkVersions(t, k, 7, 6)
		if n := strings.Count(log.lines.String(), "level=WARN"); n != 2 {
			t.Errorf("told %d times:\n%s", n, log.lines.String())
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if status := k.Indexes()[0]; !strings.Contains(status.Error, "no regular file") {
			t.Errorf("%+v", status)
		}
	})
}

// Somebody who wants to know now is served, but a server is not pestered.
func TestIndexRefreshOnDemand(t *testing.T) {
	s := &site{files: map[string][]byte{indexURL: indexOf(5)}}
	inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		s.set(func() { s.files[indexURL] = indexOf(6) })
		for range 100 {
			k.Refresh()
			pass(100 * time.Millisecond)
		}
		if n := len(s.requests()); n != 1 {
			t.Errorf("asked %d times", n)
		}
		pass(time.Minute)
		k.Refresh()
		synctest.Wait()
		checkVersions(t, k, 6)
	})
}

// Entries that cannot be used are told once for each new state of the index.
func TestIndexWithBadEntries(t *testing.T) {
	s := &site{files: map[string][]byte{indexURL: []byte(`[{"x":1},` + string(indexOf(5))[1:])}}
	inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}, Interval: time.Hour}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		pass(10 * time.Hour)
		checkVersions(t, k, 5)
		if status := k.Indexes()[0]; status.Skipped != 1 || status.Problem == "" || status.Error != "" {
			t.Errorf("%+v", status)
		}
		if n := strings.Count(log.lines.String(), "level=WARN"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log.lines.String())
		}
	})
}

// A server that never ends is not waited for for ever, and the others are not held up by it.
func TestIndexServerHangs(t *testing.T) {
	s := &site{files: map[string][]byte{indexURL: indexOf(5)}}
	hanging := roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "hangs" {
			return s.RoundTrip(r)
		}
		return respond(r, 200, -1, io.MultiReader(strings.NewReader("[{"), &drip{r: r, every: 90 * time.Minute})), nil
	})
	inCatalog(t, t.TempDir(), library.Options{Transport: hanging}, library.CatalogOptions{Indexes: []string{"http://hangs/index.json", indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		checkVersions(t, k, 5)
		pass(time.Hour)
		if status := k.Indexes()[0]; !strings.Contains(status.Error, "no byte") {
			t.Errorf("%+v", status)
		}
	})
}

func TestNewCatalogRefuses(t *testing.T) {
	for _, location := range []string{"", "ftp://example.com/index.json", "https://"} {
		if _, err := library.NewCatalog(open(t, library.Options{}), library.CatalogOptions{Indexes: []string{location}}); err == nil {
			t.Errorf("%q was taken", location)
		}
	}
}

// wasRead reports whether the catalog says that everything was read once.
func wasRead(k *library.Catalog) bool {
	select {
	case <-k.Read():
		return true
	default:
		return false
	}
}

// It is known when everything was read for the first time: files that may still be written are waited for, and so is
// a server; an index that cannot be read, and one that is known from an earlier start, are not.
func TestCatalogWasRead(t *testing.T) {
	image := testImage(2000, 1)
	tests := map[string]struct {
		fresh bool          // a file in the folder was written just now
		index bool          // there is one, at a URL
		takes time.Duration // its server
		down  bool          // and is not there in the end
		cache bool          // it was read at an earlier start
		after time.Duration
	}{
		"nothing there":                {after: 0},
		"a file that is being written": {fresh: true, after: 2 * time.Second},
		"an index":                     {index: true, takes: 20 * time.Second, after: 20 * time.Second},
		"an index that cannot be read": {index: true, takes: 20 * time.Second, down: true, after: 20 * time.Second},
		"an index that is known":       {index: true, takes: 20 * time.Second, cache: true, after: 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := &site{files: map[string][]byte{indexURL: indexOf(1)}}
			options := library.CatalogOptions{}
			if tt.index {
				options.Indexes = []string{indexURL}
			}
			if tt.cache {
				inCatalog(t, dir, library.Options{Transport: s}, options,
					func(*testing.T, *library.Library, *library.Catalog, *recorder) { time.Sleep(time.Minute) })
			}
			if tt.down {
				s.down = errors.New("no route to host")
			}
			file := writeFile(t, image, dir, "a.ota")
			// Fake time begins in the year 2000.
			written := time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)
			if tt.fresh {
				written = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			}
			if err := os.Chtimes(file, written, written); err != nil {
				t.Fatal(err)
			}
			slow := library.Options{Transport: slowly{s, tt.takes}}
			test := func(t *testing.T, _ *library.Library, k *library.Catalog, _ *recorder) {
				if tt.after > 0 {
					time.Sleep(tt.after - time.Second)
					synctest.Wait()
					if wasRead(k) {
						t.Errorf("read in less than %v", tt.after)
					}
					time.Sleep(2 * time.Second)
					synctest.Wait()
				}
				if !wasRead(k) {
					t.Errorf("not read after %v", tt.after)
				}
			}
			inCatalog(t, dir, slow, options, test)
		})
	}
}

// slowly takes some time for each answer.
type slowly struct {
	site  *site
	takes time.Duration
}

func (s slowly) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(s.takes)
	return s.site.RoundTrip(r)
}
