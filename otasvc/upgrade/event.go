package upgrade

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Event is something that an upgrade is told of.
type Event interface{ apply(*transition) }

// SlotFor says what the dongle's header slot is to an upgrade.
type SlotFor uint8

// Everything that the slot can be.
const (
	SlotOther SlotFor = iota // it is another image's, or nobody's
	SlotOurs                 // it is this image's, but the dongle may not hold the header
	SlotHolds                // the dongle holds this image's header
)

// Facts are what an upgrade has to know of the world around it at a moment.
type Facts struct {
	Connected bool          // the dongle is there
	Hindered  bool          // no upgrade can go on: the dongle is away, or takes no header
	Away      time.Duration // for how long upgrades have not been possible
	Addressed bool          // the device's network address is known
	Slot      SlotFor
	// QueryOnly says that the device tells its version only when it looks for an image, and QueriesShow that
	// this would be seen now.
	QueryOnly, QueriesShow bool
	// QueryAt is when it may be made to look for one next; a time that has passed stands for now.
	QueryAt time.Time
}

// What comes from the clock, the dongle and the service.
type (
	// Tick lets time pass. It must come after Next at the latest, and after every other event.
	Tick struct{ Facts }
	// Restored says that the upgrade was read from the state file.
	Restored struct {
		LongestWait time.Duration // the longest that a device may have been told to wait
	}
	// DongleBack says that the dongle is there again.
	DongleBack struct{ Away time.Duration }
	// DongleReplaced says that the dongle has another network than before.
	DongleReplaced struct{}
	// NoBlocks says that the dongle has taken no blocks for a while: whose device is silent has got none.
	NoBlocks struct{}
	// DongleRefuses says that the dongle takes no blocks, and that the device has asked for one.
	DongleRefuses struct {
		Tried bool // the device was to show whether it still is so; its upgrade waits in the queue again
	}
	// ImageUnavailable says that the image cannot be read from the store.
	ImageUnavailable struct{}
	// ImageRemoved says that the image's registration was taken back.
	ImageRemoved struct{}
	// WaitsFor says which device goes first with the same image; 0 stands for none.
	WaitsFor struct{ Device message.IEEE }
	// CanaryFailed says that how the device which went first ended speaks against the image.
	CanaryFailed struct{}
	// BatteryLow says that the device's battery is too low to begin.
	BatteryLow struct{}
	// FileProgress says how much of the file with the image is there.
	FileProgress struct {
		Done  uint32 // bytes; fewer than before where the download had to begin again
		Total uint32 // bytes; 0 while that is not known
	}
	// ImageAdded says that the image, which another request fetched, is registered for the device. With Fetch
	// the upgrade goes on after a restart, whatever becomes of that request.
	ImageAdded struct {
		Image Image
		Fetch Fetch
	}
	// ImageFetched says that the image is there, and that the device may have it.
	ImageFetched struct {
		Image      Image
		OldVersion *uint32       // as in [Order]
		ToldAs     *uint32       // as in [Order]
		HoldLimit  time.Duration // as in [Installation]
	}
	// Refusal says that the image could not be had, or that the device may not have it.
	Refusal struct {
		Reason Reason // [NoReason] where it is neither the image's fault nor the device's
		Why    string // one sentence for a person; empty stands for the reason's own
		Image  Image  // what is known of the image by now
		// Unseen says that nobody learns of it but those who asked.
		Unseen bool
	}
	// WrongHardware says that the device has told a hardware version that the image is not for. Nobody could
	// judge that when the upgrade was queued; one that a person has forced goes on.
	WrongHardware struct {
		Why string // in one sentence, for a person
	}
	// RecordTold says that the record given by Telling was told.
	RecordTold struct{}
	// Answered says that the final answer was given to all tickets.
	Answered struct{}
)

// What the slot's planner decides.
type (
	// Offered says that the slot holds the image, and that the device is to be told now.
	Offered struct {
		Version uint32 // the file version under which the dongle offers the image
	}
	// SlotGivenUp has the device, which was offered the image and has not begun, wait in the queue again.
	SlotGivenUp struct {
		InVain bool // it had the time to answer its notification
	}
	// PutOff says that another image has the slot.
	PutOff struct {
		Until time.Time // when the device is to ask again
		Told  bool      // the device knows
	}
	// CalledBack says that the slot holds the image again.
	CalledBack struct{}
)

// What people ask for.
type (
	// Pause holds the upgrade.
	Pause struct {
		For time.Duration // 0 stands for as long as anything may wait
	}
	// Resume lets it go on.
	Resume struct{}
	// Cancel ends it, unless the device installs already.
	Cancel struct{}
	// Forgotten ends it in any case: its device is dropped.
	Forgotten struct{}
	// Release has the device install the image that it has.
	Release struct {
		Ticket Ticket // who waits for the final answer; empty where nobody does
	}
	// ReleasedByHand says that a person has told the device to install the image that it has.
	ReleasedByHand struct {
		In time.Duration // from now
	}
)

// What the device does.
type (
	// Progress is what the block server has counted since the device got its right to blocks.
	Progress struct {
		Position    uint32    // bytes that the device has
		First       uint32    // offset of the first request, or of the first after the last restart
		Restarts    uint32    // how often the device began again
		StartedAt   time.Time // of the first request, or of the first after the last restart
		LastRequest time.Time
		WaitsUntil  time.Time // when the device is to ask again, if it was told to wait; else zero
	}
	// StillAsks says that the device, which was not offered the image in this attempt, asks for blocks.
	StillAsks struct{}
	// LastBlockAsked says that the device asks for its last block, which the owner has kept back.
	LastBlockAsked struct {
		SlotFixed bool // the slot cannot be changed without the device's download beginning again
	}
	// EndRequested says that the device has ended its download.
	EndRequested struct {
		Status      uint8 // ZCL status
		Sequence    uint8 // ZCL sequence number, for the answer
		FileVersion uint32
		SlotHolds   bool // the dongle holds the image's header, so it has answered by itself
	}
	// Announced says that the device is (back) on the network.
	Announced struct{}
	// Heard is a sign of life.
	Heard struct{}
	// Queried says that the device has looked for an image; what it runs comes as VersionRead before.
	Queried struct {
		SlotHolds bool // the dongle holds the image's header, so it has offered the image
	}
	// VersionRead says which file version the device runs.
	VersionRead struct{ Version uint32 }
)

// What came of an effect.
type (
	// NotifySent says that a notification went out.
	NotifySent struct{ First bool }
	// NotifyBusy says that the dongle had no room for a notification, which says nothing of the device.
	NotifyBusy struct {
		Again time.Time // when it is to be tried again
	}
	// ReadingDone says that a reading which was awaited is over, whatever came of it.
	ReadingDone struct{}
)
