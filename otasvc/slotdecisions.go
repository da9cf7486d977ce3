package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// follow carries out what the planner decides until there is nothing to do.
func (h *headerSlot) follow(now time.Time) {
	h.s.finishing(now)            // ends a wait for a last block whose time is over
	most := 8 + 4*len(h.s.active) // a decision that changes nothing must not stop the owner
	for range most {
		decision := slot.Plan(h.view(now), now)
		if decision == nil {
			return
		}
		h.carryOut(decision, now)
	}
	h.s.log.Error("the planner of the header slot does not come to an end; please report this",
		"decisions", most)
}

// carryOut does what was decided.
func (h *headerSlot) carryOut(decision slot.Decision, now time.Time) {
	switch dec := decision.(type) {
	case slot.Read:
		h.readImage(dec.SHA256)
	case slot.Load:
		h.load(dec.Key, now)
	case slot.Clear:
		h.clear(nil)
	case slot.Reset:
		h.reset(now)
	case slot.Admit:
		for _, d := range h.devices(dec.Devices) {
			h.s.admit(d, h.image())
		}
	case slot.Offer:
		h.state = h.state.Offered(h.s.sender.Crowded(now), now)
		h.offer(h.s.home.get(dec.Device), dec.Key, now)
	case slot.Defer:
		h.state = h.state.Deferred(now)
	case slot.EndForBattery:
		h.s.fire(h.s.home.get(dec.Device), triggerBattery, now)
	case slot.GiveUp:
		h.giveUp(dec.Devices, now)
	case slot.BeginSwitch:
		h.beginSwitch(dec, now)
	case slot.FinishSwitch:
		h.finishSwitch(dec, now)
	case slot.CallBack:
		for _, d := range h.devices(dec.Devices) {
			h.callBack(d, now)
		}
	}
}

// devices are those of a decision.
func (h *headerSlot) devices(of []message.IEEE) []*device {
	devices := make([]*device, len(of))
	for i, euid := range of {
		devices[i] = h.s.home.get(euid)
	}
	return devices
}

// offer gives a device the right to the image in the slot and tells it so.
func (h *headerSlot) offer(d *device, key slot.Key, now time.Time) {
	u := d.Upgrade
	u.OfferedVersion = key.Version
	if !h.s.fire(d, triggerOffered, now) {
		return
	}
	u.runtime.offeredAt = now
	if u.OfferedAt.IsZero() { // another image's time in between does not count anew
		u.OfferedAt = now
	}
	h.s.admit(d, h.image())
	h.s.refreshTable() // before the device can have heard of it
	h.s.notify(d, now)
}

// giveUp sends devices that were notified back to the queue, behind those that wait now.
func (h *headerSlot) giveUp(devices []message.IEEE, now time.Time) {
	for _, d := range h.devices(devices) {
		if h.s.fire(d, triggerYield, now) {
			d.Upgrade.runtime.yieldedAt = now
		}
	}
}

// beginSwitch has the devices that download told to wait with their next request.
func (h *headerSlot) beginSwitch(dec slot.BeginSwitch, now time.Time) {
	h.giveUp(dec.GiveUp, now)
	for _, d := range h.devices(dec.PutOff) {
		if tr := d.Upgrade.runtime.transfer; tr != nil {
			tr.PutOff(dec.Until)
		}
	}
	h.state = h.state.SwitchBegun(dec)
	h.s.log.Info("another image gets the header slot; the downloads under way are held meanwhile",
		"downloads", len(dec.PutOff))
}

// finishSwitch puts the devices off that have been told to wait, or had the time to ask.
func (h *headerSlot) finishSwitch(dec slot.FinishSwitch, now time.Time) {
	h.state = h.state.SwitchFinished()
	for _, d := range h.devices(dec.Devices) {
		u := d.Upgrade
		u.AsideUntil = dec.Until
		u.AsideTold = u.runtime.transfer != nil && u.runtime.transfer.PutOffTold()
		u.runtime.yieldedAt = now
		h.s.upgradeChanged(d)
		if h.s.fire(d, triggerHold, now) {
			h.s.happened(h.s.upgradeEvent(EventDownloadPaused, d, u))
		}
	}
}

// callBack lets a download of the loaded image go on that had been put off for other images.
func (h *headerSlot) callBack(d *device, now time.Time) {
	u := d.Upgrade
	if u.AsideTold {
		// It asks when its wait is over, not before: until then it is not silent.
		u.runtime.lastActivity = later(now, u.AsideUntil)
		h.state = h.state.CalledBack(u.AsideUntil)
	} else {
		// It was silent already. The time that others took does not count, the time before does: else devices
		// that are gone would hand the slot to each other for ever.
		away := now.Sub(later(u.runtime.yieldedAt, u.runtime.restoredAt))
		u.runtime.lastActivity = u.runtime.lastActivity.Add(away)
	}
	u.AsideUntil = time.Time{}
	u.AsideTold = false
	h.s.upgradeChanged(d)
	h.s.setVerdict(d)
	if !u.Held && h.s.fire(d, triggerRelease, now) {
		h.s.happened(h.s.upgradeEvent(EventDownloadResumed, d, u))
	}
}
