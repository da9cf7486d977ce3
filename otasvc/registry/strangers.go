package registry

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/needs"
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
// whether the address is to be asked for its EUID now. Where too many are looked into, the one that was
// refused first is forgotten for it.
func (s *Strangers) Requested(addr uint16, now time.Time) (ask bool) {
	if s.addresses[addr] != nil || len(s.addresses) >= strangersAtOnce && !s.forgetRefused() {
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

// forgetRefused forgets the address that was refused first. It reports whether there was one.
func (s *Strangers) forgetRefused() bool {
	var first uint16
	var oldest *stranger
	for addr, st := range s.addresses {
		if st.refused && (oldest == nil || st.askedAt.Before(oldest.askedAt)) {
			first = addr
			oldest = st
		}
	}
	if oldest == nil {
		return false
	}
	delete(s.addresses, first)
	s.revision++
	return true
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

// maxSilent is how many devices are kept that were heard and have never said anything of themselves. Anybody
// can announce devices that there are not; a network of real ones has some hundred when it is met.
const maxSilent = 1024

// Surplus lists the devices that are too many of those that were heard and have never said what they are, the
// one that was last heard the longest ago first. Those that spare reports, and those that a person has named
// or set something for, are not among them.
func (s *Devices) Surplus(spare func(*Device) bool) []*Device {
	if len(s.byEUID) <= maxSilent {
		return nil
	}
	var silent []*Device
	for _, d := range s.byEUID {
		if d.facts.isSilent() && !spare(d) {
			silent = append(silent, d)
		}
	}
	slices.SortFunc(silent, func(a, b *Device) int {
		return cmp.Or(a.facts.LastSeen.Compare(b.facts.LastSeen), byEUID(a, b))
	})
	return silent[:max(0, len(silent)-maxSilent)]
}

// isSilent reports whether the device was heard and has never said anything of itself, so that nothing is
// lost when it is forgotten. One that was never heard is in a list of the dongle, which is bounded by itself.
func (f *Facts) isSilent() bool {
	told := f.Interviewed || f.ManufacturerName != "" || f.ModelID != "" || f.Software != "" ||
		f.DateCode != "" || f.PowerSource != PowerUnknown || f.Battery != nil || !f.QueriedAt.IsZero()
	client := f.Endpoint != 0 || f.ManufacturerCode != nil || f.ImageType != nil || f.CurrentVersion != nil ||
		len(f.ClientEndpoints) > 0 || len(f.Others) > 0 || len(f.Invalid) > 0
	return !told && !client && f.GivenName == "" && f.Settings == (needs.Settings{}) && !f.LastSeen.IsZero()
}
