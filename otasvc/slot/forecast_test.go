package slot_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// in is a time after that of the tables' decisions.
func in(d time.Duration) time.Time { return start.Add(d) }

// left is a download of which so many seconds are left, of one who takes 100 bytes a second.
func left(seconds uint32) change { return func(c *slot.Candidate) { c.Left = 100 * seconds } }

// due is an upgrade that is scheduled.
func due(d time.Duration) change {
	return func(c *slot.Candidate) {
		c.Stage = slot.Scheduled
		c.DueAt = in(d)
	}
}

func notBefore(d time.Duration) change { return func(c *slot.Candidate) { c.NotBefore = in(d) } }

// asksIn is a device that was told to ask again after a time.
func asksIn(d time.Duration) change { return func(c *slot.Candidate) { c.ActiveAt = in(d) } }

// waits is an upgrade that has waited for a minute, of one who takes 100 bytes a second.
func waits(device message.IEEE, k slot.Key, changes ...change) slot.Candidate {
	return queued(device, k, time.Minute, append([]change{usualRate(100)}, changes...)...)
}

// begun is the place of a download that is complete after a time.
func begun(device message.IEEE, end time.Duration) slot.Place {
	return slot.Place{Device: device, End: in(end)}
}

// at is the place of one that waits, with the times of its download.
func at(device message.IEEE, position int, w slot.Wait, begin, end time.Duration) slot.Place {
	return slot.Place{Device: device, Position: position, WaitsFor: w, Start: in(begin), End: in(end)}
}

// unknown is the place of one of which nobody can tell when it begins.
func unknown(device message.IEEE, position int, w slot.Wait) slot.Place {
	return slot.Place{Device: device, Position: position, WaitsFor: w}
}

type forecastTest struct {
	slot     slot.State
	upgrades []slot.Candidate
	change   func(*slot.View)
	want     []slot.Place
	end      time.Duration // 0 stands for an end that nobody can tell
}

func testForecasts(t *testing.T, tests map[string]forecastTest) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := decisionTest{slot: tt.slot, upgrades: tt.upgrades, change: tt.change}.view()
			end := time.Time{}
			if tt.end > 0 {
				end = in(tt.end)
			}
			for range 2 { // in any order of the upgrades
				got, gotEnd := slot.Forecast(v, start)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if !gotEnd.Equal(end) {
					t.Errorf("it ends at %v, want %v", gotEnd, end)
				}
				slices.Reverse(v.Upgrades)
			}
		})
	}
}

// A download takes 10 s besides its blocks.
func TestForecast(t *testing.T) {
	const second, minute = time.Second, time.Minute
	old := holding(bulbs, time.Hour)
	testForecasts(t, map[string]forecastTest{
		"nobody": {},
		"those that need no slot any more": {
			upgrades: upgrades{
				queued(bulb1, bulbs, minute, stage(slot.Elsewhere)), queued(plug, plugs, minute, stage(slot.Withheld)),
			},
		},
		"one that can begin at once": {
			upgrades: upgrades{waits(bulb1, bulbs, left(50))},
			want:     []slot.Place{at(bulb1, 1, slot.WaitsForNothing, 0, minute)}, end: minute,
		},
		"two side by side": {
			upgrades: upgrades{waits(bulb1, bulbs, left(50)), waits(bulb2, bulbs, left(110))},
			want: []slot.Place{
				at(bulb1, 1, slot.WaitsForNothing, 0, minute), at(bulb2, 2, slot.WaitsForNothing, 0, 2*minute),
			},
			end: 2 * minute,
		},
		"no more than may": {
			upgrades: upgrades{
				waits(1, bulbs, left(50)), waits(2, bulbs, left(110)), waits(3, bulbs, left(50)),
				waits(4, bulbs, left(50)),
			},
			want: []slot.Place{
				at(1, 1, slot.WaitsForNothing, 0, minute), at(2, 2, slot.WaitsForNothing, 0, 2*minute),
				at(3, 3, slot.WaitsForPlace, minute, 2*minute), at(4, 4, slot.WaitsForPlace, 2*minute, 3*minute),
			},
			end: 3 * minute,
		},
		"one joins those that download": {
			slot:     old,
			upgrades: upgrades{downloading(bulb1, bulbs, minute, left(300)), waits(bulb2, bulbs, left(50))},
			want:     []slot.Place{begun(bulb1, 5*minute), at(bulb2, 1, slot.WaitsForNothing, 0, minute)},
			end:      5 * minute,
		},
		"one joins when there is room": {
			slot: old,
			upgrades: upgrades{
				downloading(1, bulbs, minute, left(300)), downloading(2, bulbs, minute, left(60)),
				waits(3, bulbs, left(50)),
			},
			want: []slot.Place{
				begun(1, 5*minute), begun(2, minute), at(3, 1, slot.WaitsForPlace, minute, 2*minute),
			},
			end: 5 * minute,
		},
		"images one after the other, the shortest first": {
			slot: old,
			upgrades: upgrades{
				downloading(bulb1, bulbs, minute, left(60)), waits(lamp, lamps, left(110)),
				waits(plug, plugs, left(50)),
			},
			want: []slot.Place{
				begun(bulb1, minute), at(plug, 1, slot.WaitsForSlot, minute, 2*minute),
				at(lamp, 2, slot.WaitsForSlot, 2*minute, 4*minute),
			},
			end: 4 * minute,
		},
		"an image that is loaded and that nobody uses comes first": {
			slot: old,
			upgrades: upgrades{
				waits(plug, plugs, left(50)), waits(bulb1, bulbs, left(110)),
			},
			want: []slot.Place{
				at(bulb1, 1, slot.WaitsForNothing, 0, 2*minute),
				at(plug, 2, slot.WaitsForSlot, 2*minute, 3*minute),
			},
			end: 3 * minute,
		},
		"who has just been notified needs its time": {
			slot:     old,
			upgrades: upgrades{offered(bulb1, bulbs, 4*second, usualRate(100), left(54))},
			want:     []slot.Place{begun(bulb1, minute)}, end: minute,
		},
		"who was told to wait asks then": {
			slot:     old,
			upgrades: upgrades{downloading(bulb1, bulbs, minute, left(60), asksIn(minute))},
			want:     []slot.Place{begun(bulb1, 2*minute)}, end: 2 * minute,
		},
		"one whose installation is to wait downloads alone": {
			upgrades: upgrades{
				waits(1, bulbs, left(50)), waits(2, bulbs, left(50), installLater), waits(3, bulbs, left(50)),
			},
			want: []slot.Place{
				at(1, 1, slot.WaitsForNothing, 0, minute), at(2, 2, slot.WaitsForPlace, minute, 2*minute),
				unknown(3, 3, slot.WaitsForHolder),
			},
			end: 2 * minute,
		},
		"nobody can tell when those begin who are behind one that will keep the image": {
			upgrades: upgrades{
				waits(bulb1, bulbs, left(50), installLater), waits(2, bulbs, left(50)),
				waits(3, bulbs, left(50), due(2*minute)), waits(4, bulbs, left(50), follows),
				waits(plug, plugs, left(50)),
			},
			want: []slot.Place{
				at(bulb1, 1, slot.WaitsForNothing, 0, minute), at(plug, 2, slot.WaitsForSlot, minute, 2*minute),
				unknown(2, 3, slot.WaitsForHolder), unknown(4, 4, slot.WaitsForCanary),
				unknown(3, 5, slot.WaitsForTime),
			},
			end: 2 * minute,
		},
		"nothing is known of the rates": {
			upgrades: upgrades{queued(bulb1, bulbs, minute, func(c *slot.Candidate) { c.Left = 21_000 })},
			want:     []slot.Place{at(bulb1, 1, slot.WaitsForNothing, 0, minute)}, end: minute,
		},
		"the others tell the rate": {
			slot: old,
			upgrades: upgrades{
				downloading(bulb1, bulbs, minute, left(60)), queued(plug, plugs, minute, left(50)),
			},
			want: []slot.Place{begun(bulb1, minute), at(plug, 1, slot.WaitsForSlot, minute, 2*minute)},
			end:  2 * minute,
		},
	})
}

// Those whose stack minds no other header download beside other images.
func TestForecastOverlapping(t *testing.T) {
	const second, minute = time.Second, time.Minute
	old := holding(bulbs, time.Hour)
	testForecasts(t, map[string]forecastTest{
		"one that has begun leaves the slot to others": {
			slot:     old,
			upgrades: upgrades{downloading(bulb1, bulbs, minute, left(300), overlaps), waits(plug, plugs, left(50))},
			want:     []slot.Place{begun(bulb1, 5*minute), at(plug, 1, slot.WaitsForNothing, 0, minute)},
			end:      5 * minute,
		},
		"one that begins needs the slot for a moment": {
			upgrades: upgrades{
				waits(bulb1, bulbs, left(50), overlaps), waits(plug, plugs, left(110)),
			},
			want: []slot.Place{
				at(bulb1, 1, slot.WaitsForNothing, 0, minute),
				at(plug, 2, slot.WaitsForSlot, 10*second, 130*second),
			},
			end: 130 * second,
		},
		"no more than may": {
			upgrades: upgrades{
				waits(1, bulbs, left(50), overlaps), waits(2, plugs, left(110), overlaps),
				waits(3, lamps, left(170), overlaps),
			},
			want: []slot.Place{
				at(1, 1, slot.WaitsForNothing, 0, minute),
				at(2, 2, slot.WaitsForSlot, 10*second, 130*second),
				at(3, 3, slot.WaitsForSlot, minute, 4*minute),
			},
			end: 4 * minute,
		},
	})
}

// Who was put off comes back when it was told to.
func TestForecastPutOff(t *testing.T) {
	const second, minute = time.Second, time.Minute
	old := holding(plugs, time.Hour)
	begins := slot.BeginSwitch{
		PutOff: devices(lamp), Until: in(10 * minute), Deadline: in(20 * second),
	}
	testForecasts(t, map[string]forecastTest{
		"others have the slot meanwhile": {
			slot: old,
			upgrades: upgrades{
				putOff(lamp, lamps, 10*minute, left(50), named), waits(plug, plugs, left(50)),
			},
			want: []slot.Place{
				at(plug, 1, slot.WaitsForNothing, 0, minute),
				at(lamp, 2, slot.WaitsForQuicker, 10*minute, 11*minute),
			},
			end: 11 * minute,
		},
		"not for long": {
			slot: old,
			upgrades: upgrades{
				putOff(lamp, lamps, 30*second, left(50)), waits(plug, plugs, left(50)),
			},
			want: []slot.Place{
				at(lamp, 1, slot.WaitsForQuicker, 30*second, 90*second),
				at(plug, 2, slot.WaitsForSlot, 90*second, 150*second),
			},
			end: 150 * second,
		},
		"one joins who comes back while its image is loaded": {
			slot: holding(lamps, minute),
			upgrades: upgrades{
				downloading(bulb1, lamps, minute, left(300)), putOff(lamp, lamps, 4*minute, left(110)),
			},
			want: []slot.Place{
				begun(bulb1, 5*minute), at(lamp, 1, slot.WaitsForQuicker, 4*minute, 6*minute),
			},
			end: 6 * minute,
		},
		"who was not told is looked for": {
			slot:     old,
			upgrades: upgrades{putOff(lamp, lamps, -minute, untold)},
			want:     []slot.Place{unknown(lamp, 1, slot.WaitsForDevice)},
		},
		"a person holds it": {
			slot:     old,
			upgrades: upgrades{putOff(lamp, lamps, minute, held)},
			want:     []slot.Place{unknown(lamp, 1, slot.WaitsForPerson)},
		},
		"it is being told to wait": {
			slot: holding(lamps, time.Hour).SwitchBegun(begins),
			upgrades: upgrades{
				downloading(lamp, lamps, minute, left(60)), waits(plug, plugs, left(50)),
			},
			want: []slot.Place{
				{Device: lamp, WaitsFor: slot.WaitsForQuicker, End: in(11 * minute)},
				at(plug, 1, slot.WaitsForSlot, 20*second, 80*second),
			},
			end: 11 * minute,
		},
	})
}

// Who waits for something else than the slot.
func TestForecastElsewhere(t *testing.T) {
	const second, minute = time.Second, time.Minute
	old := holding(bulbs, time.Hour)
	testForecasts(t, map[string]forecastTest{
		"those who may not hear of it come last": {
			slot: old,
			upgrades: upgrades{
				waits(1, bulbs, left(50), sleepy), waits(2, plugs, left(50), unanswered),
				waits(3, lamps, left(50)), waits(4, bulbs, lost), waits(5, plugs, left(50), sleepy, awake),
			},
			want: []slot.Place{
				at(3, 1, slot.WaitsForNothing, 0, minute), at(5, 2, slot.WaitsForSlot, minute, 2*minute),
				unknown(2, 3, slot.WaitsForDevice), unknown(1, 4, slot.WaitsForDevice),
				unknown(4, 5, slot.WaitsForDevice),
			},
			end: 2 * minute,
		},
		"who was notified and sleeps keeps nobody from the slot": {
			slot:     old,
			upgrades: upgrades{offered(bulb1, bulbs, second, sleepy), waits(plug, plugs, left(50))},
			want: []slot.Place{
				{Device: bulb1, WaitsFor: slot.WaitsForDevice}, at(plug, 1, slot.WaitsForSlot, 0, minute),
			},
			end: minute,
		},
		"who does not answer, or has fallen silent": {
			slot: old,
			upgrades: upgrades{
				offered(bulb1, bulbs, time.Hour), downloading(bulb2, bulbs, time.Hour, silent(time.Hour)),
			},
			want: []slot.Place{
				{Device: bulb1, WaitsFor: slot.WaitsForDevice}, {Device: bulb2, WaitsFor: slot.WaitsForDevice},
			},
		},
		"those that a person holds": {
			slot: old,
			upgrades: upgrades{
				downloading(bulb1, bulbs, minute, held), waits(bulb2, bulbs, stage(slot.PausedInQueue)),
			},
			want: []slot.Place{
				{Device: bulb1, WaitsFor: slot.WaitsForPerson}, unknown(bulb2, 1, slot.WaitsForPerson),
			},
		},
		"those that follow one that waits itself": {
			upgrades: upgrades{
				waits(bulb1, bulbs, left(50)), waits(2, bulbs, left(50), follows),
				waits(3, bulbs, left(50), follows), waits(4, bulbs, left(50), follows),
				waits(5, bulbs, left(50), follows, sleepy),
			},
			want: []slot.Place{
				at(bulb1, 1, slot.WaitsForNothing, 0, minute),
				at(2, 2, slot.WaitsForCanary, 3*minute, 4*minute),
				at(3, 3, slot.WaitsForCanary, 3*minute, 4*minute),
				at(4, 4, slot.WaitsForCanary, 4*minute, 5*minute),
				unknown(5, 5, slot.WaitsForCanary),
			},
			end: 5 * minute,
		},
		"those that follow one that installs": {
			upgrades: upgrades{
				queued(bulb1, bulbs, minute, stage(slot.Elsewhere)), waits(2, bulbs, left(50), follows),
			},
			want: []slot.Place{at(2, 1, slot.WaitsForCanary, 2*minute, 3*minute)}, end: 3 * minute,
		},
		"those that follow one that nobody can tell of": {
			upgrades: upgrades{waits(bulb1, bulbs, left(50), sleepy), waits(2, bulbs, left(50), follows)},
			want:     []slot.Place{unknown(bulb1, 1, slot.WaitsForDevice), unknown(2, 2, slot.WaitsForCanary)},
		},
		"the slot is another's while the first one installs": {
			upgrades: upgrades{
				waits(bulb1, bulbs, left(50)), waits(2, bulbs, left(50), follows), waits(plug, plugs, left(290)),
			},
			want: []slot.Place{
				at(bulb1, 1, slot.WaitsForNothing, 0, minute),
				at(plug, 2, slot.WaitsForSlot, minute, 6*minute),
				at(2, 3, slot.WaitsForCanary, 6*minute, 7*minute),
			},
			end: 7 * minute,
		},
		"a further attempt": {
			upgrades: upgrades{
				waits(bulb1, bulbs, left(50), notBefore(minute)), waits(plug, plugs, left(290)),
				waits(lamp, lamps, left(50), notBefore(time.Hour), sleepy),
			},
			want: []slot.Place{
				at(plug, 1, slot.WaitsForNothing, 0, 5*minute), at(bulb1, 2, slot.WaitsForTime, 5*minute, 6*minute),
				unknown(lamp, 3, slot.WaitsForTime),
			},
			end: 6 * minute,
		},
		"another one keeps the image for later": {
			upgrades: upgrades{queued(bulb1, bulbs, minute, stage(slot.Withheld)), waits(bulb2, bulbs)},
			want:     []slot.Place{unknown(bulb2, 1, slot.WaitsForHolder)},
		},
		"another one downloads the image and keeps it for later": {
			slot: holding(bulbs, time.Hour),
			upgrades: upgrades{
				downloading(bulb1, bulbs, minute, left(50), installLater), waits(bulb2, bulbs, left(50)),
				waits(plug, plugs, left(50)),
			},
			want: []slot.Place{
				begun(bulb1, 50*second), at(plug, 1, slot.WaitsForSlot, 50*second, 110*second),
				unknown(bulb2, 2, slot.WaitsForHolder),
			},
			end: 110 * second,
		},
		"those that are scheduled": {
			upgrades: upgrades{
				waits(1, bulbs, left(50), due(time.Hour)), waits(2, bulbs, left(50), due(2*minute)),
				waits(3, plugs, left(170)), waits(4, lamps, sleepy), waits(5, lamps, due(minute), sleepy),
				waits(6, plugs, left(110), due(time.Hour+30*second)),
			},
			want: []slot.Place{
				at(3, 1, slot.WaitsForNothing, 0, 3*minute), unknown(4, 2, slot.WaitsForDevice),
				unknown(5, 3, slot.WaitsForTime), at(2, 4, slot.WaitsForTime, 3*minute, 4*minute),
				at(1, 5, slot.WaitsForTime, time.Hour, time.Hour+minute),
				at(6, 6, slot.WaitsForTime, time.Hour+minute, time.Hour+3*minute),
			},
			end: time.Hour + 3*minute,
		},
	})
}

// A dongle that is away, or with which nothing may begin.
func TestForecastWithoutDongle(t *testing.T) {
	all := upgrades{
		downloading(1, bulbs, time.Minute, left(60)), putOff(2, plugs, 50*time.Minute, left(50)), waits(3, lamps),
		waits(4, lamps, sleepy), waits(5, lamps, stage(slot.PausedInQueue)), waits(6, lamps, due(time.Hour), left(50)),
	}
	testForecasts(t, map[string]forecastTest{
		"away": {
			slot: holding(bulbs, time.Hour), upgrades: all,
			change: func(v *slot.View) { v.Usable = false },
			want: []slot.Place{
				{Device: 1, WaitsFor: slot.WaitsForDongle}, unknown(3, 1, slot.WaitsForDongle),
				unknown(2, 2, slot.WaitsForDongle), unknown(4, 3, slot.WaitsForDongle),
				unknown(5, 4, slot.WaitsForPerson), at(6, 5, slot.WaitsForTime, time.Hour, time.Hour+time.Minute),
			},
			end: time.Hour + time.Minute,
		},
		"nothing may begin": {
			slot: holding(bulbs, time.Hour), upgrades: all,
			change: func(v *slot.View) { v.NoNew = true },
			want: []slot.Place{
				begun(1, time.Minute), unknown(3, 1, slot.WaitsForDongle),
				at(2, 2, slot.WaitsForQuicker, 50*time.Minute, 51*time.Minute),
				unknown(4, 3, slot.WaitsForDongle),
				unknown(5, 4, slot.WaitsForPerson),
				at(6, 5, slot.WaitsForTime, time.Hour, time.Hour+time.Minute),
			},
			end: time.Hour + time.Minute,
		},
	})
}

// BenchmarkForecast is a forecast for a thousand upgrades to fifty images.
func BenchmarkForecast(b *testing.B) {
	v := slot.View{Slot: holding(slot.Key{Version: 1}, time.Hour), Usable: true, Policy: policy}
	for i := range 1000 {
		key := slot.Key{Version: uint32(1 + i%50)}
		if i < 2 {
			v.Upgrades = append(v.Upgrades, downloading(message.IEEE(i+1), slot.Key{Version: 1}, time.Minute))
			continue
		}
		v.Upgrades = append(v.Upgrades, waits(message.IEEE(i+1), key, func(c *slot.Candidate) {
			c.Sleepy = i%7 == 0
			if i%5 == 0 {
				c.Canary = message.IEEE(i)
			}
		}))
	}
	b.ReportAllocs()
	for b.Loop() {
		slot.Forecast(v, start)
	}
}
