package upgrade

// trigger is what moves an upgrade from one stage to the next.
type trigger uint8

const (
	triggerFetched       trigger = iota // its image is there, and the device may have it
	triggerFetchedEarly                 // the same, and its time has not come
	triggerRefused                      // its image could not be had, or is not for the device
	triggerDue                          // its time has come
	triggerOffered                      // the slot holds the image, and the device is told so
	triggerBegun                        // the device asked for its first block
	triggerLastBlock                    // the device asks for its last block, and its installation is to wait
	triggerLastBlockOut                 // the time of the last block is over
	triggerPause                        // by request
	triggerResume                       // by request, or the time of the pause is over
	triggerResumeNew                    // the same, and the device has asked for nothing yet
	triggerPutOff                       // another image gets the slot
	triggerCalledBack                   // the image has the slot again
	triggerSlotGivenUp                  // the device has not begun, and others wait
	triggerComplete                     // upgrade end, status success
	triggerCompleteHeld                 // upgrade end, status success; the installation is to wait
	triggerRelease                      // the installation that waited was released
	triggerAborted                      // upgrade end, status 0x95
	triggerInvalid                      // upgrade end, status 0x96
	triggerNeedsMore                    // upgrade end, status 0x99
	triggerSilent                       // no request in time
	triggerNeverAsked                   // no request in all the time for which the device was waited for
	triggerNewVersion                   // the image's version was read from the device
	triggerOldVersion                   // the device restarted and still has another version
	triggerNotBack                      // the device never came back
	triggerCancel                       // by request
	triggerForgotten                    // the device was dropped
	triggerImageRemoved                 // the image was taken back
	triggerUnavailable                  // the image cannot be read from the store
	triggerCanaryFailed                 // the canary of this image failed
	triggerBatteryLow                   // the battery is too low to begin
	triggerWrongHardware                // the image is not for the device's hardware version
	triggerDongleLost                   // the dongle was away for too long
	triggerReplaced                     // the dongle has another network
	triggerDongleRefuses                // the dongle takes no blocks
	triggerTriedInVain                  // it still takes none, which the download was to show
	triggerCount
)

// cell is a place in the table of steps.
type cell struct {
	stage   Stage
	trigger trigger
}

// step is what stands at a place.
type step struct {
	next   Stage
	reason Reason
	// retry says that the upgrade is tried again instead, as long as attempts are left.
	retry bool
}

// steps is the whole life of an upgrade. A pair that is not in it changes nothing: a message that is late or
// doubled must never move an upgrade.
var steps = func() map[cell]step {
	m := map[cell]step{
		{StageFetching, triggerFetched}:      {next: StageQueued},
		{StageFetching, triggerFetchedEarly}: {next: StageScheduled},
		{StageFetching, triggerRefused}:      {next: StageFailed}, // the event says why
		{StageFetching, triggerCanaryFailed}: {next: StageFailed, reason: ReasonCanaryFailed},

		{StageScheduled, triggerDue}:          {next: StageQueued},
		{StageScheduled, triggerCanaryFailed}: {next: StageFailed, reason: ReasonCanaryFailed},

		{StageQueued, triggerOffered}: {next: StageNotified},
		// A device that asks for the loaded image without having been told of it is served.
		{StageQueued, triggerBegun}:        {next: StageDownloading},
		{StageQueued, triggerPause}:        {next: StagePausedInQueue},
		{StageQueued, triggerCanaryFailed}: {next: StageFailed, reason: ReasonCanaryFailed},
		{StageQueued, triggerBatteryLow}:   {next: StageFailed, reason: ReasonBatteryLow},
		// Nobody knows where the device is.
		{StageQueued, triggerSilent}:      {next: StageFailed, reason: ReasonNoResponse, retry: true},
		{StageQueued, triggerUnavailable}: {next: StageFailed, reason: ReasonImageInfoNotFound},

		{StagePausedInQueue, triggerPause}:        {next: StagePausedInQueue},
		{StagePausedInQueue, triggerResume}:       {next: StageQueued},
		{StagePausedInQueue, triggerResumeNew}:    {next: StageQueued},
		{StagePausedInQueue, triggerCanaryFailed}: {next: StageFailed, reason: ReasonCanaryFailed},
		{StagePausedInQueue, triggerNewVersion}:   {next: StageSucceeded},
		{StagePausedInQueue, triggerUnavailable}:  {next: StageFailed, reason: ReasonImageInfoNotFound},

		{StageNotified, triggerBegun}:       {next: StageDownloading},
		{StageNotified, triggerPause}:       {next: StagePaused},
		{StageNotified, triggerSlotGivenUp}: {next: StageQueued},
		{StageNotified, triggerSilent}:      {next: StageFailed, reason: ReasonNoResponse, retry: true},
		{StageNotified, triggerNeverAsked}:  {next: StageFailed, reason: ReasonNoResponse},

		{StageDownloading, triggerLastBlock}: {next: StageFinishing},
		{StageDownloading, triggerPause}:     {next: StagePaused},
		{StageDownloading, triggerPutOff}:    {next: StagePutOff},
		{StageDownloading, triggerSilent}:    {next: StageFailed, reason: ReasonStalled, retry: true},

		{StageDownloading, triggerDongleRefuses}: {next: StageFailed, reason: ReasonDongleRefuses},
		{StageDownloading, triggerTriedInVain}:   {next: StageQueued},
		{StageFinishing, triggerDongleRefuses}:   {next: StageFailed, reason: ReasonDongleRefuses},
		{StageFinishing, triggerTriedInVain}:     {next: StageQueued},

		{StageFinishing, triggerLastBlock}:    {next: StageFinishing},
		{StageFinishing, triggerLastBlockOut}: {next: StageDownloading},
		{StageFinishing, triggerPause}:        {next: StagePaused},
		{StageFinishing, triggerSilent}:       {next: StageFailed, reason: ReasonStalled, retry: true},

		{StagePaused, triggerPause}:     {next: StagePaused},
		{StagePaused, triggerResume}:    {next: StageDownloading},
		{StagePaused, triggerResumeNew}: {next: StageQueued},
		{StagePaused, triggerPutOff}:    {next: StagePutOffPaused},

		{StagePutOff, triggerPause}:      {next: StagePutOffPaused},
		{StagePutOff, triggerCalledBack}: {next: StageDownloading},

		{StagePutOffPaused, triggerPause}:      {next: StagePutOffPaused},
		{StagePutOffPaused, triggerResume}:     {next: StagePutOff},
		{StagePutOffPaused, triggerResumeNew}:  {next: StagePutOff},
		{StagePutOffPaused, triggerCalledBack}: {next: StagePaused},

		{StageDownloaded, triggerRelease}:    {next: StageApplying},
		{StageDownloaded, triggerNewVersion}: {next: StageSucceeded},

		{StageApplying, triggerNewVersion}: {next: StageSucceeded},
		{StageApplying, triggerOldVersion}: {next: StageFailed, reason: ReasonVersionUnchanged},
		{StageApplying, triggerNotBack}:    {next: StageFailed, reason: ReasonNotRejoined},
		{StageApplying, triggerInvalid}:    {next: StageFailed, reason: ReasonInvalidImage},
		{StageApplying, triggerAborted}:    {next: StageFailed, reason: ReasonDeviceAborted, retry: true},
	}
	for _, s := range []Stage{
		StageNotified, StageDownloading, StageFinishing, StagePaused, StagePutOff, StagePutOffPaused,
	} {
		m[cell{s, triggerComplete}] = step{next: StageApplying}
		m[cell{s, triggerCompleteHeld}] = step{next: StageDownloaded}
		m[cell{s, triggerAborted}] = step{next: StageFailed, reason: ReasonDeviceAborted, retry: true}
		m[cell{s, triggerInvalid}] = step{next: StageFailed, reason: ReasonInvalidImage}
		m[cell{s, triggerNeedsMore}] = step{next: StageFailed, reason: ReasonRequireMoreImages}
		m[cell{s, triggerNewVersion}] = step{next: StageSucceeded}
		m[cell{s, triggerUnavailable}] = step{next: StageFailed, reason: ReasonImageInfoNotFound}
	}
	for _, s := range []Stage{StageScheduled, StageQueued, StagePausedInQueue, StageNotified} {
		m[cell{s, triggerWrongHardware}] = step{next: StageFailed, reason: ReasonHardwareMismatch}
	}
	for s := range stageCount {
		if s.Ended() {
			continue
		}
		if s != StageApplying { // nothing stops a device that installs, and how that ends is to be told
			m[cell{s, triggerCancel}] = step{next: StageCancelled, reason: ReasonCancelled}
			m[cell{s, triggerImageRemoved}] = step{next: StageCancelled, reason: ReasonImageRemoved}
		}
		m[cell{s, triggerForgotten}] = step{next: StageCancelled, reason: ReasonCancelled}
		if s == StageFetching || s == StageScheduled {
			continue // it needs no dongle yet
		}
		m[cell{s, triggerDongleLost}] = step{next: StageFailed, reason: ReasonDongleLost}
		if s != StageQueued { // a device that has not begun may be in the new network, too
			m[cell{s, triggerReplaced}] = step{next: StageFailed, reason: ReasonDongleLost}
		}
	}
	return m
}()
