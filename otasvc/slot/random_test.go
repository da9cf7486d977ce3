package slot_test

import (
	"os"
	"strconv"
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
		for h.now.Sub(start) < 2*time.Hour && len(h.wrong) == 0 {
			h.step()
		}
		for _, wrong := range h.wrong {
			t.Errorf("home %d: %s", seed, wrong)
		}
	}
}

// Where nothing goes wrong, everybody who waits is offered the image in bounded time.
func TestRandomHomesAreServed(t *testing.T) {
	t.Parallel()
	for seed := range homes() {
		h := newHome(seed, false)
		bound := h.bound()
		for !h.done() && h.now.Sub(start) < bound && len(h.wrong) == 0 {
			h.step()
		}
		for _, wrong := range h.wrong {
			t.Errorf("home %d: %s", seed, wrong)
		}
		if h.done() {
			continue
		}
		for _, d := range h.residents {
			if !d.ended {
				t.Errorf("home %d: after %v, with slices of %v, this one is left: %+v",
					seed, bound, h.policy.Slice, d.Candidate)
			}
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

// bound is how long a home may take: each download by itself, with the time in which its device sleeps, a
// slice of the others between each two, and what slot switches and images that are held back take.
func (h *home) bound() time.Duration {
	bound := 10 * time.Minute
	for _, d := range h.residents {
		bound += time.Duration(int(d.Left)/d.rate) * time.Second
		bound += 2*h.policy.Slice + 10*time.Minute
		if d.Sleepy {
			bound += time.Duration(len(h.residents)) * d.wakes
		}
	}
	return bound
}
