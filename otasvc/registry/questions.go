package registry

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// ErrNoReply says that a question was sent and the device did not answer. A sleeping device is silent for as
// long as it sleeps.
var ErrNoReply = errors.New("no answer")

// replyTimeout is how long the answer of a device may take. A sleeping device's parent keeps a message for
// about 7 s; an acknowledged message is repeated for as long.
const replyTimeout = 8 * time.Second

// Question is a command whose answer comes as messages of a device, not as the command's own status.
type Question struct {
	// Command is what is sent.
	Command message.Message
	// Timeout is how long the answer may take.
	Timeout time.Duration
	// Match reports whether a message is a part of the answer, and whether the answer is whole with it. It is
	// called on the owner's goroutine, for each message until the answer is whole.
	Match func(message.Message) (part, whole bool)
}

// askNodeDescriptor asks a device for its node descriptor.
func askNodeDescriptor(addr uint16) Question {
	return Question{
		Command: message.NodeDescriptorRequest{Addr: addr},
		Timeout: replyTimeout,
		Match: matching(func(m message.NodeDescriptor) bool {
			return m.Addr == addr
		}),
	}
}

// askActiveEndpoints asks a device for its endpoints.
func askActiveEndpoints(addr uint16) Question {
	return Question{
		Command: message.ActiveEndpointsRequest{Addr: addr},
		Timeout: replyTimeout,
		Match: matching(func(m message.ActiveEndpoints) bool {
			return m.Addr == addr
		}),
	}
}

// askSimpleDescriptor asks a device what is on one of its endpoints. A refusal does not have to name the
// endpoint.
func askSimpleDescriptor(addr uint16, endpoint uint8) Question {
	return Question{
		Command: message.SimpleDescriptorRequest{Addr: addr, Endpoint: endpoint},
		Timeout: replyTimeout,
		Match: matching(func(m message.SimpleDescriptor) bool {
			return m.Addr == addr && (m.Status != 0 || m.Endpoint == endpoint)
		}),
	}
}

// askPowerDescriptor asks a device for its power descriptor, which does not say whose it is.
func askPowerDescriptor(addr uint16) Question {
	return Question{
		Command: message.PowerDescriptorRequest{Addr: addr},
		Timeout: replyTimeout,
		Match:   matching(func(message.PowerDescriptor) bool { return true }),
	}
}

// matching is a Match for an answer that is one message.
func matching[M message.Message](match func(M) bool) func(message.Message) (part, whole bool) {
	return func(m message.Message) (part, whole bool) {
		typed, ok := m.(M)
		ok = ok && match(typed)
		return ok, ok
	}
}

// attributes is which attributes are read, and where.
type attributes struct {
	endpoint  uint8 // 0 stands for the endpoint with the OTA client
	cluster   uint16
	direction uint8 // message.DirectionToServer or message.DirectionToClient
	ids       []uint16
}

// askAttributes reads attributes of a device. The answer is whole once each has been answered, be it with
// "unsupported". The error is [ErrNoAddress].
func askAttributes(f Facts, a attributes) (Question, error) {
	target, err := f.target(a.endpoint)
	if err != nil {
		return Question{}, err
	}
	open := slices.Clone(a.ids)
	return Question{
		Command: message.ReadAttributes{
			Target:    target,
			Cluster:   a.cluster,
			Direction: a.direction,
			IDs:       a.ids,
		},
		Timeout: replyTimeout,
		Match: func(m message.Message) (part, whole bool) {
			at, ok := m.(message.Attribute)
			if !ok || at.Addr != target.Addr || at.Cluster != a.cluster {
				return false, false
			}
			open = slices.DeleteFunc(open, func(id uint16) bool { return id == at.ID })
			return true, len(open) == 0
		},
	}, nil
}

// AskVersion reads the running file version of a device's OTA client, whose facts they are, see [Facts.As].
// With several clients the image type is read with it, which says whose version it is. What the device
// answers is taken in by [Device.Learn]. The error is [ErrNoAddress].
func AskVersion(f Facts) (Question, error) {
	ids := []uint16{message.AttrOTAFileVersion}
	if len(f.Others) > 0 {
		ids = []uint16{message.AttrOTAImageType, message.AttrOTAFileVersion}
	}
	return askAttributes(f, attributes{
		cluster:   message.ClusterOTA,
		direction: message.DirectionToClient,
		ids:       ids,
	})
}

// Sender is the way to the dongle.
type Sender interface {
	// Send hands a command to the dongle and returns at once. done is called once, on the owner's goroutine,
	// with the error that the command ended with. It is nil where only the command's status was lost: the
	// answer may come all the same.
	Send(cmd message.Message, done func(error))
}

// Questions are the questions that wait for messages of devices.
type Questions struct {
	sender Sender
	open   []*Pending
}

// Pending is a question that waits for its answer.
type Pending struct {
	deadline time.Time
	match    func(message.Message) (part, whole bool)
	parts    []message.Message
	done     func([]message.Message, error)
}

// NewQuestions returns Questions that are sent through sender.
func NewQuestions(sender Sender) *Questions { return &Questions{sender: sender} }

// Ask sends a question. done is called once, with the messages that came as an answer: all of them with a nil
// error, else those that came before it ended. It is ended by [ErrNoReply], by an error of sending, or by
// [Questions.Drop].
func (q *Questions) Ask(question Question, now time.Time, done func([]message.Message, error)) {
	p := &Pending{deadline: now.Add(question.Timeout), match: question.Match, done: done}
	q.open = append(q.open, p)
	q.sender.Send(question.Command, func(err error) {
		if err != nil && q.End(p) {
			done(p.parts, fmt.Errorf("sending %s: %w", question.Command.Type().Name(), err))
		}
	})
}

// Wait is a question that no message answers: done is called when the deadline is over or by
// [Questions.Drop], unless it is ended before.
func (q *Questions) Wait(deadline time.Time, done func(error)) *Pending {
	p := &Pending{
		deadline: deadline,
		match:    func(message.Message) (part, whole bool) { return false, false },
		done:     func(_ []message.Message, err error) { done(err) },
	}
	q.open = append(q.open, p)
	return p
}

// End takes a question off the list without calling its done. It is false if the question has ended already.
func (q *Questions) End(p *Pending) bool {
	i := slices.Index(q.open, p)
	if i < 0 {
		return false
	}
	q.open = slices.Delete(q.open, i, i+1)
	return true
}

// Take offers a message to the questions, the oldest first, until it makes the answer to one of them whole.
func (q *Questions) Take(m message.Message) {
	for _, p := range q.open {
		part, whole := p.match(m)
		if part {
			p.parts = append(p.parts, m)
		}
		if whole {
			q.End(p)
			p.done(p.parts, nil)
			return
		}
	}
}

// Expire ends the questions whose deadline is over.
func (q *Questions) Expire(now time.Time) {
	for _, p := range slices.Clone(q.open) {
		if now.After(p.deadline) && q.End(p) {
			p.done(p.parts, ErrNoReply)
		}
	}
}

// Drop ends all questions with an error.
func (q *Questions) Drop(err error) {
	open := q.open
	q.open = nil
	for _, p := range open {
		p.done(p.parts, err)
	}
}

// Any reports whether a question waits for its answer.
func (q *Questions) Any() bool { return len(q.open) > 0 }
