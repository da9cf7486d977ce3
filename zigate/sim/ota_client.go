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

// habits is how far a device is with what it does now and then.
type habits struct {
	sinceRepeat int  // blocks since one was asked for again
	wasSilent   bool // it has been silent for long
}

// otaClient is the OTA client of a device.
type otaClient struct {
	device  *Device
	id      ClientConfig
	stack   *stackTraits
	state   State
	version uint32 // file version that the device runs
	timer   timer
	next    func() // what happens when the timer fires

	image      imageID
	received   []byte // of the image
	asked      otaAsked
	page       otaPage
	inHeader   bool // the first look at the header is not done
	ending     otaEnding
	memory     otaMemory
	habits     habits
	told       otaTold
	unanswered int // queries in a row that nobody has answered
	// queryWaits says that it asks for an image once the other OTA client on its endpoint is idle.
	queryWaits bool

	counts otaCounts
}

// otaAsked is the last request of a client.
type otaAsked struct {
	sequence  uint8
	size      int  // bytes that a block request asked for
	answered  bool // no answer is awaited: a wait, or the time between two blocks
	untimed   bool // nothing happens when the next block request is not answered
	free      bool // the next try does not count
	notified  bool // the query follows a notify
	triesLeft int
}

// otaTold is what a client knows from waits that the server has told it since the start.
type otaTold struct {
	toWait        bool          // there was one
	minimumPeriod time.Duration // between two block requests
}

// otaEnding is how far a client is with a complete image.
type otaEnding struct {
	status uint8     // of the last upgrade end request
	held   bool      // it was told to wait before installing
	until  time.Time // it installs then at the latest, unless this is zero
}

// otaMemory is what lies in a client's flash beside the image.
type otaMemory struct {
	skipped               int    // bytes at the start that it never asks for
	restored              bool   // the image was there when power came back
	downloaded, installed []byte // the last complete image, and the last one that was installed
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

// newOTAClient is an OTA client of a device.
func newOTAClient(v *Device, id ClientConfig) otaClient {
	return otaClient{
		device:  v,
		id:      id,
		stack:   v.cfg.Stack.traits(),
		version: id.FileVersion,
		image:   imageID{version: noVersion},
	}
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
	c.ending.held = false
	c.ending.until = time.Time{}
	c.state = state
	if state == Idle {
		c.letOthersAsk()
	}
}

// letOthersAsk has those OTA clients on the same endpoint ask for an image that have waited for this one.
func (c *otaClient) letOthersAsk() {
	t := c.device.dongle.timeline
	if len(c.device.others) == 0 {
		return
	}
	for _, other := range c.device.clientsAt(c.id.Endpoint) {
		if other.queryWaits {
			t.later(t.pace.wait(askAnewDelay), func() {
				if other.queryWaits {
					other.query(other.asked.notified)
				}
			})
		}
	}
}

// retryIn waits for an answer: when none comes it calls again, and giveUp once no tries are left.
func (c *otaClient) retryIn(wait time.Duration, again func(), giveUp func()) {
	c.wakeIn(c.device.dongle.timeline.pace.timeout(wait), func() {
		switch {
		case c.asked.free:
			c.asked.free = false
		case c.asked.triesLeft == 0:
			c.counts.givenUp++
			giveUp()
			return
		default:
			c.asked.triesLeft--
		}
		again()
	})
}

// patience is how long this try of a request waits for its answer.
func (c *otaClient) patience() time.Duration {
	wait := c.device.cfg.RetryInterval
	if c.stack.silence.grows {
		wait *= time.Duration(c.device.cfg.Retries - c.asked.triesLeft + 1)
	}
	return wait
}

func (c *otaClient) stop() { c.end(Idle) }

// leave ends a download that has failed, or an attempt at one.
func (c *otaClient) leave() {
	c.stop()
	times := c.stack.queries
	if times.afterFailure > 0 {
		c.device.scheduleQuery(c.device.byChance(times.afterFailure, times.failureSpan))
	}
}

// react does about an answer what the stack does about such ones.
func (c *otaClient) react(r reaction, f AirFrame, z zclFrame) {
	switch r {
	case ignores, taken:
	case complains:
		c.complain(f, z)
		c.asked.free = true
	case asksAgain:
		c.tryAgain(z.sequence)
	case asksAnew:
		c.complain(f, z)
		c.askAnew()
	case givesUp:
		c.leave()
	case forgets:
		c.asked.sequence++
		c.leave()
	case aborts:
		c.sendUpgradeEnd(message.OTAAbort)
	case rejects:
		c.received = nil
		c.sendUpgradeEnd(message.OTAInvalidImage)
	case stalls:
		c.stall()
	case stallsLoud:
		c.complain(f, z)
		c.stall()
	case abortsLate:
		if len(c.received) >= headerOptional {
			c.sendUpgradeEnd(message.OTAAbort)
		}
	}
}

// stall waits for nothing, and does nothing.
func (c *otaClient) stall() {
	c.asked.answered = true
	c.sleep()
}

func (c *otaClient) complain(f AirFrame, z zclFrame) {
	c.device.defaultResponse(f, z, c.stack.blocks.complaint)
}

// request sends a command of the OTA cluster with a new sequence number.
func (c *otaClient) request(command byte, payload []byte) {
	v := c.device
	c.asked.sequence = v.nextSequence()
	control := zclClusterFrame
	if v.cfg.DisableDefaultResponse {
		control |= zclNoDefaultResponse
	}
	v.transmitZCL(c.id.Endpoint, clusterOTA, append([]byte{control, c.asked.sequence, command}, payload...))
}

// query asks for an image, unless the device is busy. notified says that it was told to.
func (c *otaClient) query(notified bool) {
	if c.state != Idle && c.state != WaitingForMore || c.device.away || !c.device.joined {
		return
	}
	if c.id.AfterFirst && c.device.client.counts.installs == 0 {
		return
	}
	c.asked.notified = notified
	c.queryWaits = len(c.device.others) > 0 && c.device.busyAt(c.id.Endpoint) != nil
	if c.queryWaits {
		return
	}
	c.asked.triesLeft = 0
	if c.stack.queries.repeats {
		c.asked.triesLeft = c.device.cfg.Retries
	}
	c.sendQuery()
}

// rediscover finds the server again, for a stack that has lost it. The simulation has no discovery on air.
func (c *otaClient) rediscover() {
	if limit := c.stack.queries.forgetsServer; limit > 0 && c.unanswered >= limit {
		c.unanswered = 0
	}
}

// sendQuery sends a Query Next Image Request.
func (c *otaClient) sendQuery() {
	v := c.device
	c.state = Querying
	const hasHardwareVersion = 1
	b := []byte{0}
	b = appendImage(b, c.id.ManufacturerCode, c.id.ImageType, c.version)
	if c.id.HardwareVersion != nil && (c.asked.notified || !c.stack.queries.hardwareOnNotify) {
		b[0] |= hasHardwareVersion
		b = binary.LittleEndian.AppendUint16(b, *c.id.HardwareVersion)
	}
	c.request(otaQueryNextImage, b)
	c.retryIn(v.cfg.RetryInterval, c.sendQuery, func() {
		c.unanswered++
		c.stop()
	})
}

// hear handles a command of the server.
func (c *otaClient) hear(f AirFrame, z zclFrame) {
	switch z.command {
	case otaImageNotify:
		c.hearNotify(f, z)
	case otaQueryNextImageRsp:
		if c.expectsOffer(z.sequence) {
			c.hearOffer(z)
		}
	case otaBlockResponse:
		c.hearBlock(f, z)
	case otaUpgradeEndResponse:
		c.hearUpgradeEnd(f, z)
	}
}

// hearNotify handles an Image Notify.
func (c *otaClient) hearNotify(f AirFrame, z zclFrame) {
	v := c.device
	r := fields{b: z.payload}
	kind := r.u8()
	jitter := r.u8()
	meant := c.isMeant(kind, &r)
	forgets := c.stack.queries.forgetsServer
	if v.cfg.SilentToNotify || r.malformed || forgets > 0 && c.unanswered >= forgets {
		return
	}
	if f.Broadcast {
		c.hearBroadcastNotify(meant, jitter)
		return
	}
	rules := c.stack.notify
	if rules.oldRule && kind != message.NotifyJitter && jitter != maxJitter {
		v.defaultResponse(f, z, zclMalformed)
		return
	}
	switch {
	case !meant && !rules.anyPayload:
		v.defaultResponse(f, z, message.OTANoImageAvailable)
	case c.state != Idle && c.state != WaitingForMore:
		c.hearNotifyWhileBusy(f, z)
	case rules.restarts:
		v.scheduleQuery(v.queryTimes().interval)
	default:
		c.query(true)
	}
}

// isMeant reads what an Image Notify of some type names. One that names the version that the device runs
// does not mean it.
func (c *otaClient) isMeant(kind uint8, r *fields) bool {
	manufacturer := c.id.ManufacturerCode
	imageType := c.id.ImageType
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
	return (manufacturer == c.id.ManufacturerCode || manufacturer == anyCode) &&
		(imageType == c.id.ImageType || imageType == anyCode) && version != c.version
}

const (
	anyCode   uint16 = 0xFFFF // stands for every manufacturer code and image type
	maxJitter uint8  = 100
)

// hearBroadcastNotify has a device that is meant ask for an image by chance, as the query jitter says.
func (c *otaClient) hearBroadcastNotify(meant bool, jitter uint8) {
	v := c.device
	if !meant || v.random.UintN(100) >= uint(jitter) && !c.stack.notify.alwaysAsks {
		return
	}
	wait := time.Duration(v.random.Float64() * float64(time.Second))
	t := v.dongle.timeline
	t.later(t.pace.wait(wait), func() { c.query(true) })
}

// hearNotifyWhileBusy handles an Image Notify for this device alone that does not come at the right time.
func (c *otaClient) hearNotifyWhileBusy(f AirFrame, z zclFrame) {
	switch c.stack.notify.busy {
	case busySilent:
	case busyFails:
		c.device.defaultResponse(f, z, zclFailure)
	case busySuccess:
		c.device.defaultResponse(f, z, zclSuccess)
	case busyQueries:
		if c.state == Downloading {
			c.stop()
			c.query(true)
		}
	}
}

// expectsOffer tells whether a Query Next Image Response with this sequence number is looked at.
func (c *otaClient) expectsOffer(sequence uint8) bool {
	rules := c.stack.queries
	switch c.state {
	case Querying:
		return sequence == c.asked.sequence
	case Idle:
		return rules.takesLate && sequence == c.asked.sequence
	case Downloading:
		return rules.takesAlways
	}
	return false
}

// hearOffer handles a Query Next Image Response.
func (c *otaClient) hearOffer(z zclFrame) {
	rules := c.stack.queries
	r := fields{b: z.payload}
	status := r.u8()
	const refused = 1  // bytes of a response without an image
	const offered = 13 // and of one with an image
	if rules.exact && len(z.payload) != refused && len(z.payload) != offered {
		return
	}
	c.unanswered = 0
	image := imageID{manufacturer: r.u16(), imageType: r.u16(), version: r.u32(), size: r.u32()}
	if status != message.OTASuccess || r.malformed || !c.wants(image) {
		if c.state != Downloading {
			c.stop()
		}
		return
	}
	if !c.goesOnWith(image) {
		c.received = nil
		c.memory.skipped = int(min(c.stack.requests.first, image.size))
		if c.memory.skipped > 0 {
			c.received = make([]byte, c.memory.skipped)
		}
	}
	c.memory.restored = false
	c.image = image
	c.counts.sessions++
	c.inHeader = c.device.cfg.HeaderFirst
	c.download()
}

// wants tells whether the device takes an image that it is offered.
func (c *otaClient) wants(image imageID) bool {
	if image.manufacturer != c.id.ManufacturerCode || image.imageType != c.id.ImageType {
		return false
	}
	if image.version == c.version && c.stack.queries.refusesSame {
		return false
	}
	return !c.device.cfg.OnlyNewer || image.version > c.version
}

// goesOnWith tells whether a download of an image continues the last one.
func (c *otaClient) goesOnWith(image imageID) bool {
	if !c.device.cfg.ResumesDownload && !c.memory.restored {
		return false
	}
	have := len(c.received)
	return image == c.image && have > c.memory.skipped && have >= c.stack.memory.offersFrom &&
		have < int(image.size)
}

// download asks for the blocks that are missing.
func (c *otaClient) download() {
	c.state = Downloading
	c.page.active = false
	c.asked.untimed = false
	c.asked.free = false
	c.asked.triesLeft = c.device.cfg.Retries
	c.requestBlock()
}

// hearDefaultResponse handles the server's refusal of a request. A success only says that the server has
// heard it.
func (c *otaClient) hearDefaultResponse(f AirFrame, z zclFrame, command, status byte) {
	rules := c.stack.refusals
	switch {
	case status == zclSuccess:
	case command == otaQueryNextImage && c.state == Querying:
		c.unanswered = 0
		c.react(rules.query.to(status), f, z)
	case command == otaPageRequest && c.state == Downloading && c.page.active:
		if status != zclUnsupportedCmd {
			c.leave()
			return
		}
		c.page.unsupported = true
		c.page.active = false
		c.requestBlock()
	case command == otaBlockRequest && c.state == Downloading && !c.page.active:
		c.react(rules.block.to(status), f, z)
	case command == otaUpgradeEnd && (c.state == Ending || c.state == WaitingToUpgrade):
		c.react(rules.end.to(status), f, z)
	}
}
