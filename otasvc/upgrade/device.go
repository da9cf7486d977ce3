package upgrade

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// answerEnd answers the last upgrade end request.
func (t *transition) answerEnd(fileVersion, upgradeTime uint32) {
	t.do(AnswerEnd{Sequence: t.u.endRequest.sequence, FileVersion: fileVersion, UpgradeTime: upgradeTime})
}

// install tells a device that waits with its image to install it. A device that asks again is told the same.
func (t *transition) install() {
	t.u.order.Installation.When = InstallNow
	t.answerEnd(t.u.offeredVersion, InstallIn)
	if t.move(triggerRelease) {
		t.u.wasHeld = true
		t.installs(t.now)
	}
}

// installs notes from when on a device installs its image.
func (t *transition) installs(at time.Time) {
	t.u.applyingAt = at
	t.u.deadlines.set(purposeReadVersion, at.Add(t.p.readAfter(firstReading)))
	t.tell(UpgradeApplying)
}

func (e LastBlockAsked) apply(t *transition) {
	if !t.can(triggerLastBlock) {
		return
	}
	if e.SlotFixed {
		t.do(Remark{NotHoldable})
		t.move(triggerCancel)
		return
	}
	t.move(triggerLastBlock)
	t.u.deadlines.set(purposeEmptySlot, t.now.Add(emptySlotTime))
	t.do(SendLastBlock{})
}

func (e EndRequested) apply(t *transition) {
	switch e.Status {
	case message.OTASuccess:
		t.complete(e)
	case message.OTAInvalidImage:
		// Nothing of an image that is being fetched, or is due later, has gone to the device: it means that
		// of an earlier upgrade. Under another version it may be that version which it did not like.
		mayHaveIt := t.u.stage != StageFetching && t.u.stage != StageScheduled
		if mayHaveIt && t.u.offeredVersion == t.u.order.ImageVersion {
			t.do(DistrustImage{})
		}
		t.endWith(triggerInvalid, e.Status)
	case message.OTARequireMoreImage:
		t.endWith(triggerNeedsMore, e.Status)
	default: // OTAAbort, and whatever else is no success
		t.endWith(triggerAborted, e.Status)
	}
}

// endWith ends an attempt with a status that is no success.
func (t *transition) endWith(by trigger, status uint8) {
	if t.can(by) {
		t.u.endRequest.zclStatus = &status
		t.move(by)
	}
}

// complete notes that the device has the whole image. While its header is loaded the dongle itself has told
// it to install in 5 s; otherwise the answer is for the owner to give, each time that the device asks.
func (t *transition) complete(e EndRequested) {
	t.setEndSequence(e.Sequence)
	if !e.SlotHolds || e.FileVersion != t.u.offeredVersion {
		upgradeTime := uint32(InstallIn)
		if !t.u.installDue(t.now) {
			upgradeTime = message.UpgradeTimeWait
		}
		t.answerEnd(e.FileVersion, upgradeTime)
	} else if t.u.order.Installation.When != InstallNow {
		// The slot should have been empty. The dongle has told the device to install.
		t.do(Remark{NotHeld})
		t.setInstallNow()
	}
	if t.u.stage == StageApplying || t.u.stage == StageDownloaded {
		return // it asked again
	}

	by := triggerComplete
	if !t.u.installDue(t.now) {
		by = triggerCompleteHeld
	}
	if !t.can(by) {
		return
	}
	t.u.endRequest.zclStatus = &e.Status
	if t.endsEarly() {
		t.do(Remark{EndedEarly})
	} else {
		t.u.offset = t.u.order.Size
	}
	t.u.downloadedAt = t.now
	t.move(by)
	t.tell(DownloadFinished)
	if t.u.stage == StageApplying {
		t.installs(t.now)
	}
}

// endsEarly reports whether a device that calls its download complete has not asked for all of the image. It
// need not have asked for anything: it may have the image from an earlier download.
func (t *transition) endsEarly() bool { return t.u.begun && t.u.Left() > largestBlock }

// largestBlock is the largest block in bytes that a device can ask for. A device that has asked for the last
// one has got less than this since its offset was noted.
const largestBlock = 255

// readSoon brings the next reading to a time, unless the version is being read.
func (t *transition) readSoon(at time.Time) {
	if !t.u.reading {
		t.u.deadlines.set(purposeReadVersion, at)
	}
}

func (e Queried) apply(t *transition) {
	t.u.queriedAt = t.now
	switch t.u.stage {
	case StageQueued:
		t.u.awakeUntil = t.now.Add(awakeFor)
		t.u.unanswered = false
		t.u.deadlines.clear(purposeRecovered)
	case StageNotified:
		if !e.SlotHolds { // else the dongle has just offered it the image
			t.u.deadlines.set(purposeNotify, t.now)
		}
	case StageDownloading:
		t.distrustHeader() // it was refused a block
	}
}

// tells reports whether a device that tells a version runs the image, as far as that can be said in advance.
func (o *Order) tells(version uint32) bool {
	return version == o.ImageVersion || o.ToldAs != nil && version == *o.ToldAs
}

// reinstalls reports whether the device ran the image before.
func (o *Order) reinstalls() bool { return o.OldVersion != nil && o.tells(*o.OldVersion) }

func (e VersionRead) apply(t *transition) {
	o := &t.u.order
	switch {
	case t.u.stage == StageApplying:
		t.readInstalling(e.Version)
	case !o.tells(e.Version):
		// What was known may be old.
		if o.OldVersion == nil || *o.OldVersion != e.Version && t.u.tries.attempt == 1 && !t.u.Begun() {
			t.setOldVersion(e.Version)
		}
	case !o.reinstalls() && t.can(triggerNewVersion):
		t.setRunning(e.Version)
		t.move(triggerNewVersion)
	}
}

// readInstalling judges what a device tells that installs. Another version than before is the image's,
// whatever number that is: there are vendors whose devices tell another one than the file. It is believed
// once the device is back, or has told it for long enough; until then it may be what its boot loader says.
func (t *transition) readInstalling(version uint32) {
	o := &t.u.order
	settled := t.u.announced || t.now.Sub(t.u.applyingAt) > sameVersionSettled
	switch {
	case o.reinstalls() && o.tells(version):
		if settled {
			t.setRunning(version)
			t.move(triggerNewVersion)
		}
	case version == noVersion && o.tells(version) && !settled:
		// Devices that were never upgraded tell it, too.
	case o.tells(version):
		t.setRunning(version)
		t.move(triggerNewVersion)
	case o.OldVersion == nil || *o.OldVersion == version || version == noVersion:
		t.countOldReading(version)
		if t.u.announced && t.u.oldReadings >= oldReadingsToBelieve {
			t.move(triggerOldVersion)
		}
	default:
		t.countOtherReading(version)
		if settled && t.u.otherReadings >= otherReadingsToBelieve {
			t.move(triggerNewVersion)
		}
	}
}

func (e NotifySent) apply(t *transition) {
	if e.First {
		t.tell(ImageNotified)
	}
}

func (e NotifyBusy) apply(t *transition) {
	t.u.notifications = max(t.u.notifications-1, 0)
	if t.u.stage == StageNotified {
		t.u.deadlines.set(purposeNotify, e.Again)
	}
}

func (Announced) apply(t *transition) {
	switch t.u.stage {
	case StageQueued:
		t.u.unanswered = false
	case StageApplying:
		t.setAnnounced()
		t.readSoon(t.now.Add(readingSoon))
	case StageDownloaded:
		t.do(ReadVersion{}) // it may have installed its image on its own
	case StageNotified, StageDownloading, StageFinishing:
		// It has installed the image, and its upgrade end request was lost. Or it has restarted: then it may
		// have forgotten that there is an image, or it goes on with its download by itself, this one or that
		// of an earlier attempt.
		t.do(ReadVersion{})
		switch {
		case t.u.stage == StageDownloading:
			t.u.deadlines.set(purposeNotifySilent, t.now.Add(announceNotify))
		case t.u.stage == StageNotified && t.u.tries.attempt > 1:
			t.u.deadlines.set(purposeNotify, t.now.Add(announceNotify))
		case t.u.stage == StageNotified:
			t.u.deadlines.set(purposeNotify, t.now.Add(readingSoon))
		}
	}
}

// apply keeps the device from being offered the image while it asks for blocks.
func (StillAsks) apply(t *transition) {
	if t.u.stage == StageQueued {
		at := t.u.deadlines.at(purposeRecovered)
		t.u.deadlines.set(purposeRecovered, later(at, t.now.Add(hearFirst)))
	}
}

// apply takes a sign of life of a device that sleeps, or that should come back.
func (Heard) apply(t *transition) {
	switch t.u.stage {
	case StageNotified:
		if t.p.Sleepy && t.now.Sub(t.u.notifiedAt) > notifyAgain {
			t.u.deadlines.set(purposeNotify, t.now) // it listens for a moment
		}
	case StageQueued:
		if t.now.Sub(t.u.stirredAt) <= max(t.p.Slice, sleepyNotifyInterval) {
			return // it may talk all the time and not take the image, and others wait
		}
		t.u.stirredAt = t.now
		t.u.unanswered = false
		if t.p.Sleepy {
			t.u.awakeUntil = t.now.Add(awakeFor) // it goes before others then
		}
	case StageApplying:
		soon := t.now.Add(readingSoon)
		settled := t.now.Sub(t.u.applyingAt) >= t.p.readAfter(firstReading)/2
		if settled && t.u.deadlines.at(purposeReadVersion).After(soon.Add(readingReturned)) {
			t.readSoon(soon)
		}
	}
}

func (ReadingDone) apply(t *transition) {
	if t.u.stage != StageApplying {
		return
	}
	t.u.reading = false
	wait := t.p.readAfter(readingInterval)
	if t.u.announced {
		wait = min(wait, readingReturned)
	} else {
		// It may not have been told to install: the dongle's answer can be lost on air, or the dongle had no
		// header any more. The clients of TI, ZBOSS and Exegin ask once and wait for ever, and take an answer
		// that comes later.
		t.answerEnd(t.u.offeredVersion, InstallIn)
	}
	t.u.deadlines.set(purposeReadVersion, t.now.Add(wait))
}
