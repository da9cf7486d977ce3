package otafile_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// Makers of files for the tests of this package.

func testHeader() otafile.Header {
	h := otafile.Header{ManufacturerCode: 0x1234, ImageType: 0x0042, FileVersion: 0x01020304, StackVersion: 2}
	copy(h.HeaderString[:], "test image")
	return h
}

// testImage is a file with one element of n bytes that are no firmware of a known format.
func testImage(n int) []byte {
	return otafile.Build(testHeader(), pattern(n))
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// edit returns a copy of b with bytes at an offset replaced; a negative offset counts from the end.
func edit(b []byte, at int, with ...byte) []byte {
	b = bytes.Clone(b)
	if at < 0 {
		at += len(b)
	}
	copy(b[at:], with)
	return b
}

func le16(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func element(tag uint16, data []byte) []byte {
	return join(le16(tag), le32(uint32(len(data))), data)
}

// raw is a file with a header of 56 bytes and exactly the given bytes behind it.
func raw(h otafile.Header, behind ...[]byte) []byte {
	h.HeaderVersion, h.HeaderLength = 0x0100, 56
	b := join(behind...)
	h.TotalSize = uint32(56 + len(b))
	return append(h.Append(nil), b...)
}

func gbl(payload []byte) []byte {
	b := join(
		[]byte{0xEB, 0x17, 0xA6, 0x03}, le32(8), le32(0x03000000), le32(0), // header tag
		le32(0xFD0505FD), le32(uint32(len(payload))), payload, // program data
		le32(0xFC0404FC), le32(4), // end
	)
	return append(b, le32(crc32.ChecksumIEEE(b))...)
}

func ebl(payload []byte) []byte {
	b := join(
		[]byte{0x00, 0x00, 0x00, 0x8C}, pattern(0x8C), // header, big-endian tag and length
		[]byte{0xFD, 0x03, byte(len(payload) >> 8), byte(len(payload))}, payload,
		[]byte{0xFC, 0x04, 0x00, 0x04},
	)
	return append(b, le32(crc32.ChecksumIEEE(b))...)
}

func encryptedEBL(payload []byte) []byte {
	b := join(
		[]byte{0xFB, 0x05, 0x00, 0x06}, pattern(6),
		[]byte{0xF9, 0x0A, byte(len(payload) >> 8), byte(len(payload))}, payload,
		[]byte{0xFC, 0x04, 0x00, 0x04},
	)
	return append(b, le32(crc32.ChecksumIEEE(b))...)
}

func telink(payload []byte) []byte {
	b := join(pattern(8), []byte("KNLT"), pattern(12), le32(uint32(32+len(payload))), payload)
	return append(b, le32(^crc32.ChecksumIEEE(b))...)
}

func telinkB91(payload []byte) []byte {
	b := join(make([]byte, 24), le32(uint32(40+len(payload))), make([]byte, 4), []byte("KNLT"), payload)
	return append(b, le32(^crc32.ChecksumIEEE(b))...)
}

// xzOf packs data into an XZ stream with this check, or with none.
func xzOf(t testing.TB, data []byte, check byte) []byte {
	var b bytes.Buffer
	config := xz.WriterConfig{CheckSum: check, NoCheckSum: check == xz.None, DictCap: 4096, BlockSize: 1 << 20}
	w, err := config.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bouffalo is an XZ stream of firmware for Bouffalo Lab chips, with the digest behind it.
func bouffalo(t testing.TB, firmware []byte) []byte {
	b := xzOf(t, join([]byte("BFNP"), firmware), xz.CRC32)
	digest := sha256.Sum256(b)
	return append(b, digest[:]...)
}

func zlibOf(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// esp32 is an image for ESP32 chips with two segments.
func esp32(segment []byte) []byte {
	b := join([]byte{0xE9, 2}, make([]byte, 21), []byte{1})
	for range 2 {
		b = join(b, le32(0x40380000), le32(uint32(len(segment))), segment)
	}
	for len(b)%16 != 15 {
		b = append(b, 0)
	}
	b = append(b, 0x5A)
	digest := sha256.Sum256(b)
	return append(b, digest[:]...)
}

// oad is an OAD image of the given program. Its size is that of the program unpacked.
func oad(program []byte, unpackedSize int) []byte {
	header := join([]byte{3, 1, 0xF7, 0xFF, 0xFF, 0xFF, 7, 0}, le32(0xFFFFFFFF), le32(uint32(44+unpackedSize)), le32(44), pattern(12))
	checked := join(header, program)
	return join([]byte("CC26x2R1"), le32(crc32.ChecksumIEEE(checked)), checked)
}

func ikea(image []byte) []byte { return ikeaBlocks(image, 0x4000) }

func ikeaBlocks(image []byte, blockSize int) []byte {
	var digests []byte
	blocks := 0
	for at := 0; at < len(image); at += blockSize {
		digest := sha256.Sum256(image[at:min(at+blockSize, len(image))])
		digests = append(digests, digest[:]...)
		blocks++
	}
	offset := uint32(40 + len(digests))
	return join([]byte("NGIS"), le32(12), le32(0x7DA), le32(0x19C), le32(offset), le32(uint32(len(image))),
		le32(offset+uint32(len(image))), le32(11), le32(uint32(blockSize)), le32(uint32(blocks)), digests, image, pattern(512))
}

func legrand(image []byte) []byte {
	return join(le32(uint32(len(image))), image, pattern(17))
}

func thirdReality(image []byte) []byte {
	rest := join(le32(16), le32(uint32(152-64+len(image))), le32(152), pattern(152-64-12), image)
	digest := sha512.Sum512(rest)
	return join(digest[:], rest)
}

type archived struct {
	name string
	data []byte
}

func tarOf(t testing.TB, files ...archived) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			t.Fatal(err)
		}
		w.Write(f.data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func salusInfo(name string, contents []byte) archived {
	return archived{"networkinfo.json", fmt.Appendf(nil, `{"upgrade":[{"filename":%q,"version":"00000006","checksum":"%X","type":4}]}`, name, md5.Sum(contents))}
}

func gzipOf(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t testing.TB, files ...archived) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		fw, err := w.Create(f.name)
		if err != nil {
			t.Fatal(err)
		}
		fw.Write(f.data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// names returns "name status" of each check.
func names(checks []otafile.Check) []string {
	var all []string
	for _, c := range checks {
		all = append(all, c.Name+" "+c.Status.String())
	}
	return all
}
