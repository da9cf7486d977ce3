package otasvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/mailbox"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Radio sends frames to the dongle. Submit never blocks; done is called exactly once, from any goroutine.
type Radio = sending.Radio

// Observer counts what happens, for metrics.
type Observer interface {
	blocks.Observer
	// UpgradeFinished counts an upgrade that reached a final state, with the time since it was queued.
	UpgradeFinished(state State, reason Reason, d time.Duration)
	// DeliveryFailed counts a frame that did not reach its device.
	DeliveryFailed()
	// ImageFetched counts a fetch by its outcome.
	ImageFetched(outcome Status)
}

// ImageStore gets images and keeps their bytes. Fetch is called on a goroutine of its own;
// the others are quick.
type ImageStore interface {
	Fetch(context.Context, library.Request) (library.Image, error)
	Load(sha256 string) ([]byte, error)
	Image(sha256 string) (library.Image, bool)
	// Sweep removes images that keep does not name and that nobody has needed for a while. It
	// waits for the disk.
	Sweep(now time.Time, keep func(sha256 string) bool, unusedFor time.Duration) ([]library.Image, error)
}

// Catalog finds images that nobody registered, in the image folder and in indexes. Ensure is called on a
// goroutine of its own; the others answer from memory.
type Catalog interface {
	Best(library.Device) (library.Candidate, bool)
	All(library.Device) []library.Candidate
	Explain(library.Device) error
	Ensure(context.Context, library.Candidate) (library.Image, error)
	Refresh()
	Changed() <-chan struct{}
}

// Policy is how upgrades are done.
type Policy struct {
	Concurrency    int           // downloads at once, at least 1
	BlockSize      uint8         // largest block in bytes, 1 to 64
	BlockInterval  time.Duration // shortest time between two blocks of a device; 0 where there is none
	MinBattery     int           // percent; a battery device below it is not upgraded
	Auto           bool          // every device for which an update is available is upgraded, in the window
	NotifyInterval time.Duration // between two image notifications
	// NotifyAttempts is how many notifications without a block request end an attempt with noResponse.
	NotifyAttempts   int
	StallTimeout     time.Duration // without a block request before an attempt ends with stalled
	RejoinTimeout    time.Duration // from the end of the download to the new version seen
	Retries          int           // further attempts
	Slice            time.Duration // how long an image keeps the slot while another waits
	Canary           bool          // with all devices: one of each image first
	Window           *Window       // nil where none is configured
	QueryWatch       QueryWatch    // when the dongle shows what devices ask for
	WatchOnly        bool          // another program upgrades: nothing is done, only told
	ServeUnsolicited bool          // devices that ask without an upgrade are served
}

// Options are what a Service is made of.
type Options struct {
	Images   ImageStore
	Catalog  Catalog // nil where only registered images are known
	Observer Observer
	Logger   *slog.Logger
	StateDir string // holds state.json; empty where nothing is kept (tests)
	Policy   Policy
	// Now is the clock; nil stands for time.Now. Only what sets the clock on the wall, which fake time
	// cannot, brings another.
	Now func() time.Time
}

// Service owns devices, registered images and upgrades. It is a zigate.Handler: give it to the dongle.
type Service struct {
	owner
	keeper
	health
	now      func() time.Time
	log      *slog.Logger
	policy   Policy
	observer Observer
	blocks   *blocks.Server
	sender   *sending.Sender

	// All below belongs to the owner goroutine.
	teller teller
	gate   requestGate
	home   home
	offers offers
	dongle dongle
	watch  watch
	asking

	upgrades upgrades
	orders   orders
	slot     headerSlot
}

// New reads the state and prepares everything that serving blocks needs, so that a device that goes on asking
// is answered as soon as the dongle is there. A state file that cannot be read is set aside and reported, and
// the service starts empty: the error is only for a state folder that cannot be used at all.
func New(o Options) (*Service, error) {
	s := &Service{
		log:      o.Logger,
		policy:   o.Policy,
		observer: o.Observer,
		health:   health{startedAt: time.Now()},
		home:     newHome(),
		watch:    watch{policy: o.Policy.QueryWatch},
	}
	if s.now = o.Now; s.now == nil {
		s.now = time.Now
	}
	s.dongle.watchOnly = o.Policy.WatchOnly
	s.dongle.goneAt = s.now()
	s.dongle.lookedAt = s.now()
	s.inbox = mailbox.New[func()]()
	s.sender = sending.New(s.inbox)
	s.blocks = blocks.New(blocks.Options{
		MaxBlock: o.Policy.BlockSize,
		Interval: o.Policy.BlockInterval,
		Observer: o.Observer,
		Owner:    blockOwner{s},
	})
	s.asking = newAsking(s)
	s.offers = offers{
		owner:       &s.owner,
		images:      o.Images,
		catalog:     o.Catalog,
		observer:    o.Observer,
		happened:    s.happened,
		log:         o.Logger,
		unavailable: map[string]time.Time{},
	}
	s.slot = newHeaderSlot(s)
	s.upgrades = newUpgrades(s)
	s.orders = orders{s: s}
	s.noteDongle(&s.dongle)
	s.keeper.snapshot = s.snapshot
	s.keeper.post = func(f func()) { s.inbox.Post(f) }
	if o.StateDir != "" {
		if err := s.openState(filepath.Join(o.StateDir, "state.json")); err != nil {
			return nil, fmt.Errorf("opening the state: %w", err)
		}
	}
	return s, nil
}

// Run owns the state until ctx is done. It must be called once.
func (s *Service) Run(ctx context.Context, radio Radio, sink Sink) error {
	background, stop := context.WithCancel(ctx)
	s.ctx = background
	s.sender.Begin(background, radio)
	s.teller.sink = sink
	end := s.keeper.begin()
	defer func() {
		s.restoreRawMode()
		stop()
		s.farewell()
		end()
	}()

	timer := time.NewTimer(0)
	defer timer.Stop()
	var offersChanged <-chan struct{}
	if s.offers.catalog != nil {
		offersChanged = s.offers.catalog.Changed()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.inbox.Wake():
		case <-timer.C:
		case <-offersChanged:
			s.offers.changed()
		}
		for _, f := range s.inbox.Take() {
			f()
		}
		s.tick(s.now())
		timer.Reset(s.sleep(s.now()))
	}
}

// errStopping ends what was asked for and cannot be finished any more.
var errStopping = errors.New("the service is stopping")

// farewell gives every request that is still open its answer, and saves what they wait for. Upgrades go on in
// the next life of the service.
func (s *Service) farewell() {
	s.gate.open()
	for quiet := false; !quiet; {
		s.background.Wait()
		quiet = !s.drain()
		if s.questions.Any() {
			s.questions.Drop(errStopping)
			quiet = false
		}
		s.searches.Next() // what still stands in line finds nothing
		s.interviews.endAll(errStopping)
		if s.saveNow() {
			quiet = false
		}
	}
	s.upgrades.sync(s.now())
	for _, f := range s.inbox.Close() { // what came at the very end
		f()
	}
}

// drain does what was posted, and reports whether there was anything.
func (s *Service) drain() (worked bool) {
	for work := s.inbox.Take(); len(work) > 0; work = s.inbox.Take() {
		worked = true
		for _, f := range work {
			f()
		}
	}
	return worked
}

// tick is what the owner does after whatever woke it: look at the clock, at the downloads, at
// the queue, and tell.
func (s *Service) tick(now time.Time) {
	s.health.tick.Store(&now)
	if now.Sub(s.startedAt) > settleTimeout {
		s.gate.open()
	}
	s.dongle.countAway(s.hindered(), now)
	s.upgrades.sync(now)
	s.questions.Expire(now)
	s.upgrades.tick(now)
	s.strangers.Expire(now, func(addr uint16) bool { return s.home.at(addr) != nil })
	if s.dongle.connected {
		s.interviews.run(now)
	}
	s.orders.byPolicy(now)
	s.sweep(now)
	s.slot.follow(now)
	s.watchQueries(now)
	s.upgrades.refreshTable()
	s.noteDongle(&s.dongle)
	s.tell(now)
	s.save(s.revisions(), now)
}

// revisions are the revisions of everything that is kept.
func (s *Service) revisions() revisions {
	return revisions{
		devices:       s.home.registry.Revision(),
		registrations: s.offers.registered,
		dongle:        s.dongle.revision,
		upgrades:      s.upgrades.kept,
		asked:         s.keeper.asked,
	}
}

// sweep has images removed that nobody has needed for a while.
func (s *Service) sweep(now time.Time) {
	if !s.offers.sweepDue(now) {
		return
	}
	used := map[string]bool{}
	for _, d := range s.upgrades.active {
		used[d.Upgrade.Image().SHA256] = true
	}
	for sha256 := range s.slot.memory.images {
		used[sha256] = true
	}
	s.offers.sweep(used, now)
}

// How long the owner sleeps when no message wakes it.
const (
	pauseBusy = 250 * time.Millisecond // answers are due, or blocks are being served
	pauseSoon = time.Second            // something is to be done before long
	pauseIdle = 10 * time.Second
)

// sleep is how long the owner may sleep when nothing happens: until the next thing that it has to do by the
// clock.
func (s *Service) sleep(now time.Time) time.Duration {
	if s.questions.Any() || s.strangers.Any() || s.slot.state.IsBusy() || s.slot.state.Switching() {
		return pauseBusy
	}
	interviews := s.dongle.connected && s.interviews.schedule.Before(now.Add(pauseIdle))
	slotDue := now.Before(s.slot.state.KeptUntil()) || s.slot.state.Refusals() > 0
	pause := s.upgrades.nextLook(now)
	if !s.gate.opened || s.revisions() != s.saved || interviews || slotDue {
		pause = min(pause, pauseSoon)
	}
	return pause
}

// HandleMessage takes every message of the dongle that is not on the block path. Part of zigate.Handler.
func (s *Service) HandleMessage(m message.Message, lqi uint8) {
	ind, ok := m.(message.DataIndication)
	if ok && ind.Cluster == message.ClusterOTA && ind.SrcAddrMode == message.AddrModeNetwork {
		if req, ok := message.ParseImageBlockRequest(ind.Payload); ok {
			req.Endpoint = ind.SrcEndpoint
			req.Cluster = ind.Cluster
			req.AddrMode = ind.SrcAddrMode
			req.Addr = ind.SrcAddr
			s.blocks.Indicated(req)
		}
	}
	s.inbox.PostUpTo(inboxLimit, func() { hearing{s}.message(m, lqi, s.now()) })
}

// HandleConnected learns that the dongle is there. Part of zigate.Handler.
func (s *Service) HandleConnected(info zigate.Info) {
	s.blocks.Reconnected()
	s.inbox.Post(func() {
		hearing{s}.connected(info)
		s.gate.open()
	})
}

// HandleDisconnected learns that the dongle is gone. Part of zigate.Handler.
func (s *Service) HandleDisconnected(err error) {
	s.inbox.Post(func() {
		hearing{s}.disconnected(err)
		s.gate.open()
	})
}

// inboxLimit bounds the messages that wait for the owner. It is never reached in normal operation: the owner
// needs microseconds for a message and the wire milliseconds.
const inboxLimit = 16384

// jitter spreads d by up to a fifth either way, so that many devices do not act in step.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.4*float64(d))
}
