package sim

import (
	"encoding/binary"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// headerLook is how many bytes a HeaderFirst device asks for at first.
const headerLook = 16

// requestBlock asks for what follows, unless the device is made to stop here.
func (c *client) requestBlock() {
	v := c.device
	c.answered = false
	have := uint32(len(c.received))
	if c.misbehaves() {
		if v.cfg.AbortAt > 0 && have >= v.cfg.AbortAt {
			c.sendUpgradeEnd(message.OTAAbort)
			return
		}
		if v.cfg.StopsAt > 0 && have >= v.cfg.StopsAt {
			c.stop()
			return
		}
	}
	c.blocksAsked++
	if v.cfg.PageRequests && !c.noPages && !c.inHeader {
		c.requestPage(have)
		return
	}
	c.inPage = false
	size := min(uint32(v.cfg.MaxDataSize), c.image.size-have)
	if c.inHeader {
		size = min(headerLook, c.image.size)
	}
	c.requested = int(size)
	var control byte
	b := []byte{0}
	b = appendImage(b, c.image.manufacturer, c.image.imageType, c.image.version)
	b = binary.LittleEndian.AppendUint32(b, have)
	if c.inHeader {
		b = append(b, headerLook)
	} else {
		b = append(b, v.cfg.MaxDataSize)
	}
	if v.cfg.NodeAddressInRequests {
		control |= message.BlockHasNodeAddress
		b = binary.LittleEndian.AppendUint64(b, uint64(v.cfg.IEEE))
	}
	if v.cfg.MinimumBlockPeriod {
		control |= message.BlockHasDelay
		b = binary.LittleEndian.AppendUint16(b, uint16(c.minimumPeriod/time.Millisecond))
	}
	b[0] = control
	c.request(otaBlockRequest, b)
	c.retryIn(c.requestBlock, c.stop)
}

func (c *client) requestPage(offset uint32) {
	v := c.device
	c.inPage = true
	c.pageEnd = int(min(offset+uint32(v.cfg.PageSize), c.image.size))
	var control byte
	b := []byte{0}
	b = appendImage(b, c.image.manufacturer, c.image.imageType, c.image.version)
	b = binary.LittleEndian.AppendUint32(b, offset)
	b = append(b, v.cfg.MaxDataSize)
	b = binary.LittleEndian.AppendUint16(b, v.cfg.PageSize)
	b = binary.LittleEndian.AppendUint16(b, uint16(v.cfg.ResponseSpacing/time.Millisecond))
	if v.cfg.NodeAddressInRequests {
		control |= message.BlockHasNodeAddress
		b = binary.LittleEndian.AppendUint64(b, uint64(v.cfg.IEEE))
	}
	b[0] = control
	c.request(otaPageRequest, b)
	c.retryIn(c.requestBlock, c.stop)
}

// hearBlock is an Image Block Response. One that does not fit the request that waits is dropped: a late
// answer, one to somebody else's taste, or a duplicate.
func (c *client) hearBlock(sequence uint8, r fields) {
	if c.state != Downloading || c.answered || !c.inPage && sequence != c.sequence {
		c.blocksDropped++
		return
	}
	switch status := r.u8(); status {
	case message.OTASuccess:
		c.hearData(r)
	case message.OTAWaitForData:
		c.hearWait(r)
	default:
		c.stop()
	}
}

func (c *client) hearWait(r fields) {
	current := r.u32()
	request := r.u32()
	delay := r.u16()
	if r.malformed {
		return
	}
	v := c.device
	if v.cfg.MinimumBlockPeriod {
		c.minimumPeriod = time.Duration(delay) * time.Millisecond
	}
	var wait time.Duration
	if request > current {
		wait = time.Duration(request-current) * time.Second
	}
	c.answered = true
	c.triesLeft = v.cfg.Retries
	c.wakeIn(v.dongle.pace.deviceTimeout(max(wait, c.minimumPeriod)), c.requestBlock)
}

func (c *client) hearData(r fields) {
	v := c.device
	image := imageID{manufacturer: r.u16(), imageType: r.u16(), version: r.u32(), size: c.image.size}
	offset := r.u32()
	size := int(r.u8())
	data := r.b
	have := len(c.received)
	limit := int(v.cfg.MaxDataSize)
	if !c.inPage {
		limit = c.requested
	}
	if r.malformed || image != c.image || int(offset) != have || size == 0 || size > limit ||
		size != len(data) ||
		have+size > int(c.image.size) {
		c.blocksDropped++
		return
	}
	c.triesLeft = v.cfg.Retries
	if c.inHeader { // seen; the download starts again
		c.inHeader = false
		c.requestNext()
		return
	}
	if v.cfg.AsksAgain > 0 {
		if c.askAgain++; c.askAgain >= v.cfg.AsksAgain {
			c.askAgain = 0
			c.blocksDropped++
			c.requestNext()
			return
		}
	}
	if v.cfg.FullBlocksOnly && !c.inPage && size < c.requested {
		c.sendUpgradeEnd(message.OTAAbort)
		return
	}
	if c.received == nil {
		c.received = make([]byte, 0, min(c.image.size, 1<<20))
	}
	c.received = append(c.received, data...)
	c.blocksReceived++
	have = len(c.received)
	switch {
	case have == int(c.image.size):
		c.finish()
	case c.inPage && have < c.pageEnd:
		c.retryIn(c.requestBlock, c.stop) // the next block comes unasked
	default:
		c.requestNext()
	}
}

// requestNext waits as long as the device takes for a block, or has to, and asks for the next one.
func (c *client) requestNext() {
	v := c.device
	pace := v.dongle.pace
	c.answered = true
	wait := max(pace.wait(v.cfg.BlockInterval), pace.deviceTimeout(c.minimumPeriod))
	if wait == 0 {
		c.requestBlock()
		return
	}
	c.wakeIn(wait, c.requestBlock)
}

// finish judges the image and tells the server.
func (c *client) finish() {
	v := c.device
	c.downloaded = c.received
	status := message.OTASuccess
	switch {
	case c.misbehaves() && v.cfg.InvalidAtEnd || !c.valid():
		status = message.OTAInvalidImage
	case c.misbehaves() && v.cfg.RequireMore:
		status = message.OTARequireMoreImage
	}
	c.triesLeft = v.cfg.Retries
	c.sendUpgradeEnd(status)
}

// Places in the OTA header.
const (
	headerFieldControl  = 8
	headerManufacturer  = 10
	headerImageType     = 12
	headerFileVersion   = 14
	headerTotalSize     = 52
	headerOptional      = 56
	hasCredential       = 1 << 0
	hasDestination      = 1 << 1
	hasHardwareVersions = 1 << 2
)

// valid tells whether what was received is an OTA file of the announced size, for this device and of the
// version that was offered.
func (c *client) valid() bool {
	b := c.received
	if len(b) < headerOptional || len(b) != int(c.image.size) {
		return false
	}
	if binary.LittleEndian.Uint32(b) != message.FileIdentifier ||
		binary.LittleEndian.Uint32(b[headerTotalSize:]) != c.image.size ||
		binary.LittleEndian.Uint16(b[headerManufacturer:]) != c.image.manufacturer ||
		binary.LittleEndian.Uint16(b[headerImageType:]) != c.image.imageType ||
		binary.LittleEndian.Uint32(b[headerFileVersion:]) != c.image.version {
		return false
	}
	control := binary.LittleEndian.Uint16(b[headerFieldControl:])
	r := fields{b: b[headerOptional:]}
	if control&hasCredential != 0 {
		r.u8()
	}
	if control&hasDestination != 0 && r.u64() != uint64(c.device.cfg.IEEE) {
		return false
	}
	if control&hasHardwareVersions != 0 {
		lowest := r.u16()
		highest := r.u16()
		if own := c.device.cfg.HardwareVersion; own != nil && (*own < lowest || *own > highest) {
			return false
		}
	}
	return !r.malformed
}

// sendUpgradeEnd ends the session. Only a success waits for an answer.
func (c *client) sendUpgradeEnd(status uint8) {
	v := c.device
	c.endStatus = status
	b := appendImage([]byte{status}, c.image.manufacturer, c.image.imageType, c.image.version)
	switch status {
	case message.OTASuccess:
		c.state = Ending
	case message.OTARequireMoreImage:
		c.end(WaitingForMore)
	default:
		c.end(Idle)
	}
	c.request(otaUpgradeEnd, b)
	if status == message.OTASuccess {
		c.retryIn(func() { c.sendUpgradeEnd(status) }, func() {
			switch {
			case c.held:
				c.hold()
			case v.cfg.InstallsWithoutReply:
				c.reboot()
			default:
				c.stop()
			}
		})
	}
}
