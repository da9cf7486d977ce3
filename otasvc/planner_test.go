package otasvc

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

// What is told of the queue is no part of what is kept: the state file is not written for it.
func TestQueueIsNotKept(t *testing.T) {
	h := newHome()
	d, _ := h.meet(1)
	upgrades := h.upgradesRevision
	devices := h.registry.Revision()
	told := d.upgradeRevision
	d.followQueue(slot.Place{Device: 1, Position: 3, WaitsFor: slot.WaitsForSlot}, time.Now())
	if d.upgradeRevision == told {
		t.Error("it is not told")
	}
	d.leaveQueue()
	if h.upgradesRevision != upgrades || h.registry.Revision() != devices {
		t.Error("it is kept")
	}
}

// Whoever asks for what the slot holds back, leaves the memory of the tick's views as it is.
func TestQueriesLeaveThePlannerAlone(t *testing.T) {
	now := time.Now()
	p := planner{
		home:       newHome(),
		dongle:     &dongle{},
		slot:       &headerSlot{},
		sender:     sending.New(newOwner(nil).inbox),
		places:     &places{},
		inventory:  &inventory{},
		candidates: []slot.Candidate{{Device: 1}},
	}
	p.view(nil, now)
	if len(p.candidates) != 1 || p.candidates[0].Device != 1 {
		t.Errorf("the tick's candidates are %v now", p.candidates)
	}
}
