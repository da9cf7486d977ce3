package acceptance_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/acceptance"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// counted is what is counted at a time after noon.
type counted struct {
	at             time.Duration
	taken, refused uint64
}

// told is a verdict, and when it came.
type told struct {
	At      time.Duration
	Verdict acceptance.Verdict
}

// asks is a device that asks so many times for a block, each of which is sent so many times and refused.
func asks(from, every time.Duration, times int, sent uint64) (list []counted) {
	for n := range times {
		list = append(list, counted{at: from + time.Duration(n)*every, refused: sent})
	}
	return list
}

func after(lists ...[]counted) (all []counted) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

func taken(at time.Duration) []counted { return []counted{{at: at, taken: 1}} }

// look plays what is counted, with a look each quarter of a second, and gives the verdicts without doubts.
func look(j acceptance.Judgement, during time.Duration, mayReset bool, list []counted) (acceptance.Judgement, []told) {
	var verdicts []told
	r := acceptance.Readings{MayReset: mayReset}
	for at := time.Duration(0); at <= during; at += 250 * time.Millisecond {
		for len(list) > 0 && list[0].at <= at {
			r.Taken += list[0].taken
			r.Refused += list[0].refused
			list = list[1:]
		}
		var v acceptance.Verdict
		if j, v = j.After(r, noon.Add(at)); v != acceptance.NoNews && v != acceptance.Doubted {
			verdicts = append(verdicts, told{at, v})
		}
	}
	return j, verdicts
}

func TestVerdicts(t *testing.T) {
	const s = time.Second
	tests := map[string]struct {
		list    []counted
		during  time.Duration
		noReset bool
		want    []told
		refuses bool // in the end
		holds   bool
		tries   bool
	}{
		"nothing happens": {during: time.Hour},
		"blocks are taken": {
			list: after(taken(s), taken(2*s)), during: time.Hour,
		},
		"no room for a moment": {
			list: asks(0, 0, 1, 4), during: time.Hour,
		},
		"no room for eight seconds, and the device is gone": {
			list: asks(0, 2*s, 4, 4), during: time.Hour,
		},
		"no room for half a minute, and then some": {
			list: after(asks(0, 5*s, 6, 4), taken(29*s), asks(30*s, 5*s, 3, 4), taken(50*s)), during: time.Hour,
		},
		"one in ten is taken": {
			list: after(asks(0, s, 9, 1), taken(9*s), asks(10*s, s, 9, 1), taken(19*s), asks(20*s, s, 9, 1),
				taken(29*s), asks(30*s, s, 9, 1), taken(39*s)), during: 41 * s,
		},
		"refusals that have nothing to do with each other": {
			list: after(asks(0, 0, 1, 4), asks(time.Hour, 0, 1, 4), asks(2*time.Hour, 0, 1, 4)), during: 3 * time.Hour,
		},
		"refuses, and still does after a reset": {
			list: asks(0, 5*s, 12, 4), during: 5 * time.Minute,
			want:    []told{{30 * s, acceptance.ResetIt}, {38 * s, acceptance.Refuses}},
			refuses: true, holds: true,
		},
		"refuses, each block once": {
			list: asks(0, 6*s, 10, 1), during: 5 * time.Minute,
			want:    []told{{30 * s, acceptance.ResetIt}, {42 * s, acceptance.Refuses}},
			refuses: true, holds: true,
		},
		"a device gives up soon": {
			list: after(asks(0, 3*s, 4, 4), asks(38*s, 3*s, 4, 4)), during: 5 * time.Minute,
			want:    []told{{30 * s, acceptance.ResetIt}, {41 * s, acceptance.Refuses}},
			refuses: true, holds: true,
		},
		"a device asks every 45 s": {
			list: asks(0, 45*s, 3, 4), during: 5 * time.Minute,
			want:    []told{{45 * s, acceptance.ResetIt}, {93 * s, acceptance.Refuses}},
			refuses: true, holds: true,
		},
		"what it says while it starts does not count": {
			list: after(asks(0, 5*s, 6, 4), asks(30500*time.Millisecond, s, 2, 4), taken(34*s)), during: 5 * time.Minute,
			want: []told{{30 * s, acceptance.ResetIt}, {34 * s, acceptance.Takes}},
		},
		"the reset helps": {
			list: after(asks(0, 5*s, 6, 4), taken(35*s)), during: time.Hour,
			want: []told{{30 * s, acceptance.ResetIt}, {35 * s, acceptance.Takes}},
		},
		"nobody asks after the reset": {
			list: asks(0, 5*s, 6, 4), during: time.Hour,
			want: []told{{30 * s, acceptance.ResetIt}},
		},
		// No room for a moment says as little after the reset as before it.
		"one refusal after the reset, and then nobody asks for an hour": {
			list:   after(asks(0, 5*s, 6, 4), asks(40*s, 0, 1, 1), asks(3600*s, 4*s, 2, 4), taken(3606*s)),
			during: 2 * time.Hour,
			want:   []told{{30 * s, acceptance.ResetIt}},
		},
		"one refusal after the reset, and the next one while it counts": {
			list:    after(asks(0, 5*s, 6, 4), asks(600*s, 0, 1, 1), asks(1100*s, 0, 1, 1)),
			during:  20 * time.Minute,
			want:    []told{{30 * s, acceptance.ResetIt}, {1100 * s, acceptance.Refuses}},
			refuses: true, holds: true,
		},
		"the reset helps for a minute": {
			list: after(asks(0, 5*s, 6, 4), taken(35*s), asks(100*s, 5*s, 12, 4)), during: 5 * time.Minute,
			want: []told{
				{30 * s, acceptance.ResetIt}, {35 * s, acceptance.Takes}, {130 * s, acceptance.Refuses},
			},
			refuses: true, holds: true,
		},
		"the reset helps for an hour": {
			list: after(asks(0, 5*s, 6, 4), taken(35*s), asks(3600*s, 5*s, 6, 4), taken(3635*s)), during: 2 * time.Hour,
			want: []told{
				{30 * s, acceptance.ResetIt}, {35 * s, acceptance.Takes},
				{3630 * s, acceptance.ResetIt}, {3635 * s, acceptance.Takes},
			},
		},
		"it cannot be reset": {
			list: asks(0, 5*s, 12, 4), during: 5 * time.Minute, noReset: true,
			want:    []told{{45 * s, acceptance.Refuses}},
			refuses: true, holds: true,
		},
		"it is tried again": {
			list: asks(0, 5*s, 9, 4), during: 20 * time.Minute,
			want: []told{
				{30 * s, acceptance.ResetIt}, {38 * s, acceptance.Refuses}, {940 * s, acceptance.TryIt},
			},
			refuses: true, tries: true,
		},
		"it is tried again, and takes blocks": {
			list: after(asks(0, 5*s, 9, 4), taken(1000*s)), during: 30 * time.Minute,
			want: []told{
				{30 * s, acceptance.ResetIt}, {38 * s, acceptance.Refuses}, {940 * s, acceptance.TryIt},
				{1000 * s, acceptance.Takes},
			},
		},
		"it is tried again, and has no room for a moment": {
			list: after(asks(0, 5*s, 9, 4), asks(1000*s, 0, 1, 4), taken(1005*s)), during: 30 * time.Minute,
			want: []told{
				{30 * s, acceptance.ResetIt}, {38 * s, acceptance.Refuses}, {940 * s, acceptance.TryIt},
				{1005 * s, acceptance.Takes},
			},
		},
		"it is tried again in vain": {
			list: after(asks(0, 5*s, 9, 4), asks(1000*s, 5*s, 3, 4)), during: 1100 * s,
			want: []told{
				{30 * s, acceptance.ResetIt}, {38 * s, acceptance.Refuses}, {940 * s, acceptance.TryIt},
				{1008 * s, acceptance.RefusesStill},
			},
			refuses: true, holds: true,
		},
		"a block is taken that nobody waits for": {
			list: after(asks(0, 5*s, 9, 4), taken(100*s)), during: 5 * time.Minute,
			want: []told{
				{30 * s, acceptance.ResetIt}, {38 * s, acceptance.Refuses}, {100 * s, acceptance.Takes},
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			j, got := look(acceptance.Judgement{}, tt.during, !tt.noReset, tt.list)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			if j.Refuses() != tt.refuses || j.Holds() != tt.holds || j.Tries() != tt.tries {
				t.Errorf("in the end it refuses: %t, holds: %t, tries: %t", j.Refuses(), j.Holds(), j.Tries())
			}
		})
	}
}

// A dongle that was connected or restarted is judged anew; that it has started after the reset that it was told is no
// news.
func TestJudgedAnew(t *testing.T) {
	const s = time.Second
	refusing, _ := look(acceptance.Judgement{}, time.Minute, true, asks(0, 5*s, 9, 4))
	if !refusing.Refuses() || refusing.RefusedSince() != noon {
		t.Fatalf("it refuses: %t, since %v", refusing.Refuses(), refusing.RefusedSince())
	}
	for name, j := range map[string]acceptance.Judgement{"connected": refusing.Connected(), "restarted": refusing.Restarted()} {
		if j.Refuses() || j.Holds() {
			t.Errorf("%s: it still refuses", name)
		}
		// What was counted before does not count again.
		if _, v := j.After(acceptance.Readings{Refused: 36, MayReset: true}, noon.Add(2*time.Minute)); v != acceptance.NoNews {
			t.Errorf("%s: verdict %d", name, v)
		}
	}

	wasReset, _ := look(acceptance.Judgement{}, 31*s, true, asks(0, 5*s, 6, 4))
	readings := acceptance.Readings{Refused: 32, MayReset: true}
	for name, tt := range map[string]struct {
		j    acceptance.Judgement
		want acceptance.Verdict
	}{
		"after its reset": {wasReset.Restarted(), acceptance.Refuses},
		"connected":       {wasReset.Connected(), acceptance.NoNews},
	} {
		j, _ := tt.j.After(readings, noon.Add(35*s))
		if _, v := j.After(readings, noon.Add(39*s)); v != tt.want {
			t.Errorf("%s: verdict %d, want %d", name, v, tt.want)
		}
	}
}

// Each run of refusals is news once, when it has gone on for a while.
func TestDoubted(t *testing.T) {
	const s = time.Second
	tests := map[string]struct {
		list []counted
		want []time.Duration
	}{
		"nothing happens":            {},
		"refused for fourteen":       {list: after(asks(0, 0, 1, 4), taken(14*s))},
		"refused once, then silence": {list: asks(0, 0, 1, 4), want: []time.Duration{15 * s}},
		"asked for again":            {list: asks(s, 5*s, 3, 4), want: []time.Duration{16 * s}},
		"twice": {
			list: after(asks(0, 0, 1, 1), taken(20*s), asks(30*s, 0, 1, 1)),
			want: []time.Duration{15 * s, 45 * s},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var j acceptance.Judgement
			var r acceptance.Readings
			var got []time.Duration
			for at := time.Duration(0); at < time.Hour; at += s {
				for len(tt.list) > 0 && tt.list[0].at <= at {
					r.Taken += tt.list[0].taken
					r.Refused += tt.list[0].refused
					tt.list = tt.list[1:]
				}
				var v acceptance.Verdict
				if j, v = j.After(r, noon.Add(at)); v == acceptance.Doubted {
					got = append(got, at)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("doubted (-want +got):\n%s", diff)
			}
		})
	}
}
