package broker

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/zigate-ota/zigate-ota/bridge"
)

// How a subscription wants the messages that were kept (MQTT 5, 3.8.3.1). MQTT 3 always wants them.
const (
	retainedAlways = 0
	retainedIfNew  = 1
	retainedNever  = 2
)

// retained hands new subscribers the messages that were kept. The server does so itself, but it walks its topic index
// without a lock while others write to it (2.7.9: TopicsIndex.scanMessages beside RetainMessage), a data race. So it is
// told that the subscriber wants none, and this hook delivers them from the store, which has its lock. They go out at QoS
// 0: over the same connection and in order, and who loses the connection gets them again when it subscribes again.
type retained struct {
	mochi.HookBase
	server *mochi.Server
	log    *slog.Logger
	// wanted are the subscriptions that a client asks for, between OnSubscribe and OnSubscribed.
	wanted sync.Map // *mochi.Client to []bool, one a filter
}

func (*retained) ID() string { return "retained" }

func (*retained) Provides(b byte) bool { return b == mochi.OnSubscribe || b == mochi.OnSubscribed }

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
	var kept map[string]packets.Packet
	for i, f := range packet.Filters {
		if !wanted[i] || reasonCodes[i] > packets.CodeGrantedQos2.Code {
			continue
		}
		if kept == nil {
			kept = h.server.Topics.Retained.GetAll()
		}
		if err := h.deliver(client, f, kept); err != nil {
			h.log.Debug("a subscriber has gone before it got what was kept", "clientId", client.ID, "error", err)
			return
		}
	}
}

// deliver writes the kept messages that a filter matches, by topic.
func (h *retained) deliver(client *mochi.Client, f packets.Subscription, kept map[string]packets.Packet) error {
	var topics []string
	for topic := range kept {
		// Topics of the broker itself are not for wildcards at the first level.
		if own := strings.HasPrefix(topic, "$") && !strings.HasPrefix(f.Filter, "$"); !own && bridge.FilterMatches(f.Filter, topic) {
			topics = append(topics, topic)
		}
	}
	slices.Sort(topics)
	for _, topic := range topics {
		message := kept[topic]
		out := message.Copy(false)
		out.FixedHeader.Retain, out.FixedHeader.Dup = true, false
		out.FixedHeader.Qos = min(out.FixedHeader.Qos, f.Qos)
		out.PacketID = 0
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

// register enters a message that the client is to acknowledge. A client that cannot take more of these gets it at QoS 0,
// over the same connection and in order all the same; who loses the connection gets it again with its next subscription.
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
