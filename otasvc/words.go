package otasvc

import (
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// Status is the outcome of an operation in the vocabulary of the reference's ZigbeeOtaUpgradeOperation. The
// strings are part of the MQTT contract.
type Status string

// Every status that an answer can have.
const (
	// ServiceAvailable: the dongle is connected and its firmware has the OTA server.
	ServiceAvailable Status = "serviceAvailable"
	// ServiceNotAvailable: the operation needs the dongle, and the dongle is away or its firmware
	// has no OTA server.
	ServiceNotAvailable Status = "serviceNotAvailable"
	// InProgress: accepted; exactly one further answer with another status follows.
	InProgress Status = "inProgress"
	// Success: completed.
	Success Status = "success"
	// Failure: not completed; a Reason or an error text says why.
	Failure Status = "failure"
	// ImageAccessFailed: the URL could not be fetched, was refused by policy, or the file was too large.
	ImageAccessFailed Status = "imageAccessFailed"
	// ImageValidationFailed: what was fetched is not the image that was meant, or is damaged.
	ImageValidationFailed Status = "imageValidationFailed"
	// DeviceNotFound: no device is known, or answers, by that name or address.
	DeviceNotFound Status = "deviceNotFound"
	// InvalidData: the request itself is wrong.
	InvalidData Status = "invalidData"
	// IncompatibleDriverVersion: a newer driver version has registered an image already.
	IncompatibleDriverVersion Status = "incompatibleDriverVersion"
	// ImageInfoNotFound: no image fits the device.
	ImageInfoNotFound Status = "imageInfoNotFound"
)

// Final reports whether no further answer follows this one.
func (s Status) Final() bool { return s != InProgress }

// OK reports whether the status is a success, that is, needs no error text.
func (s Status) OK() bool { return s == Success || s == ServiceAvailable || s == InProgress }

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

// DeviceRef is how a request names a device.
type DeviceRef = registry.Ref

// RefAddr names a device by its network address.
func RefAddr(addr uint16) DeviceRef { return registry.RefAddr(addr) }

// ParseDeviceRef reads an EUID (16 hex digits, with or without 0x, colons or dashes, any case), a network
// address ("0x4f4f" or decimal) or a name.
func ParseDeviceRef(s string) DeviceRef { return registry.ParseRef(s) }

// ValidName says why a name cannot be given to a device; it is empty where it can. Names that look like an
// address would make requests ambiguous.
func ValidName(name string) string { return registry.ValidName(name) }
