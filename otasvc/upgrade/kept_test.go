package upgrade_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// examples are upgrades from state files of the version that kept them in another way, by what is special
// about each.
func examples(t testing.TB) map[string]json.RawMessage {
	t.Helper()
	data, err := os.ReadFile("testdata/kept.json")
	if err != nil {
		t.Fatal(err)
	}
	var list map[string]json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// An upgrade that an earlier version kept is read as it was, and kept with the same keys and values.
func TestEarlierVersionsAreRead(t *testing.T) {
	for name, data := range examples(t) {
		var u upgrade.Upgrade
		if err := json.Unmarshal(data, &u); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		state, _, _ := strings.Cut(name, "-")
		if string(u.State()) != state {
			t.Errorf("%s: %s", name, u.State())
		}
		again, err := json.Marshal(&u)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		before := fields(t, data)
		if u.Ended() { // a pause and a putting off mean nothing any more
			for _, key := range []string{"held", "pausedUntil", "asideUntil", "asideTold"} {
				delete(before, key)
			}
		}
		if after := fields(t, again); !reflect.DeepEqual(before, after) {
			t.Errorf("%s\nwas  %v\nthen %v", name, before, after)
		}
	}
}

func fields(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// What people are told is paused is one of four things.
func TestPausedStagesAreToldApart(t *testing.T) {
	tests := map[string]upgrade.Stage{
		"paused-held-pausedUntil":                                             upgrade.StagePausedInQueue,
		"paused-held-startedAt-pausedUntil":                                   upgrade.StagePaused,
		"paused-asideUntil-startedAt-asideTold":                               upgrade.StagePutOff,
		"paused-held-asideUntil-startedAt-pausedUntil-asideTold":              upgrade.StagePutOffPaused,
		"scheduled-dueAt":                                                     upgrade.StageScheduled,
		"downloaded-startedAt-install":                                        upgrade.StageDownloaded,
		"applying-startedAt-wasHeld-verify":                                   upgrade.StageApplying,
		"cancelled-cancelled-held-asideUntil-startedAt-pausedUntil-asideTold": upgrade.StageCancelled,
	}
	list := examples(t)
	for name, want := range tests {
		var data []byte
		for key, value := range list { // the order of what is special does not matter
			if sameWords(key, name) {
				data = value
			}
		}
		var u upgrade.Upgrade
		if err := json.Unmarshal(data, &u); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if u.Stage() != want {
			t.Errorf("%s: %s", name, stageNames[u.Stage()])
		}
	}
}

func sameWords(a, b string) bool {
	words := func(s string) map[string]bool {
		set := map[string]bool{}
		for _, w := range strings.Split(s, "-") {
			set[w] = true
		}
		return set
	}
	return reflect.DeepEqual(words(a), words(b))
}

// An upgrade in a state that is not known is over, so that it cannot stay for ever.
func TestUnknownState(t *testing.T) {
	var u upgrade.Upgrade
	if err := json.Unmarshal([]byte(`{"state":"dreaming","tickets":["x"]}`), &u); err != nil {
		t.Fatal(err)
	}
	if u.State() != upgrade.Cancelled || u.Reason() != upgrade.ReasonCancelled || len(u.Tickets()) != 1 {
		t.Errorf("%s, %q", u.State(), u.Reason())
	}
}

// What a clock that was wrong has left in the state file does not keep an upgrade waiting.
func TestRestoredWithWrongTimes(t *testing.T) {
	l := in(upgrade.StagePutOff)
	l.now = noon.Add(-1000 * time.Hour)
	effects := l.step(upgrade.Restored{LongestWait: time.Hour})
	if count[upgrade.Save](effects) != 1 {
		t.Errorf("what was put right is not saved: %#v", effects)
	}
	if at := l.PutOffUntil(); at.After(l.now) {
		t.Errorf("put off until %v, %v from now", at, at.Sub(l.now))
	}
	if l.QueuedAt().After(l.now) {
		t.Errorf("queued at %v, now it is %v", l.QueuedAt(), l.now)
	}
}

// A restart that changes nothing of what is kept saves nothing.
func TestRestoredAsItWas(t *testing.T) {
	for stage, name := range stageNames {
		l := in(upgrade.Stage(stage))
		if effects := l.step(upgrade.Restored{LongestWait: 24 * time.Hour}); count[upgrade.Save](effects) != 0 {
			t.Errorf("%s: %#v", name, effects)
		}
	}
}

// Whatever stage an upgrade was restored in, it comes to an end by itself.
func TestRestoredUpgradesEnd(t *testing.T) {
	for name, data := range examples(t) {
		var u upgrade.Upgrade
		if err := json.Unmarshal(data, &u); err != nil {
			t.Fatal(err)
		}
		l := begin(order())
		l.Upgrade = &u
		l.now = u.QueuedAt().Add(time.Hour)
		l.step(upgrade.Restored{LongestWait: time.Hour})
		for range 100_000 {
			switch {
			case l.Stage() == upgrade.StageQueued && !l.NotBefore().After(l.now):
				l.step(upgrade.Offered{Version: l.Image().ImageVersion})
			case l.Stage().IsPutOff():
				l.step(upgrade.CalledBack{})
			}
			for _, e := range l.tick() {
				if e == (upgrade.ReadVersion{Awaited: true}) {
					l.step(upgrade.ReadingDone{})
					l.tick()
				}
			}
			next := l.Next(l.f)
			if l.Ended() {
				break
			}
			if !next.IsZero() {
				l.now = next
			}
		}
		if !l.Ended() {
			t.Errorf("%s stays %s", name, l.State())
		}
	}
}

// What is read can be kept, and what was kept is read as it was.
func FuzzUnmarshalJSON(f *testing.F) {
	for _, data := range examples(f) {
		f.Add([]byte(data))
	}
	f.Add([]byte(`{"state":"paused","held":true,"asideUntil":"2026-11-30T12:00:00Z"}`))
	f.Add([]byte(`{"state":"downloading","size":0,"offset":12,"attempt":-3,"install":"never"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var u upgrade.Upgrade
		if json.Unmarshal(data, &u) != nil {
			return
		}
		kept, err := json.Marshal(&u)
		if err != nil {
			t.Fatal(err)
		}
		var again upgrade.Upgrade
		if err := json.Unmarshal(kept, &again); err != nil {
			t.Fatal(err)
		}
		twice, err := json.Marshal(&again)
		if err != nil || !bytes.Equal(kept, twice) {
			t.Errorf("kept\n%s\nthen\n%s, %v", kept, twice, err)
		}
		u.Step(upgrade.Restored{LongestWait: time.Hour}, policy(), noon)
		u.Step(upgrade.Tick{Facts: upgrade.Facts{Connected: true}}, policy(), noon)
		if next := u.Next(upgrade.Facts{Connected: true}); !next.IsZero() && !next.After(noon) {
			t.Errorf("the next deadline is in the past: %v", next)
		}
	})
}
