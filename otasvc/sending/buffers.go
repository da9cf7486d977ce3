package sending

import (
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// From how many of the dongle's buffers in use on what is no block waits. The smallest dongles that
// tell have 14 of each.
const (
	crowdedAPDU = 6
	crowdedNPDU = 10
)

// crowdedFor is how long it counts that the dongle said its buffers are full: they fall within a few hundred
// milliseconds.
const crowdedFor = 500 * time.Millisecond

// buffers is how full the dongle's buffers are, as far as it tells: with its statuses (firmware 3.1e and
// later), with delivery reports, and with errors of its stack. All methods may be called from any goroutine.
type buffers struct {
	begin time.Time // the moments below are nanoseconds since then, by the monotonic clock

	npdu, apdu atomic.Uint32 // in use
	toldAt     atomic.Int64
	overrunAt  atomic.Int64 // when its stack last said that it got too much
}

func (b *buffers) init() {
	b.begin = time.Now()
	b.overrunAt.Store(-int64(crowdedFor))
}

func (b *buffers) status(st *message.Status, now time.Time) {
	if st.Form == message.StatusFormBuffers {
		b.told(st.NPDUUsed, st.APDUUsed, now)
	}
}

func (b *buffers) told(npdu, apdu uint8, now time.Time) {
	b.npdu.Store(uint32(npdu))
	b.apdu.Store(uint32(apdu))
	b.toldAt.Store(int64(now.Sub(b.begin)))
}

func (b *buffers) confirm(m message.Confirm, family message.Family, now time.Time) {
	if !m.HasBuffers {
		return
	}
	apdu := uint32(m.APDUUsed)
	if family == message.FamilyV2 {
		apdu = min(b.apdu.Load(), uint32(m.NPDUUsed)) // its report says nothing of the APDUs
	}
	b.told(m.NPDUUsed, uint8(apdu), now)
}

func (b *buffers) overrun(now time.Time) { b.overrunAt.Store(int64(now.Sub(b.begin))) }

func (b *buffers) crowded(now time.Time) bool {
	at := int64(now.Sub(b.begin))
	if at-b.overrunAt.Load() < int64(crowdedFor) {
		return true
	}
	return at-b.toldAt.Load() < int64(crowdedFor) &&
		(b.apdu.Load() >= crowdedAPDU || b.npdu.Load() >= crowdedNPDU)
}

// taken counts what the dongle said of blocks: whether it has taken them. All methods may be called from any
// goroutine.
type taken struct{ yes, no atomic.Uint64 }

func (t *taken) status(st *message.Status) {
	switch {
	case st.Request != (message.ImageBlockResponse{}).Type():
	case st.Status == message.StatusOK:
		t.yes.Add(1)
	default:
		t.no.Add(1)
	}
}

// PutOffFor is how long full buffers put off what would begin anew. Downloads may keep them full for hours,
// in which one more is begun each time it has passed.
const PutOffFor = 2 * time.Second

// Gate keeps back one kind of thing that begins anew and makes radio frames, such as interviews, while the
// dongle's buffers are full. The zero value is ready. Only the owner may use it.
type Gate struct {
	// since is when the next one was first put off, or when one was last begun in spite of full buffers. It
	// is zero while there is room.
	since time.Time
}

// Allows reports whether another one may begin now: there is room, or the last one began, or was put off,
// long enough ago. It changes nothing.
func (g *Gate) Allows(crowded bool, now time.Time) bool {
	return !crowded || !g.since.IsZero() && now.Sub(g.since) >= PutOffFor
}

// Wanted tells that another one is to begin, whether it may or not. Where there is no room, it counts from
// now on how long that has been put off.
func (g *Gate) Wanted(crowded bool, now time.Time) {
	switch {
	case !crowded:
		g.since = time.Time{}
	case g.since.IsZero():
		g.since = now
	}
}

// Begun tells that one has begun, so that the next one waits for its own time.
func (g *Gate) Begun(now time.Time) {
	if !g.since.IsZero() {
		g.since = now
	}
}
