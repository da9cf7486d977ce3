package otasvc

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
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
	op := req.operation(d)
	o.fetchFor(d, fetch, op, respond, func(image library.Image, err error) {
		if err != nil {
			respond(fail(fetchStatus(err), op, "%v", err))
			return
		}
		o.register(d, req, image, respond)
	})
}

// fetchFor gets an image for a device; then runs with it, or with the error where it was not had, or may not
// be given to the device. A device that was forgotten meanwhile is answered through respond.
func (o *orders) fetchFor(
	d *device, req library.Request, op *Operation, respond Respond, then func(library.Image, error),
) {
	o.offers.fetch(req, op, respond, func(image library.Image, err error) {
		if !o.home.knows(d) {
			respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
			return
		}
		if why := misfit(d.Device, image); err == nil && why != "" {
			err = fmt.Errorf("%w: %s", library.ErrValidation, why)
		}
		then(image, err)
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
	o.keeper.answer(Answer{Status: Success, Operation: op}, func(a Answer) {
		if !o.home.knows(d) {
			respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
			return
		}
		respond(a)
		if req.Upgrade {
			o.inventory.complete(d, func() { o.upgradeToAdded(d, offerOf(r, image)) })
		}
	})
}

// upgradeToAdded begins the upgrade of a device to an image that was added for it, unless something speaks
// against it. What is told of that besides the answer is told as of any upgrade.
func (o *orders) upgradeToAdded(d *device, offered Offer) {
	c := clientFor(d, offered.ImageType)
	offer := admissionOffer(c, offered)
	if offer.AnyVersion || !o.home.knows(d) {
		return // it is for those who name it
	}
	switch v := admission.Admit(admission.Request{AtOnce: true, InstallNow: true}, o.deviceNow(c), offer); {
	case v.Action == admission.Queue:
		o.upgrades.begin(c, &offered, upgrade.Order{}, o.now())
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
