package bridge_test

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// entities are the components of a discovery document: their platform alone where they are removed, else
// where their state comes from and what installs.
func entities(t *testing.T, document string) map[string]string {
	t.Helper()
	var d struct {
		Components map[string]struct {
			Platform string
			UniqueID string `json:"unique_id"`
			State    string `json:"state_topic"`
			Install  string `json:"payload_install"`
		}
	}
	if err := json.Unmarshal([]byte(document), &d); err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for name, c := range d.Components {
		if !strings.HasPrefix(name, "update") {
			continue
		}
		shown[name] = strings.TrimSpace(strings.Join([]string{c.Platform, c.UniqueID, c.State, c.Install}, " "))
	}
	return shown
}

// TestOtherImagesInHomeAssistant: each image of a device has its own entity and state. Those of one that the
// device has no more are removed, and stay so; all go with the device.
func TestOtherImagesInHomeAssistant(t *testing.T) {
	out := newPaper()
	b := bridge.New(bridge.Options{
		Topics: "zigate-ota", Out: out, Observer: noObserver{}, Logger: slog.New(slog.DiscardHandler),
		Discovery: &homeassistant.Options{Prefix: "homeassistant", Base: "zigate-ota"},
	})
	const device = "zigate-ota/device/0x000b57fffec6a5b2"
	const document = "homeassistant/device/zigate_ota_000b57fffec6a5b2/config"
	const second = `update zigate_ota_000b57fffec6a5b2_update_8706 ` + device +
		`/update/8706 {"deviceId":"0x000b57fffec6a5b2","imageTypeId":8706}`

	d := withOtherImages()
	b.DeviceChanged(d)
	got := entities(t, out.value(document))
	if got["update_8706"] != second || !strings.Contains(got["update"], device+"/update {") || len(got) != 3 {
		t.Errorf("entities %v", got)
	}

	d.OtherImages = d.OtherImages[:1]
	for range 2 {
		b.DeviceChanged(d)
		got = entities(t, out.value(document))
		if got["update_8707"] != "update" || got["update_8706"] != second || len(got) != 3 {
			t.Errorf("entities with one image less: %v", got)
		}
	}
	if topics := out.topics(device); len(topics) != 3 || slices.Contains(topics, device+"/update/8707") {
		t.Errorf("retained with one image less: %v", topics)
	}

	d.OtherImages = append(d.OtherImages, otasvc.OtherImage{ImageType: 8707})
	b.DeviceChanged(d)
	if got := entities(t, out.value(document)); !strings.HasSuffix(got["update_8707"], "8707}") {
		t.Errorf("entities when it is back: %v", got)
	}

	b.DeviceGone(d.EUID)
	if topics := out.topics(device); len(topics) != 0 {
		t.Errorf("retained of a device that is gone: %v", topics)
	}
	if out.value(document) != "" {
		t.Error("its document is there still")
	}
	if len(out.bad) > 0 {
		t.Error("Home Assistant would not take: ", out.bad)
	}
}

// TestUpgradeShowsAtItsImage: an upgrade shows at the update entity of its image and at no other.
func TestUpgradeShowsAtItsImage(t *testing.T) {
	g := newGolden(t, "device")
	const update = "zigate-ota/device/0x000b57fffec6a5b2/update"
	busy := func(topic string) bool { return strings.Contains(g.out.value(topic), `"in_progress":true`) }

	d := withOtherImages()
	g.b.DeviceChanged(d)
	if busy(update) || !busy(update+"/8706") || busy(update+"/8707") {
		t.Error("an upgrade of another image shows at the wrong place")
	}
	d.Upgrade = &upgrade.Record{State: upgrade.Queued, ImageVersion: ptr(uint32(587814449)), Attempt: 1}
	g.b.DeviceChanged(d)
	if !busy(update) || busy(update+"/8706") || busy(update+"/8707") {
		t.Error("an upgrade of the device's own image shows at the wrong place")
	}
}

// TestOtherImageAsPublished upgrades both images of a device over MQTT, by name and by "all", and holds every
// update state that is published meanwhile against what can be: each shows its own versions and its own
// upgrade, and no two are in progress at the same time.
func TestOtherImageAsPublished(t *testing.T) {
	device := bulbConfig(bulb, 0x4f4f)
	device.OtherClients = []sim.ClientConfig{{Endpoint: 2, ImageType: 0x2202, FileVersion: 5}}
	inHome(t, sim.Config{Devices: []sim.DeviceConfig{device}}, func(h *home) {
		const second = updateTopic + "/8706"
		own, other := h.image(newer, 6_000), h.imageOf(0x2202, 6, 6_000)
		for _, url := range []string{own, other} {
			h.request("add_image", `{`+bulbID+`,"url":"`+url+`"}`)
		}
		h.within(time.Minute, "the other image is offered", func() bool {
			return strings.Contains(h.out.value(second), `"latest_version":"0x00000006"`)
		})
		h.request("upgrade", `{`+bulbID+`,"imageTypeId":"0x2202","transaction":"named"}`)
		h.within(time.Hour, "the other image runs", func() bool {
			return strings.Contains(h.out.value(second), `"installed_version":"0x00000006"`)
		})
		h.request("upgrade", `{"deviceId":"all","transaction":"all"}`)
		h.within(time.Hour, "its own image runs", func() bool {
			return strings.Contains(h.out.value(updateTopic), `"installed_version":"0x23095631"`)
		})
		time.Sleep(time.Minute)
		synctest.Wait()

		final := h.out.on("zigate-ota/response/upgrade")
		if n := len(final); n == 0 || !strings.Contains(final[n-1], `"results":[{"euid":"0x000b57fffec6a5b2","state":"succeeded","reason":null}]`) {
			t.Errorf("answers %v", final)
		}
		installed := map[string][]string{
			updateTopic: {"0x22010631", "0x23095631"}, second: {"0x00000005", "0x00000006"},
		}
		busy := map[string]bool{}
		begun := map[string]int{}
		for _, m := range h.out.all(updateTopic) {
			var state struct {
				Installed string `json:"installed_version"`
				Latest    string `json:"latest_version"`
				Busy      bool   `json:"in_progress"`
			}
			if err := json.Unmarshal([]byte(m.payload), &state); err != nil {
				t.Fatal(err)
			}
			known := installed[m.topic]
			if state.Installed != "" && !slices.Contains(known, state.Installed) ||
				state.Latest != "" && !slices.Contains(known, state.Latest) {
				t.Errorf("%s: %s", m.topic, m.payload)
			}
			if state.Busy && !busy[m.topic] {
				begun[m.topic]++
			}
			busy[m.topic] = state.Busy
			if busy[updateTopic] && busy[second] {
				t.Errorf("two upgrades of a device at a time: %s", m.payload)
			}
		}
		if begun[updateTopic] != 1 || begun[second] != 1 {
			t.Errorf("upgrades begun: %v", begun)
		}
	})
}
