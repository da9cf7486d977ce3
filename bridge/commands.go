package bridge

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/bridge/promises"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// HandleRequest takes one message of a request topic. It does not block. retained says that the
// broker had kept it.
func (b *Bridge) HandleRequest(topic string, payload []byte, retained bool) {
	var refusal error
	if retained {
		refusal = fmt.Errorf(
			"retain: the request was retained by the broker and would run again at every reconnect; "+
				"publish it without the retain flag, and clear it with an empty retained message on %s",
			topic,
		)
	}
	b.request(asker{name: b.topics.Operation(topic)}, payload, refusal)
}

// Ask carries out what would have come on <base>/request/<operation>. The answers go into the feed, as the
// response with this id, and not to MQTT. It does not block.
func (b *Bridge) Ask(id, operation string, payload []byte) {
	b.request(asker{name: b.topics.Operation(b.topics.Request(operation)), id: id}, payload, nil)
}

// Operations names everything that can be asked for, in order.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// asker says who gets the answers to a request.
type asker struct {
	name, response string // the operation's names in topics and in responses
	transaction    json.RawMessage
	id             string // in the feed; empty where the request came over MQTT
	promise        string // differs from that of every other request; empty where nothing is promised
}

// request reads a request and carries it out, unless there is a reason to refuse it.
func (b *Bridge) request(who asker, payload []byte, refusal error) {
	if b.promises != nil && who.id == "" {
		who.promise = rand.Text()
	}
	b.begin(&dialogue{bridge: b, who: who, payload: payload}, refusal)
}

// Resume gives again the answers that an earlier life of the service has given and the broker is not known to
// have, and carries out again what was promised and has no final answer. It must be called once, before the
// first request.
func (b *Bridge) Resume() {
	if b.promises == nil {
		return
	}
	for _, a := range b.promises.Answers() {
		b.out.PublishOwed(a.Topic, a.Response, func() { b.promises.Had(a.ID) })
	}
	for _, p := range b.promises.Open() {
		b.log.Info("a request of before the restart is carried out", "operation", p.Operation)
		who := asker{name: p.Operation, promise: p.ID}
		var refusal error
		if p.Withheld {
			refusal = errWithheld
		}
		b.begin(&dialogue{bridge: b, who: who, payload: p.Payload, promised: true, durable: true}, refusal)
	}
}

// errWithheld ends a request whose image was being fetched when the service was restarted, from an address
// that is not kept.
var errWithheld = errors.New("the service was restarted while the image was being fetched, and keeps no " +
	"address that has a password or a query; ask again")

// withoutSecrets is the payload of a request without what may be secret in its URL. It reports whether there
// was something.
func withoutSecrets(payload []byte) (public json.RawMessage, withheld bool) {
	var members map[string]json.RawMessage
	var address string
	if json.Unmarshal(payload, &members) != nil || json.Unmarshal(members["url"], &address) != nil {
		return payload, false
	}
	if library.PublicURL(address) == address {
		return payload, false
	}
	members["url"] = contract.Marshal(library.PublicURL(address))
	return contract.Marshal(members), true
}

// begin reads the request of a dialogue and carries it out, unless there is a reason to refuse it.
func (b *Bridge) begin(d *dialogue, refusal error) {
	op, known := operations[d.who.name]
	if !known {
		d.who.response = contract.UnknownOperation
		d.who.transaction, _ = decode(d.payload, contract.Operation{}, nil) // only the transaction is needed
		d.respond(otasvc.Answer{
			Status: otasvc.InvalidData,
			Error: fmt.Sprintf("there is no operation of that name; there are %s",
				strings.Join(Operations(), ", ")),
		})
		return
	}

	asked := op.begin(&d.who)
	transaction, err := decode(d.payload, op.Operation, asked.keys)
	d.who.response = op.Response
	d.who.transaction = transaction
	if refusal != nil {
		err = refusal
	}

	if err != nil {
		answer := otasvc.Answer{Status: otasvc.InvalidData, Error: err.Error()}
		if errors.Is(err, errWithheld) {
			answer.Status = otasvc.ImageAccessFailed
		}
		if op.OfDevice {
			answer.Operation = &otasvc.Operation{}
		}
		d.respond(answer)
		return
	}
	asked.run(b.service, d.respond)
}

// dialogue is the answers to one request. The first one that is not final is a promise: it is on the disk
// before it is told, and until the broker has the final one. Its method respond may be called by any
// goroutine.
type dialogue struct {
	bridge  *Bridge
	who     asker
	payload []byte

	mu       sync.Mutex
	ended    bool // the final answer was given
	said     bool // that the request is being carried out
	promised bool // it is being noted that a final answer is owed
	durable  bool // and that is on the disk
	waiting  []otasvc.Answer
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
	case a.Status.Final(), a.Kept:
		d.answer(a) // nothing was promised, or the state has it
	default:
		d.promised = true
		d.waiting = append(d.waiting, a)
		promise := promises.Promise{ID: d.who.promise, Operation: d.who.name}
		promise.Payload, promise.Withheld = withoutSecrets(d.payload)
		d.bridge.promises.Keep(promise, d.kept)
	}
}

// kept gives the answers that have waited for the promise to be on the disk.
func (d *dialogue) kept() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable = true
	for _, a := range d.waiting {
		d.give(a)
	}
	d.waiting = nil
}

// give gives an answer after a promise. What could not be done because the service is being stopped is
// carried out by its next life.
func (d *dialogue) give(a otasvc.Answer) {
	drop := func() { d.bridge.promises.Drop(d.who.promise) }
	switch {
	case !a.Status.Final():
		d.answer(a)
		if a.Kept {
			drop() // the state has it
		}
	case a.Status != otasvc.Success && d.bridge.service.Stopping():
		d.bridge.log.Info("a request goes on when the service has started again", "operation", d.who.name)
	default:
		d.bridge.answerOwed(d.who, a, drop)
	}
}

// answer tells an answer of which nothing is promised any more than was before. That the request is kept now
// is not worth a message where nothing else is said with it.
func (d *dialogue) answer(a otasvc.Answer) {
	if a.Kept && d.said && a.Error == "" {
		return
	}
	d.said = d.said || !a.Status.Final()
	if a.Status.Final() && d.who.promise != "" {
		d.bridge.answerOnce(d.who, a)
		return
	}
	d.bridge.answer(d.who, a)
}

// answer gives an answer.
func (b *Bridge) answer(who asker, a otasvc.Answer) {
	if response := b.response(who, a); response != nil {
		b.out.Publish(b.topics.Response(who.name), contract.Marshal(response))
	}
}

// answerOnce gives a final answer before which nothing was promised. A clean stop keeps it for the next life
// of the service where the broker does not have it by then.
func (b *Bridge) answerOnce(who asker, a otasvc.Answer) {
	response := b.response(who, a)
	if response == nil {
		return
	}
	given := promises.Answer{
		ID:       who.promise,
		Topic:    b.topics.Response(who.name),
		Response: contract.Marshal(response),
	}
	b.promises.Given(given)
	b.out.PublishOwed(given.Topic, given.Response, func() { b.promises.Had(given.ID) })
}

// answerOwed gives an answer that was promised, and calls told once whoever asked can have it.
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
