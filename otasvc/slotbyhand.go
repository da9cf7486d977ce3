package otasvc

import (
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/fetching"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// LoadImage loads a header into the dongle: that of the device's upgrade, else that of the image
// which it would get.
func (s *Service) LoadImage(ref registry.Ref, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) { s.byHand.loadImage(d, respond) })
	})
}

// loadImage loads the header of a device's upgrade, else that of the image which it would get.
func (h *byHand) loadImage(d *device, respond Respond) {
	about := func() *Operation { return h.offers.upgradeOperation(d) }
	if why, ok := h.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, about(), "%s", why))
		return
	}
	if u := d.active(); u != nil && u.Stage() != upgrade.StageFetching {
		h.load(h.slot.keyOf(d), about, respond)
		return
	}
	h.offers.whenRead(about(), respond, func(respond Respond) { h.loadBest(d, respond) })
}

// loadBest loads the header of the image that a device would get now.
func (h *byHand) loadBest(d *device, respond Respond) {
	about := func() *Operation { return h.offers.upgradeOperation(d) }
	load := func(o Offer) {
		h.load(slot.Key{SHA256: o.SHA256, Version: o.ImageVersion}, about, respond)
	}
	switch o := h.offers.best(mainClient(d)); {
	case o == nil:
		respond(fail(ImageInfoNotFound, about(), "%s", h.offers.noImage(mainClient(d))))
	case o.candidate != nil && !o.candidate.Stored:
		respond(Answer{Status: InProgress, Operation: about()})
		h.offers.ensure(o, false, false, fetching.Waiter{
			Progress: h.offers.fetchNotices(o.URL, about(), respond),
			Done: func(image library.Image, err error) {
				if err != nil {
					respond(fail(fetchStatus(err), about(), "%v", err))
					return
				}
				had := o.had(image)
				if why := wrongHardware(mainClient(d), had); why != "" {
					respond(fail(ImageInfoNotFound, about(), "the %s", why))
					return
				}
				load(had)
			},
		})
	default:
		load(*o)
	}
}

// LoadImageFrom loads the header of the image at a URL into the dongle. The image is kept, but
// registered for nobody.
func (s *Service) LoadImageFrom(url string, respond Respond) {
	s.request(respond, func() { s.byHand.loadImageFrom(url, respond) })
}

// loadImageFrom loads the header of the image at a URL.
func (h *byHand) loadImageFrom(url string, respond Respond) {
	op := Operation{URL: ptr(library.PublicURL(url))}
	if why, ok := h.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, &op, "%s", why))
		return
	}
	respond(Answer{Status: InProgress, Operation: &op})
	h.offers.fetch(library.Request{URL: url}, fetching.Waiter{Done: func(image library.Image, err error) {
		if err != nil {
			respond(fail(fetchStatus(err), &op, "%v", err))
			return
		}
		header := image.Header
		op := op
		op.ManufacturerCode = &header.ManufacturerCode
		op.ImageType = &header.ImageType
		op.ImageVersion = &header.FileVersion
		key := slot.Key{SHA256: image.SHA256, Version: header.FileVersion}
		h.load(key, func() *Operation { return &op }, respond)
	}})
}

const (
	// slotPoll is how soon the slot is looked at again while the service loads it itself.
	slotPoll = 100 * time.Millisecond
	// handKeep is how long a header that was loaded by hand stays, unless something else needs the slot.
	handKeep = 10 * time.Minute
	// handKeepStep is how far ahead it is kept at a time: when an upgrade has taken the slot meanwhile, its
	// own header must not stay behind for the rest of the ten minutes.
	handKeepStep = 5 * time.Second
)

// load reads an image from the store and loads its header for a person. about is the record of the
// answer, as it is by then.
func (h *byHand) load(key slot.Key, about func() *Operation, respond Respond) {
	if h.owner.stopping() {
		respond(dongleAnswer(errStopping, about()))
		return
	}
	if im := h.slot.memory.get(key.SHA256); im != nil {
		h.loadHeader(im, key, about, respond)
		return
	}
	h.slot.memory.read(key.SHA256, func(im *cachedImage, err error) {
		if err != nil {
			respond(fail(Failure, about(), "the image cannot be read from the store; add it again: %v", err))
			return
		}
		h.loadHeader(im, key, about, respond)
	})
}

// loadHeader loads a header for a person, where no upgrade is disturbed by it.
func (h *byHand) loadHeader(im *cachedImage, key slot.Key, about func() *Operation, respond Respond) {
	if status, why := h.refusal(key, h.owner.now()); why != "" {
		h.slot.dropUnusedImages()
		respond(fail(status, about(), "%s", why))
		return
	}
	if h.slot.state.IsBusy() {
		h.questions.Wait(h.owner.now().Add(slotPoll), func(error) { h.loadHeader(im, key, about, respond) })
		return
	}
	generation := h.slot.loadingByHand()
	h.submit(loadImage(im.headerAs(key.Version)), func(err error) {
		if h.slot.state.Generation() == generation {
			h.loadedByHand(im, key, err, h.owner.now())
		}
		respond(dongleAnswer(err, about()))
	})
}

// refusal says why a header must not be loaded by hand now; the reason is empty where it may be.
func (h *byHand) refusal(key slot.Key, now time.Time) (Status, string) {
	if why, ok := h.dongle.usable(); !ok {
		return ServiceNotAvailable, why
	}
	if h.owner.stopping() {
		return ServiceNotAvailable, errStopping.Error()
	}
	obstacle, euid := slot.Conflict(h.planner.view(nil, now), key)
	d := h.home.get(euid)
	switch obstacle {
	case slot.SlotInUse:
		return Failure, "an upgrade needs the dongle's header slot as it is for the next moments; " +
			"try again in a minute"
	case slot.OtherDownload:
		return Failure, fmt.Sprintf("%s is being upgraded to another image, 0x%08x, whose download would "+
			"break off; cancel it or wait for its end", d.Name(), d.upgrade.Image().ImageVersion)
	case slot.InstallWaits:
		return Failure, fmt.Sprintf("%s has this image and waits to be told to install it; "+
			"with the header loaded the dongle would tell it so by itself", d.Name())
	}
	return Success, ""
}

// loadedByHand notes what the slot holds after a header was loaded by hand, and keeps it for a while.
func (h *byHand) loadedByHand(im *cachedImage, key slot.Key, err error, now time.Time) {
	if err != nil {
		h.slot.refusedByHand(err)
		return
	}
	h.slot.memory.put(im) // it may have been dropped while the slot was busy
	h.slot.loadedByHand(key)
	header := im.headerAs(key.Version)
	h.log.Info("image header loaded by hand", "manufacturerCode", header.ManufacturerCode,
		"imageType", header.ImageType, "fileVersion", shownVersion(header.FileVersion))
	h.slot.tellLoaded(header)
	h.keepByHand(key, h.slot.state.Generation(), now.Add(handKeep))
}

// keepByHand keeps a header in the slot for as long as it is the one that was loaded by hand.
func (h *byHand) keepByHand(key slot.Key, generation int, until time.Time) {
	now := h.owner.now()
	if !h.slot.state.Holds(key) || h.slot.state.Generation() != generation || !now.Before(until) {
		return
	}
	h.slot.keep(now.Add(2 * handKeepStep))
	time.AfterFunc(handKeepStep, func() {
		h.owner.inbox.Post(func() { h.keepByHand(key, generation, until) })
	})
}
