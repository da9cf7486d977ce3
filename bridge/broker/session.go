package broker

import (
	"math/rand/v2"
	"slices"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

const (
	// maxWaiting is how many bytes may wait for one client that has no session, so for as long as it is
	// connected.
	maxWaiting = 4 << 20
	// maxKept is the same for a client with a session: it is what is written to the disk.
	maxKept = 1 << 20
	// maxWaitingAll is how many bytes may wait for all clients, the service's own left out.
	maxWaitingAll = 8 << 20
	// crowded is from how many waiting bytes on those who publish to a client get their acknowledgements
	// later, as long as the client has moved on within movedWithin.
	crowded     = 512 << 10
	movedWithin = 5 * time.Second
	// window is how many messages a client may leave unacknowledged, besides retained ones.
	window = 64
	// retainedWindow is how many retained messages are sent unacknowledged; more are sent at QoS 0.
	retainedWindow = 1000
	// unacknowledged is how many messages a client may publish before it takes their acknowledgements.
	unacknowledged = 1024
)

// delivery is a message on its way to one client.
type delivery struct {
	topic       string
	message     message // its payload is shared by all deliveries
	qos         byte    // that of the publisher or of the subscription, the lower one
	retain      bool
	identifiers []int // of the subscriptions (MQTT 5)

	receipt  *receipt // what the publisher waits for; nil where it does not
	durable  bool     // it must come over a restart
	stored   bool     // it is on the disk
	number   uint64   // in the file; 0 for one that is not durable
	id       uint16   // packet identifier; 0 at QoS 0, and until it is sent where it is not durable
	again    bool     // an earlier life of the broker may have sent it
	released bool     // of QoS 2: the client has it (PUBREC)
	ended    bool     // the client has acknowledged it, or it was dropped
	size     int      // bytes counted; 0 until it waits
}

// packet returns the packet for the client, with what says that it may have come before.
func (d *delivery) packet(again bool) packets.Packet {
	if d.released {
		return control(packets.Pubrel, d.id)
	}
	out := packets.Packet{
		FixedHeader: packets.FixedHeader{
			Type: packets.Publish, Retain: d.retain, Qos: d.qos, Dup: again || d.again,
		},
		TopicName: d.topic, Payload: d.message.payload, PacketID: d.id,
		Created: d.message.created, Expiry: d.message.expires,
	}
	if d.message.properties != nil {
		out.Properties = d.message.properties.Copy(false)
	}
	out.Properties.SubscriptionIdentifier = d.identifiers
	return out
}

// expired reports whether a message of MQTT 5 has reached its end.
func (d *delivery) expired(now time.Time) bool {
	return d.message.expires > 0 && d.message.expires <= now.Unix()
}

// control returns a packet that only carries a packet identifier.
func control(kind byte, id uint16) packets.Packet {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id}
	if kind == packets.Pubrel {
		pk.FixedHeader.Qos = 1 // its flags (MQTT 3.1.1, 3.6.1)
	}
	return pk
}

// receipt is the acknowledgement that a publisher gets for a message at QoS 1 or 2.
type receipt struct {
	link *link
	id   uint16
	left int // what must happen before it is sent
	// due is closed when it is to be sent, at QoS 2: then mochi sends it, which keeps what follows it.
	due chan struct{}
}

// settle counts one thing as done.
func (r *receipt) settle() {
	r.left--
	switch {
	case r.left > 0:
	case r.due != nil:
		close(r.due)
	default:
		r.link.signal()
	}
}

// settle counts one thing as done for the receipt.
func (d *delivery) settle() {
	if d.receipt != nil {
		d.receipt.settle()
		d.receipt = nil
	}
}

// session is what the broker keeps for a client identifier: what waits for the client, and what the client
// has not acknowledged yet. The lock of sessions guards it.
type session struct {
	id       string
	link     *link // the connection; nil while the client is away
	keep     bool  // it goes on when the client is away
	near     bool  // of a client inside the process
	protocol byte
	expiry   uint32 // seconds; of MQTT 5
	since    int    // counts up with each connection and leave; the lowest one was left first

	filters []storedSubscription // by filter
	changed bool                 // the file does not have it as it is
	stored  bool                 // the file has something of it
	seen    int64                // the day on which the client was connected last, as the file has it

	sent    []*delivery // unacknowledged, in the order of sending
	waiting []*delivery
	bytes   int // of both
	lastID  uint16
	held    int  // above 0 while retained messages are sent, which newer ones must not overtake
	full    bool // it was told that something was dropped
}

// newSession returns a session without messages. The packet identifiers of its messages begin anywhere: a
// client may still remember some of messages at QoS 2 that were not on the disk before a kill.
func newSession(id string) *session {
	return &session{id: id, lastID: uint16(rand.Uint32())}
}

// most returns how many bytes may wait for the client.
func (s *session) most() int {
	if s.keep {
		return maxKept
	}
	return maxWaiting
}

// day returns the day that a moment is in, counted from 1970 in UTC.
func day(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

// stale reports whether the file does not have the session as it is. That the client is connected is noted
// once a day: it only matters for how long a session is kept.
func (s *session) stale(today int64) bool {
	return s.keep && (s.changed || s.link != nil && s.seen != today)
}

// fits reports whether so many more bytes may wait for the client. One message always may.
func (s *session) fits(size int) bool { return s.bytes == 0 || s.bytes+size <= s.most() }

// moved returns when the client last took or acknowledged a message; for one that is away it is now.
func (s *session) moved(now time.Time) time.Time {
	if s.link == nil {
		return now
	}
	return s.link.moved
}

// find returns the index of a packet identifier in sent, or -1.
func (s *session) find(id uint16) int {
	return slices.IndexFunc(s.sent, func(d *delivery) bool { return d.id == id })
}

// nextID returns a packet identifier that is free.
func (s *session) nextID() uint16 {
	for {
		s.lastID++
		if s.lastID != 0 && !s.uses(s.lastID) {
			return s.lastID
		}
	}
}

// uses reports whether a packet identifier is that of a message that was sent, or waits.
func (s *session) uses(id uint16) bool {
	has := func(d *delivery) bool { return d.id == id }
	return slices.ContainsFunc(s.sent, has) || slices.ContainsFunc(s.waiting, has)
}

// link is one connection of a client, from its CONNACK to its end.
type link struct {
	client  *mochi.Client
	session *session
	wake    chan struct{} // has a value when there may be something to send
	stop    chan struct{} // closed when the client has left
	dead    chan struct{} // closed when nothing is sent any more
	slots   chan struct{} // one for each receipt

	// The lock of sessions guards these.
	receipts []*receipt  // in the order of the messages, which that of the acknowledgements must be
	releases []uint16    // PUBREL to send
	resend   []*delivery // sent over an earlier connection and not acknowledged
	moved    time.Time   // when the client last took or acknowledged a message
	cut      bool        // it was ended because the queue of the client is full
}

func newLink(client *mochi.Client, s *session) *link {
	return &link{
		client: client, session: s, resend: slices.Clone(s.sent), moved: time.Now(),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), dead: make(chan struct{}),
		slots: make(chan struct{}, unacknowledged),
	}
}

// signal says that there may be something to send.
func (l *link) signal() { wake(l.wake) }

// slow reports whether a client has much to read and does read, so that those who publish to it should wait.
func (l *link) slow() bool {
	return l != nil && l.session.bytes > crowded && time.Since(l.moved) < movedWithin
}

// room returns how many more messages may be sent unacknowledged, where most is the broker's own limit.
func (l *link) room(most int) int {
	if own := int(l.client.Properties.Props.ReceiveMaximum); own > 0 {
		most = min(most, own)
	}
	return most - len(l.session.sent)
}
