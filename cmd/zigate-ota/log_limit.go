package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// limiter keeps a fault that repeats from filling the disk. Of warnings and errors with one text about one
// thing, it writes the first few as they come, then fewer and fewer, each with the number of those that it
// left out. After a pause without the fault it begins anew. Less severe messages are never left out.
type limiter struct {
	slog.Handler
	// about names the things that the logger's own attributes say its messages are about.
	about string
	seen  *repeats
}

// repeats counts the faults of late, by text and thing.
type repeats struct {
	mu     sync.Mutex
	faults map[string]*fault
}

type fault struct {
	written int       // number of those of the burst that were written
	last    time.Time // when the fault came last, written or not
	next    time.Time // after the burst: when the next may be written
	pause   time.Duration
	left    int // number left out since the last that was written
}

const (
	faultBurst    = 5
	faultPause    = time.Minute // doubles each time, up to:
	faultMaxPause = time.Hour
	// A fault that stays away for faultQuiet, or for its pause where that is longer, begins anew.
	faultQuiet = 10 * time.Minute
	faultsKept = 1000 // number of faults that are remembered
)

func newLimiter(next slog.Handler) *limiter {
	return &limiter{Handler: next, seen: &repeats{faults: map[string]*fault{}}}
}

// leftOut is the attribute with the number of messages that were not written.
const leftOut = "leftOut"

// Handle is part of slog.Handler.
func (l *limiter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return l.Handler.Handle(ctx, r)
	}
	about := l.about
	r.Attrs(func(a slog.Attr) bool {
		about += thing(a)
		return true
	})
	write, left := l.seen.take(r.Message+about, r.Time)
	if !write {
		return nil
	}
	if left > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int(leftOut, left))
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs is part of slog.Handler.
func (l *limiter) WithAttrs(attrs []slog.Attr) slog.Handler {
	about := l.about
	for _, a := range attrs {
		about += thing(a)
	}
	return &limiter{Handler: l.Handler.WithAttrs(attrs), about: about, seen: l.seen}
}

// WithGroup is part of slog.Handler.
func (l *limiter) WithGroup(name string) slog.Handler {
	return &limiter{Handler: l.Handler.WithGroup(name), about: l.about, seen: l.seen}
}

// thing returns what tells messages with one text apart: that one device failed must not hide that another
// one did. Errors, addresses and counts do not belong to it, because they may differ each time.
func thing(a slog.Attr) string {
	switch a.Key {
	case "euid", "sha256", "image", "file", "folder", "index", "url":
		return "\x00" + a.Value.String()
	default:
		return ""
	}
}

// take reports whether a fault may be written now, and how many were left out since the last one.
func (s *repeats) take(key string, now time.Time) (write bool, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults[key]
	if f == nil || f.over(now) {
		if len(s.faults) >= faultsKept {
			s.makeRoom(now)
		}
		if f != nil {
			left = f.left
		}
		f = &fault{pause: faultPause}
		s.faults[key] = f
	}
	f.last = now
	switch {
	case f.written < faultBurst:
		f.written++
		f.next = now.Add(f.pause)
	case now.Before(f.next):
		f.left++
		return false, 0
	default:
		left = f.left
		f.left = 0
		f.pause = min(2*f.pause, faultMaxPause)
		f.next = now.Add(f.pause)
	}
	return true, left
}

func (f *fault) over(now time.Time) bool { return now.Sub(f.last) > max(faultQuiet, f.pause) }

// makeRoom forgets the faults that are over, and all of them where that is not enough.
func (s *repeats) makeRoom(now time.Time) {
	for key, f := range s.faults {
		if f.over(now) {
			delete(s.faults, key)
		}
	}
	if len(s.faults) >= faultsKept {
		clear(s.faults)
	}
}
