package mqttclient

import (
	"bytes"
	"cmp"
	"container/list"
	"slices"
	"sync"
)

// OutboxLimit is how many events and responses wait for the broker before the oldest is dropped.
const OutboxLimit = 10_000

// DropReason says why a message never reached the broker. The set is closed: it is a metric label.
type DropReason string

const (
	// DropOverflow: more events and responses than the outbox holds; the oldest went.
	DropOverflow DropReason = "overflow"
	// DropStopped: the service stopped before the broker had taken them.
	DropStopped DropReason = "stopped"
)

// DropReasons lists every DropReason.
func DropReasons() []DropReason { return []DropReason{DropOverflow, DropStopped} }

// Outbox is the bounded queue between the service and the broker.
//
// It holds two kinds of messages. A retained topic keeps only its newest value, however long the
// broker is away; events and responses are kept in order, and the oldest are dropped when there are
// more than the limit. Both stand in one line: a retained topic keeps the place it took when its value
// first changed, and the newest value is what is sent when its turn comes. So an event is never
// published before the state that was set ahead of it, and neither kind can starve the other.
//
// A message taken with Next is in flight until Done names it. Restart, called when a connection
// begins, takes back whatever was in flight, and makes every retained topic due again, ahead of all
// events: a broker that lost its memory knows everything again.
//
// Outbox does no input or output. Its methods never block and may be called from any goroutine.
// Payloads are not copied: the caller must not change them afterwards.
type Outbox struct {
	limit int
	wake  chan struct{}

	mu       sync.Mutex
	sequence uint64
	topics   map[string]*retainedTopic
	due      list.List // of *retainedTopic, by place
	events   list.List // of *queuedEvent, by place
	inFlight list.List // of *queuedEvent, in the order they were taken
	flying   map[uint64]flight
	dropped  map[DropReason]uint64
}

// OutgoingMessage is one message to be published.
type OutgoingMessage struct {
	// ID names the message to Done. It is never 0 and never used twice.
	ID       uint64
	Topic    string
	Payload  []byte
	Retained bool
}

type retainedTopic struct {
	topic   string
	created uint64 // the order in which Restart goes through the topics
	place   uint64 // in the line, while due
	value   []byte
	sent    []byte // what Next handed out last
	known   bool   // sent holds something
	flights int    // messages of this topic in flight
	element *list.Element
}

type queuedEvent struct {
	place   uint64
	topic   string
	payload []byte
	id      uint64
}

type flight struct {
	retained *retainedTopic
	event    *list.Element // in inFlight
}

// NewOutbox returns an empty outbox in which up to limit events and responses wait; those in flight come
// on top. The number of retained topics is not limited: there is one value of each.
func NewOutbox(limit int) *Outbox {
	return &Outbox{
		limit:   max(limit, 1),
		wake:    make(chan struct{}, 1),
		topics:  make(map[string]*retainedTopic),
		flying:  make(map[uint64]flight),
		dropped: make(map[DropReason]uint64),
	}
}

// Retain sets the value of a retained topic. The same value as was last published is not published
// again. An empty payload clears the topic at the broker, and forgets it here once that has been
// acknowledged.
func (o *Outbox) Retain(topic string, payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.topics[topic]
	if t == nil {
		t = &retainedTopic{topic: topic, created: o.next()}
		o.topics[topic] = t
	}
	t.value = payload
	if t.known && bytes.Equal(t.sent, payload) {
		// One of two that are alike is enough: a thousand discovery documents stay for long.
		t.value = t.sent
		if t.element != nil { // changed and changed back before its turn came
			o.due.Remove(t.element)
			t.element = nil
		}
		return
	}
	o.makeDue(t)
}

// Clear removes a retained topic at the broker: Retain with an empty payload.
func (o *Outbox) Clear(topic string) { o.Retain(topic, nil) }

// Value returns the newest value of a retained topic, empty where it is to be cleared. It is false for a
// topic that was never set, or whose clearing the broker has acknowledged.
func (o *Outbox) Value(topic string) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.topics[topic]
	if t == nil {
		return nil, false
	}
	return t.value, true
}

// Publish appends an event or a response. It reports whether the oldest that waits had to be dropped
// for it.
func (o *Outbox) Publish(topic string, payload []byte) (dropped bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events.PushBack(&queuedEvent{place: o.next(), topic: topic, payload: payload})
	o.signal()
	return o.trim() > 0
}

// RepublishAll makes every retained topic due again, changed or not.
func (o *Outbox) RepublishAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range o.inOrder() {
		t.known = false
		o.makeDue(t)
	}
}

// Restart is called when a connection begins, before the first Next on it: the messages in flight on
// the one before are taken back in their order, and every retained topic is due, ahead of all events.
// It returns how many events and responses had to be dropped because there are too many now.
func (o *Outbox) Restart() (dropped int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.flying)
	o.events.PushFrontList(&o.inFlight)
	o.inFlight.Init()
	dropped = o.trim()
	o.due.Init()
	for _, t := range o.inOrder() {
		t.known = false
		t.flights = 0
		t.place = 0 // ahead of every event
		t.element = o.due.PushBack(t)
	}
	if o.due.Len()+o.events.Len() > 0 {
		o.signal()
	}
	return dropped
}

// Next takes the message whose turn it is. It is in flight until Done or Restart.
func (o *Outbox) Next() (OutgoingMessage, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	state := o.due.Front()
	event := o.events.Front()
	switch {
	case state != nil &&
		(event == nil || state.Value.(*retainedTopic).place < event.Value.(*queuedEvent).place):
		t := o.due.Remove(state).(*retainedTopic)
		t.element = nil
		t.sent = t.value
		t.known = true
		t.flights++
		id := o.next()
		o.flying[id] = flight{retained: t}
		return OutgoingMessage{ID: id, Topic: t.topic, Payload: t.value, Retained: true}, true
	case event != nil:
		e := o.events.Remove(event).(*queuedEvent)
		e.id = o.next()
		o.flying[e.id] = flight{event: o.inFlight.PushBack(e)}
		return OutgoingMessage{ID: e.id, Topic: e.topic, Payload: e.payload}, true
	}
	return OutgoingMessage{}, false
}

// Done says that the broker has acknowledged a message. An id that is not in flight is ignored.
func (o *Outbox) Done(id uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, ok := o.flying[id]
	if !ok {
		return
	}
	delete(o.flying, id)
	if f.event != nil {
		o.inFlight.Remove(f.event)
		return
	}
	t := f.retained
	t.flights--
	if t.flights == 0 && t.element == nil && len(t.value) == 0 {
		delete(o.topics, t.topic)
	}
}

// DropAll gives up everything that has not been acknowledged, and returns how many events and
// responses were lost by it. Retained values are kept.
func (o *Outbox) DropAll(reason DropReason) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.events.Len() + o.inFlight.Len()
	o.events.Init()
	o.inFlight.Init()
	clear(o.flying)
	for _, t := range o.topics {
		t.flights = 0
	}
	o.dropped[reason] += uint64(n)
	return n
}

// Wake returns a channel that has a value after something became due. There is one for the whole
// life of the outbox; one goroutine at a time should wait on it.
func (o *Outbox) Wake() <-chan struct{} { return o.wake }

// Len returns how many messages have not been acknowledged yet: due retained topics, waiting events
// and responses, and all that is in flight.
func (o *Outbox) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.due.Len() + o.events.Len() + len(o.flying)
}

// Dropped returns how many events and responses were dropped so far, by reason.
func (o *Outbox) Dropped() map[DropReason]uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	counts := make(map[DropReason]uint64, len(o.dropped))
	for reason, n := range o.dropped {
		counts[reason] = n
	}
	return counts
}

func (o *Outbox) makeDue(t *retainedTopic) {
	if t.element == nil {
		t.place = o.next()
		t.element = o.due.PushBack(t)
	}
	o.signal()
}

// trim drops the oldest events that wait. Those in flight have most likely arrived.
func (o *Outbox) trim() (dropped int) {
	for o.events.Len() > o.limit {
		o.events.Remove(o.events.Front())
		o.dropped[DropOverflow]++
		dropped++
	}
	return dropped
}

// inOrder returns the retained topics in the order in which they were first set: what a consumer
// needs first (a discovery document before the states it names) comes first again.
func (o *Outbox) inOrder() []*retainedTopic {
	all := make([]*retainedTopic, 0, len(o.topics))
	for _, t := range o.topics {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *retainedTopic) int { return cmp.Compare(a.created, b.created) })
	return all
}

func (o *Outbox) next() uint64 {
	o.sequence++
	return o.sequence
}

func (o *Outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}
