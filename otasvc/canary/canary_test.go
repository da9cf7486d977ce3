package canary_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/canary"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// bulb is a device that could go first: on mains, awake, well linked, heard a minute ago.
func bulb(device message.IEEE, change ...func(*canary.Candidate)) canary.Candidate {
	c := canary.Candidate{
		Device:    device,
		Image:     "a",
		Standing:  canary.Waiting,
		Reachable: true,
		Awake:     true,
		Mains:     true,
		LQI:       120,
		LastSeen:  now.Add(-time.Minute),
		Since:     now.Add(-time.Hour),
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func standing(s canary.Standing) func(*canary.Candidate) {
	return func(c *canary.Candidate) { c.Standing = s }
}

func TestRoles(t *testing.T) {
	waitsFor := func(leader message.IEEE) canary.Role { return canary.Role{Leader: leader} }
	stepsBackFor := func(leader message.IEEE) canary.Role { return canary.Role{Leader: leader, StepBack: true} }
	proven := func(c *canary.Candidate) { c.Proven = true }
	asleep := func(c *canary.Candidate) {
		c.Awake = false
		c.Mains = false
	}
	justHeard := func(c *canary.Candidate) { c.Mains = false }
	inVain := func(c *canary.Candidate) { c.InVain = true }
	type roles = map[message.IEEE]canary.Role
	tests := map[string]struct {
		home []canary.Candidate
		want roles
	}{
		"alone":                 {[]canary.Candidate{bulb(1)}, roles{}},
		"nobody":                {nil, roles{}},
		"the first in the line": {[]canary.Candidate{bulb(2), bulb(1)}, roles{2: waitsFor(1)}},
		"who waits longer": {
			[]canary.Candidate{bulb(1), bulb(2, func(c *canary.Candidate) { c.Since = now.Add(-2 * time.Hour) })},
			roles{1: waitsFor(2)},
		},
		"an image that runs": {[]canary.Candidate{bulb(1, proven), bulb(2, proven)}, roles{}},
		"two images": {
			[]canary.Candidate{bulb(1), bulb(2), bulb(3, func(c *canary.Candidate) { c.Image = "b" })},
			roles{2: waitsFor(1)},
		},
		"on mains before asleep": {[]canary.Candidate{bulb(1, asleep), bulb(2)}, roles{1: waitsFor(2)}},
		"awake before asleep":    {[]canary.Candidate{bulb(1, asleep), bulb(2, justHeard)}, roles{1: waitsFor(2)}},
		"mains before awake":     {[]canary.Candidate{bulb(1, justHeard), bulb(2)}, roles{1: waitsFor(2)}},
		"a good link before a weak one": {
			[]canary.Candidate{bulb(1, func(c *canary.Candidate) { c.LQI = 20 }), bulb(2)},
			roles{1: waitsFor(2)},
		},
		"a link that is not known is no weak one": {
			[]canary.Candidate{bulb(1, func(c *canary.Candidate) { c.LQI = 0 }), bulb(2)},
			roles{2: waitsFor(1)},
		},
		"heard lately before long ago": {
			[]canary.Candidate{bulb(1, func(c *canary.Candidate) { c.LastSeen = now.Add(-2 * time.Hour) }), bulb(2)},
			roles{1: waitsFor(2)},
		},
		"heard before never": {
			[]canary.Candidate{bulb(1, func(c *canary.Candidate) { c.LastSeen = time.Time{} }), bulb(2)},
			roles{1: waitsFor(2)},
		},
		"in reach before lost": {
			[]canary.Candidate{bulb(1, func(c *canary.Candidate) { c.Reachable = false }), bulb(2, asleep)},
			roles{1: waitsFor(2)},
		},
		"a full battery before an empty one": {
			[]canary.Candidate{bulb(1, func(c *canary.Candidate) { c.BatteryLow = true }), bulb(2, asleep)},
			roles{1: waitsFor(2)},
		},
		"who has begun leads": {
			[]canary.Candidate{bulb(1), bulb(2, standing(canary.Begun), asleep, inVain)},
			roles{1: waitsFor(2)},
		},
		"two have begun": {
			[]canary.Candidate{bulb(1, standing(canary.Begun)), bulb(2, standing(canary.Begun)), bulb(3)},
			roles{3: waitsFor(1)},
		},
		"who was offered the image stays ahead of its equals": {
			[]canary.Candidate{bulb(1), bulb(2, standing(canary.Offered))},
			roles{1: waitsFor(2)},
		},
		"who does not stir steps back": {
			[]canary.Candidate{bulb(1), bulb(2, standing(canary.Offered), inVain)},
			roles{2: stepsBackFor(1)},
		},
		"nobody stirs": {
			[]canary.Candidate{bulb(1, inVain), bulb(2, standing(canary.Offered), inVain)},
			roles{1: waitsFor(2)},
		},
		"a sleeper steps back for who is awake": {
			[]canary.Candidate{bulb(1), bulb(2, standing(canary.Offered), asleep)},
			roles{2: stepsBackFor(1)},
		},
		"who stumbled lets others try": {
			[]canary.Candidate{bulb(1, func(c *canary.Candidate) { c.Stumbled = true }), bulb(2)},
			roles{1: waitsFor(2)},
		},
		"who is elsewhere neither leads nor waits": {
			[]canary.Candidate{bulb(1, standing(canary.Elsewhere)), bulb(2), bulb(3)},
			roles{3: waitsFor(2)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, canary.Roles(tt.home, now)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Of every image that is not proven exactly one device that has not begun may go, or none where one has begun,
// whatever the order in which the upgrades are looked at.
func TestOneLeads(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		home := make([]canary.Candidate, r.IntN(12))
		for i := range home {
			home[i] = bulb(message.IEEE(i+1), func(c *canary.Candidate) {
				c.Image = fmt.Sprint(r.IntN(3))
				c.Proven = c.Image == "2"
				c.Standing = canary.Standing(r.IntN(4))
				c.Reachable = r.IntN(3) > 0
				c.Awake = r.IntN(2) > 0
				c.Mains = r.IntN(2) > 0
				c.InVain = r.IntN(3) == 0
				c.Stumbled = r.IntN(3) == 0
				c.LQI = uint8(r.IntN(256))
				c.Since = now.Add(-time.Duration(r.IntN(3)) * time.Hour)
			})
		}
		roles := canary.Roles(home, now)
		free, begun := map[string]int{}, map[string]bool{}
		for _, c := range home {
			role, has := roles[c.Device]
			if has && (c.Proven || c.Standing == canary.Elsewhere || c.Standing == canary.Begun) {
				t.Fatalf("seed %d: %+v has a role: %+v", seed, c, role)
			}
			if role.StepBack != (has && c.Standing == canary.Offered) {
				t.Fatalf("seed %d: %+v: %+v", seed, c, role)
			}
			switch {
			case c.Proven || c.Standing == canary.Elsewhere:
			case c.Standing == canary.Begun:
				begun[c.Image] = true
			case !has:
				free[c.Image]++
			}
		}
		for image, n := range free {
			if n > 1 || begun[image] {
				t.Fatalf("seed %d: %d go first with image %s, one has begun: %v", seed, n, image, begun[image])
			}
		}
		r.Shuffle(len(home), func(i, j int) { home[i], home[j] = home[j], home[i] })
		if diff := cmp.Diff(roles, canary.Roles(home, now)); diff != "" {
			t.Fatalf("seed %d: in another order (-before +now):\n%s", seed, diff)
		}
	}
}

func TestSpeaksAgainst(t *testing.T) {
	against := map[upgrade.Reason]bool{
		upgrade.ReasonInvalidImage:      true,
		upgrade.ReasonVersionUnchanged:  true,
		upgrade.ReasonNotRejoined:       true,
		upgrade.ReasonRequireMoreImages: true,
		upgrade.ReasonDeviceAborted:     true,
		upgrade.NoReason:                false,
		upgrade.ReasonNoResponse:        false,
		upgrade.ReasonStalled:           false,
		upgrade.ReasonBatteryLow:        false,
		upgrade.ReasonCancelled:         false,
		upgrade.ReasonDongleLost:        false,
		upgrade.ReasonDongleRefuses:     false,
		upgrade.ReasonImageRemoved:      false,
	}
	for reason, want := range against {
		if got := canary.SpeaksAgainst(reason); got != want {
			t.Errorf("%q: %v", reason, got)
		}
	}
}
