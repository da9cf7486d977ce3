package blocks

import "time"

// epoch is where instants are counted from. An instant is a moment in nanoseconds by the monotonic clock,
// which fits into an atomic. A machine without a clock of its own learns the time from the network, in the
// middle of a download, and may find that it was off by years.
type epoch struct{ begin time.Time }

func newEpoch() epoch { return epoch{time.Now()} }

// instant converts a time that has a monotonic reading.
func (e epoch) instant(t time.Time) int64 { return int64(t.Sub(e.begin)) }

// time converts an instant to a time by the clock on the wall as it is now.
func (e epoch) time(instant int64, now time.Time) time.Time {
	return now.Add(time.Duration(instant - e.instant(now)))
}
