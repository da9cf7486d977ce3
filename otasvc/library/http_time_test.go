package library_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// What a fetch does when time passes, in fake time over a transport without sockets.

func TestFetchGivesUp(t *testing.T) {
	image := testImage(3000, 1)
	for _, c := range []struct {
		name     string
		respond  func(r *http.Request, n int) (*http.Response, error)
		requests int
		took     time.Duration
		says     string
	}{
		{"it never comes through", func(r *http.Request, n int) (*http.Response, error) {
			return respond(r, 200, int64(len(image)), io.MultiReader(bytes.NewReader(image[:100]), iotest.ErrReader(io.ErrUnexpectedEOF))), nil
		}, 9, 127 * 250 * time.Millisecond, "the connection broke after 100 bytes: unexpected EOF (given up after 9 attempts)"},
		{"less than announced, and no error", func(r *http.Request, n int) (*http.Response, error) {
			return respond(r, 200, int64(len(image)), bytes.NewReader(image[:100])), nil
		}, 9, 127 * 250 * time.Millisecond, "the server announced 3084 bytes and sent 100"},
		{"more than announced", func(r *http.Request, n int) (*http.Response, error) {
			return respond(r, 200, 100, bytes.NewReader(image)), nil
		}, 1, 0, "the server announced 100 bytes and sent more"},
		{"the server goes away meanwhile", func(r *http.Request, n int) (*http.Response, error) {
			if n > 1 {
				return nil, errors.New("connection refused")
			}
			return respond(r, 200, int64(len(image)), iotest.ErrReader(io.ErrUnexpectedEOF)), nil
		}, 9, 127 * 250 * time.Millisecond, "connection refused (given up after 9 attempts)"},
		{"the server is not there to begin with", func(r *http.Request, n int) (*http.Response, error) {
			return nil, errors.New("connection refused")
		}, 1, 0, "connection refused"},
		{"a byte a minute", func(r *http.Request, n int) (*http.Response, error) {
			return respond(r, 200, -1, &drip{r: r, every: time.Minute}), nil
		}, 1, time.Hour, "too slow"},
		{"a byte every three minutes", func(r *http.Request, n int) (*http.Response, error) {
			return respond(r, 200, -1, &drip{r: r, every: 3 * time.Minute}), nil
		}, 1, 2 * time.Minute, "no byte came for 2m0s, after 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				l := open(t, library.Options{Dir: dir, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					requests++
					return c.respond(r, requests)
				})})
				start := time.Now()
				_, err := l.Fetch(t.Context(), library.Request{URL: "http://example.com/image.ota"})
				checkError(t, err, library.ErrAccess, c.says, "http://example.com/image.ota")
				if took := time.Since(start); took != c.took || requests != c.requests {
					t.Errorf("%d requests in %v, want %d in %v", requests, took, c.requests, c.took)
				}
			})
		})
	}
}

// drip gives a zero now and then, as long as the request lasts.
type drip struct {
	r     *http.Request
	every time.Duration
}

func (d *drip) Read(p []byte) (int, error) {
	select {
	case <-time.After(d.every):
		p[0] = 0
		return 1, nil
	case <-d.r.Context().Done():
		return 0, d.r.Context().Err()
	}
}

// A download that goes on, however slowly, is not ended by the time-out without a byte.
func TestFetchIsPatient(t *testing.T) {
	image := testImage(3000, 1)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		chunks := slices.Collect(slices.Chunk(image, 300))
		l := open(t, library.Options{Dir: dir, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			pipe, w := io.Pipe()
			go func() {
				for _, chunk := range chunks {
					time.Sleep(119 * time.Second)
					w.Write(chunk)
				}
				w.Close()
			}()
			return respond(r, 200, -1, pipe), nil
		})})
		got, err := l.Fetch(t.Context(), library.Request{URL: "http://example.com/image.ota"})
		checkFetched(t, l, got, err, image)
	})
}

// Many fetches at once take turns, but do not wait long for those that hang.
func TestFetchesTakeTurns(t *testing.T) {
	image := testImage(3000, 1)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var under, most atomic.Int32
		hangs := func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/hangs") }
		l := open(t, library.Options{Dir: dir, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if hangs(r) {
				return respond(r, 200, -1, &drip{r: r, every: time.Hour}), nil
			}
			most.Store(max(most.Load(), under.Add(1)))
			defer under.Add(-1)
			time.Sleep(time.Second)
			return respond(r, 200, int64(len(image)), bytes.NewReader(image)), nil
		})})
		fetch := func(n int, name string, succeeds bool) (took time.Duration) {
			var all sync.WaitGroup
			start := time.Now()
			for range n {
				all.Go(func() {
					if _, err := l.Fetch(t.Context(), library.Request{URL: "http://example.com/" + name}); (err == nil) != succeeds {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			all.Wait()
			return time.Since(start)
		}
		if took := fetch(20, "image.ota", true); took != 5*time.Second || most.Load() != 4 {
			t.Errorf("20 took %v, up to %d at once", took, most.Load())
		}
		hanging := make(chan struct{})
		go func() { fetch(10, "hangs.ota", false); close(hanging) }()
		synctest.Wait()
		if took := fetch(1, "image.ota", true); took != 11*time.Second {
			t.Errorf("behind others that hang it took %v", took)
		}
		<-hanging
	})
}
