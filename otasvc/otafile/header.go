package otafile

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
)

// magic is the upgrade file identifier that every OTA header starts with; on disk it reads 1E F1 EE 0B.
const magic = 0x0BEEF11E

// Header versions (Zigbee Cluster Library, OTA upgrade cluster).
const (
	HeaderVersionZigbee = 0x0100 // the version that Zigbee devices accept
	HeaderVersionThread = 0x0200 // Thread: the destination field is 32 bytes instead of 8
)

// Bits of the header's field control. They announce the optional fields that follow the total image size, in
// this order.
const (
	FieldCredentialVersion = 1 << 0 // security credential version, 1 byte
	FieldDestination       = 1 << 1 // the only device that the file is for, 8 bytes (32 in a Thread header)
	FieldHardwareVersions  = 1 << 2 // minimum and maximum hardware version, 2 bytes each

	knownFields = FieldCredentialVersion | FieldDestination | FieldHardwareVersions
)

const (
	fixedHeader = 56        // bytes up to and including the total image size
	maxHeader   = 93        // with all optional fields of a Thread header; 69 in a Zigbee one
	anyVersion  = 1<<32 - 1 // the wildcard file version
	anyCode     = 1<<16 - 1 // the wildcard manufacturer code or image type
)

// Header is the header of an OTA upgrade file. Optional fields that the field control does
// not announce are nil.
type Header struct {
	HeaderVersion    uint16
	HeaderLength     uint16 // bytes; the first element starts here
	FieldControl     uint16
	ManufacturerCode uint16
	ImageType        uint16 // 0 is valid; 0xFFC0 to 0xFFC3 are credentials, configuration, log and picture
	FileVersion      uint32 // compares as an unsigned number, whatever its digits mean to the vendor
	StackVersion     uint16 // 0 Zigbee 2006, 1 Zigbee 2007, 2 Zigbee Pro, 3 Zigbee IP, 4 Thread
	HeaderString     [32]byte
	TotalSize        uint32 // bytes, header and all elements

	CredentialVersion  *uint8
	Destination        *uint64   // EUI-64 of the only device that the file is for
	ThreadDestination  *[32]byte // the same in a header of version 0x0200, raw
	MinHardwareVersion *uint16   // set if and only if MaxHardwareVersion is set
	MaxHardwareVersion *uint16
}

// ParseHeader reads the header that b starts with; b may be longer than the header.
//
// Errors: [ErrNotOTA] when b does not start with the magic, [ErrTruncated] when b ends inside the header,
// [ErrHeader] when the header contradicts itself or has an unknown version.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != magic {
		return Header{}, fmt.Errorf("%w: it starts with % X and not with 1E F1 EE 0B",
			ErrNotOTA, b[:min(4, len(b))])
	}
	if len(b) < fixedHeader {
		return Header{}, fmt.Errorf("%w: the header needs at least %d bytes, there are %d",
			ErrTruncated, fixedHeader, len(b))
	}
	h := Header{
		HeaderVersion:    binary.LittleEndian.Uint16(b[4:]),
		HeaderLength:     binary.LittleEndian.Uint16(b[6:]),
		FieldControl:     binary.LittleEndian.Uint16(b[8:]),
		ManufacturerCode: binary.LittleEndian.Uint16(b[10:]),
		ImageType:        binary.LittleEndian.Uint16(b[12:]),
		FileVersion:      binary.LittleEndian.Uint32(b[14:]),
		StackVersion:     binary.LittleEndian.Uint16(b[18:]),
		HeaderString:     [32]byte(b[20:52]),
		TotalSize:        binary.LittleEndian.Uint32(b[52:]),
	}
	if h.HeaderVersion != HeaderVersionZigbee && h.HeaderVersion != HeaderVersionThread {
		return h, fmt.Errorf("%w: unknown header version 0x%04X, known are 0x0100 and 0x0200",
			ErrHeader, h.HeaderVersion)
	}
	need := h.fieldsLength()
	if int(h.HeaderLength) < need {
		return h, fmt.Errorf("%w: header length %d, but field control 0x%04X needs %d",
			ErrHeader, h.HeaderLength, h.FieldControl, need)
	}
	if h.TotalSize < uint32(h.HeaderLength) {
		return h, fmt.Errorf("%w: total image size %d is less than the header length %d",
			ErrHeader, h.TotalSize, h.HeaderLength)
	}
	if len(b) < int(h.HeaderLength) {
		return h, fmt.Errorf("%w: the header is %d bytes long, there are %d",
			ErrTruncated, h.HeaderLength, len(b))
	}
	h.parseOptional(b[fixedHeader:])
	return h, nil
}

// parseOptional sets the optional fields that the field control announces. They stand at the start of b,
// which is long enough for them.
func (h *Header) parseOptional(b []byte) {
	if h.FieldControl&FieldCredentialVersion != 0 {
		v := b[0]
		h.CredentialVersion = &v
		b = b[1:]
	}
	if h.FieldControl&FieldDestination != 0 {
		if h.HeaderVersion == HeaderVersionThread {
			v := [32]byte(b)
			h.ThreadDestination = &v
			b = b[32:]
		} else {
			v := binary.LittleEndian.Uint64(b)
			h.Destination = &v
			b = b[8:]
		}
	}
	if h.FieldControl&FieldHardwareVersions != 0 {
		lowest := binary.LittleEndian.Uint16(b)
		highest := binary.LittleEndian.Uint16(b[2:])
		h.MinHardwareVersion = &lowest
		h.MaxHardwareVersion = &highest
	}
}

// fieldsLength returns how many bytes the fixed fields and those that the field control announces take.
func (h *Header) fieldsLength() int {
	n := fixedHeader
	if h.FieldControl&FieldCredentialVersion != 0 {
		n++
	}
	if h.FieldControl&FieldDestination != 0 {
		if h.HeaderVersion == HeaderVersionThread {
			n += 32
		} else {
			n += 8
		}
	}
	if h.FieldControl&FieldHardwareVersions != 0 {
		n += 4
	}
	return n
}

// Append appends the header to dst as it stands in a file. It writes every field as it is, except that it
// sets the three known bits of the field control for the optional fields that are there. The caller sets
// HeaderLength and TotalSize. A Header does not hold the bytes that some vendors put between the last field
// and the header length, so Append does not write them.
func (h Header) Append(dst []byte) []byte {
	h.FieldControl = h.presentFields()
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	dst = binary.LittleEndian.AppendUint16(dst, h.HeaderVersion)
	dst = binary.LittleEndian.AppendUint16(dst, h.HeaderLength)
	dst = binary.LittleEndian.AppendUint16(dst, h.FieldControl)
	dst = binary.LittleEndian.AppendUint16(dst, h.ManufacturerCode)
	dst = binary.LittleEndian.AppendUint16(dst, h.ImageType)
	dst = binary.LittleEndian.AppendUint32(dst, h.FileVersion)
	dst = binary.LittleEndian.AppendUint16(dst, h.StackVersion)
	dst = append(dst, h.HeaderString[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, h.TotalSize)
	if h.CredentialVersion != nil {
		dst = append(dst, *h.CredentialVersion)
	}
	switch {
	case h.HeaderVersion == HeaderVersionThread && h.ThreadDestination != nil:
		dst = append(dst, h.ThreadDestination[:]...)
	case h.HeaderVersion != HeaderVersionThread && h.Destination != nil:
		dst = binary.LittleEndian.AppendUint64(dst, *h.Destination)
	}
	if h.FieldControl&FieldHardwareVersions != 0 {
		dst = binary.LittleEndian.AppendUint16(dst, *h.MinHardwareVersion)
		dst = binary.LittleEndian.AppendUint16(dst, *h.MaxHardwareVersion)
	}
	return dst
}

// presentFields returns the field control with its known bits set for the optional fields that are there.
func (h *Header) presentFields() uint16 {
	fields := h.FieldControl &^ knownFields
	if h.CredentialVersion != nil {
		fields |= FieldCredentialVersion
	}
	if h.HeaderVersion == HeaderVersionThread && h.ThreadDestination != nil ||
		h.HeaderVersion != HeaderVersionThread && h.Destination != nil {
		fields |= FieldDestination
	}
	if h.MinHardwareVersion != nil && h.MaxHardwareVersion != nil {
		fields |= FieldHardwareVersions
	}
	return fields
}

// Wildcard reports whether the header stands for more than one image: file version 0xFFFFFFFF, or
// manufacturer code or image type 0xFFFF. Such headers occur in the wild. They must never be taken as
// matching every device.
func (h Header) Wildcard() bool {
	return h.FileVersion == anyVersion || h.ManufacturerCode == anyCode || h.ImageType == anyCode
}

// warnings returns what is odd about a header that is well formed, one sentence each.
func (h *Header) warnings() []string {
	var w []string
	if h.Wildcard() {
		w = append(w, fmt.Sprintf("the header has a wildcard (manufacturer code 0x%04X, image type 0x%04X, "+
			"file version 0x%08X): it is only for devices that report these codes, "+
			"and a version for any is installed only when it is asked for",
			h.ManufacturerCode, h.ImageType, h.FileVersion))
	}
	if h.HeaderVersion == HeaderVersionThread {
		w = append(w, "header version 0x0200: the file is made for Thread devices, not Zigbee ones")
	}
	if unknown := h.FieldControl &^ knownFields; unknown != 0 {
		w = append(w, fmt.Sprintf("field control 0x%04X has unknown bits", h.FieldControl))
	}
	if extra := int(h.HeaderLength) - h.fieldsLength(); extra > 0 {
		w = append(w, fmt.Sprintf("the header is %d bytes longer than its known fields", extra))
	}
	if h.MinHardwareVersion != nil && *h.MinHardwareVersion > *h.MaxHardwareVersion {
		w = append(w, fmt.Sprintf("no hardware fits: minimum hardware version %d, maximum %d",
			*h.MinHardwareVersion, *h.MaxHardwareVersion))
	}
	if kind := specialImageType(h.ImageType); kind != "" {
		w = append(w, fmt.Sprintf("image type 0x%04X is for %s, not firmware", h.ImageType, kind))
	}
	return w
}

// specialImageType returns what an image type that the OTA upgrade cluster reserves is for. It returns an
// empty text for all other image types.
func specialImageType(imageType uint16) string {
	switch imageType {
	case 0xFFC0:
		return "security credentials"
	case 0xFFC1:
		return "configuration"
	case 0xFFC2:
		return "a log"
	case 0xFFC3:
		return "a picture"
	}
	return ""
}

// Title returns the header string as a person can read it, possibly empty. The field's 32 bytes are often
// full without a NUL, padded with spaces, start with control characters or are no UTF-8: what does not
// print is left out.
func (h Header) Title() string {
	text, _, _ := strings.Cut(strings.TrimLeft(string(h.HeaderString[:]), "\x00"), "\x00")
	printable := strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	return strings.TrimSpace(printable)
}
