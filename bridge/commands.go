package bridge

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
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
}

// request reads a request and carries it out, unless there is a reason to refuse it.
func (b *Bridge) request(who asker, payload []byte, refusal error) {
	op, known := operations[who.name]
	if !known {
		who.response = contract.UnknownOperation
		who.transaction, _ = decode(payload, contract.Operation{}, nil) // only the transaction is needed
		b.respondTo(who)(otasvc.Answer{
			Status: otasvc.InvalidData,
			Error: fmt.Sprintf("there is no operation of that name; there are %s",
				strings.Join(Operations(), ", ")),
		})
		return
	}

	asked := op.begin(&who)
	transaction, err := decode(payload, op.Operation, asked.keys)
	who.response = op.Response
	who.transaction = transaction
	respond := b.respondTo(who)
	if refusal != nil {
		err = refusal
	}

	if err != nil {
		answer := otasvc.Answer{Status: otasvc.InvalidData, Error: err.Error()}
		if op.OfDevice {
			answer.Operation = &otasvc.Operation{}
		}
		respond(answer)
		return
	}
	asked.run(b.service, respond)
}

// respondTo returns the function that answers one request. It drops every final answer after the first.
func (b *Bridge) respondTo(who asker) otasvc.Respond {
	var done atomic.Bool
	return func(a otasvc.Answer) {
		if a.Status.Final() && done.Swap(true) {
			b.log.Error("a second final answer was dropped", "operation", who.name, "status", a.Status)
			return
		}
		b.answer(who, a)
	}
}

// answer gives an answer.
func (b *Bridge) answer(who asker, a otasvc.Answer) {
	if response := b.response(who, a); response != nil {
		b.out.Publish(b.topics.Response(who.name), contract.Marshal(response))
	}
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
