package upgrade

import "time"

// Step tells an upgrade what happened, and returns what is to be done about it, in order. An event that
// changes nothing has no effects. An upgrade that has ended does not move any more. The policy may differ
// from step to step.
func (u *Upgrade) Step(e Event, p Policy, now time.Time) []Effect {
	t := &transition{u: u, p: p, now: now}
	if _, answered := e.(Answered); u.Ended() && !answered {
		return nil
	}

	e.apply(t)
	return append(t.effects, t.marks.effects()...)
}

// transition is a step of an upgrade under way.
type transition struct {
	u       *Upgrade
	p       Policy
	now     time.Time
	effects []Effect
	marks   marks // become effects at the end of the step
	unseen  bool  // nobody is to learn of the end of the upgrade but those who asked for it
}

// do adds an effect.
func (t *transition) do(e Effect) { t.effects = append(t.effects, e) }

// tell has people told of an event, and of the record that goes with it.
func (t *transition) tell(what Happening) { t.do(Tell{What: what, Offset: t.u.offset}) }

// can reports whether the table has a step from here.
func (t *transition) can(by trigger) bool {
	_, ok := steps[cell{t.u.stage, by}]
	return ok
}

// move goes to the next stage of the table. It reports whether the upgrade moved.
func (t *transition) move(by trigger) bool {
	from := t.u.stage
	next, ok := steps[cell{from, by}]
	if !ok {
		return false
	}

	if next.retry && t.mayTryAgain() {
		t.u.precedence.setback = next.reason
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

// mayTryAgain counts the attempt that has failed, and reports whether a further one is made. One that got
// further than all before it, by a percent of the image at least, does not count against the retries: with a
// device that resumes its download, each such attempt brings the end nearer.
func (t *transition) mayTryAgain() bool {
	t.u.tries.end(t.u.offset, t.u.order.Size)
	return t.u.tries.vain < t.p.Retries
}

// enter does what a new stage asks for, whichever trigger led to it.
func (t *transition) enter(from Stage, next step) {
	t.setStage(next)
	t.keepPace(from)
	switch {
	case t.u.Ended():
		t.end(from)
	case t.u.stage == StageDownloaded, t.u.stage == StageApplying:
		t.withdraw()
	case t.u.stage.inQueue() && from.mayBegin():
		t.withdraw()
	}
	t.arm()
}

// keepPace notes that the device may take blocks, or may not any more.
func (t *transition) keepPace(from Stage) {
	switch {
	case from == StageDownloading && t.u.stage != StageFinishing:
		t.u.pace.end(t.u.offset, later(t.u.lastActivity, t.u.pace.since))
	case t.u.stage == StageDownloading && from != StageFinishing:
		t.u.pace.begin(t.u.offset, later(t.now, t.u.lastActivity))
	}
}

// arm sets the deadlines that a stage begins with. Those of a pause, of a putting off and of an empty slot
// come with their events, those of a notification and of a reading after what they are counted from.
func (t *transition) arm() {
	switch t.u.stage {
	case StageDownloading:
		t.watchSilence(t.u.lastActivity)
		t.u.deadlines.set(purposeLook, t.now)
	case StageFinishing:
		t.u.deadlines.set(purposeLook, t.now)
	case StageDownloaded:
		t.armInstallation()
	case StageApplying:
		t.u.deadlines.set(purposeReturned, t.now.Add(t.p.RejoinTimeout))
	}
}

// armInstallation sets when a device that has its image is to be told to install it.
func (t *transition) armInstallation() {
	switch t.u.order.Installation.When {
	case InstallNow:
		t.u.deadlines.set(purposeInstall, t.now)
	case InstallAt:
		t.u.deadlines.set(purposeInstall, t.u.order.Installation.At)
	default:
		t.u.deadlines.set(purposeReleaseOver, t.u.downloadedAt.Add(longLimit))
	}
}

// withdraw takes the right to blocks away.
func (t *transition) withdraw() {
	t.do(Withdraw{})
	t.u.begun = false
	t.u.restarts = 0
}

// end closes an upgrade for good.
func (t *transition) end(from Stage) {
	if from != StageNotified && from.Downloads() && t.u.stage != StageSucceeded {
		t.do(Abort{})
	}
	t.withdraw()
	t.u.endedAt = t.now
	switch {
	case from == StageFetching:
		t.endFetch()
	case t.u.stage == StageSucceeded:
		t.u.offset = t.u.order.Size
	}
	if t.unseen {
		t.do(TakenBack{})
		return
	}
	t.do(Ended{})
}

// tryAgain begins a further attempt.
func (t *transition) tryAgain(by trigger) {
	if by == triggerSilent {
		t.do(DistrustSlot{})
	}

	t.u.tries.attempt++
	t.forgetAttempt()
	t.do(Remark{TriedAgain})
}

// forgetAttempt has the next attempt begin with nothing of the one before, after a while in which the
// device can recover.
func (t *transition) forgetAttempt() {
	t.u.offeredAt = time.Time{}
	t.u.startedAt = time.Time{}
	t.u.downloadedAt = time.Time{}
	t.u.applyingAt = time.Time{}
	t.u.offset = 0
	t.u.startOffset = 0
	t.u.wasHeld = false
	t.u.putOffTold = false
	t.u.endRequest.zclStatus = nil
	t.u.verification = verification{}
	t.u.attempted = attempted{}
	pauseEnds := t.u.deadlines.at(purposePauseEnds)
	t.u.deadlines = deadlines{}
	t.u.deadlines.set(purposePauseEnds, pauseEnds)
	t.u.deadlines.set(purposeRecovered, t.now.Add(recoverTime))
}
