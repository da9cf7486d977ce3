package broker

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

const (
	// maxSessions is how many sessions are kept. Beyond it the one that was left first is dropped.
	maxSessions = 1024
	// maxLevels and maxLevelsAll are how many levels the filters of one client and of all may have together,
	// those of the service left out.
	maxLevels    = 4_000
	maxLevelsAll = 20_000
)

// Observer counts what the broker had to give up. Its methods may be called from any goroutine and must not
// block.
type Observer interface {
	// BrokerClientCut says that a client was cut off because it did not read.
	BrokerClientCut()
	// BrokerDropped says that so many messages were dropped.
	BrokerDropped(reason DropReason, messages int)
}

// DropReason says why messages were dropped.
type DropReason string

// The reasons.
const (
	DroppedQueueFull    DropReason = "queueFull"    // to one client, whose queue is full
	DroppedMemory       DropReason = "memory"       // the longest queue, when all together took too much
	DroppedRetainedFull DropReason = "retainedFull" // not retained; subscribers got the message
)

// DropReasons returns all reasons.
func DropReasons() []DropReason {
	return []DropReason{DroppedQueueFull, DroppedMemory, DroppedRetainedFull}
}

type noObserver struct{}

func (noObserver) BrokerClientCut()              {}
func (noObserver) BrokerDropped(DropReason, int) {}

var errNotReading = errors.New("the client does not read")

// sessions brings messages from those who publish to those who subscribe. Mochi could do that itself, but
// its queues are bounded by the number of messages alone, a full one loses messages of QoS 1, a client that
// does not read can block those who publish to it, and the packet identifiers of both directions are mixed
// up (2.7.9: publishToClient, Client.NextPacketID, processPublish). So sessions takes each message over in
// OnPublish, has a queue for each client that is bounded in bytes, and follows the acknowledgements. Wills
// with a delay stay with mochi, at QoS 0.
type sessions struct {
	mochi.HookBase
	server   *mochi.Server
	retained *retained
	observer Observer
	log      *slog.Logger
	store    bool          // sessions are kept on the disk
	soon     chan struct{} // has a value when something is to be stored or settled
	pumps    sync.WaitGroup

	mu      sync.Mutex
	byID    map[string]*session
	links   map[*mochi.Client]*link
	bytes   int // waiting for all clients from outside the process
	count   int // for session.since
	unsaved int // durable deliveries that are not on the disk
	stale   bool
	slow    []*delivery // whose publishers wait because a client is slow
}

func newSessions(server *mochi.Server, retained *retained, observer Observer, log *slog.Logger) *sessions {
	if observer == nil {
		observer = noObserver{}
	}
	return &sessions{
		server: server, retained: retained, observer: observer, log: log, soon: make(chan struct{}, 1),
		byID: map[string]*session{}, links: map[*mochi.Client]*link{},
	}
}

// ID returns the name of the hook for mochi.
func (*sessions) ID() string { return "sessions" }

// Provides says which events mochi passes to the hook.
func (*sessions) Provides(b byte) bool {
	switch b {
	case mochi.OnSessionEstablish, mochi.OnSessionEstablished, mochi.OnDisconnect, mochi.OnClientExpired,
		mochi.OnPublish, mochi.OnWill, mochi.OnPacketRead, mochi.OnUnsubscribed, mochi.OnSubscribe:
		return true
	}
	return false
}

// OnSessionEstablish finds or makes the session of a client that connects, before mochi does the same.
func (h *sessions) OnSessionEstablish(client *mochi.Client, packet packets.Packet) {
	clean := packet.Connect.Clean
	five := client.Properties.ProtocolVersion == 5
	keep := !five && !clean || five && client.Properties.Props.SessionExpiryInterval > 0
	h.mu.Lock()
	s := h.byID[client.ID]
	if s != nil && (clean || !s.keep) {
		h.discard(s)
		s = nil
	}
	if s == nil {
		s = &session{id: client.ID}
		h.byID[client.ID] = s
	}
	s.link = nil // an older connection gets nothing more
	s.keep = keep
	s.near = client.Net.Listener == nearID
	s.protocol = client.Properties.ProtocolVersion
	s.expiry = client.Properties.Props.SessionExpiryInterval
	h.count++
	s.since = h.count
	h.stale = h.stale || keep
	oldest := h.tooMany()
	h.mu.Unlock()
	h.remember()
	if oldest == "" {
		return
	}
	h.log.Warn("embedded MQTT broker: too many sessions; the one that was left first is dropped", "clientId",
		oldest)
	if gone, ok := h.server.Clients.Get(oldest); ok && gone.Closed() {
		gone.ClearInflights()
		h.server.UnsubscribeClient(gone)
		h.server.Clients.Delete(oldest)
	}
}

// tooMany drops the session that was left first where there are too many, and returns its client identifier.
func (h *sessions) tooMany() string {
	if len(h.byID) <= maxSessions {
		return ""
	}
	var oldest *session
	for _, s := range h.byID {
		if s.link == nil && !s.near && (oldest == nil || s.since < oldest.since) {
			oldest = s
		}
	}
	if oldest == nil {
		return ""
	}
	h.discard(oldest)
	return oldest.id
}

// OnSessionEstablished begins to send to a client that has its CONNACK.
func (h *sessions) OnSessionEstablished(client *mochi.Client, _ packets.Packet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.byID[client.ID]
	current, ok := h.server.Clients.Get(client.ID)
	if s == nil || !ok || current != client || client.Closed() {
		return // another connection has taken the session over already
	}
	l := newLink(client, s)
	s.link = l
	h.links[client] = l
	h.pumps.Go(func() { h.pump(l) })
}

// OnDisconnect ends the sending to a client. Its session ends too where expire says so.
func (h *sessions) OnDisconnect(client *mochi.Client, _ error, expire bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.links[client]
	if l == nil {
		return
	}
	delete(h.links, client)
	close(l.stop)
	s := l.session
	if s.link != l {
		return
	}
	s.link = nil
	h.count++
	s.since = h.count
	if expire {
		h.stale = h.stale || s.keep
		h.discard(s)
		return
	}
	s.keep = true
	s.waiting = slices.DeleteFunc(s.waiting, func(d *delivery) bool {
		if d.qos == 0 {
			h.end(s, d)
		}
		return d.qos == 0
	})
}

// OnClientExpired drops a session whose client has been away for too long.
func (h *sessions) OnClientExpired(client *mochi.Client) {
	h.mu.Lock()
	if s := h.byID[client.ID]; s != nil && s.link == nil {
		h.discard(s)
	}
	h.mu.Unlock()
	h.server.UnsubscribeClient(client)
}

// OnSubscribe cuts a client off that would have too many subscriptions: each level of a filter takes memory
// in the index of the server. The filters of this packet are then taken for none.
func (h *sessions) OnSubscribe(client *mochi.Client, packet packets.Packet) packets.Packet {
	if client.Net.Listener == nearID {
		return packet
	}
	more := 0
	for _, f := range packet.Filters {
		if _, existed := client.State.Subscriptions.Get(f.Filter); !existed {
			more += levels(f.Filter)
		}
	}
	own := more
	all := more
	for _, other := range h.server.Clients.GetAll() {
		if other.Net.Listener == nearID {
			continue
		}
		for filter := range other.State.Subscriptions.GetAll() {
			all += levels(filter)
			if other == client {
				own += levels(filter)
			}
		}
	}
	if own <= maxLevels && all <= maxLevelsAll {
		return packet
	}
	h.log.Warn("embedded MQTT broker: a client has too many subscriptions and was cut off", "clientId",
		client.ID, "remote", client.Net.Remote)
	packet.Filters = nil
	client.Stop(packets.ErrQuotaExceeded)
	return packet
}

// levels counts a filter: its levels, and one for each 100 bytes.
func levels(filter string) int { return 1 + strings.Count(filter, "/") + len(filter)/100 }

// OnUnsubscribed notes that the subscriptions on the disk are old.
func (h *sessions) OnUnsubscribed(client *mochi.Client, _ packets.Packet) { h.subscribed(client) }

// subscribed notes that the subscriptions of a client have changed.
func (h *sessions) subscribed(client *mochi.Client) {
	h.mu.Lock()
	s := h.byID[client.ID]
	if s != nil && s.keep {
		h.stale = true
	}
	h.mu.Unlock()
	h.remember()
}

// discard ends a session and all that waits for it. The lock is held.
func (h *sessions) discard(s *session) {
	for _, d := range slices.Concat(s.sent, s.waiting) {
		h.end(s, d)
	}
	s.sent = nil
	s.waiting = nil
	if h.byID[s.id] == s {
		delete(h.byID, s.id)
	}
}

// end takes a delivery out of the counts: it has arrived, or was given up. The lock is held.
func (h *sessions) end(s *session, d *delivery) {
	if d.ended {
		return
	}
	d.ended = true
	d.settle()
	s.bytes -= d.size
	if !s.near {
		h.bytes -= d.size
	}
	if s.fits(maxKept / 2) {
		s.full = false
	}
	switch {
	case !d.durable:
	case d.stored:
		h.stale = true
		h.remember()
	default:
		h.unsaved--
	}
}

// OnPublish brings a message to its subscribers. Its errors are no failures: they tell mochi to do nothing
// more with the message, at QoS 1 not even to acknowledge it.
func (h *sessions) OnPublish(client *mochi.Client, packet packets.Packet) (packets.Packet, error) {
	h.mu.Lock()
	l := h.links[client]
	h.mu.Unlock()
	var r *receipt
	if packet.FixedHeader.Qos == 1 && l != nil {
		select {
		case l.slots <- struct{}{}:
		case <-l.dead:
			return packet, packets.ErrRejectPacket
		}
		r = &receipt{link: l, id: packet.PacketID, left: 1}
		h.mu.Lock()
		l.receipts = append(l.receipts, r)
		h.mu.Unlock()
	}
	m := messageOf(packet)
	m.near = client.Net.Listener == nearID
	if packet.FixedHeader.Retain {
		h.retained.keep(packet.TopicName, m)
	}
	h.publish(client.ID, packet.TopicName, m, packet.FixedHeader.Retain, r)
	if r == nil {
		return packet, packets.CodeSuccessIgnore
	}
	h.mu.Lock()
	r.left--
	h.mu.Unlock()
	l.signal()
	return packet, packets.ErrRejectPacket
}

// OnWill brings the will of a client to its subscribers, and returns one that mochi brings to nobody. A will
// with a delay is left to mochi.
func (h *sessions) OnWill(client *mochi.Client, will mochi.Will) (mochi.Will, error) {
	if will.WillDelayInterval > 0 {
		will.Qos = 0
		return will, nil
	}
	m := message{
		payload: will.Payload, qos: will.Qos, created: time.Now().Unix(), near: client.Net.Listener == nearID,
	}
	if len(will.User) > 0 {
		m.properties = &packets.Properties{User: will.User}
	}
	if will.Retain {
		h.retained.keep(will.TopicName, m)
	}
	h.publish(client.ID, will.TopicName, m, will.Retain, nil)
	return mochi.Will{}, nil
}

// publish puts a message into the queues of its subscribers.
func (h *sessions) publish(origin, topic string, m message, retain bool, r *receipt) {
	subscribers := h.server.Topics.Subscribers(topic)
	if len(subscribers.Shared) > 0 {
		subscribers.SelectShared()
		subscribers.MergeSharedSelected()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, sub := range subscribers.Subscriptions {
		s := h.byID[id]
		if s == nil || sub.NoLocal && id == origin {
			continue
		}
		d := &delivery{
			topic: topic, message: m, qos: min(m.qos, sub.Qos),
			retain: retain && s.protocol == 5 && sub.RetainAsPublished,
			size:   len(topic) + len(m.payload) + deliveryCost,
		}
		for _, identifier := range sub.Identifiers {
			if identifier > 0 {
				d.identifiers = append(d.identifiers, identifier)
			}
		}
		slices.Sort(d.identifiers)
		if id == origin {
			h.enqueue(s, d, nil)
		} else {
			h.enqueue(s, d, r)
		}
	}
}

// enqueue puts a delivery into the queue of a client. The lock is held.
func (h *sessions) enqueue(s *session, d *delivery, r *receipt) {
	if s.link == nil && (d.qos == 0 || !s.keep) {
		return
	}
	if !s.fits(d.size) || !s.near && !h.relieve(s, d.size) {
		h.overflow(s)
		return
	}
	s.waiting = append(s.waiting, d)
	s.bytes += d.size
	if !s.near {
		h.bytes += d.size
	}
	d.durable = h.store && s.keep && d.qos > 0
	if d.durable {
		h.unsaved++
	}
	if r != nil && (d.durable || s.link.slow()) {
		r.left++
		d.receipt = r
		if !d.durable {
			h.slow = append(h.slow, d)
		}
	}
	if d.durable || d.receipt != nil {
		h.remember()
	}
	if s.link != nil {
		s.link.signal()
	}
}

// overflow tells that a message to a client is dropped because its queue is full, and cuts the client off
// where it is connected. The lock is held.
func (h *sessions) overflow(s *session) {
	h.observer.BrokerDropped(DroppedQueueFull, 1)
	if !s.full {
		s.full = true
		h.log.Warn("embedded MQTT broker: the queue of a client is full; messages to it are dropped until "+
			"it takes some", "clientId", s.id, "bytes", s.bytes, "connected", s.link != nil)
	}
	if s.link != nil {
		h.cut(s.link)
	}
}

// relieve makes room for so many bytes where all queues together take too much: the longest one is emptied.
// It reports whether there is room; there is none where the longest one is that of s. The lock is held.
func (h *sessions) relieve(s *session, size int) bool {
	for h.bytes+size > maxWaitingAll {
		longest := s
		for _, other := range h.byID {
			if !other.near && other.bytes > longest.bytes {
				longest = other
			}
		}
		if longest == s {
			return false
		}
		dropped := len(longest.waiting) + len(longest.sent)
		h.log.Warn("embedded MQTT broker: what waits for all clients takes too much memory; the longest "+
			"queue is dropped", "clientId", longest.id, "messages", dropped, "bytes", longest.bytes)
		h.observer.BrokerDropped(DroppedMemory, dropped)
		for _, d := range slices.Concat(longest.sent, longest.waiting) {
			h.end(longest, d)
		}
		longest.sent = nil
		longest.waiting = nil
		if longest.link != nil {
			h.cut(longest.link)
		}
	}
	return true
}

// cut ends the connection of a client that does not read. The lock is held.
func (h *sessions) cut(l *link) {
	if l.cut {
		return
	}
	l.cut = true
	h.observer.BrokerClientCut()
	h.log.Warn("embedded MQTT broker: a client that does not read was cut off", "clientId", l.client.ID,
		"remote", l.client.Net.Remote)
	l.client.Stop(errNotReading)
}

// pump sends to a client until it leaves.
func (h *sessions) pump(l *link) {
	defer close(l.dead)
	for {
		packet, d, ok := h.next(l)
		if !ok {
			select {
			case <-l.wake:
				continue
			case <-l.stop:
				return
			}
		}
		if err := l.client.WritePacket(packet); err != nil && !h.failed(l, d, err) {
			return
		}
	}
}

// failed takes note of a packet that could not be sent, and reports whether others can. d may be nil.
func (h *sessions) failed(l *link, d *delivery, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if errors.Is(err, packets.ErrPacketTooLarge) { // for this client, which has said so (MQTT 5)
		if d != nil {
			h.acknowledged(l.session, d)
		}
		return true
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		h.cut(l)
	}
	l.client.Stop(err)
	return false
}

// acknowledged ends a delivery that was sent. The lock is held.
func (h *sessions) acknowledged(s *session, d *delivery) {
	h.end(s, d)
	if s.link != nil {
		s.link.moved = time.Now()
	}
	if i := slices.Index(s.sent, d); i >= 0 {
		s.sent = slices.Delete(s.sent, i, i+1)
	}
}

// next returns what is to be sent to a client: acknowledgements first, then what an earlier connection has
// left unacknowledged, then what waits.
func (h *sessions) next(l *link) (packet packets.Packet, d *delivery, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(l.receipts) > 0 && l.receipts[0].left == 0 {
		id := l.receipts[0].id
		l.receipts = slices.Delete(l.receipts, 0, 1)
		<-l.slots
		return control(packets.Puback, id), nil, true
	}
	s := l.session
	if s.link != l {
		return packet, nil, false
	}
	if len(l.releases) > 0 {
		id := l.releases[0]
		l.releases = slices.Delete(l.releases, 0, 1)
		return control(packets.Pubrel, id), nil, true
	}
	for s.held == 0 && len(l.resend) > 0 {
		d := l.resend[0]
		l.resend = l.resend[1:]
		if !d.ended {
			return d.packet(true), d, true
		}
	}
	for s.held == 0 && len(s.waiting) > 0 {
		d := s.waiting[0]
		if d.qos > 0 && l.room(window) <= 0 {
			break
		}
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		if d.expired(time.Now()) {
			h.end(s, d)
			continue
		}
		h.leaves(s, d)
		return d.packet(false), d, true
	}
	return packet, nil, false
}

// leaves notes that a delivery is sent. The lock is held.
func (h *sessions) leaves(s *session, d *delivery) {
	s.link.moved = time.Now()
	if d.qos == 0 {
		h.end(s, d)
		return
	}
	if !d.durable {
		d.settle()
	}
	d.id = s.nextID()
	s.sent = append(s.sent, d)
}

// OnPacketRead takes the acknowledgements of what was sent. Mochi, which does not know of it, gets a packet
// in their place that means nothing.
func (h *sessions) OnPacketRead(client *mochi.Client, packet packets.Packet) (packets.Packet, error) {
	kind := packet.FixedHeader.Type
	if kind != packets.Puback && kind != packets.Pubrec && kind != packets.Pubcomp {
		return packet, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.links[client]
	if l == nil || l.session.link != l {
		return packet, nil
	}
	s := l.session
	i := s.find(packet.PacketID)
	if i < 0 {
		return packet, nil
	}
	d := s.sent[i]
	if kind == packets.Pubrec && packet.ReasonCode < packets.ErrUnspecifiedError.Code {
		d.released = true
		if !slices.Contains(l.releases, d.id) {
			l.releases = append(l.releases, d.id)
		}
	} else {
		h.acknowledged(s, d)
	}
	l.signal()
	return control(packets.Puback, 0), nil
}

// hold keeps newer messages from a client while retained ones are sent to it. It returns how that ends.
func (h *sessions) hold(client *mochi.Client) func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.links[client]
	if l == nil {
		return func() {}
	}
	l.session.held++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		l.session.held--
		l.signal()
	}
}

// track enters a retained message among those that the client has to acknowledge. For a client that cannot
// take more of these it lowers the QoS to 0; the message still arrives in order over the same connection,
// and a client that loses the connection gets it again with its next subscription.
func (h *sessions) track(client *mochi.Client, d *delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.links[client]
	if d.qos == 0 || l == nil || l.room(retainedWindow) <= 0 {
		d.qos = 0
		return
	}
	d.id = l.session.nextID()
	l.session.sent = append(l.session.sent, d)
}

// lost ends a tracked message that the client does not get.
func (h *sessions) lost(client *mochi.Client, d *delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.links[client]; l != nil {
		h.acknowledged(l.session, d)
	}
}

// deaf notes that a client could not be sent to.
func (h *sessions) deaf(client *mochi.Client, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.links[client]; l != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		h.cut(l)
	}
}

// remember says that something is to be stored or settled soon.
func (h *sessions) remember() {
	select {
	case h.soon <- struct{}{}:
	default:
	}
}
