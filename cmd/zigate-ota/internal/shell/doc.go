// Package shell has the commands that ask a running service, for people at a terminal and for their
// scripts: it publishes requests over MQTT and shows the answers, records and events. It knows the contract
// of topics and payloads. It does not know how the service carries requests out, nor where the
// configuration comes from.
package shell
