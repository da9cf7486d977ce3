package blocks

import (
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// BothWays is how long a request that was shown as a data indication may take to come as a message of its
// own, too. In the pure raw mode, which other software may have set, it never comes.
const BothWays = 100 * time.Millisecond

// onceWithin is how long the same request in the other form is taken for a copy: devices that repeat theirs
// wait longer.
const onceWithin = time.Second

// Indicated answers a block request that comes as data indication only; one that comes both ways is left to
// Answer. The reader calls it.
func (s *Server) Indicated(req message.ImageBlockRequest) {
	tr := s.table.Load().ByAddr[req.Addr]
	if tr == nil {
		return // the owner finds out who it is
	}
	requests := tr.requests.Load()
	if requests > 0 && tr.last.key.Load() == askedKey(&req) &&
		tr.instant(time.Now())-tr.last.at.Load() < int64(onceWithin) {
		return // its message came first
	}
	s.after(BothWays, func() {
		if s.table.Load().ByAddr[req.Addr] != tr || tr.requests.Load() != requests {
			return // its message came, or another request did
		}
		s.shown.put(&req)
		var a answer
		s.decide(&req, time.Now(), byOwner, &a)
		s.send(&a)
	})
}

// shownRequests are the block requests that were answered when they were shown as data indications, for a
// second: their message may still come. The owner puts them in and the reader takes them out; where there are
// none, as in all modes but the pure raw one, looking costs one atomic load.
type shownRequests struct {
	count atomic.Int32
	ring  [16]atomic.Uint64 // shownKey, or 0 for a free place
}

// shownKey is made of address, offset and sequence number. It is never 0.
func shownKey(req *message.ImageBlockRequest) uint64 {
	return uint64(req.Addr)<<48 | askedKey(req) | 1<<47
}

func (r *shownRequests) put(req *message.ImageBlockRequest) {
	key := shownKey(req)
	for i := range r.ring {
		if !r.ring[i].CompareAndSwap(0, key) {
			continue
		}
		r.count.Add(1)
		time.AfterFunc(onceWithin, func() {
			if r.ring[i].CompareAndSwap(key, 0) {
				r.count.Add(-1)
			}
		})
		return
	}
}

// take reports whether a request was answered already, once.
func (r *shownRequests) take(req *message.ImageBlockRequest) bool {
	if r.count.Load() == 0 {
		return false
	}
	key := shownKey(req)
	for i := range r.ring {
		if r.ring[i].CompareAndSwap(key, 0) {
			r.count.Add(-1)
			return true
		}
	}
	return false
}
