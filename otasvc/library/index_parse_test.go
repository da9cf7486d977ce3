package library_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

const (
	someSHA512 = "7b1c6733fbf0f081e5e4ebb946616d88ccd482790a5365d0cfa9c2d050a6dddef56291bb749a33c903c57944782d69100562614755202e3be013eaf58ed70e38"
	someSHA3   = "901d7b98b3448df06ba0e87465b9140d80e0ef41cdb2c1880c9788a562bcfefd"
)

// zigbee2mqtt is an entry as Zigbee2MQTT's index has them, with more, in JSON, at its end.
func zigbee2mqtt(more string) string {
	return `{"fileName":"lamp.ota","fileVersion":22,"fileSize":173726,"url":"https://example.com/images/lamp.ota","imageType":66,"manufacturerCode":4660,"sha512":"` +
		someSHA512 + `","otaHeaderString":"Lamp\u0000\ufffd firmware "` + more + `}`
}

// zigpy is an entry as zigpy's indexes have them.
func zigpy(more string) string {
	return `{"binary_url":"https://example.com/images/lamp.ota","file_version":22,"file_size":173726,"image_type":66,"manufacturer_id":4660,"checksum":"sha3-256:` +
		someSHA3 + `"` + more + `}`
}

func TestParseIndex(t *testing.T) {
	entry := func(change ...func(*library.Candidate)) library.Candidate {
		c := library.Candidate{
			Source: library.SourceIndex, Origin: "https://example.com/ota/index.json", ManufacturerCode: 0x1234, ImageType: 0x42, FileVersion: 22,
			Size: 173726, URL: "https://example.com/images/lamp.ota",
		}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	titled := func(c *library.Candidate) { c.Title = "Lamp firmware" }
	notes := func(text string) func(*library.Candidate) {
		return func(c *library.Candidate) { c.ReleaseNotes = text }
	}
	at := func(url string) func(*library.Candidate) {
		return func(c *library.Candidate) { c.URL = url }
	}
	for _, c := range []struct {
		name, index string
		format      string
		want        []library.Candidate
		problem     string // of the one entry that was skipped; empty: none was
	}{
		{"Zigbee2MQTT", "[" + zigbee2mqtt("") + "]", "Zigbee2MQTT", []library.Candidate{entry(titled)}, ""},
		{"byte order mark", "\xEF\xBB\xBF[" + zigbee2mqtt("") + "]", "Zigbee2MQTT", []library.Candidate{entry(titled)}, ""},
		{"all of Zigbee2MQTT's fields", "[" + zigbee2mqtt(`,"originalUrl":"http://vendor/x","modelId":"Lamp","releaseNotes":"better light","manufacturerName":["Maker","Other"],
			"hardwareVersionMin":1,"hardwareVersionMax":2,"minFileVersion":3,"maxFileVersion":4,"force":true,"new":{"things":[1]}`) + "]", "Zigbee2MQTT",
			[]library.Candidate{entry(titled, notes("better light"), models("Lamp"), makers("Maker", "Other"), hardware(1, 2), after(3, 4))}, ""},
		{"nulls are nothing", "[" + zigbee2mqtt(`,"modelId":null,"manufacturerName":null,"hardwareVersionMin":null,"minFileVersion":null,"releaseNotes":null`) + "]", "Zigbee2MQTT", []library.Candidate{entry(titled)}, ""},
		{"several models", "[" + zigbee2mqtt(`,"modelId":["Lamp","","Plug"]`) + "]", "Zigbee2MQTT", []library.Candidate{entry(titled, models("Lamp", "Plug"))}, ""},
		{"one manufacturer", "[" + zigbee2mqtt(`,"manufacturerName":"Maker"`) + "]", "Zigbee2MQTT", []library.Candidate{entry(titled, makers("Maker"))}, ""},
		{"a name of nothing", "[" + zigbee2mqtt(`,"modelId":""`) + "]", "Zigbee2MQTT", []library.Candidate{entry(titled)}, ""},
		{"zeros are values", `[{"fileVersion":0,"imageType":0,"manufacturerCode":0,"url":"https://example.com/images/lamp.ota","minFileVersion":0,"maxFileVersion":0,"hardwareVersionMin":0}]`,
			"Zigbee2MQTT", []library.Candidate{entry(kindOf(0, 0), after(0, 0), hardware(0, -1), func(c *library.Candidate) { c.FileVersion, c.Size = 0, 0 })}, ""},
		{"relative URL", `[{"fileVersion":22,"fileSize":173726,"imageType":66,"manufacturerCode":4660,"url":"../images/a%20b.ota"}]`, "Zigbee2MQTT",
			[]library.Candidate{entry(at("https://example.com/images/a%20b.ota"))}, ""},
		{"URL with a password", `[{"fileVersion":22,"fileSize":173726,"imageType":66,"manufacturerCode":4660,"url":"https://me:secret@example.com/lamp.ota?q=1#x"}]`, "Zigbee2MQTT",
			[]library.Candidate{entry(at("https://example.com/lamp.ota"))}, ""},
		{"empty", "[]", "Zigbee2MQTT", nil, ""},
		{"keys twice: the last one counts", "[" + zigbee2mqtt(`,"fileVersion":23,"fileVersion":24`) + "]", "Zigbee2MQTT", []library.Candidate{entry(titled, func(c *library.Candidate) { c.FileVersion = 24 })}, ""},

		{"zigpy", `{"firmwares":[` + zigpy("") + "]}", "zigpy", []library.Candidate{entry()}, ""},
		{"zigpy, among other things", ` {"$schema":{"firmwares":[1]},"version":[[]],"firmwares":[` + zigpy("") + `],"firmwares":[]}`, "zigpy", []library.Candidate{entry()}, ""},
		{"all of zigpy's fields", `{"firmwares":[` + zigpy(`,"manufacturer_names":["Maker"],"model_names":["Lamp","Plug"],"changelog":"short","release_notes":"better light",
			"min_hardware_version":1,"max_hardware_version":2,"min_current_file_version":3,"max_current_file_version":4,"specificity":-5`) + "]}", "zigpy",
			[]library.Candidate{entry(notes("better light"), models("Lamp", "Plug"), makers("Maker"), hardware(1, 2), after(3, 4), specific(-5))}, ""},
		{"change log instead of notes", `{"firmwares":[` + zigpy(`,"changelog":"short"`) + "]}", "zigpy", []library.Candidate{entry(notes("short"))}, ""},
		{"path relative to the index", `{"firmwares":[{"path":"new images/50%.ota","file_version":22,"file_size":173726,"image_type":66,"manufacturer_id":4660,"checksum":"sha3-256:` + someSHA3 + `"}]}`, "zigpy",
			[]library.Candidate{entry(at("https://example.com/ota/new%20images/50%25.ota"))}, ""},
		{"a URL comes before a path", `{"firmwares":[` + zigpy(`,"path":"x.ota"`) + "]}", "zigpy", []library.Candidate{entry()}, ""},
		{"no firmware", `{"firmwares":[]}`, "zigpy", nil, ""},

		{"no manufacturer code", "[" + zigbee2mqtt("") + `,{"fileVersion":1,"imageType":1,"url":"http://x/"}]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "entry 2: it has no manufacturer code"},
		{"no image type", `[{"fileVersion":1,"manufacturerCode":1,"url":"http://x/"},` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "entry 1: it has no image type"},
		{"no version", `[{"imageType":1,"manufacturerCode":1,"url":"http://x/"},` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "it has no file version"},
		{"no URL", `[{"fileVersion":1,"imageType":1,"manufacturerCode":1},` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "it has no URL"},
		{"version as a text", `[` + zigbee2mqtt(`,"fileVersion":"22"`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "its fileVersion must not be a string"},
		{"negative version", `[` + zigbee2mqtt(`,"fileVersion":-1`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "its fileVersion must not be a number -1"},
		{"version with too many bits", `[` + zigbee2mqtt(`,"fileVersion":4294967296`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "its fileVersion must not be a number 4294967296"},
		{"fraction of a version", `[` + zigbee2mqtt(`,"fileVersion":1.5`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "its fileVersion must not be a number 1.5"},
		{"code with too many bits", `[` + zigbee2mqtt(`,"manufacturerCode":65536`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "its manufacturerCode must not be a number 65536"},
		{"limit that is none", `[` + zigbee2mqtt(`,"hardwareVersionMax":true`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "its hardwareVersionMax must not be a bool"},
		{"names that are none", `[` + zigbee2mqtt(`,"manufacturerName":[1]`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "lists of names"},
		{"too many names", `[` + zigbee2mqtt(`,"manufacturerName":[`+strings.Repeat(`"x",`, 256)+`"x"]`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "more than 256 names"},
		{"digest of another length", `[` + zigbee2mqtt(`,"sha512":"abcd"`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "SHA-512 of the download must be 128 hex digits"},
		{"digest that is none", `[` + zigbee2mqtt(`,"sha512":"`+strings.Repeat("x", 128)+`"`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "must be 128 hex digits"},
		{"unknown digest", `{"firmwares":[` + zigpy(`,"checksum":"crc32:00000000"`) + "," + zigpy("") + "]}", "zigpy", []library.Candidate{entry()}, `unknown kind "crc32"`},
		{"no object", `[1,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "entry 1: it is no object"},
		{"huge entry", `[` + zigbee2mqtt(`,"x":"`+strings.Repeat("x", 1<<16)+`"`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "at most 65536 are read"},
		{"another scheme", `[` + zigbee2mqtt(`,"url":"ftp://example.com/x"`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, `but "ftp"`},
		{"a file, from elsewhere", `[` + zigbee2mqtt(`,"url":"file:///etc/passwd"`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, `but "file"`},
		{"malformed URL", `[` + zigbee2mqtt(`,"url":"https://me:secret@[::1/x"`) + `,` + zigbee2mqtt("") + `]`, "Zigbee2MQTT", []library.Candidate{entry(titled)}, "its URL is malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			index, err := library.ParseIndex([]byte(c.index), "https://user:secret@example.com/ota/index.json?token=secret")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, index.Entries, cmpopts.IgnoreUnexported(library.Candidate{}), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("entries (-want +got):\n%s", d)
			}
			if index.Format != c.format || !strings.Contains(index.Problem, c.problem) || (c.problem == "") != (index.Problem == "") || (c.problem != "") != (index.Skipped == 1) {
				t.Errorf("format %q, skipped %d: %q", index.Format, index.Skipped, index.Problem)
			}
			if text := fmt.Sprintf("%+v", index.Problem); strings.Contains(text, "secret") {
				t.Error("it shows a secret")
			}
		})
	}
}

func TestParseIndexRefuses(t *testing.T) {
	for _, c := range []struct{ name, index, says string }{
		{"nothing", "", "cut short"},
		{"a web page", "<!doctype html><title>Sign in</title>", "invalid character '<'"},
		{"null", "null", "neither an array nor an object"},
		{"a number", "1", "neither an array nor an object"},
		{"a text", `"index"`, "neither an array nor an object"},
		{"another object", `{"versions":[]}`, `an object without "firmwares"`},
		{"empty object", `{}`, `an object without "firmwares"`},
		{"firmwares that are none", `{"firmwares":{}}`, `its "firmwares" is no array`},
		{"cut in an entry", "[" + zigbee2mqtt("")[:100], "cut short"},
		{"cut between entries", "[" + zigbee2mqtt("") + ",", "entry 2"},
		{"cut behind an entry", "[" + zigbee2mqtt(""), "cut short"},
		{"cut before the firmwares", `{"a":1,"b":`, "cut short"},
		{"garbage behind an entry", "[" + zigbee2mqtt("") + " x", "entry 2"},
		{"nothing that can be used", `[{},{"fileVersion":1}]`, "none of its 2 entries can be used; entry 1: it has no manufacturer code"},
		{"deep", strings.Repeat("[", 1<<20), "max depth"},
		{"deep in an entry", `[{"x":` + strings.Repeat(`{"x":`, 1<<18), "max depth"},
		{"deep beside the firmwares", `{"x":` + strings.Repeat("[", 1<<20), "max depth"},
		{"endless entries", "[" + strings.Repeat("1,", 60_000) + "1]", "more than 50000 entries"},
		{"huge", "[" + strings.Repeat(" ", 33<<20) + "]", "more than 33554432 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			index, err := library.ParseIndex([]byte(c.index), "https://example.com/index.json")
			checkError(t, err, library.ErrIndex, c.says)
			if index != nil {
				t.Errorf("%+v", index)
			}
		})
	}
	for location, says := range map[string]string{
		"": "neither the URL nor the path", "ftp://example.com/index.json": `not "ftp"`, "https:///index.json": "no host", "https://me:secret@[::1/": "must begin with",
	} {
		if _, err := library.ParseIndex([]byte("[]"), location); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", location, err)
		}
	}
}

// Where the images of an index are that is a file.
func TestParseLocalIndex(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ name, ref, url, problem string }{
		{"relative path", `"path":"images/lamp.ota"`, "file://" + dir + "/images/lamp.ota", ""},
		{"relative URL", `"url":"images/50% new.ota"`, "file://" + dir + "/images/50%25%20new.ota", ""},
		{"a path comes before a URL", `"url":"https://example.com/lamp.ota","path":"lamp.ota"`, "file://" + dir + "/lamp.ota", ""},
		{"URL", `"url":"https://example.com/lamp.ota"`, "https://example.com/lamp.ota", ""},
		{"absolute path inside", `"path":"` + dir + `/lamp.ota"`, "file://" + dir + "/lamp.ota", ""},
		{"file URL inside", `"url":"file://` + dir + `/lamp.ota"`, "file://" + dir + "/lamp.ota", ""},
		{"absolute path elsewhere, which the policy decides on", `"path":"/elsewhere/lamp.ota"`, "file:///elsewhere/lamp.ota", ""},
		{"dots that stay inside", `"path":"x/../lamp.ota"`, "file://" + dir + "/lamp.ota", ""},
		{"dots that lead out", `"path":"../lamp.ota"`, "", "leads out of the folder"},
		{"another host", `"url":"file://server/lamp.ota"`, "", "neither http"},
		{"another scheme", `"url":"ftp://server/lamp.ota"`, "", "neither http"},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := `[{"fileVersion":1,"imageType":1,"manufacturerCode":1,` + c.ref + `},{"fileVersion":1,"imageType":1,"manufacturerCode":1,"url":"http://last/"}]`
			index, err := library.ParseIndex([]byte(content), filepath.Join(dir, "index.json"))
			if err != nil {
				t.Fatal(err)
			}
			got := index.Entries[0].URL
			if c.problem != "" {
				got = ""
			}
			if got != c.url || !strings.Contains(index.Problem, c.problem) || (c.problem == "") != (index.Problem == "") {
				t.Errorf("%q, %q", got, index.Problem)
			}
		})
	}
}

func TestLongNotesAreShortened(t *testing.T) {
	notes := strings.Repeat("ä", 5000)
	index, err := library.ParseIndex([]byte(`{"firmwares":[`+zigpy(`,"release_notes":"`+notes+`"`)+"]}"), "index.json")
	if err != nil {
		t.Fatal(err)
	}
	got := index.Entries[0].ReleaseNotes
	if len(got) > 4096 || len(got) < 4090 || !strings.HasSuffix(got, "ä…") {
		t.Errorf("%d bytes, ending %q", len(got), got[len(got)-10:])
	}
}

// Whatever is in an index, reading it ends, and what comes out can be matched.
func FuzzParseIndex(f *testing.F) {
	f.Add([]byte("[" + zigbee2mqtt("") + "]"))
	f.Add([]byte("[" + zigbee2mqtt(`,"modelId":"Lamp","manufacturerName":["Maker"],"hardwareVersionMin":1,"maxFileVersion":9,"releaseNotes":"x"`) + ",1]"))
	f.Add([]byte(`{"a":[],"firmwares":[` + zigpy(`,"path":"x","specificity":7,"model_names":["Lamp"]`) + "]}"))
	f.Add([]byte(`[[[[{"url":"//x"}]]]]`))
	f.Add([]byte(`[{"url":"x"},{"path":"a/b.ota","fileVersion":1}]`))
	f.Add([]byte(`[{"fw_type":2,"fw_image_type":66,"fw_manufacturer_id":4660,"fw_binary_url":"https://x/y_v1_z.ota"},{"fw_type":3}]`))
	f.Add([]byte(`[{"fw_binary_url":"https://x/y.ota","fw_file_version":1,"fw_manufacturer_id":4660,"fw_image_type":66,"model_id":"Lamp"}]`))
	f.Add([]byte(`{"firmwares":[{"identity":{"company":4660,"product":66,"version":{"major":1}},"fullName":"Lamp/00000001/x.ota","productName":"Lamp"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, location := range []string{"https://example.com/ota/index.json", "/ota/index.json"} {
			index, err := library.ParseIndex(content, location)
			if err != nil {
				if index != nil {
					t.Error("an index and an error")
				}
				continue
			}
			for _, c := range index.Entries {
				if c.URL == "" || c.Source != library.SourceIndex || c.Key() == "" {
					t.Errorf("%+v", c)
				}
			}
			if index.Format == "" || (index.Skipped > 0) != (index.Problem != "") {
				t.Errorf("%+v", index)
			}
			m := library.NewMatcher(index.Entries)
			if best, err := m.Match(device()); err == nil && (best.ManufacturerCode != 0x1234 || best.ImageType != 0x42 || len(m.All(device())) == 0) {
				t.Errorf("%+v", best)
			}
		}
	})
}

// An index ten times as large as the largest public one.
func BenchmarkParseIndex(b *testing.B) {
	content := []byte("[" + strings.Repeat(zigbee2mqtt(`,"modelId":"Lamp","manufacturerName":["Maker"],"minFileVersion":1`)+",", 9999) + zigbee2mqtt("") + "]")
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		if index, err := library.ParseIndex(content, "https://example.com/index.json"); err != nil || len(index.Entries) != 10_000 {
			b.Fatal(err)
		}
	}
}
