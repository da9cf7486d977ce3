package otasvc

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

// Whoever asks for the queue, or for what the slot holds back, leaves the memory of the tick's views as it is.
func TestQueriesLeaveThePlannerAlone(t *testing.T) {
	now := time.Now()
	p := planner{
		home:       newHome(),
		dongle:     &dongle{},
		slot:       &headerSlot{},
		sender:     sending.New(newOwner(nil).inbox),
		places:     &places{},
		candidates: []slot.Candidate{{Device: 1}},
	}
	p.queue(now)
	p.view(nil, now)
	if len(p.candidates) != 1 || p.candidates[0].Device != 1 {
		t.Errorf("the tick's candidates are %v now", p.candidates)
	}
}
