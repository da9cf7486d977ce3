package upgrade

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Step tells an upgrade what happened, and returns what is to be done about it, in order. An event that
// changes nothing has no effects. An upgrade that has ended does not move any more. The policy may differ
// from step to step.
func (u *Upgrade) Step(e Event, p Policy, now time.Time) []Effect {
	t := &transition{Upgrade: u, p: p, now: now}
	if _, answered := e.(Answered); u.Ended() && !answered {
		return nil
	}

	e.apply(t)
	if t.changed {
		t.do(Changed{})
	}
	if t.saved {
		t.do(Save{AtOnce: t.atOnce})
	}
	return t.effects
}

// transition is a step under way.
type transition struct {
	*Upgrade
	p       Policy
	now     time.Time
	effects []Effect

	// What is to be said at the end of the step.
	changed bool
	saved   bool
	atOnce  bool
}

// do adds an effect.
func (t *transition) do(e Effect) { t.effects = append(t.effects, e) }

// tell has people told of an event, and of the record that goes with it.
func (t *transition) tell(what Happening) { t.do(Tell{what}) }

// keep says that what is kept and told is different now.
func (t *transition) keep() {
	t.changed = true
	t.saved = true
}

// can reports whether the table has a step from here.
func (t *transition) can(by trigger) bool {
	_, ok := steps[cell{t.stage, by}]
	return ok
}

// move goes to the next stage of the table. It reports whether the upgrade moved.
func (t *transition) move(by trigger) bool {
	from := t.stage
	next, ok := steps[cell{from, by}]
	if !ok {
		return false
	}

	if next.retry && t.attempt <= t.p.Retries {
		next = step{next: StageQueued}
		if from.PausedByPerson() {
			next.next = StagePausedInQueue // only a resume lets the next attempt begin
		}
		t.enter(from, next)
		t.tryAgain(by)
		return true
	}
	t.enter(from, next)
	return true
}

// enter does what a new stage asks for, whichever trigger led to it.
func (t *transition) enter(from Stage, next step) {
	t.stage = next.next
	t.reason = next.reason
	t.deadlines.leave(t.stage)
	t.keep()
	switch {
	case t.Ended():
		t.end(from)
	case t.stage == StageDownloaded, t.stage == StageApplying:
		t.withdraw()
	case t.stage.inQueue() && from.mayBegin():
		t.withdraw()
	}
	t.arm()
}

// arm sets the deadlines that a stage begins with. Those of a pause, of a putting off and of an empty slot
// come with their events, those of a notification and of a reading after what they are counted from.
func (t *transition) arm() {
	switch t.stage {
	case StageDownloading:
		t.watchSilence()
		t.deadlines.set(purposeLook, t.now)
	case StageFinishing:
		t.deadlines.set(purposeLook, t.now)
	case StageDownloaded:
		t.armInstallation()
	case StageApplying:
		t.deadlines.set(purposeReturned, t.now.Add(t.p.RejoinTimeout))
	}
}

// armInstallation sets when a device that has its image is to be told to install it.
func (t *transition) armInstallation() {
	switch t.order.Install {
	case InstallNow:
		t.deadlines.set(purposeInstall, t.now)
	case InstallAt:
		t.deadlines.set(purposeInstall, t.order.InstallAt)
	default:
		t.deadlines.set(purposeReleaseOver, t.downloadedAt.Add(longLimit))
	}
}

// withdraw takes the right to blocks away.
func (t *transition) withdraw() {
	t.do(Withdraw{})
	t.begun = false
	t.restarts = 0
}

// end closes an upgrade for good.
func (t *transition) end(from Stage) {
	if from != StageNotified && from.Downloads() && t.stage != StageSucceeded {
		t.do(Abort{})
	}
	t.withdraw()
	t.endedAt = t.now
	if t.stage == StageSucceeded {
		t.offset = t.order.Size
	}
	t.do(Ended{})
}

// tryAgain begins a further attempt.
func (t *transition) tryAgain(by trigger) {
	if by == triggerSilent {
		t.do(DistrustSlot{})
	}

	t.attempt++
	t.offeredAt = time.Time{}
	t.startedAt = time.Time{}
	t.downloadedAt = time.Time{}
	t.applyingAt = time.Time{}
	t.offset = 0
	t.startOffset = 0
	t.wasHeld = false
	t.putOffTold = false
	t.zclStatus = nil
	t.announced = false
	t.oldReadings = 0
	t.attempted = attempted{}
	pauseEnds := t.deadlines.at(purposePauseEnds)
	t.deadlines = deadlines{}
	t.deadlines.set(purposePauseEnds, pauseEnds)
	t.deadlines.set(purposeRecovered, t.now.Add(recoverTime))
	t.do(Remark{TriedAgain})
}

// notify sends a notification, and sets when the next one is due.
func (t *transition) notify() {
	t.notifications++
	t.notifiedAt = t.now
	if t.stage == StageNotified {
		t.deadlines.set(purposeNotify, t.now.Add(t.p.NotifyInterval))
	}
	t.do(Notify{First: t.notifications == 1})
}

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

// distrustHeader has the header loaded again because a device behaves as if it were gone, once in a while at
// most. It reports whether it did.
func (t *transition) distrustHeader() bool {
	if t.now.Sub(t.suspicion.at) < suspectInterval {
		return false
	}
	t.suspicion.at = t.now
	t.do(Remark{HeaderDoubted})
	t.do(DistrustSlot{})
	return true
}

// suspicion is what an attempt remembers of its device's silence.
type suspicion struct {
	at     time.Time // of the last one
	beyond uint32    // a further one needs an offset that is not below
}

// active notes that the device was active, or is to be taken for active, until a time.
func (t *transition) active(until time.Time) {
	t.lastActivity = until
	if t.stage == StageDownloading {
		t.watchSilence()
	}
}

// watchSilence sets what is done when the device stays silent from its last activity on.
func (t *transition) watchSilence() {
	suspectAt := t.lastActivity.Add(t.p.suspectTimeout())
	t.deadlines.set(purposeStalled, t.lastActivity.Add(t.p.stallTimeout()))
	t.deadlines.set(purposeSuspect, suspectAt)
	t.deadlines.set(purposeReadSilent, later(t.deadlines.at(purposeReadSilent), suspectAt))
	t.deadlines.clear(purposeNotifySilent)
}

// apply begins the life of an upgrade anew in another process. What was kept of its times is put on the clock
// of this process, which a change of the wall clock does not move, and what such a change made of them while
// the service was away is taken away: nothing has happened in the future, and no device was put off for
// longer than it can have been. A time that somebody asked for stays what it is.
func (e Restored) apply(t *transition) {
	for _, at := range []*time.Time{&t.queuedAt, &t.offeredAt, &t.startedAt, &t.downloadedAt, &t.applyingAt} {
		*at = notAfter(*at, t.now)
	}
	for _, p := range []purpose{purposePauseEnds, purposePutOffEnds} {
		if at := t.deadlines.at(p); !at.IsZero() {
			t.deadlines.set(p, t.now.Add(at.Sub(t.now)))
		}
	}
	if t.deadlines.at(purposePutOffEnds).Sub(t.now) > e.LongestPutOff {
		t.deadlines.set(purposePutOffEnds, t.now)
	}
	if t.stage.IsPutOff() && t.startedAt.IsZero() {
		t.stage = map[Stage]Stage{StagePutOff: StageQueued, StagePutOffPaused: StagePausedInQueue}[t.stage]
		t.deadlines.leave(t.stage) // nothing was begun, so nothing is put off
	}

	t.attempted = attempted{restoredAt: t.now, lastActivity: t.now, slotAt: t.now}
	t.arm()
	switch t.stage {
	case StageScheduled:
		t.deadlines.set(purposeDue, t.order.DueAt)
	case StageNotified:
		t.deadlines.set(purposeNotify, t.now)
	case StageApplying:
		t.deadlines.set(purposeReadVersion, t.applyingAt.Add(t.p.readAfter(firstReading)))
	}
}

// notAfter is at, or now where at is later; zero stays zero.
func notAfter(at, now time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return now.Add(min(at.Sub(now), 0))
}

// apply has the time that the dongle was away not count for any timeout: it was not the device that was
// silent.
func (e DongleBack) apply(t *transition) {
	grace := t.now.Add(returnGrace)
	if at := t.deadlines.at(purposeReturned); !at.IsZero() {
		t.deadlines.set(purposeReturned, later(at.Add(e.Away), grace))
	}
	t.lastActivity = later(t.lastActivity.Add(e.Away), grace.Add(-t.p.stallTimeout()))
	if t.stage != StageDownloading {
		return
	}
	t.watchSilence()
	suspectAt := later(t.lastActivity, t.now).Add(t.p.suspectTimeout())
	t.deadlines.set(purposeSuspect, suspectAt)
	t.deadlines.set(purposeReadSilent, later(t.deadlines.at(purposeReadSilent), suspectAt))
}

func (DongleReplaced) apply(t *transition)   { t.move(triggerReplaced) }
func (ImageUnavailable) apply(t *transition) { t.move(triggerUnavailable) }
func (ImageRemoved) apply(t *transition)     { t.move(triggerImageRemoved) }
func (CanaryFailed) apply(t *transition)     { t.move(triggerCanaryFailed) }
func (BatteryLow) apply(t *transition)       { t.move(triggerBatteryLow) }
func (Cancel) apply(t *transition)           { t.move(triggerCancel) }

func (CanaryPassed) apply(t *transition) {
	if t.order.Canary != 0 {
		t.order.Canary = 0
		t.saved = true
	}
}

// apply takes the tickets away, so that their answer is not given again after a restart.
func (Answered) apply(t *transition) {
	if t.Ended() && len(t.order.Tickets) > 0 {
		t.order.Tickets = nil
		t.saved = true
	}
}

func (e Offered) apply(t *transition) {
	if !t.move(triggerOffered) {
		return
	}
	t.offeredVersion = e.Version
	t.slotAt = t.now
	if t.offeredAt.IsZero() { // another image's time in the slot in between does not count anew
		t.offeredAt = t.now
	}
	t.do(Admit{})
	t.notify()
}

func (SlotGivenUp) apply(t *transition) {
	if t.move(triggerSlotGivenUp) {
		t.yieldedAt = t.now
	}
}

func (e PutOff) apply(t *transition) {
	downloaded := t.stage == StageDownloading
	if !t.move(triggerPutOff) {
		return
	}
	t.deadlines.set(purposePutOffEnds, e.Until)
	t.putOffTold = e.Told
	t.yieldedAt = t.now
	if downloaded {
		t.tell(DownloadPaused)
	}
}

func (CalledBack) apply(t *transition) {
	if !t.stage.IsPutOff() {
		return
	}
	if t.putOffTold {
		// It asks when its wait is over, not before: until then it is not silent.
		t.lastActivity = later(t.now, t.deadlines.at(purposePutOffEnds))
	} else {
		// It was silent already. What others took does not count, what it had itself does: else devices that
		// are gone would hand the slot to each other for ever.
		t.lastActivity = t.lastActivity.Add(t.now.Sub(later(t.yieldedAt, t.restoredAt)))
	}
	t.putOffTold = false
	t.move(triggerCalledBack)
	t.do(Judge{})
	if t.stage == StageDownloading {
		t.tell(DownloadResumed)
	}
}

func (e Pause) apply(t *transition) {
	if !t.move(triggerPause) {
		return
	}
	limit := e.For
	if limit <= 0 {
		limit = longLimit
	}
	t.deadlines.set(purposePauseEnds, t.now.Add(limit))
	t.do(Judge{})
	t.tell(DownloadPaused)
}

// apply ends a pause. A download that had not begun goes back to the queue; one that is put off for another
// image goes on when that has had the slot.
func (Resume) apply(t *transition) { t.resume() }

func (t *transition) resume() {
	if !t.stage.PausedByPerson() {
		return
	}
	by := triggerResume
	if !t.Begun() {
		by = triggerResumeNew
	}
	// It asks when its wait is over, not before: until then it is not silent.
	t.active(t.now.Add(longestHold))
	t.move(by)
	if t.stage.IsPutOff() {
		return
	}
	t.do(Judge{})
	t.tell(DownloadResumed)
}

func (e Release) apply(t *transition) {
	if t.stage != StageDownloaded {
		return
	}
	if len(e.Ticket) > 0 {
		t.order.Tickets = append(t.order.Tickets, e.Ticket)
	}
	t.install()
}

func (e ReleasedByHand) apply(t *transition) {
	if !t.move(triggerRelease) {
		return
	}
	t.order.Install = InstallNow
	t.wasHeld = true
	t.installs(t.now.Add(e.In))
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

// readSoon brings the next reading to a time, unless the version is being read.
func (t *transition) readSoon(at time.Time) {
	if !t.reading {
		t.deadlines.set(purposeReadVersion, at)
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
