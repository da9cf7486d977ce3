package broker

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// retained keeps the retained messages and sends them to new subscribers. The server could do both itself,
// but it has a data race there: it walks its topic index without a lock while others write to it (2.7.9:
// TopicsIndex.scanMessages and RetainMessage). It also copies all retained messages once a second to find
// those that have expired. So retained tells the server that subscribers want no retained messages, and
// removes each message that the server retains. The server keeps only the few messages on its own topics
// ($SYS).
type retained struct {
	mochi.HookBase
	server *mochi.Server
	log    *slog.Logger
	// wanted says between OnSubscribe and OnSubscribed which filters of a client want retained messages.
	wanted sync.Map // from *mochi.Client to []bool, one for each filter

	mu       sync.Mutex
	messages map[string]message // by topic; payloads do not change
}

// message is a retained message.
type message struct {
	payload    []byte // not empty
	qos        byte
	created    int64               // Unix time in seconds
	expires    int64               // Unix time in seconds; 0 for a message that does not expire
	properties *packets.Properties // of MQTT 5; nil for a message of MQTT 3
}

func newRetained(server *mochi.Server, log *slog.Logger) *retained {
	return &retained{server: server, log: log, messages: map[string]message{}}
}

// put retains a message. One with an empty payload removes the retained message of the topic.
func (h *retained) put(topic string, m message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(m.payload) == 0 {
		delete(h.messages, topic)
	} else {
		h.messages[topic] = m
	}
}

// all removes the messages that have expired and returns a copy of the others, by topic.
func (h *retained) all(now time.Time) map[string]message {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.messages, func(_ string, m message) bool {
		return m.expires > 0 && m.expires <= now.Unix()
	})
	return maps.Clone(h.messages)
}

// OnRetainMessage takes a message over that the server has retained or, where its payload is empty, cleared.
func (h *retained) OnRetainMessage(_ *mochi.Client, packet packets.Packet, _ int64) {
	m := message{
		payload: packet.Payload, qos: packet.FixedHeader.Qos, created: packet.Created, expires: packet.Expiry,
	}
	if packet.ProtocolVersion == 5 {
		properties := packet.Properties.Copy(false)
		m.properties = &properties
	}
	h.put(packet.TopicName, m)
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
		_, existed := client.State.Subscriptions.Get(f.Filter)
		wanted[i] = !mochi.IsSharedFilter(f.Filter) &&
			(f.RetainHandling == retainedAlways || f.RetainHandling == retainedIfNew && !existed)
		f.RetainHandling = retainedNever
	}
	h.wanted.Store(client, wanted)
	return packet
}

// OnSubscribed sends the retained messages to a new subscriber, which now gets all newer messages from the
// server.
func (h *retained) OnSubscribed(client *mochi.Client, packet packets.Packet, reasonCodes []byte) {
	v, ok := h.wanted.LoadAndDelete(client)
	if !ok {
		return
	}
	wanted := v.([]bool)
	var kept map[string]message
	for i, f := range packet.Filters {
		if !wanted[i] || reasonCodes[i] > packets.CodeGrantedQos2.Code {
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
		message := kept[topic]
		out := packets.Packet{
			FixedHeader: packets.FixedHeader{
				Type: packets.Publish, Retain: true, Qos: min(message.qos, f.Qos),
			},
			TopicName: topic, Payload: message.payload, Created: message.created, Expiry: message.expires,
		}
		if message.properties != nil {
			out.Properties = message.properties.Copy(false)
		}
		if f.Identifier > 0 {
			out.Properties.SubscriptionIdentifier = []int{f.Identifier}
		}
		if out.FixedHeader.Qos > 0 {
			h.register(client, &out)
		}
		if err := client.WritePacket(out); err != nil {
			return err
		}
	}
	return nil
}

// register enters a message among those that the client has to acknowledge. For a client that cannot take
// more of these it lowers the QoS to 0; the message still arrives in order over the same connection, and a
// client that loses the connection gets it again with its next subscription.
func (h *retained) register(client *mochi.Client, out *packets.Packet) {
	most := int(h.server.Options.Capabilities.MaximumInflight)
	if own := int(client.Properties.Props.ReceiveMaximum); own > 0 {
		most = min(most, own)
	}
	id, err := client.NextPacketID()
	if err != nil || client.State.Inflight.Len() >= most/2 { // half is left for what comes meanwhile
		out.FixedHeader.Qos = 0
		return
	}
	out.PacketID = uint16(id)
	out.Created = time.Now().Unix()
	if client.State.Inflight.Set(*out) {
		atomic.AddInt64(&h.server.Info.Inflight, 1)
		client.State.Inflight.DecreaseSendQuota()
	}
}
