package otasvc

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
	"github.com/zigate-ota/zigate-ota/otasvc/fetching"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// AddImage is a request to fetch an image and to register it for a device.
type AddImage struct {
	Device           registry.Ref
	URL              string
	ManufacturerCode *uint16 // where given, must be the file's
	ImageType        *uint16 // where given, must be the file's
	DriverTypeID     string  // empty where the image belongs to the device alone
	DriverVersion    uint32
	SHA256, SHA512   string // hex; where given, must be the download's
	Upgrade          bool   // start the upgrade once the image is registered
}

// operation is what is known of the image before it has been fetched.
func (r *AddImage) operation(d *device) *Operation {
	euid, _ := r.Device.EUID()
	op := &Operation{
		EUID:          euid,
		URL:           ptr(library.PublicURL(r.URL)),
		DriverTypeID:  &r.DriverTypeID,
		DriverVersion: &r.DriverVersion,
	}
	if d != nil {
		f := d.Facts()
		op.EUID = f.EUID
		op.OldImageVersion = f.CurrentVersion
		op.ManufacturerCode = f.ManufacturerCode
		op.ImageType = f.ImageType
	}
	if r.ManufacturerCode != nil {
		op.ManufacturerCode = r.ManufacturerCode
	}
	if r.ImageType != nil {
		op.ImageType = r.ImageType
	}
	return op
}

// AddImage fetches, verifies, keeps and registers an image.
func (s *Service) AddImage(req AddImage, respond Respond) {
	s.request(respond, func() {
		respond(Answer{Status: InProgress, Operation: req.operation(s.home.find(req.Device))})
		// Also while its device is looked for, an answer says what was asked for.
		searching := func(a Answer) {
			a.Operation = req.operation(nil)
			respond(a)
		}
		s.withDevice(req.Device, searching, func(d *device) { s.orders.addImage(d, req, respond) })
	})
}

// addition is a request to add an image for a device, under way.
type addition struct {
	AddImage
	device    *device
	operation *Operation
	respond   Respond
	// fetching is the upgrade that shows that its image is being fetched; nil where none was begun.
	fetching *upgrade.Upgrade
}

// addImage fetches an image for a device and registers it.
func (o *orders) addImage(d *device, req AddImage, respond Respond) {
	a := &addition{AddImage: req, device: d, operation: req.operation(d), respond: respond}
	fetch := library.Request{
		URL:              req.URL,
		SHA256:           req.SHA256,
		SHA512:           req.SHA512,
		ManufacturerCode: req.ManufacturerCode,
		ImageType:        req.ImageType,
	}
	o.showAddition(a, namedClient(d, req.ImageType))
	notice := o.offers.fetchNotices(library.PublicURL(req.URL), a.operation, respond)
	o.offers.fetch(fetch, fetching.Waiter{
		Progress: func(done, total int64) {
			if a.fetching != nil {
				o.showProgress(d, a.fetching, done, total)
			}
			notice(done, total)
		},
		Done: func(image library.Image, err error) { o.added(a, image, err) },
	})
}

// showAddition begins the upgrade to an image that is being added, where that is asked for and the device has
// none, so that it is seen, and can be cancelled.
func (o *orders) showAddition(a *addition, c client) {
	if !a.Upgrade || a.fetching != nil || c.device.active() != nil || excluded(c.device) {
		return
	}
	image := imageOf(c, nil, UpgradeRequest{URL: a.URL})
	order := upgrade.Order{Fetch: &upgrade.Fetch{Added: true}}
	a.fetching = o.upgrades.beginFetching(c, image, order, o.now())
}

// keepAddition has the upgrade to an image that was added go on after a restart, without the request to add
// it, which is about to get its final answer.
func (o *orders) keepAddition(a *addition, offered Offer) {
	if offered.ImageVersion == wildcard32 { // it is for those who name it
		return
	}
	c := clientFor(a.device, offered.ImageType)
	o.showAddition(a, c)
	if a.fetching == nil {
		return
	}
	fetch := upgrade.Fetch{ImageVersion: &offered.ImageVersion}
	if !c.isMain() {
		fetch.ImageType = &offered.ImageType
	}
	o.upgrades.stepIf(a.device, a.fetching, upgrade.ImageAdded{Image: offered.image(), Fetch: fetch}, o.now())
}

// added goes on with an image that was fetched to be added, or ends the request where it was not had, or may
// not be given to the device.
func (o *orders) added(a *addition, image library.Image, err error) {
	d := a.device
	if !o.home.knows(d) {
		a.respond(fail(DeviceNotFound, a.operation, "%v", errDeviceForgotten))
		return
	}
	if why := misfit(d.Device, image); err == nil && why != "" {
		err = fmt.Errorf("%w: %s", library.ErrValidation, why)
	}
	if err != nil {
		a.respond(fail(fetchStatus(err), a.operation, "%v", err))
		o.refuseAddition(a, notHad(err), nil)
		return
	}
	o.register(a, image)
}

// refuseAddition ends the upgrade to an image that was to be added; offered is what is known of that, or nil.
func (o *orders) refuseAddition(a *addition, v admission.Verdict, offered *Offer) {
	d := a.device
	if a.fetching == nil || d.active() != a.fetching || o.offers.owner.stopping() {
		return
	}
	image := a.fetching.Image()
	if offered != nil {
		image = offered.image()
	}
	o.upgrades.step(d, upgrade.Refusal{
		Reason: v.Reason,
		Why:    v.Sentence,
		Image:  image,
		Unseen: !v.Failed(),
	}, o.now())
}

// register enters a fetched image and, where asked for, begins the upgrade.
func (o *orders) register(a *addition, image library.Image) {
	d := a.device
	r := registration(image, library.PublicURL(a.URL), a.DriverTypeID, a.DriverVersion, o.now())
	offered := offerOf(r, image)
	op := d.operation(&offered)
	if err := o.offers.add(d, r); err != nil {
		if errors.Is(err, library.ErrIncompatibleDriverVersion) {
			a.respond(fail(IncompatibleDriverVersion, op, "%v", err))
		} else {
			a.respond(fail(Failure, op, "%v", err))
		}
		o.refuseAddition(a, notHad(err), nil)
		return
	}
	o.keepAddition(a, offered)
	o.keeper.answer(Answer{Status: Success, Operation: op}, func(answer Answer) {
		if !o.home.knows(d) {
			a.respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
			return
		}
		a.respond(answer)
		if a.Upgrade {
			c := clientFor(d, offered.ImageType)
			o.inventory.complete(c, func() { o.upgradeToAdded(a, offered) })
		}
	})
}

// upgradeToAdded begins the upgrade of a device to an image that was added for it, unless something speaks
// against it. What is told of that besides the answer is told as of any upgrade.
func (o *orders) upgradeToAdded(a *addition, offered Offer) {
	d := a.device
	c := clientFor(d, offered.ImageType)
	offer := admissionOffer(c, offered)
	cancelled := a.fetching != nil && d.active() != a.fetching
	if !o.home.knows(d) || cancelled || o.offers.owner.stopping() {
		return
	}
	if offer.AnyVersion { // it is for those who name it
		o.refuseAddition(a, admission.Verdict{}, &offered)
		return
	}
	asked := admission.Request{AtOnce: true, InstallNow: true}
	switch v := admission.Admit(asked, o.deviceNow(c, a.fetching), offer); {
	case v.Action == admission.Queue && a.fetching != nil:
		o.upgrades.fetched(c, &offered, o.now())
	case v.Action == admission.Queue:
		o.upgrades.begin(c, &offered, upgrade.Order{}, o.now())
	case a.fetching != nil:
		o.refuseAddition(a, v, &offered)
	case v.Failed() && v.Cause == admission.ForReason:
		o.upgrades.refused(c, offered.image(), upgrade.Order{}, v.Reason, v.Sentence, o.now())
	}
}

// ptr is a pointer to a copy of a value.
func ptr[T any](v T) *T { return &v }

// RemoveImage takes back the image registered for a device and image type. Upgrades that use it end first.
func (s *Service) RemoveImage(ref registry.Ref, imageType uint16, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) { s.orders.removeImage(d, imageType, respond) })
	})
}

// removeImage takes back the images of a type that are registered for a device.
func (o *orders) removeImage(d *device, imageType uint16, respond Respond) {
	removed := o.offers.remove(d.Device, imageType)
	if len(removed) == 0 {
		op := d.operation(nil)
		op.ImageType = &imageType
		respond(fail(ImageInfoNotFound, op, "no image of type 0x%04x is registered for %s",
			imageType, d.Name()))
		return
	}
	for _, r := range removed {
		o.imageRemoved(d, r)
	}
	r := removed[0]
	op := d.operation(&Offer{
		ManufacturerCode: r.ManufacturerCode,
		ImageType:        r.ImageType,
		ImageVersion:     r.ImageVersion,
		URL:              r.URL,
		DriverTypeID:     r.DriverTypeID,
		DriverVersion:    r.DriverVersion,
	})
	o.keeper.answer(Answer{Status: Success, Operation: op}, respond)
}

// imageRemoved ends the upgrades that use a registration that was taken back.
func (o *orders) imageRemoved(d *device, r library.Registration) {
	now := o.now()
	for _, other := range o.home.sorted() {
		u := other.active()
		if u != nil && usesRegistration(u, &r) &&
			(other == d || slices.Contains(r.Devices, other.EUID().String())) {
			o.upgrades.step(other, upgrade.ImageRemoved{}, now)
		}
	}
	o.outlet.happened(eventOf(EventImageRemoved, d, r))
}

// usesRegistration reports whether an upgrade is one to a registered image, or fetches that anew.
func usesRegistration(u *upgrade.Upgrade, r *library.Registration) bool {
	image := u.Image()
	if fetch := u.Fetch(); fetch != nil {
		return image.URL == r.URL && r.URL != ""
	}
	return image.SHA256 == r.SHA256
}

// RegisteredImage is a registered image for the list of all of them, with the report of what was found
// when it was taken.
type RegisteredImage struct {
	Offer   Offer // what a device would get of it
	Devices []message.IEEE
	AddedAt time.Time
	Stored  *library.Image // nil where it is missing from the store
}
