package otasvc

import (
	"cmp"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// schedule gives the slot to an image, and places to the upgrades that wait for it.
func (s *Service) schedule(now time.Time) {
	_, ok := s.dongle.usable()
	if !ok || s.slot.busy || now.Before(s.slot.retryAt) || s.finishing(now) || s.turning(now) {
		return
	}
	users := s.slotUsers()
	key := s.wantedKey(users, now)
	if key == (slotKey{}) {
		if !s.slot.cleared && now.After(s.slot.keepUntil) {
			s.clearSlot(nil)
		}
		return
	}
	image := s.cached(key.sha256)
	switch {
	case image == nil || image.data == nil:
		// Being read, or found unreadable; either wakes the owner.
	case s.slot.key() != key || !s.slot.loaded:
		s.loadSlot(image, key.version, now)
	default:
		for _, d := range users {
			if d.Upgrade.runtime.transfer == nil && d.Upgrade.key() == key {
				s.admit(d, image) // its image could not be read at the start
			}
		}
		s.callBack(now)
		s.fillPlaces(image, now)
		s.considerTurn(now)
	}
}

// slotUsers lists the devices that were offered their image and may ask for blocks, in the
// order of their queue.
func (s *Service) slotUsers() []*device {
	var users []*device
	for _, d := range s.active {
		u := d.Upgrade
		// Paused while it stood in the queue.
		neverOffered := u.runtime.transfer == nil && u.StartedAt.IsZero()
		if u.State.holdsSlot() && u.AsideUntil.IsZero() && !neverOffered {
			users = append(users, d)
		}
	}
	slices.SortFunc(users, byQueue)
	return users
}

// waiting lists the devices whose upgrade could have the slot: those that have not begun, and those that were
// held for another image. First comes whose wait is about to end, then who sleeps most of the time and
// listens now, then the order of the queue.
func (s *Service) waiting(now time.Time) []*device {
	var list []*device
	for _, d := range s.active {
		u := d.Upgrade
		queued := u.State == Queued && !s.dongle.badFlash && u.Canary == 0 && d.Reachable() &&
			!now.Before(u.runtime.notBefore)
		if queued {
			u.OfferedVersion = s.versionToOffer(d, u)
			queued = s.heldBy(u, now) == nil
		}
		if queued || !u.AsideUntil.IsZero() {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b *device) int {
		return cmp.Or(
			first(s.urgent(a.Upgrade, now), s.urgent(b.Upgrade, now)), first(a.listens(now), b.listens(now)),
			byQueue(a, b),
		)
	})
	return list
}

// first puts what is true before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

func (d *device) listens(now time.Time) bool {
	return d.Sleepy() && now.Before(d.Upgrade.runtime.awakeUntil)
}

// byQueue is the order of the queue: first come, first served; who gave the slot up stands in line again.
func byQueue(a, b *device) int {
	return cmp.Or(
		a.Upgrade.queuedSince().Compare(b.Upgrade.queuedSince()),
		cmp.Compare(a.EUID(), b.EUID()),
	)
}

func (u *upgrade) queuedSince() time.Time {
	if u.runtime.yieldedAt.After(u.QueuedAt) {
		return u.runtime.yieldedAt
	}
	return u.QueuedAt
}

// versionToOffer is the file version under which a device is offered its image: the image's own, unless the
// dongle's firmware compares versions and would keep an older or equal one from the device. Then it is
// offered as one newer than what runs; the image's bytes stay as they are. Many devices refuse such an image
// in the end, which shows in how the upgrade ends.
func (s *Service) versionToOffer(d *device, u *upgrade) uint32 {
	if d.CurrentVersion() == nil || *d.CurrentVersion() < u.ImageVersion ||
		!s.dongle.info.Version().ChecksVersion() {
		return u.ImageVersion
	}
	return min(*d.CurrentVersion(), wildcard32-2) + 1
}

// yieldAfter is how long a sleeping device that was notified keeps the slot when another image waits for it.
const yieldAfter = 30 * time.Second

// yieldPatience is how long it is with regard to those who wait. Where all of them sleep as well, it is a
// twentieth of the time that the device has waited already, so that devices that sleep for weeks do not have
// the slot's contents changed, told and written each half a minute.
func (s *Service) yieldPatience(d *device, waiting []*device, now time.Time) time.Duration {
	switch {
	case slices.ContainsFunc(waiting, func(w *device) bool { return w.listens(now) }):
		return registry.AwakeFor // the device's parent has thrown the notification away by then
	case slices.ContainsFunc(waiting, func(w *device) bool { return !w.Sleepy() }):
		return yieldAfter
	}
	return max(yieldAfter, min(now.Sub(later(d.Upgrade.QueuedAt, d.Upgrade.DueAt))/20, s.policy.Slice))
}

// wantedKey is what should be in the slot: the image of the downloads under way, else that of the first who
// waits. Devices that sleep through their notification give the slot up when another image waits.
func (s *Service) wantedKey(users []*device, now time.Time) slotKey {
	waiting := s.waiting(now)
	if len(users) > 0 {
		current := users[0].Upgrade.key()
		waiting = slices.DeleteFunc(waiting, func(d *device) bool { return d.Upgrade.key() == current })
		awake := func(d *device) bool { return !d.sleptThrough(s.yieldPatience(d, waiting, now), now) }
		if len(waiting) == 0 || slices.ContainsFunc(users, awake) {
			return current
		}
		for _, d := range users {
			s.yield(d, now)
		}
	}
	if len(waiting) == 0 {
		return slotKey{}
	}
	if d := s.nextTurn(now); d != nil && len(users) == 0 {
		// Even where one of the loaded image stands before it: that image has had its slice.
		return d.Upgrade.key()
	}
	return waiting[0].Upgrade.key()
}

// sleptThrough reports whether a device has had its chance to wake up for the image and did not.
func (d *device) sleptThrough(chance time.Duration, now time.Time) bool {
	u := d.Upgrade
	return d.Sleepy() && u.State == Notified && now.Sub(u.runtime.offeredAt) > chance
}

// yield sends a device that was notified back to the queue, behind those that wait now.
func (s *Service) yield(d *device, now time.Time) {
	if s.fire(d, triggerYield, now) {
		d.Upgrade.runtime.yieldedAt = now
	}
}

// fillPlaces offers the loaded image to those who wait for it, as many as may download at once. An upgrade
// whose installation is to be held downloads alone: its end needs the slot empty.
func (s *Service) fillPlaces(im *cachedImage, now time.Time) {
	users := s.slotUsers()
	busy := len(users)
	if slices.ContainsFunc(users, func(d *device) bool { return d.Upgrade.Install != InstallNow }) ||
		s.turnDue(now) {
		return
	}
	key := s.slot.key()
	for _, d := range s.waiting(now) {
		u := d.Upgrade
		if u.key() != key || u.State != Queued || u.Install != InstallNow && busy > 0 {
			continue
		}
		if d.Battery() != nil && int(*d.Battery()) < s.policy.MinBattery {
			s.fire(d, triggerBattery, now)
			continue
		}
		if busy >= s.policy.Concurrency || !s.offering.Allows(s.sender.Crowded(now), now) {
			return
		}
		s.offering.Begun(now)
		s.offerTo(d, im, now)
		busy++
		if u.Install != InstallNow {
			return
		}
	}
}

// offerTo gives a device the right to the image in the slot and tells it so.
func (s *Service) offerTo(d *device, im *cachedImage, now time.Time) {
	u := d.Upgrade
	if !s.fire(d, triggerOffered, now) {
		return
	}
	u.runtime.offeredAt = now
	if u.OfferedAt.IsZero() { // another image's turn in between does not count anew
		u.OfferedAt = now
	}
	s.admit(d, im)
	s.refreshTable() // before the device can have heard of it
	s.notify(d, now)
}

// admit makes the transfer that the block server works on.
func (s *Service) admit(d *device, im *cachedImage) {
	u := d.Upgrade
	tr := blocks.NewTransfer(blocks.Image{
		Bytes:            im.data,
		ManufacturerCode: u.ManufacturerCode,
		ImageType:        u.ImageType,
		FileVersion:      u.OfferedVersion,
	})
	if u.Install != InstallNow {
		tr.KeepLast()
	}
	tr.LimitBlock(d.LargestBlock())
	u.runtime.transfer = tr
	s.setVerdict(u)
	d.aborting = nil
	s.rights++
}

// setVerdict tells the block server whether a device gets blocks or is to wait.
func (s *Service) setVerdict(u *upgrade) {
	tr := u.runtime.transfer
	switch {
	case tr == nil:
	case s.turnover.includes(u):
		// It is being told to wait for another image's turn; that stands.
	case !u.AsideUntil.IsZero():
		tr.PutOff(u.AsideUntil)
	case u.Held:
		tr.Hold(u.PausedUntil)
	default:
		tr.Serve()
	}
}

// notify tells a device that there is an image. Payload type 0 is what most devices understand: with type 3
// many ask only if the version differs from one that they remember.
func (s *Service) notify(d *device, now time.Time) {
	u := d.Upgrade
	u.runtime.notifications++
	u.runtime.notifiedAt = now
	u.runtime.nextNotify = now.Add(s.policy.NotifyInterval)
	if !d.Reachable() {
		return
	}
	first := u.runtime.notifications == 1
	s.sender.Send(imageNotify(d, u), func(_ message.Status, err error) {
		if sending.Busy(err) {
			// The dongle has no room for it now: that says nothing of the device.
			u.runtime.notifications--
			u.runtime.nextNotify = time.Now().Add(jitter(notifyBusy))
			return
		}
		if err != nil {
			s.log.Warn("an image notification was not sent; it is tried again", "euid", d.EUID(), "err", err)
			return
		}
		if first && d.Upgrade == u && !u.State.Ended() {
			s.happened(s.upgradeEvent(EventImageNotified, d, u))
		}
	})
}

// notifyBusy is the pause after which a notification is sent that the dongle had no room for.
const notifyBusy = time.Second

func imageNotify(d *device, u *upgrade) message.ImageNotify {
	return message.ImageNotify{
		Target:           d.target(),
		PayloadType:      message.NotifyJitter,
		FileVersion:      u.ImageVersion,
		ImageType:        u.ImageType,
		ManufacturerCode: u.ManufacturerCode,
		QueryJitter:      100,
	}
}

// refreshTable puts a new table before the block server.
func (s *Service) refreshTable() {
	inputs := tableInputs{
		addresses: s.home.registry.Addresses(),
		strangers: s.strangers.Revision(),
		rights:    s.rights,
	}
	if inputs == s.inTable {
		return
	}
	s.inTable = inputs
	t := blocks.Table{
		ByAddr: make(map[uint16]*blocks.Transfer, len(s.active)),
		ByNode: make(map[message.IEEE]*blocks.Transfer, len(s.active)),
		Known:  make(map[uint16]struct{}, s.home.registry.Len()),
	}
	for addr, known := range s.home.registry.ByAddr() {
		d := s.home.of(known)
		t.Known[addr] = struct{}{}
		tr := d.aborting
		if u := d.active(); u != nil && u.runtime.transfer != nil {
			tr = u.runtime.transfer
		}
		if tr != nil {
			t.ByAddr[addr] = tr
		}
	}
	for _, d := range s.active {
		if tr := d.Upgrade.runtime.transfer; tr != nil {
			t.ByNode[d.EUID()] = tr
		}
	}
	for addr := range s.strangers.Refused() {
		t.Known[addr] = struct{}{}
	}
	s.blocks.SetTable(t)
}
