package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Status is the outcome of an operation, in the vocabulary of the reference's ZigbeeOtaUpgradeOperation. The
// strings are part of the MQTT contract.
type Status string

// These are all the statuses that an answer can have.
const (
	// ServiceAvailable says that the dongle is connected and its firmware has the OTA server.
	ServiceAvailable Status = "serviceAvailable"
	// ServiceNotAvailable says that the operation needs the dongle, and that the dongle is away or its
	// firmware has no OTA server.
	ServiceNotAvailable Status = "serviceNotAvailable"
	// InProgress says that the request was accepted; exactly one further answer with another status follows.
	InProgress Status = "inProgress"
	// Success says that the operation is completed.
	Success Status = "success"
	// Failure says that the operation was not completed; a Reason or an error text says why.
	Failure Status = "failure"
	// ImageAccessFailed says that the URL could not be fetched, was refused by policy, or the file was too
	// large.
	ImageAccessFailed Status = "imageAccessFailed"
	// ImageValidationFailed says that what was fetched is not the image that was meant, or is damaged.
	ImageValidationFailed Status = "imageValidationFailed"
	// DeviceNotFound says that no device is known, or answers, by that name or address.
	DeviceNotFound Status = "deviceNotFound"
	// InvalidData says that the request itself is wrong.
	InvalidData Status = "invalidData"
	// IncompatibleDriverVersion says that a newer driver version has registered an image already.
	IncompatibleDriverVersion Status = "incompatibleDriverVersion"
	// ImageInfoNotFound says that no image fits the device.
	ImageInfoNotFound Status = "imageInfoNotFound"
)

// Final reports whether no further answer follows this one.
func (s Status) Final() bool { return s != InProgress }

// Source says where an image that a device would get comes from. The strings are part of the MQTT contract.
type Source string

// These are all the places that images come from.
const (
	SourceRegistered Source = "registered"
	SourceIndex      Source = "index"
	SourceFolder     Source = "folder"
)

// Offer is the image that a device would get now.
type Offer struct {
	ManufacturerCode uint16
	ImageType        uint16
	ImageVersion     uint32 // ZCL file version
	Size             uint32 // bytes served: the header's total image size
	// SHA256 is of the bytes that are served, in lower-case hex; it is empty where an index has the image and
	// it was not fetched yet.
	SHA256        string
	URL           string
	Source        Source
	DriverTypeID  string
	DriverVersion uint32
	Title         string // the header string, printable
	ReleaseNotes  string // empty where none are known

	// limits say which devices of its kind the image is for.
	limits library.Limits
	// caution says why the image is not installed unless a person names the device; empty where it may be.
	caution string
	// candidate is where an image that is not registered comes from; it may have to be fetched first.
	candidate *library.Candidate
}

// DeviceRecord is what is known of a device at one moment. It is a value: nobody changes it after
// it was handed out.
type DeviceRecord struct {
	EUID             message.IEEE
	NetworkAddress   *uint16 // nil where it is not known since the last change
	Name             string  // shown to people; the EUID where none was given
	ManufacturerName string
	ModelID          string
	ManufacturerCode *uint16 // of the OTA cluster: what image headers are compared with
	ImageType        *uint16
	HardwareVersion  *uint16
	ForPeople        ForPeople
	Endpoint         uint8   // of the OTA client; 0 where it is not known
	CurrentVersion   *uint32 // running file version
	Heard            Heard
	UpdateAvailable  bool
	Settings         needs.Settings // what a person has set for the device
	Offer            *Offer
	OtherImages      []OtherImage // of OTA clients besides the main one, whose all above is
	// Upgrade is the latest one; nil where there never was one. That of the main OTA client is without
	// ImageType.
	Upgrade *upgrade.Record
	Queue   *slot.Place // of the upgrade, times in whole minutes; nil where it has none
	// History has the upgrades that have ended, the newest first, at most 10; those of the main OTA client
	// without Kind.
	History []upgrade.Past
}

// Heard is how a device is heard, and whether it hears.
type Heard struct {
	Sleepy   bool      // it hears only when it wakes
	LQI      *uint8    // 0 to 255; nil while not known
	LastSeen time.Time // zero where it was never seen
}

// OtherImage is one OTA client of a device besides its main one, and the image that it would get.
type OtherImage struct {
	Endpoint         uint8 // 0 where it is not known
	ManufacturerCode *uint16
	ImageType        uint16
	CurrentVersion   *uint32 // running file version
	UpdateAvailable  bool
	Offer            *Offer
}

// ForPeople is what a device says of itself that nothing but people needs. What it does not say is empty.
type ForPeople struct {
	SoftwareBuild string       // what it calls the version that it runs
	DateCode      string       // of that version; mostly a date, in a form of the maker's
	OtherServer   message.IEEE // the OTA server that it has as its own, where that is not the dongle; else 0
}

// DongleInfo is the state of the dongle for people.
type DongleInfo struct {
	Connected bool
	Port      string
	Firmware  string
	EUID      message.IEEE // 0 where it is not known
	PANID     uint16
	Channel   uint8
	Error     string // empty where there is none
}

// Slot is the header that the dongle holds and answers Query Next Image requests from.
type Slot struct {
	ManufacturerCode, ImageType uint16
	ImageVersion                uint32
}

// InfoRecord is the service at one moment.
type InfoRecord struct {
	StartedAt       time.Time
	Dongle          DongleInfo
	Slot            *Slot // nil where it holds no image
	Devices, Images int
	Queued, Active  int // upgrades
	// DownloadsEnd is when the last download of the queue is expected to be complete, in whole minutes; zero
	// where nobody can tell.
	DownloadsEnd time.Time
}

// Operation is the reference's operation record: what every answer about a device carries. Pointers are nil
// where the value is not known.
type Operation struct {
	EUID             message.IEEE // 0 where no device is meant
	ManufacturerCode *uint16
	ImageType        *uint16
	URL              *string
	DriverTypeID     *string
	DriverVersion    *uint32
	ImageVersion     *uint32
	OldImageVersion  *uint32
}

// CheckResult is what a check of all devices found for one of them.
type CheckResult struct {
	EUID            message.IEEE
	Status          Status
	UpdateAvailable bool
}

// UpgradeResult is how the upgrade of one device of a group ended.
type UpgradeResult struct {
	EUID message.IEEE
	// ImageType names the OTA client of the device; it is nil for the main one.
	ImageType *uint16 `json:",omitempty"`
	State     upgrade.State
	Reason    upgrade.Reason
}

// Answer is one response to a request. Which of the optional parts are set depends on the operation.
type Answer struct {
	Status    Status
	Error     string     // one sentence for a person; set whenever the status is not a success
	Operation *Operation // nil where the request is about no device
	// RunningVersion is what the device says it runs after its upgrade has succeeded; nil where that is the
	// image's file version.
	RunningVersion  *uint32
	Reason          upgrade.Reason
	UpdateAvailable *bool
	Upgrade         *upgrade.Record
	Queue           *slot.Place // of the upgrade, as in the device record
	HasUpgrade      bool        // the answer tells the upgrade, even where there is none
	Source          Source
	CheckResults    []CheckResult
	UpgradeResults  []UpgradeResult
	DongleStatus    *uint8 // the 0x8000's status of a frame sent by hand
	// Kept comes with InProgress: the request's ticket is in the state by now, and its final answer comes
	// through [Sink], after a restart, too.
	Kept bool
}

// Respond takes the answers to one request: any number with InProgress, then exactly one other. It is called
// on the owner goroutine and must not block.
type Respond func(Answer)

// EventName names a thing that happened. The strings are part of the MQTT contract.
type EventName string

// These are all the events.
const (
	EventDongleConnected    EventName = "dongleConnected"
	EventDongleDisconnected EventName = "dongleDisconnected"
	EventDeviceAnnounced    EventName = "deviceAnnounced"
	EventDeviceLeft         EventName = "deviceLeft"
	EventImageAdded         EventName = "imageAdded"
	EventImageRemoved       EventName = "imageRemoved"
	EventImageLoaded        EventName = "imageLoaded"
	EventImageNotified      EventName = "imageNotified"
	EventDownloadStarted    EventName = "downloadStarted"
	EventDownloadProgress   EventName = "downloadProgress"
	EventDownloadPaused     EventName = "downloadPaused"
	EventDownloadResumed    EventName = "downloadResumed"
	EventDownloadFinished   EventName = "downloadFinished"
	EventUpgradeApplying    EventName = "upgradeApplying"
	EventUpgradeSucceeded   EventName = "upgradeSucceeded"
	EventUpgradeFailed      EventName = "upgradeFailed"
	EventUpgradeCancelled   EventName = "upgradeCancelled"
	EventDeliveryFailed     EventName = "deliveryFailed"
	EventUnsolicitedRequest EventName = "unsolicitedRequest"
)

// Event is one thing that happened. Pointers are nil where the field does not apply.
type Event struct {
	Name             EventName
	Time             time.Time
	EUID             message.IEEE // 0 where no device is meant
	ManufacturerCode *uint16
	ImageType        *uint16
	ImageVersion     *uint32
	OldImageVersion  *uint32
	Offset           *uint32
	Size             *uint32
	Progress         *float64
	Reason           upgrade.Reason
	ZCLStatus        *uint8
	NetworkAddress   *uint16
	Error            string
}

// Sink takes what changed and what happened. All methods are called on the owner goroutine, in order,
// and must not block.
type Sink interface {
	// DeviceChanged takes the record of a device that is new or has changed.
	DeviceChanged(DeviceRecord)
	// DeviceGone says that a device was forgotten.
	DeviceGone(message.IEEE)
	// InfoChanged takes the record of the service, at the start and when it has changed.
	InfoChanged(InfoRecord)
	// ImagesChanged takes the list of all registered images, at the start and when it has changed.
	ImagesChanged([]RegisteredImage)
	// Happened takes an event.
	Happened(Event)
	// UpgradeEnded delivers the final answer of an upgrade whose ticket is not empty, possibly in a later
	// life of the service than the one that took the request. told is to be called, on any goroutine, once
	// whoever asked has the answer, or can get it without the service. Where it is not called before the
	// service ends, the next life of the service delivers the answer again.
	UpgradeEnded(t upgrade.Ticket, a Answer, told func())
}
