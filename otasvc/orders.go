package otasvc

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
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
		at, ok := admission.BeginAt(req.At, req.Window, s.orders.policy.Window, s.owner.now())
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
	order := upgrade.Order{DueAt: r.At, Install: r.Install, InstallAt: r.InstallAt, Forced: r.Force}
	if len(r.Ticket) > 0 {
		order.Tickets = []upgrade.Ticket{r.Ticket}
	}
	return order
}

// asked is what a request asks for, as far as that decides whether an upgrade is begun.
func (r *UpgradeRequest) asked() admission.Request {
	return admission.Request{
		AtOnce:         r.At.IsZero(),
		InstallNow:     r.Install == upgrade.InstallNow,
		FromURL:        r.URL != "",
		Version:        r.ImageVersion,
		AllowDowngrade: r.AllowDowngrade,
		Force:          r.Force,
	}
}

// orders takes requests for upgrades and images, and what the policy wants, shows package admission how
// things stand, and has what that decides done. It decides nothing itself, and does not know how an upgrade
// is done, nor who asks. It belongs to the owner goroutine.
type orders struct {
	policy *Policy
	now    func() time.Time

	home       *home
	dongle     *dongle
	slot       *headerSlot
	planner    *planner
	rights     *blockRights
	offers     *offers
	upgrades   *upgrades
	groups     *groups
	interviews *interviews
	inventory  *inventory
	keeper     *keeper
	outlet     *outlet

	autoAt time.Time // next look for upgrades that the policy wants
}

// deviceNow is a device as far as it decides whether an upgrade of it is begun.
func (o *orders) deviceNow(d *device) admission.Device {
	return admission.Device{
		Name:         d.Name(),
		Known:        o.home.knows(d),
		Upgrading:    d.active() != nil,
		Sleepy:       d.Sleepy(),
		Excluded:     excluded(d),
		Version:      d.fileVersion(),
		VersionFresh: d.Facts().Heard.VersionFresh,
	}
}

// excluded reports whether a person has excluded a device from upgrades.
func excluded(d *device) bool {
	set := d.Settings()
	return set.Excludes()
}

// dongleNow is the dongle as far as it decides whether an upgrade is begun.
func (o *orders) dongleNow() admission.Dongle {
	why, _ := o.dongle.usable()
	return admission.Dongle{
		Connected: o.dongle.connected,
		For:       o.now().Sub(o.dongle.connectedAt),
		Trouble:   why,
	}
}

// underway is the upgrade that a device has already, or nil.
func underway(d *device) *admission.Underway {
	u := d.active()
	if u == nil {
		return nil
	}
	return &admission.Underway{
		Downloaded: u.Stage() == upgrade.StageDownloaded,
		Version:    u.Image().ImageVersion,
	}
}

// refusal is the answer with which a request for a device is refused.
func (o *orders) refusal(v admission.Verdict, d *device, op *Operation) Answer {
	a := Answer{Status: Failure, Reason: v.Reason, Operation: op, Error: v.Sentence}
	switch v.Cause {
	case admission.DongleUnusable:
		a.Status = ServiceNotAvailable
	case admission.DeviceForgotten:
		a.Status = DeviceNotFound
		a.Error = errDeviceForgotten.Error()
	case admission.WrongImage:
		a.Status = ImageValidationFailed
	case admission.NoImage:
		a.Error = o.offers.noImage(d.Device)
	}
	return a
}

// take takes a request for one device. One that has its upgrade already, from before a restart, is not taken
// again.
func (o *orders) take(d *device, req UpgradeRequest, respond Respond) {
	if u := d.active(); u != nil && hasTicket(u.Tickets(), req.Ticket) {
		respond(Answer{Status: InProgress, Operation: o.offers.upgradeOperation(d), Kept: true})
		return
	}
	switch v := admission.Arrived(req.asked(), o.deviceNow(d), underway(d), o.dongleNow()); v.Action {
	case admission.Release:
		o.release(d, req, respond)
	case admission.Fetch:
		o.identify(d, respond, func() { o.takeFromURL(d, req, respond) })
	case admission.Choose:
		o.identify(d, respond, func() { o.choose(d, req, respond) })
	default:
		respond(o.refusal(v, d, o.offers.upgradeOperation(d)))
	}
}

// identify goes on once a device that has not said all by which images are judged has said it, or was asked
// in vain, or cannot be asked now.
func (o *orders) identify(d *device, respond Respond, then func()) {
	if lacks(d) && o.inventory.canAsk(d) {
		respond(Answer{Status: InProgress, Operation: d.operation(nil)})
	}
	o.inventory.complete(d, then)
}

// choose goes on with the image that a request means, of those that there are for a device.
func (o *orders) choose(d *device, req UpgradeRequest, respond Respond) {
	offered := o.offers.best(d.Device)
	if req.ImageVersion != nil {
		offered = o.offers.ofVersion(d.Device, *req.ImageVersion)
	}
	o.takeOffer(d, req, offered, respond)
}

// release has a device install the image that it has.
func (o *orders) release(d *device, req UpgradeRequest, respond Respond) {
	op := o.offers.upgradeOperation(d)
	o.upgrades.step(d, upgrade.Release{Ticket: req.Ticket}, o.now())
	answer := Answer{Status: InProgress, Operation: op, Kept: len(req.Ticket) > 0}
	o.keeper.whenSaved(func() { respond(answer) })
}

// takeFromURL fetches the image that a request names, registers it for the device and goes on with it.
func (o *orders) takeFromURL(d *device, req UpgradeRequest, respond Respond) {
	op := d.operation(nil)
	op.URL = ptr(library.PublicURL(req.URL))
	respond(Answer{Status: InProgress, Operation: op})
	fetch := library.Request{URL: req.URL, SHA256: req.SHA256, SHA512: req.SHA512, Force: req.Force}
	o.fetchFor(d, fetch, op, respond, func(image library.Image) {
		version := o.offers.ownDriverVersion(d.Device, image)
		r := registration(image, library.PublicURL(req.URL), "", version, o.now())
		offered := offerOf(r, image)
		v := admission.Fetched(req.asked(), o.deviceNow(d), admissionOffer(d.Device, offered),
			offered.ManufacturerCode, offered.ImageType)
		if v.Action == admission.Refuse {
			respond(o.refusal(v, d, d.operation(&offered)))
			return
		}
		if err := o.offers.add(d.Device, r); err != nil {
			respond(fail(Failure, d.operation(&offered), "%v", err))
			return
		}
		o.takeOffer(d, req, &offered, respond)
	})
}

// takeOffer goes on with the image that a device would get, or without one where offered is nil.
func (o *orders) takeOffer(d *device, req UpgradeRequest, offered *Offer, respond Respond) {
	others := offered == nil && req.ImageVersion != nil && o.offers.best(d.Device) != nil
	offer := admissionOfferOf(d.Device, offered)
	v := admission.Offered(req.asked(), o.deviceNow(d), o.dongleNow(), offer, others)
	switch {
	case offered == nil:
		respond(o.refusal(v, d, d.operation(nil)))
	case v.Action == admission.ReadVersion:
		respond(Answer{Status: InProgress, Operation: d.operation(offered)})
		o.interviews.check(d, func(error) { o.admit(d, req, *offered, respond) })
	default:
		o.carryOut(v, d, req, *offered, respond)
	}
}

// admit queues the upgrade to an image, unless something speaks against it.
func (o *orders) admit(d *device, req UpgradeRequest, offered Offer, respond Respond) {
	v := admission.Admit(req.asked(), o.deviceNow(d), admissionOffer(d.Device, offered))
	o.carryOut(v, d, req, offered, respond)
}

// carryOut does what was decided about the upgrade to an image.
func (o *orders) carryOut(
	v admission.Verdict, d *device, req UpgradeRequest, offered Offer, respond Respond,
) {
	op := d.operation(&offered)
	switch v.Action {
	case admission.Ensure:
		respond(Answer{Status: InProgress, Operation: op})
		o.offers.ensure(d.Device, offered, req.Force, op, respond, func(had Offer) {
			o.admit(d, req, had, respond)
		})
	case admission.Queue:
		u := o.upgrades.begin(d, &offered, req.order(), o.now())
		answer := Answer{Status: InProgress, Operation: op, Error: o.warning(d, u), Kept: len(req.Ticket) > 0}
		o.keeper.whenSaved(func() { respond(answer) })
	default:
		respond(o.refusal(v, d, op))
	}
}

// warning is what whoever asked for an upgrade should know of it in advance; empty where there is nothing.
func (o *orders) warning(d *device, u *upgrade.Upgrade) string {
	if holder := o.planner.withheldBy(d, o.now()); holder != nil {
		return fmt.Sprintf("it waits until %s, which holds the same image back, has installed it",
			holder.Name())
	}
	if o.dongle.versionToOffer(d) != u.Image().ImageVersion {
		return "the outcome is uncertain: the dongle's firmware compares versions, " +
			"so the image is offered as a newer one, which many devices refuse once they have it"
	}
	return ""
}

// hasTicket reports whether a ticket, which is not empty, is among others.
func hasTicket(tickets []upgrade.Ticket, ticket upgrade.Ticket) bool {
	same := func(other upgrade.Ticket) bool { return bytes.Equal(other, ticket) }
	return len(ticket) > 0 && slices.ContainsFunc(tickets, same)
}

// takeAll takes a request for every device for which an update is available. One that has its upgrades
// already, from before a restart, is not taken again.
func (o *orders) takeAll(req UpgradeRequest, respond Respond) {
	if o.groups.hasTicket(req.Ticket) {
		respond(Answer{Status: InProgress, Kept: true})
		return
	}
	if v := admission.ArrivedForAll(req.asked(), o.dongleNow()); v.Action == admission.Refuse {
		respond(o.refusal(v, nil, nil))
		return
	}
	wanted := func(d *device, offered *Offer) bool {
		return admission.ForAll(o.deviceNow(d), admissionOfferOf(d.Device, offered))
	}
	respond(Answer{Status: InProgress})
	o.identifyAll(func() {
		o.ensureAll(wanted, func() {
			g := o.queueGroup(req, wanted, o.now())
			if len(req.Ticket) > 0 {
				o.keeper.whenSaved(func() { respond(Answer{Status: InProgress, Kept: true}) })
			}
			o.upgrades.finishGroup(g) // it ends at once where there is nothing to do
		})
	})
}

// identifyAll goes on once every device that has not said all by which images are judged has said it, or was
// asked in vain. One that sleeps is left alone, and so is one that was asked in vain before.
func (o *orders) identifyAll(then func()) {
	open := 1
	done := func() {
		if open--; open == 0 {
			then()
		}
	}
	for _, d := range o.home.sorted() {
		inVain := o.inventory.list.InVain(d.EUID()) >= inVainEnough
		if lacks(d) && !inVain && !d.Sleepy() && o.inventory.canAsk(d) {
			open++
			o.inventory.await(d, done)
		}
	}
	done()
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

// queueGroup queues the devices that wanted picks.
func (o *orders) queueGroup(req UpgradeRequest, wanted func(*device, *Offer) bool, now time.Time) *group {
	g := o.groups.begin(req.Ticket)
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
		u := o.upgrades.begin(d, offered, order, now)
		o.groups.add(g, UpgradeResult{EUID: d.EUID(), State: u.State()})
	}
	return g
}

// autoInterval is how often the policy looks for devices to upgrade.
const autoInterval = time.Minute

// autoSoon is when it looks again where it may not begin yet.
const autoSoon = 10 * time.Second

// byPolicy begins what the policy "auto" wants: every device for which an update is available, in the window.
// A device that failed for a reason of its own is tried again after a day, or when it is back; an image that
// it refused, or whose upgrade was cancelled, is left to people.
func (o *orders) byPolicy(now time.Time) {
	if !o.policy.Auto || now.Before(o.autoAt) {
		return
	}
	o.autoAt = now.Add(autoInterval)
	if !admission.PolicyActs(o.dongleNow(), o.policy.Window, now) {
		o.autoAt = now.Add(autoSoon)
		return
	}
	wanted := func(d *device, offered *Offer) bool { return o.wantedByPolicy(d, offered, now) }
	wantedNow := func(d *device) bool { return wanted(d, o.offers.best(d.Device)) }
	if !slices.ContainsFunc(o.home.sorted(), wantedNow) {
		return
	}
	o.ensureAll(wanted, func() {
		o.upgrades.finishGroup(o.queueGroup(UpgradeRequest{}, wanted, o.now()))
	})
}

// wantedByPolicy reports whether a device is to be upgraded without anybody having asked for it.
func (o *orders) wantedByPolicy(d *device, offered *Offer, now time.Time) bool {
	var before admission.Before
	if offered != nil {
		before.Unfetched = o.offers.isUnavailable(offered, now)
	}
	if u := d.upgrade; offered != nil && u != nil && u.Image().SHA256 == offered.SHA256 {
		before.Tried = true
		before.Reason = u.Reason()
		before.EndedAt = u.EndedAt()
		before.Returned = d.moments.returned
		before.Proven = o.home.running()[firmwareOf(u)]
	}
	return admission.ByPolicy(o.deviceNow(d), admissionOfferOf(d.Device, offered), before, now)
}

// offeredUnasked is the loaded image where a device that asks for its blocks without an upgrade may have it;
// nil where that is not configured, or it asks for another one.
func (o *orders) offeredUnasked(d *device, req message.ImageBlockRequest) *Offer {
	im := o.slot.loaded()
	if !o.policy.ServeUnsolicited || d.active() != nil || excluded(d) {
		return nil
	}
	if !im.isFor(req.ManufacturerCode, req.ImageType) || im.header.FileVersion != req.FileVersion {
		return nil
	}
	return o.offers.registeredAs(im.sha256, d)
}

// beginUnasked begins the upgrade of a device to the loaded image, for whose blocks it asks already.
func (o *orders) beginUnasked(d *device, offer *Offer, now time.Time) {
	o.upgrades.begin(d, offer, upgrade.Order{}, now)
	o.rights.admit(d, o.slot.loaded())
}
