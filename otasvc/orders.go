package otasvc

import (
	"fmt"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// UpgradeRequest is a request to bring a device, or all of them, to an image.
type UpgradeRequest struct {
	Device DeviceRef
	// All means every device for which an update is available; Device, URL and ImageVersion
	// are not looked at.
	All            bool
	URL            string  // fetched and registered for the device first
	SHA256, SHA512 string  // hex; where given, must be the download's
	ImageVersion   *uint32 // nil stands for the newest that fits
	AllowDowngrade bool    // take an image that is older than what runs
	// Force takes an image of the version that runs, that failed a check, or that the device called invalid.
	Force     bool
	At        time.Time // zero or past: now
	Install   Install   // when it is to be installed once it is downloaded
	InstallAt time.Time // with Install "at"
	Window    bool      // wait for the configured window to open; At is not looked at
	// Ticket comes back with the final answer of an upgrade that was queued.
	Ticket Ticket
}

// Upgrade queues an upgrade. What is wrong with the request comes as a final answer through
// respond; a request that was queued gets InProgress there, and its final answer goes to
// Sink.UpgradeEnded, with its ticket.
func (s *Service) Upgrade(req UpgradeRequest, respond Respond) {
	s.request(respond, func() {
		now := time.Now()
		if req.Window {
			if s.policy.Window == nil {
				respond(fail(InvalidData, nil, "when: no upgrade window is configured; "+
					"set ZIGATE_OTA_UPGRADE_WINDOW or give a time"))
				return
			}
			req.At = s.policy.Window.Next(now)
		}
		if !req.At.After(now) {
			req.At = time.Time{}
		}
		if req.All {
			s.orders.takeAll(req, respond)
			return
		}
		s.withDevice(req.Device, respond, func(d *device) { s.orders.take(d, req, respond) })
	})
}

// order is what a request says of the upgrade that is to be made.
func (r *UpgradeRequest) order() upgrade.Order {
	order := upgrade.Order{DueAt: r.At, Install: r.Install, InstallAt: r.InstallAt}
	if len(r.Ticket) > 0 {
		order.Tickets = []Ticket{r.Ticket}
	}
	return order
}

// installsHeld reports whether a request asks for nothing else than that the image which a device has is
// installed now.
func (r *UpgradeRequest) installsHeld(u *upgrade.Upgrade) bool {
	return r.Install == InstallNow && r.At.IsZero() && r.URL == "" &&
		(r.ImageVersion == nil || *r.ImageVersion == u.Image().ImageVersion)
}

// orders takes requests for upgrades, and what the policy wants, and queues the upgrades that may be made. It
// belongs to the owner goroutine.
type orders struct {
	s      *Service
	autoAt time.Time // next look for upgrades that the policy wants
}

// take takes a request for one device.
func (o *orders) take(d *device, req UpgradeRequest, respond Respond) {
	s := o.s
	if u := d.active(); u != nil {
		o.release(d, u, req, respond)
		return
	}
	if why, ok := s.dongle.usable(); !ok && req.At.IsZero() {
		respond(fail(ServiceNotAvailable, s.offerOperation(d), "%s", why))
		return
	}
	if req.URL != "" {
		o.takeFromURL(d, req, respond)
		return
	}
	offered := s.offers.best(d.Device)
	if req.ImageVersion != nil {
		offered = s.offers.ofVersion(d.Device, *req.ImageVersion)
	}
	o.takeOffer(d, req, offered, respond)
}

// release has a device install the image that it has, where that is what a request for a device with an
// upgrade asks for. Any other request comes too early.
func (o *orders) release(d *device, u *upgrade.Upgrade, req UpgradeRequest, respond Respond) {
	s := o.s
	op := operationOf(u, d.EUID(), d.CurrentVersion())
	if u.Stage() != upgrade.StageDownloaded || !req.installsHeld(u) {
		respond(failReason(ReasonAlreadyQueued, op))
		return
	}
	if why, ok := s.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, op, "%s", why))
		return
	}
	s.upgrades.step(d, upgrade.Release{Ticket: req.Ticket}, time.Now())
	s.whenSaved(func() { respond(Answer{Status: InProgress, Operation: op}) })
}

// takeFromURL fetches the image that a request names, registers it for the device and goes on with it.
func (o *orders) takeFromURL(d *device, req UpgradeRequest, respond Respond) {
	s := o.s
	op := d.operation(nil)
	op.URL = ptr(publicURL(req.URL))
	respond(Answer{Status: InProgress, Operation: op})
	fetch := library.Request{URL: req.URL, SHA256: req.SHA256, SHA512: req.SHA512, Force: req.Force}
	s.fetchFor(d, fetch, op, respond, func(image library.Image) {
		r := registration(image, publicURL(req.URL), "", s.offers.ownDriverVersion(d.Device, image))
		offered := offerOf(r, image)
		why := misfit(d.Device, image)
		switch {
		case why != "":
			respond(fail(ImageValidationFailed, op, "%s", why))
			return
		case req.ImageVersion != nil && *req.ImageVersion != offered.ImageVersion:
			respond(fail(ImageValidationFailed, d.operation(&offered),
				"the image at the url has version 0x%08x, not the 0x%08x asked for",
				offered.ImageVersion, *req.ImageVersion))
			return
		case !fits(d.Device, offered):
			respond(fail(ImageValidationFailed, d.operation(&offered),
				"the image at the url is for manufacturer 0x%04x and image type 0x%04x and does not fit %s",
				offered.ManufacturerCode, offered.ImageType, d.Name()))
			return
		}
		if err := s.offers.add(d.Device, r); err != nil {
			respond(fail(Failure, d.operation(&offered), "%v", err))
			return
		}
		o.takeOffer(d, req, &offered, respond)
	})
}

// takeOffer queues the upgrade to an image, once the device has told its running version, or has not
// answered. What the state file says of it may be old. A sleeping device is asked only where its upgrade
// would be refused for that version: it will hardly answer, and an upgrade that waits for it reads the
// version when it wakes.
func (o *orders) takeOffer(d *device, req UpgradeRequest, offered *Offer, respond Respond) {
	s := o.s
	if offered == nil {
		a := failReason(ReasonImageInfoNotFound, d.operation(nil))
		a.Error = s.offers.noImage(d.Device)
		if req.ImageVersion != nil && s.offers.best(d.Device) != nil {
			a.Error = fmt.Sprintf("no image of version 0x%08x is registered for this device",
				*req.ImageVersion)
		}
		respond(a)
		return
	}
	refused := d.CurrentVersion() != nil && *d.CurrentVersion() >= offered.ImageVersion && !req.Force
	if !d.VersionFresh() && s.dongle.connected && (!d.Sleepy() || refused) {
		respond(Answer{Status: InProgress, Operation: d.operation(offered)})
		s.interviews.check(d, func(error) { o.queue(d, req, *offered, respond) })
		return
	}
	o.queue(d, req, *offered, respond)
}

// queue queues the upgrade to an image, unless something speaks against it.
func (o *orders) queue(d *device, req UpgradeRequest, offered Offer, respond Respond) {
	s := o.s
	op := d.operation(&offered)
	refuse := func(r Reason) { respond(failReason(r, op)) }
	switch running := d.CurrentVersion(); {
	case !s.home.knows(d):
		respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
	case d.active() != nil:
		refuse(ReasonAlreadyQueued)
	case !fits(d.Device, offered):
		a := failReason(ReasonImageInfoNotFound, op)
		a.Error = s.offers.noImage(d.Device)
		respond(a)
	case running != nil && *running == offered.ImageVersion && !req.Force:
		refuse(ReasonUpToDate)
	case running != nil && *running > offered.ImageVersion && !req.AllowDowngrade:
		refuse(ReasonDowngradeRefused)
	case d.CalledInvalid(offered.SHA256) && !req.Force:
		refuse(ReasonInvalidImage)
	case offered.candidate != nil: // fetched where needed; and it is not cleaned away now
		respond(Answer{Status: InProgress, Operation: op})
		s.offers.ensure(d.Device, offered, req.Force, op, respond, func(had Offer) {
			o.queue(d, req, had, respond)
		})
	default:
		u := s.upgrades.begin(d, &offered, req.order(), time.Now())
		answer := Answer{Status: InProgress, Operation: op, Error: o.warning(d, u)}
		s.whenSaved(func() { respond(answer) })
	}
}

// warning is what whoever asked for an upgrade should know of it in advance; empty where there is nothing.
func (o *orders) warning(d *device, u *upgrade.Upgrade) string {
	if holder := o.s.slot.withheldBy(d, time.Now()); holder != nil {
		return fmt.Sprintf("it waits until %s, which holds the same image back, has installed it",
			holder.Name())
	}
	if o.s.versionToOffer(d, u) != u.Image().ImageVersion {
		return "the outcome is uncertain: the dongle's firmware compares versions, " +
			"so the image is offered as a newer one, which many devices refuse once they have it"
	}
	return ""
}

// takeAll takes a request for every device for which an update is available.
func (o *orders) takeAll(req UpgradeRequest, respond Respond) {
	s := o.s
	if why, ok := s.dongle.usable(); !ok && req.At.IsZero() {
		respond(fail(ServiceNotAvailable, nil, "%s", why))
		return
	}
	wanted := func(d *device, offered *Offer) bool {
		return updateAvailable(d.Device, offered) && d.active() == nil
	}
	respond(Answer{Status: InProgress})
	o.ensureAll(wanted, func() {
		s.upgrades.save(true)
		g := o.queueGroup(req, wanted, time.Now())
		s.upgrades.finishGroup(g) // it ends at once where there is nothing to do
	})
}

// ensureAll fetches the images that indexes have for the devices that wanted picks; then runs
// when each was tried.
func (o *orders) ensureAll(wanted func(*device, *Offer) bool, then func()) {
	missing := map[string]library.Candidate{}
	for _, d := range o.s.home.sorted() {
		if best := o.s.offers.best(d.Device); wanted(d, best) && best.candidate != nil {
			missing[best.candidate.Key()] = *best.candidate
		}
	}
	o.s.offers.ensureAll(missing, then)
}

// queueGroup queues the devices that wanted picks. With a canary the first device of each image goes ahead of
// the others.
func (o *orders) queueGroup(req UpgradeRequest, wanted func(*device, *Offer) bool, now time.Time) *group {
	s := o.s
	g := s.upgrades.beginGroup(req.Ticket)
	canaries := map[string]*device{}
	for _, d := range s.home.sorted() {
		offered := s.offers.best(d.Device)
		if !wanted(d, offered) {
			continue
		}
		if offered.SHA256 == "" {
			// Its image could not be fetched.
			g.Members = append(g.Members, UpgradeResult{
				EUID: d.EUID(), State: Failed, Reason: ReasonImageInfoNotFound,
			})
			continue
		}
		order := req.order()
		order.Tickets = nil // the answer is the group's
		order.Group = g.ID
		if first := canaries[offered.SHA256]; first != nil && s.policy.Canary {
			order.Canary = first.EUID()
		} else if first == nil {
			canaries[offered.SHA256] = d
		}
		u := s.upgrades.begin(d, offered, order, now)
		g.Members = append(g.Members, UpgradeResult{EUID: d.EUID(), State: u.State()})
	}
	return g
}

// autoInterval is how often the policy looks for devices to upgrade.
const autoInterval = time.Minute

// byPolicy begins what the policy "auto" wants: every device for which an update is available, in the window.
// An image that has failed on a device, or was cancelled, is left to people from then on.
func (o *orders) byPolicy(now time.Time) {
	s := o.s
	if !s.policy.Auto || now.Before(o.autoAt) {
		return
	}
	o.autoAt = now.Add(autoInterval)
	if _, ok := s.dongle.usable(); !ok {
		return
	}
	if s.policy.Window != nil && s.policy.Window.Next(now).After(now) {
		return
	}
	wanted := func(d *device, offered *Offer) bool { return o.wantedByPolicy(d, offered, now) }
	wantedNow := func(d *device) bool { return wanted(d, s.offers.best(d.Device)) }
	if !slices.ContainsFunc(s.home.sorted(), wantedNow) {
		return
	}
	o.ensureAll(wanted, func() {
		s.upgrades.finishGroup(o.queueGroup(UpgradeRequest{}, wanted, time.Now()))
	})
}

// wantedByPolicy reports whether a device is to be upgraded without anybody having asked for it.
func (o *orders) wantedByPolicy(d *device, offered *Offer, now time.Time) bool {
	if offered == nil || d.CurrentVersion() == nil || !updateAvailable(d.Device, offered) {
		return false
	}
	if o.s.offers.isUnavailable(offered, now) {
		return false
	}
	u := d.Upgrade
	return u == nil || u.Ended() && u.Image().SHA256 != offered.SHA256
}

// QueuedUpgrade is an upgrade that waits, at its place.
type QueuedUpgrade struct {
	EUID         message.IEEE
	State        State
	ImageVersion uint32
	QueuedAt     time.Time
	DueAt        time.Time    // zero stands for as soon as possible
	Canary       message.IEEE // the device that goes first with the same image; 0 where there is none
	Paused       bool         // a person holds it
}

// Queue tells which upgrades wait, in the order in which they are to begin as things are now;
// those that wait for a time come last. then is called on the owner goroutine and must not block; after a
// stop it is not called.
func (s *Service) Queue(then func([]QueuedUpgrade)) {
	s.inbox.Post(func() { then(s.queue(s.now())) })
}

func (s *Service) queue(now time.Time) []QueuedUpgrade {
	list := []QueuedUpgrade{}
	for _, euid := range slot.Queue(s.slot.view(now), now) {
		u := s.home.get(euid).Upgrade
		list = append(list, QueuedUpgrade{
			EUID:         euid,
			State:        u.State(),
			ImageVersion: u.Image().ImageVersion,
			QueuedAt:     u.QueuedAt(),
			DueAt:        u.DueAt(),
			Canary:       u.Canary(),
			Paused:       u.Stage().PausedByPerson(),
		})
	}
	return list
}
