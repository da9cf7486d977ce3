package broker

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

// Values of a subscription's retain handling (MQTT 5, 3.8.3.1). With MQTT 3 it is always retainedAlways.
const (
	retainedAlways = 0
	retainedIfNew  = 1
	retainedNever  = 2
)

const (
	// maxRetained is how many bytes of retained messages others than the service may leave. Those of the
	// service are as many as it has devices.
	maxRetained = 8 << 20
	// messageCost is what a message costs in bytes besides topic, payload and properties, and propertyCost
	// what a user property of MQTT 5 does besides its text.
	messageCost  = 300
	propertyCost = 64
)

// retained keeps the retained messages and sends them to new subscribers. The server could do both itself,
// but it has a data race there: it walks its topic index without a lock while others write to it (2.7.9:
// TopicsIndex.scanMessages and RetainMessage). It also copies all retained messages once a second to find
// those that have expired. So retained tells the server that subscribers want no retained messages, and
// removes each message that the server retains. The server keeps only the few messages on its own topics
// ($SYS).
type retained struct {
	mochi.HookBase
	server   *mochi.Server
	sessions *sessions
	log      *slog.Logger
	changed  func(soon bool) // told of each change, and whether it must be on the disk soon
	value    func(topic string) ([]byte, bool)
	// wanted says between OnSubscribe and OnSubscribed which filters of a client want retained messages.
	wanted sync.Map // from *mochi.Client to subscribing

	mu       sync.Mutex
	messages map[string]message // by topic; payloads do not change
	others   int                // bytes of those that are not the service's own
	full     bool               // it was told that one was not retained
}

// subscribing is what is noted while a client subscribes.
type subscribing struct {
	wanted  []bool // one for each filter: its retained messages are wanted
	release func() // lets newer messages through to the client
}

// message is a message without its topic.
type message struct {
	payload    []byte // it does not change; not empty where the message is retained
	qos        byte
	near       bool                // it comes from inside the process
	created    int64               // Unix time in seconds
	expires    int64               // Unix time in seconds; 0 for a message that does not expire
	properties *packets.Properties // of MQTT 5; nil for a message of MQTT 3
	extra      int                 // bytes that the properties take
}

// messageOf returns the message in a PUBLISH packet.
func messageOf(packet packets.Packet) message {
	m := message{
		payload: packet.Payload, qos: packet.FixedHeader.Qos, created: packet.Created, expires: packet.Expiry,
	}
	if packet.ProtocolVersion == 5 {
		properties := packet.Properties.Copy(false)
		m.properties = &properties
		m.extra = max(packet.FixedHeader.Remaining-len(packet.TopicName)-len(packet.Payload), 0) +
			propertyCost*len(properties.User)
	}
	return m
}

func newRetained(server *mochi.Server, value func(string) ([]byte, bool), log *slog.Logger) *retained {
	if value == nil {
		value = func(string) ([]byte, bool) { return nil, false }
	}
	return &retained{
		server: server, log: log, changed: func(bool) {}, value: value, messages: map[string]message{},
	}
}

// cost is what a message takes, in bytes.
func (m message) cost(topic string) int { return len(topic) + len(m.payload) + m.extra + messageCost }

// charge is what a retained message counts against maxRetained: that of the service nothing.
func (m message) charge(topic string) int {
	if m.near || len(m.payload) == 0 {
		return 0
	}
	return m.cost(topic)
}

// same reports whether a retained message says the same as another one, for ever.
func (m message) same(other message) bool {
	return bytes.Equal(m.payload, other.payload) && m.qos == other.qos && m.near == other.near &&
		m.expires == 0 && other.expires == 0 && m.properties == nil && other.properties == nil
}

// put retains a message, however many there are. One with an empty payload removes the retained message of
// the topic.
func (h *retained) put(topic string, m message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.set(topic, m)
}

// set is put with the lock held.
func (h *retained) set(topic string, m message) {
	h.others += m.charge(topic) - h.messages[topic].charge(topic)
	if len(m.payload) == 0 {
		delete(h.messages, topic)
	} else {
		h.messages[topic] = m
	}
	if h.others < maxRetained/2 {
		h.full = false
	}
}

// keep retains a message of a client, or tells that there are too many; an older one of the topic does not
// stay either then, since it is no longer true.
func (h *retained) keep(topic string, m message) {
	if m.near {
		if own, known := h.value(topic); known && bytes.Equal(own, m.payload) {
			m.payload = own
			topic = strings.Clone(topic) // it is a part of the packet
		}
	}
	h.mu.Lock()
	old, known := h.messages[topic]
	if known && m.same(old) {
		h.set(topic, m)
		h.mu.Unlock()
		return
	}
	if !known && len(m.payload) == 0 {
		h.mu.Unlock()
		return
	}
	more := m.charge(topic) - old.charge(topic)
	refused := more > 0 && h.others+more > maxRetained
	told := h.full
	if refused {
		h.set(topic, message{})
		h.full = true
	} else {
		h.set(topic, m)
	}
	h.mu.Unlock()
	h.changed(!m.near || len(m.payload) == 0)
	if !refused {
		return
	}
	h.sessions.observer.BrokerDropped(DroppedRetainedFull, 1)
	if !told {
		h.log.Warn("embedded MQTT broker: the retained messages of others take 8 MiB; a new one was "+
			"delivered but not retained: clear those that nobody needs", "topic", topic)
	}
}

// all removes the messages that have expired and returns a copy of the others, by topic.
func (h *retained) all(now time.Time) map[string]message {
	h.mu.Lock()
	defer h.mu.Unlock()
	for topic, m := range h.messages {
		if m.expires > 0 && m.expires <= now.Unix() {
			h.set(topic, message{})
		}
	}
	return maps.Clone(h.messages)
}

// OnRetainMessage takes a message over that the server has retained or, where its payload is empty, cleared:
// a will with a delay. All others do not come so far.
func (h *retained) OnRetainMessage(client *mochi.Client, packet packets.Packet, _ int64) {
	m := messageOf(packet)
	m.near = client.Net.Listener == nearID
	h.keep(packet.TopicName, m)
	h.server.Topics.Retained.Delete(packet.TopicName)
}

// ID returns the name of the hook for mochi.
func (*retained) ID() string { return "retained" }

// Provides says which events mochi passes to the hook.
func (*retained) Provides(b byte) bool {
	return b == mochi.OnRetainMessage || b == mochi.OnSubscribe || b == mochi.OnSubscribed
}

// OnSubscribe keeps the server from sending retained messages, and notes which filters want them.
func (h *retained) OnSubscribe(client *mochi.Client, packet packets.Packet) packets.Packet {
	wanted := make([]bool, len(packet.Filters))
	packet.Filters = slices.Clone(packet.Filters)
	for i := range packet.Filters {
		f := &packet.Filters[i]
		f.Filter = strings.Clone(f.Filter) // else it would keep the whole packet, with its properties
		_, existed := client.State.Subscriptions.Get(f.Filter)
		wanted[i] = !mochi.IsSharedFilter(f.Filter) &&
			(f.RetainHandling == retainedAlways || f.RetainHandling == retainedIfNew && !existed)
		f.RetainHandling = retainedNever
	}
	h.wanted.Store(client, subscribing{wanted: wanted, release: h.sessions.hold(client)})
	return packet
}

// OnSubscribed sends the retained messages to a new subscriber, which now gets all newer messages from the
// server.
func (h *retained) OnSubscribed(client *mochi.Client, packet packets.Packet, reasonCodes []byte) {
	v, ok := h.wanted.LoadAndDelete(client)
	if !ok {
		return
	}
	now := v.(subscribing)
	defer now.release()
	h.sessions.subscribed(client)
	var kept map[string]message
	for i, f := range packet.Filters {
		if !now.wanted[i] || reasonCodes[i] > packets.CodeGrantedQos2.Code {
			continue
		}
		if kept == nil {
			kept = h.all(time.Now())
			for topic, own := range h.server.Topics.Retained.GetAll() {
				kept[topic] = message{payload: own.Payload, created: own.Created}
			}
		}
		if err := h.deliver(client, f, kept); err != nil {
			h.log.Debug("a subscriber has gone before it got the retained messages", "clientId", client.ID,
				"error", err)
			return
		}
	}
}

// deliver sends the retained messages that a filter matches, sorted by topic.
func (h *retained) deliver(client *mochi.Client, f packets.Subscription, kept map[string]message) error {
	var topics []string
	for topic := range kept {
		// A wildcard at the first level does not match the broker's own topics (MQTT 3.1.1, 4.7.2).
		own := strings.HasPrefix(topic, "$") && !strings.HasPrefix(f.Filter, "$")
		if !own && mqttclient.FilterMatches(f.Filter, topic) {
			topics = append(topics, topic)
		}
	}

	slices.Sort(topics)
	for _, topic := range topics {
		d := &delivery{topic: topic, message: kept[topic], qos: min(kept[topic].qos, f.Qos), retain: true}
		if f.Identifier > 0 {
			d.identifiers = []int{f.Identifier}
		}
		h.sessions.track(client, d)
		err := client.WritePacket(d.packet(false))
		if errors.Is(err, packets.ErrPacketTooLarge) { // for this client, which has said so (MQTT 5)
			h.sessions.lost(client, d)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}
