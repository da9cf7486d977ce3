package otasvc

import (
	"errors"
	"slices"
	"time"

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

// addImage fetches an image for a device and registers it.
func (o *orders) addImage(d *device, req AddImage, respond Respond) {
	fetch := library.Request{
		URL:              req.URL,
		SHA256:           req.SHA256,
		SHA512:           req.SHA512,
		ManufacturerCode: req.ManufacturerCode,
		ImageType:        req.ImageType,
	}
	o.fetchFor(d, fetch, req.operation(d), respond, func(image library.Image) {
		o.register(d, req, image, respond)
	})
}

// fetchFor gets an image for a device; then runs if it was had and may be given to the device, and respond
// gets the final answer if not.
func (o *orders) fetchFor(
	d *device, req library.Request, op *Operation, respond Respond, then func(library.Image),
) {
	o.offers.fetch(req, op, respond, func(image library.Image) {
		if !o.home.knows(d) {
			respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
			return
		}
		if why := misfit(d.Device, image); why != "" {
			respond(fail(ImageValidationFailed, op, "%s", why))
			return
		}
		then(image)
	})
}

// register enters a fetched image and, where asked for, begins the upgrade.
func (o *orders) register(d *device, req AddImage, image library.Image, respond Respond) {
	r := registration(image, library.PublicURL(req.URL), req.DriverTypeID, req.DriverVersion, o.now())
	op := d.operation(ptr(offerOf(r, image)))
	if err := o.offers.add(d, r); err != nil {
		if errors.Is(err, library.ErrIncompatibleDriverVersion) {
			respond(fail(IncompatibleDriverVersion, op, "%v", err))
		} else {
			respond(fail(Failure, op, "%v", err))
		}
		return
	}
	o.keeper.whenSaved(func() {
		if !o.home.knows(d) {
			respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
			return
		}
		respond(Answer{Status: Success, Operation: op})
		if req.Upgrade {
			o.inventory.complete(d, func() { o.beginRegistered(d, offerOf(r, image)) })
		}
	})
}

// beginRegistered begins the upgrade of a device to an image that was just registered for it, unless
// something speaks against it.
func (o *orders) beginRegistered(d *device, offer Offer) {
	c := clientFor(d, offer.ImageType)
	if o.home.knows(d) && d.active() == nil && fits(c, offer) && mayTakeUnnamed(c, &offer) {
		o.upgrades.begin(c, &offer, upgrade.Order{}, o.now())
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
	o.keeper.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
}

// imageRemoved ends the upgrades that use a registration that was taken back.
func (o *orders) imageRemoved(d *device, r library.Registration) {
	now := o.now()
	for _, other := range o.home.sorted() {
		u := other.active()
		if u != nil && u.Image().SHA256 == r.SHA256 &&
			(other == d || slices.Contains(r.Devices, other.EUID().String())) {
			o.upgrades.step(other, upgrade.ImageRemoved{}, now)
		}
	}
	o.outlet.happened(eventOf(EventImageRemoved, d, r))
}

// RegisteredImage is a registered image for the list of all of them, with the report of what was found
// when it was taken.
type RegisteredImage struct {
	Offer   Offer // what a device would get of it
	Devices []message.IEEE
	AddedAt time.Time
	Stored  *library.Image // nil where it is missing from the store
}
