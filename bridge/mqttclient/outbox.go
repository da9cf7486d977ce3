package mqttclient

import (
	"bytes"
	"cmp"
	"container/list"
	"slices"
	"sync"
)

// OutboxLimit is the default for the number of events and responses that may wait for the broker before the
// oldest is dropped.
const OutboxLimit = 10_000

// DropReason says why a message did not reach the broker. It is a metric label, so there are no others than
// those below.
type DropReason string

const (
	// DropOverflow means that there were more events and responses than the outbox holds, so the oldest was
	// dropped.
	DropOverflow DropReason = "overflow"
	// DropStopped means that the service stopped before the broker had acknowledged the message.
	DropStopped DropReason = "stopped"
)

// DropReasons lists every DropReason.
func DropReasons() []DropReason { return []DropReason{DropOverflow, DropStopped} }

// Outbox is the bounded queue between the service and the broker.
//
// It holds two kinds of messages. A retained topic keeps only its newest value, however long the broker is
// away. Events and responses are kept in order, and the oldest are dropped when there are more than the
// limit. Both kinds are in one queue: a retained topic keeps the place that it got when its value first
// changed, and is published with its newest value. So an event is never published before the state that was
// set before it, and neither kind can starve the other.
//
// A message taken with Next is in flight until Done is called with its ID. Restart, called when a connection
// begins, puts the messages in flight back and makes every retained topic due again, ahead of all events, so
// that a broker without memory gets all values again.
//
// Outbox does no input or output. Its methods never block and may be called from any goroutine. Payloads are
// not copied, so the caller must not change them afterwards.
type Outbox struct {
	limit int
	wake  chan struct{}

	mu       sync.Mutex
	sequence uint64
	topics   map[string]*retainedTopic
	due      list.List         // of *retainedTopic, by place
	events   list.List         // of *queuedEvent, by place
	inFlight list.List         // of *queuedEvent, in the order in which they were taken
	flying   map[uint64]flight // the messages in flight, by ID
}

// OutgoingMessage is one message to be published.
type OutgoingMessage struct {
	// ID identifies the message for Done. It is never 0 and never used twice.
	ID       uint64
	Topic    string
	Payload  []byte
	Retained bool
}

// retainedTopic is a retained topic with its values.
type retainedTopic struct {
	topic   string
	created uint64        // the place of the topic in the order of Restart
	place   uint64        // place in the queue, while the topic is due
	value   []byte        // the newest value
	sent    []byte        // the value that Next returned last
	known   bool          // sent is set
	flights int           // number of messages of this topic in flight
	element *list.Element // in due; nil while the topic is not due
}

// queuedEvent is an event or a response.
type queuedEvent struct {
	place   uint64 // in the queue
	topic   string
	payload []byte
	id      uint64 // set by Next
	// acknowledged is called once the broker has acknowledged a message that is owed. Such a message is not
	// dropped for others. It is nil for all others.
	acknowledged func()
}

// flight is a message in flight: a value of a retained topic, or an event.
type flight struct {
	retained *retainedTopic
	event    *list.Element // in inFlight
}

// NewOutbox returns an empty outbox in which up to limit events and responses can wait, at least 1; those in
// flight do not count. The number of retained topics is not limited; each has one value.
func NewOutbox(limit int) *Outbox {
	return &Outbox{
		limit:  max(limit, 1),
		wake:   make(chan struct{}, 1),
		topics: make(map[string]*retainedTopic),
		flying: make(map[uint64]flight),
	}
}

// Retain sets the value of a retained topic. It does not publish again the value that was published last. An
// empty payload clears the topic at the broker; the outbox forgets the topic when the broker has acknowledged
// that.
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
		// Keeping one of two equal values saves memory: a thousand discovery documents stay for long.
		t.value = t.sent
		if t.element != nil { // it had changed, and changed back before it was published
			o.due.Remove(t.element)
			t.element = nil
		}
		return
	}
	o.makeDue(t)
}

// Clear removes a retained topic at the broker: Retain with an empty payload.
func (o *Outbox) Clear(topic string) { o.Retain(topic, nil) }

// Value returns the newest value of a retained topic, which is empty where the topic is to be cleared. It
// returns false for a topic that was never set, or whose clearing the broker has acknowledged.
func (o *Outbox) Value(topic string) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.topics[topic]
	if t == nil {
		return nil, false
	}
	return t.value, true
}

// Publish appends an event or a response. dropped is true when the oldest one that waited was dropped for it.
func (o *Outbox) Publish(topic string, payload []byte) (dropped bool) {
	return o.push(&queuedEvent{topic: topic, payload: payload})
}

// PublishOwed appends a response that was promised. It is not dropped for others; acknowledged is called when
// the broker has it. It never is where DropAll comes before.
func (o *Outbox) PublishOwed(topic string, payload []byte, acknowledged func()) (dropped bool) {
	return o.push(&queuedEvent{topic: topic, payload: payload, acknowledged: acknowledged})
}

func (o *Outbox) push(e *queuedEvent) (dropped bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e.place = o.next()
	o.events.PushBack(e)
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

// Restart must be called when a connection begins, before the first Next. It puts the messages that were in
// flight on the last connection back in their order, and makes every retained topic due, ahead of all events.
// It returns how many events and responses it dropped because more than the limit wait now.
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

// Next takes the first message of the queue. It is in flight until Done or Restart. The result is false where
// no message waits.
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

// Done must be called when the broker has acknowledged a message. It ignores an id that is not in flight.
func (o *Outbox) Done(id uint64) {
	if acknowledged := o.done(id); acknowledged != nil {
		acknowledged()
	}
}

// done is Done, and returns what is to be called, or nil.
func (o *Outbox) done(id uint64) (acknowledged func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, ok := o.flying[id]
	if !ok {
		return nil
	}
	delete(o.flying, id)
	if f.event != nil {
		return o.inFlight.Remove(f.event).(*queuedEvent).acknowledged
	}
	t := f.retained
	t.flights--
	if t.flights == 0 && t.element == nil && len(t.value) == 0 {
		delete(o.topics, t.topic)
	}
	return nil
}

// DropAll drops all events and responses that the broker has not acknowledged, and returns how many there
// were. It does not count those that are owed: who owes them gives them again. It keeps retained values.
func (o *Outbox) DropAll() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := countLost(&o.events) + countLost(&o.inFlight)
	o.events.Init()
	o.inFlight.Init()
	clear(o.flying)
	for _, t := range o.topics {
		t.flights = 0
	}
	return n
}

// Wake returns a channel that has a value after a message has become due. It is always the same channel; one
// goroutine at a time should wait on it.
func (o *Outbox) Wake() <-chan struct{} { return o.wake }

// Len returns how many messages the broker has not acknowledged: retained topics that are due, events and
// responses that wait, and all messages in flight.
func (o *Outbox) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.due.Len() + o.events.Len() + len(o.flying)
}

// makeDue puts a topic at the end of the queue, unless it is due already.
func (o *Outbox) makeDue(t *retainedTopic) {
	if t.element == nil {
		t.place = o.next()
		t.element = o.due.PushBack(t)
	}
	o.signal()
}

// countLost counts the events of a list that nobody will give again.
func countLost(events *list.List) (n int) {
	for e := events.Front(); e != nil; e = e.Next() {
		if e.Value.(*queuedEvent).acknowledged == nil {
			n++
		}
	}
	return n
}

// trim drops the oldest events that wait where there are more than the limit. It drops none that is owed, and
// none in flight: most likely they have arrived.
func (o *Outbox) trim() (dropped int) {
	for e := o.events.Front(); e != nil && o.events.Len() > o.limit; {
		next := e.Next()
		if e.Value.(*queuedEvent).acknowledged == nil {
			o.events.Remove(e)
			dropped++
		}
		e = next
	}
	return dropped
}

// inOrder returns the retained topics in the order in which they were first set: consumers need a discovery
// document before the states that it names.
func (o *Outbox) inOrder() []*retainedTopic {
	all := make([]*retainedTopic, 0, len(o.topics))
	for _, t := range o.topics {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *retainedTopic) int { return cmp.Compare(a.created, b.created) })
	return all
}

// next returns the next number for an ID or a place.
func (o *Outbox) next() uint64 {
	o.sequence++
	return o.sequence
}

// signal puts a value into Wake.
func (o *Outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}
