package blocks

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// MaxHold is the longest that a held device is told to wait before it asks again, in seconds. It is short
// enough that a resume takes effect soon, and long enough that a held device costs no air time worth naming.
const MaxHold = 30

// MaxWait is the longest that any device is told to wait before it asks again, in seconds. Some stacks
// (Silicon Labs) take no more than an hour from any server, and ask then.
const MaxWait = 3600

// restartRun is how many blocks a device has to ask for in a row, below what it had already, before that
// counts as having started again. Reading the header or a block again is normal and shorter.
const restartRun = 16

// verdict is what the server does with the requests of a transfer.
type verdict int32

const (
	serve verdict = iota
	hold
	putOff // held until a known time: no request may come before
	abort
)

// untilTold is the instant of a hold without an end.
const untilTold = math.MaxInt64

// Image is what a device may have: the bytes of the OTA file, and the three header fields that a request must
// name to get them.
type Image struct {
	Bytes            []byte // exactly the bytes to serve; they must not be changed
	ManufacturerCode uint16
	ImageType        uint16
	FileVersion      uint32
}

// Transfer is one device's right to an image. The owner makes it, puts it into a [Table] and sets the verdict
// on its requests; the server leaves the progress in it. All methods may be called from any goroutine. A
// Transfer must be made by NewTransfer.
type Transfer struct {
	image Image
	epoch // of the instants below

	verdict    atomic.Int32
	putOffTold atomic.Bool
	holdUntil  atomic.Int64 // instant, or untilTold
	waitsUntil atomic.Int64 // instant until which its last request has it wait; 0: it need not
	keepLast   atomic.Bool  // the owner sends the last block

	sizes sizes // of its blocks

	// The progress, which only the server writes.
	position  atomic.Uint32 // bytes that the device has
	first     atomic.Uint32 // offset of the first request
	requests  atomic.Uint64
	restarts  atomic.Uint32 // how often the device began again below its position
	again     atomic.Uint32 // requests for what was served before
	startedAt atomic.Int64  // instant of the first request, or of the last restart
	last      lastRequest

	nextBlock atomic.Int64 // instant before which no block is sent, where a pace is set
	run       run          // only the reader uses it
	paged     bool         // the device has asked for a page; only the owner uses it
}

// lastRequest is what is remembered of a device's last request.
type lastRequest struct {
	at   atomic.Int64  // instant
	key  atomic.Uint64 // askedKey of the last one that got a block
	size atomic.Uint32 // largest block that the device takes, from the last one that got a block, in bytes
	sent atomic.Uint32 // bytes of the block that it got
}

// run is a run of requests each of which began where the one before ended.
type run struct {
	next  uint32 // offset at which it goes on
	count int    // of requests that went on with it
}

// follow takes the next request, for n bytes at an offset, and reports whether it is for what came before.
func (r *run) follow(offset, n uint32) (again bool) {
	if offset == r.next {
		r.count++
	} else {
		r.count = 0
		again = offset < r.next
	}
	r.next = offset + n
	return again
}

// NewTransfer returns a transfer whose requests are served.
func NewTransfer(image Image) *Transfer {
	return &Transfer{image: image, epoch: newEpoch()}
}

// Serve lets the device have blocks, after Hold or PutOff.
func (tr *Transfer) Serve() { tr.verdict.Store(int32(serve)) }

// Hold has requests answered with wait-for-data until a time; the zero time means until another verdict is
// set. The device is told to wait in pieces of [MaxHold] at most, so that the hold can end early.
func (tr *Transfer) Hold(until time.Time) {
	at := int64(untilTold)
	if !until.IsZero() {
		at = tr.instant(until)
	}
	tr.holdUntil.Store(at)
	tr.verdict.Store(int32(hold))
}

// PutOff has the next request answered with wait-for-data for all the time until a moment, [MaxWait] at most,
// so that the device does not ask before.
func (tr *Transfer) PutOff(until time.Time) {
	tr.putOffTold.Store(false)
	tr.holdUntil.Store(tr.instant(until))
	tr.verdict.Store(int32(putOff))
}

// PutOffTold reports whether the device has been told to wait since PutOff was called last.
func (tr *Transfer) PutOffTold() bool { return tr.putOffTold.Load() }

// Abort has all further requests answered with the status ABORT.
func (tr *Transfer) Abort() { tr.verdict.Store(int32(abort)) }

// KeepLast has the server leave the last block to the owner, see [Owner]: the device's installation is to
// wait.
func (tr *Transfer) KeepLast() { tr.keepLast.Store(true) }

// Limits is what the blocks for a device have to keep to.
type Limits struct {
	Largest  uint8         // largest block in bytes
	Least    uint8         // bytes below which no block is cut, but for the last one; 0: there is none
	Interval time.Duration // shortest time between two blocks; 0: as fast as the device asks
}

// sizes is what decides how large the blocks for a device are, besides what it asks for.
type sizes struct {
	limits atomic.Pointer[Limits] // nil: those of the server
	stuck  stuck
}

// Limit sets what the blocks for the device have to keep to, in the place of what holds for all.
func (tr *Transfer) Limit(l Limits) { tr.sizes.limits.Store(&l) }

// Progress is how far a device has come.
type Progress struct {
	Requests uint64    // how many requests came; the other fields are of no meaning while it is 0
	Position uint32    // bytes that the device has: the highest offset that it asked for
	First    uint32    // offset of its first request, or, after a restart, of the first one that counts
	Restarts uint32    // how often it began again below its position
	Again    uint32    // requests for what was served before: lost blocks, doubled and late requests
	Started  time.Time // of the first request, or of the last restart
	Last     time.Time // of the last request
	// GetsThrough is the largest block, in bytes, that was seen to get through to the device, where larger
	// ones did not; 0 where that was not seen.
	GetsThrough uint8
	// InVain says that the device asks for the same block again and again, whatever its size. Tried is the
	// largest block, in bytes, that is sent meanwhile; 0 where that is as large as it may be.
	InVain bool
	Tried  uint8
	// LastBlock is how many bytes the last block had.
	LastBlock uint8
	// WaitsUntil is when the device is to ask again, where its last request was answered with wait-for-data;
	// zero where it was not.
	WaitsUntil time.Time
}

// Progress returns how far the device has come. Its times are by the clock on the wall as it is now. A change
// of Restarts is never told before the values that belong to it.
func (tr *Transfer) Progress(now time.Time) Progress {
	p := Progress{Requests: tr.requests.Load()}
	p.Restarts = tr.restarts.Load() // written after the values of the new run, hence read before them
	p.Position = tr.position.Load()
	p.First = tr.first.Load()
	p.Again = tr.again.Load()
	p.GetsThrough = uint8(tr.sizes.stuck.through.Load())
	p.InVain = tr.sizes.stuck.inVain.Load()
	p.Tried = uint8(tr.sizes.stuck.limit.Load())
	p.LastBlock = uint8(tr.last.sent.Load())
	p.Started = tr.time(tr.startedAt.Load(), now)
	p.Last = tr.time(tr.last.at.Load(), now)
	if at := tr.waitsUntil.Load(); at != 0 {
		p.WaitsUntil = tr.time(at, now)
	}
	return p
}

// LastSequence returns the ZCL sequence number of the last request that got a block, 0 where there was none.
func (tr *Transfer) LastSequence() uint8 { return uint8(tr.last.key.Load()) }

// askedKey tells requests of one device apart: a device that asks anew uses another sequence number or
// offset. The sequence number is the low byte.
func askedKey(req *message.ImageBlockRequest) uint64 {
	return uint64(req.Offset)<<8 | uint64(req.Sequence)
}

// serves reports whether requests get blocks.
func (tr *Transfer) serves() bool { return verdict(tr.verdict.Load()) == serve }

// size is the length of the image in bytes.
func (tr *Transfer) size() uint32 { return uint32(len(tr.image.Bytes)) }

// fits reports whether a request names the transfer's image.
func (tr *Transfer) fits(req *message.ImageBlockRequest) bool {
	return req.ManufacturerCode == tr.image.ManufacturerCode && req.ImageType == tr.image.ImageType &&
		req.FileVersion == tr.image.FileVersion
}

// unit is what devices with NXP's stack that ask for a multiple of it round the size of each block down to:
// they would lose the rest.
const unit = 16

// blockSize is how many bytes a request gets: what the device asks for, what is allowed, what gets through to
// it, what is left, whichever is least.
func (tr *Transfer) blockSize(asked uint8, offset uint32, l *Limits) uint32 {
	n := min(asked, l.Largest)
	if limit := uint8(tr.sizes.stuck.limit.Load()); limit != 0 {
		n = min(n, limit)
	}
	if n < asked && asked%unit == 0 && n > unit {
		n -= n % unit
	}
	n = max(n, min(asked, l.Least))
	return min(uint32(n), tr.size()-offset)
}

// block is n bytes of the image; offset and n must lie inside it.
func (tr *Transfer) block(
	target message.Target, sequence uint8, offset, n uint32,
) message.ImageBlockResponse {
	return message.ImageBlockResponse{
		Target:           target,
		Sequence:         sequence,
		Status:           message.OTASuccess,
		Offset:           offset,
		FileVersion:      tr.image.FileVersion,
		ImageType:        tr.image.ImageType,
		ManufacturerCode: tr.image.ManufacturerCode,
		Data:             tr.image.Bytes[offset : offset+n],
	}
}

// holdSeconds is how long a held device is told to wait; 0 means that the hold is over. A hold is told in
// small pieces, so that it can end soon after it is taken back; a device that is put off must not ask before.
func (tr *Transfer) holdSeconds(now time.Time) uint32 {
	until := tr.holdUntil.Load()
	if until == untilTold {
		return MaxHold
	}
	left := time.Duration(until - tr.instant(now))
	if left <= 0 {
		return 0
	}
	seconds := wholeSeconds(left)
	if verdict(tr.verdict.Load()) == putOff {
		tr.putOffTold.Store(true)
		return min(seconds, MaxWait)
	}
	return min(seconds, MaxHold)
}

// waits notes that the device is told to wait for so many seconds.
func (tr *Transfer) waits(seconds uint32, now time.Time) {
	tr.waitsUntil.Store(tr.instant(now.Add(time.Duration(seconds) * time.Second)))
}

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

// asker says on which goroutine a request is answered, and when. The reader alone follows a device's run of
// offsets.
type asker uint8

const (
	byReader asker = iota
	byOwner
	// byTimer is the owner, for a request that the reader has noted when it came.
	byTimer
)

// note keeps the progress: the device asks for n bytes at the request's offset, so it has what is before. It
// reports whether the owner should look: at a first or last block, at a restart, and where no block is sent;
// and whether the device has asked for the block before.
func (tr *Transfer) note(
	req *message.ImageBlockRequest, n uint32, now time.Time, by asker,
) (wake, again bool) {
	at := tr.instant(now)
	tr.last.at.Store(at)
	if n > 0 {
		tr.last.key.Store(askedKey(req))
		tr.last.size.Store(uint32(req.MaxDataSize))
		tr.last.sent.Store(n)
		tr.waitsUntil.Store(0)
	}
	if tr.requests.Load() == 0 {
		tr.first.Store(req.Offset)
		tr.position.Store(req.Offset)
		tr.startedAt.Store(at)
		wake = true
	}
	tr.requests.Add(1) // after the values that it makes valid
	if by == byReader && n > 0 && tr.run.follow(req.Offset, n) {
		tr.again.Add(1)
		again = true
	}
	switch position := tr.position.Load(); {
	case req.Offset > position:
		tr.position.Store(req.Offset)
	case by == byReader && req.Offset < position && tr.run.count >= restartRun:
		tr.first.Store(req.Offset)
		tr.startedAt.Store(at)
		tr.position.Store(req.Offset)
		tr.restarts.Add(1) // last, see Progress
		wake = true
	}
	return wake || req.Offset+n == tr.size() || n == 0, again
}
