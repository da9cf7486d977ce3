package share

import (
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// verdict is whether a client sees a message.
type verdict uint8

const (
	show verdict = iota
	hide
	// showAlone shows a frame only if the dongle makes nothing else of it, which the next message tells.
	showAlone
)

// lens shows a client the messages of the raw mode that it has asked for, of what the dongle sends in another
// mode. Its fields are the differences between firmware versions.
type lens struct {
	v2            bool   // the firmware is that of a ZiGate+
	hidesZDP      bool   // in raw mode 1 ZDP frames are shown as they came, and not as messages
	hidesAnnounce bool   // and the device announce as well
	endpoints     string // that count as endpoint 1, one a byte
}

const (
	minor31b = 0x031B
	minor31d = 0x031D
	minor31e = 0x031E
)

// lensOf returns the lens of a firmware, as seen in its releases: in raw mode 1 ZDP is shown raw from 3.1e on
// and on v2, with the announce shown both ways from 3.20 on; and each release took further endpoints for
// endpoint 1.
func lensOf(v message.Version) lens {
	if v.Family() == message.FamilyV2 {
		return lens{
			v2: true, hidesZDP: true, endpoints: "\x01\x03\x08\x0A\x0B\x15\x22\x23\x26\x27\x28\x29\x6E",
		}
	}
	switch {
	case v.Minor >= minor31e:
		return lens{
			hidesZDP: true, hidesAnnounce: v.Minor == minor31e, endpoints: "\x01\x03\x08\x0A\x0B\x15\x6E",
		}
	case v.Minor == minor31d:
		return lens{endpoints: "\x01\x08\x0A\x0B\x15\x6E"}
	case v.Minor >= minor31b:
		return lens{endpoints: "\x01\x08\x0A\x15\x6E"}
	}
	return lens{endpoints: "\x01"}
}

// examined is what a client's view of one message depends on.
type examined struct {
	typ    message.MsgType
	origin message.Origin         // what the dongle makes the message of
	ind    message.DataIndication // if that is an indication, which the next three describe
	zdp    bool                   // it is a ZDP frame
	zcl    zclHeader
	toUs   bool // it is a ZCL frame for the firmware's ZCL library
}

// examine reads what the raw modes need of a message; payload ends with the link quality.
func (l lens) examine(t message.MsgType, payload []byte) examined {
	m := examined{typ: t, origin: t.Origin()}
	if t == message.TypeDeviceAnnounce && len(payload) > announceSize {
		m.origin = message.OriginDongle // with a rejoin flag: it comes from the join itself
	}
	if m.origin != message.OriginIndication {
		return m
	}
	parsed, err := message.ParseMessage(t, payload[:max(len(payload)-1, 0)])
	ind, ok := parsed.(message.DataIndication)
	if err != nil || !ok {
		m.origin = message.OriginDongle
		return m
	}
	m.ind = ind
	m.zdp = ind.Profile == profileZDP && ind.DstEndpoint == 0
	if !m.zdp && (ind.Profile == message.ProfileHomeAutomation || ind.Profile == profileAny) &&
		l.has(ind.DstEndpoint) {
		m.zcl, m.toUs = parseZCL(ind.Payload)
	}
	return m
}

// announceSize is the size of a device announce in bytes: network address, IEEE address, capability, link
// quality.
const announceSize = 2 + 8 + 1 + 1

// has tells whether a destination endpoint counts as endpoint 1.
func (l lens) has(endpoint uint8) bool {
	for i := range len(l.endpoints) {
		if l.endpoints[i] == endpoint {
			return true
		}
	}
	return false
}

// noSum stands for no frame: a sum of a sequence number and an address is never negative.
const noSum = -1

// view tells whether a client that has asked for mode wanted sees a message of a dongle that runs in mode
// running. The messages of every mode are among those of mode 2; from any other mode, the client gets what
// there is. sum is the sum of sequence number and address of the last frame that mode 1 has shown the client:
// the firmware leaves repeats out.
func (l lens) view(m examined, wanted, running message.RawMode, sum *int) verdict {
	if running != message.RawModeHybrid || wanted == message.RawModeHybrid {
		return show
	}
	if wanted == message.RawModeRaw {
		return l.viewRaw(m, sum)
	}
	if m.origin != message.OriginIndication {
		return show
	}
	return m.viewOff()
}

// viewRaw is the view of mode 1: it shows ZCL frames for the firmware's own endpoints as they came, and not
// as messages.
func (l lens) viewRaw(m examined, sum *int) verdict {
	switch m.origin {
	case message.OriginZCL:
		return hide
	case message.OriginZDP:
		if l.hidesZDP && (m.typ != message.TypeDeviceAnnounce || l.hidesAnnounce) {
			return hide
		}
		return show
	case message.OriginIndication:
	default:
		return show
	}
	switch {
	case m.zdp && l.hidesZDP:
		return show
	case !m.toUs:
		return hide
	}
	now := int(m.zcl.sequence) + int(m.ind.SrcAddr)
	if now == *sum {
		return hide
	}
	*sum = now
	return show
}

// viewOff is the view of mode 0 of a frame as it came: it shows only frames that no handler of the firmware
// wants.
func (m examined) viewOff() verdict {
	if m.zdp {
		_, known := message.MadeOfZDP(m.ind.Cluster)
		if known && m.ind.Cluster != unbindResponse && m.ind.Cluster != leaveResponse {
			return hide
		}
		return showAlone
	}
	switch {
	case !m.toUs:
		return hide
	case m.zcl.clusterSpecific():
		if m.ind.Cluster == message.ClusterOTA && !m.zcl.toClient() {
			return hide
		}
		return showAlone
	case m.zcl.command == zclReadAttributes:
		return show
	}
	switch m.zcl.command {
	case zclReadResponse, zclReportAttributes, zclDefaultResponse:
		if m.ind.Cluster < firstUnusualCluster && m.hasInstance() {
			return hide
		}
	}
	return showAlone
}

// Answers that some firmware makes no message of.
const (
	unbindResponse uint16 = 0x8022
	leaveResponse  uint16 = 0x8034
)

// firstUnusualCluster is the first cluster that not every firmware may have an instance of.
const firstUnusualCluster = 0x0B05

// hasInstance tells whether the firmware's endpoint 1 has a cluster instance that the frame is for: it is
// client of the usual clusters, and server of few.
func (m examined) hasInstance() bool {
	if m.zcl.toClient() {
		return m.ind.Cluster != message.ClusterOTA
	}
	const identify = 0x0003
	switch m.ind.Cluster {
	case message.ClusterOTA, message.ClusterBasic, identify:
		return true
	}
	return false
}

// madeOf tells whether a message is what the firmware made of the frame that it showed right before.
func madeOf(t message.MsgType, payload []byte, frame examined) bool {
	origin := t.Origin()
	if len(payload) == 0 {
		return false
	}
	if frame.zdp {
		return origin == message.OriginZDP && len(frame.ind.Payload) > 0 && payload[0] == frame.ind.Payload[0]
	}
	return origin == message.OriginZCL && payload[0] == frame.zcl.sequence
}
