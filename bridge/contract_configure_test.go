package bridge_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// TestSettingsAsPublished: what is set for a device stands in its record, and null takes it back; what is not
// named stays as it was, and what makes no sense changes nothing. It holds for this device alone.
func TestSettingsAsPublished(t *testing.T) {
	cfg := sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050)}}
	inHome(t, cfg, func(h *home) {
		all := object{
			"excluded": true, "blockSize": json.Number("40"), "blockIntervalMs": json.Number("250"),
			"stallTimeoutSeconds": json.Number("900"), "notifyAttempts": json.Number("3"),
		}
		for i, tt := range []struct {
			set, status string
			want        object
		}{
			{``, "success", object{}},
			{
				`"excluded":true,"blockSize":"0x28","blockIntervalMs":250,` +
					`"stallTimeoutSeconds":900,"notifyAttempts":"3"`,
				"success", all,
			},
			{``, "success", all},
			{`"blockSize":65`, "invalidData", all},
			{`"blockSize":20,"stallTimeoutSeconds":1,"blockIntervalMs":2000`, "invalidData", all},
			{`"excluded":false,"blockSize":null,"blockIntervalMs":null,"notifyAttempts":null`, "success",
				object{"excluded": false, "stallTimeoutSeconds": json.Number("900")}},
			{`"excluded":null,"stallTimeoutSeconds":null`, "success", object{}},
		} {
			request := bulbID
			if tt.set != "" {
				request += "," + tt.set
			}
			transaction := fmt.Sprint("t", i)
			h.request("configure", `{`+request+`,"transaction":"`+transaction+`"}`)
			if answer := h.finalTo("configure", transaction, true); answer["status"] != tt.status {
				t.Errorf("%s: answered %v", tt.set, answer)
			}
			if diff := cmp.Diff(tt.want, h.record(bulb)["settings"]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.set, diff)
			}
			if diff := cmp.Diff(object{}, h.record(cellar)["settings"]); diff != "" {
				t.Errorf("another device, %s (-want +got):\n%s", tt.set, diff)
			}
		}
	})
}

// TestExcludedAsPublished: a device that a person has excluded is up to date for Home Assistant, is no device
// of "all", and is upgraded when it is named with force, and as ever once the setting is taken back.
func TestExcludedAsPublished(t *testing.T) {
	cfg := sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb, 0x4f4f), bulbConfig(cellar, 0x5050)}}
	for name, upgrade := range map[string]func(h *home){
		"with force": func(h *home) { h.request("upgrade", `{`+bulbID+`,"force":true}`) },
		"taken back": func(h *home) {
			h.request("configure", `{`+bulbID+`,"excluded":null}`)
			offered := func() bool { return h.latest(bulb) == "0x23095631" }
			h.within(time.Second, "it is offered again", offered)
			h.request("upgrade", `{`+bulbID+`}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inHome(t, cfg, func(h *home) {
				for _, e := range []message.IEEE{bulb, cellar} {
					h.request("add_image", `{"deviceId":"`+e.String()+`","url":"`+h.image(newer, 6000)+`"}`)
					h.within(time.Minute, "it is offered", func() bool { return h.latest(e) == "0x23095631" })
				}
				h.request("configure", `{`+bulbID+`,"excluded":true}`)
				upToDate := func() bool { return h.latest(bulb) == "0x22010631" }
				h.within(time.Second, "it is up to date", upToDate)
				h.request("upgrade", `{"deviceId":"all","transaction":"all"}`)
				answer := h.finalTo("upgrade", "all", false)
				want := []any{object{"euid": cellar.String(), "state": "succeeded", "reason": nil}}
				if diff := cmp.Diff(want, answer["results"]); diff != "" || answer["status"] != "success" {
					t.Errorf("answered %v; results (-want +got):\n%s", answer["status"], diff)
				}
				if r := h.record(bulb); r["upgrade"] != nil || r["settings"].(object)["excluded"] != true {
					t.Errorf("the record is %v", r)
				}
				upgrade(h)
				h.within(time.Hour, "it is upgraded", h.inState("succeeded", 6000))
			})
		})
	}
}

// latest is the newest version of a device that Home Assistant is told.
func (h *home) latest(e message.IEEE) any {
	o, _ := parse(h.out.value("zigate-ota/device/" + e.String() + "/update"))
	return o["latest_version"]
}
