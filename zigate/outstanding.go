package zigate

import (
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// maxOutstanding is how many frames may wait for their status. So many wait only where a dongle does not
// answer.
const maxOutstanding = 64

// expected is a frame whose status has not come yet.
type expected struct {
	typ message.MsgType
	cmd *command // nil for a block answer
	at  time.Duration
}

// outstanding has the frames that wait for their status, in the order in which they were written, which is
// the order in which a dongle executes and answers them. A status says nothing but the type of its command,
// and may be lost.
type outstanding struct {
	mu   sync.Mutex
	list []expected
}

func (o *outstanding) push(e expected) {
	o.mu.Lock()
	if o.list == nil {
		o.list = make([]expected, 0, maxOutstanding)
	}
	if len(o.list) == maxOutstanding {
		o.list = append(o.list[:0], o.list[1:]...)
	}
	o.list = append(o.list, e)
	o.mu.Unlock()
}

// match finds the frame whose status has come. It is the oldest of that type; but one older than maxAge,
// whose status must have been lost, is passed over for a younger one. Block answers that were written
// before that frame have lost their statuses and are removed.
func (o *outstanding) match(t message.MsgType, now, maxAge time.Duration) (cmd *command, found bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := -1
	for i, e := range o.list {
		if e.typ != t {
			continue
		}
		at = i
		if now-e.at < maxAge {
			break
		}
	}
	if at < 0 {
		return nil, false
	}
	cmd = o.list[at].cmd
	kept := o.list[:0]
	for i, e := range o.list {
		if i > at || i < at && e.cmd != nil {
			kept = append(kept, e)
		}
	}
	clear(o.list[len(kept):])
	o.list = kept
	return cmd, true
}

// forget removes a command whose status is not expected any more.
func (o *outstanding) forget(c *command) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, e := range o.list {
		if e.cmd == c {
			last := len(o.list) - 1
			copy(o.list[i:], o.list[i+1:])
			o.list[last] = expected{}
			o.list = o.list[:last]
			return
		}
	}
}
