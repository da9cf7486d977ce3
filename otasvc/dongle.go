package otasvc

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Network addresses that stand for more than one device.
const (
	broadcastRxOnWhenIdle uint16 = 0xFFFD
	firstBroadcastAddr    uint16 = 0xFFF8
	coordinatorAddr       uint16 = 0x0000
)

// nobody is the manufacturer code and image type of a header that fits no device: the dongle has no way to
// unload a header, and some firmware offers the loaded image to devices that run it already, again and again.
const nobody = 0xFFFE

// dongleState is what the owner knows of the dongle.
type dongleState struct {
	connected   bool
	noOTA       bool // the firmware does not know the OTA commands
	watchOnly   bool // another program upgrades
	badFlash    bool // its flash memory is in trouble: no upgrade begins
	info        zigate.Info
	lastError   string // why it is not connected
	connectedAt time.Time
	goneAt      time.Time // when it was lost; before it was first there, when the service started
	// pageAsked: the firmware remembers an image page request, and would refuse it to the device a thousand
	// times a second as soon as another header is loaded (v2). Only a reset lets it forget.
	pageAsked bool
	// session counts connections, so that an answer to an earlier one is told apart.
	session int
}

// usable reports whether upgrades can be done now, and if not, why.
func (ds *dongleState) usable() (string, bool) {
	switch {
	case !ds.connected:
		return "the dongle is not connected" + because(ds.lastError), false
	case ds.noOTA:
		return "the dongle's firmware " + ds.info.Firmware +
			" has no OTA server; update the dongle's firmware", false
	case ds.watchOnly:
		return "upgrades are left to the software that shares the dongle (ZIGATE_OTA_SHARE_OTA=client)", false
	}
	return "", true
}

const (
	flashTrouble = "the dongle reports a problem with its flash memory; back its network up before " +
		"anything else. No upgrade begins meanwhile"
	noNetwork = "the dongle has no network, so no device can reach it; start or restore its network"
)

// trouble is what is wrong with the dongle, in one sentence; empty: nothing.
func (ds *dongleState) trouble() string {
	switch why, ok := ds.usable(); {
	case !ds.connected:
		return ds.lastError
	case !ok:
		return why
	case ds.badFlash:
		return flashTrouble
	case !ds.info.NetworkUp:
		return noNetwork
	}
	return ""
}

func because(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}

// connected takes the dongle into use: what its slot holds is not known, and it lists its neighbours.
func (s *Service) connected(info zigate.Info) {
	s.dongle.connected = true
	s.dongle.noOTA = false
	s.dongle.badFlash = false
	s.dongle.info = info
	s.dongle.lastError = ""
	s.dongle.session++
	s.infoDirty = true
	s.log.Info("the dongle is connected", "port", info.Port, "firmware", info.Firmware, "family", info.Family,
		"euid", info.IEEE)
	if !info.NetworkUp {
		s.log.Warn(noNetwork)
	}
	s.happened(Event{Name: EventDongleConnected})
	now := s.now()
	s.dongle.connectedAt = now
	s.networkFound(info, now)
	s.excuseSilence(now)
	s.slotLost()
	s.watch = watch{} // the handshake has set it
	s.listDevices()
}

func (s *Service) disconnected(err error) {
	if !s.dongle.connected {
		// Only the error is new: the dongle was away before.
		if err != nil && err.Error() != s.dongle.lastError {
			s.dongle.lastError = err.Error()
			s.infoDirty = true
			s.log.Warn("the dongle cannot be reached; it is tried again and again", "err", err)
		}
		return
	}
	s.dongle.connected = false
	s.dongle.goneAt = s.now()
	s.dongle.session++
	if err != nil {
		s.dongle.lastError = err.Error()
	}
	s.infoDirty = true
	if s.ctx.Err() == nil {
		s.log.Warn("the dongle is gone", "err", err)
	}
	ev := Event{Name: EventDongleDisconnected}
	if err != nil {
		ev.Error = err.Error()
	}
	s.happened(ev)
	s.slotLost()
	s.dropAsks(errDongleAway)
	for _, d := range s.sortedDevices() {
		s.endInterviewRequests(d, errDongleAway)
	}
}

var errDongleAway = errors.New("the dongle is not connected")

// storageEvent warns of trouble with the dongle's flash memory, which holds its network. It is over when the
// dongle says that it has saved something.
func (s *Service) storageEvent(m message.PDMEvent) {
	switch {
	case m.Problem() && !s.dongle.badFlash:
		s.dongle.badFlash = true
		s.infoDirty = true
		s.log.Error(flashTrouble, "event", m.Event, "record", m.Record)
	case m.Event == message.PDMSaved && s.dongle.badFlash:
		s.dongle.badFlash = false
		s.infoDirty = true
		s.log.Info("the dongle has saved to its flash memory again; upgrades begin again")
	}
}

// listDevices asks the dongle for its neighbours. Others are met when they announce themselves or
// ask for something.
func (s *Service) listDevices() {
	s.send(message.GetDevices{}, func(_ message.Status, err error) {
		if err != nil && s.dongle.connected {
			s.log.Warn("the dongle did not list its devices; they are met when they are heard from",
				"err", err)
		}
	})
}

// message acts on what the dongle says.
func (s *Service) message(m message.Message, lqi uint8, now time.Time) {
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug("message", "type", m.Type(), "fields", m)
	}
	switch m := m.(type) {
	case message.RestartNotice:
		s.dongleRestarted(m)
		s.networkUp(m.Kind == message.TypeRestart)
	case message.PDMLoaded:
		s.dongleRestarted(m)
	case message.NetworkJoined:
		// Sent at every start, but with status 4 (already on a network) also without one.
		if m.Status != message.NetworkAlreadyUp {
			s.dongleRestarted(m)
		}
		s.networkUp(m.Status == message.NetworkJoinedExisting || m.Status == message.NetworkFormed ||
			m.Status == message.NetworkAlreadyUp)
	case message.NetworkState:
		s.networkState(m, now)
	case message.ExtendedStatus:
		s.overrun(m, now)
	case message.DeviceList:
		for _, l := range m.Devices {
			if l.IEEE == 0 || l.Addr == coordinatorAddr {
				continue
			}
			d := s.meet(l.IEEE)
			s.setAddr(d, l.Addr)
			if !d.Interviewed {
				d.setSleepy(s, l.PowerSource == 0) // its node descriptor knows better
			}
			if l.LQI != 0 {
				lqi := l.LQI
				d.lqi = &lqi
				d.dirty = true
			}
			if !d.Interviewed || !d.versionFresh {
				s.wantInterview(d)
			}
		}
	case message.DeviceAnnounce:
		s.announced(m, lqi, now)
	case message.Leave:
		s.left(m)
	case message.DataIndication:
		s.indication(m, lqi, now)
	case message.PDMEvent:
		s.storageEvent(m)
	case message.UpgradeEndRequest:
		s.upgradeEnd(m, lqi, now)
	case message.Confirm:
		s.noteConfirm(m, now)
		s.deliveryReport(m, now)
	case message.NwkAddrResponse:
		if m.Status == 0 && m.IEEE != 0 {
			s.addressFound(m.IEEE, m.Addr, lqi, now)
		}
	case message.IEEEAddrResponse:
		if m.Status == 0 && m.IEEE != 0 {
			s.addressFound(m.IEEE, m.Addr, lqi, now)
		}
	case message.Attribute:
		if d := s.byAddr[m.Addr]; d != nil {
			s.seen(d, lqi, now)
			s.attribute(d, m, now)
		} else {
			s.strangerHeard(m.Addr, false, now)
		}
	case message.NodeDescriptor:
		if d := s.byAddr[m.Addr]; d != nil && m.Status == 0 {
			s.seen(d, lqi, now)
			d.setSleepy(s, m.MACFlags&message.CapabilityRxOnWhenIdle == 0)
		}
	case message.SimpleDescriptor:
		if d := s.byAddr[m.Addr]; d != nil {
			s.seen(d, lqi, now)
		}
	case message.ActiveEndpoints:
		if d := s.byAddr[m.Addr]; d != nil {
			s.seen(d, lqi, now)
		}
	}
	s.answered(m)
}

func (d *device) setSleepy(s *Service, sleepy bool) {
	if d.Sleepy != sleepy {
		d.Sleepy = sleepy
		d.dirty = true
		s.stateDirty = true
	}
}

// networkUp follows whether the dongle has a network. One that has just got it says which.
func (s *Service) networkUp(up bool) {
	if s.dongle.info.NetworkUp == up || !s.dongle.connected {
		return
	}
	s.dongle.info.NetworkUp = up
	s.infoDirty = true
	if !up {
		s.log.Warn(noNetwork)
		return
	}
	s.log.Info("the dongle has a network now")
	s.send(message.GetNetworkState{}, func(message.Status, error) {}) // its answer is a message
	s.listDevices()
}

func (s *Service) networkState(m message.NetworkState, now time.Time) {
	i := &s.dongle.info
	i.IEEE = m.IEEE
	i.ShortAddr = m.Addr
	i.PANID = m.PANID
	i.Channel = m.Channel
	i.NetworkUp = m.Up()
	s.infoDirty = true
	s.networkFound(*i, now) // it may have been formed anew meanwhile
}

// dongleRestarted: a reset has emptied the header slot. Every kind of start-up message means it;
// several come in a row.
func (s *Service) dongleRestarted(m message.Message) {
	s.dongle.pageAsked = false
	if s.slot.image == nil && !s.slot.cleared {
		return // told already, or nothing was loaded
	}
	s.log.Warn("the dongle has restarted; its image header is loaded again", "message", m.Type())
	s.slotLost()
}

func (s *Service) announced(m message.DeviceAnnounce, lqi uint8, now time.Time) {
	d := s.meet(m.IEEE)
	s.setAddr(d, m.Addr)
	d.setSleepy(s, m.Capability&message.CapabilityRxOnWhenIdle == 0)
	addr := m.Addr
	s.happened(Event{Name: EventDeviceAnnounced, EUID: d.EUID, NetworkAddress: &addr})
	s.upgradeAnnounced(d, now)
	s.seen(d, lqi, now)
	if !d.Interviewed {
		s.wantInterview(d)
	}
}

// left: the device said that it leaves. One that comes back (rejoin) keeps everything; one that leaves for
// good is forgotten.
func (s *Service) left(m message.Leave) {
	d := s.devices[m.IEEE]
	if d == nil {
		return
	}
	s.happened(Event{Name: EventDeviceLeft, EUID: d.EUID})
	if m.Rejoin == 1 {
		return
	}
	s.drop(d)
}

// drop forgets a device and clears what was told of it.
func (s *Service) drop(d *device) {
	if d.active() != nil {
		s.fire(d, triggerCancel, time.Now())
	}
	delete(s.devices, d.EUID)
	if d.NetworkAddress != nil && s.byAddr[*d.NetworkAddress] == d {
		delete(s.byAddr, *d.NetworkAddress)
	}
	s.registry.Forget(d.EUID.String())
	s.dropInterview(d)
	s.imagesDirty = true
	s.infoDirty = true
	s.stateDirty = true
	s.tableDirty = true
	s.sink.DeviceGone(d.EUID)
}

// addressFound: the network told which address an EUID has.
func (s *Service) addressFound(euid message.IEEE, addr uint16, lqi uint8, now time.Time) {
	if addr == coordinatorAddr || euid == s.dongle.info.IEEE {
		return
	}
	d := s.meet(euid)
	s.setAddr(d, addr)
	s.seen(d, lqi, now)
	if !d.Interviewed {
		s.wantInterview(d)
	}
}

// deliveryEventInterval is how often the same device's failed deliveries are told as an event.
const deliveryEventInterval = time.Minute

// deliveryReport counts what did not arrive. Nothing is ever sent again because of it: the device asks again.
func (s *Service) deliveryReport(m message.Confirm, now time.Time) {
	if m.Kind != message.TypeConfirmFailed {
		return
	}
	var d *device
	if m.LongAddr {
		d = s.devices[m.IEEE]
	} else {
		d = s.byAddr[m.Addr]
	}
	s.observer.DeliveryFailed()
	if d != nil && m.Status == message.RadioFrameTooLong {
		s.shrinkBlocks(d)
	}
	if d == nil || now.Sub(d.failedAt) < deliveryEventInterval {
		return
	}
	d.failedAt = now
	s.happened(Event{Name: EventDeliveryFailed, EUID: d.EUID, Error: message.RadioStatusText(m.Status)})
}

// routeBlocks are the block sizes that fit one Zigbee frame behind ever more relays of a source route.
var routeBlocks = []uint8{61, 57, 53, 48, 40, 32, 16}

// shrinkBlocks: a frame for the device did not fit its route. The device asks for the block again and
// gets a smaller one.
func (s *Service) shrinkBlocks(d *device) {
	u := d.active()
	if u == nil || u.runtime.transfer == nil {
		return
	}
	for _, size := range routeBlocks {
		if size < s.policy.BlockSize && (d.largestBlock == 0 || size < d.largestBlock) {
			d.largestBlock = size
			u.runtime.transfer.largest.Store(uint32(size))
			s.log.Info("blocks for a device are made smaller to fit its route", "euid", d.EUID, "bytes", size)
			return
		}
	}
}

// strayRequest acts on an image block request that no transfer fits.
func (s *Service) strayRequest(req message.BlockRequest, result BlockResult, now time.Time) {
	if req.FieldControl&message.BlockHasNodeAddress != 0 && req.NodeAddress != 0 {
		if d := s.devices[req.NodeAddress]; d != nil {
			s.setAddr(d, req.Addr)
		}
	}
	d := s.byAddr[req.Addr]
	if d == nil {
		s.strayAddress(req.Addr, now)
		return
	}
	s.seen(d, 0, now)
	if result == BlockServed {
		return
	}
	if im := s.slot.image; im != nil && req.ManufacturerCode == im.header.ManufacturerCode &&
		req.ImageType == im.header.ImageType {
		s.learnIdentity(d, req.ManufacturerCode, req.ImageType)
	}
	if u := d.active(); u != nil && u.runtime.transfer != nil && result != BlockWrongImage {
		return // its transfer was put in place meanwhile: the next request is served
	}
	if s.policy.ServeUnsolicited && result == BlockUnsolicited && s.serveUnsolicited(d, req, now) {
		return
	}
	if now.Sub(d.strayAt) < time.Minute {
		return
	}
	d.strayAt = now
	offset := req.Offset
	version := req.FileVersion
	s.happened(Event{
		Name:             EventUnsolicitedRequest,
		EUID:             d.EUID,
		ManufacturerCode: &req.ManufacturerCode,
		ImageType:        &req.ImageType,
		ImageVersion:     &version,
		OldImageVersion:  d.CurrentVersion,
		Offset:           &offset,
	})
}

// stray is an address that asked for blocks and belongs to no known device.
type stray struct {
	askedAt time.Time
	refused bool
}

// strayPatience is how long an unknown address gets no answer while its EUID is looked for;
// then it is refused.
const strayPatience = 15 * time.Second

// straysAtOnce bounds how many unknown addresses are looked into at a time.
const straysAtOnce = 256

// strayAddress finds out whose address it is. An upgrade whose device has changed its address goes on when
// the answer is there.
func (s *Service) strayAddress(addr uint16, now time.Time) {
	if s.strays[addr] != nil || len(s.strays) >= straysAtOnce {
		return
	}
	s.strays[addr] = &stray{askedAt: now}
	s.send(message.IEEEAddrRequest{Target: addr, Addr: addr}, func(message.Status, error) {})
}

func (s *Service) expireStrays(now time.Time) {
	for addr, st := range s.strays {
		switch age := now.Sub(st.askedAt); {
		case s.byAddr[addr] != nil:
			delete(s.strays, addr)
			s.tableDirty = true
		case age > strayPatience && !st.refused:
			st.refused = true
			s.tableDirty = true
		case age > time.Minute:
			delete(s.strays, addr)
			s.tableDirty = true
		}
	}
}

// happened hands an event to the sink.
func (s *Service) happened(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	s.sink.Happened(e)
}

// info is the service as others see it.
func (s *Service) info() InfoRecord {
	r := InfoRecord{
		StartedAt: s.startedAt, Devices: len(s.devices), Images: len(s.registry.All()),
		Dongle: DongleInfo{
			Connected: s.dongle.connected,
			Port:      s.dongle.info.Port,
			Firmware:  s.dongle.info.Firmware,
			EUID:      s.dongle.info.IEEE,
			PANID:     s.dongle.info.PANID,
			Channel:   s.dongle.info.Channel,
			Error:     s.dongle.trouble(),
		},
	}
	if im := s.slot.image; im != nil && s.slot.loaded {
		r.Slot = &Slot{
			ManufacturerCode: im.header.ManufacturerCode,
			ImageType:        im.header.ImageType,
			ImageVersion:     s.slot.version,
		}
	}
	for _, d := range s.devices {
		u := d.active()
		switch {
		case u == nil:
		case u.State == Queued || u.State == Scheduled:
			r.Queued++
		default:
			r.Active++
		}
	}
	return r
}
