package share

import (
	"errors"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// settings is what the dongle can do for one host only, and who wants it how.
type settings struct {
	running message.RawMode // in which the dongle runs
	asked   message.RawMode // that the dongle was told last
	wish    message.RawMode // of this program
	stored  message.RawMode // as a dongle of its own would have kept it for the clients
	erased  bool            // the dongle was told to forget its raw mode, and has not restarted yet
	beating bool            // the dongle was told to send its heartbeat
	hybrid  bool            // the dongle's firmware has the hybrid raw mode
}

// connect is the state when the dongle is connected: the handshake has set its raw mode to off.
func (s *settings) connect(v message.Version) {
	*s = settings{stored: s.stored, hybrid: v.HasHybrid()}
}

// neededMode is the raw mode from which all that anybody wants to see can be made. In the pure raw mode,
// which this program may want, clients that want messages would see none: firmware that has no other one
// stays off for them.
func (s *settings) neededMode(clients *clientList) message.RawMode {
	switch {
	case clients.wantRaw():
		return message.RawModeHybrid
	case s.wish != message.RawModeRaw || clients.alone():
		return s.wish
	case s.hybrid:
		return message.RawModeHybrid
	default:
		return message.RawModeOff
	}
}

// doubtMode notes that the dongle may not have done what it was told.
func (s *settings) doubtMode() { s.asked = s.running }

// restart notes that the dongle starts: it forgets the heartbeat, and its raw mode if it was told to.
func (s *settings) restart() {
	s.beating = false
	if s.erased {
		s.erased = false
		s.running = message.RawModeOff
		s.asked = message.RawModeOff
	}
}

// modeAsk is a raw mode on its way to the dongle.
type modeAsk struct {
	mode   message.RawMode
	client *client // that has asked for it; nil if this program has
	wanted message.RawMode
}

// arrange brings the dongle into the state that everybody needs, where it is not.
func (h *Hub) arrange() {
	if !h.connected {
		return
	}
	if h.settings.neededMode(&h.clients) != h.settings.asked {
		h.setRawMode(&ask{owner: ourselves, typ: message.TypeSetRawMode}, func(_ message.Status, err error) {
			if errors.Is(err, zigate.ErrNoAnswer) || errors.Is(err, zigate.ErrQueueFull) {
				time.AfterFunc(arrangeBackoff, func() { h.inbox.Post(h.rearrange) })
			}
		})
	}
	if h.clients.wantHeartbeat(h.lens.v2) && !h.settings.beating {
		h.settings.beating = true
		h.dongle.SubmitFor(&ask{owner: ourselves, typ: message.TypeSetHeartbeat},
			message.SetHeartbeat{Enable: 1}, nil)
	}
}

// arrangeBackoff is how long the dongle is left alone when it did not take its raw mode.
const arrangeBackoff = 2 * time.Second

// rearrange is arrange when the dongle may not have done what it was told.
func (h *Hub) rearrange() {
	h.settings.doubtMode()
	h.arrange()
}

// setRawMode has the dongle run in the mode that is needed.
func (h *Hub) setRawMode(a *ask, done func(message.Status, error)) {
	mode := h.settings.neededMode(&h.clients)
	a.mode = &modeAsk{mode: mode}
	h.settings.asked = mode
	h.dongle.SubmitFor(a, message.SetRawMode{Mode: mode}, done)
}

// executed notes that the dongle has carried out a command that changes what clients see of it.
func (h *Hub) executed(a *ask) {
	if a.typ == message.TypeErasePersistentData {
		h.settings.erased = true
		h.settings.stored = message.RawModeOff
		for _, c := range h.clients.list {
			c.mode = message.RawModeOff
		}
		return
	}
	if a.mode == nil {
		return
	}
	h.settings.running = a.mode.mode
	if c := a.mode.client; c != nil {
		c.mode = a.mode.wanted
		h.settings.stored = a.mode.wanted
	}
	h.arrange() // somebody may have come or gone meanwhile
}
