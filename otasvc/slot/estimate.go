package slot

import (
	"cmp"
	"time"
)

const (
	// startTime is what a download needs besides its blocks: the notification, the query, the end.
	startTime = 10 * time.Second
	// cautiousRate is how many bytes a second a device is expected to take of which nothing is known. It is
	// rather low: nobody is to be interrupted for one who turns out to be no quicker.
	cautiousRate = 100
	// likelyRate is how many bytes a second a device takes of which nothing is known, and nobody downloads
	// whom it could be compared with: 63 bytes each 150 ms.
	likelyRate = 420
	// never stands for the time that something takes which does not go on by itself.
	never = 1 << 62 * time.Nanosecond
)

// rates are what is known of how fast devices take their images, besides what each candidate says itself.
type rates struct {
	byImage map[Key]int // the mean of those who download the image now, bytes a second
	all     int         // the mean of all who download now, bytes a second; 0 where nobody does
}

// ratesOf takes the rates of the downloads under way together.
func ratesOf(upgrades []Candidate) rates {
	sums := map[Key]int{}
	counts := map[Key]int{}
	sum := 0
	count := 0
	for i := range upgrades {
		if c := &upgrades[i]; c.Rate > 0 && c.InDownload() {
			sums[c.Key] += c.Rate
			counts[c.Key]++
			sum += c.Rate
			count++
		}
	}
	r := rates{byImage: make(map[Key]int, len(sums)), all: sum / max(count, 1)}
	for key, n := range counts {
		r.byImage[key] = sums[key] / n
	}
	return r
}

// knownRate is how many bytes a second a device takes now, took before, or devices of its kind take; 0 where
// none of that is known.
func (p *plan) knownRate(c *Candidate) int {
	return cmp.Or(c.Rate, c.UsualRate, p.rates.byImage[c.Key])
}

// rate is how many bytes a second a device takes, or can be relied on to take.
func (p *plan) rate(c *Candidate) int { return cmp.Or(p.knownRate(c), cautiousRate) }

// likely estimates how long a device needs for what it does not have, for people: an unknown device is
// expected to be as fast as the others.
func (p *plan) likely(c *Candidate) time.Duration {
	return takes(c.Left, cmp.Or(p.knownRate(c), p.rates.all, likelyRate))
}

// takes is how long bytes take at a rate, in bytes a second.
func takes(bytes uint32, rate int) time.Duration {
	return time.Duration(float64(bytes) / float64(rate) * float64(time.Second))
}

// remaining estimates how long a device needs for what it does not have.
func (p *plan) remaining(c *Candidate) time.Duration {
	if c.Held {
		return never
	}
	return takes(c.Left, p.rate(c))
}

// spacing is about how long a device takes from one block to the next.
func (p *plan) spacing(c *Candidate) time.Duration {
	const bytes = 64 // of a block
	return bytes * time.Second / time.Duration(p.rate(c))
}

// needs estimates how long each image needs for those who wait for it: its devices download side by side, as
// many as may. unknown is the rate of a device of which nothing is known.
func (p *plan) needs(waiting []*Candidate, unknown int) map[Key]time.Duration {
	longest := map[Key]time.Duration{}
	sum := map[Key]time.Duration{}
	for _, c := range waiting {
		if c.Held {
			continue // it takes nothing while it is held
		}
		took := takes(c.Left, cmp.Or(p.knownRate(c), unknown))
		longest[c.Key] = max(longest[c.Key], took)
		sum[c.Key] += took
	}
	needs := make(map[Key]time.Duration, len(sum))
	for key, all := range sum {
		needs[key] = startTime + max(longest[key], all/time.Duration(max(p.Policy.Concurrency, 1)))
	}
	return needs
}
