package otasvc

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// deviceHearing takes in what devices say, and what the dongle says of them: who is there, what it runs, and
// that its upgrade has got on. It does not know how a frame came, nor what becomes of an upgrade by what it
// is told. It belongs to the owner goroutine.
type deviceHearing struct {
	home       *home
	dongle     *dongle
	strangers  *registry.Strangers
	interviews *interviews
	inventory  *inventory
	questions  *registry.Questions
	rights     *blockRights
	upgrades   *upgrades
	offers     *offers
	sender     *sending.Sender
	outlet     *outlet
	places     *places
	observer   Observer
	log        *slog.Logger
	now        func() time.Time
}

// message acts on what a device says, or what the dongle says of one.
func (h *deviceHearing) message(m message.Message, lqi uint8, now time.Time) {
	switch m := m.(type) {
	case message.DeviceList:
		h.listed(m)
	case message.ManagementLQI:
		h.entriesListed(m)
	case message.DeviceAnnounce:
		h.announced(m, lqi, now)
	case message.Leave:
		h.left(m)
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
	case message.MatchDescriptor:
		h.seenAt(m.Addr, lqi, now)
	case message.ActiveEndpoints:
		h.seenAt(m.Addr, lqi, now)
	}
}

// longSilence is after which silence a device that is heard counts as one that has returned. Most devices
// report something every hour.
const longSilence = time.Hour

// seen notes a sign of life of a device.
func (h *deviceHearing) seen(d *device, lqi uint8, now time.Time) {
	if now.Sub(d.Facts().LastSeen) > longSilence {
		d.returnedAt = now
	}
	d.Seen(lqi, now)
	h.interviews.heard(d, now)
	h.inventory.heard(d)
	h.upgrades.step(d, upgrade.Heard{}, now)
}

// seenAt is seen for whoever has a network address.
func (h *deviceHearing) seenAt(addr uint16, lqi uint8, now time.Time) {
	if d := h.home.at(addr); d != nil {
		h.seen(d, lqi, now)
	}
}

// meet is the device with an EUID at its network address, which becomes known where it is new.
func (h *deviceHearing) meet(euid message.IEEE, addr uint16) *device {
	d, isNew := h.home.meet(euid)
	if isNew {
		h.log.Info("a new device", "euid", euid)
		h.forgetSurplus()
	}
	h.move(d, addr)
	return d
}

// forgetSurplus forgets devices that are too many of those that never said what they are. One that there is
// becomes known again when it is heard.
func (h *deviceHearing) forgetSurplus() {
	surplus := h.home.registry.Surplus(func(known *registry.Device) bool {
		d := h.home.of(known)
		return d.upgrade != nil || len(d.beside.Owed) > 0 ||
			len(h.offers.registrations.For(d.EUID().String())) > 0
	})
	for _, known := range surplus {
		h.log.Info("a device that never said what it is was forgotten: there are too many of those",
			"euid", known.EUID(), "lastSeen", known.Facts().LastSeen)
		h.forget(h.home.of(known))
	}
}

// move follows a device to its network address.
func (h *deviceHearing) move(d *device, addr uint16) {
	if before, moved := h.home.registry.Move(d.Device, addr); moved {
		h.log.Info("a device has another network address",
			"euid", d.EUID(), "before", shownAddr(before), "now", shownAddr(addr))
	}
}

// shownAddr is a network address as people write it.
func shownAddr(addr uint16) string { return fmt.Sprintf("0x%04x", addr) }

// listed takes the dongle's list of its neighbours.
func (h *deviceHearing) listed(m message.DeviceList) {
	for _, l := range m.Devices {
		h.neighbour(l.IEEE, l.Addr, l.PowerSource == 0, l.LQI)
	}
}

// entriesListed takes entries of a table of neighbours. Those of other devices are passed over: their
// addresses may be old.
func (h *deviceHearing) entriesListed(m message.ManagementLQI) {
	if !m.HasSource || m.Source != registry.CoordinatorAddr {
		return
	}
	for _, n := range m.Neighbours {
		h.neighbour(n.IEEE, n.Addr, !n.Listens(), n.LQI)
	}
}

// neighbour takes what the dongle says of one of its neighbours.
func (h *deviceHearing) neighbour(euid message.IEEE, addr uint16, sleepy bool, lqi uint8) {
	if euid == 0 || addr == registry.CoordinatorAddr {
		return
	}
	d := h.meet(euid, addr)
	if !d.Interviewed() {
		d.SetSleepy(sleepy) // its node descriptor knows better
	}
	if lqi != 0 {
		d.SetLinkQuality(lqi)
	}
	if f := d.Facts(); !f.Interviewed || !f.VersionFresh || f.Outdated {
		h.interviews.want(d)
	}
}

// announced acts on a device that says that it is there, as it does after a restart.
func (h *deviceHearing) announced(m message.DeviceAnnounce, lqi uint8, now time.Time) {
	d := h.meet(m.IEEE, m.Addr)
	d.SetSleepy(m.Capability&message.CapabilityRxOnWhenIdle == 0)
	addr := m.Addr
	h.outlet.happened(Event{Name: EventDeviceAnnounced, EUID: d.EUID(), NetworkAddress: &addr})
	h.upgrades.step(d, upgrade.Announced{}, now)
	d.returnedAt = now
	h.seen(d, lqi, now)
	if !d.Interviewed() || d.active() == nil { // it may run another version by now
		h.interviews.want(d)
	}
}

// left acts on a device that said that it leaves. One that comes back (rejoin) keeps everything; one that
// leaves for good is forgotten.
func (h *deviceHearing) left(m message.Leave) {
	d := h.home.get(m.IEEE)
	if d == nil {
		return
	}
	h.outlet.happened(Event{Name: EventDeviceLeft, EUID: d.EUID()})
	if m.Rejoin == 1 {
		return
	}
	h.forget(d)
}

// addressFound takes in which network address an EUID has.
func (h *deviceHearing) addressFound(m message.NwkAddrResponse, lqi uint8, now time.Time) {
	if m.Status != 0 || m.IEEE == 0 || m.Addr == registry.CoordinatorAddr || m.IEEE == h.dongle.info.IEEE {
		return
	}
	d := h.meet(m.IEEE, m.Addr)
	h.seen(d, lqi, now)
	if !d.Interviewed() {
		h.interviews.want(d)
	}
}

// attribute takes in what a device told, asked or of its own accord.
func (h *deviceHearing) attribute(m message.Attribute, lqi uint8, now time.Time) {
	d := h.home.at(m.Addr)
	if d == nil {
		h.strangerHeard(m.Addr, false, now)
		return
	}
	h.seen(d, lqi, now)
	if registry.LearnServer(d.Device, m, h.dongle.info.IEEE) {
		f := d.Facts()
		h.log.Warn(f.AsksElsewhere(), "euid", f.EUID, "name", f.Name())
	}
	c, told := d.Learn(m)
	if !told && saysAnyVersion(m) {
		c, told = runsAnyVersion(d, m.Endpoint)
	}
	if told {
		h.interviews.wantOutdated(d)
		h.upgrades.versionTold(d, c, now)
	}
}

// saysAnyVersion reports whether an attribute tells the file version that stands for any, which is that of
// devices that were never upgraded, too.
func saysAnyVersion(m message.Attribute) bool {
	if m.Cluster != message.ClusterOTA || m.ID != message.AttrOTAFileVersion {
		return false
	}
	version, ok := m.Uint()
	return ok && version == wildcard32
}

// runsAnyVersion is the OTA client of a device's upgrade, at one of its endpoints, with the file version that
// stands for any. told is false where it cannot run that: it is not installing such an image, and did not do
// so last.
func runsAnyVersion(d *device, endpoint uint8) (c registry.Client, told bool) {
	u := d.upgrade
	if u == nil {
		return registry.Client{}, false
	}
	c = upgradedClient(d).ota
	if c.Endpoint != 0 && c.Endpoint != endpoint {
		return registry.Client{}, false
	}
	installed := u.State() == upgrade.Applying || u.State() == upgrade.Succeeded
	told = is(c.CurrentVersion, wildcard32) || installed && u.Image().ImageVersion == wildcard32
	c.CurrentVersion = ptr(uint32(wildcard32))
	return c, told
}

// downloadEnded acts on a device that said that it has ended a download.
func (h *deviceHearing) downloadEnded(m message.UpgradeEndRequest, lqi uint8, now time.Time) {
	d := h.home.at(m.Addr)
	if d == nil {
		h.strangerRequested(m.Addr, now)
		return
	}
	h.seen(d, lqi, now)
	h.learnEnd(d, m)
	h.upgrades.endRequested(d, m, now)
}

// learnEnd takes in what the message that a download has ended tells of the device's OTA clients, where that
// is news. A request that was cut tells nothing.
func (h *deviceHearing) learnEnd(d *device, m message.UpgradeEndRequest) {
	c, _ := d.Client(m.ImageType)
	if m.ImageType != wildcard16 && (!c.Takes(m.ImageType) || c.Endpoint == 0) {
		d.LearnTaken(m.Endpoint, m.ManufacturerCode, m.ImageType)
	}
}

// deliveryReport counts what did not arrive. Nothing is ever sent again because of it: the device asks again.
func (h *deviceHearing) deliveryReport(m message.Confirm, now time.Time) {
	if m.Kind != message.TypeConfirmFailed {
		return
	}
	d := h.home.at(m.Addr)
	if m.LongAddr {
		d = h.home.get(m.IEEE)
	}
	h.observer.DeliveryFailed()
	h.questions.Undelivered(m.Addr)
	if d == nil {
		return
	}
	h.places.deliveryFailed(d, m.Status)
	if m.Status == message.RadioFrameTooLong {
		h.rights.shrinkBlocks(d, now)
	}
	if !d.deliveryFailed(now) {
		return
	}
	h.outlet.happened(Event{
		Name:  EventDeliveryFailed,
		EUID:  d.EUID(),
		Error: message.RadioStatusText(m.Status),
	})
}

// strangerRequested finds out who has a network address that requested something. An upgrade whose device has
// changed its address goes on when the answer is there.
func (h *deviceHearing) strangerRequested(addr uint16, now time.Time) {
	if h.strangers.Requested(addr, now) {
		h.askWhose(addr)
	}
}

// strangerHeard finds out who has a network address that something was heard from.
func (h *deviceHearing) strangerHeard(addr uint16, urgent bool, now time.Time) {
	if h.strangers.Heard(addr, urgent, now) {
		h.askWhose(addr)
	}
}

// askWhose asks a network address for its EUID. The answer is a message.
func (h *deviceHearing) askWhose(addr uint16) {
	h.sender.Send(message.IEEEAddrRequest{Target: addr, Addr: addr}, nil)
}

// forget drops a device and clears what was told of it.
func (h *deviceHearing) forget(d *device) {
	h.upgrades.step(d, upgrade.Forgotten{}, h.now())
	h.home.forget(d)
	h.offers.forget(d.Device)
	h.interviews.forget(d)
	h.inventory.forget(d)
	h.outlet.sink.DeviceGone(d.EUID())
}
