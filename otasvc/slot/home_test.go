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
		d.rate = 10 + r.IntN(40) // an hour and more
	case 1:
		d.dead = true
	case 2:
		d.stopsAt = d.Left / 2
	}
	if r.IntN(2) == 0 {
		d.UsualRate = d.rate * (50 + r.IntN(100)) / 100
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

// takes reports whether a device takes blocks all the time.
func (d *resident) takes() bool {
	return d.Stage == slot.Downloading && !d.since.IsZero() && d.waitUntil.IsZero() && d.PutOffUntil.IsZero()
}

// silentAt is when a device that takes blocks falls silent; zero stands for never.
func (d *resident) silentAt() time.Time {
	if d.stopsAt == 0 {
		return time.Time{}
	}
	return d.since.Add(takes(max(d.left, d.stopsAt)-d.stopsAt, d.rate))
}

// takes is how long bytes take.
func takes(bytes uint32, rate int) time.Duration {
	return time.Duration(bytes) * time.Second / time.Duration(rate)
}

// advance notes what a device has by now.
func (d *resident) advance(now time.Time) {
	if !d.takes() {
		return
	}
	silent := d.silentAt()
	over := !silent.IsZero() && now.After(silent)
	if over {
		now = silent
	}
	took := now.Sub(d.since)
	d.Left = d.left - min(d.left, uint32(int64(took)*int64(d.rate)/int64(time.Second)))
	if over {
		d.Left = min(d.left, d.stopsAt)
	}
	if d.ActiveAt.Before(now) {
		d.ActiveAt = now
	}
	if took >= 30*time.Second {
		d.Rate = d.rate
	}
}

func (h *home) fault(format string, args ...any) {
	if len(h.wrong) == 0 {
		defer h.describe()
	}
	h.wrong = append(h.wrong, h.now.Sub(start).String()+": "+fmt.Sprintf(format, args...))
}

// describe says how things stand.
func (h *home) describe() {
	since := func(at time.Time) string {
		if at.IsZero() {
			return "-"
		}
		return at.Sub(h.now).Round(time.Second).String()
	}
	h.wrong = append(h.wrong, fmt.Sprintf("the slot is %+v, the dongle holds %v; policy %+v", h.slot, h.held, h.policy))
	for _, d := range h.residents {
		h.wrong = append(h.wrong, fmt.Sprintf(
			"%d %s stage %d begun %v left %d rate %d (%d/%d) sleepy %v dead %v stops %d overlaps %v told %v "+
				"held %v later %v, queued %s offered %s active %s putOff %s waits %s asks %s, ended %v",
			d.Device, d.Key.SHA256, d.Stage, d.Begun, d.Left, d.rate, d.Rate, d.UsualRate, d.Sleepy, d.dead,
			d.stopsAt, d.Overlaps, d.Told, d.Held, d.InstallLater, since(d.QueuedSince), since(d.OfferedAt),
			since(d.ActiveAt), since(d.PutOffUntil), since(d.waitUntil), since(d.asksAt), d.ended))
	}
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
			h.checkRest(v)
			return
		}
		h.check(v, decision)
		h.carryOut(decision)
	}
	h.fault("more than %d decisions in a row", most)
}

// checkQueue holds the forecast against the upgrades: everybody whose download has not ended has one place.
func (h *home) checkQueue(v slot.View) {
	places, end := slot.Forecast(v, h.now)
	positions := map[message.IEEE]int{}
	last := time.Time{}
	queued := 0
	for _, p := range places {
		if _, twice := positions[p.Device]; twice {
			h.fault("%v has two places", p.Device)
		}
		positions[p.Device] = p.Position
		if p.Position > 0 {
			queued++
			if p.Position != queued {
				h.fault("after %d places comes %d", queued-1, p.Position)
			}
		}
		switch {
		case p.Position > 0 && p.Start.IsZero() != p.End.IsZero(), p.Position == 0 && !p.Start.IsZero():
			h.fault("%v begins at %v and ends at %v", p.Device, p.Start, p.End)
		case !p.Start.IsZero() && (p.Start.Before(h.now) || !p.Start.Before(p.End)):
			h.fault("%v begins at %v and ends at %v, and it is %v", p.Device, p.Start, p.End, h.now)
		}
		if p.End.After(last) {
			last = p.End
		}
	}
	if !last.Equal(end) {
		h.fault("the queue ends at %v, its last upgrade at %v", end, last)
	}

	for _, c := range v.Upgrades {
		waits := c.Stage == slot.Queued || c.Stage == slot.Scheduled || c.Stage == slot.PausedInQueue ||
			!c.PutOffUntil.IsZero()
		position, has := positions[c.Device]
		if has != (waits || c.InDownload()) || waits != (position > 0) {
			h.fault("%v of stage %d has the place %d (%v)", c.Device, c.Stage, position, has)
		}
	}
}

// checkRest holds the home against what must be true where there is nothing to be done.
func (h *home) checkRest(v slot.View) {
	h.checkPromises(v)
	if next := slot.Next(v, h.now); !next.IsZero() && next.After(h.now) {
		at := h.now.Add(time.Duration(h.r.Int64N(int64(next.Sub(h.now)))))
		if d := slot.Plan(v, at); d != nil && !h.trouble {
			h.fault("%#v is decided after %v, and Next says %v", d, at.Sub(h.now), next.Sub(h.now))
		}
	} else if d := slot.Plan(v, h.now.Add(time.Duration(h.r.IntN(3600))*time.Second)); d != nil && !h.trouble {
		h.fault("%#v is decided within an hour, and Next says that nothing is", d)
	}
	if v.Slot.IsBusy() || !v.Usable || v.Crowded || h.trouble {
		return
	}
	for _, c := range v.Upgrades {
		switch {
		case c.UsesSlot() || c.LastBlock || v.Slot.Switching():
			return // it is in use
		case c.Image == slot.ImageReading:
			return // it is about to be
		case !c.PutOffUntil.IsZero() && c.Told && c.PutOffUntil.Sub(h.now) < 4*time.Minute:
			return // it is promised
		}
	}
	downloads := 0
	for _, c := range v.Upgrades {
		if c.InDownload() && c.PutOffUntil.IsZero() {
			downloads++
		}
	}
	for _, c := range v.Upgrades {
		waits := c.Stage == slot.Queued && c.Image == slot.ImageReady && !h.now.Before(c.NotBefore) && !barred(v, c)
		if waits && downloads < v.Policy.Concurrency {
			h.fault("the slot is idle, and %+v waits", c)
		}
	}
}

// checkPromises holds the waits that devices were told against each other.
func (h *home) checkPromises(v slot.View) {
	for i, a := range v.Upgrades {
		for _, b := range v.Upgrades[i+1:] {
			promised := a.Told && b.Told && h.now.Before(a.PutOffUntil) && h.now.Before(b.PutOffUntil)
			if promised && a.Key != b.Key && a.PutOffUntil.Sub(b.PutOffUntil).Abs() < 30*time.Second {
				h.fault("the waits of %v and %v end within %v", a.Device, b.Device,
					a.PutOffUntil.Sub(b.PutOffUntil))
			}
		}
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
		waits := func(c slot.Candidate) bool { return c.Key == h.unused && mayBeOffered(v, c, h.now) }
		due := func(c slot.Candidate) bool { return c.Told && c.PutOffUntil.Sub(h.now) < time.Minute }
		if h.unused == v.Slot.Key() && !slices.ContainsFunc(v.Upgrades, due) && slices.ContainsFunc(v.Upgrades, waits) {
			h.fault("%#v, and nobody had anything of loading %v before", d, h.unused)
		}
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
		busy := users(func(c slot.Candidate) bool {
			if c.Stage == slot.Offered {
				return h.now.Sub(c.OfferedAt) < 7*time.Second
			}
			return h.now.Sub(c.ActiveAt) < slot.SilentAfter
		})
		if busy >= v.Policy.Concurrency || alone && users(anyone) > 0 {
			h.fault("%#v, with %d downloads", d, busy)
		}
	case slot.EndForBattery:
		each([]message.IEEE{d.Device}, func(c slot.Candidate) bool {
			return mayBeOffered(v, c, h.now) && c.BatteryLow
		})
	case slot.GiveUp:
		each(d.Devices, func(c slot.Candidate) bool { return c.Stage == slot.Offered && !c.Begun })
		each(d.Aside, func(c slot.Candidate) bool {
			return c.UsesSlot() && h.now.Sub(c.ActiveAt) >= slot.SilentAfter
		})
	case slot.BeginSwitch:
		each(d.PutOff, func(c slot.Candidate) bool { return c.UsesSlot() && c.Begun })
		if d.Until.Sub(h.now) > slot.LongestWait {
			h.fault("%#v is a wait of more than an hour", d)
		}
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
		!now.Before(c.NotBefore) && !barred(v, c)
}

// barred reports whether nobody may begin with an image: one holds it back, or has to be alone and was put off.
func barred(v slot.View, c slot.Candidate) bool {
	return slot.WithheldBy(v, c.Key) != 0 || slices.ContainsFunc(v.Upgrades, func(other slot.Candidate) bool {
		putOff := other.Key == c.Key && !other.PutOffUntil.IsZero()
		return putOff && (other.InstallLater || c.InstallLater)
	})
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
		h.slot = h.slot.Loading(d.Key)
		h.loads++
		h.send(d.Key)
	case slot.Clear:
		h.slot = h.slot.Clearing()
		h.clearing = true
		h.send(slot.Key{})
	case slot.Reset:
		h.slot = h.slot.Reset(h.now)
		h.hold(slot.Key{})
	case slot.Read:
		h.memory[d.SHA256] = h.now.Add(time.Duration(h.r.IntN(3000)) * time.Millisecond)
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
		for _, r := range h.of(d.Aside...) {
			r.putOff(h.now, h.now)
		}
	case slot.BeginSwitch:
		h.beginSwitch(d)
	case slot.FinishSwitch:
		h.slot = h.slot.SwitchFinished()
		for _, r := range h.of(d.Devices...) {
			r.putOff(d.Until, h.now)
		}
	case slot.CallBack:
		h.slot = h.slot.CalledBack()
		for _, r := range h.of(d.Devices...) {
			h.callBack(r)
		}
	}
}

// beginSwitch has devices told to wait when they ask next.
func (h *home) beginSwitch(d slot.BeginSwitch) {
	h.giveUp(d.GiveUp)
	h.slot = h.slot.SwitchBegun(d)
	h.change = d
	for _, r := range h.of(d.PutOff...) {
		r.Told = false
		if r.waitUntil.IsZero() {
			r.asksAt = h.now.Add(time.Duration(h.r.IntN(3000)) * time.Millisecond)
		}
	}
}

// putOff has a device wait for another image.
func (d *resident) putOff(until, now time.Time) {
	d.advance(now)
	d.since = time.Time{}
	d.PutOffUntil = until
	d.QueuedSince = now
	d.Stage = slot.Paused
}

// callBack lets a device go on.
func (h *home) callBack(d *resident) {
	if d.Told {
		d.ActiveAt = d.PutOffUntil
	}
	d.PutOffUntil = time.Time{}
	d.Told = false
	d.Stage = slot.Downloading
	if d.Held {
		d.Stage = slot.Paused
	}
	h.unused = slot.Key{}
	if d.waitUntil.IsZero() && d.since.IsZero() && !d.silent() {
		h.goOn(d)
	}
}

// goOn has a device take blocks.
func (h *home) goOn(d *resident) {
	d.since = h.now
	d.left = d.Left
	d.Begun = true
	h.unused = slot.Key{}
}

// send has the dongle answer within two seconds.
func (h *home) send(k slot.Key) {
	h.sent = k
	h.answerAt = h.now.Add(time.Duration(h.r.IntN(2000)) * time.Millisecond)
}

func (h *home) offer(d *resident) {
	d.Stage = slot.Offered
	d.Served = true
	d.Unanswered = false
	d.OfferedAt = h.now
	d.tries++
	d.answerAt = time.Time{}
	if !d.dead && !d.Sleepy || h.now.Before(d.AwakeUntil) {
		d.answerAt = h.now.Add(time.Duration(500+h.r.IntN(3000)) * time.Millisecond)
	}
	if d.servedAt.IsZero() {
		d.servedAt = h.now
	}
	h.unused = slot.Key{}
}

func (h *home) giveUp(devices []message.IEEE) {
	for _, d := range h.of(devices...) {
		d.Stage = slot.Queued
		d.Served = false
		d.Begun = false
		d.Unanswered = true
		d.QueuedSince = h.now
		d.answerAt = time.Time{}
		if d.tries > 20 {
			d.end()
		}
	}
}

func (d *resident) end() {
	d.ended = true
	d.Served = false
}

// mostSteps is how much happens in a home at most.
const mostSteps = 20_000

// refuse notes that the dongle refused a request because it held another header.
func (h *home) refuse(d *resident, why string) {
	if !h.trouble {
		h.fault("the dongle refused a request of %v: %s", d.Device, why)
	}
}

// step goes on to the next thing that happens. It reports false where nothing does any more.
func (h *home) step() bool {
	if h.steps++; h.steps > mostSteps {
		h.fault("it does not come to an end: the slot is %+v", h.slot)
		return false
	}
	next := h.soonest()
	if next.IsZero() {
		return false
	}
	if next.After(h.now) {
		h.now = next
	} else {
		h.now = h.now.Add(time.Millisecond)
	}
	if h.trouble && !h.now.Before(h.troubleAt) {
		h.troubleAt = h.now.Add(time.Duration(1+h.r.IntN(600)) * time.Second)
		h.meddle()
	}
	h.answer()
	for _, d := range h.residents {
		if !d.ended {
			h.live(d)
		}
	}
	h.settle()
	return true
}

// soonest is when the next thing happens.
func (h *home) soonest() time.Time {
	var next time.Time
	consider := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	later := func(at time.Time) {
		if at.After(h.now) {
			consider(at)
		}
	}
	if h.slot.IsBusy() {
		consider(h.answerAt)
	}
	if h.trouble {
		consider(h.troubleAt)
	}
	for _, at := range h.memory {
		later(at)
	}
	later(slot.Next(h.view(), h.now))
	for _, d := range h.residents {
		if !d.ended {
			consider(h.eventOf(d))
		}
	}
	return next
}

// eventOf is when a device does something next.
func (h *home) eventOf(d *resident) time.Time {
	var next time.Time
	consider := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	switch d.Stage {
	case slot.Scheduled:
		return d.DueAt
	case slot.Withheld:
		return d.releaseAt
	case slot.Elsewhere:
		return h.now
	}
	if d.Sleepy && (d.Stage == slot.Queued || d.Stage == slot.Offered) && !d.dead {
		consider(d.wakeAt)
		if d.wakeAt.IsZero() {
			return h.now
		}
	}
	if d.Stage == slot.Offered {
		consider(d.answerAt)
		if d.dead {
			consider(d.OfferedAt.Add(5*time.Minute + time.Millisecond))
		}
	}
	if d.Stage != slot.Downloading && d.Stage != slot.Paused {
		return next
	}
	if d.silent() {
		if d.PutOffUntil.IsZero() {
			consider(d.ActiveAt.Add(5 * time.Minute)) // its upgrade ends
		}
		return next
	}
	if d.takes() {
		done := d.since.Add(takes(d.left-min(d.stopsAt, d.left), d.rate) + time.Millisecond)
		if !done.After(h.now) {
			done = h.now.Add(time.Second) // it asks for its last block again
		}
		consider(done)
	}
	consider(d.waitUntil)
	consider(d.asksAt)
	return next
}

// silent reports whether a device has fallen silent.
func (d *resident) silent() bool { return d.stopsAt > 0 && d.Left <= d.stopsAt }

// answer has the dongle take the header that is under way, or not.
func (h *home) answer() {
	if !h.slot.IsBusy() || h.now.Before(h.answerAt) {
		return
	}
	switch {
	case h.trouble && h.r.IntN(10) == 0:
		h.slot = h.slot.Refused(h.now)
		h.clearing = false
		return
	case h.clearing:
		h.slot = h.slot.Cleared()
		h.clearing = false
	default:
		h.slot = h.slot.Loaded()
		h.unused = h.sent
	}
	h.hold(h.sent)
}

// hold has the dongle hold another header: it refuses the blocks of all others.
func (h *home) hold(k slot.Key) {
	h.held = k
	for _, d := range h.residents {
		if d.ended || !d.takes() || d.silent() {
			continue
		}
		switch {
		case d.Key == k:
			h.unused = slot.Key{}
		case !d.Overlaps && !d.LastBlock:
			h.refuse(d, "the header was changed")
		}
	}
}

// live lets a device do what it does now.
func (h *home) live(d *resident) {
	d.advance(h.now)
	if d.Stage == slot.Scheduled && !h.now.Before(d.DueAt) {
		d.Stage = slot.Queued
	}
	woke := d.Sleepy && !d.dead && !h.now.Before(d.wakeAt)
	if woke {
		d.wakeAt = h.now.Add(d.wakes)
	}
	switch d.Stage {
	case slot.Queued:
		if woke {
			d.AwakeUntil = h.now.Add(slot.ListensFor)
		}
	case slot.Offered:
		h.answersOffer(d, woke)
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

// answersOffer has a device that was notified begin.
func (h *home) answersOffer(d *resident, woke bool) {
	answers := !d.answerAt.IsZero() && !h.now.Before(d.answerAt)
	switch {
	case answers || woke:
		d.answerAt = time.Time{}
		if h.held != d.Key || h.slot.IsBusy() {
			return // the dongle has no image for it
		}
		d.Stage = slot.Downloading
		d.ActiveAt = h.now
		h.goOn(d)
	case d.dead && h.now.Sub(d.OfferedAt) > 5*time.Minute:
		d.end()
	}
}

// ask lets a device ask where it matters: when its wait is over, when it is to be told to wait, when it has
// everything, and when it has been silent for too long.
func (h *home) ask(d *resident) {
	if d.silent() {
		if d.PutOffUntil.IsZero() && h.now.Sub(d.ActiveAt) >= 5*time.Minute {
			d.end()
		}
		return
	}
	due := func(at *time.Time) bool {
		if at.IsZero() || h.now.Before(*at) {
			return false
		}
		*at = time.Time{}
		return true
	}
	if due(&d.waitUntil) || due(&d.asksAt) {
		h.asksNow(d)
	}
	if d.takes() && d.Left == 0 && !h.slot.TellsToWait(d.Device) {
		h.finish(d)
	}
}

// asksNow has a device ask for a block.
func (h *home) asksNow(d *resident) {
	if !d.waitUntil.IsZero() {
		return
	}
	if h.held != d.Key && !d.LastBlock && !d.Overlaps {
		h.refuse(d, "it asked")
	}
	d.ActiveAt = h.now
	switch {
	case h.slot.TellsToWait(d.Device):
		d.advance(h.now)
		d.since = time.Time{}
		d.Told = true
		d.waitUntil = h.change.Until
	case !d.PutOffUntil.IsZero() && h.now.Before(d.PutOffUntil):
		d.Told = true
		d.waitUntil = d.PutOffUntil
	case d.Held:
		d.waitUntil = h.now.Add(h.policy.PauseStep)
	case d.PutOffUntil.IsZero() && d.since.IsZero():
		h.goOn(d)
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
		if !h.slot.IsBusy() && !h.slot.PagesAsked() && !d.LastBlock {
			d.LastBlock = true
			h.slot = h.slot.Clearing()
			h.clearing = true
			h.send(slot.Key{})
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
	h.unused = slot.Key{}
	d := h.residents[h.r.IntN(len(h.residents))]
	switch h.r.IntN(15) {
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
			d.advance(h.now)
			d.Held = true
			d.Stage = slot.Paused
			d.Begun = true
			d.since = time.Time{}
			d.waitUntil = h.now.Add(h.policy.PauseStep)
		}
	case 12:
		if d.Held && d.PutOffUntil.IsZero() {
			d.Held = false
			d.Stage = slot.Downloading
		}
	case 13:
		if d.Stage == slot.Offered || d.Stage == slot.Downloading {
			h.giveUp([]message.IEEE{d.Device})
			d.since = time.Time{}
			d.NotBefore = h.now.Add(10 * time.Second)
		}
	case 14:
		h.slot = h.slot.Kept(h.now.Add(10 * time.Second))
	}
}
