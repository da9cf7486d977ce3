package otasvc

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
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
	// All means every device for which an update is available, and each of its OTA clients; Device,
	// ImageType, URL and ImageVersion are not looked at.
	All            bool
	ImageType      *uint16 // names an OTA client of the device; nil stands for the main one, or the URL's
	URL            string  // fetched and registered for the device first
	SHA256, SHA512 string  // hex; where given, must be the download's
	ImageVersion   *uint32 // nil stands for the newest that fits
	AllowDowngrade bool    // take an image that is older than what runs
	// Force takes an image of the version that runs, that failed a check, that is for other hardware
	// versions, or that the device called invalid.
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
	order := upgrade.Order{
		DueAt:        r.At,
		Installation: upgrade.Installation{When: r.Install, At: r.InstallAt},
		Forced:       r.Force,
	}
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

// deviceNow is a device, as one of its OTA clients, as far as it decides whether an upgrade of it is begun.
func (o *orders) deviceNow(c client) admission.Device {
	return admission.Device{
		Name:         c.device.Name(),
		Known:        o.home.knows(c.device),
		Upgrading:    c.device.active() != nil,
		Sleepy:       c.device.Sleepy(),
		Excluded:     excluded(c.device),
		Version:      c.fileVersion(),
		VersionFresh: c.ota.VersionFresh,
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

// refuse refuses a request for a device, as one of its OTA clients; offered is the image that was found for
// it, or nil. Where it is refused for that image or for the device, it is an upgrade that failed, and
// everybody is told.
func (o *orders) refuse(v admission.Verdict, c client, req UpgradeRequest, offered *Offer, respond Respond) {
	d := c.device
	a := Answer{Status: Failure, Reason: v.Reason, Operation: c.operation(offered), Error: v.Sentence}
	switch v.Cause {
	case admission.DongleUnusable:
		a.Status = ServiceNotAvailable
	case admission.DeviceForgotten:
		a.Status = DeviceNotFound
		a.Error = errDeviceForgotten.Error()
	case admission.NoImage:
		a.Error = o.offers.noImage(c)
	}
	if v.Cause == admission.NoImage || v.Reason == upgrade.ReasonUpToDate {
		a.Error += o.otherUpdates(c)
	}
	if offered == nil {
		a.Operation.ImageVersion = req.ImageVersion
	}
	if url := library.PublicURL(req.URL); offered == nil && url != "" {
		a.Operation.URL = &url
	}
	if d.active() != nil {
		a.Operation = o.offers.upgradeOperation(d)
	}
	if !v.Failed() || d.active() != nil || !o.home.knows(d) {
		respond(a)
		return
	}
	why := a.Error
	if len(req.Ticket) > 0 { // the final answer is owed as that of any upgrade
		a = Answer{Status: InProgress, Operation: a.Operation, Kept: true}
	}
	o.keeper.answer(a, respond) // before the final answer
	o.upgrades.refused(c, imageOf(c, offered, req), req.order(), v.Reason, why, o.now())
}

// imageOf is what is known of the image of a request that is refused: the image that was found, or else what
// the request says of it, and the image type where the OTA client is not the main one.
func imageOf(c client, offered *Offer, req UpgradeRequest) upgrade.Image {
	if offered != nil {
		return offered.image()
	}
	image := upgrade.Image{URL: library.PublicURL(req.URL), Missing: true, NoVersion: req.ImageVersion == nil}
	if req.ImageVersion != nil {
		image.ImageVersion = *req.ImageVersion
	}
	if !c.isMain() {
		image.ImageType = *c.ota.ImageType
	}
	return image
}

// notHad is the verdict on a request whose image could not be had.
func notHad(err error) admission.Verdict {
	v := admission.Verdict{Cause: admission.ForReason, Sentence: err.Error()}
	switch fetchStatus(err) {
	case ImageAccessFailed:
		v.Reason = upgrade.ReasonImageAccessFailed
	case ImageValidationFailed:
		v.Reason = upgrade.ReasonImageValidationFailed
	}
	return v
}

// otherUpdates says for a person which other images of a device have an update, where there is nothing to do
// for the main one; empty where none has.
func (o *orders) otherUpdates(c client) string {
	if !c.isMain() {
		return ""
	}
	var types []string
	for other := range clientsOf(c.device) {
		if !other.isMain() && isUpdate(other, o.offers.best(other)) {
			types = append(types, fmt.Sprintf("0x%04x", *other.ota.ImageType))
		}
	}
	if len(types) == 0 {
		return ""
	}
	return "; there is an update for other images of the device: give imageTypeId, one of " +
		strings.Join(types, ", ")
}

// take takes a request for one device. One that has its upgrade already, from before a restart, is not taken
// again; its answer is still owed where that has ended.
func (o *orders) take(d *device, req UpgradeRequest, respond Respond) {
	if u := d.upgrade; u != nil && hasTicket(u.Tickets(), req.Ticket) {
		respond(Answer{Status: InProgress, Operation: o.offers.upgradeOperation(d), Kept: true})
		return
	}
	now := o.deviceNow(mainClient(d))
	switch v := admission.Arrived(req.asked(), now, underway(d), o.dongleNow()); v.Action {
	case admission.Release:
		o.release(d, req, respond)
	case admission.Fetch:
		o.identify(d, req, respond, func(respond Respond) { o.takeFromURL(d, req, respond) })
	case admission.Choose:
		op := namedClient(d, req.ImageType).operation(nil)
		o.offers.whenRead(op, respond, func(respond Respond) {
			o.identify(d, req, respond, func(respond Respond) {
				c := namedClient(d, req.ImageType)
				o.takeOffer(c, req, o.chosen(c, req), respond)
			})
		})
	default:
		c := namedClient(d, req.ImageType)
		o.refuse(v, c, req, o.offers.best(c), respond)
	}
}

// identify goes on once a device that has not said all by which images are judged has said it, or was asked
// in vain, or cannot be asked now. That the request is under way is said at once, and then not once more.
func (o *orders) identify(d *device, req UpgradeRequest, respond Respond, then func(Respond)) {
	c := namedClient(d, req.ImageType)
	if !lacks(c) || !o.inventory.canAsk(d) {
		then(respond)
		return
	}
	respond(Answer{Status: InProgress, Operation: c.operation(nil)})
	o.inventory.await(d, func() { then(leavingOut(respond)) })
}

// leavingOut leaves the next answer out that says no more than that a request is under way. That the state
// has the request by now is more: who owes its final answer until then has to know.
func leavingOut(respond Respond) Respond {
	left := false
	return func(a Answer) {
		if a.Status == InProgress && a.Error == "" && !a.Kept && !left {
			left = true
			return
		}
		respond(a)
	}
}

// chosen is the image that a request without a URL means, or nil.
func (o *orders) chosen(c client, req UpgradeRequest) *Offer {
	if req.ImageVersion != nil {
		return o.offers.ofVersion(c, *req.ImageVersion, req.Force)
	}
	if best := o.offers.best(c); best != nil {
		return best
	}
	return o.offers.forOtherHardware(c)
}

// release has a device install the image that it has.
func (o *orders) release(d *device, req UpgradeRequest, respond Respond) {
	op := o.offers.upgradeOperation(d)
	o.upgrades.step(d, upgrade.Release{Ticket: req.Ticket}, o.now())
	answer := Answer{Status: InProgress, Operation: op, Kept: len(req.Ticket) > 0}
	o.keeper.answer(answer, respond)
}

// takeFromURL fetches the image that a request names, registers it for the device and goes on with it.
func (o *orders) takeFromURL(d *device, req UpgradeRequest, respond Respond) {
	op := namedClient(d, req.ImageType).operation(nil)
	op.URL = ptr(library.PublicURL(req.URL))
	respond(Answer{Status: InProgress, Operation: op})
	fetch := library.Request{
		URL:       req.URL,
		SHA256:    req.SHA256,
		SHA512:    req.SHA512,
		ImageType: req.ImageType,
		Force:     req.Force,
	}
	o.fetchFor(d, fetch, op, respond, func(image library.Image, err error) {
		if err != nil {
			o.refuse(notHad(err), namedClient(d, req.ImageType), req, nil, respond)
			return
		}
		version := o.offers.ownDriverVersion(d.Device, image)
		r := registration(image, library.PublicURL(req.URL), "", version, o.now())
		offered := offerOf(r, image)
		c := clientFor(d, offered.ImageType)
		if req.ImageType != nil {
			c = namedClient(d, req.ImageType)
		}
		v := admission.Fetched(req.asked(), o.deviceNow(c), admissionOffer(c, offered),
			offered.ManufacturerCode, offered.ImageType)
		if v.Action == admission.Refuse {
			o.refuse(v, c, req, &offered, respond)
			return
		}
		if err := o.offers.add(d, r); err != nil {
			respond(fail(Failure, c.operation(&offered), "%v", err))
			return
		}
		o.takeOffer(c, req, &offered, respond)
	})
}

// takeOffer goes on with the image that an OTA client would get, or without one where offered is nil.
func (o *orders) takeOffer(c client, req UpgradeRequest, offered *Offer, respond Respond) {
	others := offered == nil && req.ImageVersion != nil && o.offers.best(c) != nil
	offer := admissionOfferOf(c, offered)
	v := admission.Offered(req.asked(), o.deviceNow(c), o.dongleNow(), offer, others)
	switch {
	case offered == nil:
		o.refuse(v, c, req, nil, respond)
	case v.Action == admission.ReadVersion:
		respond(Answer{Status: InProgress, Operation: c.operation(offered)})
		o.interviews.check(c, func(error) {
			o.admit(c.now(), req, *offered, respond)
		})
	default:
		o.carryOut(v, c, req, *offered, respond)
	}
}

// admit queues the upgrade to an image, unless something speaks against it.
func (o *orders) admit(c client, req UpgradeRequest, offered Offer, respond Respond) {
	v := admission.Admit(req.asked(), o.deviceNow(c), admissionOffer(c, offered))
	o.carryOut(v, c, req, offered, respond)
}

// carryOut does what was decided about the upgrade to an image.
func (o *orders) carryOut(
	v admission.Verdict, c client, req UpgradeRequest, offered Offer, respond Respond,
) {
	op := c.operation(&offered)
	switch v.Action {
	case admission.Ensure:
		respond(Answer{Status: InProgress, Operation: op})
		o.offers.ensure(offered, req.Force, op, respond, func(had Offer, err error) {
			if err != nil {
				o.refuse(notHad(err), c, req, &offered, respond)
				return
			}
			o.admit(c.now(), req, had, respond)
		})
	case admission.Queue:
		u := o.upgrades.begin(c, &offered, req.order(), o.now())
		answer := Answer{
			Status:    InProgress,
			Operation: op,
			Error:     o.warning(c, u, offered),
			Kept:      len(req.Ticket) > 0,
		}
		o.keeper.answer(answer, respond)
	default:
		o.refuse(v, c, req, &offered, respond)
	}
}

// warning is what whoever asked for an upgrade should know of it in advance; empty where there is nothing.
func (o *orders) warning(c client, u *upgrade.Upgrade, offered Offer) string {
	d := c.device
	if holder := o.planner.withheldBy(d, o.now()); holder != nil {
		return fmt.Sprintf("it waits until %s, which holds the same image back, has installed it",
			holder.Name())
	}
	if o.dongle.versionToOffer(d) != u.Image().ImageVersion {
		return "the outcome is uncertain: the dongle's firmware compares versions, " +
			"so the image is offered as a newer one, which many devices refuse once they have it"
	}
	if why := u.HeldTooShort(); why != "" {
		return why
	}
	if f := d.Facts(); f.OtherServer != 0 {
		return f.AsksElsewhere()
	}
	if why, heard := judgeHardware(c, offered); !heard {
		return "nobody can tell whether the image is for this device: it " + why
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
		respond(Answer{Status: ServiceNotAvailable, Error: v.Sentence})
		return
	}
	wanted := func(c client, offered *Offer) bool {
		return admission.ForAll(o.memberNow(c), admissionOfferOf(c, offered))
	}
	queue := func(failed map[string]error) {
		g := o.queueGroup(req, wanted, failed, o.now())
		if len(req.Ticket) > 0 {
			o.keeper.answer(Answer{Status: InProgress, Kept: true}, respond)
		}
		o.upgrades.finishGroup(g) // it ends at once where there is nothing to do
	}
	o.offers.whenRead(nil, respond, func(respond Respond) {
		respond(Answer{Status: InProgress})
		o.identifyAll(func() { o.ensureAll(wanted, queue) })
	})
}

// memberNow is deviceNow for a request for all devices. Of a device that has an upgrade already, as another
// one of its OTA clients, the upgrade that is asked for follows.
func (o *orders) memberNow(c client) admission.Device {
	now := o.deviceNow(c)
	now.Upgrading = c.device.active() != nil && c.isUpgraded() || o.groups.waits(c)
	return now
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
		if lacks(mainClient(d)) && !inVain && !d.Sleepy() && o.inventory.canAsk(d) {
			open++
			o.inventory.await(d, done)
		}
	}
	done()
}

// ensureAll fetches the images that indexes have for the OTA clients that wanted picks; then runs when each
// was tried, with the errors of those that could not be had, by the candidates' keys.
func (o *orders) ensureAll(wanted func(client, *Offer) bool, then func(failed map[string]error)) {
	missing := map[string]library.Candidate{}
	for c := range clientsOf(o.home.sorted()...) {
		if best := o.offers.best(c); wanted(c, best) && best.candidate != nil {
			missing[best.candidate.Key()] = *best.candidate
		}
	}
	o.offers.ensureAll(missing, then)
}

// queueGroup queues upgrades of the OTA clients that wanted picks: of one device one after the other.
// failed has the errors of the images that could not be had: the upgrades to these have failed.
func (o *orders) queueGroup(
	req UpgradeRequest, wanted func(client, *Offer) bool, failed map[string]error, now time.Time,
) *group {
	order := req.order()
	g := o.groups.begin(req.Ticket, follow{
		DueAt:     order.DueAt,
		Install:   order.Installation.When,
		InstallAt: order.Installation.At,
		Forced:    order.Forced,
	})
	for c := range clientsOf(o.home.sorted()...) {
		offered := o.offers.best(c)
		if !wanted(c, offered) {
			continue
		}
		if offered.SHA256 == "" {
			o.refuseMember(g, c, offered, failed, now)
			continue
		}
		m := newMember(c, offered)
		if c.device.active() != nil {
			m.Waits = true
		} else {
			o.beginMember(g, &m, c, offered, now)
		}
		o.groups.add(g, m)
	}
	return g
}

// beginMember begins the upgrade of a member of a group.
func (o *orders) beginMember(g *group, m *member, c client, offered *Offer, now time.Time) {
	m.Waits = false
	m.State = o.upgrades.begin(c, offered, upgrade.Order{
		DueAt:        g.Follow.DueAt,
		Installation: upgrade.Installation{When: g.Follow.Install, At: g.Follow.InstallAt},
		Forced:       g.Follow.Forced,
		Group:        g.ID,
	}, now).State()
}

// beginWaiting begins the upgrades of groups that have waited for another one of their device to end.
func (o *orders) beginWaiting(now time.Time) {
	for g, m := range o.groups.waiting() {
		d := o.home.get(m.EUID)
		if d != nil && d.active() != nil {
			continue
		}
		if d == nil {
			m.end(upgrade.Cancelled, upgrade.ReasonCancelled)
		} else {
			o.beginFollowing(g, m, clientFor(d, *m.Image), now)
		}
		o.groups.changed()
		o.upgrades.finishGroup(g)
	}
}

// beginFollowing begins the upgrade of a member whose turn it is, if it is still one that all means.
func (o *orders) beginFollowing(g *group, m *member, c client, now time.Time) {
	offered := o.offers.best(c)
	offer := admissionOfferOf(c, offered)
	device := o.deviceNow(c)
	switch {
	case offer != nil && offered.SHA256 != "" && admission.ForAll(device, offer):
		o.beginMember(g, m, c, offered, now)
	case offer != nil && device.Version != nil && *device.Version >= offer.Version:
		m.end(upgrade.Succeeded, "") // it has got the image with the one before
	default:
		m.end(upgrade.Failed, upgrade.ReasonImageInfoNotFound)
	}
}

// refuseMember refuses the upgrade of an OTA client of a group whose image could not be had. Where that was
// told of it already, it is not told again: the policy tries again and again.
func (o *orders) refuseMember(
	g *group, c client, offered *Offer, failed map[string]error, now time.Time,
) {
	err := failed[offered.candidate.Key()]
	if err == nil {
		return // it was not tried: the device has only just come to want it
	}
	v := notHad(err)
	m := newMember(c, offered)
	m.end(upgrade.Failed, v.Reason)
	o.groups.add(g, m)
	o.upgrades.refusedOnce(c, offered.image(), upgrade.Order{}, v.Reason, v.Sentence, now)
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
	wanted := func(c client, offered *Offer) bool { return o.wantedByPolicy(c, offered, nil, now) }
	due := false
	for c := range clientsOf(o.home.sorted()...) {
		due = due || wanted(c, o.offers.best(c))
	}
	if !due {
		return
	}
	o.ensureAll(wanted, func(failed map[string]error) {
		tried := func(c client, offered *Offer) bool { return o.wantedByPolicy(c, offered, failed, o.now()) }
		o.upgrades.finishGroup(o.queueGroup(UpgradeRequest{}, tried, failed, o.now()))
	})
}

// wantedByPolicy reports whether a device is to be upgraded, as one of its OTA clients, without anybody
// having asked for it. An image that has failed just now is no reason to leave it alone: it is what is to be
// told.
func (o *orders) wantedByPolicy(c client, offered *Offer, failed map[string]error, now time.Time) bool {
	var before admission.Before
	if offered != nil {
		justNow := offered.candidate != nil && failed[offered.candidate.Key()] != nil
		before.Unfetched = !justNow && o.offers.isUnavailable(offered, now)
	}
	if offered != nil {
		before.Tried, before.Reason, before.EndedAt = c.tried(offered.SHA256)
	}
	if before.Tried {
		before.Returned = c.device.returnedAt
		before.DongleRefuses = o.dongle.acceptance.Holds()
		before.Proven = o.home.running()[firmwareIn(offered.image())]
	}
	return admission.ByPolicy(o.deviceNow(c), admissionOfferOf(c, offered), before, now)
}

// offeredUnasked is the loaded image where a device that asks for its blocks without an upgrade may have it;
// nil where that is not configured, or it asks for another one.
func (o *orders) offeredUnasked(d *device, req message.ImageBlockRequest) *Offer {
	im := o.slot.loaded()
	if !o.policy.ServeUnsolicited || d.active() != nil || excluded(d) || o.dongle.acceptance.Holds() {
		return nil
	}
	if !im.isFor(req.ManufacturerCode, req.ImageType) || im.header.FileVersion != req.FileVersion {
		return nil
	}
	return o.offers.registeredAs(im.sha256, d)
}

// beginUnasked begins the upgrade of a device to the loaded image, for whose blocks it asks already.
func (o *orders) beginUnasked(d *device, offer *Offer, now time.Time) {
	o.upgrades.begin(clientFor(d, offer.ImageType), offer, upgrade.Order{}, now)
	o.rights.admit(d, o.slot.loaded())
}
