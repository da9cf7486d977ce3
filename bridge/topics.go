package bridge

import (
	"strings"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Topics builds and reads every topic of one service. It is the base topic, without a slash at either end.
type Topics string

// Status holds "online" or "offline", retained.
func (t Topics) Status() string { return string(t) + "/status" }

// Info holds the service and its dongle, retained.
func (t Topics) Info() string { return string(t) + "/info" }

// Images holds every registered image, retained.
func (t Topics) Images() string { return string(t) + "/images" }

// Device holds one device, retained.
func (t Topics) Device(euid message.IEEE) string { return string(t) + "/device/" + euid.String() }

// Update holds the Home Assistant update state of one device, retained.
func (t Topics) Update(euid message.IEEE) string { return t.Device(euid) + "/update" }

// Devices is the filter for what is retained of all devices.
func (t Topics) Devices() string { return string(t) + "/device/#" }

// ofDevice reports whether a topic is one of the two that are retained of a device.
func (t Topics) ofDevice(topic string) bool {
	name, ok := strings.CutPrefix(topic, string(t)+"/device/")
	euid, err := message.ParseIEEE(strings.TrimSuffix(name, "/update"))
	return ok && err == nil && (topic == t.Device(euid) || topic == t.Update(euid))
}

// Event is where events of one name go.
func (t Topics) Event(name otasvc.EventName) string { return string(t) + "/event/" + string(name) }

// Request is where requests for an operation come.
func (t Topics) Request(operation string) string { return string(t) + "/request/" + operation }

// Requests is the filter for all requests.
func (t Topics) Requests() string { return string(t) + "/request/#" }

// Response is where the answers of an operation go.
func (t Topics) Response(operation string) string { return string(t) + "/response/" + operation }

// FrameReceived is where the frames from the dongle go.
func (t Topics) FrameReceived() string { return string(t) + "/frame/rx" }

// FrameSent is where the frames to the dongle go.
func (t Topics) FrameSent() string { return string(t) + "/frame/tx" }

// unknownOperation stands in topics for a name that cannot stand in one.
const unknownOperation = "unknown"

// Operation reads the operation's name from a request topic. A topic with more levels, or a name that is not
// 1 to 64 characters of a-z 0-9 _ -, has none: then it is "unknown".
func (t Topics) Operation(topic string) string {
	name, ok := strings.CutPrefix(topic, string(t)+"/request/")
	if !ok || len(name) < 1 || len(name) > 64 {
		return unknownOperation
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return unknownOperation
		}
	}
	return name
}
