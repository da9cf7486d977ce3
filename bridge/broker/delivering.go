package broker

import (
	"errors"
	"slices"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

var errNotReading = errors.New("the client does not read")

// OnPublish brings a message to its subscribers. Its errors are no failures: they tell mochi to do nothing
// more with the message, at QoS 1 not even to acknowledge it.
func (h *sessions) OnPublish(client *mochi.Client, packet packets.Packet) (packets.Packet, error) {
	r := h.accept(client, packet)
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
	r.settle()
	h.mu.Unlock()
	if r.due != nil {
		<-r.due // which is soon: storing settles it, also where the disk cannot be written
		return packet, packets.CodeSuccessIgnore
	}
	return packet, packets.ErrRejectPacket
}

// accept returns the receipt that a client gets for what it publishes at QoS 1 or 2; nil where mochi
// acknowledges it at once. It waits while too many are owed to the client.
func (h *sessions) accept(client *mochi.Client, packet packets.Packet) *receipt {
	h.mu.Lock()
	l := h.links[client]
	h.mu.Unlock()
	if packet.FixedHeader.Qos == 0 || l == nil {
		return nil
	}
	r := &receipt{link: l, id: packet.PacketID, left: 1}
	if packet.FixedHeader.Qos == 2 {
		r.due = make(chan struct{})
		return r
	}
	select {
	case l.slots <- struct{}{}:
	case <-l.dead: // nobody takes it any more
		return r
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l.receipts = append(l.receipts, r)
	return r
}

// OnWill brings the will of a client to its subscribers, and returns one that mochi brings to nobody. A will
// with a delay is left to mochi.
func (h *sessions) OnWill(client *mochi.Client, will mochi.Will) (mochi.Will, error) {
	if will.TopicName == "" || !mochi.IsValidFilter(will.TopicName, true) {
		return mochi.Will{}, nil
	}
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

// publish puts a message into the queues of its subscribers. The service gets its acknowledgement when the
// file says which requests it has taken: it forgets a request once the broker has the answer, and the request
// must not come again then.
func (h *sessions) publish(origin, topic string, m message, retain bool, r *receipt) {
	subscribers := h.server.Topics.Subscribers(topic)
	if len(subscribers.Shared) > 0 {
		subscribers.SelectShared()
		subscribers.MergeSharedSelected()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r != nil && m.near && (h.unwritten.saying || len(h.unwritten.taken) > 0) {
		r.left++
		h.unwritten.behind = append(h.unwritten.behind, r)
		h.remember()
	}
	for id, sub := range subscribers.Subscriptions {
		s := h.byID[id]
		if s == nil || sub.NoLocal && id == origin {
			continue
		}
		d := &delivery{
			topic: topic, message: m, qos: min(m.qos, sub.Qos),
			retain: retain && s.protocol == 5 && sub.RetainAsPublished,
		}
		for _, identifier := range sub.Identifiers {
			if identifier > 0 {
				d.identifiers = append(d.identifiers, identifier)
			}
		}
		slices.Sort(d.identifiers)
		if id == origin { // who waits for itself may wait for ever
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
	size := d.message.cost(d.topic)
	if !s.fits(size) || !s.near && !h.relieve(s, size) {
		h.overflow(s)
		return
	}
	h.add(s, d)
	s.waiting = append(s.waiting, d)
	if r != nil && (d.durable || s.link.slow()) {
		r.left++
		d.receipt = r
		h.remember()
	}
	if s.link != nil {
		s.link.signal()
	}
}

// overflow tells that a message to a client is dropped because its queue is full, and cuts the client off
// where it is connected and does nothing. Others who flood the broker get nobody cut off. The lock is held.
func (h *sessions) overflow(s *session) {
	h.observer.BrokerDropped(DroppedQueueFull, 1)
	if !s.full {
		s.full = true
		h.log.Warn("embedded MQTT broker: the queue of a client is full; messages to it are dropped until "+
			"it takes some", "clientId", s.id, "bytes", s.bytes, "connected", s.link != nil)
	}
	if s.link != nil && time.Since(s.link.moved) > writeTimeout {
		h.cut(s.link)
	}
}

// relieve makes room for so many bytes where all queues together take too much: a long one is emptied. It
// reports whether there is room; there is none where that would be the one of s. The lock is held.
func (h *sessions) relieve(s *session, size int) bool {
	for h.bytes+size > maxWaitingAll {
		longest := h.burden(s, time.Now())
		if longest == s {
			return false
		}
		dropped := len(longest.waiting) + len(longest.sent)
		h.log.Warn("embedded MQTT broker: what waits for all clients takes too much memory; a long queue is "+
			"dropped", "clientId", longest.id, "messages", dropped, "bytes", longest.bytes)
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

// burden returns the session whose queue is to be emptied: of those that are at least half as long as the
// longest one that of the client which is connected and has not moved for the longest time, so that a client
// that reads, and one that is away, do not suffer for one that does not read. It is s where no other is as
// long. The lock is held.
func (h *sessions) burden(s *session, now time.Time) *session {
	most := s.bytes
	for _, other := range h.byID {
		if !other.near {
			most = max(most, other.bytes)
		}
	}
	found := s
	for _, other := range h.byID {
		if other.near || 2*other.bytes < most {
			continue
		}
		earlier := other.moved(now).Compare(found.moved(now))
		if 2*found.bytes < most || earlier < 0 || earlier == 0 && other.bytes > found.bytes {
			found = other
		}
	}
	return found
}

// cut ends the connection of a client that does not read. The lock is held.
func (h *sessions) cut(l *link) {
	l.cut = true
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
		err := l.client.WritePacket(packet)
		switch {
		case errors.Is(err, packets.ErrPacketTooLarge): // for this client, which has said so (MQTT 5)
			h.undeliverable(l, d)
		case err != nil:
			l.client.Stop(err)
			return
		}
	}
}

// undeliverable ends a delivery that the client does not want. d may be nil.
func (h *sessions) undeliverable(l *link, d *delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d != nil {
		h.acknowledged(l.session, d)
	}
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
		return packet, nil, false // the client has left
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
		h.leaves(l, d)
		return d.packet(false), d, true
	}
	return packet, nil, false
}

// leaves notes that a delivery is sent. The lock is held.
func (h *sessions) leaves(l *link, d *delivery) {
	s := l.session
	l.moved = time.Now()
	if d.qos == 0 {
		h.end(s, d)
		return
	}
	if !d.durable {
		d.settle()
		d.id = s.nextID()
	}
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
	if l == nil {
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
// and a client that loses the connection gets it again with its next subscription. Half of the room is left
// for what comes meanwhile.
func (h *sessions) track(client *mochi.Client, d *delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.links[client]
	if d.qos == 0 || l == nil {
		d.qos = 0
		return
	}
	s := l.session
	size := d.message.cost(d.topic)
	if l.room(retainedWindow) <= 0 || s.bytes+size > s.most()/2 || !s.near && h.bytes+size > maxWaitingAll/2 {
		d.qos = 0
		return
	}
	h.add(s, d)
	if d.id == 0 {
		d.id = s.nextID()
	}
	s.sent = append(s.sent, d)
}

// lost ends a tracked message that the client does not get.
func (h *sessions) lost(client *mochi.Client, d *delivery) {
	h.mu.Lock()
	l := h.links[client]
	h.mu.Unlock()
	if l != nil {
		h.undeliverable(l, d)
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
	if s.bytes <= s.most()/2 {
		s.full = false
	}
	if d.stored {
		h.unwritten.taken = append(h.unwritten.taken, d.number)
		if s.near { // others get it twice at worst, but a request would be carried out twice
			wake(h.now)
		}
	}
}

// add puts a delivery into the counts. One that must come over a restart gets its number, and the packet
// identifier with which it comes then: by that a client knows what it has. The lock is held.
func (h *sessions) add(s *session, d *delivery) {
	d.size = d.message.cost(d.topic)
	s.bytes += d.size
	if !s.near {
		h.bytes += d.size
	}
	d.durable = h.store && s.keep && d.qos > 0
	if d.durable {
		h.unwritten.numbers++
		d.number = h.unwritten.numbers
		if d.id == 0 || s.uses(d.id) {
			d.id = s.nextID()
		}
		h.remember()
	}
}
