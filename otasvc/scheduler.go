package otasvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate"
)

// cachedImage is an image in memory, shared by all upgrades that use it.
type cachedImage struct {
	sha256 string
	header otafile.Header
	data   []byte // nil while it is being read
}

// slot is the dongle's one image header, as far as the owner knows it. The dongle answers Query Next Image from it, and
// refuses blocks of any other image; it lies in the dongle's memory and is empty after each reset.
type slot struct {
	image   *cachedImage // what is or is being loaded; nil: nothing of ours
	loaded  bool         // the dongle has confirmed it
	cleared bool         // a header that fits nobody is in it
	busy    bool         // a load or a clearing is under way
	retryAt time.Time
	// generation counts what makes an answer to an earlier load worthless: a reset, a reconnection.
	generation int
	// keepUntil holds the header a little after a cancellation, so that the device's next request meets ABORT.
	keepUntil time.Time
}

// slotRetry is how long the owner waits after the dongle did not take a header.
const slotRetry = 2 * time.Second

// slotLost forgets what the slot holds.
func (s *Service) slotLost() {
	generation := s.slot.generation + 1
	s.slot = slot{image: s.slot.image, generation: generation}
	s.infoDirty = true
}

// distrustSlot has the header loaded again. The dongle cannot be asked what it holds, and a reset without a word leaves
// devices silent; loading the same header twice does no harm.
func (s *Service) distrustSlot() { s.slot.loaded = false }

// schedule gives the slot to an image, and places to the upgrades that wait for it.
func (s *Service) schedule(now time.Time) {
	if _, ok := s.dongle.usable(); !ok || s.slot.busy || now.Before(s.slot.retryAt) {
		return
	}
	users := s.slotUsers()
	image := s.wantedImage(users, now)
	switch {
	case image == nil:
		if !s.slot.cleared && now.After(s.slot.keepUntil) {
			s.clearSlot()
		}
	case image.data == nil:
		// Being read; its arrival wakes the owner.
	case s.slot.image != image || !s.slot.loaded:
		s.loadSlot(image)
	default:
		for _, d := range users {
			if d.Upgrade.runtime.transfer == nil && d.Upgrade.SHA256 == image.sha256 {
				s.admit(d, image) // its image could not be read at the start
			}
		}
		s.fillPlaces(image, len(users), now)
	}
}

// slotUsers lists the devices that may ask for blocks at any moment, in the order of their queue.
func (s *Service) slotUsers() []*device {
	var users []*device
	for _, d := range s.active {
		if d.Upgrade.State.holdsSlot() {
			users = append(users, d)
		}
	}
	slices.SortFunc(users, byQueue)
	return users
}

// waiting lists the devices whose upgrade could begin now, in the order of their queue.
func (s *Service) waiting(now time.Time) []*device {
	var list []*device
	for _, d := range s.active {
		u := d.Upgrade
		if u.State == Queued && u.Canary == 0 && d.NetworkAddress != nil && !now.Before(u.runtime.notBefore) {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b *device) int {
		// Who sleeps most of the time and listens now goes first: it may be gone for an hour.
		return cmp.Or(-compareBool(a.listens(now), b.listens(now)), byQueue(a, b))
	})
	return list
}

func (d *device) listens(now time.Time) bool {
	return d.Sleepy && now.Before(d.Upgrade.runtime.awakeUntil)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// byQueue is the order of the queue: first come, first served; who gave the slot up stands in line again.
func byQueue(a, b *device) int {
	return cmp.Or(
		a.Upgrade.queuedSince().Compare(b.Upgrade.queuedSince()),
		cmp.Compare(a.EUID, b.EUID),
	)
}

func (u *upgrade) queuedSince() time.Time {
	if u.runtime.yieldedAt.After(u.QueuedAt) {
		return u.runtime.yieldedAt
	}
	return u.QueuedAt
}

// yieldAfter is how long a sleeping device that was notified keeps the slot when another image waits for it.
const yieldAfter = 30 * time.Second

// wantedImage is the image that should be in the slot: that of the downloads under way, else that of the first in the
// queue. Devices that sleep through their notification give the slot up when another image waits.
func (s *Service) wantedImage(users []*device, now time.Time) *cachedImage {
	waiting := s.waiting(now)
	if len(users) > 0 {
		current := users[0].Upgrade.SHA256
		awake := slices.ContainsFunc(users, func(d *device) bool { return !d.sleptThrough(now) })
		wanted := slices.ContainsFunc(waiting, func(d *device) bool { return d.Upgrade.SHA256 != current })
		if awake || !wanted {
			return s.cached(current)
		}
		for _, d := range users {
			s.yield(d, now)
		}
	}
	for _, d := range waiting {
		if im := s.cached(d.Upgrade.SHA256); im != nil {
			return im
		}
	}
	return nil
}

// sleptThrough reports whether a device has had its chance to wake up for the image and did not.
func (d *device) sleptThrough(now time.Time) bool {
	u := d.Upgrade
	return d.Sleepy && u.State == Notified && now.Sub(u.runtime.offeredAt) > yieldAfter
}

// yield sends a device that was notified back to the queue, behind those that wait now.
func (s *Service) yield(d *device, now time.Time) {
	if s.fire(d, triggerYield, now) {
		d.Upgrade.runtime.yieldedAt = now
	}
}

// cached is the image in memory, or one without data while it is being read from the store. nil: no upgrade can have
// it any more.
func (s *Service) cached(sha256 string) *cachedImage {
	if im := s.cache[sha256]; im != nil {
		return im
	}
	im := &cachedImage{sha256: sha256}
	s.cache[sha256] = im
	s.async(func(context.Context) func() {
		data, header, err := readImage(s.images, sha256)
		return func() {
			if err != nil {
				s.imageUnavailable(im, err)
				return
			}
			im.data, im.header = data, header
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

// loadSlot loads an image's header into the dongle.
func (s *Service) loadSlot(im *cachedImage) {
	s.slot.image, s.slot.loaded, s.slot.cleared, s.slot.busy = im, false, false, true
	s.infoDirty = true
	generation := s.slot.generation
	s.send(loadImage(im.header), func(_ zigate.Status, err error) {
		if s.slot.generation != generation {
			return
		}
		s.slot.busy = false
		if err != nil {
			s.slotRefused("loading the image header", err)
			return
		}
		s.slot.loaded, s.infoDirty = true, true
		h := im.header
		s.log.Info("image header loaded", "manufacturerCode", h.ManufacturerCode, "imageType", h.ImageType, "fileVersion", h.FileVersion)
		size := h.TotalSize
		s.happened(Event{
			Name: EventImageLoaded, ManufacturerCode: &h.ManufacturerCode, ImageType: &h.ImageType,
			ImageVersion: &h.FileVersion, Size: &size,
		})
	})
}

// clearSlot loads a header that fits nobody. It is also how a firmware without the OTA server is found out.
func (s *Service) clearSlot() {
	s.slot.image, s.slot.loaded, s.slot.busy = nil, false, true
	s.infoDirty = true
	generation := s.slot.generation
	s.send(loadImage(nobodysHeader), func(_ zigate.Status, err error) {
		if s.slot.generation != generation {
			return
		}
		s.slot.busy = false
		if err != nil {
			s.slotRefused("clearing the image header", err)
			return
		}
		s.slot.cleared = true
		s.dropUnusedImages()
	})
}

// slotRefused acts on a header that the dongle did not take. A status that was lost looks like this too; loading the
// same header again does no harm.
func (s *Service) slotRefused(doing string, err error) {
	var refused *zigate.StatusError
	if errors.As(err, &refused) && refused.Status.Status == zigate.StatusUnhandled {
		s.dongle.noOTA = true
		s.log.Error("the dongle's firmware has no OTA server; update the dongle's firmware", "firmware", s.dongle.info.Firmware)
		return
	}
	s.log.Warn(doing+" did not succeed; it is tried again", "err", err)
	s.slot.retryAt = time.Now().Add(slotRetry)
}

// nobodysHeader fits no device: manufacturer code and image type are not in use, and no version is below 0.
var nobodysHeader = otafile.Header{
	HeaderVersion: 0x0100, HeaderLength: 56, ManufacturerCode: nobody, ImageType: nobody, TotalSize: 56,
}

// loadImage is the command for a header. In the file the optional parts are packed; the firmware reads each at a place
// of its own, whatever the field control says.
func loadImage(h otafile.Header) zigate.LoadImage {
	m := zigate.LoadImage{
		AddrMode: zigate.AddrModeShort, FileIdentifier: zigate.FileIdentifier, HeaderVersion: h.HeaderVersion,
		HeaderLength: h.HeaderLength, FieldControl: h.FieldControl, ManufacturerCode: h.ManufacturerCode,
		ImageType: h.ImageType, FileVersion: h.FileVersion, StackVersion: h.StackVersion, HeaderString: h.HeaderString,
		TotalSize: h.TotalSize,
	}
	// The firmware refuses more than 69; longer ones have vendors' fields behind the standard ones.
	m.HeaderLength = min(m.HeaderLength, 69)
	if h.CredentialVersion != nil {
		m.CredentialVersion = *h.CredentialVersion
	}
	if h.Destination != nil {
		m.Destination = zigate.IEEE(*h.Destination)
	}
	if h.MinHardwareVersion != nil {
		m.MinHardwareVersion = *h.MinHardwareVersion
	}
	if h.MaxHardwareVersion != nil {
		m.MaxHardwareVersion = *h.MaxHardwareVersion
	}
	return m
}

// fillPlaces offers the loaded image to those who wait for it, as many as may download at once. When another image has
// waited longer than a slice nobody new joins, so that it gets its turn.
func (s *Service) fillPlaces(im *cachedImage, busy int, now time.Time) {
	waiting := s.waiting(now)
	for _, d := range waiting {
		if d.Upgrade.SHA256 != im.sha256 && busy > 0 && now.Sub(d.Upgrade.queuedSince()) > s.policy.Slice {
			return
		}
	}
	for _, d := range waiting {
		if busy >= s.policy.Concurrency {
			return
		}
		switch {
		case d.Upgrade.SHA256 != im.sha256:
		case d.Battery != nil && int(*d.Battery) < s.policy.MinBattery:
			s.fire(d, triggerBattery, now)
		default:
			s.offerTo(d, im, now)
			busy++
		}
	}
}

// offerTo gives a device the right to the image in the slot and tells it so.
func (s *Service) offerTo(d *device, im *cachedImage, now time.Time) {
	u := d.Upgrade
	if !s.fire(d, triggerOffered, now) {
		return
	}
	u.runtime.offeredAt, u.runtime.notifications = now, 0
	s.admit(d, im)
	s.refreshTable() // before the device can have heard of it
	s.notify(d, now)
}

// admit makes the transfer that the block server works on.
func (s *Service) admit(d *device, im *cachedImage) {
	u := d.Upgrade
	u.runtime.transfer = newTransfer(im.data, u.ManufacturerCode, u.ImageType, u.ImageVersion)
	if u.State == Paused {
		u.runtime.transfer.hold(u.PausedUntil)
	}
	u.runtime.transfer.largest.Store(uint32(d.largestBlock))
	d.aborting = nil
	s.tableDirty = true
}

// notify tells a device that there is an image. Payload type 0 is what most devices understand: with type 3 many ask only
// if the version differs from one that they remember.
func (s *Service) notify(d *device, now time.Time) {
	u := d.Upgrade
	u.runtime.notifications++
	u.runtime.nextNotify = now.Add(s.policy.NotifyInterval)
	if d.NetworkAddress == nil {
		return
	}
	first := u.runtime.notifications == 1
	s.send(imageNotify(d, u), func(_ zigate.Status, err error) {
		if err != nil {
			s.log.Warn("an image notification was not sent; it is tried again", "euid", d.EUID, "err", err)
			return
		}
		if first && d.Upgrade == u && !u.State.Ended() {
			s.happened(s.upgradeEvent(EventImageNotified, d, u))
		}
	})
}

func imageNotify(d *device, u *upgrade) zigate.ImageNotify {
	return zigate.ImageNotify{
		Target: d.target(), PayloadType: zigate.NotifyJitter, FileVersion: u.ImageVersion, ImageType: u.ImageType,
		ManufacturerCode: u.ManufacturerCode, QueryJitter: 100,
	}
}

// target is where a command to a device goes; its network address must be known.
func (d *device) target() zigate.Target {
	return zigate.Target{
		AddrMode: zigate.AddrModeShort, Addr: *d.NetworkAddress, SrcEndpoint: 1, DstEndpoint: max(d.Endpoint, 1),
	}
}

// refreshTable puts a new table before the block server.
func (s *Service) refreshTable() {
	if !s.tableDirty {
		return
	}
	s.tableDirty = false
	t := &blockTable{
		byAddr: make(map[uint16]*transfer, len(s.active)), byNode: make(map[zigate.IEEE]*transfer, len(s.active)),
		known: make(map[uint16]struct{}, len(s.byAddr)),
	}
	for addr, d := range s.byAddr {
		t.known[addr] = struct{}{}
		tr := d.aborting
		if u := d.active(); u != nil && u.runtime.transfer != nil {
			tr = u.runtime.transfer
		}
		if tr != nil {
			t.byAddr[addr] = tr
		}
	}
	for _, d := range s.active {
		if tr := d.Upgrade.runtime.transfer; tr != nil {
			t.byNode[d.EUID] = tr
		}
	}
	for addr, st := range s.strays {
		if st.refused {
			t.known[addr] = struct{}{}
		}
	}
	s.blocks.table.Store(t)
}
