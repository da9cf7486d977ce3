package upgrade_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// noon is when every test begins.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// imageSize is the size of the image that all tests are about; oldVersion and newVersion are file versions.
const (
	imageSize  = 100_000
	oldVersion = 1
	newVersion = 2
)

// life is an upgrade with the world around it.
type life struct {
	*upgrade.Upgrade
	p   upgrade.Policy
	f   upgrade.Facts
	now time.Time
}

// policy is the one of all tests, but for what they change of it.
func policy() upgrade.Policy {
	return upgrade.Policy{
		NotifyInterval: 15 * time.Second,
		NotifyAttempts: 20,
		StallTimeout:   5 * time.Minute,
		RejoinTimeout:  15 * time.Minute,
		Retries:        2,
		Slice:          30 * time.Minute,
	}
}

// order is an upgrade that may begin at once.
func order() upgrade.Order {
	old := uint32(oldVersion)
	return upgrade.Order{
		Image: upgrade.Image{
			SHA256:           "5ca1ab1e",
			ManufacturerCode: 0x117C,
			ImageType:        0x2201,
			ImageVersion:     newVersion,
			Size:             imageSize,
		},
		OldVersion: &old,
		Tickets:    []upgrade.Ticket{upgrade.Ticket(`"someone"`)},
	}
}

// unfetched is an order whose image has to be fetched first.
func unfetched() upgrade.Order {
	o := order()
	o.SHA256 = ""
	o.Size = 0
	o.Fetch = &upgrade.Fetch{}
	return o
}

// begin is an upgrade that was just asked for, while the dongle is there and its slot holds the image.
func begin(o upgrade.Order) *life {
	return &life{
		Upgrade: upgrade.New(o, noon),
		p:       policy(),
		f:       upgrade.Facts{Connected: true, Addressed: true, Slot: upgrade.SlotHolds},
		now:     noon,
	}
}

// step tells the upgrade what happened now.
func (l *life) step(e upgrade.Event) []upgrade.Effect { return l.Step(e, l.p, l.now) }

// tick lets the clock tick.
func (l *life) tick() []upgrade.Effect { return l.step(upgrade.Tick{Facts: l.f}) }

// after lets time pass, and ticks.
func (l *life) after(d time.Duration) []upgrade.Effect {
	l.now = l.now.Add(d)
	return l.tick()
}

// quiet lets time pass with a tick at each deadline, as the owner does, and returns the effects of all.
func (l *life) quiet(d time.Duration) []upgrade.Effect {
	effects := l.tick()
	for end := l.now.Add(d); l.now.Before(end); {
		next := l.Next(l.f)
		if next.IsZero() || next.After(end) {
			next = end
		}
		l.now = next
		effects = append(effects, l.tick()...)
	}
	return effects
}

// until lets time pass with a tick at each deadline until the upgrade is in a stage, and says how long that
// took.
func (l *life) until(t *testing.T, stage upgrade.Stage) time.Duration {
	t.Helper()
	begun := l.now
	for range 100_000 {
		l.tick()
		if l.Stage() == stage {
			return l.now.Sub(begun)
		}
		next := l.Next(l.f)
		if next.IsZero() {
			break
		}
		l.now = next
	}
	t.Fatalf("it stays %s (stage %d) for ever", l.State(), l.Stage())
	return 0
}

// restart has the upgrade read from the state file, in a new life of the service.
func (l *life) restart(t *testing.T) {
	t.Helper()
	data, err := json.Marshal(l.Upgrade)
	if err != nil {
		t.Fatal(err)
	}
	l.Upgrade = &upgrade.Upgrade{}
	if err := json.Unmarshal(data, l.Upgrade); err != nil {
		t.Fatal(err)
	}
	l.step(upgrade.Restored{LongestWait: time.Hour})
}

// asks is the device's request for the block at an offset, the first of the attempt at 0.
func (l *life) asks(offset uint32) []upgrade.Effect {
	return l.step(upgrade.Progress{Position: offset, StartedAt: noon, LastRequest: l.now})
}

// ends is the device's upgrade end request.
func (l *life) ends(status uint8, slotHolds bool) []upgrade.Effect {
	e := upgrade.EndRequested{Status: status, Sequence: 7, FileVersion: newVersion, SlotHolds: slotHolds}
	return l.step(e)
}

// in is an upgrade in a stage, come there by what usually leads to it.
func in(stage upgrade.Stage) *life { return under(policy(), stage) }

// under is an upgrade in a stage, come there under a policy.
func under(p upgrade.Policy, stage upgrade.Stage) *life {
	o := order()
	switch stage {
	case upgrade.StageScheduled:
		o.DueAt = noon.Add(time.Hour)
	case upgrade.StageFinishing, upgrade.StageDownloaded:
		o.Installation.When = upgrade.InstallHold
	}
	l := begin(o)
	if stage == upgrade.StageFetching {
		l.Upgrade = upgrade.NewFetching(unfetched(), nil, noon)
	}
	l.p = p
	for _, e := range ways[stage] {
		l.step(e)
	}
	l.tick()
	return l
}

// ways say how an upgrade comes to a stage.
var ways = func() map[upgrade.Stage][]upgrade.Event {
	offered := []upgrade.Event{upgrade.Offered{Version: newVersion}}
	downloading := append(offered, upgrade.Progress{Position: 10_000, StartedAt: noon, LastRequest: noon})
	with := func(more ...upgrade.Event) []upgrade.Event {
		return append(append([]upgrade.Event(nil), downloading...), more...)
	}
	putOff := upgrade.PutOff{Until: noon.Add(20 * time.Minute), Told: true}
	end := upgrade.EndRequested{Status: message.OTASuccess, Sequence: 7, FileVersion: newVersion}
	invalid := upgrade.EndRequested{Status: message.OTAInvalidImage, FileVersion: newVersion}
	return map[upgrade.Stage][]upgrade.Event{
		upgrade.StagePausedInQueue: {upgrade.Pause{}},
		upgrade.StageNotified:      offered,
		upgrade.StageDownloading:   downloading,
		upgrade.StageFinishing:     with(upgrade.LastBlockAsked{}),
		upgrade.StagePaused:        with(upgrade.Pause{}),
		upgrade.StagePutOff:        with(putOff),
		upgrade.StagePutOffPaused:  with(putOff, upgrade.Pause{}),
		upgrade.StageDownloaded:    with(end),
		upgrade.StageApplying:      with(end),
		upgrade.StageSucceeded:     with(end, upgrade.VersionRead{Version: newVersion}),
		upgrade.StageFailed:        with(invalid),
		upgrade.StageCancelled:     {upgrade.Cancel{}},
	}
}()
