package slot_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// home is a simulated home: a dongle, its devices, and a service that does what Plan decides and nothing
// else. Its clock goes from one thing that happens to the next.
type home struct {
	r         *rand.Rand
	trouble   bool // the dongle and people get in the way
	now       time.Time
	slot      slot.State
	held      slot.Key  // what the dongle has
	sent      slot.Key  // what it is being sent
	answerAt  time.Time // when the dongle answers the load that is under way
	troubleAt time.Time // when something goes wrong next
	clearing  bool      // it is a clearing
	unusable  bool
	noNew     bool
	crowded   bool
	policy    slot.Policy
	memory    map[string]time.Time // when an image is read
	residents []*resident
	change    slot.BeginSwitch // the last slot switch
	loads     int
	unused    slot.Key // was loaded and was of no use to anybody yet
	steps     int
	wrong     []string
}

// resident is a device with its upgrade.
type resident struct {
	slot.Candidate
	rate      int           // bytes a second
	dead      bool          // it never answers
	stopsAt   uint32        // it falls silent with so many bytes left; 0: never
	wakes     time.Duration // how often a sleepy device wakes
	wakeAt    time.Time
	answerAt  time.Time // when it answers its notification
	asksAt    time.Time // when it asks next, where that matters
	since     time.Time // it downloads since then
	left      uint32    // what it had to download then
	waitUntil time.Time // the device was told to ask again then
	servedAt  time.Time // first offer; zero: none yet
	releaseAt time.Time // when its installation is released
	tries     int       // offers that it did not answer
	ended     bool
}

// newHome makes a home of up to eight devices of up to four images.
func newHome(seed uint64, trouble bool) *home {
	r := rand.New(rand.NewPCG(seed, 15))
	h := &home{
		r: r, trouble: trouble, now: start, memory: map[string]time.Time{},
		policy: slot.Policy{
			Concurrency: 1 + r.IntN(4), Slice: time.Duration(2+r.IntN(900)) * time.Second,
			PauseStep: 30 * time.Second, CrowdedTimeout: 2 * time.Second,
		},
	}
	images := 1 + r.IntN(4)
	overlapping := r.IntN(3)
	for i := range 1 + r.IntN(8) {
		image := r.IntN(images)
		d := h.newResident(message.IEEE(i+1), image)
		d.Overlaps = image < overlapping && !d.InstallLater
		h.residents = append(h.residents, d)
	}
	h.troubleAt = h.now.Add(time.Second)
	return h
}

func (h *home) newResident(device message.IEEE, image int) *resident {
	r := h.r
	queuedAt := h.now.Add(time.Duration(r.IntN(900)) * time.Second)
	d := &resident{
		Candidate: slot.Candidate{
			Device: device, Key: slot.Key{SHA256: fmt.Sprint("image ", image), Version: 2},
			Stage: slot.Scheduled, DueAt: queuedAt, QueuedSince: queuedAt, WaitsSince: queuedAt,
			Located: true, Left: uint32(1000 * (1 + r.IntN(200))), Named: r.IntN(2) == 0,
			Sleepy: r.IntN(4) == 0, InstallLater: r.IntN(12) == 0,
		},
		rate:  200 + r.IntN(800),
		wakes: time.Duration(20+r.IntN(600)) * time.Second,
	}
	switch r.IntN(8) {
	case 0:
		d.rate = 1 + r.IntN(49)
		d.Left = min(d.Left, uint32(20_000*d.rate)) // hours, not days
	case 1:
		d.dead = true
	case 2:
		d.stopsAt = d.Left / 2
	}
	if r.IntN(2) == 0 {
		d.UsualRate = max(d.rate*(50+r.IntN(100))/100, 1)
	}
	if h.trouble {
		d.BatteryLow = r.IntN(10) == 0
		d.Located = r.IntN(10) != 0
		if r.IntN(6) == 0 {
			d.Canary = message.IEEE(1 + r.IntN(8))
		}
	}
	return d
}

// view is what the service knows of the home, in random order.
func (h *home) view() slot.View {
	v := slot.View{
		Slot: h.slot, Usable: !h.unusable, NoNew: h.noNew, Crowded: h.crowded, Policy: h.policy,
	}
	for _, i := range h.r.Perm(len(h.residents)) {
		d := h.residents[i]
		if d.ended {
			continue
		}
		d.advance(h.now)
		c := d.Candidate
		if at, asked := h.memory[c.Key.SHA256]; asked {
			c.Image = slot.ImageReading
			if !h.now.Before(at) {
				c.Image = slot.ImageReady
			}
		}
		v.Upgrades = append(v.Upgrades, c)
	}
	return v
}
