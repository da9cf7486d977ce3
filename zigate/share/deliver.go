package share

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// held is a frame from the air that some clients see only if the dongle makes nothing else of it.
type held struct {
	message examined
	wire    []byte
	clients []*client
}

// holdTime is how long the message that a frame becomes may take after the frame itself: the dongle
// writes the two in a row.
const holdTime = 50 * time.Millisecond

// deliver gives a message to whom it is for, as far as their raw mode shows it.
func (h *Hub) deliver(t message.MsgType, payload []byte, owner int) {
	if owner == ourselves {
		return
	}
	if before := h.held; before != nil && madeOf(t, payload, before.message) {
		h.held = nil
		h.holdTimer.Stop()
	}
	h.release()
	m := h.lens.examine(t, payload)
	if t == message.TypeHeartbeat {
		h.heartbeat(t, payload)
		return
	}
	var wire []byte
	var waiting []*client
	for _, c := range h.clients {
		if c.gone || !c.among(owner) {
			continue
		}
		v := h.lens.view(m, c.mode, h.real, &c.sum)
		if v == hide {
			continue
		}
		if wire == nil {
			wire = message.AppendFrame(nil, t, payload)
		}
		if v == showAlone {
			waiting = append(waiting, c)
			continue
		}
		h.send(c, wire)
	}
	if waiting != nil {
		h.held = &held{message: m, wire: wire, clients: waiting}
		h.holdTimer.Reset(holdTime)
	}
}

// among tells whether a message for owner is for the client.
func (c *client) among(owner int) bool {
	if owner&onlyHybrid != 0 {
		if c.mode != message.RawModeHybrid {
			return false
		}
		owner &^= onlyHybrid
	}
	return owner == everybody || owner == c.id
}

// release gives out what was held.
func (h *Hub) release() {
	was := h.held
	if was == nil {
		return
	}
	h.held = nil
	h.holdTimer.Stop()
	for _, c := range was.clients {
		h.send(c, was.wire)
	}
}

// heartbeat goes to those who have asked for it, and on v2 to those in raw mode 1.
func (h *Hub) heartbeat(t message.MsgType, payload []byte) {
	wire := message.AppendFrame(nil, t, payload)
	for _, c := range h.clients {
		if !c.gone && h.wantsHeartbeat(c) {
			h.send(c, wire)
		}
	}
}

func (h *Hub) wantsHeartbeat(c *client) bool {
	return c.heartbeat || h.v2 && c.mode == message.RawModeRaw
}

func (h *Hub) send(c *client, wire []byte) {
	if c.put(wire) {
		h.observer.FrameToClient()
		return
	}
	if !c.cut {
		c.cut = true
		h.log.Warn("a program that shares the dongle does not read what the dongle says, and is cut off",
			"client", c.name)
		h.observer.ShareReport(ReportCutOff)
		c.close()
	}
}

// restarted is called when the dongle says that it starts. What it kept in RAM is gone, for the clients as
// well.
func (h *Hub) restarted(t message.MsgType) {
	for _, c := range h.clients {
		c.heartbeat = false
		c.sum = noSum
		c.restarted.Store(true)
	}
	if h.erased {
		h.erased = false
		h.real = message.RawModeOff
		h.asked = message.RawModeOff
	}
	h.beating = false
	if t != message.TypePDMLoaded { // it is up
		h.arrange()
	}
}

// takeUp is called when the dongle is connected, in mode off.
func (h *Hub) takeUp(v message.Version) {
	h.connected = true
	h.lens = lensOf(v)
	h.v2 = v.Family() == message.FamilyV2
	h.real = message.RawModeOff
	h.asked = message.RawModeOff
	h.wish = message.RawModeOff
	h.beating = false
	h.erased = false
	for _, c := range h.clients {
		c.restarted.Store(true) // the firmware, and with it the receiver, may be another
	}
	h.arrange()
}

func (h *Hub) lose() {
	h.connected = false
	h.release()
}
