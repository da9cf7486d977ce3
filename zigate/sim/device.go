package sim

import (
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
	addr       uint16 // network address
	lqi        uint8  // link quality at the dongle
	joined     bool   // it is in the network
	away       bool   // it reboots, is gone or is switched off
	deaf       bool   // it hears nothing, though it is heard
	started    time.Time
	awakeUntil time.Time // if it is sleepy
	sequence   uint8     // of its last ZCL or ZDP frame
	client     otaClient
	others     []*otaClient // besides client
	queryTimer timer
}

// newDevice makes a device with a network address that is free. It is inside the network where there is one
// and the configuration does not say otherwise.
func newDevice(d *Dongle, cfg DeviceConfig, addr uint16) *Device {
	v := &Device{
		dongle: d,
		cfg:    cfg,
		addr:   addr,
		lqi:    cfg.LQI,
		joined: !cfg.Unjoined && d.chip.coordinator.formed,
		random: rand.New(rand.NewPCG(d.cfg.Seed, uint64(cfg.IEEE))),
	}
	if v.lqi == 0 {
		v.lqi = uint8(80 + v.random.UintN(170))
	}
	if v.cfg.MaxDataSize == 0 {
		v.cfg.MaxDataSize = uint8(50 + v.random.UintN(14))
	}
	v.sequence = uint8(v.random.UintN(256))
	v.client = newOTAClient(v, v.ownClient())
	for _, other := range v.cfg.OtherClients {
		c := newOTAClient(v, other)
		v.others = append(v.others, &c)
	}
	for _, c := range v.clients() {
		c.timer.fire = c.wake
	}
	v.queryTimer.fire = v.periodicQuery
	return v
}

// ownClient describes the device's own OTA client as the further ones are described.
func (v *Device) ownClient() ClientConfig {
	return ClientConfig{
		Endpoint:         v.cfg.Endpoint,
		ManufacturerCode: v.cfg.ManufacturerCode,
		ImageType:        v.cfg.ImageType,
		FileVersion:      v.cfg.FileVersion,
		HardwareVersion:  v.cfg.HardwareVersion,
	}
}

// clients are the device's OTA clients, its own one first.
func (v *Device) clients() []*otaClient { return append([]*otaClient{&v.client}, v.others...) }

// clientsAt are the OTA clients on an endpoint.
func (v *Device) clientsAt(endpoint uint8) []*otaClient {
	return slices.DeleteFunc(v.clients(), func(c *otaClient) bool {
		return c.id.Endpoint != endpoint && endpoint != everyEndpoint
	})
}

// busyAt is the OTA client on an endpoint that is not idle, or nil: there is one at a time. Of a device with
// one alone it is that one.
func (v *Device) busyAt(endpoint uint8) *otaClient {
	if len(v.others) == 0 { // the way of nearly all devices, and of each block
		return &v.client
	}
	for _, c := range v.clientsAt(endpoint) {
		if c.state != Idle && c.state != WaitingForMore {
			return c
		}
	}
	return nil
}

// endAll ends whatever the device's OTA clients were doing.
func (v *Device) endAll() {
	for _, c := range v.clients() {
		c.queryWaits = false
		c.end(Idle)
	}
}

// start sets the timers that a device under power has.
func (v *Device) start() {
	v.started = v.dongle.timeline.now
	if first := v.cfg.QueryInterval; first > 0 {
		v.scheduleQuery(time.Duration(v.random.Float64() * float64(first)))
		return
	}
	v.scheduleFirstQuery()
}

// queryTimes is how often the device asks for an image by itself; an interval of 0 is never.
func (v *Device) queryTimes() queryTraits {
	times := v.client.stack.queries
	if v.cfg.QueryInterval != 0 {
		times.interval = max(v.cfg.QueryInterval, 0)
		times.intervalSpan = 0
	}
	return times
}

// scheduleFirstQuery has a device that has just started ask for an image as its stack does. One whose
// interval is configured goes on with that.
func (v *Device) scheduleFirstQuery() {
	if v.cfg.QueryInterval == 0 && v.queryTimes().interval > 0 {
		v.scheduleQuery(v.byChance(v.queryTimes().first, v.queryTimes().firstSpan))
	}
}

// byChance is a time from least to least and span.
func (v *Device) byChance(least, span time.Duration) time.Duration {
	if span == 0 {
		return least
	}
	return least + time.Duration(v.random.Float64()*float64(span))
}

// scheduleQuery has the device ask for an image by itself.
func (v *Device) scheduleQuery(wait time.Duration) {
	t := v.dongle.timeline
	t.set(&v.queryTimer, t.pace.timeout(wait))
}

func (v *Device) periodicQuery() {
	for _, c := range v.clients() {
		c.rediscover()
		c.query(false)
	}
	if times := v.queryTimes(); times.interval > 0 {
		v.scheduleQuery(v.byChance(times.interval, times.intervalSpan))
	}
}

// awakeTime is how long a sleepy device listens after a transmission.
const awakeTime = 2 * time.Second

// pollWait is how long the parent has to keep a message until the device fetches it. It is 0 while the device
// is awake.
func (v *Device) pollWait() time.Duration {
	now := v.dongle.timeline.now
	if !v.cfg.Sleepy || slices.ContainsFunc(v.clients(), (*otaClient).awaits) || !now.After(v.awakeUntil) {
		return 0
	}
	passed := v.dongle.timeline.pace.passed(now.Sub(v.started))
	return v.cfg.PollInterval - passed%v.cfg.PollInterval
}

// transmit sends a frame to the dongle. Devices send without acknowledgement: they repeat
// what gets no answer.
func (v *Device) transmit(f AirFrame) {
	if v.away || !v.joined {
		return
	}
	f.Addr = v.addr
	t := v.dongle.timeline
	v.awakeUntil = t.now.Add(t.pace.timeout(awakeTime))
	v.dongle.air.carry(f, v.lqi)
}

// transmitZCL sends a frame of one of the device's clusters, from an endpoint.
func (v *Device) transmitZCL(endpoint uint8, cluster uint16, zcl []byte) {
	v.transmit(AirFrame{
		Profile:             profileHA,
		Cluster:             cluster,
		SourceEndpoint:      endpoint,
		DestinationEndpoint: v.cfg.ServerEndpoint,
		Payload:             zcl,
	})
}

func (v *Device) nextSequence() uint8 {
	v.sequence++
	return v.sequence
}

// hear handles a frame of the dongle that has arrived.
func (v *Device) hear(f AirFrame) {
	if v.away || !v.joined {
		return
	}
	switch {
	case f.isZDP():
		v.hearZDP(f)
		return
	case f.DestinationEndpoint != v.cfg.Endpoint && len(v.clientsAt(f.DestinationEndpoint)) == 0:
		return
	}
	z, ok := parseZCL(f.Payload)
	if !ok {
		return
	}
	switch {
	case z.clusterSpecific() && f.Cluster == clusterOTA && z.toClient():
		v.hearOTA(f, z)
	case z.clusterSpecific():
		status := zclSuccess
		if !slices.Contains(v.serverClusters(), f.Cluster) {
			status = zclUnsupportedCmd
		}
		v.defaultResponse(f, z, status)
	case z.command == zclReadAttributes:
		v.answerRead(f, z)
	case z.command == zclDefaultResponse:
		if f.Cluster == clusterOTA && z.toClient() && len(z.payload) >= 2 {
			if c := v.busyAt(f.DestinationEndpoint); c != nil {
				c.hearDefaultResponse(f, z, z.payload[0], z.payload[1])
			}
		}
	default:
		v.defaultResponse(f, z, zclUnsupportedGlobal)
	}
}

// everyEndpoint is the destination of a frame that is for all endpoints of a device.
const everyEndpoint = 0xFF

// hearOTA handles a command of the OTA server. A notification is for all OTA clients on the endpoint, an
// answer for the one that has asked.
func (v *Device) hearOTA(f AirFrame, z zclFrame) {
	c := v.busyAt(f.DestinationEndpoint)
	switch {
	case len(v.others) > 0 && z.command == otaImageNotify:
		for _, c := range v.clientsAt(f.DestinationEndpoint) {
			c.hear(f, z)
		}
	case c == nil:
		v.clientsAt(f.DestinationEndpoint)[0].hear(f, z)
	default:
		c.hear(f, z)
	}
}

// answeringEndpoint is where an answer to a frame comes from.
func (v *Device) answeringEndpoint(f AirFrame) uint8 {
	if f.DestinationEndpoint == everyEndpoint {
		return v.cfg.Endpoint
	}
	return f.DestinationEndpoint
}

// defaultResponse answers a frame that has no answer of its own. It does not answer a broadcast, and tells no
// success where the frame forbids it.
func (v *Device) defaultResponse(f AirFrame, z zclFrame, status byte) {
	if f.Broadcast || status == zclSuccess && z.defaultResponseOff() {
		return
	}
	control := zclGlobalFrame | zclNoDefaultResponse | ^z.control&zclToClientBit
	response := []byte{control, z.sequence, zclDefaultResponse, z.command, status}
	v.transmitZCL(v.answeringEndpoint(f), f.Cluster, response)
}

// serverClusters lists the clusters that the device is a server of.
func (v *Device) serverClusters() []uint16 {
	list := []uint16{clusterBasic, clusterIdentify, clusterOnOff}
	if v.cfg.BatteryPercent != nil {
		list = append(list, clusterPower)
	}
	return list
}

// node is what ZDP tells of the device.
func (v *Device) node() node {
	n := node{
		addr:             v.addr,
		ieee:             v.cfg.IEEE,
		sleepy:           v.cfg.Sleepy,
		manufacturerCode: v.cfg.ManufacturerCode,
		batteryPercent:   v.cfg.BatteryPercent,
	}
	for _, number := range v.cfg.OtherEndpoints {
		other := endpoint{number: number, servers: []uint16{clusterOnOff}, unlisted: true}
		n.endpoints = append(n.endpoints, other)
	}
	n.endpoints = append(n.endpoints, endpoint{
		number: v.cfg.Endpoint, servers: v.serverClusters(), clients: []uint16{clusterOTA},
	})
	for _, c := range v.others {
		listed := func(e endpoint) bool { return e.number == c.id.Endpoint }
		if !slices.ContainsFunc(n.endpoints, listed) {
			n.endpoints = append(n.endpoints, endpoint{
				number: c.id.Endpoint, servers: []uint16{clusterOnOff}, clients: []uint16{clusterOTA},
			})
		}
	}
	return n
}

// hearZDP answers a ZDP request, and leaves the network when it was asked to. Simulated devices do not join
// again by themselves.
func (v *Device) hearZDP(f AirFrame) {
	answer := v.node().answerZDP(f.Cluster, f.Payload)
	if answer == nil {
		return
	}
	v.transmit(AirFrame{Profile: profileZDP, Cluster: f.Cluster | zdpResponse, Payload: answer})
	if f.Cluster == zdpLeave {
		v.Leave()
	}
}

// announce tells the network that the device is there. The dongle's own network layer sees it, too, where the
// device has joined just now (rejoin is 0) or again (1).
func (v *Device) announce(joins bool, rejoin uint8) {
	n := v.node()
	if joins {
		m := message.DeviceAnnounce{
			Addr: n.addr, IEEE: n.ieee, Capability: n.capability(), HasRejoin: true, Rejoin: rejoin,
		}
		v.notice(m, v.lqi)
	}
	b := n.appendAnnounce([]byte{v.nextSequence()})
	v.transmit(AirFrame{Profile: profileZDP, Cluster: zdpDeviceAnnounce, Payload: b})
}

// notice lets the dongle's network layer see something of the device, and tell its host.
func (v *Device) notice(m message.Message, lqi uint8) {
	t := v.dongle.timeline
	t.later(t.pace.wait(airDelay), func() { v.dongle.chip.notice(m, lqi) })
}
