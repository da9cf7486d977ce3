package message

import "fmt"

// Family is a family of dongle hardware, as far as hosts have to tell them apart.
type Family uint8

const (
	// FamilyV1 is a dongle with a JN516x chip (big-endian): ZiGate USB, DIN, PiZiGate, WiFi, openLumi.
	FamilyV1 Family = 1
	// FamilyV2 is a dongle with a JN5189 chip (little-endian): ZiGate+.
	FamilyV2 Family = 2
)

// String returns "v1" or "v2".
func (f Family) String() string {
	return fmt.Sprintf("v%d", uint8(f))
}

const majorV2 = 5

// Family returns the hardware for the major number: 5 is v2, everything else v1.
func (m Version) Family() Family {
	if m.Major == majorV2 {
		return FamilyV2
	}
	return FamilyV1
}

// Firmware returns the name of the release for the minor number: "3.23", "3.1e". 3.1a cannot be told from
// 3.0f.
func (m Version) Firmware() string {
	return fmt.Sprintf("%x.%02x", m.Minor>>8, m.Minor&0xFF)
}

// minor31d is 3.1d, which brought longer commands, page requests, the version check and the hybrid raw mode.
// Minor numbers grow with time: 3.0f, 3.1a to 3.1e, 3.20.
const minor31d = 0x031D

// ChecksVersion reports whether the dongle answers Query Next Image with an image only if its version is
// higher than the running one (v1 from 3.1d on). Other firmware offers the loaded image also to devices
// that already run it.
func (m Version) ChecksVersion() bool {
	return m.Family() == FamilyV1 && m.Minor >= minor31d
}

// HasHybrid reports whether the firmware has RawModeHybrid (v1 from 3.1d on, v2). Older firmware keeps the
// raw mode as a truth value: each mode but RawModeOff is RawModeRaw there.
func (m Version) HasHybrid() bool { return m.Family() == FamilyV2 || m.Minor >= minor31d }

// MaxCommandPayload returns the size of the longest payload of a command that the firmware accepts: 255
// bytes up to 3.1c, then 269.
func (m Version) MaxCommandPayload() int {
	if m.Family() == FamilyV1 && m.Minor < minor31d {
		return 255
	}
	return MaxCommandPayload
}
