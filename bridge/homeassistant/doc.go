// Package homeassistant writes what Home Assistant reads: the strict state of its MQTT update entity. It knows the
// shapes that Home Assistant's documentation prescribes and nothing of how messages get there.
package homeassistant
