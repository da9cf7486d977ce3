package sim

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// chip is the dongle's microcontroller with its firmware: what the host and the devices say comes in, and
// what the firmware makes of it goes out through sender and radio. Commands of the host are looked up in
// commands, frames of devices come to hear.
type chip struct {
	cfg      Config
	traits   *traits
	log      *slog.Logger
	timeline *timeline
	stats    *Stats
	air      *air

	power    *power
	receiver *receiver
	sender   *sender
	radio    *radio

	devices     *deviceSet
	coordinator *coordinator

	zcl       *zclSender
	zdp       *zdpSender
	server    *otaServer
	pageTick  timer
	raw       rawMode
	clock     clock
	heartbeat bool // the host wants to be told every minute that the dongle lives
}

func newChip(
	cfg Config, timeline *timeline, stats *Stats, air *air, devices *deviceSet, toHosts func([]byte),
) *chip {
	traits := cfg.Firmware.traits()
	c := &chip{
		cfg: cfg, traits: &traits, log: cfg.Logger, timeline: timeline, stats: stats, air: air,
		devices:     devices,
		power:       &power{timeline: timeline, up: true},
		coordinator: &coordinator{formed: !cfg.FactoryNew},
		server:      &otaServer{traits: &traits, stats: stats},
	}
	lineRandom := rand.New(rand.NewPCG(cfg.Seed, 1))
	c.receiver = &receiver{
		timeline: timeline, power: c.power, stats: stats, random: lineRandom, faults: cfg.Faults,
		execute: c.execute, lane: lane{rate: cfg.LineRate},
	}
	c.sender = &sender{
		timeline: timeline, power: c.power, stats: stats, random: lineRandom, faults: cfg.Faults,
		queue: traits.outputQueue, onFrame: cfg.OnFrame, toHosts: toHosts, lane: lane{rate: cfg.LineRate},
	}
	c.radio = &radio{
		traits: &traits, timeline: timeline, power: c.power, stats: stats, air: air, devices: devices,
		coordinator: c.coordinator, sender: c.sender,
	}
	c.zcl = &zclSender{traits: &traits, radio: c.radio}
	c.zdp = &zdpSender{coordinator: c.coordinator, radio: c.radio}
	c.pageTick.fire = c.tickPage
	c.powerUp()
	c.radio.blockRefusal = cfg.Faults.RefuseBlocks
	return c
}

// power is whether the chip runs, and since which reset.
type power struct {
	timeline *timeline
	up       bool
	epoch    uint64 // counts resets: what a reset wipes out belongs to an epoch
}

// after fires once, after a real time. It is for what lives in the dongle's RAM: a reset in between cancels
// it.
func (p *power) after(wait time.Duration, fire func()) {
	epoch := p.epoch
	p.timeline.later(wait, func() {
		if p.up && p.epoch == epoch {
			fire()
		}
	})
}

// clock is the dongle's time.
type clock struct {
	setAt   time.Time // when it showed seconds
	seconds uint32    // since 2000-01-01 UTC, or since the start if nobody has set it
}

// reading is what the clock shows, in the same seconds.
func (c clock) reading(now time.Time) uint32 {
	return c.seconds + uint32(now.Sub(c.setAt)/time.Second)
}

const (
	resetDelay = 20 * time.Millisecond  // between the status of a reset command and the reset
	bootTime   = 500 * time.Millisecond // during which the dongle hears and says nothing
)

// powerUp is the state after the start: what was in RAM is as it always is then.
func (c *chip) powerUp() {
	c.receiver.powerUp(c.traits.maxLength)
	c.sender.powerUp()
	c.radio.powerUp()
	c.coordinator.powerUp()
	c.zcl.powerUp()
	c.zdp.powerUp()
	c.server.powerUp()
	c.timeline.stop(&c.pageTick)
	c.raw.powerUp()
	c.clock = clock{setAt: c.timeline.now}
	c.heartbeat = false
	if !c.cfg.Faults.RefusalOutlastsReset {
		c.radio.blockRefusal = message.StatusOK
	}
}

// powerCycle takes the power away for a moment.
func (c *chip) powerCycle() {
	c.radio.blockRefusal = message.StatusOK
	c.restart(true)
}

// restart is a reset, with boot messages or without.
func (c *chip) restart(notices bool) {
	c.log.Info("simulated dongle resets", "notices", notices)
	c.stats.Resets++
	c.power.up = false
	c.power.epoch++
	epoch := c.power.epoch
	c.timeline.later(c.timeline.pace.wait(bootTime), func() {
		if c.power.epoch != epoch {
			return
		}
		c.powerUp()
		c.power.up = true
		if notices {
			c.announceStart()
		}
		c.scheduleOwnTraffic()
	})
}

// restartSoon is what a command of the host comes to: its status goes out first.
func (c *chip) restartSoon() {
	c.power.after(c.timeline.pace.wait(resetDelay), func() { c.restart(true) })
}

func (c *chip) announceStart() {
	c.sender.send(message.PDMLoaded{}, 0)
	if !c.coordinator.formed {
		c.sender.send(message.RestartNotice{Kind: message.TypeFactoryNewRestart, Status: 0}, 0)
		return
	}
	c.reportJoined(message.NetworkFormed)
	c.sender.send(message.RestartNotice{Kind: message.TypeRestart, Status: 1}, 0)
}

// reportJoined sends 0x8024, which happens at most once after a start.
func (c *chip) reportJoined(status uint8) {
	if c.coordinator.joinReported {
		return
	}
	c.coordinator.joinReported = true
	c.sender.send(message.NetworkJoined{
		Status: status, HasAddress: true, IEEE: c.cfg.IEEE, Channel: c.cfg.Channel,
	}, 0)
}

// erase makes the dongle factory new. Its devices are left without a network.
func (c *chip) erase() {
	c.coordinator.formed = false
	c.raw.mode = message.RawModeOff
	for _, v := range c.devices.all {
		v.joined = false
		v.endAll()
	}
}

// notice tells the host what the firmware's network layer has seen of a device.
func (c *chip) notice(m message.Message, lqi uint8) {
	if c.power.up && c.coordinator.formed {
		c.sender.send(m, lqi)
	}
}

const (
	heartbeatInterval   = time.Minute
	ownTrafficInterval  = time.Minute // and up to ten seconds more
	ownTrafficVariation = 10 * time.Second
)

// scheduleOwnTraffic is what a ZiGate+ sends without being asked: a heartbeat, and requests
// to its neighbours.
func (c *chip) scheduleOwnTraffic() {
	if !c.traits.selfTraffic {
		return
	}
	c.power.after(heartbeatInterval, c.beat)
	c.power.after(c.ownTrafficPause(), c.askNeighbour)
}

func (c *chip) ownTrafficPause() time.Duration {
	return ownTrafficInterval + time.Duration(c.air.random.Int64N(int64(ownTrafficVariation)))
}

func (c *chip) beat() {
	if c.heartbeat || c.raw.mode == message.RawModeRaw {
		c.sender.send(message.Heartbeat{Seconds: c.clock.reading(c.timeline.now)}, 0)
	}
	c.power.after(heartbeatInterval, c.beat)
}

// askNeighbour asks a neighbour for its link qualities.
func (c *chip) askNeighbour() {
	for range c.devices.all {
		v := c.devices.all[c.air.random.IntN(len(c.devices.all))]
		if v.joined && !v.cfg.Sleepy {
			c.zdp.request(zdpRequest{addr: v.addr, cluster: zdpManagementLQI, fields: []byte{0}})
			break
		}
	}
	c.power.after(c.ownTrafficPause(), c.askNeighbour)
}

// scheduleFault sets the time of the next accidental reset.
func (c *chip) scheduleFault() {
	every := c.cfg.Faults.ResetEvery
	if every <= 0 {
		return
	}
	c.timeline.later(time.Duration(c.air.random.ExpFloat64()*float64(every)), func() {
		c.restart(!c.cfg.Faults.SilentResets)
		c.scheduleFault()
	})
}
