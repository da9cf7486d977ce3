// Package zigateota is the root of zigate-ota, a service that upgrades the firmware of Zigbee devices through
// a ZiGate dongle and is operated over MQTT. It holds no code. The parts, each importing only those after it:
//
//   - cmd/zigate-ota: the binary: subcommands, configuration, wiring
//   - bridge: the outside world: MQTT, Home Assistant, HTTP, metrics
//   - otasvc: devices, images, upgrades; knows no MQTT, no serial port, no HTTP server
//   - zigate: the dongle: frames, messages, transport; knows no upgrade policy
//
// A test in this folder holds the source to that.
package zigateota
