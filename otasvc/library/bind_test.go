package library_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// entryFor is an entry for the devices of these tests; more are further fields of it, in JSON.
func entryFor(version uint32, more string) string {
	return fmt.Sprintf(`{"fileVersion":%d,"imageType":66,"manufacturerCode":4660,"url":"images/%d.ota"%s}`, version, version, more)
}

// What indexes say of images for the same devices holds for files in the folder, too.
func TestFolderIsBoundByIndexes(t *testing.T) {
	limited := headed(1, func(h *otafile.Header) {
		h.FileVersion, h.MinHardwareVersion, h.MaxHardwareVersion = 20, ptr(uint16(2)), ptr(uint16(4))
	})
	none := func(d *library.Device) { d.HardwareVersion = nil }
	heard := func(d *library.Device) { d.HardwareVersion, d.HardwareHeard = nil, true }
	file := versioned(20, 1)
	same := func(more string) string { return entryOf("https://example.com/x.ota", file, file, more) }
	for _, c := range []struct {
		name    string
		file    []byte
		entries []string
		device  library.Device
		want    string // source and version of the best; or what Explain says
		caution string // what it says; empty: there is none
	}{
		{"nothing is known", file, nil, device(), "folder 20", ""},
		{"one product, no names", file, []string{entryFor(15, "")}, device(), "folder 20", ""},
		{"one product, the device's", file, []string{entryFor(15, `,"modelId":"Lamp"`)}, device(), "folder 20", ""},
		{"one product in several names", file, []string{entryFor(9, `,"manufacturerName":["SALUS"]`), entryFor(8, `,"manufacturerName":["Salus Controls"]`)}, device(func(d *library.Device) { d.ManufacturerName = "Computime" }), "folder 20", ""},

		{"several products", file, []string{entryFor(9, `,"manufacturerName":["Maker"]`), entryFor(8, `,"manufacturerName":["Other"]`)}, device(), "folder 20", "those of several products, as https://example.com/index.json lists them"},
		{"several models", file, []string{entryFor(9, `,"modelId":"Lamp"`), entryFor(8, "")}, device(), "folder 20", "those of several products"},
		{"another product", file, []string{entryFor(9, `,"modelId":"Plug"`)}, device(), "folder 20", "those of several products"},
		{"several products, and an index has an update", file, []string{entryFor(15, `,"manufacturerName":["Maker"]`), entryFor(8, `,"manufacturerName":["Other"]`)}, device(), "index 15", ""},
		{"the same file for this product", file, []string{same(`,"modelId":"Plug"`), same(`,"modelId":"Lamp","releaseNotes":"brighter"`), entryFor(9, `,"modelId":"Socket"`)}, device(), "folder 20", ""},
		{"the same file for others", file, []string{same(`,"modelId":"Plug"`), same(`,"modelId":"Socket"`)}, device(), `from a.ota is for the model "Plug", not "Lamp"`, ""},
		{"the same file, a step of the chain", file, []string{same(`,"minFileVersion":12`)}, device(), "may only follow on file versions from 0x0000000C, not 0x0000000A", ""},

		{"a step of the chain is missing", file, []string{entryFor(15, `,"minFileVersion":12`), entryFor(12, `,"maxFileVersion":11`)}, device(), "index 12", ""},
		{"the step was taken", file, []string{entryFor(15, `,"minFileVersion":9`), entryFor(9, `,"maxFileVersion":8`)}, device(), "folder 20", ""},
		{"a chain that begins later", file, []string{entryFor(25, `,"minFileVersion":22`)}, device(), "folder 20", ""},
		{"the chain of another product", file, []string{entryFor(15, `,"minFileVersion":12,"modelId":"Plug"`)}, device(), "folder 20", "those of several products"},
		{"a chain, and the version is not known", file, []string{entryFor(15, `,"minFileVersion":9`)}, device(func(d *library.Device) { d.CurrentVersion = nil }), "the running one is not known", ""},

		{"hardware inside", limited, nil, device(), "folder 20", ""},
		{"hardware outside", limited, nil, device(func(d *library.Device) { d.HardwareVersion = ptr(uint16(9)) }), "is for hardware versions from 2 to 4, not 9", ""},
		{"hardware that was not heard", limited, nil, device(none), "folder 20", "for hardware versions from 2 to 4, and the device has not said yet which hardware version it has"},
		{"no hardware version", limited, nil, device(heard), "folder 20", ""},
		{"hardware limits of an index for the same file, not heard", file, []string{same(`,"hardwareVersionMin":1`)}, device(none), "folder 20", "for hardware versions from 1"},
		{"hardware limits of an index for the same file, and none", file, []string{same(`,"hardwareVersionMin":1`)}, device(heard), "the device reports none", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, c.file, dir, "a.ota")
			s := &site{files: map[string][]byte{indexURL: list(c.entries...)}}
			inCatalog(t, dir, library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				pass(settle)
				best, ok := k.Best(c.device)
				err := k.Explain(c.device)
				got := fmt.Sprintf("%s %d", best.Source, best.FileVersion)
				if !ok {
					got = fmt.Sprint(err)
				}
				if !strings.Contains(got, c.want) || ok != (err == nil) {
					t.Errorf("%s, %v, want %s", got, err, c.want)
				}
				if !strings.Contains(best.Caution, c.caution) || (c.caution == "") != (best.Caution == "") {
					t.Errorf("caution %q, want %q", best.Caution, c.caution)
				}
			})
		})
	}
}

// A version that both have is taken from where nothing speaks against it.
func TestAllPutsCautionLast(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, versioned(20, 1), dir, "a.ota")
	s := &site{files: map[string][]byte{indexURL: list(entryFor(20, `,"modelId":"Lamp"`), entryFor(9, `,"modelId":"Plug"`))}}
	inCatalog(t, dir, library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		pass(settle)
		checkVersions(t, k, 20)
		if c := k.All(device())[0]; c.Source != library.SourceIndex || c.Caution != "" {
			t.Errorf("%+v", c)
		}
	})
}

// Every image that nearly fits says what is missing.
func TestWhyNot(t *testing.T) {
	dir := t.TempDir()
	limited := headed(1, func(h *otafile.Header) {
		h.FileVersion, h.MinHardwareVersion, h.MaxHardwareVersion = 30, ptr(uint16(7)), ptr(uint16(9))
	})
	writeFile(t, limited, dir, "a.ota")
	index := list(
		entryFor(20, ""), entryFor(21, `,"modelId":"Plug"`), entryFor(22, `,"manufacturerName":["Other"]`), entryFor(23, `,"hardwareVersionMax":2`),
		entryFor(24, `,"minFileVersion":11`), `{"fileVersion":9,"imageType":67,"manufacturerCode":4660,"url":"x"}`,
	)
	s := &site{files: map[string][]byte{indexURL: index}}
	inCatalog(t, dir, library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{indexURL}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
		pass(settle)
		var got []string
		for _, m := range k.WhyNot(device()) {
			got = append(got, m.String())
		}
		slices.Sort(got)
		want := []string{
			`file version 0x00000015 from https://example.com/index.json is for the model "Plug", not "Lamp"`,
			`file version 0x00000016 from https://example.com/index.json is for devices of the manufacturer "Other", not "Maker"`,
			`file version 0x00000017 from https://example.com/index.json is for hardware versions up to 2, not 3`,
			`file version 0x00000018 from https://example.com/index.json may only follow on file versions from 0x0000000B, not 0x0000000A`,
			`file version 0x0000001E from a.ota is for hardware versions from 7 to 9, not 3`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if err := k.Explain(device()); err != nil {
			t.Errorf("something fits, but: %v", err)
		}
		s.set(func() { s.files[indexURL] = []byte("[" + strings.TrimPrefix(string(index), "["+entryFor(20, "")+",")) })
		pass(27 * time.Hour)
		checkError(t, k.Explain(device()), library.ErrNoMatch, `from a.ota is for hardware versions`, `; and 2 more do not fit either`)
	})
}
