package slot_test

import (
	"slices"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	bulbs = slot.Key{SHA256: "bulbs", Version: 2}
	plugs = slot.Key{SHA256: "plugs", Version: 7}
)

// Each move of the state, told by what others can see of it afterwards.
func TestState(t *testing.T) {
	var empty slot.State
	loading := empty.Loading(bulbs)
	loaded := loading.Loaded()
	cleared := empty.Clearing().Cleared()
	tests := map[string]struct {
		state      slot.State
		holds      slot.Key // zero: no image
		key        slot.Key
		busy       bool
		cleared    bool
		empty      bool
		generation int
		refusals   int
	}{
		"just started":           {state: empty, empty: true},
		"a header is on its way": {state: loading, key: bulbs, busy: true},
		"a header was taken":     {state: loaded, key: bulbs, holds: bulbs},
		"a header was refused":   {state: loading.Refused(start), key: bulbs, refusals: 1},
		"refused twice": {
			state: loading.Refused(start).Loading(bulbs).Refused(start), key: bulbs, refusals: 2,
		},
		"taken in the end": {
			state: loading.Refused(start).Loading(bulbs).Loaded(), key: bulbs, holds: bulbs,
		},
		"another header is on its way": {state: loaded.Loading(plugs), key: plugs, busy: true},
		"clearing":                     {state: loaded.Clearing(), busy: true, empty: true},
		"cleared":                      {state: cleared, cleared: true},
		"clearing was refused":         {state: loaded.Clearing().Refused(start), empty: true, refusals: 1},
		"no such command":              {state: loading.Unsupported(), key: bulbs},
		"lost":                         {state: loaded.Lost(), key: bulbs, generation: 1},
		"lost while loading":           {state: loading.Lost(), key: bulbs, generation: 1},
		"restarted":                    {state: loaded.Restarted(), key: bulbs, generation: 1},
		"restarted when cleared":       {state: cleared.Restarted(), generation: 1, empty: true},
		"restarted with an empty slot": {state: empty.Restarted(), empty: true},
		"reset":                        {state: loaded.Reset(start), generation: 1, empty: true},
		"distrusted":                   {state: loaded.Distrusted(), key: bulbs},
		"cleared, and distrusted":      {state: cleared.Distrusted(), cleared: true},
		"a person loads": {
			state: loaded.LoadingByHand(), key: bulbs, holds: bulbs, busy: true,
		},
		"a person's header was taken": {
			state: loaded.LoadingByHand().LoadedByHand(plugs), key: plugs, holds: plugs,
		},
		"a person's header was refused": {
			state: loaded.LoadingByHand().RefusedByHand(true), key: bulbs, holds: bulbs,
		},
		"a person got no answer": {state: loaded.LoadingByHand().RefusedByHand(false), key: bulbs},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.state.Key(); got != tt.key {
				t.Errorf("its key is %v, want %v", got, tt.key)
			}
			holds := slot.Key{}
			if tt.state.HoldsImage() {
				holds = tt.state.Key()
			}
			if holds != tt.holds {
				t.Errorf("it holds %v, want %v", holds, tt.holds)
			}
			got := []any{
				tt.state.IsBusy(), tt.state.IsCleared(), tt.state.IsEmpty(),
				tt.state.Generation(), tt.state.Refusals(),
			}
			want := []any{tt.busy, tt.cleared, tt.empty, tt.generation, tt.refusals}
			if !slices.Equal(got, want) {
				t.Errorf("busy, cleared, empty, generation, refusals: %v, want %v", got, want)
			}
		})
	}
}

// A page request is forgotten with a restart of the dongle only, and a reconnection is none.
func TestPagesAsked(t *testing.T) {
	state := slot.State{}.Loading(bulbs).Loaded().PageAsked()
	for name, tt := range map[string]struct {
		state slot.State
		want  bool
	}{
		"asked":               {state, true},
		"connected anew":      {state.Lost(), true},
		"restarted":           {state.Restarted(), false},
		"reset":               {state.Reset(start), false},
		"another header":      {state.Loading(plugs).Loaded(), true},
		"restarted, no image": {slot.State{}.PageAsked().Restarted(), false},
	} {
		if got := tt.state.PagesAsked(); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// Of two times until which a header is kept, the later one counts; a lost header is not kept.
func TestKept(t *testing.T) {
	long := slot.State{}.Loading(bulbs).Loaded().Kept(start.Add(time.Minute)).Kept(start.Add(time.Second))
	for name, tt := range map[string]struct {
		state slot.State
		after time.Duration
		want  slot.Decision
	}{
		"kept":       {long, time.Minute, nil},
		"over":       {long, time.Minute + time.Nanosecond, slot.Clear{}},
		"it is lost": {long.Lost(), 0, slot.Clear{}},
	} {
		v := slot.View{Slot: tt.state, Usable: true, Policy: policy}
		if got := slot.Plan(v, start.Add(tt.after)); got != tt.want {
			t.Errorf("%s: %#v, want %#v", name, got, tt.want)
		}
	}
}
