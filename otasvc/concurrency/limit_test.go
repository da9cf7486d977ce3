package concurrency_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/concurrency"
)

// noon is when every test begins.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// home is a limit with what is counted around it.
type home struct {
	limit    concurrency.Limit
	readings concurrency.Readings
	now      time.Time
	blocks   int // that have not made a hundred yet
}

func newHome(l concurrency.Limit) *home { return &home{limit: l, now: noon} }

// second is what happens in a second.
type second struct {
	waiting        int // devices that want to download; as many as may do
	silent         int // of those that may, so many do not ask
	perDevice      int // blocks that each gets
	again          int // of a hundred blocks, so many are asked for again
	unheard        int // of a hundred answers
	failed         int // of a hundred
	refused        int // of a hundred
	crowded        bool
	line           int // bytes in each direction
	lineRate       int
	alreadyRunning int // at least so many go on, whatever is allowed
}

// quick is a home in which nothing speaks against more.
var quick = second{waiting: 100, perDevice: 6}

// live lets time pass in which every second is alike. It returns the least and the most that was allowed.
func (h *home) live(d time.Duration, s second) (least, most int) {
	least = h.limit.Allowed()
	most = least
	for end := h.now.Add(d); h.now.Before(end); h.now = h.now.Add(time.Second) {
		r := &h.readings
		r.Active = max(min(h.limit.Allowed(), s.waiting)-s.silent, s.alreadyRunning)
		blocks := r.Active * s.perDevice
		r.Blocks += uint64(blocks)
		for h.blocks += blocks; h.blocks >= 100; h.blocks -= 100 {
			r.Again += uint64(s.again)
			r.Unheard += uint64(s.unheard)
			r.Failed += uint64(s.failed)
			r.Refused += uint64(s.refused)
		}
		r.Crowded = s.crowded
		r.LineRate = s.lineRate
		r.Received += uint64(s.line)
		h.limit = h.limit.After(*r, h.now)
		least = min(least, h.limit.Allowed())
		most = max(most, h.limit.Allowed())
	}
	return least, most
}

func TestWhereTheLimitGoes(t *testing.T) {
	with := func(change func(*second)) second {
		s := quick
		change(&s)
		return s
	}
	tests := map[string]struct {
		limit concurrency.Limit
		s     second
		want  int
	}{
		"room for all":             {s: quick, want: 16},
		"nobody waits":             {s: with(func(s *second) { s.waiting = 3 }), want: 4},
		"as many as there are":     {s: with(func(s *second) { s.waiting = 7 }), want: 8},
		"one does not ask":         {s: with(func(s *second) { s.silent = 1 }), want: 4},
		"slow devices":             {s: with(func(s *second) { s.perDevice = 1 }), want: 16},
		"few frames fail":          {s: with(func(s *second) { s.failed = 1 }), want: 16},
		"some fail":                {s: with(func(s *second) { s.failed = 3 }), want: 4},
		"many fail":                {s: with(func(s *second) { s.failed = 8 }), want: 1},
		"some are refused":         {s: with(func(s *second) { s.refused = 3 }), want: 4},
		"many are refused":         {s: with(func(s *second) { s.refused = 8 }), want: 1},
		"the buffers are full":     {s: with(func(s *second) { s.crowded = true }), want: 1},
		"blocks are asked again":   {s: with(func(s *second) { s.again = 30 }), want: 4},
		"answers are unheard of":   {s: with(func(s *second) { s.unheard = 15 }), want: 4},
		"a full line, unheard of":  {s: with(func(s *second) { s.line = 10_000; s.lineRate = 11520; s.unheard = 15 }), want: 1},
		"a line with room":         {s: with(func(s *second) { s.line = 5000; s.lineRate = 11520 }), want: 16},
		"a full line":              {s: with(func(s *second) { s.line = 10_000; s.lineRate = 11520 }), want: 4},
		"a full line that loses":   {s: with(func(s *second) { s.line = 10_000; s.lineRate = 11520; s.again = 20 }), want: 1},
		"a line of unknown bounds": {s: with(func(s *second) { s.line = 100_000 }), want: 16},
		"a number":                 {limit: concurrency.Fixed(7), s: with(func(s *second) { s.crowded = true }), want: 7},
		"a large number":           {limit: concurrency.Fixed(200), s: quick, want: 200},
		"no number":                {limit: concurrency.Fixed(0), s: quick, want: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			limit := tt.limit
			if limit == (concurrency.Limit{}) {
				limit = concurrency.Auto()
			}
			h := newHome(limit)
			if h.live(time.Hour, tt.s); h.limit.Allowed() != tt.want {
				t.Errorf("%d may download at once, want %d", h.limit.Allowed(), tt.want)
			}
		})
	}
}

// More may download one by one, and only after a while each.
func TestOneMoreAtATime(t *testing.T) {
	h := newHome(concurrency.Auto())
	changed := h.now
	for before := 4; before < 16; {
		h.live(time.Second, quick)
		if h.limit.Allowed() == before {
			continue
		}
		if took := h.now.Sub(changed); h.limit.Allowed() != before+1 || took < 20*time.Second || took > 25*time.Second {
			t.Errorf("from %d to %d after %v", before, h.limit.Allowed(), took)
		}
		before = h.limit.Allowed()
		changed = h.now
	}
	if h.live(time.Hour, quick); h.limit.Allowed() != 16 {
		t.Errorf("%d", h.limit.Allowed())
	}
}

// Downloads that go on though fewer may are no further sign: the limit waits for what it has changed.
func TestWaitsForWhatItHasChanged(t *testing.T) {
	h := newHome(concurrency.Auto())
	h.live(10*time.Minute, quick)
	bad := quick
	bad.crowded = true
	bad.alreadyRunning = 16
	if h.live(time.Hour, bad); h.limit.Allowed() != 12 {
		t.Errorf("%d may download while 16 do, want 12", h.limit.Allowed())
	}
	bad.alreadyRunning = 0
	if h.live(time.Minute, bad); h.limit.Allowed() >= 12 {
		t.Errorf("%d may download, and it is still too much", h.limit.Allowed())
	}
}

// After a while without downloads it begins anew; a short pause changes nothing.
func TestBeginsAnew(t *testing.T) {
	h := newHome(concurrency.Auto())
	h.live(10*time.Minute, quick)
	if h.live(9*time.Minute, second{}); h.limit.Allowed() != 16 {
		t.Errorf("%d after a short pause", h.limit.Allowed())
	}
	h.live(time.Minute, quick)
	if h.live(11*time.Minute, second{}); h.limit.Allowed() != concurrency.First {
		t.Errorf("%d after a long pause", h.limit.Allowed())
	}
}

// A connection that was made anew counts its bytes from 0 again; that is no traffic.
func TestNewConnection(t *testing.T) {
	h := newHome(concurrency.Auto())
	s := quick
	s.line = 5000
	s.lineRate = 11520
	for range 200 {
		h.live(7*time.Second, s)
		h.readings.Received = 0
	}
	if h.limit.Allowed() != 4 {
		t.Errorf("%d though no period was whole", h.limit.Allowed())
	}
	if h.live(time.Hour, s); h.limit.Allowed() != 16 {
		t.Errorf("%d", h.limit.Allowed())
	}
}

// In a home whose radio takes so many downloads and no more, the limit finds that number and stays near it: it is
// seldom too much, and seldom far below.
func TestStaysNearWhatTheRadioTakes(t *testing.T) {
	for capacity := 1; capacity <= 15; capacity++ {
		h := newHome(concurrency.Auto())
		lived := func(d time.Duration) (sum, above, changes, n int) {
			for end := h.now.Add(d); h.now.Before(end); {
				s := quick
				if h.limit.Allowed() > capacity {
					s.failed = 10
				}
				before := h.limit.Allowed()
				h.live(time.Second, s)
				n++
				sum += h.limit.Allowed()
				if h.limit.Allowed() > capacity {
					above++
				}
				if h.limit.Allowed() != before {
					changes++
				}
			}
			return sum, above, changes, n
		}
		lived(time.Hour)
		sum, above, changes, n := lived(2 * time.Hour)
		if mean := float64(sum) / float64(n); mean < 0.85*float64(capacity) {
			t.Errorf("a radio for %d: %.1f download on average", capacity, mean)
		}
		if share := float64(above) / float64(n); share > 0.06 {
			t.Errorf("a radio for %d: too much for %.0f %% of the time", capacity, 100*share)
		}
		if changes > 50 {
			t.Errorf("a radio for %d: %d changes in two hours", capacity, changes)
		}
	}
}

// Whatever is read, at least one device and at most sixteen may download, one more at most at a time, and nothing
// changes sooner than a period after the last change.
func TestRandomReadings(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		h := newHome(concurrency.Auto())
		h.live(time.Duration(r.IntN(600))*time.Second, quick)
		changed := h.now.Add(-time.Hour)
		for range 2000 {
			before := h.limit.Allowed()
			x := &h.readings
			x.Active = r.IntN(20)
			x.Blocks += uint64(r.IntN(100))
			x.Again += uint64(r.IntN(8))
			x.Unheard = uint64(max(int(x.Unheard)+r.IntN(10)-3, 0))
			x.Failed += uint64(r.IntN(5) * r.IntN(2))
			x.Refused += uint64(r.IntN(3) * r.IntN(2))
			x.Crowded = r.IntN(3) == 0
			x.LineRate = 11520 * r.IntN(2)
			x.Received += uint64(r.IntN(20_000))
			x.Sent += uint64(r.IntN(20_000))
			if r.IntN(200) == 0 {
				x.Received = 0
			}
			step := time.Duration(r.IntN(3000)) * time.Millisecond
			if r.IntN(300) == 0 {
				step = time.Duration(r.IntN(1200)) * time.Second
			}
			h.now = h.now.Add(step)
			h.limit = h.limit.After(*x, h.now)
			switch after := h.limit.Allowed(); {
			case after < 1 || after > concurrency.Most, after > before+1 && after != concurrency.First:
				t.Fatalf("seed %d: from %d to %d", seed, before, after)
			case after != before && after != concurrency.First && h.now.Sub(changed) < 20*time.Second:
				t.Fatalf("seed %d: from %d to %d, %v after the last change", seed, before, after, h.now.Sub(changed))
			case after != before:
				changed = h.now
			}
		}
	}
}
