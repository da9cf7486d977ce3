package upgrade

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// marks say what a step has changed. The methods below set them, beside what they change; nothing else does.
// What a stage begins with is set after the move to it, and is marked with the move.
type marks struct {
	told   bool // of what people are told
	kept   bool // of what is kept
	atOnce bool // of what a crash must not lose
}

// effects are what the owner has to do about the marks.
func (m marks) effects() []Effect {
	var effects []Effect
	if m.told {
		effects = append(effects, Changed{})
	}
	if m.kept {
		effects = append(effects, Save{AtOnce: m.atOnce})
	}
	return effects
}

// changed marks that what is kept and told is different now.
func (m *marks) changed() {
	m.told = true
	m.kept = true
}

// setStage puts the upgrade into a stage.
func (t *transition) setStage(next step) {
	t.u.stage = next.next
	t.u.outcome.reason = next.reason
	t.u.deadlines.leave(t.u.stage)
	t.marks.changed()
}

// setOldVersion notes the version that the device runs before the upgrade: it was not known when that was
// queued, or is another one by now.
func (t *transition) setOldVersion(version uint32) {
	t.u.order.OldVersion = &version
	t.marks.changed()
}

// setRun notes that a download runs from an offset on, so that rate and remaining time are those of this run.
func (t *transition) setRun(from uint32, startedAt time.Time, offset uint32) {
	t.u.startOffset = from
	t.u.startedAt = startedAt
	t.u.offset = offset
	t.marks.changed()
}

// setBegun notes the run that begins with the first block request since the device got its right to blocks.
// A crash must not make it begin twice.
func (t *transition) setBegun(from uint32, startedAt time.Time) {
	t.setRun(from, startedAt, from)
	t.marks.atOnce = true
}

// setWaitsUntil notes until when the device was told to wait: it is not silent before. A wait that is long
// enough to be taken for silence is kept, because the next life of the service has to know of it.
func (t *transition) setWaitsUntil(until time.Time) {
	if until.Equal(t.u.waitsUntil) {
		return
	}
	t.u.waitsUntil = until
	if until.After(t.u.lastActivity) {
		t.active(until)
	}
	if until.Sub(t.now) >= t.p.suspectTimeout() {
		t.marks.kept = true
	}
}

// publish notes that the progress is being told, and has it saved where it has moved enough since that was
// done last.
func (t *transition) publish() {
	progress := t.u.Progress()
	t.u.published = progress
	t.u.publishedAt = t.now
	t.marks.told = true
	if t.u.stage != StageFetching && progress-t.u.attempted.saved >= saveStep {
		t.u.attempted.saved = progress
		t.marks.kept = true
	}
}

// setAnnounced notes that the device was back on the network; versions that it told before do not count.
func (t *transition) setAnnounced() {
	t.u.verification = verification{announced: true}
	t.marks.kept = true
}

// setEndSequence notes the sequence number of the device's upgrade end request, which its answer has.
func (t *transition) setEndSequence(sequence uint8) {
	if t.u.endRequest.sequence != sequence {
		t.u.endRequest.sequence = sequence
		t.marks.kept = true
	}
}

// setInstallNow notes that the installation does not wait any more.
func (t *transition) setInstallNow() {
	t.u.order.Installation.When = InstallNow
	t.marks.kept = true
}

// setKeptTime puts a time that was kept on the clock of this process, where it may be another one.
func (t *transition) setKeptTime(at *time.Time, to time.Time) {
	t.marks.kept = t.marks.kept || !to.Equal(*at)
	*at = to
}

// endPutOff notes that a putting off is over now.
func (t *transition) endPutOff() {
	t.u.deadlines.set(purposePutOffEnds, t.now)
	t.marks.kept = true
}

// setRunning notes which version the device tells.
func (t *transition) setRunning(version uint32) {
	t.u.running = &version
	t.marks.kept = true
}

// countOldReading notes that the device told its old version, or one that says nothing of the image.
func (t *transition) countOldReading(version uint32) {
	t.u.oldReadings++
	t.u.otherReadings = 0
	t.setRunning(version)
}

// countOtherReading notes that the device told a version that is neither its old one nor the image's.
func (t *transition) countOtherReading(version uint32) {
	if t.u.running == nil || *t.u.running != version {
		t.u.otherReadings = 0
	}
	t.u.otherReadings++
	t.u.oldReadings = 0
	t.setRunning(version)
}

// setCanary has the upgrade wait for another device, or for none.
func (t *transition) setCanary(device message.IEEE) {
	if t.u.precedence.canary != device {
		t.u.precedence.canary = device
		t.marks.changed()
	}
}

// dropTickets takes the tickets away.
func (t *transition) dropTickets() {
	if len(t.u.order.Tickets) > 0 {
		t.u.order.Tickets = nil
		t.marks.kept = true
	}
}
