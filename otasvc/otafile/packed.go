package otafile

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// unpackingMemory bounds what unpacking the firmware in one file may allocate, all together, in bytes. The
// largest firmware seen unpacks to 1.8 MB.
const unpackingMemory = 16 << 20

// unpacking counts down the memory that unpacking the firmware in a file may still take.
type unpacking struct{ left int64 }

// take reports whether that much memory may still be taken, and takes it.
func (m *unpacking) take(bytes int64) bool {
	if bytes > m.left {
		return false
	}
	m.left -= bytes
	return true
}

const (
	// zlibState is what the reader of a zlib stream allocates, in bytes.
	zlibState = 64 << 10

	// surelyZlib is how many bytes a zlib stream must unpack to before damage in it counts. Its first two
	// bytes are no magic: other data starts like this as well, and cannot be unpacked.
	surelyZlib = 4096
)

// isZlib reports whether data starts like a zlib stream (RFC 1950) with a window of 32 KiB.
func isZlib(data []byte) bool {
	return len(data) >= 2 && data[0] == 0x78 && binary.BigEndian.Uint16(data)%31 == 0 && data[1]&0x20 == 0
}

// checkZlib unpacks the zlib stream that data starts with, which compares its Adler-32, and checks the
// firmware in it. It returns nothing when data is surely no zlib stream.
func (m *unpacking) checkZlib(data []byte) []Check {
	if !m.take(zlibState) {
		return []Check{{Name: CheckZlib, Detail: errUnpacksTooMuch.Error()}}
	}
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	// The buffer allocates up to twice as much as is in it while it grows.
	var unpacked bytes.Buffer
	most := m.left / 2
	n, err := unpacked.ReadFrom(io.LimitReader(r, most+1))
	m.take(min(m.left, 2*n))

	switch {
	case n > most:
		return []Check{{Name: CheckZlib, Detail: errUnpacksTooMuch.Error()}}
	case err != nil && n < surelyZlib:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return []Check{{
			Name: CheckZlib, Status: Failed,
			Detail: fmt.Sprintf("it is cut short: it ends after %d unpacked bytes", n),
		}}
	case err != nil:
		return []Check{{
			Name: CheckZlib, Status: Failed,
			Detail: fmt.Sprintf("it cannot be unpacked beyond %d bytes: %v", n, err),
		}}
	}
	checks := []Check{{Name: CheckZlib, Status: Passed}}
	if isESP32(unpacked.Bytes()) {
		checks = append(checks, checkESP32(unpacked.Bytes()))
	}
	return checks
}

// An image for ESP32 chips starts with a header of 24 bytes: 0xE9, the number of segments, at 19 four bytes
// that are zero, at 23 whether a SHA-256 is appended. The segments follow, each with its address and its
// length in 32 bits, then at the next offset that is one less than a multiple of 16 a checksum, then the
// SHA-256 of everything before it (esp-idf, esp_image_format.h).
const (
	esp32Header      = 24
	esp32Segment     = 8 // bytes of a segment's header
	esp32MostSegment = 16
	esp32Align       = 16
)

// isESP32 reports whether data starts like an image for ESP32 chips that has a SHA-256.
func isESP32(data []byte) bool {
	return len(data) >= esp32Header && data[0] == 0xE9 && data[1] > 0 && data[1] <= esp32MostSegment &&
		binary.LittleEndian.Uint32(data[19:]) == 0 && data[23] == 1
}

// checkESP32 compares the SHA-256 that an image for ESP32 chips ends with. Padding or a signature may follow.
func checkESP32(data []byte) Check {
	short := Check{Name: CheckESP32, Status: Failed, Detail: "it is cut short"}
	at := uint64(esp32Header)
	for range data[1] {
		if at+esp32Segment > uint64(len(data)) {
			return short
		}
		at += esp32Segment + uint64(binary.LittleEndian.Uint32(data[at+4:]))
	}
	at += esp32Align - at%esp32Align
	if at+sha256.Size > uint64(len(data)) {
		return short
	}
	found := sha256.Sum256(data[:at])
	return compare(CheckESP32, hex.EncodeToString(data[at:at+sha256.Size]), hex.EncodeToString(found[:]))
}

// Images for Texas Instruments' over-the-air download (OAD) start with the name of the chip in 8 bytes, and a
// CRC-32 of what follows it. The version of the header stands at 13, at 24 the size of the image, at 28 the
// offset of the program (TI SimpleLink SDK, oad_image_header.h).
const (
	oadChecked   = 12 // offset
	oadVersion   = 13
	oadSize      = 24
	oadProgram   = 28
	oadHeader    = 44 // bytes
	oadVersionIs = 1
)

// isOAD reports whether data starts like an OAD image.
func isOAD(data []byte) bool {
	return len(data) >= oadHeader && data[oadVersion] == oadVersionIs &&
		(bytes.HasPrefix(data, []byte("CC13x")) || bytes.HasPrefix(data, []byte("CC26x")))
}

// checkOAD checks the CRC-32 of an OAD image. Where the program in it is packed, the size and the CRC-32 are
// those of the unpacked image, in which vendors differ; then the packed stream is checked.
func (m *unpacking) checkOAD(data []byte) []Check {
	size := uint64(binary.LittleEndian.Uint32(data[oadSize:]))
	program := uint64(binary.LittleEndian.Uint32(data[oadProgram:]))
	if program < uint64(len(data)) && isXZ(data[program:]) {
		return m.checkXZ(data[program:])
	}
	switch {
	case size < oadHeader:
		return []Check{{
			Name: CheckOAD, Status: Failed,
			Detail: fmt.Sprintf("it says that it has %d bytes, which is less than its own header", size),
		}}
	case size > uint64(len(data)):
		return []Check{{
			Name: CheckOAD, Status: Failed,
			Detail: fmt.Sprintf("it is cut short: it says that it has %d bytes, %d are there",
				size, len(data)),
		}}
	}
	return []Check{compareCRC(CheckOAD, binary.LittleEndian.Uint32(data[8:]),
		crc32.ChecksumIEEE(data[oadChecked:size]))}
}
