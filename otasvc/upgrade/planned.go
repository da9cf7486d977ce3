package upgrade

// notify sends a notification, and sets when the next one is due.
func (t *transition) notify() {
	t.notifications++
	t.notifiedAt = t.now
	if t.stage == StageNotified {
		t.deadlines.set(purposeNotify, t.now.Add(t.p.NotifyInterval))
	}
	t.do(Notify{First: t.notifications == 1})
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

func (Resume) apply(t *transition) { t.resume() }

// resume ends a pause. A download that had not begun goes back to the queue; one that is put off for another
// image goes on when that has had the slot.
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

func (SlotGivenUp) apply(t *transition) {
	if t.move(triggerSlotGivenUp) {
		t.yieldedAt = t.now
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
