package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

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
	s.setVerdict(d)
	d.aborting = nil
	s.rights++
}

// setVerdict tells the block server whether a device gets blocks or is to wait.
func (s *Service) setVerdict(d *device) {
	u := d.Upgrade
	tr := u.runtime.transfer
	switch {
	case tr == nil:
	case s.slot.state.TellsToWait(d.EUID()):
		// It is being told to wait for another image; that stands.
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

// refreshTable puts a new table before the block server where who may have blocks has changed.
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

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
