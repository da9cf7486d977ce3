package otafile_test

import (
	"bytes"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// FuzzParse holds what must be true of any input: nothing panics, what is served is a whole image whose header says so,
// elements lie inside it, and parsing the image alone gives the same image.
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
	for _, firmware := range [][]byte{gbl(pattern(30)), ebl(pattern(30)), encryptedEBL(pattern(30)), telink(pattern(30))} {
		f.Add(otafile.Build(testHeader(), firmware))
		f.Add(ikea(otafile.Build(testHeader(), firmware)))
		f.Add(raw(testHeader(), le16(0xF000), le32(uint32(len(firmware))), []byte{1, 0x0C}, firmware))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		parsed, err := otafile.Parse(b)
		if err != nil {
			return
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
