package sim

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const (
	resetDelay = 20 * time.Millisecond  // between the status of a reset command and the reset
	bootTime   = 500 * time.Millisecond // the dongle hears and says nothing
)

// Reset restarts the dongle as its button or a power glitch does: what was in RAM is lost, the header slot
// first of all, and the boot messages follow. Network and raw mode are kept.
func (d *Dongle) Reset() {
	d.post(func() { d.restart(true) })
}

// SilentReset is Reset without boot messages, as when the host's side of the line missed them.
func (d *Dongle) SilentReset() {
	d.post(func() { d.restart(false) })
}

// powerUp is the state of the RAM after the start.
func (d *Dongle) powerUp() {
	d.memory = memory{clockAt: d.now, rawSum: -1}
	d.receiver = message.NewReceiver(int(d.traits.maxLength) - 1)
	d.input = d.input[:0]
	d.receiveFree = time.Time{}
	d.sendFree = time.Time{}
}

func (d *Dongle) restart(notices bool) {
	d.log.Info("simulated dongle resets", "notices", notices)
	d.stats.Resets++
	d.up = false
	d.epoch++
	epoch := d.epoch
	d.later(d.pace.wait(bootTime), func() {
		if d.epoch != epoch {
			return
		}
		d.powerUp()
		d.up = true
		if notices {
			d.announceStart()
		}
		d.scheduleOwnTraffic()
	})
}

func (d *Dongle) announceStart() {
	d.send(message.PDMLoaded{}, 0)
	if !d.network {
		d.send(message.RestartNotice{Kind: message.TypeFactoryNewRestart, Status: 0}, 0)
		return
	}
	d.reportJoined(message.NetworkFormed)
	d.send(message.RestartNotice{Kind: message.TypeRestart, Status: 1}, 0)
}

// reportJoined sends 0x8024, which happens at most once after a start.
func (d *Dongle) reportJoined(status uint8) {
	if d.joinReported {
		return
	}
	d.joinReported = true
	d.send(message.NetworkJoined{
		Status: status, HasAddress: true, IEEE: d.cfg.IEEE, Channel: d.cfg.Channel,
	}, 0)
}

// erase makes the dongle factory new. Its devices are left without a network.
func (d *Dongle) erase() {
	d.network = false
	d.rawMode = rawOff
	for _, v := range d.devices {
		v.joined = false
		v.client.end(Idle)
	}
}

// startNetwork answers 0x0024.
func (d *Dongle) startNetwork() uint8 {
	if d.network {
		d.after(0, func() { d.send(message.NetworkJoined{Status: message.NetworkAlreadyUp}, 0) })
		return message.StatusOK
	}
	d.network = true
	d.after(d.pace.wait(bootTime), func() { d.reportJoined(message.NetworkFormed) })
	return message.StatusOK
}

// clock is the dongle's time in seconds since 2000-01-01 UTC, or since the start if nobody set it.
func (d *Dongle) clock() uint32 {
	return d.clockSeconds + uint32(d.now.Sub(d.clockAt)/time.Second)
}

func (d *Dongle) permitsJoin() bool {
	return d.now.Before(d.permitUntil)
}

const (
	heartbeatInterval   = time.Minute
	ownTrafficInterval  = time.Minute // and up to ten seconds more
	ownTrafficVariation = 10 * time.Second
)

// scheduleOwnTraffic is what a ZiGate+ sends without being asked: a heartbeat, and requests
// to its neighbours.
func (d *Dongle) scheduleOwnTraffic() {
	if !d.traits.selfTraffic {
		return
	}
	d.after(heartbeatInterval, d.beat)
	d.after(d.ownTrafficPause(), d.askNeighbour)
}

func (d *Dongle) ownTrafficPause() time.Duration {
	return ownTrafficInterval + time.Duration(d.airRandom.Int64N(int64(ownTrafficVariation)))
}

func (d *Dongle) beat() {
	if d.heartbeat || d.rawMode == rawOnly {
		d.send(message.Heartbeat{Seconds: d.clock()}, 0)
	}
	d.after(heartbeatInterval, d.beat)
}

func (d *Dongle) askNeighbour() {
	for range d.devices {
		v := d.devices[d.airRandom.IntN(len(d.devices))]
		if v.joined && !v.cfg.Sleepy {
			d.transmitZDP(v.addr, zdpManagementLQI, []byte{0})
			break
		}
	}
	d.after(d.ownTrafficPause(), d.askNeighbour)
}

// scheduleFault sets the time of the next accidental reset.
func (d *Dongle) scheduleFault() {
	every := d.cfg.Faults.ResetEvery
	if every <= 0 {
		return
	}
	d.later(time.Duration(d.airRandom.ExpFloat64()*float64(every)), func() {
		d.restart(!d.cfg.Faults.SilentResets)
		d.scheduleFault()
	})
}
