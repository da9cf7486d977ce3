package registry_test

import (
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
)

func TestValidName(t *testing.T) {
	for _, name := range []string{
		"Hall", "12345678", "ü", "0xfffff", "a b", " Hall", "\u00a0Hall\u2003", "allotment", "💡", "❤️", "玄関",
		strings.Repeat("ü", 64),
	} {
		if why := registry.ValidName(name); why != "" {
			t.Errorf("%q %s", name, why)
		}
	}
	for name, want := range map[string]string{
		"":                       "1 to 64 characters",
		strings.Repeat("x", 65):  "1 to 64 characters",
		" \u00a0\u3000":          "no blank",
		"all":                    "all",
		" ALL":                   "all",
		"20303":                  "network address",
		"20 303":                 "network address",
		"0x4f4f":                 "network address",
		"0X4F4F ":                "network address",
		"000B57FFFEC6A5B2":       "euid",
		"000B57 FFFE C6A5B2":     "euid",
		"a\x00":                  "character 2 is U+0000",
		"a\nb":                   "character 2 is U+000A",
		"ü\tb":                   "character 2 is U+0009",
		"\u0085":                 "U+0085",
		"\u202egnp.exe":          "character 1 is U+202E",
		"a\u200bb":               "U+200B",
		"a\ufeff":                "U+FEFF",
		"a\u00adb":               "U+00AD",
		"a\u2028b":               "U+2028",
		"a\u2029b":               "U+2029",
		"a\ue000":                "U+E000",
		"a\U000f0000":            "U+F0000",
		"a\U000e0041":            "U+E0041",
		"a\ufffd":                "U+FFFD",
		"a\xff":                  "U+FFFD",
		string(make([]byte, 65)): "1 to 64 characters",
	} {
		if why := registry.ValidName(name); !strings.Contains(why, want) || why == "" {
			t.Errorf("%q: %q, want a sentence with %q", name, why, want)
		}
	}
}

func TestRename(t *testing.T) {
	devices := registry.NewDevices()
	first, _ := devices.Meet(bulb)
	second, _ := devices.Meet(socket)
	if err := devices.Rename(first, "Hall"); err != nil {
		t.Fatal(err)
	}
	if err := devices.Rename(first, "Hall"); err != nil {
		t.Errorf("its own name: %v", err)
	}
	if err := devices.Rename(second, "Hall"); err == nil || second.Name() == "Hall" {
		t.Error("two devices have one name")
	}
	if err := devices.Rename(first, "Attic"); err != nil {
		t.Fatal(err)
	}
	if err := devices.Rename(second, "Hall"); err != nil {
		t.Errorf("a name that is free again: %v", err)
	}
	devices.Forget(second)
	if devices.Find(registry.ParseRef("Hall")) != nil {
		t.Error("the name of a forgotten device finds it")
	}
}

// Names are unique whatever their case and blanks, and such a name finds its device.
func TestNamesAlike(t *testing.T) {
	for _, alike := range [][]string{
		{"Kitchen bulb", "kitchen bulb", "KITCHEN BULB", "Kitchen  bulb", " Kitchen bulb", "Kitchen bulb ",
			"Kitchen\u00a0bulb", "Kitchenbulb", "Kit chen\u3000bulb"},
		{"Straße", "STRASSE", "strasse"},
		{"ΟΔΟΣ", "οδος", "οδοσ"},
		{"Küche", "KÜCHE", "Ku\u0308che"},
	} {
		for _, given := range alike {
			devices := registry.NewDevices()
			first, _ := devices.Meet(bulb)
			second, _ := devices.Meet(socket)
			if err := devices.Rename(first, given); err != nil {
				t.Fatal(err)
			}
			for _, name := range alike {
				if devices.Find(registry.ParseRef(name)) != first {
					t.Errorf("%q does not find %q", name, given)
				}
				if err := devices.Rename(second, name); err == nil {
					t.Errorf("%q is given though there is %q", name, given)
				}
			}
			for _, name := range alike {
				if err := devices.Rename(first, name); err != nil || first.Name() != name {
					t.Errorf("its own name in other letters: %q, %v", first.Name(), err)
				}
			}
		}
	}
}

// A state file from before the rule may have names that are alike. They stay, and each finds its device; what is
// alike to both and neither of the two finds none.
func TestNamesAlikeKept(t *testing.T) {
	devices := registry.NewDevices()
	first := devices.Restore(registry.Facts{EUID: bulb, GivenName: "Hall"}, now)
	second := devices.Restore(registry.Facts{EUID: socket, GivenName: "hall\n"}, now)
	for name, want := range map[string]*registry.Device{"Hall": first, "hall\n": second, "HALL": nil} {
		if got := devices.Find(registry.ParseRef(name)); got != want {
			t.Errorf("%q finds %v", name, got)
		}
	}
	if first.Name() != "Hall" || second.Name() != "hall\n" {
		t.Errorf("the names are %q and %q", first.Name(), second.Name())
	}

	if err := devices.Rename(second, "Attic"); err != nil {
		t.Fatal(err)
	}
	if devices.Find(registry.ParseRef("HALL")) != first {
		t.Error("the name is not the other device's alone")
	}
	devices.Forget(first)
	if devices.Find(registry.ParseRef("Hall")) != nil {
		t.Error("the name of a forgotten device finds it")
	}
}
