package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// A dongle that is away for seconds or hours costs an upgrade nothing: it goes on where the device asks. One
// that does not come back must not keep upgrades open for ever, though, and with another dongle comes another
// network, in which the devices are not.
const (
	// activePatience is how long an upgrade that has begun waits for the dongle.
	activePatience = 24 * time.Hour
	// longPatience is how long anything waits that only waits: a queued upgrade for the dongle, a sleeping
	// device to wake, a held one for the word to go on.
	longPatience = 30 * 24 * time.Hour
	// awayStep is the longest that counts between two looks at the clock: a clock that is set does
	// not make time pass.
	awayStep = time.Minute
)

// network is what tells one Zigbee network from another: whose coordinator it is, and its PAN.
type network struct {
	Coordinator message.IEEE `json:"coordinator"`
	PANID       uint16       `json:"panId"`
}

// replaces reports whether a network is another one than that of before. A coordinator keeps its address; it
// gets another PAN id when its network is formed anew. What is not known (0) decides nothing.
func (n network) replaces(before network) bool {
	differ := func(a, b uint64) bool { return a != 0 && b != 0 && a != b }
	return differ(uint64(n.Coordinator), uint64(before.Coordinator)) ||
		differ(uint64(n.PANID), uint64(before.PANID))
}

// countAway adds up how long upgrades have not been possible, over restarts of the service too.
func (s *Service) countAway(now time.Time) {
	passed := now.Sub(s.lookedAt)
	s.lookedAt = now
	// One that comes and goes within a minute is as good as away.
	if !s.hindered() && !s.dongle.badFlash && now.Sub(s.dongle.connectedAt) >= awayStep {
		s.away = 0
		return
	}
	before := s.away
	s.away += min(max(passed, 0), awayStep)
	if before/time.Hour != s.away/time.Hour {
		s.stateDirty = true // a restart forgets an hour at most
	}
}

// hindered reports whether the dongle is of no use to any upgrade: away, or it does not
// take the image header.
func (s *Service) hindered() bool {
	_, ok := s.dongle.usable()
	return !ok || s.slot.refusals > 0
}

// expireAway ends upgrades that have waited for the dongle for too long.
func (s *Service) expireAway(d *device, u *upgrade, now time.Time) {
	patience := activePatience
	if u.State == Queued || u.State == Paused && u.StartedAt.IsZero() {
		patience = longPatience
	} else if !s.hindered() {
		return
	}
	since := now.Sub(later(u.QueuedAt, u.DueAt)) // it cannot have waited for longer
	if s.away > patience && since > patience {
		s.fire(d, triggerDongleLost, now)
	}
}

// networkFound compares the dongle's network with the one of before. In another one the devices of upgrades
// that have begun are not there.
func (s *Service) networkFound(info zigate.Info, now time.Time) {
	found := network{Coordinator: info.IEEE, PANID: info.PANID}
	if !info.NetworkUp {
		found.PANID = 0
	}
	before := s.network
	if found.replaces(before) {
		s.log.Warn("the dongle was replaced, or has another network now: upgrades that had begun are ended",
			"coordinator", found.Coordinator, "panId", found.PANID, "coordinatorBefore", before.Coordinator,
			"panIdBefore", before.PANID)
		for _, d := range s.sortedActive() {
			if st := d.Upgrade.State; st != Scheduled && st != Queued {
				s.fire(d, triggerDongleLost, now)
			}
		}
	} else {
		// A dongle that does not tell one of them is no other.
		if found.Coordinator == 0 {
			found.Coordinator = before.Coordinator
		}
		if found.PANID == 0 {
			found.PANID = before.PANID
		}
	}
	if found != before {
		s.network = found
		s.stateDirty = true
	}
}
