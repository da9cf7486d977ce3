package registry_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// rollCall is an inventory of a home, with what it knows of the devices.
type rollCall struct {
	t *testing.T
	registry.Inventory
	devices []*registry.Acquaintance
	now     time.Time
}

func newRollCall(t *testing.T) *rollCall { return &rollCall{t: t, now: now} }

// device adds one with a known OTA client that is reachable and has said nothing yet.
func (r *rollCall) device(euid message.IEEE) *registry.Acquaintance {
	d := &registry.Acquaintance{EUID: euid, Reachable: true, Client: registry.ClientKnown}
	r.devices = append(r.devices, d)
	return d
}

// pick is who is to be asked now, and when to look again. That is the same however often it is asked.
func (r *rollCall) pick() (message.IEEE, time.Time) {
	r.t.Helper()
	var all []registry.Acquaintance
	for _, d := range r.devices {
		all = append(all, *d)
	}
	pick, at := r.Next(all, r.now)
	if again, andAt := r.Next(all, r.now); again != pick || !andAt.Equal(at) {
		r.t.Fatalf("picks %v, and then %v", pick, again)
	}
	return pick, at
}

// asks has who is due asked, for a while, and returns who was asked when, since now.
func (r *rollCall) asks(d time.Duration) (asked []message.IEEE, when []time.Duration) {
	r.t.Helper()
	for end := r.now.Add(d); r.now.Before(end); {
		pick, at := r.pick()
		if pick != 0 {
			r.Asked(pick, r.now)
			asked = append(asked, pick)
			when = append(when, r.now.Sub(now))
			continue
		}
		if at.IsZero() || at.After(end) {
			at = end
		}
		if !at.After(r.now) {
			r.t.Fatalf("nobody is picked at %v, and it is to be looked at once", r.now.Sub(now))
		}
		r.now = at
	}
	return asked, when
}

// says has a device say who it is.
func (r *rollCall) says(d *registry.Acquaintance) {
	d.SaidAt = r.now
	d.LastSeen = r.now
	r.Said(d.EUID)
}

// A home is asked gently: 20 in any minute, 3 in any second, each device once as long as there are others.
func TestInventoryIsGentle(t *testing.T) {
	r := newRollCall(t)
	for i := range 100 {
		r.device(bulb + message.IEEE(i))
	}
	asked, when := r.asks(10 * time.Minute)
	seen := map[message.IEEE]bool{}
	for i, e := range asked[:100] {
		if seen[e] {
			t.Fatalf("%v is asked again while others were not asked at all", e)
		}
		seen[e] = true
		if i >= 3 && when[i]-when[i-3] < time.Second {
			t.Errorf("4 within %v", when[i]-when[i-3])
		}
		if i >= 20 && when[i]-when[i-20] < time.Minute {
			t.Errorf("21 within %v", when[i]-when[i-20])
		}
	}
	if when[39] > 90*time.Second {
		t.Errorf("the fortieth is asked after %v", when[39])
	}
}

// One that does not answer is asked ever more seldom, one that has answered once a day, and each at its own time.
func TestInventoryAsksSeldom(t *testing.T) {
	r := newRollCall(t)
	silent := r.device(bulb)
	if asked, _ := r.asks(time.Hour); len(asked) < 4 || len(asked) > 6 {
		t.Errorf("asked %d times in the first hour", len(asked))
	}
	r.asks(7 * 24 * time.Hour)
	if asked, _ := r.asks(10 * 24 * time.Hour); len(asked) < 8 || len(asked) > 13 {
		t.Errorf("asked %d times in ten days", len(asked))
	}
	r.says(silent)
	if asked, _ := r.asks(18 * time.Hour); len(asked) != 0 {
		t.Error("asked, though it has said who it is")
	}
	if asked, _ := r.asks(12 * time.Hour); len(asked) == 0 {
		t.Error("not asked for more than a day")
	}

	r = newRollCall(t)
	var homes []*registry.Acquaintance
	for i := range 50 {
		homes = append(homes, r.device(bulb+message.IEEE(i)))
	}
	for _, d := range homes {
		r.says(d)
	}
	asked, when := r.asks(30 * time.Hour)
	first := map[message.IEEE]time.Duration{}
	last := when[0]
	for i, e := range asked {
		if _, before := first[e]; !before {
			first[e] = when[i]
			last = when[i]
		}
	}
	if len(first) != 50 || last-when[0] < 6*time.Hour {
		t.Errorf("%d are asked within %v", len(first), last-when[0])
	}
}

// Who is asked, and who comes first.
// Notifications that are sent for other reasons count as well.
func TestInventoryCountsOthers(t *testing.T) {
	r := newRollCall(t)
	for range 20 {
		if at := r.Room(r.now); at.After(r.now) {
			r.now = at
		}
		r.Sent(r.now)
	}
	r.device(bulb)
	if asked, when := r.asks(2 * time.Minute); len(asked) == 0 || when[0] < time.Minute {
		t.Errorf("asks %v after %v", asked, when)
	}
}

func TestInventoryChooses(t *testing.T) {
	const other = bulb + 1
	tests := map[string]struct {
		first, second func(*rollCall, *registry.Acquaintance) // second is nil where there is no other
		want          message.IEEE
	}{
		"nobody":            {want: bulb},
		"no address":        {first: func(_ *rollCall, d *registry.Acquaintance) { d.Reachable = false }},
		"no OTA client":     {first: func(_ *rollCall, d *registry.Acquaintance) { d.Client = registry.ClientNone }},
		"not yet looked at": {first: func(_ *rollCall, d *registry.Acquaintance) { d.Client = registry.ClientUnheard }},
		"looked at in vain": {first: func(_ *rollCall, d *registry.Acquaintance) { d.Client = registry.ClientUnfound }, want: bulb},
		"occupied":          {first: func(_ *rollCall, d *registry.Acquaintance) { d.Occupied = true }},
		"occupied, awaited": {first: func(_ *rollCall, d *registry.Acquaintance) { d.Occupied, d.Awaited = true, true }},
		"has just said it":  {first: func(r *rollCall, d *registry.Acquaintance) { r.says(d) }},
		"has said it, and somebody wants to hear it again": {
			first: func(r *rollCall, d *registry.Acquaintance) { r.says(d); d.Awaited = true }, want: bulb,
		},
		"has said it before the start, and tells no version": {
			first: func(r *rollCall, d *registry.Acquaintance) { r.says(d); d.Stale = true }, want: bulb,
		},
		"is busy":    {first: func(r *rollCall, d *registry.Acquaintance) { r.Busy(d.EUID, r.now) }},
		"refuses it": {first: func(r *rollCall, d *registry.Acquaintance) { r.Refused(d.EUID, r.now) }},
		"sleeps, and was never asked": {
			first: func(_ *rollCall, d *registry.Acquaintance) { d.Sleepy = true }, want: bulb,
		},
		"sleeps, and was asked in vain": {first: func(r *rollCall, d *registry.Acquaintance) {
			d.Sleepy = true
			r.Asked(d.EUID, r.now.Add(-time.Hour))
		}},
		"slept, and is awake": {first: func(r *rollCall, d *registry.Acquaintance) {
			d.Sleepy = true
			r.Asked(d.EUID, r.now.Add(-time.Hour))
			d.LastSeen = r.now.Add(-time.Second)
		}, want: bulb},
		"one that somebody waits for comes first": {
			second: func(_ *rollCall, d *registry.Acquaintance) { d.Awaited = true }, want: other,
		},
		"one that is awake for a moment comes first": {
			second: func(r *rollCall, d *registry.Acquaintance) { d.Sleepy, d.LastSeen = true, r.now }, want: other,
		},
		"one that was never asked comes first": {
			first:  func(r *rollCall, d *registry.Acquaintance) { r.Asked(d.EUID, r.now.Add(-time.Hour)) },
			second: func(*rollCall, *registry.Acquaintance) {}, want: other,
		},
		"one of which nothing is known comes first": {
			first:  func(*rollCall, *registry.Acquaintance) {},
			second: func(_ *rollCall, d *registry.Acquaintance) { d.Unknown = true }, want: other,
		},
		"one with a known OTA client comes first": {
			first:  func(_ *rollCall, d *registry.Acquaintance) { d.Client = registry.ClientUnfound },
			second: func(*rollCall, *registry.Acquaintance) {}, want: other,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRollCall(t)
			d := r.device(bulb)
			if tt.first != nil {
				tt.first(r, d)
			}
			if tt.second != nil {
				tt.second(r, r.device(other))
			}
			if got, _ := r.pick(); got != tt.want {
				t.Errorf("asks %v, want %v", got, tt.want)
			}
		})
	}
}

// Whoever waits for a device's word has it asked again soon; one that is busy is asked again in minutes, one that
// refuses in a day.
func TestInventoryAsksAgain(t *testing.T) {
	after := func(note func(*rollCall, *registry.Acquaintance)) time.Duration {
		r := newRollCall(t)
		d := r.device(bulb)
		r.Asked(bulb, r.now)
		note(r, d)
		_, when := r.asks(72 * time.Hour)
		if len(when) == 0 {
			return 0
		}
		return when[0]
	}
	tests := map[string]struct {
		note        func(*rollCall, *registry.Acquaintance)
		least, most time.Duration
	}{
		"awaited":  {func(_ *rollCall, d *registry.Acquaintance) { d.Awaited = true }, 3 * time.Second, 10 * time.Second},
		"in vain":  {func(*rollCall, *registry.Acquaintance) {}, 10 * time.Second, 30 * time.Second},
		"busy":     {func(r *rollCall, d *registry.Acquaintance) { r.Busy(d.EUID, r.now) }, 5 * time.Minute, 15 * time.Minute},
		"refused":  {func(r *rollCall, d *registry.Acquaintance) { r.Refused(d.EUID, r.now) }, 18 * time.Hour, 30 * time.Hour},
		"answered": {func(r *rollCall, d *registry.Acquaintance) { r.says(d) }, 18 * time.Hour, 30 * time.Hour},
	}
	for name, tt := range tests {
		if got := after(tt.note); got < tt.least || got > tt.most {
			t.Errorf("%s: asked again after %v", name, got)
		}
	}
}

// It is known whether an answer may still come, and how often one did not.
func TestInventoryAwaitsAnswers(t *testing.T) {
	r := newRollCall(t)
	d := r.device(bulb)
	if r.Expects(time.Second, r.now) || r.AwaitsWord(bulb, r.now) || r.InVain(bulb) != 0 {
		t.Error("nobody was asked")
	}
	r.Asked(bulb, r.now)
	if !r.Expects(time.Second, r.now) || r.Expects(time.Second, r.now.Add(2*time.Second)) || !r.AwaitsWord(bulb, r.now) || r.InVain(bulb) != 1 {
		t.Error("it was asked")
	}
	if r.AwaitsWord(bulb, r.now.Add(time.Minute)) {
		t.Error("nobody waits for so long")
	}
	r.says(d)
	if r.Expects(time.Second, r.now) || r.InVain(bulb) != 0 {
		t.Error("it has answered")
	}
	r.Asked(bulb, r.now)
	r.Forget(bulb)
	if r.Expects(time.Second, r.now) || r.InVain(bulb) != 0 {
		t.Error("it was forgotten")
	}
}
