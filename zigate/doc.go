// Package zigate speaks the serial protocol of ZiGate dongles: frames, typed messages in both directions, and a
// connection that keeps itself alive.
//
// It knows the dongle and nothing behind it: which device may have which image, when to send what, and where the
// answers go is for its users to decide. Whatever a message means on the radio is described with the message, as far
// as the dongle's firmware makes a difference to what a host has to do.
//
// Three firmware families exist. They are told apart by the major number of [Version]:
//
//   - v1 (ZiGate USB, DIN, PiZiGate, WiFi; big-endian): major 3 ("legacy"), 4 ("OptiPDM"), 1 in 3.0d and older
//   - v2 (ZiGate+; little-endian): major 5
//   - openLumi (gateways with the v1 chip): major 3, like v1
//
// All multi-byte numbers on the serial link are big-endian. OTA files and ZCL payloads are little-endian; numbers are
// converted, not copied.
package zigate
