// Package zigate is the connection to a ZiGate dongle: it finds and opens the port, greets the dongle,
// keeps commands in order, matches answers to them, and keeps itself alive. Frames and messages are those
// of package message.
//
// It knows the dongle and nothing behind it: which device may have which image, when to send what, and where
// the answers go is for its users to decide.
package zigate
