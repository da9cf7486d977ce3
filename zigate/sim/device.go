package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Device is a simulated Zigbee device. Its methods may be called from any goroutine; what they ask for
// happens soon, while Run runs.
type Device struct {
	dongle *Dongle
	// The mutex of the dongle guards everything below.
	cfg        DeviceConfig
	random     *rand.Rand
	addr       uint16
	lqi        uint8
	joined     bool
	away       bool // rebooting, gone or switched off
	started    time.Time
	awakeUntil time.Time
	sequence   uint8
	client     client
	queryTimer timer
}

// addDevice is for New and for Run's goroutine.
func (d *Dongle) addDevice(cfg DeviceConfig) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	if d.byIEEE[cfg.IEEE] != nil {
		return fmt.Errorf("%w: IEEE address %s is used twice", ErrConfig, cfg.IEEE)
	}
	addr := cfg.Addr
	if addr == 0 {
		addr = d.freeAddr(uint16(cfg.IEEE))
	}
	if addr >= firstBroadcastAddr || d.byAddr[addr] != nil {
		return fmt.Errorf("%w: device %s: network address 0x%04x is not free", ErrConfig, cfg.IEEE, addr)
	}
	v := &Device{
		dongle: d, cfg: cfg, addr: addr, lqi: cfg.LQI, joined: !cfg.Unjoined && d.network,
		random: rand.New(rand.NewPCG(d.cfg.Seed, uint64(cfg.IEEE))),
	}
	if v.lqi == 0 {
		v.lqi = uint8(80 + v.random.UintN(170))
	}
	if v.cfg.MaxDataSize == 0 {
		v.cfg.MaxDataSize = uint8(50 + v.random.UintN(14))
	}
	v.sequence = uint8(v.random.UintN(256))
	v.client = client{device: v, version: cfg.FileVersion, image: imageID{version: noVersion}}
	v.client.timer.fire = v.client.wake
	v.queryTimer.fire = v.periodicQuery
	d.devices = append(d.devices, v)
	d.byIEEE[cfg.IEEE] = v
	d.byAddr[addr] = v
	return nil
}

// freeAddr finds a network address near a wish.
func (d *Dongle) freeAddr(wish uint16) uint16 {
	for addr := wish; ; addr++ {
		if addr != 0 && addr < firstBroadcastAddr && d.byAddr[addr] == nil {
			return addr
		}
	}
}

// AddDevice puts another device into the network while the dongle exists. The error is ErrConfig.
func (d *Dongle) AddDevice(cfg DeviceConfig) (*Device, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.addDevice(cfg); err != nil {
		return nil, err
	}
	v := d.byIEEE[cfg.IEEE]
	if !d.now.IsZero() { // else Run starts it
		d.now = time.Now()
		v.start()
		d.actions.Signal()
	}
	return v, nil
}

// Device finds a device by its IEEE address; nil if there is none.
func (d *Dongle) Device(ieee message.IEEE) *Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byIEEE[ieee]
}

// Devices lists all devices in the order in which they were configured.
func (d *Dongle) Devices() []*Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.devices)
}

// start is when the device gets power.
func (v *Device) start() {
	v.started = v.dongle.now
	if v.cfg.QueryInterval > 0 {
		first := time.Duration(v.random.Float64() * float64(v.cfg.QueryInterval))
		v.scheduleQuery(first)
	}
}

func (v *Device) scheduleQuery(wait time.Duration) {
	d := v.dongle
	d.schedule.set(&v.queryTimer, d.now.Add(d.pace.deviceTimeout(wait)))
}

func (v *Device) periodicQuery() {
	v.client.query()
	v.scheduleQuery(v.cfg.QueryInterval)
}

// awakeTime is how long a sleepy device listens after a transmission.
const awakeTime = 2 * time.Second

// pollWait is how long the parent has to keep a message until the device fetches it: nothing
// while it is awake.
func (v *Device) pollWait() time.Duration {
	d := v.dongle
	if !v.cfg.Sleepy || v.client.awaits() || !d.now.After(v.awakeUntil) {
		return 0
	}
	passed := d.pace.model(d.now.Sub(v.started))
	return v.cfg.PollInterval - passed%v.cfg.PollInterval
}

// transmit sends a frame to the dongle. Devices send without acknowledgement: they repeat
// what gets no answer.
func (v *Device) transmit(f AirFrame) {
	d := v.dongle
	if v.away || !v.joined {
		return
	}
	f.Addr = v.addr
	v.awakeUntil = d.now.Add(d.pace.deviceTimeout(awakeTime))
	d.tap(f)
	if chance(d.airRandom, d.cfg.Faults.LoseAir) {
		d.stats.AirLost++
		return
	}
	d.later(d.pace.wait(airDelay), func() { d.hear(v, f) })
}

// transmitZCL sends a frame of one of the device's clusters.
func (v *Device) transmitZCL(cluster uint16, zcl []byte) {
	v.transmit(AirFrame{
		Profile:             profileHA,
		Cluster:             cluster,
		SourceEndpoint:      v.cfg.Endpoint,
		DestinationEndpoint: v.cfg.ServerEndpoint,
		Payload:             zcl,
	})
}

func (v *Device) nextSequence() uint8 {
	v.sequence++
	return v.sequence
}

// hear is a frame from the dongle that has arrived.
func (v *Device) hear(f AirFrame) {
	if v.away || !v.joined {
		return
	}
	const everyEndpoint = 0xFF
	switch {
	case f.Profile == profileZDP && f.DestinationEndpoint == 0:
		v.hearZDP(f)
		return
	case f.DestinationEndpoint != v.cfg.Endpoint && f.DestinationEndpoint != everyEndpoint:
		return
	}
	z, ok := parseZCL(f.Payload)
	if !ok {
		return
	}
	switch {
	case z.cluster() && f.Cluster == clusterOTA && z.toClient():
		v.client.hear(f, z)
	case z.cluster():
		status := zclSuccess
		if !slices.Contains(v.serverClusters(), f.Cluster) {
			status = zclUnsupportedCmd
		}
		v.defaultResponse(f, z, status)
	case z.command == zclReadAttributes:
		v.answerRead(f, z)
	case z.command == zclDefaultResponse:
		if f.Cluster == clusterOTA && z.toClient() && len(z.payload) >= 2 {
			v.client.hearDefaultResponse(z.payload[0], z.payload[1])
		}
	default:
		v.defaultResponse(f, z, zclUnsupportedGlobal)
	}
}

// defaultResponse answers what has no answer of its own. Success is not said where the frame forbids it,
// nor to a broadcast.
func (v *Device) defaultResponse(f AirFrame, z zclFrame, status byte) {
	if f.Broadcast || status == zclSuccess && z.defaultResponseOff() {
		return
	}
	control := zclGlobalFrame | zclNoDefaultResponse | ^z.control&zclToClientBit
	v.transmitZCL(f.Cluster, []byte{control, z.sequence, zclDefaultResponse, z.command, status})
}

// announce tells the network that the device is there. A rejoin is also seen by the dongle's
// own network layer.
func (v *Device) announce(joins bool, rejoin uint8) {
	d := v.dongle
	if joins {
		m := message.DeviceAnnounce{
			Addr: v.addr, IEEE: v.cfg.IEEE, Capability: v.capability(), HasRejoin: true, Rejoin: rejoin,
		}
		d.later(d.pace.wait(airDelay), func() {
			if d.up && d.network {
				d.send(m, v.lqi)
			}
		})
	}
	b := appendAnnounce([]byte{v.nextSequence()}, v)
	v.transmit(AirFrame{Profile: profileZDP, Cluster: zdpDeviceAnnounce, Payload: b})
}
