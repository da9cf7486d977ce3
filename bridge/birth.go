package bridge

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
)

// birthDelay is the longest wait before everything is published for a Home Assistant that has just started:
// not every service should do so at once.
const birthDelay = 10 * time.Second

// Births publishes everything retained again when Home Assistant says that it has started.
type Births struct {
	republish func()
	born      chan struct{}
}

// NewBirths makes a task that calls republish some seconds after each birth message.
func NewBirths(republish func()) *Births {
	return &Births{republish: republish, born: make(chan struct{}, 1)}
}

// Handle takes a message of Home Assistant's status topic. It ignores a retained one: Home Assistant
// published that before the service connected, and everything has been published since.
func (b *Births) Handle(_ string, payload []byte, retained, _ bool) {
	if retained || string(payload) != homeassistant.Birth {
		return
	}
	select {
	case b.born <- struct{}{}:
	default: // a republication is due already
	}
}

// Run waits for births until ctx is done.
func (b *Births) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.born:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(birthDelay)):
			b.republish()
		}
	}
}
