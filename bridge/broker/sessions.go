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
	DroppedMemory       DropReason = "memory"       // a long queue, when all together took too much
	DroppedRetainedFull DropReason = "retainedFull" // not retained; subscribers got the message
)

// DropReasons returns all reasons.
func DropReasons() []DropReason {
	return []DropReason{DroppedQueueFull, DroppedMemory, DroppedRetainedFull}
}

type noObserver struct{}

func (noObserver) BrokerClientCut()              {}
func (noObserver) BrokerDropped(DropReason, int) {}

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
	now      chan struct{} // has a value when it is not to wait for more
	pumps    sync.WaitGroup

	mu        sync.Mutex
	byID      map[string]*session
	links     map[*mochi.Client]*link
	owners    map[string]*boundedConn // by client identifier: the connection that has it
	bytes     int                     // waiting for all clients from outside the process
	count     int                     // for session.since
	unwritten unwritten
}

// unwritten is what the file with the sessions does not say yet, besides the sessions and deliveries that
// have not been written.
type unwritten struct {
	numbers uint64     // the last one given to a durable delivery
	taken   []uint64   // deliveries on the disk that have ended
	over    []string   // client identifiers of sessions that have ended
	saying  bool       // it is being written
	behind  []*receipt // that wait until it is
}

func newSessions(server *mochi.Server, retained *retained, observer Observer, log *slog.Logger) *sessions {
	if observer == nil {
		observer = noObserver{}
	}
	return &sessions{
		server: server, retained: retained, observer: observer, log: log,
		soon: make(chan struct{}, 1), now: make(chan struct{}, 1),
		byID: map[string]*session{}, links: map[*mochi.Client]*link{}, owners: map[string]*boundedConn{},
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

// OnSessionEstablish ends an older connection with the same client identifier, and waits until mochi has done
// with it. Mochi ends it too, but does not wait: what it does at the end of the older one may then hit the
// new one, which gets no messages any more (2.7.9: attachClient deletes the client by its identifier).
func (h *sessions) OnSessionEstablish(client *mochi.Client, _ packets.Packet) {
	conn, ok := client.Net.Conn.(*boundedConn)
	if !ok {
		return
	}
	for {
		h.mu.Lock()
		older := h.owners[client.ID]
		if older == nil {
			conn.id = client.ID
			h.owners[client.ID] = conn
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
		if other, known := h.server.Clients.Get(client.ID); known {
			disconnect(h.server, other, packets.ErrSessionTakenOver)
		}
		_ = older.Close() // it may not be known yet
		<-older.left
	}
}

// left gives the client identifier of a connection free: mochi has done with it.
func (h *sessions) left(conn *boundedConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.owners[conn.id] == conn {
		delete(h.owners, conn.id)
	}
	close(conn.left)
}

// OnSessionEstablished finds or makes the session of a client that has its CONNACK, and begins to send to it.
func (h *sessions) OnSessionEstablished(client *mochi.Client, packet packets.Packet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.byID[client.ID]
	if s != nil && (packet.Connect.Clean || !s.keep) {
		h.discard(s)
		s = nil
	}
	if s == nil {
		s = newSession(client.ID)
		h.byID[client.ID] = s
	}

	five := client.Properties.ProtocolVersion == 5
	s.keep = !five && !packet.Connect.Clean || five && client.Properties.Props.SessionExpiryInterval > 0
	s.near = client.Net.Listener == nearID
	today := day(time.Now())
	s.changed = s.changed || s.seen != today
	s.seen = today
	h.describe(s, client)
	h.count++
	s.since = h.count
	l := newLink(client, s)
	s.link = l
	h.links[client] = l
	h.pumps.Go(func() { h.pump(l) })
	h.limit()
}

// describe notes what the file must have of a session besides its messages. The lock is held.
func (h *sessions) describe(s *session, client *mochi.Client) {
	protocol := client.Properties.ProtocolVersion
	expiry := client.Properties.Props.SessionExpiryInterval
	filters := subscriptions(client)
	if s.protocol == protocol && s.expiry == expiry && slices.Equal(s.filters, filters) {
		return
	}
	s.protocol = protocol
	s.expiry = expiry
	s.filters = filters
	if s.keep {
		s.changed = true
		h.remember()
	}
}

// limit drops the session that was left first where there are too many. The lock is held.
func (h *sessions) limit() {
	clients := h.server.Clients.GetAll()
	if len(clients) <= maxSessions {
		return
	}
	var oldest *mochi.Client
	least := h.count + 1
	for id, client := range clients {
		since := 0 // it left before it had a session
		s := h.byID[id]
		if s != nil {
			since = s.since
		}
		away := client.Closed() && (s == nil || s.link == nil)
		if away && client.Net.Listener != nearID && since < least {
			oldest = client
			least = since
		}
	}
	if oldest == nil {
		return
	}
	h.log.Warn("embedded MQTT broker: too many sessions; the one that was left first is dropped", "clientId",
		oldest.ID)
	if s := h.byID[oldest.ID]; s != nil {
		h.discard(s)
	}
	oldest.ClearInflights()
	h.forget(oldest)
	h.server.Clients.Delete(oldest.ID)
}

// forget takes the subscriptions of a client that is away out of the index of the server. The lock is held,
// so the function of mochi, which calls OnUnsubscribed, is not for here.
func (h *sessions) forget(client *mochi.Client) {
	for filter := range client.State.Subscriptions.GetAll() {
		client.State.Subscriptions.Delete(filter)
		if h.server.Topics.Unsubscribe(filter, client.ID) {
			atomic.AddInt64(&h.server.Info.Subscriptions, -1)
		}
	}
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
	if conn, ok := client.Net.Conn.(*boundedConn); l.cut || ok && conn.stuck.Load() {
		h.observer.BrokerClientCut()
		h.log.Warn("embedded MQTT broker: a client that does not read was cut off", "clientId", client.ID,
			"remote", client.Net.Remote)
	}

	s := l.session
	s.link = nil
	h.count++
	s.since = h.count
	if expire {
		h.discard(s)
		return
	}
	h.describe(s, client) // a DISCONNECT of MQTT 5 may change how long it is kept
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
	defer h.mu.Unlock()
	if s := h.byID[client.ID]; s != nil && s.link == nil {
		h.discard(s)
	}
	h.forget(client)
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

// OnUnsubscribed notes that the subscriptions of a client have changed.
func (h *sessions) OnUnsubscribed(client *mochi.Client, _ packets.Packet) { h.subscribed(client) }

// subscribed notes that the subscriptions of a client have changed.
func (h *sessions) subscribed(client *mochi.Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.links[client]; l != nil {
		h.describe(l.session, client)
	}
}

// discard ends a session and all that waits for it. The lock is held.
func (h *sessions) discard(s *session) {
	for _, d := range slices.Concat(s.sent, s.waiting) {
		d.stored = false // the file is told of the session as a whole
		h.end(s, d)
	}
	s.sent = nil
	s.waiting = nil
	if h.byID[s.id] == s {
		delete(h.byID, s.id)
	}
	if s.stored {
		h.unwritten.over = append(h.unwritten.over, s.id)
		h.remember()
	}
}

// remember says that something is to be stored or settled soon.
func (h *sessions) remember() { wake(h.soon) }

// wake puts a value into a channel that has room for one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// subscriptions returns the subscriptions of a client by filter, as the file has them.
func subscriptions(client *mochi.Client) []storedSubscription {
	var list []storedSubscription
	for _, sub := range client.State.Subscriptions.GetAll() {
		list = append(list, storedSubscription{
			Filter: sub.Filter, QoS: sub.Qos, Identifier: sub.Identifier, NoLocal: sub.NoLocal,
			RetainAsPublished: sub.RetainAsPublished,
		})
	}
	slices.SortFunc(list, func(a, b storedSubscription) int { return strings.Compare(a.Filter, b.Filter) })
	return list
}
