package otasvc

import (
	"context"
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// hearing takes what the dongle says to whom it concerns: what it says of itself, what it says of devices,
// and who waits for an answer. Frames that the dongle shows as they came from the air it reads itself. It
// does not know what follows. It belongs to the owner goroutine.
type hearing struct {
	ofDongle  *dongleHearing
	devices   *deviceHearing
	questions *registry.Questions
	searches  *registry.Searches
	inventory *inventory

	owner    *owner
	home     *home
	dongle   *dongle
	watch    *watch
	slot     *headerSlot
	upgrades *upgrades
	log      *slog.Logger
}

// message acts on what the dongle says.
func (h *hearing) message(m message.Message, lqi uint8, now time.Time) {
	if h.log.Enabled(context.Background(), slog.LevelDebug) {
		h.log.Debug("message", "type", m.Type(), "fields", m)
	}
	h.ofDongle.message(m, now)
	h.devices.message(m, lqi, now)
	if m, ok := m.(message.DataIndication); ok {
		h.indication(m, lqi, now)
	}
	h.questions.Take(m)
}

// indication acts on a frame that the dongle shows as it came from the air.
func (h *hearing) indication(m message.DataIndication, lqi uint8, now time.Time) {
	d := h.indicated(m)
	if d == nil {
		h.strangerIndicated(m, now)
	} else {
		h.devices.seen(d, lqi, now)
	}
	if !h.watch.decodes() {
		// Either no handler of the firmware wants the frame, or the dongle is in the pure raw mode, which
		// other software may have set, and nothing else will tell what is in it.
		for _, decoded := range m.Messages() {
			h.message(decoded, lqi, now)
		}
	}
	if m.Cluster != message.ClusterOTA || d == nil {
		return
	}
	if q, ok := message.ParseQueryNextImage(m.Payload); ok {
		h.askedAt(d, m)
		h.queried(d, d.LearnQuery(m.SrcEndpoint, q), now)
		return
	}
	if status, ok := refusal(m); ok {
		h.inventory.refused(d, status, now)
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
func (h *hearing) indicated(m message.DataIndication) *device {
	if m.SrcAddrMode == message.AddrModeIEEE {
		return h.home.get(m.SrcIEEE)
	}
	return h.home.at(m.SrcAddr)
}

// strangerIndicated looks into who sent a frame, where nobody knows that yet. Who asks for an image is looked
// into at once.
func (h *hearing) strangerIndicated(m message.DataIndication, now time.Time) {
	switch {
	case m.SrcAddrMode == message.AddrModeIEEE && m.SrcIEEE != 0 && m.SrcIEEE != h.dongle.info.IEEE:
		h.searches.Heard(m.SrcIEEE)
	case m.SrcAddrMode == message.AddrModeNetwork:
		h.devices.strangerHeard(m.SrcAddr, m.Cluster == message.ClusterOTA, now)
	}
}

// The endpoints that the firmware's ZCL library can send from are 1 to this. Requests are heard on some more,
// which the dongle itself advertises as OTA servers: 11 (v1 from 3.1d on, v2) and 3 (v2).
const (
	lastEndpointV1 = 6
	lastEndpointV2 = 2
)

// askedAt notes where on the dongle a device looks for images.
func (h *hearing) askedAt(d *device, m message.DataIndication) {
	last := uint8(lastEndpointV1)
	if h.dongle.info.Family == message.FamilyV2 {
		last = lastEndpointV2
	}
	if d.AsksAt(m.DstEndpoint, last) {
		h.log.Warn(d.Unanswered(), "euid", d.EUID(), "name", d.Name(), "dongleEndpoint", m.DstEndpoint)
	}
}

// refusal is the ZCL status with which a device has answered an Image Notify. The message that the dongle
// makes of such an answer does not say whose it is.
func refusal(m message.DataIndication) (status uint8, ok bool) {
	const imageNotify = 0x00 // command of the OTA cluster
	for _, decoded := range m.Messages() {
		if r, is := decoded.(message.DefaultResponse); is && r.Command == imageNotify {
			return r.Status, true
		}
	}
	return 0, false
}

// queried acts on an OTA client of a device that asked for an image. It says who it is, and it listens now.
func (h *hearing) queried(d *device, by registry.Client, now time.Time) {
	h.devices.interviews.wantOutdated(d)
	h.inventory.said(d, now)
	h.upgrades.judgeHardware(d, now)
	h.upgrades.versionTold(d, by, now)
	if d.active() == nil {
		return
	}
	if c := upgradedClient(d); c.ota.Same(&by) {
		h.upgrades.step(d, upgrade.Queried{SlotHolds: h.slot.holds(d)}, now)
	}
}

// indicatedEnd acts on an upgrade end request that comes as data indication only. In the pure raw mode the
// dongle tells the device to wait, so the answer is ours.
func (h *hearing) indicatedEnd(d *device, m message.UpgradeEndRequest, lqi uint8) {
	u := d.active()
	if u == nil || !u.Stage().Downloads() {
		return
	}
	time.AfterFunc(blocks.BothWays, func() {
		h.owner.postMessage(func() {
			if d.active() == u && u.Stage().Downloads() {
				h.slot.distrust() // whatever it holds, the dongle has not told the device to install
				h.devices.downloadEnded(m, lqi, h.owner.now())
			}
		})
	})
}
