package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	indexInterval    = 24 * time.Hour // time between two requests to a server
	indexMinInterval = time.Minute    // shortest time between two requests, also when Refresh is called
	indexBackoffMin  = time.Minute    // time before the first request after a failure; it doubles with each
	indexBackoffMax  = time.Hour
	indexFilePoll    = 10 * time.Second // time between two looks at the size and time of an index file
	// indexComplete is the time between two attempts to complete the entries of an index file.
	indexComplete = 10 * time.Minute
	// indexJitter is the part of the interval by which it varies, so that services that started at the same
	// time do not send their requests at the same time.
	indexJitter = 0.1
)

// IndexStatus describes an index for people.
type IndexStatus struct {
	Name    string    // URL without user, password and query, or path
	Format  string    // as in Index; empty before the index was read for the first time
	Images  int       // number of images that it lists
	Skipped int       // number of entries that cannot be used
	Problem string    // what is wrong with the first of those; empty when Skipped is 0
	ReadAt  time.Time // when it was last read or confirmed; zero before the first time
	// Error tells why the last attempt to read it failed, and since when that is so; the entries of the last
	// good one stay in use. It is empty when the last attempt succeeded.
	Error string
}

// indexState is the content of an index at one moment. It does not change.
type indexState struct {
	matcher *matcher
	status  IndexStatus
}

// indexSource keeps an index up to date.
type indexSource struct {
	library  *Library
	makers   *makers
	at       location
	interval time.Duration
	changed  func()
	wasRead  func()        // is called when the index was read, or could not be
	wanted   chan struct{} // has a value after refresh was called
	state    atomic.Pointer[indexState]

	// The fields below belong to the goroutine of run.
	revision revision
	digest   string // SHA-256 of the index in use, in hex; empty before the first
	// incomplete says that entries of the index in use could not be completed from their images.
	incomplete bool
	failing    time.Time // when the first of the failures in a row was; zero where the last attempt succeeded
}

// newIndexSource makes the source of the index at a location. run calls changed whenever the index has
// changed.
func newIndexSource(
	l *Library, makers *makers, at location, interval time.Duration, changed func(),
) *indexSource {
	s := &indexSource{
		library: l, makers: makers, at: at, interval: interval, changed: changed,
		wasRead: func() {}, wanted: make(chan struct{}, 1),
	}
	s.state.Store(&indexState{matcher: newMatcher(nil, makers), status: IndexStatus{Name: at.name}})
	return s
}

// refresh makes run read the index soon. It does not wait for that.
func (s *indexSource) refresh() {
	select {
	case s.wanted <- struct{}{}:
	default: // refresh was called already
	}
}

// run keeps the index up to date until ctx is done.
func (s *indexSource) run(ctx context.Context) {
	if s.at.url == nil {
		s.runFile(ctx)
		return
	}
	wait := s.loadCache(ctx)
	if s.digest != "" {
		s.wasRead()
	}
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
			wait = min(s.interval, indexBackoffMax, indexBackoffMin<<min(failures, 10))
			failures++
		default:
			wait = spread(s.interval)
			failures = 0
		}
		s.wasRead()
	}
}

// pause waits for the given time, or until refresh is called. It ignores refresh within indexMinInterval of
// tried, the time of the last request. It returns false when ctx is done.
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
			if time.Since(tried) >= indexMinInterval {
				return true
			}
		}
	}
}

// spread varies a duration by indexJitter, up or down.
func spread(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()*2-1)*indexJitter*float64(d))
}

// ask asks the server for a newer index, and takes it where there is one. Where a channel file is at the URL,
// the index that it leads to is meant; that has another URL for each of its versions, so the channel file
// alone tells whether there is a newer one.
func (s *indexSource) ask(ctx context.Context) error {
	content, found, err := s.get(ctx, s.at.url, s.revision)
	if errors.Is(err, errNotModified) {
		s.confirmed()
		s.touchCache()
		return nil
	}
	if err != nil {
		return err
	}
	if ref, ok := channelIndex(content); ok {
		next, err := s.at.url.Parse(ref)
		if err != nil || !isHTTP(next) || next.Host == "" {
			return fmt.Errorf("%w: the channel file leads to no http or https URL", ErrIndex)
		}
		if content, _, err = s.get(ctx, next, revision{}); err != nil {
			return err
		}
	}
	if err := s.take(ctx, content); err != nil {
		return err
	}
	s.revision = found
	s.writeCache(content)
	return nil
}

// get gets what is at a URL, unless it is in the known state still: then the error is errNotModified.
func (s *indexSource) get(
	ctx context.Context, u *url.URL, known revision,
) (content []byte, found revision, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeouts*s.library.options.FetchTimeout, errTooSlow)
	defer cancel()
	// The user has configured this URL, so its host may be anywhere. The host that a channel file leads to is
	// not configured; like that of the URL it needs not be in the list of allowed hosts.
	own := hostName(s.at.url)
	o := s.library.originOf("")
	o.configured = append(o.configured, own)
	o.trusted = hostName(u)
	if u != s.at.url {
		o = o.from(own)
	}
	d := &download{
		url:    u,
		origin: o,
		body: &body{
			name: shown(u), max: maxIndexBytes, total: -1, progress: func(done, total int64) {},
		},
		condition: known,
	}
	if u == s.at.url {
		d.body.name = s.at.name
	}
	err = s.library.run(ctx, d)
	switch {
	case errors.Is(err, errNotModified):
		return nil, known, errNotModified
	case err != nil:
		// The text of ErrAccess is about an image, and this is an index.
		return nil, revision{}, errors.New(strings.TrimPrefix(err.Error(), ErrAccess.Error()+": "))
	}
	if b, ok := d.unpacked(); ok {
		return b, d.revision, nil
	}
	return d.body.data, d.revision, nil
}

// take puts the content of an index file into use. A broken one is an error and changes nothing.
func (s *indexSource) take(ctx context.Context, content []byte) error {
	digest := digestOf(content)
	if digest == s.digest {
		s.confirmed()
		return nil
	}
	index, err := s.at.parse(content)
	if err != nil {
		return err
	}
	s.complete(ctx, index)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.digest = digest
	before := s.state.Load().status
	s.state.Store(&indexState{
		matcher: newMatcher(index.Entries, s.makers),
		status: IndexStatus{
			Name: s.at.name, Format: index.Format, Images: len(index.Entries), Skipped: index.Skipped,
			Problem: index.Problem, ReadAt: time.Now(),
		},
	})
	if before.Images == len(index.Entries) && before.Problem != "" && before.Problem == index.Problem {
		return nil // the attempt to complete its entries has changed nothing
	}
	s.library.log.Info("an index of images was read", "index", s.at.name, "format", index.Format,
		"images", len(index.Entries), "gateways", index.Gateways)
	if index.Skipped > 0 {
		s.library.log.Warn("an index of images has entries that cannot be used", "index", s.at.name,
			"entries", index.Skipped, "first", index.Problem)
	}
	s.changed()
	return nil
}

// confirmed notes that the index in use is still the current one.
func (s *indexSource) confirmed() {
	state := *s.state.Load()
	if state.status.Error != "" {
		s.library.log.Info("an index of images can be read again", "index", s.at.name)
	}
	state.status.Error = ""
	state.status.ReadAt = time.Now()
	s.state.Store(&state)
}

// failed notes that the index could not be read. The first failure in a row is logged as a warning.
func (s *indexSource) failed(err error) {
	state := *s.state.Load()
	if state.status.Error == "" {
		s.failing = time.Now()
		s.library.log.Warn("an index of images cannot be read; what was known of it stays",
			"index", s.at.name, "images", state.status.Images, "last", lastRead(state.status.ReadAt),
			"error", err)
	} else {
		s.library.log.Debug("an index of images cannot be read still", "index", s.at.name, "error", err)
	}
	state.status.Error = fmt.Sprintf("%v (since %s)", err, s.failing.UTC().Format(time.RFC3339))
	s.state.Store(&state)
}

// lastRead says for the log when an index was read.
func lastRead(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.UTC().Format(time.RFC3339)
}

// runFile keeps an index on the disk up to date until ctx is done.
func (s *indexSource) runFile(ctx context.Context) {
	var seen, taken fs.FileInfo
	var tried time.Time // when it was taken
	for {
		info, err := os.Stat(s.at.path)
		switch {
		case err != nil:
			s.failed(withoutPath(err))
			taken = nil
		case same(info, taken) && !(s.incomplete && time.Since(tried) >= indexComplete):
		case seen == nil || same(info, seen):
			// Nobody is writing the file: it has not changed since the last look, or this is the first one.
			if s.incomplete {
				s.digest = "" // its entries are completed even where the file has not changed
			}
			if err := s.readFile(ctx, info); err != nil && ctx.Err() == nil {
				s.failed(err)
			}
			taken = info
			tried = time.Now()
		}
		s.wasRead()
		seen = info
		if !s.pause(ctx, indexFilePoll, time.Now()) {
			return
		}
	}
}

// same reports whether both are the same state of a file, by size and time of modification.
func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// readFile takes the index from its file.
func (s *indexSource) readFile(ctx context.Context, info fs.FileInfo) error {
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
	return s.take(ctx, content)
}
