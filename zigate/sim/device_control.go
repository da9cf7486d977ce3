package sim

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// DeviceSnapshot is a device at one moment. The byte slices are never written again; do not change them.
type DeviceSnapshot struct {
	IEEE   message.IEEE
	Addr   uint16 // network address
	Joined bool   // it is in the network
	// Away devices do not hear: they reboot, are switched off or did not come back.
	Away        bool
	FileVersion uint32 // that the device runs
	State       State
	Offset      uint32 // bytes of the image received in this session, or in the last one
	Total       uint32 // bytes of the image as offered; 0 before the first offer
	// Downloaded is the last complete image, exactly as received; Installed the last one that was installed.
	Downloaded, Installed []byte
	Skipped               int // bytes at the start of both that the device did not ask for; they are 0 there
	Sessions              int // downloads begun
	Installs              int
	BlocksAsked           uint64 // block or page requests
	BlocksReceived        uint64 // blocks that became part of the image
	BlocksDropped         uint64 // answers that fitted no request, were too large or are asked for again
	GivenUp               int    // times that the device gave up because nobody answered
	LastEndStatus         uint8  // of the last upgrade end request
	MinimumBlockPeriod    time.Duration
}

// ClientSnapshot is one of the further OTA clients of a device at one moment, as in [DeviceSnapshot].
type ClientSnapshot struct {
	ImageType             uint16
	FileVersion           uint32
	State                 State
	Offset                uint32
	Downloaded, Installed []byte
	Sessions, Installs    int
}

// Snapshot is a copy of the device's state.
func (v *Device) Snapshot() DeviceSnapshot {
	v.dongle.mu.Lock()
	defer v.dongle.mu.Unlock()
	c := &v.client
	return DeviceSnapshot{

		IEEE: v.cfg.IEEE, Addr: v.addr, Joined: v.joined, Away: v.away,
		FileVersion: c.version, State: c.state, Offset: uint32(len(c.received)), Total: c.image.size,
		Downloaded: c.memory.downloaded, Installed: c.memory.installed, Skipped: c.memory.skipped,
		Sessions: c.counts.sessions, Installs: c.counts.installs,
		BlocksAsked: c.counts.blocksAsked, BlocksReceived: c.counts.blocksReceived,
		BlocksDropped: c.counts.blocksDropped,
		GivenUp:       c.counts.givenUp, LastEndStatus: c.ending.status,
		MinimumBlockPeriod: c.told.minimumPeriod,
	}
}

// OtherClients are the OTA clients besides the device's own one, which Snapshot tells of.
func (v *Device) OtherClients() []ClientSnapshot {
	v.dongle.mu.Lock()
	defer v.dongle.mu.Unlock()
	var list []ClientSnapshot
	for _, c := range v.others {
		list = append(list, ClientSnapshot{
			ImageType:   c.id.ImageType,
			FileVersion: c.version,
			State:       c.state,
			Offset:      uint32(len(c.received)),
			Downloaded:  c.memory.downloaded,
			Installed:   c.memory.installed,
			Sessions:    c.counts.sessions,
			Installs:    c.counts.installs,
		})
	}
	return list
}

// IEEE is the device's address that never changes.
func (v *Device) IEEE() message.IEEE { return v.cfg.IEEE }

// Announce makes a device in the network announce itself. A device outside of it joins first, if it is
// permitted.
func (v *Device) Announce() {
	d := v.dongle
	d.actions.Post(func() {
		switch {
		case v.away || !d.chip.coordinator.formed:
		case v.joined:
			v.announce(false, 0)
		case d.chip.power.up && d.chip.coordinator.permitsJoin(d.timeline.now):
			v.joined = true
			v.announce(true, 0)
		}
	})
}

// Leave makes the device leave the network; Announce lets it join again.
func (v *Device) Leave() {
	v.dongle.actions.Post(func() {
		if !v.joined {
			return
		}
		v.endAll()
		v.joined = false
		v.notice(message.Leave{IEEE: v.cfg.IEEE}, 0)
	})
}

// ChangeAddress makes the device rejoin with another network address: the next free one from addr on.
func (v *Device) ChangeAddress(addr uint16) {
	v.dongle.actions.Post(func() {
		v.dongle.devices.move(v, addr)
		if v.joined && !v.away {
			v.announce(true, 1)
		}
	})
}

// PowerOff makes the device deaf and end its download, of which it keeps what its stack saves; PowerOn brings
// it back with an announcement.
func (v *Device) PowerOff() {
	v.dongle.actions.Post(func() {
		for _, c := range v.clients() {
			c.queryWaits = false
			c.losePower()
		}
		v.away = true
	})
}

// PowerOn ends PowerOff, and the absence of a device that did not come back.
func (v *Device) PowerOn() {
	v.dongle.actions.Post(func() {
		if v.away {
			v.endAll()
			v.away = false
			v.announce(v.cfg.Sleepy, 1)
			for _, c := range v.clients() {
				c.regainPower()
			}
		}
	})
}

// SetDeaf has the device hear nothing, or hear again, while it is heard. Frames for it stay in the dongle's
// buffers until they have been tried as often as they are.
func (v *Device) SetDeaf(deaf bool) {
	v.dongle.actions.Post(func() { v.deaf = deaf })
}

// SetPoll changes how often a sleepy device asks its parent for messages.
func (v *Device) SetPoll(interval time.Duration) {
	v.dongle.actions.Post(func() {
		if interval > 0 {
			v.cfg.PollInterval = interval
		}
	})
}

// SetBattery changes the charge, 0 to 100 percent, and has the device report it.
func (v *Device) SetBattery(percent uint8) {
	v.dongle.actions.Post(func() {
		v.cfg.BatteryPercent = &percent
		control := zclGlobalFrame | zclToClientBit | zclNoDefaultResponse
		b := []byte{control, v.nextSequence(), zclReportAttributes}
		b = binary.LittleEndian.AppendUint16(b, attrBatteryPercentage)
		v.transmitZCL(v.cfg.Endpoint, clusterPower, append(b, typeUint8, 2*percent))
	})
}

// Reflash has the device run another file version, as when somebody else has upgraded it. It does not
// announce that.
func (v *Device) Reflash(version uint32) {
	v.dongle.actions.Post(func() { v.client.version = version })
}

// Query makes the device ask for an image now, unless it is busy with one.
func (v *Device) Query() {
	v.dongle.actions.Post(func() {
		for _, c := range v.clients() {
			c.query(false)
		}
	})
}

// Transmit sends any frame from the device; its network address is filled in.
func (v *Device) Transmit(f AirFrame) {
	f.Payload = slices.Clone(f.Payload)
	v.dongle.actions.Post(func() { v.transmit(f) })
}
