package homeassistant_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant/schema"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// The whole state in every state of an upgrade, with an offer and without.
func TestUpdateStates(t *testing.T) {
	type progress struct {
		inProgress bool
		percentage any
	}
	want := map[upgrade.State]progress{
		upgrade.Fetching: {true, nil}, upgrade.Scheduled: {false, nil}, upgrade.Queued: {true, nil}, upgrade.Notified: {true, nil},
		upgrade.Downloading: {true, 17.6}, upgrade.Paused: {true, 17.6},
		upgrade.Downloaded: {false, nil}, // held: pressing Install lets it go on
		upgrade.Applying:   {true, nil}, upgrade.Succeeded: {false, nil}, upgrade.Failed: {false, nil}, upgrade.Cancelled: {false, nil},
	}
	for _, state := range allStates() {
		t.Run(string(state), func(t *testing.T) {
			p, known := want[state]
			if !known {
				t.Fatal("what is expected in this state is not written down")
			}
			offered := bulbUpgrade(state)
			alone := bulbUpgrade(state)
			alone.Offer, alone.UpdateAvailable = nil, false
			bare := otasvc.DeviceRecord{EUID: bulb, Upgrade: alone.Upgrade}
			for _, d := range []otasvc.DeviceRecord{offered, alone, bare} {
				payload := encode(t, homeassistant.Update(d))
				for _, problem := range schema.Update(payload) {
					t.Error(problem)
				}
				s := decode(t, payload)
				if s["in_progress"] != p.inProgress || s["update_percentage"] != p.percentage {
					t.Errorf("%s, want in_progress %t and update_percentage %v", payload, p.inProgress, p.percentage)
				}
				if (p.inProgress || state == upgrade.Downloaded) && s["latest_version"] != "0x23095631" {
					t.Errorf("%s: the version under way is not the latest", payload)
				}
			}
		})
	}
}

func TestUpdate(t *testing.T) {
	tests := []struct {
		name   string
		record func() otasvc.DeviceRecord
		want   contract.UpdateState
	}{
		{"nothing known", func() otasvc.DeviceRecord { return otasvc.DeviceRecord{EUID: bulb, Name: bulb.String()} }, contract.UpdateState{}},
		{"offer", bulbRecord, contract.UpdateState{
			InstalledVersion: "0x22010631", LatestVersion: "0x23095631", Title: "TRADFRI bulb E27 firmware",
			ReleaseURL: "https://example.com/bulb.ota",
		}},
		{"nothing newer", func() otasvc.DeviceRecord {
			d := bulbRecord()
			d.UpdateAvailable = false
			return d
		}, contract.UpdateState{
			InstalledVersion: "0x22010631", LatestVersion: "0x22010631", Title: "TRADFRI bulb E27 firmware",
		}},
		{"running version not known", func() otasvc.DeviceRecord {
			d := bulbRecord()
			d.CurrentVersion = nil
			return d
		}, contract.UpdateState{
			LatestVersion: "0x23095631", Title: "TRADFRI bulb E27 firmware", ReleaseURL: "https://example.com/bulb.ota",
		}},
		{"version zero", func() otasvc.DeviceRecord {
			return otasvc.DeviceRecord{EUID: bulb, CurrentVersion: ptr(uint32(0))}
		}, contract.UpdateState{InstalledVersion: "0x00000000", LatestVersion: "0x00000000"}},
		{"model with control characters", func() otasvc.DeviceRecord {
			return otasvc.DeviceRecord{EUID: bulb, ModelID: "lumi.plug\x00\x00"}
		}, contract.UpdateState{Title: "lumi.plug firmware"}},
		{"notes", func() otasvc.DeviceRecord {
			d := bulbRecord()
			d.Offer.ReleaseNotes = " Fixes <b>flicker</b>.\n"
			return d
		}, contract.UpdateState{
			InstalledVersion: "0x22010631", LatestVersion: "0x23095631", Title: "TRADFRI bulb E27 firmware",
			ReleaseSummary: "Fixes <b>flicker</b>.", ReleaseURL: "https://example.com/bulb.ota",
		}},
		{"notes are an address", func() otasvc.DeviceRecord {
			d := bulbRecord()
			d.Offer.ReleaseNotes = "https://example.com/notes"
			return d
		}, contract.UpdateState{
			InstalledVersion: "0x22010631", LatestVersion: "0x23095631", Title: "TRADFRI bulb E27 firmware",
			ReleaseURL: "https://example.com/notes",
		}},
		{"notes begin with an address", func() otasvc.DeviceRecord {
			d := bulbRecord()
			d.Offer.ReleaseNotes = "https://example.com/notes has more"
			return d
		}, contract.UpdateState{
			InstalledVersion: "0x22010631", LatestVersion: "0x23095631", Title: "TRADFRI bulb E27 firmware",
			ReleaseSummary: "https://example.com/notes has more", ReleaseURL: "https://example.com/bulb.ota",
		}},
		{"downgrade under way", func() otasvc.DeviceRecord {
			d := bulbUpgrade(upgrade.Applying)
			d.Offer, d.UpdateAvailable = nil, false
			d.Upgrade.ImageVersion = ptr(uint32(0x21000000))
			return d
		}, contract.UpdateState{
			InstalledVersion: "0x22010631", LatestVersion: "0x21000000", Title: "TRADFRI bulb E27 firmware", InProgress: true,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := homeassistant.Update(test.record())
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, problem := range schema.Update(encode(t, got)) {
				t.Error(problem)
			}
		})
	}
}

// What is not known is left out; only update_percentage may be null.
func TestUpdateKeys(t *testing.T) {
	golden(t, "update", encode(t, homeassistant.Update(bulbUpgrade(upgrade.Downloading))))
	golden(t, "update_unknown", encode(t, homeassistant.Update(otasvc.DeviceRecord{EUID: bulb})))
}

func TestUpdatePercentage(t *testing.T) {
	for in, want := range map[float64]any{0: 0.0, 17.6: 17.6, 100: 100.0, 100.1: 100.0, -1: 0.0, math.Inf(1): 100.0, math.NaN(): nil} {
		d := bulbUpgrade(upgrade.Downloading)
		d.Upgrade.Progress = in
		payload := encode(t, homeassistant.Update(d))
		for _, problem := range schema.Update(payload) {
			t.Error(problem)
		}
		if got := decode(t, payload)["update_percentage"]; got != want {
			t.Errorf("%v: %v, want %v", in, got, want)
		}
	}
}

func TestReleaseSummary(t *testing.T) {
	tests := []struct {
		name, notes, want string
	}{
		{"none", "", ""},
		{"short", "new", "new"},
		{"as long as may be", strings.Repeat("ü", 255), strings.Repeat("ü", 255)},
		{"too long", strings.Repeat("ü", 256), strings.Repeat("ü", 254) + "…"},
		{"emoji", strings.Repeat("💡", 1000), strings.Repeat("💡", 254) + "…"},
		{"quotes and markup", `"<script>alert(1)</script>"`, `"<script>alert(1)</script>"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := bulbRecord()
			d.Offer.ReleaseNotes = test.notes
			payload := encode(t, homeassistant.Update(d))
			for _, problem := range schema.Update(payload) {
				t.Error(problem)
			}
			if got := decode(t, payload)["release_summary"]; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Home Assistant drops the whole state for a URL that it does not like.
func TestReleaseURL(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"https://example.com/a.ota", "https://example.com/a.ota"},
		{"http://192.168.1.2:8080/a b.ota", "http://192.168.1.2:8080/a%20b.ota"},
		{"HTTP://example.com/?q=1#x", "http://example.com/?q=1#x"},
		{"https://münchen.example/ü", "https://m%C3%BCnchen.example/%C3%BC"},
		{"http://[2001:db8::1]:80/a", "http://[2001:db8::1]:80/a"},
		{"http://[fe80::1]", "http://[fe80::1]"},
		{"file:///var/images/a.ota", ""},
		{"controller://driver/x/a.ota", ""},
		{"ftp://example.com/a", ""},
		{"https://", ""},
		{"https:///a", ""},
		{"https://:443/a", ""},
		{"https:example.com", ""},
		{"//example.com/a", ""},
		{"example.com", ""},
		{"https://user:secret@example.com/a", ""},
		{"https://example.com:99999/a", ""},
		{"https://example.com:x/a", ""},
		{"https://[::1/a", ""},
		{"https://a]b/", ""},
		{"https://[v1.x]/a", ""},
		{"https://exa mple.com/a", ""},
		{"https://example.com/a\nb", ""},
		{"https://example.com/%zz", ""},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			d := bulbRecord()
			d.Offer.URL = test.in
			payload := encode(t, homeassistant.Update(d))
			for _, problem := range schema.Update(payload) {
				t.Error(problem)
			}
			got, has := decode(t, payload)["release_url"]
			if s, _ := got.(string); s != test.want || has != (test.want != "") {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}

func TestFormatVersion(t *testing.T) {
	for in, want := range map[uint32]string{0: "0x00000000", 1: "0x00000001", 0x23095631: "0x23095631", 0xffffffff: "0xffffffff", 0xabcdef: "0x00abcdef"} {
		if got := homeassistant.FormatVersion(in); got != want {
			t.Errorf("%d: %q, want %q", in, got, want)
		}
	}
}

// Whatever an index says of an image, Home Assistant takes the state.
func FuzzUpdate(f *testing.F) {
	f.Add("https://example.com/a.ota", "notes", 17.6)
	f.Add("http://[::1%25eth0]:1/", "https://x", math.NaN())
	f.Add("https://example.com:65536", strings.Repeat("💡", 300), -1.0)
	f.Fuzz(func(t *testing.T, address, notes string, progress float64) {
		d := bulbUpgrade(upgrade.Downloading)
		d.Offer.URL, d.Offer.ReleaseNotes, d.Upgrade.Progress = address, notes, progress
		payload, err := json.Marshal(homeassistant.Update(d))
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range schema.Update(payload) {
			t.Error(problem)
		}
	})
}
