// Package mqttclient is the service's connection to an MQTT broker: it dials, subscribes, publishes what is
// in its outbox, and does so again when the connection breaks. Its errors say what keeps it from the broker
// and what a person can do about it.
//
// It does not know what topics and payloads mean, with one exception: it publishes on <base>/status whether
// the service is connected.
package mqttclient
