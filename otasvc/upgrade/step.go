package upgrade

import "time"

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
		t.watchSilence(t.lastActivity)
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
