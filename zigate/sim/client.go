package sim

import (
	"encoding/binary"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// State is what a device is doing about images.
type State uint8

// States of a device.
const (
	Idle             State = iota
	Querying               // has asked for an image
	Downloading            // asks for blocks, or waits because it was told to
	Ending                 // has everything and waits for the answer to its upgrade end request
	WaitingToUpgrade       // was told to wait for another answer
	CountingDown           // will reboot when the time comes
	Rebooting              // installs
	Gone                   // did not come back
	WaitingForMore         // needs another image
)

// String names the state in lower case.
func (s State) String() string {
	switch s {
	case Idle:
		return "idle"
	case Querying:
		return "querying"
	case Downloading:
		return "downloading"
	case Ending:
		return "ending"
	case WaitingToUpgrade:
		return "waiting to upgrade"
	case CountingDown:
		return "counting down"
	case Rebooting:
		return "rebooting"
	case Gone:
		return "gone"
	case WaitingForMore:
		return "waiting for more"
	}
	return "unknown"
}

// attribute is the state as the image upgrade status attribute tells it.
func (s State) attribute() uint8 {
	switch s {
	case Downloading:
		return 1
	case Ending:
		return 2
	case WaitingToUpgrade:
		return 3
	case CountingDown:
		return 4
	case WaitingForMore:
		return 5
	}
	return 0
}

const noVersion uint32 = 0xFFFFFFFF

// imageID is the image that was offered.
type imageID struct {
	manufacturer, imageType uint16
	version, size           uint32
}

// client is the OTA client of a device.
type client struct {
	device  *Device
	state   State
	version uint32 // running
	timer   timer
	next    func() // what happens when the timer fires

	image         imageID
	received      []byte
	sequence      uint8 // of the request that waits for an answer
	requested     int   // bytes asked for in it
	answered      bool  // no answer is awaited: a wait, or the time between two blocks
	triesLeft     int
	inHeader      bool // the first look at the header is not done
	inPage        bool
	pageEnd       int
	noPages       bool // the server does not know page requests
	held          bool // was told to wait before installing
	askAgain      int  // blocks until one is asked for again
	minimumPeriod time.Duration
	endStatus     uint8

	downloaded, installed                      []byte
	sessions, installs, givenUp                int
	blocksAsked, blocksReceived, blocksDropped uint64
}

// awaits tells whether the device listens for an answer.
func (c *client) awaits() bool {
	switch c.state {
	case Querying, Ending:
		return true
	case Downloading:
		return !c.answered
	}
	return false
}

// misbehaves tells whether what is to go wrong goes wrong in this session.
func (c *client) misbehaves() bool {
	first := c.device.cfg.FailFirst
	return first == 0 || c.sessions <= first
}

func (c *client) wake() {
	if next := c.next; next != nil {
		c.next = nil
		next()
	}
}

func (c *client) wakeIn(wait time.Duration, next func()) {
	d := c.device.dongle
	c.next = next
	d.schedule.set(&c.timer, d.now.Add(wait))
}

func (c *client) sleep() {
	c.next = nil
	c.device.dongle.schedule.stop(&c.timer)
}

// end leaves whatever the device was doing.
func (c *client) end(state State) {
	c.sleep()
	c.held = false
	c.state = state
}

// retryIn does something again when no answer comes, so often, and then gives up.
func (c *client) retryIn(again func(), giveUp func()) {
	v := c.device
	c.wakeIn(v.dongle.pace.deviceTimeout(v.cfg.RetryInterval), func() {
		if c.triesLeft == 0 {
			c.givenUp++
			giveUp()
			return
		}
		c.triesLeft--
		again()
	})
}

func (c *client) stop() { c.end(Idle) }

// request sends a command of the OTA cluster with a new sequence number.
func (c *client) request(command byte, payload []byte) {
	v := c.device
	c.sequence = v.nextSequence()
	control := zclClusterFrame
	if v.cfg.DisableDefaultResponse {
		control |= zclNoDefaultResponse
	}
	v.transmitZCL(clusterOTA, append([]byte{control, c.sequence, command}, payload...))
}

// query asks for an image, unless the device is busy.
func (c *client) query() {
	if c.state != Idle && c.state != WaitingForMore || c.device.away || !c.device.joined {
		return
	}
	c.triesLeft = c.device.cfg.Retries
	c.sendQuery()
}

func (c *client) sendQuery() {
	v := c.device
	c.state = Querying
	const hasHardwareVersion = 1
	b := []byte{0}
	b = appendImage(b, v.cfg.ManufacturerCode, v.cfg.ImageType, c.version)
	if v.cfg.HardwareVersion != nil {
		b[0] |= hasHardwareVersion
		b = binary.LittleEndian.AppendUint16(b, *v.cfg.HardwareVersion)
	}
	c.request(otaQueryNextImage, b)
	c.retryIn(c.sendQuery, c.stop)
}

// hear is a command from the server.
func (c *client) hear(f AirFrame, z zclFrame) {
	r := fields{b: z.payload}
	switch z.command {
	case otaImageNotify:
		c.hearNotify(f, z, r)
	case otaQueryNextImageRsp:
		if c.state == Querying && z.sequence == c.sequence {
			c.hearOffer(r)
		}
	case otaBlockResponse:
		c.hearBlock(z.sequence, r)
	case otaUpgradeEndResponse:
		c.hearUpgradeEnd(z.sequence, r)
	}
}

// hearNotify answers a unicast always, a broadcast if it is meant and the dice say so. Nobody who is asked by
// type 3 for the version that it runs has a reason to query.
func (c *client) hearNotify(f AirFrame, z zclFrame, r fields) {
	v := c.device
	kind := r.u8()
	jitter := r.u8()
	manufacturer := v.cfg.ManufacturerCode
	imageType := v.cfg.ImageType
	version := noVersion
	if kind >= message.NotifyManufacturer {
		manufacturer = r.u16()
	}
	if kind >= message.NotifyImageType {
		imageType = r.u16()
	}
	if kind >= message.NotifyFileVersion {
		version = r.u32()
	}
	if v.cfg.SilentToNotify || r.malformed {
		return
	}
	meant := (manufacturer == v.cfg.ManufacturerCode || manufacturer == 0xFFFF) &&
		(imageType == v.cfg.ImageType || imageType == 0xFFFF) && version != c.version
	if !f.Broadcast {
		if meant {
			c.query()
			return
		}
		v.defaultResponse(f, z, message.OTANoImageAvailable)
		return
	}
	if meant && v.random.UintN(100) < uint(jitter) {
		wait := time.Duration(v.random.Float64() * float64(time.Second))
		d := v.dongle
		d.later(d.pace.wait(wait), c.query)
	}
}

func (c *client) hearOffer(r fields) {
	status := r.u8()
	if status != message.OTASuccess {
		c.stop()
		return
	}
	v := c.device
	image := imageID{manufacturer: r.u16(), imageType: r.u16(), version: r.u32(), size: r.u32()}
	if r.malformed || image.manufacturer != v.cfg.ManufacturerCode || image.imageType != v.cfg.ImageType ||
		v.cfg.OnlyNewer && image.version <= c.version {
		c.stop()
		return
	}
	if !v.cfg.ResumesDownload || image != c.image || len(c.received) >= int(image.size) {
		c.received = nil
	}
	c.image = image
	c.sessions++
	c.state = Downloading
	c.inHeader = v.cfg.HeaderFirst
	c.inPage = false
	c.triesLeft = v.cfg.Retries
	c.requestBlock()
}

// hearDefaultResponse is the server's complaint about a request, or just its word that it has heard it.
func (c *client) hearDefaultResponse(command, status byte) {
	switch {
	case status == zclSuccess:
	case command == otaQueryNextImage && c.state == Querying:
		c.stop()
	case command == otaPageRequest && c.state == Downloading && c.inPage:
		if status != zclUnsupportedCmd {
			c.stop()
			return
		}
		c.noPages = true
		c.inPage = false
		c.requestBlock()
	case command == otaBlockRequest && c.state == Downloading && !c.inPage:
		c.stop()
	}
}

// hearUpgradeEnd is when to install. The first answer must be to the request; later ones may come unasked.
func (c *client) hearUpgradeEnd(sequence uint8, r fields) {
	manufacturer := r.u16()
	imageType := r.u16()
	version := r.u32()
	current := r.u32()
	upgrade := r.u32()
	switch c.state {
	case Ending:
		if sequence != c.sequence && !c.held {
			return
		}
	case WaitingToUpgrade, CountingDown:
	default:
		return
	}
	const anyCode = 0xFFFF
	if r.malformed || manufacturer != c.image.manufacturer && manufacturer != anyCode ||
		imageType != c.image.imageType && imageType != anyCode || version != c.image.version &&
		version != noVersion {
		return
	}
	pace := c.device.dongle.pace
	if upgrade == message.UpgradeTimeWait {
		c.hold()
		return
	}
	var wait time.Duration
	if upgrade > current {
		wait = time.Duration(upgrade-current) * time.Second
	}
	c.state = CountingDown
	c.wakeIn(pace.wait(wait), c.reboot)
}

// hold waits for another answer, and asks for it once in a while.
func (c *client) hold() {
	c.state = WaitingToUpgrade
	c.held = true
	c.triesLeft = 0
	wait := c.device.dongle.pace.deviceTimeout(askAgainInterval)
	c.wakeIn(wait, func() { c.sendUpgradeEnd(message.OTASuccess) })
}

// askAgainInterval is how often a device that was told to wait asks whether it may install now.
const askAgainInterval = time.Hour

func (c *client) reboot() {
	v := c.device
	v.away = true
	if v.cfg.NeverReturns && c.misbehaves() {
		c.end(Gone)
		return
	}
	c.state = Rebooting
	c.wakeIn(v.dongle.pace.wait(v.cfg.RebootTime), c.comeBack)
}

func (c *client) comeBack() {
	v := c.device
	v.away = false
	c.end(Idle)
	if !v.cfg.KeepsOldVersion || !c.misbehaves() {
		c.version = c.image.version
		c.installed = c.downloaded
		c.installs++
	}
	c.minimumPeriod = 0
	c.noPages = false
	c.received = nil
	if !v.cfg.LosesAnnounce || !c.misbehaves() {
		v.announce(v.cfg.Sleepy, 1)
	}
}
