package contract_test

import (
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// TestTopicsOfDevices: what is retained of a device is known again by its topic, and nothing else is.
func TestTopicsOfDevices(t *testing.T) {
	const base = contract.Topics("base")
	const euid = contract.EUID("0x000b57fffec6a5b2")
	if got, want := base.OtherUpdate(euid, 0x2202), "base/device/0x000b57fffec6a5b2/update/8706"; got != want {
		t.Errorf("another image's update state is on %s, want %s", got, want)
	}
	for topic, want := range map[string]bool{
		base.Device(euid):                            true,
		base.Update(euid):                            true,
		base.OtherUpdate(euid, 0):                    true,
		base.OtherUpdate(euid, 0xFFFF):               true,
		base.Update(euid) + "/":                      false,
		base.Update(euid) + "/65536":                 false,
		base.Update(euid) + "/08706":                 false,
		base.Update(euid) + "/0x2202":                false,
		base.Update(euid) + "/8706/x":                false,
		base.Device(euid) + "/other":                 false,
		base.Device("kitchen"):                       false,
		base.Update("kitchen") + "/8706":             false,
		"other/device/0x000b57fffec6a5b2/update/871": false,
	} {
		if got := base.IsOfDevice(topic); got != want {
			t.Errorf("%s is retained of a device: %v, want %v", topic, got, want)
		}
	}
}
