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
func holding(k slot.Key, d time.Duration) slot.State { return slot.State{}.Loading(k, ago(d)).Loaded() }

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
	}}, changes...)...)
}

// putOff is an upgrade whose device was told to ask again after a time, which may be past.
func putOff(device message.IEEE, k slot.Key, until time.Duration, changes ...change) slot.Candidate {
	return downloading(device, k, time.Minute, append([]change{func(c *slot.Candidate) {
		c.Stage = slot.Paused
		c.PutOffUntil = start.Add(until)
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
		"who listens now goes first": {
			slot: empty,
			upgrades: upgrades{
				queued(bulb1, bulbs, time.Second, sleepy, awake), queued(plug, plugs, time.Minute),
			},
			want: slot.Load{Key: bulbs},
		},
		"who never sleeps does not count as listening": {
			slot:     empty,
			upgrades: upgrades{queued(bulb1, bulbs, time.Second, awake), queued(plug, plugs, time.Minute)},
			want:     slot.Load{Key: plugs},
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
		"whose wait is over comes after its image's slice": {
			slot: holding(bulbs, 16*time.Minute),
			upgrades: upgrades{
				queued(bulb1, bulbs, hour), putOff(plug, plugs, -time.Second),
				queued(lamp, lamps, 20*time.Minute),
			},
			want: slot.Load{Key: lamps},
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
			slot: slot.State{}.Loading(bulbs, start), upgrades: one,
		},
		"a person's load is under way": {
			slot: slot.State{}.LoadingByHand(), upgrades: one,
		},
		"the dongle has just refused": {
			slot: slot.State{}.Loading(bulbs, start).Refused(ago(time.Second)), upgrades: one,
		},
		"the dongle has refused a while ago": {
			slot: slot.State{}.Loading(bulbs, start).Refused(ago(2 * time.Second)), upgrades: one,
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
	loaded := holding(bulbs, time.Minute)
	day := 24 * time.Hour
	giveUp := slot.GiveUp{Devices: devices(bulb1)}
	asleep := func(d time.Duration, changes ...change) slot.Candidate {
		return offered(bulb1, bulbs, d, append([]change{sleepy}, changes...)...)
	}
	waitsSince := func(d time.Duration) change {
		return func(c *slot.Candidate) { c.WaitsSince = ago(d) }
	}
	runDecisions(t, map[string]decisionTest{
		"nobody else waits": {slot: loaded, upgrades: upgrades{asleep(time.Hour)}},
		"it has half a minute": {
			slot: loaded, upgrades: upgrades{asleep(30 * time.Second), queued(plug, plugs, 0)},
		},
		"after half a minute": {
			slot: loaded, upgrades: upgrades{asleep(31 * time.Second), queued(plug, plugs, 0)}, want: giveUp,
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
		"one that does not sleep": {
			slot: loaded, upgrades: upgrades{offered(bulb1, bulbs, time.Minute), queued(plug, plugs, 0)},
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
		},
	})
}

// Slot switches: when they begin, how long they take, how they end, when devices come back.
func TestPlanSwitches(t *testing.T) {
	const (
		minute = time.Minute
		second = time.Second
	)
	old := holding(bulbs, 16*minute)
	busy := downloading(bulb1, bulbs, 16*minute)
	waits := queued(plug, plugs, 16*minute)
	begun := slot.BeginSwitch{PutOff: devices(bulb1), Until: start.Add(minute), Deadline: start.Add(second)}
	under := old.SwitchBegun(begun)
	late := slot.BeginSwitch{PutOff: devices(bulb1), Until: start.Add(minute), Deadline: start}
	rate := func(bytes int) change { return func(c *slot.Candidate) { c.Rate = bytes } }
	// 20 s for the switch there and 20 s back, each image's time with 20 s and 3 s, 3 s more.
	around := 20*second + 20*second + 3*second
	each := 20*second + 3*second
	runDecisions(t, map[string]decisionTest{
		"another image has waited for a slice": {
			slot: old, upgrades: upgrades{busy, waits},
			want: slot.BeginSwitch{
				PutOff: devices(bulb1), Until: start.Add(around + 15*minute + each),
				Deadline: start.Add(20 * second),
			},
		},
		"what the others need at the rate of those who download now": {
			slot: old, upgrades: upgrades{downloading(bulb1, bulbs, 16*minute, rate(1000)), waits},
			want: slot.BeginSwitch{
				PutOff: devices(bulb1), Until: start.Add(around + 30*second + 125*second + each),
				Deadline: start.Add(20 * second),
			},
		},
		"a paused device asks late": {
			slot:     old,
			upgrades: upgrades{downloading(bulb1, bulbs, 16*minute, held, stage(slot.Paused)), waits},
			want: slot.BeginSwitch{
				PutOff:   devices(bulb1),
				Until:    start.Add(40*second + 15*minute + 40*second + 3*second + 40*second + 3*second),
				Deadline: start.Add(40 * second),
			},
		},
		"who has not begun gives up": {
			slot: old, upgrades: upgrades{busy, offered(bulb2, bulbs, second), waits},
			want: slot.BeginSwitch{
				PutOff: devices(bulb1), GiveUp: devices(bulb2),
				Until: start.Add(around + 15*minute + each), Deadline: start.Add(20 * second),
			},
		},
		"it has not waited for a slice": {
			slot: old, upgrades: upgrades{busy, queued(plug, plugs, 14*minute)},
		},
		"the loaded image has not had its slice": {
			slot: holding(bulbs, 14*minute), upgrades: upgrades{busy, waits},
		},
		"nobody is offered the image before a switch": {
			slot: old, upgrades: upgrades{busy, waits, queued(bulb2, bulbs, minute)},
			want: slot.BeginSwitch{
				PutOff: devices(bulb1), Until: start.Add(around + 15*minute + each),
				Deadline: start.Add(20 * second),
			},
		},
		"one that was put off asks soon": {
			slot: holding(bulbs, minute), upgrades: upgrades{busy, putOff(plug, plugs, 23*second)},
			want: slot.BeginSwitch{
				PutOff: devices(bulb1), Until: start.Add(around + 15*minute + each),
				Deadline: start.Add(20 * second),
			},
		},
		"one that was put off asks later": {
			slot: holding(bulbs, minute), upgrades: upgrades{busy, putOff(plug, plugs, 24*second)},
		},
		"one that was put off has asked and was refused": {
			slot: holding(bulbs, minute), upgrades: upgrades{busy, putOff(plug, plugs, -second)},
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
		"who was put off is called back": {
			slot: holding(plugs, minute), upgrades: upgrades{putOff(plug, plugs, minute)},
			want: slot.CallBack{Devices: devices(plug)},
		},
		"not where another switch is due": {
			slot: old, upgrades: upgrades{busy, putOff(bulb2, bulbs, -second), waits},
			want: slot.BeginSwitch{
				PutOff: devices(bulb1), Until: start.Add(around + 15*minute + each),
				Deadline: start.Add(20 * second),
			},
		},
		"who was put off has the slot when it asks": {
			slot:     holding(bulbs, minute),
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
	want := []message.IEEE{8, 7, 6, 9, 3, 4, 5, 2, 1}
	if diff := cmp.Diff(want, slot.Queue(v, start)); diff != "" {
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
