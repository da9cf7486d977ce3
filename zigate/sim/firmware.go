package sim

import (
	"fmt"
	"strings"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Firmware is a version of the dongle's firmware. The zero value is V1323, the newest for v1.
type Firmware uint8

// All versions that differ in what a host sees. V1 runs on ZiGate USB, DIN, PiZiGate and WiFi (big-endian),
// V2 on ZiGate+ (little-endian).
const (
	V1323 Firmware = iota // 3.23, "OptiPDM"
	V131C                 // 3.1c
	V131D                 // 3.1d
	V131E                 // 3.1e
	V2324                 // 3.24 of ZiGate+
)

// Firmwares lists every version.
func Firmwares() []Firmware {
	return []Firmware{V131C, V131D, V131E, V1323, V2324}
}

// ParseFirmware finds a version by what String gives ("3.1c", "3.1d", "3.1e", "3.23", "v2 3.24"), in any
// case; "v1" and "v2" alone are the newest of the family.
func ParseFirmware(s string) (Firmware, error) {
	name := strings.ToLower(strings.TrimSpace(s))
	switch name {
	case "", "v1":
		return V1323, nil
	case "v2", "3.24":
		return V2324, nil
	}
	name = strings.TrimPrefix(name, "v1 ")
	for _, f := range Firmwares() {
		if f.traits().name == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("no simulated firmware %q: use 3.1c, 3.1d, 3.1e, 3.23 or v2", s)
}

// String is the version as hosts show it; ZiGate+ has "v2 " in front.
func (f Firmware) String() string {
	return f.traits().name
}

// V2 tells whether this is firmware of a ZiGate+.
func (f Firmware) V2() bool {
	return f.traits().v2
}

// traits has the differences between versions that a host or a device can notice.
type traits struct {
	name         string
	v2           bool
	major, minor uint16

	maxLength     uint16 // the receiver rejects a longer header, and a frame that is not shorter
	apdu          int    // bytes of the largest ZCL frame
	maxZCLEndpt   uint8  // the ZCL library can send from endpoints 1 to this
	aliases       string // endpoints that the ZCL layer treats as endpoint 1, one a byte
	sourceAliases string // source endpoints that commands may name besides 1, one a byte

	statusForm      message.StatusForm
	statusAPS       bool // 0x8000 carries the last APS counter after every command
	rawAPSIsRequest bool // 0x8000 for raw APS data says that a ZCL request was sent

	rawAPSInProfileHA bool // raw APS data goes out in the Home Automation profile, unless it is a broadcast

	queryChecksVersion bool // only newer images are offered
	truncatedRequests  bool // missing trailing fields read as all ones
	pageRequests       bool // are understood, and reported as garbled block requests
	pageTick           bool // a 1 ms tick works on the stored page request
	confirms           bool // 0x8012 is sent
	buffersInConfirm   bool // 0x8012 and 0x8702 have the buffers in use
	ackHasSequence     bool // 0x8011 has the APS counter
	hybrid             bool // there is a hybrid mode; else every mode but off is the raw one
	hybridAnswersZDP   bool // hybrid mode sends default responses even for ZDP
	rawHidesZDP        bool // raw mode shows ZDP only as raw data, but for the device announce
	rawHidesAnnounce   bool // and the device announce as well
	dataRequests       int  // most radio requests under way at once
	ackedRequests      int  // most of them that wait for an APS acknowledgement
	neighbours         int  // most entries of the device list
	fragmentation      bool
	selfTraffic        bool // it sends management requests, a heartbeat and storage events by itself
	routeAfterFailure  bool // it starts a route discovery after certain delivery failures
	outputQueue        int  // bytes between program and UART; 0 if the program waits instead
}

func (f Firmware) traits() traits {
	v1 := traits{
		major: 3, maxLength: 270, apdu: 100, maxZCLEndpt: 6,
		ackHasSequence: true, neighbours: 60, outputQueue: 150 + 16,
	}
	switch f {
	case V131C:
		v1.name = "3.1c"
		v1.minor = 0x031C
		v1.maxLength = 256
		v1.aliases = "\x08\x0A\x15\x6E"
		v1.statusForm = 4
		v1.ackHasSequence = false
		v1.dataRequests = 5
		v1.ackedRequests = 3
		return v1
	case V131D:
		v1.name = "3.1d"
		v1.minor = 0x031D
		v1.hybrid = true
		v1.aliases = "\x08\x0A\x0B\x15\x6E"
		v1.statusForm = 6
		v1.queryChecksVersion = true
		v1.truncatedRequests = true
		v1.pageRequests = true
		v1.dataRequests = 5
		v1.ackedRequests = 3
		return v1
	case V2324:
		return traits{
			name: "v2 3.24", v2: true, major: 5, minor: 0x0324,
			maxLength: 270, apdu: 200, maxZCLEndpt: 2,
			aliases:    "\x03\x08\x0A\x0B\x15\x22\x23\x26\x27\x28\x29\x6E",
			statusForm: 8, statusAPS: true, rawAPSIsRequest: true,
			pageRequests: true, pageTick: true,
			confirms: true, buffersInConfirm: true, ackHasSequence: true,
			hybrid: true, rawHidesZDP: true, dataRequests: 10, ackedRequests: 8, neighbours: 100,
			fragmentation: true, selfTraffic: true, routeAfterFailure: true,
		}
	}
	v1.name = "3.23"
	v1.major = 4
	v1.minor = 0x0323
	v1.hybrid = true
	if f == V131E {
		v1.name = "3.1e"
		v1.major = 3
		v1.minor = 0x031E
		v1.hybridAnswersZDP = true
		v1.rawAPSInProfileHA = true
		v1.rawHidesAnnounce = true
	}
	v1.aliases = "\x03\x08\x0A\x0B\x15\x6E"
	v1.sourceAliases = "\x03"
	v1.statusForm = 8
	v1.rawAPSIsRequest = true
	v1.queryChecksVersion = true
	v1.truncatedRequests = true
	v1.pageRequests = true
	v1.confirms = true
	v1.buffersInConfirm = true
	v1.rawHidesZDP = true
	v1.dataRequests = 9
	v1.ackedRequests = 7
	return v1
}
