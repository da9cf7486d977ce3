package otasvc

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// malformedCommand is the ZCL status that answers a request for blocks of no size.
const malformedCommand = 0x80

// maxHold is the longest that a held device is told to wait before it asks again, in seconds. Short enough
// that a resume takes effect soon, long enough that a held device costs no air time worth naming.
const maxHold = 30

// restartRun is how many blocks a device has to ask for in a row, below what it had already, before that
// counts as having started again. Re-reading the header or a block is normal and shorter.
const restartRun = 16

// BlockResult says how an image block request was answered. The strings are label values of a metric.
type BlockResult string

// Every way to answer a block request.
const (
	BlockServed      BlockResult = "served"
	BlockHeld        BlockResult = "wait"        // wait for data
	BlockAborted     BlockResult = "aborted"     // the upgrade was cancelled
	BlockOutOfRange  BlockResult = "outOfRange"  // offset at or past the end of the image, or a size of 0
	BlockWrongImage  BlockResult = "wrongImage"  // another manufacturer, type or version than the upgrade's
	BlockUnsolicited BlockResult = "unsolicited" // a known device without an upgrade
	BlockUnknown     BlockResult = "unknown"     // an address that is not known yet: left without an answer
)

// Observer counts what happens, for metrics.
type Observer interface {
	// BlockRequest counts an answered image block request and the bytes of image sent. It is called on the
	// block path: it must not block or allocate.
	BlockRequest(result BlockResult, bytes int)
	// UpgradeFinished counts an upgrade that reached a final state, with the time since it was queued.
	UpgradeFinished(state State, reason Reason, d time.Duration)
	// DeliveryFailed counts a frame that did not reach its device.
	DeliveryFailed()
	// ImageFetched counts a fetch by its outcome.
	ImageFetched(outcome Status)
}

// verdict is what the block server does with the requests of one transfer.
type verdict int32

const (
	serve verdict = iota
	hold
	aside // held for another image's turn: no request may come before
	abort
)

// transfer is one device's right to an image. The owner makes it and sets the verdict; the block
// server reads it and leaves its progress in atomics, which the owner turns into records, events and
// metrics at its own pace.
type transfer struct {
	image            []byte // exactly the bytes to serve
	manufacturerCode uint16
	imageType        uint16
	version          uint32

	// keepLast has the owner send the last block: the device's installation is to wait.
	keepLast bool

	// largest is the largest block that gets through to the device, in bytes; 0: as large as is allowed.
	largest atomic.Uint32

	epoch // of the instants below

	verdict   atomic.Int32
	told      atomic.Bool  // put aside, and has been told so
	holdUntil atomic.Int64 // instant, or untilTold

	// Progress, written by the block server only.
	position    atomic.Uint32 // bytes that the device has
	first       atomic.Uint32 // offset of the first request
	requests    atomic.Uint64
	restarts    atomic.Uint32 // how often the device began again below its position
	again       atomic.Uint32 // requests for what was served before: lost blocks, doubled and late requests
	lastRequest atomic.Int64  // instant
	startedAt   atomic.Int64  // instant of the first request, or of the last restart
	lastSize    atomic.Uint32 // largest block that the device takes, from its last request

	nextBlock atomic.Int64  // instant; no block before, where a pace is set
	lastAsked atomic.Uint64 // askedKey of the last request that got a block

	// Only the reader goroutine uses these.
	runNext  uint32
	runCount int
}

// untilTold is a hold without an end.
const untilTold = math.MaxInt64

// askedKey tells requests of one device apart: a device that asks anew uses another
// sequence number or offset.
func askedKey(req *message.BlockRequest) uint64 {
	return uint64(req.Offset)<<8 | uint64(req.Sequence)
}

// putAside answers the next request with wait-for-data until a time; see turn.
func (tr *transfer) putAside(until time.Time) {
	tr.told.Store(false)
	tr.holdUntil.Store(tr.instant(until))
	tr.verdict.Store(int32(aside))
}

// hold answers requests with wait-for-data; zero: until told otherwise.
func (tr *transfer) hold(until time.Time) {
	at := int64(untilTold)
	if !until.IsZero() {
		at = tr.instant(until)
	}
	tr.holdUntil.Store(at)
	tr.verdict.Store(int32(hold))
}

func newTransfer(image []byte, manufacturerCode, imageType uint16, version uint32) *transfer {
	return &transfer{
		image:            image,
		manufacturerCode: manufacturerCode,
		imageType:        imageType,
		version:          version,
		epoch:            newEpoch(),
	}
}

// blockTable is who may have blocks. It is never changed: the owner puts a new one in its place.
type blockTable struct {
	byAddr map[uint16]*transfer
	byNode map[message.IEEE]*transfer
	// known holds the addresses of devices without an upgrade: they are refused at once. An address in
	// neither map may belong to a device that has just changed it, so it gets no answer until the owner knows
	// whose it is: the device asks again after a few seconds, while an abort would end its download.
	known map[uint16]struct{}
}

// blockServer answers image block requests. A block that is served costs no allocation, no lock, no input or
// output; requests that need the owner are handed to it.
type blockServer struct {
	table    atomic.Pointer[blockTable]
	maxBlock uint8
	observer Observer
	// noticed wakes the owner: a first or last block, or a request that needs it. It must not block.
	noticed func()
	// stray hands the owner a request that no transfer fits.
	stray func(req message.BlockRequest, result BlockResult)
	// page hands the owner an image page request.
	page func(tr *transfer, req *message.BlockRequest, p pageRequest)
	// last hands the owner a request for the last block of a download whose installation is to wait.
	last func(tr *transfer, req *message.BlockRequest)
	// interval is the shortest time between two blocks of a device; 0: none.
	interval time.Duration
	// later hands the owner a request that is to be answered after a delay.
	later func(tr *transfer, req *message.BlockRequest, delay time.Duration)
	// sent is what was written and not acknowledged yet; the reader goroutine's.
	sent sentBlocks
}

// blockAnswer is the answer to a request: a block or a status, wait-for-data, or nothing. A plain value, so
// that the block path allocates nothing.
type blockAnswer struct {
	kind answerKind
	send message.BlockSend
	wait message.WaitForData
}

type answerKind uint8

const (
	answerNothing answerKind = iota
	answerSend
	answerWait
)

// message is the answer as a command; nil: none. It allocates.
func (a *blockAnswer) message() message.Message {
	switch a.kind {
	case answerSend:
		return a.send
	case answerWait:
		return a.wait
	default:
		return nil
	}
}

// answer appends the whole reply frame to dst, or nothing where the request gets none. It is called by the
// reader goroutine only.
func (b *blockServer) answer(req *message.BlockRequest, now time.Time, dst []byte) []byte {
	var a blockAnswer
	tr := b.decide(req, now, true, &a)
	switch a.kind {
	case answerSend:
		dst = message.AppendBlockSend(dst, &a.send)
	case answerWait:
		dst = message.AppendWaitForData(dst, &a.wait)
	default:
		return dst
	}
	b.sent.push(tr, req, now)
	return dst
}

// decide says what a request gets. tracked says that the reader goroutine is asking, which alone follows the
// device's run of offsets. tr is the transfer, or nil.
func (b *blockServer) decide(
	req *message.BlockRequest, now time.Time, tracked bool, a *blockAnswer,
) (tr *transfer) {
	table := b.table.Load()
	tr = table.byAddr[req.Addr]
	page := false
	if tr != nil {
		_, page = tr.pageRequest(req) // its field control is none
	}
	if !page && req.FieldControl&message.BlockHasNodeAddress != 0 {
		// The node address names the device for certain, whatever network address it has now. Without the bit
		// the field holds leftovers of an earlier message.
		if byNode := table.byNode[req.NodeAddress]; byNode != nil && byNode != tr {
			tr = byNode
			b.stray(*req, BlockServed)
		}
	}
	if tr == nil {
		if _, known := table.known[req.Addr]; known {
			b.observer.BlockRequest(BlockUnsolicited, 0)
			b.stray(*req, BlockUnsolicited)
			a.status(req, message.OTAAbort)
			return nil
		}
		b.observer.BlockRequest(BlockUnknown, 0)
		b.stray(*req, BlockUnknown)
		return nil
	}
	b.decideTransfer(tr, req, now, tracked, a)
	return tr
}

func (b *blockServer) decideTransfer(
	tr *transfer, req *message.BlockRequest, now time.Time, tracked bool, a *blockAnswer,
) {
	if req.ManufacturerCode != tr.manufacturerCode || req.ImageType != tr.imageType ||
		req.FileVersion != tr.version {
		if page, ok := tr.pageRequest(req); ok {
			b.page(tr, req, page)
			return
		}
		b.observer.BlockRequest(BlockWrongImage, 0)
		b.stray(*req, BlockWrongImage)
		a.status(req, message.OTAAbort)
		return
	}
	size := uint32(len(tr.image))
	if req.Offset >= size {
		b.observer.BlockRequest(BlockOutOfRange, 0)
		a.status(req, message.OTAAbort)
		return
	}
	switch verdict(tr.verdict.Load()) {
	case abort:
		b.observer.BlockRequest(BlockAborted, 0)
		a.status(req, message.OTAAbort)
		return
	case hold, aside:
		if seconds := tr.holdSeconds(now); seconds > 0 {
			b.note(tr, req, 0, now, tracked)
			b.observer.BlockRequest(BlockHeld, 0)
			a.kind = answerWait
			a.wait = message.WaitForData{
				Target:      targetOf(req),
				Sequence:    req.Sequence,
				Status:      message.OTAWaitForData,
				RequestTime: seconds,
			}
			return
		}
	}
	n := tr.blockSize(req.MaxDataSize, b.maxBlock, req.Offset)
	if n == 0 {
		b.observer.BlockRequest(BlockOutOfRange, 0)
		a.status(req, malformedCommand)
		return
	}
	if tr.keepLast && req.Offset+n == size {
		b.note(tr, req, 0, now, tracked)
		b.last(tr, req)
		return
	}
	if b.interval > 0 && tracked {
		if early := time.Duration(tr.nextBlock.Load() - tr.instant(now)); early > 0 {
			b.pace(tr, req, n, early, now, a)
			return
		}
		tr.nextBlock.Store(tr.instant(now.Add(b.interval)))
	}
	b.note(tr, req, n, now, tracked)
	b.observer.BlockRequest(BlockServed, int(n))
	a.kind = answerSend
	a.send = tr.block(targetOf(req), req.Sequence, req.Offset, n)
}

// pace answers a device that asks sooner than the shortest time between two blocks allows: a little later,
// or, where that would be taken for silence, with wait-for-data.
func (b *blockServer) pace(
	tr *transfer, req *message.BlockRequest, n uint32, early time.Duration, now time.Time, a *blockAnswer,
) {
	b.note(tr, req, n, now, true)
	if early <= longestDelay {
		b.later(tr, req, early)
		return
	}
	b.observer.BlockRequest(BlockHeld, 0)
	a.kind = answerWait
	a.wait = message.WaitForData{
		Target: targetOf(req), Sequence: req.Sequence, Status: message.OTAWaitForData,
		RequestTime: uint32((early + time.Second - 1) / time.Second),
	}
}

// longestDelay is how long an answer may be delayed before devices take the silence for a loss and ask again.
const longestDelay = 2 * time.Second

// blockSize is how many bytes a request gets: what the device asks for, what is allowed, what fits its route,
// what is left, whichever is least.
func (tr *transfer) blockSize(asked, allowed uint8, offset uint32) uint32 {
	n := min(uint32(asked), uint32(allowed), uint32(len(tr.image))-offset)
	if largest := tr.largest.Load(); largest != 0 {
		n = min(n, largest)
	}
	return n
}

// block is n bytes of the image; offset and n must lie inside it.
func (tr *transfer) block(target message.Target, sequence uint8, offset, n uint32) message.BlockSend {
	return message.BlockSend{
		Target:           target,
		Sequence:         sequence,
		Status:           message.OTASuccess,
		Offset:           offset,
		FileVersion:      tr.version,
		ImageType:        tr.imageType,
		ManufacturerCode: tr.manufacturerCode,
		Data:             tr.image[offset : offset+n],
	}
}

// note keeps the progress of a transfer: the device asks for n bytes at the request's offset, so it
// has what is before.
func (b *blockServer) note(tr *transfer, req *message.BlockRequest, n uint32, now time.Time, tracked bool) {
	at := tr.instant(now)
	tr.lastRequest.Store(at)
	if n > 0 {
		tr.lastAsked.Store(askedKey(req))
		tr.lastSize.Store(uint32(req.MaxDataSize))
	}
	wake := false
	if tr.requests.Add(1) == 1 {
		tr.first.Store(req.Offset)
		tr.position.Store(req.Offset)
		tr.startedAt.Store(at)
		wake = true
	}
	if tracked && n > 0 {
		if req.Offset == tr.runNext {
			tr.runCount++
		} else {
			tr.runCount = 0
			if req.Offset < tr.runNext {
				tr.again.Add(1)
			}
		}
		tr.runNext = req.Offset + n
	}
	switch position := tr.position.Load(); {
	case req.Offset > position:
		tr.position.Store(req.Offset)
	case tracked && req.Offset < position && tr.runCount >= restartRun:
		tr.first.Store(req.Offset)
		tr.startedAt.Store(at)
		tr.position.Store(req.Offset)
		tr.restarts.Add(1)
		wake = true
	}
	if wake || req.Offset+n == uint32(len(tr.image)) || n == 0 {
		b.noticed()
	}
}

// holdSeconds is how long a held device is told to wait; 0: the hold is over. A pause is told in small
// pieces, so that it can end soon after it is taken back; a device that is put aside must not ask before.
func (tr *transfer) holdSeconds(now time.Time) uint32 {
	until := tr.holdUntil.Load()
	if until == untilTold {
		return maxHold
	}
	left := time.Duration(until - tr.instant(now))
	if left <= 0 {
		return 0
	}
	seconds := uint32((left + time.Second - 1) / time.Second)
	if verdict(tr.verdict.Load()) == aside {
		tr.told.Store(true)
		return seconds
	}
	return min(seconds, maxHold)
}

// targetOf is where the answer to a request goes. The dongle's OTA server lives on its endpoint 1;
// acknowledged unicasts (mode 2) let the dongle report a delivery that failed.
func targetOf(req *message.BlockRequest) message.Target {
	return message.Target{
		AddrMode: message.AddrModeShort, Addr: req.Addr, SrcEndpoint: 1, DstEndpoint: req.Endpoint,
	}
}

// status answers with a status alone. Not for 0x97: the firmware sends that one only right through 0x0506.
func (a *blockAnswer) status(req *message.BlockRequest, status uint8) {
	a.kind = answerSend
	a.send = message.BlockSend{
		Target: targetOf(req), Sequence: req.Sequence, Status: status, Offset: req.Offset,
		FileVersion: req.FileVersion, ImageType: req.ImageType, ManufacturerCode: req.ManufacturerCode,
	}
}
