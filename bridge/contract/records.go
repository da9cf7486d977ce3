package contract

import "time"

// Info is the retained record of the service and its dongle.
type Info struct {
	// Version is the program's version.
	Version string `json:"version"`
	// StartedAt is when the service started.
	StartedAt time.Time `json:"startedAt"`
	// Dongle is the dongle as the service knows it.
	Dongle Dongle `json:"dongle"`
	// Slot is the image that the dongle offers; null while it offers none.
	Slot *Slot `json:"slot"`
	// Devices is the number of devices that are known.
	Devices int `json:"devices"`
	// Images is the number of registered images.
	Images int `json:"images"`
	// Upgrades are the numbers of upgrades that have not ended.
	Upgrades UpgradeCounts `json:"upgrades"`
}

// Dongle is the dongle and its network.
type Dongle struct {
	// Connected says that the connection is open and that the dongle answers.
	Connected bool `json:"connected"`
	// Port is a serial port's path or the address of a serial server; null before the first connection.
	Port *string `json:"port"`
	// Firmware is the firmware's version, such as 3.23.
	Firmware *string `json:"firmware"`
	// EUID is the dongle's own IEEE address.
	EUID *EUID `json:"euid"`
	// PANID identifies the network, from 0 to 65535.
	PANID *uint16 `json:"panId"`
	// Channel is the radio channel, from 11 to 26.
	Channel *uint8 `json:"channel"`
	// Error says, in one sentence, why the dongle is not connected, or why nothing can be done with it.
	Error *string `json:"error"`
}

// Slot names the image whose header lies in the dongle's one header slot. The dongle offers it to every
// device of the manufacturer and the type.
type Slot struct {
	// ManufacturerCode is the header's manufacturer code.
	ManufacturerCode uint16 `json:"mfgId"`
	// ImageType is the header's image type.
	ImageType uint16 `json:"imageTypeId"`
	// ImageVersion is the header's file version.
	ImageVersion uint32 `json:"imageVersion"`
}

// UpgradeCounts are numbers of upgrades.
type UpgradeCounts struct {
	// Queued is the number of upgrades that wait, for their time or for the slot.
	Queued int `json:"queued"`
	// Active is the number of upgrades that are under way.
	Active int `json:"active"`
	// ExpectedEnd is when the last download is expected to be complete; null where that cannot be told.
	ExpectedEnd *time.Time `json:"expectedEnd"`
}

// Images is the retained list of the registered images.
type Images struct {
	// Images has an entry for each registered image; it is never null.
	Images []RegisteredImage `json:"images"`
}

// RegisteredImage is an image that was registered by the request add_image.
type RegisteredImage struct {
	// DriverTypeID is the driver that the image was registered for; empty where it belongs to one device.
	DriverTypeID string `json:"driverTypeId"`
	// DriverVersion is the version that the driver gave with the image.
	DriverVersion uint32 `json:"driverVersion"`
	// ManufacturerCode is the header's manufacturer code.
	ManufacturerCode uint16 `json:"mfgId"`
	// ImageType is the header's image type.
	ImageType uint16 `json:"imageTypeId"`
	// ImageVersion is the header's file version.
	ImageVersion uint32 `json:"imageVersion"`
	// Size is the number of bytes that devices get.
	Size uint32 `json:"size"`
	// SHA256 is the digest of the bytes that devices get.
	SHA256 SHA256 `json:"sha256"`
	// URL is where the image came from.
	URL string `json:"url"`
	// Title is the header string, printable.
	Title string `json:"title"`
	// FileName is the last part of URL.
	FileName string `json:"fileName"`
	// Devices are the devices that the image was registered for; the list is never null.
	Devices []EUID `json:"devices"`
	// AddedAt is when the image was registered.
	AddedAt time.Time `json:"addedAt"`
	// Report is what was found out about the file; null where the file is missing from the store.
	Report *Report `json:"report"`
}

// Report is what was found out about an image file when it was taken.
type Report struct {
	// Wrapper is the container that the image came in, in words; empty where it came in none.
	Wrapper string `json:"wrapper"`
	// HeaderString is the text in the header, printable.
	HeaderString string `json:"headerString"`
	// StackVersion is the header's Zigbee stack version.
	StackVersion uint16 `json:"stackVersion"`
	// MinHardwareVersion is the lowest hardware version that the image is for; null where the header names
	// none.
	MinHardwareVersion *uint16 `json:"minHardwareVersion"`
	// MaxHardwareVersion is the highest hardware version that the image is for; null where the header names
	// none.
	MaxHardwareVersion *uint16 `json:"maxHardwareVersion"`
	// Warnings are sentences about what is odd in the file; the list is never null.
	Warnings []string `json:"warnings"`
	// Checks are the verifications that exist for the file, those of the download's digests first; the list
	// is never null.
	Checks []Check `json:"checks"`
}

// Check is one verification of a file's integrity.
type Check struct {
	// Name is the check's name, short and stable.
	Name string `json:"name"`
	// Status is its outcome.
	Status CheckStatus `json:"status"`
	// Detail is for people, where there is more to say.
	Detail string `json:"detail,omitempty"`
	// Expected is what the file says, in hexadecimal digits.
	Expected string `json:"expected,omitempty"`
	// Found is what was computed, in hexadecimal digits.
	Found string `json:"found,omitempty"`
}

// Device is the retained record of one device.
type Device struct {
	// EUID is the device's IEEE address.
	EUID EUID `json:"euid"`
	// NetworkAddress is the device's network address, from 0 to 65535; null where it is not known since it
	// changed.
	NetworkAddress *uint16 `json:"networkAddress"`
	// Name is shown to people; it is the EUID where nobody gave a name.
	Name string `json:"name"`
	// ManufacturerName is what the device's Basic cluster says.
	ManufacturerName *string `json:"manufacturerName"`
	// ModelID is what the device's Basic cluster says.
	ModelID *string `json:"modelId"`
	// ManufacturerCode is the one that the device asks for images with.
	ManufacturerCode *uint16 `json:"mfgId"`
	// ImageType is the one that the device asks for images with.
	ImageType *uint16 `json:"imageTypeId"`
	// HardwareVersion is the one that the device tells when it asks for an image.
	HardwareVersion *uint16 `json:"hardwareVersion"`
	// Endpoint is the endpoint of the device's OTA client, from 1 to 240.
	Endpoint *uint8 `json:"endpoint"`
	// Sleepy says that the device's receiver is off while it is idle.
	Sleepy bool `json:"sleepy"`
	// CurrentVersion is the file version that the device runs.
	CurrentVersion *uint32 `json:"currentFileVersion"`
	// SoftwareBuild is what the device calls that version for people.
	SoftwareBuild *string `json:"softwareBuild"`
	// DateCode is when that version was made, in a form of the maker's.
	DateCode *string `json:"dateCode"`
	// OtherServer is the OTA server that the device has as its own, where that is not the dongle: it may look
	// for images there alone. It is absent otherwise.
	OtherServer *EUID `json:"otherServer,omitempty"`
	// LQI is the link quality of the last frame that was received from the device, from 0 to 255, the best.
	LQI *uint8 `json:"lqi"`
	// LastSeen is when the device was heard of last; null where it was not since it became known.
	LastSeen *time.Time `json:"lastSeen"`
	// UpdateAvailable says that Image is newer than what the device runs.
	UpdateAvailable bool `json:"updateAvailable"`
	// Image is the image that the device would get now; null where there is none.
	Image *Offer `json:"image"`
	// OtherImages are the device's further OTA clients, or image types, each with the image that it would
	// get; absent for a device with one alone.
	OtherImages []OtherImage `json:"otherImages,omitempty"`
	// Upgrade is the device's latest upgrade; null where it never had one.
	Upgrade *Upgrade `json:"upgrade"`
	// Settings are what was set for this device alone, by the request configure.
	Settings Settings `json:"settings"`
	// History are upgrades that have ended, the newest first, at most 10; absent where there are none.
	History []PastUpgrade `json:"history,omitempty"`
}

// OtherImage is one of several OTA clients of a device, or image types that it asks for. What the device's
// own record says is that of another one.
type OtherImage struct {
	// Endpoint is the endpoint of the OTA client, from 1 to 240.
	Endpoint *uint8 `json:"endpoint"`
	// ManufacturerCode is the one that the OTA client asks for images with.
	ManufacturerCode *uint16 `json:"mfgId"`
	// ImageType is the one that the OTA client asks for images with. In requests it names the OTA client.
	ImageType uint16 `json:"imageTypeId"`
	// CurrentVersion is the file version that the OTA client runs.
	CurrentVersion *uint32 `json:"currentFileVersion"`
	// UpdateAvailable says that Image is newer than what the OTA client runs.
	UpdateAvailable bool `json:"updateAvailable"`
	// Image is the image that the OTA client would get now; null where there is none.
	Image *Offer `json:"image"`
}

// Settings are what was set for one device alone; what is absent was not set.
type Settings struct {
	// Excluded says that the device is upgraded only when it is named, with force.
	Excluded *bool `json:"excluded,omitempty"`
	// BlockSize is the largest block of an image, in bytes, from 1 to 64.
	BlockSize *uint8 `json:"blockSize,omitempty"`
	// BlockIntervalMS is the shortest time between two blocks, in milliseconds.
	BlockIntervalMS *uint32 `json:"blockIntervalMs,omitempty"`
	// StallTimeoutSeconds is how long the device may be silent before a download has stalled, in seconds.
	StallTimeoutSeconds *uint32 `json:"stallTimeoutSeconds,omitempty"`
	// NotifyAttempts is how many offers the device gets before the upgrade fails as noResponse.
	NotifyAttempts *uint32 `json:"notifyAttempts,omitempty"`
}

// Offer is the image that a device would get now.
type Offer struct {
	// ImageVersion is the image's file version.
	ImageVersion uint32 `json:"imageVersion"`
	// Size is the number of bytes that devices get; null where an index lists the image without it and nobody
	// has fetched it yet.
	Size *uint32 `json:"size"`
	// SHA256 is the digest of the bytes that devices get; null as Size is.
	SHA256 *SHA256 `json:"sha256"`
	// URL is where the image comes from.
	URL *string `json:"url"`
	// Source says who knows of the image.
	Source Source `json:"source"`
	// DriverTypeID is the driver that the image was registered for; empty where there is none.
	DriverTypeID string `json:"driverTypeId"`
	// DriverVersion is the version that the driver gave with the image.
	DriverVersion uint32 `json:"driverVersion"`
	// ReleaseNotes is a text for people, or the URL of one.
	ReleaseNotes *string `json:"releaseNotes"`
	// Title is the text in the image's header, printable; null while that is not known.
	Title *string `json:"title"`
	// FileName is the last part of URL.
	FileName *string `json:"fileName"`
}

// Upgrade is one upgrade of a device.
type Upgrade struct {
	// State is where the upgrade stands.
	State State `json:"state"`
	// ImageType is the image type of one of the device's [OtherImage]; absent where it is the device's own.
	ImageType *uint16 `json:"imageTypeId,omitempty"`
	// ImageVersion is the file version that the device is to get; null where there was no image, or it is
	// being fetched, and none was asked for.
	ImageVersion *uint32 `json:"imageVersion"`
	// OldImageVersion is the file version that the device ran when the upgrade was asked for.
	OldImageVersion *uint32 `json:"oldImageVersion"`
	// RunningVersion is the file version that the device says it runs after a success; absent where it is
	// ImageVersion.
	RunningVersion *uint32 `json:"runningVersion,omitempty"`
	// Offset is the number of bytes of the image that the device has; in [StateFetching] it is that of the
	// bytes of its file that have been fetched.
	Offset uint32 `json:"offset"`
	// Size is the number of bytes of the whole image, in [StateFetching] of its file; 0 where that is not
	// known.
	Size uint32 `json:"size"`
	// Progress is Offset in percent of Size; 0 where Size is not known.
	Progress Percent `json:"progress"`
	// BytesPerSecond is the rate since this attempt began; 0 while it is not known.
	BytesPerSecond int `json:"bytesPerSecond"`
	// RemainingSeconds is the time that the rest takes at that rate, in seconds; null where it cannot be
	// told.
	RemainingSeconds *int `json:"remainingSeconds"`
	// QueuedAt is when the upgrade was asked for.
	QueuedAt time.Time `json:"queuedAt"`
	// StartedAt is when the device asked for the first block of this attempt; null before.
	StartedAt *time.Time `json:"startedAt"`
	// Attempt counts the attempts, from 1.
	Attempt int `json:"attempt"`
	// Reason is why the upgrade did not succeed; null otherwise.
	Reason *Reason `json:"reason"`
	// Error is the same in one sentence for a person, or says that the device will not keep the image for as
	// long as was asked for; null otherwise.
	Error *string `json:"error"`
	// WaitsFor is the device that gets the same image first, because no device here has been seen to run it;
	// absent where the upgrade waits for none.
	WaitsFor *EUID `json:"waitsFor,omitempty"`
	// Queue is the upgrade's place in the queue; null before it has one, and when its download has ended.
	Queue *Place `json:"queue"`
}

// Place is the place of an upgrade in the queue, and how it is expected to go on. Times are whole minutes,
// and are told anew when they have moved by more than two minutes and by more than a tenth of what is left,
// once a minute at most.
type Place struct {
	// Position counts from 1; null where the upgrade has begun.
	Position *int `json:"position"`
	// WaitsFor is what the upgrade waits for; null where it begins at any moment, or goes on.
	WaitsFor *Wait `json:"waitsFor"`
	// ExpectedStart is when the download of an upgrade that waits is expected to begin or to go on; null
	// where that cannot be told, and where it goes on.
	ExpectedStart *time.Time `json:"expectedStart"`
	// ExpectedEnd is when the download is expected to be complete; null where that cannot be told.
	ExpectedEnd *time.Time `json:"expectedEnd"`
}

// PastUpgrade is an upgrade that has ended.
type PastUpgrade struct {
	// State is one of [EndStates].
	State State `json:"state"`
	// Reason is why the upgrade did not succeed; null otherwise.
	Reason *Reason `json:"reason"`
	// ImageType is the image type of one of the device's [OtherImage]; absent where it was the device's own.
	ImageType *uint16 `json:"imageTypeId,omitempty"`
	// ImageVersion is the file version that the device was to get; null where there was no image, and none
	// was asked for.
	ImageVersion *uint32 `json:"imageVersion"`
	// OldImageVersion is the file version that the device ran before.
	OldImageVersion *uint32 `json:"oldImageVersion"`
	// RunningVersion is the file version that the device said it runs after a success; absent where it was
	// ImageVersion.
	RunningVersion *uint32 `json:"runningVersion,omitempty"`
	// QueuedAt is when the upgrade was asked for.
	QueuedAt time.Time `json:"queuedAt"`
	// StartedAt is when the device asked for the first block of the last attempt; null where it asked for
	// none.
	StartedAt *time.Time `json:"startedAt"`
	// EndedAt is when the upgrade ended.
	EndedAt time.Time `json:"endedAt"`
	// Attempts is the number of attempts that were made.
	Attempts int `json:"attempts"`
	// Size is the number of bytes of the whole image.
	Size uint32 `json:"size"`
	// Bytes is the number of bytes of the image that the device got.
	Bytes uint32 `json:"bytes"`
	// BytesPerSecond is the rate of the last attempt.
	BytesPerSecond int `json:"bytesPerSecond"`
}

// UpdateState is the retained state of Home Assistant's MQTT update entity. Home Assistant drops the whole
// message when it finds a key that it does not know, a null where it expects a text, or a URL that is none.
// So these keys are all there are, and what is not known is left out. Home Assistant dictates the keys'
// spelling.
type UpdateState struct {
	// InstalledVersion is the file version that the device runs, as 0x and 8 lower-case hexadecimal digits.
	InstalledVersion string `json:"installed_version,omitempty"`
	// LatestVersion is the file version that the device would run after an upgrade; it equals
	// InstalledVersion where there is nothing newer.
	LatestVersion string `json:"latest_version,omitempty"`
	// Title is the heading that Home Assistant shows.
	Title string `json:"title,omitempty"`
	// ReleaseSummary is the beginning of the release notes, at most 255 characters; after an upgrade that has
	// failed, its sentence comes first.
	ReleaseSummary string `json:"release_summary"`
	// ReleaseURL is a valid http or https URL.
	ReleaseURL string `json:"release_url,omitempty"`
	// InProgress says that the upgrade was begun and has not ended.
	InProgress bool `json:"in_progress"`
	// UpdatePercentage is how far the download is; null where nothing is in progress, or where it cannot be
	// told.
	UpdatePercentage *Percent `json:"update_percentage"`
}
