package otasvc

import (
	"context"
	"errors"
	"sync"
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
}

// newOwner returns an owner that lives by a clock; nil stands for time.Now.
func newOwner(now func() time.Time) *owner {
	if now == nil {
		now = time.Now
	}
	return &owner{now: now, inbox: mailbox.New[func()](), ctx: context.Background()}
}

// errStopping ends what was asked for and cannot be finished any more.
var errStopping = errors.New("the service is stopping")

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
func (o *owner) async(work func(ctx context.Context) func()) {
	o.beside(func(ctx context.Context) func() {
		background.GiveWay()
		return work(ctx)
	})
}

// beside runs work that waits for messages on a goroutine of its own and then, on the owner goroutine, what
// work returned.
func (o *owner) beside(work func(ctx context.Context) func()) {
	o.background.Go(func() {
		if then := work(o.ctx); then != nil {
			o.inbox.Post(then)
		}
	})
}
