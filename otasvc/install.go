package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Install says when a device is to install what it has downloaded.
type Install string

// When to install.
const (
	InstallNow  Install = ""     // as soon as it is downloaded
	InstallHold Install = "hold" // when a later request says so
	InstallAt   Install = "at"   // at a time
)

// The dongle itself tells a device to install in 5 s while the device's header is loaded, and nothing stops
// it. So a device whose installation is to wait gets its last block only when the slot holds a header that
// fits nobody: then the dongle is silent at the upgrade end request, and the answer is ours.

// finishTimeout is how long the slot stays empty for a device that has been given its last block.
const finishTimeout = 30 * time.Second

// waitForever as upgrade time tells a device to wait for another answer.
const waitForever = 0xFFFFFFFF

// finish is a device that is being given its last block with the slot empty.
type finish struct {
	device *device
	until  time.Time
}

// finishing reports whether the slot has to stay as it is for a device's last block.
func (s *Service) finishing(now time.Time) bool {
	if s.finish.device == nil {
		return false
	}
	u := s.finish.device.active()
	if u == nil || !u.State.holdsSlot() || now.After(s.finish.until) {
		s.finish = finish{}
		return false
	}
	return true
}

// lastBlock empties the slot and then sends the block.
func (s *Service) lastBlock(tr *blocks.Transfer, req message.BlockRequest, now time.Time) {
	d := s.home.at(req.Addr)
	if d == nil || d.active() == nil || d.Upgrade.runtime.transfer != tr || s.slot.state.IsBusy() {
		return // it asks again
	}
	if s.slot.state.PagesAsked() {
		// The dongle would have to be reset first, and the device's next page request would
		// begin it all anew.
		s.log.Error("the installation cannot be held for a device that asks by pages with a dongle of this "+
			"kind; the upgrade is cancelled", "euid", d.EUID())
		s.fire(d, triggerCancel, now)
		return
	}
	s.finish = finish{device: d, until: now.Add(finishTimeout)}
	send := func() { s.sender.Send(s.blocks.Block(tr, &req), nil) }
	if s.slot.state.IsCleared() {
		send()
		return
	}
	s.slot.clear(send)
}

// endResponse answers an upgrade end request: install in so many seconds, or wait.
func (s *Service) endResponse(
	d *device, target message.Target, sequence uint8, fileVersion, upgradeTime uint32,
) {
	u := d.Upgrade
	s.sender.Send(message.UpgradeEndResponse{
		Target:           target,
		Sequence:         sequence,
		CurrentTime:      0,
		UpgradeTime:      upgradeTime,
		FileVersion:      fileVersion,
		ImageType:        u.ImageType,
		ManufacturerCode: u.ManufacturerCode,
	}, func(_ message.Status, err error) {
		if err != nil {
			s.log.Warn("the answer to an upgrade end request was not sent; the device asks again",
				"euid", d.EUID(), "err", err)
		}
	})
}

// installDue reports whether a device that has its image is to install it now.
func (u *upgrade) installDue(now time.Time) bool {
	return u.Install == InstallNow || u.Install == InstallAt && !now.Before(u.InstallAt)
}

// install tells a device that waits with its image to install it. A device that asks again is
// answered the same.
func (s *Service) install(d *device, now time.Time) {
	u := d.Upgrade
	u.Install = InstallNow
	if d.Reachable() {
		s.endResponse(d, d.target(), u.EndSequence, u.OfferedVersion, installIn)
	}
	if s.fire(d, triggerApply, now) {
		u.ApplyingAt = now
		u.WasHeld = true
		s.happened(s.upgradeEvent(EventUpgradeApplying, d, u))
	}
}
