package otafile_test

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// FuzzParse holds what must be true of any input: nothing panics, what is served is a whole image whose
// header says so, elements lie inside it, and parsing the image alone gives the same image.
func FuzzParse(f *testing.F) {
	image := otafile.Build(testHeader(), pattern(300), otafile.WithIntegrityCode())
	for _, c := range containers(f, image) {
		f.Add(c.bytes)
	}
	for _, c := range malformed(f) {
		f.Add(c.bytes)
	}
	for _, c := range headerCases {
		f.Add(join(c.bytes, element(0, nil)))
	}
	for _, firmware := range [][]byte{gbl(pattern(30)), ebl(pattern(30)), encryptedEBL(pattern(30)), telink(pattern(30)),
		telinkB91(pattern(30)), bouffalo(f, pattern(30)), xzOf(f, pattern(30), xz.SHA256), zlibOf(f, esp32(pattern(5000))), esp32(pattern(30)), oad(pattern(30), 30), oad(xzOf(f, pattern(30), xz.CRC32), 30),
		join(pattern(9), telink(pattern(30))),
	} {
		f.Add(otafile.Build(testHeader(), firmware))
		f.Add(ikea(otafile.Build(testHeader(), firmware)))
		f.Add(raw(testHeader(), le16(0xF000), le32(uint32(len(firmware))), []byte{1, 0x0C}, firmware))
	}
	f.Fuzz(func(t *testing.T, b []byte) { parseAny(t, b) })
}

// parseAny parses and verifies any input, and checks what must be true of the outcome; nil
// where it was refused.
func parseAny(t *testing.T, b []byte) *otafile.File {
	before := bytes.Clone(b)
	parsed, err := otafile.Parse(b)
	if err != nil {
		return nil
	}
	checks := parsed.Verify()
	if !bytes.Equal(b, before) {
		t.Fatal("the input was changed")
	}
	if len(parsed.Image) != int(parsed.Header.TotalSize) || parsed.Trailing < 0 {
		t.Fatalf("%d bytes of %d, %d trailing", len(parsed.Image), parsed.Header.TotalSize, parsed.Trailing)
	}
	if h, err := otafile.ParseHeader(parsed.Image); err != nil || h.TotalSize != parsed.Header.TotalSize {
		t.Fatalf("the image's own header: %v, %v", h, err)
	}
	end := uint64(parsed.Header.HeaderLength)
	for _, e := range parsed.Elements {
		if uint64(e.Offset) < end+6 {
			t.Fatalf("element %+v starts before %d", e, end)
		}
		end = uint64(e.Offset) + uint64(e.Length)
	}
	if end > uint64(len(parsed.Image)) {
		t.Fatalf("elements end at %d of %d", end, len(parsed.Image))
	}
	for _, c := range checks {
		if c.Name == "" || c.String() == "" {
			t.Fatalf("check %+v", c)
		}
	}
	again, err := otafile.Parse(parsed.Image)
	if err != nil || !bytes.Equal(again.Image, parsed.Image) {
		t.Fatalf("the image alone: %v", err)
	}
	return parsed
}

// FuzzUnwrap holds that an image comes out of any containers around it as it went in, and with nothing to
// complain about, and that a byte changed anywhere in them does no harm. A letter stands for a container,
// the innermost first.
func FuzzUnwrap(f *testing.F) {
	for _, around := range []string{"", "i", "l", "3", "t", "s", "g", "z", "w", "sg", "tg", "iz", "lz", "3w", "gg", "zz", "igz", "tgw", "zzz", "izt"} {
		f.Add(around, pattern(40), 0, byte(0))
		f.Add(around, gbl(pattern(20)), 70, byte(1))
		f.Add(around, pattern(3000), -600, byte(0x80))
	}
	f.Fuzz(func(t *testing.T, around string, payload []byte, at int, flip byte) {
		if len(around) > 3 || len(payload) > 1<<16 {
			return
		}
		image := otafile.Build(testHeader(), payload)
		b := image
		for i, container := range around {
			if container == 'l' && i > 0 {
				return // it is recognised by the image in it
			}
			switch container {
			case 'i':
				b = ikea(b)
			case 'l':
				b = legrand(b)
			case '3':
				b = thirdReality(b)
			case 't':
				b = tarOf(t, archived{"image.ota", b})
			case 's':
				b = tarOf(t, salusInfo("image.ota", b), archived{"image.ota", b})
			case 'g':
				b = gzipOf(t, b)
			case 'z':
				b = zipOf(t, archived{"image.ota", b})
			case 'w':
				b = zipOf(t, archived{"driver.xml", nil}, archived{"www/image.ota", b})
			default:
				return
			}
		}
		parsed := parseAny(t, b)
		if parsed == nil || !bytes.Equal(parsed.Image, image) || (parsed.Wrapper == "") != (around == "") {
			t.Fatalf("out of %q: %+v", around, parsed)
		}
		for _, c := range parsed.Checks[:min(len(parsed.Checks), len(around))] {
			if c.Status == otafile.Failed && !strings.HasPrefix(c.Name, "Silicon") && c.Name != otafile.CheckTelink {
				t.Fatalf("out of %q: %s", around, c)
			}
		}
		if at %= len(b); at < 0 {
			at += len(b)
		}
		parseAny(t, edit(b, at, b[at]^flip))
	})
}

// FuzzArchive holds the same of archives whose entries may be called and contain anything, beside an image
// that may be anything, too.
func FuzzArchive(f *testing.F) {
	image := otafile.Build(testHeader(), pattern(30))
	info := salusInfo("image.ota", image)
	f.Add("image.ota", image, info.name, info.data)
	f.Add("www/image.ota", image, "../../etc/passwd", []byte("root"))
	f.Add("networkinfo.json", image, "networkinfo.json", []byte(`[{"a":{"b":["c",{}]}}]`))
	f.Add(`www\image.ota`, ikea(image), "www/", image)
	f.Add("", gzipOf(f, image), "\x00", zipOf(f, archived{"x", image}))
	f.Fuzz(func(t *testing.T, name string, content []byte, other string, more []byte) {
		if len(name)+len(other) > 1000 || len(content)+len(more) > 1<<16 {
			return
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, file := range []archived{{name, content}, {other, more}} {
			if w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.data))}) != nil {
				return // no such name in a tar
			}
			w.Write(file.data)
		}
		w.Close()
		parseAny(t, b.Bytes())
		parseAny(t, gzipOf(t, b.Bytes()))
		parseAny(t, zipOf(t, archived{name, content}, archived{other, more}))
	})
}

// FuzzHeader holds that a header that was read and has no bytes behind its fields is written as it was.
func FuzzHeader(f *testing.F) {
	for _, c := range headerCases {
		f.Add(c.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := otafile.ParseHeader(b)
		if err != nil {
			return
		}
		h.Title()
		h.Wildcard()
		if written := h.Append(nil); !bytes.HasPrefix(b, written) {
			t.Fatalf("got % X, want % X", written, b)
		}
	})
}
