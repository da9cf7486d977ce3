package upgrade_test

import (
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// What a device took last counts for itself, what its kind took for the others of its kind.
func TestUsualRates(t *testing.T) {
	bulbs := &upgrade.Kind{ManufacturerCode: 0x117C, ImageType: 1}
	plugs := &upgrade.Kind{ManufacturerCode: 0x117C, ImageType: 2}
	r := upgrade.NewUsualRates()
	r.NoteAll(1, bulbs, []upgrade.Past{
		{Bytes: 10_000, BytesPerSecond: 100, Pace: 400}, // the newest; it was told to wait in between
		{Bytes: 10_000, BytesPerSecond: 800},
	})
	r.Note(2, nil, upgrade.Past{Bytes: 10_000, BytesPerSecond: 50})
	r.Note(3, plugs, upgrade.Past{Bytes: 100, BytesPerSecond: 9000}) // too few bytes say nothing
	for name, tt := range map[string]struct {
		got, want int
	}{
		"its own, the newest":           {r.Of(1, bulbs), 400},
		"another one of its kind":       {r.Of(9, bulbs), (3*800 + 400) / 4},
		"its own, of no kind":           {r.Of(2, nil), 50},
		"a kind of which none is known": {r.Of(3, plugs), 0},
		"nothing is known":              {r.Of(9, nil), 0},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d bytes a second, want %d", name, tt.got, tt.want)
		}
	}
	r.Forget(1)
	if got := r.Of(1, nil); got != 0 {
		t.Errorf("a device that was forgotten: %d bytes a second", got)
	}
}
