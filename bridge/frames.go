package bridge

import (
	"context"
	"encoding/hex"
	"log/slog"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const (
	// framesLimit is how many frames wait to be published before the oldest is dropped.
	framesLimit = 1000
	// FramesInOutbox is how many messages may wait for the broker before frames wait, too. So there
	// are never more frames than this in an outbox, and one that has room for as many on top loses no
	// event because of them.
	FramesInOutbox = 64
	// framesPoll is how soon an outbox that was behind is looked at again.
	framesPoll = 50 * time.Millisecond
	// framesReport is how often it is logged that frames were dropped.
	framesReport = time.Minute
)

// FrameSink is the way to the broker for frames.
type FrameSink interface {
	// Connected reports whether the broker is there.
	Connected() bool
	// Waiting is how many messages the broker has not acknowledged.
	Waiting() int
	// Publish publishes what is not retained, in order. It does not block.
	Publish(topic string, payload []byte)
}

// Frames publishes the frames to and from the dongle, for people who debug. The frames wait in a ring of
// their own, and come last of all: while other messages wait for the broker, or the broker is away, they are
// kept back and the oldest are dropped.
type Frames struct {
	topics contract.Topics
	out    FrameSink
	log    *slog.Logger
	wake   chan struct{}
	taken  tracedFrame // the frame that next took last, with its buffer; only Run uses it

	mu      sync.Mutex
	ring    []tracedFrame // framesLimit of them, used again and again, so that tracing soon allocates nothing
	first   int
	n       int
	dropped int
}

type tracedFrame struct {
	at      time.Time
	dir     message.Direction
	typ     message.MsgType
	payload []byte
}

// NewFrames makes a task that publishes what is given to its Trace.
func NewFrames(topics contract.Topics, out FrameSink, log *slog.Logger) *Frames {
	return &Frames{
		topics: topics,
		out:    out,
		log:    log,
		wake:   make(chan struct{}, 1),
		ring:   make([]tracedFrame, framesLimit),
	}
}

// Trace takes a frame; see zigate.Dongle.TraceTo. It may be called from any goroutine, does not block, and
// copies the payload.
func (f *Frames) Trace(dir message.Direction, frame message.Frame) {
	at := time.Now()
	f.mu.Lock()
	if f.n == len(f.ring) {
		f.first = (f.first + 1) % len(f.ring)
		f.n--
		f.dropped++
	}
	slot := &f.ring[(f.first+f.n)%len(f.ring)]
	slot.at = at
	slot.dir = dir
	slot.typ = frame.Type
	slot.payload = append(slot.payload[:0], frame.Payload...)
	f.n++
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run publishes frames until ctx is done, and then those that wait, unless the broker is behind.
func (f *Frames) Run(ctx context.Context) error {
	report := time.NewTicker(framesReport)
	defer report.Stop()
	for {
		var again <-chan time.Time
		if behind := f.publish(); behind {
			again = time.After(framesPoll)
		}
		select {
		case <-ctx.Done():
			f.publish()
			f.report()
			return nil
		case <-report.C:
			f.report()
		case <-f.wake:
		case <-again:
		}
	}
}

// publish hands over what waits, unless the broker is behind.
func (f *Frames) publish() (behind bool) {
	for f.waits() {
		if !f.out.Connected() || f.out.Waiting() >= FramesInOutbox {
			return true
		}
		f.out.Publish(f.next())
	}
	return false
}

func (f *Frames) waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n > 0
}

// next takes the oldest frame; there must be one.
func (f *Frames) next() (topic string, payload []byte) {
	t := &f.taken
	f.mu.Lock()
	slot := &f.ring[f.first]
	// The two exchange their buffers, so that the frame can be encoded without the lock.
	spare := t.payload
	*t = *slot
	slot.payload = spare
	f.first = (f.first + 1) % len(f.ring)
	f.n--
	f.mu.Unlock()

	p := contract.Frame{
		Time: t.at.UTC(), Type: t.typ.String(), Name: t.typ.Name(), Payload: hex.EncodeToString(t.payload),
	}
	if t.dir == message.ToDongle {
		return f.topics.FrameSent(), contract.Marshal(p)
	}
	frame := message.Frame{Type: t.typ, Payload: t.payload}
	// Log messages carry no LQI.
	if rest, lqi, err := frame.Message(); err == nil && len(rest) < len(t.payload) {
		p.LQI = &lqi
	}
	return f.topics.FrameReceived(), contract.Marshal(p)
}

func (f *Frames) report() {
	f.mu.Lock()
	n := f.dropped
	f.dropped = 0
	f.mu.Unlock()
	if n > 0 {
		f.log.Warn("frames were not published because the MQTT broker does not keep up; "+
			"nothing else was lost by it", "frames", n)
	}
}
