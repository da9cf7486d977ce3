package zigate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const (
	// readBufferSize takes several frames at once; a burst of a dongle is shorter.
	readBufferSize = 4096
	// replyBufferSize is room for the longest block answer.
	replyBufferSize = message.MaxImageBlockResponseFrame
	// closeTimeout is how long the end of a connection may take. Only a Write that a driver holds takes
	// longer, and is left alone.
	closeTimeout = time.Second
	// maxTimeouts is how many commands in a row may go without an answer.
	maxTimeouts = 2
)

var errClosed = errors.New("closed")

// conn is one connection, from an open port to its end. Three goroutines use it: one reads, decodes,
// answers block requests and calls the Handler; one writes commands; and the one of Run decides what to
// send, and when to give up.
type conn struct {
	d     *Dongle
	port  Port
	name  string
	line  *Line
	again bool // it is not the first connection
	start time.Time

	// wlock holds a value while one frame is written. It is a channel, so that waiting for it can be given
	// up.
	wlock   chan struct{}
	closed  chan struct{}
	waiting outstanding
	out     chan *command // to the writer
	failed  chan error    // from reader and writer

	heard atomic.Int64 // when the last good frame came, on the connection's clock

	greeting greeting
	incoming incoming        // only the reader uses it
	traced   message.Decoder // decodes written frames; used under wlock
}

func newConn(d *Dongle, port Port, again bool) *conn {
	name := d.opts.Dialer.String()
	if s, ok := port.(fmt.Stringer); ok {
		name = s.String()
	}
	return &conn{
		d:        d,
		port:     port,
		name:     name,
		line:     &Line{rate: byteRate(port)},
		again:    again,
		start:    time.Now(),
		wlock:    make(chan struct{}, 1),
		closed:   make(chan struct{}),
		out:      make(chan *command, maxTimeouts),
		failed:   make(chan error, 2),
		greeting: newGreeting(),
		incoming: incoming{reply: make([]byte, 0, replyBufferSize)},
	}
}

// now returns the time on the connection's clock, which does not jump.
func (c *conn) now() time.Duration {
	return time.Since(c.start)
}

// connected reports whether the handshake was completed.
func (c *conn) connected() bool {
	select {
	case <-c.greeting.ready:
		return true
	default:
		return false
	}
}

// run uses the port until it fails or ctx is done, closes it, and waits for the goroutines that used it.
func (c *conn) run(ctx context.Context) error {
	var users sync.WaitGroup
	users.Go(func() { c.failed <- c.read() })
	users.Go(c.writeCommands)

	err := c.handshake(ctx)
	if err == nil {
		err = c.pump(ctx)
	}

	close(c.closed)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.port.Close(); err != nil {
			c.d.log.Debug("closing the dongle's port", "port", c.name, "err", err)
		}
		users.Wait()
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		c.d.log.Warn("the dongle's port does not finish a write; leaving it", "port", c.name)
	}
	return err
}

// pump sends commands until something fails.
func (c *conn) pump(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, err := c.step()
		if err != nil {
			return err
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-c.failed:
			return err
		case <-c.d.wake:
		case <-timer.C:
		}
	}
}

// step ends a command whose deadline has passed, and begins the next one or a probe. It has to be called
// again after wait at the latest.
func (c *conn) step() (wait time.Duration, err error) {
	d := c.d
	now := c.now()
	idle := now - time.Duration(c.heard.Load())

	d.mu.Lock()
	if d.inFlight != nil && now < d.deadline {
		wait = d.deadline - now
		d.mu.Unlock()
		return wait, nil
	}
	if d.inFlight == nil && now < d.quietUntil {
		wait = d.quietUntil - now
		d.mu.Unlock()
		return wait, nil
	}
	expired := d.inFlight
	d.inFlight = nil
	if expired != nil && !expired.unanswered() {
		d.timeouts++
	}
	timeouts := d.timeouts
	var next *command
	switch {
	case timeouts >= maxTimeouts:
	case len(d.queue) > 0:
		next = d.queue[0]
		d.queue[0] = nil
		d.queue = d.queue[1:]
		if next.typ == message.TypeGetVersion {
			d.probe = nil // somebody has asked for this version
		}
	case timeouts > 0 || idle >= d.opts.ProbeInterval:
		next, _ = newCommand(message.GetVersion{}, nil)
		d.probe = next
	}
	if next != nil {
		wait = next.timeout(d.opts.CommandTimeout)
		d.inFlight = next
		d.deadline = now + wait
	}
	d.mu.Unlock()

	switch {
	case expired == nil:
	case expired.unanswered():
		expired.finish(message.Status{}, nil)
	default:
		c.waiting.forget(expired)
		expired.finish(message.Status{}, noAnswer(expired.typ, d.opts.CommandTimeout))
	}
	if timeouts >= maxTimeouts {
		return 0, fmt.Errorf("%w: %d commands in a row without a status", ErrNoAnswer, timeouts)
	}
	if next == nil {
		return d.opts.ProbeInterval - idle, nil
	}
	c.send(next)
	return wait, nil
}

// send hands a command to the writer. Where the writer does not keep up, send drops the command, whose
// timeout then ends it.
func (c *conn) send(cmd *command) {
	select {
	case c.out <- cmd:
	default:
	}
}

func noAnswer(t message.MsgType, after time.Duration) error {
	return fmt.Errorf("%s (%s): %w within %s", t, t.Name(), ErrNoAnswer, after)
}

func (c *conn) writeCommands() {
	for {
		select {
		case <-c.closed:
			return
		case cmd := <-c.out:
			if err := c.write(cmd.frame, cmd); err != nil {
				c.failed <- err
				return
			}
		}
	}
}

// write writes one command, or the reply to a block request (cmd is nil), which may consist of several
// frames. What the dongle will acknowledge is noted before, because the acknowledgement can come before
// Write returns.
func (c *conn) write(wire []byte, cmd *command) error {
	select {
	case c.wlock <- struct{}{}:
	case <-c.closed:
		return errClosed
	}
	defer func() { <-c.wlock }()
	select {
	case <-c.closed:
		return errClosed
	default:
	}
	c.expect(wire, cmd)
	if tracer := c.d.tracer.Load(); tracer != nil {
		c.trace(*tracer, wire)
	}
	for rest := wire; len(rest) > 0; {
		n, err := c.port.Write(rest)
		c.line.sent.Add(uint64(max(n, 0)))
		if err != nil {
			return fmt.Errorf("writing: %w", err)
		}
		if n <= 0 {
			return fmt.Errorf("writing: %w", io.ErrShortWrite)
		}
		rest = rest[n:]
	}
	return nil
}

func (c *conn) expect(wire []byte, cmd *command) {
	at := c.now()
	if cmd != nil {
		if !cmd.unanswered() {
			c.waiting.push(expected{typ: cmd.typ, cmd: cmd, at: at})
		}
		c.d.opts.Observer.FrameSent(cmd.typ)
		return
	}
	// START occurs nowhere but at the beginning of a frame.
	for i := range wire {
		if t, ok := message.WireType(wire[i:]); ok {
			c.waiting.push(expected{typ: t, at: at})
			c.d.opts.Observer.FrameSent(t)
		}
	}
}

func (c *conn) trace(tracer Tracer, wire []byte) {
	for len(wire) > 0 {
		f, rest, ok := c.traced.Feed(wire)
		if !ok {
			return
		}
		tracer(message.ToDongle, f)
		wire = rest
	}
}

// enabled reports whether debug messages are logged. Asking first keeps the block path free of allocations.
func (c *conn) enabled() bool {
	return c.d.log.Enabled(context.Background(), slog.LevelDebug)
}
