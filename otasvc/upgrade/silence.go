package upgrade

import "time"

// distrustHeader has the header loaded again because a device behaves as if it were gone, once in a while at
// most. It reports whether it did.
func (t *transition) distrustHeader() bool {
	if t.now.Sub(t.u.suspicion.at) < suspectInterval {
		return false
	}
	t.u.suspicion.at = t.now
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
	t.u.lastActivity = until
	if t.u.stage == StageDownloading {
		t.watchSilence(until)
	}
}

// watchSilence sets what is done when the device stays silent. Suspicion counts from a time that is not
// before the last activity: while the dongle was away, silence was no sign of anything.
func (t *transition) watchSilence(suspectFrom time.Time) {
	t.watchStall()
	suspectAt := suspectFrom.Add(t.p.suspectTimeout())
	t.u.deadlines.set(purposeSuspect, suspectAt)
	t.u.deadlines.set(purposeReadSilent, later(t.u.deadlines.at(purposeReadSilent), suspectAt))
	t.u.deadlines.clear(purposeNotifySilent)
}

// watchStall sets when the device has stopped asking for blocks for good.
func (t *transition) watchStall() {
	t.u.deadlines.set(purposeStalled, t.u.lastActivity.Add(t.p.stallTimeout()))
}

// suspect doubts the dongle's header, if the device has come further since that was done last.
func (t *transition) suspect() {
	if t.u.offset+1 <= t.u.suspicion.beyond {
		t.u.deadlines.clear(purposeSuspect)
		return
	}
	if !t.distrustHeader() {
		t.u.deadlines.set(purposeSuspect, t.u.suspicion.at.Add(suspectInterval))
		return
	}
	t.u.suspicion.beyond = t.u.offset + 1
	t.u.deadlines.clear(purposeSuspect)
	if t.u.deadlines.at(purposeNotifySilent).IsZero() { // else it has announced itself
		t.u.deadlines.set(purposeNotifySilent, t.now.Add(suspectNotify+t.p.Silence))
	}
}
