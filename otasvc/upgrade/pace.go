package upgrade

import "time"

// settledAfter is how long a download goes on without a wait until its pace is known.
const settledAfter = 30 * time.Second

// pace is how fast a device takes its image while it may: without the time in which it was told to wait.
type pace struct {
	since time.Time // it takes blocks since then; zero where it does not
	from  uint32    // the offset at that time
	last  int       // bytes a second of the time before; 0 where that is not known
}

// begin notes that the device takes blocks from now on.
func (p *pace) begin(offset uint32, now time.Time) {
	p.since = now
	p.from = offset
}

// end notes that the device takes no blocks for a while.
func (p *pace) end(offset uint32, now time.Time) {
	p.last = p.rate(offset, now)
	p.since = time.Time{}
}

// rate is bytes a second; 0 where that is not known yet.
func (p *pace) rate(offset uint32, now time.Time) int {
	took := now.Sub(p.since)
	if p.since.IsZero() || took < settledAfter || offset <= p.from {
		return p.last
	}
	return int(float64(offset-p.from) / took.Seconds())
}

// Pace is how many bytes a second the device takes while it may, in this attempt; 0 where that is not known.
// Unlike the rate that people are told it leaves out the time in which the device was told to wait.
func (u *Upgrade) Pace(now time.Time) int { return u.pace.rate(u.offset, now) }
