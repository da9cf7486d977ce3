package sim

import "sync"

// mailbox holds what has come from outside since Run looked last: bytes of the host, and actions that
// somebody asked for. Its methods may be called from any goroutine.
type mailbox struct {
	wake chan struct{} // has something in it when Run should look

	mu      sync.Mutex
	opened  bool // Run has begun
	closed  bool // Run has ended: nothing is taken any more
	bytes   []byte
	actions []func()
}

// mailboxLimit is how many bytes the line holds for a dongle that does not run; more are lost.
const mailboxLimit = 1 << 16

// open reports whether this is the first Run.
func (m *mailbox) open() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opened {
		return false
	}
	m.opened = true
	return true
}

// close throws away what was not taken, and whatever comes from now on.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.bytes = nil
	m.actions = nil
}

// take empties the mailbox.
func (m *mailbox) take() (bytes []byte, actions []func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	bytes = m.bytes
	actions = m.actions
	m.bytes = nil
	m.actions = nil
	return bytes, actions
}

// post has Run do something. After Run nothing is done any more.
func (m *mailbox) post(action func()) {
	m.mu.Lock()
	if !m.closed {
		m.actions = append(m.actions, action)
	}
	m.mu.Unlock()
	m.poke()
}

// write takes bytes from a host. It never blocks: the UART always reads, and a line that nobody
// empties loses bytes. The error is ErrStopped.
func (m *mailbox) write(p []byte) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrStopped
	}
	if room := mailboxLimit - len(m.bytes); len(p) > room {
		p = p[:room]
	}
	m.bytes = append(m.bytes, p...)
	m.mu.Unlock()
	m.poke()
	return nil
}

// poke makes Run look.
func (m *mailbox) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
