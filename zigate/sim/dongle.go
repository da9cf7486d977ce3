package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
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

// Dongle is a simulated ZiGate with its devices. Its methods may be called from any goroutine, before, during
// and after Run; what they ask for happens while Run runs, and soon instead of at once.
//
// It is the frame around the simulation: it takes in what comes from outside and lets time pass. What the
// dongle does is in chip, what a device does in Device.
type Dongle struct {
	cfg     Config
	log     *slog.Logger
	running atomic.Bool
	bytes   *mailbox.Mailbox[byte]   // from hosts
	actions *mailbox.Mailbox[func()] // for Run to do
	line    hostLine

	// mu guards everything below. Only Run changes it; others take copies.
	mu       sync.Mutex
	err      error // why the Dongle cannot run
	timeline *timeline
	stats    *Stats
	air      *air
	devices  *deviceSet
	chip     *chip
}

// New makes a dongle with its devices. Mistakes in the configuration are reported by Run.
func New(cfg Config) *Dongle {
	cfg = cfg.withDefaults()
	d := &Dongle{
		cfg:      cfg,
		log:      cfg.Logger,
		bytes:    mailbox.New[byte](),
		actions:  mailbox.New[func()](),
		timeline: &timeline{pace: newPace(cfg.Speed)},
		stats:    newStats(),
		devices:  newDeviceSet(),
	}
	d.air = &air{
		timeline: d.timeline,
		stats:    d.stats,
		random:   rand.New(rand.NewPCG(cfg.Seed, 2)),
		faults:   cfg.Faults,
		onAir:    cfg.OnAir,
	}
	d.chip = newChip(cfg, d.timeline, d.stats, d.air, d.devices, d.line.deliver)
	d.air.toDongle = d.chip.hear

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
		next, pending := d.tick()
		if pending {
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
	d.timeline.now = time.Now()
	d.chip.clock = clock{setAt: d.timeline.now}
	for _, v := range d.devices.all {
		v.start()
	}
	d.chip.scheduleFault()
	d.chip.scheduleOwnTraffic()
}

// tickLimit is how many events one tick handles before it lets others have a look at the state.
const tickLimit = 256

// tick handles what has come from outside and what is due. It returns when the next event is due; pending is
// false if there is none.
func (d *Dongle) tick() (next time.Time, pending bool) {
	actions := d.actions.Take() // first: what a host wrote before it asked for an action comes before it
	in := d.bytes.Take()

	d.mu.Lock()
	defer d.mu.Unlock()
	d.timeline.now = time.Now()
	d.chip.receiver.receive(in)
	for _, act := range actions {
		act()
	}
	for range tickLimit {
		if !d.timeline.fireNext() {
			break
		}
	}
	return d.timeline.schedule.next()
}

// lineLimit is how many bytes the line holds for a dongle that does not run; more are lost.
const lineLimit = 1 << 16

// write takes bytes from a host. It never blocks: the UART always reads, and a line that nobody
// empties loses bytes. The error is ErrStopped.
func (d *Dongle) write(p []byte) error {
	if !d.bytes.PostUpTo(lineLimit, p...) {
		return ErrStopped
	}
	return nil
}

// stop lets nothing happen any more.
func (d *Dongle) stop() {
	d.bytes.Close()
	d.actions.Close()
	d.line.close()
}

// IEEE is the dongle's own address.
func (d *Dongle) IEEE() message.IEEE { return d.cfg.IEEE }

// String names the dongle for logs.
func (d *Dongle) String() string {
	return fmt.Sprintf("simulated ZiGate %s with firmware %s", d.cfg.IEEE, d.cfg.Firmware)
}

// Reset restarts the dongle as its button or a power glitch does: what was in RAM is lost, the header slot
// first of all, and the boot messages follow. Network and raw mode are kept.
func (d *Dongle) Reset() {
	d.actions.Post(func() { d.chip.restart(true) })
}

// SilentReset is Reset without boot messages, as when the host's side of the line missed them.
func (d *Dongle) SilentReset() {
	d.actions.Post(func() { d.chip.restart(false) })
}

// RefuseBlocks has the dongle refuse every block (0x0502) with a status from now on, until it is reset; see
// Faults.RefuseBlocks.
func (d *Dongle) RefuseBlocks(status uint8) {
	d.actions.Post(func() { d.chip.radio.blockRefusal = status })
}

// PowerCycle takes the dongle's power away for a moment, as who pulls it out and puts it back: hosts are cut
// off, and it starts anew.
func (d *Dongle) PowerCycle() {
	d.actions.Post(d.chip.powerCycle)
	d.Disconnect()
}

// Stats is a copy of the counts.
func (d *Dongle) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats.clone()
}

// AddDevice puts another device into the network while the dongle exists. The error is ErrConfig.
func (d *Dongle) AddDevice(cfg DeviceConfig) (*Device, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.addDevice(cfg); err != nil {
		return nil, err
	}
	v := d.devices.byIEEE[cfg.IEEE]
	if !d.timeline.now.IsZero() { // else Run starts it
		d.timeline.now = time.Now()
		v.start()
		d.actions.Signal()
	}
	return v, nil
}

// addDevice is for New, and for others under the lock.
func (d *Dongle) addDevice(cfg DeviceConfig) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	addr, err := d.devices.reserve(cfg.IEEE, cfg.Addr)
	if err != nil {
		return err
	}
	d.devices.add(newDevice(d, cfg, addr))
	return nil
}

// Device finds a device by its IEEE address; nil if there is none.
func (d *Dongle) Device(ieee message.IEEE) *Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.devices.byIEEE[ieee]
}

// Devices lists all devices in the order in which they were configured.
func (d *Dongle) Devices() []*Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.devices.all)
}
