package registry

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// broadcastRxOnWhenIdle is the network address of all devices whose receiver is on while they are idle.
const broadcastRxOnWhenIdle uint16 = 0xFFFD

const (
	// searchTimeout is how long the answer to one search by broadcast may take.
	searchTimeout = 2500 * time.Millisecond
	// searchesAtOnce is how many devices are looked for at the same time: a network bears few broadcasts.
	searchesAtOnce = 3
	// searchTries is how often a device that somebody waits for is looked for.
	searchTries = 2
	// searchesWaiting is how many devices may stand in line: the last of them is looked for two minutes
	// later.
	searchesWaiting = 64
	// searchesAtLeisure is how many devices are looked for, or stand in line, that nobody waits for: anybody
	// can send frames with addresses that are nobody's.
	searchesAtLeisure = 8
	// searchAgain is after how long a device that nobody waits for is looked for again.
	searchAgain = time.Minute
	// searchesNoted is of how many devices that is remembered.
	searchesNoted = 256
)

// Searches look for devices on the network by their EUID. The answers make devices known in the owner's usual
// way; a search only waits for them.
type Searches struct {
	questions *Questions
	devices   *Devices
	// possible reports whether anything can be sent. Where it cannot, what waits in line finds nothing.
	possible func() bool
	now      func() time.Time
	log      *slog.Logger
	waiting  []*search // in line
	running  []*search
	// heard is when a device that nobody waits for was last looked for.
	heard map[message.IEEE]time.Time
}

// search is a device that is looked for.
type search struct {
	euid message.IEEE
	// found are called with what was found. Where there are none, nobody waits for the device.
	found []func(*Device)
}

// end calls those who wait for the device.
func (s *search) end(d *Device) {
	for _, found := range s.found {
		found(d)
	}
}

// NewSearches returns Searches that ask by questions and find in devices. possible reports whether anything
// can be sent.
func NewSearches(
	questions *Questions, devices *Devices, possible func() bool, now func() time.Time, log *slog.Logger,
) *Searches {
	return &Searches{
		questions: questions, devices: devices, possible: possible, now: now, log: log,
		heard: map[message.IEEE]time.Time{},
	}
}

// Find looks for a device and calls found with it, or with nil. Searches stand in line: only a few run at a
// time. A device that is known when its search comes to the front is found without asking. Where too many
// stand in line, Find returns false, and found is not called.
func (s *Searches) Find(euid message.IEEE, found func(*Device)) bool {
	if under := s.under(euid); under != nil {
		under.found = append(under.found, found)
		return true
	}
	if len(s.waiting) >= searchesWaiting {
		return false
	}
	s.waiting = append(s.waiting, &search{euid: euid, found: []func(*Device){found}})
	s.Next()
	return true
}

// Heard looks for a device of which a frame was heard and that nobody waits for, unless too many of those are
// looked for, or it was looked for not long ago.
func (s *Searches) Heard(euid message.IEEE) {
	now := s.now()
	if s.under(euid) != nil || s.atLeisure() >= searchesAtLeisure {
		return
	}
	maps.DeleteFunc(s.heard, func(_ message.IEEE, at time.Time) bool { return now.Sub(at) >= searchAgain })
	if _, recently := s.heard[euid]; recently || len(s.heard) >= searchesNoted {
		return
	}
	s.heard[euid] = now
	s.waiting = append(s.waiting, &search{euid: euid})
	s.Next()
}

// under is the search for a device, or nil.
func (s *Searches) under(euid message.IEEE) *search {
	for _, list := range [][]*search{s.running, s.waiting} {
		for _, under := range list {
			if under.euid == euid {
				return under
			}
		}
	}
	return nil
}

// atLeisure is how many devices are looked for that nobody waits for.
func (s *Searches) atLeisure() (n int) {
	for _, list := range [][]*search{s.running, s.waiting} {
		for _, under := range list {
			if len(under.found) == 0 {
				n++
			}
		}
	}
	return n
}

// Next begins the searches that may begin now. It has to be called when sending has become impossible for
// good, so that those that stand in line end.
func (s *Searches) Next() {
	for len(s.running) < searchesAtOnce && len(s.waiting) > 0 {
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		if d := s.devices.Get(next.euid); d != nil || !s.possible() {
			next.end(d)
			continue
		}
		s.running = append(s.running, next)
		s.ask(next.euid, searchTries, func(d *Device) {
			s.running = slices.DeleteFunc(s.running, func(r *search) bool { return r == next })
			next.end(d)
			s.Next()
		})
	}
}

// Call asks everybody once for a device whose network address is not known any more, without standing in
// line. Whoever answers for it is heard in the owner's usual way.
func (s *Searches) Call(euid message.IEEE) {
	s.ask(euid, 1, func(*Device) {})
}

// ask asks everybody for an address, tries times at most.
func (s *Searches) ask(euid message.IEEE, tries int, found func(*Device)) {
	s.log.Info("looking for a device on the network", "euid", euid)
	question := Question{
		Command: message.NwkAddrRequest{Target: broadcastRxOnWhenIdle, IEEE: euid},
		Timeout: searchTimeout,
		Match: matching(func(m message.NwkAddrResponse) bool {
			return m.IEEE == euid && m.Status == 0
		}),
	}
	s.questions.Ask(question, s.now(), func(_ []message.Message, err error) {
		d := s.devices.Get(euid) // it may also have been met otherwise
		if d == nil && err != nil && tries > 1 && s.possible() {
			s.ask(euid, tries-1, found)
			return
		}
		found(d)
	})
}
