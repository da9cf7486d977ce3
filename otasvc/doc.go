// Package otasvc is the subject of the service: Zigbee devices, the firmware images that fit them, and the
// upgrades that bring the one to the other through a ZiGate's embedded OTA server.
//
// One goroutine (Service.Run) owns all devices and upgrades. Requests come in as typed calls that never
// block, messages of the dongle through an inbox, and what changed goes out to a Sink. Three things run
// elsewhere: the block server (otasvc/blocks), which answers image block requests on the dongle's reader
// goroutine, from an immutable table and from memory; work that takes time, such as fetching an image, which
// posts its result; and the writing of the state file (otasvc/statefile).
//
// The package knows no MQTT, no serial port and no HTTP. It sends frames through the small interface
// sending.Radio and takes images from the small interface ImageStore.
package otasvc
