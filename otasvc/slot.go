package otasvc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// slot is the dongle's one image header, as far as the owner knows it. The dongle answers Query
// Next Image from it, and refuses blocks of any other image; it lies in the dongle's memory and is
// empty after each reset.
type slot struct {
	image   *cachedImage // what is or is being loaded; nil: nothing of ours
	version uint32       // the file version that it is offered as
	loaded  bool         // the dongle has confirmed it
	cleared bool         // a header that fits nobody is in it
	busy    bool         // a load or a clearing is under way
	retryAt time.Time
	// refusals counts how often in a row the dongle did not take a header.
	refusals int
	since    time.Time // when this image got the slot
	// generation counts what makes an answer to an earlier load worthless: a reset, a reconnection.
	generation int
	// keepUntil holds the header a little after a cancellation, so that the device's next
	// request meets ABORT.
	keepUntil time.Time
}

// slotKey is what two upgrades must have in common to use the slot side by side.
type slotKey struct {
	sha256  string
	version uint32 // offered
}

func (sl *slot) key() slotKey {
	if sl.image == nil {
		return slotKey{}
	}
	return slotKey{sl.image.sha256, sl.version}
}

// holds reports whether the dongle has the header that an upgrade needs.
func (sl *slot) holds(u *upgrade) bool { return sl.loaded && sl.key() == u.key() }

func (u *upgrade) key() slotKey { return slotKey{u.SHA256, u.OfferedVersion} }

// slotRetry is how long the owner waits after the dongle did not take a header.
const slotRetry = 2 * time.Second

// slotLost forgets what the slot holds.
func (s *Service) slotLost() {
	s.slot = slot{
		image:      s.slot.image,
		version:    s.slot.version,
		since:      s.slot.since,
		generation: s.slot.generation + 1,
		refusals:   s.slot.refusals,
	}
}

// distrustSlot has the header loaded again. The dongle cannot be asked what it holds, and a reset without a
// word leaves devices silent; loading the same header twice does no harm.
func (s *Service) distrustSlot() { s.slot.loaded = false }

// loadSlot loads an image's header into the dongle, under the version that it is to be offered as.
func (s *Service) loadSlot(im *cachedImage, version uint32, now time.Time) {
	if s.slot.key() != (slotKey{im.sha256, version}) && s.forgetPages(now) {
		return
	}
	if s.slot.image != im || s.slot.version != version {
		s.slot.since = now
	}
	s.slot.image = im
	s.slot.version = version
	s.slot.loaded = false
	s.slot.cleared = false
	s.slot.busy = true
	h := im.header
	h.FileVersion = version
	generation := s.slot.generation
	s.sender.Send(loadImage(h), func(_ message.Status, err error) {
		if s.slot.generation != generation {
			return
		}
		s.slot.busy = false
		if err != nil {
			s.slotRefused("loading the image header", err)
			return
		}
		s.slot.loaded = true
		s.slot.refusals = 0
		s.log.Info("image header loaded", "manufacturerCode", h.ManufacturerCode, "imageType", h.ImageType,
			"fileVersion", h.FileVersion)
		size := h.TotalSize
		s.happened(Event{
			Name: EventImageLoaded, ManufacturerCode: &h.ManufacturerCode, ImageType: &h.ImageType,
			ImageVersion: &h.FileVersion, Size: &size,
		})
	})
}

// clearSlot loads a header that fits nobody; then, which may be nil, runs once the dongle has taken it. It is
// also how a firmware without the OTA server is found out.
func (s *Service) clearSlot(then func()) {
	if s.forgetPages(time.Now()) {
		return
	}
	s.slot.image = nil
	s.slot.loaded = false
	s.slot.busy = true
	generation := s.slot.generation
	s.sender.Send(loadImage(nobodysHeader), func(_ message.Status, err error) {
		if s.slot.generation != generation {
			return
		}
		s.slot.busy = false
		if err != nil {
			s.slotRefused("clearing the image header", err)
			return
		}
		s.slot.cleared = true
		s.slot.refusals = 0
		s.dropUnusedImages()
		if then != nil {
			then()
		}
	})
}

// resetTime is how long a dongle needs to start again.
const resetTime = 3 * time.Second

// forgetPages resets a dongle that remembers an image page request before it gets another header, and reports
// whether it did. Nobody downloads then: the slot changes only between downloads.
func (s *Service) forgetPages(now time.Time) bool {
	if !s.dongle.pageAsked {
		return false
	}
	s.dongle.pageAsked = false
	s.log.Info("the dongle is reset, so that it forgets the page requests of the last download")
	s.sender.Send(message.Reset{}, nil)
	s.slotLost()
	s.slot.image = nil
	s.slot.retryAt = now.Add(resetTime)
	return true
}

// slotRefused acts on a header that the dongle did not take. A status that was lost looks like this too;
// loading the same header again does no harm.
func (s *Service) slotRefused(doing string, err error) {
	var refused *message.StatusError
	if errors.As(err, &refused) && refused.Status.Status == message.StatusUnhandled {
		s.dongle.noOTA = true
		s.log.Error("the dongle's firmware has no OTA server; update the dongle's firmware",
			"firmware", s.dongle.info.Firmware)
		return
	}
	s.slot.refusals++
	s.log.Warn(doing+" did not succeed; it is tried again", "err", err)
	s.slot.retryAt = time.Now().Add(slotRetry)
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
		AddrMode:         message.AddrModeShort,
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
	data   []byte // nil while it is being read
}

// cached is the image in memory, or one without data while it is being read from the store. nil: no upgrade
// can have it any more.
func (s *Service) cached(sha256 string) *cachedImage {
	if im := s.cache[sha256]; im != nil {
		return im
	}
	im := &cachedImage{sha256: sha256}
	s.cache[sha256] = im
	s.async(func(context.Context) func() {
		data, header, err := readImage(s.offers.images, sha256)
		return func() {
			if err != nil {
				s.imageUnavailable(im, err)
				return
			}
			im.data = data
			im.header = header
		}
	})
	return im
}

func readImage(images ImageStore, sha256 string) ([]byte, otafile.Header, error) {
	data, err := images.Load(sha256)
	if err != nil {
		return nil, otafile.Header{}, err
	}
	header, err := otafile.ParseHeader(data)
	if err != nil {
		return nil, otafile.Header{}, fmt.Errorf("stored image %s: %w", sha256, err)
	}
	return data, header, nil
}

// imageUnavailable ends the upgrades whose image cannot be read: damaged or removed behind our back.
func (s *Service) imageUnavailable(im *cachedImage, err error) {
	delete(s.cache, im.sha256)
	s.log.Error("an image cannot be read from the store; add it again", "sha256", im.sha256, "err", err)
	for _, d := range s.active {
		if d.Upgrade.SHA256 == im.sha256 {
			s.fire(d, triggerUnavailable, time.Now())
		}
	}
}

// dropUnusedImages frees the memory of images that no upgrade uses.
func (s *Service) dropUnusedImages() {
	for sha256, im := range s.cache {
		if im == s.slot.image || im.data == nil {
			continue
		}
		used := false
		for _, d := range s.active {
			used = used || d.Upgrade.SHA256 == sha256
		}
		if !used {
			delete(s.cache, sha256)
		}
	}
}
