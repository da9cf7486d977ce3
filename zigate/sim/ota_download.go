package sim

import (
	"encoding/binary"
	"slices"
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
		if v.cfg.SucceedsAt > 0 && have >= v.cfg.SucceedsAt {
			c.sendUpgradeEnd(message.OTASuccess)
			return
		}
		if v.cfg.StopsAt > 0 && have >= v.cfg.StopsAt {
			c.leave()
			return
		}
	}
	c.counts.blocksAsked++
	if v.cfg.PageRequests && !c.page.unsupported && !c.inHeader {
		c.requestPage(have)
		return
	}
	c.page.active = false
	size := c.blockSize(have)
	c.asked.size = int(min(uint32(size), c.image.size-have))
	var control byte
	b := []byte{0}
	b = appendImage(b, c.image.manufacturer, c.image.imageType, c.image.version)
	b = binary.LittleEndian.AppendUint32(b, have)
	b = append(b, size)
	if v.cfg.NodeAddressInRequests {
		control |= message.BlockHasNodeAddress
		b = binary.LittleEndian.AppendUint64(b, uint64(v.cfg.IEEE))
	}
	if v.cfg.MinimumBlockPeriod {
		control |= message.BlockHasDelay
		if !c.stack.requests.periodLate || c.told.toWait {
			b = binary.LittleEndian.AppendUint16(b, uint16(c.told.minimumPeriod/c.stack.waits.unit()))
		}
	}
	b[0] = control
	c.request(otaBlockRequest, b)
	if c.asked.untimed {
		c.asked.untimed = false
		return
	}
	c.retryIn(c.patience(), c.requestBlock, c.silence)
}

// blockSize is the largest data size in the request for the block at an offset.
func (c *otaClient) blockSize(offset uint32) uint8 {
	size := c.device.cfg.MaxDataSize
	rules := c.stack.requests
	switch {
	case c.inHeader:
		return headerLook
	case rules.firstSize > 0 && int(offset) == c.memory.skipped:
		size = min(size, rules.firstSize)
	}
	if rules.exactAtEnd {
		size = uint8(min(uint32(size), c.image.size-offset))
	}
	return size
}

// silence ends a download because nobody has answered the last block request.
func (c *otaClient) silence() {
	if c.stack.silence.aborts {
		c.sendUpgradeEnd(message.OTAAbort)
		return
	}
	c.leave()
}

// tryAgain takes an answer to the last block request for none at all, and asks again.
func (c *otaClient) tryAgain(sequence uint8) {
	switch {
	case c.asked.answered || sequence != c.asked.sequence:
	case c.asked.triesLeft == 0:
		c.counts.givenUp++
		c.silence()
	default:
		c.asked.triesLeft--
		c.requestBlock()
	}
}

// askAnew asks for the block again, however often that was.
func (c *otaClient) askAnew() {
	c.asked.answered = true
	c.wakeIn(c.device.dongle.timeline.pace.timeout(askAnewDelay), c.requestBlock)
}

// askAnewDelay is the time that a device needs to ask again at once.
const askAnewDelay = 100 * time.Millisecond

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
	c.retryIn(c.patience(), c.requestBlock, c.silence)
}

// hearBlock handles an Image Block Response. It drops one that does not fit the last request: a late answer,
// or one that came twice.
func (c *otaClient) hearBlock(f AirFrame, z zclFrame) {
	fits := c.page.active || c.stack.blocks.anySequence || z.sequence == c.asked.sequence
	if c.state != Downloading || c.asked.answered || !fits {
		c.counts.blocksDropped++
		return
	}
	r := fields{b: z.payload}
	switch status := r.u8(); status {
	case message.OTASuccess:
		c.hearData(f, z, r)
	case message.OTAWaitForData:
		c.hearWait(f, z, r)
	default:
		c.react(c.stack.blocks.status.to(status), f, z)
	}
}

// hearWait handles an answer that tells the device to wait.
func (c *otaClient) hearWait(f AirFrame, z zclFrame, r fields) {
	rules := c.stack.waits
	const times = 8   // bytes of the two times
	const period = 10 // bytes of these and the period
	length := len(r.b)
	current := r.u32()
	request := r.u32()
	delay := r.u16()
	switch {
	case rules.exact && length != period:
		c.complain(f, z)
		return
	case length < times, length < period && !rules.noPeriod:
		return
	}
	wait, verdict := rules.duration(current, request)
	if verdict != taken {
		c.react(verdict, f, z)
		return
	}
	v := c.device
	if v.cfg.MinimumBlockPeriod && length >= period && (request == current || !rules.sameSets) {
		c.told.minimumPeriod = rules.nextPeriod(c.told.minimumPeriod, delay)
	}
	c.told.toWait = true
	if !rules.keepsTries {
		c.asked.triesLeft = v.cfg.Retries
	}
	if request == current && rules.sameIsTimer {
		c.wakeIn(v.dongle.timeline.pace.timeout(c.patience()), c.requestBlock)
		return
	}
	c.asked.answered = true
	c.asked.untimed = rules.noTimer
	c.wakeIn(v.dongle.timeline.pace.timeout(max(wait, c.told.minimumPeriod)), c.requestBlock)
}

// hearData handles an answer with a block, little-endian: image, offset, size and data.
func (c *otaClient) hearData(f AirFrame, z zclFrame, r fields) {
	v := c.device
	image := imageID{manufacturer: r.u16(), imageType: r.u16(), version: r.u32(), size: c.image.size}
	offset := r.u32()
	size := int(r.u8())
	data := r.b
	if r.malformed || size == 0 || size != len(data) {
		c.counts.blocksDropped++
		return
	}
	if most := v.cfg.LosesBlocksOver; most > 0 && size > int(most) {
		c.counts.blocksDropped++
		return
	}
	if !c.takesBlock(f, z, image, offset, size) {
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
		if c.habits.sinceRepeat++; c.habits.sinceRepeat >= v.cfg.AsksAgain {
			c.habits.sinceRepeat = 0
			c.counts.blocksDropped++
			c.requestNext()
			return
		}
	}
	if v.cfg.FullBlocksOnly && !c.page.active && size < c.asked.size {
		c.sendUpgradeEnd(message.OTAAbort)
		return
	}
	c.write(data)
	c.counts.blocksReceived++
	have := len(c.received)
	switch {
	case have == int(c.image.size):
		c.finish()
	case c.page.active && have < c.page.end:
		c.retryIn(c.patience(), c.requestBlock, c.silence) // the next block comes unasked
	default:
		c.requestNext()
	}
}

// takesBlock tells whether a block is the one that was asked for, and does about another one what the stack
// does.
func (c *otaClient) takesBlock(f AirFrame, z zclFrame, image imageID, offset uint32, size int) bool {
	rules := c.stack.blocks
	have := len(c.received)
	limit := int(c.device.cfg.MaxDataSize)
	most := limit
	if !c.page.active {
		most = c.asked.size
	}
	switch {
	case image != c.image:
		c.react(rules.wrongImage, f, z)
	case offset >= c.image.size, int(offset) == have && have+size > int(c.image.size):
		c.react(rules.pastEnd, f, z)
	case int(offset) != have:
		c.react(rules.wrongOffset, f, z)
	case size > limit:
		c.react(rules.tooLarge, f, z)
	case size > most, have == 0 && size < rules.smallest:
	default:
		return true
	}
	return false
}

// write adds a block to the image. A stack that writes in units drops what is more than whole ones, and makes
// one of a block that is less: what it writes then is not the image, but at its end.
func (c *otaClient) write(data []byte) {
	if c.received == nil {
		c.received = make([]byte, 0, min(c.image.size, 1<<20))
	}
	room := int(c.image.size) - len(c.received)
	// Devices with larger blocks than the stack's own have other flash.
	if unit := c.stack.blocks.unit; unit > 0 && c.device.cfg.MaxDataSize <= c.stack.requests.size {
		whole := slices.Clone(data[:len(data)/unit*unit])
		if len(whole) == 0 {
			whole = append(slices.Clone(data), slices.Repeat([]byte{0xFF}, unit-len(data))...)
		}
		data = whole[:min(len(whole), room)]
	}
	c.received = append(c.received, data...)
}

// requestNext asks for the next block after the time that the device needs for one, or has to wait.
func (c *otaClient) requestNext() {
	v := c.device
	pace := v.dongle.timeline.pace
	c.asked.answered = true
	work := max(v.cfg.BlockInterval, c.stack.requests.spacing)
	wait := max(pace.wait(work), pace.timeout(c.told.minimumPeriod))
	if at := v.cfg.SilentAt; at > 0 && len(c.received) >= int(at) && !c.habits.wasSilent {
		c.habits.wasSilent = true
		wait = pace.timeout(v.cfg.SilentFor)
	}
	if wait == 0 {
		c.requestBlock()
		return
	}
	c.wakeIn(wait, c.requestBlock)
}
