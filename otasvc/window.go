package otasvc

import "time"

// Window is a daily time in which upgrades may begin, as durations since local midnight: 0 to 24 h, not equal. It
// crosses midnight where Begin is after End.
type Window struct {
	Begin, End time.Duration
}

// Next is now where the window is open, else its next opening.
func (w Window) Next(now time.Time) time.Time {
	since := time.Duration(now.Hour())*time.Hour + time.Duration(now.Minute())*time.Minute + time.Duration(now.Second())*time.Second
	open := since >= w.Begin && since < w.End
	if w.Begin > w.End {
		open = since >= w.Begin || since < w.End
	}
	if open {
		return now
	}
	// By the clock on the wall, so that a change to summer time does not move the window.
	hour, minute := int(w.Begin/time.Hour), int(w.Begin%time.Hour/time.Minute)
	next := time.Date(now.Year(), now.Month(), now.Day(), hour, minute, 0, 0, now.Location())
	if !next.After(now) {
		next = time.Date(now.Year(), now.Month(), now.Day()+1, hour, minute, 0, 0, now.Location())
	}
	return next
}
