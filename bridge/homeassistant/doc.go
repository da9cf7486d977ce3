// Package homeassistant writes what Home Assistant reads: the discovery documents that make each device and
// the dongle appear there by themselves, and the strict state of its MQTT update entity. It knows the
// shapes that Home Assistant prescribes and nothing of how messages get there: everything in it is a
// function of records.
//
// A discovery document is one retained message that lists all entities of a device. Home Assistant drops the
// whole document when one of its keys is wrong, and says so only in its own log. The tests therefore compare
// each document with the rules of the releases 2025.4 and 2026.11.
//
// An object identifier, which also identifies the device to Home Assistant, begins with zigate_ota_ and ends
// with the 16 digits of the EUID. Component names and unique identifiers never change: people's dashboards
// and automations refer to them.
package homeassistant
