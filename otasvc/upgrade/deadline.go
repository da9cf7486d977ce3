package upgrade

import (
	"slices"
	"time"
)

// purpose is what a deadline is for.
type purpose uint8

// Every purpose, in the order in which a Tick looks at them.
const (
	purposeDue          purpose = iota // a scheduled upgrade stands in the queue from then on
	purposeRecovered                   // the device may be offered the image again after a failed attempt
	purposeLookFor                     // the device, whose network address is not known, is looked for
	purposeStopLooking                 // the device was looked for in vain
	purposePauseEnds                   // a person's pause is over
	purposePutOffEnds                  // the device, which was put off, asks again
	purposeEmptySlot                   // the slot need not stay empty for the last block any longer
	purposeInstall                     // the device is told to install the image
	purposeReleaseOver                 // nobody has released the installation
	purposeNotify                      // the notification is repeated
	purposeStalled                     // the device has stopped asking for blocks
	purposeReadSilent                  // the version of a silent device is read: it may be done
	purposeSuspect                     // a silent device makes the dongle's header doubtful
	purposeNotifySilent                // a silent device is notified, now that the header was loaded again
	purposeReturned                    // the device has not come back
	purposeReadVersion                 // the version of a device that installs is read
	purposeLook                        // progress is looked at, and told
	purposeCount
)

// needs is what must be there for a deadline to count.
type needs uint8

const (
	needsNothing needs = iota
	needsDongle        // what runs out while the dongle is away is not the device's fault
	needsOurSlot       // the slot is this image's, loaded or not
	needsHeader        // the slot holds the image's header
	needsPlanner       // the slot's planner acts on it: it is no matter of this upgrade alone
)

// term says in which stages a purpose lives, and what it needs. A deadline goes when the upgrade leaves those
// stages.
type term struct {
	stages []Stage
	needs  needs
}

// terms has the term of each purpose.
var terms = [purposeCount]term{
	purposeDue:          {[]Stage{StageScheduled}, needsNothing},
	purposeRecovered:    {[]Stage{StageQueued, StagePausedInQueue}, needsNothing},
	purposeLookFor:      {[]Stage{StageQueued}, needsDongle},
	purposeStopLooking:  {[]Stage{StageQueued}, needsDongle},
	purposePauseEnds:    {[]Stage{StagePausedInQueue, StagePaused, StagePutOffPaused}, needsNothing},
	purposePutOffEnds:   {[]Stage{StagePutOff, StagePutOffPaused}, needsPlanner},
	purposeEmptySlot:    {[]Stage{StageFinishing, StagePaused}, needsNothing},
	purposeInstall:      {[]Stage{StageDownloaded}, needsDongle},
	purposeReleaseOver:  {[]Stage{StageDownloaded}, needsNothing},
	purposeNotify:       {[]Stage{StageNotified}, needsHeader},
	purposeStalled:      {[]Stage{StageDownloading}, needsDongle},
	purposeReadSilent:   {[]Stage{StageDownloading}, needsOurSlot},
	purposeSuspect:      {[]Stage{StageDownloading}, needsOurSlot},
	purposeNotifySilent: {[]Stage{StageDownloading}, needsHeader},
	purposeReturned:     {[]Stage{StageApplying}, needsDongle},
	purposeReadVersion:  {[]Stage{StageApplying}, needsDongle},
	purposeLook:         {[]Stage{StageDownloading, StageFinishing}, needsNothing},
}

// deadlines are times by purpose. The zero time stands for none.
type deadlines [purposeCount]time.Time

func (d *deadlines) at(p purpose) time.Time      { return d[p] }
func (d *deadlines) set(p purpose, at time.Time) { d[p] = at }
func (d *deadlines) clear(p purpose)             { d[p] = time.Time{} }

// leave drops the deadlines that do not live in a stage.
func (d *deadlines) leave(now Stage) {
	for p := range purposeCount {
		if !slices.Contains(terms[p].stages, now) {
			d.clear(p)
		}
	}
}

// counts reports whether a deadline has come, and what it needs is there.
func (d *deadlines) counts(p purpose, f Facts, now time.Time) bool {
	at := d.at(p)
	return !at.IsZero() && !now.Before(at) && f.allow(terms[p].needs)
}

// allow reports whether what a deadline needs is there.
func (f Facts) allow(n needs) bool {
	switch n {
	case needsNothing:
		return true
	case needsDongle:
		return f.Connected
	case needsOurSlot:
		return f.Connected && f.Slot != SlotOther
	case needsHeader:
		return f.Connected && f.Slot == SlotHolds
	default:
		return false
	}
}

// Next is the earliest deadline that counts as things are: the upgrade has to get a Tick then. It is zero
// where nothing has to happen by the clock. After a Tick with the same facts it is never in the past.
func (u *Upgrade) Next(f Facts) time.Time {
	var next time.Time
	for p, at := range u.deadlines {
		if at.IsZero() || !f.allow(terms[p].needs) {
			continue
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}
