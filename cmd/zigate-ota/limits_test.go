package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// The limits of hardware versions in an index, over MQTT: who is inside gets the image, who is outside or tells none is
// told why not, and what a person names against them is another thing, which force goes past.
func TestHardwareLimitsOfAnIndex(t *testing.T) {
	image := imageFile(t, "bulb.ota", bulbImage(newerVersion, 3_000))
	entry := fmt.Sprintf(`[{"url":%q,"manufacturerCode":4476,"imageType":8705,"fileVersion":%d,"hardwareVersionMin":3,"hardwareVersionMax":4}]`,
		filepath.Base(image), newerVersion)
	index := filepath.Join(filepath.Dir(image), "index.json")
	if err := os.WriteFile(index, []byte(entry), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, firmware := range []sim.Firmware{sim.V1323, sim.V2324} {
		t.Run(firmware.String(), func(t *testing.T) {
			inside, outside := uint16(3), uint16(5)
			devices := simulatedDevices()[:2]
			devices = append(devices, devices[0])
			devices[0].HardwareVersion, devices[1].HardwareVersion, devices[2].HardwareVersion = &inside, &outside, nil
			devices[2].IEEE, devices[2].Addr = 0x000b57fffec6a5ff, 0
			cfg := simulationConfig(devices, 50)
			cfg.Firmware = firmware
			home := sim.New(cfg)
			s := serveHome(t, home, "ZIGATE_OTA_IMAGE_INDEXES="+index, "ZIGATE_OTA_DONGLE_QUERY_WATCH=always")

			refused := func(euid, request, reason, says string) {
				t.Helper()
				got := s.ask("upgrade", `{"deviceId":"`+euid+`"`+request+`}`).object()
				sentence, _ := at(got, "error").(string)
				if at(got, "status") != "failure" || at(got, "reason") != reason || !strings.Contains(sentence, says) {
					t.Errorf("%s%s: %v", euid, request, got)
				}
				s.heard.await(t, "the event", onTopic("zigate-ota/event/upgradeFailed", func(e map[string]any) bool {
					return at(e, "euid") == euid && at(e, "reason") == reason && at(e, "error") == sentence
				}))
				s.heard.await(t, "the record", onTopic("zigate-ota/device/"+euid, func(d map[string]any) bool {
					return at(d, "upgrade", "state") == "failed" && at(d, "upgrade", "reason") == reason && at(d, "upgrade", "error") == sentence
				}))
				s.heard.await(t, "what Home Assistant is told", onTopic("zigate-ota/device/"+euid+"/update", func(u map[string]any) bool {
					summary, _ := at(u, "release_summary").(string)
					return strings.Contains(summary, says)
				}))
			}
			third := message.IEEE(0x000b57fffec6a5ff).String()
			for euid, hardware := range map[string]*uint16{kitchen: &inside, hall: &outside, third: nil} {
				s.heard.await(t, "record of "+euid, onTopic("zigate-ota/device/"+euid, func(d map[string]any) bool {
					return number(d, "currentFileVersion") >= 0 && at(d, "softwareBuild") == "34.1.6.49" && at(d, "dateCode") == "20240131"
				}))
				ieee, err := message.ParseIEEE(euid)
				if err != nil {
					t.Fatal(err)
				}
				home.Device(ieee).Query()
				s.heard.await(t, "what it says of its hardware", onTopic("zigate-ota/device/"+euid, func(d map[string]any) bool {
					return hardware == nil || number(d, "hardwareVersion") == float64(*hardware)
				}))
			}

			refused(hall, "", "imageInfoNotFound", "from 3 to 4, not 5")
			named := fmt.Sprintf(`,"imageVersion":%d`, newerVersion)
			refused(hall, named, "hardwareMismatch", "from 3 to 4, not 5")
			refused(third, "", "imageInfoNotFound", "the device reports none")
			refused(third, named, "hardwareMismatch", "the device reports none")
			for _, request := range []string{`{"deviceId":"` + kitchen + `"}`, `{"deviceId":"` + hall + `","force":true` + named + `}`} {
				if got := s.ask("upgrade", request).object(); at(got, "status") != "success" {
					t.Errorf("%s: %v", request, got)
				}
			}
			if got := s.ask("upgrade", `{"deviceId":"all"}`).object(); at(got, "status") != "success" || len(at(got, "results").([]any)) != 0 {
				t.Errorf("all: %v", got)
			}
		})
	}
}
