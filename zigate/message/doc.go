// Package message reads and writes what goes over the serial link of a ZiGate dongle: frames, and the typed
// messages in them, in both directions. It also says in words what the codes in them mean, and which message
// answers which command.
//
// It does not know ports, connections or the order of commands: its users decide what is sent, when, and
// what follows from an answer. It imports nothing of the project. Each message's comment says what the
// message does on the radio, as far as a host has to know it. Statements about firmware come from captures
// of real dongles, or from its published source.
//
// Each message is a struct with a method that visits its fields in the order in which they are sent; the
// same method appends a payload and parses one. A table has a row for each type: its number, name,
// direction and struct. So a new message takes a struct, a row, and a case in the tests, which fail without
// any of them. The image block request and response, which are needed for every block, also have functions
// that parse and append them without allocating; tests compare those with the description.
//
// The names are those of the Zigbee specifications: ZCL for clusters, attributes and OTA, ZDO (whose protocol
// is ZDP) for descriptors and addresses, APS for what delivers frames.
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
