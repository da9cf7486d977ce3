package otasvc

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// headerSlot is the dongle's one header slot: what it holds, and the commands that change that. It loads and
// clears headers, and resets the dongle where it has to. It does not know why: what is to be done next is
// decided by [slot.Plan] and carried out by the [planner]. It belongs to the owner goroutine.
type headerSlot struct {
	dongle *dongle
	home   *home // for the images that upgrades use
	sender *sending.Sender
	outlet *outlet
	log    *slog.Logger
	now    func() time.Time

	state  slot.State // changed by move alone
	memory imageMemory
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

// hindered reports whether no upgrade can be done with the dongle now: it is away, or does not take the image
// header, or no blocks.
func (h *headerSlot) hindered() bool {
	_, ok := h.dongle.usable()
	return !ok || h.state.Refusals() > 0 || h.dongle.acceptance.Refuses()
}

// keyOf is the image of a device's upgrade with the file version under which the device was offered it.
// Before that it is the version under which it would be offered now.
func (h *headerSlot) keyOf(d *device) slot.Key {
	u := d.upgrade
	key := slot.Key{SHA256: u.Image().SHA256, Version: u.OfferedVersion()}
	if st := u.Stage(); st == upgrade.StageQueued || st == upgrade.StagePausedInQueue {
		key.Version = h.dongle.versionToOffer(d)
	}
	return key
}

// move has the slot in another state from now on. Every change of the state comes through here.
func (h *headerSlot) move(to slot.State) { h.state = to }

// lost notes that the dongle may not have its header any more.
func (h *headerSlot) lost() { h.move(h.state.Lost()) }

// restarted notes that the dongle has started again, and reports whether that was news.
func (h *headerSlot) restarted() bool {
	empty := h.state.IsEmpty()
	h.move(h.state.Restarted())
	return !empty
}

// distrust has the header loaded again.
func (h *headerSlot) distrust() { h.move(h.state.Distrusted()) }

// keep holds a header that nobody needs in the slot at least until a time.
func (h *headerSlot) keep(until time.Time) { h.move(h.state.Kept(until)) }

// pageAsked notes that the dongle has seen an image page request. Version 2 of its firmware remembers that.
func (h *headerSlot) pageAsked() {
	if h.dongle.info.Family == message.FamilyV2 {
		h.move(h.state.PageAsked())
	}
}

// offered notes that a device was offered the image in the slot.
func (h *headerSlot) offered(now time.Time) {
	h.move(h.state.Offered(h.sender.Crowded(now), now))
}

// deferred notes that an offer waits for room in the dongle's buffers.
func (h *headerSlot) deferred(now time.Time) { h.move(h.state.Deferred(now)) }

// switchBegun notes that devices are being told to wait, so that another image can have the slot.
func (h *headerSlot) switchBegun(dec slot.BeginSwitch) { h.move(h.state.SwitchBegun(dec)) }

// switchFinished notes that the devices of the slot switch were put off.
func (h *headerSlot) switchFinished() { h.move(h.state.SwitchFinished()) }

// calledBack notes that downloads of the loaded image go on that had been put off.
func (h *headerSlot) calledBack() { h.move(h.state.CalledBack()) }

// makeRoom notes that the image in the slot makes room for a moment.
func (h *headerSlot) makeRoom() { h.move(h.state.MakingRoom()) }

// loadingByHand notes that a person's load was sent. It returns the generation in which its answer counts.
func (h *headerSlot) loadingByHand() (generation int) {
	h.move(h.state.LoadingByHand())
	return h.state.Generation()
}

// loadedByHand notes that the dongle has taken a header that a person loaded.
func (h *headerSlot) loadedByHand(key slot.Key) {
	h.move(h.state.LoadedByHand(key))
}

// refusedByHand notes that a person's load did not succeed, and frees the image's memory. Only where the
// dongle has said that it refuses the header is it known that the slot holds what it held.
func (h *headerSlot) refusedByHand(err error) {
	var refused *message.StatusError
	h.move(h.state.RefusedByHand(errors.As(err, &refused)))
	h.dropUnusedImages()
}

// load loads the header of an image in memory into the dongle.
func (h *headerSlot) load(key slot.Key) {
	im := h.memory.get(key.SHA256)
	if im == nil {
		return // it was dropped; the planner has it read again
	}
	h.move(h.state.Loading(key))
	header := im.headerAs(key.Version)
	h.submit(header, "loading the image header", func() {
		h.move(h.state.Loaded())
		h.log.Info("image header loaded", "manufacturerCode", header.ManufacturerCode,
			"imageType", header.ImageType, "fileVersion", shownVersion(header.FileVersion))
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
	h.sender.Send(loadImage(header), func(_ message.Status, err error) {
		switch {
		case h.state.Generation() != generation: // what it took is lost
		case err != nil:
			h.refused(doing, err, h.now())
		default:
			taken()
		}
	})
}

// refused acts on a header that the dongle did not take. A status that was lost looks like this too.
func (h *headerSlot) refused(doing string, err error, now time.Time) {
	var refused *message.StatusError
	if errors.As(err, &refused) && refused.Status.Status == message.StatusUnhandled {
		h.dongle.noteNoOTA()
		h.move(h.state.Unsupported())
		h.log.Error("the dongle's firmware has no OTA server; update the dongle's firmware",
			"firmware", h.dongle.info.Firmware)
		return
	}
	h.move(h.state.Refused(now))
	h.log.Warn(doing+" did not succeed; it is tried again", "err", err)
}

// forgetPages has the dongle forget the page requests that it remembers. Nobody downloads then: the slot
// changes only between downloads.
func (h *headerSlot) forgetPages(now time.Time) {
	h.log.Info("the dongle is reset, so that it forgets the page requests of the last download")
	h.reset(now)
}

// reset has the dongle start again. It keeps its network, and loses its header.
func (h *headerSlot) reset(now time.Time) {
	h.sender.Send(message.Reset{}, nil)
	h.move(h.state.Reset(now))
}

// tellLoaded tells that the dongle offers an image.
func (h *headerSlot) tellLoaded(header otafile.Header) {
	h.outlet.happened(Event{
		Name:             EventImageLoaded,
		ManufacturerCode: &header.ManufacturerCode,
		ImageType:        &header.ImageType,
		ImageVersion:     &header.FileVersion,
		Size:             &header.TotalSize,
	})
}

// dropUnusedImages frees the memory of images that no upgrade uses and that are not in the slot.
func (h *headerSlot) dropUnusedImages() {
	h.memory.drop(func(sha256 string) bool {
		return sha256 == h.state.Key().SHA256 || h.home.uses(sha256)
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

// cachedImage is an image in memory, shared by all upgrades that use it.
type cachedImage struct {
	sha256 string
	header otafile.Header
	data   []byte
	chip   otafile.Chip // that its firmware is surely for
}

// headerAs is the header with which the dongle offers the image under a file version.
func (im *cachedImage) headerAs(version uint32) otafile.Header {
	h := im.header
	h.FileVersion = version
	return h
}

// isFor reports whether there is an image, for devices of a manufacturer code and image type.
func (im *cachedImage) isFor(manufacturerCode, imageType uint16) bool {
	return im != nil && im.header.ManufacturerCode == manufacturerCode && im.header.ImageType == imageType
}

// imageMemory holds the images that upgrades use and that the dongle offers. It belongs to the owner
// goroutine; images are read on goroutines of their own.
type imageMemory struct {
	store  ImageStore
	async  func(work func() func())
	images map[string]*cachedImage // by SHA-256; nil while an image is being read
}

// get returns an image that is in memory, or nil.
func (m *imageMemory) get(sha256 string) *cachedImage { return m.images[sha256] }

// state says whether an image is in memory.
func (m *imageMemory) state(sha256 string) slot.ImageState {
	im, asked := m.images[sha256]
	switch {
	case im != nil:
		return slot.ImageReady
	case asked:
		return slot.ImageReading
	default:
		return slot.ImageAbsent
	}
}

// put keeps an image in memory.
func (m *imageMemory) put(im *cachedImage) { m.images[im.sha256] = im }

// read reads an image from the store; done runs on the owner goroutine.
func (m *imageMemory) read(sha256 string, done func(*cachedImage, error)) {
	if m.images[sha256] == nil {
		m.images[sha256] = nil
	}
	m.async(func() func() {
		im, err := readImage(m.store, sha256)
		return func() {
			switch {
			case err == nil:
				m.put(im)
			case m.images[sha256] == nil:
				delete(m.images, sha256)
			}
			done(im, err)
		}
	})
}

// load returns an image that is in memory, or reads it and waits for the disk.
func (m *imageMemory) load(sha256 string) (*cachedImage, error) {
	if im := m.get(sha256); im != nil {
		return im, nil
	}
	im, err := readImage(m.store, sha256)
	if err == nil {
		m.put(im)
	}
	return im, err
}

// drop frees the memory of the images that used does not name.
func (m *imageMemory) drop(used func(sha256 string) bool) {
	maps.DeleteFunc(m.images, func(sha256 string, im *cachedImage) bool { return im != nil && !used(sha256) })
}

// readImage reads an image and its header from the store. It waits for the disk.
func readImage(images ImageStore, sha256 string) (*cachedImage, error) {
	data, err := images.Load(sha256)
	if err != nil {
		return nil, err
	}
	header, err := otafile.ParseHeader(data)
	if err != nil {
		return nil, fmt.Errorf("stored image %s: %w", sha256, err)
	}
	image, _ := images.Image(sha256)
	return &cachedImage{sha256: sha256, header: header, data: data, chip: image.Chip}, nil
}
