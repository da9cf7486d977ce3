package library_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// An added image is known by the time Add returns, is what was added, and is gone by the
// time RemoveAdded does.
func TestAdd(t *testing.T) {
	dir, image := t.TempDir(), versioned(20, 1)
	inCatalog(t, dir, library.Options{}, library.CatalogOptions{}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		pass(time.Minute)
		packed := gzipOf(t, image)
		got, isNew, err := k.Add(t.Context(), library.Added{Name: "lamp.gz", Data: packed, SHA256: digestOf(packed)})
		if err != nil || !isNew || got.Name != "added/lamp.gz" || got.SHA256 != digestOf(image) || !got.Added() {
			t.Fatalf("%+v, %v, %v", got, isNew, err)
		}
		best, ok := k.Best(device())
		if !ok || best.Source != library.SourceFolder || best.SHA256 != digestOf(image) || best.Origin != "added/lamp.gz" {
			t.Fatalf("%+v, %v", best, ok)
		}
		if _, err := k.Ensure(t.Context(), best); err != nil {
			t.Error(err)
		}
		again, isNew, err := k.Add(t.Context(), library.Added{Name: "other.ota", Data: image})
		if err != nil || isNew || again.Name != got.Name {
			t.Errorf("again: %+v, %v, %v", again, isNew, err)
		}
		pass(5 * time.Minute) // the folder is looked at meanwhile
		checkFolder(t, k.Folder(), "added/lamp.gz")
		if err := k.RemoveAdded(t.Context(), "added/lamp.gz"); err != nil {
			t.Error(err)
		}
		checkFolder(t, k.Folder())
		checkError(t, k.RemoveAdded(t.Context(), "added/lamp.gz"), library.ErrNotAdded, "lamp.gz")
		pass(5 * time.Minute)
		checkFolder(t, k.Folder())
	})
}

// An image is fetched by the same rules as any other.
func TestAddByURL(t *testing.T) {
	image := versioned(20, 1)
	s := &site{files: map[string][]byte{"https://example.com/fw/lamp.ota": image}}
	options := library.Options{Transport: s, AllowedHosts: []string{"example.com"}}
	inCatalog(t, t.TempDir(), options, library.CatalogOptions{}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		pass(time.Minute)
		for _, c := range []struct {
			added library.Added
			err   error
		}{
			{library.Added{URL: "https://elsewhere.example/lamp.ota"}, library.ErrPolicy},
			{library.Added{URL: "https://example.com/nothing.ota"}, library.ErrAccess},
			{library.Added{URL: "lamp.ota"}, library.ErrAccess},
			{library.Added{URL: "https://example.com/fw/lamp.ota", SHA256: digestOf([]byte("other"))}, library.ErrValidation},
		} {
			_, _, err := k.Add(t.Context(), c.added)
			checkError(t, err, c.err)
		}
		got, isNew, err := k.Add(t.Context(), library.Added{URL: "https://example.com/fw/lamp.ota", SHA512: sha512Of(image)})
		if err != nil || !isNew || got.Name != "added/lamp.ota" {
			t.Errorf("%+v, %v, %v", got, isNew, err)
		}
		checkFolder(t, k.Folder(), "added/lamp.ota")
	})
}

// What is no image, or one that could be for anything, is refused, and leaves nothing behind.
func TestAddRefuses(t *testing.T) {
	dir, damaged := t.TempDir(), testImage(3000, 1)
	damaged[len(damaged)-1] ^= 1
	inCatalog(t, dir, library.Options{MaxBytes: 4096}, library.CatalogOptions{}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		pass(time.Minute)
		for _, c := range []struct {
			data []byte
			err  error
			says string
		}{
			{[]byte("hello"), library.ErrValidation, "not a Zigbee OTA file"},
			{damaged, library.ErrValidation, otafile.CheckIntegrityCode},
			{testImage(5000, 1), library.ErrTooLarge, "4096 are allowed"},
		} {
			_, _, err := k.Add(t.Context(), library.Added{Name: "x.ota", Data: c.data})
			checkError(t, err, c.err, c.says)
		}
		if entries, err := os.ReadDir(filepath.Join(dir, "added")); err == nil {
			t.Errorf("left behind: %v", entries)
		}
	})
}

// A name that somebody gives leads nowhere else, hides nothing, and takes nothing from another file.
func TestAddNames(t *testing.T) {
	dir := t.TempDir()
	inCatalog(t, dir, library.Options{}, library.CatalogOptions{}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		pass(time.Minute)
		var got []string
		names := []string{"../../etc/passwd", `C:\fw\lamp.ota`, "lamp.ota", "<script>.ota", "", "..", ".hidden", "store", "readme.txt", "half.part", "Glühbirne 1.ota"}
		for i, name := range names {
			image, _, err := k.Add(t.Context(), library.Added{Name: name, Data: versioned(uint32(100+i), byte(i))})
			if err != nil {
				t.Errorf("%q: %v", name, err)
			}
			got = append(got, image.Name)
		}
		digest := digestOf(versioned(102, 2))[:8]
		hash := digestOf(versioned(105, 5))[:8]
		want := []string{"added/passwd", "added/lamp.ota", "added/lamp-" + digest + ".ota", "added/_script_.ota", "added/image.ota",
			"added/image-" + hash + ".ota", "added/hidden", "added/store.ota", "added/readme.txt.ota", "added/half.part.ota", "added/Gl_hbirne 1.ota"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
		pass(5 * time.Minute)
		if known := len(k.Folder().Images); known != len(names) {
			t.Errorf("%d images are known: %v", known, shown(k.Folder()))
		}
		for _, name := range []string{"", "added", "added/", "added/..", "added/../mine.ota", "mine.ota", "added/x/y", "/etc/passwd", "added/nothing"} {
			checkError(t, k.RemoveAdded(t.Context(), name), library.ErrNotAdded)
		}
	})
}

// The disk is not filled by adding.
func TestAddLimit(t *testing.T) {
	dir := t.TempDir()
	for i := range 500 {
		writeFile(t, nil, dir, "added", fmt.Sprintf("%d.txt", i))
	}
	inCatalog(t, dir, library.Options{}, library.CatalogOptions{}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		_, _, err := k.Add(t.Context(), library.Added{Name: "x.ota", Data: versioned(1, 1)})
		checkError(t, err, library.ErrFolderFull, "500 files")
	})
}

// Without a running catalog nothing waits for ever.
func TestAddWithoutRun(t *testing.T) {
	k, err := library.NewCatalog(open(t, library.Options{}), library.CatalogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, _, err = k.Add(ctx, library.Added{Name: "x.ota", Data: versioned(1, 1)})
	checkError(t, err, context.DeadlineExceeded)
}
