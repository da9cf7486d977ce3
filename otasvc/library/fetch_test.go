package library_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

func gzipOf(t *testing.T, b []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func names(checks []otafile.Check) []string {
	var all []string
	for _, c := range checks {
		all = append(all, c.Name+" "+c.Status.String())
	}
	return all
}

func TestFetchValidates(t *testing.T) {
	image := testImage(3000, 1)
	damaged := bytes.Clone(image)
	damaged[100] ^= 1
	packed := gzipOf(t, image)
	long := sha512.Sum512(packed)
	sum512 := hex.EncodeToString(long[:])
	wrong := strings.Repeat("0", 64)

	for _, c := range []struct {
		name    string
		content []byte
		request library.Request
		says    []string // parts of the error; none where it is taken
		checks  []string
	}{
		{"nothing asked for", image, library.Request{}, nil, []string{"AES-MMO integrity code passed"}},
		{"SHA-256", image, library.Request{SHA256: digestOf(image)}, nil, []string{"SHA-256 of the download passed", "AES-MMO integrity code passed"}},
		{"digests in capitals, of the packed file", packed, library.Request{SHA256: strings.ToUpper(digestOf(packed)), SHA512: strings.ToUpper(sum512)}, nil,
			[]string{"SHA-256 of the download passed", "SHA-512 of the download passed", "AES-MMO integrity code passed"}},
		{"digest of the image instead of the packed file", packed, library.Request{SHA256: digestOf(image)},
			[]string{"SHA-256 of the download failed: expected " + digestOf(image) + ", found " + digestOf(packed)}, nil},
		{"wrong SHA-256", image, library.Request{SHA256: wrong}, []string{"expected " + wrong + ", found " + digestOf(image)}, nil},
		{"wrong SHA-512", image, library.Request{SHA512: wrong + wrong}, []string{"SHA-512 of the download failed: expected 0000"}, nil},
		{"one of both wrong", packed, library.Request{SHA256: wrong, SHA512: sum512}, []string{"SHA-256 of the download failed"}, nil},
		{"digest of no digits", image, library.Request{SHA256: "hello"}, []string{`must be 64 hex digits, not "hello"`}, nil},
		{"digest too short", image, library.Request{SHA512: wrong}, []string{"must be 128 hex digits"}, nil},
		{"wrong digest, forced", image, library.Request{SHA256: wrong, Force: true}, nil, []string{"SHA-256 of the download failed", "AES-MMO integrity code passed"}},

		{"its manufacturer and type", image, library.Request{ManufacturerCode: ptr(uint16(0x1234)), ImageType: ptr(uint16(0x42))}, nil, []string{"AES-MMO integrity code passed"}},
		{"another manufacturer", image, library.Request{ManufacturerCode: ptr(uint16(0x117C))}, []string{"manufacturer code is 0x1234 (4660), not 0x117C (4476)"}, nil},
		{"another manufacturer, forced", image, library.Request{ManufacturerCode: ptr(uint16(0x117C)), Force: true}, []string{"manufacturer code is 0x1234"}, nil},
		{"another type", image, library.Request{ImageType: ptr(uint16(0))}, []string{"image type is 0x0042 (66), not 0x0000 (0)"}, nil},
		{"damaged", damaged, library.Request{}, []string{"AES-MMO integrity code failed: expected "}, nil},
		{"damaged, forced", damaged, library.Request{Force: true}, nil, []string{"AES-MMO integrity code failed"}},
		{"a web page", []byte("<!DOCTYPE html><title>Sign in</title>"), library.Request{}, []string{"not a Zigbee OTA file", "web page"}, nil},
		{"a web page, forced", []byte("<!DOCTYPE html>"), library.Request{Force: true}, []string{"not a Zigbee OTA file"}, nil},
		{"empty", nil, library.Request{}, []string{"it is empty"}, nil},
		{"cut", image[:1000], library.Request{}, []string{"cut short"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, library.Options{Dir: dir})
			server := serve(t, static(c.content))
			c.request.URL = server.URL + "/fw/image.ota"
			got, err := l.Fetch(t.Context(), c.request)
			if c.says != nil {
				checkError(t, err, library.ErrValidation, append(c.says, c.request.URL)...)
				if files := stored(t, dir); len(files) != 0 || len(l.Images()) != 0 {
					t.Errorf("a refused image left %v", files)
				}
				return
			}
			want := c.content
			if bytes.HasPrefix(want, packed[:2]) {
				want = image
			}
			checkFetched(t, l, got, err, want)
			if d := cmp.Diff(c.checks, names(got.Checks)); d != "" {
				t.Errorf("checks (-want +got):\n%s", d)
			}
			if got.URL != c.request.URL {
				t.Errorf("URL %q", got.URL)
			}
		})
	}
}

func TestFetchErrorsOfTheFileStay(t *testing.T) {
	l := open(t, library.Options{})
	_, err := l.Fetch(t.Context(), library.Request{URL: serve(t, static([]byte("hello"))).URL})
	checkError(t, err, otafile.ErrNotOTA)
}

func TestFetchRefusesURLs(t *testing.T) {
	l := open(t, library.Options{})
	for _, c := range []struct {
		name, url string
		is        error
		says      string
	}{
		{"nothing", "", library.ErrAccess, "no URL"},
		{"no scheme", "example.com/image.ota", library.ErrAccess, "must start with http://"},
		{"a path", "/etc/passwd", library.ErrAccess, "must start with http://"},
		{"another scheme", "ftp://example.com/image.ota", library.ErrPolicy, `scheme is "ftp"`},
		{"data", "data:text/plain,hello", library.ErrPolicy, `scheme is "data"`},
		{"no host", "http:///image.ota", library.ErrAccess, "no host"},
		{"malformed", "http://[::1/image.ota", library.ErrAccess, "malformed"},
		{"control characters", "http://example.com/\x01", library.ErrAccess, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := l.Fetch(t.Context(), library.Request{URL: c.url})
			checkError(t, err, c.is, c.says)
		})
	}
}

// The transport must not unpack what a server packs on the way: a digest is of the bytes as they lie there.
func TestFetchAsksForNoCompression(t *testing.T) {
	image := testImage(3000, 1)
	packed := gzipOf(t, image)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("compression was asked for")
		}
		w.Header().Set("Content-Encoding", "gzip") // some servers say so of every .gz
		w.Write(packed)
	})
	for name, transport := range map[string]http.RoundTripper{"own": nil, "handed in": &http.Transport{DisableKeepAlives: true}} {
		t.Run(name, func(t *testing.T) {
			l := open(t, library.Options{Transport: transport})
			got, err := l.Fetch(t.Context(), library.Request{URL: server.URL, SHA256: digestOf(packed)})
			checkFetched(t, l, got, err, image)
			if got.Wrapper != "gzip" {
				t.Errorf("wrapper %q", got.Wrapper)
			}
		})
	}
}

// Some servers pack what they send although they were asked not to. A digest may be of either.
func TestFetchUnpacksWhatCameSo(t *testing.T) {
	image := testImage(3000, 1)
	packed, twice := gzipOf(t, image), gzipOf(t, gzipOf(t, image))
	for _, c := range []struct {
		name     string
		sent     []byte
		encoding string
		request  library.Request
		wrapper  string
		says     string // empty: it is taken
	}{
		{"no digest", packed, "gzip", library.Request{}, "gzip", ""},
		{"digest of what lies there", packed, "gzip", library.Request{SHA256: digestOf(image)}, "", ""},
		{"digest of what was sent", packed, "gzip", library.Request{SHA512: sha512Of(packed)}, "gzip", ""},
		{"by its old name", packed, "X-GZIP", library.Request{SHA256: digestOf(image)}, "", ""},
		{"packed, and packed again", twice, "gzip", library.Request{SHA256: digestOf(packed)}, "gzip", ""},
		{"no digest of either", packed, "gzip", library.Request{SHA256: digestOf(twice)}, "", "SHA-256 of the download failed: expected " + digestOf(twice) + ", found " + digestOf(packed)},
		{"digests of both", packed, "gzip", library.Request{SHA256: digestOf(image), SHA512: sha512Of(packed)}, "", "SHA-256 of the download failed"},
		{"packed without saying so", packed, "", library.Request{SHA256: digestOf(image)}, "", "SHA-256 of the download failed"},
		{"not packed although it says so", image, "gzip", library.Request{SHA256: digestOf(image)}, "", ""},
		{"unpacks to too much", gzipOf(t, make([]byte, 200_000)), "gzip", library.Request{SHA256: digestOf(make([]byte, 200_000))}, "", "SHA-256 of the download failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if c.encoding != "" {
					w.Header().Set("Content-Encoding", c.encoding)
				}
				w.Write(c.sent)
			})
			l := open(t, library.Options{MaxBytes: 100_000})
			c.request.URL = server.URL
			got, err := l.Fetch(t.Context(), c.request)
			if c.says != "" {
				checkError(t, err, library.ErrValidation, c.says)
				return
			}
			checkFetched(t, l, got, err, image)
			if got.Wrapper != c.wrapper {
				t.Errorf("wrapper %q, want %q", got.Wrapper, c.wrapper)
			}
		})
	}
}

// A server whose certificate a private authority has signed is taken only where that authority is known.
func TestFetchOverTLS(t *testing.T) {
	image := testImage(3000, 1)
	server := httptest.NewUnstartedServer(static(image))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	authorities := x509.NewCertPool()
	authorities.AddCert(server.Certificate())
	l := open(t, library.Options{Authorities: authorities})
	got, err := l.Fetch(t.Context(), library.Request{URL: server.URL})
	checkFetched(t, l, got, err, image)
	_, err = open(t, library.Options{}).Fetch(t.Context(), library.Request{URL: server.URL})
	checkError(t, err, library.ErrAccess, "an authority that is not known has signed", "ZIGATE_OTA_IMAGE_CA_FILE")
	_, err = open(t, library.Options{Authorities: x509.NewCertPool()}).Fetch(t.Context(), library.Request{URL: server.URL})
	checkError(t, err, library.ErrAccess, "an authority that is not known has signed")
}

func TestFetchTellsProgress(t *testing.T) {
	image := testImage(100_000, 1)
	for name, length := range map[string]int64{"length known": int64(len(image)), "length unknown": -1} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if length >= 0 {
					w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
				}
				w.Write(image)
			})
			l := open(t, library.Options{})
			var done []int64
			_, err := l.Fetch(t.Context(), library.Request{URL: server.URL, Progress: func(d, total int64) {
				done = append(done, d)
				if total != length {
					t.Errorf("total %d, want %d", total, length)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.IsSorted(done) || done[len(done)-1] != int64(len(image)) {
				t.Errorf("progress %v", done)
			}
		})
	}
}

func TestFetchConcurrently(t *testing.T) {
	image := testImage(50_000, 1)
	server := serve(t, static(image))
	dir := t.TempDir()
	l := open(t, library.Options{Dir: dir})
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			got, err := l.Fetch(t.Context(), library.Request{URL: server.URL})
			if err != nil || got.SHA256 != digestOf(image) {
				t.Errorf("%v, %v", got, err)
			}
			if _, err := l.Load(got.SHA256); err != nil {
				t.Error(err)
			}
			l.Images()
		})
	}
	wait.Wait()
	if d := cmp.Diff([]string{digestOf(image) + ".json", digestOf(image) + ".ota"}, stored(t, dir)); d != "" {
		t.Errorf("store (-want +got):\n%s", d)
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	began := make(chan struct{})
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 10))
		w.(http.Flusher).Flush()
		close(began)
		<-r.Context().Done()
	})
	l := open(t, library.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	_, err := l.Fetch(ctx, library.Request{URL: server.URL})
	checkError(t, err, context.Canceled)
	checkError(t, err, library.ErrAccess)
}

// roundTrip is a transport of one function.
type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// respond makes a response; a length of -1 is unknown.
func respond(r *http.Request, status int, length int64, body io.Reader, header ...string) *http.Response {
	response := &http.Response{StatusCode: status, Header: http.Header{}, ContentLength: length, Body: io.NopCloser(body), Request: r}
	for i := 0; i+1 < len(header); i += 2 {
		response.Header.Set(header[i], header[i+1])
	}
	return response
}
