package queue_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/queue"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func in(d time.Duration) time.Time { return start.Add(d) }

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
)

// waits is the place of one that waits for the slot.
func waits(position int, begin, end time.Duration) slot.Place {
	return slot.Place{Device: 1, Position: position, WaitsFor: slot.WaitsForSlot, Start: in(begin), End: in(end)}
}

// sleeps is the place of one of which nobody can tell when it begins.
func sleeps(position int) slot.Place {
	return slot.Place{Device: 1, Position: position, WaitsFor: slot.WaitsForDevice}
}

// downloads is the place of one that has begun.
func downloads(end time.Duration) slot.Place { return slot.Place{Device: 1, End: in(end)} }

func TestToldFollows(t *testing.T) {
	tests := map[string]struct {
		told     slot.Place // at the start
		after    time.Duration
		forecast slot.Place
		want     slot.Place
		due      time.Time // when a place that is not told yet may be
	}{
		"nothing has moved": {
			told: waits(3, 10*minute, 20*minute), after: hour, forecast: waits(3, 10*minute, 20*minute),
			want: waits(3, 10*minute, 20*minute),
		},
		"its position": {
			told: waits(3, 10*minute, 20*minute), after: second, forecast: waits(2, 10*minute, 20*minute),
			want: waits(2, 10*minute, 20*minute),
		},
		"its position, within a second": {
			told: waits(3, 10*minute, 20*minute), after: second - 1, forecast: waits(2, 10*minute, 20*minute),
			want: waits(3, 10*minute, 20*minute), due: in(second),
		},
		"its position and its times, within a minute": {
			told: waits(3, 10*minute, 20*minute), after: minute - 1, forecast: waits(2, 30*minute, 40*minute),
			want: waits(2, 10*minute, 20*minute),
		},
		"its times, after a minute": {
			told: waits(3, 10*minute, 20*minute), after: minute, forecast: waits(3, 30*minute, 40*minute),
			want: waits(3, 30*minute, 40*minute),
		},
		"its beginning alone": {
			told: waits(3, 10*minute, 20*minute), after: minute, forecast: waits(3, 5*minute, 20*minute),
			want: waits(3, 5*minute, 20*minute),
		},
		"its end alone": {
			told: waits(3, 10*minute, 20*minute), after: minute, forecast: waits(3, 10*minute, 23*minute),
			want: waits(3, 10*minute, 23*minute),
		},
		"not by more than two minutes": {
			told: waits(3, 10*minute, 20*minute), after: minute, forecast: waits(3, 12*minute, 18*minute),
			want: waits(3, 10*minute, 20*minute),
		},
		"not by more than a tenth of what is left": {
			told: waits(3, 100*minute, 200*minute), after: minute, forecast: waits(3, 110*minute, 219*minute),
			want: waits(3, 100*minute, 200*minute),
		},
		"by more than that": {
			told: waits(3, 100*minute, 200*minute), after: minute, forecast: waits(3, 112*minute, 201*minute),
			want: waits(3, 112*minute, 201*minute),
		},
		"it is late": {
			told: waits(1, 0, 20*minute), after: 3 * minute, forecast: waits(1, 3*minute, 20*minute),
			want: waits(1, 3*minute, 20*minute),
		},
		"it falls asleep": {
			told: waits(3, 10*minute, 20*minute), after: second, forecast: sleeps(3), want: sleeps(3),
		},
		"it wakes": {
			told: sleeps(3), after: second, forecast: waits(3, 10*minute, 20*minute),
			want: waits(3, 10*minute, 20*minute),
		},
		"it wakes, within a second": {
			told: sleeps(3), after: 0, forecast: waits(3, 10*minute, 20*minute), want: sleeps(3), due: in(second),
		},
		"it begins": {
			told: waits(1, 0, 10*minute), after: 0, forecast: downloads(10 * minute), want: downloads(10 * minute),
		},
		"it goes back to the queue": {
			told: downloads(10 * minute), after: 0, forecast: waits(4, 20*minute, 30*minute),
			want: waits(4, 20*minute, 30*minute),
		},
		"a download gets slower": {
			told: downloads(10 * minute), after: minute, forecast: downloads(13 * minute), want: downloads(13 * minute),
		},
		"a download is held": {
			told: downloads(10 * minute), after: second,
			forecast: slot.Place{Device: 1, WaitsFor: slot.WaitsForPerson},
			want:     slot.Place{Device: 1, WaitsFor: slot.WaitsForPerson},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			told, changed := queue.Told{}.Follow(tt.told, start)
			if diff := cmp.Diff(&tt.told, told.Place()); diff != "" || !changed {
				t.Fatalf("what is told first (-want +got):\n%s", diff)
			}
			next, changed := told.Follow(tt.forecast, in(tt.after))
			if diff := cmp.Diff(&tt.want, next.Place()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if changed != (tt.want != tt.told) {
				t.Errorf("it says that something has changed: %v", changed)
			}
			if got := next.Due(tt.forecast); !got.Equal(tt.due) {
				t.Errorf("its place is due at %v, want %v", got, tt.due)
			}
		})
	}
	if got := (queue.Told{}).Place(); got != nil {
		t.Errorf("before anything was told it has the place %v", got)
	}
}

// People are told minutes: nobody can tell seconds.
func TestMinutes(t *testing.T) {
	told, _ := queue.Told{}.Follow(waits(1, 90*second, 149*second), start)
	want := waits(1, 2*minute, 2*minute)
	if diff := cmp.Diff(&want, told.Place()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (queue.Total{}).Follow(in(29*second), 1, start).End(); !got.Equal(start) {
		t.Errorf("the queue ends at %v", got)
	}
}

func TestTotalFollows(t *testing.T) {
	unknown := time.Time{}
	tests := map[string]struct {
		told     time.Time // at the start
		after    time.Duration
		forecast time.Time
		upgrades int // then; there were 3
		want     time.Time
	}{
		"nobody can tell":           {unknown, 0, unknown, 3, unknown},
		"somebody can":              {unknown, 0, in(hour), 3, in(hour)},
		"it has moved":              {in(hour), minute, in(2 * hour), 3, in(2 * hour)},
		"within a minute":           {in(hour), minute - 1, in(2 * hour), 3, in(hour)},
		"by a little":               {in(hour), minute, in(hour + 5*minute), 3, in(hour)},
		"one more":                  {in(hour), 0, in(hour + minute), 4, in(hour + minute)},
		"one has ended":             {in(hour), 0, in(hour - minute), 2, in(hour - minute)},
		"nobody can tell any more":  {in(hour), minute, unknown, 3, unknown},
		"for a moment nobody could": {in(hour), second, unknown, 3, in(hour)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := queue.Total{}.Follow(tt.told, 3, start).Follow(tt.forecast, tt.upgrades, in(tt.after))
			if !got.End().Equal(tt.want) {
				t.Errorf("%v is told, want %v", got.End(), tt.want)
			}
		})
	}
}
