package schema_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/homeassistant/schema"
)

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The check finds what Home Assistant would not take, so that its silence means something.
func TestSchemaFindsMistakes(t *testing.T) {
	component := func(change func(c map[string]any)) map[string]any {
		c := map[string]any{
			"platform": "sensor", "unique_id": "u", "name": "n", "entity_category": "diagnostic", "qos": 1,
			"state_topic": "a/b", "value_template": "{{ value_json.a }}", "device_class": "data_rate", "unit_of_measurement": "B/s",
		}
		change(c)
		return c
	}
	document := func(change func(d map[string]any)) []byte {
		d := map[string]any{
			"device": map[string]any{"identifiers": []string{"i"}, "name": "n"}, "origin": map[string]any{"name": "o"},
			"components": map[string]any{"c": component(func(map[string]any) {})},
		}
		change(d)
		return encode(t, d)
	}
	with := func(change func(c map[string]any)) []byte {
		return document(func(d map[string]any) { d["components"] = map[string]any{"c": component(change)} })
	}
	tests := []struct {
		name    string
		payload []byte
		want    string // part of the only complaint; "" for none
	}{
		{"good", document(func(map[string]any) {}), ""},
		{"removal", document(func(d map[string]any) { d["components"] = map[string]any{"c": map[string]any{"platform": "sensor"}} }), ""},
		{"no origin", document(func(d map[string]any) { delete(d, "origin") }), "no origin"},
		{"unknown key", document(func(d map[string]any) { d["cmps"] = 1 }), "unknown key cmps"},
		{"no identifier", document(func(d map[string]any) { d["device"] = map[string]any{"name": "n"} }), "no identifiers"},
		{"number for text", document(func(d map[string]any) { d["origin"] = map[string]any{"name": "o", "sw_version": 1} }), "no string"},
		{"support URL", document(func(d map[string]any) { d["origin"] = map[string]any{"name": "o", "support_url": "x"} }), "no http"},
		{"availability", document(func(d map[string]any) { d["availability"] = []any{map[string]any{"value_template": "{{ a }}"}} }), "no topic"},
		{"no components", document(func(d map[string]any) { d["components"] = map[string]any{} }), "no components"},
		{"no platform", with(func(c map[string]any) { c["platform"] = "light" }), "light is none of"},
		{"no unique_id", with(func(c map[string]any) { delete(c, "unique_id") }), "no unique_id"},
		{"key of another platform", with(func(c map[string]any) { c["payload_press"] = "x" }), "unknown key payload_press"},
		{"sensor as config", with(func(c map[string]any) { c["entity_category"] = "config" }), "config is none of"},
		{"unit", with(func(c map[string]any) { c["unit_of_measurement"] = "s" }), "does not go with"},
		{"options without enum", with(func(c map[string]any) { c["options"] = []string{"a"} }), "options are for"},
		{"wildcard", with(func(c map[string]any) { c["state_topic"] = "a/#" }), "no topic"},
		{"template", with(func(c map[string]any) { c["value_template"] = "{{ a }" }), "no template"},
		{"quality of service", with(func(c map[string]any) { c["qos"] = 3 }), "whole number"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := schema.Document(test.payload)
			switch {
			case test.want == "" && len(got) > 0:
				t.Errorf("complaints %q, none expected", got)
			case test.want != "" && !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, test.want) }):
				t.Errorf("complaints %q, none of them about %q", got, test.want)
			}
		})
	}
}

func TestUpdateSchemaFindsMistakes(t *testing.T) {
	const topic = "base/device/0x000b57fffec6a5b2/update"
	tests := []struct{ name, topic, payload, want string }{
		{"good", topic, `{"installed_version":"0x22010631","latest_version":"0x23095631","title":"t","release_summary":"","release_url":"https://a.example","in_progress":true,"update_percentage":17.6}`, ""},
		{"nothing known", topic, `{"release_summary":"","in_progress":false,"update_percentage":null}`, ""},
		{"cleared", topic, ``, ""},
		{"another topic", "base/device/0x000b57fffec6a5b2", `{"a":1}`, ""},
		{"unknown key", topic, `{"release_summary":"","in_progress":false,"update_percentage":null,"progress":1}`, "unknown key progress"},
		{"null", topic, `{"installed_version":null,"release_summary":"","in_progress":false,"update_percentage":null}`, "no version"},
		{"number as version", topic, `{"installed_version":1,"release_summary":"","in_progress":false,"update_percentage":null}`, "no version"},
		{"no summary", topic, `{"in_progress":false,"update_percentage":null}`, "no release_summary"},
		{"long summary", topic, `{"release_summary":"` + strings.Repeat("x", 256) + `","in_progress":false,"update_percentage":null}`, "255"},
		{"address", topic, `{"release_summary":"","release_url":"file:///a","in_progress":false,"update_percentage":null}`, "release_url"},
		{"text as percentage", topic, `{"release_summary":"","in_progress":true,"update_percentage":"5"}`, "neither null"},
		{"over 100", topic, `{"release_summary":"","in_progress":true,"update_percentage":101}`, "neither null"},
		{"percentage of nothing", topic, `{"release_summary":"","in_progress":false,"update_percentage":1}`, "nothing is in progress"},
		{"no object", topic, `[]`, "not an object"},
		{"no JSON", topic, `online`, "invalid"},
		{"document", "ha/device/zigate_ota_000b57fffec6a5b2/config", `{}`, "no device"},
		{"document of another program", "ha/device/lamp/config", `{}`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := schema.Message(test.topic, []byte(test.payload))
			switch {
			case test.want == "" && len(got) > 0:
				t.Errorf("complaints %q, none expected", got)
			case test.want != "" && !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, test.want) }):
				t.Errorf("complaints %q, none of them about %q", got, test.want)
			}
		})
	}
}
