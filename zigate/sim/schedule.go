package sim

import (
	"container/heap"
	"math"
	"time"
)

// timer is an event at a time. A timer belongs to one schedule and can be set again and again; events of the
// same moment fire in the order in which they were set.
type timer struct {
	fire  func()
	at    time.Time
	order uint64
	place int // in the heap, from 1; 0 means that the timer is not set
}

func (t *timer) isSet() bool { return t.place > 0 }

// schedule is the heap of everything that is to happen.
type schedule struct {
	timers []*timer
	order  uint64
}

func (s *schedule) set(t *timer, at time.Time) {
	s.order++
	t.at = at
	t.order = s.order
	if t.isSet() {
		heap.Fix(s, t.place-1)
		return
	}
	heap.Push(s, t)
}

func (s *schedule) stop(t *timer) {
	if t.isSet() {
		heap.Remove(s, t.place-1)
	}
}

// next is when the earliest timer is due.
func (s *schedule) next() (time.Time, bool) {
	if len(s.timers) == 0 {
		return time.Time{}, false
	}
	return s.timers[0].at, true
}

// due takes the earliest timer off if its time has come.
func (s *schedule) due(now time.Time) (*timer, bool) {
	if len(s.timers) == 0 || s.timers[0].at.After(now) {
		return nil, false
	}
	return heap.Pop(s).(*timer), true
}

// Len, Less, Swap, Push and Pop are for container/heap.

func (s *schedule) Len() int { return len(s.timers) }

func (s *schedule) Less(i, j int) bool {
	a := s.timers[i]
	b := s.timers[j]
	if a.at.Equal(b.at) {
		return a.order < b.order
	}
	return a.at.Before(b.at)
}

func (s *schedule) Swap(i, j int) {
	first := s.timers[i]
	second := s.timers[j]
	s.timers[i] = second
	s.timers[j] = first
	second.place = i + 1
	first.place = j + 1
}

func (s *schedule) Push(x any) {
	t := x.(*timer)
	s.timers = append(s.timers, t)
	t.place = len(s.timers)
}

func (s *schedule) Pop() any {
	last := len(s.timers) - 1
	t := s.timers[last]
	s.timers[last] = nil
	s.timers = s.timers[:last]
	t.place = 0
	return t
}

// timeline is the simulation's time: what time it is, what is still to happen, and how quickly radio and
// devices pass it.
type timeline struct {
	now      time.Time
	schedule schedule
	pace     pace
}

// later fires once, after a real time.
func (t *timeline) later(wait time.Duration, fire func()) {
	t.schedule.set(&timer{fire: fire}, t.now.Add(wait))
}

// set makes a timer fire after a real time, and not when it was set to before.
func (t *timeline) set(timer *timer, wait time.Duration) {
	t.schedule.set(timer, t.now.Add(wait))
}

func (t *timeline) stop(timer *timer) { t.schedule.stop(timer) }

// fireNext fires the earliest timer that is due, and reports whether there was one.
func (t *timeline) fireNext() bool {
	next, ok := t.schedule.due(t.now)
	if ok {
		next.fire()
	}
	return ok
}

// pace turns the times of radio and devices into times to wait here.
type pace struct {
	speed float64 // times quicker than real; 0 does not wait at all
}

func newPace(speed float64) pace {
	if math.IsInf(speed, 0) || math.IsNaN(speed) || speed < 0 {
		speed = 0
	}
	return pace{speed: speed}
}

// wait is for what takes time on the air and in a device.
func (p pace) wait(d time.Duration) time.Duration {
	if p.speed == 0 {
		return 0
	}
	return time.Duration(float64(d) / p.speed)
}

// timeoutFloor is the least time that a quicker simulation leaves a host for its answer.
const timeoutFloor = time.Second

// timeout is for the time that a device gives its host, and for waits that the host asked for. The host
// does not run quicker only because the simulation does: these are never cut below a second, and not at
// all without waiting.
func (p pace) timeout(d time.Duration) time.Duration {
	if p.speed == 0 || d <= 0 {
		return max(d, 0)
	}
	return max(p.wait(d), min(d, timeoutFloor))
}

// passed is a span of real time as the radio and the devices see it.
func (p pace) passed(d time.Duration) time.Duration {
	if p.speed == 0 {
		return d
	}
	return time.Duration(float64(d) * p.speed)
}
