package otasvc

import (
	"math"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// State is where an upgrade stands. The strings are part of the MQTT contract.
type State string

// Every state of an upgrade.
const (
	Scheduled   State = "scheduled"   // waits for its time or its window
	Queued      State = "queued"      // waits for the dongle's header slot, for a place, or for its canary
	Notified    State = "notified"    // the dongle offers the image and the device was told
	Downloading State = "downloading" // the device asks for blocks
	Paused      State = "paused"      // the device is held with wait-for-data
	Downloaded  State = "downloaded"  // the device has the image and waits to be told to install it
	Applying    State = "applying"    // the device installs, restarts, comes back
	Succeeded   State = "succeeded"
	Failed      State = "failed"
	Cancelled   State = "cancelled"
)

// Ended reports whether nothing further will happen to an upgrade in this state.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Cancelled }

// holdsSlot reports whether a device in this state may ask for blocks at any moment, so that the dongle's
// slot has to hold its image.
func (s State) holdsSlot() bool { return s == Notified || s == Downloading || s == Paused }

// trigger is what moves an upgrade from one state to the next.
type trigger uint8

const (
	triggerDue         trigger = iota // its time has come
	triggerOffered                    // image in the slot, device notified
	triggerBlock                      // the device asked for a block
	triggerHold                       // pause
	triggerRelease                    // resume
	triggerComplete                   // upgrade end, status success
	triggerKept                       // upgrade end, status success; the installation is to wait
	triggerApply                      // the held installation was released
	triggerAborted                    // upgrade end 0x95
	triggerInvalid                    // upgrade end 0x96
	triggerMore                       // upgrade end 0x99
	triggerSilent                     // no request in time
	triggerNewVersion                 // the new version was read from the device
	triggerOldVersion                 // the device restarted and still has the old one
	triggerGone                       // the device never came back
	triggerCancel                     // by request
	triggerImageGone                  // the image was removed
	triggerCanary                     // the canary of this image failed
	triggerBattery                    // the battery is too low to begin
	triggerUnavailable                // the image cannot be read from the store any more
	triggerYield                      // a sleeping device gives the slot to another image
	triggerDongleLost                 // the dongle never came back, or is another one
	triggerEnd                        // number of triggers
)

// step is one cell of the state table.
type step struct {
	next   State
	reason Reason
	// retry: while attempts are left the upgrade goes back to Queued instead.
	retry bool
}

type cell struct {
	state   State
	trigger trigger
}

// steps is the whole life of an upgrade. A pair that is not in it changes nothing: a late or doubled message
// must never move an upgrade.
var steps = func() map[cell]step {
	m := map[cell]step{
		{Scheduled, triggerDue}: {next: Queued},

		{Queued, triggerOffered}: {next: Notified},
		// A device that went on by itself, after a restart of the service or of the dongle.
		{Queued, triggerBlock}:       {next: Downloading},
		{Queued, triggerCanary}:      {next: Failed, reason: ReasonCanaryFailed},
		{Scheduled, triggerCanary}:   {next: Failed, reason: ReasonCanaryFailed},
		{Queued, triggerBattery}:     {next: Failed, reason: ReasonBatteryLow},
		{Queued, triggerUnavailable}: {next: Failed, reason: ReasonImageInfoNotFound},
		{Queued, triggerHold}:        {next: Paused},
		// Nobody knows where the device is.
		{Queued, triggerSilent}: {next: Failed, reason: ReasonNoResponse, retry: true},

		{Notified, triggerBlock}:  {next: Downloading},
		{Notified, triggerSilent}: {next: Failed, reason: ReasonNoResponse, retry: true},
		{Notified, triggerHold}:   {next: Paused},
		{Notified, triggerYield}:  {next: Queued},

		{Downloading, triggerHold}:   {next: Paused},
		{Downloading, triggerSilent}: {next: Failed, reason: ReasonStalled, retry: true},

		{Paused, triggerRelease}: {next: Downloading},
		{Paused, triggerYield}:   {next: Queued},

		{Downloaded, triggerApply}:      {next: Applying},
		{Downloaded, triggerNewVersion}: {next: Succeeded},

		{Applying, triggerNewVersion}: {next: Succeeded},
		{Applying, triggerOldVersion}: {next: Failed, reason: ReasonVersionUnchanged},
		{Applying, triggerGone}:       {next: Failed, reason: ReasonNotRejoined},
		{Applying, triggerInvalid}:    {next: Failed, reason: ReasonInvalidImage},
		{Applying, triggerAborted}:    {next: Failed, reason: ReasonDeviceAborted, retry: true},
	}
	for _, s := range []State{Notified, Downloading, Paused} {
		m[cell{s, triggerComplete}] = step{next: Applying}
		m[cell{s, triggerKept}] = step{next: Downloaded}
		m[cell{s, triggerAborted}] = step{next: Failed, reason: ReasonDeviceAborted, retry: true}
		m[cell{s, triggerInvalid}] = step{next: Failed, reason: ReasonInvalidImage}
		m[cell{s, triggerMore}] = step{next: Failed, reason: ReasonRequireMoreImages}
		m[cell{s, triggerNewVersion}] = step{next: Succeeded}
		m[cell{s, triggerUnavailable}] = step{next: Failed, reason: ReasonImageInfoNotFound}
	}
	for _, s := range []State{Queued, Notified, Downloading, Paused, Downloaded, Applying} {
		m[cell{s, triggerDongleLost}] = step{next: Failed, reason: ReasonDongleLost}
	}
	for _, s := range []State{Scheduled, Queued, Notified, Downloading, Paused, Downloaded, Applying} {
		m[cell{s, triggerCancel}] = step{next: Cancelled, reason: ReasonCancelled}
		m[cell{s, triggerImageGone}] = step{next: Cancelled, reason: ReasonImageRemoved}
	}
	return m
}()

// nextStep looks the table up. attemptsLeft says whether a further attempt is allowed; an upgrade that gets
// one goes back to Queued, keeping the reason of the attempt that failed out of its record.
func nextStep(s State, t trigger, attemptsLeft bool) (step, bool) {
	st, ok := steps[cell{s, t}]
	if !ok {
		return step{}, false
	}
	if st.retry && attemptsLeft {
		return step{next: Queued}, true
	}
	return st, true
}

// upgrade is one upgrade of one device, as the owner keeps it and as it stands in the state file.
type upgrade struct {
	State            State     `json:"state"`
	Reason           Reason    `json:"reason,omitempty"`
	SHA256           string    `json:"sha256"`
	ManufacturerCode uint16    `json:"manufacturerCode"`
	ImageType        uint16    `json:"imageType"`
	ImageVersion     uint32    `json:"imageVersion"`
	Size             uint32    `json:"size"`
	URL              string    `json:"url,omitempty"`
	DriverTypeID     string    `json:"driverTypeId,omitempty"`
	DriverVersion    uint32    `json:"driverVersion,omitempty"`
	OldVersion       *uint32   `json:"oldVersion,omitempty"`
	QueuedAt         time.Time `json:"queuedAt"`
	DueAt            time.Time `json:"dueAt,omitzero"`
	OfferedAt        time.Time `json:"offeredAt,omitzero"`    // first notification of this attempt
	StartedAt        time.Time `json:"startedAt,omitzero"`    // first block of this attempt
	EndedAt          time.Time `json:"endedAt,omitzero"`      // final state
	DownloadedAt     time.Time `json:"downloadedAt,omitzero"` // upgrade end request of this attempt
	ApplyingAt       time.Time `json:"applyingAt,omitzero"`
	Attempt          int       `json:"attempt"`
	Offset           uint32    `json:"offset,omitempty"`      // bytes that the device has
	StartOffset      uint32    `json:"startOffset,omitempty"` // offset at which this attempt began
	Tickets          []Ticket  `json:"tickets,omitempty"`     // who waits for the final answer
	// OfferedVersion is the file version under which the dongle offers the image.
	OfferedVersion uint32    `json:"offeredVersion"`
	Install        Install   `json:"install,omitempty"`
	InstallAt      time.Time `json:"installAt,omitzero"`
	// WasHeld means that its installation had to wait: the answer to it is ours.
	WasHeld     bool  `json:"wasHeld,omitempty"`
	EndSequence uint8 `json:"endSequence,omitempty"` // of its last upgrade end request
	Held        bool  `json:"held,omitempty"`        // paused by request
	// AsideUntil is when the device, which is held for another image, asks again.
	AsideUntil  time.Time      `json:"asideUntil,omitzero"`
	AsideTold   bool           `json:"asideTold,omitempty"` // the device knows until when
	Group       uint64         `json:"group,omitempty"`     // 0: none
	Canary      message.IEEE   `json:"canary,omitempty"`
	PausedUntil time.Time      `json:"pausedUntil,omitzero"` // zero while held: until resumed
	ZCLStatus   *uint8         `json:"zclStatus,omitempty"`
	Verify      verifyProgress `json:"verify,omitzero"`
	runtime     upgradeRuntime // not kept: found anew after a restart
}

// verifyProgress is what was seen of a device since its download ended.
type verifyProgress struct {
	Announced   bool `json:"announced,omitempty"`   // the device said that it is (back) on the network
	OldReadings int  `json:"oldReadings,omitempty"` // how often the old version was read since
}

// upgradeRuntime is the part of an upgrade that lives only as long as the process.
type upgradeRuntime struct {
	transfer      *blocks.Transfer // what the block server works on; nil: device may not have blocks
	restoredAt    time.Time        // read from the state file
	saved         float64          // progress that was handed to the store last, percent
	searchAt      time.Time        // a device without an address is looked for then
	begun         bool             // the transfer's first block was told
	restarts      uint32           // of the transfer, as far as they were told
	notifications int
	nextNotify    time.Time
	notifiedAt    time.Time
	offeredAt     time.Time
	lostSince     time.Time // its network address is not known since then, though the dongle is there
	applyingSince time.Time // time-out of the installation counts from here
	yieldedAt     time.Time // stands in the queue since then, having given the slot up
	awakeUntil    time.Time // the device was heard and listens
	stirredAt     time.Time // when it was last put before others for being heard
	notBefore     time.Time // a further attempt waits until then
	lastActivity  time.Time // last block request, for the stall time-out
	nextRead      time.Time // next reading of the version while applying
	reading       bool
	suspicion     suspicion // of a reset that nobody told of
	published     float64   // progress that was told last, percent
	publishedAt   time.Time
	shown         *UpgradeRecord // what the last record said of it
	shownAt       time.Time
}

// progress is the part of the image that the device has, in percent with one decimal. 100
// only when it is whole.
func (u *upgrade) progress() float64 {
	if u.Size == 0 {
		return 0
	}
	p := math.Floor(float64(u.Offset)*1000/float64(u.Size)) / 10
	return min(p, 100)
}

// rate is the bytes a second since the attempt began; 0: not known.
func (u *upgrade) rate(now time.Time) int {
	if u.StartedAt.IsZero() || u.Offset <= u.StartOffset {
		return 0
	}
	end := now
	switch {
	case !u.DownloadedAt.IsZero():
		end = u.DownloadedAt
	case u.State.Ended() && !u.runtime.lastActivity.IsZero() && u.runtime.lastActivity.Before(now):
		end = u.runtime.lastActivity // what came after was silence
	}
	d := end.Sub(u.StartedAt).Seconds()
	if d <= 0 {
		return 0
	}
	return int(float64(u.Offset-u.StartOffset) / d)
}

// record is the upgrade as others see it.
func (u *upgrade) record(now time.Time) *UpgradeRecord {
	if u == nil {
		return nil
	}
	r := &UpgradeRecord{
		State: u.State, ImageVersion: u.ImageVersion, OldImageVersion: u.OldVersion,
		Offset: u.Offset, Size: u.Size, Progress: u.progress(),
		QueuedAt: u.QueuedAt, StartedAt: u.StartedAt, Attempt: u.Attempt, Reason: u.Reason,
	}
	switch u.State {
	case Downloading:
		r.BytesPerSecond = u.rate(now)
		if r.BytesPerSecond > 0 {
			left := int(math.Ceil(float64(u.Size-u.Offset) / float64(r.BytesPerSecond)))
			r.RemainingSeconds = &left
		}
	case Downloaded, Applying:
		zero := 0
		r.RemainingSeconds = &zero
	}
	return r
}

// operation is the operation record of an answer about this upgrade; running is the version
// on the device now.
func (u *upgrade) operation(euid message.IEEE, running *uint32) *Operation {
	op := &Operation{
		EUID:             euid,
		ManufacturerCode: &u.ManufacturerCode,
		ImageType:        &u.ImageType,
		ImageVersion:     &u.ImageVersion,
		OldImageVersion:  running,
		DriverTypeID:     &u.DriverTypeID,
		DriverVersion:    &u.DriverVersion,
	}
	if u.URL != "" {
		op.URL = &u.URL
	}
	return op
}
