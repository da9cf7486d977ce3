package upgrade

import (
	"math"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// apply turns what the block server has counted into the upgrade's progress.
func (e Progress) apply(t *transition) {
	if !t.u.stage.mayBegin() {
		return
	}
	if e.LastRequest.After(t.u.lastActivity) {
		t.active(e.LastRequest)
	}
	t.setWaitsUntil(e.WaitsUntil)
	if !t.u.begun {
		t.begin(e)
	}
	if e.Restarts != t.u.restarts && !t.beganAgain(e) {
		return
	}
	t.u.offset = max(t.u.offset, e.Position)
	t.tellProgress()
}

// begin notes the first block request since the device got its right to blocks. After a restart of the
// service or the dongle the device goes on where it was, so this is not always the first of the attempt.
func (t *transition) begin(e Progress) {
	t.u.begun = true
	t.u.pace.begin(e.Position, t.now)
	goesOn := !t.u.startedAt.IsZero()
	t.move(triggerBegun)
	t.setBegun(e.First, e.StartedAt)
	t.u.suspicion.beyond = 0
	t.u.published = t.u.Progress()
	t.u.publishedAt = t.now
	t.do(Begun{GoesOn: goesOn})
	if !goesOn {
		t.tell(DownloadStarted)
	}
}

// beganAgain notes that the device really began its download again: from here on rate and remaining time are
// those of the new run. It reports false where that was once too often.
func (t *transition) beganAgain(e Progress) bool {
	t.u.restarts = e.Restarts
	t.setRun(e.First, e.StartedAt, e.Position)
	t.u.pace.begin(e.Position, t.now)
	t.u.published = 0
	t.do(Remark{BeganAgain})
	return e.Restarts <= restartsAllowed || !t.move(triggerSilent)
}

// tellProgress has progress told where enough of it, or enough time, has gone by.
func (t *transition) tellProgress() {
	if s := t.u.State(); s != Downloading && s != Fetching {
		return
	}
	moved := t.u.Progress() - t.u.published
	since := t.now.Sub(t.u.publishedAt)
	if since < progressMinimum || moved < progressStep && since < progressMaximum {
		return
	}
	t.publish()
	if moved > 0 && t.u.State() == Downloading {
		t.tell(DownloadProgress)
	}
}

// Record is an upgrade at one moment, as people are told of it.
type Record struct {
	State            State
	ImageType        *uint16 // of the image
	ImageVersion     *uint32 // nil where there was no image, and no version was asked for
	OldImageVersion  *uint32
	RunningVersion   *uint32 // what the device says it runs after a success, where it is not ImageVersion
	Offset           uint32  // bytes that the device has; while the image is fetched, those of its file
	Size             uint32  // bytes of the whole image, or of that file; 0 where that is not known
	Progress         float64 // percent with one decimal
	BytesPerSecond   int     // since this attempt began
	RemainingSeconds *int    // nil where there is no rate yet, or nothing is being downloaded
	QueuedAt         time.Time
	StartedAt        time.Time // first block of this attempt; zero where there was none
	Attempt          int       // from 1
	Reason           Reason
	Error            string       // see [Upgrade.Why]
	WaitsFor         message.IEEE // goes first with the same image; 0 where it waits for none
}

// Progress is the part of the image that the device has, in percent with one decimal. It is 100 only when it
// is whole.
func (u *Upgrade) Progress() float64 { return u.ProgressAt(u.offset) }

// ProgressAt is the part of the image that a device with so many bytes of it has, as Progress says it.
func (u *Upgrade) ProgressAt(offset uint32) float64 {
	if u.order.Size == 0 {
		return 0
	}
	p := math.Floor(float64(offset)*1000/float64(u.order.Size)) / 10
	return min(p, 100)
}

// Rate is the bytes a second since the attempt began; 0 where it is not known.
func (u *Upgrade) Rate(now time.Time) int {
	if u.startedAt.IsZero() || u.offset <= u.startOffset {
		return 0
	}
	end := now
	switch {
	case !u.downloadedAt.IsZero():
		end = u.downloadedAt
	case u.Ended() && !u.lastActivity.IsZero() && u.lastActivity.Before(now):
		end = u.lastActivity // what came after was silence
	}
	seconds := end.Sub(u.startedAt).Seconds()
	if seconds <= 0 {
		return 0
	}
	return int(float64(u.offset-u.startOffset) / seconds)
}

// Left is how many bytes of the image the device does not have.
func (u *Upgrade) Left() uint32 { return u.order.Size - min(u.offset, u.order.Size) }

// Record is the upgrade as it is now.
func (u *Upgrade) Record(now time.Time) Record {
	imageType := u.order.ImageType
	r := Record{
		State: u.State(), ImageType: &imageType,
		ImageVersion: u.order.version(), OldImageVersion: u.order.OldVersion,
		Offset: u.offset, Size: u.order.Size, Progress: u.Progress(),
		QueuedAt: u.queuedAt, StartedAt: u.startedAt, Attempt: u.tries.attempt, Reason: u.outcome.reason,
		RunningVersion: u.RunningVersion(), Error: u.Why(),
	}
	if u.stage.inQueue() {
		r.WaitsFor = u.precedence.canary
	}
	switch r.State {
	case Downloading:
		r.BytesPerSecond = u.Rate(now)
		if r.BytesPerSecond > 0 {
			left := int(math.Ceil(float64(u.Left()) / float64(r.BytesPerSecond)))
			r.RemainingSeconds = &left
		}
	case Downloaded, Applying:
		zero := 0
		r.RemainingSeconds = &zero
	}
	return r
}

// Kind is what the image is for; nil where there was no image.
func (i *Image) Kind() *Kind {
	if i.Missing && i.ImageType == 0 {
		return nil
	}
	return &Kind{i.ManufacturerCode, i.ImageType}
}

// version is the image's file version; nil where there was no image, and no version was asked for.
func (i *Image) version() *uint32 {
	if i.NoVersion {
		return nil
	}
	version := i.ImageVersion
	return &version
}

// Telling is the record as it is to be told now: whatever else in it changes, and however often, its progress
// changes once a second at most. RecordTold has to follow.
func (u *Upgrade) Telling(now time.Time) Record {
	r := u.Record(now)
	if u.toldJustNow(r, now) {
		r.Offset = u.shown.Offset
		r.Progress = u.shown.Progress
		r.BytesPerSecond = u.shown.BytesPerSecond
		r.RemainingSeconds = u.shown.RemainingSeconds
	}
	return r
}

// toldJustNow reports whether progress was told less than a second ago, and has only gone on since.
func (u *Upgrade) toldJustNow(r Record, now time.Time) bool {
	last := u.shown
	if last == nil || last.Attempt != r.Attempt || last.Offset > r.Offset {
		return false
	}
	goesOn := last.State == r.State && (r.State == Downloading || r.State == Fetching)
	return goesOn && now.Sub(u.shownAt) < progressMinimum
}

func (RecordTold) apply(t *transition) {
	r := t.u.Record(t.now)
	if t.u.toldJustNow(r, t.now) {
		return
	}
	t.u.shown = &r
	t.u.shownAt = t.now
	t.u.published = r.Progress
	t.u.publishedAt = t.now
}

// Past is an upgrade that has ended, as the device's history keeps it in the state file.
type Past struct {
	State           State   `json:"state"`
	Reason          Reason  `json:"reason,omitempty"`
	Kind            *Kind   `json:"kind,omitempty"`            // of the image; nil in older state files
	SHA256          string  `json:"sha256,omitempty"`          // of the image; empty in older state files
	ImageVersion    *uint32 `json:"imageVersion,omitempty"`    // nil where there was no image
	OldImageVersion *uint32 `json:"oldImageVersion,omitempty"` // nil where it was not known
	// RunningVersion is what the device said it runs after a success; nil where that was ImageVersion.
	RunningVersion *uint32   `json:"runningVersion,omitempty"`
	QueuedAt       time.Time `json:"queuedAt"`
	StartedAt      time.Time `json:"startedAt,omitzero"` // first block of the last attempt
	EndedAt        time.Time `json:"endedAt"`
	Attempts       int       `json:"attempts"`
	Size           uint32    `json:"size"`  // bytes of the whole image
	Bytes          uint32    `json:"bytes"` // bytes of the image that the device had in the end
	// BytesPerSecond is that of the last attempt, without the installation; 0 where it is not known.
	BytesPerSecond int `json:"bytesPerSecond"`
	// Pace is BytesPerSecond without the time in which the device was told to wait.
	Pace int `json:"pace,omitempty"`
}

// Past is an upgrade that has ended as the device's history keeps it.
func (u *Upgrade) Past() Past {
	return Past{
		State:           u.State(),
		Reason:          u.outcome.reason,
		Kind:            u.order.Kind(),
		SHA256:          u.order.SHA256,
		ImageVersion:    u.order.version(),
		OldImageVersion: u.order.OldVersion,
		RunningVersion:  u.RunningVersion(),
		QueuedAt:        u.queuedAt,
		StartedAt:       u.startedAt,
		EndedAt:         u.endedAt,
		Attempts:        u.tries.attempt,
		Size:            u.order.Size,
		Bytes:           u.offset,
		BytesPerSecond:  u.Rate(u.endedAt),
		Pace:            u.Pace(u.endedAt),
	}
}
