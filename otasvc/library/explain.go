package library

import (
	"cmp"
	"fmt"
	"strings"
)

// Misfit is an image that is for the device's manufacturer code and image type, and does not fit it all the
// same.
type Misfit struct {
	Candidate Candidate
	Why       string // what keeps it from the device, as the end of a sentence about the image
}

// String returns a sentence for people.
func (m Misfit) String() string {
	return fmt.Sprintf("file version 0x%08X from %s %s", m.Candidate.FileVersion, m.Candidate.Origin, m.Why)
}

// misfits returns the candidates of the device's manufacturer code and image type that do not fit it, in the
// order in which they would be taken.
func (m *matcher) misfits(d Device, learn learner) []Misfit {
	var all []Misfit
	for _, w := range m.byKind[kind{d.ManufacturerCode, d.ImageType}] {
		c, ok := learn(*w.Candidate)
		if !ok {
			all = append(all, Misfit{c, "is another image than its index says"})
			continue
		}
		if why := m.explain(&c, &d); why != "" {
			all = append(all, Misfit{c, why})
		}
	}
	return all
}

// explain returns which limit keeps an image from a device, as the end of a sentence about the image. It is
// empty where the image fits.
func (m *matcher) explain(c *Candidate, d *Device) string {
	switch misfit := m.misfit(c, d); misfit {
	case wrongDestination:
		return fmt.Sprintf("is for the device 0x%016x alone", *c.Destination)
	case wrongModel:
		return "is for the model " + names(c.ModelIDs) + ", not " + reported(d.ModelID)
	case wrongManufacturer:
		return "is for devices of the manufacturer " + names(c.ManufacturerNames) + ", not " +
			reported(d.ManufacturerName)
	case unheardHardware, noHardware, wrongHardware:
		return c.explainHardware(misfit, d)
	case unknownVersion:
		return "may only follow on file versions " + span(c.MinCurrent, c.MaxCurrent, "0x%08X") +
			", and the running one is not known"
	case wrongVersion:
		return "may only follow on file versions " + span(c.MinCurrent, c.MaxCurrent, "0x%08X") +
			fmt.Sprintf(", not 0x%08X", *d.CurrentVersion)
	}
	return ""
}

// explainHardware is explain for the limits of hardware versions.
func (l *Limits) explainHardware(misfit misfit, d *Device) string {
	least, most := l.Hardware()
	switch misfit {
	case unheardHardware:
		return "is for hardware versions " + span(least, most, "%d") +
			", and the device has not said yet which hardware version it has; " +
			"it does when it asks for an image"
	case noHardware:
		return "is for hardware versions " + span(l.MinHardware, l.MaxHardware, "%d") +
			", and the device reports none"
	case wrongHardware:
		return "is for hardware versions " + span(least, most, "%d") +
			fmt.Sprintf(", not %d", *d.HardwareVersion)
	}
	return ""
}

// names returns the first names of a list, quoted, and how many more there are.
func names(list []string) string {
	const most = 3
	quoted := make([]string, 0, most+1)
	for _, name := range list[:min(most, len(list))] {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	if more := len(list) - most; more > 0 {
		quoted = append(quoted, fmt.Sprintf("%d more", more))
	}
	return strings.Join(quoted, " or ")
}

// reported returns the name that a device reported, quoted, or says that none is known.
func reported(name string) string {
	if name == "" {
		return "one that is not known"
	}
	return fmt.Sprintf("%q", name)
}

// span describes a range of which one end may be open, but not both. verb formats the numbers.
func span[T cmp.Ordered](least, most *T, verb string) string {
	switch {
	case least == nil:
		return fmt.Sprintf("up to "+verb, *most)
	case most == nil:
		return fmt.Sprintf("from "+verb, *least)
	}
	return fmt.Sprintf("from "+verb+" to "+verb, *least, *most)
}
