package otasvc

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

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
func (h *health) alive() error {
	last := h.tick.Load()
	if last == nil {
		return nil
	}
	if silent := time.Since(*last); silent > ownerTimeout {
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

// noteDongle keeps what dongleHealth tells up to date. That another program upgrades is no illness.
func (h *health) noteDongle(g *dongle) {
	why, ok := g.usable()
	if ok || g.connected && g.watchOnly {
		h.dongle.Store(nil)
		return
	}
	h.dongle.Store(&why)
}
