package slot_test

import (
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

// Two devices wait for two images: the first one's image is loaded, and once the dongle has taken it the
// first one is offered it.
func ExamplePlan() {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	bulb := slot.Key{SHA256: "9f2c", Version: 0x23095631}
	plug := slot.Key{SHA256: "51e0", Version: 7}
	view := slot.View{
		Usable: true,
		Policy: slot.Policy{Concurrency: 4, Slice: 15 * time.Minute},
		Upgrades: []slot.Candidate{
			{
				Device: 1, Key: plug, Stage: slot.Queued, Image: slot.ImageReady, Located: true,
				QueuedSince: now,
			},
			{
				Device: 2, Key: bulb, Stage: slot.Queued, Image: slot.ImageReady, Located: true,
				QueuedSince: now.Add(-time.Minute),
			},
		},
	}
	fmt.Println(slot.Queue(view, now))

	load := slot.Plan(view, now).(slot.Load)
	fmt.Println("load", load.Key.SHA256)

	view.Slot = view.Slot.Loading(load.Key)
	fmt.Println("while it is loaded:", slot.Plan(view, now))

	view.Slot = view.Slot.Loaded()
	fmt.Printf("%T to %v\n", slot.Plan(view, now), slot.Plan(view, now).(slot.Offer).Device)

	// Output:
	// [0x0000000000000002 0x0000000000000001]
	// load 9f2c
	// while it is loaded: <nil>
	// slot.Offer to 0x0000000000000002
}
