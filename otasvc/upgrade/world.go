package upgrade

import "time"

// apply begins the life of an upgrade anew in another process. What was kept of its times is put on the clock
// of this process, which a change of the wall clock does not move, and what such a change made of them while
// the service was away is taken away: nothing has happened in the future, and no device was put off for
// longer than it can have been. A time that somebody asked for stays what it is.
func (e Restored) apply(t *transition) {
	u := t.u
	times := []*time.Time{&u.queuedAt, &u.offeredAt, &u.startedAt, &u.downloadedAt, &u.applyingAt}
	for _, at := range times {
		t.setKeptTime(at, notAfter(*at, t.now))
	}
	for _, p := range []purpose{purposePauseEnds, purposePutOffEnds} {
		if at := t.u.deadlines.at(p); !at.IsZero() {
			t.u.deadlines.set(p, t.now.Add(at.Sub(t.now)))
		}
	}
	if t.u.deadlines.at(purposePutOffEnds).Sub(t.now) > e.LongestWait {
		t.endPutOff()
	}
	if t.u.stage.IsPutOff() && t.u.startedAt.IsZero() {
		queued := map[Stage]Stage{StagePutOff: StageQueued, StagePutOffPaused: StagePausedInQueue}
		// Nothing was begun, so nothing is put off.
		t.setStage(step{next: queued[t.u.stage], reason: t.u.outcome.reason})
	}

	t.restoreWait(e.LongestWait)

	t.u.attempted = attempted{restoredAt: t.now, slotAt: t.now}
	t.u.lastActivity = later(t.now, t.u.waitsUntil)
	t.arm()
	switch t.u.stage {
	case StageFetching:
		t.u.offset = 0 // what was there of the file is gone
	case StageScheduled:
		t.u.deadlines.set(purposeDue, t.u.order.DueAt)
	case StageNotified:
		t.u.deadlines.set(purposeNotify, t.now.Add(hearFirst))
	case StageApplying:
		t.u.deadlines.set(purposeReadVersion, t.u.applyingAt.Add(t.p.readAfter(firstReading)))
	}
}

// restoreWait puts the time until which the device was told to wait on the clock of this process. One that is
// over, or longer than any device is told, comes from a clock that was set.
func (t *transition) restoreWait(longest time.Duration) {
	left := t.u.waitsUntil.Sub(t.now)
	if left <= 0 || left > longest {
		t.u.waitsUntil = time.Time{}
		return
	}
	t.u.waitsUntil = t.now.Add(left)
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
	if at := t.u.deadlines.at(purposeReturned); !at.IsZero() {
		t.u.deadlines.set(purposeReturned, later(at.Add(e.Away), grace))
	}
	if t.u.stage == StageNotified {
		t.u.slotAt = t.u.slotAt.Add(e.Away)
	}
	t.u.lastActivity = later(t.u.lastActivity.Add(e.Away), grace.Add(-t.p.stallTimeout()))
	switch t.u.stage {
	case StageDownloading:
		t.watchSilence(later(t.u.lastActivity, t.now))
	case StageNotified:
		t.notifyNotBefore(t.now.Add(hearFirst))
	}
}

// apply has a device notified that has given up because it got no blocks. One that still asks need not be.
func (NoBlocks) apply(t *transition) {
	if t.u.stage == StageDownloading {
		t.u.deadlines.set(purposeNotifySilent, later(t.now, t.u.lastActivity.Add(hearFirst)))
	}
}

// apply ends the download, which says nothing of the device. One that was begun to try the dongle waits
// behind those that wait now, and has lost no attempt.
func (e DongleRefuses) apply(t *transition) {
	if !e.Tried {
		t.move(triggerDongleRefuses)
		return
	}
	if t.move(triggerTriedInVain) {
		t.forgetAttempt()
		t.u.yieldedAt = t.now
	}
}

func (DongleReplaced) apply(t *transition)   { t.move(triggerReplaced) }
func (ImageUnavailable) apply(t *transition) { t.move(triggerUnavailable) }
func (ImageRemoved) apply(t *transition)     { t.move(triggerImageRemoved) }
func (CanaryFailed) apply(t *transition)     { t.move(triggerCanaryFailed) }
func (BatteryLow) apply(t *transition)       { t.move(triggerBatteryLow) }
func (Cancel) apply(t *transition)           { t.move(triggerCancel) }
func (Forgotten) apply(t *transition)        { t.move(triggerForgotten) }
func (e WaitsFor) apply(t *transition)       { t.setCanary(e.Device) }

// apply ends an upgrade that nobody has forced.
func (e WrongHardware) apply(t *transition) {
	if !t.u.order.Forced && t.move(triggerWrongHardware) {
		t.u.outcome.sentence = e.Why
	}
}

// apply takes the tickets away, so that their answer is not given again after a restart.
func (Answered) apply(t *transition) {
	if t.u.Ended() {
		t.dropTickets()
	}
}
