// Package shell is the commands for people at a terminal and for their scripts: it asks a running service for
// things and shows what the service says, over MQTT and nothing else. It knows the contract of the topics and
// payloads, but not how the service does what it is asked for, nor where the configuration comes from.
package shell
