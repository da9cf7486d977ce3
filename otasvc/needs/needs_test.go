package needs_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

func TestOf(t *testing.T) {
	all := needs.Defaults{
		BlockSize: 64, BlockInterval: time.Second, StallTimeout: 5 * time.Minute, NotifyAttempts: 20,
	}
	small := all
	small.BlockSize = 32
	patient := all
	patient.StallTimeout = 3 * time.Hour
	tests := map[string]struct {
		set     needs.Settings
		learned uint8
		code    uint16 // 0: not known
		chip    otafile.Chip
		all     needs.Defaults
		want    func(*needs.Limits) // of what is configured
	}{
		"nothing known":        {all: all},
		"another maker":        {all: all, code: 0x117C},
		"learned":              {all: all, learned: 53, want: func(l *needs.Limits) { l.LargestBlock = 53 }},
		"learned, and smaller": {all: small, learned: 53},

		"Insta":                       {all: all, code: 0x117A, want: func(l *needs.Limits) { l.LargestBlock = 40 }},
		"Insta, and smaller":          {all: small, code: 0x117A},
		"dresden elektronik":          {all: all, code: 0x1135, want: func(l *needs.Limits) { l.LargestBlock = 40 }},
		"dresden elektronik, learned": {all: all, code: 0x1135, learned: 32, want: func(l *needs.Limits) { l.LargestBlock = 32 }},
		"Insta on a Telink chip":      {all: all, code: 0x117A, chip: otafile.ChipTelink, want: func(l *needs.Limits) { l.LargestBlock = 40 }},
		"Telink":                      {all: all, code: 0x1141, want: func(l *needs.Limits) { l.LeastBlock = 48 }},
		"Telink's image": {all: all, code: 0x1286, chip: otafile.ChipTelink, want: func(l *needs.Limits) {
			l.LeastBlock, l.Silence, l.StallTimeout = 48, time.Hour, 70*time.Minute
		}},
		"Telink, and smaller": {all: small, code: 0x1141, want: func(l *needs.Limits) { l.LargestBlock, l.LeastBlock = 48, 48 }},
		"Telink, learned":     {all: all, code: 0x1141, learned: 32, want: func(l *needs.Limits) { l.LargestBlock, l.LeastBlock = 48, 48 }},
		"Legrand": {all: all, code: 0x1021, want: func(l *needs.Limits) {
			l.Silence, l.StallTimeout = 30*time.Minute, 40*time.Minute
		}},
		"Bosch": {all: all, code: 0x1209, want: func(l *needs.Limits) {
			l.Silence, l.StallTimeout = time.Hour, 70*time.Minute
		}},
		"Bosch, and patient": {all: patient, code: 0x1209, want: func(l *needs.Limits) { l.Silence = time.Hour }},

		"set, and learned": {
			all: all, set: needs.Settings{BlockSize: ptr(uint8(60))}, learned: 16,
			want: func(l *needs.Limits) { l.LargestBlock = 60 },
		},
		"set, and Telink": {
			all: all, set: needs.Settings{BlockSize: ptr(uint8(32))}, code: 0x1141,
			want: func(l *needs.Limits) { l.LargestBlock = 32 },
		},
		"set, and more than is configured": {
			all: small, set: needs.Settings{BlockSize: ptr(uint8(50))}, want: func(l *needs.Limits) { l.LargestBlock = 50 },
		},
		"no interval": {
			all: all, set: needs.Settings{BlockInterval: ptr(time.Duration(0))}, want: func(l *needs.Limits) { l.BlockInterval = 0 },
		},
		"a stall timeout": {
			all: all, set: needs.Settings{StallTimeout: ptr(time.Minute)}, code: 0x1021,
			want: func(l *needs.Limits) { l.StallTimeout, l.Silence, l.StallSet = time.Minute, time.Minute, true },
		},
		"a long stall timeout": {
			all: all, set: needs.Settings{StallTimeout: ptr(2 * time.Hour)}, code: 0x1021,
			want: func(l *needs.Limits) { l.StallTimeout, l.Silence, l.StallSet = 2*time.Hour, 30*time.Minute, true },
		},
		"notifications": {
			all: all, set: needs.Settings{NotifyAttempts: ptr(uint32(3))}, want: func(l *needs.Limits) { l.NotifyAttempts = 3 },
		},
		"excluded, which limits nothing": {all: all, set: needs.Settings{Excluded: ptr(true)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := needs.Limits{
				LargestBlock: tt.all.BlockSize, BlockInterval: tt.all.BlockInterval,
				StallTimeout: tt.all.StallTimeout, NotifyAttempts: tt.all.NotifyAttempts,
			}
			if tt.want != nil {
				tt.want(&want)
			}
			kind := needs.Kind{Chip: tt.chip}
			if tt.code != 0 {
				kind.ManufacturerCode = &tt.code
			}
			got := needs.Of(tt.set, needs.Learned{LargestBlock: tt.learned}, kind, tt.all)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Blocks get smaller down to a floor, and never larger than the one that did not fit.
func TestShrunk(t *testing.T) {
	var l needs.Learned
	var sizes []uint8
	for {
		smaller, ok := l.Shrunk(50)
		if !ok {
			break
		}
		l = smaller
		sizes = append(sizes, l.LargestBlock)
	}
	if diff := cmp.Diff([]uint8{48, 40, 32, 16}, sizes); diff != "" {
		t.Error(diff)
	}
}

func TestGotThrough(t *testing.T) {
	for name, tt := range map[string]struct{ before, bytes, after uint8 }{
		"the first":  {0, 48, 48},
		"smaller":    {48, 32, 32},
		"larger":     {32, 48, 32},
		"none known": {32, 0, 32},
	} {
		if got := (needs.Learned{LargestBlock: tt.before}).GotThrough(tt.bytes); got.LargestBlock != tt.after {
			t.Errorf("%s: %d", name, got.LargestBlock)
		}
	}
}

func TestExcludes(t *testing.T) {
	for name, tt := range map[string]struct {
		excluded *bool
		want     bool
	}{
		"not set":             {nil, false},
		"set":                 {ptr(true), true},
		"set to the contrary": {ptr(false), false},
	} {
		s := needs.Settings{Excluded: tt.excluded}
		if s.Excludes() != tt.want {
			t.Errorf("%s: %v", name, !tt.want)
		}
	}
}

func ptr[T any](v T) *T { return &v }
