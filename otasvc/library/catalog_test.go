package library_test

import (
	"bytes"
	"context"
	"crypto/sha3"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

func sha3Of(b []byte) string {
	sum := sha3.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// versioned is an image of this version.
func versioned(v uint32, seed byte) []byte {
	return headed(seed, func(h *otafile.Header) { h.FileVersion = v })
}

// entryOf is an index entry for what is at a URL; the image is the one in it.
func entryOf(url string, image, download []byte, more string) string {
	h, err := otafile.ParseHeader(image)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"fileVersion":%d,"fileSize":%d,"imageType":%d,"manufacturerCode":%d,"url":%q,"sha512":%q%s}`,
		h.FileVersion, h.TotalSize, h.ImageType, h.ManufacturerCode, url, sha512Of(download), more)
}

func list(entries ...string) []byte { return []byte("[" + strings.Join(entries, ",") + "]") }

// An entry's image is fetched when it is needed, once, and is known from then on.
func TestCatalogFetchesWhatIsNeeded(t *testing.T) {
	image := versioned(20, 1)
	packed := gzipOf(t, image)
	const url = "https://example.com/images/lamp.gz"
	zigpyEntry := fmt.Sprintf(`{"firmwares":[{"path":"images/lamp.gz","file_version":20,"file_size":%d,"image_type":66,"manufacturer_id":4660,"checksum":"sha3-256:%s","changelog":"brighter"}]}`, len(packed), sha3Of(packed))
	sha256Entry := fmt.Sprintf(`{"firmwares":[{"binary_url":%q,"file_version":20,"file_size":%d,"image_type":66,"manufacturer_id":4660,"checksum":"sha256:%s","release_notes":"brighter"}]}`, url, len(packed), digestOf(packed))
	for _, c := range []struct {
		name  string
		index []byte
		check string // name of the check of the download; empty: there is none
	}{
		{"SHA-512", list(entryOf(url, image, packed, `,"releaseNotes":"brighter"`)), library.CheckSHA512},
		{"SHA3-256", []byte(zigpyEntry), library.CheckSHA3},
		{"SHA-256", []byte(sha256Entry), library.CheckSHA256},
		{"no digest", []byte(`[{"fileVersion":20,"imageType":66,"manufacturerCode":4660,"url":"images/lamp.gz","releaseNotes":"brighter"}]`), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := &site{files: map[string][]byte{indexURL: c.index, url: packed}}
			options := library.CatalogOptions{Indexes: []string{indexURL}}
			key := ""
			inCatalog(t, dir, library.Options{Transport: s}, options, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				pass(time.Hour)
				best, ok := k.Best(device())
				if !ok || best.Source != library.SourceIndex || best.Origin != indexURL || best.FileVersion != 20 || best.URL != url || best.ReleaseNotes != "brighter" ||
					best.Stored || best.SHA256 != "" {
					t.Fatalf("%v, %+v", ok, best)
				}
				if asked := s.requests(); len(asked) != 1 {
					t.Errorf("asked for %q before anybody needed it", asked)
				}
				key = best.Key()
				<-k.Changed()
				got, err := k.Ensure(t.Context(), best)
				checkFetched(t, l, got, err, image)
				if got.URL != url || got.Checks[0].Name != c.check && c.check != "" {
					t.Errorf("%+v", got)
				}
				<-k.Changed()
				best, ok = k.Best(device())
				if !ok || !best.Stored || best.SHA256 != digestOf(image) || int(best.Size) != len(image) || best.Key() != key {
					t.Errorf("%v, %+v", ok, best)
				}
				s.set(func() { delete(s.files, url) })
				if again, err := k.Ensure(t.Context(), best); err != nil || again.SHA256 != got.SHA256 || len(s.requests()) != 2 {
					t.Errorf("%+v, %v, asked %q", again, err, s.requests())
				}
			})
			s.files[url] = packed
			if c.check == "" {
				return // nothing says that it is the same the next time
			}
			inCatalog(t, dir, library.Options{Transport: s}, options, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				if best, ok := k.Best(device()); !ok || !best.Stored || best.SHA256 != digestOf(image) || best.Key() != key {
					t.Errorf("after a restart: %v, %+v", ok, best)
				}
			})
		})
	}
}

// What is at the URL must be what the index says.
func TestCatalogVerifies(t *testing.T) {
	image := versioned(20, 1)
	const url = "https://example.com/lamp.ota"
	plain := func(more string) []byte {
		return []byte(`[{"fileVersion":20,"imageType":66,"manufacturerCode":4660,"url":"lamp.ota"` + more + `}]`)
	}
	for _, c := range []struct {
		name    string
		index   []byte
		content []byte
		is      error
		says    string
	}{
		{"as it should be", list(entryOf(url, image, image, "")), image, nil, ""},
		{"another digest", list(entryOf(url, image, image, "")), versioned(20, 2), library.ErrValidation, "SHA-512 of the download failed"},
		{"another SHA3", []byte(`{"firmwares":[{"binary_url":"lamp.ota","file_version":20,"image_type":66,"manufacturer_id":4660,"checksum":"sha3-256:` + sha3Of(nil) + `"}]}`), image, library.ErrValidation, "SHA3-256 of the download failed"},
		{"another version than the index says", plain(`,"fileVersion":21`), image, library.ErrValidation, "file version is 0x00000014, not 0x00000015"},
		{"another manufacturer code", plain(""), headed(1, func(h *otafile.Header) { h.ManufacturerCode, h.FileVersion = 1, 20 }), library.ErrValidation, "manufacturer code is 0x0001"},
		{"another image type", plain(""), headed(1, func(h *otafile.Header) { h.ImageType, h.FileVersion = 1, 20 }), library.ErrValidation, "image type is 0x0001"},
		{"size of the image, no digest", plain(fmt.Sprintf(`,"fileSize":%d`, len(image))), image, nil, ""},
		{"size of the download, no digest", plain(fmt.Sprintf(`,"fileSize":%d`, len(image)+3)), append(bytes.Clone(image), "end"...), nil, ""},
		{"another size, no digest", plain(`,"fileSize":5`), image, library.ErrValidation, "it should have 5 bytes"},
		{"another size, but the digest is right", list(entryOf(url, image, image, `,"fileSize":5`)), image, nil, ""},
		{"damaged, and so is the index's digest", list(entryOf(url, image, append(image[:len(image)-1:len(image)-1], 0), "")), append(image[:len(image)-1:len(image)-1], 0), library.ErrValidation, "AES-MMO integrity code failed"},
		{"for Thread", plain(""), headed(1, func(h *otafile.Header) { h.HeaderVersion, h.FileVersion = 0x0200, 20 }), library.ErrValidation, "Thread"},
		{"gone", plain(""), nil, library.ErrAccess, "404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &site{files: map[string][]byte{indexURL: c.index}}
			if c.content != nil {
				s.files[url] = c.content
			}
			inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				best, ok := k.Best(device())
				if !ok {
					t.Fatal("nothing fits")
				}
				_, err := k.Ensure(t.Context(), best)
				if c.is == nil {
					if err != nil {
						t.Error(err)
					}
					return
				}
				checkError(t, err, c.is, c.says, url)
			})
		})
	}
}

// The limits in a header count as soon as they are known.
func TestCatalogLearnsFromHeaders(t *testing.T) {
	image := headed(1, func(h *otafile.Header) {
		h.FileVersion, h.MinHardwareVersion, h.MaxHardwareVersion = 20, ptr(uint16(2)), ptr(uint16(5))
	})
	const url = "https://example.com/lamp.ota"
	s := &site{files: map[string][]byte{indexURL: list(entryOf(url, image, image, `,"hardwareVersionMin":1,"hardwareVersionMax":4`)), url: image}}
	inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		fits := func() (versions []uint16) {
			for v := range uint16(7) {
				d := device()
				d.HardwareVersion = &v
				if _, ok := k.Best(d); ok {
					versions = append(versions, v)
				}
			}
			return versions
		}
		if got := fmt.Sprint(fits()); got != "[1 2 3 4]" {
			t.Errorf("fits hardware %s by the index", got)
		}
		best, _ := k.Best(device())
		if _, err := k.Ensure(t.Context(), best); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(fits()); got != "[2 3 4]" {
			t.Errorf("fits hardware %s by index and header", got)
		}
		d := device()
		d.HardwareVersion = ptr(uint16(5))
		checkError(t, k.Explain(d), library.ErrNoMatch, "from "+indexURL, "is for hardware versions from 2 to 4, not 5")
	})
}

// An image that somebody took by force is not given to others because an index lists it.
func TestCatalogDoesNotOfferWhatWasForced(t *testing.T) {
	image := versioned(20, 1)
	image[len(image)-1] ^= 1
	const url = "https://example.com/lamp.ota"
	s := &site{files: map[string][]byte{indexURL: list(entryOf(url, image, image, "")), url: image}}
	inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		best, ok := k.Best(device())
		if !ok {
			t.Fatal("nothing fits")
		}
		if _, err := l.Fetch(t.Context(), library.Request{URL: url, Force: true}); err != nil {
			t.Fatal(err)
		}
		if best, ok := k.Best(device()); ok {
			t.Errorf("offered: %+v", best)
		}
		_, err := k.Ensure(t.Context(), best)
		checkError(t, err, library.ErrValidation, "integrity code failed")
	})
}

// Which place an image is taken from.
func TestCatalogOrder(t *testing.T) {
	const other = "https://example.com/other.json"
	for _, c := range []struct {
		name          string
		folder        map[string][]byte
		first, second []byte // the indexes
		want          string // source and version; or what Explain says
		all           []uint32
	}{
		{"the folder alone", map[string][]byte{"a.ota": versioned(20, 1)}, indexOf(), indexOf(), "folder 20", []uint32{20}},
		{"an index alone", nil, indexOf(20, 19), indexOf(), "index 20", []uint32{20, 19}},
		{"the folder is newer", map[string][]byte{"a.ota": versioned(20, 1)}, indexOf(19), indexOf(), "folder 20", []uint32{20, 19}},
		{"an index is newer", map[string][]byte{"a.ota": versioned(20, 1)}, indexOf(21), indexOf(), "index 21", []uint32{21, 20}},
		{"equally new", map[string][]byte{"a.ota": versioned(20, 1)}, indexOf(20), indexOf(20), "folder 20", []uint32{20}},
		{"the first index wins", nil, indexOf(18), indexOf(20), "index 18", []uint32{20, 18}},
		{"unless it has nothing that fits", nil, []byte(`[{"fileVersion":30,"imageType":66,"manufacturerCode":4660,"url":"x","modelId":"Plug"}]`), indexOf(20), "index 20", []uint32{20}},
		{"an index whose best is ambiguous wins, too, and so there is none", nil,
			[]byte(`[{"fileVersion":9,"imageType":66,"manufacturerCode":4660,"url":"a"},{"fileVersion":9,"imageType":66,"manufacturerCode":4660,"url":"b"}]`), indexOf(20),
			"different bytes, as https://example.com/a and as https://example.com/b", []uint32{20}},
		{"but the folder goes on", map[string][]byte{"a.ota": versioned(5, 1)},
			[]byte(`[{"fileVersion":9,"imageType":66,"manufacturerCode":4660,"url":"a"},{"fileVersion":9,"imageType":66,"manufacturerCode":4660,"url":"b"}]`), indexOf(),
			"folder 5", []uint32{5}},
		{"a folder that is ambiguous", map[string][]byte{"a.ota": versioned(20, 1), "b.ota": versioned(20, 2)}, indexOf(30), indexOf(), "/a.ota and as file://", []uint32{30}},
		{"the same twice in the folder", map[string][]byte{"a.ota": versioned(20, 1), "b.ota": versioned(20, 1)}, indexOf(), indexOf(), "folder 20", []uint32{20}},
		{"nothing", nil, indexOf(), indexOf(), "neither the image folder nor an index has one for manufacturer code 0x1234, image type 0x0042", nil},
		{"nothing that fits", nil, []byte(`[{"fileVersion":9,"imageType":66,"manufacturerCode":4660,"url":"a","minFileVersion":11}]`), indexOf(),
			"file version 0x00000009 from https://example.com/index.json may only follow on file versions from 0x0000000B, not 0x0000000A", nil},
		{"nothing, and an index is not there", nil, indexOf(), nil, "(the index https://example.com/other.json cannot be read: ", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.folder {
				writeFile(t, content, dir, name)
			}
			s := &site{files: map[string][]byte{indexURL: c.first}}
			if c.second != nil {
				s.files[other] = c.second
			}
			inCatalog(t, dir, library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL, other, indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				pass(settle)
				best, ok := k.Best(device())
				err := k.Explain(device())
				if got := fmt.Sprintf("%s %d", best.Source, best.FileVersion); ok && (got != c.want || err != nil) {
					t.Errorf("%s, %v, want %s", got, err, c.want)
				}
				if !ok && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%v does not say %q", err, c.want)
				}
				checkVersions(t, k, c.all...)
				if len(k.Indexes()) != 2 {
					t.Errorf("indexes: %+v", k.Indexes())
				}
			})
		})
	}
}

// A file of the folder is stored when it is needed, and what is served does not change with it.
func TestCatalogStoresFolderImages(t *testing.T) {
	dir := t.TempDir()
	image := versioned(20, 1)
	writeFile(t, gzipOf(t, image), dir, "vendor", "50% new.gz")
	inCatalog(t, dir, library.Options{}, library.CatalogOptions{}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		pass(settle)
		best, ok := k.Best(device())
		if !ok || best.Source != library.SourceFolder || best.Origin != "vendor/50% new.gz" || best.SHA256 != digestOf(image) || best.Stored || best.URL != fileURL(dir)+"/vendor/50%25%20new.gz" {
			t.Fatalf("%v, %+v", ok, best)
		}
		got, err := k.Ensure(t.Context(), best)
		checkFetched(t, l, got, err, image)
		if again, ok := k.Best(device()); !ok || !again.Stored || again.Key() != best.Key() || got.URL != best.URL {
			t.Errorf("%v, %+v, %+v", ok, again, got)
		}
		writeFile(t, versioned(21, 1), dir, "vendor", "50% new.gz")
		checkFetched(t, l, got, nil, image)
		pass(rescan + settle)
		checkVersions(t, k, 21)
		if _, err := k.Ensure(t.Context(), best); err != nil {
			t.Errorf("it is in the store: %v", err)
		}
		best, _ = k.Best(device())
		writeFile(t, versioned(21, 2), dir, "vendor", "50% new.gz")
		_, err = k.Ensure(t.Context(), best)
		checkError(t, err, library.ErrAccess, "has changed since it was looked at")
		writeFile(t, []byte("hello"), dir, "vendor", "50% new.gz")
		_, err = k.Ensure(t.Context(), best)
		checkError(t, err, library.ErrValidation, "not a Zigbee OTA file")
		if err := os.Remove(filepath.Join(dir, "vendor", "50% new.gz")); err != nil {
			t.Fatal(err)
		}
		_, err = k.Ensure(t.Context(), best)
		checkError(t, err, library.ErrAccess, "no such file", best.URL)
		pass(rescan)
		checkVersions(t, k)
	})
}

// Images that lie beside an index are taken from there, and from nowhere else on the disk.
func TestCatalogLocalIndex(t *testing.T) {
	dir, elsewhere, outside := t.TempDir(), t.TempDir(), t.TempDir()
	image := versioned(20, 1)
	writeFile(t, image, elsewhere, "images", "lamp.ota")
	writeFile(t, image, outside, "lamp.ota")
	writeFile(t, image, dir, "own.ota")
	if err := os.Symlink(filepath.Join(outside, "lamp.ota"), filepath.Join(elsewhere, "link.ota")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		is   error
		says string
	}{
		{"images/lamp.ota", nil, ""},
		{elsewhere + "/images/lamp.ota", nil, ""},
		{dir + "/own.ota", nil, ""},
		{"images/missing.ota", library.ErrAccess, "no such file"},
		{"link.ota", library.ErrAccess, "escapes"},
		{outside + "/lamp.ota", library.ErrPolicy, "only read below the image folder"},
	} {
		path := writeFile(t, []byte(fmt.Sprintf(`{"firmwares":[{"path":%q,"file_version":20,"image_type":66,"manufacturer_id":4660,"checksum":"sha3-256:%s","model_names":["Lamp"]}]}`, c.path, sha3Of(image))), elsewhere, "index.json")
		storeless := filepath.Join(dir, "store")
		if err := os.RemoveAll(storeless); err != nil {
			t.Fatal(err)
		}
		inCatalog(t, dir, library.Options{}, library.CatalogOptions{Indexes: []string{path}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
			best, ok := k.Best(device())
			if !ok || best.Source != library.SourceIndex {
				t.Fatalf("%s: %v, %+v", c.path, ok, best)
			}
			got, err := k.Ensure(t.Context(), best)
			if c.is == nil {
				checkFetched(t, l, got, err, image)
				return
			}
			checkError(t, err, c.is, c.says, best.URL)
		})
	}
}

// The policy is for images; the index itself is where the user said it is.
func TestCatalogPolicy(t *testing.T) {
	image := versioned(20, 1)
	s := &site{files: map[string][]byte{indexURL: list(entryOf("lamp.ota", image, image, "")), "https://example.com/lamp.ota": image}}
	for host, is := range map[string]error{"example.com": nil, "other.example": library.ErrPolicy} {
		inCatalog(t, t.TempDir(), library.Options{Transport: s, AllowedHosts: []string{host}}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
			best, ok := k.Best(device())
			if !ok {
				t.Fatal("nothing fits")
			}
			if _, err := k.Ensure(t.Context(), best); is == nil && err != nil || is != nil && !strings.Contains(fmt.Sprint(err), "may not come from host") {
				t.Errorf("%s: %v", host, err)
			}
		})
	}
}

// Many devices that need the same image at once cost one download, and who gives up does not spoil
// it for the others.
func TestEnsureConcurrently(t *testing.T) {
	image := versioned(20, 1)
	const url = "https://example.com/lamp.ota"
	s := &site{files: map[string][]byte{indexURL: list(entryOf(url, image, image, ""))}}
	var mu sync.Mutex
	downloads := 0
	slow := roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.String() != url {
			return s.RoundTrip(r)
		}
		mu.Lock()
		downloads++
		mu.Unlock()
		body, w := io.Pipe()
		go func() {
			select {
			case <-time.After(10 * time.Second):
				w.Write(image)
				w.Close()
			case <-r.Context().Done():
				w.CloseWithError(r.Context().Err())
			}
		}()
		return respond(r, 200, int64(len(image)), body), nil
	})
	for _, c := range []struct {
		name      string
		patience  time.Duration // of the first
		downloads int
	}{{"all are patient", time.Hour, 1}, {"the first gives up", 5 * time.Second, 2}} {
		t.Run(c.name, func(t *testing.T) {
			downloads = 0
			inCatalog(t, t.TempDir(), library.Options{Transport: slow}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				best, ok := k.Best(device())
				if !ok {
					t.Fatal("nothing fits")
				}
				var wait sync.WaitGroup
				wait.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), c.patience)
					defer cancel()
					if _, err := k.Ensure(ctx, best); (err == nil) != (c.downloads == 1) {
						t.Errorf("the first: %v", err)
					}
				})
				synctest.Wait()
				for range 20 {
					wait.Go(func() {
						if got, err := k.Ensure(t.Context(), best); err != nil || got.SHA256 != digestOf(image) {
							t.Errorf("%+v, %v", got, err)
						}
					})
				}
				cancelled, cancel := context.WithCancel(t.Context())
				wait.Go(func() {
					_, err := k.Ensure(cancelled, best)
					checkError(t, err, context.Canceled)
					checkError(t, err, library.ErrAccess)
				})
				synctest.Wait()
				cancel()
				wait.Wait()
				if downloads != c.downloads {
					t.Errorf("%d downloads", downloads)
				}
			})
		})
	}
}

// What Ensure returns is in use: a Sweep that is under way leaves it.
func TestEnsureAndSweep(t *testing.T) {
	image := versioned(20, 1)
	const url = "https://example.com/lamp.ota"
	s := &site{files: map[string][]byte{indexURL: list(entryOf(url, image, image, "")), url: image}}
	inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		ensure := func() {
			best, _ := k.Best(device())
			got, err := k.Ensure(t.Context(), best)
			checkFetched(t, l, got, err, image)
		}
		ensure()
		for _, step := range []struct {
			keep    func(string) bool
			removed int
		}{
			{keepNone, 0},
			{func(string) bool { ensure(); return false }, 0},
			{keepNone, 0},
			{keepNone, 1},
		} {
			swept, err := l.Sweep(time.Now(), step.keep, library.Allowance{For: time.Hour})
			if err != nil || len(swept.Removed) != step.removed {
				t.Errorf("removed %v, %v", swept.Removed, err)
			}
			pass(time.Hour)
		}
		if best, ok := k.Best(device()); !ok || best.Stored || best.SHA256 != "" {
			t.Errorf("%v, %+v", ok, best)
		}
		ensure() // from the network
		if err := os.Truncate(filepath.Join(l.StoreDir(), digestOf(image)+".ota"), 10); err != nil {
			t.Fatal(err)
		}
		ensure() // what was damaged meanwhile is fetched again
	})
}
