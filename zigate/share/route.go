package share

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Owners of commands and their answers: a client is an owner by its number, which is 1 or more.
const (
	everybody = 0
	ourselves = -1 // is this program, of whose commands clients see nothing
	// onlyHybrid is added to a client's number, or to everybody, for what the dongle does in the hybrid raw
	// mode only: clients that have asked for another mode do not see it.
	onlyHybrid = 1 << 30
)

// router finds out for whom a message is. It belongs to the goroutine that reads the dongle's
// port: there is no lock.
type router struct {
	hideOTA bool // OTA messages are for this program only
	v2      bool // the firmware is that of a ZiGate+
	// answersZDP is set for firmware that takes ZDP frames for ZCL in the hybrid raw mode, and sends default
	// responses for them.
	answersZDP bool
	running    message.RawMode // in which the dongle runs
	pending    *pending

	local    map[message.MsgType][]localAsk // by type of the answer, the oldest first
	requests []deviceAsk                    // the oldest first
	aps      [256]onAir                     // by APS counter
	unnamed  map[uint16][]unnamed           // by network address, the oldest first
}

// reset forgets everything, for a new connection to a dongle, which is in raw mode off.
func (r *router) reset(v message.Version) {
	*r = router{
		hideOTA: r.hideOTA, pending: r.pending,
		v2: v.Family() == message.FamilyV2, answersZDP: v.Family() == message.FamilyV1 && v.Minor == minor31e,
		local: map[message.MsgType][]localAsk{}, unnamed: map[uint16][]unnamed{},
	}
}

// status notes what is to be expected after the status of a command, and finds the status's owner. a is the
// command, or nil for one of this program; waited is false if no command is known that waits for the status.
func (r *router) status(s *message.Status, a *ask, waited bool, now time.Time) (owner int) {
	if !waited {
		if late := r.pending.overdue.Load(); late != nil && late.typ == s.Request {
			return late.owner
		}
		return everybody
	}
	if a == nil {
		a = &ask{owner: ourselves, typ: s.Request}
	}
	for t := range r.local {
		if message.AsAnswer(t).AtOnce {
			delete(r.local, t) // the dongle has gone on, and an answer that has not come is lost
		}
	}
	if s.Status != message.StatusOK && !(a.typ == message.TypeStartNetwork) {
		return a.owner
	}
	if a.mode != nil {
		r.running = a.mode.mode
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

// frame finds the owner of a message other than a status.
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

// ota is the owner of OTA messages.
func (r *router) ota() int {
	if r.hideOTA {
		return ourselves
	}
	return everybody
}

// inOrder finds the owner of the oldest command that is answered by this type.
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

// unexpected finds the owner of an answer that no status has announced: the status may have been lost.
func (r *router) unexpected(t message.MsgType) int {
	if a := r.pending.current.Load(); a != nil {
		if message.AnswerOf(a.typ).Type == t {
			return a.owner
		}
	}
	return everybody
}
