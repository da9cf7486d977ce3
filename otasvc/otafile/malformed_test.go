package otafile_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

type malformedCase struct {
	name  string
	bytes []byte
	is    error
	says  string
}

// malformed are inputs that Parse refuses.
func malformed(t testing.TB) []malformedCase {
	image := testImage(40_000)
	signed := ikea(image)
	genuine := thirdReality(image)
	zipped := zipOf(t, archived{"www/image.zigbee", image})
	tarred := tarOf(t, archived{"image.ota", image})
	gzipped := gzipOf(t, image)
	return []malformedCase{
		{"empty", nil, otafile.ErrNotOTA, "it is empty"},
		{"one byte", []byte{0x1E}, otafile.ErrNotOTA, "which start with 1E"},
		{"zeros", make([]byte, 5000), otafile.ErrNotOTA, "no OTA header in its 5000 bytes"},
		{"web page", []byte("\n<!DOCTYPE html><html>"), otafile.ErrNotOTA, "web page"},
		{"XML", []byte("<?xml version='1.0'?><Error>AccessDenied</Error>"), otafile.ErrNotOTA, "XML"},
		{"JSON", []byte(`{"message":"Not Found"}`), otafile.ErrNotOTA, "JSON"},
		{"Git LFS pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0"), otafile.ErrNotOTA, "Git LFS"},
		{"bare GBL", gbl(pattern(100)), otafile.ErrNotOTA, "bare Silicon Labs GBL"},
		{"bare EBL", ebl(pattern(100)), otafile.ErrNotOTA, "bare Silicon Labs EBL"},
		{"ELF", []byte("\x7FELF\x01\x01"), otafile.ErrNotOTA, "ELF"},
		{"RAR", []byte("Rar!\x1A\x07"), otafile.ErrNotOTA, "RAR"},

		{"cut by a byte", image[:len(image)-1], otafile.ErrTruncated, "its header says 40062 bytes, there are 40061"},
		{"cut in the header", image[:55], otafile.ErrTruncated, "at least 56 bytes, there are 55"},
		{"total size at the limit", edit(image, 52, 0xFF, 0xFF, 0xFF, 0xFF), otafile.ErrTruncated, "says 4294967295 bytes"},
		{"unknown header version", edit(image, 4, 0, 4), otafile.ErrHeader, "0x0400"},
		{"cut, and an image inside that is whole", raw(testHeader(), element(0, join(image, image)))[:len(image)+100], otafile.ErrTruncated, "there are 40162"},
		{"cut in an unknown container", join([]byte("VENDOR"), image[:5000]), otafile.ErrTruncated, "a header at offset 6 says 40062 bytes, there are 5000"},
		{"magic without a header", join([]byte("VENDOR"), image[:50]), otafile.ErrNotOTA, "no OTA header in its 56 bytes"},
		{"nothing but magics", bytes.Repeat([]byte{0xFF, 0x1E, 0xF1, 0xEE, 0x0B}, 10_000), otafile.ErrNotOTA, "no OTA header"},

		{"10,000 elements", raw(testHeader(), bytes.Repeat(element(3, pattern(16)), 10_000)), otafile.ErrElements, "more than 4096"},
		{"10,000 empty elements", raw(testHeader(), bytes.Repeat(element(0xF001, nil), 10_000)), otafile.ErrElements, "more than 4096"},
		{"10,000 elements, in a zip", zipOf(t, archived{"a.ota", raw(testHeader(), bytes.Repeat(element(3, pattern(16)), 10_000))}), otafile.ErrElements, `"a.ota" in zip`},

		{"IKEA: nothing but the name", []byte("NGIS"), otafile.ErrTruncated, "at least 40 bytes, there are 4"},
		{"IKEA: cut in the image", signed[:20_000], otafile.ErrTruncated, "40062 bytes are at offset 136, but it ends at 20000"},
		{"IKEA: block size 0", edit(signed, 32, 0, 0, 0, 0), otafile.ErrWrapper, "3 blocks of 0"},
		{"IKEA: too many blocks", edit(signed, 36, 0xFF, 0xFF, 0xFF, 0xFF), otafile.ErrWrapper, "4294967295 blocks"},
		{"IKEA: offset at the limit", edit(signed, 16, 0xFF, 0xFF, 0xFF, 0xFF), otafile.ErrWrapper, "offset 4294967295"},
		{"IKEA: size at the limit", edit(signed, 20, 0xFF, 0xFF, 0xFF, 0xFF), otafile.ErrWrapper, "4294967295 bytes"},
		{"IKEA: size and blocks at the limit", edit(signed, 16, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0), otafile.ErrNotOTA, "offset 40"},
		{"IKEA: no OTA file in it", ikea(pattern(1000)), otafile.ErrNotOTA, "IKEA signed container, at offset 72"},
		{"IKEA: image cut inside", ikea(image[:30_000]), otafile.ErrTruncated, "IKEA signed container, at offset 104"},
		{"Legrand: image longer than its container", legrand(edit(image, 54, 1)), otafile.ErrTruncated, "Legrand container, at offset 4"},
		{"ThirdReality: cut", genuine[:30_000], otafile.ErrTruncated, "says that it has 40214 bytes, there are 30000"},
		{"ThirdReality: shorter than its own header", edit(genuine, 68, 10, 0, 0, 0), otafile.ErrWrapper, "says that it has 74 bytes"},
		{"ThirdReality: length at the limit", edit(genuine, 68, 0xFF, 0xFF, 0xFF, 0xFF), otafile.ErrTruncated, "says that it has 4294967359 bytes"},
		{"ThirdReality: no OTA file in it", thirdReality(pattern(50)), otafile.ErrNotOTA, "at offset 152"},

		{"gzip: nothing but its start", gzipped[:5], otafile.ErrTruncated, "gzip"},
		{"gzip: cut", gzipped[:len(gzipped)/2], otafile.ErrTruncated, "gzip"},
		{"gzip: damaged", edit(gzipped, -8, 0, 0, 0, 0), otafile.ErrWrapper, "checksum"},
		{"gzip: no OTA file in it", gzipOf(t, pattern(500)), otafile.ErrNotOTA, "gzip container: "},
		{"gzip: empty", gzipOf(t, nil), otafile.ErrNotOTA, "it is empty"},
		{"gzip: web page", gzipOf(t, []byte("<html>")), otafile.ErrNotOTA, "web page"},
		{"IKEA: web page", ikea([]byte("<html>")), otafile.ErrNotOTA, "web page"},
		{"gzip: second stream cut", join(gzipOf(t, image[:100]), gzipped[:50]), otafile.ErrTruncated, "gzip"},
		{"tar: no OTA file in it", tarOf(t, archived{"readme", pattern(2000)}), otafile.ErrWrapper, "no OTA file in the tar"},
		{"tar: cut", tarred[:20_000], otafile.ErrTruncated, "tar container"},
		{"tar: image cut inside", tarOf(t, archived{"image.ota", image[:3000]}), otafile.ErrTruncated, `"image.ota" in tar`},
		{"tar: two images", tarOf(t, archived{"a.ota", image}, archived{"b.ota", testImage(7)}), otafile.ErrWrapper, `2 OTA files in the tar, such as "a.ota" and "b.ota"`},
		{"zip: nothing but its start", zipped[:10], otafile.ErrWrapper, "zip container"},
		{"zip: cut", zipped[:len(zipped)-100], otafile.ErrWrapper, "zip container"},
		{"zip: damaged", damagedZip(t, image), otafile.ErrWrapper, `"image.ota" in zip`},
		{"zip: no OTA file in it", zipOf(t, archived{"www/readme", pattern(2000)}), otafile.ErrWrapper, "no OTA file in the zip"},
		{"zip: two images under www", zipOf(t, archived{"www/a.ota", image}, archived{"www/b.ota", testImage(7)}), otafile.ErrWrapper, "take the one you want"},
		{"gzip in gzip in gzip in gzip", gzipOf(t, gzipOf(t, gzipOf(t, gzipped))), otafile.ErrWrapper, "nested more than 3 deep"},
		{"zips in a zip, too deep", zipOf(t, archived{"a.zip", zipOf(t, archived{"b.zip", zipOf(t, archived{"c.zip", zipped})})}), otafile.ErrWrapper, "nested more than 3 deep"},
	}
}

// bombs are small inputs that would unpack to much.
func bombs(t testing.TB) []malformedCase {
	image := testImage(40_000)
	many := make([]archived, 10_001)
	for i := range many {
		many[i] = archived{"x", nil}
	}
	zipBomb := func(mib int, names ...string) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for _, name := range names {
			packed := deflated(t, image, mib)
			fw, err := w.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Deflate,
				CompressedSize64: uint64(len(packed)), UncompressedSize64: uint64(len(image) + mib<<20)})
			if err != nil {
				t.Fatal(err)
			}
			fw.Write(packed)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	gzipHeader := []byte{0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255}
	return []malformedCase{
		{"gzip in many streams", bytes.Repeat(gzipOf(t, nil), 10_002), otafile.ErrTooLarge, "more than 10000 files"},
		{"gzip in many large streams", bytes.Repeat(join(gzipHeader, deflated(t, nil, 20), le32(0), le32(0)), 2), otafile.ErrWrapper, "checksum"},
		{"gzip", join(gzipHeader, deflated(t, image, 1000)), otafile.ErrTooLarge, "more than 32 MiB"},
		{"zip", zipBomb(1000, "www/a.ota"), otafile.ErrTooLarge, "more than 32 MiB"},
		{"zip with many files, each within the limit", zipBomb(20, "a.ota", "b.ota"), otafile.ErrTooLarge, "more than 32 MiB"},
		{"tar with a sparse file", sparseBomb(), otafile.ErrTooLarge, "more than 32 MiB"},
		{"tar with too many files", tarOf(t, many...), otafile.ErrTooLarge, "more than 10000 files"},
		{"zip with too many files", zipOf(t, many...), otafile.ErrTooLarge, "more than 10000 files"},
	}
}

// deflated is data and some MiB of zeros behind it, deflated. The MiB is packed once and repeated.
func deflated(t testing.TB, data []byte, mib int) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	w.Flush()
	start := b.Len()
	w.Write(make([]byte, 1<<20))
	w.Flush()
	zeros := bytes.Clone(b.Bytes()[start:])
	for range mib - 1 {
		b.Write(zeros)
	}
	w.Close()
	return b.Bytes()
}

// sparseBomb is a tar of a few blocks whose one file claims 1 GiB, most of it a hole (PAX sparse format 1.0).
func sparseBomb() []byte {
	var records []byte
	for _, pair := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=image.ota", "GNU.sparse.realsize=1073741824"} {
		// records is the length counts its own two digits, the space and the newline.
		records = fmt.Appendf(records, "%d %s\n", len(pair)+4, pair)
	}
	holes := []byte("1\n0\n56\n") // one piece, at 0, of 56 bytes
	return join(
		tarBlocks('x', "PaxHeaders/image.ota", records),
		tarBlocks('0', "GNUSparseFile.0/image.ota", join(holes, make([]byte, 512-len(holes)), testImage(100)[:56])),
		make([]byte, 1024),
	)
}

func tarBlocks(kind byte, name string, data []byte) []byte {
	header := make([]byte, 512)
	copy(header, name)
	copy(header[100:], "0000644\x000000000\x000000000\x00")
	copy(header[124:], fmt.Sprintf("%011o\x0000000000000\x00        %c", len(data), kind))
	copy(header[257:], "ustar\x0000")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
	return join(header, data, make([]byte, -len(data)&511))
}

// damagedZip has an image with a byte changed, stored without compression so that only its checksum can tell.
func damagedZip(t testing.TB, image []byte) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	fw, err := w.CreateHeader(&zip.FileHeader{Name: "image.ota", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	fw.Write(image)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return edit(b.Bytes(), 5000, 0xAA, 0xBB)
}

func TestParseRefuses(t *testing.T) {
	for _, c := range append(malformed(t), bombs(t)...) {
		t.Run(c.name, func(t *testing.T) {
			f, err := otafile.Parse(c.bytes)
			if !errors.Is(err, c.is) {
				t.Fatalf("got %v, %v; want %v", f, err, c.is)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %q, want it to say %q", err, c.says)
			}
			if len(err.Error()) > 300 {
				t.Errorf("the error has %d characters", len(err.Error()))
			}
		})
	}
}

// Encrypted entries of a zip and those that are no files are passed over.
func TestParsePassesOverWhatItCannotRead(t *testing.T) {
	image := testImage(1000)
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, h := range []zip.FileHeader{{Name: "folder/"}, {Name: "secret.ota", Method: zip.Store, Flags: 1}, {Name: "image.ota", Method: zip.Store}} {
		fw, err := w.CreateHeader(&h)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(h.Name, "/") {
			fw.Write(image)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := otafile.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.Image, image) {
		t.Error("the image is not what was put in")
	}

	folder := tarBlocks('5', "image.ota/", nil)
	link := tarBlocks('2', "link.ota", nil)
	f, err = otafile.Parse(join(folder, link, tarBlocks('0', "image.ota", image), make([]byte, 1024)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.Image, image) {
		t.Error("the image is not what was put in")
	}
}
