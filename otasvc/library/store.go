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
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// The store's files are named by the SHA-256 of the image. The image file is what counts; what stands beside
// it could be lost without harm to anything but the memory of where the image came from.
const (
	imageExt     = ".ota"
	reportExt    = ".json"
	corruptExt   = ".corrupt" // behind a damaged file's whole name
	temporaryExt = ".tmp"
)

// report is what the side file says: what the image itself cannot tell.
type report struct {
	URL      string          `json:"url"`
	Wrapper  string          `json:"wrapper,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
	Checks   []otafile.Check `json:"checks,omitempty"`
	StoredAt time.Time       `json:"storedAt"`

	Downloads   []string  `json:"downloads,omitempty"`
	UnusedSince time.Time `json:"unusedSince,omitzero"`
}

// Load returns the bytes to serve, after another look at whether they are still what they were. It fails with
// [ErrNotStored], and with [ErrCorrupt] when they are not.
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
		// Meanwhile a Fetch may have put it right, or another Load aside.
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

// Remove removes an image from the store; one that is not there is an [ErrNotStored].
func (l *Library) Remove(sha256 string) error {
	l.storing.Lock()
	defer l.storing.Unlock()
	if _, known := l.Image(sha256); !known {
		return fmt.Errorf("%w: %s", ErrNotStored, sha256)
	}
	if err := l.remove(sha256); err != nil {
		return fmt.Errorf("remove image %s: %w", sha256, err)
	}
	return nil
}

// remove removes an image that is there; storing is locked.
func (l *Library) remove(sha256 string) error {
	for _, ext := range []string{imageExt, reportExt} {
		if err := os.Remove(l.path(sha256, ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		l.drop(sha256)
	}
	return syncDir(l.storeDir)
}

// store puts an image into the store. One that is there already only gets its report renewed. The downloads
// are digests of what it came in.
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

		Downloads: downloads,
	}
	path := l.path(image.SHA256, imageExt)
	intact := holds(path, f.Image)
	before, known := l.Image(image.SHA256)
	if known && intact {
		image.StoredAt = before.StoredAt
		image.Downloads = addDownloads(before.Downloads, downloads)
	}
	// The report first: without an image it means nothing, so a stop between the two leaves
	// the store as it was.
	if err := l.writeReport(image); err != nil {
		return Image{}, err
	}
	if !intact {
		if err := l.write(path, f.Image); err != nil {
			if !known {
				os.Remove(l.path(image.SHA256, reportExt)) // Open removes it else
			}
			return Image{}, err
		}
	}
	if err := syncDir(l.storeDir); err != nil {
		return Image{}, err
	}
	l.learn(image)
	return image, nil
}

// holds reports whether a file has just these bytes. It reads them piece by piece: an image may
// have many megabytes.
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
			return err == io.EOF && len(data) == 0
		}
	}
}

// maxDownloads bounds what is kept of the downloads that an image came in: a few containers, with
// a few digests each.
const maxDownloads = 12

// addDownloads adds digests to those that are known; the oldest go when there are too many.
func addDownloads(known, add []string) []string {
	all := slices.DeleteFunc(slices.Clone(known), func(digest string) bool {
		return slices.Contains(add, digest)
	})
	all = append(all, add...)
	return all[max(0, len(all)-maxDownloads):]
}

func (l *Library) writeReport(image Image) error {
	side, err := json.MarshalIndent(image.report(), "", "  ")
	if err != nil {
		return err
	}
	return l.write(l.path(image.SHA256, reportExt), append(side, '\n'))
}

// write writes a file beside its place and moves it there, so that it is there whole or not at all.
func (l *Library) write(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "*"+temporaryExt)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()           // it may be closed already
			os.Remove(f.Name()) // Open removes it else
		}
	}()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// syncDir makes renames in a directory last.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // there a directory cannot be synced, and need not be
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // Sync has told what there is to tell
	return d.Sync()
}

// scanStore learns what is in the store, and tidies it up. A file that it cannot handle is left and told: the
// others are as good as before.
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
		if filepath.Ext(name) == temporaryExt {
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

// tidy removes what a download that was interrupted while it was stored has left.
func (l *Library) tidy(name string) {
	if err := os.Remove(filepath.Join(l.storeDir, name)); err != nil {
		l.log.Warn("cannot remove a file that an interrupted download left behind", "file", name,
			"error", err)
		return
	}
	l.log.Info("removed a file that an interrupted download left behind", "file", name)
}

// scanImage adds a stored image, or sets it aside when it is damaged.
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
	image := Image{SHA256: digest, Size: uint32(len(b)), Header: f.Header}
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

func (l *Library) readReport(digest string) (r report, err error) {
	b, err := os.ReadFile(l.path(digest, reportExt))
	if err != nil {
		return report{}, err
	}
	err = json.Unmarshal(b, &r)
	return r, err
}

func (i *Image) report() report {
	return report{
		URL: i.URL, Wrapper: i.Wrapper, Warnings: i.Warnings, Checks: i.Checks, StoredAt: i.StoredAt,
		Downloads: i.Downloads, UnusedSince: i.UnusedSince,
	}
}

// setAside gives a damaged image another name, under which a person may look at it and nothing here does.
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

func (l *Library) path(digest, ext string) string { return filepath.Join(l.storeDir, digest+ext) }

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// isDigest reports whether s is a SHA-256 as the store writes it.
func isDigest(s string) bool {
	return len(s) == 2*sha256.Size && !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'f')
	})
}
