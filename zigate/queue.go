package zigate

import (
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// command is a command that waits to be sent, or that waits for its status.
type command struct {
	typ   message.MsgType
	frame []byte
	asker any // the asker's name for the Monitor; nil for this program
	done  func(message.Status, error)
}

func newCommand(m message.Message, done func(message.Status, error)) (*command, int) {
	payload := message.AppendPayload(nil, m)
	return &command{
		typ: m.Type(), frame: message.AppendFrame(nil, m.Type(), payload), done: done,
	}, len(payload)
}

func (c *command) finish(s message.Status, err error) {
	if c.done != nil {
		c.done(s, err)
	}
}

// unanswered reports whether the dongle sends no status for the command.
func (c *command) unanswered() bool { return c.typ.IsStorageAnswer() }

// byteTime is how long a byte takes on the serial line at DefaultBaud.
const byteTime = time.Second / (DefaultBaud / bitsPerByte)

// timeout returns how long other commands wait for this one at most: until its status must have come or,
// where it gets none, until it has passed the line.
func (c *command) timeout(forStatus time.Duration) time.Duration {
	if c.unanswered() {
		return time.Duration(len(c.frame)) * byteTime
	}
	return forStatus
}

// listTime is how long a dongle of hardware v1 is busy with writing its longest list of devices. What it says
// meanwhile is damaged, above all the status of the next command.
const listTime = 60 * time.Millisecond

// quiet is how long after its status no other command is sent.
func (c *command) quiet() time.Duration {
	if c.typ == message.TypeGetDevices {
		return listTime
	}
	return 0
}

// failure is a command that ends without a status.
type failure struct {
	cmd *command
	err error
}

// Submit queues a command. It never blocks. Commands are sent in the order of their submission, each after
// the status of the one before or its timeout; answers to image block requests go ahead of them.
//
// done is called exactly once, with the status and nil for status 0, *StatusError for others, or with
// ErrNotConnected, ErrNoAnswer, ErrQueueFull or ErrTooLong. It is called from a goroutine of the dongle,
// or, when Run has not begun or has returned, before Submit returns. It must not block. It may be nil.
func (d *Dongle) Submit(cmd message.Message, done func(message.Status, error)) {
	d.SubmitFor(nil, cmd, done)
}

// SubmitFor is Submit for another program. The Monitor gets asker with the status; nil stands for this
// program itself.
func (d *Dongle) SubmitFor(asker any, cmd message.Message, done func(message.Status, error)) {
	c, size := newCommand(cmd, done)
	c.asker = asker
	d.submit(c, size)
}

// SubmitFrame is SubmitFor for a whole frame, START and END included, which is written unchanged. It must
// be one that a dongle accepts, and wire must not be changed afterwards. Types 0x8200 to 0x8300, which
// dongles execute without a status, end with a zero Status and nil when they have passed the line.
func (d *Dongle) SubmitFrame(asker any, t message.MsgType, wire []byte, done func(message.Status, error)) {
	d.submit(&command{typ: t, frame: wire, asker: asker, done: done}, 0)
}

func (d *Dongle) submit(c *command, size int) {
	d.mu.Lock()
	var err error
	switch {
	case !d.accepting:
		err = fmt.Errorf("%s (%s): %w", c.typ, c.typ.Name(), ErrNotConnected)
	case size > d.maxPayload:
		err = fmt.Errorf("%s (%s) of %d bytes, at most %d: %w",
			c.typ, c.typ.Name(), size, d.maxPayload, ErrTooLong)
	case len(d.queue) >= maxQueue:
		err = fmt.Errorf("%s (%s): %w", c.typ, c.typ.Name(), ErrQueueFull)
	default:
		d.queue = append(d.queue, c)
	}
	if err == nil {
		d.mu.Unlock()
		notify(d.wake)
		return
	}
	if !d.running {
		d.mu.Unlock()
		c.finish(message.Status{}, err)
		return
	}
	d.failed = append(d.failed, failure{c, err})
	d.mu.Unlock()
	notify(d.wakeFail)
}

func notify(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// complete reports commands that were refused. Submit cannot do so, because its caller may hold a lock.
func (d *Dongle) complete(stop <-chan struct{}) {
	for {
		select {
		case <-d.wakeFail:
			d.report()
		case <-stop:
			return
		}
	}
}

func (d *Dongle) report() {
	d.mu.Lock()
	failed := d.failed
	d.failed = nil
	d.mu.Unlock()
	for _, f := range failed {
		f.cmd.finish(message.Status{}, f.err)
	}
}

// accept allows commands to be queued, for firmware of this version.
func (d *Dongle) accept(v message.Version) {
	d.mu.Lock()
	d.accepting = true
	d.maxPayload = v.MaxCommandPayload()
	d.timeouts = 0
	d.quietUntil = 0
	d.probe = nil
	d.mu.Unlock()
}

// disconnected ends all commands.
func (d *Dongle) disconnected(err error) {
	d.mu.Lock()
	d.accepting = false
	ended := d.queue
	if d.inFlight != nil {
		ended = append([]*command{d.inFlight}, ended...)
	}
	d.queue = nil
	d.inFlight = nil
	d.mu.Unlock()
	for _, c := range ended {
		// The error must not match what ended the connection, such as ErrNoAnswer, which is not about c.
		c.finish(message.Status{}, fmt.Errorf("%s (%s): %w: %v",
			c.typ, c.typ.Name(), ErrNotConnected, err)) //nolint:errorlint // see above
	}
}

// begin makes a command the one in flight.
func (d *Dongle) begin(c *command, deadline time.Duration) {
	d.mu.Lock()
	d.inFlight = c
	d.deadline = deadline
	d.mu.Unlock()
}

// end takes a command out of flight. It returns false where the command was not in flight; the caller that
// gets true reports the result.
func (d *Dongle) end(c *command, answered bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inFlight != c {
		return false
	}
	d.inFlight = nil
	if answered {
		d.timeouts = 0
	}
	return true
}

// answered reports the status of a command that is in flight. now is on the connection's clock.
func (d *Dongle) answered(c *command, s message.Status, now time.Duration) {
	if !d.end(c, true) {
		return // the command has timed out at the same time
	}
	if quiet := c.quiet(); quiet > 0 {
		d.mu.Lock()
		d.quietUntil = now + quiet
		d.mu.Unlock()
	}
	var err error
	if s.Status != message.StatusOK {
		err = &message.StatusError{Status: s}
	}
	c.finish(s, err)
	notify(d.wake)
}

// endQuiet lets commands be sent again, as what they were kept back for is over.
func (d *Dongle) endQuiet() {
	d.mu.Lock()
	d.quietUntil = 0
	d.mu.Unlock()
	notify(d.wake)
}

// bootTimeout is how long ago a command must have been written to count as lost when the dongle says that
// it starts. A dongle that has started answers within a few milliseconds.
const bootTimeout = 100 * time.Millisecond

// restarted ends a command that a reset of the dongle has lost, so that others need not wait for its
// timeout.
func (c *conn) restarted() {
	d := c.d
	d.mu.Lock()
	lost := d.inFlight
	if lost == nil || lost.unanswered() || !c.connected() ||
		c.now()-(d.deadline-d.opts.CommandTimeout) < bootTimeout {
		d.mu.Unlock()
		return
	}
	d.inFlight = nil
	d.probe = nil
	d.mu.Unlock()
	c.waiting.forget(lost)
	lost.finish(message.Status{},
		fmt.Errorf("%s (%s): %w: it has restarted", lost.typ, lost.typ.Name(), ErrNoAnswer))
	notify(d.wake)
}

// probed takes a version as the answer to the last probe, even if the status before it was lost. It reports
// whether there was a probe.
func (c *conn) probed() bool {
	d := c.d
	d.mu.Lock()
	probe := d.probe
	ended := probe != nil && d.inFlight == probe
	d.probe = nil
	if ended {
		d.inFlight = nil
		d.timeouts = 0
	}
	d.mu.Unlock()
	if ended {
		c.waiting.forget(probe)
		notify(d.wake)
	}
	return probe != nil
}
