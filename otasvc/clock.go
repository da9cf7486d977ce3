package otasvc

import "time"

// epoch is where instants are counted from: moments in nanoseconds by the monotonic clock, for atomics. A
// machine without a clock of its own learns the time from the network, in the middle of a download, and may
// find that it was off by years.
type epoch struct{ begin time.Time }

func newEpoch() epoch { return epoch{time.Now()} }

func (e epoch) instant(t time.Time) int64 { return int64(t.Sub(e.begin)) }

// time is an instant as a time by the clock as it is now.
func (e epoch) time(instant int64, now time.Time) time.Time {
	return now.Add(time.Duration(instant - e.instant(now)))
}
