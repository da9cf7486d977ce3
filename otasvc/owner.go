package otasvc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/background"
	"github.com/zigate-ota/zigate-ota/zigate/mailbox"
)

// owner is the goroutine that owns devices and upgrades, as it is seen from elsewhere: what is posted to it
// is done there, in order. It does not know what that is.
type owner struct {
	now   func() time.Time // the clock
	inbox *mailbox.Mailbox[func()]
	// ctx is done when the service is being stopped; Run brings it.
	ctx        context.Context
	background sync.WaitGroup
	ending     atomic.Bool // the service is being stopped; for other goroutines
}

// newOwner returns an owner that lives by a clock; nil stands for time.Now.
func newOwner(now func() time.Time) *owner {
	if now == nil {
		now = time.Now
	}
	return &owner{now: now, inbox: mailbox.New[func()](), ctx: context.Background()}
}

// errStopping ends what was asked for and cannot be finished any more.
var errStopping = errors.New("the service is stopping; ask again when it has started")

// inboxLimit bounds the messages that wait for the owner. It is never reached in normal operation: the owner
// needs microseconds for a message and the wire milliseconds.
const inboxLimit = 16384

// stopping reports whether the service is being stopped, so that nothing new is to be begun.
func (o *owner) stopping() bool { return o.ctx.Err() != nil }

// postMessage has work done on the owner goroutine that is dropped where too much waits: devices repeat
// themselves.
func (o *owner) postMessage(f func()) { o.inbox.PostUpTo(inboxLimit, f) }

// take does what was posted by now, and reports whether there was anything.
func (o *owner) take() (worked bool) {
	for _, f := range o.inbox.Take() {
		worked = true
		f()
	}
	return worked
}

// drain does what was posted, and what is posted meanwhile, and reports whether there was anything.
func (o *owner) drain() (worked bool) {
	for o.take() {
		worked = true
	}
	return worked
}

// async runs work that takes long on a goroutine of its own, which gives way to everything else, and then, on
// the owner goroutine, what work returned.
func (o *owner) async(work func() func()) {
	o.background.Go(func() {
		background.GiveWay()
		if then := work(); then != nil {
			o.inbox.Post(then)
		}
	})
}

// fetchOwner is the owner as those who fetch images see it.
type fetchOwner struct{ *owner }

// Now is the time.
func (o fetchOwner) Now() time.Time { return o.now() }

// Context is done when the service is being stopped.
func (o fetchOwner) Context() context.Context { return o.ctx }

// Async runs work on a goroutine of its own, and then, on the owner goroutine, what work returned.
func (o fetchOwner) Async(work func() func()) { o.async(work) }

// Post has something done on the owner goroutine.
func (o fetchOwner) Post(f func()) { o.inbox.Post(f) }

// settleTimeout is how long requests wait, after a start, until it is known whether the dongle is there.
const settleTimeout = 10 * time.Second

// requestGate holds requests back until something is known that they depend on, such as whether the dongle is
// there, or that took too long. It does not know what they ask for.
type requestGate struct {
	deadline time.Time // from then on it is open
	opened   bool
	waiting  []func()
}

// pass carries a request out, now or when the gate is opened.
func (g *requestGate) pass(f func()) {
	if !g.opened {
		g.waiting = append(g.waiting, f)
		return
	}
	f()
}

// open carries out the requests that waited.
func (g *requestGate) open() {
	if g.opened {
		return
	}
	g.opened = true
	waiting := g.waiting
	g.waiting = nil
	for _, f := range waiting {
		f()
	}
}

// health is what others may ask at any moment, from any goroutine. It knows nothing but what was noted here.
type health struct {
	dongle atomic.Pointer[string]    // why upgrades cannot be done; nil where they can
	tick   atomic.Pointer[time.Time] // the owner's last tick; nil before the first
}

// ownerTimeout is how long the owner may be at one thing. It has a tick every ten seconds at least, and takes
// part in nothing that waits for a network; reading images from a slow disk may hold it up for a while.
const ownerTimeout = 30 * time.Second

// alive is nil, or the error says why only a restart can help: the goroutine that owns devices and upgrades
// has no ticks any more. It is nil before Run.
func (h *health) alive(now time.Time) error {
	last := h.tick.Load()
	if last == nil {
		return nil
	}
	if silent := now.Sub(*last); silent > ownerTimeout {
		return fmt.Errorf("nothing was done about devices and upgrades for %v", silent.Round(time.Second))
	}
	return nil
}

// dongleHealth is nil, or the error says why upgrades cannot be done now.
func (h *health) dongleHealth() error {
	if why := h.dongle.Load(); why != nil {
		return errors.New(*why)
	}
	return nil
}

// noteDongle keeps what dongleHealth tells up to date. A dongle through which another
// program upgrades is well.
func (h *health) noteDongle(g *dongle) {
	why, ok := g.usable()
	switch {
	case ok && g.acceptance.Refuses():
		why = noBlocks
	case ok || g.connected && g.watchOnly:
		h.dongle.Store(nil)
		return
	}
	h.dongle.Store(&why)
}
