package zigate

import (
	"context"
	"errors"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const (
	// hangsBeforeReset is how many connections in a row end because the dongle does not answer
	// before it is reset.
	hangsBeforeReset = 3
	// maxRevivals is how often a dongle is reset before it has been well again. One that stays silent is
	// broken, or is no dongle any more.
	maxRevivals = 3
	// wellAfter is how long a connection must last for the dongle to count as well.
	wellAfter = 5 * time.Minute
)

// revival decides when a dongle that hangs is reset, which is the last resort: its network stays, but all
// that it holds in memory goes. Only a port that has answered as a ZiGate is sent a reset, so that nothing
// else ever gets one.
type revival struct {
	port   string // that answered, as conn.name
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
		r.hangs = 0 // it went, and comes back with a new start
	}
}

// due tells whether the next connection to a port begins with a reset, which counts as done.
func (r *revival) due(port string) bool {
	if r.port != port || r.hangs < hangsBeforeReset || r.resets >= maxRevivals {
		return false
	}
	r.hangs = 0
	r.resets++
	return true
}

// revive resets the dongle. Whether it heard that shows in the handshake that follows.
func (c *conn) revive(ctx context.Context) error {
	c.d.log.Warn("the dongle hangs; it is reset", "port", c.name, "attempt", c.d.revival.resets,
		"of", maxRevivals)
	err := c.try(ctx, message.Reset{}, nil)
	if errors.Is(err, ErrNoAnswer) {
		return nil
	}
	return err
}
