package mqttclient

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestHeldBack(t *testing.T) {
	type steps func(take, retained func(text string), h *heldBack)
	large := strings.Repeat("x", maxHeldBack)
	tests := map[string]struct {
		steps        steps
		want         []string
		acknowledged []string // by nobody who carries them out
	}{
		"nothing is held back": {
			steps: func(take, _ func(string), _ *heldBack) { take("a") }, want: []string{"a"},
		},
		"held back for ever": {steps: func(take, _ func(string), h *heldBack) { h.begin(); take("a") }},
		"in order": {
			steps: func(take, _ func(string), h *heldBack) { h.begin(); take("a"); take("b"); h.end(); take("c") },
			want:  []string{"a", "b", "c"},
		},
		"retained": {
			steps: func(take, retained func(string), h *heldBack) {
				h.begin()
				take("a")
				take("b")
				retained("a")
				h.end()
			},
			want:         []string{"a (retained)", "b"},
			acknowledged: []string{"a"},
		},
		"many are held back": {
			steps: func(take, _ func(string), h *heldBack) {
				h.begin()
				for i := range 13 {
					take(strconv.Itoa(i))
				}
				h.end()
			},
			want:         []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"},
			acknowledged: []string{"0", "1", "2"},
		},
		"retained, and it comes from the session later": {
			steps:        func(take, retained func(string), h *heldBack) { h.begin(); retained("a"); take("a"); h.end() },
			want:         []string{"a (retained)"},
			acknowledged: []string{"a"},
		},
		"published again after that": {
			steps: func(take, retained func(string), h *heldBack) { h.begin(); retained("a"); h.end(); take("a") },
			want:  []string{"a (retained)", "a"},
		},
		"the connection is lost before it is known": {
			steps: func(take, retained func(string), h *heldBack) {
				h.begin()
				take("a")
				h.end()
				h.begin()
				retained("a")
				take("b")
				h.end()
			},
			want: []string{"a", "a (retained)", "b"},
		},
		"too much": {
			steps: func(take, _ func(string), h *heldBack) { h.begin(); take("a"); take(large); take("b") },
			want:  []string{"a", large, "b"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var h heldBack
			var got, acknowledged []string
			message := func(text, more string) heldMessage {
				command := Command{Topic: "t", Payload: []byte(text), Acknowledge: func(func()) { acknowledged = append(acknowledged, text) }}
				return heldMessage{command: command, deliver: func() { got = append(got, text+more) }}
			}
			tt.steps(func(text string) { h.take(message(text, "")) }, func(text string) { h.takeRetained(message(text, " (retained)")) }, &h)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%.100q, want %.100q", got, tt.want)
			}
			if !slices.Equal(acknowledged, tt.acknowledged) {
				t.Errorf("acknowledged %q, want %q", acknowledged, tt.acknowledged)
			}
		})
	}
}
