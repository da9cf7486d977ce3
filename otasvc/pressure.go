package otasvc

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// sentBlocks remembers the last answers that were written and not acknowledged yet, in order: the
// acknowledgement of an OTA command carries no sequence number. A status that was lost shifts the
// order, so what is sent again because of it is made anew from the request, never repeated: whatever
// it is, it is right.
type sentBlocks struct {
	ring       [64]sentBlock
	head, size int
}

type sentBlock struct {
	tr       *transfer
	req      message.BlockRequest
	requests uint64 // of the transfer, when it was written: a later one is the device asking anew
	at       time.Time
}

// forgetAfter is how old an answer may be whose status still comes; older ones have lost theirs.
const forgetAfter = 3 * time.Second

func (q *sentBlocks) push(tr *transfer, req *message.BlockRequest, now time.Time) {
	if q.size == len(q.ring) {
		q.head = (q.head + 1) % len(q.ring)
		q.size--
	}
	b := sentBlock{tr: tr, req: *req, at: now}
	if tr != nil {
		b.requests = tr.requests.Load()
	}
	q.ring[(q.head+q.size)%len(q.ring)] = b
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
func (q *sentBlocks) reset() {
	q.head = 0
	q.size = 0
}

// How a frame that the dongle did not take is sent again: its buffers need 50 ms and more to fall. A block is
// worth sending for resendPatience only; after that the device asks again.
const (
	resendAfter    = 80 * time.Millisecond
	resendAttempts = 3
	resendPatience = 2 * time.Second
)

// HandleBlockStatus takes the dongle's acknowledgement of a block. A block that it did not take is sent again
// when its buffers have fallen, unless the device has asked anew by then. Part of zigate.Handler.
func (s *Service) HandleBlockStatus(st *message.Status) {
	now := time.Now()
	s.pressure.status(st, now)
	b, ok := s.blocks.sent.pop(now)
	if !ok || b.tr == nil || !st.Busy() {
		return
	}
	s.inbox.postMessage(func() { s.resendLater(b, 1) })
}

func (s *Service) resendLater(b sentBlock, attempt int) {
	time.AfterFunc(time.Duration(attempt)*resendAfter, func() {
		s.inbox.postMessage(func() { s.resend(b, attempt, time.Now()) })
	})
}

func (s *Service) resend(b sentBlock, attempt int, now time.Time) {
	if b.tr.requests.Load() != b.requests || b.tr.lastAsked.Load() != askedKey(&b.req) {
		return // it has asked anew
	}
	if s.blocks.table.Load().byAddr[b.req.Addr] != b.tr || verdict(b.tr.verdict.Load()) != serve {
		return // it is not to have it any more
	}
	if now.Sub(b.at) > resendPatience || s.ctx.Err() != nil {
		return
	}
	if s.crowded(now) {
		s.resendLater(b, attempt)
		return
	}
	n := b.tr.blockSize(b.req.MaxDataSize, s.policy.BlockSize, b.req.Offset)
	s.radio.Submit(b.tr.block(targetOf(&b.req), b.req.Sequence, b.req.Offset,
		n), func(st message.Status, err error) {
		s.pressure.status(&st, time.Now())
		if busy(err) && attempt < resendAttempts {
			s.inbox.post(func() { s.resendLater(b, attempt+1) })
		}
	})
}

// busy reports whether the dongle had no room for a command, so that it is worth sending
// again a little later.
func busy(err error) bool {
	var refused *message.StatusError
	return errors.As(err, &refused) && refused.Busy()
}

// From how many of the dongle's buffers in use on what is no block waits. The smallest dongles that
// tell have 14 of each.
const (
	crowdedAPDU = 6
	crowdedNPDU = 10
)

// crowdedFor is how long a word of full buffers counts: they fall within a few hundred milliseconds.
const crowdedFor = 500 * time.Millisecond

// pressure is how full the dongle's buffers are, as far as it tells: with its statuses (firmware 3.1e and
// later), with delivery reports, and with errors of its stack. The reader goroutine and the owner use it.
type pressure struct {
	epoch
	npdu, apdu atomic.Uint32
	toldAt     atomic.Int64 // instant
	overrunAt  atomic.Int64 // instant at which its stack last said that it got too much
}

func (p *pressure) begin() {
	p.epoch = newEpoch()
	p.overrunAt.Store(-int64(crowdedFor))
}

func (p *pressure) status(st *message.Status, now time.Time) {
	if st.Form == message.StatusFormBuffers {
		p.told(st.NPDUUsed, st.APDUUsed, now)
	}
}

func (p *pressure) told(npdu, apdu uint8, now time.Time) {
	p.npdu.Store(uint32(npdu))
	p.apdu.Store(uint32(apdu))
	p.toldAt.Store(p.instant(now))
}

// noteBuffers keeps what a status says of the dongle's buffers.
func (s *Service) noteBuffers(st message.Status) { s.pressure.status(&st, time.Now()) }

// noteConfirm keeps what a delivery report says of them. The one of v2 says nothing of the APDUs.
func (s *Service) noteConfirm(m message.Confirm, now time.Time) {
	if !m.HasBuffers {
		return
	}
	apdu := uint32(m.APDUUsed)
	if s.dongle.info.Family == message.FamilyV2 {
		apdu = min(s.pressure.apdu.Load(), uint32(m.NPDUUsed))
	}
	s.pressure.told(m.NPDUUsed, uint8(apdu), now)
}

// overrun: an error of the dongle's stack. Some mean that it is sent more than the radio can take.
func (s *Service) overrun(m message.ExtendedStatus, now time.Time) {
	s.log.Debug("an error of the dongle's stack", "code", m.Code,
		"meaning", message.ExtendedStatusText(m.Code))
	if m.Busy() {
		s.pressure.overrunAt.Store(s.pressure.instant(now))
	}
}

// crowded reports whether what is no block has to wait; what would begin anew asks mayBegin.
func (s *Service) crowded(now time.Time) bool {
	p := &s.pressure
	if p.instant(now)-p.overrunAt.Load() < int64(crowdedFor) {
		return true
	}
	return p.instant(now)-p.toldAt.Load() < int64(crowdedFor) &&
		(p.apdu.Load() >= crowdedAPDU || p.npdu.Load() >= crowdedNPDU)
}

// putOffFor is how long full buffers put off what would begin anew. Downloads may keep them full for hours,
// in which one more is begun each time it has passed.
const putOffFor = 2 * time.Second

// patience is that of one kind of beginning. Only the owner goroutine uses it.
type patience struct {
	// since is when it was first put off, or last begun in spite of full buffers; zero while there is room.
	since time.Time
}

// mayBegin reports whether something new may begin that makes radio frames.
func (s *Service) mayBegin(p *patience, now time.Time) bool {
	if !s.crowded(now) {
		p.since = time.Time{}
		return true
	}
	if p.since.IsZero() {
		p.since = now
	}
	return now.Sub(p.since) >= putOffFor
}

// begun has the next one wait for its own time.
func (p *patience) begun(now time.Time) {
	if !p.since.IsZero() {
		p.since = now
	}
}

// canWait tells which commands make a radio frame that nobody waits for within a second: all but blocks, the
// answer to an upgrade end, and what stays in the dongle.
func canWait(m message.Message) bool {
	switch m.(type) {
	case message.ImageNotify, message.ReadAttributes, message.NodeDescriptorRequest,
		message.PowerDescriptorRequest,
		message.ActiveEndpointsRequest, message.SimpleDescriptorRequest, message.MatchDescriptorRequest,
		message.NwkAddrRequest, message.IEEEAddrRequest, message.RawAPS:
		return true
	}
	return false
}

// waitsAtMost is how often a command is put off by resendAfter because of full buffers. Then it is sent all
// the same: the dongle may be that busy for hours.
const waitsAtMost = 25

// send submits a command; done runs on the owner goroutine. A dongle whose buffers are full gets it when they
// have fallen, and one that had no room for it gets it again a little later, both a bounded number of times.
func (s *Service) send(cmd message.Message, done func(message.Status, error)) {
	waits := 0
	var try func(attempt int)
	later := func(d time.Duration, attempt int) {
		time.AfterFunc(d, func() { s.inbox.post(func() { try(attempt) }) })
	}
	try = func(attempt int) {
		if canWait(cmd) && waits < waitsAtMost && s.ctx.Err() == nil && s.crowded(time.Now()) {
			waits++
			later(resendAfter, attempt)
			return
		}
		s.radio.Submit(cmd, func(st message.Status, err error) {
			s.inbox.post(func() {
				s.noteBuffers(st)
				if busy(err) && attempt < resendAttempts && s.ctx.Err() == nil {
					later(time.Duration(attempt)*resendAfter, attempt+1)
					return
				}
				done(st, err)
			})
		})
	}
	try(1)
}

// postLater answers a request after a delay, unless the device has asked anew by then. Part of the block
// server: called on the reader goroutine.
func (s *Service) postLater(tr *transfer, req *message.BlockRequest, delay time.Duration) {
	asked := *req
	requests := tr.requests.Load()
	time.AfterFunc(delay, func() {
		s.inbox.postMessage(func() {
			if tr.requests.Load() != requests || s.ctx.Err() != nil {
				return
			}
			now := time.Now()
			var a blockAnswer
			s.blocks.decideTransfer(tr, &asked, now, false, &a)
			tr.nextBlock.Store(tr.instant(now.Add(s.policy.BlockInterval)))
			s.sendAnswer(&a)
		})
	})
}
