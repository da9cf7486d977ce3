package bridge_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// TestRefusalsAreFailedUpgrades: a request that is refused for its image or its device is an upgrade that failed, which
// is seen in the answer, in an event, in the device's record and in Home Assistant. Other refusals are an answer alone.
func TestRefusalsAreFailedUpgrades(t *testing.T) {
	limited := func(h *otafile.Header) {
		least, most := uint16(3), uint16(4)
		h.MinHardwareVersion, h.MaxHardwareVersion = &least, &most
	}
	other := func(h *otafile.Header) { h.ImageType = 0x2202 }
	for _, tt := range []struct {
		name    string
		request func(h *home) string // besides the device
		reason  string
		says    string
		version any // of the image, as the record has it
	}{
		{"file that is not there", func(h *home) string { return `,"url":"file://` + h.dir + `/nothing.ota"` }, "imageAccessFailed", "nothing.ota", nil},
		{"host that may not be asked", func(h *home) string { return `,"url":"http://127.0.0.1/a.ota","imageVersion":7` }, "imageAccessFailed", "127.0.0.1", json.Number("7")},
		{"no image", func(h *home) string { return `,"url":"` + h.file("text.ota", []byte("hello")) + `"` }, "imageValidationFailed", "OTA file", nil},
		{"image of others", func(h *home) string { return `,"url":"` + h.built(newer, other) + `"` }, "imageValidationFailed", "image type 0x2202", json.Number("587814449")},
		{"another version", func(h *home) string { return `,"imageVersion":8,"url":"` + h.built(newer, nil) + `"` }, "imageValidationFailed", "not the 0x00000008", json.Number("587814449")},
		{"no image is known", func(*home) string { return `` }, "imageInfoNotFound", "add_image", nil},
		{"no such version", func(*home) string { return `,"imageVersion":"0x22"` }, "imageInfoNotFound", "add_image", json.Number("34")},
		{"other hardware", func(h *home) string { return `,"url":"` + h.built(newer, limited) + `"` }, "hardwareMismatch", "from 3 to 4, not 1", json.Number("587814449")},
		{"older", func(h *home) string { return `,"url":"` + h.built(3, nil) + `"` }, "downgradeRefused", "allowDowngrade", json.Number("3")},
	} {
		for _, firmware := range []sim.Firmware{sim.V131C, sim.V1323, sim.V2324} {
			t.Run(tt.name+", "+firmware.String(), func(t *testing.T) {
				inHome(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) {
					h.queries(1)
					h.request("upgrade", `{`+bulbID+`,"transaction":"t"`+tt.request(h)+`}`)
					h.refused(tt.reason, tt.says, tt.version)
				})
			})
		}
	}
}

// TestRefusedByTheDevice: an image that the device has called invalid is not given to it again.
func TestRefusedByTheDevice(t *testing.T) {
	cfg := bulbConfig(bulb, 0x4f4f)
	cfg.InvalidAtEnd = true
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(h *home) {
		request := `{` + bulbID + `,"url":"` + h.image(newer, 3000) + `"`
		h.walk([]step{{operation: "upgrade", payload: request + `}`, want: "failure"}})
		time.Sleep(time.Minute)
		h.out.on("zigate-ota/event/upgradeFailed")
		h.said.forget()
		h.request("upgrade", request+`,"transaction":"t"}`)
		h.refused("invalidImage", "0x96", json.Number("587814449"))
	})
}

// TestRefusedAsExcluded: so is a device that a person has excluded.
func TestRefusedAsExcluded(t *testing.T) {
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) {
		h.walk([]step{{operation: "configure", payload: `{` + bulbID + `,"excluded":true}`, want: "success"}})
		h.request("upgrade", `{`+bulbID+`,"url":"`+h.image(newer, 3000)+`","transaction":"t"}`)
		h.refused("excluded", "force", nil)
	})
}

// TestRefusedForItsBattery: so is a device whose battery is nearly empty.
func TestRefusedForItsBattery(t *testing.T) {
	cfg := bulbConfig(bulb, 0x4f4f)
	low := uint8(20)
	cfg.Sleepy, cfg.BatteryPercent = true, &low
	around := surroundings{policy: func(p *otasvc.Policy) { p.MinBattery = 30 }}
	inHomeOf(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, around, func(h *home) {
		h.within(time.Hour, "it has said what it runs", func() bool { return h.state().CurrentFileVersion != nil })
		h.request("upgrade", `{`+bulbID+`,"url":"`+h.image(newer, 3000)+`","transaction":"t"}`)
		h.refused("batteryLow", "MIN_BATTERY", json.Number("587814449"))
	})
}

// TestRefusalsThatAreAnswersAlone: nothing comes of them but the answer, and nothing is forgotten.
func TestRefusalsThatAreAnswersAlone(t *testing.T) {
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f)}}, func(h *home) {
		same := h.image(0x22010631, 3000)
		h.request("upgrade", `{`+bulbID+`,"url":"`+same+`","transaction":"same"}`)
		h.refusedAlone("same", "upToDate")
		if u := h.state().Upgrade; u != nil {
			t.Errorf("the record has %+v", u)
		}
		newer := h.image(newer, 30_000)
		h.request("upgrade", `{`+bulbID+`,"url":"`+newer+`"}`)
		h.within(time.Minute, "it downloads", h.inState("downloading", 1000))
		for transaction, url := range map[string]string{"again": newer, "another": "file:///nothing.ota"} {
			h.request("upgrade", `{`+bulbID+`,"url":"`+url+`","transaction":"`+transaction+`"}`)
			h.refusedAlone(transaction, "alreadyQueued")
		}
		if u := h.state().Upgrade; u == nil || u.State != "downloading" {
			t.Errorf("the upgrade is %+v", u)
		}
		if failed := h.out.on("zigate-ota/event/upgradeFailed"); len(failed) > 0 {
			t.Errorf("told of %s", failed)
		}
		if lines := h.said.lines("level=WARN", "reason="); len(lines) > 0 {
			t.Errorf("the log says %q", lines)
		}
	})
}

// refusedAlone holds the answer to a request, which is all that is said of it, against the contract.
func (h *home) refusedAlone(transaction, reason string) {
	h.t.Helper()
	answer := h.finalTo("upgrade", transaction, true)
	if answer["status"] != "failure" || answer["reason"] != reason {
		h.t.Errorf("answered %v, want %s", answer, reason)
	}
}

// refused holds everything that is said of an upgrade that was refused against the contract.
func (h *home) refused(reason, says string, version any) {
	h.t.Helper()
	answer := h.finalTo("upgrade", "t", true)
	sentence, _ := answer["error"].(string)
	if answer["status"] != "failure" || answer["reason"] != reason || !strings.Contains(sentence, says) {
		h.t.Errorf("answered %v", answer)
	}
	if answer["imageVersion"] != version || answer["mfgId"] != json.Number("4476") {
		h.t.Errorf("the answer is about version %v", answer["imageVersion"])
	}

	events := h.out.on("zigate-ota/event/upgradeFailed")
	if len(events) != 1 {
		h.t.Fatalf("the events are %s", events)
	}
	if e, _ := parse(events[0]); e["reason"] != reason || e["error"] != sentence || e["euid"] != bulb.String() || e["imageVersion"] != version {
		h.t.Errorf("the event is %s", events[0])
	}

	d, _ := parse(h.out.value(bulbTopic))
	u, _ := d["upgrade"].(object)
	if u["state"] != "failed" || u["reason"] != reason || u["error"] != sentence || u["imageVersion"] != version || u["offset"] != json.Number("0") {
		h.t.Errorf("the record has %v", u)
	}
	if past := d["history"].([]any)[0].(object); past["state"] != "failed" || past["reason"] != reason || past["imageVersion"] != version {
		h.t.Errorf("the history has %v", past)
	}

	state, _ := parse(h.out.value(updateTopic))
	if summary, _ := state["release_summary"].(string); !strings.EqualFold(summary[:min(30, len(summary))], sentence[:min(30, len(summary), len(sentence))]) {
		h.t.Errorf("Home Assistant is told %q", summary)
	}
	if state["in_progress"] != false {
		h.t.Errorf("Home Assistant is told %v", state)
	}
	if lines := h.said.lines("euid="+bulb.String(), "reason="+reason); len(lines) != 1 {
		h.t.Errorf("the log says %q", lines)
	}
}

// queries has the dongle show how the bulb looks for an image, and tells its hardware version.
func (h *home) queries(hardware uint8) {
	h.t.Helper()
	h.service.HandleMessage(message.DataIndication{Cluster: message.ClusterOTA, SrcAddrMode: message.AddrModeNetwork, SrcAddr: 0x4f4f, Payload: []byte{
		0x01, 0x07, 0x01, 0x01, 0x7C, 0x11, 0x01, 0x22, 0x31, 0x06, 0x01, 0x22, hardware, 0x00}}, 100)
	h.within(time.Minute, "it has asked", func() bool {
		d, _ := parse(h.out.value(bulbTopic))
		return d["hardwareVersion"] != nil
	})
}

// built writes an image for the bulbs into the image folder and gives its URL.
func (h *home) built(version uint32, change func(*otafile.Header)) string {
	h.t.Helper()
	header := otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: version}
	if change != nil {
		change(&header)
	}
	return h.file(fmt.Sprintf("built-%08x.ota", version), otafile.Build(header, make([]byte, 2000)))
}

// file writes a file into the image folder and gives its URL.
func (h *home) file(name string, data []byte) string {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), data, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return "file://" + filepath.Join(h.dir, name)
}
