package share

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const (
	// maxWaiting is how many commands of a client may wait to be executed. While there are more,
	// nothing is read from it.
	maxWaiting = 64
	// maxUnread is how many bytes may wait for a client. A dongle sends no more in half a minute.
	maxUnread = 256 << 10
	// maxFrame is the longest frame of a host, every byte of it escaped.
	maxFrame = 2 * (2 + 5 + message.MaxCommandPayload)
)

// client is one program that shares the dongle.
type client struct {
	id   int
	name string
	conn io.ReadWriteCloser
	// lossy tells that it is not known who is there, as on a serial line, and that what nobody reads is lost.
	// Others are cut off.
	lossy bool

	slots     chan struct{} // one for each command that waits
	done      chan struct{}
	once      sync.Once
	restarted atomic.Bool // the dongle has: so has the receiver that the client sees

	outMu  sync.Mutex
	out    []byte
	unsent chan struct{} // there is something in out

	// Of the hub's goroutine.
	waiting   []*command
	extra     int // of those that wait, how many have no slot
	mode      message.RawMode
	sum       int // see lens.view
	heartbeat bool
	cut       bool
	gone      bool
	warned    bool // that its OTA commands are not passed on
}

// command is one of a client's.
type command struct {
	typ     message.MsgType
	wire    []byte // as the client has sent it, unless it needs completion
	payload []byte
	at      time.Time
}

func newClient(conn io.ReadWriteCloser, name string, lossy bool) *client {
	return &client{
		name: name, conn: conn, lossy: lossy, sum: noSum,
		slots: make(chan struct{}, maxWaiting), done: make(chan struct{}), unsent: make(chan struct{}, 1),
	}
}

// close ends the connection.
func (c *client) close() {
	c.once.Do(func() {
		close(c.done)
		c.conn.Close()
	})
}

// put queues bytes for the client. It is false for a client that does not read.
func (c *client) put(wire []byte) bool {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if len(c.out)+len(wire) > maxUnread {
		if !c.lossy {
			return false
		}
		c.out = c.out[:0]
	}
	c.out = append(c.out, wire...)
	select {
	case c.unsent <- struct{}{}:
	default:
	}
	return true
}

// write sends what was put, until the client has gone.
func (c *client) write() {
	var spare []byte
	for {
		select {
		case <-c.done:
			return
		case <-c.unsent:
		}
		c.outMu.Lock()
		b := c.out
		c.out = spare[:0]
		c.outMu.Unlock()
		if len(b) > 0 {
			if _, err := c.conn.Write(b); err != nil {
				c.close()
				return
			}
		}
		spare = b
	}
}

// read takes commands until the client has gone.
func (c *client) read(h *Hub) {
	ear := newEar(int(h.maxPayload.Load()))
	buf := make([]byte, 4096)
	begin := make([]byte, 0, longestMethod)
	for {
		n, err := c.conn.Read(buf)
		if room := longestMethod - len(begin); room > 0 {
			if begin = append(begin, buf[:min(n, room)]...); isHTTP(begin) {
				h.turnAwayBrowser(c)
				return
			}
		}
		if c.restarted.Swap(false) {
			ear = newEar(int(h.maxPayload.Load()))
		}
		for _, b := range buf[:n] {
			r := ear.hear(b)
			if r == nil {
				continue
			}
			select {
			case c.slots <- struct{}{}:
			case <-c.done:
				return
			}
			r.at = time.Now()
			h.inbox.Post(func() { c.waiting = append(c.waiting, r) })
		}
		if err != nil {
			return
		}
	}
}

// ear is the dongle's receiver as one client has it to itself. It hears what a dongle would, stray bytes and
// cut frames included, and makes whole frames of it, so that nothing of one client's bytes can meet what
// others have left in the real receiver.
type ear struct {
	receiver message.Receiver
	raw      []byte // since the last START
}

func newEar(maxPayload int) *ear {
	return &ear{receiver: message.NewReceiver(maxPayload), raw: make([]byte, 0, maxFrame)}
}

const startByte = 0x01

// hear takes one byte and returns a command when one is to be executed.
func (e *ear) hear(b byte) *command {
	if b == startByte {
		e.raw = e.raw[:0]
	}
	if len(e.raw) < cap(e.raw) {
		e.raw = append(e.raw, b)
	}
	execute, _ := e.receiver.Feed(b)
	if !execute {
		return nil
	}
	r := &command{typ: e.receiver.Type(), payload: slices.Clone(e.receiver.Payload())}
	if full := e.complete(r); full == nil && e.receiver.Whole() && e.raw[len(e.raw)-1] == b {
		r.wire = slices.Clone(e.raw)
	} else {
		if full != nil {
			r.payload = full
		}
		r.wire = message.AppendFrame(nil, r.typ, r.payload)
	}
	return r
}

// complete is the payload of a command that lacks fields: firmware reads them all the same, from what earlier
// commands have left in its buffer, and what that was for this client is here. It is nil for a command that
// lacks nothing.
func (e *ear) complete(r *command) []byte {
	if _, err := message.ParseCommand(r.typ, r.payload); !isShort(err) {
		return nil
	}
	m, err := message.ParseCommand(r.typ, e.receiver.Buffer())
	if err != nil {
		return nil
	}
	size := len(message.AppendPayload(nil, m))
	if size > message.MaxCommandPayload {
		return nil
	}
	return slices.Clone(e.receiver.Buffer()[:size])
}
