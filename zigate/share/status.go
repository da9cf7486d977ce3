package share

import (
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// pending has the commands whose status has not come. Every goroutine may look.
type pending struct {
	current atomic.Pointer[ask] // of a client, and in the dongle's queue
	overdue atomic.Pointer[ask] // the last one that got no status in time
}

// lastStatus is what the last status said about the dongle. Every goroutine may look.
type lastStatus struct {
	packed atomic.Uint64 // form, last APS counter, NPDU and APDU buffers in use, a byte each
}

func (l *lastStatus) note(s *message.Status) {
	buffers := uint64(s.NPDUUsed)<<8 | uint64(s.APDUUsed)
	l.packed.Store(uint64(s.Form)<<24 | uint64(s.APSSequence)<<16 | buffers)
}

// refusal is the payload of the status with which the dongle would answer a command that it does not know.
// The status of v2 carries the last APS counter, even then.
func (l *lastStatus) refusal(t message.MsgType, v2 bool) []byte {
	seen := l.packed.Load()
	s := message.Status{
		Status:   message.StatusUnhandled,
		Request:  t,
		Form:     message.StatusForm(seen >> 24),
		NPDUUsed: uint8(seen >> 8),
		APDUUsed: uint8(seen),
	}
	if v2 {
		s.APSSequence = uint8(seen >> 16)
	}
	return append(message.AppendPayload(nil, s), 0)
}

// downloads tells whether devices download. Every goroutine may look.
type downloads struct {
	start time.Time
	last  atomic.Int64 // when a block was asked for last, in nanoseconds since start; 0 means never
}

// downloadTimeout is how long after a block request a device counts as downloading.
const downloadTimeout = 250 * time.Millisecond

func (d *downloads) note(now time.Time) {
	d.last.Store(int64(now.Sub(d.start)))
}

func (d *downloads) underWay(now time.Time) bool {
	last := time.Duration(d.last.Load())
	return last != 0 && now.Sub(d.start)-last <= downloadTimeout
}
