package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

// view is what the planner has to know of the service. It changes nothing, and is valid until the next one.
func (h *headerSlot) view(now time.Time) slot.View {
	_, usable := h.s.dongle.usable()
	h.upgrades = h.upgrades[:0]
	for _, d := range h.s.active {
		h.upgrades = append(h.upgrades, h.candidate(d, now))
	}
	return slot.View{
		Slot:     h.state,
		Usable:   usable,
		NoNew:    h.s.dongle.badFlash,
		Crowded:  h.s.sender.Crowded(now),
		Policy:   h.policy(),
		Upgrades: h.upgrades,
	}
}

func (h *headerSlot) policy() slot.Policy {
	p := &h.s.policy
	return slot.Policy{
		Concurrency:    p.Concurrency,
		Slice:          p.Slice,
		BlockInterval:  p.BlockInterval,
		PauseStep:      blocks.MaxHold * time.Second,
		CrowdedTimeout: sending.PutOffFor,
	}
}

// candidate is a device's upgrade, which has not ended, as far as the slot is concerned.
func (h *headerSlot) candidate(d *device, now time.Time) slot.Candidate {
	u := d.Upgrade
	tr := u.runtime.transfer
	return slot.Candidate{
		Device:       d.EUID(),
		Key:          h.keyOf(d),
		Stage:        u.stage(now),
		Image:        h.memory.state(u.SHA256),
		QueuedSince:  later(u.QueuedAt, u.runtime.yieldedAt),
		WaitsSince:   later(u.QueuedAt, u.DueAt),
		DueAt:        u.DueAt,
		NotBefore:    u.runtime.notBefore,
		Canary:       u.Canary,
		Located:      d.Reachable(),
		BatteryLow:   d.Battery() != nil && int(*d.Battery()) < h.s.policy.MinBattery,
		InstallLater: u.Install != InstallNow,
		Sleepy:       d.Sleepy(),
		AwakeUntil:   u.runtime.awakeUntil,
		Served:       tr != nil,
		Begun:        u.runtime.begun,
		OfferedAt:    u.runtime.offeredAt,
		LastBlock:    h.s.finish.device == d && !now.After(h.s.finish.until),
		Left:         u.Size - min(u.Offset, u.Size),
		Rate:         u.rate(now),
		Held:         u.Held,
		Told:         tr != nil && tr.PutOffTold(),
		PutOffUntil:  u.AsideUntil,
	}
}

// stage is where an upgrade stands with regard to the slot.
func (u *upgrade) stage(now time.Time) slot.Stage {
	switch {
	case u.State == Scheduled:
		return slot.Scheduled
	case u.State == Queued:
		return slot.Queued
	case u.neverOffered():
		return slot.PausedInQueue
	case u.State == Notified:
		return slot.Offered
	case u.State == Downloading:
		return slot.Downloading
	case u.State == Paused:
		return slot.Paused
	case u.State == Downloaded && !u.installDue(now):
		return slot.Withheld
	default:
		return slot.Elsewhere
	}
}

// neverOffered reports whether the upgrade was paused while it stood in the queue.
func (u *upgrade) neverOffered() bool {
	return u.State.holdsSlot() && u.runtime.transfer == nil && u.StartedAt.IsZero()
}

// keyOf is the image of a device's upgrade with the file version under which the device was offered it.
// Before that it is the version under which it would be offered now.
func (h *headerSlot) keyOf(d *device) slot.Key {
	u := d.Upgrade
	key := slot.Key{SHA256: u.SHA256, Version: u.OfferedVersion}
	if u.State == Queued || u.neverOffered() {
		key.Version = h.s.versionToOffer(d, u)
	}
	return key
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

// withheldBy is the device that has the image of another one's upgrade and waits to be told to install it, so
// that the other one has to wait; nil where there is none.
func (h *headerSlot) withheldBy(d *device, now time.Time) *device {
	return h.s.home.get(slot.WithheldBy(h.view(now), h.keyOf(d)))
}
