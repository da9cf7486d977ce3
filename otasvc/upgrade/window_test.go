package upgrade

import (
	"testing"
	"time"
	_ "time/tzdata" // the machine may have none
)

func TestWindowNext(t *testing.T) {
	zone := func(name string) *time.Location {
		z, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	at := func(h, m int) time.Duration { return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute }
	tests := map[string]struct {
		w               Window
		zone, now, want string
	}{
		"before":                             {Window{at(2, 0), at(5, 0)}, "Europe/Berlin", "2026-11-21 01:59 +0100", "2026-11-21 02:00 +0100"},
		"at its beginning":                   {Window{at(2, 0), at(5, 0)}, "Europe/Berlin", "2026-11-21 02:00 +0100", "2026-11-21 02:00 +0100"},
		"in it":                              {Window{at(2, 0), at(5, 0)}, "Europe/Berlin", "2026-11-21 04:59 +0100", "2026-11-21 04:59 +0100"},
		"at its end":                         {Window{at(2, 0), at(5, 0)}, "Europe/Berlin", "2026-11-21 05:00 +0100", "2026-11-22 02:00 +0100"},
		"over midnight, in it":               {Window{at(23, 0), at(1, 0)}, "Europe/Berlin", "2026-11-21 00:30 +0100", "2026-11-21 00:30 +0100"},
		"over midnight, at its end":          {Window{at(23, 0), at(1, 0)}, "Europe/Berlin", "2026-11-21 01:00 +0100", "2026-11-21 23:00 +0100"},
		"over midnight, before midnight":     {Window{at(23, 0), at(1, 0)}, "Europe/Berlin", "2026-11-21 23:30 +0100", "2026-11-21 23:30 +0100"},
		"end of the month":                   {Window{at(2, 0), at(5, 0)}, "Europe/Berlin", "2026-11-30 06:00 +0100", "2026-12-01 02:00 +0100"},
		"spring, the night before":           {Window{at(4, 0), at(5, 0)}, "Europe/Berlin", "2027-03-27 22:00 +0100", "2027-03-28 04:00 +0200"},
		"spring, its beginning is skipped":   {Window{at(2, 30), at(3, 30)}, "Europe/Berlin", "2027-03-28 01:00 +0100", "2027-03-28 03:00 +0200"},
		"spring, all of it is skipped":       {Window{at(2, 10), at(2, 50)}, "Europe/Berlin", "2027-03-28 01:00 +0100", "2027-03-29 02:10 +0200"},
		"spring, midnight is skipped":        {Window{at(0, 0), at(2, 0)}, "America/Havana", "2027-03-13 12:00 -0500", "2027-03-14 01:00 -0400"},
		"spring, skipped over midnight":      {Window{at(23, 0), at(2, 30)}, "Europe/Berlin", "2027-03-28 03:10 +0200", "2027-03-28 23:00 +0200"},
		"autumn, the hour that comes twice":  {Window{at(2, 30), at(3, 30)}, "Europe/Berlin", "2027-10-31 01:00 +0200", "2027-10-31 02:30 +0200"},
		"autumn, in it for the second time":  {Window{at(2, 30), at(3, 30)}, "Europe/Berlin", "2027-10-31 02:40 +0100", "2027-10-31 02:40 +0100"},
		"autumn, after it":                   {Window{at(2, 30), at(3, 30)}, "Europe/Berlin", "2027-10-31 04:00 +0100", "2027-11-01 02:30 +0100"},
		"from midnight, written as 24 hours": {Window{at(24, 0), at(5, 0)}, "Europe/Berlin", "2026-11-21 06:00 +0100", "2026-11-22 00:00 +0100"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			const layout = "2006-01-02 15:04 -0700"
			now, err := time.Parse(layout, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.w.Next(now.In(zone(tt.zone))).Format(layout); got != tt.want {
				t.Errorf("the next opening is %s, want %s", got, tt.want)
			}
		})
	}
}
