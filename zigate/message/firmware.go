package message

import (
	"fmt"
	"time"
)

// Family is what of the hardware makes a difference to a host.
type Family uint8

const (
	// FamilyV1 is a dongle with a JN516x chip (big-endian): ZiGate USB, DIN, PiZiGate, WiFi, openLumi.
	FamilyV1 Family = 1
	// FamilyV2 is a dongle with a JN5189 chip (little-endian): ZiGate+.
	FamilyV2 Family = 2
)

// String is "v1" or "v2".
func (f Family) String() string {
	return fmt.Sprintf("v%d", uint8(f))
}

const majorV2 = 5

// Family tells the hardware by the major number: 5 is v2, everything else v1.
func (m Version) Family() Family {
	if m.Major == majorV2 {
		return FamilyV2
	}
	return FamilyV1
}

// Firmware writes the minor number as releases are called: "3.23", "3.1e". 3.1a cannot be told from 3.0f.
func (m Version) Firmware() string {
	return fmt.Sprintf("%x.%02x", m.Minor>>8, m.Minor&0xFF)
}

// minor31d is 3.1d, which brought longer commands, page requests and the version check. Minor numbers grow
// with time: 3.0f, 3.1a to 3.1e, 3.20.
const minor31d = 0x031D

// ChecksVersion tells whether Query Next Image is answered with an image only if its version is
// higher than the running one (v1 from 3.1d on). Other firmware offers the loaded image also to
// devices that already run it.
func (m Version) ChecksVersion() bool {
	return m.Family() == FamilyV1 && m.Minor >= minor31d
}

// MaxCommandPayload is the longest payload of a command that the firmware accepts: 255 bytes up
// to 3.1c, then 269.
func (m Version) MaxCommandPayload() int {
	if m.Family() == FamilyV1 && m.Minor < minor31d {
		return 255
	}
	return MaxCommandPayload
}

// BroadcastClass says who receives a broadcast.
type BroadcastClass uint8

// Broadcast classes.
const (
	BroadcastAll     BroadcastClass = 0
	BroadcastRxOn    BroadcastClass = 1 // receiver on when idle
	BroadcastRouters BroadcastClass = 2
)

// BroadcastAddr is the address of an OTA command with AddrModeBroadcast. Firmware takes the class from one
// byte of the address: the high one on v1, the low one on v2. Network addresses like 0xFFFD do not work.
func BroadcastAddr(f Family, class BroadcastClass) uint16 {
	if f == FamilyV2 {
		return uint16(class)
	}
	return uint16(class) << 8
}

// clockEpoch is second 0 of Zigbee's UTC time, 2000-01-01, as Unix time.
const clockEpoch = 946684800

// ClockSeconds is a time as the dongle's clock counts it: seconds since 2000-01-01 UTC, 0 for times before.
func ClockSeconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix()-clockEpoch, 0), 0xFFFFFFFF))
}

// ClockTime is the time of a dongle's clock value.
func ClockTime(seconds uint32) time.Time {
	return time.Unix(clockEpoch+int64(seconds), 0).UTC()
}
