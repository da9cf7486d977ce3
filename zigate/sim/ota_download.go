package sim

import (
	"encoding/binary"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// headerLook is how many bytes a HeaderFirst device asks for in its first request.
const headerLook = 16

// requestBlock asks for the next block or page, unless the device is configured to stop here.
func (c *otaClient) requestBlock() {
	v := c.device
	c.asked.answered = false
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
	c.counts.blocksAsked++
	if v.cfg.PageRequests && !c.page.unsupported && !c.inHeader {
		c.requestPage(have)
		return
	}
	c.page.active = false
	size := min(uint32(v.cfg.MaxDataSize), c.image.size-have)
	if c.inHeader {
		size = min(headerLook, c.image.size)
	}
	c.asked.size = int(size)
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

// requestPage asks for a page of blocks.
func (c *otaClient) requestPage(offset uint32) {
	v := c.device
	c.page.active = true
	c.page.end = int(min(offset+uint32(v.cfg.PageSize), c.image.size))
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

// hearBlock handles an Image Block Response. It drops one that does not fit the last request: a late answer,
// or one that came twice.
func (c *otaClient) hearBlock(sequence uint8, r fields) {
	if c.state != Downloading || c.asked.answered || !c.page.active && sequence != c.asked.sequence {
		c.counts.blocksDropped++
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

// hearWait handles an answer that tells the device to wait.
func (c *otaClient) hearWait(r fields) {
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
	c.asked.answered = true
	c.asked.triesLeft = v.cfg.Retries
	c.wakeIn(v.dongle.timeline.pace.timeout(max(wait, c.minimumPeriod)), c.requestBlock)
}

// hearData handles an answer with a block, little-endian: image, offset, size and data.
func (c *otaClient) hearData(r fields) {
	v := c.device
	image := imageID{manufacturer: r.u16(), imageType: r.u16(), version: r.u32(), size: c.image.size}
	offset := r.u32()
	size := int(r.u8())
	data := r.b
	have := len(c.received)
	limit := int(v.cfg.MaxDataSize)
	if !c.page.active {
		limit = c.asked.size
	}
	if r.malformed || image != c.image || int(offset) != have ||
		size == 0 || size > limit || size != len(data) || have+size > int(c.image.size) {
		c.counts.blocksDropped++
		return
	}
	c.asked.triesLeft = v.cfg.Retries
	if c.inHeader { // it has seen the header, and the download starts again
		c.inHeader = false
		c.requestNext()
		return
	}
	if v.cfg.AsksAgain > 0 {
		if c.sinceRepeat++; c.sinceRepeat >= v.cfg.AsksAgain {
			c.sinceRepeat = 0
			c.counts.blocksDropped++
			c.requestNext()
			return
		}
	}
	if v.cfg.FullBlocksOnly && !c.page.active && size < c.asked.size {
		c.sendUpgradeEnd(message.OTAAbort)
		return
	}
	if c.received == nil {
		c.received = make([]byte, 0, min(c.image.size, 1<<20))
	}
	c.received = append(c.received, data...)
	c.counts.blocksReceived++
	have = len(c.received)
	switch {
	case have == int(c.image.size):
		c.finish()
	case c.page.active && have < c.page.end:
		c.retryIn(c.requestBlock, c.stop) // the next block comes unasked
	default:
		c.requestNext()
	}
}

// requestNext asks for the next block after the time that the device needs for one, or has to wait.
func (c *otaClient) requestNext() {
	v := c.device
	pace := v.dongle.timeline.pace
	c.asked.answered = true
	wait := max(pace.wait(v.cfg.BlockInterval), pace.timeout(c.minimumPeriod))
	if wait == 0 {
		c.requestBlock()
		return
	}
	c.wakeIn(wait, c.requestBlock)
}

// finish checks the image and tells the server the result.
func (c *otaClient) finish() {
	v := c.device
	c.downloaded = c.received
	status := message.OTASuccess
	switch {
	case c.misbehaves() && v.cfg.InvalidAtEnd || !c.valid():
		status = message.OTAInvalidImage
	case c.misbehaves() && v.cfg.RequireMore:
		status = message.OTARequireMoreImage
	}
	c.asked.triesLeft = v.cfg.Retries
	c.sendUpgradeEnd(status)
}

// Offsets in the OTA header, and bits of its field control.
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

// valid tells whether the received bytes are an OTA file of the announced size, for this device and of the
// version that was offered.
func (c *otaClient) valid() bool {
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

// sendUpgradeEnd sends an Upgrade End Request, which ends the session. Only after a success the device waits
// for an answer.
func (c *otaClient) sendUpgradeEnd(status uint8) {
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
