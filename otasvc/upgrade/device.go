package upgrade

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// answerEnd answers the last upgrade end request.
func (t *transition) answerEnd(fileVersion, upgradeTime uint32) {
	t.do(AnswerEnd{Sequence: t.endSequence, FileVersion: fileVersion, UpgradeTime: upgradeTime})
}

// install tells a device that waits with its image to install it. A device that asks again is told the same.
func (t *transition) install() {
	t.order.Install = InstallNow
	t.answerEnd(t.offeredVersion, InstallIn)
	if t.move(triggerRelease) {
		t.wasHeld = true
		t.installs(t.now)
	}
}

// installs notes from when on a device installs its image.
func (t *transition) installs(at time.Time) {
	t.applyingAt = at
	t.deadlines.set(purposeReadVersion, at.Add(t.p.readAfter(firstReading)))
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
	t.deadlines.set(purposeEmptySlot, t.now.Add(emptySlotTime))
	t.do(SendLastBlock{})
}

func (e EndRequested) apply(t *transition) {
	switch e.Status {
	case message.OTASuccess:
		t.complete(e)
	case message.OTAInvalidImage:
		if t.offeredVersion == t.order.ImageVersion { // else it is the version that the device did not like
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
		t.zclStatus = &status
		t.move(by)
	}
}

// complete notes that the device has the whole image. While its header is loaded the dongle itself has told
// it to install in 5 s; otherwise the answer is for the owner to give, each time that the device asks.
func (t *transition) complete(e EndRequested) {
	t.endSequence = e.Sequence
	if !e.SlotHolds || e.FileVersion != t.offeredVersion {
		upgradeTime := uint32(InstallIn)
		if !t.installDue(t.now) {
			upgradeTime = message.UpgradeTimeWait
		}
		t.answerEnd(e.FileVersion, upgradeTime)
	} else if t.order.Install != InstallNow {
		// The slot should have been empty. The dongle has told the device to install.
		t.do(Remark{NotHeld})
		t.order.Install = InstallNow
	}
	if t.stage == StageApplying || t.stage == StageDownloaded {
		return // it asked again
	}

	by := triggerComplete
	if !t.installDue(t.now) {
		by = triggerCompleteHeld
	}
	if !t.can(by) {
		return
	}
	t.zclStatus = &e.Status
	t.offset = t.order.Size
	t.downloadedAt = t.now
	t.move(by)
	t.tell(DownloadFinished)
	if t.stage == StageApplying {
		t.installs(t.now)
	}
}

// readSoon brings the next reading to a time, unless the version is being read.
func (t *transition) readSoon(at time.Time) {
	if !t.reading {
		t.deadlines.set(purposeReadVersion, at)
	}
}

func (e Queried) apply(t *transition) {
	switch t.stage {
	case StageQueued:
		t.awakeUntil = t.now.Add(awakeFor)
		t.deadlines.clear(purposeRecovered)
	case StageNotified:
		if !e.SlotHolds { // else the dongle has just offered it the image
			t.deadlines.set(purposeNotify, t.now)
		}
	case StageDownloading:
		t.distrustHeader() // it was refused a block
	}
}

func (e VersionRead) apply(t *transition) {
	image := t.order.ImageVersion
	if t.order.OldVersion == nil && e.Version != image && t.stage != StageApplying {
		t.order.OldVersion = &e.Version // it was not known when the upgrade was queued
		t.keep()
	}
	reinstall := t.order.OldVersion != nil && *t.order.OldVersion == image
	switch {
	case e.Version == image && t.stage == StageApplying:
		if !reinstall || t.announced || t.now.Sub(t.applyingAt) > sameVersionSettled {
			t.move(triggerNewVersion)
		}
	case e.Version == image:
		if !reinstall {
			t.move(triggerNewVersion)
		}
	case t.stage == StageApplying:
		t.oldReadings++
		t.saved = true
		if t.announced && t.oldReadings >= oldReadingsToBelieve {
			t.move(triggerOldVersion)
		}
	}
}

func (e NotifySent) apply(t *transition) {
	if e.First {
		t.tell(ImageNotified)
	}
}

func (e NotifyBusy) apply(t *transition) {
	t.notifications = max(t.notifications-1, 0)
	if t.stage == StageNotified {
		t.deadlines.set(purposeNotify, e.Again)
	}
}

func (Announced) apply(t *transition) {
	switch t.stage {
	case StageApplying:
		t.announced = true
		t.oldReadings = 0
		t.saved = true
		t.readSoon(t.now.Add(readingSoon))
	case StageDownloaded:
		t.do(ReadVersion{}) // it may have installed its image on its own
	case StageNotified, StageDownloading, StageFinishing:
		// It has restarted and may have forgotten that there is an image. Or it has installed the image, and
		// its upgrade end request was lost.
		t.do(ReadVersion{})
		if t.stage == StageNotified {
			t.deadlines.set(purposeNotify, t.now.Add(readingSoon))
			return
		}
		t.notify()
	}
}

// apply takes a sign of life of a device that sleeps, or that should come back.
func (Heard) apply(t *transition) {
	switch t.stage {
	case StageNotified:
		if t.p.Sleepy && t.now.Sub(t.notifiedAt) > notifyAgain {
			t.deadlines.set(purposeNotify, t.now) // it listens for a moment
		}
	case StageQueued:
		if t.p.Sleepy && t.now.Sub(t.stirredAt) > max(t.p.Slice, sleepyNotifyInterval) {
			// It goes before others then, but once a slice only: it may not take the image, and others wait.
			t.stirredAt = t.now
			t.awakeUntil = t.now.Add(awakeFor)
		}
	case StageApplying:
		soon := t.now.Add(readingSoon)
		settled := t.now.Sub(t.applyingAt) >= t.p.readAfter(firstReading)/2
		if settled && t.deadlines.at(purposeReadVersion).After(soon.Add(readingReturned)) {
			t.readSoon(soon)
		}
	}
}

func (ReadingDone) apply(t *transition) {
	if t.stage != StageApplying {
		return
	}
	t.reading = false
	wait := t.p.readAfter(readingInterval)
	if t.announced {
		wait = min(wait, readingReturned)
	} else if t.wasHeld {
		t.answerEnd(t.offeredVersion, InstallIn) // it may not have been told to install
	}
	t.deadlines.set(purposeReadVersion, t.now.Add(wait))
}
