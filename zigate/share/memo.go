package share

import (
	"encoding/binary"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Devices are not asked twice: what a client has just asked, this program need not ask again, for it has seen
// the answer or will see it.

// question is something that a device answers in the same way whoever asks: a descriptor, or an attribute of
// its Basic cluster.
type question struct {
	answer   message.MsgType
	addr     uint16 // network address of the device
	endpoint uint8  // of a simple descriptor or an attribute
	id       uint16 // of an attribute
}

const (
	// freshTime is how long an answer is as good as another one.
	freshTime = time.Minute
	// answerTimeout is how long the answer to a client's question is waited for instead of asking as well.
	answerTimeout = 5 * time.Second
	// joinTime is how long after its announcement a device is left to the clients first, and giveWayTime how
	// long each time: software that lets devices join asks them who they are.
	joinTime    = time.Minute
	giveWayTime = 3 * time.Second
)

// memo is what devices were asked and have answered lately.
type memo struct {
	asked     map[question]time.Time // by a client
	answers   map[question]answered
	announced map[uint16]time.Time // by network address
	prunedAt  time.Time
}

type answered struct {
	message message.Message
	lqi     uint8
	at      time.Time
}

func newMemo() memo {
	return memo{
		asked: map[question]time.Time{}, answers: map[question]answered{}, announced: map[uint16]time.Time{},
	}
}

// prune forgets what is too old to serve.
func (m *memo) prune(now time.Time) {
	if now.Sub(m.prunedAt) < freshTime {
		return
	}
	m.prunedAt = now
	for q, at := range m.asked {
		if now.Sub(at) > answerTimeout {
			delete(m.asked, q)
		}
	}
	for q, a := range m.answers {
		if now.Sub(a.at) > freshTime {
			delete(m.answers, q)
		}
	}
	for addr, at := range m.announced {
		if now.Sub(at) > joinTime {
			delete(m.announced, addr)
		}
	}
}

// announce notes that a device announces itself: it may be another one than before, or have other firmware.
func (m *memo) announce(addr uint16, now time.Time) {
	for q := range m.answers {
		if q.addr == addr {
			delete(m.answers, q)
		}
	}
	m.announced[addr] = now
}

// questions are what a command asks. There are none if devices may answer it differently each time.
func questions(m message.Message) []question {
	switch m := m.(type) {
	case message.NodeDescriptorRequest:
		return []question{{answer: message.TypeNodeDescriptor, addr: m.Addr}}
	case message.ActiveEndpointsRequest:
		return []question{{answer: message.TypeActiveEndpoints, addr: m.Addr}}
	case message.SimpleDescriptorRequest:
		return []question{{answer: message.TypeSimpleDescriptor, addr: m.Addr, endpoint: m.Endpoint}}
	case message.ReadAttributes:
		if m.Cluster == message.ClusterBasic && m.Direction == message.DirectionToServer &&
			!m.ManufacturerSpecific {
			return attributes(m.Addr, m.DstEndpoint, m.IDs)
		}
	case message.RawAPS:
		return rawQuestions(m)
	}
	return nil
}

// attributes are the questions of one command that reads attributes of the Basic cluster.
func attributes(addr uint16, endpoint uint8, ids []uint16) (list []question) {
	for _, id := range ids {
		list = append(list, question{
			answer: message.TypeReadAttribute, addr: addr, endpoint: endpoint, id: id,
		})
	}
	return list
}

// rawQuestions reads the same questions from raw data, little-endian: ZDP requests (sequence number, network
// address, endpoint), and reads of attributes (a ZCL header without a manufacturer code, ids).
func rawQuestions(m message.RawAPS) []question {
	const nodeDescriptor = 0x0002
	const simpleDescriptor = 0x0004
	const activeEndpoints = 0x0005
	d := m.Data
	if len(d) < 3 {
		return nil
	}
	if m.Profile == profileZDP && m.DstEndpoint == 0 {
		addr := binary.LittleEndian.Uint16(d[1:])
		switch {
		case m.Cluster == nodeDescriptor:
			return questions(message.NodeDescriptorRequest{Addr: addr})
		case m.Cluster == activeEndpoints:
			return questions(message.ActiveEndpointsRequest{Addr: addr})
		case m.Cluster == simpleDescriptor && len(d) > 3:
			return questions(message.SimpleDescriptorRequest{Addr: addr, Endpoint: d[3]})
		}
		return nil
	}
	const otherBits = zclTypeMask | zclManufacturerBit | zclToClientBit
	if m.Cluster != message.ClusterBasic || d[0]&otherBits != 0 || d[2] != zclReadAttributes ||
		m.AddrMode == message.AddrModeIEEE || m.AddrMode == message.AddrModeIEEENoAck {
		return nil
	}
	var ids []uint16
	for b := d[3:]; len(b) >= 2; b = b[2:] {
		ids = append(ids, binary.LittleEndian.Uint16(b))
	}
	return attributes(m.Addr, m.DstEndpoint, ids)
}

// answerOf is the question that a message answers. ok is false for other messages, and for refusals.
func answerOf(m message.Message) (q question, ok bool) {
	switch m := m.(type) {
	case message.NodeDescriptor:
		return question{answer: m.Type(), addr: m.Addr}, m.Status == 0
	case message.ActiveEndpoints:
		return question{answer: m.Type(), addr: m.Addr}, m.Status == 0
	case message.SimpleDescriptor:
		return question{answer: m.Type(), addr: m.Addr, endpoint: m.Endpoint}, m.Status == 0
	case message.Attribute:
		return question{answer: m.Type(), addr: m.Addr, endpoint: m.Endpoint, id: m.ID},
			m.Kind == message.TypeReadAttribute && m.Cluster == message.ClusterBasic
	}
	return question{}, false
}

// noteMessage hands what the memo is made of to the goroutine of Run. It is called by the goroutine that
// reads the dongle's port.
func (h *Hub) noteMessage(m message.Message, lqi uint8) {
	if h.clients.number.Load() == 0 {
		return
	}
	now := time.Now()
	if a, ok := m.(message.DeviceAnnounce); ok {
		h.inbox.Post(func() { h.memo.announce(a.Addr, now) })
	} else if q, ok := answerOf(m); ok {
		h.inbox.Post(func() { h.memo.answers[q] = answered{message: m, lqi: lqi, at: now} })
	}
}

// advice is what this program best does about a question of its own.
type advice uint8

const (
	askDevice   advice = iota
	useAnswers         // the answers are known
	awaitAnswer        // a client has asked the same, and this program will see the answer
	giveWay            // clients come first, see joinTime
)

// advise tells what to do about questions to one device. clients tells whether there are any that could ask
// the same; first is false for a question that has given way already.
func (m *memo) advise(list []question, clients, first bool, now time.Time) advice {
	known := true
	coming := true
	for _, q := range list {
		known = known && now.Sub(m.answers[q].at) < freshTime
		coming = coming && now.Sub(m.asked[q]) < answerTimeout
	}
	switch {
	case known:
		return useAnswers
	case coming:
		return awaitAnswer
	case first && clients && now.Sub(m.announced[list[0].addr]) < joinTime:
		return giveWay
	}
	return askDevice
}

// ask sends questions of this program with send, unless a client has asked the same: then its answer serves,
// and done is called. first is false for questions that have given way already.
func (h *Hub) ask(list []question, first bool, send, done func()) {
	now := time.Now()
	h.memo.prune(now)
	switch h.memo.advise(list, len(h.clients.list) > 0, first, now) {
	case askDevice:
		send()
	case awaitAnswer:
		done()
	case useAnswers:
		for _, q := range list {
			a := h.memo.answers[q]
			h.handler.HandleMessage(a.message, a.lqi)
		}
		done()
	case giveWay:
		time.AfterFunc(giveWayTime, func() {
			if !h.inbox.Post(func() { h.ask(list, false, send, done) }) {
				send()
			}
		})
	}
}

// noteAsked remembers a client's questions.
func (h *Hub) noteAsked(r *command) {
	m, err := message.ParseCommand(r.typ, r.payload)
	if err != nil {
		return
	}
	for _, q := range questions(m) {
		h.memo.asked[q] = time.Now()
	}
}
