package slot_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// home is a simulated home: a dongle, its devices, and a service that does what Plan decides and nothing
// else. Its clock moves by a second at a time.
type home struct {
	r           *rand.Rand
	trouble     bool // the dongle and people get in the way
	now         time.Time
	slot        slot.State
	answerAt    time.Time // when the dongle answers the load that is under way
	clearing    bool      // it is a clearing
	switchUntil time.Time // what the devices of the last slot switch are told to wait for
	unusable    bool
	noNew       bool
	crowded     bool
	policy      slot.Policy
	memory      map[string]time.Time // when an image is read
	residents   []*resident
	loads       int
	refused     int // requests that the dongle refused, because it held another header
	wrong       []string
}

// resident is a device with its upgrade.
type resident struct {
	slot.Candidate
	rate      int           // bytes a second
	wakes     time.Duration // how often a sleepy device wakes
	wakeAt    time.Time
	notified  time.Time // when the device heard of its image
	waitUntil time.Time // the device was told to ask again then
	servedAt  time.Time // first offer; zero: none yet
	releaseAt time.Time // when its installation is released
	ended     bool
}

// newHome makes a home of up to eight devices of up to four images.
func newHome(seed uint64, trouble bool) *home {
	r := rand.New(rand.NewPCG(seed, 15))
	h := &home{
		r: r, trouble: trouble, now: start, memory: map[string]time.Time{},
		policy: slot.Policy{
			Concurrency: 1 + r.IntN(4), Slice: time.Duration(60+r.IntN(900)) * time.Second,
			PauseStep: 30 * time.Second, CrowdedTimeout: 2 * time.Second,
		},
	}
	images := 1 + r.IntN(4)
	for i := range 1 + r.IntN(8) {
		h.residents = append(h.residents, h.newResident(message.IEEE(i+1), r.IntN(images)))
	}
	return h
}

func (h *home) newResident(device message.IEEE, image int) *resident {
	r := h.r
	queuedAt := h.now.Add(time.Duration(r.IntN(600)) * time.Second)
	d := &resident{
		Candidate: slot.Candidate{
			Device: device, Key: slot.Key{SHA256: fmt.Sprint("image ", image), Version: 2},
			Stage: slot.Scheduled, DueAt: queuedAt, QueuedSince: queuedAt, WaitsSince: queuedAt,
			Located: true, Left: uint32(1000 * (1 + r.IntN(200))),
			Sleepy: r.IntN(4) == 0, InstallLater: r.IntN(8) == 0,
		},
		rate: 200 + r.IntN(800), wakes: time.Duration(20+r.IntN(600)) * time.Second,
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

func (h *home) fault(format string, args ...any) {
	h.wrong = append(h.wrong, h.now.Sub(start).String()+": "+fmt.Sprintf(format, args...))
}

// settle carries decisions out until there is nothing to do.
func (h *home) settle() {
	most := 8 + 4*len(h.residents)
	for range most {
		v := h.view()
		before := slices.Clone(v.Upgrades)
		decision := slot.Plan(v, h.now)
		if !slices.Equal(before, v.Upgrades) {
			h.fault("the view was changed")
		}
		if again := slot.Plan(h.view(), h.now); !reflect.DeepEqual(decision, again) {
			h.fault("in another order of the upgrades %#v is %#v", decision, again)
		}
		if decision == nil {
			h.checkQueue(v)
			return
		}
		h.check(v, decision)
		h.carryOut(decision)
	}
	h.fault("more than %d decisions in a row", most)
}

// checkQueue holds the queue against the upgrades that wait.
func (h *home) checkQueue(v slot.View) {
	var want []message.IEEE
	for _, c := range v.Upgrades {
		if c.Stage == slot.Queued || c.Stage == slot.Scheduled || !c.PutOffUntil.IsZero() {
			want = append(want, c.Device)
		}
	}
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(slot.Queue(v, h.now))); !slices.Equal(got, want) {
		h.fault("the queue has %v, want %v", got, want)
	}
}

// check holds a decision against the view that it was made from.
func (h *home) check(v slot.View, decision slot.Decision) {
	if !v.Usable || v.Slot.IsBusy() {
		h.fault("%#v, and the dongle takes no command", decision)
	}
	at := func(device message.IEEE) slot.Candidate {
		i := slices.IndexFunc(v.Upgrades, func(c slot.Candidate) bool { return c.Device == device })
		if i < 0 {
			h.fault("%#v is about a device without an upgrade", decision)
			return slot.Candidate{}
		}
		return v.Upgrades[i]
	}
	each := func(devices []message.IEEE, fits func(c slot.Candidate) bool) {
		for _, device := range devices {
			if c := at(device); !fits(c) {
				h.fault("%#v contradicts %+v", decision, c)
			}
		}
	}
	users := func(fits func(c slot.Candidate) bool) (n int) {
		for _, c := range v.Upgrades {
			if c.UsesSlot() && fits(c) {
				n++
			}
		}
		return n
	}
	anyone := func(slot.Candidate) bool { return true }
	switch d := decision.(type) {
	case slot.Load:
		wanted := slices.ContainsFunc(v.Upgrades, func(c slot.Candidate) bool {
			return c.Key == d.Key && c.Image == slot.ImageReady && c.Stage != slot.Scheduled
		})
		others := users(func(c slot.Candidate) bool { return c.Key != d.Key })
		if !wanted || others > 0 || v.Slot.Holds(d.Key) || v.Slot.PagesAsked() && d.Key != v.Slot.Key() {
			h.fault("%#v, with %d downloads of other images", d, others)
		}
	case slot.Clear:
		if users(anyone) > 0 || v.Slot.IsCleared() {
			h.fault("the slot is cleared, with %d downloads", users(anyone))
		}
	case slot.Reset:
		served := users(func(c slot.Candidate) bool { return v.Slot.Holds(c.Key) })
		if served > 0 || !v.Slot.PagesAsked() {
			h.fault("the dongle is reset, with %d downloads of its image", served)
		}
	case slot.Read:
		if _, asked := h.memory[d.SHA256]; asked {
			h.fault("%#v: it is read already", d)
		}
	case slot.Admit:
		each(d.Devices, func(c slot.Candidate) bool {
			return c.UsesSlot() && !c.Served && v.Slot.Holds(c.Key)
		})
	case slot.Offer:
		each([]message.IEEE{d.Device}, func(c slot.Candidate) bool {
			return mayBeOffered(v, c, h.now) && c.Key == d.Key
		})
		alone := users(func(c slot.Candidate) bool { return c.InstallLater }) > 0 || at(d.Device).InstallLater
		if n := users(anyone); n >= v.Policy.Concurrency || alone && n > 0 {
			h.fault("%#v, with %d downloads", d, n)
		}
	case slot.EndForBattery:
		each([]message.IEEE{d.Device}, func(c slot.Candidate) bool {
			return mayBeOffered(v, c, h.now) && c.BatteryLow
		})
	case slot.GiveUp:
		each(d.Devices, func(c slot.Candidate) bool { return c.Sleepy && c.Stage == slot.Offered })
	case slot.BeginSwitch:
		each(d.PutOff, func(c slot.Candidate) bool { return c.UsesSlot() && c.Begun })
		each(d.GiveUp, func(c slot.Candidate) bool { return c.Stage == slot.Offered && !c.Begun })
		if v.Slot.Switching() || d.Deadline.Before(h.now) || d.Until.Before(d.Deadline) {
			h.fault("%#v", d)
		}
	case slot.FinishSwitch:
		each(d.Devices, func(c slot.Candidate) bool { return c.UsesSlot() && v.Slot.TellsToWait(c.Device) })
	case slot.CallBack:
		each(d.Devices, func(c slot.Candidate) bool { return !c.PutOffUntil.IsZero() && v.Slot.Holds(c.Key) })
	}
}

// mayBeOffered reports whether an upgrade waits for nothing but its offer.
func mayBeOffered(v slot.View, c slot.Candidate, now time.Time) bool {
	return c.Stage == slot.Queued && v.Slot.Holds(c.Key) && c.Located && c.Canary == 0 && !v.NoNew &&
		!now.Before(c.NotBefore) && slot.WithheldBy(v, c.Key) == 0
}

// of are the residents of devices.
func (h *home) of(devices ...message.IEEE) []*resident {
	var found []*resident
	for _, d := range h.residents {
		if slices.Contains(devices, d.Device) {
			found = append(found, d)
		}
	}
	return found
}

// carryOut does what was decided.
func (h *home) carryOut(decision slot.Decision) {
	switch d := decision.(type) {
	case slot.Load:
		h.slot = h.slot.Loading(d.Key, h.now)
		h.loads++
		h.sent(false)
	case slot.Clear:
		h.slot = h.slot.Clearing()
		h.sent(true)
	case slot.Reset:
		h.slot = h.slot.Reset(h.now)
	case slot.Read:
		h.memory[d.SHA256] = h.now.Add(time.Duration(h.r.IntN(3)) * time.Second)
	case slot.Admit:
		for _, r := range h.of(d.Devices...) {
			r.Served = true
		}
	case slot.Offer:
		h.slot = h.slot.Offered(h.crowded, h.now)
		h.offer(h.of(d.Device)[0])
	case slot.Defer:
		h.slot = h.slot.Deferred(h.now)
	case slot.EndForBattery:
		h.of(d.Device)[0].end()
	case slot.GiveUp:
		h.giveUp(d.Devices)
	case slot.BeginSwitch:
		h.giveUp(d.GiveUp)
		h.slot = h.slot.SwitchBegun(d)
		h.switchUntil = d.Until
		for _, r := range h.of(d.PutOff...) {
			r.Told = false
		}
	case slot.FinishSwitch:
		h.slot = h.slot.SwitchFinished()
		for _, r := range h.of(d.Devices...) {
			r.PutOffUntil = d.Until
			r.QueuedSince = h.now
			r.Stage = slot.Paused
		}
	case slot.CallBack:
		for _, r := range h.of(d.Devices...) {
			h.slot = h.slot.CalledBack(r.PutOffUntil)
			r.PutOffUntil = time.Time{}
			r.Stage = slot.Downloading
		}
	}
}

// sent has the dongle answer within two seconds.
func (h *home) sent(clearing bool) {
	h.clearing = clearing
	h.answerAt = h.now.Add(time.Duration(h.r.IntN(3)) * time.Second)
}

func (h *home) offer(d *resident) {
	d.Stage = slot.Offered
	d.Served = true
	d.OfferedAt = h.now
	d.notified = h.now
	if d.servedAt.IsZero() {
		d.servedAt = h.now
	}
}

func (h *home) giveUp(devices []message.IEEE) {
	for _, d := range h.of(devices...) {
		d.Stage = slot.Queued
		d.Served = false
		d.Begun = false
		d.QueuedSince = h.now
	}
}

func (d *resident) end() {
	d.ended = true
	d.Served = false
}

// step lets a second pass.
func (h *home) step() {
	h.now = h.now.Add(time.Second)
	if h.trouble {
		h.meddle()
	}
	h.answer()
	for _, d := range h.residents {
		if !d.ended {
			h.live(d)
		}
	}
	h.settle()
}

// answer has the dongle take the header that is under way, or not.
func (h *home) answer() {
	if !h.slot.IsBusy() || h.now.Before(h.answerAt) {
		return
	}
	switch {
	case h.trouble && h.r.IntN(10) == 0:
		h.slot = h.slot.Refused(h.now)
	case h.clearing:
		h.slot = h.slot.Cleared()
	default:
		h.slot = h.slot.Loaded()
	}
}

// live lets a device do what it does in a second.
func (h *home) live(d *resident) {
	if d.Stage == slot.Scheduled && !h.now.Before(d.DueAt) {
		d.Stage = slot.Queued
	}
	woke := d.Sleepy && !h.now.Before(d.wakeAt)
	if woke {
		d.wakeAt = h.now.Add(d.wakes)
	}
	switch d.Stage {
	case slot.Queued:
		if woke {
			d.AwakeUntil = h.now.Add(slot.ListensFor)
		}
	case slot.Offered:
		answers := !d.Sleepy && h.now.Sub(d.notified) >= 2*time.Second // to the notification
		if h.slot.Holds(d.Key) && (woke || answers || h.now.Before(d.AwakeUntil)) {
			h.ask(d)
		}
	case slot.Downloading, slot.Paused:
		h.ask(d)
	case slot.Withheld:
		if !h.now.Before(d.releaseAt) {
			d.Stage = slot.Elsewhere
		}
	case slot.Elsewhere:
		d.end()
	}
}

// ask lets a device ask for a second's worth of blocks.
func (h *home) ask(d *resident) {
	switch {
	case h.now.Before(d.waitUntil):
		return
	case !d.Served || !h.slot.Holds(d.Key) && !d.LastBlock:
		h.refused++
		return
	case h.slot.TellsToWait(d.Device):
		d.Told = true
		d.waitUntil = h.switchUntil
		return
	case !d.PutOffUntil.IsZero() || d.Held:
		return
	}
	d.Stage = slot.Downloading
	d.Begun = true
	d.Rate = d.rate
	d.Left -= min(d.Left, uint32(d.rate))
	if d.Left == 0 {
		h.finish(d)
	}
}

// finish ends a download. One whose installation is to wait gets its last block when the slot is empty.
func (h *home) finish(d *resident) {
	if !d.InstallLater {
		d.Stage = slot.Elsewhere
		d.Served = false
		return
	}
	if !h.slot.IsCleared() {
		if !h.slot.IsBusy() && !h.slot.PagesAsked() {
			d.LastBlock = true
			h.slot = h.slot.Clearing()
			h.sent(true)
		}
		return
	}
	d.LastBlock = false
	d.Stage = slot.Withheld
	d.Served = false
	d.releaseAt = h.now.Add(time.Duration(h.r.IntN(600)) * time.Second)
}

// meddle has something go wrong now and then.
func (h *home) meddle() {
	d := h.residents[h.r.IntN(len(h.residents))]
	switch h.r.IntN(400) {
	case 0:
		h.slot = h.slot.Restarted()
	case 1:
		h.slot = h.slot.Lost()
	case 2:
		h.slot = h.slot.Distrusted()
	case 3:
		h.slot = h.slot.PageAsked()
	case 4:
		h.unusable = !h.unusable
	case 5:
		h.noNew = !h.noNew
	case 6, 7:
		h.crowded = !h.crowded
	case 8:
		d.end()
	case 9:
		d.Located = !d.Located
	case 10:
		d.Canary = 0
	case 11:
		if d.Stage == slot.Downloading || d.Stage == slot.Offered {
			d.Held = true
			d.Stage = slot.Paused
			d.Begun = true
		}
	case 12:
		if d.Held && d.PutOffUntil.IsZero() {
			d.Held = false
			d.Stage = slot.Downloading
		}
	case 13:
		if d.Stage == slot.Offered || d.Stage == slot.Downloading {
			h.giveUp([]message.IEEE{d.Device})
			d.NotBefore = h.now.Add(10 * time.Second)
		}
	case 14:
		h.slot = h.slot.Kept(h.now.Add(10 * time.Second))
	}
}
