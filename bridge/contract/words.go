package contract

// State says where an upgrade stands.
type State string

// Every state of an upgrade.
const (
	// StateFetching means that the upgrade's image is being fetched, or judged once it is there.
	StateFetching State = "fetching"
	// StateScheduled means that the upgrade waits for its time, or for the window in which upgrades may
	// begin.
	StateScheduled State = "scheduled"
	// StateQueued means that it waits for the dongle's header slot, for a place among the downloads that may
	// run at once, or for the first device of its image.
	StateQueued State = "queued"
	// StateNotified means that the dongle offers the image and that the device was notified of it.
	StateNotified State = "notified"
	// StateDownloading means that the device asks for blocks.
	StateDownloading State = "downloading"
	// StatePaused means that the download is held: the device was told to wait for data.
	StatePaused State = "paused"
	// StateDownloaded means that the device has the whole image and waits to be told to install it.
	StateDownloaded State = "downloaded"
	// StateApplying means that the device installs the image and restarts.
	StateApplying State = "applying"
	// StateSucceeded means that the device came back and runs another version than before, or again the one
	// that was asked for.
	StateSucceeded State = "succeeded"
	// StateFailed means that the upgrade ended without success; a [Reason] says why.
	StateFailed State = "failed"
	// StateCancelled means that the upgrade was ended by somebody; a [Reason] says how.
	StateCancelled State = "cancelled"
)

// States lists every state, in the order in which an upgrade goes through them.
func States() []State {
	return []State{
		StateFetching, StateScheduled, StateQueued, StateNotified, StateDownloading, StatePaused,
		StateDownloaded, StateApplying, StateSucceeded, StateFailed, StateCancelled,
	}
}

// Ended reports whether an upgrade in this state has ended.
func (s State) Ended() bool {
	return s == StateSucceeded || s == StateFailed || s == StateCancelled
}

// Reason says why an upgrade did not succeed, or why a request for one was refused.
type Reason string

// Every reason.
const (
	// ReasonUpToDate means that the device runs this file version already.
	ReasonUpToDate Reason = "upToDate"
	// ReasonDowngradeRefused means that the image is older than what the device runs.
	ReasonDowngradeRefused Reason = "downgradeRefused"
	// ReasonAlreadyQueued means that the device has an upgrade that has not ended.
	ReasonAlreadyQueued Reason = "alreadyQueued"
	// ReasonTooLate means that an upgrade cannot be cancelled any more: the device installs already.
	ReasonTooLate Reason = "tooLate"
	// ReasonImageInfoNotFound means that no image fits the device.
	ReasonImageInfoNotFound Reason = "imageInfoNotFound"
	// ReasonImageAccessFailed means that the image cannot be fetched, or may not be.
	ReasonImageAccessFailed Reason = "imageAccessFailed"
	// ReasonImageValidationFailed means that what was fetched is no image, is damaged, or is not the one that
	// was meant.
	ReasonImageValidationFailed Reason = "imageValidationFailed"
	// ReasonHardwareMismatch means that the image is for other hardware versions than the device's.
	ReasonHardwareMismatch Reason = "hardwareMismatch"
	// ReasonNoResponse means that the device never asked for the image.
	ReasonNoResponse Reason = "noResponse"
	// ReasonStalled means that the device stopped asking for blocks.
	ReasonStalled Reason = "stalled"
	// ReasonDeviceAborted means that the device ended the download with ZCL status 0x95 (ABORT).
	ReasonDeviceAborted Reason = "deviceAborted"
	// ReasonInvalidImage means that the device had the whole image and refused it with ZCL status 0x96
	// (INVALID_IMAGE).
	ReasonInvalidImage Reason = "invalidImage"
	// ReasonRequireMoreImages means that the device needs a further image first: ZCL status 0x99
	// (REQUIRE_MORE_IMAGE).
	ReasonRequireMoreImages Reason = "requireMoreImages"
	// ReasonVersionUnchanged means that the device restarted into its old file version.
	ReasonVersionUnchanged Reason = "versionUnchanged"
	// ReasonNotRejoined means that the device was not seen again after the download.
	ReasonNotRejoined Reason = "notRejoined"
	// ReasonCancelled means that somebody cancelled the upgrade.
	ReasonCancelled Reason = "cancelled"
	// ReasonImageRemoved means that the image was removed meanwhile.
	ReasonImageRemoved Reason = "imageRemoved"
	// ReasonDongleLost means that the dongle was lost.
	ReasonDongleLost Reason = "dongleLost"
	// ReasonDongleRefuses means that the dongle took no blocks.
	ReasonDongleRefuses Reason = "dongleRefuses"
	// ReasonCanaryFailed means that the first device that got this image failed, so that this one was not
	// begun.
	ReasonCanaryFailed Reason = "canaryFailed"
	// ReasonBatteryLow means that the device's battery is below the least charge that is configured.
	ReasonBatteryLow Reason = "batteryLow"
	// ReasonExcluded means that a person has excluded the device from upgrades.
	ReasonExcluded Reason = "excluded"
)

// Reasons lists every reason.
func Reasons() []Reason {
	return []Reason{
		ReasonUpToDate, ReasonDowngradeRefused, ReasonAlreadyQueued, ReasonTooLate,
		ReasonImageInfoNotFound, ReasonImageAccessFailed, ReasonImageValidationFailed, ReasonHardwareMismatch,
		ReasonNoResponse, ReasonStalled, ReasonDeviceAborted, ReasonInvalidImage, ReasonRequireMoreImages,
		ReasonVersionUnchanged, ReasonNotRejoined, ReasonCancelled, ReasonImageRemoved, ReasonDongleLost,
		ReasonDongleRefuses,
		ReasonCanaryFailed, ReasonBatteryLow, ReasonExcluded,
	}
}

// Wait says what an upgrade in the queue waits for.
type Wait string

// Everything that an upgrade waits for.
const (
	// WaitsForDongle means that the dongle is away, or that upgrades may not begin with it.
	WaitsForDongle Wait = "dongle"
	// WaitsForSlot means that another image has the dongle's header slot.
	WaitsForSlot Wait = "slot"
	// WaitsForPlace means that as many devices download as may at once.
	WaitsForPlace Wait = "place"
	// WaitsForDevice means that the device sleeps, does not answer, or that its network address is not known.
	WaitsForDevice Wait = "device"
	// WaitsForCanary means that another device gets the same image first.
	WaitsForCanary Wait = "canary"
	// WaitsForHolder means that another device has the same image and is not to install it yet.
	WaitsForHolder Wait = "holder"
	// WaitsForTime means that the upgrade is scheduled, or that its device recovers from a failed attempt.
	WaitsForTime Wait = "time"
	// WaitsForPerson means that a person has paused it.
	WaitsForPerson Wait = "person"
	// WaitsForQuicker means that it was put off for quicker ones.
	WaitsForQuicker Wait = "quicker"
)

// Waits lists everything that an upgrade in the queue waits for.
func Waits() []Wait {
	return []Wait{
		WaitsForDongle, WaitsForSlot, WaitsForPlace, WaitsForDevice, WaitsForCanary, WaitsForHolder,
		WaitsForTime, WaitsForPerson, WaitsForQuicker,
	}
}

// Status is the outcome of a request.
type Status string

// Every status of a response.
const (
	// StatusServiceAvailable means that the dongle is connected and that its firmware has the OTA server.
	StatusServiceAvailable Status = "serviceAvailable"
	// StatusServiceNotAvailable means that the dongle is needed, and is away or has a firmware without the
	// OTA server.
	StatusServiceNotAvailable Status = "serviceNotAvailable"
	// StatusInProgress means that the request was taken; exactly one response with another status follows.
	StatusInProgress Status = "inProgress"
	// StatusSuccess means that the request was carried out.
	StatusSuccess Status = "success"
	// StatusFailure means that the request was not carried out; the [Reason] or the error's text says why.
	StatusFailure Status = "failure"
	// StatusImageAccessFailed means that the URL cannot be fetched or may not be, or that the file is too
	// large.
	StatusImageAccessFailed Status = "imageAccessFailed"
	// StatusImageValidationFailed means that what was fetched is no image, is damaged, or is not the one that
	// was meant.
	StatusImageValidationFailed Status = "imageValidationFailed"
	// StatusDeviceNotFound means that no device is known, or answers, by the name or address that was given.
	StatusDeviceNotFound Status = "deviceNotFound"
	// StatusInvalidData means that the request itself is wrong.
	StatusInvalidData Status = "invalidData"
	// StatusIncompatibleDriverVersion means that a newer version of the driver has registered its image
	// already.
	StatusIncompatibleDriverVersion Status = "incompatibleDriverVersion"
	// StatusImageInfoNotFound means that no image fits the device.
	StatusImageInfoNotFound Status = "imageInfoNotFound"
)

// Final reports whether no further response follows one with this status.
func (s Status) Final() bool { return s != StatusInProgress }

// Statuses lists every status.
func Statuses() []Status {
	return []Status{
		StatusServiceAvailable, StatusServiceNotAvailable, StatusInProgress, StatusSuccess, StatusFailure,
		StatusImageAccessFailed, StatusImageValidationFailed, StatusDeviceNotFound, StatusInvalidData,
		StatusIncompatibleDriverVersion, StatusImageInfoNotFound,
	}
}

// Source says where an image that a device would get comes from.
type Source string

// Every source of images.
const (
	// SourceRegistered means that the image was registered by the request add_image.
	SourceRegistered Source = "registered"
	// SourceIndex means that an index lists the image.
	SourceIndex Source = "index"
	// SourceFolder means that the image lies in the image folder.
	SourceFolder Source = "folder"
)

// CheckStatus is the outcome of one check of an image file.
type CheckStatus string

// Every outcome of a check.
const (
	// CheckPassed means that the image agrees with what was checked.
	CheckPassed CheckStatus = "passed"
	// CheckFailed means that it does not.
	CheckFailed CheckStatus = "failed"
	// CheckNotVerifiable means that it cannot be checked here; most often only the manufacturer can.
	CheckNotVerifiable CheckStatus = "notVerifiable"
)

// EventName says what has happened.
type EventName string

// Every event.
const (
	// EventDongleConnected is published when the dongle has been connected and answers.
	EventDongleConnected EventName = "dongleConnected"
	// EventDongleDisconnected is published when the dongle is lost.
	EventDongleDisconnected EventName = "dongleDisconnected"
	// EventDeviceAnnounced is published when a device announces itself on the network.
	EventDeviceAnnounced EventName = "deviceAnnounced"
	// EventDeviceLeft is published when a device leaves the network.
	EventDeviceLeft EventName = "deviceLeft"
	// EventImageAdded is published when an image is registered for a device.
	EventImageAdded EventName = "imageAdded"
	// EventImageRemoved is published when a registered image is removed.
	EventImageRemoved EventName = "imageRemoved"
	// EventImageLoaded is published when the dongle has taken an image's header and offers that image.
	EventImageLoaded EventName = "imageLoaded"
	// EventImageNotified is published when a device was notified of its image.
	EventImageNotified EventName = "imageNotified"
	// EventDownloadStarted is published at the first block that a device asks for.
	EventDownloadStarted EventName = "downloadStarted"
	// EventDownloadProgress is published while a download goes on.
	EventDownloadProgress EventName = "downloadProgress"
	// EventDownloadPaused is published when a device was told to wait for data.
	EventDownloadPaused EventName = "downloadPaused"
	// EventDownloadResumed is published when a download that was paused goes on.
	EventDownloadResumed EventName = "downloadResumed"
	// EventDownloadFinished is published when a device has the whole image and accepts it.
	EventDownloadFinished EventName = "downloadFinished"
	// EventUpgradeApplying is published when a device was told to install the image.
	EventUpgradeApplying EventName = "upgradeApplying"
	// EventUpgradeSucceeded is published when a device runs the image.
	EventUpgradeSucceeded EventName = "upgradeSucceeded"
	// EventUpgradeFailed is published when an upgrade has ended without success.
	EventUpgradeFailed EventName = "upgradeFailed"
	// EventUpgradeCancelled is published when an upgrade was cancelled.
	EventUpgradeCancelled EventName = "upgradeCancelled"
	// EventDeliveryFailed is published when a device did not acknowledge what was sent to it, at most once a
	// minute a device.
	EventDeliveryFailed EventName = "deliveryFailed"
	// EventUnsolicitedRequest is published when a device asks for blocks without having an upgrade.
	EventUnsolicitedRequest EventName = "unsolicitedRequest"
)

// EventNames lists every event.
func EventNames() []EventName {
	return []EventName{
		EventDongleConnected, EventDongleDisconnected, EventDeviceAnnounced, EventDeviceLeft, EventImageAdded,
		EventImageRemoved, EventImageLoaded, EventImageNotified, EventDownloadStarted, EventDownloadProgress,
		EventDownloadPaused, EventDownloadResumed, EventDownloadFinished, EventUpgradeApplying,
		EventUpgradeSucceeded, EventUpgradeFailed, EventUpgradeCancelled, EventDeliveryFailed,
		EventUnsolicitedRequest,
	}
}
