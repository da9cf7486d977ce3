package canary

import (
	"cmp"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Standing is how far an upgrade has come, as far as that decides.
type Standing uint8

// Every standing.
const (
	// Elsewhere is an upgrade that neither leads nor waits: its time has not come, a person has paused it, or
	// it goes past the rule.
	Elsewhere Standing = iota
	// Waiting in the queue.
	Waiting
	// Offered the image: the device was notified and has not begun.
	Offered
	// Begun: the device has asked for blocks, or has the image already.
	Begun
)

// Candidate is an upgrade that has not ended.
type Candidate struct {
	Device   message.IEEE
	Image    string // SHA-256, lower-case hex
	Standing Standing
	// Proven says that the image is known to run: a device here has been seen to run it.
	Proven bool

	Reachable  bool      // its network address is known
	Awake      bool      // it hears now: it is always on, or has just been heard
	Mains      bool      // it is always on
	BatteryLow bool      // it would be refused
	InVain     bool      // it was notified in vain, or fell silent, and was not heard since
	Stumbled   bool      // its last attempt failed for a reason of the device's own
	LQI        uint8     // of the last message, 0 to 255; 0 where it is not known
	LastSeen   time.Time // zero where it never was
	Since      time.Time // since when it waits
}

// Role is what becomes of an upgrade.
type Role struct {
	// Leader is the device that goes first; 0 where the upgrade waits for none.
	Leader message.IEEE
	// StepBack says that the device was offered the image and has to leave the lead to another one.
	StepBack bool
}

// Roles are the roles of all upgrades that have one other than to go on as they are, by device.
func Roles(candidates []Candidate, now time.Time) map[message.IEEE]Role {
	leaders := map[string]*Candidate{}
	for i := range candidates {
		c := &candidates[i]
		if c.Proven || c.Standing == Elsewhere {
			continue
		}
		if leader := leaders[c.Image]; leader == nil || c.before(leader, now) < 0 {
			leaders[c.Image] = c
		}
	}
	roles := map[message.IEEE]Role{}
	for i := range candidates {
		c := &candidates[i]
		leader := leaders[c.Image]
		if leader == nil || leader == c || c.Proven {
			continue
		}
		switch c.Standing {
		case Waiting:
			roles[c.Device] = Role{Leader: leader.Device}
		case Offered:
			roles[c.Device] = Role{Leader: leader.Device, StepBack: true}
		case Elsewhere, Begun:
		}
	}
	return roles
}

// lately is how long a sign of life makes a device one that was heard of lately.
const lately = time.Hour

// weakLink is the link quality below which a download is likely to be slow. What lies above is no reason to
// prefer a device.
const weakLink = 60

// before compares two upgrades by who is to go first. Whoever has begun leads. Of the others it is who can be
// expected to begin, and to come back from it: one that is in reach and not silent, awake, always on, well
// linked and heard of lately. One that was offered the image stays ahead of its equals.
func (c *Candidate) before(other *Candidate, now time.Time) int {
	return cmp.Or(
		first(c.Standing == Begun, other.Standing == Begun),
		first(c.Reachable && !c.BatteryLow, other.Reachable && !other.BatteryLow),
		first(!c.InVain, !other.InVain),
		first(c.Awake, other.Awake),
		first(c.Mains, other.Mains),
		first(!c.Stumbled, !other.Stumbled),
		first(c.heardLately(now), other.heardLately(now)),
		first(c.Standing == Offered, other.Standing == Offered),
		first(!c.weak(), !other.weak()),
		c.Since.Compare(other.Since),
		cmp.Compare(c.Device, other.Device),
	)
}

func (c *Candidate) heardLately(now time.Time) bool {
	return !c.LastSeen.IsZero() && now.Sub(c.LastSeen) < lately
}

func (c *Candidate) weak() bool { return c.LQI != 0 && c.LQI < weakLink }

// first puts what is true before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// SpeaksAgainst reports whether the end of a leader's upgrade speaks against its image, so that no other
// device gets it: the device refused the image once it had it whole, did not run it, or did not come back. An
// end of the device's own making, such as silence or an empty battery, says nothing of the image.
func SpeaksAgainst(r upgrade.Reason) bool {
	switch r {
	case upgrade.ReasonInvalidImage, upgrade.ReasonVersionUnchanged, upgrade.ReasonNotRejoined,
		upgrade.ReasonRequireMoreImages, upgrade.ReasonDeviceAborted:
		return true
	default:
		return false
	}
}
