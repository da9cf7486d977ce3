package share

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// held is a frame from the air that some clients see only if the dongle makes nothing else of it.
type held struct {
	message examined
	wire    []byte
	clients []*client // that see it then
}

// holder keeps such a frame until the next message tells what the dongle makes of it.
type holder struct {
	frame *held // nil if there is none
	timer *time.Timer
}

// holdTimeout is how long the message that a frame becomes may take after the frame itself: the dongle
// writes the two in a row.
const holdTimeout = 50 * time.Millisecond

func (k *holder) hold(frame *held) {
	k.frame = frame
	k.timer.Reset(holdTimeout)
}

// take returns the frame that was held, if there is one, and holds it no longer.
func (k *holder) take() *held {
	frame := k.frame
	if frame != nil {
		k.frame = nil
		k.timer.Stop()
	}
	return frame
}

// deliver gives a message to the clients that it is for, as far as their raw mode shows it.
func (h *Hub) deliver(t message.MsgType, payload []byte, owner int) {
	if owner == ourselves {
		return
	}
	if before := h.holder.frame; before != nil && madeOf(t, payload, before.message) {
		h.holder.take() // the clients get this message instead
	}
	h.release()
	m := h.lens.examine(t, payload)
	if t == message.TypeHeartbeat {
		h.heartbeat(t, payload)
		return
	}
	var wire []byte
	var waiting []*client
	for _, c := range h.clients.list {
		if c.gone || !c.among(owner) {
			continue
		}
		v := h.lens.view(m, c.mode, h.settings.running, &c.sum)
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
		h.holder.hold(&held{message: m, wire: wire, clients: waiting})
	}
}

// among tells whether the client is an owner of a message, see everybody.
func (c *client) among(owner int) bool {
	if owner&onlyHybrid != 0 {
		if c.mode != message.RawModeHybrid {
			return false
		}
		owner &^= onlyHybrid
	}
	return owner == everybody || owner == c.id
}

// release gives the frame that was held to the clients that see it.
func (h *Hub) release() {
	frame := h.holder.take()
	if frame == nil {
		return
	}
	for _, c := range frame.clients {
		h.send(c, frame.wire)
	}
}

// heartbeat gives the dongle's heartbeat to the clients that get it.
func (h *Hub) heartbeat(t message.MsgType, payload []byte) {
	wire := message.AppendFrame(nil, t, payload)
	for _, c := range h.clients.list {
		if !c.gone && c.wantsHeartbeat(h.lens.v2) {
			h.send(c, wire)
		}
	}
}

// wantsHeartbeat tells whether a client gets the heartbeat: where it has asked for it, and on v2 in raw mode
// 1.
func (c *client) wantsHeartbeat(v2 bool) bool {
	return c.heartbeat || v2 && c.mode == message.RawModeRaw
}

// send gives bytes to a client, or cuts it off where it does not read.
func (h *Hub) send(c *client, wire []byte) {
	if c.put(wire) {
		h.opts.Observer.FrameToClient()
		return
	}
	if !c.cut {
		c.cut = true
		h.log.Warn("a program that shares the dongle does not read what the dongle says, and is cut off",
			"client", c.name)
		h.opts.Observer.ShareReport(ReportCutOff)
		c.close()
	}
}

// restarted notes that the dongle says it starts. What it kept in RAM is gone, for the clients as well.
func (h *Hub) restarted(t message.MsgType) {
	for _, c := range h.clients.list {
		c.heartbeat = false
		c.sum = noSum
		c.restarted.Store(true)
	}
	h.settings.restart()
	if t != message.TypePDMLoaded { // else it is not up yet
		h.arrange()
	}
}

// connect notes that the dongle is connected, in raw mode off.
func (h *Hub) connect(v message.Version) {
	h.connected = true
	h.lens = lensOf(v)
	h.settings.connect(v)
	for _, c := range h.clients.list {
		c.restarted.Store(true) // the firmware, and with it the receiver, may be another
	}
	h.arrange()
}

// disconnect notes that the dongle is gone.
func (h *Hub) disconnect() {
	h.connected = false
	h.release()
}
