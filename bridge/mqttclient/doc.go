// Package mqttclient is the service's connection to an MQTT broker: it dials, subscribes, publishes what is
// in its outbox, and does so again when the connection breaks. What keeps it from the broker it says in words
// for who can mend it.
//
// It does not know what the topics and payloads mean, but for one: on <base>/status it says whether
// the service is there.
package mqttclient
