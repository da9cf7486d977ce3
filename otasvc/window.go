package otasvc

import (
	"fmt"
	"time"
)

// Window is a daily time in which upgrades may begin, in local time. It may cross midnight. Begin and end are minutes
// since midnight, 0 to 1439, and differ.
type Window struct {
	Begin, End int
}

// ParseWindow reads "02:00-05:00".
func ParseWindow(s string) (Window, error) {
	var bh, bm, eh, em int
	var rest string
	n, _ := fmt.Sscanf(s+" ", "%2d:%2d-%2d:%2d%s", &bh, &bm, &eh, &em, &rest)
	w := Window{Begin: bh*60 + bm, End: eh*60 + em}
	if n != 4 || len(s) != len("02:00-05:00") || bh > 23 || eh > 23 || bm > 59 || em > 59 || w.Begin == w.End || min(bh, bm, eh, em) < 0 {
		return Window{}, fmt.Errorf("%q is not a time window like 02:00-05:00", s)
	}
	return w, nil
}

// String writes the window as ParseWindow reads it.
func (w Window) String() string {
	return fmt.Sprintf("%02d:%02d-%02d:%02d", w.Begin/60, w.Begin%60, w.End/60, w.End%60)
}

// Next is now where the window is open, else its next opening.
func (w Window) Next(now time.Time) time.Time {
	minute := now.Hour()*60 + now.Minute()
	open := minute >= w.Begin && minute < w.End
	if w.Begin > w.End {
		open = minute >= w.Begin || minute < w.End
	}
	if open {
		return now
	}
	next := time.Date(now.Year(), now.Month(), now.Day(), w.Begin/60, w.Begin%60, 0, 0, now.Location())
	if !next.After(now) {
		next = time.Date(now.Year(), now.Month(), now.Day()+1, w.Begin/60, w.Begin%60, 0, 0, now.Location())
	}
	return next
}
