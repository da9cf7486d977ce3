package share

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// How long an answer is expected.
const (
	localTimeout   = 2 * time.Second  // of the dongle itself
	deviceTimeout  = 30 * time.Second // of a device; sleeping devices answer when they wake
	confirmTimeout = 12 * time.Second // of a delivery: four tries, and a parent that keeps the frame
)

// localAsk is a question that the dongle answers itself.
type localAsk struct {
	ask *ask
	at  time.Time
}

// deviceAsk is a request to a device, whose answers carry its sequence number: one of the dongle, or, in raw
// data, one that the host has made up.
type deviceAsk struct {
	ask        *ask
	at         time.Time
	zdp        bool // it is a ZDP request, else a ZCL request
	sequence   uint8
	answer     message.MsgType // 0 if it may be any that the cluster has
	cluster    uint16
	hasCluster bool // cluster is known
	// In the hybrid raw mode an answer comes twice: indicated notes the frame from the air, told the message.
	indicated, told bool
}

// rawAsk is the request in raw data.

func rawAsk(a *ask, now time.Time) deviceAsk {
	d := deviceAsk{ask: a, at: now, zdp: a.zdp, sequence: a.sequence, cluster: a.cluster, hasCluster: true}
	if a.zdp {
		d.answer, _ = message.MadeOfZDP(a.cluster | zdpResponse)
	}
	return d
}

// maxRequests is how many requests to devices are remembered.
const maxRequests = 128

// expect remembers a request.
func (r *router) expect(d deviceAsk) {
	for i := range r.requests {
		// The dongle's own numbers come round after 256 requests: a request that still waits under this
		// one waits in vain.
		old := &r.requests[i]
		if !d.ask.raw && !old.ask.raw && old.zdp == d.zdp && old.sequence == d.sequence {
			r.requests = append(r.requests[:i], r.requests[i+1:]...)
			break
		}
	}
	if len(r.requests) == maxRequests {
		r.requests = append(r.requests[:0], r.requests[1:]...)
	}
	r.requests = append(r.requests, d)
}

// reply is what a device has answered, as far as it tells which request it answers.
type reply struct {
	zdp        bool // it is a ZDP response, else a ZCL frame
	sequence   uint8
	typ        message.MsgType // of the message, or of the one that the frame becomes; 0 if that is not known
	addr       uint16          // network address of the device
	hasAddr    bool            // addr is known
	cluster    uint16          // of the request
	hasCluster bool            // cluster is known
	indication bool            // it is a frame from the air, else a message
}

// zclReply reads a message that begins with a ZCL sequence number.
func zclReply(t message.MsgType, payload []byte) reply {
	p := reply{sequence: payload[0], typ: t}
	if addr, cluster, ok := message.Sender(t, payload); ok {
		p.addr = addr
		p.hasAddr = true
		p.cluster = cluster
		p.hasCluster = true
	}
	return p
}

// fits tells whether a reply can be the answer to a request.
func (d *deviceAsk) fits(p *reply, now time.Time) bool {
	switch {
	case now.Sub(d.at) >= deviceTimeout, d.zdp != p.zdp, d.sequence != p.sequence:
		return false
	case p.hasAddr && d.ask.hasAddr && p.addr != d.ask.addr:
		return false
	case p.hasCluster && d.hasCluster && p.cluster != d.cluster:
		return false
	case d.answer == 0:
		return !p.zdp || p.indication
	case p.typ == message.TypeDefaultResponse:
		return !p.zdp
	case p.typ == 0: // it is a command of a cluster
		return message.AsAnswer(d.answer).ClusterCommand
	}
	return p.typ == d.answer
}

// whose finds the owner of the request that is answered. Numbers that hosts make up may be the same as the
// dongle's, so that several requests can fit: the oldest that has got no answer yet is taken, and one of a
// client before one of this program, which sees everything anyway. ZCL answers may come in several messages:
// the last request that has got one gets the next as well.
func (r *router) whose(p reply, now time.Time) (owner int, ok bool) {
	var first, again *deviceAsk
	better := func(d, than *deviceAsk) bool {
		return than == nil || than.ask.owner == ourselves && d.ask.owner != ourselves
	}
	for i := range r.requests {
		d := &r.requests[i]
		switch {
		case !d.fits(&p, now):
		case p.indication && d.indicated || !p.indication && d.told:
			if !p.zdp && (again == nil || !better(again, d)) {
				again = d // at the end it is the latest one
			}
		case better(d, first):
			first = d
		}
	}
	if first == nil {
		first = again
	}
	if first == nil {
		return 0, false
	}
	if p.indication {
		first.indicated = true
	} else {
		first.told = true
	}
	return first.ask.owner, true
}

// message finds the owner of a message of a device.
func (r *router) message(p reply, now time.Time) int {
	if owner, ok := r.whose(p, now); ok {
		return owner
	}
	return r.unexpected(p.typ)
}

// defaultResponse finds the owner of a default response.
func (r *router) defaultResponse(payload []byte, now time.Time) int {
	m, err := message.ParseMessage(message.TypeDefaultResponse, payload[:max(len(payload)-1, 0)])
	d, ok := m.(message.DefaultResponse)
	if err != nil || !ok {
		return everybody
	}
	answer := reply{
		sequence: d.Sequence, typ: message.TypeDefaultResponse, cluster: d.Cluster, hasCluster: true,
	}
	if owner, ok := r.whose(answer, now); ok {
		return owner
	}
	if d.Cluster == message.ClusterOTA {
		return r.ota()
	}
	return everybody
}

// indication finds the owner of a frame from the air, and notes the default response that the dongle sends
// for it in the hybrid raw mode.
func (r *router) indication(payload []byte, now time.Time) int {
	m, err := message.ParseMessage(message.TypeDataIndication, payload[:max(len(payload)-1, 0)])
	ind, ok := m.(message.DataIndication)
	if err != nil || !ok || len(ind.Payload) == 0 {
		return everybody
	}
	short := ind.SrcAddrMode == message.AddrModeNetwork
	owner := r.shown(&ind, short, now)
	zdp := ind.Profile == profileZDP && ind.DstEndpoint == 0
	if r.running == message.RawModeHybrid && short && (!zdp || r.answersZDP) && len(ind.Payload) >= 3 &&
		ind.Payload[0]&zclNoDefaultResponse == 0 {
		r.sentTo(ind.SrcAddr, unnamed{owner: hybrid(owner), at: now})
	}
	return owner
}

// hybrid makes an owner of what the dongle does in the hybrid raw mode only.
func hybrid(owner int) int {
	if owner == ourselves {
		return ourselves
	}
	return owner | onlyHybrid
}

// shown finds the owner of a frame from the air; short is true if its source is a network address.
func (r *router) shown(ind *message.DataIndication, short bool, now time.Time) int {
	p := reply{addr: ind.SrcAddr, hasAddr: short, cluster: ind.Cluster, hasCluster: true, indication: true}
	if ind.Profile == profileZDP && ind.DstEndpoint == 0 {
		p.zdp = true
		p.sequence = ind.Payload[0]
		p.cluster = ind.Cluster &^ zdpResponse
		p.typ, _ = message.MadeOfZDP(ind.Cluster)
		if owner, ok := r.whose(p, now); ok && ind.Cluster&zdpResponse != 0 {
			return owner
		}
		return everybody
	}
	if h, ok := parseZCL(ind.Payload); ok && h.response() {
		p.sequence = h.sequence
		p.typ = h.message()
		if owner, ok := r.whose(p, now); ok {
			return owner
		}
	}
	if ind.Cluster == message.ClusterOTA {
		return r.ota()
	}
	return everybody
}
