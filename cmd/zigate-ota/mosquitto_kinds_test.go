package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The devices of a home in which each has another need.
const (
	quietLamp     = "0x000b57fffe000001" // tells who it is in its queries alone
	otherHardware = "0x000b57fffe000002" // is not what its image is for
	twoProcessors = "0x000b57fffe000003" // has a second OTA client
	becomesOther  = "0x000b57fffe000004" // tells another maker, model and image type after its upgrade
	anyMaker      = "0x000b57fffe000005" // has the manufacturer code 0xFFFF
	otherServer   = "0x000b57fffe000006" // has another OTA server as its own
	longRoute     = "0x000b57fffe000007" // blocks of more than 40 bytes do not get through to it
)

// kindsOf writes a home of such devices behind a dongle, and an index with images for them.
func kindsOf(t *testing.T, dongle string) (scenario, index string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	unsupported := []int{0x0002, 0x0007, 0x0008} // version, manufacturer code and image type
	var devices, entries []map[string]any
	for i, d := range []map[string]any{
		{"ieee": quietLamp, "hardwareVersion": 3, "unsupportedAttributes": unsupported},
		{"ieee": otherHardware, "hardwareVersion": 5, "unsupportedAttributes": unsupported},
		{
			"ieee":         twoProcessors,
			"otherClients": []any{map[string]any{"endpoint": 2, "imageType": 0x2299, "fileVersion": 5}},
		},
		{
			"ieee": becomesOther, "newManufacturerName": "Others Ltd", "newModelId": "LAMP-B",
			"newManufacturerCode": 0x1234, "newImageType": 0x22AA,
		},
		{"ieee": anyMaker, "manufacturerCode": 0xFFFF},
		{"ieee": otherServer, "upgradeServer": "0x00212effff00aabb"},
		{"ieee": longRoute, "losesBlocksOver": 40, "softwareBuild": "2.3.4", "dateCode": "20230506"},
	} {
		for key, value := range map[string]any{
			"manufacturerCode": 0x117C, "imageType": 0x2200 + i, "fileVersion": 1,
			"modelId": "LAMP-A", "manufacturerName": "Lamps Ltd",
			"maxDataSize": 63, "blockInterval": "100ms", "rebootTime": "5s", "queryInterval": "1000h",
		} {
			if d[key] == nil {
				d[key] = value
			}
		}
		devices = append(devices, d)
	}
	for n, kind := range [][3]int{
		{0x117C, 0x2200, 2}, {0x117C, 0x2201, 2}, {0x117C, 0x2202, 2}, {0x117C, 0x2299, 6},
		{0x117C, 0x2203, 2}, {0xFFFF, 0x2204, 2}, {0x117C, 0x2205, 2}, {0x117C, 0x2206, 2},
	} {
		name := fmt.Sprintf("%d.ota", n)
		write(name, otafile.Build(otafile.Header{
			ManufacturerCode: uint16(kind[0]), ImageType: uint16(kind[1]), FileVersion: uint32(kind[2]),
		}, firmware(4_000)))
		entry := map[string]any{
			"url": name, "manufacturerCode": kind[0], "imageType": kind[1], "fileVersion": kind[2],
		}
		if n < 2 {
			entry["hardwareVersionMin"], entry["hardwareVersionMax"] = 3, 4
		}
		entries = append(entries, entry)
	}
	scenarioFile, err := json.Marshal(map[string]any{
		"firmware": dongle, "speed": 40, "lineRate": 11520, "devices": devices,
	})
	if err != nil {
		t.Fatal(err)
	}
	indexFile, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return write("scenario.json", scenarioFile), write("index.json", indexFile)
}

// Each device of a home gets its image whatever it needs, and what is remarkable about it is told: with the
// firmwares that differ most, the simulated dongle behind a real port, and clients that are not of this project.
func TestMosquittoHomeOfAllKinds(t *testing.T) {
	for dongle, port := range map[string]string{"3.1c": "tcp", "3.23": "pty", "v2": "tcp"} {
		t.Run(dongle, func(t *testing.T) {
			t.Parallel()
			address := "127.0.0.1:0"
			if port == "pty" {
				onLinux(t)
				address = filepath.Join(t.TempDir(), "zigate")
			}
			scenario, index := kindsOf(t, dongle)
			m := newMosquitto(t)
			h := &homeOfKinds{t: t, m: m, heard: m.sub("zigate-ota/#")}
			service := m.service(t.TempDir(), simulation(t, "--"+port, address, "--scenario", scenario),
				"ZIGATE_OTA_IMAGE_INDEXES="+index, "ZIGATE_OTA_UPGRADE_NOTIFY_INTERVAL=1s")
			h.isKnown()
			h.refusesOtherHardware()
			h.warnsOfAnotherServer()
			h.upgradesAll()
			service.stderr.await(t, "that blocks are made smaller", func(line string) bool {
				return strings.Contains(line, "until it got a smaller one") && strings.Contains(line, longRoute)
			})
		})
	}
}

// homeOfKinds is a service with such a home, and who asks it.
type homeOfKinds struct {
	t     *testing.T
	m     *mosquitto
	heard *journal[published]
	asked int
}

// tells waits for a record of a device, or for what is told below it.
func (h *homeOfKinds) tells(device, what string, match func(d map[string]any) bool) {
	h.t.Helper()
	h.heard.await(h.t, what, onTopic("zigate-ota/device/"+device, match))
}

// ask makes a request and returns its transaction, and the final answer.
func (h *homeOfKinds) ask(operation, request string) (transaction string, final map[string]any) {
	h.t.Helper()
	h.asked++
	transaction = fmt.Sprint(operation, " ", h.asked)
	h.m.pub("zigate-ota/request/"+operation, withTransaction(request, transaction), "-q", "1")
	return transaction, h.heard.await(h.t, "the final answer to "+transaction, finalTo(transaction)).object()
}

// isKnown waits until each device is known, by its attributes or because it was asked.
func (h *homeOfKinds) isKnown() {
	h.t.Helper()
	h.tells(quietLamp, "who the quiet one is", func(d map[string]any) bool {
		return number(d, "hardwareVersion") == 3 && number(d, "currentFileVersion") == 1 &&
			number(d, "mfgId") == 0x117C && number(d, "imageTypeId") == 0x2200 &&
			at(d, "updateAvailable") == true && at(d, "image", "fileName") == "0.ota"
	})
	h.tells(otherHardware, "the hardware of the other one", func(d map[string]any) bool {
		return number(d, "hardwareVersion") == 5 && at(d, "updateAvailable") == false
	})
	h.tells(twoProcessors+"/update/8857", "the second update entity", func(u map[string]any) bool {
		return at(u, "installed_version") == "0x00000005" && at(u, "latest_version") == "0x00000006"
	})
	h.tells(longRoute, "what people call its software", func(d map[string]any) bool {
		return at(d, "softwareBuild") == "2.3.4" && at(d, "dateCode") == "20230506"
	})
	for _, euid := range []string{twoProcessors, becomesOther, anyMaker, otherServer, longRoute} {
		h.tells(euid, "an update for "+euid, func(d map[string]any) bool {
			return at(d, "updateAvailable") == true
		})
	}
}

// refusesOtherHardware asks for an image in vain that is for other hardware.
func (h *homeOfKinds) refusesOtherHardware() {
	h.t.Helper()
	for request, reason := range map[string]string{
		"": "imageInfoNotFound", `,"imageVersion":2`: "hardwareMismatch",
	} {
		_, got := h.ask("upgrade", `{"deviceId":"`+otherHardware+`"`+request+`}`)
		sentence, _ := at(got, "error").(string)
		if at(got, "reason") != reason || !strings.Contains(sentence, "from 3 to 4, not 5") {
			h.t.Errorf("for other hardware%s: %v", request, got)
		}
	}
}

// warnsOfAnotherServer upgrades a device that has another OTA server.
func (h *homeOfKinds) warnsOfAnotherServer() {
	h.t.Helper()
	h.tells(otherServer, "its other server", func(d map[string]any) bool {
		return at(d, "otherServer") == "0x00212effff00aabb"
	})
	transaction, final := h.ask("upgrade", `{"deviceId":"`+otherServer+`"}`)
	warned := h.heard.each(func(m published) bool {
		sentence, _ := at(m.object(), "error").(string)
		return responseTo(transaction)(m) && !m.final() && strings.Contains(sentence, "let it join again")
	})
	if len(warned) == 0 || at(final, "status") != "success" {
		h.t.Errorf("told %d times of the other server, and ended %v", len(warned), final)
	}
}

// upgradesAll sets how large the blocks for a device are, and upgrades all.
func (h *homeOfKinds) upgradesAll() {
	h.t.Helper()
	_, got := h.ask("configure", `{"deviceId":"`+anyMaker+`","blockSize":40}`)
	if at(got, "status") != "success" {
		h.t.Errorf("configure: %v", got)
	}
	h.tells(anyMaker, "what is set for it", func(d map[string]any) bool {
		return number(d, "settings", "blockSize") == 40
	})
	_, got = h.ask("upgrade", `{"deviceId":"all"}`)
	ended := map[string]bool{}
	results, _ := at(got, "results").([]any)
	for _, result := range results {
		r := result.(map[string]any)
		image := fmt.Sprint(at(r, "euid"), " ", at(r, "imageTypeId"))
		ended[strings.TrimSuffix(image, " <nil>")] = at(r, "state") == "succeeded"
	}
	want := map[string]bool{
		quietLamp: true, twoProcessors: true, twoProcessors + " 8857": true, becomesOther: true, anyMaker: true,
		longRoute: true,
	}
	if diff := cmp.Diff(want, ended); diff != "" || at(got, "status") != "success" {
		h.t.Errorf("all ended %v (-want +got):\n%s", got, diff)
	}
	h.tells(becomesOther, "what it has become", func(d map[string]any) bool {
		return at(d, "manufacturerName") == "Others Ltd" && at(d, "modelId") == "LAMP-B" &&
			number(d, "mfgId") == 0x1234 && number(d, "imageTypeId") == 0x22AA && number(d, "currentFileVersion") == 2
	})
	h.tells(twoProcessors+"/update/8857", "the second image", func(u map[string]any) bool {
		return at(u, "installed_version") == "0x00000006"
	})
	h.tells(quietLamp, "that the quiet one runs it", func(d map[string]any) bool {
		return number(d, "currentFileVersion") == 2 && at(d, "updateAvailable") == false
	})
}

// A home of devices that say nothing of their own accord is known soon, behind a line of 115,200 baud on which
// firmware v1 loses a part of its list, and of whatever else does not fit its transmit queue.
func TestMosquittoQuietHome(t *testing.T) {
	const count = 40
	for _, dongle := range []string{"3.1c", "3.23", "v2"} {
		t.Run(dongle, func(t *testing.T) {
			t.Parallel()
			scenario, err := json.Marshal(map[string]any{
				"firmware": dongle, "lineRate": 11520,
				"devices": []any{map[string]any{
					"ieee": quietLamp, "count": count, "manufacturerCode": 0x117C, "imageType": 0x2200,
					"fileVersion": 1, "modelId": "LAMP-A", "manufacturerName": "Lamps Ltd", "queryInterval": "1000h",
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "scenario.json")
			if err := os.WriteFile(file, scenario, 0o600); err != nil {
				t.Fatal(err)
			}
			m := newMosquitto(t)
			heard := m.sub("zigate-ota/#")
			port := simulation(t, "--tcp", "127.0.0.1:0", "--scenario", file)
			began := time.Now()
			m.service(t.TempDir(), port)
			first, err := message.ParseIEEE(quietLamp)
			if err != nil {
				t.Fatal(err)
			}
			for i := range count {
				euid := (first + message.IEEE(i)).String()
				heard.await(t, "all of "+euid, onTopic("zigate-ota/device/"+euid, func(d map[string]any) bool {
					return number(d, "currentFileVersion") == 1 && number(d, "imageTypeId") == 0x2200 &&
						number(d, "endpoint") == 1 && at(d, "modelId") == "LAMP-A" &&
						at(d, "manufacturerName") == "Lamps Ltd"
				}))
			}
			if took := time.Since(began); took > 2*time.Minute {
				t.Errorf("known after %v", took)
			}
		})
	}
}
