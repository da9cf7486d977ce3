package library_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// People write indexes of their own with nothing in them but where the images are.
func TestBareEntriesAreCompleted(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	const url = "https://example.com/lamp-21.ota"
	writeFile(t, versioned(20, 1), elsewhere, "images", "lamp.ota")
	writeFile(t, []byte("no image"), elsewhere, "notes.txt")
	path := writeFile(t, []byte(fmt.Sprintf(`[{"url":"images/lamp.ota","force":true},{"url":%q,"modelId":"Lamp"},{"path":"notes.txt"},{"path":"gone.ota"},{"modelId":"Lamp"}]`, url)), elsewhere, "index.json")
	s := &site{files: map[string][]byte{url: versioned(21, 1)}}
	options := library.CatalogOptions{Indexes: []string{path}}
	inCatalog(t, dir, library.Options{Transport: s}, options, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		pass(time.Second)
		checkVersions(t, k, 21, 20)
		status := k.Indexes()[0]
		if status.Images != 2 || status.Skipped != 3 || !strings.Contains(status.Problem, "entry 5: it has no URL") {
			t.Errorf("%+v", status)
		}
		for _, c := range k.All(device()) {
			image, err := k.Ensure(t.Context(), c)
			checkFetched(t, l, image, err, versioned(c.FileVersion, 1))
			if c.Size != uint32(len(versioned(20, 1))) {
				t.Errorf("%+v", c)
			}
		}
		pass(time.Hour)
		if n := strings.Count(log.lines.String(), "cannot be used"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log.lines.String())
		}
		writeFile(t, versioned(22, 1), elsewhere, "gone.ota")
		pass(11 * time.Minute)
		checkVersions(t, k, 22, 21, 20)
	})
	s.down = errors.New("no network")
	inCatalog(t, dir, library.Options{Transport: s}, options, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		pass(time.Second)
		checkVersions(t, k, 22, 21, 20)
	})
}

// What an entry says must be what its image says, also where it says only a part of it.
func TestBareEntriesAreVerified(t *testing.T) {
	damaged := versioned(20, 1)
	damaged[len(damaged)-1] ^= 1
	for _, c := range []struct{ name, more, says string }{
		{"another version", `,"fileVersion":19`, "file version is 0x00000014, not 0x00000013"},
		{"another digest", `,"sha512":"` + sha512Of(nil) + `"`, "SHA-512 of the download failed"},
		{"damaged", "", otafile.CheckIntegrityCode},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			image := versioned(20, 1)
			if c.more == "" {
				image = damaged
			}
			writeFile(t, image, dir, "lamp.ota")
			path := writeFile(t, []byte(`[{"url":"lamp.ota"`+c.more+`}]`), dir, "index.json")
			inCatalog(t, t.TempDir(), library.Options{}, library.CatalogOptions{Indexes: []string{path}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				checkVersions(t, k)
				if status := k.Indexes()[0]; status.Skipped != 1 || !strings.Contains(status.Problem, c.says) {
					t.Errorf("%+v", status)
				}
			})
		})
	}
}

// An index from elsewhere may not leave anything out: looking at all of its images would fetch them all.
func TestBareEntriesFromElsewhereAreNot(t *testing.T) {
	index, err := library.ParseIndex([]byte(`[{"url":"lamp.ota"},`+zigbee2mqtt("")+`]`), "https://example.com/index.json")
	if err != nil || index.Skipped != 1 || !strings.Contains(index.Problem, "no manufacturer code") {
		t.Errorf("%v, %+v", err, index)
	}
	index, err = library.ParseIndex([]byte(`[{"url":"lamp.ota"}]`), filepath.Join(t.TempDir(), "index.json"))
	if err != nil || index.Skipped != 0 || len(index.Entries) != 0 {
		t.Errorf("%v, %+v", err, index)
	}
}
