package upgrade_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// fetches is an upgrade whose image is being fetched; before is the device's upgrade before.
func fetches(o upgrade.Order, before *upgrade.Upgrade) *life {
	l := begin(o)
	l.Upgrade = upgrade.NewFetching(o, before, noon)
	return l
}

// An upgrade whose image is there waits for its turn, or for its time, as one that never had to be fetched.
func TestFetchedGoesOn(t *testing.T) {
	for name, tt := range map[string]struct {
		due  time.Time
		want upgrade.Stage
	}{
		"at once":                            {time.Time{}, upgrade.StageQueued},
		"later":                              {noon.Add(time.Hour), upgrade.StageScheduled},
		"too late, as the fetch took longer": {noon.Add(time.Minute), upgrade.StageQueued},
	} {
		t.Run(name, func(t *testing.T) {
			o := unfetched()
			o.DueAt = tt.due
			l := fetches(o, nil)
			l.step(upgrade.FileProgress{Done: 30_000, Total: 60_000})
			if r := l.Record(l.now); r.State != upgrade.Fetching || r.Offset != 30_000 || r.Size != 60_000 || r.Progress != 50 {
				t.Errorf("while it is fetched: %+v", r)
			}
			l.now = noon.Add(2 * time.Minute)
			l.step(upgrade.ImageFetched{Image: order().Image, HoldLimit: time.Hour})
			if l.Stage() != tt.want || l.Fetch() != nil || l.Offset() != 0 || l.Image() != order().Image || l.OfferedVersion() != newVersion {
				t.Errorf("then: stage %d, %+v", l.Stage(), l.Record(l.now))
			}
			l.until(t, upgrade.StageQueued)
			if l.now.Before(tt.due) {
				t.Errorf("in the queue at %v", l.now)
			}
		})
	}
}

// Progress of the file is told when it moved by a percent, or after ten seconds, and once a second at most. It is
// not worth a write of the state.
func TestFileProgressIsTold(t *testing.T) {
	l := fetches(unfetched(), nil)
	told := 0
	for second := range 100 {
		l.now = noon.Add(time.Duration(second) * time.Second)
		for half := range 2 {
			done := uint32(second*1000 + half*500)
			effects := l.step(upgrade.FileProgress{Done: done, Total: 1_000_000})
			told += count[upgrade.Changed](effects)
			if count[upgrade.Save](effects) > 0 || count[upgrade.Tell](effects) > 0 {
				t.Errorf("at %d: %#v", done, effects)
			}
		}
	}
	if told < 9 || told > 11 { // 10 percent in 100 s
		t.Errorf("told %d times", told)
	}
}

// A download that has to begin again is told at once: its progress goes back.
func TestFileBeginsAgain(t *testing.T) {
	l := fetches(unfetched(), nil)
	l.now = noon.Add(time.Second)
	l.step(upgrade.FileProgress{Done: 50_000, Total: 100_000})
	l.step(upgrade.RecordTold{})
	l.now = noon.Add(3 * time.Second)
	if effects := l.step(upgrade.FileProgress{Done: 2_000, Total: 100_000}); count[upgrade.Changed](effects) != 1 {
		t.Errorf("%#v", effects)
	}
	if r := l.Telling(l.now); r.Offset != 2_000 || r.Progress != 2 {
		t.Errorf("%+v", r)
	}
}

// What nobody is to learn of is taken back, everything else is the end of an upgrade. Nothing went to the device in
// either case, and what was tried with it before counts.
func TestEndsOfAFetch(t *testing.T) {
	before := in(upgrade.StageFailed).Upgrade
	url := upgrade.Image{URL: "https://example.com/a.ota", Missing: true, NoVersion: true}
	for name, tt := range map[string]struct {
		image             upgrade.Image
		event             upgrade.Event
		stage             upgrade.Stage
		reason            upgrade.Reason
		takenBack         bool
		refused           bool
		triesWhatWasTried bool
	}{
		"not had": {url, upgrade.Refusal{Reason: upgrade.ReasonImageAccessFailed, Why: "no route", Image: url},
			upgrade.StageFailed, upgrade.ReasonImageAccessFailed, false, true, true},
		"up to date": {url, upgrade.Refusal{Reason: upgrade.ReasonUpToDate, Image: order().Image, Unseen: true},
			upgrade.StageFailed, upgrade.ReasonUpToDate, true, true, true},
		"cancelled": {url, upgrade.Cancel{},
			upgrade.StageCancelled, upgrade.ReasonCancelled, false, false, true},
		"cancelled, of a known image": {unfetched().Image, upgrade.Cancel{},
			upgrade.StageCancelled, upgrade.ReasonCancelled, false, false, false},
		"forgotten": {url, upgrade.Forgotten{},
			upgrade.StageCancelled, upgrade.ReasonCancelled, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := unfetched()
			o.Image = tt.image
			l := fetches(o, before)
			l.step(upgrade.FileProgress{Done: 30_000, Total: 60_000})
			effects := l.step(tt.event)
			ends := []int{count[upgrade.GiveUpFetch](effects), count[upgrade.Ended](effects), count[upgrade.TakenBack](effects)}
			want := []int{1, 1, 0}
			if tt.takenBack {
				want = []int{1, 0, 1}
			}
			if diff := cmp.Diff(want, ends); diff != "" || l.Stage() != tt.stage || l.Reason() != tt.reason || l.Refused() != tt.refused {
				t.Errorf("stage %d, %q, refused %v, effects: %s", l.Stage(), l.Reason(), l.Refused(), diff)
			}
			if l.Offset() != 0 || count[upgrade.Abort](effects) > 0 || l.Progress() > 0 {
				t.Errorf("%+v, %#v", l.Record(l.now), effects)
			}
			tried, _ := l.Tried()
			if got := tried != nil && tried.Is(before.Image()) && tried.Reason == before.Reason(); got != tt.triesWhatWasTried {
				t.Errorf("it has tried %+v", tried)
			}
		})
	}
}

// One image is told from another by its digest, and as long as one of the two was not fetched by what it is for.
func TestTriedImages(t *testing.T) {
	full := order().Image
	listed := unfetched().Image
	newer := listed
	newer.ImageVersion++
	other := full
	other.SHA256 = "c0ffee"
	for name, tt := range map[string]struct {
		tried, image upgrade.Image
		want         bool
	}{
		"the same":                       {full, full, true},
		"another of the same version":    {full, other, false},
		"fetched meanwhile":              {listed, full, true},
		"swept away meanwhile":           {full, listed, true},
		"a newer one":                    {listed, newer, false},
		"of which nothing was found out": {upgrade.Image{Missing: true, NoVersion: true}, listed, false},
	} {
		kind := tt.tried.Kind()
		tried := upgrade.Tried{SHA256: tt.tried.SHA256, Kind: kind, ImageVersion: tt.tried.ImageVersion}
		if got := tried.Is(tt.image); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A record is handed to others, so nothing in it changes when the upgrade does.
func TestRecordStaysAsItWas(t *testing.T) {
	l := in(upgrade.StageFetching)
	before := l.Record(noon)
	was := l.Image()
	image := was
	image.ImageType++
	image.ImageVersion++
	l.step(upgrade.ImageFetched{Image: image})
	if *before.ImageType != was.ImageType || *before.ImageVersion != was.ImageVersion {
		t.Errorf("it has become that of image type 0x%04x, version %d", *before.ImageType, *before.ImageVersion)
	}
}

// A refusal is like an earlier one where reason, kind and version are the same.
func TestRefusedForTheSame(t *testing.T) {
	o := unfetched()
	const reason = upgrade.ReasonImageAccessFailed
	past := upgrade.Refused(o, reason, "no route", nil, noon).Past()
	image := func(change func(*upgrade.Image)) upgrade.Image {
		i := o.Image
		change(&i)
		return i
	}
	for name, tt := range map[string]struct {
		reason upgrade.Reason
		image  upgrade.Image
		want   bool
	}{
		"the same":              {reason, o.Image, true},
		"another reason":        {upgrade.ReasonImageValidationFailed, o.Image, false},
		"another version":       {reason, image(func(i *upgrade.Image) { i.ImageVersion++ }), false},
		"another image type":    {reason, image(func(i *upgrade.Image) { i.ImageType++ }), false},
		"another manufacturer":  {reason, image(func(i *upgrade.Image) { i.ManufacturerCode++ }), false},
		"nothing was found out": {reason, upgrade.Image{Missing: true, NoVersion: true}, false},
	} {
		if got := past.WasRefusedFor(tt.reason, tt.image); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	failed := in(upgrade.StageFailed).Past()
	if failed.WasRefusedFor(failed.Reason, order().Image) {
		t.Error("one that failed on the device was not refused")
	}
}

// What was asked for is kept for as long as the image is being fetched; how far it is, is not.
func TestFetchIsKept(t *testing.T) {
	imageType := uint16(0x2201)
	o := unfetched()
	o.Fetch = &upgrade.Fetch{URL: "https://example.com/a.ota", Withheld: true, SHA512: "abc", ImageType: &imageType, AllowDowngrade: true}
	l := fetches(o, in(upgrade.StageFailed).Upgrade)
	l.step(upgrade.FileProgress{Done: 30_000, Total: 60_000})
	data, err := json.Marshal(l.Upgrade)
	if err != nil {
		t.Fatal(err)
	}
	var again upgrade.Upgrade
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	again.Step(upgrade.Restored{}, l.p, l.now)
	if diff := cmp.Diff(o.Fetch, again.Fetch()); diff != "" {
		t.Error(diff)
	}
	tried, own := again.Tried()
	if again.Stage() != upgrade.StageFetching || again.Offset() != 0 || own || !tried.Is(order().Image) {
		t.Errorf("%+v, has tried %+v", again.Record(l.now), tried)
	}
}
