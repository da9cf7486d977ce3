package otafile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

// checkFirmware checks the firmware in every element whose format has a checksum of its own. Where the
// elements do not add up to the total image size, it also checks the bytes that belong to no element: the
// firmware stands at their beginning, or behind a tag and a length that are wrong.
func (f *File) checkFirmware() []Check {
	memory := &unpacking{left: unpackingMemory}
	var checks []Check
	for _, e := range f.Elements {
		data := e.data(f.Image)
		found := memory.checkFirmware(data)
		if len(found) == 0 {
			found = findTelink(data)
		}
		checks = append(checks, found...)
	}
	for _, data := range f.unframed() {
		if found := memory.checkFirmware(data); len(found) > 0 {
			return append(checks, found...)
		}
	}
	return checks
}

// checkFirmware checks the firmware that data starts with. It returns nothing for formats without a checksum.
func (m *unpacking) checkFirmware(data []byte) []Check {
	switch {
	case bytes.HasPrefix(data, []byte{0xEB, 0x17, 0xA6, 0x03}):
		return []Check{checkTagged(CheckGBL, data, gblTags)}
	case bytes.HasPrefix(data, []byte{0x00, 0x00, 0x00, 0x8C}):
		return []Check{checkTagged(CheckEBL, data, eblTags)}
	case bytes.HasPrefix(data, []byte{0xFB, 0x05}):
		return []Check{checkTagged(CheckEncryptedEBL, data, eblTags)}
	case isTelink(data):
		return []Check{checkTelink(data)}
	case isXZ(data):
		return m.checkXZ(data)
	case isESP32(data):
		return []Check{checkESP32(data)}
	case isOAD(data):
		return m.checkOAD(data)
	case isZlib(data):
		return m.checkZlib(data)
	}
	return nil
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

// Telink firmware has "KNLT" at offset 8, or at offset 32 in that of the chips with a RISC-V core (B91). At
// offset 0x18 its size stands, a little-endian 32-bit number of bytes.
const (
	telinkSizeAt      = 0x18
	telinkMarkAt      = 8
	telinkMarkAtB91   = 32
	telinkMark        = "KNLT"
	telinkHeader      = telinkSizeAt + 4
	telinkHeaderOfB91 = telinkMarkAtB91 + len(telinkMark)
)

// isTelink reports whether data starts like Telink firmware.
func isTelink(data []byte) bool {
	return len(data) >= telinkHeader && bytes.HasPrefix(data[telinkMarkAt:], []byte(telinkMark)) ||
		len(data) >= telinkHeaderOfB91 && bytes.HasPrefix(data[telinkMarkAtB91:], []byte(telinkMark))
}

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

// mostTelink is how many places in an element are tried at which Telink firmware could start. Each costs a
// checksum over the rest of the element.
const mostTelink = 8

// findTelink looks for Telink firmware that does not stand at the start of an element: some vendors put a
// header of their own before it. Code has the mark in it as well, so firmware is only what has the right
// checksum; anything else is not found.
func findTelink(data []byte) []Check {
	tried := 0
	for at := telinkMarkAt; tried < mostTelink; at++ {
		next := bytes.Index(data[min(at, len(data)):], []byte(telinkMark))
		if next < 0 {
			break
		}
		at += next
		for _, mark := range []int{telinkMarkAt, telinkMarkAtB91} {
			start := at - mark
			if start < 0 || !isTelink(data[start:]) {
				continue
			}
			tried++
			if c := checkTelink(data[start:]); c.Status == Passed {
				c.Detail = fmt.Sprintf("at offset %d of its element", start)
				return []Check{c}
			}
		}
	}
	return nil
}

// Chip is a maker of chips, whose stack the firmware for them has.
type Chip uint8

// The makers whose firmware is told apart.
const (
	ChipUnknown Chip = iota
	ChipTelink
	ChipTexasInstruments // those of the families CC13xx and CC26xx
)

// Chip says whose chip the firmware of the image is surely for: the upgrade image starts with firmware in
// that maker's format, and its checksum holds. An image that only contains such firmware, perhaps for a
// second processor in the device, does not count.
func (f *File) Chip() Chip {
	memory := &unpacking{left: unpackingMemory}
	for _, data := range f.firmware() {
		switch {
		case isTelink(data) && checkTelink(data).Status == Passed:
			return ChipTelink
		case isOAD(data) && allPassed(memory.checkOAD(data)):
			return ChipTexasInstruments
		}
	}
	return ChipUnknown
}

// allPassed reports whether there were checks, and all passed.
func allPassed(checks []Check) bool {
	failed := func(c Check) bool { return c.Status != Passed }
	return len(checks) > 0 && !slices.ContainsFunc(checks, failed)
}

// firmware returns where the firmware of the device itself may start: in the upgrade image element; without
// one, in the first element of the file; without any, in the bytes that belong to no element.
func (f *File) firmware() [][]byte {
	for _, e := range f.Elements {
		if e.Tag == TagUpgradeImage {
			return [][]byte{e.data(f.Image)}
		}
	}
	if len(f.Elements) > 0 {
		return [][]byte{f.Elements[0].data(f.Image)}
	}
	return f.unframed()
}

// unframed returns the bytes of the image that belong to no element, once from each place where firmware may
// start in them: at their beginning, or behind a tag and a length that are wrong.
func (f *File) unframed() [][]byte {
	var starts [][]byte
	for _, skip := range []int{0, elementHeader, elementHeader + telinkExtra} {
		if skip <= len(f.behind) {
			starts = append(starts, f.behind[skip:])
		}
	}
	return starts
}
