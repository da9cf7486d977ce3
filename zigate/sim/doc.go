// Package sim is a ZiGate that exists only in memory, with Zigbee devices around it that
// download firmware images.
//
// It is there for tests, for the demonstration and for developing host software without hardware. So it
// follows real firmware closely, including what a host would rather not meet: the receiver that executes a
// command again when it sees a second END byte, commands completed by bytes of an earlier one, output lost in
// bursts, one image header in RAM that a reset takes away, answers to devices that the host never sees. What
// differs between firmware versions is chosen with [Firmware].
//
// A [Dongle] has one serial line. A host reaches it in memory with [Dongle.Dialer], which works in the fake
// time of testing/synctest, over TCP with [Dongle.ServeTCP] as a WiFi ZiGate, or over a pseudo-terminal with
// [Dongle.ServePTY]. The devices are made by [Config] and watched and prodded through [Device].
//
// One goroutine, [Dongle.Run], owns all state: bytes of the line, timers and calls from outside become events
// that it handles one after the other. No device has a goroutine of its own, so thousands of them are
// possible. Everything random comes from [Config.Seed]: the same seed and the same host give the same run.
//
// The package knows nothing about images beyond what a device checks, and nothing about who talks to it.
package sim
