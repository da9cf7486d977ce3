package library_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

func sampleIndex(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "indexes", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The samples have the form of what the makers publish.
func TestParseMakersIndex(t *testing.T) {
	const at = "https://example.com/index.json"
	image := func(manufacturerCode, imageType uint16, version uint32, size uint32, url string) library.Candidate {
		return library.Candidate{Source: library.SourceIndex, Origin: at, ManufacturerCode: manufacturerCode, ImageType: imageType, FileVersion: version, Size: size, URL: url}
	}
	lamp := image(0x1189, 25, 0x00102428, 180052, "https://api.update.ledvance.com/v1/zigbee/firmwares/download")
	lamp.Title, lamp.ReleaseNotes, lamp.ModelIDs = "Some Lamp", "• Brighter", []string{"Some Lamp"}
	relay := image(0x1286, 8, 0x1002, 275788, "https://ota.example.com/releases/some-switch_v1.0.2.ota")
	relay.ModelIDs = []string{"SOME-SWITCH"}
	newest := image(0x1234, 0x42, 17, 297306, "https://example.com/2026.6.1/images/1234-0042-00000011_901d7b.ota")
	newest.ReleaseNotes = "- Brighter"
	for _, c := range []struct {
		sample, format string
		want           library.Candidate
		gateways       int
		problem        string // of the one entry that was skipped; empty: none was
	}{
		{"ikea-dirigera.json", "IKEA", image(0x117C, 0x11C1, 604241925, 0, "https://fw.example.com/files/some-remote_release_prod_v604241925_00000000-0000-0000-0000-000000000001.ota"), 1, "entry 3: its image type 0x2200 is left out"},
		{"ikea-tradfri.json", "IKEA", image(0x117C, 0x1101, 0x23089631, 209136, "http://fw.example.net/global/10005777-some-outlet-2.3.089.ota.ota.signed"), 1, ""},
		{"ledvance.json", "LEDVANCE", lamp, 0, `entry 2: there is no file version in its fullName "Other Lamp/not a version/x.ota"`},
		{"sonoff.json", "Sonoff", relay, 0, ""},
		{"zigpy-v2.json", "zigpy", newest, 0, ""},
	} {
		t.Run(c.sample, func(t *testing.T) {
			index, err := library.ParseIndex(sampleIndex(t, c.sample), at)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]library.Candidate{c.want}, index.Entries, cmpopts.IgnoreUnexported(library.Candidate{})); d != "" {
				t.Errorf("entries (-want +got):\n%s", d)
			}
			if index.Format != c.format || index.Gateways != c.gateways || !strings.HasPrefix(index.Problem, c.problem) || (index.Problem == "") != (c.problem == "") {
				t.Errorf("format %q, %d gateways, skipped %d: %q", index.Format, index.Gateways, index.Skipped, index.Problem)
			}
		})
	}
}

func TestParseMakersIndexRefuses(t *testing.T) {
	for _, c := range []struct{ name, entry, problem string }{
		{"IKEA without a version", `{"fw_type":2,"fw_image_type":1,"fw_binary_url":"https://x/y.ota"}`, "it has no file version"},
		{"IKEA with too long a version", `{"fw_type":2,"fw_image_type":1,"fw_binary_url":"https://x/y_v99999999999_z.ota"}`, "has more than 32 bits"},
		{"IKEA without an image type", `{"fw_type":2,"fw_binary_url":"https://x/y_v1_z.ota"}`, "it has no image type"},
		{"IKEA with another digest", `{"fw_type":2,"fw_image_type":1,"fw_sha3_256":"ab","fw_binary_url":"https://x/y_v1_z.ota"}`, "must be 64 hex digits"},
		{"Sonoff without a version", `{"fw_binary_url":"https://x/y.ota","model_id":"x"}`, "it has no manufacturer code"},
	} {
		t.Run(c.name, func(t *testing.T) {
			good := `{"fw_type":2,"fw_image_type":2,"fw_binary_url":"https://x/y_v1_z.ota","fw_file_version":1,"fw_manufacturer_id":1,"model_id":"x"}`
			if !strings.Contains(c.entry, "model_id") {
				good = strings.Replace(good, `,"model_id":"x"`, "", 1)
			}
			index, err := library.ParseIndex([]byte("["+good+","+c.entry+"]"), "https://example.com/index.json")
			if err != nil || len(index.Entries) != 1 || index.Skipped != 1 || !strings.Contains(index.Problem, c.problem) {
				t.Errorf("%v, %+v", err, index)
			}
		})
	}
	_, err := library.ParseIndex([]byte(`{"versions":[{"model":"x"}]}`), "https://example.com/index.json")
	checkError(t, err, library.ErrIndex, "Zigbee2MQTT, zigpy, IKEA, LEDVANCE and Sonoff")
}

// A channel file leads to the newest index, and is asked alone while it has not changed.
func TestChannelLeadsToIndex(t *testing.T) {
	const channel = "https://example.com/release/version/stable.json"
	const newest = "https://example.com/download/2026.6.1/zigpy_v2_ota.json"
	s := &site{
		files: map[string][]byte{channel: sampleIndex(t, "zigpy-channel.json"), newest: sampleIndex(t, "zigpy-v2.json")},
		tags:  map[string]string{channel: `"1"`},
	}
	dir := t.TempDir()
	options := library.CatalogOptions{Indexes: []string{channel}, Interval: time.Hour}
	inCatalog(t, dir, library.Options{Transport: s}, options, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		checkVersions(t, k, 17)
		if status := k.Indexes()[0]; status.Name != channel || status.Format != "zigpy" || status.Images != 1 || status.Error != "" {
			t.Errorf("%+v", status)
		}
		pass(time.Hour + 10*time.Minute)
		if want := []string{channel, newest, channel + " 304"}; !slices.Equal(s.requests(), want) {
			t.Errorf("asked %q, want %q", s.requests(), want)
		}
		s.set(func() { s.tags[channel] = `"2"`; delete(s.files, newest) })
		pass(time.Hour + 10*time.Minute)
		checkVersions(t, k, 17)
		if status := k.Indexes()[0]; !strings.Contains(status.Error, newest) || !strings.Contains(status.Error, "404") {
			t.Errorf("%+v", status)
		}
	})
	s.down = http.ErrServerClosed
	inCatalog(t, dir, library.Options{Transport: s}, options, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		checkVersions(t, k, 17)
	})
}

func TestChannelLeadsNowhere(t *testing.T) {
	for _, c := range []struct{ name, channel, says string }{
		{"another scheme", `{"schemas":{"zigpy_v1":{"url":"file:///etc/passwd"}}}`, "leads to no http or https URL"},
		{"no known format", `{"schemas":{"zigpy_v9":{"url":"https://example.com/x"}}}`, "the formats that are read"},
		{"to itself", `{"schemas":{"zigpy_v2":{"url":"index.json"}}}`, `an object without "firmwares"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &site{files: map[string][]byte{indexURL: []byte(c.channel)}}
			inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				if status := k.Indexes()[0]; !strings.Contains(status.Error, c.says) || len(s.requests()) > 2 {
					t.Errorf("%+v, asked %q", status, s.requests())
				}
			})
		})
	}
}
