package upgrade_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// TestRandomLives tells upgrades all kinds of things in any order, and checks what must hold whatever
// happens.
func TestRandomLives(t *testing.T) {
	lives := uint64(3000)
	if testing.Short() {
		lives = 300
	}
	reached := map[upgrade.Stage]int{}
	for seed := range lives {
		r := rand.New(rand.NewPCG(seed, 2026))
		randomLife(t, r, reached, seed%60 == 0)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	for stage, name := range stageNames {
		if reached[upgrade.Stage(stage)] == 0 {
			t.Errorf("no life came to stage %s", name)
		}
	}
}

// randomOrder is any order.
func randomOrder(r *rand.Rand) upgrade.Order {
	o := order()
	switch r.IntN(4) {
	case 0:
		o.Installation.When = upgrade.InstallHold
	case 1:
		o.Installation.When = upgrade.InstallAt
		o.Installation.At = noon.Add(time.Duration(r.IntN(10)) * time.Hour)
	}
	if r.IntN(4) == 0 {
		o.DueAt = noon.Add(time.Duration(r.IntN(10)) * time.Hour)
	}
	if r.IntN(4) == 0 {
		o.OldVersion = nil
	}
	if r.IntN(4) == 0 {
		o.Forced = true
	}
	return o
}

func randomLife(t *testing.T, r *rand.Rand, reached map[upgrade.Stage]int, watchKept bool) {
	o := randomOrder(r)
	l := begin(o)
	if r.IntN(4) == 0 {
		o.Image = unfetched().Image
		o.Fetch = unfetched().Fetch
		l.Upgrade = upgrade.NewFetching(o, nil, noon)
	}
	l.p.Retries = r.IntN(3)
	l.p.Sleepy = r.IntN(4) == 0
	device := &randomDevice{r: r, life: l, watchKept: watchKept}
	for range 300 {
		l.now = l.now.Add(time.Duration(r.ExpFloat64() * float64(time.Minute)))
		e := device.does()
		device.check(t, e)
		l.f.Slot = upgrade.SlotFor(r.IntN(3))
		l.f.Addressed = r.IntN(8) > 0
		l.f.Connected = r.IntN(8) > 0
		device.check(t, upgrade.Tick{Facts: l.f})
		reached[l.Stage()]++

		if next := l.Next(l.f); !next.IsZero() && !next.After(l.now) {
			t.Errorf("%s: after a tick the next deadline is %v ago", stageNames[l.Stage()], l.now.Sub(next))
		}
		if r.IntN(20) == 0 {
			device.restart(t)
		}
	}
}

// randomDevice is the world of an upgrade, which tells it all kinds of things.
type randomDevice struct {
	*life
	r        *rand.Rand
	position uint32
	restarts uint32
	inVain   int    // attempts after the first one that got no further than those before them
	furthest uint32 // offset that the furthest attempt got to

	watchKept bool // what is kept is compared at each event, which takes long
}

// endStatuses are what a device may say at the end of its download.
var endStatuses = []uint8{
	message.OTASuccess, message.OTASuccess, message.OTAAbort, message.OTAInvalidImage, message.OTARequireMoreImage,
}

// does picks an event.
func (d *randomDevice) does() upgrade.Event {
	r := d.r
	if d.Stage() == upgrade.StageFetching && r.IntN(2) == 0 {
		return d.fetching()
	}
	switch r.IntN(40) {
	case 0, 1, 2, 3, 4:
		return upgrade.Offered{Version: newVersion + uint32(r.IntN(2))}
	case 5, 6, 7, 8, 9, 10, 11:
		return d.progress()
	case 12:
		return upgrade.LastBlockAsked{SlotFixed: r.IntN(8) == 0}
	case 13, 14:
		status := endStatuses[r.IntN(len(endStatuses))]
		return upgrade.EndRequested{
			Status: status, Sequence: uint8(r.IntN(256)), FileVersion: newVersion, SlotHolds: r.IntN(2) == 0,
		}
	case 15, 16:
		return upgrade.Pause{For: time.Duration(r.IntN(100)) * time.Minute}
	case 17, 18:
		return upgrade.Resume{}
	case 19, 20:
		return upgrade.PutOff{Until: d.now.Add(time.Duration(r.IntN(60)) * time.Minute), Told: r.IntN(2) == 0}
	case 21, 22:
		return upgrade.CalledBack{}
	case 23:
		return upgrade.SlotGivenUp{InVain: r.IntN(2) == 0}
	case 24:
		return upgrade.VersionRead{Version: oldVersion}
	case 25:
		if r.IntN(3) == 0 {
			return upgrade.VersionRead{Version: newVersion}
		}
		return upgrade.Heard{}
	case 26:
		return upgrade.Announced{}
	case 27:
		return upgrade.Queried{SlotHolds: r.IntN(2) == 0}
	case 28:
		return upgrade.NotifyBusy{Again: d.now.Add(time.Second)}
	case 29:
		return upgrade.ReadingDone{}
	case 30:
		return upgrade.DongleBack{Away: time.Duration(r.IntN(100)) * time.Minute}
	case 31:
		return upgrade.WaitsFor{Device: message.IEEE(r.IntN(3))}
	case 32:
		return upgrade.RecordTold{}
	case 33:
		return upgrade.Release{Ticket: upgrade.Ticket(`"later"`)}
	case 34:
		return upgrade.Answered{}
	case 35:
		return upgrade.StillAsks{}
	case 36:
		return d.rare()
	default:
		return upgrade.Heard{}
	}
}

// rare picks an event that ends most upgrades.
func (d *randomDevice) rare() upgrade.Event {
	ends := []upgrade.Event{
		upgrade.Cancel{}, upgrade.Forgotten{}, upgrade.ImageRemoved{}, upgrade.ImageUnavailable{}, upgrade.CanaryFailed{},
		upgrade.BatteryLow{}, upgrade.WrongHardware{Why: "the image is for others"}, upgrade.DongleReplaced{}, upgrade.ReleasedByHand{In: time.Minute},
	}
	if d.r.IntN(3) > 0 {
		return upgrade.Heard{}
	}
	return ends[d.r.IntN(len(ends))]
}

// fetching is what becomes of an image that is being fetched.
func (d *randomDevice) fetching() upgrade.Event {
	image := order().Image
	switch d.r.IntN(8) {
	case 0, 1, 2:
		return upgrade.ImageFetched{Image: image}
	case 3:
		return upgrade.ImageAdded{Image: image, Fetch: upgrade.Fetch{ImageVersion: &image.ImageVersion}}
	case 4:
		return upgrade.Refusal{Reason: upgrade.ReasonImageAccessFailed, Image: image, Unseen: d.r.IntN(2) == 0}
	default:
		return upgrade.FileProgress{Done: uint32(d.r.IntN(imageSize)), Total: uint32(d.r.IntN(2) * imageSize)}
	}
}

// progress is what a block server may have counted: a device goes on, or begins again.
func (d *randomDevice) progress() upgrade.Event {
	if d.position >= imageSize || d.r.IntN(10) == 0 {
		d.position = 0
		d.restarts++
	}
	d.position = min(d.position+uint32(d.r.IntN(20_000)), imageSize)
	p := upgrade.Progress{Position: d.position, Restarts: d.restarts, StartedAt: d.now, LastRequest: d.now}
	if d.r.IntN(10) == 0 {
		p.WaitsUntil = d.now.Add(time.Duration(d.r.IntN(3600)) * time.Second)
	}
	return p
}

// check lets something happen and checks what must hold then.
func (d *randomDevice) check(t *testing.T, e upgrade.Event) {
	t.Helper()
	before := *d.Upgrade
	effects := d.saved(t, e)
	told := count[upgrade.Changed](effects) == 1 && count[upgrade.Save](effects) == 1
	if count[upgrade.Withdraw](effects) > 0 {
		d.restarts = 0 // the next right to blocks is counted anew
	}
	switch _, answered := e.(upgrade.Answered); {
	case before.Ended() && !answered && (d.Stage() != before.Stage() || len(effects) > 0):
		t.Errorf("%T moves an upgrade that has ended: %#v", e, effects)
	case d.Stage() != before.Stage() && !told:
		t.Errorf("%T moves it, and nobody is told: %#v", e, effects)
	case d.Ended() != before.Ended() && count[upgrade.Ended](effects)+count[upgrade.TakenBack](effects) != 1:
		t.Errorf("%T ends it, and nobody is told: %#v", e, effects)
	}
	if d.Attempt() > before.Attempt() {
		d.attempted(before.Attempt(), before.Offset())
	}
	if d.Attempt() < before.Attempt() || d.Attempt() > before.Attempt()+1 || d.inVain > max(d.p.Retries-1, 0) {
		t.Errorf("%T: attempt %d after %d, %d in vain, with %d retries",
			e, d.Attempt(), before.Attempt(), d.inVain, d.p.Retries)
	}
	seen, _ := e.(upgrade.Progress)
	beganAgain := seen.Position > 0 && seen.Position < before.Offset() || before.Stage() == upgrade.StageFetching
	if d.Offset() < before.Offset() && d.Attempt() == before.Attempt() && !beganAgain {
		t.Errorf("%T: progress goes back from %d to %d", e, before.Offset(), d.Offset())
	}
	if d.Offset() > imageSize || d.Progress() > 100 {
		t.Errorf("%T: offset %d", e, d.Offset())
	}
	if (d.State() == upgrade.Failed || d.State() == upgrade.Cancelled) != (d.Reason() != upgrade.NoReason) {
		t.Errorf("%T: %s, %q", e, d.State(), d.Reason())
	}
}

// attempted counts an attempt that has failed and is followed by another one.
func (d *randomDevice) attempted(attempt int, offset uint32) {
	if attempt > 1 && offset < d.furthest+imageSize/100 {
		d.inVain++
	}
	d.furthest = max(d.furthest, offset)
}

// restart is what a restart of the service does. All that is kept survives it.
func (d *randomDevice) restart(t *testing.T) {
	t.Helper()
	kept, err := json.Marshal(d.Upgrade)
	if err != nil {
		t.Fatal(err)
	}
	var again upgrade.Upgrade
	if err := json.Unmarshal(kept, &again); err != nil {
		t.Fatal(err)
	}
	if twice, _ := json.Marshal(&again); !bytes.Equal(kept, twice) {
		t.Errorf("kept\n%s\nthen\n%s", kept, twice)
	}
	if again.State() != d.State() {
		t.Errorf("%s becomes %s", d.State(), again.State())
	}
	d.Upgrade = &again
	d.restarts = 0
	d.saved(t, upgrade.Restored{LongestWait: time.Hour})
}

// saved lets something happen, and checks that the owner is told to save where what is kept is different then.
// The offset alone is saved now and then, and a wait where it is long.
func (d *randomDevice) saved(t *testing.T, e upgrade.Event) []upgrade.Effect {
	t.Helper()
	if !d.watchKept {
		return d.step(e)
	}
	before := keptAtOnce(t, d.Upgrade)
	effects := d.step(e)
	if count[upgrade.Save](effects) > 0 {
		return effects
	}
	if diff := cmp.Diff(before, keptAtOnce(t, d.Upgrade)); diff != "" {
		t.Errorf("%T changes what is kept, and nobody saves it:\n%s", e, diff)
	}
	return effects
}

// keptAtOnce is what is kept of an upgrade, without the offset and the wait, and without the size of a file that is
// being fetched: who begins its fetch again is told anew.
func keptAtOnce(t *testing.T, u *upgrade.Upgrade) map[string]any {
	t.Helper()
	data, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	var kept map[string]any
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	delete(kept, "offset")
	delete(kept, "waitsUntil")
	if u.Stage() == upgrade.StageFetching {
		delete(kept, "size")
	}
	return kept
}
