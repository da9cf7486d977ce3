package otasvc

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// hearing takes what the dongle says to the parts of the service that it concerns. It belongs to the owner
// goroutine.
type hearing struct{ *Service }

// message acts on what the dongle says.
func (h hearing) message(m message.Message, lqi uint8, now time.Time) {
	if h.log.Enabled(context.Background(), slog.LevelDebug) {
		h.log.Debug("message", "type", m.Type(), "fields", m)
	}
	h.dongleMessage(m, now)
	h.deviceMessage(m, lqi, now)
	h.questions.Take(m)
}

// deviceMessage acts on what a device says, or what the dongle says of one.
func (h hearing) deviceMessage(m message.Message, lqi uint8, now time.Time) {
	switch m := m.(type) {
	case message.DeviceList:
		h.listed(m)
	case message.DeviceAnnounce:
		h.announced(m, lqi, now)
	case message.Leave:
		h.left(m)
	case message.DataIndication:
		h.indication(m, lqi, now)
	case message.UpgradeEndRequest:
		h.downloadEnded(m, lqi, now)
	case message.Confirm:
		h.sender.NoteConfirm(m, h.dongle.info.Family, now)
		h.deliveryReport(m, now)
	case message.NwkAddrResponse:
		h.addressFound(m, lqi, now)
	case message.IEEEAddrResponse:
		h.addressFound(message.NwkAddrResponse(m), lqi, now)
	case message.Attribute:
		h.attribute(m, lqi, now)
	case message.NodeDescriptor:
		if d := h.home.at(m.Addr); d != nil && m.Status == 0 {
			h.seen(d, lqi, now)
			d.SetSleepy(m.MACFlags&message.CapabilityRxOnWhenIdle == 0)
		}
	case message.SimpleDescriptor:
		h.seenAt(m.Addr, lqi, now)
	case message.ActiveEndpoints:
		h.seenAt(m.Addr, lqi, now)
	}
}

// seen notes a sign of life of a device.
func (h hearing) seen(d *device, lqi uint8, now time.Time) {
	d.Seen(lqi, now)
	h.interviews.heard(d, now)
	h.upgrades.step(d, upgrade.Heard{}, now)
}

// seenAt is seen for whoever has a network address.
func (h hearing) seenAt(addr uint16, lqi uint8, now time.Time) {
	if d := h.home.at(addr); d != nil {
		h.seen(d, lqi, now)
	}
}

// meet is the device with an EUID at its network address, which becomes known where it is new.
func (h hearing) meet(euid message.IEEE, addr uint16) *device {
	d, isNew := h.home.meet(euid)
	if isNew {
		h.log.Info("a new device", "euid", euid)
	}
	h.move(d, addr)
	return d
}

// move follows a device to its network address.
func (h hearing) move(d *device, addr uint16) {
	if before, moved := h.home.registry.Move(d.Device, addr); moved {
		h.log.Info("a device has another network address",
			"euid", d.EUID(), "before", shownAddr(before), "now", shownAddr(addr))
	}
}

// shownAddr is a network address as people write it.
func shownAddr(addr uint16) string { return fmt.Sprintf("0x%04x", addr) }

// listed takes the dongle's list of its neighbours.
func (h hearing) listed(m message.DeviceList) {
	for _, l := range m.Devices {
		if l.IEEE == 0 || l.Addr == registry.CoordinatorAddr {
			continue
		}
		d := h.meet(l.IEEE, l.Addr)
		if !d.Interviewed() {
			d.SetSleepy(l.PowerSource == 0) // its node descriptor knows better
		}
		if l.LQI != 0 {
			d.SetLinkQuality(l.LQI)
		}
		if !d.Interviewed() || !d.VersionFresh() {
			h.interviews.want(d)
		}
	}
}

func (h hearing) announced(m message.DeviceAnnounce, lqi uint8, now time.Time) {
	d := h.meet(m.IEEE, m.Addr)
	d.SetSleepy(m.Capability&message.CapabilityRxOnWhenIdle == 0)
	addr := m.Addr
	h.happened(Event{Name: EventDeviceAnnounced, EUID: d.EUID(), NetworkAddress: &addr})
	h.upgrades.step(d, upgrade.Announced{}, now)
	h.seen(d, lqi, now)
	if !d.Interviewed() {
		h.interviews.want(d)
	}
}

// left: the device said that it leaves. One that comes back (rejoin) keeps everything; one that leaves for
// good is forgotten.
func (h hearing) left(m message.Leave) {
	d := h.home.get(m.IEEE)
	if d == nil {
		return
	}
	h.happened(Event{Name: EventDeviceLeft, EUID: d.EUID()})
	if m.Rejoin == 1 {
		return
	}
	h.forget(d)
}

// addressFound: the network told which address an EUID has.
func (h hearing) addressFound(m message.NwkAddrResponse, lqi uint8, now time.Time) {
	if m.Status != 0 || m.IEEE == 0 || m.Addr == registry.CoordinatorAddr || m.IEEE == h.dongle.info.IEEE {
		return
	}
	d := h.meet(m.IEEE, m.Addr)
	h.seen(d, lqi, now)
	if !d.Interviewed() {
		h.interviews.want(d)
	}
}

// attribute: a device told an attribute, asked or of its own accord.
func (h hearing) attribute(m message.Attribute, lqi uint8, now time.Time) {
	d := h.home.at(m.Addr)
	if d == nil {
		h.strangerHeard(m.Addr, false, now)
		return
	}
	h.seen(d, lqi, now)
	if version, told := d.Learn(m); told {
		h.upgrades.step(d, upgrade.VersionRead{Version: version}, now)
	}
}

// downloadEnded: a device said that it has ended a download.
func (h hearing) downloadEnded(m message.UpgradeEndRequest, lqi uint8, now time.Time) {
	d := h.home.at(m.Addr)
	if d == nil {
		h.strangerRequested(m.Addr, now)
		return
	}
	h.seen(d, lqi, now)
	h.upgrades.endRequested(d, m, now)
}

// deliveryEventInterval is how often the same device's failed deliveries are told as an event.
const deliveryEventInterval = time.Minute

// deliveryReport counts what did not arrive. Nothing is ever sent again because of it: the device asks again.
func (h hearing) deliveryReport(m message.Confirm, now time.Time) {
	if m.Kind != message.TypeConfirmFailed {
		return
	}
	d := h.home.at(m.Addr)
	if m.LongAddr {
		d = h.home.get(m.IEEE)
	}
	h.observer.DeliveryFailed()
	if d != nil && m.Status == message.RadioFrameTooLong {
		h.shrinkBlocks(d)
	}
	if d == nil || now.Sub(d.deliveryFailedAt) < deliveryEventInterval {
		return
	}
	d.deliveryFailedAt = now
	h.happened(Event{Name: EventDeliveryFailed, EUID: d.EUID(), Error: message.RadioStatusText(m.Status)})
}

// shrinkBlocks: a frame for the device did not fit its route. The device asks for the block again and
// gets a smaller one.
func (h hearing) shrinkBlocks(d *device) {
	if d.transfer == nil {
		return
	}
	if size, ok := d.ShrinkBlocks(h.policy.BlockSize); ok {
		d.transfer.LimitBlock(size)
		h.log.Info("blocks for a device are made smaller to fit its route", "euid", d.EUID(), "bytes", size)
	}
}

// unsolicitedInterval is how often the same device's requests for blocks without an upgrade are told as an
// event.
const unsolicitedInterval = time.Minute

// strayRequest acts on an image block request that no transfer fits.
func (h hearing) strayRequest(req message.ImageBlockRequest, result blocks.Result, now time.Time) {
	if req.FieldControl&message.BlockHasNodeAddress != 0 && req.NodeAddress != 0 {
		if d := h.home.get(req.NodeAddress); d != nil {
			h.move(d, req.Addr)
		}
	}
	d := h.home.at(req.Addr)
	if d == nil {
		h.strangerRequested(req.Addr, now)
		return
	}
	h.seen(d, 0, now)
	if result == blocks.Served {
		return
	}
	if im := h.slot.image(); im != nil && req.ManufacturerCode == im.header.ManufacturerCode &&
		req.ImageType == im.header.ImageType {
		d.SetIdentity(req.ManufacturerCode, req.ImageType)
	}
	if d.transfer != nil && result != blocks.WrongImage {
		return // its transfer was put in place meanwhile: the next request is served
	}
	if h.policy.ServeUnsolicited && result == blocks.Unsolicited && h.upgrades.serveUnsolicited(d, req, now) {
		return
	}
	if now.Sub(d.unsolicitedAt) < unsolicitedInterval {
		return
	}
	d.unsolicitedAt = now
	h.happened(Event{
		Name:             EventUnsolicitedRequest,
		EUID:             d.EUID(),
		ManufacturerCode: &req.ManufacturerCode,
		ImageType:        &req.ImageType,
		ImageVersion:     &req.FileVersion,
		OldImageVersion:  d.CurrentVersion(),
		Offset:           &req.Offset,
	})
}

// strangerRequested finds out who has a network address that requested something. An upgrade whose device has
// changed its address goes on when the answer is there.
func (h hearing) strangerRequested(addr uint16, now time.Time) {
	if h.strangers.Requested(addr, now) {
		h.askWhose(addr)
	}
}

// strangerHeard finds out who has a network address that something was heard from.
func (h hearing) strangerHeard(addr uint16, urgent bool, now time.Time) {
	if h.strangers.Heard(addr, urgent, now) {
		h.askWhose(addr)
	}
}

// askWhose asks a network address for its EUID. The answer is a message.
func (h hearing) askWhose(addr uint16) {
	h.sender.Send(message.IEEEAddrRequest{Target: addr, Addr: addr}, nil)
}
