package upgrade

// apply acts on what did not happen in time, so that every stage has a way out.
func (e Tick) apply(t *transition) {
	t.search(e.Facts)
	t.waitForView(e.Facts)
	if t.u.stage == StageDownloading {
		t.watchStall() // it may have become known only now that the device sleeps
	}
	for p := range purposeCount {
		if t.u.deadlines.counts(p, e.Facts, t.now) {
			t.expire(p, e.Facts)
		}
	}
	t.expireAway(e.Facts)
	if at := t.u.deadlines.at(purposeLook); !at.IsZero() && !t.now.Before(at) {
		t.u.deadlines.set(purposeLook, t.now.Add(progressLook))
	}
}

// expire does what is due. It clears the deadline or moves it ahead, or moves the upgrade to a stage in which
// the purpose does not live.
func (t *transition) expire(p purpose, f Facts) {
	switch p {
	case purposeDue:
		t.move(triggerDue)
	case purposeRecovered:
		t.u.deadlines.clear(p)
	case purposeEmptySlot:
		t.u.deadlines.clear(p)
		t.move(triggerLastBlockOut) // one that was paused meanwhile stays paused
	case purposeLookFor:
		t.u.deadlines.set(p, t.now.Add(lookInterval))
		t.do(LookFor{})
	case purposeStopLooking:
		t.stopLooking()
	case purposePauseEnds:
		t.resume()
	case purposeInstall:
		t.install()
	case purposeReleaseOver:
		t.do(Remark{NeverReleased})
		t.move(triggerCancel)
	case purposeNotify:
		t.notifyAgain()
	case purposeStalled:
		t.move(triggerSilent)
	case purposeReadSilent:
		t.u.deadlines.set(p, t.now.Add(max(t.p.suspectTimeout(), suspectInterval)))
		t.do(ReadVersion{})
	case purposeSuspect:
		t.suspect()
	case purposeNotifySilent:
		t.u.deadlines.clear(p)
		t.notify()
	case purposeReturned:
		t.notBack()
	case purposeReadVersion:
		t.readVersion(f)
	}
}

// search looks for a device whose network address was given to another one and that has not been heard since.
func (t *transition) search(f Facts) {
	switch {
	case f.Addressed || t.u.stage != StageQueued:
		t.u.deadlines.clear(purposeLookFor)
		t.u.deadlines.clear(purposeStopLooking)
	case f.Connected && t.u.deadlines.at(purposeLookFor).IsZero():
		t.u.deadlines.set(purposeLookFor, t.now)
		t.u.deadlines.set(purposeStopLooking, t.now.Add(lookLimit))
	}
}

// stopLooking gives up a device that was looked for in vain. One that sleeps may answer only when it wakes.
func (t *transition) stopLooking() {
	if limit := t.u.WantedSince().Add(longLimit); t.p.Sleepy && t.now.Before(limit) {
		t.u.deadlines.set(purposeStopLooking, limit)
		return
	}
	t.move(triggerSilent)
}

// expireAway ends an upgrade that has waited for the dongle for too long.
func (t *transition) expireAway(f Facts) {
	limit := activeLimit
	if t.u.stage.inQueue() || t.u.stage.PausedByPerson() && t.u.startedAt.IsZero() {
		limit = longLimit
	} else if !f.Hindered {
		return
	}
	if f.Away > limit && t.now.Sub(t.u.WantedSince()) > limit { // it cannot have waited for longer
		t.move(triggerDongleLost)
	}
}

// notifyAgain repeats the notification, until the device is given up.
func (t *transition) notifyAgain() {
	tired := t.u.notifications >= t.p.NotifyAttempts
	offered := t.now.Sub(t.u.offeredAt)
	switch {
	case t.p.isWaitedFor() && offered > longLimit:
		t.move(triggerNeverAsked)
		return
	case t.p.isWaitedFor():
	case tired, offered > activeLimit: // a dongle that never has room must not keep the upgrade open
		t.move(triggerSilent)
		return
	}

	if t.u.notifications > 0 && t.u.notifications%distrustEvery == 0 {
		t.do(DistrustSlot{})
	}
	t.notify()
	if t.u.tries.attempt > 1 && t.u.notifications > 1 {
		t.do(ReadVersion{}) // it may have been done with the attempt before, and nobody heard of it
	}
	if tired {
		if t.u.notifications == t.p.NotifyAttempts+1 && !t.p.Sleepy {
			t.do(Remark{WaitsForQuery})
		}
		t.u.deadlines.set(purposeNotify, t.now.Add(max(t.p.NotifyInterval, sleepyNotifyInterval)))
	}
}

// waitForView has a device that tells its version only when it looks for an image not be given up while
// nobody would see that, as others download.
func (t *transition) waitForView(f Facts) {
	hidden := t.u.stage == StageApplying && f.QueryOnly && !f.QueriesShow
	if !hidden || t.now.Sub(t.u.applyingAt) > activeLimit {
		return
	}
	seen := t.now.Add(t.p.RejoinTimeout)
	t.u.deadlines.set(purposeReturned, later(t.u.deadlines.at(purposeReturned), seen))
}

// notBack gives up a device that installs.
func (t *transition) notBack() {
	switch {
	case t.u.otherReadings > 0:
		t.move(triggerNewVersion)
	case t.u.oldReadings > 0:
		t.move(triggerOldVersion)
	default:
		t.move(triggerNotBack)
	}
}

// readVersion asks a device that installs what it runs. A further reading is due when this one is over.
func (t *transition) readVersion(f Facts) {
	makes := f.QueryOnly && f.QueriesShow
	if makes && f.QueryAt.After(t.now) {
		t.u.deadlines.set(purposeReadVersion, f.QueryAt)
		return
	}
	t.u.deadlines.clear(purposeReadVersion)
	t.u.reading = true
	if makes {
		t.do(MakeQuery{})
	}
	t.do(ReadVersion{Awaited: true})
}
