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
	// they cannot read, and also lose answers.
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
	Port         string // the name of the port that was opened
	Major, Minor uint16 // of Version
	Firmware     string // such as "3.23" or "3.1e"
	Family       message.Family
	IEEE         message.IEEE
	NetworkAddr  uint16
	PANID        uint16
	Channel      uint8
	NetworkUp    bool // a dongle without a network is connected, too
	Line         *Line
}

// Version returns the version that the dongle has told.
func (i Info) Version() message.Version {
	return message.Version{Major: i.Major, Minor: i.Minor}
}

// Handler takes what a dongle sends. Its methods are called one at a time, from the goroutine that reads
// the port, and must not block, because nothing is read meanwhile. The two about the connection's state may
// also be called when that goroutine has ended.
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
	// HandleConnected is called after each handshake, when commands can be submitted.
	HandleConnected(info Info)
	// HandleDisconnected is called when the connection is lost or given up, and after each failed attempt
	// to connect.
	HandleDisconnected(err error)
}

// Observer counts what happens, for metrics. Its methods are called from several goroutines and on the
// block path, so they must be quick and must not allocate.
type Observer interface {
	// FrameSent counts a frame to the dongle.
	FrameSent(t message.MsgType)
	// FrameReceived counts a good frame from the dongle; t may be a type that is not known
	// (see MsgType.Known).
	FrameReceived(t message.MsgType)
	// FrameError counts something received that cannot be used, by reason: one of FrameErrorReasons.
	FrameError(reason string)
	// Connected is called with whether the dongle is connected and has completed its handshake.
	Connected(up bool)
	// Reconnected counts connections after the first.
	Reconnected()
	// Buffers is called with the number of buffers that the dongle uses, for every status that says so.
	Buffers(npdu, apdu uint8)
	// BlockAnswered is called with the time from the last byte of an image block request, read and decoded,
	// to its answer written.
	BlockAnswered(d time.Duration)
}

// Options configure a Dongle. Zero values stand for the defaults; Dialer and Handler are required.
type Options struct {
	Dialer   Dialer
	Handler  Handler
	Monitor  Monitor      // may be nil
	Observer Observer     // may be nil
	Logger   *slog.Logger // may be nil
	// CommandTimeout is how long the status of a command may take. After two commands in a row without one
	// the connection is dropped and made anew.
	CommandTimeout time.Duration
	// ProbeInterval is how long a dongle may be silent before it is asked for its version.
	ProbeInterval time.Duration
	// BackoffMin and BackoffMax limit the backoff between attempts to connect, which doubles each time. A
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
	quietUntil time.Duration // no command is sent before, on the connection's clock
	timeouts   int           // number of timeouts in a row
	probe      *command      // the GetVersion whose answer only this package wants
	failed     []failure     // to be reported by the completer

	wake     chan struct{} // to the goroutine that sends commands
	wakeFail chan struct{} // to the completer

	revival revival // only the goroutine of Run uses it
}

// NewDongle returns a Dongle that connects when Run is called.
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

// String returns the name of the dongle's port.
func (d *Dongle) String() string {
	return d.opts.Dialer.String()
}

// Run connects, and connects again after every failure, until ctx is done; then it returns nil. All
// submitted commands have got their answer by then. Its only error is ErrRunning, for a second Run at the
// same time.
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
		d.report() // those that were refused since the completer has ended
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

// connect makes one connection and returns when it has ended.
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
