package otafile_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

func ptr[T any](v T) *T { return &v }

// fixedFields is the first 56 bytes of a header; version, length and field control differ between the cases.
func fixedFields(version, length, fieldControl uint16) []byte {
	return join(
		[]byte{0x1E, 0xF1, 0xEE, 0x0B},          // magic
		le16(version),                           // header version
		le16(length),                            // header length
		le16(fieldControl),                      // field control
		[]byte{0x7C, 0x11},                      // manufacturer code
		[]byte{0x01, 0x22},                      // image type
		[]byte{0x31, 0x56, 0x09, 0x23},          // file version
		[]byte{0x02, 0x00},                      // stack version
		[]byte("GBL tradfri_bulb\x00........."), // header string, first 26 bytes
		make([]byte, 6),                         // the rest of it
		le32(uint32(length)+6),                  // total image size
	)
}

var headerCases = []struct {
	name   string
	bytes  []byte
	header otafile.Header // what all cases have in common is left out
}{
	{"56 bytes: no optional field", fixedFields(0x0100, 56, 0), otafile.Header{}},
	{"57 bytes: credential version", join(fixedFields(0x0100, 57, 1), []byte{3}), otafile.Header{CredentialVersion: ptr(uint8(3))}},
	{"64 bytes: destination", join(fixedFields(0x0100, 64, 2), []byte{8, 7, 6, 5, 4, 3, 2, 1}),
		otafile.Header{Destination: ptr(uint64(0x0102030405060708))}},
	{"60 bytes: hardware versions", join(fixedFields(0x0100, 60, 4), []byte{1, 0}, []byte{0xFF, 0xFE}),
		otafile.Header{MinHardwareVersion: ptr(uint16(1)), MaxHardwareVersion: ptr(uint16(0xFEFF))}},
	{"65 bytes: credential version and destination", join(fixedFields(0x0100, 65, 3), []byte{0}, []byte{8, 7, 6, 5, 4, 3, 2, 1}),
		otafile.Header{CredentialVersion: ptr(uint8(0)), Destination: ptr(uint64(0x0102030405060708))}},
	{"61 bytes: credential and hardware versions", join(fixedFields(0x0100, 61, 5), []byte{9}, []byte{1, 0}, []byte{2, 0}),
		otafile.Header{CredentialVersion: ptr(uint8(9)), MinHardwareVersion: ptr(uint16(1)), MaxHardwareVersion: ptr(uint16(2))}},
	{"68 bytes: destination and hardware versions", join(fixedFields(0x0100, 68, 6), []byte{8, 7, 6, 5, 4, 3, 2, 1}, []byte{1, 0}, []byte{2, 0}),
		otafile.Header{Destination: ptr(uint64(0x0102030405060708)), MinHardwareVersion: ptr(uint16(1)), MaxHardwareVersion: ptr(uint16(2))}},
	{"69 bytes: all", join(fixedFields(0x0100, 69, 7), []byte{9}, []byte{8, 7, 6, 5, 4, 3, 2, 1}, []byte{1, 0}, []byte{2, 0}),
		otafile.Header{CredentialVersion: ptr(uint8(9)), Destination: ptr(uint64(0x0102030405060708)), MinHardwareVersion: ptr(uint16(1)), MaxHardwareVersion: ptr(uint16(2))}},
	{"Thread, 93 bytes: all", join(fixedFields(0x0200, 93, 7), []byte{9}, pattern(32), []byte{1, 0}, []byte{2, 0}),
		otafile.Header{CredentialVersion: ptr(uint8(9)), ThreadDestination: ptr([32]byte(pattern(32))), MinHardwareVersion: ptr(uint16(1)), MaxHardwareVersion: ptr(uint16(2))}},
}

func TestHeader(t *testing.T) {
	for _, c := range headerCases {
		t.Run(c.name, func(t *testing.T) {
			want := c.header
			want.HeaderVersion = binary.LittleEndian.Uint16(c.bytes[4:])
			want.HeaderLength = binary.LittleEndian.Uint16(c.bytes[6:])
			want.FieldControl = binary.LittleEndian.Uint16(c.bytes[8:])
			want.ManufacturerCode, want.ImageType, want.FileVersion, want.StackVersion = 0x117C, 0x2201, 0x23095631, 2
			copy(want.HeaderString[:], "GBL tradfri_bulb\x00.........")
			want.TotalSize = uint32(len(c.bytes)) + 6

			got, err := otafile.ParseHeader(join(c.bytes, pattern(20)))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("ParseHeader (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.bytes, got.Append(nil)); d != "" {
				t.Errorf("Append (-want +got):\n%s", d)
			}
			for n := range c.bytes {
				if _, err := otafile.ParseHeader(c.bytes[:n]); !errors.Is(err, otafile.ErrTruncated) && !(n < 4 && errors.Is(err, otafile.ErrNotOTA)) {
					t.Errorf("cut to %d bytes: %v", n, err)
				}
			}
		})
	}
}

func TestHeaderAppendFollowsTheFieldsThatAreSet(t *testing.T) {
	h := testHeader()
	h.HeaderVersion, h.HeaderLength, h.TotalSize = 0x0100, 60, 60
	h.FieldControl = 0x8003 // claims a credential version and a destination
	h.MinHardwareVersion, h.MaxHardwareVersion = ptr(uint16(1)), ptr(uint16(2))
	got, err := otafile.ParseHeader(h.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	h.FieldControl = 0x8004
	if d := cmp.Diff(h, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestHeaderErrors(t *testing.T) {
	whole := fixedFields(0x0100, 56, 0)
	for _, c := range []struct {
		name  string
		bytes []byte
		is    error
		says  string
	}{
		{"nothing", nil, otafile.ErrNotOTA, "starts with"},
		{"another magic", edit(whole, 0, 0x1F), otafile.ErrNotOTA, "1F F1 EE 0B"},
		{"big-endian magic", edit(whole, 0, 0x0B, 0xEE, 0xF1, 0x1E), otafile.ErrNotOTA, "0B EE F1 1E"},
		{"magic only", whole[:4], otafile.ErrTruncated, "at least 56 bytes, there are 4"},
		{"unknown version", edit(whole, 4, 0, 3), otafile.ErrHeader, "version 0x0300"},
		{"header length 55", edit(whole, 6, 55), otafile.ErrHeader, "header length 55, but field control 0x0000 needs 56"},
		{"header length 0", edit(whole, 6, 0), otafile.ErrHeader, "needs 56"},
		{"no room for the hardware versions", edit(whole, 8, 4), otafile.ErrHeader, "header length 56, but field control 0x0004 needs 60"},
		{"no room for a Thread destination", edit(fixedFields(0x0200, 64, 2), 0), otafile.ErrHeader, "needs 88"},
		{"longest header, cut", edit(whole, 6, 0xFF, 0xFF, 0, 0), otafile.ErrHeader, "total image size 62 is less than the header length 65535"},
		{"longest header, total size to fit", edit(edit(whole, 6, 0xFF, 0xFF), 52, 0xFF, 0xFF), otafile.ErrTruncated, "65535 bytes long, there are 56"},
		{"total size 0", edit(whole, 52, 0), otafile.ErrHeader, "total image size 0"},
		{"total size below the header length", edit(whole, 52, 55), otafile.ErrHeader, "total image size 55"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := otafile.ParseHeader(c.bytes)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v with %q", err, c.is, c.says)
			}
		})
	}
}

func TestHeaderTitle(t *testing.T) {
	for _, c := range []struct{ name, raw, title string }{
		{"with a NUL", "GBL tradfri_bulb\x00garbage", "GBL tradfri_bulb"},
		{"full", "Encrypted GBL Z3SwitchSoc_sdk676", "Encrypted GBL Z3SwitchSoc_sdk676"},
		{"padded with spaces", "450727                          ", "450727"},
		{"all zeros", "", ""},
		{"NUL first", "\x00\x00lumi.switch", "lumi.switch"},
		{"control characters first", "\x01\x1bname\x7f", "name"},
		{"not UTF-8", "caf\xe9 \xff\xfe v2", "caf  v2"},
		{"UTF-8", "Zähler", "Zähler"},
		{"0xFF throughout", strings.Repeat("\xff", 32), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h otafile.Header
			copy(h.HeaderString[:], c.raw)
			if got := h.Title(); got != c.title {
				t.Errorf("got %q, want %q", got, c.title)
			}
		})
	}
}

func TestWildcard(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h *otafile.Header)
		want   bool
	}{
		{"none", func(h *otafile.Header) {}, false},
		{"file version", func(h *otafile.Header) { h.FileVersion = 0xFFFFFFFF }, true},
		{"manufacturer code", func(h *otafile.Header) { h.ManufacturerCode = 0xFFFF }, true},
		{"image type", func(h *otafile.Header) { h.ImageType = 0xFFFF }, true},
		{"credentials are none", func(h *otafile.Header) { h.ImageType = 0xFFC0 }, false},
		{"zeros are none", func(h *otafile.Header) { h.ImageType, h.ManufacturerCode, h.FileVersion = 0, 0, 0 }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := testHeader()
			c.change(&h)
			f, err := otafile.Parse(otafile.Build(h, pattern(10)))
			if err != nil {
				t.Fatal(err)
			}
			warned := slices.ContainsFunc(f.Warnings, func(w string) bool { return strings.Contains(w, "wildcard") })
			if got := f.Header.Wildcard(); got != c.want || warned != c.want {
				t.Errorf("Wildcard %v, warned %v, want %v", got, warned, c.want)
			}
		})
	}
}
