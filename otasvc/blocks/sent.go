package blocks

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// forgetAfter is how old an answer may be whose status still comes; older ones have lost theirs.
const forgetAfter = 3 * time.Second

// worthFor is how long a block that the dongle did not take is worth sending again; after that the device
// asks anew.
const worthFor = 2 * time.Second

// Sent is an answer of a transfer that was written to the dongle.
type Sent struct {
	tr       *Transfer
	req      message.ImageBlockRequest
	requests uint64 // of the transfer, when it was written: a later one is the device asking anew
	waits    bool   // the answer told the device to wait
	at       time.Time
}

// sentAnswers remembers the last answers that were written and not acknowledged yet, in order: the
// acknowledgement of an OTA command carries no sequence number. A status that was lost shifts the
// order, so what is sent again because of it is made anew from the request, never repeated: whatever
// it is, it is right.
type sentAnswers struct {
	ring       [64]Sent
	head, size int
}

func (q *sentAnswers) push(tr *Transfer, req *message.ImageBlockRequest, waits bool, now time.Time) {
	if q.size == len(q.ring) {
		q.head = (q.head + 1) % len(q.ring)
		q.size--
	}
	sent := Sent{tr: tr, req: *req, waits: waits, at: now}
	if tr != nil {
		sent.requests = tr.requests.Load()
	}
	q.ring[(q.head+q.size)%len(q.ring)] = sent
	q.size++
}

func (q *sentAnswers) pop(now time.Time) (sent Sent, ok bool) {
	for q.size > 0 {
		sent = q.ring[q.head]
		q.head = (q.head + 1) % len(q.ring)
		q.size--
		if now.Sub(sent.at) <= forgetAfter {
			return sent, true
		}
	}
	return Sent{}, false
}

// Acknowledged returns the answer that the dongle's next status is about. It is false where there is none, or
// where the answer belongs to no transfer. The reader calls it, once for each status of a block.
func (s *Server) Acknowledged(now time.Time) (Sent, bool) {
	sent, ok := s.sent.pop(now)
	if ok {
		s.acknowledged.Add(1)
	}
	return sent, ok && sent.tr != nil
}

// Refused notes that the dongle did not take an answer. The reader calls it.
func (s *Server) Refused(sent Sent) { sent.tr.sizes.stuck.refused() }

// Reconnected forgets what was sent: the statuses of an earlier connection do not come any more. The reader
// calls it.
func (s *Server) Reconnected() {
	s.sent.head = 0
	s.sent.size = 0
}

// Again returns the answer to a request whose answer the dongle did not take: the block, or wait-for-data, as
// things are now. It is false when sending it again makes no sense: the device has asked anew, may not have
// the block any more, or will ask anew any moment. The owner calls it.
func (s *Server) Again(sent Sent, now time.Time) (message.Message, bool) {
	tr := sent.tr
	switch {
	case tr.requests.Load() != sent.requests, !sent.waits && tr.last.key.Load() != askedKey(&sent.req):
		return nil, false // it has asked anew
	case s.table.Load().ByAddr[sent.req.Addr] != tr:
		return nil, false // it may not have the block any more
	case now.Sub(sent.at) > worthFor:
		return nil, false
	}
	switch verdict(tr.verdict.Load()) {
	case abort:
		return nil, false
	case hold, putOff:
		if seconds := tr.holdSeconds(now); seconds > 0 {
			tr.waits(seconds, now)
			return waitForData(&sent.req, seconds), true
		}
	}
	n := tr.blockSize(sent.req.MaxDataSize, sent.req.Offset, s.limitsOf(tr))
	return tr.block(targetOf(&sent.req), sent.req.Sequence, sent.req.Offset, n), true
}
