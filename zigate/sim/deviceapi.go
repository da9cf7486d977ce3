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
	Addr   uint16
	Joined bool
	// Away devices do not hear: they reboot, are switched off or did not come back.
	Away        bool
	FileVersion uint32 // that the device runs
	State       State
	Offset      uint32 // bytes of the image received in this session, or in the last one
	Total       uint32 // bytes of the image as offered; 0 before the first offer
	// Downloaded is the last complete image, exactly as received; Installed the last one that was installed.
	Downloaded, Installed []byte
	Sessions              int // downloads begun
	Installs              int
	BlocksAsked           uint64
	BlocksReceived        uint64 // used
	BlocksDropped         uint64 // answers that fitted no request, too large or asked for again
	GivenUp               int    // sessions without an answer
	LastEndStatus         uint8  // of the last upgrade end request
	MinimumBlockPeriod    time.Duration
}

// Snapshot is a copy of the device's state.
func (v *Device) Snapshot() DeviceSnapshot {
	d := v.dongle
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &v.client
	return DeviceSnapshot{
		IEEE: v.cfg.IEEE, Addr: v.addr, Joined: v.joined, Away: v.away,
		FileVersion: c.version, State: c.state, Offset: uint32(len(c.received)), Total: c.image.size,
		Downloaded: c.downloaded, Installed: c.installed,
		Sessions: c.sessions, Installs: c.installs,
		BlocksAsked: c.blocksAsked, BlocksReceived: c.blocksReceived, BlocksDropped: c.blocksDropped,
		GivenUp: c.givenUp, LastEndStatus: c.endStatus, MinimumBlockPeriod: c.minimumPeriod,
	}
}

// IEEE is the device's address that never changes.
func (v *Device) IEEE() message.IEEE { return v.cfg.IEEE }

// Announce makes a device of the network announce itself. One outside of it joins first, if it is permitted.
func (v *Device) Announce() {
	d := v.dongle
	d.post(func() {
		switch {
		case v.away || !d.network:
		case v.joined:
			v.announce(false, 0)
		case d.up && d.permitsJoin():
			v.joined = true
			v.announce(true, 0)
		}
	})
}

// Leave makes the device leave the network; Announce lets it join again.
func (v *Device) Leave() {
	d := v.dongle
	d.post(func() {
		if !v.joined {
			return
		}
		v.client.end(Idle)
		v.joined = false
		d.later(d.pace.wait(airDelay), func() {
			if d.up && d.network {
				d.send(message.Leave{IEEE: v.cfg.IEEE}, 0)
			}
		})
	})
}

// ChangeAddress makes the device rejoin with another network address: the next free one from addr on.
func (v *Device) ChangeAddress(addr uint16) {
	d := v.dongle
	d.post(func() {
		delete(d.byAddr, v.addr)
		v.addr = d.freeAddr(addr)
		d.byAddr[v.addr] = v
		if v.joined && !v.away {
			v.announce(true, 1)
		}
	})
}

// PowerOff makes the device deaf and forget its download; PowerOn brings it back with an announcement.
func (v *Device) PowerOff() {
	v.dongle.post(func() {
		v.client.end(Idle)
		v.away = true
	})
}

// PowerOn is the end of PowerOff, and of the absence of a device that did not come back.
func (v *Device) PowerOn() {
	v.dongle.post(func() {
		if v.away {
			v.client.end(Idle)
			v.away = false
			v.announce(v.cfg.Sleepy, 1)
		}
	})
}

// SetPoll changes how often a sleepy device asks its parent for messages.
func (v *Device) SetPoll(interval time.Duration) {
	v.dongle.post(func() {
		if interval > 0 {
			v.cfg.PollInterval = interval
		}
	})
}

// SetBattery changes the charge in percent, and reports it.
func (v *Device) SetBattery(percent uint8) {
	v.dongle.post(func() {
		v.cfg.BatteryPercent = &percent
		control := zclGlobalFrame | zclToClientBit | zclNoDefaultResponse
		b := []byte{control, v.nextSequence(), zclReportAttributes}
		b = binary.LittleEndian.AppendUint16(b, attrBatteryPercentage)
		v.transmitZCL(clusterPower, append(b, typeUint8, 2*percent))
	})
}

// Query makes the device ask for an image now, unless it is busy with one.
func (v *Device) Query() {
	v.dongle.post(v.client.query)
}

// Transmit sends any frame from the device; its network address is filled in.
func (v *Device) Transmit(f AirFrame) {
	f.Payload = slices.Clone(f.Payload)
	v.dongle.post(func() { v.transmit(f) })
}
