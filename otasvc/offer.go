package otasvc

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// offerFrom is the offer of an image that the catalog has.
func offerFrom(c library.Candidate) Offer {
	offer := Offer{
		ManufacturerCode: c.ManufacturerCode,
		ImageType:        c.ImageType,
		ImageVersion:     c.FileVersion,
		Size:             c.Size,
		SHA256:           c.SHA256,
		URL:              c.URL,
		Source:           Source(c.Source),
		Title:            c.Title,
		ReleaseNotes:     c.ReleaseNotes,
		candidate:        &c,
		limits:           c.Limits,
	}
	if c.Caution != "" {
		offer.warn(c.Caution)
	}
	return offer
}

// warn notes why the image is not installed unless a person names the device. It is said where people read
// what an image is about, before they install it.
func (o *Offer) warn(caution string) {
	o.caution = caution
	o.ReleaseNotes = strings.TrimSpace(caution + "\n\n" + o.ReleaseNotes)
}

// offerOf is the offer of a registered image.
func offerOf(r library.Registration, image library.Image) Offer {
	return Offer{
		ManufacturerCode: r.ManufacturerCode,
		ImageType:        r.ImageType,
		ImageVersion:     r.ImageVersion,
		Size:             r.Size,
		SHA256:           r.SHA256,
		URL:              r.URL,
		Source:           SourceRegistered,
		DriverTypeID:     r.DriverTypeID,
		DriverVersion:    r.DriverVersion,
		Title:            image.Header.Title(),
		limits:           library.HeaderLimits(&image.Header),
	}
}

// image is what an upgrade to the offer brings a device to.
func (o *Offer) image() upgrade.Image {
	return upgrade.Image{
		SHA256:           o.SHA256,
		ManufacturerCode: o.ManufacturerCode,
		ImageType:        o.ImageType,
		ImageVersion:     o.ImageVersion,
		Size:             o.Size,
		URL:              o.URL,
		DriverTypeID:     o.DriverTypeID,
		DriverVersion:    o.DriverVersion,
	}
}

// had is the offer with what is known of its image now that it is there: its header may limit it further.
func (o Offer) had(image library.Image) Offer {
	h := &image.Header
	o.SHA256 = image.SHA256
	o.Size = image.Size
	o.Title = cmp.Or(o.Title, h.Title())
	o.candidate = nil
	o.limits.SetHeader(h)
	return o
}

// The values that stand for "any" in an image header.
const (
	wildcard16 = 0xFFFF
	wildcard32 = 0xFFFFFFFF
)

// fits reports whether an image is for devices of a device's kind: manufacturer code and image type are
// equal, and the file is for no other device alone. What the device has not told is no obstacle for an image
// that a person chose for it, unless the image's header has a wildcard there: that would fit every device.
func fits(c client, o Offer) bool {
	if only := o.limits.Destination; only != nil && *only != uint64(c.euid()) {
		return false
	}
	f := c.facts()
	switch {
	case f.ImageType == nil && isOfAnother(c, o):
		return false
	case o.ManufacturerCode == wildcard16: // it must be the device's own in all
		return is(f.ManufacturerCode, o.ManufacturerCode) && is(f.ImageType, o.ImageType)
	case f.ManufacturerUnsure:
		return equalOrUnknown(f.ImageType, o.ImageType)
	}
	return equalOrUnknown(f.ManufacturerCode, o.ManufacturerCode) && equalOrUnknown(f.ImageType, o.ImageType)
}

// judgeHardware says why the hardware versions that an image is for keep it from a device, as the end of a
// sentence about the image; empty where they do not. The dongle's OTA server looks at no hardware version, so
// it has to be done here. heard is false where the device has not said yet which one it has.
func judgeHardware(c client, o Offer) (why string, heard bool) {
	f := c.facts()
	dev, _ := f.Catalogued()
	return o.limits.JudgeHardware(dev)
}

// wrongHardware says in a sentence why the hardware versions that an image is for exclude a device; empty
// where they do not, or nobody can judge that yet.
func wrongHardware(c client, o Offer) string {
	why, heard := judgeHardware(c, o)
	if why == "" || !heard {
		return ""
	}
	return "image " + why
}

// equalOrUnknown reports whether an image's code is that of a device, as far as the device has told it. A
// wildcard must have been told.
func equalOrUnknown(told *uint16, code uint16) bool {
	if told == nil {
		return code != wildcard16
	}
	return *told == code
}

// is reports whether a value is known and equal to another.
func is[T comparable](known *T, v T) bool { return known != nil && *known == v }

// admissionOffer is an offer as far as it decides whether an upgrade of a device is begun.
func admissionOffer(c client, o Offer) admission.Offer {
	_, heard := judgeHardware(c, o)
	return admission.Offer{
		Version:       o.ImageVersion,
		Fits:          fits(c, o),
		WrongHardware: wrongHardware(c, o),
		CalledInvalid: c.device.CalledInvalid(o.SHA256),
		Here:          o.candidate == nil,
		AnyVersion:    o.ImageVersion == wildcard32,
		Doubtful:      o.caution != "" || !heard,
	}
}

// admissionOfferOf is admissionOffer for an offer that may be nil.
func admissionOfferOf(c client, o *Offer) *admission.Offer {
	if o == nil {
		return nil
	}
	return ptr(admissionOffer(c, *o))
}

// isUpdate reports whether an offer, which may be nil, is an update for a device.
func isUpdate(c client, o *Offer) bool {
	return o != nil && admission.IsUpdate(c.fileVersion(), admissionOffer(c, *o))
}

// mayTakeUnnamed reports whether an offer is an update that may be installed without a person having named
// the device.
func mayTakeUnnamed(c client, o *Offer) bool {
	return o != nil && admission.Available(c.fileVersion(), admissionOffer(c, *o))
}

// misfit tells what makes an image one that the device must not get, whatever a person says; empty where
// nothing does.
func misfit(d *registry.Device, image library.Image) string {
	h := &image.Header
	switch {
	case h.HeaderVersion == otafile.HeaderVersionThread:
		return "the image is made for Thread devices, not Zigbee ones"
	case h.Destination != nil && *h.Destination != uint64(d.EUID()):
		return fmt.Sprintf("the image is made for the device 0x%016x alone, as its header says",
			*h.Destination)
	}
	return ""
}

// registration is how an image is registered that was fetched now.
func registration(
	image library.Image, url, driverTypeID string, driverVersion uint32, now time.Time,
) library.Registration {
	h := image.Header
	return library.Registration{
		DriverTypeID:     driverTypeID,
		DriverVersion:    driverVersion,
		ManufacturerCode: h.ManufacturerCode,
		ImageType:        h.ImageType,
		ImageVersion:     h.FileVersion,
		SHA256:           image.SHA256,
		Size:             image.Size,
		URL:              url,
		AddedAt:          now,
	}
}
