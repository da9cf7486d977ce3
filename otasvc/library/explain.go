package library

import (
	"cmp"
	"fmt"
	"strings"
)

// explain tells why no candidate fits a device, by the one that comes closest to being taken.
func (m *Matcher) explain(d Device, learn learner) string {
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

// explain tells what is in the way of giving an image to a device.
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

func names(list []string) string {
	const told = 3
	quoted := make([]string, 0, told+1)
	for _, name := range list[:min(told, len(list))] {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	if more := len(list) - told; more > 0 {
		quoted = append(quoted, fmt.Sprintf("%d more", more))
	}
	return strings.Join(quoted, " or ")
}

func reported(name string) string {
	if name == "" {
		return "one that is not known"
	}
	return fmt.Sprintf("%q", name)
}

func span[T cmp.Ordered](least, most *T, verb string) string {
	switch {
	case least == nil:
		return fmt.Sprintf("up to "+verb, *most)
	case most == nil:
		return fmt.Sprintf("from "+verb, *least)
	}
	return fmt.Sprintf("from "+verb+" to "+verb, *least, *most)
}
