package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// dongleMessage acts on what the dongle says of itself.
func (h hearing) dongleMessage(m message.Message, now time.Time) {
	switch m := m.(type) {
	case message.RestartNotice:
		h.restarted(m)
		h.networkUp(m.Kind == message.TypeRestart)
	case message.PDMLoaded:
		h.restarted(m)
	case message.NetworkJoined:
		// Sent at every start, but with status 4 (already on a network) also without one.
		if m.Status != message.NetworkAlreadyUp {
			h.restarted(m)
		}
		h.networkUp(m.Status == message.NetworkJoinedExisting || m.Status == message.NetworkFormed ||
			m.Status == message.NetworkAlreadyUp)
	case message.NetworkState:
		h.dongle.noteNetwork(m)
		h.compareNetwork(now) // it may have been formed anew meanwhile
	case message.ExtendedStatus:
		h.stackError(m, now)
	case message.PDMEvent:
		h.storage(m)
	}
}

// connected takes the dongle into use: what its slot holds is not known, and it lists its neighbours.
func (h hearing) connected(info zigate.Info) {
	now := h.now()
	h.dongle.connect(info, now)
	h.log.Info("the dongle is connected", "port", info.Port, "firmware", info.Firmware, "family", info.Family,
		"euid", info.IEEE)
	if !info.NetworkUp {
		h.log.Warn(noNetwork)
	}
	h.happened(Event{Name: EventDongleConnected})
	h.compareNetwork(now)
	h.upgrades.stepAll(upgrade.DongleBack{Away: now.Sub(h.dongle.goneAt)}, now)
	h.slot.lost()
	h.watch.reset() // the handshake has set the mode
	h.listDevices()
}

func (h hearing) disconnected(err error) {
	before := h.dongle.lastError
	if !h.dongle.disconnect(err, h.now()) {
		if h.dongle.lastError != before { // only the error is new
			h.log.Warn("the dongle cannot be reached; it is tried again and again", "err", err)
		}
		return
	}
	if !h.stopping() {
		h.log.Warn("the dongle is gone", "err", err)
	}
	event := Event{Name: EventDongleDisconnected}
	if err != nil {
		event.Error = err.Error()
	}
	h.happened(event)
	h.slot.lost()
	h.questions.Drop(errDongleAway)
	h.interviews.endAll(errDongleAway)
}

// stackError acts on an error of the dongle's stack.
func (h hearing) stackError(m message.ExtendedStatus, now time.Time) {
	h.log.Debug("an error of the dongle's stack", "code", m.Code,
		"meaning", message.ExtendedStatusText(m.Code))
	h.sender.NoteStackError(m, now)
}

// storage warns of trouble with the dongle's flash memory.
func (h hearing) storage(m message.PDMEvent) {
	switch {
	case !h.dongle.noteStorage(m):
	case h.dongle.badFlash:
		h.log.Error(flashTrouble, "event", m.Event, "record", m.Record)
	default:
		h.log.Info("the dongle has saved to its flash memory again; upgrades begin again")
	}
}

// networkUp follows whether the dongle has a network. One that has just got it says which.
func (h hearing) networkUp(up bool) {
	if h.dongle.info.NetworkUp == up || !h.dongle.connected {
		return
	}
	h.dongle.info.NetworkUp = up
	if !up {
		h.log.Warn(noNetwork)
		return
	}
	h.log.Info("the dongle has a network now")
	h.sender.Send(message.GetNetworkState{}, nil) // its answer is a message
	h.listDevices()
}

// compareNetwork ends upgrades that had begun where the dongle has another network than before: their devices
// are not there.
func (h hearing) compareNetwork(now time.Time) {
	before, replaced := h.dongle.compareNetwork()
	if !replaced {
		return
	}
	found := h.dongle.network
	h.log.Warn("the dongle was replaced, or has another network now: upgrades that had begun are ended",
		"coordinator", found.Coordinator, "panId", found.PANID, "coordinatorBefore", before.Coordinator,
		"panIdBefore", before.PANID)
	h.upgrades.stepAll(upgrade.DongleReplaced{}, now)
}

// restarted: a reset has emptied the header slot. Every kind of start-up message means it; several come in a
// row.
func (h hearing) restarted(m message.Message) {
	if !h.slot.restarted() {
		return // told already, or nothing was loaded
	}
	h.log.Warn("the dongle has restarted; its image header is loaded again", "message", m.Type())
}
