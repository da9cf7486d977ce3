package otasvc

import (
	"fmt"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// UpgradeRequest is a request to bring a device, or all of them, to an image.
type UpgradeRequest struct {
	Device registry.Ref
	// All means every device for which an update is available; Device, URL and ImageVersion
	// are not looked at.
	All            bool
	URL            string  // fetched and registered for the device first
	SHA256, SHA512 string  // hex; where given, must be the download's
	ImageVersion   *uint32 // nil stands for the newest that fits
	AllowDowngrade bool    // take an image that is older than what runs
	// Force takes an image of the version that runs, that failed a check, or that the device called invalid.
	Force     bool
	At        time.Time       // zero or past: now
	Install   upgrade.Install // when it is to be installed once it is downloaded
	InstallAt time.Time       // with Install "at"
	Window    bool            // wait for the configured window to open; At is not looked at
	// Ticket comes back with the final answer of an upgrade that was queued.
	Ticket upgrade.Ticket
}

// Upgrade queues an upgrade. What is wrong with the request comes as a final answer through
// respond; a request that was queued gets InProgress there, and its final answer goes to
// Sink.UpgradeEnded, with its ticket.
func (s *Service) Upgrade(req UpgradeRequest, respond Respond) {
	s.request(respond, func() {
		at, ok := s.orders.beginAt(req, time.Now())
		if !ok {
			respond(fail(InvalidData, nil, "when: no upgrade window is configured; "+
				"set ZIGATE_OTA_UPGRADE_WINDOW or give a time"))
			return
		}
		req.At = at
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
		order.Tickets = []upgrade.Ticket{r.Ticket}
	}
	return order
}

// installsHeld reports whether a request asks for nothing else than that the image which a device has is
// installed now.
func (r *UpgradeRequest) installsHeld(u *upgrade.Upgrade) bool {
	return r.Install == upgrade.InstallNow && r.At.IsZero() && r.URL == "" &&
		(r.ImageVersion == nil || *r.ImageVersion == u.Image().ImageVersion)
}

// orders takes requests for upgrades and images, and what the policy wants, and queues the upgrades that may
// be made. It does not know how an upgrade is done, nor who asks. It belongs to the owner goroutine.
type orders struct {
	policy *Policy

	home       *home
	dongle     *dongle
	slot       *headerSlot
	planner    *planner
	rights     *blockRights
	offers     *offers
	upgrades   *upgrades
	groups     *groups
	interviews *interviews
	keeper     *keeper
	outlet     *outlet

	autoAt time.Time // next look for upgrades that the policy wants
}

// beginAt is when the upgrade that is asked for may begin; the zero time stands for now. It is false where
// the request waits for a window and none is configured.
func (o *orders) beginAt(req UpgradeRequest, now time.Time) (time.Time, bool) {
	at := req.At
	if req.Window {
		if o.policy.Window == nil {
			return time.Time{}, false
		}
		at = o.policy.Window.Next(now)
	}
	if !at.After(now) {
		return time.Time{}, true
	}
	return at, true
}

// take takes a request for one device.
func (o *orders) take(d *device, req UpgradeRequest, respond Respond) {
	if u := d.active(); u != nil {
		o.release(d, u, req, respond)
		return
	}
	if why, ok := o.dongle.usable(); !ok && req.At.IsZero() {
		respond(fail(ServiceNotAvailable, o.offers.operation(d), "%s", why))
		return
	}
	if req.URL != "" {
		o.takeFromURL(d, req, respond)
		return
	}
	offered := o.offers.best(d.Device)
	if req.ImageVersion != nil {
		offered = o.offers.ofVersion(d.Device, *req.ImageVersion)
	}
	o.takeOffer(d, req, offered, respond)
}

// release has a device install the image that it has, where that is what a request for a device with an
// upgrade asks for. Any other request comes too early.
func (o *orders) release(d *device, u *upgrade.Upgrade, req UpgradeRequest, respond Respond) {
	op := operationOf(u, d.EUID(), d.CurrentVersion())
	if u.Stage() != upgrade.StageDownloaded || !req.installsHeld(u) {
		respond(failReason(upgrade.ReasonAlreadyQueued, op))
		return
	}
	if why, ok := o.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, op, "%s", why))
		return
	}
	o.upgrades.step(d, upgrade.Release{Ticket: req.Ticket}, time.Now())
	o.keeper.whenSaved(func() { respond(Answer{Status: InProgress, Operation: op}) })
}

// takeFromURL fetches the image that a request names, registers it for the device and goes on with it.
func (o *orders) takeFromURL(d *device, req UpgradeRequest, respond Respond) {
	op := d.operation(nil)
	op.URL = ptr(publicURL(req.URL))
	respond(Answer{Status: InProgress, Operation: op})
	fetch := library.Request{URL: req.URL, SHA256: req.SHA256, SHA512: req.SHA512, Force: req.Force}
	o.fetchFor(d, fetch, op, respond, func(image library.Image) {
		r := registration(image, publicURL(req.URL), "", o.offers.ownDriverVersion(d.Device, image))
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
		if err := o.offers.add(d.Device, r); err != nil {
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
	if offered == nil {
		a := failReason(upgrade.ReasonImageInfoNotFound, d.operation(nil))
		a.Error = o.offers.noImage(d.Device)
		if req.ImageVersion != nil && o.offers.best(d.Device) != nil {
			a.Error = fmt.Sprintf("no image of version 0x%08x is registered for this device",
				*req.ImageVersion)
		}
		respond(a)
		return
	}
	running := d.fileVersion()
	refused := running != nil && *running >= offered.ImageVersion && !req.Force
	if !d.VersionFresh() && o.dongle.connected && (!d.Sleepy() || refused) {
		respond(Answer{Status: InProgress, Operation: d.operation(offered)})
		o.interviews.check(d, func(error) { o.queue(d, req, *offered, respond) })
		return
	}
	o.queue(d, req, *offered, respond)
}

// queue queues the upgrade to an image, unless something speaks against it.
func (o *orders) queue(d *device, req UpgradeRequest, offered Offer, respond Respond) {
	op := d.operation(&offered)
	refuse := func(r upgrade.Reason) { respond(failReason(r, op)) }
	switch running := d.fileVersion(); {
	case !o.home.knows(d):
		respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
	case d.active() != nil:
		refuse(upgrade.ReasonAlreadyQueued)
	case !fits(d.Device, offered):
		a := failReason(upgrade.ReasonImageInfoNotFound, op)
		a.Error = o.offers.noImage(d.Device)
		respond(a)
	case running != nil && *running == offered.ImageVersion && !req.Force:
		refuse(upgrade.ReasonUpToDate)
	case running != nil && *running > offered.ImageVersion && !req.AllowDowngrade:
		refuse(upgrade.ReasonDowngradeRefused)
	case d.CalledInvalid(offered.SHA256) && !req.Force:
		refuse(upgrade.ReasonInvalidImage)
	case offered.candidate != nil: // fetched where needed; and it is not cleaned away now
		respond(Answer{Status: InProgress, Operation: op})
		o.offers.ensure(d.Device, offered, req.Force, op, respond, func(had Offer) {
			o.queue(d, req, had, respond)
		})
	default:
		u := o.upgrades.begin(d, &offered, req.order(), time.Now())
		answer := Answer{Status: InProgress, Operation: op, Error: o.warning(d, u)}
		o.keeper.whenSaved(func() { respond(answer) })
	}
}

// warning is what whoever asked for an upgrade should know of it in advance; empty where there is nothing.
func (o *orders) warning(d *device, u *upgrade.Upgrade) string {
	if holder := o.planner.withheldBy(d, time.Now()); holder != nil {
		return fmt.Sprintf("it waits until %s, which holds the same image back, has installed it",
			holder.Name())
	}
	if o.dongle.versionToOffer(d) != u.Image().ImageVersion {
		return "the outcome is uncertain: the dongle's firmware compares versions, " +
			"so the image is offered as a newer one, which many devices refuse once they have it"
	}
	return ""
}

// takeAll takes a request for every device for which an update is available.
func (o *orders) takeAll(req UpgradeRequest, respond Respond) {
	if why, ok := o.dongle.usable(); !ok && req.At.IsZero() {
		respond(fail(ServiceNotAvailable, nil, "%s", why))
		return
	}
	wanted := func(d *device, offered *Offer) bool {
		return updateAvailable(d, offered) && d.active() == nil
	}
	respond(Answer{Status: InProgress})
	o.ensureAll(wanted, func() {
		g := o.queueGroup(req, wanted, time.Now())
		o.upgrades.saveAtOnce()   // who asked has been told that it is being done
		o.upgrades.finishGroup(g) // it ends at once where there is nothing to do
	})
}

// ensureAll fetches the images that indexes have for the devices that wanted picks; then runs
// when each was tried.
func (o *orders) ensureAll(wanted func(*device, *Offer) bool, then func()) {
	missing := map[string]library.Candidate{}
	for _, d := range o.home.sorted() {
		if best := o.offers.best(d.Device); wanted(d, best) && best.candidate != nil {
			missing[best.candidate.Key()] = *best.candidate
		}
	}
	o.offers.ensureAll(missing, then)
}

// queueGroup queues the devices that wanted picks. With a canary the first device of each image goes ahead of
// the others.
func (o *orders) queueGroup(req UpgradeRequest, wanted func(*device, *Offer) bool, now time.Time) *group {
	g := o.groups.begin(req.Ticket)
	canaries := map[string]*device{}
	for _, d := range o.home.sorted() {
		offered := o.offers.best(d.Device)
		if !wanted(d, offered) {
			continue
		}
		if offered.SHA256 == "" {
			// Its image could not be fetched.
			o.groups.add(g, UpgradeResult{
				EUID: d.EUID(), State: upgrade.Failed, Reason: upgrade.ReasonImageInfoNotFound,
			})
			continue
		}
		order := req.order()
		order.Tickets = nil // the answer is the group's
		order.Group = g.ID
		if first := canaries[offered.SHA256]; first != nil && o.policy.Canary {
			order.Canary = first.EUID()
		} else if first == nil {
			canaries[offered.SHA256] = d
		}
		u := o.upgrades.begin(d, offered, order, now)
		o.groups.add(g, UpgradeResult{EUID: d.EUID(), State: u.State()})
	}
	return g
}

// autoInterval is how often the policy looks for devices to upgrade.
const autoInterval = time.Minute

// byPolicy begins what the policy "auto" wants: every device for which an update is available, in the window.
// An image that has failed on a device, or was cancelled, is left to people from then on.
func (o *orders) byPolicy(now time.Time) {
	if !o.policy.Auto || now.Before(o.autoAt) {
		return
	}
	o.autoAt = now.Add(autoInterval)
	if _, ok := o.dongle.usable(); !ok {
		return
	}
	if o.policy.Window != nil && o.policy.Window.Next(now).After(now) {
		return
	}
	wanted := func(d *device, offered *Offer) bool { return o.wantedByPolicy(d, offered, now) }
	wantedNow := func(d *device) bool { return wanted(d, o.offers.best(d.Device)) }
	if !slices.ContainsFunc(o.home.sorted(), wantedNow) {
		return
	}
	o.ensureAll(wanted, func() {
		o.upgrades.finishGroup(o.queueGroup(UpgradeRequest{}, wanted, time.Now()))
	})
}

// wantedByPolicy reports whether a device is to be upgraded without anybody having asked for it.
func (o *orders) wantedByPolicy(d *device, offered *Offer, now time.Time) bool {
	if offered == nil || d.CurrentVersion() == nil || !updateAvailable(d, offered) {
		return false
	}
	if o.offers.isUnavailable(offered, now) {
		return false
	}
	u := d.upgrade
	return u == nil || u.Ended() && u.Image().SHA256 != offered.SHA256
}

// serveUnsolicited gives an image to a device that asked without an upgrade, where that is configured: the
// loaded one, if that is the one it asked for.
func (o *orders) serveUnsolicited(d *device, req message.ImageBlockRequest, now time.Time) bool {
	im := o.slot.loaded()
	if !o.policy.ServeUnsolicited || d.active() != nil || im == nil {
		return false
	}
	h := im.header
	if h.ManufacturerCode != req.ManufacturerCode || h.ImageType != req.ImageType ||
		h.FileVersion != req.FileVersion {
		return false
	}
	offer := o.offers.registeredAs(im.sha256, d)
	if offer == nil {
		return false
	}
	o.upgrades.begin(d, offer, upgrade.Order{}, now)
	o.rights.admit(d, im)
	return true
}

// QueuedUpgrade is an upgrade that waits, at its place.
type QueuedUpgrade struct {
	EUID         message.IEEE
	State        upgrade.State
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
	s.owner.inbox.Post(func() { then(s.planner.queue(s.owner.now())) })
}
