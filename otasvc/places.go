package otasvc

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/concurrency"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// places is how many devices may download at once. It reads what was counted of line and radio; what follows
// from that package concurrency decides. It does not know who gets a place. It belongs to the owner
// goroutine.
type places struct {
	home     *home
	dongle   *dongle
	server   *blocks.Server
	sender   *sending.Sender
	observer Observer
	log      *slog.Logger

	limit   concurrency.Limit
	failed  uint64        // frames that did not arrive at devices that download
	refused atomic.Uint64 // blocks that the dongle had no room for; the reader counts them
	told    int           // what the observer was told last
}

// newLimit is the limit that a policy sets.
func newLimit(p *Policy) concurrency.Limit {
	if p.Concurrency > 0 {
		return concurrency.Fixed(p.Concurrency)
	}
	return concurrency.Auto()
}

// allowed is how many devices may download at once.
func (p *places) allowed() int { return p.limit.Allowed() }

// deliveryFailed counts a frame for a device that did not arrive, where that says something of the radio: it
// does not of a device that sleeps, nor where the frame was too long for its route or waits for a sleeper.
func (p *places) deliveryFailed(d *device, status uint8) {
	if d.rights.transfer == nil || d.Sleepy() {
		return
	}
	if status != message.RadioFrameTooLong && status != message.RadioFrameBuffered {
		p.failed++
	}
}

// look reads what was counted, and tells how many may download where that has changed.
func (p *places) look(now time.Time) {
	p.limit = p.limit.After(p.readings(now), now)
	allowed := p.allowed()
	if allowed == p.told {
		return
	}
	if p.told != 0 {
		p.log.Debug("another number of devices may download at once", "before", p.told, "now", allowed)
	}
	p.told = allowed
	p.observer.DownloadsAllowed(allowed)
}

// readings are what was counted, and what is so now.
func (p *places) readings(now time.Time) concurrency.Readings {
	r := concurrency.Readings{
		Failed:   p.failed,
		Refused:  p.refused.Load(),
		Crowded:  p.sender.Crowded(now),
		LineRate: p.dongle.info.Line.Rate(),
	}
	counts := p.server.Counts()
	r.Blocks = counts.Blocks
	r.Again = counts.Again
	r.Unheard = counts.Answers - counts.Acknowledged
	r.Received, r.Sent = p.dongle.info.Line.Bytes()
	for _, d := range p.home.active {
		if d.upgrade.Stage().UsesSlot() && asksForBlocks(d, now) {
			r.Active++
		}
	}
	return r
}
