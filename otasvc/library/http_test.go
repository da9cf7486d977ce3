package library_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// flaky serves versions of a file and cuts connections. It knows ranges as far as the test wants.
type flaky struct {
	mu       sync.Mutex
	requests []string // "Range If-Range" of each
	answer   func(n int, w http.ResponseWriter, r *http.Request)
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	n := len(f.requests)
	f.mu.Unlock()
	f.answer(n, w, r)
}

// cut sends a response's head and a part of its body, and breaks the connection.
func cut(w http.ResponseWriter, status int, length int, part []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(status)
	w.Write(part)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestFetchResumes(t *testing.T) {
	image, other := testImage(100_000, 1), testImage(100_000, 2)
	const got = 40_000 // bytes that come over the first connection
	whole := len(image)
	tail := fmt.Sprintf("bytes=%d-", got)
	partial := func(w http.ResponseWriter, from int, b []byte) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, whole-1, whole))
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(b)
	}
	for _, c := range []struct {
		name     string
		answer   func(n int, w http.ResponseWriter, r *http.Request)
		want     []byte
		requests []string
	}{
		{"changed within a second, and a date is all there is", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", "Sat, 21 Nov 2026 16:00:00 GMT")
			if n == 1 {
				cut(w, 200, whole, image[:got])
			}
			http.ServeContent(w, r, "", time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC), bytes.NewReader(other))
		}, other, []string{"", tail + " Sat, 21 Nov 2026 16:00:00 GMT", ""}},
		{"a part without the entity tag", func(n int, w http.ResponseWriter, r *http.Request) {
			switch n {
			case 1:
				w.Header().Set("ETag", `"v1"`)
				cut(w, 200, whole, image[:got])
			case 2:
				partial(w, got, other[got:])
				return
			}
			w.Write(other)
		}, other, []string{"", tail + ` "v1"`, ""}},
		{"with an entity tag", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			if n == 1 {
				cut(w, 200, whole, image[:got])
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image))
		}, image, []string{"", tail + ` "v1"`}},
		{"with a date", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", "Sat, 21 Nov 2026 16:00:00 GMT")
			if n == 1 {
				cut(w, 200, whole, image[:got])
			}
			http.ServeContent(w, r, "", time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC), bytes.NewReader(image))
		}, image, []string{"", tail + " Sat, 21 Nov 2026 16:00:00 GMT"}},
		{"with a server that is overloaded meanwhile", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			switch n {
			case 1:
				cut(w, 200, whole, image[:got])
			case 2:
				http.Error(w, "later", http.StatusServiceUnavailable)
				return
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image))
		}, image, []string{"", tail + ` "v1"`, tail + ` "v1"`}},
		{"twice", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			switch n {
			case 1:
				cut(w, 200, whole, image[:got])
			case 2:
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", got, whole-1, whole))
				cut(w, 206, whole-got, image[got:got+10_000])
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image))
		}, image, []string{"", tail + ` "v1"`, `bytes=50000- "v1"`}},
		{"in parts that the server chooses", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			switch n {
			case 1:
				cut(w, 200, whole, image[:got])
			case 2:
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", got, 49_999))
				w.WriteHeader(206)
				w.Write(image[got:50_000])
				return
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image))
		}, image, []string{"", tail + ` "v1"`, `bytes=50000- "v1"`}},
		{"of unknown length", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			if n == 1 {
				w.Write(image[:got])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image))
		}, image, []string{"", tail + ` "v1"`}},
		{"server knows no ranges", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			if n == 1 {
				cut(w, 200, whole, image[:got])
			}
			w.Write(image)
		}, image, []string{"", tail + ` "v1"`}},
		{"no entity tag, no date: from the start", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				cut(w, 200, whole, image[:got])
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image))
		}, image, []string{"", ""}},
		{"weak entity tag: from the start", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `W/"v1"`)
			if n == 1 {
				cut(w, 200, whole, image[:got])
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image))
		}, image, []string{"", ""}},
		{"changed meanwhile", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.Header().Set("ETag", `"v1"`)
				cut(w, 200, whole, image[:got])
			}
			w.Header().Set("ETag", `"v2"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(other))
		}, other, []string{"", tail + ` "v1"`}},
		{"changed meanwhile, server knows no If-Range", func(n int, w http.ResponseWriter, r *http.Request) {
			switch n {
			case 1:
				w.Header().Set("ETag", `"v1"`)
				cut(w, 200, whole, image[:got])
			case 2:
				w.Header().Set("ETag", `"v2"`)
				partial(w, got, other[got:])
				return
			}
			w.Header().Set("ETag", `"v2"`)
			w.Write(other)
		}, other, []string{"", tail + ` "v1"`, ""}},
		{"grown meanwhile, server sends no entity tag with a part", func(n int, w http.ResponseWriter, r *http.Request) {
			switch n {
			case 1:
				w.Header().Set("ETag", `"v1"`)
				cut(w, 200, whole-1, image[:got])
			case 2:
				partial(w, got, image[got:])
				return
			}
			w.Write(image)
		}, image, []string{"", tail + ` "v1"`, ""}},
		{"another part than asked for", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			switch n {
			case 1:
				cut(w, 200, whole, image[:got])
			case 2:
				partial(w, got-1, image[got-1:])
				return
			}
			w.Write(image)
		}, image, []string{"", tail + ` "v1"`, ""}},
		{"a part without saying which", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			switch n {
			case 1:
				cut(w, 200, whole, image[:got])
			case 2:
				w.WriteHeader(206)
				w.Write(image[got:])
				return
			}
			w.Write(image)
		}, image, []string{"", tail + ` "v1"`, ""}},
		{"shrunk meanwhile", func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			switch n {
			case 1:
				cut(w, 200, whole, image[:got])
			case 2:
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			w.Write(image)
		}, image, []string{"", tail + ` "v1"`, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &flaky{answer: c.answer}
			l := open(t, library.Options{})
			got, err := l.Fetch(t.Context(), library.Request{URL: serve(t, server.ServeHTTP).URL, SHA256: digestOf(c.want)})
			checkFetched(t, l, got, err, c.want)
			if d := cmp.Diff(c.requests, server.requests); d != "" {
				t.Errorf("ranges asked for (-want +got):\n%s", d)
			}
		})
	}
}

// Without a digest only a strong entity tag says that two parts are of one file.
func TestFetchJoinsNothingThatMayNotBelongTogether(t *testing.T) {
	image, other := testImage(100_000, 1), testImage(100_000, 2)
	const got = 40_000
	tests := map[string]struct {
		first, second http.Header
		want          []byte
		requests      []string
	}{
		"a strong entity tag": {
			first: http.Header{"Etag": {`"v1"`}}, second: http.Header{"Etag": {`"v1"`}},
			want: image, requests: []string{"", `bytes=40000- "v1"`},
		},
		"a weak one":     {first: http.Header{"Etag": {`W/"v1"`}}, second: http.Header{"Etag": {`W/"v1"`}}, want: other, requests: []string{"", ""}},
		"a date":         {first: http.Header{"Last-Modified": {"Sat, 21 Nov 2026 16:00:00 GMT"}}, want: other, requests: []string{"", ""}},
		"nothing at all": {want: other, requests: []string{"", ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := &flaky{answer: func(n int, w http.ResponseWriter, r *http.Request) {
				if n == 1 {
					maps.Copy(w.Header(), tt.first)
					cut(w, 200, len(image), image[:got])
				}
				maps.Copy(w.Header(), tt.second)
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(tt.want))
			}}
			l := open(t, library.Options{})
			fetched, err := l.Fetch(t.Context(), library.Request{URL: serve(t, server.ServeHTTP).URL})
			checkFetched(t, l, fetched, err, tt.want)
			if d := cmp.Diff(tt.requests, server.requests); d != "" {
				t.Errorf("ranges asked for (-want +got):\n%s", d)
			}
		})
	}
}

// A server that is asked with encryption must not send the request to where everybody on the way can change
// the image. The other direction is common, and fine.
func TestFetchStaysEncrypted(t *testing.T) {
	image := testImage(3000, 1)
	plain := serve(t, static(image))
	encrypted := httptest.NewTLSServer(static(image))
	t.Cleanup(encrypted.Close)
	down := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/image.ota?token=hunter2", http.StatusFound))
	t.Cleanup(down.Close)
	up := serve(t, http.RedirectHandler(encrypted.URL, http.StatusFound).ServeHTTP)
	authorities := x509.NewCertPool()
	authorities.AddCert(encrypted.Certificate())
	authorities.AddCert(down.Certificate())
	l := open(t, library.Options{Authorities: authorities})

	_, err := l.Fetch(t.Context(), library.Request{URL: down.URL})
	checkError(t, err, library.ErrPolicy, "without encryption", plain.URL+"/image.ota")
	if err != nil && strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%q shows a secret", err)
	}
	fetched, err := l.Fetch(t.Context(), library.Request{URL: up.URL})
	checkFetched(t, l, fetched, err, image)
}

// Neither records nor errors have what may be secret in a URL.
func TestPublicURL(t *testing.T) {
	tests := map[string]string{
		"https://example.com/a.ota":                            "https://example.com/a.ota",
		"https://example.com/a.ota?token=hunter2":              "https://example.com/a.ota",
		"https://alice:hunter2@example.com/a.ota?hunter2#part": "https://example.com/a.ota#part",
		"controller://driver/Lamp/a.ota":                       "controller://driver/Lamp/a.ota",
		"file:///var/lib/images/a.ota":                         "file:///var/lib/images/a.ota",
		"https://alice:hunter2@example.com:x/a?token=hunter2":  "https://example.com:x/a",
	}
	for in, want := range tests {
		if got := library.PublicURL(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestFetchFails(t *testing.T) {
	image := testImage(100_000, 1)
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", code) }
	}
	for _, c := range []struct {
		name    string
		options library.Options
		handler http.HandlerFunc
		is      error
		says    string
	}{
		{"404", library.Options{}, status(404), library.ErrAccess, "the server answered 404 Not Found"},
		{"500", library.Options{}, status(500), library.ErrAccess, "the server answered 500 Internal Server Error"},
		{"204", library.Options{}, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, library.ErrAccess, "204"},
		{"a part that nobody asked for", library.Options{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(image)-1, len(image)))
			w.WriteHeader(206)
			w.Write(image)
		}, library.ErrAccess, "206"},
		{"404 after the connection broke", library.Options{}, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("ETag", `"v1"`)
			cut(w, 200, len(image), image[:5000])
		}, library.ErrAccess, "404"},
		{"too large, as announced", library.Options{MaxBytes: 50_000}, static(image), library.ErrTooLarge, "at most 50000 are taken"},
		{"too large by one byte", library.Options{MaxBytes: int64(len(image)) - 1}, static(image), library.ErrTooLarge, ""},
		{"too large, unannounced", library.Options{MaxBytes: 50_000}, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(image); err != nil {
					return
				}
			}
		}, library.ErrTooLarge, "there are more than 50000 bytes"},
		{"too large, after a resume", library.Options{MaxBytes: 50_000}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			if r.Header.Get("Range") == "" {
				w.Write(image[:40_000])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 40000-%d/%d", len(image)-1, len(image)))
			w.WriteHeader(206)
			w.Write(image[40_000:])
		}, library.ErrTooLarge, "has 100084 bytes, at most 50000"},
		{"no head comes", library.Options{FetchTimeout: 20 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			library.ErrAccess, "no byte came for 20ms, after 0"},
		{"no body comes", library.Options{FetchTimeout: 20 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, library.ErrAccess, "no byte came for 20ms, after 0"},
		{"the body stops", library.Options{FetchTimeout: 50 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
			w.Write(image[:7000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, library.ErrAccess, "no byte came for 50ms, after 7000"},
		{"redirect in a circle", library.Options{}, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
			library.ErrAccess, "redirected more than 10 times"},
		{"redirect to another scheme", library.Options{}, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		},
			library.ErrPolicy, `scheme is "file"`},
		{"redirect to ftp", library.Options{}, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "ftp://127.0.0.1/x", http.StatusMovedPermanently)
		},
			library.ErrPolicy, `scheme is "ftp"`},
		{"redirect to a forbidden host", library.Options{AllowedHosts: []string{"127.0.0.1"}}, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://user:secret@localhost:"+r.Host[strings.LastIndex(r.Host, ":")+1:]+"/x", http.StatusFound)
		}, library.ErrPolicy, `images may not come from host "localhost", only from 127.0.0.1 (http://127.0.0.1:`},
		{"redirect to nowhere", library.Options{}, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusFound) }, library.ErrAccess, ""},
		{"no HTTP at all", library.Options{}, func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				io.WriteString(conn, "hello\r\n\r\n")
				conn.Close()
			}
		}, library.ErrAccess, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Dir = t.TempDir()
			l := open(t, c.options)
			url := serve(t, c.handler).URL + "/image.ota"
			_, err := l.Fetch(t.Context(), library.Request{URL: url})
			checkError(t, err, c.is, c.says, url)
			if !errors.Is(err, library.ErrAccess) || errors.Is(err, library.ErrValidation) {
				t.Errorf("%v is no ErrAccess alone", err)
			}
			if files := stored(t, c.options.Dir); len(files) != 0 {
				t.Errorf("a failed fetch left %v", files)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q shows a password", err)
			}
		})
	}
}

func TestFetchFromNobody(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	_, err := open(t, library.Options{}).Fetch(t.Context(), library.Request{URL: server.URL})
	checkError(t, err, library.ErrAccess, "refused")
}

func TestFetchFollowsRedirects(t *testing.T) {
	image := testImage(3000, 1)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Path[1:])
		if n > 0 {
			http.Redirect(w, r, "/"+strconv.Itoa(n-1), http.StatusFound)
			return
		}
		w.Write(image)
	})
	l := open(t, library.Options{AllowedHosts: []string{"*.0.0.1"}})
	got, err := l.Fetch(t.Context(), library.Request{URL: server.URL + "/10"})
	checkFetched(t, l, got, err, image)
	_, err = l.Fetch(t.Context(), library.Request{URL: server.URL + "/11"})
	checkError(t, err, library.ErrAccess, "more than 10 times")
}

func TestAllowedHosts(t *testing.T) {
	image := testImage(3000, 1)
	for _, c := range []struct {
		url     string
		allowed []string
		ok      bool
	}{
		{"http://ota.example.com/x", nil, true},
		{"http://ota.example.com/x", []string{"ota.example.com"}, true},
		{"http://OTA.Example.COM./x", []string{"Ota.example.Com "}, true},
		{"https://ota.example.com:8443/x", []string{"ota.example.com"}, true},
		{"http://ota.example.com:8080/x", []string{"ota.example.com:8080"}, true},
		{"http://ota.example.com:8081/x", []string{"ota.example.com:8080"}, false},
		{"http://ota.example.com/x", []string{"*.example.com"}, true},
		{"http://a.b.example.com/x", []string{"other.org", "*.example.com"}, true},
		{"http://example.com/x", []string{"*.example.com"}, false},
		{"http://evilexample.com/x", []string{"*.example.com"}, false},
		{"http://ota.example.com.evil.org/x", []string{"*.example.com", "ota.example.com"}, false},
		{"http://ota.example.com@evil.org/x", []string{"ota.example.com"}, false},
		{"http://evil.org/ota.example.com", []string{"*ota.example.com"}, false},
		{"http://[::1]:8080/x", []string{"::1"}, true},
		{"http://10.0.0.7/x", []string{"10.0.0.*"}, true},
	} {
		t.Run(fmt.Sprint(c.url, c.allowed), func(t *testing.T) {
			asked := false
			l := open(t, library.Options{AllowedHosts: c.allowed, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				asked = true
				return respond(r, 200, -1, bytes.NewReader(image)), nil
			})})
			_, err := l.Fetch(t.Context(), library.Request{URL: c.url})
			if c.ok != (err == nil) || asked != c.ok {
				t.Errorf("asked %v, %v", asked, err)
			}
			if !c.ok {
				checkError(t, err, library.ErrPolicy, "may not come from host")
			}
		})
	}
}

// Nothing that a user could read shows the user and password of a URL, and the server still gets them.
func TestFetchHidesCredentials(t *testing.T) {
	image := testImage(3000, 1)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/redirect":
			http.Redirect(w, r, "http://alice:hunter2@"+r.Host+":99999/", http.StatusFound)
		case r.URL.Path == "/bad":
			w.Header().Set("Location", "http://alice:hunter2@[::1")
			w.WriteHeader(http.StatusFound)
		case user != "alice" || password != "hunter2":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Write(image)
		}
	})
	host := strings.TrimPrefix(server.URL, "http://")
	var log recorder
	l := open(t, library.Options{Logger: log.logger()})
	got, err := l.Fetch(t.Context(), library.Request{URL: "http://alice:hunter2@" + host + "/image.ota"})
	checkFetched(t, l, got, err, image)
	if want := server.URL + "/image.ota"; got.URL != want {
		t.Errorf("URL %q, want %q", got.URL, want)
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, url := range []string{
		"http://alice:hunter2@" + host + "/redirect",
		"http://alice:hunter2@" + host + "/bad",
		"http://alice:hunter2@" + strings.TrimPrefix(closed.URL, "http://") + "/",
		"http://alice:hunter2wrong@" + host + "/",
		"http://alice:hunter2@[::1/",
		"http://alice:hunter2@host:port/",
		"http://alice:hunter2/@host/",
		"http://alice:hunter2 @host/",
		"http:alice:hunter2@host/",
		"//alice:hunter2@host/",
		"alice:hunter2@host/",
		"ftp://alice:hunter2@host/",
		"file://alice:hunter2@host/etc/passwd",
		"controller://alice:hunter2@driver/../x",
		"controller://alice:hunter2@host/a/b",
	} {
		_, err := l.Fetch(t.Context(), library.Request{URL: url})
		checkError(t, err, library.ErrAccess)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q shows the password", err)
		}
	}
	if strings.Contains(log.lines.String(), "hunter2") {
		t.Errorf("the log shows the password:\n%s", log.lines.String())
	}
}
