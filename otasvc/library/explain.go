package library

import (
	"cmp"
	"fmt"
	"strings"
)

// explain returns why no candidate fits a device. It names the candidate that Match would take first. It
// returns an empty text where there is no candidate of this manufacturer code and image type.
func (m *matcher) explain(d Device, learn learner) string {
	all := m.byKind[kind{d.ManufacturerCode, d.ImageType}]
	listed := 0
	why := ""
	for _, w := range all {
		c, ok := learn(*w.Candidate)
		if !ok {
			continue
		}
		if listed++; listed == 1 {
			why = fmt.Sprintf("file version 0x%08X from %s %s", c.FileVersion, c.Origin, c.explain(&d))
		}
	}
	switch listed {
	case 0:
		return ""
	case 1:
		return why
	}
	return fmt.Sprintf("%s, and %d more do not fit either", why, listed-1)
}

// explain returns which limit keeps an image from a device, as the end of a sentence about the image.
func (l *Limits) explain(d *Device) string {
	switch l.misfit(d) {
	case wrongDestination:
		return fmt.Sprintf("is for the device 0x%016x alone", *l.Destination)
	case wrongModel:
		return "is for the model " + names(l.ModelIDs) + ", not " + reported(d.ModelID)
	case wrongManufacturer:
		return "is for devices of the manufacturer " + names(l.ManufacturerNames) + ", not " +
			reported(d.ManufacturerName)
	case unknownHardware:
		return "is for hardware versions " + span(l.MinHardware, l.MaxHardware, "%d") +
			", and the device reports none"
	case wrongHardware:
		return "is for hardware versions " + span(l.MinHardware, l.MaxHardware, "%d") +
			fmt.Sprintf(", not %d", *d.HardwareVersion)
	case unknownVersion:
		return "may only follow on file versions " + span(l.MinCurrent, l.MaxCurrent, "0x%08X") +
			", and the running one is not known"
	case wrongVersion:
		return "may only follow on file versions " + span(l.MinCurrent, l.MaxCurrent, "0x%08X") +
			fmt.Sprintf(", not 0x%08X", *d.CurrentVersion)
	}
	return "fits"
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
