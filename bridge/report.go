package bridge

import "github.com/zigate-ota/zigate-ota/otasvc/otafile"

// ImageReport is what was found out about an image file when it was taken. The names are those of
// "zigate-ota inspect --json".
type ImageReport struct {
	Wrapper            string          `json:"wrapper"` // the container that it came in; empty: none
	HeaderString       string          `json:"headerString"`
	StackVersion       uint16          `json:"stackVersion"`
	MinHardwareVersion *uint16         `json:"minHardwareVersion"` // null: for all
	MaxHardwareVersion *uint16         `json:"maxHardwareVersion"`
	Warnings           []string        `json:"warnings"` // never null, nor is the next
	Checks             []otafile.Check `json:"checks"`   // those of the download's digests first
}

// NewImageReport makes a report.
func NewImageReport(
	wrapper string, h *otafile.Header, warnings []string, checks []otafile.Check,
) *ImageReport {
	r := &ImageReport{
		Wrapper:            wrapper,
		HeaderString:       h.Title(),
		StackVersion:       h.StackVersion,
		MinHardwareVersion: h.MinHardwareVersion,
		MaxHardwareVersion: h.MaxHardwareVersion,
		Warnings:           []string{},
		Checks:             []otafile.Check{},
	}
	r.Warnings = append(r.Warnings, warnings...)
	r.Checks = append(r.Checks, checks...)
	return r
}
