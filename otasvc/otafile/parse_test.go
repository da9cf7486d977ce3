package otafile_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// containers are inputs that all hold the same image.
func containers(t testing.TB, image []byte) []containerCase {
	crc := []byte{0xDE, 0xAD, 0xBE, 0xEF}
	inner := "SomeName_v6.ota"
	return []containerCase{
		{"bare", image, "", 0, 0},
		{"bare, trailing bytes", join(image, crc), "", 4, 0},
		{"IKEA signed", ikea(image), "IKEA signed", 0, 0},
		{"IKEA signed, trailing bytes", join(ikea(image), crc), "IKEA signed", 4, 0},
		{"IKEA signed, signature cut", ikea(image)[:len(ikea(image))-500], "IKEA signed", 0, 1},
		{"Legrand", legrand(image), "Legrand", 0, 0},
		{"ThirdReality", thirdReality(image), "ThirdReality", 0, 0},
		{"ThirdReality, trailing bytes", join(thirdReality(image), crc), "ThirdReality", 4, 0},
		{"Salus tar", tarOf(t, salusInfo(inner, image), archived{inner, image}), "Salus tar", 0, 0},
		{"Salus tar, image first, in a folder", tarOf(t, archived{"x/" + inner, image}, salusInfo(inner, image)), "Salus tar", 0, 0},
		{"Salus gzipped tar", gzipOf(t, tarOf(t, salusInfo(inner, image), archived{inner, image})), "Salus gzipped tar", 0, 0},
		{"Salus tar with a trailer in the file", tarOf(t, salusInfo(inner, join(image, crc)), archived{inner, join(image, crc)}), "Salus tar", 4, 0},
		{"Salus tar that names another file", tarOf(t, salusInfo("other.ota", image), archived{inner, image}), "Salus tar", 0, 1},
		{"Salus tar with two images, one named", tarOf(t, archived{"other.ota", testImage(9)}, salusInfo(inner, image), archived{inner, image}), "Salus tar", 0, 0},
		{"Salus tar with a broken networkinfo.json", tarOf(t, archived{"networkinfo.json", []byte("{")}, archived{inner, image}), "Salus tar", 0, 1},
		{"Salus tar that names it in another way", tarOf(t, archived{"networkinfo.json", fmt.Appendf(nil, `{"a":[{"md5":"%x","path":"fw\\\\%s","n":1}]}`, md5.Sum(image), inner)}, archived{inner, image}), "Salus tar", 0, 0},
		{"Salus tar that names it in a third way", tarOf(t, archived{"networkinfo.json", fmt.Appendf(nil, `{"x":{"%s":"%x"}}`, inner, md5.Sum(image))}, archived{inner, image}), "Salus tar", 0, 0},
		{"tar", tarOf(t, archived{"readme", []byte("hello")}, archived{inner, image}), "tar", 0, 0},
		{"tar, the same image twice", tarOf(t, archived{"a", image}, archived{"b", image}), "tar", 0, 0},
		{"gzip", gzipOf(t, image), "gzip", 0, 0},
		{"gzipped unknown container", gzipOf(t, join([]byte("VENDOR"), image)), "unknown container in gzip", 0, 1},
		{"gzip in three streams", join(gzipOf(t, image[:100]), gzipOf(t, nil), gzipOf(t, image[100:])), "gzip", 0, 0},
		{"gzip in two streams, garbage behind", join(gzipOf(t, image[:100]), gzipOf(t, image[100:]), crc), "gzip", 0, 0},
		{"gzip, garbage behind", join(gzipOf(t, image), crc), "gzip", 0, 0},
		{"driver package", zipOf(t, archived{"driver.xml", []byte("<devicedata/>")}, archived{"driver.lua", nil}, archived{"www/image.zigbee", image}), "driver package (c4z)", 0, 0},
		{"driver package, another image elsewhere", zipOf(t, archived{"old/image.zigbee", testImage(9)}, archived{"www/image.zigbee", image}), "driver package (c4z)", 0, 0},
		{"zip", zipOf(t, archived{"image.zigbee", image}), "zip", 0, 0},
		{"IKEA signed in a zip", zipOf(t, archived{"image.ota.signed", ikea(image)}), "IKEA signed in zip", 0, 0},
		{"Legrand in a zip", zipOf(t, archived{"image.fw", legrand(image)}), "Legrand in zip", 0, 0},
		{"gzipped tar in a driver package", zipOf(t, archived{"www/i.tar.gz", gzipOf(t, tarOf(t, archived{inner, image}))}), "gzipped tar in driver package (c4z)", 0, 0},
		{"unknown container", join([]byte("VENDOR"), image, crc), "unknown container", 4, 1},
		{"unknown container, implausible magics before", join([]byte{0x1E, 0xF1, 0xEE, 0x1E, 0xF1, 0xEE, 0x0B, 0x00, 0x03}, make([]byte, 80), image), "unknown container", 0, 1},
	}
}

type containerCase struct {
	name     string
	bytes    []byte
	wrapper  string
	trailing int
	warnings int
}

func TestParseContainers(t *testing.T) {
	image := testImage(40_000)
	for _, c := range containers(t, image) {
		t.Run(c.name, func(t *testing.T) {
			before := bytes.Clone(c.bytes)
			f, err := otafile.Parse(c.bytes)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(f.Image, image) {
				t.Errorf("the image is not what was put in")
			}
			if f.Wrapper != c.wrapper || f.Trailing != c.trailing || len(f.Warnings) != c.warnings {
				t.Errorf("wrapper %q, %d trailing, warnings %q; want %q, %d, %d warnings", f.Wrapper, f.Trailing, f.Warnings, c.wrapper, c.trailing, c.warnings)
			}
			want := []otafile.Element{{Tag: 0, Offset: 62, Length: 40_000}}
			if d := cmp.Diff(want, f.Elements); d != "" {
				t.Errorf("elements (-want +got):\n%s", d)
			}
			for _, check := range f.Verify() {
				if check.Status == otafile.Failed {
					t.Error(check)
				}
			}
			if !bytes.Equal(c.bytes, before) {
				t.Errorf("the input was changed")
			}
		})
	}
}

func TestParseTakesTheHeaderAtTheStartAndNotOneInside(t *testing.T) {
	inner := testImage(100)
	h := testHeader()
	h.ImageType = 0x0777
	f, err := otafile.Parse(otafile.Build(h, join([]byte{0, 0x20, 0, 0}, inner, inner)))
	if err != nil {
		t.Fatal(err)
	}
	if f.Header.ImageType != 0x0777 || f.Wrapper != "" {
		t.Errorf("image type %#x, wrapper %q", f.Header.ImageType, f.Wrapper)
	}
}

func TestParseElements(t *testing.T) {
	h := testHeader()
	longHeader := h
	longHeader.HeaderVersion, longHeader.HeaderLength, longHeader.TotalSize = 0x0100, 64, 64+6+3
	for _, c := range []struct {
		name     string
		bytes    []byte
		elements []otafile.Element
		warning  string // part of the only one; empty for none
	}{
		{"one", raw(h, element(0, pattern(5))), []otafile.Element{{0, 62, 5}}, ""},
		{"none at all", raw(h), nil, ""},
		{"empty element", raw(h, element(0, nil)), []otafile.Element{{0, 62, 0}}, ""},
		{"image, signature, certificate, integrity code", raw(h, element(0, pattern(5)), element(1, pattern(50)), element(2, pattern(48)), element(3, pattern(16))),
			[]otafile.Element{{0, 62, 5}, {1, 73, 50}, {2, 129, 48}, {3, 183, 16}}, ""},
		{"manufacturer's first", raw(h, element(0xF7BD, pattern(4)), element(0, pattern(5))), []otafile.Element{{0xF7BD, 62, 4}, {0, 72, 5}}, ""},
		{"image twice", raw(h, element(0, pattern(4)), element(0, pattern(5))), []otafile.Element{{0, 62, 4}, {0, 72, 5}}, ""},
		{"no image", raw(h, element(0xF000, pattern(4)), element(0xF001, pattern(5))), []otafile.Element{{0xF000, 62, 4}, {0xF001, 72, 5}}, ""},
		{"0xF000 framed normally", raw(h, element(0xF000, pattern(4))), []otafile.Element{{0xF000, 62, 4}}, ""},
		{"0xF000 with two bytes that its length does not count", raw(h, le16(0xF000), le32(4), []byte{0x01, 0x0C}, pattern(4)), []otafile.Element{{0xF000, 64, 4}}, ""},
		{"the same, but not first", raw(h, element(0, pattern(4)), le16(0xF000), le32(4), []byte{0x01, 0x0C}, pattern(4)),
			[]otafile.Element{{0, 62, 4}, {0xF000, 72, 4}}, "2 bytes are left at offset 76"},
		{"header longer than its fields", join(longHeader.Append(nil), pattern(8), element(0, pattern(3))), []otafile.Element{{0, 70, 3}}, "8 bytes longer"},
		{"longer than what is left", raw(h, element(0, pattern(4)), le16(5), le32(81), pattern(80)), []otafile.Element{{0, 62, 4}},
			"tag 0x0005 at offset 66 says 81 bytes, 80 are left"},
		{"length at the limit", raw(h, le16(0), le32(0xFFFFFFFF), pattern(80)), nil, "says 4294967295 bytes, 80 are left"},
		{"0xF000 with a length that wraps around", raw(h, le16(0xF000), le32(0xFFFFFFFE)), nil, "says 4294967294 bytes, 0 are left"},
		{"five bytes left", raw(h, element(0, pattern(4)), pattern(5)), []otafile.Element{{0, 62, 4}}, "5 bytes are left at offset 66"},
		{"Hue light", raw(h, []byte{0x2A, 0x00, 0x01}, pattern(100)), nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := otafile.Parse(c.bytes)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.elements, f.Elements); d != "" {
				t.Errorf("elements (-want +got):\n%s", d)
			}
			if c.warning == "" && len(f.Warnings) != 0 || c.warning != "" && (len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], c.warning)) {
				t.Errorf("warnings %q, want %q", f.Warnings, c.warning)
			}
			if !bytes.Equal(f.Image, c.bytes) {
				t.Error("the image is not the file")
			}
		})
	}
}

func TestParseNamesHueLights(t *testing.T) {
	f, err := otafile.Parse(raw(testHeader(), []byte{0x2A, 0x00, 0x01}, pattern(100)))
	if err != nil {
		t.Fatal(err)
	}
	if f.Wrapper != "Hue sbl-ota" {
		t.Errorf("wrapper %q", f.Wrapper)
	}
}

func TestParseWarnings(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h *otafile.Header)
		says   string
	}{
		{"Thread", func(h *otafile.Header) { h.HeaderVersion = otafile.HeaderVersionThread }, "Thread"},
		{"unknown field control", func(h *otafile.Header) { h.FieldControl = 0x0010 }, "field control 0x0010"},
		{"no hardware fits", func(h *otafile.Header) { h.MinHardwareVersion, h.MaxHardwareVersion = ptr(uint16(3)), ptr(uint16(2)) }, "minimum hardware version 3, maximum 2"},
		{"credentials", func(h *otafile.Header) { h.ImageType = 0xFFC0 }, "security credentials"},
		{"configuration", func(h *otafile.Header) { h.ImageType = 0xFFC1 }, "configuration"},
		{"log", func(h *otafile.Header) { h.ImageType = 0xFFC2 }, "a log"},
		{"picture", func(h *otafile.Header) { h.ImageType = 0xFFC3 }, "a picture"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := testHeader()
			c.change(&h)
			f, err := otafile.Parse(otafile.Build(h, pattern(10)))
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], c.says) {
				t.Errorf("warnings %q, want one with %q", f.Warnings, c.says)
			}
		})
	}
}

// No real file has a tenth of the elements that are read at most; what has more is refused. Zeros at the end
// of an image are no elements, however many six of them would make.
func TestParseBoundsElements(t *testing.T) {
	most := bytes.Repeat(element(3, pattern(16)), 4096)
	f, err := otafile.Parse(raw(testHeader(), most))
	if err != nil || len(f.Elements) != 4096 || len(f.Warnings) != 0 {
		t.Fatalf("%v, %+v", err, f)
	}
	if got := f.Verify(); len(got) != 1 || !strings.Contains(got[0].Detail, "4096 elements") {
		t.Errorf("checks %v", got)
	}
	f, err = otafile.Parse(raw(testHeader(), element(0, pattern(9)), make([]byte, 100_000)))
	if err != nil || len(f.Elements) != 4096 || len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], "bytes are left") {
		t.Errorf("%v, %+v", err, f)
	}
}

func TestBuild(t *testing.T) {
	h := testHeader()
	h.MinHardwareVersion, h.MaxHardwareVersion = ptr(uint16(1)), ptr(uint16(2))
	f, err := otafile.Parse(otafile.Build(h, pattern(1000), otafile.WithElement(0xF123, pattern(7)), otafile.WithIntegrityCode()))
	if err != nil {
		t.Fatal(err)
	}
	want := []otafile.Element{{Tag: 0, Offset: 66, Length: 1000}, {Tag: 0xF123, Offset: 1072, Length: 7}, {Tag: 3, Offset: 1085, Length: 16}}
	if d := cmp.Diff(want, f.Elements); d != "" {
		t.Errorf("elements (-want +got):\n%s", d)
	}
	if f.Header.HeaderVersion != 0x0100 || f.Header.HeaderLength != 60 || f.Header.FieldControl != 4 || f.Header.TotalSize != 1101 {
		t.Errorf("header %+v", f.Header)
	}
	if got := names(f.Verify()); !slices.Equal(got, []string{"AES-MMO integrity code passed"}) {
		t.Errorf("checks %q", got)
	}
}
