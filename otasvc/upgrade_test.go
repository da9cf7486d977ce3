package otasvc

import (
	"slices"
	"testing"
	"time"
)

var allStates = []State{Scheduled, Queued, Notified, Downloading, Paused, Downloaded, Applying, Succeeded, Failed, Cancelled}

// TestStepsAreWhole checks what must hold for the state table as a whole.
func TestStepsAreWhole(t *testing.T) {
	for c, st := range steps {
		if c.state.Ended() {
			t.Errorf("%s has ended but goes on to %s", c.state, st.next)
		}
		if !slices.Contains(allStates, st.next) || c.trigger >= triggerEnd {
			t.Errorf("%v leads to %q", c, st.next)
		}
		if (st.next == Failed || st.next == Cancelled) == (st.reason == NoReason) {
			t.Errorf("%v: %s with reason %q", c, st.next, st.reason)
		}
		if st.reason != NoReason && st.reason.Explain() == "" {
			t.Errorf("reason %s has no explanation", st.reason)
		}
	}
	// Every state has a way out by itself, that is, by time, and can be cancelled.
	byTime := map[State]trigger{
		Scheduled: triggerDue, Queued: triggerOffered, Notified: triggerSilent, Downloading: triggerSilent, Paused: triggerRelease,
		Downloaded: triggerApply, Applying: triggerGone,
	}
	for _, s := range allStates {
		if s.Ended() {
			continue
		}
		if _, ok := steps[cell{s, byTime[s]}]; !ok {
			t.Errorf("%s has no way out", s)
		}
		if st, ok := steps[cell{s, triggerCancel}]; !ok || st.next != Cancelled {
			t.Errorf("%s cannot be cancelled", s)
		}
	}
}

func TestNextStep(t *testing.T) {
	tests := []struct {
		from   State
		by     trigger
		left   bool // attempts
		next   State
		reason Reason
		ok     bool
	}{
		{Queued, triggerOffered, true, Notified, NoReason, true},
		{Notified, triggerBlock, true, Downloading, NoReason, true},
		{Downloading, triggerBlock, true, "", NoReason, false},
		{Downloading, triggerComplete, true, Applying, NoReason, true},
		{Downloading, triggerSilent, true, Queued, NoReason, true},
		{Downloading, triggerSilent, false, Failed, ReasonStalled, true},
		{Downloading, triggerAborted, true, Queued, NoReason, true},
		{Downloading, triggerAborted, false, Failed, ReasonDeviceAborted, true},
		{Downloading, triggerInvalid, true, Failed, ReasonInvalidImage, true},
		{Notified, triggerSilent, false, Failed, ReasonNoResponse, true},
		{Applying, triggerOldVersion, true, Failed, ReasonVersionUnchanged, true},
		{Applying, triggerNewVersion, true, Succeeded, NoReason, true},
		{Succeeded, triggerCancel, true, "", NoReason, false},
		{Applying, triggerImageGone, true, Cancelled, ReasonImageRemoved, true},
	}
	for _, tt := range tests {
		st, ok := nextStep(tt.from, tt.by, tt.left)
		if ok != tt.ok || st.next != tt.next || st.reason != tt.reason {
			t.Errorf("%s by %d: got %+v, %v; want %s %q, %v", tt.from, tt.by, st, ok, tt.next, tt.reason, tt.ok)
		}
	}
}

func TestProgressAndRate(t *testing.T) {
	begun := time.Unix(1000, 0)
	u := &upgrade{State: Downloading, Size: 205488, Offset: 36224, StartOffset: 20000, StartedAt: begun}
	r := u.record(begun.Add(40 * time.Second))
	if r.Progress != 17.6 || r.BytesPerSecond != 405 || r.RemainingSeconds == nil || *r.RemainingSeconds != 418 {
		t.Errorf("%+v, remaining %v", r, *r.RemainingSeconds)
	}
	u.Offset = 205487
	if r := u.record(begun.Add(time.Minute)); r.Progress >= 100 {
		t.Errorf("%v %% with a byte missing", r.Progress)
	}
	u.Offset = u.StartOffset
	if r := u.record(begun); r.RemainingSeconds != nil {
		t.Errorf("remaining %v without a rate", *r.RemainingSeconds)
	}
}
