package registry_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestFind(t *testing.T) {
	devices := registry.NewDevices()
	d, _ := devices.Meet(bulb)
	devices.Move(d, 0x4f4f)
	if err := devices.Rename(d, "Hall"); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{
		"0x000b57fffec6a5b2", "000B57FFFEC6A5B2", "00:0b:57:ff:fe:c6:a5:b2", "0x4f4f", "20303", "Hall", "hall",
		" HALL ", "Ha\u00a0ll",
	} {
		if devices.Find(registry.ParseRef(ref)) != d {
			t.Errorf("%q does not find the device", ref)
		}
	}
	if devices.Find(registry.RefAddr(0x4f4f)) != d {
		t.Error("its network address does not find the device")
	}
	for _, ref := range []string{"0x000b57fffec6a5b3", "0x4f50", "", " ", "Hal", "0x4f4f "} {
		if devices.Find(registry.ParseRef(ref)) != nil {
			t.Errorf("%q finds a device", ref)
		}
	}
}

func TestRefs(t *testing.T) {
	for ref, want := range map[registry.Ref]string{
		registry.ParseRef("0X4F4F"):           "0X4F4F",
		registry.ParseRef("Hall"):             "Hall",
		registry.ParseRef("000B57FFFEC6A5B2"): "000B57FFFEC6A5B2",
		registry.RefAddr(0x4f):                "0x4f",
		registry.ParseRef("12345678"):         "12345678",
	} {
		if ref.String() != want {
			t.Errorf("%q is put as %q", want, ref)
		}
	}
	if euid, ok := registry.ParseRef(bulb.String()).EUID(); !ok || euid != bulb {
		t.Errorf("the EUID is %v, %v", euid, ok)
	}
	if _, ok := registry.ParseRef("20303").EUID(); ok {
		t.Error("a network address has an EUID")
	}
}

// The network hands addresses out anew: whoever had one before has lost it.
func TestMove(t *testing.T) {
	devices := registry.NewDevices()
	first, _ := devices.Meet(bulb)
	second, _ := devices.Meet(socket)
	if before, moved := devices.Move(first, 1); moved {
		t.Errorf("moved from %d, though it had no address", before)
	}
	revision := devices.Addresses()
	if _, moved := devices.Move(first, 1); moved || devices.Addresses() != revision {
		t.Error("moved to where it was")
	}
	if before, moved := devices.Move(first, 2); !moved || before != 1 || devices.At(1) != nil || devices.At(2) != first {
		t.Errorf("moved from %d (%v)", before, moved)
	}
	if devices.Addresses() == revision {
		t.Error("the move does not show in the addresses")
	}

	devices.Move(second, 2)
	if first.Reachable() || devices.At(2) != second {
		t.Error("two devices have one address")
	}
	if _, err := first.Target(); !errors.Is(err, registry.ErrNoAddress) {
		t.Errorf("the target of a device without an address: %v", err)
	}
	if to, err := second.Target(); err != nil || to.Addr != 2 || to.DstEndpoint != 1 || to.SrcEndpoint != 1 {
		t.Errorf("target %+v, %v", to, err)
	}
	if got := maps.Collect(devices.ByAddr()); len(got) != 1 || got[2] != second {
		t.Errorf("by address: %v", got)
	}

	devices.Move(first, 3)
	devices.Forget(second)
	if devices.At(2) != nil || devices.Get(socket) != nil || devices.Len() != 1 {
		t.Error("a device that was forgotten is still there")
	}
}

// What an earlier life of the service kept is there again, and was not seen in the future.
func TestRestore(t *testing.T) {
	addr := uint16(0x4f4f)
	kept := registry.Facts{EUID: bulb, NetworkAddress: &addr, GivenName: "Hall", LastSeen: now.Add(time.Hour)}
	devices := registry.NewDevices()
	d := devices.Restore(kept, now)
	if devices.At(addr) != d || devices.Get(bulb) != d || devices.Find(registry.ParseRef("Hall")) != d {
		t.Error("the device is not found")
	}
	if !d.Facts().LastSeen.Equal(now) {
		t.Errorf("last seen %v", d.Facts().LastSeen)
	}
	if got := devices.Restore(registry.Facts{EUID: socket}, now).Facts().LastSeen; !got.IsZero() {
		t.Errorf("a device that was never seen was seen %v", got)
	}
	if devices.Revision() != 0 {
		t.Error("a state that was just read is to be written")
	}
}

// A device that was forgotten and met again is another one, of which nothing is known.
func TestForgetAndMeetAgain(t *testing.T) {
	devices := registry.NewDevices()
	d, _ := devices.Meet(bulb)
	d.SetVersion(7)
	before := devices.Revision()
	devices.Forget(d)
	if devices.Revision() == before {
		t.Error("a device is forgotten, and nothing changed")
	}
	again, isNew := devices.Meet(bulb)
	if !isNew || again == d || again.CurrentVersion() != nil || devices.Knows(d) || !devices.Knows(again) {
		t.Errorf("met again: %+v", again.Facts())
	}
	devices.Move(again, 9)
	devices.Forget(d) // a second time
	if devices.Get(bulb) != again || devices.At(9) != again {
		t.Error("forgetting the old one took the new one")
	}
}

func TestStrangers(t *testing.T) {
	var s registry.Strangers
	nobody := func(uint16) bool { return false }
	refused := func() (list []uint16) {
		for addr := range s.Refused() {
			list = append(list, addr)
		}
		return list
	}
	if s.Any() || !s.Requested(1, now) || !s.Any() || s.Requested(1, now) {
		t.Error("an address is asked once")
	}
	for addr, ask := range map[uint16]bool{0: false, 0xFFF7: true, 0xFFF8: false, 0xFFFF: false, 1: false} {
		if s.Heard(addr, true, now) != ask {
			t.Errorf("the address %#04x is asked: %v", addr, !ask)
		}
	}
	s.Expire(now.Add(15*time.Second), nobody)
	if len(refused()) != 0 {
		t.Error("refused too early")
	}
	before := s.Revision()
	s.Expire(now.Add(16*time.Second), nobody)
	if len(refused()) != 2 || s.Revision() == before {
		t.Errorf("refused %v", refused())
	}
	s.Expire(now.Add(17*time.Second), func(addr uint16) bool { return addr == 1 })
	if got := refused(); len(got) != 1 || got[0] != 0xFFF7 {
		t.Errorf("one is known by now, and refused are %v", got)
	}
	s.Expire(now.Add(2*time.Minute), nobody)
	if s.Any() {
		t.Error("an address is remembered for ever")
	}
}

// Those who only were heard are looked into few at a time, those who request something many.
func TestManyStrangers(t *testing.T) {
	var s registry.Strangers
	count := func(ask func(addr uint16) bool) (n int) {
		for addr := range uint16(1000) {
			if ask(addr + 1) {
				n++
			}
		}
		return n
	}
	if n := count(func(addr uint16) bool { return s.Heard(addr, false, now) }); n != 8 {
		t.Errorf("%d that were heard are asked", n)
	}
	if n := count(func(addr uint16) bool { return s.Requested(addr, now) }); n != 256-8 {
		t.Errorf("%d that requested something are asked", n)
	}
	if s.Heard(2000, true, now) {
		t.Error("there is no bound for those that are urgent")
	}
}

// Where too many addresses are looked into, the one that was refused first gives way, so that a real device among them
// is looked into.
func TestStrangersGiveWay(t *testing.T) {
	var s registry.Strangers
	nobody := func(uint16) bool { return false }
	for addr := range uint16(300) {
		s.Requested(addr+1, now.Add(time.Duration(addr)*time.Millisecond))
	}
	if s.Requested(2000, now.Add(time.Second)) {
		t.Error("one that waits for its answer gave way")
	}
	s.Expire(now.Add(20*time.Second), nobody)
	before := s.Revision()
	if !s.Requested(2000, now.Add(20*time.Second)) || s.Revision() == before {
		t.Error("none gave way")
	}
	n := 0
	for addr := range s.Refused() {
		n++
		if addr == 1 {
			t.Error("it was not the one that was refused first")
		}
	}
	if n != 255 {
		t.Errorf("%d are refused", n)
	}
}

// Devices that were only heard are forgotten where there are too many, the longest unheard first; what is known of others
// stays, and so does who was never heard.
func TestSurplus(t *testing.T) {
	devices := registry.NewDevices()
	addr := uint16(1)
	version := uint32(7)
	kept := []registry.Facts{
		{GivenName: "Hall"}, {ManufacturerName: "IKEA"}, {ModelID: "bulb"}, {Interviewed: true}, {PowerSource: registry.PowerMains}, {QueriedAt: now},
		{Client: registry.Client{Endpoint: 1}}, {Client: registry.Client{CurrentVersion: &version}}, {Client: registry.Client{ImageType: &addr}},
		{Build: registry.Build{Software: "1.0"}}, {Settings: needs.Settings{NotifyAttempts: &version}}, {Battery: new(uint8)},
	}
	for i, f := range kept {
		f.EUID, f.LastSeen = message.IEEE(1+i), now.Add(-time.Hour)
		devices.Restore(f, now)
	}
	devices.Restore(registry.Facts{EUID: 50}, now) // it is in a list of the dongle
	nobody := func(*registry.Device) bool { return false }
	const most = 1024
	for i := range message.IEEE(most) {
		d, _ := devices.Meet(100 + i)
		d.SetSleepy(true)
		d.Seen(200, now.Add(time.Duration(i)*time.Second))
	}
	if got := devices.Surplus(nobody); len(got) != 0 {
		t.Fatalf("%d of %d are too many", len(got), most)
	}
	for i := range message.IEEE(3) {
		d, _ := devices.Meet(100 + most + i)
		d.Seen(200, now.Add(time.Hour))
	}
	devices.Get(100).Seen(200, now.Add(2*time.Hour))
	spared := func(d *registry.Device) bool { return d.EUID() == 101 }
	var got []message.IEEE
	for _, d := range devices.Surplus(spared) {
		got = append(got, d.EUID())
	}
	if !slices.Equal(got, []message.IEEE{102, 103}) {
		t.Errorf("too many are %v", got)
	}
}
