package sim

import (
	"encoding/binary"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// State is what a device is doing about images.
type State uint8

// All states of a device.
const (
	Idle             State = iota
	Querying               // it has asked for an image
	Downloading            // it asks for blocks, or waits because it was told to
	Ending                 // it has everything and waits for the answer to its upgrade end request
	WaitingToUpgrade       // it was told to wait for another answer
	CountingDown           // it will reboot when the time comes
	Rebooting              // it installs
	Gone                   // it did not come back
	WaitingForMore         // it needs another image
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

// attribute is the value of the image upgrade status attribute in this state.
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
	version, size           uint32 // file version, and total size in bytes
}

// otaClient is the OTA client of a device.
type otaClient struct {
	device  *Device
	state   State
	version uint32 // file version that the device runs
	timer   timer
	next    func() // what happens when the timer fires

	image    imageID
	received []byte // of the image
	asked    otaAsked
	page     otaPage
	inHeader bool // the first look at the header is not done
	held     bool // was told to wait before installing
	// sinceRepeat counts the blocks since one was asked for again, for a device that does so.
	sinceRepeat   int
	minimumPeriod time.Duration // between two block requests, as the server wants it
	endStatus     uint8         // of the last upgrade end request

	downloaded, installed []byte // the last complete image, and the last one that was installed
	counts                otaCounts
}

// otaAsked is the last request of a client.
type otaAsked struct {
	sequence  uint8
	size      int  // bytes that a block request asked for
	answered  bool // no answer is awaited: a wait, or the time between two blocks
	triesLeft int
}

// otaPage is a client's part of the image that it asks for at once.
type otaPage struct {
	active      bool // its blocks come unasked
	end         int  // offset behind its last byte
	unsupported bool // the server does not know page requests
}

// otaCounts is what a client has done.
type otaCounts struct {
	sessions, installs, givenUp                int
	blocksAsked, blocksReceived, blocksDropped uint64
}

// newOTAClient is the client of a device that runs a version.
func newOTAClient(v *Device, version uint32) otaClient {
	return otaClient{device: v, version: version, image: imageID{version: noVersion}}
}

// awaits tells whether the device listens for an answer.
func (c *otaClient) awaits() bool {
	switch c.state {
	case Querying, Ending:
		return true
	case Downloading:
		return !c.asked.answered
	}
	return false
}

// misbehaves tells whether the configured faults of the device happen in this session.
func (c *otaClient) misbehaves() bool {
	first := c.device.cfg.FailFirst
	return first == 0 || c.counts.sessions <= first
}

// wake is for the timer.
func (c *otaClient) wake() {
	if next := c.next; next != nil {
		c.next = nil
		next()
	}
}

// wakeIn calls next after a time, unless something else is to happen then.
func (c *otaClient) wakeIn(wait time.Duration, next func()) {
	c.next = next
	c.device.dongle.timeline.set(&c.timer, wait)
}

// sleep cancels what was to happen.
func (c *otaClient) sleep() {
	c.next = nil
	c.device.dongle.timeline.stop(&c.timer)
}

// end leaves whatever the device was doing, for another state.
func (c *otaClient) end(state State) {
	c.sleep()
	c.held = false
	c.state = state
}

// retryIn waits for an answer: when none comes it calls again, and giveUp once no tries are left.
func (c *otaClient) retryIn(again func(), giveUp func()) {
	v := c.device
	c.wakeIn(v.dongle.timeline.pace.timeout(v.cfg.RetryInterval), func() {
		if c.asked.triesLeft == 0 {
			c.counts.givenUp++
			giveUp()
			return
		}
		c.asked.triesLeft--
		again()
	})
}

func (c *otaClient) stop() { c.end(Idle) }

// request sends a command of the OTA cluster with a new sequence number.
func (c *otaClient) request(command byte, payload []byte) {
	v := c.device
	c.asked.sequence = v.nextSequence()
	control := zclClusterFrame
	if v.cfg.DisableDefaultResponse {
		control |= zclNoDefaultResponse
	}
	v.transmitZCL(clusterOTA, append([]byte{control, c.asked.sequence, command}, payload...))
}

// query asks for an image, unless the device is busy.
func (c *otaClient) query() {
	if c.state != Idle && c.state != WaitingForMore || c.device.away || !c.device.joined {
		return
	}
	c.asked.triesLeft = c.device.cfg.Retries
	c.sendQuery()
}

// sendQuery sends a Query Next Image Request.
func (c *otaClient) sendQuery() {
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

// hear handles a command of the server.
func (c *otaClient) hear(f AirFrame, z zclFrame) {
	r := fields{b: z.payload}
	switch z.command {
	case otaImageNotify:
		c.hearNotify(f, z, r)
	case otaQueryNextImageRsp:
		if c.state == Querying && z.sequence == c.asked.sequence {
			c.hearOffer(r)
		}
	case otaBlockResponse:
		c.hearBlock(z.sequence, r)
	case otaUpgradeEndResponse:
		c.hearUpgradeEnd(z.sequence, r)
	}
}

// hearNotify handles an Image Notify. A device that is meant asks for an image: always after a unicast, and
// after a broadcast by chance, as the query jitter says. A notify that names the version that the device runs
// does not mean it.
func (c *otaClient) hearNotify(f AirFrame, z zclFrame, r fields) {
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
		t := v.dongle.timeline
		t.later(t.pace.wait(wait), c.query)
	}
}

// hearOffer handles a Query Next Image Response.
func (c *otaClient) hearOffer(r fields) {
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
	c.counts.sessions++
	c.state = Downloading
	c.inHeader = v.cfg.HeaderFirst
	c.page.active = false
	c.asked.triesLeft = v.cfg.Retries
	c.requestBlock()
}

// hearDefaultResponse handles the server's refusal of a request. A success only says that the server has
// heard it.
func (c *otaClient) hearDefaultResponse(command, status byte) {
	switch {
	case status == zclSuccess:
	case command == otaQueryNextImage && c.state == Querying:
		c.stop()
	case command == otaPageRequest && c.state == Downloading && c.page.active:
		if status != zclUnsupportedCmd {
			c.stop()
			return
		}
		c.page.unsupported = true
		c.page.active = false
		c.requestBlock()
	case command == otaBlockRequest && c.state == Downloading && !c.page.active:
		c.stop()
	}
}

// hearUpgradeEnd handles an Upgrade End Response, which says when to install. The first one must answer the
// request; later ones may come unasked.
func (c *otaClient) hearUpgradeEnd(sequence uint8, r fields) {
	manufacturer := r.u16()
	imageType := r.u16()
	version := r.u32()
	current := r.u32()
	upgrade := r.u32()
	switch c.state {
	case Ending:
		if sequence != c.asked.sequence && !c.held {
			return
		}
	case WaitingToUpgrade, CountingDown:
	default:
		return
	}
	const anyCode = 0xFFFF
	if r.malformed || manufacturer != c.image.manufacturer && manufacturer != anyCode ||
		imageType != c.image.imageType && imageType != anyCode ||
		version != c.image.version && version != noVersion {
		return
	}
	pace := c.device.dongle.timeline.pace
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

// hold waits for another answer, and asks for it every hour.
func (c *otaClient) hold() {
	c.state = WaitingToUpgrade
	c.held = true
	c.asked.triesLeft = 0
	wait := c.device.dongle.timeline.pace.timeout(askAgainInterval)
	c.wakeIn(wait, func() { c.sendUpgradeEnd(message.OTASuccess) })
}

// askAgainInterval is how often a device that was told to wait asks whether it may install now.
const askAgainInterval = time.Hour

// reboot installs the image.
func (c *otaClient) reboot() {
	v := c.device
	v.away = true
	if v.cfg.NeverReturns && c.misbehaves() {
		c.end(Gone)
		return
	}
	c.state = Rebooting
	c.wakeIn(v.dongle.timeline.pace.wait(v.cfg.RebootTime), c.comeBack)
}

// comeBack ends the reboot.
func (c *otaClient) comeBack() {
	v := c.device
	v.away = false
	c.end(Idle)
	if !v.cfg.KeepsOldVersion || !c.misbehaves() {
		c.version = c.image.version
		c.installed = c.downloaded
		c.counts.installs++
	}
	c.minimumPeriod = 0
	c.page.unsupported = false
	c.received = nil
	if !v.cfg.LosesAnnounce || !c.misbehaves() {
		v.announce(v.cfg.Sleepy, 1)
	}
}
