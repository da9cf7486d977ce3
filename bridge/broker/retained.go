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

// How a subscription wants the messages that were kept (MQTT 5, 3.8.3.1). MQTT 3 always wants them.
const (
	retainedAlways = 0
	retainedIfNew  = 1
	retainedNever  = 2
)

// retained keeps what was retained, and hands it to new subscribers. The server could do both itself, but it
// walks its topic index without a lock while others write to it (2.7.9: TopicsIndex.scanMessages beside
// RetainMessage), a data race, and it copies all that is retained once a second, to look for what has
// expired. So it is told that subscribers want none, and what it retains is taken out of its hands at once.
// Its own topics ($SYS), a few, stay with it.
type retained struct {
	mochi.HookBase
	server *mochi.Server
	log    *slog.Logger
	// wanted are the subscriptions that a client asks for, between OnSubscribe and OnSubscribed.
	wanted sync.Map // *mochi.Client to []bool, one a filter

	mu       sync.Mutex
	messages map[string]message // by topic; payloads are not written to
}

// message is what was retained under a topic.
type message struct {
	payload    []byte // not empty
	qos        byte
	created    int64               // Unix time in seconds
	expires    int64               // the same; 0: never
	properties *packets.Properties // of MQTT 5; nil: none
}

func newRetained(server *mochi.Server, log *slog.Logger) *retained {
	return &retained{server: server, log: log, messages: map[string]message{}}
}

// put retains a message; an empty one clears what was retained.
func (h *retained) put(topic string, m message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(m.payload) == 0 {
		delete(h.messages, topic)
	} else {
		h.messages[topic] = m
	}
}

// all gives what is retained, but for what has expired, which is forgotten.
func (h *retained) all(now time.Time) map[string]message {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.messages, func(_ string, m message) bool {
		return m.expires > 0 && m.expires <= now.Unix()
	})
	return maps.Clone(h.messages)
}

// OnRetainMessage is called after the server has retained a message or, where it is empty, cleared one.
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

func (*retained) ID() string { return "retained" }

func (*retained) Provides(b byte) bool {
	return b == mochi.OnRetainMessage || b == mochi.OnSubscribe || b == mochi.OnSubscribed
}

// OnSubscribe keeps the server from its own delivery.
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

// OnSubscribed delivers what was kept, now that nothing that comes later can be missed.
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
			h.log.Debug("a subscriber has gone before it got what was kept", "clientId", client.ID,
				"error", err)
			return
		}
	}
}

// deliver writes the kept messages that a filter matches, by topic.
func (h *retained) deliver(client *mochi.Client, f packets.Subscription, kept map[string]message) error {
	var topics []string
	for topic := range kept {
		// Topics of the broker itself are not for wildcards at the first level.
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

// register enters a message that the client is to acknowledge. A client that cannot take more of these gets
// it at QoS 0, over the same connection and in order all the same; who loses the connection gets it again
// with its next subscription.
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
