package otasvc

import (
	"errors"
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const (
	// slotPoll is how soon the slot is looked at again while the service loads it itself.
	slotPoll = 100 * time.Millisecond
	// handKeep is how long a header that was loaded by hand stays, unless something else needs the slot.
	handKeep = 10 * time.Minute
	// handKeepStep is how far ahead it is kept at a time: when an upgrade has taken the slot meanwhile, its
	// own header must not stay behind for the rest of the ten minutes.
	handKeepStep = 5 * time.Second
)

// loadByHand reads an image from the store and loads its header for a person. about is the record of the
// answer, as it is by then.
func (h *headerSlot) loadByHand(key slot.Key, about func() *Operation, respond Respond) {
	if h.s.stopping() {
		respond(dongleAnswer(errStopping, about()))
		return
	}
	if im := h.memory.get(key.SHA256); im != nil {
		h.loadHeader(im, key, about, respond)
		return
	}
	h.memory.read(key.SHA256, func(im *cachedImage, err error) {
		if err != nil {
			respond(fail(Failure, about(), "the image cannot be read from the store; add it again: %v", err))
			return
		}
		h.loadHeader(im, key, about, respond)
	})
}

// loadHeader loads a header for a person, where no upgrade is disturbed by it.
func (h *headerSlot) loadHeader(im *cachedImage, key slot.Key, about func() *Operation, respond Respond) {
	if status, why := h.refusal(key, time.Now()); why != "" {
		h.dropUnusedImages()
		respond(fail(status, about(), "%s", why))
		return
	}
	if h.state.IsBusy() {
		h.s.questions.Wait(time.Now().Add(slotPoll), func(error) { h.loadHeader(im, key, about, respond) })
		return
	}
	h.state = h.state.LoadingByHand()
	generation := h.state.Generation()
	byHand{h.s}.submit(loadImage(im.headerAs(key.Version)), func(err error) {
		if h.state.Generation() == generation {
			h.loadedByHand(im, key, err, time.Now())
		}
		respond(dongleAnswer(err, about()))
	})
}

// refusal says why a header must not be loaded by hand now; the reason is empty where it may be.
func (h *headerSlot) refusal(key slot.Key, now time.Time) (Status, string) {
	if why, ok := h.s.dongle.usable(); !ok {
		return ServiceNotAvailable, why
	}
	if h.s.stopping() {
		return ServiceNotAvailable, errStopping.Error()
	}
	obstacle, euid := slot.Conflict(h.view(now), key)
	d := h.s.home.get(euid)
	switch obstacle {
	case slot.SlotInUse:
		return Failure, "an upgrade needs the dongle's header slot as it is for the next moments; " +
			"try again in a minute"
	case slot.OtherDownload:
		return Failure, fmt.Sprintf("%s is being upgraded to another image, 0x%08x, whose download would "+
			"break off; cancel it or wait for its end", d.Name(), d.Upgrade.Image().ImageVersion)
	case slot.InstallWaits:
		return Failure, fmt.Sprintf("%s has this image and waits to be told to install it; "+
			"with the header loaded the dongle would tell it so by itself", d.Name())
	}
	return Success, ""
}

// loadedByHand notes what the slot holds after a header was loaded by hand, and keeps it for a while.
func (h *headerSlot) loadedByHand(im *cachedImage, key slot.Key, err error, now time.Time) {
	if err != nil {
		var refused *message.StatusError
		h.move(h.state.RefusedByHand(errors.As(err, &refused)))
		h.dropUnusedImages()
		return
	}
	h.memory.put(im) // it may have been dropped while the slot was busy
	h.move(h.state.LoadedByHand(key, now))
	header := im.headerAs(key.Version)
	h.s.log.Info("image header loaded by hand", "manufacturerCode", header.ManufacturerCode,
		"imageType", header.ImageType, "fileVersion", header.FileVersion)
	h.tellLoaded(header)
	h.keepByHand(key, h.state.Generation(), now.Add(handKeep))
}

// keepByHand keeps a header in the slot for as long as it is the one that was loaded by hand.
func (h *headerSlot) keepByHand(key slot.Key, generation int, until time.Time) {
	now := time.Now()
	if !h.state.Holds(key) || h.state.Generation() != generation || !now.Before(until) {
		return
	}
	h.keep(now.Add(2 * handKeepStep))
	time.AfterFunc(handKeepStep, func() {
		h.s.inbox.Post(func() { h.keepByHand(key, generation, until) })
	})
}
