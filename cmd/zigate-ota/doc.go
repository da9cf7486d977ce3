// Command zigate-ota upgrades the firmware of Zigbee devices through a ZiGate dongle, commanded over MQTT.
//
// It is the only package that knows all the parts: configuration, dongle, image library, service, MQTT,
// HTTP. The demo runs the same parts as the service, with a simulated dongle and an embedded broker. It
// does not know how a part works.
package main

//go:generate go test -run "TestExampleIsCurrent|TestConfigurationDocument|TestPrint" ./internal/config -update
//go:generate go run ./internal/manpage ../../deploy/package/zigate-ota.1
