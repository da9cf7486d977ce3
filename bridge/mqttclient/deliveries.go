package mqttclient

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// A broker delivers a message again, on the next connection, as long as it does not know that this client has
// it. A command is acknowledged only when it cannot be lost any more, so the connection may well end before;
// and the acknowledgement itself may be lost. Either way the command must not be carried out twice.

const (
	// acknowledgeLimit is how long a command may stay without an acknowledgement. A broker delivers only some
	// messages ahead of it.
	acknowledgeLimit = time.Minute
	// deliveryMemory is how long it is remembered that a command was acknowledged, on a connection that
	// lasts. The broker has the acknowledgement within that time, or has delivered the command again.
	deliveryMemory = time.Minute
)

// deliveries are the messages that the broker may deliver again. They outlive the connection, as the broker's
// memory of them does. Several goroutines may use them.
type deliveries struct {
	mu sync.Mutex
	// known are those that were not acknowledged yet, those that were lately and those of QoS 2 that the
	// broker has not released, by packet identifier.
	known map[uint16]*delivery
	// earlier are those that an earlier life of the service has taken, by their key.
	earlier map[string]bool
	// connected is when the connection began. A broker delivers again at the beginning of one.
	connected time.Time

	acks    []func() // to be called next
	calling bool     // a goroutine calls them
}

// delivery is one message that the broker may deliver again.
type delivery struct {
	key   string
	qos   byte
	ack   func()    // on the connection on which it came last
	acked time.Time // when it was acknowledged; zero before
	limit *time.Timer
}

// keyOf tells a delivery from others, over connections and lives of the service.
func keyOf(m mqtt.Message) string {
	digest := sha256.New()
	fmt.Fprintf(digest, "%d %s\x00", m.Qos(), m.Topic())
	digest.Write(m.Payload())
	return fmt.Sprintf("%d %s", m.MessageID(), hex.EncodeToString(digest.Sum(nil)[:16]))
}

// expect tells which deliveries an earlier life of the service has taken.
func (ds *deliveries) expect(keys []string) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.earlier = map[string]bool{}
	for _, key := range keys {
		ds.earlier[key] = true
	}
}

// begin is called when a connection begins, before anything comes on it.
func (ds *deliveries) begin() {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.connected = time.Now()
}

// forget is called when the broker has no session of this client any more: what came before never comes
// again. Where several brokers are configured and another one is connected to, that is forgotten, too, which
// the first one may deliver again.
func (ds *deliveries) forget() {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.known = nil
	ds.earlier = nil
}

// take takes a message that is to be acknowledged with finish. It reports false where the broker delivers one
// again that was handed over before.
func (ds *deliveries) take(m mqtt.Message) (d *delivery, fresh bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.tidy()
	d = &delivery{key: keyOf(m), qos: m.Qos(), ack: m.Ack}
	before := ds.known[m.MessageID()]
	if m.Duplicate() && before != nil && before.key == d.key {
		before.ack = m.Ack
		if !before.acked.IsZero() {
			ds.call(m.Ack)
		}
		return before, false
	}

	if ds.known == nil {
		ds.known = map[uint16]*delivery{}
	}
	ds.known[m.MessageID()] = d
	if m.Duplicate() && ds.earlier[d.key] {
		delete(ds.earlier, d.key)
		d.acked = time.Now()
		ds.call(d.ack)
		return d, false
	}
	d.limit = time.AfterFunc(acknowledgeLimit, func() { ds.finish(d, func() {}) })
	return d, true
}

// finish acknowledges a message. It may be called more than once; then is called, on any goroutine, when the
// acknowledgement is on its way, or cannot be sent as the connection has ended.
//
// Messages are acknowledged in any order. MQTT 3.1.1 (4.6) wants that of their arrival, but no broker is
// known that minds, and a command that takes long must not keep back what is answered by then.
func (ds *deliveries) finish(d *delivery, then func()) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if d.acked.IsZero() {
		d.acked = time.Now()
		if d.limit != nil {
			d.limit.Stop()
		}
		ds.call(d.ack)
	}
	ds.call(then)
}

// call calls an acknowledgement, or what follows it, after those before. It does not wait: paho takes one
// only when the network does. The lock is held.
func (ds *deliveries) call(f func()) {
	ds.acks = append(ds.acks, f)
	if ds.calling {
		return
	}
	ds.calling = true
	go func() {
		for {
			ds.mu.Lock()
			if len(ds.acks) == 0 {
				ds.calling = false
				ds.mu.Unlock()
				return
			}
			next := ds.acks[0]
			ds.acks = ds.acks[1:]
			ds.mu.Unlock()
			next()
		}
	}()
}

// release forgets a message of QoS 2 that the broker has released.
func (ds *deliveries) release(id uint16) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if d := ds.known[id]; d != nil && d.qos == 2 {
		delete(ds.known, id)
	}
}

// tidy forgets what cannot come again; the lock is held.
func (ds *deliveries) tidy() {
	if time.Since(ds.connected) <= deliveryMemory {
		return
	}
	ds.earlier = nil
	for id, d := range ds.known {
		// One of QoS 2 may come again until the broker releases it.
		if d.qos != 2 && !d.acked.IsZero() && time.Since(d.acked) > deliveryMemory {
			delete(ds.known, id)
		}
	}
}
