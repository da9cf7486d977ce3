package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// view is what the planner has to know of the service. It changes nothing, and is valid until the next one.
func (h *headerSlot) view(now time.Time) slot.View {
	_, usable := h.s.dongle.usable()
	h.upgrades = h.upgrades[:0]
	for _, d := range h.s.upgrades.active {
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
	return slot.Candidate{
		Device:       d.EUID(),
		Key:          h.keyOf(d),
		Stage:        slotStage(u, now),
		Image:        h.memory.state(u.Image().SHA256),
		QueuedSince:  u.QueuedSince(),
		WaitsSince:   u.WantedSince(),
		DueAt:        u.DueAt(),
		NotBefore:    u.NotBefore(),
		Canary:       u.Canary(),
		Located:      d.Reachable(),
		BatteryLow:   d.Battery() != nil && int(*d.Battery()) < h.s.policy.MinBattery,
		InstallLater: u.KeepsLastBlock(),
		Sleepy:       d.Sleepy(),
		AwakeUntil:   u.AwakeUntil(),
		Served:       d.transfer != nil,
		Begun:        u.Begun(),
		OfferedAt:    u.OfferedAt(),
		LastBlock:    u.SlotIsKeptEmpty(now),
		Left:         u.Left(),
		Rate:         u.Rate(now),
		Held:         u.Stage().PausedByPerson(),
		Told:         d.transfer != nil && d.transfer.PutOffTold(),
		PutOffUntil:  u.PutOffUntil(),
	}
}

// slotStages say where an upgrade stands with regard to the slot.
var slotStages = map[upgrade.Stage]slot.Stage{
	upgrade.StageScheduled:     slot.Scheduled,
	upgrade.StageQueued:        slot.Queued,
	upgrade.StagePausedInQueue: slot.PausedInQueue,
	upgrade.StageNotified:      slot.Offered,
	upgrade.StageDownloading:   slot.Downloading,
	upgrade.StageFinishing:     slot.Downloading,
	upgrade.StagePaused:        slot.Paused,
	upgrade.StagePutOff:        slot.Paused,
	upgrade.StagePutOffPaused:  slot.Paused,
}

// slotStage is where an upgrade stands with regard to the slot.
func slotStage(u *upgrade.Upgrade, now time.Time) slot.Stage {
	if u.HoldsInstallation(now) {
		return slot.Withheld
	}
	return slotStages[u.Stage()]
}

// keyOf is the image of a device's upgrade with the file version under which the device was offered it.
// Before that it is the version under which it would be offered now.
func (h *headerSlot) keyOf(d *device) slot.Key {
	u := d.Upgrade
	key := slot.Key{SHA256: u.Image().SHA256, Version: u.OfferedVersion()}
	if st := u.Stage(); st == upgrade.StageQueued || st == upgrade.StagePausedInQueue {
		key.Version = h.s.versionToOffer(d, u)
	}
	return key
}

// versionToOffer is the file version under which a device is offered its image: the image's own, unless the
// dongle's firmware compares versions and would keep an older or equal one from the device. Then it is
// offered as one newer than what runs; the image's bytes stay as they are. Many devices refuse such an image
// in the end, which shows in how the upgrade ends.
func (s *Service) versionToOffer(d *device, u *upgrade.Upgrade) uint32 {
	version := u.Image().ImageVersion
	running := d.CurrentVersion()
	if running == nil || *running < version || !s.dongle.info.Version().ChecksVersion() {
		return version
	}
	return min(*running, wildcard32-2) + 1
}

// withheldBy is the device that has the image of another one's upgrade and waits to be told to install it, so
// that the other one has to wait; nil where there is none.
func (h *headerSlot) withheldBy(d *device, now time.Time) *device {
	return h.s.home.get(slot.WithheldBy(h.view(now), h.keyOf(d)))
}
