package upgrade

import "time"

// notify sends a notification, and sets when the next one is due.
func (t *transition) notify() {
	t.u.notifications++
	t.u.notifiedAt = t.now
	if t.u.stage == StageNotified {
		t.u.deadlines.set(purposeNotify, t.now.Add(t.p.NotifyInterval))
	}
	t.do(Notify{First: t.u.notifications == 1})
}

// notifyNotBefore puts the next notification off, where it is due before a time.
func (t *transition) notifyNotBefore(at time.Time) {
	t.u.deadlines.set(purposeNotify, later(t.u.deadlines.at(purposeNotify), at))
}

func (e Offered) apply(t *transition) {
	if !t.move(triggerOffered) {
		return
	}
	t.marks.atOnce = true // after a crash a device that asks for blocks must not stand in the queue
	t.u.offeredVersion = e.Version
	t.u.slotAt = t.now
	t.u.unanswered = false
	if t.u.offeredAt.IsZero() { // another image's time in the slot in between does not count anew
		t.u.offeredAt = t.now
	}
	t.do(Admit{})
	t.notify()
}

func (e PutOff) apply(t *transition) {
	downloaded := t.u.stage == StageDownloading
	if !t.move(triggerPutOff) {
		return
	}
	t.u.deadlines.set(purposePutOffEnds, e.Until)
	t.u.putOffTold = e.Told
	t.u.yieldedAt = t.now
	if downloaded {
		t.tell(DownloadPaused)
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
	t.u.deadlines.set(purposePauseEnds, t.now.Add(limit))
	t.do(Judge{})
	t.tell(DownloadPaused)
}

func (Resume) apply(t *transition) { t.resume() }

// resume ends a pause. A download that had not begun goes back to the queue; one that is put off for another
// image goes on when that has had the slot.
func (t *transition) resume() {
	if !t.u.stage.PausedByPerson() {
		return
	}
	by := triggerResume
	if !t.u.Begun() {
		by = triggerResumeNew
	}
	// It asks when its wait is over, not before: until then it is not silent.
	t.active(t.now.Add(longestHold))
	t.move(by)
	if t.u.stage.IsPutOff() {
		return
	}
	t.do(Judge{})
	t.tell(DownloadResumed)
}

func (e Release) apply(t *transition) {
	if t.u.stage != StageDownloaded {
		return
	}
	if len(e.Ticket) > 0 {
		t.u.order.Tickets = append(t.u.order.Tickets, e.Ticket)
	}
	t.install()
}

func (e ReleasedByHand) apply(t *transition) {
	if !t.move(triggerRelease) {
		return
	}
	t.u.order.Installation.When = InstallNow
	t.u.wasHeld = true
	t.installs(t.now.Add(e.In))
}

func (e SlotGivenUp) apply(t *transition) {
	if t.move(triggerSlotGivenUp) {
		t.u.yieldedAt = t.now
		t.u.unanswered = e.InVain
	}
}

func (CalledBack) apply(t *transition) {
	if !t.u.stage.IsPutOff() {
		return
	}
	var notifyAt time.Time
	if t.u.putOffTold {
		// It asks when its wait is over, not before: until then it is not silent.
		t.u.lastActivity = later(t.now, t.u.deadlines.at(purposePutOffEnds))
	} else {
		// One that has been silent for so long does not ask by itself any more.
		notifyAt = later(t.u.lastActivity, t.u.restoredAt).Add(t.p.goneSilent())
		// It was silent already. What others took does not count, what it had itself does: else devices that
		// are gone would hand the slot to each other for ever.
		t.u.lastActivity = t.u.lastActivity.Add(t.now.Sub(later(t.u.yieldedAt, t.u.restoredAt)))
	}
	t.u.putOffTold = false
	t.move(triggerCalledBack)
	if t.u.stage == StageDownloading && !notifyAt.IsZero() {
		t.u.deadlines.set(purposeNotifySilent, later(t.now, notifyAt))
	}
	t.do(Judge{})
	if t.u.stage == StageDownloading {
		t.tell(DownloadResumed)
	}
}
