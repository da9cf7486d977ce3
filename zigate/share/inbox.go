package share

import "sync"

// inbox is what waits for the goroutine of Run, in order. Posting never blocks.
type inbox struct {
	mu     sync.Mutex
	items  []func()
	spare  []func()
	closed bool
	wake   chan struct{}
}

// post reports whether f will be done: after close it will not.
func (b *inbox) post(f func()) bool {
	b.mu.Lock()
	open := !b.closed
	if open {
		b.items = append(b.items, f)
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return open
}

// take returns what waits; the slice is valid until the next call.
func (b *inbox) take() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	clear(b.spare)
	b.items = b.spare[:0]
	b.spare = items
	return items
}

// close refuses what is posted from now on and returns what waits.
func (b *inbox) close() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.items
}
