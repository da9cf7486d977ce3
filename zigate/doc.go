// Package zigate connects to a ZiGate dongle: it finds and opens the port, carries out the handshake, keeps
// commands in order, matches answers to them, and connects again after a failure. Frames and messages are
// those of package message. It does not know devices, images or upgrades: its users decide what is sent,
// when, and what follows from an answer.
package zigate
