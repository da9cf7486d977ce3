package slot

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// View is everything that a decision about the slot depends on, besides the time.
type View struct {
	Slot State
	// Usable says that the dongle is there and that upgrades can be done with it.
	Usable bool
	// NoNew says that no upgrade may begin; those that have begun go on.
	NoNew bool
	// Empty says that the slot is wanted empty for a moment, so that devices can be asked who they are.
	Empty bool
	// Crowded says that the dongle's buffers are full, so that what would begin anew has to wait.
	Crowded bool
	Policy  Policy
	// Upgrades are all that have not ended, one a device, in any order.
	Upgrades []Candidate
}

// Policy is what the user has set of how the slot is used.
type Policy struct {
	// Concurrency is how many devices download at once, at least 1.
	Concurrency int
	// Slice is how long a download may take before it gives way to quicker ones that wait.
	Slice time.Duration
	// BlockInterval is the shortest time between two blocks of a device; 0 means that there is no such limit.
	BlockInterval time.Duration
	// PauseStep is how long a device that a person has paused is told to wait at a time before it asks again.
	PauseStep time.Duration
	// CrowdedTimeout is how long full buffers put an offer off. Downloads may keep them full for hours.
	CrowdedTimeout time.Duration
}

// Candidate is one upgrade as far as the slot is concerned. The device's IEEE address identifies it.
type Candidate struct {
	Device message.IEEE
	// Key is the image with the file version under which the device is offered it, or would be offered it
	// now.
	Key   Key
	Stage Stage
	// Image says whether the image is in memory.
	Image ImageState

	// QueuedSince is when the upgrade took its place in the queue: when it was asked for, or when its device
	// gave the slot up last.
	QueuedSince time.Time
	// WaitsSince is when the upgrade was asked for or was due, whichever is later.
	WaitsSince time.Time
	// Named says that the upgrade was asked for by the name of its device, not for all devices.
	Named bool
	// DueAt is when a scheduled upgrade is to be queued.
	DueAt time.Time
	// NotBefore is when a further attempt may begin.
	NotBefore time.Time
	// Canary is the device that goes first with the same image; 0 means that the upgrade waits for no other.
	Canary message.IEEE
	// Located says that the network address of the device is known.
	Located bool
	// BatteryLow says that the battery of the device is too low for the upgrade to begin.
	BatteryLow bool
	// InstallLater says that the device is not to install the image as soon as it has it. Such an upgrade
	// downloads alone: its end needs the slot empty.
	InstallLater bool

	// Silence is how long the device may be silent in mid-download of its own making; 0 where it is not known
	// to be.
	Silence time.Duration
	// Sleepy says that the device hears nothing most of the time.
	Sleepy bool
	// AwakeUntil is until when a sleepy device that was heard is taken to listen.
	AwakeUntil time.Time
	// Unanswered says that the device was notified in vain and gave the slot up, and was not heard since.
	Unanswered bool

	// Served says that the block server has the device's transfer.
	Served bool
	// Begun says that the device has asked for a block since it was offered the image.
	Begun bool
	// OfferedAt is when the device was last offered the image.
	OfferedAt time.Time
	// ActiveAt is when the device asked for a block last, or is to ask after a wait that it was told. It is
	// zero where the device has not asked since the service started.
	ActiveAt time.Time
	// Overlaps says that the device minds neither that the dongle refuses its blocks nor that the header of
	// its image is gone, once it has begun: its blocks come from the host whatever the slot holds.
	Overlaps bool
	// LastBlock says that the device is being given its last block, for which the slot has to stay as it is.
	LastBlock bool
	// Left is how many bytes of the image the device does not have.
	Left uint32
	// Rate is how many bytes a second the device has taken in this attempt; 0 means that it is not known.
	Rate int
	// UsualRate is how many bytes a second the device, or others of its kind, took before; 0 means that it is
	// not known.
	UsualRate int

	// Held says that a person has paused the download.
	Held bool
	// Told says that the device has been told to wait since the slot switch that is under way began, or, of a
	// device that is put off, that it knows until when.
	Told bool
	// PutOffUntil is when a device that was put off for other images asks again; zero means that it was not
	// put off.
	PutOffUntil time.Time
}

// ListensFor is how long a sleepy device that was heard is taken to listen: its parent keeps messages for
// about 7 s.
const ListensFor = 7 * time.Second

// Stage is where an upgrade stands with regard to the slot.
type Stage uint8

// Every stage of an upgrade.
const (
	// Elsewhere: the upgrade needs nothing of the slot, because its device installs the image or comes back.
	Elsewhere Stage = iota
	// Scheduled: the upgrade waits for its time.
	Scheduled
	// Queued: the upgrade waits for the slot.
	Queued
	// Offered: the dongle offers the image, and the device was notified.
	Offered
	// Downloading: the device asks for blocks.
	Downloading
	// Paused: the device is told to wait, by a person or because it was put off for other images.
	Paused
	// PausedInQueue: a person has paused the upgrade before the device was offered the image, so that the
	// device asks for nothing.
	PausedInQueue
	// Withheld: the device has its image and is not to install it yet. While the header of the image is
	// loaded, the dongle would tell the device to install by itself.
	Withheld
)

// ImageState says whether an image is in memory.
type ImageState uint8

// Where an image can be.
const (
	// ImageAbsent: the image lies in the store and was not read yet.
	ImageAbsent ImageState = iota
	// ImageReading: the image is being read.
	ImageReading
	// ImageReady: the image is in memory.
	ImageReady
)

// InDownload reports whether the device may ask for blocks at any moment, unless it was told to wait.
func (c *Candidate) InDownload() bool {
	return c.Stage == Offered || c.Stage == Downloading || c.Stage == Paused
}

// UsesSlot reports whether the slot has to hold the image of the device: it may ask for blocks at any moment,
// or has just been told of the image.
func (c *Candidate) UsesSlot() bool {
	goesOn := c.Overlaps && c.Begun && c.Stage != Offered
	return c.InDownload() && c.PutOffUntil.IsZero() && !goesOn
}

// isPutOff reports whether the device was told to wait for other images, or was to be told so.
func (c *Candidate) isPutOff() bool { return c.InDownload() && !c.PutOffUntil.IsZero() }

// listens reports whether the device sleeps most of the time and is awake now.
func (c *Candidate) listens(now time.Time) bool { return c.Sleepy && now.Before(c.AwakeUntil) }
