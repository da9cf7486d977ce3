package slot_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The devices of the tables: two bulbs of one image, a plug of another, a lamp of a third.
const (
	bulb1 message.IEEE = iota + 1
	bulb2
	plug
	lamp
)

var lamps = slot.Key{SHA256: "lamps", Version: 3}

var policy = slot.Policy{
	Concurrency: 2, Slice: 15 * time.Minute, PauseStep: 30 * time.Second, CrowdedTimeout: 2 * time.Second,
}

// ago is a time before that of the tables' decisions.
func ago(d time.Duration) time.Time { return start.Add(-d) }

// holding is a slot that has held an image for so long.
func holding(k slot.Key, d time.Duration) slot.State { return slot.State{}.Loading(k).Loaded() }

// change makes an upgrade another one.
type change func(*slot.Candidate)

// queued is an upgrade that has waited for so long.
func queued(device message.IEEE, k slot.Key, d time.Duration, changes ...change) slot.Candidate {
	c := slot.Candidate{
		Device: device, Key: k, Stage: slot.Queued, Image: slot.ImageReady, QueuedSince: ago(d),
		WaitsSince: ago(d),
		Located:    true, Left: 100_000,
	}
	for _, change := range changes {
		change(&c)
	}
	return c
}

// offered is an upgrade whose device was told of its image so long ago.
func offered(device message.IEEE, k slot.Key, d time.Duration, changes ...change) slot.Candidate {
	return queued(device, k, d, append([]change{func(c *slot.Candidate) {
		c.Stage = slot.Offered
		c.Served = true
		c.OfferedAt = ago(d)
	}}, changes...)...)
}

// downloading is an upgrade whose device takes 100 bytes a second since so long.
func downloading(device message.IEEE, k slot.Key, d time.Duration, changes ...change) slot.Candidate {
	return offered(device, k, d, append([]change{func(c *slot.Candidate) {
		c.Stage = slot.Downloading
		c.Begun = true
		c.Rate = 100
		c.ActiveAt = start
	}}, changes...)...)
}

// putOff is an upgrade whose device was told to ask again after a time, which may be past.
func putOff(device message.IEEE, k slot.Key, until time.Duration, changes ...change) slot.Candidate {
	return downloading(device, k, time.Minute, append([]change{func(c *slot.Candidate) {
		c.Stage = slot.Paused
		c.PutOffUntil = start.Add(until)
		c.Told = true
	}}, changes...)...)
}

func sleepy(c *slot.Candidate)       { c.Sleepy = true }
func awake(c *slot.Candidate)        { c.AwakeUntil = start.Add(time.Second) }
func installLater(c *slot.Candidate) { c.InstallLater = true }
func lastBlock(c *slot.Candidate)    { c.LastBlock = true }
func told(c *slot.Candidate)         { c.Told = true }
func held(c *slot.Candidate)         { c.Held = true }
func unserved(c *slot.Candidate)     { c.Served = false }
func batteryLow(c *slot.Candidate)   { c.BatteryLow = true }
func lost(c *slot.Candidate)         { c.Located = false }
func follows(c *slot.Candidate)      { c.Canary = bulb1 }
func later(c *slot.Candidate)        { c.NotBefore = start.Add(time.Second) }
func named(c *slot.Candidate)        { c.Named = true }
func unanswered(c *slot.Candidate)   { c.Unanswered = true }
func untold(c *slot.Candidate)       { c.Told = false }
func overlaps(c *slot.Candidate)     { c.Overlaps = true }

func usualRate(bytes int) change { return func(c *slot.Candidate) { c.UsualRate = bytes } }
func rate(bytes int) change      { return func(c *slot.Candidate) { c.Rate = bytes } }

// quiet is a device that may be silent for so long of its own making.
func quiet(d time.Duration) change {
	return func(c *slot.Candidate) { c.Silence = d }
}

// silent is a device that has not asked for so long.
func silent(d time.Duration) change {
	return func(c *slot.Candidate) {
		c.ActiveAt = ago(d)
		c.OfferedAt = ago(time.Hour)
	}
}

func stage(s slot.Stage) change { return func(c *slot.Candidate) { c.Stage = s } }

func image(s slot.ImageState) change { return func(c *slot.Candidate) { c.Image = s } }

func devices(d ...message.IEEE) []message.IEEE { return d }

type decisionTest struct {
	slot     slot.State
	upgrades []slot.Candidate
	change   func(*slot.View)
	want     slot.Decision
}

func (tt decisionTest) view() slot.View {
	v := slot.View{Slot: tt.slot, Usable: true, Policy: policy, Upgrades: tt.upgrades}
	if tt.change != nil {
		tt.change(&v)
	}
	return v
}

func runDecisions(t *testing.T, tests map[string]decisionTest) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, slot.Plan(tt.view(), start)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

type upgrades = []slot.Candidate

// What the slot is to hold, and when.
func TestPlanLoads(t *testing.T) {
	var empty slot.State
	hour := time.Hour
	runDecisions(t, map[string]decisionTest{
		"nobody waits": {slot: empty.Clearing().Cleared()},
		"the slot is emptied at first": {
			slot: empty, want: slot.Clear{},
		},
		"the slot is emptied when nobody needs it any more": {
			slot: holding(bulbs, hour), want: slot.Clear{},
		},
		"a header is kept for a while": {
			slot: holding(bulbs, hour).Kept(start.Add(time.Second)),
		},
		"one waits": {
			slot: empty, upgrades: upgrades{queued(bulb1, bulbs, 0)}, want: slot.Load{Key: bulbs},
		},
		"the header has to be loaded again": {
			slot:     holding(bulbs, hour).Distrusted(),
			upgrades: upgrades{downloading(bulb1, bulbs, hour)}, want: slot.Load{Key: bulbs},
		},
		"the header is lost": {
			slot:     holding(bulbs, hour).Lost(),
			upgrades: upgrades{downloading(bulb1, bulbs, hour)}, want: slot.Load{Key: bulbs},
		},
		"the image is not in memory": {
			slot: empty, upgrades: upgrades{queued(bulb1, bulbs, 0, image(slot.ImageAbsent))},
			want: slot.Read{SHA256: "bulbs"},
		},
		"the image in the slot is not in memory": {
			slot:     holding(bulbs, hour),
			upgrades: upgrades{queued(bulb1, bulbs, 0, image(slot.ImageAbsent))},
			want:     slot.Read{SHA256: "bulbs"},
		},
		"the image is being read": {
			slot: empty, upgrades: upgrades{queued(bulb1, bulbs, 0, image(slot.ImageReading))},
		},
		"the same image under another version": {
			slot:     holding(slot.Key{SHA256: "bulbs", Version: 1}, 0),
			upgrades: upgrades{queued(bulb1, bulbs, 0)}, want: slot.Load{Key: bulbs},
		},
		"first come, first served": {
			slot:     empty,
			upgrades: upgrades{queued(bulb1, bulbs, time.Second), queued(plug, plugs, time.Minute)},
			want:     slot.Load{Key: plugs},
		},
		"who was asked for by name goes first": {
			slot:     empty,
			upgrades: upgrades{queued(bulb1, bulbs, 0, named), queued(plug, plugs, time.Minute, usualRate(5000))},
			want:     slot.Load{Key: bulbs},
		},
		"half a day of waiting counts as much as a name": {
			slot: empty,
			upgrades: upgrades{
				queued(bulb1, bulbs, 0, named, usualRate(100)), queued(plug, plugs, 12*hour, usualRate(100)),
			},
			want: slot.Load{Key: plugs},
		},
		"what is done sooner goes first": {
			slot: empty,
			upgrades: upgrades{
				queued(bulb1, bulbs, time.Minute, usualRate(100)), queued(plug, plugs, 0, usualRate(500)),
			},
			want: slot.Load{Key: plugs},
		},
		"waiting makes up for it": {
			slot: empty,
			upgrades: upgrades{
				queued(bulb1, bulbs, hour, usualRate(100)), queued(plug, plugs, 0, usualRate(500)),
			},
			want: slot.Load{Key: bulbs},
		},
		"the devices of an image are done together": {
			slot: empty,
			upgrades: upgrades{
				queued(bulb1, bulbs, 0, usualRate(100)), queued(bulb2, bulbs, 0, usualRate(100)),
				queued(5, bulbs, 0, usualRate(100)), queued(plug, plugs, 0, usualRate(90)),
			},
			want: slot.Load{Key: plugs}, // 1000 s each, two at a time, or 1111 s
		},
		"who never sleeps goes first": {
			slot: empty,
			upgrades: upgrades{
				queued(bulb1, bulbs, time.Second, sleepy, awake, usualRate(5000)), queued(plug, plugs, time.Minute),
			},
			want: slot.Load{Key: plugs},
		},
		"then who listens now": {
			slot: empty,
			upgrades: upgrades{
				queued(bulb1, bulbs, time.Second, sleepy, awake), queued(plug, plugs, hour, unanswered),
				queued(lamp, lamps, hour, sleepy),
			},
			want: slot.Load{Key: bulbs},
		},
		"then who did not answer": {
			slot:     empty,
			upgrades: upgrades{queued(bulb1, bulbs, 0, unanswered), queued(plug, plugs, hour, sleepy)},
			want:     slot.Load{Key: bulbs},
		},
		"those who sleep take turns": {
			slot: empty,
			upgrades: upgrades{
				queued(bulb1, bulbs, 0, sleepy, named, usualRate(5000)), queued(plug, plugs, time.Second, sleepy),
			},
			want: slot.Load{Key: plugs},
		},
		"a header that nobody has had anything of": {
			slot:     holding(bulbs, 0),
			upgrades: upgrades{queued(bulb1, bulbs, 0, sleepy), queued(plug, plugs, 0)},
			want:     slot.Offer{Device: bulb1, Key: bulbs},
		},
		"one that is as ready joins in": {
			slot:     holding(bulbs, 0).Offered(false, start),
			upgrades: upgrades{queued(bulb1, bulbs, 0), queued(plug, plugs, hour, named)},
			want:     slot.Offer{Device: bulb1, Key: bulbs},
		},
		"one that was told to wait and asks soon": {
			slot: empty, upgrades: upgrades{queued(bulb1, bulbs, hour), putOff(plug, plugs, 42*time.Second)},
			want: slot.Load{Key: plugs},
		},
		"one that was told to wait and asks later": {
			slot: empty, upgrades: upgrades{queued(bulb1, bulbs, hour), putOff(plug, plugs, 46*time.Second)},
			want: slot.Load{Key: bulbs},
		},
		"one that was told to wait and asks too soon for another header": {
			slot: empty, upgrades: upgrades{queued(bulb1, bulbs, hour), putOff(plug, plugs, 45*time.Second)},
			want: slot.Load{Key: plugs},
		},
		"nobody else wants it": {
			slot: empty, upgrades: upgrades{putOff(plug, plugs, hour)}, want: slot.Load{Key: plugs},
		},
		"one that fell silent": {
			slot:     empty,
			upgrades: upgrades{putOff(bulb1, bulbs, -hour, untold), queued(plug, plugs, 0)},
			want:     slot.Load{Key: plugs},
		},
		"a download that does not need the slot": {
			slot: empty, upgrades: upgrades{downloading(bulb1, bulbs, hour, overlaps)},
			want: slot.Load{Key: bulbs},
		},
		"others before it": {
			slot:     holding(bulbs, hour).Offered(false, start),
			upgrades: upgrades{downloading(bulb1, bulbs, hour, overlaps), queued(plug, plugs, 0)},
			want:     slot.Load{Key: plugs},
		},
		"it needs the slot until it asks": {
			slot:     holding(bulbs, hour).Offered(false, start),
			upgrades: upgrades{offered(bulb1, bulbs, 0, overlaps), queued(plug, plugs, 0)},
		},
		"downloads keep the slot": {
			slot:     holding(bulbs, time.Minute),
			upgrades: upgrades{downloading(bulb1, bulbs, time.Minute), queued(plug, plugs, time.Hour)},
		},
		"the dongle remembers a page request": {
			slot: holding(bulbs, hour).PageAsked(), upgrades: upgrades{queued(plug, plugs, 0)},
			want: slot.Reset{},
		},
		"a page request does not matter for the same header": {
			slot:     holding(bulbs, hour).PageAsked().Lost(),
			upgrades: upgrades{downloading(bulb1, bulbs, hour)}, want: slot.Load{Key: bulbs},
		},
		"a page request keeps the slot from being emptied": {
			slot: holding(bulbs, hour).PageAsked(), want: slot.Reset{},
		},
	})
}

// When there is nothing to be decided.
func TestPlanWaits(t *testing.T) {
	one := upgrades{queued(bulb1, bulbs, time.Minute)}
	hour := time.Hour
	runDecisions(t, map[string]decisionTest{
		"the dongle cannot be used": {
			upgrades: one, change: func(v *slot.View) { v.Usable = false },
		},
		"a load is under way": {
			slot: slot.State{}.Loading(bulbs), upgrades: one,
		},
		"a person's load is under way": {
			slot: slot.State{}.LoadingByHand(), upgrades: one,
		},
		"the dongle has just refused": {
			slot: slot.State{}.Loading(bulbs).Refused(ago(time.Second)), upgrades: one,
		},
		"the dongle has refused a while ago": {
			slot: slot.State{}.Loading(bulbs).Refused(ago(2 * time.Second)), upgrades: one,
			want: slot.Load{Key: bulbs},
		},
		"the dongle starts again": {
			slot: slot.State{}.Reset(ago(time.Second)), upgrades: one,
		},
		"the slot is kept for a last block": {
			slot:     holding(bulbs, hour).Clearing().Cleared(),
			upgrades: upgrades{downloading(bulb1, bulbs, hour, lastBlock)},
		},
		"the device has its last block": {
			slot:     holding(bulbs, hour),
			upgrades: upgrades{queued(bulb1, bulbs, hour, lastBlock, stage(slot.Withheld))},
			want:     slot.Clear{},
		},
	})
}

// Who is offered the loaded image.
func TestPlanOffers(t *testing.T) {
	loaded := holding(bulbs, time.Minute)
	minute := time.Minute
	offer := func(d message.IEEE) slot.Decision { return slot.Offer{Device: d, Key: bulbs} }
	runDecisions(t, map[string]decisionTest{
		"who waits": {
			slot: loaded, upgrades: upgrades{queued(bulb1, bulbs, 0)}, want: offer(bulb1),
		},
		"who is put off by a bit": {
			slot: loaded, upgrades: upgrades{queued(bulb1, bulbs, 0, later)}, want: slot.Clear{},
		},
		"whose address is gone": {
			slot: loaded, upgrades: upgrades{queued(bulb1, bulbs, 0, lost)}, want: slot.Clear{},
		},
		"no upgrade may begin": {
			slot: loaded, upgrades: upgrades{queued(bulb1, bulbs, 0)}, want: slot.Clear{},
			change: func(v *slot.View) { v.NoNew = true },
		},
		"a second one": {
			slot:     loaded,
			upgrades: upgrades{downloading(bulb1, bulbs, minute), queued(bulb2, bulbs, 0)},
			want:     offer(bulb2),
		},
		"who follows a canary": {
			slot:     loaded,
			upgrades: upgrades{downloading(bulb1, bulbs, minute), queued(bulb2, bulbs, 0, follows)},
		},
		"all places are taken": {
			slot: loaded,
			upgrades: upgrades{
				downloading(bulb1, bulbs, minute), offered(lamp, bulbs, 0), queued(bulb2, bulbs, 0),
			},
		},
		"who was there first": {
			slot:     loaded,
			upgrades: upgrades{queued(bulb1, bulbs, time.Second), queued(bulb2, bulbs, minute)},
			want:     offer(bulb2),
		},
		"the battery is low": {
			slot: loaded, upgrades: upgrades{queued(bulb1, bulbs, 0, batteryLow)},
			want: slot.EndForBattery{Device: bulb1},
		},
		"whose installation is to wait downloads alone": {
			slot:     loaded,
			upgrades: upgrades{downloading(bulb1, bulbs, minute), queued(bulb2, bulbs, 0, installLater)},
		},
		"nobody beside whose installation is to wait": {
			slot:     loaded,
			upgrades: upgrades{downloading(bulb1, bulbs, minute, installLater), queued(bulb2, bulbs, 0)},
		},
		"one holds the same image back": {
			slot: loaded, want: slot.Clear{},
			upgrades: upgrades{queued(bulb1, bulbs, minute, stage(slot.Withheld)), queued(bulb2, bulbs, 0)},
		},
		"the image could not be read when the service started": {
			slot: loaded, upgrades: upgrades{downloading(bulb1, bulbs, minute, unserved)},
			want: slot.Admit{Devices: devices(bulb1)},
		},
		"full buffers put the offer off": {
			slot: loaded, upgrades: upgrades{queued(bulb1, bulbs, 0)}, want: slot.Defer{},
			change: func(v *slot.View) { v.Crowded = true },
		},
		"it is put off": {
			slot: loaded.Deferred(ago(time.Second)), upgrades: upgrades{queued(bulb1, bulbs, 0)},
			change: func(v *slot.View) { v.Crowded = true },
		},
		"not for ever": {
			slot: loaded.Deferred(ago(2 * time.Second)), upgrades: upgrades{queued(bulb1, bulbs, 0)},
			want:   offer(bulb1),
			change: func(v *slot.View) { v.Crowded = true },
		},
		"the next one waits as long": {
			slot: loaded.Offered(true, ago(time.Second)), upgrades: upgrades{queued(bulb1, bulbs, 0)},
			change: func(v *slot.View) { v.Crowded = true },
		},
	})
}

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

// What keeps a person from loading a header.
func TestConflict(t *testing.T) {
	hour := time.Hour
	minute := start.Add(time.Minute)
	begun := slot.BeginSwitch{PutOff: devices(bulb1), Until: minute, Deadline: minute}
	tests := map[string]struct {
		slot     slot.State
		upgrades []slot.Candidate
		want     slot.Obstacle
		device   message.IEEE
	}{
		"nothing": {want: slot.NoObstacle},
		"the same image": {
			upgrades: upgrades{downloading(bulb1, bulbs, hour)}, want: slot.NoObstacle,
		},
		"one that only waits": {upgrades: upgrades{queued(plug, plugs, hour)}, want: slot.NoObstacle},
		"a download": {
			upgrades: upgrades{downloading(plug, plugs, hour)}, want: slot.OtherDownload, device: plug,
		},
		"one that was put off": {
			upgrades: upgrades{putOff(plug, plugs, hour)}, want: slot.OtherDownload, device: plug,
		},
		"one paused in the queue": {
			upgrades: upgrades{queued(plug, plugs, hour, stage(slot.PausedInQueue))},
			want:     slot.OtherDownload, device: plug,
		},
		"the image is held back": {
			upgrades: upgrades{queued(bulb1, bulbs, hour, stage(slot.Withheld))},
			want:     slot.InstallWaits, device: bulb1,
		},
		"another image is held back": {
			upgrades: upgrades{queued(plug, plugs, hour, stage(slot.Withheld))}, want: slot.NoObstacle,
		},
		"the first of several": {
			upgrades: upgrades{downloading(lamp, lamps, hour), downloading(plug, plugs, hour)},
			want:     slot.OtherDownload, device: plug,
		},
		"a slot switch": {slot: holding(bulbs, hour).SwitchBegun(begun), want: slot.SlotInUse},
		"a last block": {
			upgrades: upgrades{downloading(bulb1, bulbs, hour, lastBlock)}, want: slot.SlotInUse,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := slot.View{Slot: tt.slot, Policy: policy, Upgrades: tt.upgrades}
			got, device := slot.Conflict(v, bulbs)
			if got != tt.want || device != tt.device {
				t.Errorf("%d because of %v, want %d because of %v", got, device, tt.want, tt.device)
			}
		})
	}
}

// The slot is emptied for a moment where nobody downloads, and nobody can be expected to begin: then it is quiet.
func TestSlotIsEmptiedWhereItIsQuiet(t *testing.T) {
	cleared := slot.State{}.Clearing().Cleared()
	tests := map[string]struct {
		slot     slot.State
		upgrades upgrades
		quiet    bool
		want     slot.Decision // with the slot wanted empty; where it is not quiet, that makes no difference
	}{
		"no upgrades":                          {slot: cleared, quiet: true},
		"no upgrades, but a header":            {slot: holding(bulbs, time.Hour), quiet: true, want: slot.Clear{}},
		"a sleeper was offered its image":      {slot: holding(bulbs, time.Hour), upgrades: upgrades{offered(bulb1, bulbs, time.Hour, sleepy)}, quiet: true, want: slot.Clear{ForAMoment: true}},
		"and the slot is empty":                {slot: cleared, upgrades: upgrades{offered(bulb1, bulbs, time.Hour, sleepy)}, quiet: true},
		"one that does not answer":             {slot: holding(bulbs, time.Hour), upgrades: upgrades{offered(bulb1, bulbs, time.Hour)}, quiet: true, want: slot.Clear{ForAMoment: true}},
		"another sleeper waits":                {slot: holding(bulbs, time.Hour), upgrades: upgrades{offered(bulb1, bulbs, time.Minute, sleepy), queued(plug, plugs, 0, sleepy)}, quiet: true, want: slot.Clear{ForAMoment: true}},
		"the dongle remembers a page":          {slot: holding(bulbs, time.Hour).PageAsked(), upgrades: upgrades{offered(bulb1, bulbs, time.Hour, sleepy)}, quiet: true},
		"a sleeper was just offered its image": {slot: holding(bulbs, time.Hour), upgrades: upgrades{offered(bulb1, bulbs, time.Second, sleepy)}},
		"a sleeper is awake":                   {slot: holding(bulbs, time.Hour), upgrades: upgrades{offered(bulb1, bulbs, time.Hour, sleepy, awake)}},
		"a download":                           {slot: holding(bulbs, time.Hour), upgrades: upgrades{downloading(bulb1, bulbs, time.Hour)}},
		"a download that is silent":            {slot: holding(bulbs, time.Hour), upgrades: upgrades{downloading(bulb1, bulbs, time.Hour, silent(10*time.Minute))}},
		"a paused one":                         {slot: holding(bulbs, time.Hour), upgrades: upgrades{downloading(bulb1, bulbs, time.Hour, held, stage(slot.Paused))}},
		"one that was put off":                 {slot: holding(bulbs, time.Hour), upgrades: upgrades{putOff(bulb1, bulbs, time.Hour)}},
		"one that waits and is ready":          {slot: cleared, upgrades: upgrades{queued(bulb1, bulbs, 0)}},
		"one that waits and is ready, and a sleeper": {
			slot: holding(bulbs, time.Hour), upgrades: upgrades{offered(bulb1, bulbs, time.Hour, sleepy), queued(plug, plugs, 0)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := slot.View{Slot: tt.slot, Usable: true, Policy: policy, Upgrades: tt.upgrades}
			if got := slot.Quiet(v, start); got != tt.quiet {
				t.Errorf("quiet: %v", got)
			}
			want := tt.want
			if !tt.quiet || name == "the dongle remembers a page" {
				want = slot.Plan(v, start)
			}
			v.Empty = true
			if diff := cmp.Diff(want, slot.Plan(v, start)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// An image that has made room is, once it is loaded again, for those who were offered it what it was: who wakes
// up takes his turn, whatever the slot holds.
func TestRoomIsMadeForAMoment(t *testing.T) {
	was := offered(plug, plugs, time.Hour, sleepy)
	wakes := queued(bulb1, bulbs, time.Hour, sleepy, awake)
	loaded := func(s slot.State) slot.State { return s.Loading(plugs).Loaded() }
	held := loaded(slot.State{}).Offered(false, ago(time.Hour))
	back := loaded(held.MakingRoom().Clearing().Cleared())
	anew := loaded(held.Clearing().Cleared())
	for name, tt := range map[string]struct {
		slot slot.State
		want slot.Decision
	}{
		"it was there all the time": {held, slot.Load{Key: bulbs}},
		"it is back":                {back, slot.Load{Key: bulbs}},
		"it is loaded anew":         {anew, slot.Offer{Device: plug, Key: plugs}},
	} {
		v := slot.View{Slot: tt.slot, Usable: true, Policy: policy, Upgrades: upgrades{was, wakes}}
		given, ok := slot.Plan(v, start).(slot.GiveUp)
		if !ok {
			t.Fatalf("%s: the sleeper keeps the slot", name)
		}
		again := queued(plug, plugs, time.Hour, sleepy)
		v.Upgrades = upgrades{again, wakes}
		if diff := cmp.Diff(tt.want, slot.Plan(v, start)); diff != "" || len(given.Devices) != 1 {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}
