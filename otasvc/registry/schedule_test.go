package registry_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// calendar is a schedule with the standings of its devices.
type calendar struct {
	t *testing.T
	*registry.Schedule
	devices map[message.IEEE]*registry.Standing
	now     time.Time
	room    bool
}

func newCalendar(t *testing.T) *calendar {
	return &calendar{
		t:        t,
		Schedule: registry.NewSchedule(func(d time.Duration) time.Duration { return d }),
		devices:  map[message.IEEE]*registry.Standing{},
		now:      now,
		room:     true,
	}
}

// device adds one that is reachable, on the mains, and was not heard lately.
func (c *calendar) device(euid message.IEEE) *registry.Standing {
	s := &registry.Standing{EUID: euid, Reachable: true}
	c.devices[euid] = s
	return s
}

// pick is who is to be asked now. That is the same however often the schedule is asked.
func (c *calendar) pick() *registry.Appointment {
	c.t.Helper()
	standing := func(euid message.IEEE) registry.Standing { return *c.devices[euid] }
	a := c.Next(c.now, standing, c.room)
	if again := c.Next(c.now, standing, c.room); again != a {
		c.t.Fatalf("at %v: next is %v, and then %v", c.now.Sub(now), a, again)
	}
	return a
}

// next begins the attempt that is due.
func (c *calendar) next() *registry.Appointment {
	c.t.Helper()
	a := c.pick()
	if a == nil {
		return nil
	}
	if !c.Waits(a.EUID()) {
		c.t.Errorf("at %v: %v was picked and does not wait any more", c.now.Sub(now), a.EUID())
	}
	c.Begin(a)
	if c.Waits(a.EUID()) {
		c.t.Errorf("at %v: %v is asked and still waits", c.now.Sub(now), a.EUID())
	}
	return a
}

func (c *calendar) hear(euid message.IEEE) {
	c.devices[euid].LastSeen = c.now
	c.Heard(*c.devices[euid], c.now)
}

// due checks which device is next, and ends its attempt.
func (c *calendar) due(euid message.IEEE, whole bool) {
	c.t.Helper()
	a := c.next()
	if a == nil || a.EUID() != euid {
		c.t.Fatalf("at %v: next is %v, want %v", c.now.Sub(now), a, euid)
	}
	c.Ended(a, *c.devices[euid], whole, c.now)
}

func (c *calendar) idle() {
	c.t.Helper()
	if a := c.next(); a != nil {
		c.t.Fatalf("at %v: %v is asked", c.now.Sub(now), a.EUID())
	}
}

// silent is how long nobody is asked; the next one is due when it is over.
func (c *calendar) silent(d time.Duration) {
	c.t.Helper()
	c.now = c.now.Add(d - time.Nanosecond)
	c.idle()
	c.now = c.now.Add(time.Nanosecond)
}

// A device that does not answer is asked four times, then ever more seldom, for ever.
func TestScheduleBacksOff(t *testing.T) {
	c := newCalendar(t)
	c.device(bulb)
	c.idle()
	c.Want(bulb)
	c.due(bulb, false)
	for range 3 {
		c.silent(30 * time.Second)
		c.due(bulb, false)
	}
	for _, pause := range []int{10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440} {
		c.silent(time.Duration(pause) * time.Minute)
		c.due(bulb, false)
	}
	c.silent(24 * time.Hour)
	c.due(bulb, true)
	c.devices[bulb].Interviewed = true
	c.silent(1000 * time.Hour)
	c.idle()
}

// A device that was interviewed before is asked four times, then left alone.
func TestScheduleLeavesTheKnownAlone(t *testing.T) {
	c := newCalendar(t)
	c.device(bulb).Interviewed = true
	c.Want(bulb)
	c.due(bulb, false)
	for range 3 {
		c.silent(30 * time.Second)
		c.due(bulb, false)
	}
	c.silent(1000 * time.Hour)
	c.hear(bulb)
	c.silent(time.Hour)
	c.idle()
	c.Want(bulb)
	c.due(bulb, true)
}

// Who was heard is asked a second later; it may be busy with what it just said.
func TestScheduleHearsTheAwake(t *testing.T) {
	c := newCalendar(t)
	c.device(bulb)
	c.Want(bulb)
	c.due(bulb, false)
	c.now = c.now.Add(10 * time.Second)
	c.hear(bulb)
	c.silent(time.Second)
	c.due(bulb, false)

	// After all attempts a sign of life counts once the long backoff of ten minutes has begun to be over.
	c.silent(30 * time.Second)
	c.due(bulb, false)
	c.silent(30 * time.Second)
	c.due(bulb, false)
	c.now = c.now.Add(9 * time.Minute)
	c.hear(bulb)
	c.silent(time.Minute)
	c.due(bulb, false)
	c.silent(11 * time.Minute)
	c.hear(bulb)
	c.due(bulb, false)
	c.silent(30 * time.Second) // the attempts have begun anew
	c.due(bulb, true)
}

// A device that is heard without having been interviewed is interviewed.
func TestScheduleWantsStrangers(t *testing.T) {
	c := newCalendar(t)
	c.device(bulb)
	c.hear(bulb)
	c.due(bulb, true)

	known := c.device(socket)
	known.Interviewed = true
	c.hear(socket)
	c.idle()
}

// A sleeping device is asked once, then when it is heard, at once, for it listens for a moment only.
func TestScheduleOfSleepers(t *testing.T) {
	c := newCalendar(t)
	c.device(bulb).Sleepy = true
	c.Want(bulb)
	c.due(bulb, false)
	c.silent(48 * time.Hour)
	c.idle()
	c.hear(bulb)
	c.due(bulb, false)
	c.hear(bulb)
	c.now = c.now.Add(registry.AwakeFor - time.Nanosecond)
	c.due(bulb, false)
	c.hear(bulb)
	c.now = c.now.Add(registry.AwakeFor) // asleep again
	c.idle()
	c.hear(bulb)
	c.due(bulb, false)
	c.silent(48 * time.Hour) // all attempts were in vain: not before it is heard
	c.hear(bulb)
	c.due(bulb, true)
}

// Somebody who waits for the answers is not put off: neither by full buffers, nor by a backoff, nor by sleep.
func TestScheduleOfTheAwaited(t *testing.T) {
	c := newCalendar(t)
	d := c.device(bulb)
	d.Sleepy = true
	c.room = false
	c.Want(bulb)
	c.idle()
	d.Awaited = true
	c.due(bulb, false)
	c.WantNow(bulb)
	c.due(bulb, true)

	d.Reachable = false
	c.WantNow(bulb)
	c.idle()
	if !c.Waits(bulb) || c.Waits(socket) {
		t.Error("the schedule does not say who waits")
	}
}

// Three at a time, first who was just heard, then who waits longest.
func TestScheduleOrder(t *testing.T) {
	c := newCalendar(t)
	var order []message.IEEE
	for i := range 6 {
		euid := bulb + message.IEEE(i)
		c.device(euid)
		c.Want(euid)
	}
	c.devices[bulb+4].LastSeen = c.now.Add(-6 * time.Second)
	c.devices[bulb+5].LastSeen = c.now.Add(-8 * time.Second)
	var running []*registry.Appointment
	for a := c.next(); a != nil; a = c.next() {
		order = append(order, a.EUID()-bulb)
		running = append(running, a)
	}
	if len(order) != 3 || order[0] != 4 || order[1] != 0 || order[2] != 1 {
		t.Errorf("the first are %v", order)
	}
	c.Want(running[0].EUID()) // it is being asked already
	c.Ended(running[0], *c.devices[bulb+4], true, c.now)
	if a := c.next(); a == nil || a.EUID() != bulb+2 {
		t.Errorf("the fourth is %v", a)
	}
	c.idle()
}

// A device that is forgotten while it is interviewed, and met again, begins anew; the old attempt ends
// without consequence.
func TestScheduleForgets(t *testing.T) {
	c := newCalendar(t)
	c.device(bulb)
	c.Want(bulb)
	old := c.next()
	c.Forget(bulb)
	c.Want(bulb)
	again := c.next()
	if again == nil || again == old || again.Attempts() != 1 {
		t.Fatalf("met again, it is at %+v", again)
	}
	c.Ended(old, *c.devices[bulb], false, c.now)
	c.idle()
	c.Ended(again, *c.devices[bulb], false, c.now)
	if !c.Waits(bulb) || !c.Before(c.now.Add(31*time.Second)) || c.Before(c.now.Add(30*time.Second)) {
		t.Error("it does not wait for its second attempt")
	}
	c.Forget(bulb)
	c.silent(time.Hour)
	c.idle()
}

// The attempts that follow each other closely end with one that is said to be the last.
func TestScheduleSpent(t *testing.T) {
	c := newCalendar(t)
	c.device(bulb)
	c.Want(bulb)
	for i := range 6 {
		a := c.next()
		if a.Spent() != (i == 3) || a.Attempts() != i+1 {
			t.Errorf("attempt %d: %+v", i+1, a)
		}
		c.Ended(a, *c.devices[bulb], false, c.now)
		c.now = c.now.Add(24 * time.Hour)
	}
}
