package slot_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

// settings has, for each setting of the policy, a slot with upgrades about which it decides: the decision
// before and after a change of that setting alone.
var settings = map[string]struct {
	slot     slot.State
	upgrades upgrades
	crowded  bool
	change   func(*slot.Policy)
	before   slot.Decision
	after    slot.Decision
}{
	"Concurrency": {
		slot: holding(bulbs, time.Minute),
		upgrades: upgrades{
			downloading(bulb1, bulbs, time.Minute), downloading(lamp, bulbs, time.Minute), queued(bulb2, bulbs, 0),
		},
		change: func(p *slot.Policy) { p.Concurrency = 3 },
		after:  slot.Offer{Device: bulb2, Key: bulbs},
	},
	"Slice": {
		slot: holding(bulbs, 10*time.Minute),
		upgrades: upgrades{
			downloading(bulb1, bulbs, time.Minute, rate(150)), queued(plug, plugs, 0, usualRate(1000)),
		},
		change: func(p *slot.Policy) { p.Slice = 9 * time.Minute },
		after: slot.BeginSwitch{
			PutOff:   devices(bulb1),
			Until:    start.Add(43*time.Second + 137500*time.Millisecond + 3*time.Second),
			Deadline: start.Add(20 * time.Second),
		},
	},
	"BlockInterval": {
		slot:     holding(bulbs, time.Minute),
		upgrades: upgrades{offered(bulb1, bulbs, time.Second), putOff(plug, plugs, 24*time.Second)},
		change:   func(p *slot.Policy) { p.BlockInterval = time.Second },
		after: slot.BeginSwitch{
			GiveUp:   devices(bulb1),
			Until:    start.Add(24*time.Second + 38*time.Second + 15*time.Minute),
			Deadline: start.Add(21 * time.Second), // in time for the plug
		},
	},
	"PauseStep": {
		slot: holding(bulbs, time.Minute),
		upgrades: upgrades{
			downloading(bulb1, bulbs, time.Minute, held, stage(slot.Paused)), putOff(plug, plugs, 44*time.Second),
		},
		change: func(p *slot.Policy) { p.PauseStep = 31 * time.Second },
		after: slot.BeginSwitch{
			PutOff:   devices(bulb1),
			Until:    start.Add(44*time.Second + 57*time.Second + 15*time.Minute),
			Deadline: start.Add(41 * time.Second),
		},
	},
	"CrowdedTimeout": {
		slot:     holding(bulbs, time.Minute).Deferred(ago(time.Second)),
		upgrades: upgrades{queued(bulb1, bulbs, 0)},
		crowded:  true,
		change:   func(p *slot.Policy) { p.CrowdedTimeout = time.Second },
		after:    slot.Offer{Device: bulb1, Key: bulbs},
	},
}

// TestEverySettingDecides: each setting of the policy decides something, and there is a case that shows it.
func TestEverySettingDecides(t *testing.T) {
	for field := range reflect.TypeFor[slot.Policy]().Fields() {
		if _, ok := settings[field.Name]; !ok {
			t.Errorf("no case shows what %s decides: add one to the settings above", field.Name)
		}
	}
	for name, s := range settings {
		v := slot.View{Slot: s.slot, Usable: true, Crowded: s.crowded, Policy: policy, Upgrades: s.upgrades}
		if diff := cmp.Diff(s.before, slot.Plan(v, start)); diff != "" {
			t.Errorf("the decision before %s is changed (-want +got):\n%s", name, diff)
		}
		s.change(&v.Policy)
		if diff := cmp.Diff(s.after, slot.Plan(v, start)); diff != "" {
			t.Errorf("the decision after %s is changed (-want +got):\n%s", name, diff)
		}
	}
}
