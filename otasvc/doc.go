// Package otasvc is the subject of the service: Zigbee devices, the firmware images that fit them, and the
// upgrades that bring the one to the other through a ZiGate's embedded OTA server.
//
// One goroutine (Service.Run) owns all devices and upgrades. Requests come in as typed calls that never
// block, messages of the dongle through an inbox, and what changed goes out to a Sink. The only code that
// runs elsewhere is the block server: it answers image block requests on the dongle's reader goroutine, from
// an immutable table and from memory.
//
// The package knows no MQTT, no serial port and no HTTP. It sends frames through the small Radio interface
// and takes images from the small ImageStore interface.
package otasvc
