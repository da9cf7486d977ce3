package library_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// What fails a check is had from an index by force alone, and is not offered to anybody for it.
func TestCatalogForced(t *testing.T) {
	image := testImage(3000, 1)
	damaged := append(image[:len(image)-1:len(image)-1], image[len(image)-1]^1)
	for _, c := range []struct {
		name, sha512 string
		offered      bool // afterwards, still
		says         string
	}{
		{"wrong digest", sha512Of([]byte("other")), true, "SHA-512 of the download failed"},
		{"wrong checksum inside", sha512Of(damaged), false, "AES-MMO integrity code failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, damaged, dir, "index", "a.ota")
			entry := fmt.Sprintf(`[{"url":"a.ota","manufacturerCode":%d,"imageType":%d,"fileVersion":%d,"sha512":"%s"}]`, 0x1234, 0x42, 0x01020304, c.sha512)
			path := writeFile(t, []byte(entry), dir, "index", "index.json")
			l := open(t, library.Options{Dir: filepath.Join(dir, "images")})
			k, err := library.NewCatalog(l, library.CatalogOptions{Indexes: []string{path}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- k.Run(ctx) }()
			defer func() { stop(); <-done }()
			<-k.Changed()
			d := library.Device{ManufacturerCode: 0x1234, ImageType: 0x42}
			best, ok := k.Best(d)
			if !ok {
				t.Fatal("the index lists nothing")
			}
			_, err = k.Ensure(t.Context(), best)
			checkError(t, err, library.ErrValidation, c.says)
			var told []int64
			got, err := k.Ensure(t.Context(), best.With(true, func(done, total int64) { told = append(told, done) }))
			checkFetched(t, l, got, err, damaged)
			if !slices.ContainsFunc(got.Checks, func(check otafile.Check) bool { return check.Status == otafile.Failed }) {
				t.Errorf("the report says nothing of it: %v", got.Checks)
			}
			if len(told) == 0 {
				t.Error("nobody was told how it went")
			}
			if _, ok := k.Best(d); ok != c.offered {
				t.Errorf("offered: %v", ok)
			}
			_, err = k.Ensure(t.Context(), best)
			checkError(t, err, library.ErrValidation)
			if _, err := k.Ensure(t.Context(), best.With(true, nil)); err != nil {
				t.Errorf("a second time by force: %v", err)
			}
		})
	}
}
