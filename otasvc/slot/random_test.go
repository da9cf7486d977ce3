package slot_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// homes is how many random homes each property is tried on; ZIGATE_OTA_TEST_SEEDS sets another number.
func homes() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("ZIGATE_OTA_TEST_SEEDS"), 10, 64); err == nil {
		return n
	}
	if testing.Short() {
		return 40
	}
	return 100
}

// Whatever goes wrong in a home, no decision contradicts what is known, the order of the upgrades does not
// matter, and decisions come to an end.
func TestRandomHomesInTrouble(t *testing.T) {
	t.Parallel()
	for seed := range homes() {
		h := newHome(seed, true)
		for h.now.Sub(start) < 2*time.Hour && len(h.wrong) == 0 && h.step() {
		}
		if len(h.wrong) > 0 {
			t.Errorf("home %d: %s", seed, strings.Join(h.wrong, "\n"))
		}
	}
}

// Where nothing goes wrong, everybody who waits is offered the image in bounded time.
func TestRandomHomesAreServed(t *testing.T) {
	t.Parallel()
	for seed := range homes() {
		h := newHome(seed, false)
		bound := h.bound()
		for !h.done() && h.now.Sub(start) < bound && len(h.wrong) == 0 && h.step() {
		}
		if len(h.wrong) > 0 {
			t.Errorf("home %d: %s", seed, strings.Join(h.wrong, "\n"))
		}
		if h.done() {
			continue
		}
		if len(h.wrong) == 0 {
			h.fault("not everybody is done after %v", bound)
			t.Errorf("home %d: %s", seed, strings.Join(h.wrong, "\n"))
		}
	}
}

func (h *home) done() bool {
	for _, d := range h.residents {
		if !d.ended {
			return false
		}
	}
	return true
}

// bound is how long a home may take: each download by itself with the time in which its device sleeps, what
// those take that are dead, and what slot switches and images that are held back take.
func (h *home) bound() time.Duration {
	bound := 30 * time.Minute
	for _, d := range h.residents {
		bound += time.Duration(int(d.Left)/d.rate) * time.Second
		bound += 40 * time.Minute
		if d.Sleepy {
			bound += time.Duration(len(h.residents)) * d.wakes
		}
	}
	return 2 * bound
}
