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
