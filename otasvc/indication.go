package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// indication acts on a frame that the dongle shows as it came from the air.
func (h hearing) indication(m message.DataIndication, lqi uint8, now time.Time) {
	d := h.indicated(m)
	if d == nil {
		h.strangerIndicated(m, now)
	} else {
		h.seen(d, lqi, now)
	}
	if h.watch.off() {
		// Nobody asked for it: either no handler of the firmware wants the frame, or the dongle is in the
		// pure raw mode, and nothing else will tell what is in it.
		for _, decoded := range m.Messages() {
			h.message(decoded, lqi, now)
		}
	}
	if m.Cluster != message.ClusterOTA || d == nil {
		return
	}
	if q, ok := message.ParseQueryNextImage(m.Payload); ok {
		h.askedAt(d, m)
		h.queried(d, q, now)
		return
	}
	if end, ok := message.ParseUpgradeEndRequest(m.Payload); ok {
		end.Endpoint = m.SrcEndpoint
		end.Cluster = m.Cluster
		end.AddrMode = m.SrcAddrMode
		end.Addr = m.SrcAddr
		h.indicatedEnd(d, end, lqi)
	}
}

// indicated is the device that a frame came from, or nil.
func (h hearing) indicated(m message.DataIndication) *device {
	if m.SrcAddrMode == message.AddrModeIEEE {
		return h.home.get(m.SrcIEEE)
	}
	return h.home.at(m.SrcAddr)
}

// strangerIndicated: a frame came from nobody who is known yet. Who asks for an image is looked into at once.
func (h hearing) strangerIndicated(m message.DataIndication, now time.Time) {
	switch {
	case m.SrcAddrMode == message.AddrModeIEEE && m.SrcIEEE != 0 && m.SrcIEEE != h.dongle.info.IEEE:
		h.searches.Find(m.SrcIEEE, func(*registry.Device) {})
	case m.SrcAddrMode == message.AddrModeNetwork:
		h.strangerHeard(m.SrcAddr, m.Cluster == message.ClusterOTA, now)
	}
}

// The endpoints that the firmware's ZCL library can send from are 1 to this. Requests are heard on some more,
// which the dongle itself advertises as OTA servers: 11 (v1 from 3.1d on, v2) and 3 (v2).
const (
	lastEndpointV1 = 6
	lastEndpointV2 = 2
)

// askedAt notes where on the dongle a device looks for images, and on which endpoint its OTA client is.
func (h hearing) askedAt(d *device, m message.DataIndication) {
	if m.SrcEndpoint != 0 {
		d.SetEndpoint(m.SrcEndpoint)
	}
	last := uint8(lastEndpointV1)
	if h.dongle.info.Family == message.FamilyV2 {
		last = lastEndpointV2
	}
	if d.AsksAt(m.DstEndpoint, last) {
		h.log.Warn(d.Unanswered(), "euid", d.EUID(), "name", d.Name(), "dongleEndpoint", m.DstEndpoint)
	}
}

// queried: a device asked for an image. It says who it is, and it listens now.
func (h hearing) queried(d *device, q message.QueryNextImage, now time.Time) {
	d.LearnQuery(q)
	h.upgrades.step(d, upgrade.VersionRead{Version: q.FileVersion}, now)
	if d.active() != nil {
		h.upgrades.step(d, upgrade.Queried{SlotHolds: h.slot.holds(d)}, now)
	}
}

// indicatedEnd acts on an upgrade end request that comes as data indication only. In the pure raw mode the
// dongle tells the device to wait, so the answer is ours.
func (h hearing) indicatedEnd(d *device, m message.UpgradeEndRequest, lqi uint8) {
	u := d.active()
	if u == nil || !u.Stage().Downloads() {
		return
	}
	time.AfterFunc(blocks.BothWays, func() {
		h.inbox.PostUpTo(inboxLimit, func() {
			if d.active() == u && u.Stage().Downloads() {
				h.slot.distrust() // whatever it holds, the dongle has not told the device to install
				h.downloadEnded(m, lqi, time.Now())
			}
		})
	})
}
