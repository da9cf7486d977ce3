package homeassistant_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

var updateGolden = flag.Bool("update-golden", false, "write the golden files instead of comparing with them")

const (
	bulb   message.IEEE = 0x000b57fffec6a5b2
	dongle message.IEEE = 0x00158d0001020304
)

func options() homeassistant.Options {
	return homeassistant.Options{
		Prefix: "homeassistant", Base: "zigate-ota", Version: "1.2.0", ProjectURL: "https://example.com/zigate-ota",
		DongleID: homeassistant.ObjectID(dongle),
	}
}

func ptr[T any](v T) *T { return &v }

// bulbRecord is the device of the MQTT contract's example.
func bulbRecord() otasvc.DeviceRecord {
	return otasvc.DeviceRecord{
		EUID: bulb, NetworkAddress: ptr(uint16(20303)), Name: "Kitchen bulb", ManufacturerName: "IKEA of Sweden",
		ModelID: "TRADFRI bulb E27", ManufacturerCode: ptr(uint16(4476)), ImageType: ptr(uint16(8705)),
		HardwareVersion: ptr(uint16(1)), Endpoint: 1, CurrentVersion: ptr(uint32(0x22010631)),
		Heard: otasvc.Heard{LQI: ptr(uint8(132)), LastSeen: time.Date(2026, 11, 21, 16, 2, 11, 0, time.UTC)}, UpdateAvailable: true,
		Offer: &otasvc.Offer{
			ManufacturerCode: 4476, ImageType: 8705, ImageVersion: 0x23095631, Size: 205488,
			URL: "https://example.com/bulb.ota", Source: otasvc.SourceRegistered,
		},
	}
}

// bulbUpgrade is the bulb with an upgrade in the given state.
func bulbUpgrade(s upgrade.State) otasvc.DeviceRecord {
	d := bulbRecord()
	d.Upgrade = &upgrade.Record{
		State: s, ImageVersion: ptr(uint32(0x23095631)), OldImageVersion: d.CurrentVersion, Offset: 36224, Size: 205488, Progress: 17.6,
		BytesPerSecond: 412, RemainingSeconds: ptr(411), Attempt: 1,
	}
	return d
}

func infoRecord() otasvc.InfoRecord {
	return otasvc.InfoRecord{
		Dongle:  otasvc.DongleInfo{Connected: true, Port: "/dev/ttyUSB0", Firmware: "3.23", EUID: dongle, PANID: 4660, Channel: 15},
		Devices: 12, Images: 3, Queued: 2, Active: 1,
	}
}

func allStates() []upgrade.State {
	return []upgrade.State{
		upgrade.Fetching, upgrade.Scheduled, upgrade.Queued, upgrade.Notified, upgrade.Downloading, upgrade.Paused, upgrade.Downloaded,
		upgrade.Applying, upgrade.Succeeded, upgrade.Failed, upgrade.Cancelled,
	}
}

// decode reads a payload, which must be a JSON object.
func decode(t *testing.T, payload []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(payload, &v); err != nil {
		t.Fatalf("the payload is no JSON object: %v\n%s", err, payload)
	}
	return v
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// at is the value at a path of keys, nil where there is none.
func at(v any, path ...string) any {
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// golden compares a payload with testdata/<name>.json, in which it stands indented.
func golden(t *testing.T, name string, payload []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, payload, "", "  "); err != nil {
		t.Fatalf("%v\n%s", err, payload)
	}
	b.WriteByte('\n')
	file := filepath.Join("testdata", name+".json")
	if *updateGolden {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s is not what it was; if that is meant, run the test with -update-golden (-want +got):\n%s", file, diff)
	}
}
