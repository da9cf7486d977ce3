package slot_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The order that people are told, and that it is the order of the decisions.
func TestQueue(t *testing.T) {
	due := func(d time.Duration) change {
		return func(c *slot.Candidate) {
			c.Stage = slot.Scheduled
			c.DueAt = start.Add(d)
		}
	}
	v := slot.View{
		Slot: holding(bulbs, time.Minute), Policy: policy,
		Upgrades: upgrades{
			queued(1, bulbs, 0, due(time.Hour)),
			queued(2, bulbs, 0, due(time.Minute)),
			queued(3, bulbs, 3*time.Hour, follows),
			queued(4, bulbs, time.Hour, lost),
			queued(5, bulbs, time.Minute),
			queued(6, plugs, time.Hour),
			queued(7, plugs, time.Second, sleepy, awake),
			putOff(8, lamps, 20*time.Second),
			putOff(9, lamps, time.Hour),
			downloading(10, bulbs, time.Hour),
			queued(11, bulbs, time.Hour, stage(slot.Withheld)),
			queued(12, bulbs, time.Hour, stage(slot.PausedInQueue)),
		},
	}
	want := []message.IEEE{8, 6, 7, 9, 3, 4, 12, 5, 2, 1}
	var got []message.IEEE
	places, _ := slot.Forecast(v, start)
	for _, place := range places {
		if place.Position > 0 {
			got = append(got, place.Device)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
	if got := slot.WithheldBy(v, bulbs); got != 11 {
		t.Errorf("the bulbs' image is held back by %v", got)
	}
	if got := slot.WithheldBy(v, plugs); got != 0 {
		t.Errorf("the plugs' image is held back by %v", got)
	}
}
