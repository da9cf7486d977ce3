package otasvc

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Observer counts what happens, for metrics.
type Observer interface {
	blocks.Observer
	// UpgradeFinished counts an upgrade that reached a final state, with the time since it was queued.
	UpgradeFinished(state upgrade.State, reason upgrade.Reason, d time.Duration)
	// DownloadsAllowed takes how many devices may download at once, at the start and when it has changed.
	DownloadsAllowed(n int)
	// DongleRefuses takes whether the dongle is there and refuses every block, at the start and when that has
	// changed.
	DongleRefuses(refuses bool)
	// DeliveryFailed counts a frame that did not reach its device.
	DeliveryFailed()
	// ImageFetched counts a fetch by its outcome.
	ImageFetched(outcome Status)
}

// ImageStore gets images and keeps their bytes, by the SHA-256 of what is served, in lower-case hex. Any
// goroutine may call its methods.
type ImageStore interface {
	// Fetch gets an image and keeps it. It waits for the network and the disk. The error says what went
	// wrong, see [library.ErrAccess] and [library.ErrValidation].
	Fetch(context.Context, library.Request) (library.Image, error)
	// Load returns the bytes of an image. It waits for the disk.
	Load(sha256 string) ([]byte, error)
	// Image tells from memory what is known of an image. It is false where the image is not kept.
	Image(sha256 string) (library.Image, bool)
	// Sweep removes the images that keep does not name as far as they are more than may stay unused. It waits
	// for the disk.
	Sweep(now time.Time, keep func(sha256 string) bool, allowed library.Allowance) (library.Swept, error)
}

// Catalog finds images that nobody registered, in the image folder and in indexes. All but Ensure answer from
// memory.
type Catalog interface {
	// Best returns the newest image that fits a device. It is false where there is none.
	Best(library.Device) (library.Candidate, bool)
	// All lists the images that fit a device.
	All(library.Device) []library.Candidate
	// Explain says why no image fits a device.
	Explain(library.Device) error
	// Ensure has the bytes of an image in the ImageStore. It may wait for the network and the disk.
	Ensure(context.Context, library.Candidate) (library.Image, error)
	// Refresh has indexes looked at anew soon.
	Refresh()
	// Changed has a value whenever the answers may be others than before.
	Changed() <-chan struct{}
	// Read is closed when everything was read for the first time, or could not be; until then the answers may
	// be wrong.
	Read() <-chan struct{}
}

// Policy is how upgrades are done.
type Policy struct {
	Concurrency    int           // downloads at once; 0: as many as line and radio take, from 1 to 16
	BlockSize      uint8         // largest block in bytes, 1 to 64
	BlockInterval  time.Duration // shortest time between two blocks of a device; 0 where there is none
	MinBattery     int           // percent; a battery device below it is not upgraded
	Auto           bool          // every device for which an update is available is upgraded, in the window
	NotifyInterval time.Duration // between two image notifications
	// NotifyAttempts is how many notifications without a block request end an attempt with noResponse.
	NotifyAttempts   int
	StallTimeout     time.Duration   // without a block request before an attempt ends with stalled
	RejoinTimeout    time.Duration   // from the end of the download to the new version seen
	Retries          int             // further attempts
	Slice            time.Duration   // how long a download may take before it gives way to quicker ones
	Overlap          bool            // devices known to allow it download while the slot is another image's
	Canary           bool            // an image that no device here runs is given to one device first
	Window           *upgrade.Window // nil where none is configured
	QueryWatch       QueryWatch      // when the dongle shows what devices ask for
	WatchOnly        bool            // another program upgrades: nothing is done, only told
	ServeUnsolicited bool            // devices that ask without an upgrade are served
	Prefetch         bool            // images of indexes are fetched before anybody asks for them
}

// Options are what a Service is made of.
type Options struct {
	Images   ImageStore
	Catalog  Catalog // nil where only registered images are known
	Observer Observer
	Logger   *slog.Logger
	StateDir string // holds state.json; empty where nothing is kept (tests)
	Policy   Policy
	// Now is the clock that everything goes by; nil stands for time.Now. Any goroutine may read it, also the
	// one that answers blocks. Its times have two readings: that of the clock on the wall, which people set,
	// and the monotonic one of this process, by which all that passes while the service runs is measured.
	// Tests bring a Now whose wall reading was set. Its monotonic reading has to be that of time.Now, by
	// which timers run, and by which blocks and commands are timed.
	Now func() time.Time
}

// Service takes in requests and what the dongle says, has the owner goroutine do what follows, lets time pass
// for all that goes by the clock, and has the state kept and changes told. What is done about devices and
// upgrades its parts know; none of them knows the Service. It is a zigate.Handler: give it to the dongle.
type Service struct {
	owner  *owner
	gate   requestGate
	keeper *keeper
	teller *teller
	health health

	// The way of a block from memory to the dongle.
	blocks *blocks.Server
	sender *sending.Sender

	// What follows belongs to the owner goroutine. Each part knows some of those above it, and none below.
	home      *home
	dongle    *dongle
	watch     *watch
	slot      *headerSlot
	asking    *asking
	offers    *offers
	upgrades  *upgrades
	planner   *planner
	orders    *orders
	byHand    *byHand
	hearing   *hearing
	inquiries *inquiries
}

// New reads the state and prepares everything that serving blocks needs, so that a device that goes on asking
// is answered as soon as the dongle is there. A state file that cannot be read is set aside and reported, and
// the service starts empty: the error is only for a state folder that cannot be used at all.
func New(o Options) (*Service, error) {
	s := &Service{}
	s.owner = newOwner(o.Now)
	out := &outlet{now: s.owner.now}
	s.makeGround(&o, out)
	fromBlocks := s.makeBlocks(&o)
	s.makeUpgrades(&o, out)
	s.makeHearing(&o, out)
	s.makeRequests(&o, out)
	fromBlocks.others = &strays{
		home:     s.home,
		slot:     s.slot,
		upgrades: s.upgrades,
		orders:   s.orders,
		hearing:  s.hearing.devices,
		outlet:   out,
		log:      o.Logger,
	}
	s.health.noteDongle(s.dongle)
	if o.StateDir != "" {
		if err := s.openState(filepath.Join(o.StateDir, "state.json"), o.Logger); err != nil {
			return nil, fmt.Errorf("opening the state: %w", err)
		}
	}
	return s, nil
}

// Run owns the state until ctx is done. It must be called once.
func (s *Service) Run(ctx context.Context, radio sending.Radio, sink Sink) error {
	// What is under way goes on while the devices are told that the service stops.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.owner.ctx = background
	s.sender.Begin(background, radio)
	s.teller.begin(sink)
	end := s.keeper.begin(s.snapshot)
	defer func() {
		s.sayAway()
		s.watch.restore()
		s.owner.ending.Store(true)
		stop()
		s.farewell()
		end()
	}()

	timer := time.NewTimer(0)
	defer timer.Stop()
	var offersChanged, offersRead <-chan struct{}
	if s.offers.catalog != nil {
		offersChanged = s.offers.catalog.Changed()
		offersRead = s.offers.catalog.Read()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.owner.inbox.Wake():
		case <-timer.C:
		case <-offersChanged:
			s.offers.changed()
		case <-offersRead:
			offersRead = nil
			s.offers.changed()
			s.offers.reading.open()
		}
		s.owner.take()
		s.tick(s.owner.now())
		timer.Reset(s.sleep(s.owner.now()))
	}
}

// How a clean stop tells the devices to wait.
const (
	// awayFor is how long they are told to wait: as long as a restart may take, that of the machine included.
	awayFor = time.Minute
	// sayAwayTimeout is how long the service waits at most until each has asked once more. A request that was
	// lost is repeated after some 5 s. Service managers end a service by force after 10 s or more.
	sayAwayTimeout = 6 * time.Second
	// sayAwayLook is how often it looks who has asked.
	sayAwayLook = 20 * time.Millisecond
	// sayAwayLast is for the last answer to go out, and to be repeated where the dongle has no room for it.
	sayAwayLast = 250 * time.Millisecond
)

// sayAway has every device that downloads told to wait before the service goes. Without downloads it takes no
// time. What devices and the dongle say meanwhile is heard, but nothing is begun.
func (s *Service) sayAway() {
	now := s.owner.now()
	rights := s.upgrades.rights
	deadline := now.Add(sayAwayTimeout)
	rights.goAway(now.Add(awayFor))
	asked := func(now time.Time) bool { return rights.anyAsks(deadline, now) }
	if !s.dongle.connected || !asked(now) {
		return
	}

	s.upgrades.log.Info("the devices that download are told to wait", "for", awayFor)
	s.listen(deadline, asked)
	s.listen(s.owner.now().Add(sayAwayLast), func(time.Time) bool { return true })
	s.upgrades.sync(s.owner.now())
}

// listen takes what is posted to the owner, until a time, as long as the dongle is there and while says so.
func (s *Service) listen(until time.Time, while func(now time.Time) bool) {
	look := time.NewTicker(sayAwayLook)
	defer look.Stop()
	for now := s.owner.now(); now.Before(until) && s.dongle.connected && while(now); now = s.owner.now() {
		select {
		case <-look.C:
		case <-s.owner.inbox.Wake():
		}
		s.owner.take()
		s.upgrades.rights.refreshTable()
	}
}

// farewell gives every request that is still open its answer, and saves what they wait for. Upgrades go on in
// the next life of the service.
func (s *Service) farewell() {
	s.gate.open()
	s.offers.reading.open()
	for quiet := false; !quiet; {
		s.owner.background.Wait()
		quiet = !s.owner.drain()
		if s.asking.end(errStopping) {
			quiet = false
		}
		if s.keeper.saveNow(s.snapshot) {
			quiet = false
		}
	}
	s.awaitTold()
	s.upgrades.sync(s.owner.now())
	for _, f := range s.owner.inbox.Close() { // what came at the very end
		f()
	}
}

// toldTimeout is how long a clean stop waits for the broker to have the final answers. Those that it does not
// have by then are given again by the next life of the service.
const toldTimeout = 2 * time.Second

// awaitTold waits until whoever was owed a final answer has it.
func (s *Service) awaitTold() {
	timeout := time.NewTimer(toldTimeout)
	defer timeout.Stop()
	for s.upgrades.owed > 0 {
		select {
		case <-timeout.C:
			return
		case <-s.owner.inbox.Wake():
			s.owner.take()
		}
	}
}

// tick is what the owner does after whatever woke it: it lets time pass for all that goes by the clock, has
// the slot's planner followed, tells what changed, and has that kept.
func (s *Service) tick(now time.Time) {
	s.health.tick.Store(&now)
	for _, gate := range []*requestGate{&s.gate, &s.offers.reading} {
		if now.After(gate.deadline) {
			gate.open()
		}
	}
	s.dongle.countAway(s.slot.hindered(), now)
	s.upgrades.sync(now)
	s.planner.taking.look(now)
	s.asking.questions.Expire(now)
	s.asking.questions.Pace(registry.Room(s.dongle.info.Family, s.watch.mode), now)
	s.upgrades.tick(now)
	s.asking.strangers.Expire(now, func(addr uint16) bool { return s.home.at(addr) != nil })
	if s.dongle.connected {
		s.asking.interviews.run(now)
	}
	s.orders.beginWaiting(now)
	s.orders.byPolicy(now)
	if s.offers.prefetch.due(now) {
		s.offers.fetchAhead(s.home.sorted(), now)
	}
	s.sweep(now)
	s.planner.places.look(now)
	s.upgrades.followCanaries(now)
	if !s.asking.inventory.expects(now) {
		s.planner.follow(now)
	}
	s.asking.inventory.run(s.planner.quiet(now), now)
	urgent := s.upgrades.awaitQuery() || s.asking.inventory.needsView(now)
	s.watch.follow(s.planner.working(now), urgent, now)
	s.upgrades.rights.refreshTable()
	s.health.noteDongle(s.dongle)
	s.teller.tell(now)
	s.keeper.save(s.revisions(), now, s.snapshot)
}

// revisions are the revisions of everything that is kept.
func (s *Service) revisions() revisions {
	return revisions{
		devices:       s.home.registry.Revision(),
		registrations: s.offers.registered,
		dongle:        s.dongle.revision,
		upgrades:      s.home.upgradesRevision,
		groups:        s.upgrades.groups.revision,
		asked:         s.keeper.asked,
	}
}

// sweep has images removed that nobody has needed for a while.
func (s *Service) sweep(now time.Time) {
	if !s.offers.sweepDue(now) {
		return
	}
	used := map[string]bool{}
	for _, d := range s.home.active {
		used[d.upgrade.Image().SHA256] = true
	}
	for sha256 := range s.slot.memory.images {
		used[sha256] = true
	}
	s.offers.keepFetched(s.home.sorted(), used)
	s.offers.sweep(used, now)
}

// How long the owner sleeps when no message wakes it.
const (
	pauseLeast = time.Millisecond
	pauseBusy  = 250 * time.Millisecond // answers are due, or blocks are being served
	pauseSoon  = time.Second            // something is to be done before long
	pauseIdle  = 10 * time.Second
)

// sleep is how long the owner may sleep when nothing happens: until the next thing that it has to do by the
// clock.
func (s *Service) sleep(now time.Time) time.Duration {
	slot := &s.slot.state
	if s.asking.questions.Any() || s.asking.strangers.Any() || slot.IsBusy() || slot.Switching() {
		return pauseBusy
	}
	interviews := s.dongle.connected && s.asking.interviews.schedule.Before(now.Add(pauseIdle))
	pause := s.upgrades.nextLook(now)
	if next := s.planner.next(now); !next.IsZero() {
		pause = min(pause, max(next.Sub(now), pauseLeast))
	}
	if s.asking.inventory.expects(now) {
		pause = min(pause, pauseBusy)
	}
	if at := s.asking.inventory.next(); s.dongle.connected && at.After(now) {
		pause = min(pause, max(at.Sub(now), pauseLeast))
	}
	if at := s.teller.outlook.lookAt; !at.IsZero() {
		pause = min(pause, max(at.Sub(now), pauseLeast))
	}
	if !s.gate.opened || !s.offers.reading.opened || s.revisions() != s.keeper.saved || interviews {
		pause = min(pause, pauseSoon)
	}
	return pause
}

// Stopping reports whether the service is being stopped, so that what was asked for and has not been done is
// not done any more. Any goroutine may call it.
func (s *Service) Stopping() bool { return s.owner.ending.Load() }

// Alive is nil, or the error says why only a restart can help: the goroutine that owns devices and upgrades
// has no ticks any more. It is nil before Run. Any goroutine may call it.
func (s *Service) Alive() error { return s.health.alive(s.owner.now()) }

// DongleHealth is nil, or the error says why upgrades cannot be done now. Any goroutine may call it.
func (s *Service) DongleHealth() error { return s.health.dongleHealth() }

// StoreHealth is nil, or the error says why the state cannot be written. Any goroutine may call it.
func (s *Service) StoreHealth() error { return s.keeper.health() }

var _ zigate.Handler = (*Service)(nil)

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
	s.owner.postMessage(func() { s.hearing.message(m, lqi, s.owner.now()) })
}

// HandleConnected learns that the dongle is there. Part of zigate.Handler.
func (s *Service) HandleConnected(info zigate.Info) {
	s.blocks.Reconnected()
	s.owner.inbox.Post(func() {
		s.hearing.ofDongle.connected(info, s.owner.now())
		s.gate.open()
	})
}

// HandleDisconnected learns that the dongle is gone. Part of zigate.Handler.
func (s *Service) HandleDisconnected(err error) {
	s.owner.inbox.Post(func() {
		s.hearing.ofDongle.disconnected(err, s.owner.now())
		s.gate.open()
	})
}

// jitter spreads d by up to a fifth either way, so that many devices do not act in step.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.4*float64(d))
}
