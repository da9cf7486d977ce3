package share

import (
	"encoding/binary"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
)

// Owners of commands and their answers. Clients have numbers from 1 on.
const (
	everybody = 0
	ourselves = -1 // this program: no client sees it
	// onlyHybrid is added to a client's number, or to everybody, for what the dongle does in the hybrid raw mode only:
	// clients that have asked for another mode do not see it.
	onlyHybrid = 1 << 30
)

// ask is a command as far as its answers depend on it. It is not changed once it was submitted.
type ask struct {
	owner    int
	typ      zigate.MsgType
	addr     uint16 // of the device, if known
	hasAddr  bool
	raw      bool // raw APS data, with:
	profile  uint16
	cluster  uint16
	sequence uint8    // that the client has put into its frame
	mode     *modeAsk // of a raw mode
}

// newAsk reads what a command's answers will be told by.
func newAsk(owner int, t zigate.MsgType, payload []byte) *ask {
	a := &ask{owner: owner, typ: t}
	m, err := zigate.ParseCommand(t, payload)
	if err == nil {
		a.read(m)
	} else if len(payload) >= 3 && t >= firstZCLCommand && t <= lastZCLCommand {
		a.setAddr(zigate.AddrMode(payload[0]), uint16(payload[1])<<8|uint16(payload[2]))
	}
	return a
}

func (a *ask) read(m zigate.Message) {
	switch m := m.(type) {
	case zigate.RawAPS:
		a.raw, a.profile, a.cluster = true, m.Profile, m.Cluster
		a.setAddr(m.AddrMode, m.Addr)
		if m.Profile == profileZDP && m.DstEndpoint == 0 {
			if len(m.Data) > 0 {
				a.sequence = m.Data[0]
			}
		} else if h, ok := parseZCL(m.Data); ok {
			a.sequence = h.sequence
		}
	case zigate.ReadAttributes:
		a.setAddr(m.AddrMode, m.Addr)
	case zigate.OnOff:
		a.setAddr(m.AddrMode, m.Addr)
	case zigate.NwkAddrRequest:
		a.setAddr(zigate.AddrModeShort, m.Target)
	case zigate.IEEEAddrRequest:
		a.setAddr(zigate.AddrModeShort, m.Target)
	case zigate.NodeDescriptorRequest:
		a.setAddr(zigate.AddrModeShort, m.Addr)
	case zigate.ActiveEndpointsRequest:
		a.setAddr(zigate.AddrModeShort, m.Addr)
	case zigate.SimpleDescriptorRequest:
		a.setAddr(zigate.AddrModeShort, m.Addr)
	case zigate.MatchDescriptorRequest:
		a.setAddr(zigate.AddrModeShort, m.Target)
	case zigate.BlockSend:
		a.setAddr(m.AddrMode, m.Addr)
	case zigate.WaitForData:
		a.setAddr(m.AddrMode, m.Addr)
	case zigate.UpgradeEndResponse:
		a.setAddr(m.AddrMode, m.Addr)
	case zigate.ImageNotify:
		a.setAddr(m.AddrMode, m.Addr)
	}
}

func (a *ask) setAddr(mode zigate.AddrMode, addr uint16) {
	if mode == zigate.AddrModeShort || mode == zigate.AddrModeShortNoAck {
		a.addr, a.hasAddr = addr, addr < firstBroadcastAddr
	}
}

const firstBroadcastAddr = 0xFFF8

const zdpBind uint16 = 0x0021

// How long an answer may take.
const (
	localPatience   = 2 * time.Second  // of the dongle itself
	devicePatience  = 30 * time.Second // sleeping devices answer when they wake
	confirmPatience = 12 * time.Second // four tries with acknowledgement, and a parent that keeps the frame
)

// numbered is a command whose answers carry a number.
type numbered struct {
	ask    *ask
	answer zigate.MsgType
	at     time.Time
}

func (n *numbered) open(now time.Time) bool {
	return n.ask != nil && now.Sub(n.at) < devicePatience
}

// onAir is a radio frame that was sent for a command, and what has come of it.
type onAir struct {
	ask              *ask
	at               time.Time
	confirmed, acked bool
}

// unnamed is a frame on its way to a device whose APS counter no status has told, so that its delivery reports are told
// by the device's address alone: an answer to a block request, a default response of the hybrid raw mode, and every frame
// of firmware up to 3.1c.
type unnamed struct {
	owner            int
	at               time.Time
	confirmed, acked bool
	cluster          uint16 // where the address is not known, see nowhere
}

// nowhere stands for the address of a device that was named by its IEEE address. Only acknowledgements, which name their
// cluster, are told for them.
const nowhere = 0xFFFF

// maxUnnamed bounds how many frames to one device wait for their delivery reports.
const maxUnnamed = 8

// sentTo notes a frame without a number.
func (r *router) sentTo(addr uint16, u unnamed) {
	list := r.unnamed[addr]
	if len(list) >= maxUnnamed {
		list = append(list[:0], list[1:]...)
	}
	r.unnamed[addr] = append(list, u)
}

// reported finds the oldest frame without a number that a delivery report can be for. Those before it have lost theirs.
func (r *router) reported(addr uint16, ack bool, now time.Time) int {
	list := r.unnamed[addr]
	for len(list) > 0 && (now.Sub(list[0].at) > confirmPatience || list[0].confirmed && list[0].acked) {
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

// router finds out for whom a message is. It belongs to the goroutine that reads the dongle's port: there is no lock.
type router struct {
	// hideOTA: OTA is this program's, and not shown to clients.
	hideOTA bool
	v2      bool
	// answersZDP: in the hybrid raw mode the firmware takes ZDP frames for ZCL, and sends default responses for them.
	answersZDP bool
	real       zigate.RawMode // that the dongle runs in
	// current is the client's command whose status has not come, and overdue the last one whose status did not come in
	// time; nil: none.
	current, overdue func() *ask

	local    map[zigate.MsgType][]numbered // without a number, in order
	zcl, zdp [256]numbered
	aps      [256]onAir
	raws     []numbered
	unnamed  map[uint16][]unnamed // by address, in order
}

// reset forgets everything: a connection to a dongle begins, in raw mode off.
func (r *router) reset(v zigate.Version) {
	*r = router{
		hideOTA: r.hideOTA, current: r.current, overdue: r.overdue,
		v2: v.Family() == zigate.FamilyV2, answersZDP: v.Family() == zigate.FamilyV1 && v.Minor == minor31e,
		local: map[zigate.MsgType][]numbered{}, unnamed: map[uint16][]unnamed{},
	}
}

// maxRaws is how many requests that carry their own number are remembered.
const maxRaws = 128

// status notes what is to be expected after the status of a command, and tells whose it is.
func (r *router) status(s *zigate.Status, a *ask, waited bool, now time.Time) (owner int) {
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
		if atOnce(t) {
			delete(r.local, t) // the dongle has gone on: what has not come is lost
		}
	}
	if s.Status != zigate.StatusOK && !(a.typ == zigate.TypeStartNetwork) {
		return a.owner
	}
	if a.mode != nil {
		r.real = a.mode.mode
	}
	answer, numbers := answerTo(a.typ)
	n := numbered{ask: a, answer: answer, at: now}
	switch numbers {
	case inOrder:
		r.local[answer] = append(r.local[answer], n)
	case byZDP:
		r.zdp[s.Sequence] = n
	case byZCL:
		r.zcl[s.Sequence] = n
	}
	if a.raw {
		if len(r.raws) == maxRaws {
			r.raws = append(r.raws[:0], r.raws[1:]...)
		}
		r.raws = append(r.raws, n)
	}
	r.sent(s, a, now)
	return a.owner
}

// sent notes which radio frame was sent for a command.
func (r *router) sent(s *zigate.Status, a *ask, now time.Time) {
	if a.raw {
		r.aps[s.Sequence] = onAir{ask: a, at: now} // its sequence is the APS counter
	}
	switch _, numbers := answerTo(a.typ); {
	case s.Form == zigate.StatusFormShort && a.hasAddr && numbers != inOrder:
		r.sentTo(a.addr, unnamed{owner: a.owner, at: now})
	case s.Form == zigate.StatusFormShort && a.typ == zigate.TypeBind:
		r.sentTo(nowhere, unnamed{owner: a.owner, at: now, cluster: zdpBind})
	case s.Form == zigate.StatusFormShort && a.raw:
		r.sentTo(nowhere, unnamed{owner: a.owner, at: now, cluster: a.cluster})
	case s.Form == zigate.StatusFormShort:
	case s.RequestSent != zigate.RequestSentNone, r.v2 && isOTACommand(a.typ) && a.typ != zigate.TypeLoadImage:
		r.aps[s.APSSequence] = onAir{ask: a, at: now}
	case isOTACommand(a.typ) && a.hasAddr && a.owner == ourselves:
		r.answered(a.addr, now)
	}
}

// answered notes that a block went to a device. Acknowledgements of blocks name their cluster.
func (r *router) answered(addr uint16, now time.Time) {
	r.sentTo(addr, unnamed{owner: r.ota(), at: now, acked: true})
}

// frame tells whom a message is for that is no status.
func (r *router) frame(t zigate.MsgType, payload []byte, now time.Time) (owner int) {
	switch t {
	case zigate.TypeImageBlockRequest, zigate.TypeUpgradeEndRequest:
		return r.ota()
	case zigate.TypeDataIndication:
		return r.indication(payload, now)
	case zigate.TypeConfirm, zigate.TypeConfirmFailed:
		return r.confirm(t, payload, now)
	case zigate.TypeAPSAck:
		return r.ack(payload, now)
	case zigate.TypeDefaultResponse:
		return r.defaultResponse(payload, now)
	case zigate.TypeNetworkJoined:
		if len(payload) > 1 && (payload[0] == zigate.NetworkJoinedExisting || payload[0] == zigate.NetworkFormed) {
			return everybody // there is a network now, whoever started it
		}
		return r.inOrder(t, now)
	}
	_, numbers := answerTo(t &^ answerBit)
	switch {
	case t < answerBit || len(payload) == 0:
		return everybody
	case numbers == inOrder:
		return r.inOrder(t, now)
	case numbers == byZDP:
		if owner, ok := r.numbered(&r.zdp[payload[0]], t, now); ok {
			return owner
		}
		if owner, ok := r.rawZDP(t, payload[0], now); ok {
			return owner
		}
		return r.unexpected(t)
	case numbers == byZCL:
		if owner, ok := r.numbered(&r.zcl[payload[0]], t, now); ok {
			return owner
		}
		if owner, ok := r.rawZCL(t, payload, now); ok {
			return owner
		}
		return r.unexpected(t)
	}
	return everybody
}

// rawZDP finds the raw request that a ZDP message answers.
func (r *router) rawZDP(t zigate.MsgType, sequence uint8, now time.Time) (int, bool) {
	for i := range r.raws {
		a := r.raws[i].ask
		if answer, ok := zdpMessage(a.cluster | zdpResponse); ok && a.profile == profileZDP && answer == t {
			if owner, ok := r.rawOwner(0, false, a.cluster, sequence, now); ok {
				return owner, true
			}
		}
	}
	return 0, false
}

// rawZCL finds the raw request that a message about attributes answers: sequence 1, address 2, endpoint 1, cluster 2.
func (r *router) rawZCL(t zigate.MsgType, payload []byte, now time.Time) (int, bool) {
	switch t {
	case zigate.TypeReadAttribute, zigate.TypeWriteAttribute, typeReportingSet, typeReportingRead:
	default:
		return 0, false
	}
	if len(payload) < 6 {
		return 0, false
	}
	return r.rawOwner(binary.BigEndian.Uint16(payload[1:]), true, binary.BigEndian.Uint16(payload[4:]), payload[0], now)
}

// ota is for whom OTA messages are.
func (r *router) ota() int {
	if r.hideOTA {
		return ourselves
	}
	return everybody
}

// inOrder finds who asked first.
func (r *router) inOrder(t zigate.MsgType, now time.Time) int {
	waiting := r.local[t]
	for len(waiting) > 0 && now.Sub(waiting[0].at) > localPatience {
		waiting = waiting[1:]
	}
	if len(waiting) == 0 {
		delete(r.local, t)
		return r.unexpected(t)
	}
	first := waiting[0].ask
	if t != typeAttributeDiscovery|answerBit { // one message an attribute
		waiting = waiting[1:]
	}
	r.local[t] = waiting
	return first.owner
}

// numbered finds who asked under this number.
func (r *router) numbered(n *numbered, t zigate.MsgType, now time.Time) (int, bool) {
	if n.open(now) && n.answer == t {
		return n.ask.owner, true
	}
	return 0, false
}

// unexpected is for an answer that no status has told of: the status may have been lost.
func (r *router) unexpected(t zigate.MsgType) int {
	if a := r.current(); a != nil {
		if answer, _ := answerTo(a.typ); answer == t {
			return a.owner
		}
	}
	return everybody
}

func (r *router) confirm(t zigate.MsgType, payload []byte, now time.Time) int {
	m, err := zigate.ParseMessage(t, payload[:max(len(payload)-1, 0)])
	c, ok := m.(zigate.Confirm)
	if err != nil || !ok {
		return everybody
	}
	if o := &r.aps[c.APSSequence]; o.fits(c.Addr, !c.LongAddr, now) {
		switch {
		case !o.confirmed:
			o.confirmed = true
			return o.ask.owner
		case t == zigate.TypeConfirmFailed && !o.acked:
			o.acked = true // it was sent, and no acknowledgement came
			return o.ask.owner
		}
	}
	if c.LongAddr {
		return everybody
	}
	return r.reported(c.Addr, false, now)
}

func (o *onAir) fits(addr uint16, known bool, now time.Time) bool {
	return o.ask != nil && now.Sub(o.at) < confirmPatience && (!known || !o.ask.hasAddr || o.ask.addr == addr)
}

func (r *router) ack(payload []byte, now time.Time) int {
	m, err := zigate.ParseMessage(zigate.TypeAPSAck, payload[:max(len(payload)-1, 0)])
	a, ok := m.(zigate.APSAck)
	if err != nil || !ok {
		return everybody
	}
	if o := &r.aps[a.APSSequence]; a.HasAPSSequence && !o.acked && o.fits(a.Addr, true, now) {
		o.acked = true
		return o.ask.owner
	}
	if a.Cluster == zigate.ClusterOTA {
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

func (r *router) defaultResponse(payload []byte, now time.Time) int {
	m, err := zigate.ParseMessage(zigate.TypeDefaultResponse, payload[:max(len(payload)-1, 0)])
	d, ok := m.(zigate.DefaultResponse)
	if err != nil || !ok {
		return everybody
	}
	if n := &r.zcl[d.Sequence]; n.open(now) {
		return n.ask.owner
	}
	if owner, ok := r.rawOwner(0, false, d.Cluster, d.Sequence, now); ok {
		return owner
	}
	if d.Cluster == zigate.ClusterOTA {
		return r.ota()
	}
	return everybody
}

// rawOwner finds the raw request that a frame answers.
func (r *router) rawOwner(addr uint16, hasAddr bool, cluster uint16, sequence uint8, now time.Time) (int, bool) {
	for i := len(r.raws) - 1; i >= 0; i-- {
		n := &r.raws[i]
		a := n.ask
		if n.open(now) && a.sequence == sequence && a.cluster == cluster && (!hasAddr || !a.hasAddr || a.addr == addr) {
			return a.owner, true
		}
	}
	return 0, false
}

// indication tells whom a frame from the air is for.
func (r *router) indication(payload []byte, now time.Time) int {
	m, err := zigate.ParseMessage(zigate.TypeDataIndication, payload[:max(len(payload)-1, 0)])
	ind, ok := m.(zigate.DataIndication)
	if err != nil || !ok || len(ind.Payload) == 0 {
		return everybody
	}
	short := ind.SrcAddrMode == zigate.AddrModeShort
	owner := r.shown(&ind, short, now)
	zdp := ind.Profile == profileZDP && ind.DstEndpoint == 0
	if r.real == zigate.RawModeHybrid && short && (!zdp || r.answersZDP) && len(ind.Payload) >= 3 &&
		ind.Payload[0]&zclNoDefaultResponse == 0 {
		r.sentTo(ind.SrcAddr, unnamed{owner: hybrid(owner), at: now}) // the default response
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

func (r *router) shown(ind *zigate.DataIndication, short bool, now time.Time) int {
	if ind.Profile == profileZDP && ind.DstEndpoint == 0 {
		sequence := ind.Payload[0]
		if t, ok := zdpMessage(ind.Cluster); ok && r.zdp[sequence].open(now) && r.zdp[sequence].answer == t {
			return r.zdp[sequence].ask.owner
		}
		if owner, ok := r.rawOwner(ind.SrcAddr, short, ind.Cluster&^zdpResponse, sequence, now); ok && ind.Cluster&zdpResponse != 0 {
			return owner
		}
		return everybody
	}
	h, ok := parseZCL(ind.Payload)
	if ok && h.response() {
		if n := &r.zcl[h.sequence]; n.open(now) && (!short || !n.ask.hasAddr || n.ask.addr == ind.SrcAddr) && n.answers(h) {
			return n.ask.owner
		}
		if owner, ok := r.rawOwner(ind.SrcAddr, short, ind.Cluster, h.sequence, now); ok {
			return owner
		}
	}
	if ind.Cluster == zigate.ClusterOTA {
		return r.ota()
	}
	return everybody
}

// answers tells whether a response on air is the answer to a command.
func (n *numbered) answers(h zclHeader) bool {
	if t := h.message(); t != 0 {
		return t == n.answer || t == zigate.TypeDefaultResponse
	}
	return n.answer >= firstGroupAnswer && n.answer <= lastSceneAnswer
}

// Answers that come as commands of their cluster: those of groups and scenes.
const (
	firstGroupAnswer zigate.MsgType = 0x8060
	lastSceneAnswer  zigate.MsgType = 0x80AF
)
