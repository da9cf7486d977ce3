package otasvc

import (
	"context"
	"sync"

	"github.com/zigate-ota/zigate-ota/otasvc/background"
	"github.com/zigate-ota/zigate-ota/zigate/mailbox"
)

// owner is the goroutine that owns devices and upgrades, as it is seen from elsewhere: what is posted to it
// is done there, in order. It ends when ctx is done.
type owner struct {
	inbox      *mailbox.Mailbox[func()]
	ctx        context.Context
	background sync.WaitGroup
}

// stopping reports whether the service is being stopped, so that nothing new is to be begun.
func (o *owner) stopping() bool { return o.ctx.Err() != nil }

// async runs work that takes long on a goroutine of its own, which gives way to everything else, and then, on
// the owner goroutine, what work returned.
func (o *owner) async(work func(ctx context.Context) func()) {
	o.background.Go(func() {
		background.GiveWay()
		if then := work(o.ctx); then != nil {
			o.inbox.Post(then)
		}
	})
}
