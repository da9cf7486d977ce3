package mqttclient

import (
	"slices"
	"strings"
	"testing"
)

func TestHeldBack(t *testing.T) {
	type steps func(take, retained func(text string), h *heldBack)
	large := strings.Repeat("x", maxHeldBack)
	tests := map[string]struct {
		steps steps
		want  []string
	}{
		"nothing is held back": {func(take, _ func(string), _ *heldBack) { take("a") }, []string{"a"}},
		"held back for ever":   {func(take, _ func(string), h *heldBack) { h.begin(); take("a") }, nil},
		"in order": {
			func(take, _ func(string), h *heldBack) { h.begin(); take("a"); take("b"); h.end(); take("c") },
			[]string{"a", "b", "c"},
		},
		"retained": {
			func(take, retained func(string), h *heldBack) {
				h.begin()
				take("a")
				take("b")
				retained("a")
				h.end()
			},
			[]string{"a (retained)", "b"},
		},
		"retained, and it comes from the session later": {
			func(take, retained func(string), h *heldBack) { h.begin(); retained("a"); take("a"); h.end() },
			[]string{"a (retained)"},
		},
		"published again after that": {
			func(take, retained func(string), h *heldBack) { h.begin(); retained("a"); h.end(); take("a") },
			[]string{"a (retained)", "a"},
		},
		"the connection is lost before it is known": {
			func(take, retained func(string), h *heldBack) {
				h.begin()
				take("a")
				h.end()
				h.begin()
				retained("a")
				take("b")
				h.end()
			},
			[]string{"a", "a (retained)", "b"},
		},
		"too much": {
			func(take, _ func(string), h *heldBack) { h.begin(); take("a"); take(large); take("b") },
			[]string{"a", large, "b"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var h heldBack
			var got []string
			message := func(text, more string) heldMessage {
				return heldMessage{topic: "t", payload: []byte(text), deliver: func() { got = append(got, text+more) }}
			}
			tt.steps(func(text string) { h.take(message(text, "")) }, func(text string) { h.takeRetained(message(text, " (retained)")) }, &h)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%.100q, want %.100q", got, tt.want)
			}
		})
	}
}
