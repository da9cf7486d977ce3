package otasvc

import (
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// AddImage is a request to fetch an image and to register it for a device.
type AddImage struct {
	Device           DeviceRef
	URL              string
	ManufacturerCode *uint16 // where given, must be the file's
	ImageType        *uint16 // likewise
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
		URL:           ptr(publicURL(r.URL)),
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
		s.withDevice(req.Device, searching, func(d *device) {
			fetch := library.Request{
				URL:              req.URL,
				SHA256:           req.SHA256,
				SHA512:           req.SHA512,
				ManufacturerCode: req.ManufacturerCode,
				ImageType:        req.ImageType,
			}
			op := req.operation(d)
			s.fetchFor(d, fetch, op, respond, func(image library.Image) {
				s.register(d, req, image, respond)
			})
		})
	})
}

// fetchFor gets an image for a device; then runs if it was had and may be given to the device, and respond
// gets the final answer if not.
func (s *Service) fetchFor(
	d *device, req library.Request, op *Operation, respond Respond, then func(library.Image),
) {
	s.offers.fetch(req, op, respond, func(image library.Image) {
		if !s.home.knows(d) {
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
func (s *Service) register(d *device, req AddImage, image library.Image, respond Respond) {
	r := registration(image, publicURL(req.URL), req.DriverTypeID, req.DriverVersion)
	op := d.operation(ptr(offerOf(r, image)))
	if err := s.offers.add(d.Device, r); err != nil {
		if errors.Is(err, library.ErrIncompatibleDriverVersion) {
			respond(fail(IncompatibleDriverVersion, op, "%v", err))
		} else {
			respond(fail(Failure, op, "%v", err))
		}
		return
	}
	s.whenSaved(func() {
		if !s.home.knows(d) {
			respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
			return
		}
		respond(Answer{Status: Success, Operation: op})
		if !req.Upgrade || d.active() != nil {
			return
		}
		if o := offerOf(r, image); fits(d.Device, o) && updateAvailable(d.Device, &o) {
			s.upgrades.begin(d, &o, upgrade.Order{}, time.Now())
		}
	})
}

func ptr[T any](v T) *T { return &v }

// publicURL is a URL without user and password: records and answers are read by everybody on the broker.
func publicURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	u.User = nil
	return u.String()
}

// RemoveImage takes back the image registered for a device and image type. Upgrades that use it end first.
func (s *Service) RemoveImage(ref DeviceRef, imageType uint16, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			removed := s.offers.remove(d.Device, imageType)
			if len(removed) == 0 {
				op := d.operation(nil)
				op.ImageType = &imageType
				respond(fail(ImageInfoNotFound, op, "no image of type 0x%04x is registered for %s",
					imageType, d.Name()))
				return
			}
			for _, r := range removed {
				s.imageRemoved(d, r)
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
			s.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// imageRemoved ends the upgrades that use a registration that was taken back.
func (s *Service) imageRemoved(d *device, r library.Registration) {
	now := time.Now()
	for _, other := range s.home.sorted() {
		u := other.active()
		if u != nil && u.Image().SHA256 == r.SHA256 &&
			(other == d || slices.Contains(r.Devices, other.EUID().String())) {
			s.upgrades.step(other, upgrade.ImageRemoved{}, now)
		}
	}
	s.happened(eventOf(EventImageRemoved, d.Device, r))
}

// RegisteredImage is a registered image for the list of all of them, with the report of what was found
// when it was taken.
type RegisteredImage struct {
	Offer
	Devices []message.IEEE
	AddedAt time.Time
	Stored  *library.Image // nil where it is missing from the store
}
