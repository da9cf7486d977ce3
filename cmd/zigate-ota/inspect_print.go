package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// mostElements is how many elements of a file are shown one by one; there are files with 175.
const mostElements = 12

// print writes the inspection for people.
func (r *inspection) print(w io.Writer) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-20s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(w, r.Name)
	if d := r.Download; d != nil {
		row("file", "%d bytes, SHA-256 %s", d.Size, d.SHA256)
	}

	if r.Frames != nil {
		r.printTrace(w)
		return
	}
	if r.Image == nil {
		row("result", "%s", r.Error)
		return
	}

	if r.Download.Wrapper != "" {
		row("container", "%s", r.Download.Wrapper)
	}
	if r.Image.SHA256 == r.Download.SHA256 {
		row("image", "the whole file")
	} else {
		row("image", "%d bytes, SHA-256 %s", r.Image.Size, r.Image.SHA256)
	}

	if r.Image.Trailing > 0 {
		row("behind it", "%s", counted(r.Image.Trailing, "byte", "bytes"))
	}
	r.Header.print(row)
	for i, e := range r.Elements {
		if i == mostElements && len(r.Elements) > mostElements+1 {
			row("elements", "and %d more", len(r.Elements)-mostElements)
			break
		}
		row("element", "0x%04X %s, %s at offset %d", e.Tag, e.Name, counted(int(e.Length), "byte", "bytes"),
			e.Offset)
	}

	for _, warning := range r.Warnings {
		row("warning", "%s", warning)
	}
	passed := 0
	for _, check := range r.Checks {
		row("check", "%s", check)
		if check.Status == otafile.Passed {
			passed++
		}
	}

	switch {
	case !r.OK:
		row("result", "%s; a device may break with it", r.wrong())
	case passed > 0:
		row("result", "%s passed", counted(passed, "check", "checks"))
	default:
		row("result", "an OTA file; no check that is known here fits it")
	}
}

// print writes the header's fields for people.
func (h *inspectedHeader) print(row func(name, format string, args ...any)) {
	if h.Title != "" {
		row("header string", "%q", h.Title)
	}
	row("manufacturer code", "0x%04X (%d)", h.ManufacturerCode, h.ManufacturerCode)
	row("image type", "0x%04X (%d)", h.ImageType, h.ImageType)
	row("file version", "0x%08X (%d)", h.FileVersion, h.FileVersion)
	row("header version", "0x%04X", h.HeaderVersion)
	row("header length", "%d bytes", h.HeaderLength)
	row("field control", "0x%04X (%s)", h.FieldControl, h.fields())
	row("stack version", "0x%04X (%s)", h.StackVersion, stackName(h.StackVersion))
	row("total image size", "%d bytes", h.TotalSize)
	if h.CredentialVersion != nil {
		row("credential version", "0x%02X", *h.CredentialVersion)
	}
	if h.Destination != nil {
		row("destination", "%s: no other device takes it", *h.Destination)
	}
	if h.MinHardwareVersion != nil {
		row("hardware versions", "%d to %d", *h.MinHardwareVersion, *h.MaxHardwareVersion)
	}
}

// fields names the optional fields that the field control announces.
func (h *inspectedHeader) fields() string {
	var names []string
	for _, field := range []struct {
		bit  uint16
		name string
	}{
		{otafile.FieldCredentialVersion, "credential version"},
		{otafile.FieldDestination, "destination"},
		{otafile.FieldHardwareVersions, "hardware versions"},
	} {
		if h.FieldControl&field.bit != 0 {
			names = append(names, field.name)
		}
	}
	if len(names) == 0 {
		return "no optional fields"
	}
	return strings.Join(names, ", ")
}

// stackName returns the Zigbee version that a header's stack version stands for.
func stackName(version uint16) string {
	switch version {
	case 0:
		return "Zigbee 2006"
	case 1:
		return "Zigbee 2007"
	case 2:
		return "Zigbee Pro"
	case 3:
		return "Zigbee IP"
	case 4:
		return "Thread"
	}
	return "unknown"
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
