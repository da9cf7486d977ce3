package contract

import (
	"strconv"
	"strings"
)

// Topics builds and reads the topics of one service. It is the base topic, without a slash at either end.
type Topics string

// Retained on [Topics.Status].
const (
	// Online is retained while the service is connected to the broker.
	Online = "online"
	// Offline is retained after a clean stop, and is the Last Will.
	Offline = "offline"
)

// Status holds Online or Offline, retained.
func (t Topics) Status() string { return string(t) + "/status" }

// Info holds an [Info], retained.
func (t Topics) Info() string { return string(t) + "/info" }

// Images holds [Images], retained.
func (t Topics) Images() string { return string(t) + "/images" }

// Device holds a [Device], retained.
func (t Topics) Device(euid EUID) string { return string(t) + "/device/" + string(euid) }

// Update holds an [UpdateState], retained.
func (t Topics) Update(euid EUID) string { return t.Device(euid) + "/update" }

// OtherUpdate holds the [UpdateState] of one of the device's [OtherImage], retained. The image type stands in
// the topic as a decimal number.
func (t Topics) OtherUpdate(euid EUID, imageType uint16) string {
	return t.Update(euid) + "/" + strconv.FormatUint(uint64(imageType), 10)
}

// Devices is the filter for what is retained of all devices.
func (t Topics) Devices() string { return string(t) + "/device/#" }

// IsOfDevice reports whether a topic is one of those that are retained of a device.
func (t Topics) IsOfDevice(topic string) bool {
	name, ok := strings.CutPrefix(topic, string(t)+"/device/")
	if !ok {
		return false
	}
	device, imageType, other := strings.Cut(name, "/update/")
	if other {
		n, err := strconv.ParseUint(imageType, 10, 16)
		return err == nil && strconv.FormatUint(n, 10) == imageType && EUID(device).Valid()
	}
	return EUID(strings.TrimSuffix(name, "/update")).Valid()
}

// Event is where events of one name are published, each an [Event].
func (t Topics) Event(name EventName) string { return string(t) + "/event/" + string(name) }

// Request is where an operation is asked for.
func (t Topics) Request(operation string) string { return string(t) + "/request/" + operation }

// Requests is the filter for all requests.
func (t Topics) Requests() string { return string(t) + "/request/#" }

// Response is where the answers of an operation are published, each a [Response].
func (t Topics) Response(operation string) string { return string(t) + "/response/" + operation }

// FrameReceived is where the frames from the dongle are published, each a [Frame].
func (t Topics) FrameReceived() string { return string(t) + "/frame/rx" }

// FrameSent is where the frames to the dongle are published, each a [Frame].
func (t Topics) FrameSent() string { return string(t) + "/frame/tx" }

// UnknownOperation stands in the topics and responses of requests whose operation's name cannot stand in a
// topic.
const UnknownOperation = "unknown"

// maxOperationName is the longest name of an operation that is answered under its own name, in bytes.
const maxOperationName = 64

// Operation reads the operation's name from a request's topic. A topic with more levels, or a name that is
// not 1 to 64 characters of a-z 0-9 _ -, has none: then it is UnknownOperation.
func (t Topics) Operation(topic string) string {
	name, ok := strings.CutPrefix(topic, string(t)+"/request/")
	if !ok || len(name) < 1 || len(name) > maxOperationName {
		return UnknownOperation
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return UnknownOperation
		}
	}
	return name
}
