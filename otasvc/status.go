package otasvc

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
