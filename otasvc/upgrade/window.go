package upgrade

import "time"

// Window is a daily time in which upgrades may begin, as durations since local midnight: 0 to 24 h, not
// equal. It crosses midnight where Begin is after End. Both are times by the clock on the wall, so that a
// change to summer time does not move the window; what the clock skips that day is cut out of it.
type Window struct {
	Begin, End time.Duration
}

// Next is now where the window is open, else its next opening.
func (w Window) Next(now time.Time) time.Time {
	if w.open(now) {
		return now
	}
	var opening time.Time
	for day := range 3 { // a clock may skip the whole window of a day
		opening = w.opening(time.Date(now.Year(), now.Month(), now.Day()+day, 12, 0, 0, 0, now.Location()))
		if opening.After(now) && w.open(opening) {
			break
		}
	}
	return opening
}

func (w Window) open(at time.Time) bool {
	since := time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute +
		time.Duration(at.Second())*time.Second
	if w.Begin > w.End {
		return since >= w.Begin || since < w.End
	}
	return since >= w.Begin && since < w.End
}

// opening is when the window opens on a day: where the clock skips its beginning, right after what it skips.
func (w Window) opening(day time.Time) time.Time {
	begin := w.Begin % (24 * time.Hour)
	on := func(zone *time.Location, hour, minute int) time.Time {
		return time.Date(day.Year(), day.Month(), day.Day(), hour, minute, 0, 0, zone)
	}
	wanted := on(time.UTC, int(begin/time.Hour), int(begin%time.Hour/time.Minute))
	opening := on(day.Location(), wanted.Hour(), wanted.Minute())
	_, offset := opening.Zone()
	read := opening.Add(time.Duration(offset) * time.Second) // in UTC, what a clock on the wall shows
	begins, ends := opening.ZoneBounds()
	switch {
	case read.After(wanted):
		return begins // of the offset that holds after what is skipped
	case read.Before(wanted):
		return ends
	}
	if !begins.IsZero() { // an hour that comes twice counts the first time
		_, former := begins.Add(-time.Second).Zone()
		earlier := opening.Add(-time.Duration(former-offset) * time.Second)
		if former > offset && earlier.Before(begins) {
			return earlier
		}
	}
	return opening
}
