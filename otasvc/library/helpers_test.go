package library_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// testImage is an OTA file of about n bytes with an integrity code; the last byte of its payload is the seed,
// so that different seeds give different images of one manufacturer, type and version.
func testImage(n int, seed byte) []byte {
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = byte(i*7 + i>>8)
	}
	payload[0] = seed
	payload[n-1] = seed
	return otafile.Build(otafile.Header{ManufacturerCode: 0x1234, ImageType: 0x0042, FileVersion: 0x01020304, StackVersion: 2}, payload, otafile.WithIntegrityCode())
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// open opens a library in a folder of its own, or in options.Dir.
func open(t *testing.T, options library.Options) *library.Library {
	t.Helper()
	if options.Dir == "" {
		options.Dir = t.TempDir()
	}
	l, err := library.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// static serves the same bytes to everybody, without ranges.
func static(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b)
	}
}

func writeFile(t *testing.T, b []byte, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// stored returns the names of the files in the store.
func stored(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// checkFetched fails the test unless the image is what Load returns.
func checkFetched(t *testing.T, l *library.Library, got library.Image, err error, want []byte) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if got.SHA256 != digestOf(want) || int(got.Size) != len(want) || got.Header.ManufacturerCode != 0x1234 {
		t.Errorf("fetched %+v", got)
	}
	b, err := l.Load(got.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if digestOf(b) != digestOf(want) {
		t.Error("Load returns something else than was fetched")
	}
}

// checkError fails the test unless the error is what it should be and says what it should say.
func checkError(t *testing.T, err, is error, says ...string) {
	t.Helper()
	if !errors.Is(err, is) {
		t.Fatalf("got %v, want %v", err, is)
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

// recorder is a log that a test can ask.
type recorder struct{ lines builder }

// builder is a strings.Builder for several goroutines.
type builder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *builder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *builder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *builder) Len() int { return len(b.String()) }

func (r *recorder) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(&r.lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (r *recorder) says(level slog.Level, part string) bool {
	return slices.ContainsFunc(strings.Split(r.lines.String(), "\n"), func(line string) bool {
		return strings.Contains(line, "level="+level.String()) && strings.Contains(line, part)
	})
}

func sha512Of(b []byte) string {
	sum := sha512.Sum512(b)
	return hex.EncodeToString(sum[:])
}
