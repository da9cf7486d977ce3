package share

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// isShort tells whether a command lacks fields.
func isShort(err error) bool { return errors.Is(err, message.ErrShort) }

const (
	// dongleTimeout is how long a command waits for a dongle that is not connected. A light that is switched
	// minutes later is worse than one that is not.
	dongleTimeout = 3 * time.Second
	// busyBackoff is how long the next try waits when the dongle's queue is full of commands of this program.
	busyBackoff = 20 * time.Millisecond
)

// feeder is the clients' one place in the dongle's queue: at most one of their commands is in it, so that
// commands of this program never wait for more.
type feeder struct {
	busy  bool        // the place is taken, or is to be left free for a while
	begun time.Time   // when a command was sent last
	retry *time.Timer // fires when a command that has to wait may go
}

// feed has the clients' commands executed, one at a time, one client after the other.
func (h *Hub) feed() {
	for !h.feeder.busy {
		c := h.clients.nextWaiting()
		if c == nil {
			return
		}
		r := c.waiting[0]
		if !h.connected {
			wait := dongleTimeout - time.Since(r.at)
			if wait > 0 {
				h.feeder.retry.Reset(wait)
				return
			}
			h.opts.Observer.ShareReport(ReportDropped)
			c.pop()
			h.clients.drop(c)
			continue
		}
		if wait := h.pause(time.Now()); wait > 0 {
			h.clients.putBack()
			h.feeder.retry.Reset(wait)
			return
		}
		c.pop()
		if h.opts.OTA == OTAOurs && r.isOTA() {
			h.refuse(c, r)
		} else {
			h.begin(c, r)
		}
		h.clients.drop(c)
	}
}

// downloadGap is the shortest time between two commands of clients while devices download. A dongle's serial
// line takes longer for a command and its answer; without one, clients could keep all of this machine busy.
const downloadGap = 2 * time.Millisecond

// pause is how long the next command has to wait, so that blocks find the machine free.
func (h *Hub) pause(now time.Time) time.Duration {
	if !h.downloads.underWay(now) {
		return 0
	}
	return h.feeder.begun.Add(downloadGap).Sub(now)
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
	level := slog.LevelDebug // some programs ask every device for its version in this way
	if !c.warned {
		c.warned = true
		level = slog.LevelWarn
	}
	h.log.Log(context.Background(), level, "a program that shares the dongle has sent an OTA command, "+
		"which is not passed on: upgrades are done here",
		"client", c.name, "command", r.typ, "name", r.typ.Name())
	h.opts.Observer.ShareReport(ReportOTACommand)
	h.deliver(message.TypeStatus, h.lastStatus.refusal(r.typ, h.lens.v2), c.id)
}

// begin sends a command to the dongle.
func (h *Hub) begin(c *client, r *command) {
	a := newAsk(c.id, r.typ, r.payload)
	h.feeder.busy = true
	h.feeder.begun = time.Now()
	h.pending.current.Store(a)
	h.opts.Observer.FrameFromClient()
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
		h.settings.beating = h.clients.wantHeartbeat(h.lens.v2)
		if h.settings.beating != c.heartbeat { // another client, or this one's raw mode, needs it
			h.dongle.SubmitFor(a, message.SetHeartbeat{Enable: 1}, done)
			return
		}
	case message.TypeReset:
		h.log.Warn("a program that shares the dongle restarts it", "client", c.name)
		h.opts.Observer.ShareReport(ReportReset)
	case message.TypeErasePersistentData:
		h.log.Warn("a program that shares the dongle has it forget its network", "client", c.name)
		h.opts.Observer.ShareReport(ReportErase)
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
	mode := h.settings.neededMode(&h.clients)
	c.mode = was
	a.mode = &modeAsk{mode: mode, client: c, wanted: wanted}
	h.settings.asked = mode
	if mode == wanted {
		h.dongle.SubmitFrame(a, r.typ, r.wire, done)
		return
	}
	h.dongle.SubmitFor(a, message.SetRawMode{Mode: mode}, done)
}

// ended is called when a command has got its status, or will get none.
func (h *Hub) ended(c *client, r *command, a *ask, err error) {
	h.feeder.busy = false
	h.pending.current.CompareAndSwap(a, nil)
	switch {
	case errors.Is(err, zigate.ErrNoAnswer):
		h.pending.overdue.Store(a)
		if a.mode != nil { // it may have been executed or not
			a.mode.client.mode = a.mode.wanted
			h.rearrange()
		}
	case errors.Is(err, zigate.ErrQueueFull):
		h.again(c, r)
	}
}

// again puts a command that found the dongle's queue full back in its place, for a while.
func (h *Hub) again(c *client, r *command) {
	select {
	case c.slots <- struct{}{}:
	default: // the client's next command has it by now; the list has room for both
		c.extra++
	}
	c.waiting = append([]*command{r}, c.waiting...)
	h.feeder.busy = true
	time.AfterFunc(busyBackoff, func() { h.inbox.Post(func() { h.feeder.busy = false }) })
}
