package bridge

import (
	"fmt"
	"sync"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/bridge/promises"
	"github.com/zigate-ota/zigate-ota/otasvc"
)

// dialogue is the answers to one request. An answer that is not final is a promise: it is on the disk before
// it is told, and until the broker has the final one. A request that may last is promised before it is
// begun. Its method respond may be called by any goroutine.
type dialogue struct {
	bridge  *Bridge
	who     asker
	payload []byte
	// delivery is that of the message by which the request came. acknowledge has the broker forget that
	// message, as [mqttclient.Command] says.
	delivery    string
	acknowledge func(then func())

	mu       sync.Mutex
	ended    bool // the final answer was given
	said     bool // that the request is being carried out
	promised bool // it is being noted that a final answer is owed
	durable  bool // and that is on the disk
	waiting  []otasvc.Answer
}

// keep promises that the request gets its final answer, and then lets it be carried out. Where nothing can be
// promised, the request fails.
func (d *dialogue) keep(turn *turn) {
	d.promised = true
	d.bridge.promises.Keep(d.promise(), func(err error) {
		if err != nil {
			turn.leave()
			d.fail(err)
		} else {
			d.kept()
		}
		turn.come()
	})
}

// promise is what is kept of the request.
func (d *dialogue) promise() promises.Promise {
	p := promises.Promise{ID: d.who.promise, Operation: d.who.name, Delivery: d.delivery}
	p.Payload, p.Withheld = withoutSecrets(d.payload)
	return p
}

// respond gives an answer. It drops every final answer after the first.
func (d *dialogue) respond(a otasvc.Answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.Status.Final() && d.ended {
		d.bridge.log.Error("a second final answer was dropped", "operation", d.who.name, "status", a.Status)
		return
	}
	d.ended = d.ended || a.Status.Final()
	switch {
	case d.who.promise == "":
		d.answer(a)
	case d.durable:
		d.give(a)
	case d.promised:
		d.waiting = append(d.waiting, a)
	case a.Status.Final():
		d.answer(a) // nothing was promised
	case a.Kept:
		d.answer(a) // the state has it
		d.acknowledge(func() {})
	default:
		d.promised = true
		d.waiting = append(d.waiting, a)
		d.bridge.promises.Keep(d.promise(), func(err error) {
			if err != nil {
				d.giveUp()
			} else {
				d.kept()
			}
		})
	}
}

// kept gives the answers that have waited for the promise to be on the disk.
func (d *dialogue) kept() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable = true
	d.acknowledge(func() {})
	for _, a := range d.waiting {
		d.give(a)
	}
	d.waiting = nil
}

// giveUp gives up a promise that cannot be written. The request is being carried out by then, so of the
// answers that have waited only the final one is given: the others would be a promise. The next answer tries
// again.
func (d *dialogue) giveUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.promised = false
	waiting := d.waiting
	d.waiting = nil
	for _, a := range waiting {
		if a.Status.Final() {
			d.answer(a)
		}
	}
}

// fail answers that nothing can be promised. The request is not carried out.
func (d *dialogue) fail(err error) {
	a := otasvc.Answer{
		Status: otasvc.Failure,
		Error: fmt.Sprintf("the request cannot be written to the disk, so it is not carried out (%v); "+
			"free some space or mend the disk, and ask again", err),
	}
	if operations[d.who.name].OfDevice {
		a.Operation = &otasvc.Operation{}
	}
	d.answerOnce(a)
}

// give gives an answer after a promise. What could not be done because the service is being stopped is
// carried out by its next life.
func (d *dialogue) give(a otasvc.Answer) {
	switch {
	case !a.Status.Final():
		d.answer(a)
		if a.Kept && d.promise().Withheld {
			// The state has it, and what is kept here is not enough to carry it out again.
			d.acknowledge(func() { d.bridge.promises.Drop(d.who.promise, func() {}) })
		}
	case a.Status != otasvc.Success && d.bridge.service.Stopping():
		d.bridge.log.Info("a request goes on when the service has started again", "operation", d.who.name)
	default:
		d.settle(a)
	}
}

// settle gives a final answer that is on the disk before it is given, so that no other one follows in the
// next life of the service. The broker knows by then that it need not deliver the request again.
func (d *dialogue) settle(a otasvc.Answer) {
	b := d.bridge
	given := b.given(d.who, a)
	given.Delivery = d.delivery
	publish := func() {
		b.out.PublishOwed(given.Topic, given.Response, func() { b.promises.Had(given.ID) })
	}
	b.promises.Settle(d.who.promise, given, func() { d.acknowledge(publish) })
}

// answer tells an answer of which nothing is promised any more than was before. That the request is kept now
// is not worth a message where nothing else is said with it.
func (d *dialogue) answer(a otasvc.Answer) {
	if a.Kept && d.said && a.Error == "" {
		return
	}
	d.said = d.said || !a.Status.Final()
	switch {
	case !a.Status.Final(), d.who.promise == "":
		d.bridge.answer(d.who, a)
	case operations[d.who.name].acts && a.Status != otasvc.InvalidData:
		d.settle(a)
	default:
		d.answerOnce(a)
	}
}

// answer gives an answer.
func (b *Bridge) answer(who asker, a otasvc.Answer) {
	if response := b.response(who, a); response != nil {
		b.out.Publish(b.topics.Response(who.name), contract.Marshal(response))
	}
}

// answerOnce gives a final answer before which nothing was promised, and has the broker forget the request
// once it has the answer. A clean stop keeps both for the next life of the service where that is not so by
// then.
func (d *dialogue) answerOnce(a otasvc.Answer) {
	b := d.bridge
	given := b.given(d.who, a)
	given.Delivery = d.delivery
	b.promises.Given(given)
	b.out.PublishOwed(given.Topic, given.Response, func() {
		b.promises.Had(given.ID)
		d.acknowledge(func() {})
	})
}

// given is a final answer to a request that came over MQTT.
func (b *Bridge) given(who asker, a otasvc.Answer) promises.Answer {
	return promises.Answer{
		ID:       who.promise,
		Topic:    b.topics.Response(who.name),
		Response: contract.Marshal(b.response(who, a)),
	}
}

// answerOwed gives an answer that the state of the service owes, and calls told once whoever asked can have
// it.
func (b *Bridge) answerOwed(who asker, a otasvc.Answer, told func()) {
	response := b.response(who, a)
	if response == nil {
		told() // HTTP has no memory of who asked
		return
	}
	b.out.PublishOwed(b.topics.Response(who.name), contract.Marshal(response), told)
}

// response is an answer as it goes to the broker. It is nil for one that goes into the feed, where it is by
// then.
func (b *Bridge) response(who asker, a otasvc.Answer) *contract.Response {
	if a.Status.Final() {
		label := who.name
		if who.response == contract.UnknownOperation {
			label = contract.UnknownOperation
		}
		b.observer.Command(label, string(a.Status))
	}
	response := newResponse(who.response, who.transaction, a)
	if who.id != "" {
		b.feed.response(who.id, response)
		return nil
	}
	return &response
}
