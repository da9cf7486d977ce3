package library

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	indexInterval = 24 * time.Hour   // between two looks at a URL
	indexFirstTry = time.Minute      // before a look that failed is tried again; it doubles with each
	indexLastTry  = time.Hour        // but is no longer than this
	indexFilePoll = 10 * time.Second // between two looks at a file's size and time
	indexForbear  = time.Minute      // a server is not asked again sooner, whoever wants it
	indexJitter   = 0.1              // of the interval: not everybody's service has to ask at the same time
)

// IndexStatus is how an index is doing, for people.
type IndexStatus struct {
	Name    string    // URL without user, password and query, or path
	Format  string    // see Index; empty: it was never read
	Images  int       // that it lists
	Skipped int       // entries that cannot be used
	Problem string    // what is wrong with the first of those
	ReadAt  time.Time // when it was last seen to be as it is known; zero: never
	// Error tells why it could not be read the last time, when what was known before stays in force; it is
	// empty when it could be read.
	Error string
}

// indexState is an index at one moment. It does not change.
type indexState struct {
	matcher *Matcher
	status  IndexStatus
}

// indexSource keeps an index up to date.
type indexSource struct {
	library  *Library
	at       location
	interval time.Duration
	changed  func()
	wanted   chan struct{} // somebody wants it read now
	state    atomic.Pointer[indexState]

	// What follows belongs to run.
	revision revision
	digest   string // SHA-256 of the file that is known; empty: none is
}

func newIndexSource(l *Library, at location, interval time.Duration, changed func()) *indexSource {
	s := &indexSource{
		library: l, at: at, interval: interval, changed: changed, wanted: make(chan struct{}, 1),
	}
	s.state.Store(&indexState{matcher: NewMatcher(nil), status: IndexStatus{Name: at.name}})
	return s
}

// refresh has the index read soon. It does not wait for that.
func (s *indexSource) refresh() {
	select {
	case s.wanted <- struct{}{}:
	default: // it is wanted already
	}
}

// run keeps the index up to date until ctx is done.
func (s *indexSource) run(ctx context.Context) {
	if s.at.url == nil {
		s.runFile(ctx)
		return
	}
	wait := s.loadCache()
	tried := time.Time{}
	failures := 0
	for {
		if !s.pause(ctx, wait, tried) {
			return
		}
		tried = time.Now()
		err := s.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.failed(err)
			wait = min(s.interval, indexLastTry, indexFirstTry<<min(failures, 10))
			failures++
		default:
			wait = spread(s.interval)
			failures = 0
		}
	}
}

// pause waits, or until somebody wants the index; it reports whether to go on.
func (s *indexSource) pause(ctx context.Context, wait time.Duration, tried time.Time) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-s.wanted:
			if time.Since(tried) >= indexForbear {
				return true
			}
		}
	}
}

func spread(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()*2-1)*indexJitter*float64(d))
}

// ask asks the server whether there is a newer index, and takes it.
func (s *indexSource) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeouts*s.library.options.FetchTimeout, errTooSlow)
	defer cancel()
	d := &download{
		url: s.at.url,
		body: &body{
			name: s.at.name, max: maxIndexBytes, total: -1, progress: func(done, total int64) {},
		},
		condition: s.revision,
	}
	// The index is where the user said it is, so its host is not asked for in the list of allowed ones.
	err := s.library.run(ctx, d, hostName(s.at.url))
	switch {
	case errors.Is(err, errNotModified):
		s.confirmed()
		s.touchCache()
		return nil
	case err != nil:
		// Which says that it is about an image.
		return errors.New(strings.TrimPrefix(err.Error(), ErrAccess.Error()+": "))
	}
	content := d.body.data
	if b, ok := d.unpacked(); ok {
		content = b
	}
	if err := s.take(content); err != nil {
		return err
	}
	s.revision = d.revision
	s.writeCache(content)
	return nil
}

// take makes the content of an index file the known one. One that is broken leaves everything as it was.
func (s *indexSource) take(content []byte) error {
	digest := digestOf(content)
	if digest == s.digest {
		s.confirmed()
		return nil
	}
	index, err := s.at.parse(content)
	if err != nil {
		return err
	}
	s.digest = digest
	s.state.Store(&indexState{
		matcher: NewMatcher(index.Entries),
		status: IndexStatus{
			Name: s.at.name, Format: index.Format, Images: len(index.Entries), Skipped: index.Skipped,
			Problem: index.Problem, ReadAt: time.Now(),
		},
	})
	s.library.log.Info("an index of images was read", "index", s.at.name, "format", index.Format,
		"images", len(index.Entries))
	if index.Skipped > 0 {
		s.library.log.Warn("an index of images has entries that cannot be used", "index", s.at.name,
			"entries", index.Skipped, "first", index.Problem)
	}
	s.changed()
	return nil
}

// confirmed notes that the index is as it is known.
func (s *indexSource) confirmed() {
	state := *s.state.Load()
	if state.status.Error != "" {
		s.library.log.Info("an index of images can be read again", "index", s.at.name)
	}
	state.status.Error = ""
	state.status.ReadAt = time.Now()
	s.state.Store(&state)
}

// failed notes that the index could not be read. The first time in a row is told.
func (s *indexSource) failed(err error) {
	state := *s.state.Load()
	if state.status.Error == "" {
		s.library.log.Warn("an index of images cannot be read; what was known of it stays",
			"index", s.at.name, "images", state.status.Images, "error", err)
	} else {
		s.library.log.Debug("an index of images cannot be read still", "index", s.at.name, "error", err)
	}
	state.status.Error = err.Error()
	s.state.Store(&state)
}

// runFile keeps an index up to date that is a file.
func (s *indexSource) runFile(ctx context.Context) {
	var seen, taken fs.FileInfo
	for {
		info, err := os.Stat(s.at.path)
		switch {
		case err != nil:
			s.failed(withoutPath(err))
			taken = nil
		case same(info, taken):
		case seen == nil || same(info, seen):
			// Not in the middle of a change: it is as it was at the last look, or this is the first one.
			if err := s.readFile(info); err != nil {
				s.failed(err)
			}
			taken = info
		}
		seen = info
		if !s.pause(ctx, indexFilePoll, time.Now()) {
			return
		}
	}
}

func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func (s *indexSource) readFile(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errNotRegular
	}
	f, err := os.OpenFile(s.at.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // see openBelow
	if err != nil {
		return withoutPath(err)
	}
	defer f.Close() // it was only read
	content, err := io.ReadAll(io.LimitReader(f, maxIndexBytes+1))
	if err != nil {
		return withoutPath(err)
	}
	return s.take(content)
}
