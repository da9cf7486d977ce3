// Package registry knows the Zigbee devices of a home: who they are, how that is found out, and what a person
// has set for each of them.
//
// A [Device] holds the facts of one device. They change through its methods alone, which note what changed:
// what is kept in the state file by [Devices.Revision], what is told to others by [Devices.Changed], and who
// has which network address by [Devices.Addresses]. Each of its OTA clients is a [Client]; [Placed] says
// which of them it is that tells an image type, or whether it is a further one. An [Interview] asks a device
// who it is, one question after the other; a [Schedule] decides which device is interviewed when, and a
// [Census] finds out which devices there are. [Questions] wait for messages of devices, at the pace of the
// line to the dongle, [Searches] look for devices on the network, and [Strangers] are network addresses of
// which nobody knows yet whose they are.
//
// The package does not know the dongle's connection, firmware images beyond what they are matched with,
// upgrades or MQTT. It starts no goroutine and reads no clock: the caller says what time it is. Unless
// something else is said, a value belongs to one goroutine, the owner's.
package registry
