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
	// deliveryMemory is how long it is remembered that a command was acknowledged. The broker has the
	// acknowledgement within that time, or the connection has ended.
	deliveryMemory = time.Minute
)

// deliveries are the messages that the broker may deliver again. They outlive the connection, as the broker's
// memory of them does. Several goroutines may use them.
type deliveries struct {
	mu sync.Mutex
	// open are those that were not acknowledged yet, in the order in which they came: they have to be
	// acknowledged in that order (MQTT 3.1.1, 4.6).
	open []*delivery
	// known are the open ones, those that were acknowledged lately and those of QoS 2 that the broker has not
	// released, by packet identifier.
	known map[uint16]*delivery
	// earlier are those that an earlier life of the service has taken, by their key.
	earlier map[string]bool

	acks    []func() // to be called next
	calling bool     // a goroutine calls them
}

// delivery is one message that the broker may deliver again.
type delivery struct {
	key   string
	id    uint16
	qos   byte
	ack   func()    // on the connection on which it came last
	done  bool      // it may be acknowledged
	acked time.Time // when it was; zero before
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

// forget is called when the broker has no session of this client any more: what came before never comes
// again.
func (ds *deliveries) forget() {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.open = nil
	ds.known = nil
	ds.earlier = nil
}

// take takes a message that is to be acknowledged with finish. It reports false where the broker delivers one
// again that was handed over before.
func (ds *deliveries) take(m mqtt.Message) (d *delivery, fresh bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d = &delivery{key: keyOf(m), id: m.MessageID(), qos: m.Qos(), ack: m.Ack}
	before := ds.known[d.id]
	if m.Duplicate() && before != nil && before.key == d.key && !before.forgotten() {
		before.ack = m.Ack
		if !before.acked.IsZero() {
			ds.call(m.Ack)
		}
		return before, false
	}

	ds.tidy()
	if ds.known == nil {
		ds.known = map[uint16]*delivery{}
	}
	ds.known[d.id] = d
	ds.open = append(ds.open, d)
	if m.Duplicate() && ds.earlier[d.key] {
		delete(ds.earlier, d.key)
		d.done = true
		ds.flush()
		return d, false
	}
	d.limit = time.AfterFunc(acknowledgeLimit, func() { ds.finish(d) })
	return d, true
}

// finish notes that a message may be acknowledged. It may be called more than once.
func (ds *deliveries) finish(d *delivery) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.done = true
	ds.flush()
}

// flush acknowledges what may be acknowledged; the lock is held.
func (ds *deliveries) flush() {
	for len(ds.open) > 0 && ds.open[0].done {
		d := ds.open[0]
		ds.open = ds.open[1:]
		d.acked = time.Now()
		if d.limit != nil {
			d.limit.Stop()
		}
		ds.call(d.ack)
	}
}

// call calls an acknowledgement after those before it. It does not wait: paho takes one only when the network
// does. The lock is held.
func (ds *deliveries) call(ack func()) {
	ds.acks = append(ds.acks, ack)
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
	for id, d := range ds.known {
		if d.forgotten() {
			delete(ds.known, id)
		}
	}
}

// forgotten reports whether the message cannot come again. One of QoS 2 may until the broker releases it.
func (d *delivery) forgotten() bool {
	return d.qos != 2 && !d.acked.IsZero() && time.Since(d.acked) > deliveryMemory
}
