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
	// maxWaiting is how many commands of a client may wait. While there are more, nothing is read from it.
	maxWaiting = 64
	// maxUnread is how many bytes may wait for a client. A dongle's line carries no more in 20 s.
	maxUnread = 256 << 10
	// maxFrame is the longest frame of a host in bytes, every one of them escaped.
	maxFrame = 2 * (2 + 5 + message.MaxCommandPayload)
)

// client is one program that shares the dongle.
type client struct {
	id   int
	name string
	conn io.ReadWriteCloser
	// lossy clients lose what they do not read, as on a serial line, where nobody knows whether a program
	// listens. Others are cut off.
	lossy bool

	slots     chan struct{} // holds one value for each command that waits
	done      chan struct{} // is closed when the connection ends
	once      sync.Once
	restarted atomic.Bool // the dongle has restarted, and with it the receiver that the client sees

	outMu  sync.Mutex
	out    []byte
	unsent chan struct{} // has a value when there is something in out

	// Of the hub's goroutine.
	waiting   []*command
	extra     int             // how many of the waiting commands have no value in slots
	mode      message.RawMode // that the client has asked for
	sum       int             // of the last frame that raw mode 1 has shown, see lens.view
	heartbeat bool            // the client has asked for it
	cut       bool            // the client was cut off
	gone      bool            // the connection has ended
	warned    bool            // the log has said that its OTA commands are not passed on
}

// command is a command of a client.
type command struct {
	typ     message.MsgType
	wire    []byte // the frame as the client has sent it, unless it had to be completed
	payload []byte
	at      time.Time // when it was received
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

// put queues bytes for the client. It reports false if the client does not read.
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
	receiver := newReceiver(int(h.maxPayload.Load()))
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
			receiver = newReceiver(int(h.maxPayload.Load()))
		}
		for _, b := range buf[:n] {
			cmd := receiver.feed(b)
			if cmd == nil {
				continue
			}
			if !c.reserve() {
				return
			}
			cmd.at = time.Now()
			h.inbox.Post(func() { c.waiting = append(c.waiting, cmd) })
		}
		if err != nil {
			return
		}
	}
}

// reserve takes room for a command, and waits for it if there is none. It reports false if the client has
// gone meanwhile. While there is room the end of the connection does not count: what a client has sent before
// it left is carried out.
func (c *client) reserve() bool {
	select {
	case c.slots <- struct{}{}:
		return true
	default:
	}
	select {
	case c.slots <- struct{}{}:
		return true
	case <-c.done:
		return false
	}
}

// receiver plays the dongle's receiver for one client. It takes what a dongle would, stray bytes and cut
// frames included, and makes whole frames of it, so that nothing of one client's bytes can meet what others
// have left in the real receiver.
type receiver struct {
	frames message.Receiver
	raw    []byte // since the last START
}

func newReceiver(maxPayload int) *receiver {
	return &receiver{frames: message.NewReceiver(maxPayload), raw: make([]byte, 0, maxFrame)}
}

const startByte = 0x01

// feed takes one byte and returns the command that it completes, or nil.
func (r *receiver) feed(b byte) *command {
	if b == startByte {
		r.raw = r.raw[:0]
	}
	if len(r.raw) < cap(r.raw) {
		r.raw = append(r.raw, b)
	}
	execute, _ := r.frames.Feed(b)
	if !execute {
		return nil
	}
	cmd := &command{typ: r.frames.Type(), payload: slices.Clone(r.frames.Payload())}
	full := r.complete(cmd)
	if full == nil && r.frames.Whole() && r.raw[len(r.raw)-1] == b {
		cmd.wire = slices.Clone(r.raw)
		return cmd
	}
	if full != nil {
		cmd.payload = full
	}
	cmd.wire = message.AppendFrame(nil, cmd.typ, cmd.payload)
	return cmd
}

// complete returns the payload of a command that lacks fields. Firmware reads them all the same, from what
// earlier commands have left in its buffer; the receiver knows what that was for this client. It returns nil
// if nothing is missing.
func (r *receiver) complete(cmd *command) []byte {
	if _, err := message.ParseCommand(cmd.typ, cmd.payload); !isShort(err) {
		return nil
	}
	m, err := message.ParseCommand(cmd.typ, r.frames.Buffer())
	if err != nil {
		return nil
	}
	size := len(message.AppendPayload(nil, m))
	if size > message.MaxCommandPayload {
		return nil
	}
	return slices.Clone(r.frames.Buffer()[:size])
}
