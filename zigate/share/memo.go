package share

import (
	"encoding/binary"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Devices are not asked twice: what a client has just asked, this program need not ask again, for it has seen
// the answer or will see it.

// question is what a device can be asked and answers the same to everybody: a descriptor, or an attribute of
// its Basic cluster.
type question struct {
	answer   message.MsgType
	addr     uint16
	endpoint uint8
	id       uint16 // of an attribute
}

const (
	// fresh is how long an answer is as good as another one.
	fresh = time.Minute
	// alreadyAsked is how long the answer to a client's question is waited for in the place of asking, too.
	alreadyAsked = 5 * time.Second
	// joining is how long after its announcement a device is left to the clients first, and giveWay how long
	// each time: software that lets devices join asks them who they are.
	joining = time.Minute
	giveWay = 3 * time.Second
)

// memo is what devices were asked and have answered lately.
type memo struct {
	asked     map[question]time.Time
	answers   map[question]answered
	announced map[uint16]time.Time
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

// prune forgets what is too old to serve for an answer.
func (m *memo) prune(now time.Time) {
	if now.Sub(m.prunedAt) < fresh {
		return
	}
	m.prunedAt = now
	for q, at := range m.asked {
		if now.Sub(at) > alreadyAsked {
			delete(m.asked, q)
		}
	}
	for q, a := range m.answers {
		if now.Sub(a.at) > fresh {
			delete(m.answers, q)
		}
	}
	for addr, at := range m.announced {
		if now.Sub(at) > joining {
			delete(m.announced, addr)
		}
	}
}

// questions are what a command asks, as far as everybody is told the same.
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

func attributes(addr uint16, endpoint uint8, ids []uint16) (list []question) {
	for _, id := range ids {
		list = append(list, question{
			answer: message.TypeReadAttribute, addr: addr, endpoint: endpoint, id: id,
		})
	}
	return list
}

// rawQuestions reads the same questions from raw data: ZDP requests (sequence number, network address,
// endpoint), and reads of attributes (a ZCL header without a manufacturer code, ids), little-endian.
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

// answerOf is the question that a message answers.
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

// noteMessage hands what the memo is made of to the Hub's goroutine. It is called by the one that reads.
func (h *Hub) noteMessage(m message.Message, lqi uint8) {
	if h.number.Load() == 0 {
		return
	}
	now := time.Now()
	if a, ok := m.(message.DeviceAnnounce); ok {
		h.inbox.Post(func() {
			for q := range h.memo.answers {
				if q.addr == a.Addr { // it may be another device, or have other firmware
					delete(h.memo.answers, q)
				}
			}
			h.memo.announced[a.Addr] = now
		})
	} else if q, ok := answerOf(m); ok {
		h.inbox.Post(func() { h.memo.answers[q] = answered{message: m, lqi: lqi, at: now} })
	}
}

// ask sends a question of this program, unless a client has asked the same: then its answer serves. first is
// false for a question that has given way already.
func (h *Hub) ask(list []question, first bool, send, done func()) {
	now := time.Now()
	h.memo.prune(now)
	known := true
	coming := true
	for _, q := range list {
		known = known && now.Sub(h.memo.answers[q].at) < fresh
		coming = coming && now.Sub(h.memo.asked[q]) < alreadyAsked
	}
	switch {
	case known:
		for _, q := range list {
			a := h.memo.answers[q]
			h.handler.HandleMessage(a.message, a.lqi)
		}
		done()
	case coming:
		done()
	case first && len(h.clients) > 0 && now.Sub(h.memo.announced[list[0].addr]) < joining:
		time.AfterFunc(giveWay, func() {
			if !h.inbox.Post(func() { h.ask(list, false, send, done) }) {
				send()
			}
		})
	default:
		send()
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
