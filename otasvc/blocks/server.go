package blocks

import (
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// malformedCommand is the ZCL status that answers a request for blocks of no size.
const malformedCommand = 0x80

// longestDelay is how long an answer may be delayed before devices take the silence for a loss and ask again.
const longestDelay = 2 * time.Second

// Result says how an image block request was answered. The strings are label values of a metric.
type Result string

// These are all the ways to answer a block request.
const (
	Served      Result = "served"      // with a block
	Held        Result = "wait"        // with wait-for-data
	Aborted     Result = "aborted"     // refused: the transfer was aborted
	OutOfRange  Result = "outOfRange"  // refused: an offset at or past the end of the image, or a size of 0
	WrongImage  Result = "wrongImage"  // refused: another manufacturer, type or version than the transfer's
	Unsolicited Result = "unsolicited" // refused: a known device without a transfer
	Unknown     Result = "unknown"     // not at all: an address that is not known yet
)

// Observer counts what happens, for metrics.
type Observer interface {
	// BlockRequest counts an answered image block request and the bytes of image sent. It is called on the
	// block path: it must not block or allocate.
	BlockRequest(result Result, bytes int)
}

// Owner is what a Server needs of the goroutine that owns the transfers. Wake and Post are called from any
// goroutine and must not block; the others are called from inside what was posted.
type Owner interface {
	// Wake has the owner look at the progress of transfers soon: a download began, began again, ended, or is
	// held.
	Wake()
	// Post runs f on the owner's goroutine. It may drop f when too much waits and must drop it when the owner
	// stops: devices repeat themselves.
	Post(f func())
	// Send sends an answer through the queue of commands.
	Send(m message.Message)
	// Stray hands over a request that no transfer fits, with the answer that it got. With [Served] its device
	// was found by its IEEE address, and has another network address than the table says.
	Stray(req message.ImageBlockRequest, result Result)
	// PageAsked tells that a device asks for whole pages.
	PageAsked(p Page)
	// LastBlock hands over a request for the last block of a transfer with KeepLast. The owner sends the
	// block, see [Server.Block], when the installation may follow or is provided against.
	LastBlock(tr *Transfer, req message.ImageBlockRequest)
}

// Options are what a Server is made of.
type Options struct {
	Limits   Limits // for transfers without limits of their own
	Observer Observer
	Owner    Owner
}

// Server answers image block requests. It must be made by New.
type Server struct {
	limits   Limits // for transfers without limits of their own
	observer Observer
	owner    Owner

	table atomic.Pointer[Table]
	shown shownRequests

	blocks, again         atomic.Uint64 // see Counts
	answers, acknowledged atomic.Uint64

	sent  sentAnswers         // the reader's
	pages map[*Transfer]*page // the owner's
}

// New returns a server with an empty table: it leaves all requests without an answer.
func New(o Options) *Server {
	s := &Server{
		limits:   o.Limits,
		observer: o.Observer,
		owner:    o.Owner,
		pages:    map[*Transfer]*page{},
	}
	s.table.Store(&Table{})
	return s
}

// SetTable puts a table in the place of the one before. The owner calls it; requests that come from now on
// are answered by it.
func (s *Server) SetTable(t Table) { s.table.Store(&t) }

// Answer appends the whole frame of the answer to dst, or nothing where the request gets none or gets it
// later. The reader calls it. It allocates nothing unless the request needs the owner.
func (s *Server) Answer(req *message.ImageBlockRequest, now time.Time, dst []byte) []byte {
	if s.shown.take(req) {
		return dst // it came as a data indication first, and has got its answer
	}
	var a answer
	tr := s.decide(req, now, byReader, &a)
	switch a.kind {
	case answerBlock:
		dst = message.AppendImageBlockResponse(dst, &a.block)
	case answerWait:
		dst = message.AppendWaitForData(dst, &a.wait)
	default:
		return dst
	}
	s.answers.Add(1)
	s.sent.push(tr, req, a.kind == answerWait, now)
	return dst
}

// Block returns the block for a request that was handed to the owner, and counts it as served. The request
// must be one that [Owner] got with the transfer. The owner calls it.
func (s *Server) Block(tr *Transfer, req *message.ImageBlockRequest) message.ImageBlockResponse {
	n := tr.blockSize(req.MaxDataSize, req.Offset, s.limitsOf(tr))
	s.observer.BlockRequest(Served, int(n))
	return tr.block(targetOf(req), req.Sequence, req.Offset, n)
}

// AnswerLate answers a request that got no answer when it came, by the table as it is now. The owner calls
// it.
func (s *Server) AnswerLate(req message.ImageBlockRequest) {
	var a answer
	s.decide(&req, time.Now(), byOwner, &a)
	s.send(&a)
}

// Refuse ends the download of a device whose request got no answer when it came. The owner calls it.
func (s *Server) Refuse(req message.ImageBlockRequest) {
	var a answer
	s.observer.BlockRequest(Unsolicited, 0)
	a.refuse(&req, message.OTAAbort)
	s.send(&a)
}

// decide says what a request gets. tr is the transfer that it belongs to, or nil.
func (s *Server) decide(req *message.ImageBlockRequest, now time.Time, by asker, a *answer) (tr *Transfer) {
	table := s.table.Load()
	tr = table.ByAddr[req.Addr]
	asksForPage := false
	if tr != nil {
		_, asksForPage = tr.pageRequest(req) // its field control is none
	}
	if !asksForPage && req.FieldControl&message.BlockHasNodeAddress != 0 {
		// The node address names the device for certain, whatever network address it has now. Without the bit
		// the field holds leftovers of an earlier message.
		if byNode := table.ByNode[req.NodeAddress]; byNode != nil && byNode != tr {
			tr = byNode
			s.stray(req, Served)
		}
	}
	if tr != nil {
		s.decideTransfer(tr, req, now, by, a)
		return tr
	}

	if _, known := table.Known[req.Addr]; known {
		s.observer.BlockRequest(Unsolicited, 0)
		s.stray(req, Unsolicited)
		a.refuse(req, message.OTAAbort)
		return nil
	}
	s.observer.BlockRequest(Unknown, 0)
	s.stray(req, Unknown)
	return nil
}

// decideTransfer says what a request of a transfer's device gets.
func (s *Server) decideTransfer(
	tr *Transfer, req *message.ImageBlockRequest, now time.Time, by asker, a *answer,
) {
	if !tr.fits(req) {
		s.otherImage(tr, req, a)
		return
	}
	if req.Offset >= tr.size() {
		s.observer.BlockRequest(OutOfRange, 0)
		a.refuse(req, message.OTAAbort)
		return
	}
	switch verdict(tr.verdict.Load()) {
	case abort:
		s.observer.BlockRequest(Aborted, 0)
		a.refuse(req, message.OTAAbort)
		return
	case hold, putOff:
		if seconds := tr.holdSeconds(now); seconds > 0 {
			s.note(tr, req, 0, now, by)
			s.hold(tr, req, seconds, now, a)
			return
		}
	}
	limits := s.limitsOf(tr)
	if by == byReader {
		tr.sizes.stuck.note(req, limits)
	}
	n := tr.blockSize(req.MaxDataSize, req.Offset, limits)
	if by == byReader {
		tr.sizes.stuck.sent(n)
	}
	if n == 0 {
		s.observer.BlockRequest(OutOfRange, 0)
		a.refuse(req, malformedCommand)
		return
	}
	if tr.keepLast.Load() && req.Offset+n == tr.size() {
		s.note(tr, req, 0, now, by)
		s.last(tr, req)
		return
	}
	if by == byReader {
		if early := tr.early(limits.Interval, now); early > 0 {
			s.pace(tr, req, n, early, now, a)
			return
		}
	}
	s.note(tr, req, n, now, by)
	s.observer.BlockRequest(Served, int(n))
	a.kind = answerBlock
	a.block = tr.block(targetOf(req), req.Sequence, req.Offset, n)
}

// otherImage acts on a request whose fields are not those of the transfer's image: a garbled page request, or
// one that is refused.
func (s *Server) otherImage(tr *Transfer, req *message.ImageBlockRequest, a *answer) {
	if asked, ok := tr.pageRequest(req); ok {
		s.askPage(tr, req, asked)
		return
	}
	s.observer.BlockRequest(WrongImage, 0)
	s.stray(req, WrongImage)
	a.refuse(req, message.OTAAbort)
}

// limitsOf is what the blocks of a transfer have to keep to.
func (s *Server) limitsOf(tr *Transfer) *Limits {
	if own := tr.sizes.limits.Load(); own != nil {
		return own
	}
	return &s.limits
}

// early is how much sooner a request comes than the shortest time between two blocks allows. Where it is not
// early, the time of the next one is set.
func (tr *Transfer) early(interval time.Duration, now time.Time) time.Duration {
	if interval <= 0 {
		return 0
	}
	if early := time.Duration(tr.nextBlock.Load() - tr.instant(now)); early > 0 {
		return early
	}
	tr.nextBlock.Store(tr.instant(now.Add(interval)))
	return 0
}

// pace answers a device that asks too early: a little later, or, where that would be taken for silence, with
// wait-for-data.
func (s *Server) pace(
	tr *Transfer, req *message.ImageBlockRequest, n uint32, early time.Duration, now time.Time, a *answer,
) {
	if early <= longestDelay {
		s.note(tr, req, n, now, byReader)
		s.answerLater(tr, req, early)
		return
	}
	s.note(tr, req, 0, now, byReader) // it gets no block, and asks once more
	s.hold(tr, req, wholeSeconds(early), now, a)
}

// hold answers with wait-for-data.
func (s *Server) hold(
	tr *Transfer, req *message.ImageBlockRequest, seconds uint32, now time.Time, a *answer,
) {
	tr.waits(seconds, now)
	s.observer.BlockRequest(Held, 0)
	a.kind = answerWait
	a.wait = waitForData(req, seconds)
}

// answerLater answers a request after a delay, unless the device has asked anew by then.
func (s *Server) answerLater(tr *Transfer, req *message.ImageBlockRequest, delay time.Duration) {
	asked := *req
	requests := tr.requests.Load()
	s.after(delay, func() {
		if tr.requests.Load() != requests {
			return
		}
		now := time.Now()
		var a answer
		s.decideTransfer(tr, &asked, now, byTimer, &a)
		tr.nextBlock.Store(tr.instant(now.Add(s.limitsOf(tr).Interval)))
		s.send(&a)
	})
}

// after runs f on the owner's goroutine when some time has passed.
func (s *Server) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() { s.owner.Post(f) })
}

// note keeps the progress of a transfer, and wakes the owner where it should look at it. A request that is
// answered later was noted when it came.
func (s *Server) note(tr *Transfer, req *message.ImageBlockRequest, n uint32, now time.Time, by asker) {
	if by == byTimer {
		return
	}
	wake, again := tr.note(req, n, now, by)
	if n > 0 {
		s.blocks.Add(1)
	}
	if again {
		s.again.Add(1)
	}
	if wake {
		s.owner.Wake()
	}
}

// Counts are what a Server has counted since it was made.
type Counts struct {
	Blocks       uint64 // that devices asked for one by one and got
	Again        uint64 // those of them that had been asked for before: a frame was lost, or is late
	Answers      uint64 // of any kind that the reader wrote
	Acknowledged uint64 // answers about which the dongle has said something
}

// Counts returns what was counted. Any goroutine may call it.
func (s *Server) Counts() Counts {
	return Counts{
		Blocks:       s.blocks.Load(),
		Again:        s.again.Load(),
		Acknowledged: s.acknowledged.Load(), // before what it is about
		Answers:      s.answers.Load(),
	}
}

// stray posts a request that no transfer fits.
func (s *Server) stray(req *message.ImageBlockRequest, result Result) {
	asked := *req
	s.owner.Post(func() { s.owner.Stray(asked, result) })
}

// last posts a request for a last block that is the owner's to send.
func (s *Server) last(tr *Transfer, req *message.ImageBlockRequest) {
	asked := *req
	s.owner.Post(func() { s.owner.LastBlock(tr, asked) })
}

// send sends an answer that was decided on by the owner's goroutine.
func (s *Server) send(a *answer) {
	switch a.kind {
	case answerBlock:
		s.owner.Send(a.block)
	case answerWait:
		s.owner.Send(a.wait)
	}
}

// answer is what a request gets: a block or a status, wait-for-data, or nothing. It is a plain value, so that
// the block path allocates nothing.
type answer struct {
	kind  answerKind
	block message.ImageBlockResponse
	wait  message.WaitForData
}

type answerKind uint8

const (
	answerNothing answerKind = iota
	answerBlock
	answerWait
)

// refuse answers with a status alone. It must not be 0x97 (wait for data), which the firmware sends right
// through 0x0506 only.
func (a *answer) refuse(req *message.ImageBlockRequest, status uint8) {
	a.kind = answerBlock
	a.block = message.ImageBlockResponse{
		Target:           targetOf(req),
		Sequence:         req.Sequence,
		Status:           status,
		Offset:           req.Offset,
		FileVersion:      req.FileVersion,
		ImageType:        req.ImageType,
		ManufacturerCode: req.ManufacturerCode,
	}
}

// waitForData is the answer that tells a device to ask again after some seconds, at least 1. It does so in
// the one form that all stacks take for what it is: counted from a current time of 0, since some compare
// another one with their own clock, or refuse a request time that lies before it; and with a minimum block
// period of 0, which all of them take for no limit. The unit of any other period differs: milliseconds by the
// specification, seconds for devices with NXP's stack. A shortest time between blocks is therefore kept by
// answering later.
func waitForData(req *message.ImageBlockRequest, seconds uint32) message.WaitForData {
	return message.WaitForData{
		Target:      targetOf(req),
		Sequence:    req.Sequence,
		Status:      message.OTAWaitForData,
		RequestTime: seconds,
	}
}

// targetOf is where the answer to a request goes. The dongle's OTA server lives on its endpoint 1;
// acknowledged unicasts (mode 2) let the dongle report a delivery that failed.
func targetOf(req *message.ImageBlockRequest) message.Target {
	return message.Target{
		AddrMode: message.AddrModeNetwork, Addr: req.Addr, SrcEndpoint: 1, DstEndpoint: req.Endpoint,
	}
}
