package slot_test

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// fault notes something that must not be, the first time with how things stand.
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

// refuse notes that the dongle refused a request because it held another header.
func (h *home) refuse(d *resident, why string) {
	if !h.trouble {
		h.fault("the dongle refused a request of %v: %s", d.Device, why)
	}
}
