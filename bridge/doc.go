// Package bridge is the service's side towards MQTT: it turns requests into calls of otasvc, and what
// otasvc reports into answers, events and retained records, in exactly the shapes that consumers are
// written against (package contract).
//
// It does not know how an upgrade works, nor the dongle: it decides nothing about devices. The
// connection to the broker, Home Assistant's shapes, HTTP, metrics and the embedded broker are packages
// of their own below it.
package bridge
