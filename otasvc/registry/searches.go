package registry

import (
	"log/slog"
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
	waiting  []search
	running  int
}

// search is a device that somebody looks for.
type search struct {
	euid  message.IEEE
	found func(*Device)
}

// NewSearches returns Searches that ask by questions and find in devices. possible reports whether anything
// can be sent.
func NewSearches(
	questions *Questions, devices *Devices, possible func() bool, now func() time.Time, log *slog.Logger,
) *Searches {
	return &Searches{questions: questions, devices: devices, possible: possible, now: now, log: log}
}

// Find looks for a device and calls found with it, or with nil. Searches stand in line: only a few run at a
// time. A device that is known when its search comes to the front is found without asking.
func (s *Searches) Find(euid message.IEEE, found func(*Device)) {
	s.waiting = append(s.waiting, search{euid: euid, found: found})
	s.Next()
}

// Next begins the searches that may begin now. It has to be called when sending has become impossible for
// good, so that those that stand in line end.
func (s *Searches) Next() {
	for s.running < searchesAtOnce && len(s.waiting) > 0 {
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		if d := s.devices.Get(next.euid); d != nil || !s.possible() {
			next.found(d)
			continue
		}
		s.running++
		s.ask(next.euid, searchTries, func(d *Device) {
			s.running--
			next.found(d)
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
