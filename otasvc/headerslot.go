package otasvc

import (
	"errors"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// headerSlot carries out what is decided about the dongle's one header slot: it loads and clears headers,
// resets the dongle where it has to, reads images, and lets devices have the image in the slot. What is to be
// done next is decided by [slot.Plan] alone. It belongs to the owner goroutine.
type headerSlot struct {
	s        *Service
	state    slot.State
	memory   imageMemory
	upgrades []slot.Candidate // of the last view; the next one takes its place
}

func newHeaderSlot(s *Service) headerSlot {
	return headerSlot{
		s:      s,
		memory: imageMemory{store: s.offers.images, async: s.async, images: map[string]*cachedImage{}},
	}
}

// move changes what the slot holds, and has that told.
func (h *headerSlot) move(to slot.State) {
	h.state = to
}

// image is the image in the slot, or on its way there; nil where there is none.
func (h *headerSlot) image() *cachedImage { return h.memory.get(h.state.Key().SHA256) }

// loaded is the image in the slot that the dongle offers, or nil.
func (h *headerSlot) loaded() *cachedImage {
	if !h.state.HoldsImage() {
		return nil
	}
	return h.image()
}

// holds reports whether the dongle has the header that a device's upgrade needs.
func (h *headerSlot) holds(d *device) bool { return h.state.Holds(h.keyOf(d)) }

// shown is the image in the slot as it is told, or nil.
func (h *headerSlot) shown() *Slot {
	im := h.loaded()
	if im == nil {
		return nil
	}
	return &Slot{
		ManufacturerCode: im.header.ManufacturerCode,
		ImageType:        im.header.ImageType,
		ImageVersion:     h.state.Key().Version,
	}
}

// working reports whether a header is loaded or a device downloads.
func (h *headerSlot) working(now time.Time) bool {
	if h.state.Key() != (slot.Key{}) {
		return true
	}
	for _, d := range h.s.upgrades.active {
		if c := h.candidate(d, now); c.UsesSlot() {
			return true
		}
	}
	return false
}

// lost notes that the dongle may not have its header any more.
func (h *headerSlot) lost() { h.move(h.state.Lost()) }

// restarted notes that the dongle has started again, and reports whether that was news.
func (h *headerSlot) restarted() bool {
	empty := h.state.IsEmpty()
	h.state = h.state.Restarted()
	if empty {
		return false
	}
	return true
}

// distrust has the header loaded again.
func (h *headerSlot) distrust() { h.state = h.state.Distrusted() }

// keep holds a header that nobody needs in the slot at least until a time.
func (h *headerSlot) keep(until time.Time) { h.state = h.state.Kept(until) }

// pageAsked notes that the dongle has seen an image page request. Version 2 of its firmware remembers that.
func (h *headerSlot) pageAsked() {
	if h.s.dongle.info.Family == message.FamilyV2 {
		h.state = h.state.PageAsked()
	}
}

// load loads the header of an image in memory into the dongle.
func (h *headerSlot) load(key slot.Key, now time.Time) {
	im := h.memory.get(key.SHA256)
	if im == nil {
		return // it was dropped; the planner has it read again
	}
	h.move(h.state.Loading(key, now))
	header := im.headerAs(key.Version)
	h.submit(header, "loading the image header", func() {
		h.move(h.state.Loaded())
		h.s.log.Info("image header loaded", "manufacturerCode", header.ManufacturerCode,
			"imageType", header.ImageType, "fileVersion", header.FileVersion)
		h.tellLoaded(header)
	})
}

// clear loads a header that fits nobody; then, which may be nil, runs once the dongle has taken it. It is
// also how a firmware without the OTA server is found out.
func (h *headerSlot) clear(then func()) {
	h.move(h.state.Clearing())
	h.submit(nobodysHeader, "clearing the image header", func() {
		h.move(h.state.Cleared())
		h.dropUnusedImages()
		if then != nil {
			then()
		}
	})
}

// submit sends a header; taken runs when the dongle has taken it.
func (h *headerSlot) submit(header otafile.Header, doing string, taken func()) {
	generation := h.state.Generation()
	h.s.sender.Send(loadImage(header), func(_ message.Status, err error) {
		switch {
		case h.state.Generation() != generation: // what it took is lost
		case err != nil:
			h.refused(doing, err, time.Now())
		default:
			taken()
		}
	})
}

// refused acts on a header that the dongle did not take. A status that was lost looks like this too.
func (h *headerSlot) refused(doing string, err error, now time.Time) {
	var refused *message.StatusError
	if errors.As(err, &refused) && refused.Status.Status == message.StatusUnhandled {
		h.s.dongle.noOTA = true
		h.move(h.state.Unsupported())
		h.s.log.Error("the dongle's firmware has no OTA server; update the dongle's firmware",
			"firmware", h.s.dongle.info.Firmware)
		return
	}
	h.state = h.state.Refused(now)
	h.s.log.Warn(doing+" did not succeed; it is tried again", "err", err)
}

// reset has the dongle forget the page requests that it remembers. Nobody downloads then: the slot changes
// only between downloads.
func (h *headerSlot) reset(now time.Time) {
	h.s.log.Info("the dongle is reset, so that it forgets the page requests of the last download")
	h.s.sender.Send(message.Reset{}, nil)
	h.move(h.state.Reset(now))
}

// tellLoaded tells that the dongle offers an image.
func (h *headerSlot) tellLoaded(header otafile.Header) {
	h.s.happened(Event{
		Name:             EventImageLoaded,
		ManufacturerCode: &header.ManufacturerCode,
		ImageType:        &header.ImageType,
		ImageVersion:     &header.FileVersion,
		Size:             &header.TotalSize,
	})
}

// readImage reads an image from the store, for the upgrades that need it.
func (h *headerSlot) readImage(sha256 string) {
	h.memory.read(sha256, func(_ *cachedImage, err error) {
		if err != nil {
			h.imageUnavailable(sha256, err, time.Now())
		}
	})
}

// imageUnavailable ends the upgrades whose image cannot be read, because it is damaged or was removed from
// the store by somebody else.
func (h *headerSlot) imageUnavailable(sha256 string, err error, now time.Time) {
	h.s.log.Error("an image cannot be read from the store; add it again", "sha256", sha256, "err", err)
	for _, d := range h.s.upgrades.sorted() {
		if d.Upgrade.Image().SHA256 == sha256 {
			h.s.upgrades.step(d, upgrade.ImageUnavailable{}, now)
		}
	}
}

// dropUnusedImages frees the memory of images that no upgrade uses and that are not in the slot.
func (h *headerSlot) dropUnusedImages() {
	h.memory.drop(func(sha256 string) bool {
		return sha256 == h.state.Key().SHA256 || h.s.upgrades.uses(sha256)
	})
}

// nobody is the manufacturer code and image type of a header that fits no device: the dongle has no way to
// unload a header, and some firmware offers the loaded image to devices that run it already, again and again.
const nobody = 0xFFFE

// nobodysHeader fits no device: manufacturer code and image type are not in use, and no version is below 0.
var nobodysHeader = otafile.Header{
	HeaderVersion: 0x0100, HeaderLength: 56, ManufacturerCode: nobody, ImageType: nobody, TotalSize: 56,
}

// loadImage is the command for a header. In the file the optional parts are packed; the firmware reads each
// at a place of its own, whatever the field control says.
func loadImage(h otafile.Header) message.LoadImage {
	m := message.LoadImage{
		AddrMode:         message.AddrModeNetwork,
		FileIdentifier:   message.FileIdentifier,
		HeaderVersion:    h.HeaderVersion,
		HeaderLength:     h.HeaderLength,
		FieldControl:     h.FieldControl,
		ManufacturerCode: h.ManufacturerCode,
		ImageType:        h.ImageType,
		FileVersion:      h.FileVersion,
		StackVersion:     h.StackVersion,
		HeaderString:     h.HeaderString,
		TotalSize:        h.TotalSize,
	}
	// The firmware refuses more than 69; longer ones have vendors' fields behind the standard ones.
	m.HeaderLength = min(m.HeaderLength, 69)
	if h.CredentialVersion != nil {
		m.CredentialVersion = *h.CredentialVersion
	}
	if h.Destination != nil {
		m.Destination = message.IEEE(*h.Destination)
	}
	if h.MinHardwareVersion != nil {
		m.MinHardwareVersion = *h.MinHardwareVersion
	}
	if h.MaxHardwareVersion != nil {
		m.MaxHardwareVersion = *h.MaxHardwareVersion
	}
	return m
}
