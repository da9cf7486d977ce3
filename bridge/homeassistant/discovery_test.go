package homeassistant_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant/schema"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestTopics(t *testing.T) {
	tests := []struct{ name, got, want string }{
		{"object ID", homeassistant.ObjectID(bulb), "zigate_ota_000b57fffec6a5b2"},
		{"document", homeassistant.Topic("homeassistant", bulb), "homeassistant/device/zigate_ota_000b57fffec6a5b2/config"},
		{"other prefix", homeassistant.Topic("ha/discovery", bulb), "ha/discovery/device/zigate_ota_000b57fffec6a5b2/config"},
		{"birth", homeassistant.BirthTopic("homeassistant"), "homeassistant/status"},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, test.got, test.want)
		}
	}
}

// Documents as they are, for a look at the whole.
func TestDocuments(t *testing.T) {
	unknown := otasvc.DeviceRecord{EUID: bulb, Name: bulb.String()}
	other := homeassistant.Options{Prefix: "ha", Base: "home/first floor/ota"}
	document := func(d homeassistant.Document, ok bool) homeassistant.Document {
		if !ok {
			t.Error("there is no document of the dongle")
		}
		return d
	}
	tests := []struct {
		name   string
		prefix string
		euid   message.IEEE
		doc    homeassistant.Document
	}{
		{"device", "homeassistant", bulb, homeassistant.Device(options(), bulbRecord())},
		{"device_unknown", "ha", bulb, homeassistant.Device(other, unknown)},
		{"dongle", "homeassistant", dongle, document(homeassistant.Dongle(options(), infoRecord()))},
		{"dongle_unknown", "ha", dongle, document(homeassistant.Dongle(other, otasvc.InfoRecord{Dongle: otasvc.DongleInfo{EUID: dongle}}))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if want := homeassistant.Topic(test.prefix, test.euid); test.doc.Topic != want {
				t.Errorf("topic %q, want %q", test.doc.Topic, want)
			}
			for _, problem := range slices.Concat(topicProblems(test.prefix, test.doc.Topic), schema.Document(test.doc.Payload)) {
				t.Error(problem)
			}
			golden(t, test.name, test.doc.Payload)
		})
	}
}

func TestDongleWithoutEUID(t *testing.T) {
	if doc, ok := homeassistant.Dongle(options(), otasvc.InfoRecord{}); ok {
		t.Errorf("a document of a dongle whose EUID is not known: %s", doc.Payload)
	}
}

func TestGone(t *testing.T) {
	want := homeassistant.Document{Topic: "homeassistant/device/zigate_ota_000b57fffec6a5b2/config"}
	if diff := cmp.Diff(want, homeassistant.Gone(options(), bulb)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What the MQTT contract says of each component.
func TestComponents(t *testing.T) {
	device := decode(t, homeassistant.Device(options(), bulbRecord()).Payload)
	doc, _ := homeassistant.Dongle(options(), infoRecord())
	stick := decode(t, doc.Payload)
	const (
		record  = "zigate-ota/device/0x000b57fffec6a5b2"
		request = `{"deviceId":"0x000b57fffec6a5b2"}`
		info    = "zigate-ota/info"
	)
	tests := []struct {
		doc       map[string]any
		component string
		want      map[string]any
	}{
		{device, "update", map[string]any{
			"platform": "update", "device_class": "firmware", "state_topic": record + "/update",
			"command_topic": "zigate-ota/request/upgrade", "payload_install": request, "json_attributes_topic": record,
			// As Home Assistant's template engine was seen to read it: the record without what changes by itself.
			"json_attributes_template": "{{ dict(value_json.items() | rejectattr(0, 'in', ['lqi', 'lastSeen']), " +
				"upgrade=dict(value_json.upgrade.items() | rejectattr(0, 'eq', 'queue')) if value_json.upgrade else none) | tojson }}",
		}},
		{device, "cancel", map[string]any{"platform": "button", "command_topic": "zigate-ota/request/cancel", "payload_press": request}},
		{device, "pause", map[string]any{"platform": "button", "command_topic": "zigate-ota/request/pause", "payload_press": request}},
		{device, "resume", map[string]any{"platform": "button", "command_topic": "zigate-ota/request/resume", "payload_press": request}},
		{device, "state", map[string]any{"platform": "sensor", "device_class": "enum", "state_topic": record}},
		{device, "progress", map[string]any{"platform": "sensor", "state_topic": record, "unit_of_measurement": "%"}},
		{device, "speed", map[string]any{"platform": "sensor", "device_class": "data_rate", "state_topic": record, "unit_of_measurement": "B/s"}},
		{device, "remaining", map[string]any{"platform": "sensor", "device_class": "duration", "state_topic": record, "unit_of_measurement": "s"}},
		{stick, "connection", map[string]any{"platform": "binary_sensor", "device_class": "connectivity", "state_topic": info}},
		{stick, "firmware", map[string]any{"platform": "sensor", "state_topic": info}},
		{stick, "queued", map[string]any{"platform": "sensor", "state_topic": info}},
		{stick, "active", map[string]any{"platform": "sensor", "state_topic": info}},
		{stick, "check", map[string]any{"platform": "button", "command_topic": "zigate-ota/request/check", "payload_press": "{}"}},
	}
	counted := map[string]int{}
	for _, test := range tests {
		t.Run(test.component, func(t *testing.T) {
			c, _ := at(test.doc, "components", test.component).(map[string]any)
			id, _ := at(test.doc, "device", "identifiers").([]any)
			counted[id[0].(string)]++
			test.want["unique_id"] = id[0].(string) + "_" + test.component
			test.want["qos"] = 1.0
			got := map[string]any{}
			for key := range test.want {
				got[key] = c[key]
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, doc := range []map[string]any{device, stick} {
		id := at(doc, "device", "identifiers").([]any)[0].(string)
		if got := len(at(doc, "components").(map[string]any)); got != counted[id] {
			t.Errorf("%s has %d components, %d of them are known here", id, got, counted[id])
		}
	}
	if got := at(device, "device", "via_device"); got != at(stick, "device", "identifiers").([]any)[0] {
		t.Errorf("the device is reached through %v, which is not the dongle", got)
	}
}

// Everything needs the service, and what acts on devices needs the dongle too.
func TestAvailability(t *testing.T) {
	service := []any{map[string]any{"topic": "zigate-ota/status"}}
	both := []any{service[0], map[string]any{
		"topic": "zigate-ota/info", "value_template": "{{ 'online' if value_json.dongle.connected else 'offline' }}",
	}}
	doc, _ := homeassistant.Dongle(options(), infoRecord())
	for _, payload := range [][]byte{homeassistant.Device(options(), bulbRecord()).Payload, doc.Payload} {
		d := decode(t, payload)
		for name, c := range at(d, "components").(map[string]any) {
			want := service
			if platform := at(c, "platform"); platform == "update" || platform == "button" {
				want = both
			}
			got, mode := at(c, "availability"), at(c, "availability_mode")
			if got == nil { // what the document says holds for the component
				got, mode = at(d, "availability"), at(d, "availability_mode")
			}
			if diff := cmp.Diff(any(want), got); diff != "" || mode != "all" {
				t.Errorf("%s: mode %v (-want +got):\n%s", name, mode, diff)
			}
		}
	}
}

// A document says what it said until something changes that Home Assistant shows of a device.
func TestDocumentChanges(t *testing.T) {
	tests := []struct {
		name   string
		change func(o *homeassistant.Options, d *otasvc.DeviceRecord)
		want   bool
	}{
		{"nothing", func(*homeassistant.Options, *otasvc.DeviceRecord) {}, false},
		{"upgrade", func(_ *homeassistant.Options, d *otasvc.DeviceRecord) { *d = bulbUpgrade(upgrade.Downloading) }, false},
		{"offer", func(_ *homeassistant.Options, d *otasvc.DeviceRecord) { d.Offer, d.UpdateAvailable = nil, false }, false},
		{"radio", func(_ *homeassistant.Options, d *otasvc.DeviceRecord) { d.Heard.LQI, d.NetworkAddress = nil, nil }, false},
		{"name", func(_ *homeassistant.Options, d *otasvc.DeviceRecord) { d.Name = "Hall bulb" }, true},
		{"version", func(_ *homeassistant.Options, d *otasvc.DeviceRecord) { d.CurrentVersion = ptr(uint32(0x23095631)) }, true},
		{"model", func(_ *homeassistant.Options, d *otasvc.DeviceRecord) { d.ModelID = "E14" }, true},
		{"dongle", func(o *homeassistant.Options, _ *otasvc.DeviceRecord) { o.DongleID = "" }, true},
		{"program", func(o *homeassistant.Options, _ *otasvc.DeviceRecord) { o.Version = "1.3.0" }, true},
	}
	before := homeassistant.Device(options(), bulbRecord())
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o, d := options(), bulbRecord()
			test.change(&o, &d)
			after := homeassistant.Device(o, d)
			if got := string(before.Payload) != string(after.Payload); got != test.want {
				t.Errorf("changed: %t, want %t", got, test.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("ü", 300)
	tests := []struct{ name, in, want string }{
		{"plain", "Kitchen bulb", "Kitchen bulb"},
		{"quotes", `The "big" 'one' \ {{ 1 }}`, `The "big" 'one' \ {{ 1 }}`},
		{"markup", "<script>alert(1)</script>&amp;", "<script>alert(1)</script>&amp;"},
		{"emoji", "Küche 👩‍🍳💡", "Küche 👩‍🍳💡"},
		{"long", long, long[:2*63] + "…"},
		{"as long as may be", long[:2*64], long[:2*64]},
		{"control characters", "\x00 a\tb\nc\x7f ", "a b c"},
		{"no UTF-8", "a\xffb", "a b"},
		{"empty", "", "0x000b57fffec6a5b2"},
		{"blank", " \x00\t", "0x000b57fffec6a5b2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := bulbRecord()
			d.Name, d.ManufacturerName, d.ModelID = test.in, test.in, test.in
			payload := homeassistant.Device(options(), d).Payload
			for _, problem := range schema.Document(payload) {
				t.Error(problem)
			}
			doc := decode(t, payload)
			if got := at(doc, "device", "name"); got != test.want {
				t.Errorf("name %q, want %q", got, test.want)
			}
			// A name stands nowhere else: not in a topic, a template or an identifier.
			plain := bulbRecord()
			if diff := cmp.Diff(decode(t, homeassistant.Device(options(), plain).Payload)["components"], doc["components"]); diff != "" {
				t.Errorf("the name changes components:\n%s", diff)
			}
		})
	}
}

func TestProjectURL(t *testing.T) {
	for in, want := range map[string]any{
		"https://example.com/x": "https://example.com/x", "example.com": nil, "ftp://example.com": nil, "": nil,
	} {
		o := options()
		o.ProjectURL = in
		payload := homeassistant.Device(o, bulbRecord()).Payload
		if got := at(decode(t, payload), "origin", "support_url"); got != want {
			t.Errorf("%q: support_url %v, want %v", in, got, want)
		}
	}
}

// Whatever devices and people call things, the document is one that Home Assistant takes.
func FuzzDevice(f *testing.F) {
	f.Add("Kitchen bulb", "IKEA of Sweden", "TRADFRI bulb E27", uint64(bulb), uint32(0x22010631))
	f.Add("", "\x00", "\xff\xfe", uint64(0), uint32(0))
	f.Add(`"}{<script>`, "👩‍🍳", strings.Repeat("a", 300), ^uint64(0), ^uint32(0))
	f.Fuzz(func(t *testing.T, name, manufacturer, model string, euid uint64, version uint32) {
		d := otasvc.DeviceRecord{EUID: message.IEEE(euid), Name: name, ManufacturerName: manufacturer, ModelID: model, CurrentVersion: &version}
		doc := homeassistant.Device(options(), d)
		for _, problem := range slices.Concat(topicProblems("homeassistant", doc.Topic), schema.Document(doc.Payload)) {
			t.Error(problem)
		}
		shown, _ := at(decode(t, doc.Payload), "device", "name").(string)
		if n := utf8.RuneCountInString(shown); n > 64 {
			t.Errorf("a name of %d characters", n)
		}
		update, err := json.Marshal(homeassistant.Update(d))
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range schema.Update(update) {
			t.Error(problem)
		}
	})
}

// topicProblems says what Home Assistant dislikes in the topic of a document.
func topicProblems(prefix, topic string) []string {
	if below, ok := strings.CutPrefix(topic, prefix); !ok || !schema.DocumentTopic.MatchString(below) {
		return []string{topic + " is no topic of device discovery"}
	}
	return nil
}
