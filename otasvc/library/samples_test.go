package library_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// Each of the vendors' files, fetched from a server with its digest, is stored as the piece of it that its
// header describes, and its report has the digest and what the package otafile finds in it.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../../shared/images/*")
	if err != nil || len(files) == 0 {
		t.Skip("the vendors' files are not here")
	}
	dir := t.TempDir()
	l := open(t, library.Options{Dir: dir})
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			download, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f, err := otafile.Parse(download)
			if err != nil {
				t.Fatal(err)
			}
			server := serve(t, static(download))
			got, err := l.Fetch(t.Context(), library.Request{URL: server.URL + "/" + url.PathEscape(filepath.Base(file)), SHA256: digestOf(download), SHA512: sha512Of(download)})
			if err != nil {
				t.Fatal(err)
			}
			served, err := l.Load(got.SHA256)
			if err != nil || len(served) != int(f.Header.TotalSize) || !bytes.Contains(download, served) || !bytes.HasPrefix(served, magic) {
				t.Errorf("%d bytes are served: %v", len(served), err)
			}
			want := append([]string{"SHA-256 of the download passed", "SHA-512 of the download passed"}, names(f.Verify())...)
			if d := cmp.Diff(want, names(got.Checks)); d != "" {
				t.Errorf("checks (-want +got):\n%s", d)
			}
		})
	}
	if d := cmp.Diff(l.Images(), open(t, library.Options{Dir: dir}).Images()); d != "" {
		t.Errorf("after opening it again (-before +after):\n%s", d)
	}
}

var magic = []byte{0x1E, 0xF1, 0xEE, 0x0B}

// One service takes a driver's image from another, which serves it from the driver folder or out of a
// package; by the URL of the package itself, too.
func TestDriverFilesOfAnotherService(t *testing.T) {
	theirs, own, packed := driverDir(t)
	director := httptest.NewServer(open(t, library.Options{Dir: theirs}).DriverHandler())
	t.Cleanup(director.Close)
	for url, want := range map[string][]byte{
		"controller://driver/Lamp/own.zigbee":              own,
		"controller://driver/Lamp/v2/50%25%20new.zigbee":   own,
		"controller://driver/Lamp/packed.zigbee":           packed,
		"controller://driver/Lamp/sub/windows.zigbee":      packed,
		"controller://Driver/Plug.C4Z/packed.zigbee":       packed,
		director.URL + "/driver/Lamp/packed.zigbee":        packed,
		"controller://driver/Lamp/inside.zigbee#fragment":  own,
		"controller://driver/Lamp/packed.zigbee?version=2": packed,
	} {
		t.Run(url, func(t *testing.T) {
			l := open(t, library.Options{DirectorURL: director.URL, AllowedHosts: []string{"127.0.0.1"}})
			got, err := l.Fetch(t.Context(), library.Request{URL: url, SHA256: digestOf(want)})
			checkFetched(t, l, got, err, want)
		})
	}
	l := open(t, library.Options{DirectorURL: director.URL})
	for _, path := range []string{"Lamp/outside.zigbee", "Lamp/.secret", ".git/config", "Lamp/root/etc/passwd", "Lamp/%2e%2e%2f%2e%2e%2foutside.zigbee", "Nobody/x"} {
		_, err := l.Fetch(t.Context(), library.Request{URL: "controller://driver/" + path})
		checkError(t, err, library.ErrAccess)
	}
}

func nowhere(r *http.Request) (*http.Response, error) { return respond(r, 404, 0, http.NoBody), nil }

// Packages that are made to do harm are refused, with words that say why.
func TestHostilePackages(t *testing.T) {
	image := testImage(3000, 1)
	many := append(bytes.Repeat([]byte("PK\x01\x02"), 10_001), driverPackage(t, map[string][]byte{"www/image.zigbee": image})...)
	for _, c := range []struct {
		name    string
		content []byte
		file    string
		is      error
		says    string
	}{
		{"a bomb", driverPackage(t, map[string][]byte{"www/image.zigbee": make([]byte, 5<<20)}), "image.zigbee", library.ErrTooLarge, "unpacks to more than"},
		{"too many files", many, "image.zigbee", library.ErrAccess, "more than 10000 files"},
		{"names that lead out", driverPackage(t, map[string][]byte{"../image.zigbee": image, "www/../image.zigbee": image, "/www/image.zigbee": image}), "image.zigbee", library.ErrAccess, ""},
		{"cut", driverPackage(t, map[string][]byte{"www/image.zigbee": image})[:500], "image.zigbee", library.ErrAccess, "cannot be opened"},
		{"empty", nil, "image.zigbee", library.ErrAccess, "cannot be opened"},
		{"no image in it", driverPackage(t, map[string][]byte{"www/image.zigbee": []byte("hello")}), "image.zigbee", library.ErrValidation, "not a Zigbee OTA file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, c.content, dir, "driver", "Lamp.c4z")
			l := open(t, library.Options{Dir: dir, MaxBytes: 1 << 20, Transport: roundTrip(nowhere)})
			_, err := l.Fetch(t.Context(), library.Request{URL: "controller://driver/Lamp/" + c.file})
			checkError(t, err, c.is, c.says)
			if files := stored(t, dir); len(files) != 0 {
				t.Errorf("it left %v", files)
			}
		})
	}
}

// An index may list a downgrade that it wants to be forced upon everybody. That is for people to decide.
func TestIndexForcesNothing(t *testing.T) {
	entry := func(version string, more string) string {
		return `{"url":"http://x/` + version + `","manufacturerCode":4660,"imageType":66,"fileVersion":` + version + more + `}`
	}
	index, err := library.ParseIndex([]byte("["+entry("2", "")+","+entry("1", `,"force":true`)+"]"), "http://x/index.json")
	if err != nil {
		t.Fatal(err)
	}
	best, err := library.NewMatcher(index.Entries).Match(library.Device{ManufacturerCode: 0x1234, ImageType: 0x42, CurrentVersion: ptr(uint32(1))})
	if err != nil || best.FileVersion != 2 || !slices.ContainsFunc(index.Entries, func(c library.Candidate) bool { return c.FileVersion == 1 }) {
		t.Errorf("%+v, %v", best, err)
	}
}
