package registry

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// seenInterval is how often a device is told anew when nothing but its link quality and the time it was last
// seen have changed.
const seenInterval = time.Minute

// Devices is every device that is known, by EUID, by network address and by the name that was given to it.
type Devices struct {
	byEUID    map[message.IEEE]*Device
	byAddr    map[uint16]*Device
	names     names
	revision  uint64
	addresses uint64
}

// NewDevices returns Devices that know none.
func NewDevices() *Devices {
	return &Devices{
		byEUID: map[message.IEEE]*Device{},
		byAddr: map[uint16]*Device{},
		names:  names{},
	}
}

// Restore takes in a device as an earlier life of the service kept it. What was seen of it later than now is
// taken for seen now: the clock has been set back since.
func (s *Devices) Restore(f Facts, now time.Time) *Device {
	if !f.LastSeen.IsZero() {
		f.LastSeen = now.Add(min(f.LastSeen.Sub(now), 0)) // also puts it on the monotonic clock
	}
	f.restoreOthers()
	if !f.QueriedAt.IsZero() {
		f.QueriedAt = now.Add(min(f.QueriedAt.Sub(now), 0))
	}
	d := s.add(f)
	if f.NetworkAddress != nil {
		s.byAddr[*f.NetworkAddress] = d
		s.addresses++
	}
	if f.GivenName != "" {
		s.names.add(d)
	}
	return d
}

// Meet returns the device with an EUID. One that was not known becomes known, which isNew reports.
func (s *Devices) Meet(euid message.IEEE) (d *Device, isNew bool) {
	if d := s.byEUID[euid]; d != nil {
		return d, false
	}
	s.revision++
	return s.add(Facts{EUID: euid}), true
}

func (s *Devices) add(f Facts) *Device {
	d := &Device{facts: f, kept: &s.revision, revision: 1}
	s.byEUID[f.EUID] = d
	return d
}

// Get returns the device with an EUID, or nil.
func (s *Devices) Get(euid message.IEEE) *Device { return s.byEUID[euid] }

// At returns the device with a network address, or nil.
func (s *Devices) At(addr uint16) *Device { return s.byAddr[addr] }

// Find returns the device that a request names, or nil. Case and blanks of a name do not matter, unless the
// names of several devices, kept from before that rule, differ in nothing else: then it has to be one of
// them.
func (s *Devices) Find(r Ref) *Device {
	switch r.kind {
	case refEUID:
		return s.byEUID[r.euid]
	case refAddr:
		return s.byAddr[r.addr]
	default:
		return s.names.find(r.text)
	}
}

// Len is the number of devices.
func (s *Devices) Len() int { return len(s.byEUID) }

// ByAddr lists the devices whose network address is known, with it, in no particular order.
func (s *Devices) ByAddr() iter.Seq2[uint16, *Device] { return maps.All(s.byAddr) }

// Move follows a device to its network address. Addresses are handed out anew by the network, so the device
// that had it before has lost it. moved reports whether the device had another address before, which is
// returned as before.
func (s *Devices) Move(d *Device, addr uint16) (before uint16, moved bool) {
	before, known := d.NetworkAddress()
	if known && before == addr && s.byAddr[addr] == d {
		return 0, false
	}
	if known && s.byAddr[before] == d {
		delete(s.byAddr, before)
	}
	if loser := s.byAddr[addr]; loser != nil && loser != d {
		loser.facts.NetworkAddress = nil
		loser.changed()
	}
	d.facts.NetworkAddress = &addr
	s.byAddr[addr] = d
	s.addresses++
	d.changed()
	return before, known
}

// Rename gives a device the name that people call it by. The name must be a [ValidName]. The error says that
// another device has it, or one that differs only in case or blanks.
func (s *Devices) Rename(d *Device, name string) error {
	if holder := s.names.other(d, name); holder != nil {
		return fmt.Errorf("device %s is called %q already; names are unique, whatever their case and blanks",
			holder.EUID(), holder.Name())
	}
	if d.facts.GivenName == name {
		return nil
	}
	s.names.remove(d)
	d.facts.GivenName = name
	s.names.add(d)
	d.changed()
	return nil
}

// Forget drops a device that is gone.
func (s *Devices) Forget(d *Device) {
	if !s.Knows(d) {
		return
	}
	delete(s.byEUID, d.EUID())
	if addr, known := d.NetworkAddress(); known && s.byAddr[addr] == d {
		delete(s.byAddr, addr)
	}
	s.names.remove(d)
	s.addresses++
	s.revision++
}

// Knows reports whether a device has not been forgotten. One that was forgotten and met again is another
// device.
func (s *Devices) Knows(d *Device) bool { return s.byEUID[d.EUID()] == d }

// Revision counts changes of what is kept: it is another number whenever the JSON form of any device is
// another one, but for the times at which a device was last seen and has last asked for an image.
func (s *Devices) Revision() uint64 { return s.revision }

// Addresses counts changes of who has which network address.
func (s *Devices) Addresses() uint64 { return s.addresses }

// Changed lists, by EUID, the devices of which something is new since they were told. What others know
// besides, and is told with a device, has a revision of its own, which beside returns. Link quality and last
// seen alone count once a minute only.
func (s *Devices) Changed(now time.Time, beside func(*Device) uint64) []*Device {
	var changed []*Device
	for _, d := range s.byEUID {
		if d.news(beside(d), now) {
			changed = append(changed, d)
		}
	}
	slices.SortFunc(changed, byEUID)
	return changed
}

func byEUID(a, b *Device) int { return cmp.Compare(a.EUID(), b.EUID()) }

func (d *Device) news(beside uint64, now time.Time) bool {
	if d.revision != d.told.revision || beside != d.told.beside {
		return true
	}
	return d.heard && now.Sub(d.told.at) >= seenInterval
}

// Told notes that a device was told, with what others know of it at the revision beside.
func (d *Device) Told(beside uint64, now time.Time) {
	d.heard = false
	d.told = telling{at: now, revision: d.revision, beside: beside}
}
