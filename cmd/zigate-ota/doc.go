// Command zigate-ota upgrades the firmware of Zigbee devices through a ZiGate dongle, commanded over MQTT.
//
// It is the only place where the concrete parts meet: configuration, dongle, image library, service, MQTT,
// HTTP. The demo is the same assembly as the service, with a simulated dongle and an embedded broker.
package main

//go:generate go test -run "TestExampleIsCurrent|TestConfigurationDocument|TestPrint" ./internal/config -update
//go:generate go run ./internal/manpage ../../deploy/package/zigate-ota.1
