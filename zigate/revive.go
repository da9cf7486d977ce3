package zigate

import (
	"context"
	"errors"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const (
	// hangsBeforeReset is how many connections in a row must end without an answer before the dongle is
	// reset.
	hangsBeforeReset = 3
	// maxRevivals is how often a dongle is reset without having worked in between. One that stays silent is
	// broken, or is no dongle any more.
	maxRevivals = 3
	// wellAfter is how long a connection must last until the dongle counts as working.
	wellAfter = 5 * time.Minute
)

// revival decides when a dongle that hangs is reset. That is the last resort, because the dongle keeps its
// network but loses what it holds in memory. A reset is sent only to a port that has answered like a
// ZiGate, so that no other device gets one.
type revival struct {
	port   string // the port that answered, as conn.name
	hangs  int
	resets int
}

// ended notes how a connection ended: whether it was completed, how long it lasted, and why it is over.
func (r *revival) ended(port string, connected bool, lasted time.Duration, err error) {
	if connected {
		if r.port != port || lasted >= wellAfter {
			*r = revival{port: port}
		}
	}
	if errors.Is(err, ErrNoAnswer) {
		r.hangs++
	} else {
		r.hangs = 0 // the dongle was unplugged or switched off, and will start anew
	}
}

// due reports whether the next connection to a port begins with a reset, and counts that reset.
func (r *revival) due(port string) bool {
	if r.port != port || r.hangs < hangsBeforeReset || r.resets >= maxRevivals {
		return false
	}
	r.hangs = 0
	r.resets++
	return true
}

// revive resets the dongle. The handshake that follows shows whether that has helped.
func (c *conn) revive(ctx context.Context) error {
	c.d.log.Warn("the dongle hangs; it is reset", "port", c.name, "attempt", c.d.revival.resets,
		"of", maxRevivals)
	err := c.try(ctx, message.Reset{}, nil)
	if errors.Is(err, ErrNoAnswer) {
		return nil
	}
	return err
}
