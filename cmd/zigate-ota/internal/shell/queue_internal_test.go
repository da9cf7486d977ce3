package shell

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

func TestTurn(t *testing.T) {
	now := time.Date(2026, 11, 21, 14, 0, 0, 0, time.FixedZone("", 3600))
	in := func(d time.Duration) *time.Time {
		at := now.Add(d).UTC()
		return &at
	}
	position := 3
	slot := contract.WaitsForSlot
	person := contract.WaitsForPerson
	newer := contract.Wait("weather")
	tests := map[string]struct {
		place *contract.Place
		want  string
	}{
		"no place": {nil, ""},
		"one that downloads": {
			&contract.Place{ExpectedEnd: in(20 * time.Minute)}, "complete about 14:20",
		},
		"one that waits": {
			&contract.Place{
				Position: &position, WaitsFor: &slot, ExpectedStart: in(20 * time.Minute), ExpectedEnd: in(90 * time.Minute),
			},
			"place 3, another image has the slot, begins about 14:20, complete about 15:30",
		},
		"one that begins": {
			&contract.Place{Position: &position, ExpectedStart: in(-time.Minute), ExpectedEnd: in(24 * time.Hour)},
			"place 3, begins at any moment, complete about Sun 22 Nov 14:00",
		},
		"one that is held":          {&contract.Place{WaitsFor: &person}, "paused by a person"},
		"a word of a newer service": {&contract.Place{WaitsFor: &newer}, "waits for weather"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := turn(&contract.Upgrade{Queue: tt.place}, now); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestEveryWaitHasWords: nothing that an upgrade waits for is shown as its bare word.
func TestEveryWaitHasWords(t *testing.T) {
	for _, wait := range contract.Waits() {
		if waits[wait] == "" {
			t.Errorf("there are no words for an upgrade that waits for %s", wait)
		}
	}
	if len(waits) != len(contract.Waits()) {
		t.Errorf("there are words for %d things to wait for, of %d", len(waits), len(contract.Waits()))
	}
}
