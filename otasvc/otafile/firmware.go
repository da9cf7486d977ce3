package otafile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// checkFirmware checks the firmware in every element whose format has a checksum of its own. Where the
// elements do not add up to the total image size, it also checks the bytes that belong to no element: the
// firmware stands at their beginning, or behind a tag and a length that are wrong.
func (f *File) checkFirmware() []Check {
	var checks []Check
	for _, e := range f.Elements {
		if c, known := checkFirmware(e.data(f.Image)); known {
			checks = append(checks, c)
		}
	}
	for _, skip := range []int{0, elementHeader, elementHeader + telinkExtra} {
		if skip > len(f.behind) {
			break
		}
		if c, known := checkFirmware(f.behind[skip:]); known {
			return append(checks, c)
		}
	}
	return checks
}

// checkFirmware checks the firmware that data starts with; known is false for formats without a checksum.
func checkFirmware(data []byte) (c Check, known bool) {
	switch {
	case bytes.HasPrefix(data, []byte{0xEB, 0x17, 0xA6, 0x03}):
		return checkTagged(CheckGBL, data, gblTags), true
	case bytes.HasPrefix(data, []byte{0x00, 0x00, 0x00, 0x8C}):
		return checkTagged(CheckEBL, data, eblTags), true
	case bytes.HasPrefix(data, []byte{0xFB, 0x05}):
		return checkTagged(CheckEncryptedEBL, data, eblTags), true
	case len(data) >= telinkSizeAt+4 && bytes.HasPrefix(data[8:], []byte("KNLT")):
		return checkTelink(data), true
	}
	return Check{}, false
}

// tagFormat describes how a Silicon Labs bootloader file writes tag and length of its pieces.
type tagFormat struct {
	header int // bytes of tag and length
	parse  func(b []byte) (tag, length uint32)
	end    uint32 // tag of the piece with the CRC-32, little-endian, of everything before its data
}

var (
	gblTags = tagFormat{8, func(b []byte) (tag, length uint32) {
		return binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	}, 0xFC0404FC}
	eblTags = tagFormat{4, func(b []byte) (tag, length uint32) {
		return uint32(binary.BigEndian.Uint16(b)), uint32(binary.BigEndian.Uint16(b[2:]))
	}, 0xFC04}
)

// checkTagged walks the pieces of a Silicon Labs bootloader file to the one with the checksum, and checks
// that. More bytes may follow.
func checkTagged(name string, data []byte, format tagFormat) Check {
	at := 0
	for len(data)-at >= format.header {
		tag, length := format.parse(data[at:])
		body := at + format.header
		if uint64(length) > uint64(len(data)-body) {
			return Check{
				Name:   name,
				Status: Failed,
				Detail: fmt.Sprintf("it is cut short: tag 0x%X at offset %d says %d bytes, %d are left",
					tag, at, length, len(data)-body),
			}
		}
		if tag == format.end {
			if length < 4 {
				return Check{
					Name:   name,
					Status: Failed,
					Detail: fmt.Sprintf("the checksum at offset %d has %d bytes instead of 4", at, length),
				}
			}
			return compareCRC(name, binary.LittleEndian.Uint32(data[body:]), crc32.ChecksumIEEE(data[:body]))
		}
		at = body + int(length)
	}
	return Check{
		Name:   name,
		Status: Failed,
		Detail: fmt.Sprintf("it ends at offset %d without the tag 0x%X that has the checksum",
			at, format.end),
	}
}

// telinkSizeAt is the offset of the size in Telink firmware, which has "KNLT" at offset 8. The size is a
// little-endian 32-bit number of bytes.
const telinkSizeAt = 0x18

// checkTelink checks the last four bytes of Telink firmware: the complement of the CRC-32 of what stands
// before them.
func checkTelink(data []byte) Check {
	size := uint64(binary.LittleEndian.Uint32(data[telinkSizeAt:]))
	if size < telinkSizeAt+8 {
		return Check{
			Name:   CheckTelink,
			Status: Failed,
			Detail: fmt.Sprintf("the firmware says that it has %d bytes, which is less than its own header",
				size),
		}
	}
	if size > uint64(len(data)) {
		return Check{
			Name:   CheckTelink,
			Status: Failed,
			Detail: fmt.Sprintf("it is cut short: the firmware says that it has %d bytes, %d are there",
				size, len(data)),
		}
	}
	return compareCRC(CheckTelink, binary.LittleEndian.Uint32(data[size-4:]),
		^crc32.ChecksumIEEE(data[:size-4]))
}
