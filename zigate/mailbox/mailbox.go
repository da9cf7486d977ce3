// Package mailbox is a queue from many goroutines to one, its owner, which takes everything that waits when
// it is woken. Posting never blocks.
//
// The package does not know what is posted, and imports nothing of the project.
package mailbox

import "sync"

// Mailbox keeps what was posted, in order, until its owner takes it. The owner is one goroutine, which alone
// calls Take; all other methods may be called from any goroutine. A Mailbox must be made by New.
type Mailbox[T any] struct {
	wake chan struct{}

	mu     sync.Mutex
	items  []T
	spare  []T // the slice that was taken last, which is used again
	closed bool
}

// New returns an empty mailbox.
func New[T any]() *Mailbox[T] {
	return &Mailbox[T]{wake: make(chan struct{}, 1)}
}

// Post appends items and wakes the owner. It reports whether the mailbox was open: after Close the items are
// dropped.
func (m *Mailbox[T]) Post(items ...T) bool {
	m.mu.Lock()
	open := !m.closed
	if open {
		m.items = append(m.items, items...)
	}
	m.mu.Unlock()

	m.Signal()
	return open
}

// PostUpTo is Post for a sender that repeats itself: once limit items wait, further ones are dropped. It
// reports whether the mailbox was open, not whether there was room.
func (m *Mailbox[T]) PostUpTo(limit int, items ...T) bool {
	m.mu.Lock()
	open := !m.closed
	if open {
		room := max(limit-len(m.items), 0)
		m.items = append(m.items, items[:min(len(items), room)]...)
	}
	m.mu.Unlock()

	m.Signal()
	return open
}

// Signal wakes the owner without an item.
func (m *Mailbox[T]) Signal() {
	select {
	case m.wake <- struct{}{}:
	default: // the owner has not seen the last signal yet, and that one is enough
	}
}

// Wake returns the channel that yields a value when something was posted or signalled since the last one.
// Several posts may make one value, and the owner may find nothing to take.
func (m *Mailbox[T]) Wake() <-chan struct{} { return m.wake }

// Take empties the mailbox and returns what waited, the oldest first. The slice is valid until the next call.
func (m *Mailbox[T]) Take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	clear(m.spare) // what was taken before must not be kept alive
	m.items = m.spare[:0]
	m.spare = items
	return items
}

// Close drops everything that is posted from now on, and returns what waits, the oldest first. The second
// call returns nothing.
func (m *Mailbox[T]) Close() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.items = nil
	m.closed = true
	return items
}
