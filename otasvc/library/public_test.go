package library_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// publicEntry is what Zigbee2MQTT's own rules look at.
type publicEntry struct {
	URL              string   `json:"url"`
	ManufacturerCode uint16   `json:"manufacturerCode"`
	ImageType        uint16   `json:"imageType"`
	FileVersion      uint32   `json:"fileVersion"`
	ModelID          string   `json:"modelId"`
	ManufacturerName []string `json:"manufacturerName"`
	MinHardware      *uint16  `json:"hardwareVersionMin"`
	MaxHardware      *uint16  `json:"hardwareVersionMax"`
	MinCurrent       *uint32  `json:"minFileVersion"`
	MaxCurrent       *uint32  `json:"maxFileVersion"`
}

// fits are the rules by which zigbee-herdsman takes the first entry of the index.
func (e *publicEntry) fits(d library.Device) bool {
	current := uint32(0)
	if d.CurrentVersion != nil {
		current = *d.CurrentVersion
	}
	return e.ManufacturerCode == d.ManufacturerCode && e.ImageType == d.ImageType &&
		(e.MinCurrent == nil || current >= *e.MinCurrent) && (e.MaxCurrent == nil || current <= *e.MaxCurrent) &&
		(e.ModelID == "" || e.ModelID == d.ModelID) &&
		(len(e.ManufacturerName) == 0 || slices.Contains(e.ManufacturerName, d.ManufacturerName)) &&
		(e.MinHardware == nil || d.HardwareVersion != nil && *d.HardwareVersion >= *e.MinHardware) &&
		(e.MaxHardware == nil || d.HardwareVersion != nil && *d.HardwareVersion <= *e.MaxHardware)
}

// weight is how many of the device's properties the entry names.
func (e *publicEntry) weight() (weight int) {
	for _, named := range []bool{e.ModelID != "", len(e.ManufacturerName) > 0} {
		if named {
			weight += 100
		}
	}
	for _, named := range []bool{e.MinCurrent != nil, e.MaxCurrent != nil, e.MinHardware != nil, e.MaxHardware != nil} {
		if named {
			weight++
		}
	}
	return weight
}

// device is a device that the entry fits, a version behind.
func (e *publicEntry) device() library.Device {
	d := library.Device{ManufacturerCode: e.ManufacturerCode, ImageType: e.ImageType, ModelID: e.ModelID, ManufacturerName: "Maker", HardwareVersion: e.MinHardware, HardwareHeard: true}
	if len(e.ManufacturerName) > 0 {
		d.ManufacturerName = e.ManufacturerName[len(e.ManufacturerName)-1]
	}
	if d.HardwareVersion == nil {
		d.HardwareVersion = e.MaxHardware
	}
	current := e.FileVersion - 1
	if e.MaxCurrent != nil {
		current = min(current, *e.MaxCurrent)
	}
	if e.MinCurrent != nil {
		current = max(current, *e.MinCurrent)
	}
	d.CurrentVersion = &current
	return d
}

// withPublicIndex runs a test with a catalog of a copy of a public index of Zigbee2MQTT, index.json or index1.json,
// in the folder that a variable names. They change daily and belong to others, so they are not in the repository.
func withPublicIndex(t *testing.T, name string, test func(t *testing.T, entries []publicEntry, k *library.Catalog)) {
	t.Helper()
	dir := os.Getenv("ZIGATE_OTA_TEST_INDEXES")
	if dir == "" {
		t.Skip("ZIGATE_OTA_TEST_INDEXES names no copies of the public indexes")
	}
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	var entries []publicEntry
	if err := json.Unmarshal(content, &entries); err != nil {
		t.Fatal(err)
	}
	s := &site{files: map[string][]byte{indexURL: content}, down: nil}
	inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		if status := k.Indexes()[0]; status.Images != len(entries) || status.Skipped != 0 || status.Error != "" || len(entries) < 300 {
			t.Fatalf("%d entries in the file: %+v", len(entries), status)
		}
		test(t, entries, k)
	})
}

// For a device of each entry of the public indexes, the image is the one that Zigbee2MQTT takes; or one whose entry
// names more of the device; or a newer one whose entry names as much.
func TestPublicIndexes(t *testing.T) {
	for _, name := range []string{"index.json", "index1.json"} {
		t.Run(name, func(t *testing.T) {
			withPublicIndex(t, name, func(t *testing.T, entries []publicEntry, k *library.Catalog) {
				better := 0
				for i := range entries {
					d := entries[i].device()
					if same := comparePublic(t, entries, k, d); !same {
						better++
					}
				}
				t.Logf("%d of %d devices get a better image than the first of the index", better, len(entries))
			})
		})
	}
}

// comparePublic compares the image for a device with the one that Zigbee2MQTT takes.
func comparePublic(t *testing.T, entries []publicEntry, k *library.Catalog, d library.Device) (same bool) {
	t.Helper()
	about := fmt.Sprintf("0x%04X/0x%04X %q of %q, hardware %v, running 0x%08X", d.ManufacturerCode, d.ImageType, d.ModelID, d.ManufacturerName, d.HardwareVersion != nil, *d.CurrentVersion)
	at := slices.IndexFunc(entries, func(e publicEntry) bool { return e.fits(d) })
	if at < 0 {
		t.Errorf("%s: no entry fits by Zigbee2MQTT's rules", about)
		return false
	}
	theirs := &entries[at]
	best, ok := k.Best(d)
	if !ok {
		t.Errorf("%s: nothing, but Zigbee2MQTT takes %s; %v", about, theirs.URL, k.Explain(d))
		return false
	}
	if best.URL == theirs.URL {
		return true
	}
	ours := &entries[slices.IndexFunc(entries, func(e publicEntry) bool { return e.URL == best.URL && e.fits(d) })]
	if ours.weight() < theirs.weight() || ours.weight() == theirs.weight() && ours.FileVersion < theirs.FileVersion {
		t.Errorf("%s: %s, but Zigbee2MQTT takes %s", about, ours.URL, theirs.URL)
	}
	return false
}

// What devices of well-known makers get that report what the real ones do.
func TestPublicIndexForRealDevices(t *testing.T) {
	type reported struct {
		manufacturerCode, imageType uint16
		model, maker                string
		hardware                    int // -1: none
		running                     uint32
	}
	devices := map[string]reported{
		"IKEA bulb":                  {0x117C, 0x2201, "TRADFRI bulb E27 WS opal 980lm", "IKEA of Sweden", 1, 0x10005778},
		"IKEA plug":                  {0x117C, 0x9F3E, "INSPELNING Smart plug", "IKEA of Sweden", -1, 1},
		"Hue bulb, old":              {0x100B, 0x0110, "LWB010", "Philips", -1, 16778000},
		"Hue bulb, between":          {0x100B, 0x0114, "LTW010", "Signify Netherlands B.V.", -1, 16781824},
		"Hue bulb, nearly new":       {0x100B, 0x0114, "LTW010", "Signify Netherlands B.V.", -1, 16782084},
		"LEDVANCE lamp":              {0x1189, 0x0019, "A19 RGBW", "LEDVANCE", -1, 0x00102400},
		"Legrand switch":             {0x1021, 0x0018, " Dimmer switch w/o neutral", " Legrand", -1, 0x00104000},
		"ubisys dimmer":              {0x10F2, 0x7B01, "D1 (5503)", "ubisys", 3, 0x01000000},
		"Tuya plug of one maker":     {0x1141, 0xD3A3, "TS011F", "_TZ3000_w0qqde0g", -1, 60},
		"Tuya plug of another":       {0x1141, 0xD3A3, "TS011F", "_TZ3210_ngqk6jia", -1, 60},
		"Inovelli dimmer":            {0x122F, 0x0201, "VZM31-SN", "Inovelli", -1, 0x01010101},
		"Sonoff relay":               {0x1286, 0x0041, "ZBMINIR2", "SONOFF", -1, 1},
		"Third Reality sensor":       {0x1233, 0xD3AB, "3RMS16BZ", "Third Reality, Inc", -1, 1},
		"Danfoss thermostat":         {0x1246, 0x0100, "eTRV0100", "Danfoss", -1, 1},
		"Develco meter":              {0x1015, 0x03D0, "EMIZB-141", "frient A/S", -1, 1},
		"LiXee TIC":                  {0x1037, 0x0001, "ZLinky_TIC", "LiXee", -1, 1},
		"Aqara switch":               {0x115F, 0x0101, "lumi.switch.b1nacn02", "LUMI", -1, 1},
		"Aqara plug of that pair":    {0x115F, 0x0101, "lumi.plug.maus01", "LUMI", -1, 1},
		"Innr bulb":                  {0x1166, 0x0112, "RB 285 C", "innr", -1, 1},
		"Gledopto controller":        {0x124F, 0x0000, "GL-B-008P", "GLEDOPTO", -1, 1},
		"Bosch thermostat":           {0x1209, 0x3005, "RBSH-TRV0-ZB-EU", "BOSCH", -1, 1},
		"TICMeter, 0xFFFF":           {0xFFFF, 0x00C8, "TICMeter", "GammaTroniques", -1, 1},
		"FreezBee, 0xFFFF and 0":     {0xFFFF, 0x0000, "FRZ1", "Netica", -1, 1},
		"Osram plug":                 {0x110C, 0x0008, "Plug 01", "OSRAM", -1, 1},
		"NodOn relay":                {0x128B, 0x2002, "SIN-4-1-20", "NodOn", -1, 1},
		"Yandex, with another case":  {0x132F, 0x0212, "YNDX-00530", "YANDEX", -1, 1},
		"Salus meter, as it reports": {0x1078, 0x0025, "ECM600", "SALUS", -1, 1},
	}
	withPublicIndex(t, "index.json", func(t *testing.T, entries []publicEntry, k *library.Catalog) {
		for name, r := range devices {
			d := library.Device{ManufacturerCode: r.manufacturerCode, ImageType: r.imageType, ModelID: r.model, ManufacturerName: r.maker, CurrentVersion: &r.running, HardwareHeard: true}
			if r.hardware >= 0 {
				d.HardwareVersion = ptr(uint16(r.hardware))
			}
			best, ok := k.Best(d)
			if !ok {
				t.Errorf("%s: %v", name, k.Explain(d))
				continue
			}
			t.Logf("%s: %s", name, best.URL)
			if known := slices.ContainsFunc(entries, func(e publicEntry) bool { return e.fits(d) }); known {
				comparePublic(t, entries, k, d)
			} // else a name is written differently, which Zigbee2MQTT corrects by hand for each product
		}
	})
}
