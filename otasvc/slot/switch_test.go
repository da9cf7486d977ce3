package slot_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

// Slot switches: when they begin, how long they take, how they end, when devices come back.
func TestPlanSwitches(t *testing.T) {
	const (
		minute = time.Minute
		second = time.Second
	)
	old := holding(bulbs, 16*minute).Offered(false, start)
	busy := downloading(bulb1, bulbs, 16*minute)
	slow := downloading(bulb1, bulbs, 16*minute, rate(20)) // 83 minutes, less what it has waited for
	waits := queued(plug, plugs, 16*minute, usualRate(1000))
	begun := slot.BeginSwitch{PutOff: devices(bulb1), Until: start.Add(minute), Deadline: start.Add(second)}
	under := old.SwitchBegun(begun)
	late := slot.BeginSwitch{PutOff: devices(bulb1), Until: start.Add(minute), Deadline: start}
	// 20 s for the switch there and 20 s back, 3 s for the header; the other image's time is 110 s and a
	// quarter more, and 3 s for its header.
	around := 20*second + 20*second + 3*second
	quick := 110*second + 110*second/4 + 3*second
	switches := func(wait time.Duration) slot.Decision {
		return slot.BeginSwitch{
			PutOff: devices(bulb1), Until: start.Add(wait), Deadline: start.Add(20 * second),
		}
	}
	// Between two promises the first device is told to wait again.
	gap := 20*second + 3*second + 3*second + 10*second
	runDecisions(t, map[string]decisionTest{
		"a healthy download keeps the slot": {slot: old, upgrades: upgrades{busy, waits}},
		"a slow one gives way to a quick one": {
			slot: old, upgrades: upgrades{slow, waits}, want: switches(around + quick),
		},
		"not to one that is not much quicker": {
			slot: old, upgrades: upgrades{slow, queued(plug, plugs, 0, usualRate(40))},
		},
		"not to one that sleeps": {
			slot: old, upgrades: upgrades{slow, queued(plug, plugs, 0, usualRate(1000), sleepy, awake)},
		},
		"not before its rate is known": {
			slot: old, upgrades: upgrades{downloading(bulb1, bulbs, 0, rate(0), usualRate(10)), waits},
		},
		"not after it has waited for long": {
			slot: old, upgrades: upgrades{downloading(bulb1, bulbs, 3*time.Hour, rate(20)), waits},
		},
		"not while one beside it is done soon": {
			slot: old, upgrades: upgrades{slow, downloading(bulb2, bulbs, minute, rate(500)), waits},
		},
		"not while another one was put off": {
			slot: old, upgrades: upgrades{slow, waits, putOff(lamp, lamps, 30*minute)},
		},
		"not before it has come back": {
			slot: old,
			upgrades: upgrades{
				downloading(bulb1, bulbs, minute, rate(20), func(c *slot.Candidate) { c.ActiveAt = start.Add(second) }),
				waits,
			},
		},
		"for an hour at the longest": {
			slot: old,
			upgrades: upgrades{
				downloading(bulb1, bulbs, minute, rate(1)), queued(plug, plugs, 0, usualRate(25)),
			},
			want: slot.BeginSwitch{
				PutOff: devices(bulb1), Until: start.Add(time.Hour), Deadline: start.Add(3 * minute),
			},
		},
		"a paused device asks late, and gives way to all": {
			slot:     old,
			upgrades: upgrades{downloading(bulb1, bulbs, 16*minute, held, stage(slot.Paused)), waits},
			want: slot.BeginSwitch{
				PutOff: devices(bulb1), Until: start.Add(40*second + 40*second + 3*second + quick),
				Deadline: start.Add(40 * second),
			},
		},
		"who has not answered gives up": {
			slot: old, upgrades: upgrades{slow, offered(bulb2, bulbs, minute), waits},
			want: slot.BeginSwitch{
				PutOff: devices(bulb1), GiveUp: devices(bulb2), Until: start.Add(around + quick),
				Deadline: start.Add(20 * second),
			},
		},
		"one that was told to wait asks soon": {
			slot: old, upgrades: upgrades{busy, putOff(plug, plugs, 23*second, rate(10))},
			want: switches(23*second + gap), // the one that downloads is quicker
		},
		"one that is quicker asks soon": {
			slot: old, upgrades: upgrades{slow, putOff(plug, plugs, 23*second, rate(1000))},
			want: switches(23*second + gap + 125*second),
		},
		"one that was told to wait asks later": {
			slot: old, upgrades: upgrades{busy, putOff(plug, plugs, 24*second)},
		},
		"one that has not begun needs no time to be told": {
			slot:     old,
			upgrades: upgrades{offered(bulb1, bulbs, second, usualRate(1)), putOff(plug, plugs, 100*second)},
		},
		"one that asks too seldom to be told in time is not offered anything": {
			slot:     old,
			upgrades: upgrades{queued(bulb1, bulbs, minute, usualRate(1)), putOff(plug, plugs, 100*second)},
			want:     slot.Load{Key: plugs},
		},
		"nor is it called back": {
			slot:     old,
			upgrades: upgrades{putOff(bulb1, bulbs, -minute, untold, rate(1)), putOff(plug, plugs, 100*second)},
			want:     slot.Load{Key: plugs},
		},
		"one that asks as often as others is offered its image": {
			slot:     old,
			upgrades: upgrades{queued(bulb1, bulbs, minute), putOff(plug, plugs, 100*second)},
			want:     slot.Offer{Device: bulb1, Key: bulbs},
		},
		"a promise is kept also where one that asks too seldom is not told in time": {
			slot:     old,
			upgrades: upgrades{downloading(bulb1, bulbs, minute, rate(1)), putOff(plug, plugs, minute)},
			want: slot.BeginSwitch{
				PutOff: devices(bulb1), Until: start.Add(minute + 3*minute + 16*second + 15*minute),
				Deadline: start.Add(57 * second),
			},
		},
		"one that was told to wait has asked and was refused": {
			slot: old, upgrades: upgrades{busy, putOff(plug, plugs, -second)},
		},
		"not within moments of another promise": {
			slot: old,
			upgrades: upgrades{
				busy, putOff(plug, plugs, 23*second, rate(10)), putOff(lamp, lamps, 23*second+gap+second),
			},
			want: switches(23*second + gap + second + gap),
		},
		"nobody is offered the image before a switch": {
			slot:     old,
			upgrades: upgrades{busy, putOff(plug, plugs, 42*second), queued(bulb2, bulbs, minute)},
		},
		"a device is still to be told": {
			slot: under, upgrades: upgrades{busy, waits},
		},
		"it has been told": {
			slot: under, upgrades: upgrades{downloading(bulb1, bulbs, 16*minute, told), waits},
			want: slot.FinishSwitch{Devices: devices(bulb1), Until: start.Add(minute)},
		},
		"it has ended": {
			slot: under, upgrades: upgrades{waits}, want: slot.FinishSwitch{Until: start.Add(minute)},
		},
		"it installs": {
			slot: under, upgrades: upgrades{queued(bulb1, bulbs, 16*minute, stage(slot.Elsewhere)), waits},
			want: slot.FinishSwitch{Until: start.Add(minute)},
		},
		"it did not ask in time": {
			slot:     old.SwitchBegun(late),
			upgrades: upgrades{busy, waits},
			want:     slot.FinishSwitch{Devices: devices(bulb1), Until: start.Add(minute)},
		},
		"who was put off is called back when it asks soon": {
			slot: holding(plugs, minute), upgrades: upgrades{putOff(plug, plugs, 23*second)},
			want: slot.CallBack{Devices: devices(plug)},
		},
		"not before": {
			slot: holding(plugs, minute), upgrades: upgrades{putOff(plug, plugs, 24*second)},
		},
		"who fell silent is called back": {
			slot: holding(plugs, minute), upgrades: upgrades{putOff(plug, plugs, -minute, untold)},
			want: slot.CallBack{Devices: devices(plug)},
		},
		"who was put off has the slot when it asks": {
			slot:     old,
			upgrades: upgrades{putOff(plug, plugs, 20*second), queued(bulb1, bulbs, minute)},
			want:     slot.Load{Key: plugs},
		},
	})
}
