package contract

import (
	"encoding/json"
	"time"
)

// Event is one thing that has happened. Which keys it has depends on its name.
type Event struct {
	// EUID is the device that is meant; absent where none is.
	EUID *EUID `json:"euid,omitempty"`
	// Time is when it happened.
	Time time.Time `json:"time"`
	// NetworkAddress is the network address that the device has announced.
	NetworkAddress *uint16 `json:"networkAddress,omitempty"`
	// ManufacturerCode is the image's manufacturer code.
	ManufacturerCode *uint16 `json:"mfgId,omitempty"`
	// ImageType is the image's image type.
	ImageType *uint16 `json:"imageTypeId,omitempty"`
	// ImageVersion is the image's file version.
	ImageVersion *uint32 `json:"imageVersion,omitempty"`
	// OldImageVersion is the file version that the device ran before; null where that is not known.
	OldImageVersion Optional[uint32] `json:"oldImageVersion,omitzero"`
	// Offset is the number of bytes of the image that the device has, or the first one that it asks for.
	Offset *uint32 `json:"offset,omitempty"`
	// Size is the number of bytes of the whole image.
	Size *uint32 `json:"size,omitempty"`
	// Progress is Offset in percent of Size.
	Progress *Percent `json:"progress,omitempty"`
	// Reason is why an upgrade did not succeed.
	Reason Reason `json:"reason,omitempty"`
	// ZCLStatus is the ZCL status with which the device ended its download, from 0 to 255.
	ZCLStatus *uint8 `json:"zclStatus,omitempty"`
	// Error is one sentence for a person.
	Error string `json:"error,omitempty"`
}

// NamedEvent is an event where no topic names it: over HTTP.
type NamedEvent struct {
	// Name says what has happened.
	Name EventName `json:"name"`
	Event
}

// Response is an answer to a request.
type Response struct {
	// Operation is the operation's name in responses, such as upgradeResponse, or unknown.
	Operation string `json:"operation"`
	// Status is the outcome; further responses follow only after inProgress.
	Status Status `json:"status"`
	// Transaction is what the request had there, a text or a number of at most 128 bytes; absent where it had
	// nothing.
	Transaction json.RawMessage `json:"transaction,omitempty"`
	// OperationRecord is there in whole in each response about a device, and nil in the others.
	*OperationRecord
	// RunningVersion is the file version that the device says it runs after its upgrade has succeeded; absent
	// where it is the image's.
	RunningVersion *uint32 `json:"runningVersion,omitempty"`
	// UpdateAvailable says that the device's image is newer than what it runs; of image_info and check.
	UpdateAvailable *bool `json:"updateAvailable,omitempty"`
	// Source says who knows of the image; of image_info.
	Source Source `json:"source,omitempty"`
	// Upgrade is the device's upgrade, null where it never had one; of image_info and upgrade.
	Upgrade Optional[Upgrade] `json:"upgrade,omitzero"`
	// Reason is why an upgrade did not succeed or was refused.
	Reason Reason `json:"reason,omitempty"`
	// Results are those of the single devices where all were meant.
	Results Results `json:"results,omitzero"`
	// DongleStatus is the status in the dongle's acknowledgement of a frame that was sent by hand, from 0 to
	// 255.
	DongleStatus *uint8 `json:"dongleStatus,omitempty"`
	// Error is one sentence for a person, wherever the status is not a success.
	Error string `json:"error,omitempty"`
}

// IdentifiedResponse is a response where no topic leads it to who asked: over HTTP.
type IdentifiedResponse struct {
	// ID identifies the request.
	ID string `json:"id"`
	Response
}

// OperationRecord is what every response about a device says of the device and its image.
type OperationRecord struct {
	// EUID is the device's IEEE address; null where no device was found or meant.
	EUID *EUID `json:"euid"`
	// ManufacturerCode is the image's manufacturer code.
	ManufacturerCode *uint16 `json:"mfgId"`
	// ImageType is the image's image type.
	ImageType *uint16 `json:"imageTypeId"`
	// URL is where the image comes from.
	URL *string `json:"url"`
	// DriverTypeID is the driver that the image was registered for; empty where it belongs to the device
	// alone.
	DriverTypeID *string `json:"driverTypeId"`
	// DriverVersion is the version that the driver gave with the image.
	DriverVersion *uint32 `json:"driverVersion"`
	// ImageVersion is the image's file version.
	ImageVersion *uint32 `json:"imageVersion"`
	// OldImageVersion is the file version that the device runs when the response is made.
	OldImageVersion *uint32 `json:"oldImageVersion"`
}

// Results are the results of the single devices in the response to a request for all. One of the two lists is
// set, by the operation; a response without results has none.
type Results struct {
	// Checks are those of a check.
	Checks []CheckResult
	// Upgrades are those of an upgrade.
	Upgrades []UpgradeResult
}

// CheckResult is what a check of all devices found for one of them.
type CheckResult struct {
	// EUID is the device's IEEE address.
	EUID EUID `json:"euid"`
	// Status is success where the device has answered.
	Status Status `json:"status"`
	// UpdateAvailable says that there is a newer image for the device.
	UpdateAvailable bool `json:"updateAvailable"`
}

// UpgradeResult is how the upgrade of one of all devices ended.
type UpgradeResult struct {
	// EUID is the device's IEEE address.
	EUID EUID `json:"euid"`
	// ImageType is the image type of one of the device's [OtherImage]; absent where it was the device's own.
	ImageType *uint16 `json:"imageTypeId,omitempty"`
	// State is one of [EndStates].
	State State `json:"state"`
	// Reason is why the upgrade did not succeed; null otherwise.
	Reason *Reason `json:"reason"`
}

// IsZero reports whether the response has no results.
func (r Results) IsZero() bool { return r.Checks == nil && r.Upgrades == nil }

// MarshalJSON writes the list that is set.
func (r Results) MarshalJSON() ([]byte, error) {
	if r.Checks != nil {
		return encode(r.Checks)
	}
	return encode(r.Upgrades)
}

// UnmarshalJSON reads the results of a check or of an upgrade, whichever they are; an empty list is both. The
// error says what is wrong with the list.
func (r *Results) UnmarshalJSON(b []byte) error {
	var kinds []struct {
		State *State `json:"state"`
	}
	if err := json.Unmarshal(b, &kinds); err != nil {
		return err
	}

	*r = Results{}
	if len(kinds) == 0 {
		r.Checks = []CheckResult{}
		r.Upgrades = []UpgradeResult{}
		return nil
	}
	if kinds[0].State != nil {
		return json.Unmarshal(b, &r.Upgrades)
	}
	return json.Unmarshal(b, &r.Checks)
}

// Frame is one frame between the service and the dongle, for people who debug.
type Frame struct {
	// Time is when the frame was read or written, in the precision of the clock.
	Time time.Time `json:"time"`
	// Type is the message type, as 0x and 4 hexadecimal digits.
	Type string `json:"type"`
	// Name is the message type in words.
	Name string `json:"name"`
	// Payload has all bytes that the frame's length counts, as hexadecimal digits.
	Payload string `json:"payload"`
	// LQI is the link quality that the dongle appends to what it received, from 0 to 255; absent in frames to
	// the dongle.
	LQI *uint8 `json:"lqi,omitempty"`
}

// DeviceGone says, over HTTP, that a device's retained topics were cleared.
type DeviceGone struct {
	// EUID is the device's IEEE address.
	EUID EUID `json:"euid"`
}
