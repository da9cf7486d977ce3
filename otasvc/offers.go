package otasvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
	"github.com/zigate-ota/zigate-ota/otasvc/fetching"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// offers knows which images there are for a device: those registered for it, and those that the image folder
// and the indexes have. It does not know what is done with them.
type offers struct {
	owner    *owner
	images   ImageStore
	fetches  *fetching.Fetches
	catalog  Catalog // nil where only registered images are known
	observer Observer
	outlet   *outlet
	log      *slog.Logger

	// reading holds requests back while the image folder and the indexes are read for the first time.
	reading requestGate

	registrations library.Registry
	// revision counts changes of what devices would get; registered counts changes of the registrations
	// alone.
	revision   uint64
	registered uint64
	// unavailable is when images that indexes list could not be had, by the candidate's key.
	unavailable map[string]time.Time
	sweepAt     time.Time // next clean-up of the image store
	fetched     int       // images since the last one
	prefetch    prefetch
}

// readingTimeout is how long requests wait, after the start, for the image folder and the indexes to be read.
const readingTimeout = time.Minute

// whenRead goes on once what there is can be known: right after the start the image folder and the indexes
// are still being read, and the newest image, or the only one, may be in what has not been. Who waits is told
// so; that the request is under way is not said once more. Who still waits when the service stops is answered
// that it does.
func (o *offers) whenRead(op *Operation, respond Respond, then func(Respond)) {
	if o.reading.opened {
		then(respond)
		return
	}
	respond(Answer{
		Status:    InProgress,
		Operation: op,
		Error:     "the image folder and the indexes are still being read; the request waits for that",
	})
	o.reading.pass(func() {
		if o.owner.stopping() {
			respond(fail(ServiceNotAvailable, op, "%v", errStopping))
			return
		}
		then(leavingOut(respond))
	})
}

// changed notes that what the devices would get may be another image now.
func (o *offers) changed() { o.revision++ }

// registrationsChanged notes that other images are registered.
func (o *offers) registrationsChanged() {
	o.registered++
	o.changed()
}

// forDevice lists the images registered for a device that are for its kind, highest version first, whatever
// hardware versions they are for. A device whose identity is not known yet takes the images that were
// registered for it by name.
func (o *offers) forDevice(c client) []Offer {
	var fit []Offer
	for _, r := range o.registrations.For(c.euid().String()) {
		image, ok := o.images.Image(r.SHA256)
		if !ok {
			continue
		}
		offer := offerOf(r, image)
		if !fits(c, offer) {
			continue
		}
		if why, heard := judgeHardware(c, offer); !heard {
			offer.warn("It is installed only when you say so: it " + why + ".")
		}
		fit = append(fit, offer)
	}
	slices.SortStableFunc(fit, func(a, b Offer) int { return -cmp.Compare(a.ImageVersion, b.ImageVersion) })
	return fit
}

// best is the image that a device would get now, or nil: the newest of those registered for it and of the one
// that the image folder and the indexes have for it; the registered one where they are equally new.
func (o *offers) best(c client) *Offer {
	var best *Offer
	for _, registered := range o.forDevice(c) {
		// One that is installed over any version is for those who name it.
		if registered.ImageVersion != wildcard32 && wrongHardware(c, registered) == "" {
			best = &registered
			break
		}
	}
	if dev, ok := o.catalogued(c); ok {
		if c, ok := o.catalog.Best(dev); ok && (best == nil || c.FileVersion > best.ImageVersion) {
			found := offerFrom(c)
			best = &found
		}
	}
	return best
}

// ofVersion is the image of one version for a device, or nil. Where there is none that fits, it is one that
// only its hardware limits keep from the device, so that it can be told what is wrong with it; with force
// also one whose limits nobody can judge yet.
func (o *offers) ofVersion(c client, version uint32, force bool) *Offer {
	registered := o.forDevice(c)
	for _, offer := range registered {
		if offer.ImageVersion == version && wrongHardware(c, offer) == "" {
			return &offer
		}
	}
	dev, catalogued := o.catalogued(c)
	if catalogued {
		if offer := ofVersionIn(o.catalog.All(dev), version); offer != nil {
			return offer
		}
	}
	for _, offer := range registered {
		if offer.ImageVersion == version {
			return &offer
		}
	}
	if !catalogued {
		return nil
	}
	dev.AnyHardware = true
	offer := ofVersionIn(o.catalog.All(dev), version)
	if offer == nil || !force && wrongHardware(c, *offer) == "" {
		return nil
	}
	return offer
}

// ofVersionIn is the image of one version among those that the catalog has, or nil.
func ofVersionIn(all []library.Candidate, version uint32) *Offer {
	for _, c := range all {
		if c.FileVersion == version {
			offer := offerFrom(c)
			return &offer
		}
	}
	return nil
}

// forOtherHardware is the newest image registered for a device that only its hardware limits keep from it, or
// nil. Somebody has chosen it for this very device, so that it is to be told, and can be forced.
func (o *offers) forOtherHardware(c client) *Offer {
	for _, offer := range o.forDevice(c) {
		if offer.ImageVersion != wildcard32 && wrongHardware(c, offer) != "" {
			return &offer
		}
	}
	return nil
}

// catalogued is what the catalog matches a device with. It is false where there is no catalog, and while the
// device has not told what its OTA client is.
func (o *offers) catalogued(c client) (library.Device, bool) {
	if o.catalog == nil {
		return library.Device{}, false
	}
	f := c.facts()
	return f.Catalogued()
}

// operation is the operation record of the image that an OTA client would get.
func (o *offers) operation(c client) *Operation { return c.operation(o.best(c)) }

// upgradeOperation is the operation record of the upgrade under way, or of the image the device would get.
func (o *offers) upgradeOperation(d *device) *Operation {
	if u := d.active(); u != nil {
		return operationAbout(d, u)
	}
	return o.operation(mainClient(d))
}

// noImage says why no image fits a device.
func (o *offers) noImage(c client) string {
	f := c.facts()
	for _, r := range o.registrations.For(c.euid().String()) {
		image, ok := o.images.Image(r.SHA256)
		if !ok {
			return "the registered image is missing from the store; add it again"
		}
		offer := offerOf(r, image)
		if isOfAnother(c, offer) && !fits(c, offer) {
			continue
		}
		if !fits(c, offer) {
			if f.ManufacturerCode == nil || f.ImageType == nil {
				return "the device " + notSaid + "; it is not known whether the registered image is for it"
			}
			return fmt.Sprintf("the registered image is for manufacturer 0x%04x and image type 0x%04x, "+
				"the device asks for others", offer.ManufacturerCode, offer.ImageType)
		}
		if why := wrongHardware(c, offer); why != "" {
			return "the registered " + why + admission.ForceIt
		}
	}
	dev, told := f.Catalogued()
	switch {
	case !told:
		return "no image is registered for this device, and it " + notSaid + ", so none can be looked for; " +
			"wake it or see that it is in reach, and ask for an interview, or add an image with add_image"
	case o.catalog != nil:
		if err := o.catalog.Explain(dev); err != nil {
			return "no image is registered for this device, and " + err.Error() + "; add one with add_image"
		}
	}
	return "no image is registered for this device; add one with add_image"
}

// notSaid is what a device has not done of which it is not known which images it takes.
const notSaid = "has not said yet which manufacturer code and image type it has"

// isOfAnother reports whether an image is for another one of the device's OTA clients.
func isOfAnother(c client, o Offer) bool {
	other := clientFor(c.device, o.ImageType)
	return is(other.ota.ImageType, o.ImageType) && !other.ota.Same(&c.ota)
}

// add enters an image for a device. Upgrades that have begun keep the image they began with.
func (o *offers) add(d *device, r library.Registration) error {
	changed, _, err := o.registrations.Add(d.EUID().String(), r)
	if err != nil || !changed {
		return err
	}
	o.registrationsChanged()
	event := eventOf(EventImageAdded, d, r)
	event.Size = &r.Size
	o.outlet.happened(event)
	return nil
}

// remove takes back the images of a type that are registered for a device, and returns them: it may have some
// from more than one driver. The one that was added last comes first.
func (o *offers) remove(d *registry.Device, imageType uint16) (removed []library.Registration) {
	for {
		r, ok := o.registrations.Remove(d.EUID().String(), imageType)
		if !ok {
			return removed
		}
		removed = append(removed, r)
		o.registrationsChanged()
	}
}

// eventOf is an event about a registration of a device.
func eventOf(name EventName, d *device, r library.Registration) Event {
	return Event{
		Name:             name,
		EUID:             d.EUID(),
		ManufacturerCode: &r.ManufacturerCode,
		ImageType:        &r.ImageType,
		ImageVersion:     &r.ImageVersion,
		OldImageVersion:  clientFor(d, r.ImageType).ota.CurrentVersion,
	}
}

// forget drops a device from all registrations.
func (o *offers) forget(d *registry.Device) {
	if _, changed := o.registrations.Forget(d.EUID().String()); changed {
		o.registrationsChanged()
	}
}

// ownDriverVersion is the driver version of the image that is registered in the place of this one, for the
// device alone; 0 where none is. Who names a URL for an upgrade has no driver whose version could be too low.
func (o *offers) ownDriverVersion(d *registry.Device, image library.Image) uint32 {
	h := &image.Header
	for _, r := range o.registrations.For(d.EUID().String()) {
		if r.DriverTypeID == "" && r.ManufacturerCode == h.ManufacturerCode && r.ImageType == h.ImageType {
			return r.DriverVersion
		}
	}
	return 0
}

// registeredAs is the registered image with a digest that is an update for a device, or nil.
func (o *offers) registeredAs(sha256 string, d *device) *Offer {
	for _, r := range o.registrations.All() {
		image, ok := o.images.Image(r.SHA256)
		offer := offerOf(r, image)
		c := clientFor(d, r.ImageType)
		mayHave := fits(c, offer) && wrongHardware(c, offer) == ""
		if ok && offer.SHA256 == sha256 && mayHave && isUpdate(c, &offer) {
			return &offer
		}
	}
	return nil
}

// list is the registered images by key.
func (o *offers) list() []RegisteredImage {
	var list []RegisteredImage
	for _, r := range o.registrations.All() {
		image, stored := o.images.Image(r.SHA256)
		ri := RegisteredImage{Offer: offerOf(r, image), AddedAt: r.AddedAt}
		if stored {
			ri.Stored = &image
		}
		for _, euid := range r.Devices {
			if e, err := message.ParseIEEE(euid); err == nil {
				ri.Devices = append(ri.Devices, e)
			}
		}
		list = append(list, ri)
	}
	slices.SortStableFunc(list, func(x, y RegisteredImage) int {
		a := &x.Offer
		b := &y.Offer
		return cmp.Or(
			cmp.Compare(a.DriverTypeID, b.DriverTypeID), cmp.Compare(a.ManufacturerCode, b.ManufacturerCode),
			cmp.Compare(a.ImageType, b.ImageType), cmp.Compare(a.ImageVersion, b.ImageVersion),
			cmp.Compare(a.SHA256, b.SHA256),
		)
	})
	return list
}

// fetch has the image at a URL fetched for somebody.
func (o *offers) fetch(req library.Request, w fetching.Waiter) *fetching.Waiting {
	return o.fetches.Wait(fetching.Image{
		Key: urlKey(&req),
		Get: func(ctx context.Context, progress func(done, total int64)) (library.Image, error) {
			req.Progress = progress
			return o.images.Fetch(ctx, req)
		},
		Ended: o.noteFetched,
	}, w)
}

// urlKey is the same for requests that are answered by the same fetch.
func urlKey(req *library.Request) string {
	text := func(code *uint16) string {
		if code == nil {
			return ""
		}
		return fmt.Sprint(*code)
	}
	return fmt.Sprintf("url %q %s %s %s %s %v",
		req.URL, req.SHA256, req.SHA512, text(req.ManufacturerCode), text(req.ImageType), req.Force)
}

// ensure has the image of an offer that the catalog has fetched for somebody, unless it is there. Its header,
// which may limit it further, is known only then. With force a failed check is no obstacle. many says that it
// is one of many that are wanted at once.
func (o *offers) ensure(offer *Offer, force, many bool, w fetching.Waiter) *fetching.Waiting {
	candidate := *offer.candidate
	key := candidate.Key()
	return o.fetches.Wait(fetching.Image{
		Key:  fmt.Sprintf("listed %q %v", key, force),
		Many: many,
		Get: func(ctx context.Context, progress func(done, total int64)) (library.Image, error) {
			return o.catalog.Ensure(ctx, candidate.With(force, progress))
		},
		Ended: func(err error) { o.ensured(key, candidate.URL, err) },
	}, w)
}

// ensured notes what came of fetching an image that the catalog has, by its key.
func (o *offers) ensured(key, url string, err error) {
	o.noteFetched(err)
	switch {
	case err == nil:
		o.changed()
	case !o.owner.stopping():
		o.log.Error("an image that an index lists cannot be had", "url", url, "err", err)
		o.setUnavailable(key, o.owner.now())
	}
}

// fetchNotice is how long a download goes on before who asked for it is told how it goes, and how long until
// the next time.
const fetchNotice = 5 * time.Second

// fetchNotices tells who asked for an image how its download goes, if it takes longer than one would wait
// without being told.
func (o *offers) fetchNotices(url string, op *Operation, respond Respond) func(done, total int64) {
	next := o.owner.now().Add(fetchNotice)
	return func(done, total int64) {
		now := o.owner.now()
		if now.Before(next) {
			return
		}
		next = now.Add(fetchNotice)
		o.log.Info("an image is being fetched", "url", url, "bytes", done, "of", total)
		how := fmt.Sprintf("the image is being fetched: %d bytes so far", done)
		if total > 0 {
			how = fmt.Sprintf("the image is being fetched: %d of %d bytes (%d %%)",
				done, total, done*100/total)
		}
		respond(Answer{Status: InProgress, Operation: op, Error: how})
	}
}

// noteFetched notes how a fetch went. After many the image store is cleaned up before its time.
func (o *offers) noteFetched(err error) {
	o.observer.ImageFetched(fetchStatus(err))
	if err != nil {
		return
	}
	if o.fetched++; o.fetched >= sweepFetches {
		o.sweepAt = time.Time{}
	}
}

// fetchStatus is the status that says how a fetch went.
func fetchStatus(err error) Status {
	switch {
	case err == nil:
		return Success
	case errors.Is(err, library.ErrAccess):
		return ImageAccessFailed
	case errors.Is(err, library.ErrValidation):
		return ImageValidationFailed
	default:
		return Failure
	}
}

// unavailableFor is how long the policy leaves an image alone that could not be fetched, or was not what its
// index says.
const unavailableFor = 6 * time.Hour

// isUnavailable reports whether an offer's image could not be had a while ago.
func (o *offers) isUnavailable(offer *Offer, now time.Time) bool {
	return offer.candidate != nil && now.Sub(o.unavailable[offer.candidate.Key()]) < unavailableFor
}

// prefetch is what fetching images ahead, before anybody asks for them, goes by.
type prefetch struct {
	wanted bool      // it is configured
	open   int       // images that are being fetched
	at     time.Time // when to look next for images that are missing
}

// prefetchInterval is how often it is looked whether images are to be fetched ahead.
const prefetchInterval = time.Minute

// due reports whether it is to be looked now whether images are missing.
func (p *prefetch) due(now time.Time) bool { return p.wanted && p.open == 0 && !now.Before(p.at) }

// fetchAhead fetches the images that indexes list and devices would be upgraded to, so that an upgrade waits
// for no server. What could not be had is left alone for a while.
func (o *offers) fetchAhead(devices []*device, now time.Time) {
	o.prefetch.at = now.Add(prefetchInterval)
	missing := map[string]*Offer{}
	for c := range clientsOf(devices...) {
		offer := o.best(c)
		if !mayTakeUnnamed(c, offer) || offer.candidate == nil || o.isUnavailable(offer, now) {
			continue
		}
		if listed := offer.candidate; listed.Source == library.SourceIndex && !listed.Stored {
			missing[listed.Key()] = offer
		}
	}
	o.prefetch.open = len(missing)
	for _, offer := range missing {
		o.ensure(offer, false, true, fetching.Waiter{
			Done: func(library.Image, error) { o.prefetch.open-- },
		})
	}
}

// keepFetched adds the images that were fetched ahead for devices to those that are used.
func (o *offers) keepFetched(devices []*device, used map[string]bool) {
	if !o.prefetch.wanted {
		return
	}
	for c := range clientsOf(devices...) {
		if offer := o.best(c); mayTakeUnnamed(c, offer) && offer.candidate != nil {
			used[offer.SHA256] = true
		}
	}
}

// setUnavailable notes that the image of a candidate with a key could not be had now.
func (o *offers) setUnavailable(key string, now time.Time) {
	maps.DeleteFunc(o.unavailable, func(_ string, at time.Time) bool {
		return now.Sub(at) > unavailableFor
	})
	o.unavailable[key] = now
}

// How often the image store is cleaned up.
const (
	sweepInterval = time.Hour
	sweepSoon     = time.Minute // where more has to go than could yet
	sweepFetches  = 8           // images that were fetched after which it is done in any case
)

// How long images that nobody refers to are kept, and how many bytes of them.
const (
	unusedFor   = 7 * 24 * time.Hour
	unusedBytes = 256 << 20
)

// sweepDue reports whether the image store is to be cleaned up now.
func (o *offers) sweepDue(now time.Time) bool { return !now.Before(o.sweepAt) }

// sweepBegun notes that the image store is being cleaned up, or that the service starts; the next time is an
// interval later.
func (o *offers) sweepBegun(now time.Time) {
	o.sweepAt = now.Add(sweepInterval)
	o.fetched = 0
}

// sweep has images removed that nobody has needed for a while. used are the images (SHA-256) that are needed
// besides the registered ones.
func (o *offers) sweep(used map[string]bool, now time.Time) {
	o.sweepBegun(now)
	for _, r := range o.registrations.All() {
		used[r.SHA256] = true
	}
	o.owner.async(func() func() {
		swept, err := o.images.Sweep(now, func(sha256 string) bool { return used[sha256] },
			library.Allowance{For: unusedFor, Bytes: unusedBytes})
		if err != nil {
			o.log.Warn("the image store was not cleaned up", "err", err)
		}
		for _, image := range swept.Removed {
			o.log.Info("an image that nobody needs any more was removed from the store",
				"sha256", image.SHA256, "url", image.URL)
		}
		if swept.Surplus == 0 {
			return nil
		}
		return func() {
			if soon := now.Add(sweepSoon); soon.Before(o.sweepAt) {
				o.sweepAt = soon
			}
		}
	})
}

// refresh has the catalog look for newer indexes.
func (o *offers) refresh() {
	if o.catalog != nil {
		o.catalog.Refresh()
	}
}
