// Package statefile keeps the state of the service in one file, such that a power cut leaves the old or the
// new one, whole. A new state is written beside the old one, synced and renamed into place, on a goroutine of
// its own. States that come while one is being written replace each other: only the newest matters. One that
// is on the disk already is not written: memory cards wear out.
//
// The package does not know what is in the state.
package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
)

// File is the state file. Its methods may be called by any goroutine.
type File struct {
	path string
	log  *slog.Logger
	// aside is where a file that cannot be read is to go before the first write; it is empty where there is
	// none.
	aside  string
	onDisk []byte // what is known to be there

	mu      sync.Mutex
	pending []byte
	after   []func()
	closed  bool
	wake    chan struct{}
	closing chan struct{}
	failed  string    // why the last write failed; empty where it did not
	since   time.Time // when the write under way began; zero where there is none
}

// Open reads the state file at path with read, which is not called where there is no file yet. A file that
// read returns an error for is set aside under another name, at the first write at the latest, and reported:
// the service starts without it. The error is only for a folder that cannot be used at all: a disk that
// cannot be written is no reason not to start.
func Open(path string, log *slog.Logger, read func([]byte) error) (*File, error) {
	f := &File{path: path, log: log, wake: make(chan struct{}, 1), closing: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("%w; make the folder writable for the service or set ZIGATE_OTA_STATE_DIR",
			err)
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = read(data)
	}
	if err == nil {
		f.onDisk = data
		return f, nil
	}
	f.aside = fmt.Sprintf("%s.unreadable-%s", path, time.Now().UTC().Format("20060102T150405Z"))
	log.Error("the state file cannot be read; the service starts without devices and images, "+
		"and sets the file aside", "file", f.aside, "err", err)
	if err := f.setAside(); err != nil {
		log.Error("the state file cannot be set aside, so nothing is written; make the folder writable for "+
			"the service", "file", path, "err", err)
	}
	return f, nil
}

// setAside makes room for a new file. It does nothing where nothing is in the way.
func (f *File) setAside() error {
	if f.aside == "" {
		return nil
	}
	if err := os.Rename(f.path, f.aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f.aside = ""
	return nil
}

// Save has a snapshot written; after is called, on any goroutine, once it or a newer one is on the disk.
func (f *File) Save(snapshot []byte, after func()) {
	f.mu.Lock()
	f.pending = snapshot
	f.after = append(f.after, after)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// SaveNow has a snapshot written and waits for it.
func (f *File) SaveNow(snapshot []byte) {
	done := make(chan struct{})
	f.Save(snapshot, func() { close(done) })
	<-done
}

// saveRetry is how long a disk that refused a write is left alone.
const saveRetry = 5 * time.Second

// Run writes what Save was given until Close.
func (f *File) Run() {
	for {
		f.mu.Lock()
		data := f.pending
		after := f.after
		closed := f.closed
		f.pending = nil
		f.after = nil
		f.since = time.Time{}
		if data != nil {
			f.since = time.Now()
		}
		f.mu.Unlock()
		if data == nil {
			if closed {
				return
			}
			<-f.wake
			continue
		}
		err := f.write(data)
		f.report(err)
		// An answer is owed even where the disk is full: what was asked for is in force, and
		// the trouble is told.
		for _, done := range after {
			done()
		}
		if err != nil && !closed {
			f.mu.Lock()
			if f.pending == nil {
				f.pending = data
			}
			f.since = time.Time{}
			f.mu.Unlock()
			select {
			case <-time.After(saveRetry):
			case <-f.closing:
			}
		}
	}
}

func (f *File) write(data []byte) error {
	if bytes.Equal(data, f.onDisk) {
		return nil
	}
	if err := f.setAside(); err != nil {
		return err
	}
	f.onDisk = nil // from here on it may be the old or the new one
	if err := wholefile.Write(f.path, data); err != nil {
		return err
	}
	f.onDisk = data
	return nil
}

func (f *File) report(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil && f.failed != "":
		f.log.Info("the state is written again")
		f.failed = ""
	case err != nil && err.Error() != f.failed:
		f.log.Error("the state cannot be written, it is tried again; what changes now is lost if the "+
			"service stops", "err", err)
		f.failed = err.Error()
	}
}

// slowDisk is how long a write may take before it is a trouble. A worn memory card takes seconds.
const slowDisk = 30 * time.Second

// Health is nil, or the error says why the state is not on the disk.
func (f *File) Health() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != "" {
		return errors.New("the state cannot be written: " + f.failed)
	}
	if !f.since.IsZero() && time.Since(f.since) > slowDisk {
		return fmt.Errorf("the disk has taken longer than %v to write the state", slowDisk)
	}
	return nil
}

// Close writes a last snapshot and ends Run. It must be called once.
func (f *File) Close(snapshot []byte) {
	f.mu.Lock()
	f.pending = snapshot
	f.closed = true
	f.mu.Unlock()
	close(f.closing)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}
