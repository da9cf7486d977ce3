package share

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// onAir is a radio frame that was sent for a command. Its number, the APS counter, is known.
type onAir struct {
	ask              *ask
	at               time.Time
	confirmed, acked bool // the delivery report of that kind has come
}

// unnamed is a frame on its way to a device whose APS counter no status has told, so that its delivery
// reports are told by the device's address alone: an answer to a block request, a default response of the
// hybrid raw mode, and every frame of firmware up to 3.1c.
type unnamed struct {
	owner            int
	at               time.Time
	confirmed, acked bool   // the delivery report of that kind has come
	cluster          uint16 // if the address is not known, see nowhere
}

// nowhere stands for the network address of a device that was named by its IEEE address. Of such frames only
// the acknowledgements, which name their cluster, can be told.
const nowhere = 0xFFFF

// maxUnnamed bounds how many frames to one device wait for their delivery reports.
const maxUnnamed = 8

// sentTo notes a frame without a number to a network address.
func (r *router) sentTo(addr uint16, u unnamed) {
	list := r.unnamed[addr]
	if len(list) >= maxUnnamed {
		list = append(list[:0], list[1:]...)
	}
	r.unnamed[addr] = append(list, u)
}

// reported finds the owner of the oldest frame without a number that a delivery report (ack: an
// acknowledgement) can be for. The reports of older ones are lost.
func (r *router) reported(addr uint16, ack bool, now time.Time) int {
	list := r.unnamed[addr]
	for len(list) > 0 && (now.Sub(list[0].at) > confirmTimeout || list[0].confirmed && list[0].acked) {
		list = append(list[:0], list[1:]...)
		r.unnamed[addr] = list
	}
	for i := range list {
		u := &list[i]
		switch {
		case ack && !u.acked:
			u.acked = true
		case !ack && !u.confirmed:
			u.confirmed = true
		default:
			continue
		}
		return u.owner
	}
	return everybody
}

// sent notes which radio frame was sent for a command.
func (r *router) sent(s *message.Status, a *ask, now time.Time) {
	if a.raw {
		r.aps[s.Sequence] = onAir{ask: a, at: now} // its sequence is the APS counter
	}
	answer := message.AnswerOf(a.typ)
	switch {
	case s.Form == message.StatusFormShort && a.hasAddr && answer.Numbering != message.InOrder:
		r.sentTo(a.addr, unnamed{owner: a.owner, at: now})
	case s.Form == message.StatusFormShort && a.typ == message.TypeBind:
		r.sentTo(nowhere, unnamed{owner: a.owner, at: now, cluster: zdpBind})
	case s.Form == message.StatusFormShort && a.raw:
		r.sentTo(nowhere, unnamed{owner: a.owner, at: now, cluster: a.cluster})
	case s.Form == message.StatusFormShort:
	case s.RequestSent != message.RequestSentNone,
		r.v2 && a.typ.IsOTA() && a.typ != message.TypeLoadImage:
		r.aps[s.APSSequence] = onAir{ask: a, at: now}
	case a.typ.IsOTA() && a.hasAddr && a.owner == ourselves:
		r.answered(a.addr, now)
		if a.typ == message.TypeImageNotify {
			r.answered(a.addr, now) // the dongle's answer to what the device will ask for
		}
	}
}

// ended notes that the dongle answers a successful upgrade end request (status at 15, network address at 5)
// itself.
func (r *router) ended(payload []byte, now time.Time) {
	if len(payload) > 15 && payload[15] == message.OTASuccess {
		r.answered(uint16(payload[5])<<8|uint16(payload[6]), now)
	}
}

// answered notes that a block went to a device. Acknowledgements of blocks name their cluster.
func (r *router) answered(addr uint16, now time.Time) {
	r.sentTo(addr, unnamed{owner: r.ota(), at: now, acked: true})
}

// confirm finds the owner of a 0x8012 or a 0x8702.
func (r *router) confirm(t message.MsgType, payload []byte, now time.Time) int {
	m, err := message.ParseMessage(t, payload[:max(len(payload)-1, 0)])
	c, ok := m.(message.Confirm)
	if err != nil || !ok {
		return everybody
	}
	if o := &r.aps[c.APSSequence]; o.fits(c.Addr, !c.LongAddr, now) {
		switch {
		case !o.confirmed:
			o.confirmed = true
			return o.ask.owner
		case t == message.TypeConfirmFailed && !o.acked:
			o.acked = true // it was sent, and no acknowledgement came
			return o.ask.owner
		}
	}
	if c.LongAddr {
		return everybody
	}
	return r.reported(c.Addr, false, now)
}

// fits tells whether a delivery report can be for the frame; known is false if the report names no network
// address.
func (o *onAir) fits(addr uint16, known bool, now time.Time) bool {
	return o.ask != nil && now.Sub(o.at) < confirmTimeout && (!known || !o.ask.hasAddr || o.ask.addr == addr)
}

// ack finds the owner of a 0x8011.
func (r *router) ack(payload []byte, now time.Time) int {
	m, err := message.ParseMessage(message.TypeAPSAck, payload[:max(len(payload)-1, 0)])
	a, ok := m.(message.APSAck)
	if err != nil || !ok {
		return everybody
	}
	if o := &r.aps[a.APSSequence]; a.HasAPSSequence && !o.acked && o.fits(a.Addr, true, now) {
		o.acked = true
		return o.ask.owner
	}
	if a.Cluster == message.ClusterOTA {
		return r.ota()
	}
	if owner := r.reported(a.Addr, true, now); owner != everybody {
		return owner
	}
	if list := r.unnamed[nowhere]; len(list) > 0 && list[0].cluster == a.Cluster {
		return r.reported(nowhere, true, now)
	}
	return everybody
}
