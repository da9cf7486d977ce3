package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/mailbox"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Errors of Run and of dialling.
var (
	ErrStopped        = errors.New("the simulated dongle has stopped")
	ErrAlreadyRunning = errors.New("the simulated dongle runs already")
	ErrPortInUse      = errors.New("the simulated dongle's line is in use")
)

// Dongle is a simulated ZiGate. Its methods may be called from any goroutine, before, during and after Run;
// what they ask for happens while Run runs, and soon instead of at once.
type Dongle struct {
	cfg    Config
	traits traits
	pace   pace
	log    *slog.Logger

	line    serialLine
	running atomic.Bool
	bytes   *mailbox.Mailbox[byte]   // from the host; they wake Run
	actions *mailbox.Mailbox[func()] // for Run to do

	// mu guards everything below. Only Run changes it; others take copies.
	mu  sync.Mutex
	err error // why the Dongle cannot run
	now time.Time
	schedule
	lineRandom, airRandom *rand.Rand
	receiver              message.Receiver
	input                 []byte // received, without the END that would complete a command
	damaged               bool   // what the receiver reads now was damaged on the line
	receiveFree, sendFree time.Time
	payload, frame        []byte // reused for what goes to the host
	stats                 Stats

	network bool  // persistent: there is one
	rawMode uint8 // persistent

	up    bool
	epoch uint64 // counts resets: what a reset wipes out belongs to an epoch
	memory

	devices []*Device
	byIEEE  map[message.IEEE]*Device
	byAddr  map[uint16]*Device
}

// lineLimit is how many bytes the line holds for a dongle that does not run.
const lineLimit = 1 << 16

// memory is the dongle's RAM: all of it is lost at a reset.
type memory struct {
	server                     otaServer
	clockAt                    time.Time // when the clock showed clockSeconds
	clockSeconds               uint32    // since 2000-01-01 UTC
	apsCounter, zclSeq, zdpSeq uint8
	dataRequests               int // on their way
	ackedRequests              int // those of them that wait for an acknowledgement
	noDefaultResponse          bool
	permitUntil                time.Time
	heartbeat                  bool
	rawSum                     int // of the last frame shown in raw mode
	joinReported               bool
}

// New makes a dongle with its devices. Mistakes in the configuration are reported by Run.
func New(cfg Config) *Dongle {
	cfg = cfg.withDefaults()
	d := &Dongle{
		cfg:        cfg,
		traits:     cfg.Firmware.traits(),
		pace:       newPace(cfg.Speed),
		log:        cfg.Logger,
		bytes:      mailbox.New[byte](),
		actions:    mailbox.New[func()](),
		lineRandom: rand.New(rand.NewPCG(cfg.Seed, 1)),
		airRandom:  rand.New(rand.NewPCG(cfg.Seed, 2)),
		network:    !cfg.FactoryNew,
		byIEEE:     map[message.IEEE]*Device{},
		byAddr:     map[uint16]*Device{},
	}
	d.stats.init()
	d.powerUp()
	d.up = true
	for _, c := range cfg.Devices {
		if err := d.addDevice(c); err != nil && d.err == nil {
			d.err = err
		}
	}
	return d
}

// Run is the dongle under power, with its radio and its devices, until the context ends. It returns nil then,
// an ErrConfig for devices that do not fit together, and ErrAlreadyRunning the second time.
func (d *Dongle) Run(ctx context.Context) error {
	if d.err != nil {
		return d.err
	}
	if !d.running.CompareAndSwap(false, true) {
		return ErrAlreadyRunning
	}
	defer d.stop()

	d.start()
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for ctx.Err() == nil {
		next, any := d.round()
		if any {
			wait := time.Until(next)
			if wait <= 0 {
				continue
			}
			alarm.Reset(wait)
		}
		select {
		case <-ctx.Done():
		case <-d.bytes.Wake():
		case <-d.actions.Wake():
		case <-alarm.C:
		}
	}
	return nil
}

// start sets the timers that a dongle and devices under power have.
func (d *Dongle) start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = time.Now()
	d.clockAt = d.now
	for _, v := range d.devices {
		v.start()
	}
	d.scheduleFault()
	d.scheduleOwnTraffic()
}

// roundLimit is how many events one round handles before it lets others have a look at the state.
const roundLimit = 256

// round handles what is there to be handled and tells when the next timer is due.
func (d *Dongle) round() (next time.Time, any bool) {
	actions := d.actions.Take() // first: what a host wrote before it asked for an action comes before it
	in := d.bytes.Take()

	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = time.Now()
	d.receive(in)
	for _, act := range actions {
		act()
	}
	for range roundLimit {
		t, ok := d.schedule.due(d.now)
		if !ok {
			break
		}
		t.fire()
	}
	return d.schedule.next()
}

func (d *Dongle) stop() {
	d.bytes.Close()
	d.actions.Close()
	d.line.close()
}

// post has Run do something. After Run nothing is done any more.
func (d *Dongle) post(action func()) { d.actions.Post(action) }

// later fires once, after a real time.
func (d *Dongle) later(wait time.Duration, fire func()) {
	d.schedule.set(&timer{fire: fire}, d.now.Add(wait))
}

// after is later for what lives in the dongle's RAM: a reset in between cancels it.
func (d *Dongle) after(wait time.Duration, fire func()) {
	epoch := d.epoch
	d.later(wait, func() {
		if d.up && d.epoch == epoch {
			fire()
		}
	})
}

// chance draws against a probability; it draws nothing for one that is 0.
func chance(random *rand.Rand, probability float64) bool {
	return probability > 0 && random.Float64() < probability
}

// Firmware is what the dongle runs.
func (d *Dongle) Firmware() Firmware { return d.cfg.Firmware }

// IEEE is the dongle's own address.
func (d *Dongle) IEEE() message.IEEE { return d.cfg.IEEE }

// String names the dongle for logs.
func (d *Dongle) String() string {
	return fmt.Sprintf("simulated ZiGate %s with firmware %s", d.cfg.IEEE, d.cfg.Firmware)
}
