package homeassistant

import (
	"fmt"
	"net/url"
	"unicode/utf8"

	"github.com/zigate-ota/zigate-ota/otasvc"
)

// UpdateState is the state of Home Assistant's MQTT update entity. Home Assistant drops the whole message when it finds
// a key that it does not know, a null where it expects a string, or a URL that is none, so the keys here are all there
// are, and what is not known is left out.
type UpdateState struct {
	InstalledVersion string   `json:"installed_version,omitempty"`
	LatestVersion    string   `json:"latest_version,omitempty"`
	Title            string   `json:"title,omitempty"`
	ReleaseSummary   string   `json:"release_summary"`
	ReleaseURL       string   `json:"release_url,omitempty"`
	InProgress       bool     `json:"in_progress"`
	UpdatePercentage *float64 `json:"update_percentage"` // null: in progress, but no telling how far; or not in progress
}

// maxSummary is the most characters that Home Assistant takes as release_summary.
const maxSummary = 255

// Update is the update state of a device.
func Update(d otasvc.DeviceRecord) UpdateState {
	var s UpdateState
	if d.CurrentVersion != nil {
		s.InstalledVersion = FormatVersion(*d.CurrentVersion)
		s.LatestVersion = s.InstalledVersion
	}
	if d.ModelID != "" {
		s.Title = d.ModelID + " firmware"
	}
	if o := d.Offer; o != nil && d.UpdateAvailable {
		s.LatestVersion = FormatVersion(o.ImageVersion)
		s.ReleaseSummary = truncate(o.ReleaseNotes, maxSummary)
		s.ReleaseURL = httpURL(o.URL)
	}
	if u := d.Upgrade; u != nil {
		switch u.State {
		case otasvc.Queued, otasvc.Notified, otasvc.Applying:
			s.InProgress = true
		case otasvc.Downloading, otasvc.Paused:
			s.InProgress = true
			progress := u.Progress
			s.UpdatePercentage = &progress
		}
		if s.InProgress {
			s.LatestVersion = FormatVersion(u.ImageVersion)
		}
	}
	return s
}

// FormatVersion writes a file version as Home Assistant shows it: 0x and 8 lower-case hex digits.
func FormatVersion(v uint32) string { return fmt.Sprintf("0x%08x", v) }

// truncate cuts text to at most n characters.
func truncate(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}

// httpURL is s if it is a valid http or https URL without credentials, else empty.
func httpURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}
