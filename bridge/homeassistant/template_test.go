package homeassistant_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
)

// render yields what Home Assistant makes of a template, for the only shapes that templates here have:
// {{ A }} and {{ A if B else C }}, where each is a path into the payload or a literal. A null or None is
// written "None", which Home Assistant shows as unknown (models.py, PAYLOAD_NONE).
func render(t *testing.T, template, payload string) string {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal([]byte(payload), &root); err != nil {
		t.Fatal(err)
	}
	shape := regexp.MustCompile(`^\{\{ (\S+)(?: if (\S+) else (\S+))? \}\}$`)
	part := shape.FindStringSubmatch(template)
	if part == nil {
		t.Fatalf("%q has a shape that this test cannot read", template)
	}
	chosen := part[1]
	if part[2] != "" {
		switch value := evaluate(t, part[2], root); value {
		case nil, false, "", 0.0:
			chosen = part[3]
		}
	}
	value := evaluate(t, chosen, root)
	if value == nil {
		return "None"
	}
	return fmt.Sprint(value)
}

// evaluate reads a path or a literal. A path must exist: Home Assistant writes an error to its log where a
// key of something that is none is asked for, and shows an empty text for one that is missing.
func evaluate(t *testing.T, expression string, root map[string]any) any {
	t.Helper()
	switch {
	case expression == "None":
		return nil
	case expression == "0":
		return 0.0
	case strings.HasPrefix(expression, "'"):
		return strings.Trim(expression, "'")
	}
	path, ok := strings.CutPrefix(expression, "value_json.")
	if !ok {
		t.Fatalf("%q is neither a path nor a literal", expression)
	}
	var value any = root
	for key := range strings.SplitSeq(path, ".") {
		m, ok := value.(map[string]any)
		if !ok {
			t.Fatalf("%q: there is no %s in %v", expression, key, value)
		}
		if value, ok = m[key]; !ok {
			t.Fatalf("%q: there is no key %s", expression, key)
		}
	}
	return value
}

// The templates against retained records as the MQTT contract has them.
func TestTemplates(t *testing.T) {
	device := decode(t, homeassistant.Device(options(), bulbRecord()).Payload)
	doc, _ := homeassistant.Dongle(options(), infoRecord())
	stick := decode(t, doc.Payload)
	upgrade := func(state, remaining string, rate int) string {
		return fmt.Sprintf(`{"euid":"0x000b57fffec6a5b2","upgrade":{"state":%q,"imageVersion":587814449,"oldImageVersion":570492465,
			"offset":36224,"size":205488,"progress":17.6,"bytesPerSecond":%d,"remainingSeconds":%s,"attempt":1,"reason":null}}`, state, rate, remaining)
	}
	const (
		never   = `{"euid":"0x000b57fffec6a5b2","upgrade":null}`
		online  = `{"dongle":{"connected":true,"firmware":"3.23"},"upgrades":{"queued":2,"active":1}}`
		offline = `{"dongle":{"connected":false,"firmware":null},"upgrades":{"queued":0,"active":0}}`
	)
	tests := []struct {
		doc       map[string]any
		component string
		payload   string
		want      string
	}{
		{device, "state", never, "idle"},
		{device, "state", upgrade("downloading", "411", 412), "downloading"},
		{device, "progress", never, "None"},
		{device, "progress", upgrade("downloading", "411", 412), "17.6"},
		{device, "speed", never, "0"},
		{device, "speed", upgrade("downloading", "411", 412), "412"},
		{device, "remaining", never, "None"},
		{device, "remaining", upgrade("downloading", "411", 412), "411"},
		{device, "remaining", upgrade("queued", "null", 0), "None"},
		{stick, "connection", online, "ON"},
		{stick, "connection", offline, "OFF"},
		{stick, "firmware", online, "3.23"},
		{stick, "firmware", offline, "None"},
		{stick, "queued", online, "2"},
		{stick, "queued", offline, "0"},
		{stick, "active", online, "1"},
	}
	tested := map[string]bool{}
	for _, test := range tests {
		template, _ := at(test.doc, "components", test.component, "value_template").(string)
		tested[template] = true
		if got := render(t, template, test.payload); got != test.want {
			t.Errorf("%s: %s yields %q, want %q, for %s", test.component, template, got, test.want, test.payload)
		}
	}
	for _, doc := range []map[string]any{device, stick} {
		for name, c := range at(doc, "components").(map[string]any) {
			if template, ok := at(c, "value_template").(string); ok && !tested[template] {
				t.Errorf("the template of %s is not tested", name)
			}
			list, _ := at(c, "availability").([]any)
			for _, a := range list {
				template, ok := at(a, "value_template").(string)
				if !ok {
					continue
				}
				if got := [2]string{render(t, template, online), render(t, template, offline)}; got != [2]string{"online", "offline"} {
					t.Errorf("%s: availability is %q with the dongle and without", name, got)
				}
			}
		}
	}
}

// Home Assistant ignores the state of an enum sensor that is not among its options.
func TestStateOptions(t *testing.T) {
	device := decode(t, homeassistant.Device(options(), bulbRecord()).Payload)
	template := at(device, "components", "state", "value_template").(string)
	allowed := at(device, "components", "state", "options").([]any)
	payloads := []string{`{"upgrade":null}`}
	for _, s := range allStates() {
		payloads = append(payloads, fmt.Sprintf(`{"upgrade":{"state":%q}}`, s))
	}
	for _, payload := range payloads {
		if got := render(t, template, payload); !slices.Contains(allowed, any(got)) {
			t.Errorf("%s yields %q, which is not among the options %v", payload, got, allowed)
		}
	}
	if len(allowed) != len(payloads) {
		t.Errorf("%d options, %d states", len(allowed), len(payloads))
	}
}
