// Package sim is a ZiGate that exists only in memory, with Zigbee devices around it that download firmware
// images.
//
// It serves tests, the demonstration and the development of host software without hardware. So it follows
// real firmware closely, including what gives hosts trouble: the receiver executes a command again when it
// sees a second END byte, an earlier command's bytes complete a short one, output is lost in bursts, a reset
// takes away the one image header in RAM, and the dongle gives devices answers that the host never sees.
// [Firmware] chooses what differs between firmware versions, [Stack] what differs between the OTA clients of
// devices: their times, and what they do about refusals, waits and answers that do not come.
//
// A [Dongle] has one serial line. A host reaches it in memory with [Dongle.Dialer], which works in the fake
// time of testing/synctest, over TCP with [Dongle.ServeTCP] as a WiFi ZiGate, or over a pseudo-terminal with
// [Dongle.ServePTY]. [Config] makes the devices; tests watch and control them through [Device].
//
// One goroutine, [Dongle.Run], owns all state: bytes of the line, timers and calls from outside become events
// that it handles one after the other. No device has a goroutine of its own, so thousands of them are
// possible. Everything random comes from [Config.Seed]: the same seed and the same host give the same run.
//
// Where things are: commands.go has a table of what the firmware does with each command of the host, hear.go
// and zdp.go what it makes of the frames of devices, firmware.go how versions differ. node.go has a table of
// what a device answers to ZDP requests, device_attributes.go its attributes, ota_client.go, ota_download.go
// and ota_end.go how it gets an image and installs it, stack_table.go how stacks differ in that. Devices know
// the dongle as their OTA server: looking for one is simulated only by the time that it takes.
//
// The package knows nothing about images beyond what a device checks, and nothing about the host.
package sim
