package library_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// fetchFile puts an image into the store by way of a file in the image folder.
func fetchFile(t *testing.T, l *library.Library, dir string, b []byte, force ...bool) library.Image {
	t.Helper()
	name := digestOf(b)[:8] + ".ota"
	writeFile(t, b, dir, name)
	image, err := l.Fetch(t.Context(), library.Request{URL: fileURL(dir) + "/" + name, Force: len(force) > 0})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestStoreSurvives(t *testing.T) {
	dir := t.TempDir()
	one, two := testImage(3000, 1), testImage(3000, 2)
	damaged := bytes.Clone(two)
	damaged[100] ^= 1
	l := open(t, library.Options{Dir: dir})
	var want []library.Image
	want = append(want, fetchFile(t, l, dir, gzipOf(t, one)), fetchFile(t, l, dir, two), fetchFile(t, l, dir, damaged, true))
	slices.SortFunc(want, func(a, b library.Image) int { return strings.Compare(a.SHA256, b.SHA256) })

	var log recorder
	for range 2 {
		l = open(t, library.Options{Dir: dir, Logger: log.logger()})
		if d := cmp.Diff(want, l.Images()); d != "" {
			t.Errorf("after opening it again (-want +got):\n%s", d)
		}
	}
	for _, b := range [][]byte{one, two, damaged} {
		got, err := l.Load(digestOf(b))
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("Load: %v", err)
		}
		image, ok := l.Image(digestOf(b))
		if !ok || int(image.Size) != len(b) || image.URL == "" || len(image.Checks) != 1 || image.StoredAt.IsZero() {
			t.Errorf("%v, %+v", ok, image)
		}
	}
	if log.lines.Len() != 0 {
		t.Errorf("a sound store was complained about:\n%s", log.lines.String())
	}
}

// Which stack a device runs decides how it is treated, so it must be known after a restart, also of images
// that were stored by an earlier version.
func TestChipIsKnown(t *testing.T) {
	dir := t.TempDir()
	firmware := make([]byte, 2000)
	copy(firmware[8:], "KNLT")
	binary.LittleEndian.PutUint32(firmware[0x18:], 2000)
	binary.LittleEndian.PutUint32(firmware[1996:], ^crc32.ChecksumIEEE(firmware[:1996]))
	telink := otafile.Build(otafile.Header{ManufacturerCode: 0x1234, ImageType: 0x0042}, firmware)
	other := testImage(3000, 1)
	l := open(t, library.Options{Dir: dir})
	want := map[string]otafile.Chip{string(telink): otafile.ChipTelink, string(other): otafile.ChipUnknown}
	for b, chip := range want {
		if got := fetchFile(t, l, dir, []byte(b)).Chip; got != chip {
			t.Errorf("the stored image says chip %v, want %v", got, chip)
		}
	}
	l = open(t, library.Options{Dir: dir})
	for b, chip := range want {
		if image, ok := l.Image(digestOf([]byte(b))); !ok || image.Chip != chip {
			t.Errorf("after opening it again: known %v, chip %v, want %v", ok, image.Chip, chip)
		}
	}
}

func TestSameImageIsStoredOnce(t *testing.T) {
	dir := t.TempDir()
	image := testImage(3000, 1)
	synctest.Test(t, func(t *testing.T) {
		l := open(t, library.Options{Dir: dir})
		first := fetchFile(t, l, dir, image)
		path := filepath.Join(dir, "store", first.SHA256+".ota")
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		second := fetchFile(t, l, dir, gzipOf(t, image))
		after, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(before, after) {
			t.Error("the stored file was written again")
		}
		if second.SHA256 != first.SHA256 || !second.StoredAt.Equal(first.StoredAt) || second.Wrapper != "gzip" || second.URL == first.URL {
			t.Errorf("%+v after %+v", second, first)
		}
		if d := cmp.Diff([]library.Image{second}, l.Images()); d != "" {
			t.Errorf("images (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{first.SHA256 + ".json", first.SHA256 + ".ota"}, stored(t, dir)); d != "" {
			t.Errorf("store (-want +got):\n%s", d)
		}
	})
}

// Whatever state a kill leaves behind, opening the store again gives whole images and nothing else.
func TestStoreAfterAKill(t *testing.T) {
	image := testImage(3000, 1)
	digest := digestOf(image)
	for _, c := range []struct {
		name   string
		files  map[string][]byte
		stored []string // after Open
		level  slog.Level
		says   string
	}{
		{"while the report was written", map[string][]byte{"123.tmp": []byte(`{"url":`)}, nil, slog.LevelInfo, "123.tmp"},
		{"after the report", map[string][]byte{digest + ".json": []byte(`{"url":"http://x/"}`)}, nil, slog.LevelInfo, digest + ".json"},
		{"while the image was written", map[string][]byte{digest + ".json": []byte(`{}`), "4.tmp": image[:100]}, nil, slog.LevelInfo, "4.tmp"},
		{"before the image was moved", map[string][]byte{digest + ".json": []byte(`{}`), "4.tmp": image}, nil, slog.LevelInfo, "4.tmp"},
		{"while the image was removed", map[string][]byte{digest + ".json": []byte(`{}`)}, nil, slog.LevelInfo, digest + ".json"},
		{"report lost", map[string][]byte{digest + ".ota": image}, []string{digest + ".ota"}, slog.LevelWarn, "no longer known"},
		{"report damaged", map[string][]byte{digest + ".ota": image, digest + ".json": []byte(`{"url":"http://x/`)}, []string{digest + ".json", digest + ".ota"}, slog.LevelWarn, "no longer known"},
		{"image cut by the disk", map[string][]byte{digest + ".ota": image[:100], digest + ".json": []byte(`{}`)}, []string{digest + ".ota.corrupt"}, slog.LevelError, "set aside"},
		{"image empty", map[string][]byte{digest + ".ota": nil}, []string{digest + ".ota.corrupt"}, slog.LevelError, "set aside"},
		{"no image by its own digest", map[string][]byte{digestOf([]byte("hello")) + ".ota": []byte("hello")}, []string{digestOf([]byte("hello")) + ".ota.corrupt"}, slog.LevelError, "no OTA image"},
		{"image with bytes behind it", map[string][]byte{digestOf(append(image[:len(image):len(image)], 1)) + ".ota": append(image[:len(image):len(image)], 1)},
			[]string{digestOf(append(image[:len(image):len(image)], 1)) + ".ota.corrupt"}, slog.LevelError, "no OTA image"},
		{"files of somebody else", map[string][]byte{"notes.json": nil, "readme": nil, "x.ota": image}, []string{"notes.json", "readme", "x.ota"}, slog.LevelInfo, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, b := range c.files {
				writeFile(t, b, dir, "store", name)
			}
			var log recorder
			l := open(t, library.Options{Dir: dir, Logger: log.logger()})
			if d := cmp.Diff(c.stored, stored(t, dir)); d != "" {
				t.Errorf("store (-want +got):\n%s", d)
			}
			if c.says != "" && !log.says(c.level, c.says) {
				t.Errorf("the log does not say %q:\n%s", c.says, log.lines.String())
			}
			whole := 0
			for _, image := range l.Images() {
				whole++
				if len(image.Checks) != 1 || image.URL != "" || image.StoredAt.IsZero() {
					t.Errorf("%+v", image)
				}
			}
			if slices.Contains(c.stored, digest+".ota") != (whole == 1) {
				t.Errorf("%d images", whole)
			}
			got := fetchFile(t, l, dir, image)
			checkFetched(t, l, got, nil, image)
		})
	}
}

func TestLoadServesNothingDamaged(t *testing.T) {
	image := testImage(3000, 1)
	digest := digestOf(image)
	for _, c := range []struct {
		name   string
		damage func(path string) error
		is     error
		aside  bool
	}{
		{"a bit", func(path string) error {
			return os.WriteFile(path, append(image[:len(image)-1:len(image)-1], image[len(image)-1]^1), 0o644)
		}, library.ErrCorrupt, true},
		{"cut", func(path string) error { return os.Truncate(path, 100) }, library.ErrCorrupt, true},
		{"gone", os.Remove, library.ErrNotStored, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			var log recorder
			l := open(t, library.Options{Dir: dir, Logger: log.logger()})
			fetchFile(t, l, dir, image)
			path := filepath.Join(dir, "store", digest+".ota")
			if err := c.damage(path); err != nil {
				t.Fatal(err)
			}
			b, err := l.Load(digest)
			checkError(t, err, c.is, digest)
			checkError(t, err, library.ErrNotStored)
			if b != nil {
				t.Error("bytes were returned")
			}
			if _, err := os.Stat(path + ".corrupt"); (err == nil) != c.aside || log.says(slog.LevelError, "set aside") != c.aside {
				t.Errorf("set aside: %v\n%s", err, log.lines.String())
			}
			if _, ok := l.Image(digest); ok || len(l.Images()) != 0 {
				t.Error("the image is still known")
			}
			_, err = l.Load(digest)
			checkError(t, err, library.ErrNotStored)

			fetchFile(t, l, dir, image)
			if b, err := l.Load(digest); err != nil || !bytes.Equal(b, image) {
				t.Errorf("after another fetch: %v", err)
			}
		})
	}
}

// A damaged file that nobody has loaded yet is put right when the image is fetched again.
func TestFetchRepairs(t *testing.T) {
	image := testImage(3000, 1)
	dir := t.TempDir()
	l := open(t, library.Options{Dir: dir})
	fetched := fetchFile(t, l, dir, image)
	writeFile(t, []byte("damaged"), dir, "store", fetched.SHA256+".ota")
	checkFetched(t, l, fetchFile(t, l, dir, image), nil, image)
}

func TestRemovedImage(t *testing.T) {
	dir := t.TempDir()
	one, two := testImage(3000, 1), testImage(3000, 2)
	l := open(t, library.Options{Dir: dir})
	fetchFile(t, l, dir, one)
	fetchFile(t, l, dir, two)
	keep := func(sha256 string) bool { return sha256 != digestOf(one) }
	for range 2 { // the first one only notes that the image is unused
		if _, err := l.Sweep(time.Now(), keep, library.Allowance{}); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{digestOf(two) + ".json", digestOf(two) + ".ota"}, stored(t, dir)); d != "" {
		t.Errorf("store (-want +got):\n%s", d)
	}
	if _, ok := l.Image(digestOf(one)); ok {
		t.Error("the image is still known")
	}
	for _, unknown := range []string{digestOf(one), "", "../../etc/passwd", strings.ToUpper(digestOf(two))} {
		if _, err := l.Load(unknown); !errors.Is(err, library.ErrNotStored) {
			t.Errorf("Load(%q): %v", unknown, err)
		}
	}
}

// A store that takes the report and then not the image is left as it was.
func TestStoreFailsHalfWay(t *testing.T) {
	dir := t.TempDir()
	image := testImage(3000, 1)
	l := open(t, library.Options{Dir: dir})
	writeFile(t, image, dir, "image.ota")
	inTheWay := digestOf(image) + ".ota"
	writeFile(t, nil, dir, "store", inTheWay, "file")
	if _, err := l.Fetch(t.Context(), library.Request{URL: fileURL(dir) + "/image.ota"}); err == nil {
		t.Fatal("a folder was replaced by an image")
	}
	if d := cmp.Diff([]string{inTheWay}, stored(t, dir)); d != "" {
		t.Errorf("store (-want +got):\n%s", d)
	}
}

// A store that cannot be written to fails the fetch, as a fault of the machine and not of the image.
func TestStoreFails(t *testing.T) {
	dir := t.TempDir()
	image := testImage(3000, 1)
	l := open(t, library.Options{Dir: dir})
	writeFile(t, image, dir, "image.ota")
	if err := os.Remove(filepath.Join(dir, "store")); err != nil {
		t.Fatal(err)
	}
	_, err := l.Fetch(t.Context(), library.Request{URL: fileURL(dir) + "/image.ota"})
	checkError(t, err, os.ErrNotExist, "store the image from file://")
	if errors.Is(err, library.ErrAccess) || errors.Is(err, library.ErrValidation) || len(l.Images()) != 0 {
		t.Errorf("%v, images %v", err, l.Images())
	}
}
