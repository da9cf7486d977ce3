package otasvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// AddImage is a request to fetch an image and to register it for a device.
type AddImage struct {
	Device           DeviceRef
	URL              string
	ManufacturerCode *uint16 // where given, must be the file's
	ImageType        *uint16 // likewise
	DriverTypeID     string  // empty: the image belongs to the device alone
	DriverVersion    uint32
	SHA256, SHA512   string // hex; where given, must be the download's
	Upgrade          bool   // start the upgrade once the image is registered
}

// operation is what is known of the image before it has been fetched.
func (r *AddImage) operation(d *device) *Operation {
	op := &Operation{
		EUID:          r.Device.euid,
		URL:           ptr(publicURL(r.URL)),
		DriverTypeID:  &r.DriverTypeID,
		DriverVersion: &r.DriverVersion,
	}
	if d != nil {
		op.EUID = d.EUID
		op.OldImageVersion = d.CurrentVersion
		op.ManufacturerCode = d.ManufacturerCode
		op.ImageType = d.ImageType
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
		respond(Answer{Status: InProgress, Operation: req.operation(s.lookup(req.Device))})
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
			s.fetch(d, fetch, op, respond, func(image library.Image) {
				if why := misfit(d, image); why != "" {
					respond(fail(ImageValidationFailed, op, "%s", why))
					return
				}
				s.register(d, req, image, respond)
			})
		})
	})
}

// fetch gets an image; then runs on the owner goroutine if it was had, and respond gets the
// final answer if not.
func (s *Service) fetch(
	d *device, req library.Request, op *Operation, respond Respond, then func(library.Image),
) {
	req.Progress = s.fetchProgress(publicURL(req.URL), op, respond)
	s.async(func(ctx context.Context) func() {
		image, err := s.images.Fetch(ctx, req)
		return func() {
			s.observer.ImageFetched(fetchStatus(err))
			switch {
			case err == nil && s.devices[d.EUID] != d:
				respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
			case err == nil:
				then(image)
			default:
				respond(fail(fetchStatus(err), op, "%v", err))
			}
		}
	})
}

// fetchNotice is how long a download goes on before who asked for it is told how it goes, and how long
// until the next time.
const fetchNotice = 5 * time.Second

// fetchProgress tells who asked for a download how it goes, if it takes longer than one would
// wait without a word.
func (s *Service) fetchProgress(url string, op *Operation, respond Respond) func(done, total int64) {
	next := time.Now().Add(fetchNotice)
	return func(done, total int64) {
		now := time.Now()
		if now.Before(next) {
			return
		}
		next = now.Add(fetchNotice)
		s.log.Info("an image is being fetched", "url", url, "bytes", done, "of", total)
		how := fmt.Sprintf("the image is being fetched: %d bytes so far", done)
		if total > 0 {
			how = fmt.Sprintf("the image is being fetched: %d of %d bytes (%d %%)",
				done, total, done*100/total)
		}
		s.inbox.post(func() { respond(Answer{Status: InProgress, Operation: op, Error: how}) })
	}
}

// misfit tells what makes an image one that the device must not get, whatever a person says; empty
// where nothing does.
func misfit(d *device, image library.Image) string {
	h := &image.Header
	switch {
	case h.HeaderVersion == otafile.HeaderVersionThread:
		return "the image is made for Thread devices, not Zigbee ones"
	case h.Destination != nil && *h.Destination != uint64(d.EUID):
		return fmt.Sprintf("the image is made for the device 0x%016x alone, as its header says",
			*h.Destination)
	}
	return ""
}

// ensure gets the image of an offer that an index lists; then runs with the offer completed, or respond gets
// the final answer. The header may show only now that the image is not for the device. With force a failed
// check is no obstacle.
func (s *Service) ensure(d *device, o Offer, force bool, op *Operation, respond Respond, then func(Offer)) {
	candidate := o.candidate.With(force, s.fetchProgress(o.URL, op, respond))
	s.async(func(ctx context.Context) func() {
		image, err := s.catalog.Ensure(ctx, candidate)
		return func() {
			s.observer.ImageFetched(fetchStatus(err))
			if err != nil {
				respond(fail(fetchStatus(err), op, "%v", err))
				return
			}
			if force { // the catalog may not offer it any more, for what was found wrong with it
				then(o.had(image))
				return
			}
			// Its header, which may limit it further, is known only now.
			found := s.offerOfVersion(d, o.ImageVersion)
			if found == nil || found.SHA256 != image.SHA256 {
				a := failReason(ReasonImageInfoNotFound, op)
				a.Error = s.noImage(d)
				respond(a)
				return
			}
			found.candidate = nil // it is there
			then(*found)
		}
	})
}

// had is the offer with what is known of its image now that it is there.
func (o Offer) had(image library.Image) Offer {
	h := &image.Header
	o.SHA256 = image.SHA256
	o.Size = image.Size
	o.Title = cmp.Or(o.Title, h.Title())
	o.candidate = nil
	o.destination = h.Destination
	if h.MinHardwareVersion != nil {
		// The index's own limits were asked before.
		o.MinHardware = h.MinHardwareVersion
		o.MaxHardware = h.MaxHardwareVersion
	}
	return o
}

// How often the image store is cleaned up, and how long what nobody refers to is kept.
const (
	sweepInterval = time.Hour
	unusedFor     = 7 * 24 * time.Hour
)

// sweep has images removed that nobody has needed for a while.
func (s *Service) sweep(now time.Time) {
	if s.sweepAt.IsZero() {
		s.sweepAt = now.Add(sweepInterval)
	}
	if now.Before(s.sweepAt) {
		return
	}
	s.sweepAt = now.Add(sweepInterval)
	used := map[string]bool{}
	for _, r := range s.registry.All() {
		used[r.SHA256] = true
	}
	for _, d := range s.active {
		used[d.Upgrade.SHA256] = true
	}
	for sha256 := range s.cache {
		used[sha256] = true
	}
	s.async(func(context.Context) func() {
		removed, err := s.images.Sweep(now, func(sha256 string) bool { return used[sha256] }, unusedFor)
		if err != nil {
			s.log.Warn("the image store was not cleaned up", "err", err)
		}
		for _, image := range removed {
			s.log.Info("an image that nobody needs any more was removed from the store",
				"sha256", image.SHA256, "url", image.URL)
		}
		return nil
	})
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

func registration(image library.Image, url, driverTypeID string, driverVersion uint32) library.Registration {
	h := image.Header
	return library.Registration{
		DriverTypeID: driverTypeID, DriverVersion: driverVersion, ManufacturerCode: h.ManufacturerCode,
		ImageType: h.ImageType, ImageVersion: h.FileVersion, SHA256: image.SHA256, Size: image.Size, URL: url,
		AddedAt: time.Now(),
	}
}

// ownDriverVersion is the driver version of the image that is registered in the place of this one, for the
// device alone; 0 where none is. Who names a URL for an upgrade has no driver whose version could be too low.
func (s *Service) ownDriverVersion(d *device, image library.Image) uint32 {
	for _, r := range s.registry.For(d.EUID.String()) {
		if r.DriverTypeID == "" && r.ManufacturerCode == image.Header.ManufacturerCode &&
			r.ImageType == image.Header.ImageType {
			return r.DriverVersion
		}
	}
	return 0
}

// register enters a fetched image and, where asked for, begins the upgrade.
func (s *Service) register(d *device, req AddImage, image library.Image, respond Respond) {
	r := registration(image, publicURL(req.URL), req.DriverTypeID, req.DriverVersion)
	op := d.operation(ptr(offerOf(r, image)))
	if err := s.addRegistration(d, r); err != nil {
		if errors.Is(err, library.ErrIncompatibleDriverVersion) {
			respond(fail(IncompatibleDriverVersion, op, "%v", err))
		} else {
			respond(fail(Failure, op, "%v", err))
		}
		return
	}
	s.whenSaved(func() {
		if s.devices[d.EUID] != d {
			respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
			return
		}
		respond(Answer{Status: Success, Operation: op})
		if o := offerOf(r, image); req.Upgrade && d.active() == nil && fits(d, o) && updateAvailable(d, &o) {
			s.newUpgrade(d, o, time.Time{}, nil, time.Now())
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

// addRegistration enters an image for a device and tells what changed. Upgrades that have begun keep the
// image they began with.
func (s *Service) addRegistration(d *device, r library.Registration) error {
	changed, _, err := s.registry.Add(d.EUID.String(), r)
	if err != nil || !changed {
		return err
	}
	s.happened(Event{
		Name: EventImageAdded, EUID: d.EUID, ManufacturerCode: &r.ManufacturerCode, ImageType: &r.ImageType,
		ImageVersion: &r.ImageVersion, OldImageVersion: d.CurrentVersion, Size: &r.Size,
	})
	s.imagesChanged()
	return nil
}

// imagesChanged: other images are registered.
func (s *Service) imagesChanged() {
	s.offersChanged()
	s.imagesDirty = true
	s.infoDirty = true
	s.stateDirty = true
}

// offersChanged: what the devices would get may be another now.
func (s *Service) offersChanged() {
	for _, d := range s.devices {
		d.dirty = true
	}
}

// RemoveImage takes back the image registered for a device and image type. Upgrades that use it end first.
func (s *Service) RemoveImage(ref DeviceRef, imageType uint16, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			r, ok := s.registry.Remove(d.EUID.String(), imageType)
			if !ok {
				op := d.operation(nil)
				op.ImageType = &imageType
				respond(fail(ImageInfoNotFound, op, "no image of type 0x%04x is "+
					"registered for %s", imageType, d.name()))
				return
			}
			// The device may have images of this type from more than one driver.
			for removed := r; ok; removed, ok = s.registry.Remove(d.EUID.String(), imageType) {
				s.imageRemoved(d, removed)
			}
			s.imagesChanged()
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
	for _, other := range s.sortedDevices() {
		u := other.active()
		if u != nil && u.SHA256 == r.SHA256 &&
			(other == d || slices.Contains(r.Devices, other.EUID.String())) {
			s.fire(other, triggerImageGone, now)
		}
	}
	s.happened(Event{
		Name: EventImageRemoved, EUID: d.EUID, ManufacturerCode: &r.ManufacturerCode, ImageType: &r.ImageType,
		ImageVersion: &r.ImageVersion, OldImageVersion: d.CurrentVersion,
	})
}

// RegisteredImage is a registered image for the list of all of them, with the report of what was found
// when it was taken.
type RegisteredImage struct {
	Offer
	Devices []message.IEEE
	AddedAt time.Time
	Stored  *library.Image // nil: it is missing from the store
}

// registeredImages lists the registered images by key.
func (s *Service) registeredImages() []RegisteredImage {
	var list []RegisteredImage
	for _, r := range s.registry.All() {
		image, stored := s.images.Image(r.SHA256)
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
	slices.SortStableFunc(list, func(a, b RegisteredImage) int {
		return cmp.Or(
			cmp.Compare(a.DriverTypeID, b.DriverTypeID), cmp.Compare(a.ManufacturerCode, b.ManufacturerCode),
			cmp.Compare(a.ImageType, b.ImageType), cmp.Compare(a.ImageVersion, b.ImageVersion),
			cmp.Compare(a.SHA256, b.SHA256),
		)
	})
	return list
}
