package slot_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

// When sleepy devices give the slot up.
func TestPlanGivesUp(t *testing.T) {
	loaded := holding(bulbs, time.Minute).Offered(false, start)
	day := 24 * time.Hour
	hour := time.Hour
	giveUp := slot.GiveUp{Devices: devices(bulb1)}
	asleep := func(d time.Duration, changes ...change) slot.Candidate {
		return offered(bulb1, bulbs, d, append([]change{sleepy}, changes...)...)
	}
	waitsSince := func(d time.Duration) change {
		return func(c *slot.Candidate) { c.WaitsSince = ago(d) }
	}
	runDecisions(t, map[string]decisionTest{
		"nobody else waits": {slot: loaded, upgrades: upgrades{asleep(time.Hour)}},
		"its parent keeps the notification for a while": {
			slot: loaded, upgrades: upgrades{asleep(7 * time.Second), queued(plug, plugs, 0)},
		},
		"then it costs the others nothing": {
			slot: loaded, upgrades: upgrades{asleep(8 * time.Second), queued(plug, plugs, 0)}, want: giveUp,
		},
		"it has half a minute before one that may be gone": {
			slot: loaded, upgrades: upgrades{asleep(30 * time.Second), queued(plug, plugs, 0, unanswered)},
		},
		"after half a minute": {
			slot: loaded, upgrades: upgrades{asleep(31 * time.Second), queued(plug, plugs, 0, unanswered)},
			want: giveUp,
		},
		"at once for one that listens now": {
			slot:     loaded,
			upgrades: upgrades{asleep(8 * time.Second), queued(plug, plugs, 0, sleepy, awake)}, want: giveUp,
		},
		"ever more seldom for one that sleeps": {
			slot:     loaded,
			upgrades: upgrades{asleep(time.Minute, waitsSince(time.Hour)), queued(plug, plugs, 0, sleepy)},
		},
		"a twentieth of the time": {
			slot: loaded, want: giveUp,
			upgrades: upgrades{asleep(4*time.Minute, waitsSince(time.Hour)), queued(plug, plugs, 0, sleepy)},
		},
		"a slice at the longest": {
			slot: loaded, want: giveUp,
			upgrades: upgrades{asleep(16*time.Minute, waitsSince(30*day)), queued(plug, plugs, 0, sleepy)},
		},
		"one that asks for blocks": {
			slot:     loaded,
			upgrades: upgrades{downloading(bulb1, bulbs, time.Minute, sleepy), queued(plug, plugs, 0)},
		},
		"one that hears all the time has three notifications": {
			slot: loaded, upgrades: upgrades{offered(bulb1, bulbs, 45*time.Second), queued(plug, plugs, 0)},
		},
		"then it is taken for gone": {
			slot: loaded, upgrades: upgrades{offered(bulb1, bulbs, 46*time.Second), queued(plug, plugs, 0)},
			want: giveUp,
		},
		"one that is silent in mid-download": {
			slot:     loaded,
			upgrades: upgrades{downloading(bulb1, bulbs, time.Minute, silent(61*time.Second)), queued(plug, plugs, 0)},
			want:     slot.GiveUp{Aside: devices(bulb1)},
		},
		"one that is known to be silent for long": {
			slot:     holding(bulbs, time.Minute),
			upgrades: upgrades{downloading(bulb1, bulbs, time.Minute, silent(31*time.Minute), quiet(30*time.Minute)), queued(plug, plugs, 0)},
			want:     nil,
		},
		"one that is silent for longer than it is known to be": {
			slot:     holding(bulbs, time.Minute),
			upgrades: upgrades{downloading(bulb1, bulbs, time.Minute, silent(32*time.Minute), quiet(30*time.Minute)), queued(plug, plugs, 0)},
			want:     slot.GiveUp{Aside: devices(bulb1)},
		},
		"one that is silent for a moment": {
			slot:     loaded,
			upgrades: upgrades{downloading(bulb1, bulbs, time.Minute, silent(time.Minute)), queued(plug, plugs, 0)},
		},
		"one that is as slow as that": {
			slot: loaded,
			upgrades: upgrades{
				downloading(bulb1, bulbs, time.Minute, silent(2*time.Minute), rate(2)),
				queued(plug, plugs, 0, usualRate(1)),
			},
		},
		"one that is silent, for one that may be gone": {
			slot: loaded,
			upgrades: upgrades{
				downloading(bulb1, bulbs, time.Minute, silent(2*time.Minute)), queued(plug, plugs, 0, unanswered),
			},
		},
		"one that is silent while another of its image is ready": {
			slot: loaded,
			upgrades: upgrades{
				downloading(bulb1, bulbs, time.Minute, silent(2*time.Minute)), queued(bulb2, bulbs, 0),
				queued(plug, plugs, hour),
			},
			want: slot.Offer{Device: bulb2, Key: bulbs},
		},
		"places that nobody takes": {
			slot: loaded,
			upgrades: upgrades{
				offered(bulb1, bulbs, 2*time.Minute), offered(lamp, bulbs, time.Minute), queued(bulb2, bulbs, 0),
			},
			want: giveUp,
		},
		"devices of two images": {
			slot:     loaded,
			upgrades: upgrades{downloading(bulb1, bulbs, hour), downloading(plug, plugs, hour)},
			want:     slot.GiveUp{Aside: devices(plug)},
		},
		"one that may be gone does not give way to one that sleeps": {
			slot: loaded, upgrades: upgrades{offered(bulb1, bulbs, hour), queued(plug, plugs, hour, sleepy)},
		},
		"one beside it that downloads": {
			slot: loaded,
			upgrades: upgrades{
				asleep(time.Minute), downloading(bulb2, bulbs, time.Minute), queued(plug, plugs, 0),
			},
		},
		"for the same image": {
			slot:     loaded,
			upgrades: upgrades{asleep(time.Minute), offered(lamp, bulbs, 0), queued(bulb2, bulbs, 0)},
			want:     slot.Offer{Device: bulb2, Key: bulbs}, // who sleeps takes no place from others
		},
	})
}
