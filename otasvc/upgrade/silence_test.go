package upgrade_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

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
