package otasvc

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
	"github.com/zigate-ota/zigate-ota/otasvc/fetching"
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

// want is a request for an upgrade of one device, on its way through what decides about it.
type want struct {
	UpgradeRequest
	respond Respond
	// fetching is the upgrade that was begun when its image had to be fetched; nil where none was.
	fetching *upgrade.Upgrade
}

// isOver reports whether the upgrade whose image was being fetched for a request has ended meanwhile. Who
// asked for it has been answered then.
func (w *want) isOver(d *device) bool { return w.fetching != nil && d.active() != w.fetching }

// deviceNow is a device, as one of its OTA clients, as far as it decides whether an upgrade of it is begun.
// fetching is the upgrade about which that is to be decided once more, now that its image is there; nil where
// there is none yet.
func (o *orders) deviceNow(c client, fetching *upgrade.Upgrade) admission.Device {
	u := c.device.active()
	return admission.Device{
		Name:         c.device.Name(),
		Known:        o.home.knows(c.device),
		Upgrading:    u != nil && u != fetching,
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
func (o *orders) refuse(v admission.Verdict, c client, w want, offered *Offer) {
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
		a.Operation.ImageVersion = w.ImageVersion
	}
	if url := library.PublicURL(w.URL); offered == nil && url != "" {
		a.Operation.URL = &url
	}
	if w.fetching != nil {
		o.refuseFetching(v, c, w, offered, a)
		return
	}
	if d.active() != nil {
		a.Operation = o.offers.upgradeOperation(d)
	}
	if !v.Failed() || d.active() != nil || !o.home.knows(d) {
		w.respond(a)
		return
	}
	why := a.Error
	if w.isKept() { // the final answer is owed as that of any upgrade
		a = Answer{Status: InProgress, Operation: a.Operation, Kept: true}
	}
	o.keeper.answer(a, w.respond) // before the final answer
	o.upgrades.refused(c, imageOf(c, offered, w.UpgradeRequest), w.order(), v.Reason, why, o.now())
}

// refuseFetching ends an upgrade whose image was being fetched with an answer. Where it is refused for
// something else than its image or its device, it is as if it had never been begun.
func (o *orders) refuseFetching(v admission.Verdict, c client, w want, offered *Offer, a Answer) {
	if !w.isKept() { // else the answer comes as that of any upgrade
		o.keeper.answer(a, w.respond)
	}
	o.upgrades.step(c.device, upgrade.Refusal{
		Reason: v.Reason,
		Why:    a.Error,
		Image:  imageOf(c, offered, w.UpgradeRequest),
		Unseen: !v.Failed(),
	}, o.now())
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
	if u := d.upgrade; u != nil && hasTicket(u.Tickets(), req.Ticket) || d.beside.owes(req.Ticket) {
		respond(Answer{Status: InProgress, Operation: o.offers.upgradeOperation(d), Kept: true})
		return
	}
	w := want{UpgradeRequest: req, respond: respond}
	now := o.deviceNow(mainClient(d), nil)
	switch v := admission.Arrived(req.asked(), now, underway(d), o.dongleNow()); v.Action {
	case admission.Release:
		o.release(d, req, respond)
	case admission.Fetch:
		c := namedClient(d, req.ImageType)
		o.fetchFromURL(c, o.beginFetching(c, w, nil, ""))
	case admission.Choose:
		op := namedClient(d, req.ImageType).operation(nil)
		o.offers.whenRead(op, respond, func(respond Respond) {
			w.respond = respond
			o.choose(d, w)
		})
	default:
		c := namedClient(d, req.ImageType)
		o.refuse(v, c, w, o.offers.best(c))
	}
}

// choose goes on with the image of those that there are for a device, once that has said by what they are
// judged, or was asked in vain. That the request is under way is said at once, and then not once more. With a
// dongle that is not ready nobody knows when it can be asked, so a new request is judged by what is known.
func (o *orders) choose(d *device, w want) {
	c := namedClient(d, w.ImageType)
	if w.fetching == nil && o.inventory.hindered() {
		o.chooseNow(d, w)
		return
	}
	if w.fetching == nil && lacks(c) && o.inventory.canAsk(d) {
		w.respond(Answer{Status: InProgress, Operation: c.operation(nil)})
		w.respond = leavingOut(w.respond)
	}
	o.inventory.complete(c, func() { o.chooseOnceQuiet(d, w) })
}

// chooseOnceQuiet is choose for a device that may have said nothing because others download. Where what it
// has said by now will not do, the request waits until it can be asked, which may last. So it is kept and
// seen meanwhile, and can be cancelled.
func (o *orders) chooseOnceQuiet(d *device, w want) {
	c := namedClient(d, w.ImageType)
	if o.inventory.canAskLater(d) && lacks(c) && !o.isSettled(c, w.UpgradeRequest) {
		if w.fetching == nil {
			w = o.beginFetching(c, w, nil, d.Name()+" has not said yet who it is, and cannot be asked while "+
				"others download or the dongle is not ready; the request waits for that")
		}
		enough := func() bool { return o.isSettled(namedClient(d, w.ImageType), w.UpgradeRequest) }
		o.inventory.await(d, enough, func() { o.chooseNow(d, w) })
		return
	}
	o.chooseNow(d, w)
}

// chooseNow goes on with the image of those that there are for a device, as far as that is known by now. A
// request that the service does not get to any more is carried out by its next life.
func (o *orders) chooseNow(d *device, w want) {
	c := namedClient(d, w.ImageType)
	switch {
	case w.isOver(d):
	case o.offers.owner.stopping() && w.fetching != nil:
	case o.offers.owner.stopping():
		w.respond(fail(ServiceNotAvailable, c.operation(nil), "%v", errStopping))
	default:
		o.takeOffer(c, w, o.chosen(c, w.UpgradeRequest))
	}
}

// isSettled reports whether a request can be judged without what the device has not said yet.
func (o *orders) isSettled(c client, req UpgradeRequest) bool {
	offered := o.chosen(c, req)
	if offered == nil {
		return false
	}
	_, heard := judgeHardware(c, *offered)
	return heard
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
	answer := Answer{Status: InProgress, Operation: op, Kept: req.isKept()}
	o.keeper.answer(answer, respond)
}

// beginFetching begins the upgrade that is asked for, whose image has to be fetched first; offered is what is
// known of that, or nil. Who asked is told so once it is kept, with a hint where it takes more than that.
func (o *orders) beginFetching(c client, w want, offered *Offer, hint string) want {
	order := w.order()
	order.Fetch = w.fetch()
	image := imageOf(c, offered, w.UpgradeRequest)
	w.fetching = o.upgrades.beginFetching(c, image, order, o.now())
	o.keeper.answer(Answer{
		Status:    InProgress,
		Operation: o.fetchOperation(c, w, offered),
		Error:     hint,
		Kept:      w.isKept(),
	}, w.respond)
	return w
}

// fetch is what is kept of the request while its image is being fetched.
func (r *UpgradeRequest) fetch() *upgrade.Fetch {
	url := library.PublicURL(r.URL)
	return &upgrade.Fetch{
		URL:            url,
		Withheld:       url != r.URL,
		SHA256:         r.SHA256,
		SHA512:         r.SHA512,
		ImageType:      r.ImageType,
		ImageVersion:   r.ImageVersion,
		AllowDowngrade: r.AllowDowngrade,
	}
}

// isKept reports whether the final answer comes by the request's ticket, which the state has.
func (r *UpgradeRequest) isKept() bool { return len(r.Ticket) > 0 }

// fetchOperation is the operation record of an answer about an image that is fetched; offered is what is
// known of that, or nil.
func (o *orders) fetchOperation(c client, w want, offered *Offer) *Operation {
	op := c.operation(offered)
	if url := library.PublicURL(w.URL); offered == nil && url != "" {
		op.URL = &url
	}
	return op
}

// awaitImage returns somebody who waits for the image of a request: the upgrade shows how far it is, and then
// runs with it, or with the error. Where the service stops meanwhile, its next life goes on with the fetch.
func (o *orders) awaitImage(
	c client, w want, offered *Offer, then func(library.Image, error),
) fetching.Waiter {
	op := o.fetchOperation(c, w, offered)
	notice := o.offers.fetchNotices(*cmp.Or(op.URL, ptr("")), op, w.respond)
	return fetching.Waiter{
		Progress: func(done, total int64) {
			o.showProgress(c.device, w.fetching, done, total)
			notice(done, total)
		},
		Done: func(image library.Image, err error) {
			if w.isOver(c.device) || err != nil && o.offers.owner.stopping() {
				return
			}
			if why := misfit(c.device.Device, image); err == nil && why != "" {
				err = fmt.Errorf("%w: %s", library.ErrValidation, why)
			}
			then(image, err)
		},
	}
}

// showProgress has an upgrade show how much of its image's file is there.
func (o *orders) showProgress(d *device, u *upgrade.Upgrade, done, total int64) {
	o.upgrades.stepIf(d, u, upgrade.FileProgress{Done: bytesOf(done), Total: bytesOf(total)}, o.now())
}

// bytesOf is a number of bytes as it is told; 0 where it is not known.
func bytesOf(n int64) uint32 { return uint32(max(0, min(n, math.MaxUint32))) }

// fetchFromURL fetches the image that a request names, once the device has said by what it is judged.
func (o *orders) fetchFromURL(c client, w want) {
	d := c.device
	o.inventory.complete(c, func() {
		if w.isOver(d) {
			return
		}
		req := library.Request{
			URL:       w.URL,
			SHA256:    w.SHA256,
			SHA512:    w.SHA512,
			ImageType: w.ImageType,
			Force:     w.Force,
		}
		waiter := o.awaitImage(c, w, nil, func(image library.Image, err error) {
			o.takeFromURL(d, w, image, err)
		})
		o.upgrades.fetches[d] = o.offers.fetch(req, waiter)
	})
}

// takeFromURL registers the image that was fetched from the URL of a request for the device, and goes on with
// it.
func (o *orders) takeFromURL(d *device, w want, image library.Image, err error) {
	if err != nil {
		o.refuse(notHad(err), namedClient(d, w.ImageType), w, nil)
		return
	}
	version := o.offers.ownDriverVersion(d.Device, image)
	r := registration(image, library.PublicURL(w.URL), "", version, o.now())
	offered := offerOf(r, image)
	c := clientFor(d, offered.ImageType)
	if w.ImageType != nil {
		c = namedClient(d, w.ImageType)
	}
	v := admission.Fetched(w.asked(), o.deviceNow(c, w.fetching), admissionOffer(c, offered),
		offered.ManufacturerCode, offered.ImageType)
	if v.Action == admission.Refuse {
		o.refuse(v, c, w, &offered)
		return
	}
	if err := o.offers.add(d, r); err != nil {
		o.refuse(notHad(err), c, w, &offered)
		return
	}
	o.takeOffer(c, w, &offered)
}

// takeOffer goes on with the image that an OTA client would get, or without one where offered is nil.
func (o *orders) takeOffer(c client, w want, offered *Offer) {
	others := offered == nil && w.ImageVersion != nil && o.offers.best(c) != nil
	offer := admissionOfferOf(c, offered)
	v := admission.Offered(w.asked(), o.deviceNow(c, w.fetching), o.dongleNow(), offer, others)
	switch {
	case offered == nil:
		o.refuse(v, c, w, nil)
	case v.Action == admission.ReadVersion:
		if w.fetching == nil { // else that was said
			w.respond(Answer{Status: InProgress, Operation: c.operation(offered)})
		}
		o.interviews.check(c, func(error) {
			if !w.isOver(c.device) {
				o.admit(c.now(), w, *offered)
			}
		})
	default:
		o.carryOut(v, c, w, *offered)
	}
}

// admit queues the upgrade to an image, unless something speaks against it.
func (o *orders) admit(c client, w want, offered Offer) {
	v := admission.Admit(w.asked(), o.deviceNow(c, w.fetching), admissionOffer(c, offered))
	o.carryOut(v, c, w, offered)
}

// carryOut does what was decided about the upgrade to an image.
func (o *orders) carryOut(v admission.Verdict, c client, w want, offered Offer) {
	switch v.Action {
	case admission.Ensure:
		if w.fetching == nil {
			w = o.beginFetching(c, w, &offered, "")
		}
		waiter := o.awaitImage(c, w, &offered, func(image library.Image, err error) {
			if err != nil {
				o.refuse(notHad(err), c, w, &offered)
				return
			}
			o.admit(c.now(), w, offered.had(image))
		})
		o.upgrades.fetches[c.device] = o.offers.ensure(&offered, w.Force, false, waiter)
	case admission.Queue:
		o.queue(c, w, offered)
	default:
		o.refuse(v, c, w, &offered)
	}
}

// queue queues the upgrade to an image, which is there.
func (o *orders) queue(c client, w want, offered Offer) {
	var u *upgrade.Upgrade
	if w.fetching != nil {
		u = o.upgrades.fetched(c, &offered, o.now())
	} else {
		u = o.upgrades.begin(c, &offered, w.order(), o.now())
	}
	answer := Answer{
		Status:    InProgress,
		Operation: c.operation(&offered),
		Error:     o.warning(c, u, offered),
		Kept:      w.isKept(),
	}
	o.keeper.answer(answer, w.respond)
}

// goOnFetching goes on with an upgrade of a device whose image was being fetched when an earlier life of the
// service ended. Who asked has been told that it is under way, and is answered by its tickets.
func (o *orders) goOnFetching(d *device, u *upgrade.Upgrade) {
	if d.active() != u {
		return
	}
	fetch := u.Fetch()
	if fetch == nil || fetch.Added { // who adds the image begins anew
		o.upgrades.step(d, upgrade.Refusal{Image: u.Image(), Unseen: true}, o.now())
		return
	}
	c := upgradedClient(d)
	w := want{UpgradeRequest: requestOf(u), respond: func(Answer) {}, fetching: u}
	switch {
	case fetch.Withheld:
		o.refuse(notHad(library.ErrWithheld), c, w, nil)
	case fetch.URL != "":
		o.fetchFromURL(c, w)
	default:
		o.offers.reading.pass(func() { o.goOnFetchingListed(d, w) })
	}
}

// goOnFetchingListed is goOnFetching for an image that was chosen of those that there are for the device.
func (o *orders) goOnFetchingListed(d *device, w want) {
	switch c := upgradedClient(d); {
	case w.isOver(d), o.offers.owner.stopping():
	case w.fetching.Group() != 0:
		o.fetchMember(c, w.fetching, o.offers.best(c))
	default:
		o.choose(d, w)
	}
}

// requestOf is the request for an upgrade whose image is being fetched, as far as it is kept.
func requestOf(u *upgrade.Upgrade) UpgradeRequest {
	fetch := u.Fetch()
	r := UpgradeRequest{
		ImageType:      fetch.ImageType,
		URL:            fetch.URL,
		SHA256:         fetch.SHA256,
		SHA512:         fetch.SHA512,
		ImageVersion:   fetch.ImageVersion,
		AllowDowngrade: fetch.AllowDowngrade,
		Force:          u.Forced(),
		At:             u.DueAt(),
	}
	if tickets := u.Tickets(); len(tickets) > 0 {
		r.Ticket = tickets[0]
	}
	return r
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
