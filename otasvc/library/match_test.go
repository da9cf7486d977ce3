package library_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// listed is a candidate for the devices of these tests; its URL names it.
func listed(name string, version uint32, limits ...func(*library.Candidate)) library.Candidate {
	c := library.Candidate{
		Source: library.SourceIndex, ManufacturerCode: 0x1234, ImageType: 0x0042, FileVersion: version,
		URL: "http://example.com/" + name, SHA256: digestOf([]byte(name)),
	}
	for _, limit := range limits {
		limit(&c)
	}
	return c
}

func hardware(least, most int) func(*library.Candidate) {
	return func(c *library.Candidate) {
		if least >= 0 {
			c.MinHardware = ptr(uint16(least))
		}
		if most >= 0 {
			c.MaxHardware = ptr(uint16(most))
		}
	}
}

func headerHardware(least, most int) func(*library.Candidate) {
	return func(c *library.Candidate) {
		if least >= 0 {
			c.HeaderMinHardware = ptr(uint16(least))
		}
		if most >= 0 {
			c.HeaderMaxHardware = ptr(uint16(most))
		}
	}
}

func after(least, most int) func(*library.Candidate) {
	return func(c *library.Candidate) {
		if least >= 0 {
			c.MinCurrent = ptr(uint32(least))
		}
		if most >= 0 {
			c.MaxCurrent = ptr(uint32(most))
		}
	}
}

func models(names ...string) func(*library.Candidate) {
	return func(c *library.Candidate) { c.ModelIDs = names }
}

func makers(names ...string) func(*library.Candidate) {
	return func(c *library.Candidate) { c.ManufacturerNames = names }
}

func specific(by int) func(*library.Candidate) {
	return func(c *library.Candidate) { c.Specificity = by }
}

func forDevice(eui64 uint64) func(*library.Candidate) {
	return func(c *library.Candidate) { c.Destination = &eui64 }
}

func kindOf(manufacturerCode, imageType uint16) func(*library.Candidate) {
	return func(c *library.Candidate) { c.ManufacturerCode, c.ImageType = manufacturerCode, imageType }
}

func bytesOf(name string) func(*library.Candidate) {
	return func(c *library.Candidate) { c.SHA256 = digestOf([]byte(name)) }
}

func unfetched(c *library.Candidate) { c.SHA256 = "" }

func device(change ...func(*library.Device)) library.Device {
	d := library.Device{
		ManufacturerCode: 0x1234, ImageType: 0x0042, HardwareVersion: ptr(uint16(3)), CurrentVersion: ptr(uint32(10)),
		ModelID: "Lamp", ManufacturerName: "Maker", EUI64: 0x000b57fffec6a5b2,
	}
	for _, f := range change {
		f(&d)
	}
	return d
}

func TestMatch(t *testing.T) {
	noHardware := func(d *library.Device) { d.HardwareVersion = nil }
	noVersion := func(d *library.Device) { d.CurrentVersion = nil }
	noNames := func(d *library.Device) { d.ModelID, d.ManufacturerName = "", "" }
	heard := func(d *library.Device) { d.HardwareHeard = true }
	called := func(name string) func(*library.Device) {
		return func(d *library.Device) { d.ManufacturerName = name }
	}
	running := func(v uint32) func(*library.Device) {
		return func(d *library.Device) { d.CurrentVersion = &v }
	}
	for _, c := range []struct {
		name    string
		device  library.Device
		entries []library.Candidate
		want    string   // name of the best; empty for none
		all     []string // names; nil: the best alone, or none
	}{
		{"nothing", device(), nil, "", nil},
		{"one", device(), []library.Candidate{listed("a", 20)}, "a", nil},
		{"an older one is one, too", device(), []library.Candidate{listed("a", 5)}, "a", nil},
		{"another manufacturer code", device(), []library.Candidate{listed("a", 20, kindOf(0x1235, 0x42))}, "", nil},
		{"another image type", device(), []library.Candidate{listed("a", 20, kindOf(0x1234, 0x43))}, "", nil},
		{"image type 0 is a type", device(func(d *library.Device) { d.ImageType = 0 }), []library.Candidate{listed("a", 20, kindOf(0x1234, 0))}, "a", nil},
		{"the highest version", device(), []library.Candidate{listed("a", 20), listed("b", 22), listed("c", 21)}, "b", []string{"b", "c", "a"}},
		{"versions are unsigned", device(), []library.Candidate{listed("a", 0x7FFFFFFF), listed("b", 0x80000000)}, "b", []string{"b", "a"}},

		{"a version for any is never the best", device(), []library.Candidate{listed("a", 0xFFFFFFFF)}, "", []string{"a"}},
		{"a version for any, and another", device(), []library.Candidate{listed("a", 0xFFFFFFFF), listed("b", 20)}, "b", []string{"a", "b"}},
		{"a manufacturer code for any is for those that report it", device(func(d *library.Device) { d.ManufacturerCode = 0xFFFF }), []library.Candidate{listed("a", 20, kindOf(0xFFFF, 0x42))}, "a", nil},
		{"an image type for any is for those that report it", device(func(d *library.Device) { d.ImageType = 0xFFFF }), []library.Candidate{listed("a", 20, kindOf(0x1234, 0xFFFF))}, "a", nil},
		{"and for no others", device(), []library.Candidate{listed("a", 20, kindOf(0xFFFF, 0x42)), listed("b", 20, kindOf(0x1234, 0xFFFF)), listed("c", 20, kindOf(0xFFFF, 0xFFFF))}, "", nil},

		{"hardware inside", device(), []library.Candidate{listed("a", 20, hardware(3, 3))}, "a", nil},
		{"hardware too old", device(), []library.Candidate{listed("a", 20, hardware(4, 9))}, "", nil},
		{"hardware too new", device(), []library.Candidate{listed("a", 20, hardware(0, 2))}, "", nil},
		{"hardware with a minimum alone", device(), []library.Candidate{listed("a", 20, hardware(3, -1)), listed("b", 21, hardware(4, -1))}, "a", nil},
		{"hardware with a maximum alone", device(), []library.Candidate{listed("a", 20, hardware(-1, 3)), listed("b", 21, hardware(-1, 2))}, "a", nil},
		{"hardware limits that nothing is inside of", device(), []library.Candidate{listed("a", 20, hardware(4, 2))}, "", nil},
		{"a device that was not heard yet", device(noHardware), []library.Candidate{listed("a", 20), listed("b", 21, hardware(0, 0xFFFF)), listed("c", 22, headerHardware(0, -1))}, "a", nil},
		{"a device that was heard and has no hardware version", device(noHardware, heard), []library.Candidate{listed("a", 20, headerHardware(0, 9)), listed("b", 21, hardware(0, 0xFFFF))}, "a", nil},
		{"limits of index and header", device(), []library.Candidate{listed("a", 20, hardware(0, 9), headerHardware(3, 3)), listed("b", 21, hardware(0, 9), headerHardware(4, 9)), listed("c", 22, hardware(4, 9), headerHardware(0, 9))}, "a", nil},
		{"a device without hardware version", device(noHardware), []library.Candidate{listed("a", 20), listed("b", 21, hardware(0, 0xFFFF)), listed("c", 22, hardware(0, -1)), listed("d", 23, hardware(-1, 9))}, "a", nil},

		{"window", device(), []library.Candidate{listed("a", 20, after(10, 10)), listed("b", 21, after(11, 20)), listed("c", 22, after(0, 9))}, "a", nil},
		{"window with a minimum alone", device(), []library.Candidate{listed("a", 20, after(10, -1)), listed("b", 21, after(11, -1))}, "a", nil},
		{"window with a maximum alone", device(), []library.Candidate{listed("a", 20, after(-1, 10)), listed("b", 21, after(-1, 9))}, "a", nil},
		{"window, and the version is not known", device(noVersion), []library.Candidate{listed("a", 20), listed("b", 21, after(0, -1)), listed("c", 22, after(-1, 0xFFFF))}, "a", nil},
		{"a chain, first link", device(running(1)), []library.Candidate{listed("a", 5, after(-1, 4)), listed("b", 9, after(5, -1))}, "a", nil},
		{"a chain, second link", device(running(5)), []library.Candidate{listed("a", 5, after(-1, 4)), listed("b", 9, after(5, -1))}, "b", nil},

		{"model", device(), []library.Candidate{listed("a", 20, models("Plug", "Lamp")), listed("b", 21, models("Plug"))}, "a", nil},
		{"model names are exact", device(), []library.Candidate{listed("a", 20, models("lamp")), listed("b", 21, models("Lamp ")), listed("c", 22, models("Lam"))}, "", nil},
		{"manufacturer", device(), []library.Candidate{listed("a", 20, makers("Other", "Maker")), listed("b", 21, makers("Other"))}, "a", nil},
		{"manufacturer, with other case and blanks", device(), []library.Candidate{listed("a", 20, makers(" MA ker\x00"))}, "a", nil},
		{"manufacturer by an alias", device(called("Computime")), []library.Candidate{listed("a", 20, makers("SalusControls")), listed("b", 21, makers("Other"))}, "a", nil},
		{"manufacturer by an alias of the user's", device(called("Their Name")), []library.Candidate{listed("a", 20, makers("Salus Controls"))}, "a", nil},
		{"manufacturer that is not known, and no name", device(noNames), []library.Candidate{listed("a", 20, makers(""))}, "", nil},
		{"model and manufacturer", device(), []library.Candidate{listed("a", 20, models("Lamp"), makers("Other"))}, "", nil},
		{"names that are not known", device(noNames), []library.Candidate{listed("a", 20), listed("b", 21, models("Lamp")), listed("c", 21, makers("Maker"))}, "a", nil},

		{"the file of this device", device(), []library.Candidate{listed("a", 20, forDevice(0x000b57fffec6a5b2))}, "a", nil},
		{"the file of another device", device(), []library.Candidate{listed("a", 20, forDevice(0x000b57fffec6a5b3))}, "", nil},
		{"the file of some device", device(func(d *library.Device) { d.EUI64 = 0 }), []library.Candidate{listed("a", 20, forDevice(0))}, "", nil},

		{"a name counts more than a version", device(), []library.Candidate{listed("a", 20, models("Lamp")), listed("b", 30)}, "a", []string{"a", "b"}},
		{"two names more than one", device(), []library.Candidate{listed("a", 20, models("Lamp"), makers("Maker")), listed("b", 30, models("Lamp"))}, "a", []string{"a", "b"}},
		{"a name more than a window", device(), []library.Candidate{listed("a", 20, makers("Maker")), listed("b", 30, after(0, 99), hardware(0, 9))}, "a", []string{"a", "b"}},
		{"a window more than hardware", device(), []library.Candidate{listed("a", 20, after(0, -1)), listed("b", 30, hardware(0, 9))}, "a", []string{"a", "b"}},
		{"hardware more than nothing", device(), []library.Candidate{listed("a", 20, hardware(0, -1)), listed("b", 30)}, "a", []string{"a", "b"}},
		{"what the index adds", device(), []library.Candidate{listed("a", 20, models("Lamp")), listed("b", 15, specific(1001))}, "b", []string{"b", "a"}},
		{"what the index takes away", device(), []library.Candidate{listed("a", 20, specific(-1)), listed("b", 15)}, "b", []string{"b", "a"}},
		{"this device's own most of all", device(), []library.Candidate{listed("a", 20, forDevice(0x000b57fffec6a5b2)), listed("b", 30, models("Lamp"), makers("Maker"), after(0, 99))}, "a", []string{"a", "b"}},
		{"of the most specific the newest", device(), []library.Candidate{listed("a", 20, models("Lamp")), listed("b", 25, models("Lamp")), listed("c", 30)}, "b", []string{"b", "a", "c"}},

		{"the same bytes twice", device(), []library.Candidate{listed("a", 20), listed("b", 20, bytesOf("a"))}, "a", nil},
		{"the same place twice", device(), []library.Candidate{listed("a", 20, unfetched), listed("a", 20, unfetched)}, "a", nil},
		{"different bytes", device(), []library.Candidate{listed("a", 20), listed("b", 20)}, "ambiguous", []string{}},
		{"different places, and nothing is known of the bytes", device(), []library.Candidate{listed("a", 20, unfetched), listed("b", 20, unfetched)}, "ambiguous", []string{}},
		{"different bytes, and an older one", device(), []library.Candidate{listed("a", 20), listed("b", 20), listed("c", 15)}, "ambiguous", []string{"c"}},
		{"different bytes of an older one", device(), []library.Candidate{listed("a", 15), listed("b", 20), listed("c", 15)}, "b", nil},
		{"different bytes, one twice", device(), []library.Candidate{listed("a", 20), listed("a", 20), listed("b", 20)}, "ambiguous", []string{}},
		{"different bytes, of which one does not fit", device(), []library.Candidate{listed("a", 20, models("Lamp")), listed("b", 20, models("Plug"))}, "a", nil},
		{"different bytes, of which one is more specific", device(), []library.Candidate{listed("a", 20, models("Lamp")), listed("b", 20)}, "a", []string{"a", "b"}},
		{"different bytes with equal weight for different reasons", device(), []library.Candidate{listed("a", 20, models("Lamp")), listed("b", 20, makers("Maker"))}, "ambiguous", []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := library.NewMatcher(c.entries, library.MakerAlias{Name: "theirname", Other: "SALUS"})
			best, err := m.Match(c.device)
			switch c.want {
			case "":
				checkError(t, err, library.ErrNoMatch)
			case "ambiguous":
				checkError(t, err, library.ErrAmbiguous, "different bytes", "http://example.com/a", "http://example.com/b")
			default:
				if err != nil || nameOf(best) != c.want {
					t.Errorf("%q, %v, want %q", nameOf(best), err, c.want)
				}
			}
			all := []string{}
			for _, candidate := range m.All(c.device) {
				all = append(all, nameOf(candidate))
			}
			if c.all == nil && c.want != "" {
				c.all = []string{c.want}
			}
			if d := cmp.Diff(c.all, all, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("all (-want +got):\n%s", d)
			}
		})
	}
}

func nameOf(c library.Candidate) string {
	return strings.TrimPrefix(c.URL, "http://example.com/")
}

// What comes first in the list makes no difference for what is taken.
func TestMatchIsStable(t *testing.T) {
	entries := []library.Candidate{listed("a", 20, models("Lamp")), listed("b", 30), listed("c", 25, models("Lamp"), after(20, -1)), listed("d", 30, hardware(9, 9))}
	for i := range entries {
		rotated := append(append([]library.Candidate{}, entries[i:]...), entries[:i]...)
		if best, err := library.NewMatcher(rotated).Match(device()); err != nil || nameOf(best) != "a" {
			t.Errorf("from %d on: %q, %v", i, nameOf(best), err)
		}
	}
}

func TestMatchNeverFitsWhatIsNotThere(t *testing.T) {
	if _, err := library.NewMatcher(nil).Match(library.Device{}); !errors.Is(err, library.ErrNoMatch) {
		t.Error(err)
	}
}

// manyCandidates are n entries for n/4 kinds of devices, as in an index ten times as large as
// the largest real one.
func manyCandidates(n int) []library.Candidate {
	var all []library.Candidate
	for i := range n {
		c := listed(fmt.Sprint(i), uint32(i%4+1), kindOf(uint16(0x1000+i/4%40), uint16(i/160)))
		if i%3 == 0 {
			models("Lamp", "Plug")(&c)
		}
		if i%5 == 0 {
			hardware(1, 9)(&c)
		}
		all = append(all, c)
	}
	return all
}

func manyDevices(n int) []library.Device {
	var all []library.Device
	for i := range n {
		all = append(all, device(func(d *library.Device) {
			d.ManufacturerCode, d.ImageType = uint16(0x1000+i%40), uint16(i%60)
		}))
	}
	return all
}

// Ten thousand entries against a hundred devices, the making of the matcher included.
func BenchmarkMatch(b *testing.B) {
	entries, devices := manyCandidates(10_000), manyDevices(100)
	b.ReportAllocs()
	for b.Loop() {
		m := library.NewMatcher(entries)
		found := 0
		for _, d := range devices {
			if _, err := m.Match(d); err == nil {
				found++
			}
		}
		if found < 90 {
			b.Fatal(found)
		}
	}
}

// The same where all entries are for one kind of device.
func BenchmarkMatchOneKind(b *testing.B) {
	var entries []library.Candidate
	for i := range 10_000 {
		entries = append(entries, listed(fmt.Sprint(i), uint32(i), models("Plug")))
	}
	devices := make([]library.Device, 100)
	for i := range devices {
		devices[i] = device()
	}
	b.ReportAllocs()
	for b.Loop() {
		m := library.NewMatcher(entries)
		for _, d := range devices {
			if _, err := m.Match(d); !errors.Is(err, library.ErrNoMatch) {
				b.Fatal(err)
			}
		}
	}
}
