package share

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func isShort(err error) bool { return errors.Is(err, message.ErrShort) }

const (
	// dongleWait is how long a command waits for a dongle that is not connected. A light that is switched
	// minutes later is worse than one that is not.
	dongleWait = 3 * time.Second
	// busyWait is how long the next try waits when too many commands of this program are in line.
	busyWait = 20 * time.Millisecond
)

// feed has the clients' commands executed, one at a time, the clients one after the other. At most one of
// them is in the dongle's queue, so that commands of this program never wait for more.
func (h *Hub) feed() {
	for !h.inFlight {
		c := h.nextClient()
		if c == nil {
			return
		}
		r := c.waiting[0]
		if !h.connected {
			wait := dongleWait - time.Since(r.at)
			if wait > 0 {
				h.retry.Reset(wait)
				return
			}
			h.observer.ShareReport(ReportDropped)
			c.pop()
			h.drop(c)
			continue
		}
		if wait := h.pause(); wait > 0 {
			h.next-- // it stays this client's
			h.retry.Reset(wait)
			return
		}
		c.pop()
		if h.opts.OTA == OTAOurs && r.isOTA() {
			h.refuse(c, r)
		} else {
			h.begin(c, r)
		}
		h.drop(c)
	}
}

const (
	// downloading is how long after a block request a device counts as downloading.
	downloading = 250 * time.Millisecond
	// downloadGap is the shortest time between two commands of clients while devices download. A
	// dongle's serial line takes longer for a command and its answer; without one, clients could keep
	// all of this machine busy.
	downloadGap = 2 * time.Millisecond
)

// pause is how long the next command has to wait, so that blocks find the machine free.
func (h *Hub) pause() time.Duration {
	now := time.Since(h.start)
	if block := time.Duration(h.lastBlock.Load()); block == 0 || now-block > downloading {
		return 0
	}
	return h.begun + downloadGap - now
}

// nextClient is the next one of those who have a command.
func (h *Hub) nextClient() *client {
	for i := range h.clients {
		at := (h.next + i) % len(h.clients)
		if c := h.clients[at]; len(c.waiting) > 0 {
			h.next = at + 1
			return c
		}
	}
	return nil
}

// pop takes the client's oldest command off its list.
func (c *client) pop() {
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	if c.extra > 0 {
		c.extra--
		return
	}
	<-c.slots
}

// isOTA tells whether a command is about OTA: one of the dongle's own for it, or raw data for its cluster.
func (r *command) isOTA() bool {
	if r.typ == message.TypeRawAPS {
		cluster, ok := rawCluster(r.payload)
		return ok && cluster == message.ClusterOTA
	}
	return r.typ.IsOTA()
}

// refuse answers as the dongle does when it does not know a command.
func (h *Hub) refuse(c *client, r *command) {
	level := slog.LevelDebug // some ask every device for its version so
	if !c.warned {
		c.warned = true
		level = slog.LevelWarn
	}
	h.log.Log(context.Background(), level, "a program that shares the dongle has sent an OTA command, "+
		"which is not passed on: upgrades are done here",
		"client", c.name, "command", r.typ, "name", r.typ.Name())
	h.observer.ShareReport(ReportOTACommand)
	h.deliver(message.TypeStatus, h.refusal(r.typ), c.id)
}

// begin sends a command.
func (h *Hub) begin(c *client, r *command) {
	a := newAsk(c.id, r.typ, r.payload)
	h.inFlight = true
	h.begun = time.Since(h.start)
	h.current.Store(a)
	h.observer.FrameFromClient()
	h.noteAsked(r)
	done := func(_ message.Status, err error) {
		h.inbox.Post(func() { h.ended(c, r, a, err) })
	}
	switch r.typ {
	case message.TypeSetRawMode:
		h.beginRawMode(c, r, a, done)
		return
	case message.TypeSetHeartbeat:
		c.heartbeat = len(r.payload) > 0 && r.payload[0] != 0
		h.beating = h.needsHeartbeat()
		if h.beating != c.heartbeat { // another client, or this one's raw mode, needs it
			h.dongle.SubmitFor(a, message.SetHeartbeat{Enable: 1}, done)
			return
		}
	case message.TypeReset:
		h.log.Warn("a program that shares the dongle restarts it", "client", c.name)
		h.observer.ShareReport(ReportReset)
	case message.TypeErasePersistentData:
		h.log.Warn("a program that shares the dongle has it forget its network", "client", c.name)
		h.observer.ShareReport(ReportErase)
	}
	h.dongle.SubmitFrame(a, r.typ, r.wire, done)
}

// beginRawMode has the dongle run in a mode that shows what this client wants to see, too. The frame goes as
// it is where that is the same.
func (h *Hub) beginRawMode(c *client, r *command, a *ask, done func(message.Status, error)) {
	wanted := message.RawModeOff
	if len(r.payload) > 0 {
		wanted = message.RawMode(r.payload[0])
	}
	was := c.mode
	c.mode = wanted
	mode := h.needed()
	c.mode = was
	a.mode = &modeAsk{mode: mode, client: c, wanted: wanted}
	h.asked = mode
	if mode == wanted {
		h.dongle.SubmitFrame(a, r.typ, r.wire, done)
		return
	}
	h.dongle.SubmitFor(a, message.SetRawMode{Mode: mode}, done)
}

// ended is called when a command has got its status, or will get none.
func (h *Hub) ended(c *client, r *command, a *ask, err error) {
	h.inFlight = false
	h.current.CompareAndSwap(a, nil)
	switch {
	case errors.Is(err, zigate.ErrNoAnswer):
		h.overdue.Store(a)
		if a.mode != nil { // it may have been executed or not
			a.mode.client.mode = a.mode.wanted
			h.asked = h.real
			h.arrange()
		}
	case errors.Is(err, zigate.ErrQueueFull):
		h.again(c, r)
	}
}

// again puts a command back in its place.
func (h *Hub) again(c *client, r *command) {
	select {
	case c.slots <- struct{}{}:
	default: // it was given to the client's next command, which the list has room for all the same
		c.extra++
	}
	c.waiting = append([]*command{r}, c.waiting...)
	h.inFlight = true // until the time has come
	time.AfterFunc(busyWait, func() { h.inbox.Post(func() { h.inFlight = false }) })
}
