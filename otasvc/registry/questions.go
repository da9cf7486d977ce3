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

// How long the answer of a device may take. A sleeping device's parent keeps a message for about 7 s; an
// acknowledged message is repeated for as long. A device that listens answers within a fraction of a second,
// so its answer was lost on the way where it has not come after askAgain. An answer of several messages comes
// all at once, so what has not come within askRest of a part of it was lost, or left out for want of room.
const (
	replyTimeout = 8 * time.Second
	askAgain     = 2 * time.Second
	askRest      = 500 * time.Millisecond
	// againAtMost is how often a question is sent again.
	againAtMost = 2
)

// Question is a command whose answer comes as messages of a device, not as the command's own status.
type Question struct {
	// Command is what is sent.
	Command message.Message
	// To is the network address of the device that is asked; 0 where it is no single device.
	To uint16
	// Timeout is how long the answer may take, from when the question is sent.
	Timeout time.Duration
	// Again is after how long the question is sent again while its answer has not come, a few times; 0 stands
	// for never.
	Again time.Duration
	// Rest makes what is sent then: what was not answered yet. It is nil where that is Command.
	Rest func() message.Message
	// Size is how many bytes the answer takes on the line to the dongle, with the messages that tell of the
	// delivery; 0 where that does not count.
	Size int
	// Match reports whether a message is a part of the answer, and whether the answer is whole with it. It is
	// called on the owner's goroutine, for each message until the answer is whole.
	Match func(message.Message) (part, whole bool)
}

// askNodeDescriptor asks a device for its node descriptor.
func askNodeDescriptor(addr uint16) Question {
	return Question{
		Command: message.NodeDescriptorRequest{Addr: addr},
		To:      addr,
		Timeout: replyTimeout,
		Size:    sizeOf(nodeDescriptorBytes),
		Match: matching(func(m message.NodeDescriptor) bool {
			return m.Addr == addr
		}),
	}
}

// askActiveEndpoints asks a device for its endpoints.
func askActiveEndpoints(addr uint16) Question {
	return Question{
		Command: message.ActiveEndpointsRequest{Addr: addr},
		To:      addr,
		Timeout: replyTimeout,
		Size:    sizeOf(activeEndpointsBytes),
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
		To:      addr,
		Timeout: replyTimeout,
		Size:    sizeOf(simpleDescriptorBytes),
		Match: matching(func(m message.SimpleDescriptor) bool {
			return m.Addr == addr && (m.Status != 0 || m.Endpoint == endpoint)
		}),
	}
}

// askPowerDescriptor asks a device for its power descriptor, which does not say whose it is.
func askPowerDescriptor(addr uint16) Question {
	return Question{
		Command: message.PowerDescriptorRequest{Addr: addr},
		To:      addr,
		Timeout: replyTimeout,
		Size:    sizeOf(powerDescriptorBytes),
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
	command := message.ReadAttributes{
		Target:    target,
		Cluster:   a.cluster,
		Direction: a.direction,
		IDs:       a.ids,
	}
	return Question{
		Command: command,
		To:      target.Addr,
		Timeout: replyTimeout,
		Rest: func() message.Message {
			rest := command
			rest.IDs = slices.Clone(open)
			return rest
		},
		Size: a.size(),
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
	question, err := askAttributes(f, attributes{
		cluster:   message.ClusterOTA,
		direction: message.DirectionToClient,
		ids:       ids,
	})
	return repeated(question, f), err
}

// Sender is the way to the dongle.
type Sender interface {
	// Send hands a command to the dongle and returns at once. done is called once, on the owner's goroutine,
	// with the error that the command ended with. It is nil where only the command's status was lost: the
	// answer may come all the same.
	Send(cmd message.Message, done func(error))
}

// Questions are the questions that wait for messages of devices, or for room on the line for their answers:
// see [Questions.Pace].
type Questions struct {
	sender Sender
	open   []*Pending // that were sent
	line   []*Pending // that wait for room, the oldest first
	room   int        // bytes; 0 stands for any number
}

// Pending is a question that waits for its answer, or for room.
type Pending struct {
	question Question
	sentAt   time.Time // last
	again    int       // how often it was sent again
	givenUp  bool      // it is not sent again
	deadline time.Time
	parts    []message.Message
	heard    int       // of parts, when the owner looked last
	heardAt  time.Time // when the last of them was new
	done     func([]message.Message, error)
}

// NewQuestions returns Questions that are sent through sender.
func NewQuestions(sender Sender) *Questions { return &Questions{sender: sender} }

// Ask sends a question, at once or when there is room for its answer. done is called once, with the messages
// that came as an answer: all of them with a nil error, else those that came before it ended. It is ended by
// [ErrNoReply], by an error of sending, or by [Questions.Drop].
func (q *Questions) Ask(question Question, now time.Time, done func([]message.Message, error)) {
	p := &Pending{question: question, done: done}
	if len(q.line) > 0 && question.Size > 0 || !q.fits(p, now) {
		q.line = append(q.line, p)
		return
	}
	q.send(p, now)
}

// send sends a question for the first time.
func (q *Questions) send(p *Pending, now time.Time) {
	p.sentAt = now
	p.deadline = now.Add(p.question.Timeout)
	q.open = append(q.open, p)
	q.sender.Send(p.question.Command, func(err error) {
		if err != nil && q.End(p) {
			p.done(p.parts, fmt.Errorf("sending %s: %w", p.question.Command.Type().Name(), err))
		}
	})
}

// Pace sends what waits for room, and sends again what should have been answered. Answers that come at the
// same moment have to fit room, in bytes, or the dongle loses some; 0 stands for a dongle that loses none.
// The owner calls it when time has passed or something was heard.
func (q *Questions) Pace(room int, now time.Time) {
	q.room = room
	for _, p := range slices.Clone(q.open) {
		p.look(now)
		if p.dueAgain(now) && q.fits(p, now) {
			q.sendAgain(p, now)
		}
	}
	for len(q.line) > 0 && q.fits(q.line[0], now) {
		next := q.line[0]
		q.line = q.line[1:]
		q.send(next, now)
	}
}

// look notes when a part of the answer has come.
func (p *Pending) look(now time.Time) {
	if n := len(p.parts); n != p.heard {
		p.heard = n
		p.heardAt = now
	}
}

// dueAgain reports whether a question is to be sent again.
func (p *Pending) dueAgain(now time.Time) bool {
	after := p.question.Again
	if after == 0 || p.givenUp || p.again == againAtMost {
		return false
	}
	restLost := p.question.Rest != nil && p.heardAt.After(p.sentAt) && now.Sub(p.heardAt) >= askRest
	return restLost || now.Sub(p.sentAt) >= after
}

func (q *Questions) sendAgain(p *Pending, now time.Time) {
	p.sentAt = now
	p.again++
	rest := p.question.Command
	if p.question.Rest != nil {
		rest = p.question.Rest()
	}
	q.sender.Send(rest, func(error) {}) // that it is away ends the question otherwise
}

// Undelivered notes that a message did not reach the device with a network address: asking it again at once
// would only keep the radio busy.
func (q *Questions) Undelivered(addr uint16) {
	for _, p := range q.open {
		if p.question.To == addr {
			p.givenUp = true
		}
	}
}

// Wait is a question that no message answers: done is called when the deadline is over or by
// [Questions.Drop], unless it is ended before.
func (q *Questions) Wait(deadline time.Time, done func(error)) *Pending {
	p := &Pending{
		question: Question{Match: func(message.Message) (part, whole bool) { return false, false }},
		deadline: deadline,
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
		part, whole := p.question.Match(m)
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
	dropped := append(q.open, q.line...)
	q.open = nil
	q.line = nil
	for _, p := range dropped {
		p.done(p.parts, err)
	}
}

// Any reports whether a question waits for its answer, or for room.
func (q *Questions) Any() bool { return len(q.open) > 0 || len(q.line) > 0 }
