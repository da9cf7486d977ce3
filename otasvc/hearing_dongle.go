package otasvc

import (
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// dongleHearing takes in what the dongle says of itself: that it is there or gone, was reset, has another
// network, or is in trouble. It knows no single device. It belongs to the owner goroutine.
type dongleHearing struct {
	owner      *owner
	dongle     *dongle
	slot       *headerSlot
	watch      *watch
	upgrades   *upgrades
	questions  *registry.Questions
	interviews *interviews
	inventory  *inventory
	census     *census
	sender     *sending.Sender
	outlet     *outlet
	log        *slog.Logger
}

// message acts on what the dongle says of itself.
func (h *dongleHearing) message(m message.Message, now time.Time) {
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
func (h *dongleHearing) connected(info zigate.Info, now time.Time) {
	h.dongle.connect(info, now)
	h.log.Info("the dongle is connected", "port", info.Port, "firmware", info.Firmware, "family", info.Family,
		"euid", info.IEEE)
	if !info.NetworkUp {
		h.log.Warn(noNetwork)
	}
	h.outlet.happened(Event{Name: EventDongleConnected})
	h.compareNetwork(now)
	h.upgrades.stepAll(upgrade.DongleBack{Away: now.Sub(h.dongle.goneAt)}, now)
	h.slot.lost()
	h.watch.reset() // the handshake has set the mode
	h.census.take()
}

// disconnected notes that the dongle is gone, or why it still is.
func (h *dongleHearing) disconnected(err error, now time.Time) {
	before := h.dongle.lastError
	if !h.dongle.disconnect(err, now) {
		if h.dongle.lastError != before { // only the error is new
			h.log.Warn("the dongle cannot be reached; it is tried again and again", "err", err)
		}
		return
	}
	if !h.owner.stopping() {
		h.log.Warn("the dongle is gone", "err", err)
	}
	event := Event{Name: EventDongleDisconnected}
	if err != nil {
		event.Error = err.Error()
	}
	h.outlet.happened(event)
	h.slot.lost()
	h.questions.Drop(errDongleAway)
	h.interviews.endAll(errDongleAway)
	h.inventory.endAll()
}

// stackError acts on an error of the dongle's stack.
func (h *dongleHearing) stackError(m message.ExtendedStatus, now time.Time) {
	h.log.Debug("an error of the dongle's stack", "code", m.Code,
		"meaning", message.ExtendedStatusText(m.Code))
	h.sender.NoteStackError(m, now)
}

// storage warns of trouble with the dongle's flash memory.
func (h *dongleHearing) storage(m message.PDMEvent) {
	switch {
	case !h.dongle.noteStorage(m):
	case h.dongle.badFlash:
		h.log.Error(flashTrouble, "event", m.Event, "record", m.Record)
	default:
		h.log.Info("the dongle has saved to its flash memory again; upgrades begin again")
	}
}

// networkUp follows whether the dongle has a network. One that has just got it says which.
func (h *dongleHearing) networkUp(up bool) {
	if !h.dongle.setNetworkUp(up) {
		return
	}
	if !up {
		h.log.Warn(noNetwork)
		return
	}
	h.log.Info("the dongle has a network now")
	h.sender.Send(message.GetNetworkState{}, nil) // its answer is a message
	h.census.take()
}

// compareNetwork ends upgrades that had begun where the dongle has another network than before: their devices
// are not there.
func (h *dongleHearing) compareNetwork(now time.Time) {
	before := h.dongle.network
	told := h.dongle.toldNetwork()
	found := told.after(before)
	h.dongle.keepNetwork(found)
	if !told.replaces(before) {
		return
	}
	h.log.Warn("the dongle was replaced, or has another network now: upgrades that had begun are ended",
		"coordinator", found.Coordinator, "panId", found.PANID, "coordinatorBefore", before.Coordinator,
		"panIdBefore", before.PANID)
	h.upgrades.stepAll(upgrade.DongleReplaced{}, now)
}

// restarted notes that a reset has emptied the header slot. Every kind of start-up message means it; several
// come in a row.
func (h *dongleHearing) restarted(m message.Message) {
	if !h.slot.restarted() {
		return // told already, or nothing was loaded
	}
	h.log.Warn("the dongle has restarted; its image header is loaded again", "message", m.Type())
}
