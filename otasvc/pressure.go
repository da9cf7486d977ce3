package otasvc

import (
	"errors"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
)

// sentBlocks remembers the last answers that were written and not acknowledged yet, in order: the acknowledgement of an
// OTA command carries no sequence number. A status that was lost shifts the order, so what is sent again because of it
// is made anew from the request, never repeated: whatever it is, it is right.
type sentBlocks struct {
	ring       [64]sentBlock
	head, size int
}

type sentBlock struct {
	tr  *transfer
	req zigate.BlockRequest
	at  time.Time
}

// forgetAfter is how old an answer may be whose status still comes; older ones have lost theirs.
const forgetAfter = 3 * time.Second

func (q *sentBlocks) push(tr *transfer, req *zigate.BlockRequest, now time.Time) {
	if q.size == len(q.ring) {
		q.head = (q.head + 1) % len(q.ring)
		q.size--
	}
	q.ring[(q.head+q.size)%len(q.ring)] = sentBlock{tr: tr, req: *req, at: now}
	q.size++
}

func (q *sentBlocks) pop(now time.Time) (b sentBlock, ok bool) {
	for q.size > 0 {
		b = q.ring[q.head]
		q.head = (q.head + 1) % len(q.ring)
		q.size--
		if now.Sub(b.at) <= forgetAfter {
			return b, true
		}
	}
	return sentBlock{}, false
}

// reset forgets everything: the connection is a new one.
func (q *sentBlocks) reset() { q.head, q.size = 0, 0 }

// How a frame that the dongle did not take is sent again: its buffers need 50 ms and more to fall.
const (
	resendAfter    = 80 * time.Millisecond
	resendAttempts = 3
)

// HandleBlockStatus takes the dongle's acknowledgement of a block. A block that it did not take is sent again when its
// buffers have fallen, unless the device has asked anew by then. Part of zigate.Handler.
func (s *Service) HandleBlockStatus(st *zigate.Status) {
	b, ok := s.blocks.sent.pop(time.Now())
	if !ok || b.tr == nil || !st.Busy() {
		return
	}
	s.inbox.postMessage(func() { s.resendLater(b, 1) })
}

func (s *Service) resendLater(b sentBlock, attempt int) {
	time.AfterFunc(time.Duration(attempt)*resendAfter, func() {
		s.inbox.postMessage(func() { s.resend(b, attempt) })
	})
}

func (s *Service) resend(b sentBlock, attempt int) {
	if b.tr.lastAsked.Load() != askedKey(&b.req) || verdict(b.tr.verdict.Load()) != serve || s.ctx.Err() != nil {
		return // it has asked anew, or is not to have it any more
	}
	n := b.tr.blockSize(b.req.MaxDataSize, s.policy.BlockSize, b.req.Offset)
	s.radio.Submit(b.tr.block(targetOf(&b.req), b.req.Sequence, b.req.Offset, n), func(_ zigate.Status, err error) {
		if busy(err) && attempt < resendAttempts {
			s.inbox.post(func() { s.resendLater(b, attempt+1) })
		}
	})
}

// busy reports whether the dongle had no room for a command, so that it is worth sending again a little later.
func busy(err error) bool {
	var refused *zigate.StatusError
	return errors.As(err, &refused) && refused.Busy()
}

// crowded is how many of the dongle's APDU buffers may be in use before what is no block waits. The smallest dongles
// have 9.
const crowded = 6

// noteBuffers keeps what a status says of the dongle's buffers.
func (s *Service) noteBuffers(st zigate.Status) {
	if st.Form == zigate.StatusFormBuffers {
		s.dongle.apduUsed, s.dongle.apduAt = st.APDUUsed, time.Now()
	}
}

// crowdedFor is how long a status that told of full buffers counts: they fall within a few hundred milliseconds.
const crowdedFor = 500 * time.Millisecond

// crowded reports whether what is no block has to wait.
func (s *Service) crowded(now time.Time) bool {
	return s.dongle.apduUsed >= crowded && now.Sub(s.dongle.apduAt) < crowdedFor
}

// send submits a command; done runs on the owner goroutine. A dongle without room gets it again a little later, a
// bounded number of times.
func (s *Service) send(cmd zigate.Message, done func(zigate.Status, error)) {
	var try func(attempt int)
	try = func(attempt int) {
		s.radio.Submit(cmd, func(st zigate.Status, err error) {
			s.inbox.post(func() {
				s.noteBuffers(st)
				if busy(err) && attempt < resendAttempts && s.ctx.Err() == nil {
					time.AfterFunc(time.Duration(attempt)*resendAfter, func() { s.inbox.post(func() { try(attempt + 1) }) })
					return
				}
				done(st, err)
			})
		})
	}
	try(1)
}

// postLater answers a request after a delay, unless the device has asked anew by then. Part of the block server: called
// on the reader goroutine.
func (s *Service) postLater(tr *transfer, req *zigate.BlockRequest, delay time.Duration) {
	asked, requests := *req, tr.requests.Load()
	time.AfterFunc(delay, func() {
		s.inbox.postMessage(func() {
			if tr.requests.Load() != requests || s.ctx.Err() != nil {
				return
			}
			now := time.Now()
			var a blockAnswer
			s.blocks.decideTransfer(tr, &asked, now, false, &a)
			tr.nextBlock.Store(now.Add(s.policy.BlockInterval).UnixNano())
			s.sendAnswer(&a)
		})
	})
}
