package otasvc

import "github.com/zigate-ota/zigate-ota/otasvc/upgrade"

// What upgrades say of themselves. They are part of the contract with users.
type (
	// State is where an upgrade stands.
	State = upgrade.State
	// Reason says why an upgrade did not succeed.
	Reason = upgrade.Reason
	// UpgradeRecord is one upgrade at one moment.
	UpgradeRecord = upgrade.Record
	// PastUpgrade is an upgrade that has ended, as the device's history keeps it.
	PastUpgrade = upgrade.Past
	// Install says when a device is to install what it has downloaded.
	Install = upgrade.Install
	// Ticket identifies who asked for an upgrade. The service keeps it with the upgrade over restarts and
	// hands it back with the final answer; what it means is the business of whoever made it.
	Ticket = upgrade.Ticket
	// Window is a daily time in which upgrades may begin.
	Window = upgrade.Window
)

// Every state of an upgrade.
const (
	Scheduled   = upgrade.Scheduled
	Queued      = upgrade.Queued
	Notified    = upgrade.Notified
	Downloading = upgrade.Downloading
	Paused      = upgrade.Paused
	Downloaded  = upgrade.Downloaded
	Applying    = upgrade.Applying
	Succeeded   = upgrade.Succeeded
	Failed      = upgrade.Failed
	Cancelled   = upgrade.Cancelled
)

// When a device is to install what it has downloaded.
const (
	InstallNow  = upgrade.InstallNow
	InstallHold = upgrade.InstallHold
	InstallAt   = upgrade.InstallAt
)

// Every reason that a failed, cancelled or refused upgrade can have.
const (
	NoReason                = upgrade.NoReason
	ReasonUpToDate          = upgrade.ReasonUpToDate
	ReasonDowngradeRefused  = upgrade.ReasonDowngradeRefused
	ReasonAlreadyQueued     = upgrade.ReasonAlreadyQueued
	ReasonImageInfoNotFound = upgrade.ReasonImageInfoNotFound
	ReasonNoResponse        = upgrade.ReasonNoResponse
	ReasonStalled           = upgrade.ReasonStalled
	ReasonDeviceAborted     = upgrade.ReasonDeviceAborted
	ReasonInvalidImage      = upgrade.ReasonInvalidImage
	ReasonRequireMoreImages = upgrade.ReasonRequireMoreImages
	ReasonVersionUnchanged  = upgrade.ReasonVersionUnchanged
	ReasonNotRejoined       = upgrade.ReasonNotRejoined
	ReasonCancelled         = upgrade.ReasonCancelled
	ReasonImageRemoved      = upgrade.ReasonImageRemoved
	ReasonDongleLost        = upgrade.ReasonDongleLost
	ReasonCanaryFailed      = upgrade.ReasonCanaryFailed
	ReasonBatteryLow        = upgrade.ReasonBatteryLow
)
