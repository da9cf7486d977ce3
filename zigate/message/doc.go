// Package message reads and writes what goes over the serial link of a ZiGate dongle: frames, and the typed
// messages in them, in both directions. It also says in words what the codes in them mean.
//
// It does not know ports, connections or the order of commands: what is sent, when, and what follows from an
// answer is for its users to decide. It imports nothing of the project. Whatever a message means on the radio
// is described with the message, as far as the dongle's firmware makes a difference to what a host has to do.
//
// Three firmware families exist. They are told apart by the major number of [Version]:
//
//   - v1 (ZiGate USB, DIN, PiZiGate, WiFi; big-endian): major 3 ("legacy"), 4 ("OptiPDM"),
//     1 in 3.0d and older
//   - v2 (ZiGate+; little-endian): major 5
//   - openLumi (gateways with the v1 chip): major 3, like v1
//
// All multi-byte numbers on the serial link are big-endian. OTA files and ZCL payloads are little-endian;
// numbers are converted, not copied.
package message
