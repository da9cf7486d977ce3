package upgrade_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// count is how many effects of one kind there are.
func count[E upgrade.Effect](effects []upgrade.Effect) (n int) {
	for _, e := range effects {
		if _, is := e.(E); is {
			n++
		}
	}
	return n
}

// tells reports whether people are told of something.
func tells(effects []upgrade.Effect, what upgrade.Happening) bool {
	for _, e := range effects {
		if told, ok := e.(upgrade.Tell); ok && told.What == what {
			return true
		}
	}
	return false
}

func wantEffects(t *testing.T, got []upgrade.Effect, want ...upgrade.Effect) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("effects\n%#v\nwant\n%#v", got, want)
	}
}

func TestUpgradeFromTheRequestToTheEnd(t *testing.T) {
	l := begin(order())
	wantEffects(t, l.step(upgrade.Offered{Version: newVersion}),
		upgrade.Admit{}, upgrade.Notify{First: true}, upgrade.Changed{}, upgrade.Save{AtOnce: true})
	wantEffects(t, l.step(upgrade.NotifySent{First: true}), upgrade.Tell{What: upgrade.ImageNotified})
	wantEffects(t, l.asks(0), upgrade.Begun{}, upgrade.Tell{What: upgrade.DownloadStarted},
		upgrade.Changed{}, upgrade.Save{AtOnce: true})
	l.after(10 * time.Second)
	wantEffects(t, l.asks(50_000),
		upgrade.Tell{What: upgrade.DownloadProgress, Offset: 50_000}, upgrade.Changed{}, upgrade.Save{})
	if r := l.Record(l.now); r.Progress != 50 || r.BytesPerSecond != 5000 || *r.RemainingSeconds != 10 {
		t.Errorf("%+v", r)
	}

	l.after(10 * time.Second)
	l.asks(l.Image().Size - 63)
	wantEffects(t, l.ends(message.OTASuccess, true), upgrade.Withdraw{},
		upgrade.Tell{What: upgrade.DownloadFinished, Offset: l.Image().Size},
		upgrade.Tell{What: upgrade.UpgradeApplying, Offset: l.Image().Size},
		upgrade.Changed{}, upgrade.Save{})
	l.after(time.Minute)
	wantEffects(t, l.step(upgrade.VersionRead{Version: newVersion}),
		upgrade.Withdraw{}, upgrade.Ended{}, upgrade.Changed{}, upgrade.Save{})
	past := l.Past()
	if past.State != upgrade.Succeeded || past.Bytes != imageSize || past.BytesPerSecond != 5000 {
		t.Errorf("%+v", past)
	}
	wantEffects(t, l.step(upgrade.Answered{}), upgrade.Save{})
}

func TestProgressAndRate(t *testing.T) {
	o := order()
	o.Size = 205_488
	l := begin(o)
	l.step(upgrade.Offered{Version: newVersion})
	l.step(upgrade.Progress{Position: 36_224, First: 20_000, StartedAt: noon, LastRequest: noon})
	r := l.Record(noon.Add(40 * time.Second))
	if r.Progress != 17.6 || r.BytesPerSecond != 405 || r.RemainingSeconds == nil {
		t.Fatalf("%+v", r)
	}
	if *r.RemainingSeconds != 418 {
		t.Errorf("%d seconds remain", *r.RemainingSeconds)
	}
	l.asks(205_487)
	if r := l.Record(noon.Add(time.Minute)); r.Progress >= 100 {
		t.Errorf("%v %% with a byte missing", r.Progress)
	}
	l = in(upgrade.StageDownloading)
	if r := l.Record(noon); r.RemainingSeconds != nil {
		t.Errorf("remaining %v without a rate", *r.RemainingSeconds)
	}
}

// A query changes nothing: two of them give the same, and what is kept stays.
func TestQueriesChangeNothing(t *testing.T) {
	for stage := range upgrade.Stage(len(stageNames)) {
		l := in(stage)
		before := *l.Upgrade
		l.Telling(l.now.Add(time.Hour))
		l.Record(l.now.Add(time.Hour))
		l.Next(l.f)
		l.Past()
		l.Verdict()
		l.NotBefore()
		if !reflect.DeepEqual(before, *l.Upgrade) {
			t.Errorf("a query changes an upgrade in stage %s", stageNames[stage])
		}
	}
}

// Whatever else in a record changes, and however often it is told, its progress changes once a second at
// most.
func TestTellingIsUnhurried(t *testing.T) {
	l := in(upgrade.StageDownloading)
	l.step(upgrade.RecordTold{})
	l.now = l.now.Add(400 * time.Millisecond)
	l.asks(30_000)
	if r := l.Telling(l.now); r.Offset != 10_000 {
		t.Errorf("offset %d is told after 0.4 s", r.Offset)
	}
	l.step(upgrade.RecordTold{})
	l.now = l.now.Add(700 * time.Millisecond)
	if r := l.Telling(l.now); r.Offset != 30_000 {
		t.Errorf("offset %d is told after 1.1 s", r.Offset)
	}
}

func TestNotificationsAreRepeated(t *testing.T) {
	l := in(upgrade.StageNotified)
	l.p.Retries = 0
	effects := l.quiet(4 * time.Minute)
	if n := count[upgrade.Notify](effects); n != 16 {
		t.Errorf("%d further notifications in 4 minutes", n)
	}
	if n := count[upgrade.DistrustSlot](effects); n != 4 {
		t.Errorf("the header is loaded again %d times", n)
	}
	took := l.until(t, upgrade.StageFailed)
	if l.Reason() != upgrade.ReasonNoResponse || took > 2*time.Minute {
		t.Errorf("failed for %q after %v more", l.Reason(), took)
	}
}

// While the slot does not hold the header, a notification would be in vain.
func TestNoNotificationWithoutTheHeader(t *testing.T) {
	l := in(upgrade.StageNotified)
	l.f.Slot = upgrade.SlotOurs
	if effects := l.quiet(time.Hour); count[upgrade.Notify](effects) > 0 {
		t.Error("a device is notified of an image that the dongle does not offer")
	}
	l.f.Slot = upgrade.SlotHolds
	if n := count[upgrade.Notify](l.tick()); n != 1 {
		t.Errorf("%d notifications once it does", n)
	}
}

func TestDongleWithoutRoomForANotification(t *testing.T) {
	l := in(upgrade.StageNotified)
	l.p.Retries = 0
	for range 100 { // it is no attempt of the device's
		l.step(upgrade.NotifyBusy{Again: l.now.Add(time.Second)})
		l.after(time.Second)
	}
	if l.Stage() != upgrade.StageNotified {
		t.Fatalf("it is %s after 100 s", l.State())
	}
	for range 100_000 {
		l.step(upgrade.NotifyBusy{Again: l.now.Add(time.Second)})
		l.after(time.Second)
	}
	if l.Reason() != upgrade.ReasonNoResponse {
		t.Errorf("it is %s after more than a day", l.State())
	}
}

func TestSleepingDeviceIsWaitedFor(t *testing.T) {
	l := in(upgrade.StageNotified)
	l.p.Sleepy = true
	l.p.Retries = 0
	l.quiet(time.Hour)
	if effects := l.quiet(time.Hour); count[upgrade.Notify](effects) > 12 {
		t.Errorf("%d notifications an hour", count[upgrade.Notify](effects))
	}
	l.now = l.now.Add(time.Minute)
	l.step(upgrade.Heard{})
	if effects := l.tick(); count[upgrade.Notify](effects) != 1 {
		t.Error("it was heard, and is not notified")
	}
	took := l.until(t, upgrade.StageFailed)
	if took < 29*24*time.Hour || took > 31*24*time.Hour {
		t.Errorf("given up after %v", took)
	}
}

// A device that is deaf to notifications and asks by itself is waited for like one that sleeps, and that is
// remarked once. It is not tried again when it has not asked for all that time.
func TestDeafDeviceIsWaitedFor(t *testing.T) {
	l := in(upgrade.StageNotified)
	l.p.AsksByItself = true
	first := l.quiet(10 * time.Minute)
	if n := count[upgrade.Remark](first); n != 1 {
		t.Errorf("%d remarks when it did not answer", n)
	}
	rest := l.quiet(time.Hour)
	if n := count[upgrade.Notify](rest); n > 12 || count[upgrade.Remark](rest) > 0 {
		t.Errorf("%d notifications an hour, %d remarks more", n, count[upgrade.Remark](rest))
	}
	took := l.until(t, upgrade.StageFailed)
	if took < 29*24*time.Hour || took > 31*24*time.Hour || l.Reason() != upgrade.ReasonNoResponse || l.Attempt() != 1 {
		t.Errorf("given up after %v, reason %q, attempt %d", took, l.Reason(), l.Attempt())
	}

	l = in(upgrade.StageNotified)
	l.p.AsksByItself = true
	l.quiet(7 * 24 * time.Hour)
	l.asks(0)
	if l.Stage() != upgrade.StageDownloading {
		t.Errorf("it asks after a week, and is %s", l.State())
	}
}

func TestSleepingDeviceInTheQueueStirs(t *testing.T) {
	l := begin(order())
	l.p.Sleepy = true
	if l.step(upgrade.Heard{}); !l.AwakeUntil().After(l.now) || l.AwakeUntil().After(l.now.Add(10*time.Second)) {
		t.Error("it listens for a moment")
	}
	l.now = l.now.Add(l.p.Slice / 2)
	if l.step(upgrade.Heard{}); l.AwakeUntil().After(l.now) {
		t.Error("it goes before others twice a slice")
	}
	l.step(upgrade.Queried{})
	if !l.AwakeUntil().After(l.now) {
		t.Error("it looks for an image, and is not taken to listen")
	}
}

func TestStalledDownload(t *testing.T) {
	l := in(upgrade.StageDownloading)
	l.f.Slot = upgrade.SlotOther
	if took := l.until(t, upgrade.StageQueued); took != l.p.StallTimeout || l.Attempt() != 2 {
		t.Errorf("attempt %d after %v", l.Attempt(), took)
	}
	if !l.NotBefore().After(l.now) {
		t.Error("it may begin at once")
	}
	l.after(10 * time.Second)
	if l.NotBefore().After(l.now) || l.Offset() != 0 || l.Begun() {
		t.Errorf("%d bytes, begun %v", l.Offset(), l.Begun())
	}
	l.step(upgrade.Offered{Version: newVersion})
	l.asks(0)
	l.p.Sleepy = true // this was found out only now
	if took := l.until(t, upgrade.StageQueued); took != time.Hour {
		t.Errorf("a sleeping device is waited for %v", took)
	}
}

// Nothing runs out while the dongle is away, and what would have run out meanwhile gets a little time.
func TestDongleAway(t *testing.T) {
	stages := []upgrade.Stage{upgrade.StageNotified, upgrade.StageDownloading, upgrade.StageApplying}
	for _, stage := range stages {
		l := in(stage)
		l.p.Retries = 0
		l.f.Connected = false
		away := 3 * time.Hour
		l.quiet(away)
		if l.Stage() != stage {
			t.Fatalf("it is %s after three hours without a dongle", l.State())
		}
		l.f.Connected = true
		l.step(upgrade.DongleBack{Away: away})
		l.after(29 * time.Second)
		if l.Stage() != stage {
			t.Errorf("the dongle is back, and it is %s already", l.State())
		}
		l.until(t, upgrade.StageFailed)
	}
}

func TestDongleLost(t *testing.T) {
	tests := map[upgrade.Stage]time.Duration{
		upgrade.StageQueued:      30 * 24 * time.Hour,
		upgrade.StageDownloading: 24 * time.Hour,
	}
	for stage, limit := range tests {
		l := in(stage)
		l.f = upgrade.Facts{Hindered: true}
		for l.f.Away = 0; !l.Ended() && l.f.Away < 2*limit; l.f.Away += time.Hour {
			l.after(time.Hour)
		}
		took := l.now.Sub(noon)
		if l.Reason() != upgrade.ReasonDongleLost || took < limit || took > limit+4*time.Hour {
			t.Errorf("%s: %q after %v, want it after %v", stageNames[stage], l.Reason(), took, limit)
		}
	}
}

// A silent device makes the header doubtful once at the same place, is notified then, and is asked what it
// runs.
func TestSilenceInMidDownload(t *testing.T) {
	l := in(upgrade.StageDownloading)
	effects := l.quiet(19 * time.Second)
	if count[upgrade.DistrustSlot](effects)+count[upgrade.ReadVersion](effects) > 0 {
		t.Fatal("it is suspected before its time")
	}
	effects = l.quiet(2 * time.Second)
	if count[upgrade.DistrustSlot](effects) != 1 || count[upgrade.ReadVersion](effects) != 1 {
		t.Errorf("after 20 s: %#v", effects)
	}
	if effects = l.quiet(38 * time.Second); count[upgrade.Notify](effects) != 0 {
		t.Errorf("it may still ask: %#v", effects)
	}
	if effects = l.quiet(2 * time.Second); count[upgrade.Notify](effects) != 1 {
		t.Errorf("the header was loaded again: %#v", effects)
	}
	effects = l.quiet(3 * time.Minute)
	if count[upgrade.DistrustSlot](effects) != 0 || count[upgrade.ReadVersion](effects) != 3 {
		t.Errorf("at the same place: %#v", effects)
	}
	l.asks(20_000)
	if effects = l.quiet(30 * time.Second); count[upgrade.DistrustSlot](effects) != 1 {
		t.Error("silence at another place is not suspicious")
	}
}

// A device that was told to wait is not silent until it is to ask again, in the next life of the service neither.
func TestToldToWaitIsNoSilence(t *testing.T) {
	tests := map[string]struct {
		wait      time.Duration
		away      time.Duration // of the service; 0: it goes on
		clock     time.Duration // how far the clock is set meanwhile
		suspected time.Duration // after the request, or after the return
	}{
		"it was not":                  {suspected: 20 * time.Second},
		"the service goes on":         {wait: time.Minute, suspected: 80 * time.Second},
		"a short wait":                {wait: 10 * time.Second, suspected: 30 * time.Second},
		"a restart":                   {wait: time.Minute, away: 10 * time.Second, suspected: 70 * time.Second},
		"the wait is over by then":    {wait: time.Minute, away: 3 * time.Minute, suspected: 20 * time.Second},
		"the clock is set back":       {wait: time.Minute, away: 10 * time.Second, clock: -48 * time.Hour, suspected: 20 * time.Second},
		"the clock is set forward":    {wait: time.Minute, away: 10 * time.Second, clock: 48 * time.Hour, suspected: 20 * time.Second},
		"a restart without a request": {away: 10 * time.Second, suspected: 20 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := in(upgrade.StageDownloading)
			request := upgrade.Progress{Position: 5000, StartedAt: noon, LastRequest: l.now}
			if tt.wait > 0 {
				request.WaitsUntil = l.now.Add(tt.wait)
			}
			kept := false
			for _, e := range l.step(request) {
				_, is := e.(upgrade.Save)
				kept = kept || is
			}
			if long := tt.wait >= time.Minute; kept != long {
				t.Errorf("kept: %v, a wait of %v", kept, tt.wait)
			}
			if tt.away > 0 {
				data, err := json.Marshal(l.Upgrade)
				if err != nil {
					t.Fatal(err)
				}
				l.Upgrade = &upgrade.Upgrade{}
				if err := json.Unmarshal(data, l.Upgrade); err != nil {
					t.Fatal(err)
				}
				l.now = l.now.Add(tt.away + tt.clock)
				l.step(upgrade.Restored{LongestWait: time.Hour})
			}
			effects := l.quiet(tt.suspected - time.Second)
			if count[upgrade.DistrustSlot](effects)+count[upgrade.Notify](effects) > 0 {
				t.Errorf("it is suspected before its time: %#v", effects)
			}
			if effects = l.quiet(2 * time.Second); count[upgrade.DistrustSlot](effects) != 1 {
				t.Errorf("it is not suspected in time: %#v", effects)
			}
		})
	}
}

// A device that may be about to ask for blocks by itself is heard first.
func TestHeardBeforeItIsNotified(t *testing.T) {
	again := in(upgrade.StageNotified)
	again.ends(message.OTAAbort, true)
	again.quiet(time.Minute)
	again.step(upgrade.Offered{Version: newVersion})
	tests := map[string]struct {
		life  *life
		event upgrade.Event
		first time.Duration // of the first notification
	}{
		"the service has restarted":           {in(upgrade.StageNotified), upgrade.Restored{}, 20 * time.Second},
		"the dongle is back":                  {in(upgrade.StageNotified), upgrade.DongleBack{Away: time.Minute}, 20 * time.Second},
		"announced, never offered before":     {in(upgrade.StageNotified), upgrade.Announced{}, time.Second},
		"announced in a further attempt":      {again, upgrade.Announced{}, 30 * time.Second},
		"announced in mid-download":           {in(upgrade.StageDownloading), upgrade.Announced{}, 30 * time.Second},
		"the dongle is back, in mid-download": {in(upgrade.StageDownloading), upgrade.DongleBack{}, time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := tt.life
			if effects := l.step(tt.event); count[upgrade.Notify](effects) > 0 {
				t.Errorf("at once: %#v", effects)
			}
			if effects := l.quiet(tt.first - 1); count[upgrade.Notify](effects) > 0 {
				t.Errorf("before its time: %#v", effects)
			}
			if effects := l.quiet(1); count[upgrade.Notify](effects) != 1 {
				t.Errorf("not in time: %#v", effects)
			}
		})
	}
	l := in(upgrade.StageDownloading)
	l.step(upgrade.Announced{})
	for range 30 { // it goes on by itself
		l.quiet(10 * time.Second)
		l.asks(5000)
		if effects := l.tick(); count[upgrade.Notify](effects) > 0 {
			t.Errorf("it asks, and is notified: %#v", effects)
		}
	}
	l = in(upgrade.StageFinishing)
	if effects := append(l.step(upgrade.Announced{}), l.quiet(20*time.Second)...); count[upgrade.Notify](effects) > 0 {
		t.Errorf("it is given its last block, and is notified: %#v", effects)
	}
}

// A device in the queue that asks for blocks is not to be offered the image.
func TestStillAsks(t *testing.T) {
	l := begin(order())
	l.step(upgrade.StillAsks{})
	if at := l.NotBefore(); !at.Equal(noon.Add(20 * time.Second)) {
		t.Errorf("offered at %v", at)
	}
	l.quiet(15 * time.Second)
	l.step(upgrade.StillAsks{})
	l.quiet(20 * time.Second)
	if at := l.NotBefore(); !at.IsZero() {
		t.Errorf("offered at %v", at)
	}
	l = in(upgrade.StageDownloading)
	if effects := l.step(upgrade.StillAsks{}); len(effects) != 0 || !l.NotBefore().IsZero() {
		t.Errorf("%#v, %v", effects, l.NotBefore())
	}
}

func TestRestartsAreBounded(t *testing.T) {
	l := in(upgrade.StageDownloading)
	for n := range uint32(20) {
		l.now = l.now.Add(time.Minute)
		l.step(upgrade.Progress{Position: 100, Restarts: n + 1, StartedAt: l.now, LastRequest: l.now})
		if l.Offset() != 100 || l.Attempt() != 1 {
			t.Fatalf("restart %d: offset %d, attempt %d", n+1, l.Offset(), l.Attempt())
		}
	}
	l.step(upgrade.Progress{Restarts: 21, StartedAt: l.now, LastRequest: l.now})
	if l.Attempt() != 2 {
		t.Error("it may begin again for ever")
	}
}

func TestPauseAndPutOffAreTwoThings(t *testing.T) {
	l := in(upgrade.StagePutOffPaused)
	until := l.PutOffUntil()
	if v := l.Verdict(); v.Kind != upgrade.PutThemOff || v.Until != until {
		t.Errorf("%+v", v)
	}
	l.step(upgrade.CalledBack{})
	v := l.Verdict()
	if l.Stage() != upgrade.StagePaused || v.Kind != upgrade.HoldThem || !l.PutOffUntil().IsZero() {
		t.Errorf("called back: stage %s, %+v", stageNames[l.Stage()], v)
	}
	effects := l.step(upgrade.Resume{})
	if l.Stage() != upgrade.StageDownloading || !tells(effects, upgrade.DownloadResumed) {
		t.Errorf("resumed: stage %s, %#v", stageNames[l.Stage()], effects)
	}

	l = in(upgrade.StagePutOffPaused)
	if effects := l.step(upgrade.Resume{}); tells(effects, upgrade.DownloadResumed) || !l.Stage().IsPutOff() {
		t.Errorf("it goes on while another image has the slot: %#v", effects)
	}
	if effects := l.step(upgrade.CalledBack{}); !tells(effects, upgrade.DownloadResumed) {
		t.Errorf("%#v", effects)
	}
}

func TestPauseEndsByItself(t *testing.T) {
	for _, e := range []upgrade.Pause{{}, {For: time.Hour}} {
		l := in(upgrade.StageDownloading)
		l.step(e)
		want := e.For
		if want == 0 {
			want = 30 * 24 * time.Hour
		}
		if took := l.until(t, upgrade.StageDownloading); took != want {
			t.Errorf("after %v, want %v", took, want)
		}
	}
}

// A download that was paused before its device asked for a block goes back to the queue.
func TestResumeBeforeTheFirstBlock(t *testing.T) {
	l := in(upgrade.StageNotified)
	l.step(upgrade.Pause{})
	effects := l.step(upgrade.Resume{})
	if l.Stage() != upgrade.StageQueued || count[upgrade.Withdraw](effects) != 1 {
		t.Errorf("stage %s, %#v", stageNames[l.Stage()], effects)
	}
}

// A device that gives up while it is paused is tried again, but only when it may go on.
func TestPausedOverTheNextAttempt(t *testing.T) {
	l := in(upgrade.StagePaused)
	l.ends(message.OTAAbort, true)
	if l.Stage() != upgrade.StagePausedInQueue || l.Attempt() != 2 {
		t.Fatalf("stage %s in attempt %d", stageNames[l.Stage()], l.Attempt())
	}
	if l.ends(message.OTAAbort, true); l.Attempt() != 2 {
		t.Error("the same word, doubled, costs another attempt")
	}
	l.step(upgrade.Resume{})
	if l.Stage() != upgrade.StageQueued {
		t.Errorf("stage %s", stageNames[l.Stage()])
	}
}

func TestInstallationIsHeld(t *testing.T) {
	l := in(upgrade.StageFinishing)
	if !l.KeepsLastBlock() || !l.SlotIsKeptEmpty(l.now) {
		t.Error("the slot is not kept empty")
	}
	want := upgrade.AnswerEnd{Sequence: 7, FileVersion: newVersion, UpgradeTime: message.UpgradeTimeWait}
	if effects := l.ends(message.OTASuccess, false); effects[0] != want {
		t.Errorf("%#v", effects)
	}
	if l.SlotIsKeptEmpty(l.now) || !l.HoldsInstallation(l.now) {
		t.Error("the slot is kept empty still, or the installation is not held")
	}
	if effects := l.ends(message.OTASuccess, false); effects[0] != want || len(effects) != 1 {
		t.Errorf("asked again: %#v", effects)
	}
	effects := l.step(upgrade.Release{Ticket: upgrade.Ticket(`"another"`)})
	want.UpgradeTime = upgrade.InstallIn
	if effects[0] != want {
		t.Errorf("%#v", effects)
	}
	if len(l.Tickets()) != 2 || !tells(effects, upgrade.UpgradeApplying) {
		t.Errorf("tickets %s, %#v", l.Tickets(), effects)
	}
}

// The last block was sent, and nothing came: the download goes on after half a minute, with the header
// loaded.
func TestLastBlockIsLost(t *testing.T) {
	l := in(upgrade.StageFinishing)
	if took := l.until(t, upgrade.StageDownloading); took != 30*time.Second {
		t.Errorf("after %v", took)
	}
	l = in(upgrade.StageFinishing)
	l.step(upgrade.Pause{}) // the block may be on its way
	if !l.SlotIsKeptEmpty(l.now) {
		t.Error("a pause has the header loaded")
	}
}

// The dongle holds the header at the end of the download: it has told the device to install.
func TestInstallationCannotBeHeld(t *testing.T) {
	l := in(upgrade.StageFinishing)
	effects := l.ends(message.OTASuccess, true)
	if l.Stage() != upgrade.StageApplying || effects[0] != (upgrade.Remark{What: upgrade.NotHeld}) {
		t.Errorf("stage %s, %#v", stageNames[l.Stage()], effects)
	}
}

func TestInstallationAtATime(t *testing.T) {
	o := order()
	o.Install = upgrade.InstallAt
	o.InstallAt = noon.Add(2 * time.Hour)
	l := begin(o)
	l.step(upgrade.Offered{Version: newVersion})
	l.asks(0)
	l.ends(message.OTASuccess, false)
	if took := l.until(t, upgrade.StageApplying); took != 2*time.Hour {
		t.Errorf("after %v", took)
	}
}

func TestInstallationIsNeverReleased(t *testing.T) {
	l := in(upgrade.StageDownloaded)
	if took := l.until(t, upgrade.StageCancelled); took != 30*24*time.Hour {
		t.Errorf("after %v", took)
	}
}

// reads lets time pass, and answers each reading that is awaited with a version; 0 stands for no answer.
func (l *life) reads(d time.Duration, version uint32) (n int) {
	for end := l.now.Add(d); l.now.Before(end) && !l.Ended(); l.now = l.now.Add(time.Second) {
		if count[upgrade.ReadVersion](l.tick()) == 0 {
			continue
		}
		n++
		if version != 0 {
			l.step(upgrade.VersionRead{Version: version})
		}
		l.step(upgrade.ReadingDone{})
	}
	return n
}

func TestVersionIsReadAfterTheDownload(t *testing.T) {
	l := in(upgrade.StageApplying)
	if n := l.reads(5*time.Minute, 0); n < 8 || n > 10 {
		t.Errorf("%d readings in five minutes", n)
	}
	l.step(upgrade.Announced{})
	if n := l.reads(2*time.Second, oldVersion); n != 1 {
		t.Errorf("%d readings right after it came back", n)
	}
	if l.reads(time.Minute, oldVersion); l.Reason() != upgrade.ReasonVersionUnchanged {
		t.Errorf("it runs its old version: %s, %q", l.State(), l.Reason())
	}

	l = in(upgrade.StageApplying)
	if l.reads(20*time.Minute, 0); l.Reason() != upgrade.ReasonNotRejoined {
		t.Errorf("it never came back: %s, %q", l.State(), l.Reason())
	}
	l = in(upgrade.StageApplying)
	if l.reads(20*time.Minute, oldVersion); l.Reason() != upgrade.ReasonVersionUnchanged {
		t.Errorf("it runs its old version: %s, %q", l.State(), l.Reason())
	}
}

// Another version than before is the image's, whatever number that is, once the device is back and stays with it.
func TestAnotherVersionThanTheFiles(t *testing.T) {
	const other = newVersion + 7
	l := in(upgrade.StageApplying)
	l.step(upgrade.VersionRead{Version: other})
	l.step(upgrade.VersionRead{Version: other})
	if l.Ended() {
		t.Fatal("it is believed right away, before it was back")
	}
	l.step(upgrade.Announced{})
	l.step(upgrade.VersionRead{Version: other + 1})
	if l.step(upgrade.VersionRead{Version: other}); l.Ended() {
		t.Fatal("it is believed though it tells another number each time")
	}
	if l.reads(time.Minute, other); l.State() != upgrade.Succeeded || l.RunningVersion() == nil || *l.RunningVersion() != other {
		t.Errorf("%s, %q, runs %v", l.State(), l.Reason(), l.RunningVersion())
	}
	if r := l.Record(l.now); r.RunningVersion == nil || *r.RunningVersion != other || *r.ImageVersion != newVersion {
		t.Errorf("the record is %+v", r)
	}
	if p := l.Past(); p.RunningVersion == nil || *p.RunningVersion != other {
		t.Errorf("its past is %+v", p)
	}
}

func TestVersionsThatAreToldAfterwards(t *testing.T) {
	const other = newVersion + 7
	old, same, told := uint32(oldVersion), uint32(newVersion), uint32(other)
	for name, tt := range map[string]struct {
		before, toldAs *uint32
		announced      bool
		version        uint32
		reason         upgrade.Reason
		running        bool // RunningVersion is the version
	}{
		"the image's":                               {before: &old, announced: true, version: newVersion},
		"another":                                   {before: &old, announced: true, version: other, running: true},
		"another, and the announce was lost":        {before: &old, version: other, running: true},
		"the old one":                               {before: &old, announced: true, version: oldVersion, reason: upgrade.ReasonVersionUnchanged},
		"none that means anything":                  {before: &old, announced: true, version: 0xFFFFFFFF, reason: upgrade.ReasonVersionUnchanged},
		"another, the one before is not known":      {announced: true, version: other, reason: upgrade.ReasonVersionUnchanged},
		"the image's, the one before is not known":  {announced: true, version: newVersion},
		"the same, as was asked for":                {before: &same, announced: true, version: newVersion},
		"the same, as was asked for, differently":   {before: &told, toldAs: &told, announced: true, version: other, running: true},
		"the same as before, which is no reinstall": {before: &told, announced: true, version: other, reason: upgrade.ReasonVersionUnchanged},
	} {
		t.Run(name, func(t *testing.T) {
			o := order()
			o.OldVersion, o.ToldAs = tt.before, tt.toldAs
			l := begin(o)
			l.step(upgrade.Offered{Version: newVersion})
			l.asks(0)
			l.ends(message.OTASuccess, true)
			if tt.announced {
				l.step(upgrade.Announced{})
			}
			l.reads(20*time.Minute, tt.version)
			state := upgrade.Succeeded
			if tt.reason != upgrade.NoReason {
				state = upgrade.Failed
			}
			if l.State() != state || l.Reason() != tt.reason || (l.RunningVersion() != nil) != tt.running {
				t.Errorf("%s, %q, runs %v", l.State(), l.Reason(), l.RunningVersion())
			}
			if took := l.now.Sub(noon); took > 3*time.Minute && tt.announced {
				t.Errorf("that took %v", took)
			}
		})
	}
}

// What was known of the old version may be old: what the device tells before it gets a block counts.
func TestOldVersionIsToldAnew(t *testing.T) {
	l := begin(order())
	l.step(upgrade.VersionRead{Version: 0x10})
	l.step(upgrade.Offered{Version: newVersion})
	l.step(upgrade.VersionRead{Version: 0x11})
	l.asks(0)
	l.step(upgrade.VersionRead{Version: 0x12})
	if got := *l.OldVersion(); got != 0x11 {
		t.Errorf("the old version is 0x%x", got)
	}
}

// A device that installs the version which it runs has it before and after: its announce tells, or time.
func TestSameVersionAgain(t *testing.T) {
	for _, announced := range []bool{true, false} {
		o := order()
		same := uint32(newVersion)
		o.OldVersion = &same
		l := begin(o)
		l.step(upgrade.Offered{Version: newVersion})
		l.asks(0)
		if l.step(upgrade.VersionRead{Version: newVersion}); l.Ended() {
			t.Fatal("it is done before it has the image")
		}
		l.ends(message.OTASuccess, true)
		if announced {
			l.step(upgrade.Announced{})
		} else if l.step(upgrade.VersionRead{Version: newVersion}); l.Ended() {
			t.Fatal("it is done before it has installed the image")
		}
		if l.reads(2*time.Minute, newVersion); l.State() != upgrade.Succeeded {
			t.Errorf("announced %v: %s", announced, l.State())
		}
	}
}

// A device whose address is not known is looked for.
func TestLostDevice(t *testing.T) {
	l := begin(order())
	l.p.Retries = 0
	l.f.Addressed = false
	effects := l.quiet(30 * time.Minute)
	if n := count[upgrade.LookFor](effects); n != 7 {
		t.Errorf("it is looked for %d times", n)
	}
	l.f.Addressed = true
	if effects = l.quiet(time.Hour); count[upgrade.LookFor](effects) > 0 || l.Ended() {
		t.Error("it is looked for although it was found")
	}
	l.f.Addressed = false
	if took := l.until(t, upgrade.StageFailed); took != time.Hour || l.Reason() != upgrade.ReasonNoResponse {
		t.Errorf("%q after %v", l.Reason(), took)
	}
}

func TestCanary(t *testing.T) {
	l := begin(order())
	wantEffects(t, l.step(upgrade.WaitsFor{Device: 42}), upgrade.Changed{}, upgrade.Save{})
	if l.Canary() != 42 || l.Record(l.now).WaitsFor != 42 {
		t.Error("it does not know its canary")
	}
	wantEffects(t, l.step(upgrade.WaitsFor{Device: 42}))
	wantEffects(t, l.step(upgrade.WaitsFor{}), upgrade.Changed{}, upgrade.Save{})
	if l.Canary() != 0 {
		t.Error("it waits on")
	}
}

// Another version than the one in the header is offered where the dongle compares versions. A device that
// calls the image invalid then may mean the version.
func TestInvalidUnderAnotherVersion(t *testing.T) {
	for _, offered := range []uint32{newVersion, newVersion + 1} {
		l := begin(order())
		l.step(upgrade.Offered{Version: offered})
		l.asks(0)
		effects := l.ends(message.OTAInvalidImage, true)
		if n := count[upgrade.DistrustImage](effects); (n == 1) != (offered == newVersion) {
			t.Errorf("offered as %d: %#v", offered, effects)
		}
	}
}

func TestRetriesAreCounted(t *testing.T) {
	l := begin(order())
	for attempt := 1; attempt <= 3; attempt++ {
		if l.Attempt() != attempt || l.Ended() {
			t.Fatalf("attempt %d, %s", l.Attempt(), l.State())
		}
		l.after(time.Minute)
		l.step(upgrade.Offered{Version: newVersion})
		l.asks(0)
		effects := l.ends(message.OTAAbort, true)
		ended := count[upgrade.Ended](effects) == 1
		aborted := count[upgrade.Abort](effects) == 1
		if last := attempt == 3; ended != last || aborted != last {
			t.Errorf("attempt %d: %#v", attempt, effects)
		}
	}
	if l.Reason() != upgrade.ReasonDeviceAborted || *l.ZCLStatus() != message.OTAAbort {
		t.Errorf("%q", l.Reason())
	}
}

// A device may have asked for many blocks before the owner looks. The event of the beginning says where it
// began all the same.
func TestBeginningIsToldAsItWas(t *testing.T) {
	l := begin(order())
	l.step(upgrade.Offered{Version: newVersion})
	wantEffects(t, l.step(upgrade.Progress{Position: 640, StartedAt: noon, LastRequest: l.now}),
		upgrade.Begun{}, upgrade.Tell{What: upgrade.DownloadStarted, Offset: 0},
		upgrade.Changed{}, upgrade.Save{AtOnce: true})
	if l.Offset() != 640 {
		t.Errorf("goes on at %d", l.Offset())
	}
}
