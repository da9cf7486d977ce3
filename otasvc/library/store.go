package library

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
)

// The store's files are named by the SHA-256 of the image. The report beside an image file says where the
// image came from; without it, the image is still served.
const (
	imageExt   = ".ota"
	reportExt  = ".json"
	corruptExt = ".corrupt" // added to the whole name of a damaged file
)

// report is the content of the file beside an image: what the image itself does not say.
type report struct {
	URL      string          `json:"url"`
	Wrapper  string          `json:"wrapper,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
	Checks   []otafile.Check `json:"checks,omitempty"`
	StoredAt time.Time       `json:"storedAt"`

	Downloads   []string  `json:"downloads,omitempty"`
	UnusedSince time.Time `json:"unusedSince,omitzero"`
}

// Load returns the bytes of an image after it has compared them with their SHA-256. Errors: [ErrNotStored],
// with [ErrCorrupt]; errors of the disk.
func (l *Library) Load(sha256 string) ([]byte, error) {
	if _, known := l.Image(sha256); !known {
		return nil, fmt.Errorf("%w: %s", ErrNotStored, sha256)
	}
	b, err := os.ReadFile(l.path(sha256, imageExt))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.drop(sha256)
		return nil, fmt.Errorf("%w: %s: its file is gone", ErrNotStored, sha256)
	case err != nil:
		return nil, fmt.Errorf("load image %s: %w", sha256, err)
	case digestOf(b) != sha256:
		l.storing.Lock()
		defer l.storing.Unlock()
		// Before the lock was taken, a Fetch may have repaired the file, or another Load have set it aside.
		if b, err = os.ReadFile(l.path(sha256, imageExt)); err == nil && digestOf(b) == sha256 {
			return b, nil
		}
		l.drop(sha256)
		if err == nil {
			l.setAside(sha256, "its SHA-256 is "+digestOf(b))
		}
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, sha256)
	}
	return b, nil
}

// remove removes an image from the store. The caller holds the lock storing.
func (l *Library) remove(sha256 string) error {
	for _, ext := range []string{imageExt, reportExt} {
		if err := os.Remove(l.path(sha256, ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		l.drop(sha256)
	}
	return wholefile.SyncFolder(l.storeDir)
}

// store puts an image into the store. For an image that is there already it only renews the report. downloads
// are the digests of the download that the image came in.
func (l *Library) store(f *otafile.File, url string, downloads []string) (Image, error) {
	l.storing.Lock()
	defer l.storing.Unlock()
	image := Image{
		SHA256:   digestOf(f.Image),
		Size:     uint32(len(f.Image)),
		Header:   f.Header,
		URL:      url,
		Wrapper:  f.Wrapper,
		Warnings: f.Warnings,
		Checks:   f.Checks,
		StoredAt: time.Now().UTC().Truncate(time.Second),
		Chip:     f.Chip(),

		Downloads: downloads,
	}
	path := l.path(image.SHA256, imageExt)
	intact := holds(path, f.Image)
	before, known := l.Image(image.SHA256)
	if known && intact {
		image.StoredAt = before.StoredAt
		image.Downloads = addDownloads(before.Downloads, downloads)
	}
	// The report is written first: a report without an image is removed by Open, so a stop between the two
	// leaves the store as it was.
	if err := l.writeReport(image); err != nil {
		return Image{}, err
	}
	if !intact {
		if err := wholefile.Write(path, f.Image); err != nil {
			if !known {
				os.Remove(l.path(image.SHA256, reportExt)) // Open removes it else
			}
			return Image{}, err
		}
	}
	l.learn(image)
	return image, nil
}

// holds reports whether a file has exactly these bytes. It reads them piece by piece: an image may have many
// megabytes.
func holds(path string, data []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	piece := make([]byte, 32<<10)
	for {
		n, err := f.Read(piece)
		if !bytes.HasPrefix(data, piece[:n]) {
			return false
		}
		data = data[n:]
		if err != nil {
			return errors.Is(err, io.EOF) && len(data) == 0
		}
	}
}

// maxDownloads is how many digests of downloads are kept for an image: those of a few containers, a few
// digests each.
const maxDownloads = 12

// addDownloads adds digests to those that are known, and drops the oldest when there are too many.
func addDownloads(known, add []string) []string {
	all := slices.DeleteFunc(slices.Clone(known), func(digest string) bool {
		return slices.Contains(add, digest)
	})
	all = append(all, add...)
	return all[max(0, len(all)-maxDownloads):]
}

// writeReport writes the report of an image.
func (l *Library) writeReport(image Image) error {
	side, err := json.MarshalIndent(image.report(), "", "  ")
	if err != nil {
		return err
	}
	return wholefile.Write(l.path(image.SHA256, reportExt), append(side, '\n'))
}

// scanStore reads the store and removes what interrupted downloads left in it. It leaves files that it cannot
// read or remove, and logs them.
func (l *Library) scanStore() error {
	entries, err := os.ReadDir(l.storeDir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if digest, isImage := strings.CutSuffix(name, imageExt); isImage && isDigest(digest) {
			l.scanImage(digest)
		}
		if filepath.Ext(name) == wholefile.Suffix {
			l.tidy(name)
		}
	}
	for _, entry := range entries {
		digest, isReport := strings.CutSuffix(entry.Name(), reportExt)
		if _, known := l.images[digest]; isReport && isDigest(digest) && !known {
			l.tidy(entry.Name())
		}
	}
	return nil
}

// tidy removes a file that was left when storing an image was interrupted.
func (l *Library) tidy(name string) {
	if err := os.Remove(filepath.Join(l.storeDir, name)); err != nil {
		l.log.Warn("cannot remove a file that an interrupted download left behind", "file", name,
			"error", err)
		return
	}
	l.log.Info("removed a file that an interrupted download left behind", "file", name)
}

// scanImage adds an image of the store to those that are known, or sets it aside when it is damaged.
func (l *Library) scanImage(digest string) {
	path := l.path(digest, imageExt)
	b, err := os.ReadFile(path)
	if err != nil {
		l.log.Error("a stored image cannot be read; it will not be served", "image", digest, "error", err)
		return
	}
	if found := digestOf(b); found != digest {
		l.setAside(digest, "its SHA-256 is "+found)
		return
	}
	f, err := otafile.Parse(b)
	if err != nil || len(f.Image) != len(b) {
		l.setAside(digest, "it is no OTA image")
		return
	}
	image := Image{SHA256: digest, Size: uint32(len(b)), Header: f.Header, Chip: f.Chip()}
	r, err := l.readReport(digest)
	if err != nil {
		l.log.Warn("where a stored image came from is no longer known", "image", digest, "error", err)
		r = report{Wrapper: f.Wrapper, Warnings: f.Warnings, Checks: f.Verify()}
		if info, err := os.Stat(path); err == nil {
			r.StoredAt = info.ModTime().UTC().Truncate(time.Second)
		}
	}
	image.URL = r.URL
	image.Wrapper = r.Wrapper
	image.Warnings = r.Warnings
	image.Checks = r.Checks
	image.StoredAt = r.StoredAt
	image.Downloads = r.Downloads
	image.UnusedSince = r.UnusedSince
	l.learn(image)
}

// readReport reads the report of an image.
func (l *Library) readReport(digest string) (r report, err error) {
	b, err := os.ReadFile(l.path(digest, reportExt))
	if err != nil {
		return report{}, err
	}
	err = json.Unmarshal(b, &r)
	return r, err
}

// report returns the image's report.
func (i *Image) report() report {
	return report{
		URL: i.URL, Wrapper: i.Wrapper, Warnings: i.Warnings, Checks: i.Checks, StoredAt: i.StoredAt,
		Downloads: i.Downloads, UnusedSince: i.UnusedSince,
	}
}

// setAside renames the file of a damaged image. The store does not use it under the new name; a person can
// look at it.
func (l *Library) setAside(digest, why string) {
	path := l.path(digest, imageExt)
	if err := os.Rename(path, path+corruptExt); err != nil {
		l.log.Error("a stored image is damaged and cannot be set aside; it will not be served",
			"image", digest, "why", why, "error", err)
		return
	}
	l.log.Error("a stored image is damaged and was set aside; fetch it again", "file", path+corruptExt,
		"why", why)
}

// path returns the path of a file of the store.
func (l *Library) path(digest, ext string) string { return filepath.Join(l.storeDir, digest+ext) }

// digestOf returns the SHA-256 of b in lower-case hex.
func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// isDigest reports whether s is a SHA-256 in lower-case hex.
func isDigest(s string) bool {
	return len(s) == 2*sha256.Size && !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'f')
	})
}
