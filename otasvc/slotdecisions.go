package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// follow carries out what the planner decides until there is nothing to do.
func (h *headerSlot) follow(now time.Time) {
	most := 8 + 4*len(h.s.upgrades.active) // a decision that changes nothing must not stop the owner
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
			h.s.upgrades.admit(d, h.image())
		}
	case slot.Offer:
		h.state = h.state.Offered(h.s.sender.Crowded(now), now)
		h.s.upgrades.step(h.s.home.get(dec.Device), upgrade.Offered{Version: dec.Key.Version}, now)
	case slot.Defer:
		h.state = h.state.Deferred(now)
	case slot.EndForBattery:
		h.s.upgrades.step(h.s.home.get(dec.Device), upgrade.BatteryLow{}, now)
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

// giveUp sends devices that were notified back to the queue, behind those that wait now.
func (h *headerSlot) giveUp(devices []message.IEEE, now time.Time) {
	for _, d := range h.devices(devices) {
		h.s.upgrades.step(d, upgrade.SlotGivenUp{}, now)
	}
}

// beginSwitch has the devices that download told to wait with their next request.
func (h *headerSlot) beginSwitch(dec slot.BeginSwitch, now time.Time) {
	h.giveUp(dec.GiveUp, now)
	for _, d := range h.devices(dec.PutOff) {
		if tr := d.transfer; tr != nil {
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
		told := d.transfer != nil && d.transfer.PutOffTold()
		h.s.upgrades.step(d, upgrade.PutOff{Until: dec.Until, Told: told}, now)
	}
}

// callBack lets a download of the loaded image go on that had been put off for other images.
func (h *headerSlot) callBack(d *device, now time.Time) {
	if u := d.Upgrade; u.PutOffTold() {
		h.state = h.state.CalledBack(u.PutOffUntil())
	}
	h.s.upgrades.step(d, upgrade.CalledBack{}, now)
}
