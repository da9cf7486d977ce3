package upgrade

import (
	"encoding/json"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Ticket identifies who asked for an upgrade. It is kept with the upgrade over restarts; what it means is the
// business of whoever made it.
type Ticket = json.RawMessage

// Install says when a device is to install what it has downloaded.
type Install string

// When to install.
const (
	InstallNow  Install = ""     // as soon as it is downloaded
	InstallHold Install = "hold" // when a later request says so
	InstallAt   Install = "at"   // at a time
)

// Image is what an upgrade brings a device to. It does not change any more once it has been fetched; before,
// it is what is known of it.
type Image struct {
	SHA256           string // lower-case hex, of the bytes served; empty where it was not fetched
	ManufacturerCode uint16
	ImageType        uint16
	ImageVersion     uint32 // ZCL file version
	Size             uint32 // bytes served; while it is fetched those of its file, 0 where that is not known
	URL              string // where it came from, without a password; empty where that is not known
	DriverTypeID     string
	DriverVersion    uint32
	// Missing says that no image was found, so that nothing is known but what was asked for: perhaps its URL,
	// and, unless NoVersion is set too, its ImageVersion. Such an upgrade was refused, or its image is being
	// fetched.
	Missing, NoVersion bool
}

// Order is what a new upgrade is made of.
type Order struct {
	Image
	OldVersion *uint32 // the file version that the device runs; nil where it is not known
	// ToldAs is the version that the device tells when it runs this image, where that is another than the
	// file's, as an earlier upgrade has shown; nil where that is not known.
	ToldAs       *uint32
	DueAt        time.Time // when it may begin; zero stands for at once
	Tickets      []Ticket  // who waits for the final answer
	Installation Installation
	Group        uint64 // the request for all devices that it belongs to; 0 where it belongs to none
	Forced       bool   // a person wants it done without waiting for another device
	Fetch        *Fetch // what was asked for, while the image is being fetched; else nil
}

// Fetch is what was asked for of an image that has to be fetched first: with it the fetch is begun again
// after a restart.
type Fetch struct {
	// URL is where the image is, without what may be secret in it; empty where the image is one of those that
	// there are for the device.
	URL string `json:"url,omitempty"`
	// Withheld says that the URL lacks something, so that the image cannot be fetched by it.
	Withheld bool `json:"withheld,omitempty"`
	// SHA256 and SHA512 are the digests that the download is to have, in hex; empty where none are given.
	SHA256         string  `json:"sha256,omitempty"`
	SHA512         string  `json:"sha512,omitempty"`
	ImageType      *uint16 `json:"imageType,omitempty"`    // names an OTA client of the device
	ImageVersion   *uint32 `json:"imageVersion,omitempty"` // nil stands for the newest that fits
	AllowDowngrade bool    `json:"allowDowngrade,omitempty"`
	// Added says that another request fetches the image and adds it for the device. Until it has, that
	// request is carried out again by whoever made it.
	Added bool `json:"added,omitempty"`
}

// Installation says when the device is to install the image.
type Installation struct {
	When Install
	At   time.Time // with InstallAt
	// HoldLimit is how long the device keeps an image that it is told not to install yet; then it installs it
	// all the same. 0 stands for as long as it is told.
	HoldLimit time.Duration
}

// Upgrade is one upgrade of one device. Only Step changes it; all other methods are queries.
type Upgrade struct {
	// Kept in the state file.
	order          Order
	precedence     precedence
	stage          Stage
	outcome        outcome
	queuedAt       time.Time
	offeredAt      time.Time // first notification of this attempt
	startedAt      time.Time // first block request of this attempt
	downloadedAt   time.Time // upgrade end request of this attempt
	applyingAt     time.Time // the device installs from here on
	endedAt        time.Time
	tries          tries
	offset         uint32 // bytes that the device has; while the image is fetched, of its file that are here
	startOffset    uint32 // offset at which this attempt began
	offeredVersion uint32 // file version under which the dongle offers the image
	wasHeld        bool   // the installation has waited, so the owner answers the device
	endRequest     endRequest
	putOffTold     bool      // the device knows until when it is put off
	waitsUntil     time.Time // the device was told to wait until then with its last request; zero: it was not
	verification

	// deadlines are what has to happen by the clock. Of those, the ends of a pause and of a putting off are
	// kept.
	deadlines deadlines

	// Found anew after a restart.
	attempted
	yieldedAt time.Time // the slot was given up, so it stands in the queue since then
}

// outcome is how an upgrade ended; it is zero before, and after a success.
type outcome struct {
	reason   Reason
	refused  bool
	sentence string // why it was refused, for a person; empty stands for the reason's own sentence
	// before is by the upgrade before one that was refused, or whose image is being fetched; nil where there
	// was none.
	before *Tried
}

// precedence is what decides whether the upgrade or another one of the same image goes first.
type precedence struct {
	canary  message.IEEE // goes first; 0 where the upgrade waits for none
	setback Reason       // why the attempt before this one failed
}

// tries is what decides whether a further attempt is made.
type tries struct {
	attempt int // the one under way, from 1
	// vain counts the attempts that have failed, but for the first one and those that got further than all
	// before them.
	vain     int
	furthest uint32 // offset that the furthest attempt got to
}

// end notes the offset to which the attempt got, which has failed.
func (t *tries) end(offset, size uint32) {
	further := t.furthest + max(size/100, 1)
	if t.attempt > 1 && offset < further {
		t.vain++
	}
	t.furthest = max(t.furthest, offset)
}

// endRequest is what is kept of the device's last upgrade end request.
type endRequest struct {
	zclStatus *uint8 // nil where there was none in this attempt
	sequence  uint8  // ZCL sequence number
}

// verification is what was seen of the device since its download ended.
type verification struct {
	announced     bool    // it was back on the network
	oldReadings   int     // how often its old version was read since then
	otherReadings int     // how often running was read, if it is neither the old version nor the image's
	running       *uint32 // the version that was read last; nil where none was
}

// attempted is what an attempt remembers for as long as the process lives. A further attempt begins with a
// new one.
type attempted struct {
	restoredAt    time.Time // read from the state file
	begun         bool      // a block request was counted since the device got its right to blocks
	restarts      uint32    // how often the device has begun again since then
	notifications int       // since the attempt began
	notifiedAt    time.Time
	slotAt        time.Time // when the image was last offered
	awakeUntil    time.Time // a sleeping device was heard and listens
	stirredAt     time.Time // when it was last put before others for that
	queriedAt     time.Time // when it looked for an image last
	unanswered    bool      // it gave the slot up without an answer, and was not heard since
	lastActivity  time.Time // last block request; a device that was told to wait is active until it is to ask
	reading       bool      // the version is being read, which is waited for
	suspicion     suspicion
	pace          pace
	saved         float64 // progress that was saved last, percent
	published     float64 // progress that was told last, percent
	publishedAt   time.Time
	shown         *Record // the record that was told last
	shownAt       time.Time
}

// New is an upgrade that stands in the queue, or waits for its time.
func New(o Order, now time.Time) *Upgrade {
	u := &Upgrade{
		order:          o,
		stage:          StageQueued,
		queuedAt:       now,
		tries:          tries{attempt: 1},
		offeredVersion: o.ImageVersion,
	}
	if o.DueAt.After(now) {
		u.stage = StageScheduled
		u.deadlines.set(purposeDue, o.DueAt)
	}
	return u
}

// NewFetching is an upgrade whose image is being fetched. The order has what is known of the image. last is
// the device's upgrade before, or nil: what was tried with the device is remembered.
func NewFetching(o Order, last *Upgrade, now time.Time) *Upgrade {
	u := &Upgrade{
		order:          o,
		stage:          StageFetching,
		queuedAt:       now,
		tries:          tries{attempt: 1},
		offeredVersion: o.ImageVersion,
	}
	if last != nil {
		u.outcome.before, _ = last.Tried()
	}
	return u
}

// Fetch is what was asked for, while the image is being fetched; else nil.
func (u *Upgrade) Fetch() *Fetch { return u.order.Fetch }

// Image is what the device is to be brought to.
func (u *Upgrade) Image() Image { return u.order.Image }

// Stage is where the upgrade stands.
func (u *Upgrade) Stage() Stage { return u.stage }

// State is where the upgrade stands, as people are told.
func (u *Upgrade) State() State { return u.stage.State() }

// Ended reports whether nothing further happens to the upgrade.
func (u *Upgrade) Ended() bool { return u.stage.Ended() }

// Reason says why it failed or was cancelled.
func (u *Upgrade) Reason() Reason { return u.outcome.reason }

// Attempt counts from 1.
func (u *Upgrade) Attempt() int { return u.tries.attempt }

// Offset is how many bytes of the image the device has; while the image is fetched, how many of its file are
// here.
func (u *Upgrade) Offset() uint32 { return u.offset }

// OldVersion is the file version that the device ran when the upgrade was queued, or told first; nil where it
// is not known.
func (u *Upgrade) OldVersion() *uint32 { return u.order.OldVersion }

// RunningVersion is what the device says it runs after its upgrade has succeeded, where that is another
// version than the file's; nil otherwise.
func (u *Upgrade) RunningVersion() *uint32 {
	if u.stage != StageSucceeded || u.running == nil || *u.running == u.order.ImageVersion {
		return nil
	}
	return u.running
}

// RunsAnyVersion reports whether the upgrade has succeeded, and the device says that it runs the file version
// that stands for any, as the image's file has it.
func (u *Upgrade) RunsAnyVersion() bool {
	return u.stage == StageSucceeded && u.order.ImageVersion == noVersion && u.running != nil &&
		*u.running == noVersion
}

// OfferedVersion is the file version under which the dongle offers the image, and the device knows it.
func (u *Upgrade) OfferedVersion() uint32 { return u.offeredVersion }

// QueuedAt is when it was asked for.
func (u *Upgrade) QueuedAt() time.Time { return u.queuedAt }

// EndedAt is when it ended; zero where it has not.
func (u *Upgrade) EndedAt() time.Time { return u.endedAt }

// DueAt is when it may begin; zero stands for at once.
func (u *Upgrade) DueAt() time.Time { return u.order.DueAt }

// Tickets tell who waits for the final answer.
func (u *Upgrade) Tickets() []Ticket { return u.order.Tickets }

// Group is the request for all devices that it belongs to; 0 where it belongs to none.
func (u *Upgrade) Group() uint64 { return u.order.Group }

// Forced reports whether a person wants it done without waiting for another device.
func (u *Upgrade) Forced() bool { return u.order.Forced }

// Canary is the device that goes first with the same image; 0 where it waits for none.
func (u *Upgrade) Canary() message.IEEE { return u.precedence.canary }

// Setback says why the attempt before this one failed.
func (u *Upgrade) Setback() Reason { return u.precedence.setback }

// inVainAfter is how many notifications without an answer are taken for silence where another device could go
// first instead.
const inVainAfter = 3

// NotifiedInVain reports whether the device was notified several times and has not stirred.
func (u *Upgrade) NotifiedInVain() bool {
	return u.unanswered || u.stage == StageNotified && u.notifications >= inVainAfter && u.queriedAt.IsZero()
}

// ZCLStatus is the status of the device's upgrade end request; nil where there was none in this attempt.
func (u *Upgrade) ZCLStatus() *uint8 { return u.endRequest.zclStatus }

// EndSequence is the ZCL sequence number of the device's last upgrade end request.
func (u *Upgrade) EndSequence() uint8 { return u.endRequest.sequence }

// Begun reports whether the device has asked for a block in this attempt.
func (u *Upgrade) Begun() bool { return u.begun || !u.startedAt.IsZero() }

// KeepsLastBlock reports whether the owner sends the device's last block itself, because its installation is
// to wait. Such a device downloads alone: its end needs the slot empty.
func (u *Upgrade) KeepsLastBlock() bool { return u.order.Installation.When != InstallNow }

// installDue reports whether the device is to install the image as soon as it has it.
func (u *Upgrade) installDue(now time.Time) bool {
	switch u.order.Installation.When {
	case InstallNow:
		return true
	case InstallAt:
		return !now.Before(u.order.Installation.At)
	default:
		return false
	}
}

// HoldsInstallation reports whether the device has the image and waits to be told to install it. While the
// dongle had the header loaded it would tell the device so itself.
func (u *Upgrade) HoldsInstallation(now time.Time) bool {
	return u.stage == StageDownloaded && !u.installDue(now)
}

// SlotIsKeptEmpty reports whether the device is being given its last block, so that the slot has to stay as
// it is.
func (u *Upgrade) SlotIsKeptEmpty(now time.Time) bool {
	until := u.deadlines.at(purposeEmptySlot)
	return !until.IsZero() && !now.After(until)
}

// QueuedSince is since when it stands in the queue: who gave the slot up stands in line again.
func (u *Upgrade) QueuedSince() time.Time { return later(u.queuedAt, u.yieldedAt) }

// NotBefore is when a further attempt may begin, so that the device has recovered; zero stands for at once.
func (u *Upgrade) NotBefore() time.Time { return u.deadlines.at(purposeRecovered) }

// WantedSince is since when the upgrade could have begun.
func (u *Upgrade) WantedSince() time.Time { return later(u.queuedAt, u.order.DueAt) }

// PutOffUntil is when a device that was put off is to ask again; zero where it is not put off.
func (u *Upgrade) PutOffUntil() time.Time {
	if !u.stage.IsPutOff() {
		return time.Time{}
	}
	return u.deadlines.at(purposePutOffEnds)
}

// PutOffTold reports whether a device that was put off knows until when.
func (u *Upgrade) PutOffTold() bool { return u.stage.IsPutOff() && u.putOffTold }

// OfferedAt is when the image was last offered to the device; zero where it was not since the attempt began.
func (u *Upgrade) OfferedAt() time.Time { return u.slotAt }

// ActiveAt is when the device asked for a block last, or is to ask after a wait that it was told; zero where
// it has asked for none since the attempt began.
func (u *Upgrade) ActiveAt() time.Time { return u.lastActivity }

// BeganAgain is how often the device has begun its download again in this attempt.
func (u *Upgrade) BeganAgain() uint32 { return u.restarts }

// QueriedAt is when the device looked for an image last, in this attempt; zero where it did not.
func (u *Upgrade) QueriedAt() time.Time { return u.queriedAt }

// Unanswered reports whether the device was notified in vain before it gave the slot up, and was not heard
// since.
func (u *Upgrade) Unanswered() bool { return u.unanswered }

// AwakeUntil is until when a sleeping device that waits in the queue and was heard is taken to listen.
func (u *Upgrade) AwakeUntil() time.Time { return u.awakeUntil }

// Resuming reports whether the download goes on from before a restart and has not been heard of since: what
// is known of its progress may be old, and what was told last is still retained.
func (u *Upgrade) Resuming(now time.Time) bool {
	return u.stage == StageDownloading && !u.begun && now.Sub(u.restoredAt) < resumeGrace
}

// Verdict says what the device's block requests are answered with.
func (u *Upgrade) Verdict() Verdict {
	switch {
	case u.stage.IsPutOff():
		return Verdict{Kind: PutThemOff, Until: u.deadlines.at(purposePutOffEnds)}
	case u.stage.PausedByPerson():
		return Verdict{Kind: HoldThem, Until: u.deadlines.at(purposePauseEnds)}
	default:
		return Verdict{Kind: Serve}
	}
}

// VerdictKind is what block requests are answered with.
type VerdictKind uint8

// Every kind of verdict.
const (
	Serve      VerdictKind = iota // with blocks
	HoldThem                      // with wait-for-data, in small pieces, so that a resume takes effect soon
	PutThemOff                    // with wait-for-data until a time before which no request may come
)

// Verdict is what block requests are answered with.
type Verdict struct {
	Kind  VerdictKind
	Until time.Time // blocks are served from then on
}

// IsAbout reports whether an upgrade end request with these fields is about this upgrade. A device may name
// the version in the image's header instead of the offered one.
func (u *Upgrade) IsAbout(manufacturerCode, imageType uint16, fileVersion uint32) bool {
	return manufacturerCode == u.order.ManufacturerCode && imageType == u.order.ImageType &&
		(fileVersion == u.order.ImageVersion || fileVersion == u.offeredVersion)
}

// later is the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
