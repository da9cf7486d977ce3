package zigate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Defaults of Options.
const (
	DefaultCommandTimeout = 3 * time.Second
	DefaultProbeInterval  = 30 * time.Second
	DefaultBackoffMin     = 250 * time.Millisecond
	DefaultBackoffMax     = 30 * time.Second
)

// maxQueue is how many commands may wait to be sent. A dongle executes some dozens a second.
const maxQueue = 256

var (
	// ErrNotConnected says that a command was not sent, or that the connection was lost
	// before its answer came.
	ErrNotConnected = errors.New("the dongle is not connected")
	// ErrNoAnswer says that a command got no status in time. It may have been executed: dongles drop what
	// they cannot read, but lose answers, too.
	ErrNoAnswer = errors.New("the dongle does not answer")
	// ErrQueueFull says that too many commands wait already.
	ErrQueueFull = errors.New("too many commands wait for the dongle")
	// ErrTooLong says that a command is longer than the dongle's firmware accepts.
	ErrTooLong = errors.New("command longer than the dongle accepts")
	// ErrRunning is the error of a second Run.
	ErrRunning = errors.New("the dongle is running already")
)

// Info is what is known of a dongle once it is connected.
type Info struct {
	Port         string // the port that was opened, as a user knows it
	Major, Minor uint16 // of Version
	Firmware     string // like "3.23", "3.1e"
	Family       message.Family
	IEEE         message.IEEE
	NetworkAddr  uint16
	PANID        uint16
	Channel      uint8
	NetworkUp    bool // a dongle without a network is connected, too
}

// Version is the dongle's answer from which Firmware and Family were told.
func (i Info) Version() message.Version {
	return message.Version{Major: i.Major, Minor: i.Minor}
}

// Handler takes what a dongle says. Its methods are called one at a time, from the goroutine that reads the
// port (the two about the connection's state: from the one that reads, or when that one has ended), and must
// not block: nothing is read meanwhile.
type Handler interface {
	// HandleBlockRequest answers a device's request: it appends a whole frame to dst, with
	// message.AppendImageBlockResponse or AppendWaitForData, or nothing. The frame is written at once, ahead
	// of commands. Neither the request nor dst may be kept.
	HandleBlockRequest(req *message.ImageBlockRequest, dst []byte) []byte
	// HandleBlockStatus takes the status of a frame that HandleBlockRequest appended. It must not be kept.
	HandleBlockStatus(s *message.Status)
	// HandleMessage takes every other message: all but image block requests and the statuses of block
	// answers and of submitted commands. Answers other than statuses (a Version, a DeviceList) come here.
	// lqi is the link quality, see message.Frame. Messages that arrive while the connection is being set up
	// come before HandleConnected.
	HandleMessage(m message.Message, lqi uint8)
	// HandleConnected comes after each handshake, when commands can be submitted.
	HandleConnected(info Info)
	// HandleDisconnected comes when the connection is lost or given up, and also after each failed
	// attempt to connect.
	HandleDisconnected(err error)
}

// Observer counts. Its methods are called from several goroutines, on the block path too: they must be quick
// and must not allocate.
type Observer interface {
	// FrameSent counts a frame to the dongle.
	FrameSent(t message.MsgType)
	// FrameReceived counts a good frame from the dongle; t may be a type that is not known
	// (see MsgType.Known).
	FrameReceived(t message.MsgType)
	// FrameError counts something received that cannot be used, by reason: one of FrameErrorReasons.
	FrameError(reason string)
	// Connected tells whether the dongle is connected and has completed its handshake.
	Connected(up bool)
	// Reconnected counts connections after the first.
	Reconnected()
	// Buffers tells how many of its buffers the dongle uses, with every status that says so.
	Buffers(npdu, apdu uint8)
	// BlockAnswered tells how long an image block request took from its last byte read and decoded to
	// its answer written.
	BlockAnswered(d time.Duration)
}

// Options are what a Dongle needs. Zero values are the defaults; Dialer and Handler are required.
type Options struct {
	Dialer   Dialer
	Handler  Handler
	Monitor  Monitor      // may be nil
	Observer Observer     // may be nil
	Logger   *slog.Logger // may be nil
	// CommandTimeout is how long the status of a command may take. Two commands in a row without one: the
	// connection is dropped and made anew.
	CommandTimeout time.Duration
	// ProbeInterval is how long a dongle may be silent before it is asked for its version.
	ProbeInterval time.Duration
	// BackoffMin and BackoffMax limit the pause between attempts to connect, which doubles each time. A
	// random part, up to a half, is taken off.
	BackoffMin time.Duration
	BackoffMax time.Duration
	// RawMode is set in each handshake.
	RawMode message.RawMode
}

// Dongle is a connection to a ZiGate that is made again whenever it is lost.
type Dongle struct {
	opts Options
	log  *slog.Logger

	tracer atomic.Pointer[Tracer]

	mu         sync.Mutex
	running    bool
	accepting  bool // commands may be queued
	maxPayload int
	queue      []*command
	inFlight   *command
	deadline   time.Duration // of inFlight, on the connection's clock
	timeouts   int           // in a row
	probe      *command      // whose Version nobody else wants
	failed     []failure     // to be reported by the completer

	wake     chan struct{} // to the goroutine that sends commands
	wakeFail chan struct{} // to the completer

	revival revival // of the goroutine of Run alone
}

// NewDongle prepares a Dongle. Nothing happens before Run.
func NewDongle(opts Options) *Dongle {
	if opts.Observer == nil {
		opts.Observer = noObserver{}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.CommandTimeout = orDefault(opts.CommandTimeout, DefaultCommandTimeout)
	opts.ProbeInterval = orDefault(opts.ProbeInterval, DefaultProbeInterval)
	opts.BackoffMin = orDefault(opts.BackoffMin, DefaultBackoffMin)
	opts.BackoffMax = max(orDefault(opts.BackoffMax, DefaultBackoffMax), opts.BackoffMin)
	return &Dongle{
		opts:     opts,
		log:      opts.Logger,
		wake:     make(chan struct{}, 1),
		wakeFail: make(chan struct{}, 1),
	}
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}

// String is how a user knows the dongle's port.
func (d *Dongle) String() string {
	return d.opts.Dialer.String()
}

// Run connects, and connects again after every failure, until ctx is done; then it returns nil. All
// submitted commands have got their answer by then. It is the only error to run a Dongle twice at the same
// time (ErrRunning).
func (d *Dongle) Run(ctx context.Context) error {
	d.mu.Lock()
	if d.running {
		d.mu.Unlock()
		return ErrRunning
	}
	d.running = true
	d.mu.Unlock()

	stop := make(chan struct{})
	var completer sync.WaitGroup
	completer.Go(func() { d.complete(stop) })
	defer func() {
		close(stop)
		completer.Wait()
		d.mu.Lock()
		d.running = false
		d.mu.Unlock()
		d.report() // what came between the completer's end and now
	}()

	d.opts.Observer.Connected(false)
	pause := d.opts.BackoffMin
	everConnected := false
	for {
		connected, err := d.connect(ctx, everConnected)
		if connected {
			everConnected = true
			pause = d.opts.BackoffMin
		}
		if connected || ctx.Err() == nil {
			d.opts.Handler.HandleDisconnected(err)
		}
		if ctx.Err() != nil {
			return nil
		}
		wait := pause - rand.N(pause/2+1)
		d.log.Debug("the dongle is not connected", "port", d.opts.Dialer, "err", err, "retry", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		pause = min(2*pause, d.opts.BackoffMax)
	}
}

// connect makes one connection and returns when it is over.
func (d *Dongle) connect(ctx context.Context, again bool) (connected bool, err error) {
	port, err := d.opts.Dialer.Dial(ctx)
	if err != nil {
		return false, fmt.Errorf("connecting to the dongle at %s: %w", d.opts.Dialer, err)
	}
	c := newConn(d, port, again)
	err = c.run(ctx)
	d.revival.ended(c.name, c.connected(), c.now(), err)
	d.disconnected(err)
	if c.connected() {
		d.opts.Observer.Connected(false)
		return true, fmt.Errorf("the connection to the dongle at %s: %w", c.name, err)
	}
	return false, fmt.Errorf("talking to the dongle at %s: %w", c.name, err)
}

type noObserver struct{}

func (noObserver) FrameSent(message.MsgType)     {}
func (noObserver) FrameReceived(message.MsgType) {}
func (noObserver) FrameError(string)             {}
func (noObserver) Connected(bool)                {}
func (noObserver) Reconnected()                  {}
func (noObserver) Buffers(uint8, uint8)          {}
func (noObserver) BlockAnswered(time.Duration)   {}
