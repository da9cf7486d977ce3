package share

import (
	"errors"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// What the dongle can do for one host only is arranged here: its raw mode and its heartbeat.

// needed is the raw mode from which all that anybody wants to see can be made.
func (h *Hub) needed() message.RawMode {
	for _, c := range h.clients {
		if c.gone {
			continue
		}
		if c.mode == message.RawModeRaw || c.mode == message.RawModeHybrid {
			return message.RawModeHybrid
		}
	}
	return h.wish
}

// arrange brings the dongle into the state that everybody needs, where it is not.
func (h *Hub) arrange() {
	if !h.connected {
		return
	}
	if h.needed() != h.asked {
		h.setRawMode(&ask{owner: ourselves, typ: message.TypeSetRawMode}, func(_ message.Status, err error) {
			if errors.Is(err, zigate.ErrNoAnswer) || errors.Is(err, zigate.ErrQueueFull) {
				time.AfterFunc(arrangeRetry, func() { h.inbox.Post(h.rearrange) })
			}
		})
	}
	if beat := h.needsHeartbeat(); beat && !h.beating {
		h.beating = true
		h.dongle.SubmitFor(&ask{owner: ourselves, typ: message.TypeSetHeartbeat},
			message.SetHeartbeat{Enable: 1}, nil)
	}
}

// arrangeRetry is how long the dongle is left alone when it did not take its raw mode.
const arrangeRetry = 2 * time.Second

// rearrange is arrange when the dongle may not have done what it was told.
func (h *Hub) rearrange() {
	h.asked = h.real
	h.arrange()
}

func (h *Hub) needsHeartbeat() bool {
	for _, c := range h.clients {
		if !c.gone && h.wantsHeartbeat(c) {
			return true
		}
	}
	return false
}

// modeAsk is a raw mode on its way to the dongle.
type modeAsk struct {
	mode   message.RawMode
	client *client // who has asked; nil stands for this program
	wanted message.RawMode
}

// setRawMode has the dongle run in the mode that is needed.
func (h *Hub) setRawMode(a *ask, done func(message.Status, error)) {
	mode := h.needed()
	a.mode = &modeAsk{mode: mode}
	h.asked = mode
	h.dongle.SubmitFor(a, message.SetRawMode{Mode: mode}, done)
}

// executed is called when the dongle has carried out a command that changes what clients see of it.
func (h *Hub) executed(a *ask) {
	if a.typ == message.TypeErasePersistentData {
		h.erased = true
		h.stored = message.RawModeOff
		for _, c := range h.clients {
			c.mode = message.RawModeOff
		}
		return
	}
	if a.mode == nil {
		return
	}
	h.real = a.mode.mode
	if c := a.mode.client; c != nil {
		c.mode = a.mode.wanted
		h.stored = a.mode.wanted
	}
	h.arrange() // somebody may have come or gone meanwhile
}
