package sim

import (
	"cmp"
	"encoding/binary"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// finish checks the image and tells the server the result.
func (c *otaClient) finish() {
	v := c.device
	c.memory.downloaded = c.received
	status := message.OTASuccess
	switch {
	case c.misbehaves() && v.cfg.InvalidAtEnd || !c.isValid():
		status = message.OTAInvalidImage
	case v.cfg.InstallsOnlyNewer && c.image.version <= c.version:
		status = message.OTAInvalidImage
	case c.misbehaves() && v.cfg.RequireMore:
		status = message.OTARequireMoreImage
	}
	c.asked.triesLeft = c.endRetries()
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

// isValid tells whether the received bytes are an OTA file of the announced size, for this device and of the
// version that was offered. A device that has skipped the header believes the offer.
func (c *otaClient) isValid() bool {
	b := c.received
	if len(b) < headerOptional || len(b) != int(c.image.size) {
		return false
	}
	if c.memory.skipped >= headerOptional {
		return true
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
		if own := c.id.HardwareVersion; own != nil && (*own < lowest || *own > highest) {
			return false
		}
	}
	return !r.malformed
}

// endRetries is how often an upgrade end request is repeated.
func (c *otaClient) endRetries() int {
	if c.stack.end.interval == 0 {
		return c.device.cfg.Retries
	}
	return c.stack.end.retries
}

// sendUpgradeEnd sends an Upgrade End Request, which ends the session. Only after a success the device waits
// for an answer.
func (c *otaClient) sendUpgradeEnd(status uint8) {
	c.ending.status = status
	b := appendImage([]byte{status}, c.image.manufacturer, c.image.imageType, c.image.version)
	switch status {
	case message.OTASuccess:
		c.state = Ending
	case message.OTARequireMoreImage:
		c.end(WaitingForMore)
	default:
		c.leave()
	}
	c.request(otaUpgradeEnd, b)
	if status == message.OTASuccess {
		c.awaitUpgradeEnd()
	}
}

// awaitUpgradeEnd waits for an Upgrade End Response.
func (c *otaClient) awaitUpgradeEnd() {
	wait := c.stack.end.interval
	switch {
	case !c.ending.until.IsZero():
		c.hold() // the next question, or the end of its patience, comes whether this one is answered or not
		return
	case wait == never:
		c.sleep()
		return
	case wait == 0:
		wait = c.patience()
	}
	c.retryIn(wait, func() { c.sendUpgradeEnd(message.OTASuccess) }, c.upgradeEndUnanswered)
}

// upgradeEndUnanswered is what happens when nobody has answered the last upgrade end request.
func (c *otaClient) upgradeEndUnanswered() {
	switch {
	case c.ending.held && !c.stack.install.asksWhileAnswered:
		c.hold()
	case c.device.cfg.InstallsWithoutReply, c.stack.end.unanswered == unansweredInstalls:
		c.reboot()
	default:
		c.leave()
	}
}

// hearUpgradeEnd handles an Upgrade End Response, which says when to install. The first one must answer the
// request, unless the stack is not so strict; later ones may come unasked.
func (c *otaClient) hearUpgradeEnd(f AirFrame, z zclFrame) {
	rules := c.stack.install
	switch c.state {
	case Ending:
		if z.sequence != c.asked.sequence && !c.ending.held && !c.stack.end.anySequence {
			return
		}
	case WaitingToUpgrade:
	case CountingDown:
		if rules.fixed {
			return
		}
	default:
		return
	}
	r := fields{b: z.payload}
	image := imageID{manufacturer: r.u16(), imageType: r.u16(), version: r.u32(), size: c.image.size}
	current := r.u32()
	upgrade := r.u32()
	if r.malformed || !c.stack.end.covers(image, c.image) {
		return
	}
	if upgrade == message.UpgradeTimeWait {
		c.hold()
		return
	}
	wait, verdict := rules.delay(current, upgrade)
	if verdict != taken {
		c.react(verdict, f, z)
		return
	}
	c.countDown(wait)
}

// countDown waits until it is time to install.
func (c *otaClient) countDown(wait time.Duration) {
	c.state = CountingDown
	if wait == never {
		c.sleep()
		return
	}
	c.wakeIn(c.device.dongle.timeline.pace.wait(wait), c.reboot)
}

// hold waits for another answer, and asks for it every hour, as far as the stack does so.
func (c *otaClient) hold() {
	c.state = WaitingToUpgrade
	rules := c.stack.install
	t := c.device.dongle.timeline
	if rules.holdsFor > 0 && !c.ending.held {
		c.ending.until = t.now.Add(t.pace.timeout(rules.holdsFor))
	}
	c.ending.held = true
	if rules.neverAsks {
		c.sleep()
		return
	}
	c.asked.triesLeft = 0
	if rules.asksWhileAnswered {
		c.asked.triesLeft = c.endRetries()
	}
	wait := t.pace.timeout(askAgainInterval)
	if until := c.ending.until; !until.IsZero() {
		wait = min(wait, until.Sub(t.now))
	}
	c.wakeIn(wait, func() {
		if until := c.ending.until; !until.IsZero() && !t.now.Before(until) {
			c.reboot()
			return
		}
		c.sendUpgradeEnd(message.OTASuccess)
	})
}

// askAgainInterval is how often a device that was told to wait asks whether it may install now.
const askAgainInterval = time.Hour

// reboot installs the image.
func (c *otaClient) reboot() {
	v := c.device
	v.away = true
	for _, other := range v.clients() {
		if other != c {
			other.queryWaits = false
			other.end(Idle)
		}
	}
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
		c.version = cmp.Or(v.cfg.ReportsVersion, c.image.version)
		v.cfg.ManufacturerName = cmp.Or(v.cfg.Becomes.ManufacturerName, v.cfg.ManufacturerName)
		v.cfg.ModelID = cmp.Or(v.cfg.Becomes.ModelID, v.cfg.ModelID)
		if c == &v.client {
			c.id.ManufacturerCode = cmp.Or(v.cfg.Becomes.ManufacturerCode, c.id.ManufacturerCode)
			c.id.ImageType = cmp.Or(v.cfg.Becomes.ImageType, c.id.ImageType)
		}
		c.memory.installed = c.memory.downloaded
		c.counts.installs++
	}
	c.page.unsupported = false
	c.received = nil
	c.forgetSession()
	if !v.cfg.LosesAnnounce || !c.misbehaves() {
		v.announce(v.cfg.Sleepy, 1)
	}
	v.scheduleFirstQuery()
}

// forgetSession is what any restart of the device does.
func (c *otaClient) forgetSession() {
	c.told = otaTold{}
	c.unanswered = 0
	c.asked.sequence++ // an answer to what it asked before is none
}

// losePower takes what the device does not save. What it has saved of the image is there when power comes
// back.
func (c *otaClient) losePower() {
	rules := c.stack.memory
	downloading := c.state == Downloading
	c.end(Idle)
	if rules.keepsAll {
		return
	}
	c.forgetSession()
	have := len(c.received)
	saved := 0
	if rules.savesEvery > 0 && have < int(c.image.size) && (downloading || c.device.cfg.ResumesDownload) {
		step := rules.savesEvery
		if rules.saves > 0 {
			step = max(step, int(c.image.size)/rules.saves+1)
		}
		saved = have / step * step
	}
	c.received = c.received[:saved:saved]
	c.memory.restored = saved > 0
}

// regainPower begins to look for an image again, or goes on with what was saved of one.
func (c *otaClient) regainPower() {
	v := c.device
	rules := c.stack.memory
	if !c.memory.restored || rules.resumes == 0 {
		v.scheduleFirstQuery()
		return
	}
	c.memory.restored = false // an offer that comes before it goes on has it begin again
	wait := v.byChance(rules.resumes, rules.resumeSpan)
	c.wakeIn(v.dongle.timeline.pace.timeout(wait), c.download)
	if times := v.queryTimes(); times.interval > 0 {
		v.scheduleQuery(wait + times.interval)
	}
}
