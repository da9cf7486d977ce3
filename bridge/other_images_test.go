package bridge_test

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
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
	d.Upgrade = &upgrade.Record{State: upgrade.Queued, ImageVersion: 587814449, Attempt: 1}
	g.b.DeviceChanged(d)
	if !busy(update) || busy(update+"/8706") || busy(update+"/8707") {
		t.Error("an upgrade of the device's own image shows at the wrong place")
	}
}
