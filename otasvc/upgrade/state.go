package upgrade

// State is where an upgrade stands, as people are told. The strings are part of the MQTT contract.
type State string

// Every state that is told.
const (
	Fetching    State = "fetching"    // its image is being fetched or chosen, or is judged once it is there
	Scheduled   State = "scheduled"   // waits for its time or its window
	Queued      State = "queued"      // waits for the dongle's header slot, for a place, or for its canary
	Notified    State = "notified"    // the dongle offers the image and the device was notified
	Downloading State = "downloading" // the device asks for blocks
	Paused      State = "paused"      // the device is told to wait for data
	Downloaded  State = "downloaded"  // the device has the image and waits to be told to install it
	Applying    State = "applying"    // the device installs, restarts, comes back
	Succeeded   State = "succeeded"
	Failed      State = "failed"
	Cancelled   State = "cancelled"
)

// Ended reports whether nothing further happens to an upgrade in this state.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Stage is where an upgrade stands, in full. People are told its State, which is coarser.
type Stage uint8

// Every stage.
const (
	StageFetching Stage = iota
	StageScheduled
	StageQueued
	// StagePausedInQueue: a person paused it before the device was offered the image in this attempt.
	StagePausedInQueue
	StageNotified
	StageDownloading
	// StageFinishing: the installation is to wait, so the device's last block waits for the slot to hold a
	// header that fits nobody, and the slot has to stay like that until the device has ended its download.
	StageFinishing
	// StagePaused: a person paused it after the device was offered the image.
	StagePaused
	// StagePutOff: the device waits while another image has the slot.
	StagePutOff
	// StagePutOffPaused: the device waits while another image has the slot, and a person paused it as well.
	StagePutOffPaused
	StageDownloaded
	StageApplying
	StageSucceeded
	StageFailed
	StageCancelled
	stageCount
)

// states says what people are told of each stage.
var states = [stageCount]State{
	StageFetching:      Fetching,
	StageScheduled:     Scheduled,
	StageQueued:        Queued,
	StagePausedInQueue: Paused,
	StageNotified:      Notified,
	StageDownloading:   Downloading,
	StageFinishing:     Downloading,
	StagePaused:        Paused,
	StagePutOff:        Paused,
	StagePutOffPaused:  Paused,
	StageDownloaded:    Downloaded,
	StageApplying:      Applying,
	StageSucceeded:     Succeeded,
	StageFailed:        Failed,
	StageCancelled:     Cancelled,
}

// State is what people are told of the stage.
func (s Stage) State() State { return states[s] }

// Ended reports whether nothing further happens to an upgrade in this stage.
func (s Stage) Ended() bool { return s.State().Ended() }

// UsesSlot reports whether the device may ask for blocks at any moment, so that the dongle's slot has to hold
// its image.
func (s Stage) UsesSlot() bool {
	return s == StageNotified || s == StageDownloading || s == StageFinishing || s == StagePaused
}

// IsPutOff reports whether the device waits while another image has the slot.
func (s Stage) IsPutOff() bool { return s == StagePutOff || s == StagePutOffPaused }

// PausedByPerson reports whether a person holds the upgrade.
func (s Stage) PausedByPerson() bool {
	return s == StagePausedInQueue || s == StagePaused || s == StagePutOffPaused
}

// Downloads reports whether the device may have blocks, now or when it is not told to wait any more.
func (s Stage) Downloads() bool { return s.UsesSlot() || s.IsPutOff() }

// MayBeNotified reports whether a device in this stage of its upgrade may be notified without disturbing it:
// it neither downloads nor installs.
func (s Stage) MayBeNotified() bool {
	return s == StageFetching || s == StageScheduled || s.inQueue() || s.Ended()
}

// mayBegin reports whether block requests of the device count. In the queue they come from a device that is
// served without having been offered the image.
func (s Stage) mayBegin() bool { return s == StageQueued || s.Downloads() }

// inQueue reports whether an upgrade in this stage has to be offered its image before anything else happens.
func (s Stage) inQueue() bool { return s == StageQueued || s == StagePausedInQueue }
