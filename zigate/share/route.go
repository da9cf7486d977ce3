package share

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Owners of commands and their answers. Clients have numbers from 1 on.
const (
	everybody = 0
	ourselves = -1 // this program: no client sees it
	// onlyHybrid is added to a client's number, or to everybody, for what the dongle does in the hybrid raw
	// mode only: clients that have asked for another mode do not see it.
	onlyHybrid = 1 << 30
)

// router finds out for whom a message is. It belongs to the goroutine that reads the dongle's
// port: there is no lock.
type router struct {
	// hideOTA tells that OTA is this program's, and not shown to clients.
	hideOTA bool
	v2      bool
	// answersZDP tells that in the hybrid raw mode the firmware takes ZDP frames for ZCL, and sends default
	// responses for them.
	answersZDP bool
	real       message.RawMode // that the dongle runs in
	// current is the client's command whose status has not come, and overdue the last one whose status did
	// not come in time. Both are nil if there is none.
	current, overdue func() *ask

	local    map[message.MsgType][]localAsk // without a number, in order
	requests []deviceAsk                    // with one, in order
	aps      [256]onAir
	unnamed  map[uint16][]unnamed // by address, in order
}

// reset forgets everything: a connection to a dongle begins, in raw mode off.
func (r *router) reset(v message.Version) {
	*r = router{
		hideOTA: r.hideOTA, current: r.current, overdue: r.overdue,
		v2: v.Family() == message.FamilyV2, answersZDP: v.Family() == message.FamilyV1 && v.Minor == minor31e,
		local: map[message.MsgType][]localAsk{}, unnamed: map[uint16][]unnamed{},
	}
}

// status notes what is to be expected after the status of a command, and tells whose it is.
func (r *router) status(s *message.Status, a *ask, waited bool, now time.Time) (owner int) {
	if !waited {
		if late := r.overdue(); late != nil && late.typ == s.Request {
			return late.owner
		}
		return everybody
	}
	if a == nil {
		a = &ask{owner: ourselves, typ: s.Request}
	}
	for t := range r.local {
		if message.AsAnswer(t).AtOnce {
			delete(r.local, t) // the dongle has gone on: what has not come is lost
		}
	}
	if s.Status != message.StatusOK && !(a.typ == message.TypeStartNetwork) {
		return a.owner
	}
	if a.mode != nil {
		r.real = a.mode.mode
	}
	switch answer := message.AnswerOf(a.typ); {
	case answer.Numbering == message.InOrder:
		r.local[answer.Type] = append(r.local[answer.Type], localAsk{ask: a, at: now})
	case answer.Numbering == message.ByZDP:
		r.expect(deviceAsk{ask: a, zdp: true, sequence: s.Sequence, answer: answer.Type, at: now})
	case answer.Numbering == message.ByZCL:
		r.expect(deviceAsk{ask: a, sequence: s.Sequence, answer: answer.Type, at: now})
	case a.raw:
		r.expect(rawAsk(a, now))
	}
	r.sent(s, a, now)
	return a.owner
}

// frame tells whom a message is for that is no status.
func (r *router) frame(t message.MsgType, payload []byte, now time.Time) (owner int) {
	switch t {
	case message.TypeUpgradeEndRequest:
		r.ended(payload, now)
		return r.ota()
	case message.TypeImageBlockRequest:
		return r.ota()
	case message.TypeDataIndication:
		return r.indication(payload, now)
	case message.TypeConfirm, message.TypeConfirmFailed:
		return r.confirm(t, payload, now)
	case message.TypeAPSAck:
		return r.ack(payload, now)
	case message.TypeDefaultResponse:
		return r.defaultResponse(payload, now)
	case message.TypeNetworkJoined:
		if len(payload) > 1 &&
			(payload[0] == message.NetworkJoinedExisting || payload[0] == message.NetworkFormed) {
			return everybody // there is a network now, whoever started it
		}
		return r.inOrder(t, now)
	}
	if len(payload) == 0 {
		return everybody
	}
	switch message.AsAnswer(t).Numbering {
	case message.InOrder:
		return r.inOrder(t, now)
	case message.ByZDP:
		return r.message(reply{zdp: true, sequence: payload[0], typ: t}, now)
	case message.ByZCL:
		return r.message(zclReply(t, payload), now)
	}
	return everybody
}

// ota is for whom OTA messages are.
func (r *router) ota() int {
	if r.hideOTA {
		return ourselves
	}
	return everybody
}

// inOrder finds who asked first.
func (r *router) inOrder(t message.MsgType, now time.Time) int {
	waiting := r.local[t]
	for len(waiting) > 0 && now.Sub(waiting[0].at) > localTimeout {
		waiting = waiting[1:]
	}
	if len(waiting) == 0 {
		delete(r.local, t)
		return r.unexpected(t)
	}
	first := waiting[0].ask
	if !message.AsAnswer(t).Several {
		waiting = waiting[1:]
	}
	r.local[t] = waiting
	return first.owner
}

// unexpected is for an answer that no status has told of: the status may have been lost.
func (r *router) unexpected(t message.MsgType) int {
	if a := r.current(); a != nil {
		if message.AnswerOf(a.typ).Type == t {
			return a.owner
		}
	}
	return everybody
}
