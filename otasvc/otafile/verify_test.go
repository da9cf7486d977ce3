package otafile_test

import (
	"bytes"
	"crypto/aes"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

func TestIntegrityCode(t *testing.T) {
	for _, c := range []struct {
		name    string
		message []byte
		want    string
	}{
		{"one byte", []byte{0xC0}, "ae3a102a28d43ee0d4a09e22788b206c"},
		{"one block", []byte{0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF}, "a7977e88bc0b61e8210827109a228f2d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code := otafile.IntegrityCode(c.message)
			if got := hex.EncodeToString(code[:]); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// The padding never shares a block with data that does not fit, so neighbouring lengths have different codes,
// also where the length gets its long form (8192 bytes are 2^16 bits).
func TestIntegrityCodePadding(t *testing.T) {
	seen := map[[16]byte]int{}
	for _, n := range []int{0, 1, 9, 10, 11, 13, 14, 15, 16, 17, 8191, 8192, 8193, 8201, 8202, 8203, 8207, 8208} {
		code := otafile.IntegrityCode(make([]byte, n))
		if before, dup := seen[code]; dup {
			t.Errorf("%d and %d bytes have the same code", before, n)
		}
		seen[code] = n
	}
}

// shortDialect hashes with the message length always in 16 bits, as plainly as it is defined.
func shortDialect(t *testing.T, message []byte) []byte {
	padded := append(bytes.Clone(message), 0x80)
	for len(padded)%16 != 14 {
		padded = append(padded, 0)
	}
	bits := uint16(len(message) * 8)
	padded = append(padded, byte(bits>>8), byte(bits))
	hash := make([]byte, 16)
	for block := range slices.Chunk(padded, 16) {
		cipher, err := aes.NewCipher(hash)
		if err != nil {
			t.Fatal(err)
		}
		next := make([]byte, 16)
		cipher.Encrypt(next, block)
		for i := range next {
			next[i] ^= block[i]
		}
		hash = next
	}
	return hash
}

func code(message []byte) []byte {
	c := otafile.IntegrityCode(message)
	return c[:]
}

// withCode is a file whose last element is an integrity code that sum makes of what is before it and of its
// own tag and length.
func withCode(payload int, sum func(before, tagAndLength []byte) []byte) []byte {
	b := raw(testHeader(), element(0, pattern(payload)), element(3, make([]byte, 16)))
	at := len(b) - 22
	return edit(b, -16, sum(b[:at], b[at:at+6])...)
}

func TestVerify(t *testing.T) {
	h := testHeader()
	salus, sdevices := h, h
	salus.ManufacturerCode, sdevices.ManufacturerCode = 0x1078, 0x152F
	trailer := func(image, padding []byte, complement bool) []byte {
		b := join(image, padding)
		crc := crc32.ChecksumIEEE(b)
		if complement {
			crc = ^crc
		}
		return join(b, le32(crc))
	}
	plain := func(h otafile.Header, n int) []byte { return otafile.Build(h, pattern(n)) }
	before := func(b, _ []byte) []byte { return code(b) }
	file := func(firmware []byte) []byte { return otafile.Build(h, firmware) }
	image := plain(h, 40_000)
	genuine := thirdReality(image)
	signed := ikea(image)

	for _, c := range []struct {
		name   string
		bytes  []byte
		checks []string // name and status
		says   string   // part of the first check's sentence
	}{
		{"nothing to check", image, nil, ""},
		{"trailing bytes that are no checksum", join(image, pattern(4)), nil, ""},

		{"integrity code, short", withCode(100, before), []string{"AES-MMO integrity code passed"}, ""},
		{"integrity code, long", withCode(40_000, before), []string{"AES-MMO integrity code passed"}, ""},
		{"integrity code over its tag and length", withCode(40_000, func(b, tag []byte) []byte { return code(join(b, tag)) }),
			[]string{"AES-MMO integrity code passed"}, "own tag and length"},
		{"integrity code with a short length", withCode(40_000, func(b, _ []byte) []byte { return shortDialect(t, b) }),
			[]string{"AES-MMO integrity code passed"}, "cut to 16 bits"},
		{"integrity code, firmware changed", edit(withCode(40_000, before), 20_000, 1, 2, 3), []string{"AES-MMO integrity code failed"}, "expected "},
		{"integrity code, code changed", edit(withCode(40_000, before), -1, 0), []string{"AES-MMO integrity code failed"}, "expected "},
		{"integrity code of a wrong size", raw(h, element(0, pattern(9)), element(3, pattern(15))), []string{"AES-MMO integrity code notVerifiable"}, "15 bytes long instead of 16"},
		{"two integrity codes, the first wrong", otafile.Build(h, pattern(99), otafile.WithElement(3, pattern(16)), otafile.WithIntegrityCode()),
			[]string{"AES-MMO integrity code failed", "AES-MMO integrity code passed"}, ""},

		{"GBL", file(gbl(pattern(1000))), []string{"Silicon Labs GBL CRC-32 passed"}, ""},
		{"GBL, trailing bytes", file(join(gbl(pattern(1000)), pattern(50))), []string{"Silicon Labs GBL CRC-32 passed"}, ""},
		{"GBL changed", file(edit(gbl(pattern(1000)), 500, 0, 0)), []string{"Silicon Labs GBL CRC-32 failed"}, "expected "},
		{"GBL cut in a tag", file(gbl(pattern(1000))[:500]), []string{"Silicon Labs GBL CRC-32 failed"}, "tag 0xFD0505FD at offset 16 says 1000 bytes, 476 are left"},
		{"GBL cut before the last tag", file(gbl(pattern(1000))[:1024]), []string{"Silicon Labs GBL CRC-32 failed"}, "ends at offset 1024 without the tag 0xFC0404FC"},
		{"GBL with a checksum of no bytes", file(edit(gbl(nil), 28, 0)), []string{"Silicon Labs GBL CRC-32 failed"}, "has 0 bytes instead of 4"},
		{"GBL with a length at the limit", file(edit(gbl(pattern(1000)), 20, 0xFF, 0xFF, 0xFF, 0xFF)), []string{"Silicon Labs GBL CRC-32 failed"}, "says 4294967295 bytes"},
		{"GBL after a manufacturer's element", raw(h, element(0xF7BD, pattern(160)), element(0, gbl(pattern(1000)))), []string{"Silicon Labs GBL CRC-32 passed"}, ""},
		{"GBL in three elements", raw(h, element(0, gbl(pattern(10))), element(0, gbl(pattern(11))), element(0, gbl(pattern(12)))),
			[]string{"Silicon Labs GBL CRC-32 passed"}, "3 elements"},
		{"GBL in three elements, two changed", raw(h, element(0, edit(gbl(pattern(10)), 25, 0)), element(0, gbl(pattern(11))), element(0, gbl(pattern(12))[:30])),
			[]string{"Silicon Labs GBL CRC-32 failed", "Silicon Labs GBL CRC-32 passed"}, "the first of 2 elements"},
		{"GBL twice", raw(h, element(0, gbl(pattern(10))), element(0, edit(gbl(pattern(10)), 25, 0))),
			[]string{"Silicon Labs GBL CRC-32 passed", "Silicon Labs GBL CRC-32 failed"}, ""},
		{"EBL", file(ebl(pattern(1000))), []string{"Silicon Labs EBL CRC-32 passed"}, ""},
		{"EBL, padding", file(join(ebl(pattern(1000)), bytes.Repeat([]byte{0xFF}, 60))), []string{"Silicon Labs EBL CRC-32 passed"}, ""},
		{"EBL changed", file(edit(ebl(pattern(1000)), 500, 0, 0)), []string{"Silicon Labs EBL CRC-32 failed"}, "expected "},
		{"EBL cut", file(ebl(pattern(1000))[:500]), []string{"Silicon Labs EBL CRC-32 failed"}, "tag 0xFD03 at offset 144 says 1000 bytes, 352 are left"},
		{"encrypted EBL", file(encryptedEBL(pattern(1000))), []string{"Silicon Labs encrypted EBL CRC-32 passed"}, ""},
		{"encrypted EBL changed", file(edit(encryptedEBL(pattern(1000)), 500, 0, 0)), []string{"Silicon Labs encrypted EBL CRC-32 failed"}, "expected "},
		{"Telink", file(telink(pattern(1000))), []string{"Telink CRC-32 passed"}, ""},
		{"Telink, trailing bytes", file(join(telink(pattern(1000)), pattern(50))), []string{"Telink CRC-32 passed"}, ""},
		{"Telink in 0xF000 with two bytes more", raw(h, le16(0xF000), le32(1032), []byte{1, 0x0C}, telink(pattern(1000))), []string{"Telink CRC-32 passed"}, ""},
		{"Telink changed", file(edit(telink(pattern(1000)), 500, 0, 0)), []string{"Telink CRC-32 failed"}, "expected "},
		{"Telink cut", file(telink(pattern(1000))[:500]), []string{"Telink CRC-32 failed"}, "says that it has 1032 bytes, 500 are there"},
		{"Telink with size 0", file(edit(telink(pattern(1000)), 0x18, 0, 0)), []string{"Telink CRC-32 failed"}, "less than its own header"},
		{"Telink with a size at the limit", file(edit(telink(pattern(1000)), 0x18, 0xFF, 0xFF, 0xFF, 0xFF)), []string{"Telink CRC-32 failed"}, "4294967295 bytes"},
		{"Telink of a B91", file(telinkB91(pattern(1000))), []string{"Telink CRC-32 passed"}, ""},
		{"Telink of a B91, changed", file(edit(telinkB91(pattern(1000)), 500, 0, 0)), []string{"Telink CRC-32 failed"}, "expected "},
		{"Telink behind a header", raw(h, element(0xF000, join(pattern(128), telink(pattern(1000)), pattern(9)))), []string{"Telink CRC-32 passed"}, "at offset 128 of its element"},
		{"Telink of a B91 behind a header", raw(h, element(0, join(pattern(5), telinkB91(pattern(1000))))), []string{"Telink CRC-32 passed"}, "at offset 5"},
		{"Telink behind a header, changed", raw(h, element(0, edit(join(pattern(128), telink(pattern(1000))), 500, 0))), nil, ""},
		{"Telink's mark in code", raw(h, element(0, join(pattern(100), []byte("KNLTKNLT"), pattern(100), []byte("KNLT")))), nil, ""},
		{"XZ", file(xzOf(t, pattern(12000), xz.CRC64)), []string{"XZ stream passed"}, ""},
		{"XZ with CRC-32, bytes behind it", file(join(xzOf(t, pattern(12000), xz.CRC32), pattern(7))), []string{"XZ stream passed"}, ""},
		{"XZ with SHA-256", file(xzOf(t, pattern(3), xz.SHA256)), []string{"XZ stream passed"}, ""},
		{"XZ without a check", file(xzOf(t, pattern(12000), xz.None)), []string{"XZ stream notVerifiable"}, "no check of its content"},
		{"XZ of nothing", file(xzOf(t, nil, xz.CRC32)), []string{"XZ stream passed"}, ""},
		{"XZ, content changed", file(edit(xzOf(t, pattern(12000), xz.CRC64), 40, 0xAA, 0xAA)), []string{"XZ stream failed"}, "block"},
		{"XZ, check changed", file(edit(xzOf(t, pattern(12000), xz.CRC32), xzLastCheck(xzOf(t, pattern(12000), xz.CRC32)), 0xAA)), []string{"XZ stream failed"}, "the check of a block is"},
		{"XZ, header of a block changed", file(edit(xzOf(t, pattern(12000), xz.CRC64), 16, 0xAA)), []string{"XZ stream failed"}, "the checksum of a block's header"},
		{"XZ, index changed", file(edit(xzOf(t, pattern(12000), xz.CRC64), -16, 0xAA)), []string{"XZ stream failed"}, "the checksum of the stream's index"},
		{"XZ, footer changed", file(edit(xzOf(t, pattern(12000), xz.CRC64), -1, 0xAA)), []string{"XZ stream failed"}, "footer does not match"},
		{"XZ, header changed", file(edit(xzOf(t, pattern(12000), xz.CRC64), 7, 0xAA)), nil, ""},
		{"XZ cut in a block", file(xzOf(t, pattern(12000), xz.CRC64)[:300]), []string{"XZ stream failed"}, "cut short"},
		{"XZ cut in the index", file(xzOf(t, pattern(12000), xz.CRC64)[:len(xzOf(t, pattern(12000), xz.CRC64))-20]), []string{"XZ stream failed"}, "index is cut short"},
		{"XZ with a filter", file(xzWithFilter(t)), []string{"XZ stream notVerifiable"}, "filters besides LZMA2"},
		{"XZ that unpacks to too much", file(xzOf(t, make([]byte, 20<<20), xz.CRC32)), []string{"XZ stream notVerifiable"}, "more than 16 MiB"},
		{"Bouffalo", file(bouffalo(t, pattern(12000))), []string{"XZ stream passed", "Bouffalo Lab SHA-256 passed"}, ""},
		{"Bouffalo, digest changed", file(edit(bouffalo(t, pattern(12000)), -1, 0xAA)), []string{"XZ stream passed", "Bouffalo Lab SHA-256 failed"}, ""},
		{"XZ and 32 bytes of something else", file(join(xzOf(t, pattern(12000), xz.CRC32), pattern(32))), []string{"XZ stream passed"}, ""},
		{"zlib", file(zlibOf(t, pattern(12000))), []string{"zlib Adler-32 passed"}, ""},
		{"zlib, little", file(zlibOf(t, pattern(5))), []string{"zlib Adler-32 passed"}, ""},
		{"zlib, changed", file(edit(zlibOf(t, pattern(12000)), -1, 0xAA)), []string{"zlib Adler-32 failed"}, "cannot be unpacked beyond 12000 bytes"},
		{"zlib, cut", file(zlibOf(t, random(12000))[:9000]), []string{"zlib Adler-32 failed"}, "cut short"},
		{"zlib in two elements", raw(h, element(0x0100, zlibOf(t, pattern(9))), element(0, zlibOf(t, pattern(8)))), []string{"zlib Adler-32 passed"}, "2 elements"},
		{"what only starts like zlib", file(join([]byte{0x78, 0xDA}, random(5000))), nil, ""},
		{"zlib that unpacks to too much", file(zlibOf(t, make([]byte, 20<<20))), []string{"zlib Adler-32 notVerifiable"}, "more than 16 MiB"},
		{"ESP32", file(esp32(pattern(1000))), []string{"ESP32 image SHA-256 passed"}, ""},
		{"ESP32, padding", file(join(esp32(pattern(1001)), bytes.Repeat([]byte{0xFF}, 100))), []string{"ESP32 image SHA-256 passed"}, ""},
		{"ESP32, changed", file(edit(esp32(pattern(1000)), 500, 0, 0)), []string{"ESP32 image SHA-256 failed"}, "expected "},
		{"ESP32, cut", file(esp32(pattern(1000))[:1500]), []string{"ESP32 image SHA-256 failed"}, "cut short"},
		{"ESP32, cut in the digest", file(esp32(pattern(1000))[:len(esp32(pattern(1000)))-1]), []string{"ESP32 image SHA-256 failed"}, "cut short"},
		{"ESP32 without a digest", file(edit(esp32(pattern(1000)), 23, 0)), nil, ""},
		{"ESP32 in zlib", file(zlibOf(t, esp32(pattern(4000)))), []string{"zlib Adler-32 passed", "ESP32 image SHA-256 passed"}, ""},
		{"damaged ESP32 in zlib", file(zlibOf(t, edit(esp32(pattern(4000)), 500, 0, 0))), []string{"zlib Adler-32 passed", "ESP32 image SHA-256 failed"}, ""},
		{"OAD", file(oad(pattern(1000), 1000)), []string{"TI OAD CRC-32 passed"}, ""},
		{"OAD, bytes behind it", file(join(oad(pattern(1000), 1000), pattern(5))), []string{"TI OAD CRC-32 passed"}, ""},
		{"OAD, changed", file(edit(oad(pattern(1000), 1000), 500, 0, 0)), []string{"TI OAD CRC-32 failed"}, "expected "},
		{"OAD, cut", file(oad(pattern(1000), 1000)[:500]), []string{"TI OAD CRC-32 failed"}, "says that it has 1044 bytes, 500 are there"},
		{"OAD with size 0", file(edit(oad(pattern(1000), 1000), 24, 0, 0)), []string{"TI OAD CRC-32 failed"}, "less than its own header"},
		{"OAD with XZ", file(oad(xzOf(t, pattern(9000), xz.CRC32), 9000)), []string{"XZ stream passed"}, ""},
		{"OAD with XZ, changed", file(edit(oad(xzOf(t, pattern(9000), xz.CRC32), 9000), 100, 0xAA)), []string{"XZ stream failed"}, ""},
		{"too short for Telink", file(telink(nil)[:27]), nil, ""},
		{"GBL with an element length that does not fit", raw(h, le16(0), le32(9999), gbl(pattern(10))), []string{"Silicon Labs GBL CRC-32 passed"}, ""},
		{"GBL with an element length that does not fit, changed", edit(raw(h, le16(0), le32(9999), gbl(pattern(10))), 90, 0xAA), []string{"Silicon Labs GBL CRC-32 failed"}, "expected "},
		{"Telink in 0xF000 with a length that does not fit", raw(h, le16(0xF000), le32(9999), []byte{1, 0x0C}, telink(pattern(10))), []string{"Telink CRC-32 passed"}, ""},
		{"EBL behind elements that do not add up", raw(h, element(0xF7BD, pattern(10)), le16(0), le32(9999), ebl(pattern(10))), []string{"Silicon Labs EBL CRC-32 passed"}, ""},
		{"five bytes that are no element", raw(h, element(0, pattern(10)), []byte{0xEB, 0x17, 0xA6, 0x03, 0}), []string{"Silicon Labs GBL CRC-32 failed"}, "ends at offset 0"},
		{"GBL with no element around it", raw(h, gbl(pattern(10))), []string{"Silicon Labs GBL CRC-32 passed"}, ""},

		{"IKEA", signed, []string{"IKEA block digests passed", "IKEA signature notVerifiable"}, "3 blocks"},
		{"IKEA, first block changed", edit(signed, 1000, 0, 0, 0), []string{"IKEA block digests failed", "IKEA signature notVerifiable"}, "block 1 of 3"},
		{"IKEA, last block changed", edit(signed, -600, 0, 0, 0), []string{"IKEA block digests failed", "IKEA signature notVerifiable"}, "block 3 of 3"},
		{"IKEA with EBL", ikea(file(ebl(pattern(100)))), []string{"IKEA block digests passed", "IKEA signature notVerifiable", "Silicon Labs EBL CRC-32 passed"}, ""},
		{"ThirdReality", genuine, []string{"ThirdReality SHA-512 passed"}, ""},
		{"ThirdReality, header changed", edit(genuine, 100, 0xAA), []string{"ThirdReality SHA-512 failed"}, "expected "},
		{"Salus archive", tarOf(t, salusInfo("a.ota", image), archived{"a.ota", image}), []string{"Salus archive MD5 passed"}, ""},
		{"Salus archive, wrong digest", tarOf(t, salusInfo("a.ota", image[1:]), archived{"a.ota", image}), []string{"Salus archive MD5 failed"}, "expected "},

		{"Salus trailer", trailer(plain(salus, 99), nil, false), []string{"Salus trailer CRC-32 passed"}, ""},
		{"Salus trailer of another manufacturer", trailer(plain(h, 99), nil, false), []string{"Salus trailer CRC-32 passed"}, ""},
		{"Salus trailer, wrong", edit(trailer(plain(salus, 99), nil, false), -1, 0xAA), []string{"Salus trailer CRC-32 failed"}, "expected "},
		{"Salus trailer, file changed", edit(trailer(plain(salus, 99), nil, false), 99, 0xAA), []string{"Salus trailer CRC-32 failed"}, "expected "},
		{"Salus trailer and archive", tarOf(t, salusInfo("a.ota", trailer(plain(salus, 99), nil, false)), archived{"a.ota", trailer(plain(salus, 99), nil, false)}),
			[]string{"Salus archive MD5 passed", "Salus trailer CRC-32 passed"}, ""},
		{"Salus without a trailer", plain(salus, 99), nil, ""},
		{"SDevices trailer", trailer(plain(sdevices, 99), []byte{0xFF, 0xFF, 0xFF}, true), []string{"SDevices trailer CRC-32 passed"}, ""},
		{"SDevices trailer without padding", trailer(plain(sdevices, 99), nil, true), []string{"SDevices trailer CRC-32 passed"}, ""},
		{"SDevices trailer of another manufacturer", trailer(plain(h, 99), []byte{0xFF}, true), []string{"SDevices trailer CRC-32 passed"}, ""},
		{"SDevices trailer, wrong", edit(trailer(plain(sdevices, 99), []byte{0xFF}, true), 99, 0xAA), []string{"SDevices trailer CRC-32 failed"}, "expected "},
		{"padding that is none", trailer(plain(sdevices, 99), []byte{0xFE}, true), nil, ""},

		{"signature and certificate", raw(h, element(0, pattern(9)), element(1, pattern(50)), element(2, pattern(48))), []string{"ECDSA signature notVerifiable"}, "issuer"},
		{"the longer ones, twice", raw(h, element(5, pattern(80)), element(5, pattern(80)), element(6, pattern(74))), []string{"ECDSA signature notVerifiable"}, "issuer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := otafile.Parse(c.bytes)
			if err != nil {
				t.Fatal(err)
			}
			if f.Checks != nil {
				t.Error("Parse filled Checks")
			}
			checks := f.Verify()
			if d := cmp.Diff(checks, f.Checks); d != "" {
				t.Errorf("Verify returns something else than it keeps:\n%s", d)
			}
			if d := cmp.Diff(c.checks, names(checks)); d != "" {
				t.Fatalf("checks (-want +got):\n%s\n%v", d, checks)
			}
			if c.says != "" && !strings.Contains(checks[0].String(), c.says) {
				t.Errorf("%q does not say %q", checks[0], c.says)
			}
			failed := 0
			for _, check := range checks {
				if check.Status == otafile.Failed {
					failed++
				}
				if check.Expected != "" && (check.Expected == check.Found) != (check.Status == otafile.Passed) {
					t.Errorf("expected %s, found %s, but %s", check.Expected, check.Found, check.Status)
				}
			}
			if got := len(f.Failed()); got != failed {
				t.Errorf("Failed has %d checks, want %d", got, failed)
			}
			if d := cmp.Diff(checks, f.Verify()); d != "" {
				t.Errorf("a second Verify finds something else:\n%s", d)
			}
		})
	}
}

func TestCheckJSON(t *testing.T) {
	check := otafile.Check{Name: otafile.CheckTelink, Status: otafile.Failed, Detail: "d", Expected: "01", Found: "02"}
	b, err := json.Marshal(check)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"Telink CRC-32","status":"failed","detail":"d","expected":"01","found":"02"}`; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	var back otafile.Check
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(check, back); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := json.Unmarshal([]byte(`{"status":"good"}`), &back); err == nil {
		t.Error("an unknown status was taken")
	}
	if got := otafile.Status(9).String(); got != "Status(9)" {
		t.Errorf("got %q", got)
	}
}

// random returns bytes that cannot be packed, the same ones each time.
func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// xzLastCheck returns the offset of the CRC-32 of the last block of a stream; the footer says how long the
// index behind it is.
func xzLastCheck(stream []byte) int {
	footer := len(stream) - 12
	return footer - 4*(int(stream[footer+4])+1) - 4
}

// xzWithFilter returns a stream whose block has two filters.
func xzWithFilter(t testing.TB) []byte {
	b := xzOf(t, pattern(100), xz.CRC32)
	header := b[12 : 12+4*(int(b[12])+1)]
	header[1] |= 1
	copy(header[len(header)-4:], le32(crc32.ChecksumIEEE(header[:len(header)-4])))
	return b
}

func TestChip(t *testing.T) {
	h := testHeader()
	good := telink(pattern(1000))
	damaged := edit(good, 500, 0, 0)
	for _, c := range []struct {
		name  string
		bytes []byte
		want  otafile.Chip
	}{
		{"in the upgrade image", otafile.Build(h, good), otafile.ChipTelink},
		{"of a B91", otafile.Build(h, telinkB91(pattern(1000))), otafile.ChipTelink},
		{"with a wrong checksum", otafile.Build(h, damaged), otafile.ChipUnknown},
		{"cut short", otafile.Build(h, good[:500]), otafile.ChipUnknown},
		{"in 0xF000 with two bytes more", raw(h, le16(0xF000), le32(1032), []byte{1, 0x0C}, good), otafile.ChipTelink},
		{"in 0xF000 with a length that does not fit", raw(h, le16(0xF000), le32(9999), []byte{1, 0x0C}, good), otafile.ChipTelink},
		{"before a manufacturer's element", raw(h, element(0, good), element(0xF100, pattern(10))), otafile.ChipTelink},
		{"behind a manufacturer's element", raw(h, element(0xF7BD, pattern(160)), element(0, good)), otafile.ChipTelink},
		{"for a second processor", raw(h, element(0, pattern(160)), element(0xF000, good)), otafile.ChipUnknown},
		{"for a second processor, first", raw(h, element(0xF000, good), element(0, pattern(160))), otafile.ChipUnknown},
		{"behind another header", otafile.Build(h, join(pattern(128), good)), otafile.ChipUnknown},
		{"of Texas Instruments", otafile.Build(h, oad(pattern(1000), 1000)), otafile.ChipTexasInstruments},
		{"of Texas Instruments, packed", otafile.Build(h, oad(xzOf(t, pattern(1000), xz.CRC32), 1000)), otafile.ChipTexasInstruments},
		{"of Texas Instruments, with a wrong checksum", otafile.Build(h, edit(oad(pattern(1000), 1000), 500, 0, 0)), otafile.ChipUnknown},
		{"of another vendor", otafile.Build(h, gbl(pattern(100))), otafile.ChipUnknown},
		{"with no element", raw(h), otafile.ChipUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := otafile.Parse(c.bytes)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Chip(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
