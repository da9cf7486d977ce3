package registry

import (
	"iter"
	"time"
)

// Network addresses that are no device's: the dongle's own, and from where on they stand for many devices.
const (
	CoordinatorAddr    uint16 = 0x0000
	FirstBroadcastAddr uint16 = 0xFFF8
)

const (
	// strangersAtOnce bounds how many unknown addresses are looked into at a time.
	strangersAtOnce = 256
	// strangersAtLeisure is the bound for those that do not wait for an answer: a network may have hundreds.
	strangersAtLeisure = 8
	// strangerTimeout is how long an unknown address gets no answer while its EUID is looked for; then it is
	// refused.
	strangerTimeout = 15 * time.Second
	// strangerForgotten is after how long the EUID of an unknown address is looked for anew.
	strangerForgotten = time.Minute
)

// Strangers are network addresses from which something was heard and of which it is not known whose they are.
// A device that has just changed its address is one, so its requests for blocks get no answer for a while
// instead of a refusal, which would end its download.
//
// The zero value is ready.
type Strangers struct {
	addresses map[uint16]*stranger
	revision  uint64
}

// stranger is an address that is being looked into.
type stranger struct {
	askedAt time.Time
	refused bool
}

// Requested notes that an address has requested something that needs to be known whose it is. It reports
// whether the address is to be asked for its EUID now.
func (s *Strangers) Requested(addr uint16, now time.Time) (ask bool) {
	if s.addresses[addr] != nil || len(s.addresses) >= strangersAtOnce {
		return false
	}
	if s.addresses == nil {
		s.addresses = map[uint16]*stranger{}
	}
	s.addresses[addr] = &stranger{askedAt: now}
	return true
}

// Heard notes that something was heard from an address that nobody waits for; a device that looks for an
// image is urgent all the same. It reports whether the address is to be asked for its EUID now.
func (s *Strangers) Heard(addr uint16, urgent bool, now time.Time) (ask bool) {
	return isDevice(addr) && (urgent || len(s.addresses) < strangersAtLeisure) && s.Requested(addr, now)
}

// isDevice reports whether a network address can be a device's.
func isDevice(addr uint16) bool { return addr != CoordinatorAddr && addr < FirstBroadcastAddr }

// Expire refuses the addresses of which nothing was found out in time, and forgets those that are known by
// now.
func (s *Strangers) Expire(now time.Time, known func(addr uint16) bool) {
	for addr, st := range s.addresses {
		switch age := now.Sub(st.askedAt); {
		case known(addr), age > strangerForgotten && st.refused:
			delete(s.addresses, addr)
			s.revision++
		case age > strangerTimeout && !st.refused:
			st.refused = true
			s.revision++
		}
	}
}

// Any reports whether an address is being looked into.
func (s *Strangers) Any() bool { return len(s.addresses) > 0 }

// Refused lists the addresses whose requests are refused by now, in no particular order.
func (s *Strangers) Refused() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for addr, st := range s.addresses {
			if st.refused && !yield(addr) {
				return
			}
		}
	}
}

// Revision counts changes of what Refused lists.
func (s *Strangers) Revision() uint64 { return s.revision }
