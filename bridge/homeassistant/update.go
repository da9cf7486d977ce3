package homeassistant

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// maxSummary is the largest number of characters that Home Assistant accepts as release_summary.
const maxSummary = 255

// Update returns the state of the update entity of a device.
func Update(d otasvc.DeviceRecord) contract.UpdateState {
	var s contract.UpdateState
	if d.CurrentVersion != nil {
		s.InstalledVersion = formatVersion(*d.CurrentVersion)
		s.LatestVersion = s.InstalledVersion
	}
	if model := label(d.ModelID); model != "" {
		s.Title = model + " firmware"
	}
	if o := d.Offer; o != nil && d.UpdateAvailable && !d.Settings.Excludes() {
		s.LatestVersion = formatVersion(o.ImageVersion)
		s.ReleaseSummary, s.ReleaseURL = release(o)
	}
	if u := d.Upgrade; u != nil && u.ImageType == nil {
		follow(&s, u)
	}
	return s
}

// OtherUpdate returns the state of the update entity of one of a device's other images.
func OtherUpdate(d otasvc.DeviceRecord, image otasvc.OtherImage) contract.UpdateState {
	other := d
	other.CurrentVersion = image.CurrentVersion
	other.Offer = image.Offer
	other.UpdateAvailable = image.UpdateAvailable
	other.Upgrade = nil
	s := Update(other)
	if s.Title != "" {
		s.Title += " "
	}
	s.Title += formatType(image.ImageType)
	if u := d.Upgrade; u != nil && u.ImageType != nil && *u.ImageType == image.ImageType {
		follow(&s, u)
	}
	return s
}

// follow has the state of an update entity show its upgrade.
func follow(s *contract.UpdateState, u *upgrade.Record) {
	switch u.State {
	case upgrade.Fetching, upgrade.Queued, upgrade.Notified, upgrade.Applying:
		s.InProgress = true
	case upgrade.Downloading, upgrade.Paused:
		s.InProgress = true
		s.UpdatePercentage = percentage(u.Progress)
	}
	// An installation would install the image that waits on the device.
	if (s.InProgress || u.State == upgrade.Downloaded) && u.ImageVersion != nil {
		s.LatestVersion = formatVersion(*u.ImageVersion)
	}
	if u.State == upgrade.Failed {
		s.ReleaseSummary = failed(u.Error, s.ReleaseSummary)
	}
}

// formatType returns an image type as people write it.
func formatType(imageType uint16) string { return fmt.Sprintf("0x%04x", imageType) }

// failed returns a summary that begins with why the last upgrade has failed: who pressed "Install" sees it
// there.
func failed(why, summary string) string {
	if why == "" {
		return summary
	}
	first, size := utf8.DecodeRuneInString(why)
	sentence := string(unicode.ToUpper(first)) + why[size:] + "."
	return truncate(strings.TrimSpace(sentence+" "+summary), maxSummary)
}

// release returns the release notes of an image and a URL with more about it. Some indexes have the URL of a
// page in the place of release notes.
func release(o *otasvc.Offer) (summary, address string) {
	notes := strings.TrimSpace(o.ReleaseNotes)
	if !strings.ContainsFunc(notes, unicode.IsSpace) {
		if address = httpURL(notes); address != "" {
			return "", address
		}
	}
	return truncate(notes, maxSummary), httpURL(o.URL)
}

// percentage returns a progress that Home Assistant accepts: from 0 to 100, or nil for NaN.
func percentage(p float64) *contract.Percent {
	if math.IsNaN(p) {
		return nil
	}
	percent := contract.Percent(min(max(p, 0), 100))
	return &percent
}

// formatVersion returns a file version as Home Assistant shows it: 0x and 8 lower-case hex digits.
func formatVersion(v uint32) string { return fmt.Sprintf("0x%08x", v) }

// truncate cuts a text to at most n characters, the last of which is then an ellipsis.
func truncate(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}

// httpURL returns s if it is a valid http or https URL without user and password, else an empty text. It is
// at least as strict as Home Assistant, which also checks the range of the port and the address in brackets.
func httpURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil {
		return ""
	}
	if port := u.Port(); port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return ""
		}
	}
	if strings.ContainsAny(u.Host, "[]") {
		if a, err := netip.ParseAddr(u.Hostname()); err != nil || !a.Is6() {
			return ""
		}
	}
	return u.String()
}
