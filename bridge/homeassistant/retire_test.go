package homeassistant_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant/schema"
)

func TestRetire(t *testing.T) {
	next := homeassistant.Device(options(), bulbRecord())
	// with is next as an earlier version of the program might have published it.
	with := func(components map[string]any) []byte {
		doc := decode(t, next.Payload)
		for name, c := range components {
			doc["components"].(map[string]any)[name] = c
		}
		return encode(t, doc)
	}
	entity := func(platform string) map[string]any {
		return map[string]any{"platform": platform, "unique_id": "u", "name": "n"}
	}
	tests := []struct {
		name     string
		previous []byte
		// components that the answer has besides those of next; nil: nothing to retire.
		gone map[string]any
	}{
		{"same", next.Payload, nil},
		{"one gone", with(map[string]any{"lqi": entity("sensor")}), map[string]any{"lqi": map[string]any{"platform": "sensor"}}},
		{"two gone", with(map[string]any{"lqi": entity("sensor"), "force": entity("button")}), map[string]any{
			"lqi": map[string]any{"platform": "sensor"}, "force": map[string]any{"platform": "button"},
		}},
		{"removed before", with(map[string]any{"lqi": map[string]any{"platform": "sensor"}}), nil},
		{"changed only", with(map[string]any{"speed": entity("sensor")}), nil},
		{"platform is no text", with(map[string]any{"lqi": map[string]any{"platform": 1, "name": "n"}}), nil},
		{"no platform", with(map[string]any{"lqi": map[string]any{"name": "n", "icon": "i"}}), nil},
		{"empty", nil, nil},
		{"no JSON", []byte("{"), nil},
		{"no object", []byte("[]"), nil},
		{"null", []byte("null"), nil},
		{"component is no object", []byte(`{"components":{"a":1}}`), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := homeassistant.Retire(test.previous, next)
			outline := homeassistant.Outline(test.previous)
			if short, okShort := homeassistant.Retire(outline, next); okShort != ok || !bytes.Equal(short.Payload, got.Payload) {
				t.Errorf("by its outline %s: %v, %s", outline, okShort, short.Payload)
			}
			if len(test.previous) > 1000 && len(outline) > len(test.previous)/4 {
				t.Errorf("the outline has %d bytes of %d", len(outline), len(test.previous))
			}
			if ok != (test.gone != nil) {
				t.Errorf("retired: %t", ok)
			}
			if !ok {
				if diff := cmp.Diff(next, got); diff != "" {
					t.Errorf("not as it was (-want +got):\n%s", diff)
				}
				return
			}
			want := homeassistant.Document{Topic: next.Topic, Payload: got.Payload}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(decode(t, with(test.gone)), decode(t, got.Payload)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, problem := range schema.Document(got.Payload) {
				t.Error(problem)
			}
			if _, again := homeassistant.Retire(got.Payload, next); again {
				t.Error("what is removed once is removed again")
			}
		})
	}
}

// A device that goes away takes all its components along.
func TestRetireWithGone(t *testing.T) {
	gone := homeassistant.Gone(options(), bulb)
	got, ok := homeassistant.Retire(homeassistant.Device(options(), bulbRecord()).Payload, gone)
	if diff := cmp.Diff(gone, got); ok || diff != "" {
		t.Errorf("retired: %t (-want +got):\n%s", ok, diff)
	}
}

// Whatever is retained at the broker, what follows it is a document.
func FuzzRetire(f *testing.F) {
	next := homeassistant.Device(options(), bulbRecord())
	f.Add([]byte(`{"components":{"lqi":{"platform":"sensor","unique_id":"u"}}}`))
	f.Add([]byte(`{"components":{"update":{"platform":"sensor"},"":{"platform":"","x":null}}}`))
	f.Add([]byte(`{"components":null}`))
	f.Add(next.Payload)
	f.Fuzz(func(t *testing.T, previous []byte) {
		got, ok := homeassistant.Retire(previous, next)
		if got.Topic != next.Topic {
			t.Errorf("topic %q", got.Topic)
		}
		before := decode(t, next.Payload)
		after := decode(t, got.Payload)
		for name, c := range at(before, "components").(map[string]any) {
			if diff := cmp.Diff(c, at(after, "components", name)); diff != "" {
				t.Errorf("%s has changed (-want +got):\n%s", name, diff)
			}
		}
		if more := len(at(after, "components").(map[string]any)) > len(at(before, "components").(map[string]any)); more != ok {
			t.Errorf("retired: %t, more components: %t", ok, more)
		}
	})
}
