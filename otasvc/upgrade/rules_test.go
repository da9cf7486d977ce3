package upgrade_test

import (
	"fmt"
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

// A device that gave the slot up because it was silent, and has been so ever since, is notified as soon as its image has
// the slot again: it begins no more by itself. One that may yet ask is given the time to.
func TestSilentDeviceIsNotifiedWhenCalledBack(t *testing.T) {
	for name, tt := range map[string]struct {
		away     time.Duration // between its last request and the slot
		silence  time.Duration // that such devices keep
		notified time.Duration // after the slot is its own again
	}{
		"silent for minutes":            {away: 5 * time.Minute},
		"silent for long as such are":   {away: 5 * time.Minute, silence: 10 * time.Minute, notified: 6 * time.Minute},
		"it may be about to ask":        {away: 40 * time.Second, notified: 20 * time.Second},
		"silent for as long as it must": {away: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy()
			p.Silence = tt.silence
			p.StallTimeout += tt.silence
			l := under(p, upgrade.StageDownloading)
			asked := l.now
			l.now = asked.Add(30 * time.Second)
			l.step(upgrade.PutOff{Until: l.now})
			l.now = asked.Add(tt.away)
			l.step(upgrade.CalledBack{})
			begun := l.now
			for effects := l.tick(); count[upgrade.Notify](effects) == 0; effects = l.tick() {
				if l.now = l.now.Add(time.Second); l.now.Sub(begun) > time.Hour {
					t.Fatal("it is not notified")
				}
			}
			if after := l.now.Sub(begun); after != tt.notified {
				t.Errorf("it is notified after %v, want %v", after, tt.notified)
			}
		})
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

// A device that calls an image invalid of which nothing can have gone to it means that of an earlier upgrade. The digest
// of the one that is being fetched is not known; one that is due later has not been offered yet.
func TestInvalidBeforeTheImageWentOut(t *testing.T) {
	for _, stage := range []upgrade.Stage{upgrade.StageFetching, upgrade.StageScheduled} {
		l := in(stage)
		if effects := l.ends(message.OTAInvalidImage, false); len(effects) > 0 || l.Stage() != stage {
			t.Errorf("stage %d: %#v, then stage %d", stage, effects, l.Stage())
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

// TestAttemptsThatGotFurther: such an attempt does not count against the retries, of which there are 2 here; the
// first one always does.
func TestAttemptsThatGotFurther(t *testing.T) {
	const percent = imageSize / 100
	tests := map[string]struct {
		reached  []uint32 // offset by attempt; those that follow get as far as the last one
		attempts int
	}{
		"always as far":                    {reached: []uint32{10 * percent}, attempts: 3},
		"never asks":                       {reached: []uint32{0}, attempts: 3},
		"less and less far":                {reached: []uint32{30 * percent, 20 * percent, 10 * percent}, attempts: 3},
		"the second gets further":          {reached: []uint32{10 * percent, 20 * percent}, attempts: 4},
		"further after one in vain":        {reached: []uint32{10 * percent, 5 * percent, 20 * percent}, attempts: 4},
		"each one further":                 {reached: []uint32{10 * percent, 20 * percent, 30 * percent, 40 * percent}, attempts: 6},
		"hardly further":                   {reached: []uint32{10 * percent, 10*percent + 1, 10*percent + 2}, attempts: 3},
		"further than the one before only": {reached: []uint32{20 * percent, 5 * percent, 15 * percent}, attempts: 3},
	}
	for name, tt := range tests {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %t", name, restarted), func(t *testing.T) {
				l := begin(order())
				for attempt := 1; !l.Ended(); attempt++ {
					if attempt > 20 {
						t.Fatal("it does not end")
					}
					if restarted {
						l.restart(t)
					}
					l.after(time.Minute)
					l.step(upgrade.Offered{Version: newVersion})
					l.asks(0)
					l.asks(tt.reached[min(attempt, len(tt.reached))-1])
					l.ends(message.OTAAbort, true)
				}
				if l.Attempt() != tt.attempts {
					t.Errorf("%d attempts, want %d", l.Attempt(), tt.attempts)
				}
			})
		}
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
