package sending

import (
	"context"
	"errors"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/mailbox"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// How a frame that the dongle did not take is sent again: its buffers need 50 ms and more to fall. Each
// attempt waits once more resendAfter than the one before.
const (
	resendAfter    = 80 * time.Millisecond
	resendAttempts = 3
)

// waitsAtMost is how often a command is put off by resendAfter because of full buffers. Then it is sent all
// the same: the dongle may be that busy for hours.
const waitsAtMost = 25

// Radio is the way to the dongle.
type Radio interface {
	// Submit sends a frame to the dongle. It never blocks; done is called exactly once, from any goroutine.
	Submit(cmd message.Message, done func(message.Status, error))
}

// Sender sends commands to the dongle. It must be made by New, and Begin must be called before anything is
// sent; what is noted may be noted before. Unless a method says otherwise, any goroutine may call it.
type Sender struct {
	inbox   *mailbox.Mailbox[func()]
	buffers buffers
	blocks  taken

	radio Radio
	ctx   context.Context // after its end nothing is sent again
}

// New returns a Sender whose callbacks are posted to inbox.
func New(inbox *mailbox.Mailbox[func()]) *Sender {
	s := &Sender{inbox: inbox}
	s.buffers.init()
	return s
}

// Begin lets commands go to a radio until ctx is done. What is sent after that goes to the radio once. Begin
// must be called once, before any other goroutine uses the Sender to send.
func (s *Sender) Begin(ctx context.Context, radio Radio) {
	s.ctx = ctx
	s.radio = radio
}

// Send sends a command; done runs on the owner's goroutine with the status of the last attempt, or the error
// of the radio. A dongle whose buffers are full gets the command when they have fallen, and one that had no
// room for it gets it again a little later, both a bounded number of times. nil is allowed for done.
func (s *Sender) Send(cmd message.Message, done func(message.Status, error)) {
	t := &transmission{sender: s, cmd: cmd, done: done}
	t.try()
}

// ErrNotWanted ends a command that was put off and is not wanted any more.
var ErrNotWanted = errors.New("it is not wanted any more")

// SendWhile is Send for a command that may become wrong while it is put off: wanted is asked, on the owner's
// goroutine, each time before it goes to the radio. A command that is not wanted ends with [ErrNotWanted].
func (s *Sender) SendWhile(wanted func() bool, cmd message.Message, done func(message.Status, error)) {
	t := &transmission{sender: s, cmd: cmd, wanted: wanted, done: done}
	t.try()
}

// transmission is one command on its way through Send.
type transmission struct {
	sender   *Sender
	cmd      message.Message
	wanted   func() bool // nil: always
	done     func(message.Status, error)
	waits    int // how often it was put off
	attempts int // how often it was submitted
}

func (t *transmission) try() {
	s := t.sender
	if canWait(t.cmd) && t.waits < waitsAtMost && s.ctx.Err() == nil && s.Crowded(time.Now()) {
		t.waits++
		t.tryAfter(resendAfter)
		return
	}
	if t.wanted != nil && !t.wanted() {
		s.inbox.Post(func() { t.end(message.Status{}, ErrNotWanted) })
		return
	}
	t.attempts++
	s.Submit(t.cmd, func(st message.Status, err error) {
		s.inbox.Post(func() { t.answered(st, err) })
	})
}

func (t *transmission) tryAfter(d time.Duration) {
	time.AfterFunc(d, func() { t.sender.inbox.Post(t.try) })
}

func (t *transmission) answered(st message.Status, err error) {
	if Busy(err) && t.attempts < resendAttempts && t.sender.ctx.Err() == nil {
		t.tryAfter(time.Duration(t.attempts) * resendAfter)
		return
	}
	t.end(st, err)
}

func (t *transmission) end(st message.Status, err error) {
	if t.done != nil {
		t.done(st, err)
	}
}

// Submit hands a command to the dongle at once, and once only. done is called exactly once, from any
// goroutine; nil is allowed.
func (s *Sender) Submit(cmd message.Message, done func(message.Status, error)) {
	s.radio.Submit(cmd, func(st message.Status, err error) {
		s.NoteStatus(&st, time.Now())
		if done != nil {
			done(st, err)
		}
	})
}

// Resend sends the answer to a block request that the dongle did not take when its buffers have fallen, a
// bounded number of times. Each time fresh makes it anew, on the owner's goroutine, and ends it by returning
// false: fresh must do so when the device has asked anew, or after a while.
func (s *Sender) Resend(fresh func(now time.Time) (message.Message, bool)) {
	s.resendAfter(1, fresh)
}

func (s *Sender) resendAfter(attempt int, fresh func(now time.Time) (message.Message, bool)) {
	time.AfterFunc(time.Duration(attempt)*resendAfter, func() {
		s.inbox.Post(func() { s.resend(attempt, fresh, time.Now()) })
	})
}

func (s *Sender) resend(
	attempt int, fresh func(now time.Time) (message.Message, bool), now time.Time,
) {
	answer, ok := fresh(now)
	if !ok || s.ctx.Err() != nil {
		return
	}
	if s.Crowded(now) {
		s.resendAfter(attempt, fresh)
		return
	}
	s.Submit(answer, func(_ message.Status, err error) {
		if Busy(err) && attempt < resendAttempts {
			s.resendAfter(attempt+1, fresh)
		}
	})
}

// NoteStatus keeps what a status says of the dongle's buffers, and of a block. Statuses of commands that went
// through the Sender are noted by it. It allocates nothing.
func (s *Sender) NoteStatus(st *message.Status, now time.Time) {
	s.buffers.status(st, now)
	s.blocks.status(st)
}

// Blocks returns of how many blocks the dongle has said that it has taken them, and of how many that it has
// not; one that was sent again counts each time.
func (s *Sender) Blocks() (taken, refused uint64) { return s.blocks.yes.Load(), s.blocks.no.Load() }

// NoteConfirm keeps what a delivery report of a dongle of a firmware family says of its buffers.
func (s *Sender) NoteConfirm(m message.Confirm, family message.Family, now time.Time) {
	s.buffers.confirm(m, family, now)
}

// NoteStackError keeps an error of the dongle's stack. Some mean that it is sent more than the radio can
// take.
func (s *Sender) NoteStackError(m message.ExtendedStatus, now time.Time) {
	if m.Busy() {
		s.buffers.overrun(now)
	}
}

// Crowded reports whether what is no block has to wait, for a few hundred milliseconds. What would begin anew
// asks a [Gate] besides.
func (s *Sender) Crowded(now time.Time) bool { return s.buffers.crowded(now) }

// Busy reports whether the dongle had no room for a command, so that it is worth sending again a little
// later.
func Busy(err error) bool {
	var refused *message.StatusError
	return errors.As(err, &refused) && refused.Busy()
}

// canWait tells which commands make a radio frame that nobody waits for within a second: all but blocks, the
// answer to an upgrade end, and what stays in the dongle.
func canWait(m message.Message) bool {
	switch m.(type) {
	case message.ImageNotify, message.ReadAttributes, message.NodeDescriptorRequest,
		message.PowerDescriptorRequest,
		message.ActiveEndpointsRequest, message.SimpleDescriptorRequest, message.MatchDescriptorRequest,
		message.NwkAddrRequest, message.IEEEAddrRequest, message.ManagementLQIRequest, message.RawAPS:
		return true
	}
	return false
}
