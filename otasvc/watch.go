package otasvc

import (
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// QueryWatch is when the dongle runs in its hybrid raw mode. It then shows every frame as it came from the
// air, Query Next Image requests among them, which the dongle answers itself and tells nobody of otherwise:
// they name a device's running version and, alone of all messages, its hardware version, and show that a
// sleeping device is awake. Each frame then costs a further one on air, so the mode is for the time when
// nothing downloads.
type QueryWatch uint8

// When queries are watched.
const (
	WatchNever  QueryWatch = iota
	WatchIdle              // while nothing downloads
	WatchAlways            // during downloads too
)

// watchAfter is how long nothing has to be going on before the mode changes. The dongle writes each change
// to its flash memory.
const watchAfter = time.Minute

// watchRetry is how long the owner waits after the dongle did not take a mode.
const watchRetry = 2 * time.Second

// watch is the dongle's raw mode as far as the owner knows it, and what it is to be.
type watch struct {
	policy QueryWatch
	mode   message.RawMode
	busy   bool
	// touched: the dongle may have another mode than off. What became of a command whose status was
	// lost is not known.
	touched bool
	// idleSince is when the last download ended.
	idleSince time.Time
	retryAt   time.Time
}

// reset notes that the dongle's mode is off, as it is after a handshake.
func (w *watch) reset() { *w = watch{policy: w.policy} }

// off reports whether nobody has set another mode.
func (w *watch) off() bool { return w.mode == message.RawModeOff && !w.busy }

// next decides which mode the dongle is to get now, and false where that stays as it is. Off comes at once,
// before anything downloads; hybrid comes after nothing has been going on for a while, or at once where it is
// urgent.
func (w *watch) next(working, urgent bool, now time.Time) (message.RawMode, bool) {
	if w.busy || now.Before(w.retryAt) {
		return w.mode, false
	}
	if working {
		w.idleSince = time.Time{}
	} else if w.idleSince.IsZero() {
		w.idleSince = now
	}
	mode := message.RawModeOff
	switch {
	case w.policy == WatchAlways:
		mode = message.RawModeHybrid
	case w.policy != WatchIdle || working:
	case w.mode == message.RawModeHybrid || urgent || now.Sub(w.idleSince) >= watchAfter:
		mode = message.RawModeHybrid
	}
	return mode, mode != w.mode
}

// setting notes that a command is under way.
func (w *watch) setting(mode message.RawMode) {
	w.busy = true
	w.touched = w.touched || mode != message.RawModeOff
}

// set notes what came of the command.
func (w *watch) set(mode message.RawMode, err error, now time.Time) {
	w.busy = false
	if err != nil {
		w.retryAt = now.Add(watchRetry)
		return
	}
	w.mode = mode
	w.touched = mode != message.RawModeOff
}

// watchQueries sets the dongle's raw mode.
func (s *Service) watchQueries(now time.Time) {
	if !s.dongle.connected {
		return
	}
	working := s.slot.image != nil || len(s.slotUsers()) > 0
	urgent := false
	for _, d := range s.active {
		// There is no other way to learn how its upgrade went.
		urgent = urgent || d.Mute() && d.Upgrade.State == Applying
	}
	mode, change := s.watch.next(working, urgent, now)
	if !change {
		return
	}
	s.watch.setting(mode)
	session := s.dongle.session
	s.send(message.SetRawMode{Mode: mode}, func(_ message.Status, err error) {
		if s.dongle.session != session {
			return
		}
		s.watch.set(mode, err, time.Now())
		if err != nil {
			s.log.Warn("the dongle's raw mode was not set; it is tried again", "mode", mode, "err", err)
		}
	})
}

// How long a clean stop waits for the dongle to take its raw mode back, and how often it tries.
const (
	restoreTimeout = 2 * time.Second
	restoreTries   = 3
)

// restoreRawMode leaves the dongle as other software expects it: it keeps its mode over resets. The mode that
// it had before cannot be read; off is what it is sold with, and what it was set to when it was connected.
func (s *Service) restoreRawMode() {
	if !s.dongle.connected || !s.watch.touched {
		return
	}
	timeout := time.After(restoreTimeout)
	for range restoreTries {
		done := make(chan error, 1)
		s.radio.Submit(message.SetRawMode{Mode: message.RawModeOff}, func(_ message.Status, err error) {
			done <- err
		})
		select {
		case err := <-done:
			if err == nil {
				return
			}
		case <-timeout:
			s.log.Warn("the dongle did not say that it has left its hybrid raw mode")
			return
		}
	}
}

// bothWays is how long a request that was shown as a data indication may take to come as a message of its
// own, too. In the pure raw mode, which other software may have set, it never comes. onceWithin is how long
// the same request in the other form is taken for a copy: devices that repeat theirs wait longer.
const (
	bothWays   = 100 * time.Millisecond
	onceWithin = time.Second
)

// indicatedBlock answers a block request that comes as data indication only; one that comes both ways is left
// to the block server. It is called on the reader goroutine.
func (s *Service) indicatedBlock(req message.BlockRequest) {
	tr := s.blocks.table.Load().byAddr[req.Addr]
	if tr == nil {
		return // the owner finds out who it is
	}
	requests := tr.requests.Load()
	if requests > 0 && tr.lastAsked.Load() == askedKey(&req) &&
		tr.instant(time.Now())-tr.lastRequest.Load() < int64(onceWithin) {
		return // its message came first
	}
	time.AfterFunc(bothWays, func() {
		s.inbox.postMessage(func() {
			now := s.blocks.table.Load().byAddr[req.Addr]
			if now == nil || now != tr || tr.requests.Load() != requests || s.ctx.Err() != nil {
				return // its message came, or another request did
			}
			s.shown.put(&req)
			var a blockAnswer
			s.blocks.decide(&req, time.Now(), false, &a)
			s.sendAnswer(&a)
		})
	})
}

// shownBlocks are the block requests that were answered when they were shown as data indications, for a
// second: their message may still come. The owner puts them in and the reader goroutine takes them out; where
// there are none, as in all modes but the pure raw one, looking costs one atomic load.
type shownBlocks struct {
	count atomic.Int32
	ring  [16]atomic.Uint64 // address, offset and sequence number; 0: free
}

func shownKey(req *message.BlockRequest) uint64 {
	return uint64(req.Addr)<<48 | askedKey(req) | 1<<47 // never 0
}

func (b *shownBlocks) put(req *message.BlockRequest) {
	key := shownKey(req)
	for i := range b.ring {
		if !b.ring[i].CompareAndSwap(0, key) {
			continue
		}
		b.count.Add(1)
		time.AfterFunc(onceWithin, func() {
			if b.ring[i].CompareAndSwap(key, 0) {
				b.count.Add(-1)
			}
		})
		return
	}
}

// take reports whether a request was answered already, once.
func (b *shownBlocks) take(req *message.BlockRequest) bool {
	if b.count.Load() == 0 {
		return false
	}
	key := shownKey(req)
	for i := range b.ring {
		if b.ring[i].CompareAndSwap(key, 0) {
			b.count.Add(-1)
			return true
		}
	}
	return false
}
