package share

import (
	"slices"
	"sync/atomic"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// clientList has the clients, and those that have gone as long as they have left commands behind. It belongs
// to the goroutine of Run, but for number.
type clientList struct {
	list     []*client
	number   atomic.Int64 // length of list; every goroutine may look
	lastID   int
	next     int  // index of the client whose command is next
	stopping bool // nobody is let in any more
}

// add takes a client up under the next number.
func (l *clientList) add(c *client) {
	l.lastID++
	c.id = l.lastID
	l.list = append(l.list, c)
	l.number.Store(int64(len(l.list)))
}

// drop takes a client that has gone off the list once it has nothing to be done any more.
func (l *clientList) drop(c *client) {
	if c.gone && len(c.waiting) == 0 {
		l.list = slices.DeleteFunc(l.list, func(other *client) bool { return other == c })
		l.number.Store(int64(len(l.list)))
	}
}

// nextWaiting returns, of the clients that have a command, the one after the last one; nil if nobody has a
// command.
func (l *clientList) nextWaiting() *client {
	for i := range l.list {
		at := (l.next + i) % len(l.list)
		if c := l.list[at]; len(c.waiting) > 0 {
			l.next = at + 1
			return c
		}
	}
	return nil
}

// putBack makes the client that nextWaiting returned last the next one again.
func (l *clientList) putBack() { l.next-- }

// connections is the number of connected clients but the one of the pseudo-terminal.
func (l *clientList) connections() (n int) {
	for _, c := range l.list {
		if !c.lossy && !c.gone {
			n++
		}
	}
	return n
}

// gone is the number of clients that have left commands behind.
func (l *clientList) gone() (n int) {
	for _, c := range l.list {
		if c.gone {
			n++
		}
	}
	return n
}

// alone tells whether nobody is connected.
func (l *clientList) alone() bool { return l.gone() == len(l.list) }

// wantRaw tells whether a client wants to see frames as they came.
func (l *clientList) wantRaw() bool {
	return slices.ContainsFunc(l.list, func(c *client) bool {
		return !c.gone && (c.mode == message.RawModeRaw || c.mode == message.RawModeHybrid)
	})
}

// wantHeartbeat tells whether a client is to get the dongle's heartbeat.
func (l *clientList) wantHeartbeat(v2 bool) bool {
	return slices.ContainsFunc(l.list, func(c *client) bool { return !c.gone && c.wantsHeartbeat(v2) })
}
