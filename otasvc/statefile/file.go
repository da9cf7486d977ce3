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
	unlock func() // lets other services use the folder

	mu      sync.Mutex
	pending []byte
	after   []func(error)
	closed  bool
	wake    chan struct{}
	closing chan struct{}
	failed  string    // why the last write failed; empty where it did not
	since   time.Time // when the write under way began; zero where there is none
}

// Previous is added to the name of the state file for the one before it, which is read where the state file
// itself makes no sense any more, and Lock for the file that keeps a second service away.
const (
	Previous = ".previous"
	Lock     = ".lock"
)

var (
	// ErrDamaged is for a read function: it has read the file, but for parts that make no sense.
	ErrDamaged = errors.New("parts of the file are damaged and were left out")
	// ErrRefused is for a read function: the file is whole and must stay as it is, but cannot be used by this
	// program.
	ErrRefused = errors.New("the state file is not for this version of the service")
	// ErrInUse means that another process uses the state file.
	ErrInUse = errors.New("another service uses the state folder")
)

// Open reads the state file at path with read, which is not called where there is no file yet. It may be
// called again, with the state of before, after it has returned an error.
//
// Where the error is [ErrDamaged], the file goes on, and a copy of what was there is kept under another name.
// Where it is another one the file is set aside, at the first write at the latest, and the one before it is
// read; without that the service starts with nothing. All of this is reported.
//
// The error is [ErrRefused] as read returned it, [ErrInUse], or one of a folder that cannot be used at all: a
// disk that cannot be written is no reason not to start.
func Open(path string, log *slog.Logger, read func([]byte) error) (*File, error) {
	f := &File{path: path, log: log, wake: make(chan struct{}, 1), closing: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("%w; make the folder writable for the service or set ZIGATE_OTA_STATE_DIR",
			err)
	}
	var err error
	if f.unlock, err = lock(path + Lock); err != nil {
		return nil, err
	}
	if err = f.read(read); err != nil {
		f.unlock()
		return nil, err
	}
	return f, nil
}

// read reads the file, or the one before it. The error is ErrRefused.
func (f *File) read(read func([]byte) error) error {
	data, err := os.ReadFile(f.path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err == nil {
		err = read(data)
	}
	switch {
	case err == nil:
		f.onDisk = data
		return nil
	case errors.Is(err, ErrRefused):
		return err
	case errors.Is(err, ErrDamaged):
		f.keepDamaged(data, err)
		return nil
	case !missing:
		f.aside = f.other("unreadable")
		f.log.Error("the state file cannot be read; it is set aside", "file", f.aside, "err", err)
		if err := f.setAside(); err != nil {
			f.log.Error("the state file cannot be set aside, so nothing is written; make the folder "+
				"writable for the service", "file", f.path, "err", err)
		}
	}
	return f.readPrevious(read, missing)
}

// readPrevious reads the state file that was there before the last one.
func (f *File) readPrevious(read func([]byte) error, first bool) error {
	data, err := os.ReadFile(f.path + Previous)
	if errors.Is(err, fs.ErrNotExist) && first {
		return nil // there was no service here before
	}
	if err == nil {
		err = read(data)
	}
	switch {
	case err == nil || errors.Is(err, ErrDamaged):
		f.log.Warn("the service goes on with the state file of before; what has changed since is lost",
			"file", f.path+Previous, "err", err)
	case errors.Is(err, ErrRefused):
		return err
	default:
		f.log.Error("the service starts without devices and images", "err", err)
	}
	return nil
}

// keepDamaged keeps a copy of a file of which parts were left out, for people.
func (f *File) keepDamaged(data []byte, why error) {
	kept := f.other("damaged")
	if err := wholefile.Write(kept, data); err != nil {
		kept = err.Error()
	}
	f.log.Error("parts of the state file are damaged and were left out; the file is kept", "file", kept,
		"err", why)
}

// other is another name for the file, for what it is now.
func (f *File) other(what string) string {
	return fmt.Sprintf("%s.%s-%s", f.path, what, time.Now().UTC().Format("20060102T150405Z"))
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

// Save has a snapshot written; after is called, on any goroutine, once it or a newer one is on the disk, or
// with the error that says why it cannot be written. In that case it is tried again, and nobody is told of
// that.
func (f *File) Save(snapshot []byte, after func(error)) {
	f.mu.Lock()
	f.pending = snapshot
	f.after = append(f.after, after)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// SaveNow has a snapshot written and waits for it. The error says why it cannot be written.
func (f *File) SaveNow(snapshot []byte) error {
	done := make(chan error, 1)
	f.Save(snapshot, func(err error) { done <- err })
	return <-done
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
				f.unlock()
				return
			}
			<-f.wake
			continue
		}
		err := f.write(data)
		f.report(err)
		for _, done := range after {
			done(err)
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
	f.keepPrevious()
	if err := wholefile.Write(f.path, data); err != nil {
		return err
	}
	f.onDisk = data
	return nil
}

// keepPrevious keeps the file that is about to be replaced under another name. It costs no writing of data.
// Not every file system can do it, and the service can do without.
func (f *File) keepPrevious() {
	if _, err := os.Stat(f.path); err != nil {
		return // the one of before stays
	}
	_ = os.Remove(f.path + Previous) // it may not be there
	if err := os.Link(f.path, f.path+Previous); err != nil {
		f.log.Debug("the state file of before is not kept", "err", err)
	}
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
