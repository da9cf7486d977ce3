package sim

import (
	"fmt"
	"strings"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Firmware is a version of the dongle's firmware. The zero value is V1_323.
type Firmware uint8

// The versions that differ in what a host sees. V1 runs on ZiGate USB, DIN, PiZiGate and WiFi (big-endian),
// V2 on ZiGate+ (little-endian).
const (
	V1_323 Firmware = iota // 3.23, "OptiPDM"
	V1_31C                 // 3.1c
	V1_31D                 // 3.1d
	V1_31E                 // 3.1e
	V2_324                 // 3.24 of ZiGate+
)

// Firmwares lists every version.
func Firmwares() []Firmware {
	return []Firmware{V1_31C, V1_31D, V1_31E, V1_323, V2_324}
}

// ParseFirmware finds a version by what String gives ("3.1c", "3.1d", "3.1e", "3.23", "v2 3.24"), in any
// case; "v1" and "v2" alone are the newest of the family.
func ParseFirmware(s string) (Firmware, error) {
	name := strings.ToLower(strings.TrimSpace(s))
	switch name {
	case "", "v1":
		return V1_323, nil
	case "v2", "3.24":
		return V2_324, nil
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

// traits are the differences between versions that a host or a device can notice.
type traits struct {
	name         string
	v2           bool
	major, minor uint16

	maxLength     uint16 // the receiver rejects a longer header, and a frame that is not shorter
	apdu          int    // bytes of one ZCL frame
	maxZCLEndpt   uint8  // source endpoints that the ZCL library can send from are 1 to this
	aliases       string // endpoints that the ZCL layer treats as endpoint 1, one a byte
	sourceAliases string // source endpoints that commands may name besides 1

	statusForm      message.StatusForm
	statusAPS       bool // 0x8000 carries the last APS counter after every command
	rawAPSIsRequest bool // 0x8000 for raw APS data says that a ZCL request was sent

	queryChecksVersion bool // only newer images are offered
	truncatedRequests  bool // missing trailing fields read as all ones
	pageRequests       bool // understood, and reported as garbled block requests
	pageTick           bool // a 1 ms tick works on the stored page request
	confirms           bool // 0x8012
	buffersInConfirm   bool // npdu and apdu in 0x8012 and 0x8702
	ackHasSequence     bool // APS counter in 0x8011
	hybridAnswersZDP   bool // default responses even for ZDP in hybrid mode
	rawHidesZDP        bool // raw mode shows ZDP only as raw data, but for the device announce
	rawHidesAnnounce   bool // and that as well
	dataRequests       int  // radio requests under way at once
	ackedRequests      int  // those of them that wait for an APS acknowledgement
	neighbours         int  // entries of the device list
	fragmentation      bool
	selfTraffic        bool // management requests of its own, heartbeat, storage events
	routeAfterFailure  bool // starts a route discovery after certain delivery failures
	outputQueue        int  // bytes between program and UART, 0 = writes block instead
}

func (f Firmware) traits() traits {
	v1 := traits{
		major: 3, maxLength: 270, apdu: 100, maxZCLEndpt: 6,
		ackHasSequence: true, neighbours: 60, outputQueue: 150 + 16,
	}
	switch f {
	case V1_31C:
		v1.name = "3.1c"
		v1.minor = 0x031C
		v1.maxLength = 256
		v1.aliases = "\x08\x0A\x15\x6E"
		v1.statusForm = 4
		v1.ackHasSequence = false
		v1.dataRequests = 5
		v1.ackedRequests = 3
		return v1
	case V1_31D:
		v1.name = "3.1d"
		v1.minor = 0x031D
		v1.aliases = "\x08\x0A\x0B\x15\x6E"
		v1.statusForm = 6
		v1.queryChecksVersion = true
		v1.truncatedRequests = true
		v1.pageRequests = true
		v1.dataRequests = 5
		v1.ackedRequests = 3
		return v1
	case V2_324:
		return traits{
			name: "v2 3.24", v2: true, major: 5, minor: 0x0324,
			maxLength: 270, apdu: 200, maxZCLEndpt: 2,
			aliases:    "\x03\x08\x0A\x0B\x15\x22\x23\x26\x27\x28\x29\x6E",
			statusForm: 8, statusAPS: true, rawAPSIsRequest: true,
			pageRequests: true, pageTick: true,
			confirms: true, buffersInConfirm: true, ackHasSequence: true,
			rawHidesZDP: true, dataRequests: 10, ackedRequests: 8, neighbours: 100,
			fragmentation: true, selfTraffic: true, routeAfterFailure: true,
		}
	}
	v1.name = "3.23"
	v1.major = 4
	v1.minor = 0x0323
	if f == V1_31E {
		v1.name = "3.1e"
		v1.major = 3
		v1.minor = 0x031E
		v1.hybridAnswersZDP = true
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
