package mqttclient

import (
	"sync"
	"time"
)

// A message that was published while the service was away can come twice: from the session that the broker
// keeps for the service, where nothing says that it is retained (MQTT 3.1.1, 3.3.1.3), and as a retained
// message once the service has subscribed. Commands must not be carried out when they are retained, so what
// comes from a session is held back until the retained messages are known.

const (
	// keptTimeout is how long the broker gets to deliver what it retains after it has granted the
	// subscriptions. Brokers do so at once.
	keptTimeout = time.Second
	// mostUnacknowledged is how many of the messages that are held back are not acknowledged. Brokers deliver
	// only some messages ahead of the acknowledgements (Mosquitto 20), and those behind them would come when
	// nothing is held back any more.
	mostUnacknowledged = 10
	// maxHeldBack is how many bytes of messages are held back. Who has more waiting gets them at once, rather
	// than that they are lost.
	maxHeldBack = 4 << 20
)

// heldBack is what is held back, over all connections. Several goroutines may use it.
type heldBack struct {
	mu       sync.Mutex
	holding  bool
	bytes    int
	messages []heldMessage
	retained map[string]bool // by [heldMessage.content]: what the broker retains
}

// heldMessage is a message that is held back.
type heldMessage struct {
	command Command
	deliver func()
}

// content is what a message has in common with a copy of it.
func (m *heldMessage) content() string { return m.command.Topic + "\x00" + string(m.command.Payload) }

// begin has messages held back from now on.
func (h *heldBack) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holding = true
	h.retained = map[string]bool{}
}

// take takes a message of a session, and delivers it now or later.
func (h *heldBack) take(m heldMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.holding {
		m.deliver()
		return
	}
	h.messages = append(h.messages, m)
	if oldest := len(h.messages) - mostUnacknowledged; oldest > 0 {
		h.messages[oldest-1].command.Acknowledge(func() {})
	}
	h.bytes += len(m.command.Payload)
	if h.bytes > maxHeldBack {
		h.release()
	}
}

// takeRetained delivers a message that the broker retains. The same from the session is not delivered.
func (h *heldBack) takeRetained(m heldMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holding {
		h.retained[m.content()] = true
	}
	m.deliver()
}

// end delivers what is held back, but for what is known as retained, and holds nothing back any more.
func (h *heldBack) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.release()
}

// release does what end says; the lock is held.
func (h *heldBack) release() {
	for i := range h.messages {
		if m := &h.messages[i]; h.retained[m.content()] {
			m.command.Acknowledge(func() {}) // it was answered as the retained one
		} else {
			m.deliver()
		}
	}
	h.holding = false
	h.bytes = 0
	h.messages = nil
	h.retained = nil
}
