package bridge

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// HandleRequest takes one message of a request topic. It does not block. The message is acknowledged once the
// request is on the disk, or the broker has its final answer.
func (b *Bridge) HandleRequest(m mqttclient.Command) {
	var refusal error
	if m.Retained {
		refusal = fmt.Errorf(
			"retain: the request was retained by the broker and would run again at every reconnect; "+
				"publish it without the retain flag, and clear it with an empty retained message on %s",
			m.Topic,
		)
	}
	d := &dialogue{
		bridge:      b,
		who:         asker{name: b.topics.Operation(m.Topic)},
		payload:     m.Payload,
		delivery:    m.Delivery,
		acknowledge: m.Acknowledge,
	}
	if b.promises != nil {
		d.who.promise = rand.Text()
	}
	b.begin(d, refusal)
}

// Ask carries out what would have come on <base>/request/<operation>. The answers go into the feed, as the
// response with this id, and not to MQTT. It does not block.
func (b *Bridge) Ask(id, operation string, payload []byte) {
	who := asker{name: b.topics.Operation(b.topics.Request(operation)), id: id}
	b.begin(&dialogue{bridge: b, who: who, payload: payload, acknowledge: atOnce}, nil)
}

// atOnce is the acknowledgement of what came from no broker, or was acknowledged before.
func atOnce(then func()) { then() }

// Operations names everything that can be asked for, in order.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// asker says who gets the answers to a request.
type asker struct {
	name, response string // the operation's names in topics and in responses
	transaction    json.RawMessage
	id             string // in the feed; empty where the request came over MQTT
	promise        string // differs from that of every other request; empty where nothing is promised
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
		b.log.Info("a request of before the restart goes on", "operation", p.Operation)
		who := asker{name: p.Operation, promise: p.ID}
		var refusal error
		if p.Withheld {
			refusal = library.ErrWithheld
		}
		b.begin(&dialogue{
			bridge:      b,
			who:         who,
			payload:     p.Payload,
			delivery:    p.Delivery,
			acknowledge: atOnce,
			promised:    true,
			durable:     true,
		}, refusal)
	}
}

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
		if errors.Is(err, library.ErrWithheld) {
			answer.Status = otasvc.ImageAccessFailed
		}
		if op.OfDevice {
			answer.Operation = &otasvc.Operation{}
		}
		d.respond(answer)
		return
	}
	run := func() { asked.run(b.service, d.respond) }
	switch {
	case d.who.promise == "", d.promised:
		run()
	case op.lasts:
		turn := b.line.enter(run)
		d.keep(turn)
	default:
		b.line.enter(run).come()
	}
}
