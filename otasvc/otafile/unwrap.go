package otafile

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Values of File.Wrapper. For a container in a container it is the inner one, " in " and the outer one.
const (
	wrapperIKEA         = "IKEA signed"
	wrapperLegrand      = "Legrand"
	wrapperThirdReality = "ThirdReality"
	wrapperSalus        = "Salus tar"
	wrapperSalusGzip    = "Salus gzipped tar"
	wrapperTar          = "tar"
	wrapperTarGzip      = "gzipped tar"
	wrapperGzip         = "gzip"
	wrapperHue          = "Hue sbl-ota"
	wrapperDriver       = "driver package (c4z)"
	wrapperZip          = "zip"
	wrapperUnknown      = "unknown container"
)

// Limits on what the containers of one input may unpack to, all together. The largest real image has 2.1 MB;
// a driver package has a few hundred files.
const (
	maxUnpacked = 32 << 20 // bytes
	maxEntries  = 10_000   // files in archives
	maxNesting  = 3        // containers in containers
)

// magicBytes is the magic as it stands in a file.
var magicBytes = []byte{0x1E, 0xF1, 0xEE, 0x0B}

// unwrapper takes containers off, and counts down what the limits still allow.
type unwrapper struct {
	bytesLeft   int64
	entriesLeft int
}

func newUnwrapper() *unwrapper {
	return &unwrapper{bytesLeft: maxUnpacked, entriesLeft: maxEntries}
}

// open takes the containers off b and parses the OTA file in them. depth is the number of containers around
// b.
func (u *unwrapper) open(b []byte, depth int) (*File, error) {
	unwrap := u.containerOf(b)
	if unwrap == nil {
		if !bytes.HasPrefix(b, magicBytes) {
			return nil, fmt.Errorf("%w: %s", ErrNotOTA, describe(b))
		}
		return parseBare(b)
	}
	if depth == maxNesting {
		return nil, fmt.Errorf("%w: containers are nested more than %d deep", ErrWrapper, maxNesting)
	}
	return unwrap(b, depth)
}

// openOrSearch does what open does, for a whole file: where that is neither a known container nor an OTA
// file, it may be an unknown container, so it is searched for a header.
func (u *unwrapper) openOrSearch(b []byte, depth int) (*File, error) {
	if u.containerOf(b) == nil && !bytes.HasPrefix(b, magicBytes) {
		return search(b)
	}
	return u.open(b, depth)
}

// containerOf returns the function that opens the container b, or nil where b is no known container. What
// starts like an OTA file is no container, whatever its header string or firmware look like.
func (u *unwrapper) containerOf(b []byte) func(b []byte, depth int) (*File, error) {
	switch {
	case bytes.HasPrefix(b, magicBytes):
		return nil
	case bytes.HasPrefix(b, []byte("NGIS")):
		return u.ikea
	case isLegrand(b):
		return u.legrand
	case isThirdReality(b):
		return u.thirdReality
	case isGzip(b):
		return u.gzip
	case isTar(b):
		return u.tar
	case isZip(b):
		return u.zip
	}
	return nil
}

// inner opens what a container holds at the given offset, and names the container.
func (u *unwrapper) inner(container string, offset int, b []byte, depth int) (*File, error) {
	f, err := u.open(b, depth+1)
	if err != nil {
		return nil, fmt.Errorf("%s container, at offset %d: %w", container, offset, err)
	}
	f.wrapIn(container)
	return f, nil
}

// wrapIn notes that the file came in a container, which is around those noted before.
func (f *File) wrapIn(container string) {
	if f.Wrapper == "" {
		f.Wrapper = container
		return
	}
	f.Wrapper += " in " + container
}

// ikea opens IKEA's signed files. They start with "NGIS" and 32-bit words: at offset 16 the offset of the
// image, at 20 its size, at 32 the block size, at 36 the number of blocks, from 40 on a SHA-256 digest of
// each block. The image follows, then a tail of 512 bytes with a signature.
func (u *unwrapper) ikea(b []byte, depth int) (*File, error) {
	const fixed = 40
	const ikeaTail = 512
	if len(b) < fixed {
		return nil, fmt.Errorf("%w: an %s container has at least %d bytes, there are %d",
			ErrTruncated, wrapperIKEA, fixed, len(b))
	}
	word := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(b[at:])) }
	offset := word(16)
	size := word(20)
	blockSize := word(32)
	blocks := word(36)
	if blockSize == 0 || offset != fixed+32*blocks || blocks != (size+blockSize-1)/blockSize {
		return nil, fmt.Errorf("%w: %s container says that %d bytes at offset %d are %d blocks of %d, "+
			"which does not fit together",
			ErrWrapper, wrapperIKEA, size, offset, blocks, blockSize)
	}
	if offset+size > uint64(len(b)) {
		return nil, fmt.Errorf("%w: %s container says that %d bytes are at offset %d, but it ends at %d",
			ErrTruncated, wrapperIKEA, size, offset, len(b))
	}
	image := b[offset : offset+size]
	f, err := u.inner(wrapperIKEA, int(offset), image, depth)
	if err != nil {
		return nil, err
	}
	if tail := uint64(len(b)) - offset - size; tail < ikeaTail {
		f.Warnings = append(f.Warnings,
			fmt.Sprintf("the signature behind the image has %d bytes instead of %d", tail, ikeaTail))
	} else {
		f.Trailing += int(tail - ikeaTail)
	}
	digests := b[fixed:offset]
	f.wrapperChecks = append(f.wrapperChecks,
		func() Check { return checkIKEA(digests, image, int(blockSize)) },
		func() Check {
			return Check{Name: CheckIKEASignature, Detail: "made with a key that only IKEA has"}
		})
	return f, nil
}

// legrandAround is the number of bytes that a Legrand container has around the image: its length before it
// and 17 bytes behind it.
const legrandAround = 4 + 17

// startsLegrand reports whether b starts like a Legrand container: a length, then an OTA header.
func startsLegrand(b []byte) bool {
	return len(b) > 4 && bytes.HasPrefix(b[4:], magicBytes)
}

// isLegrand reports whether b is a Legrand container: its length is right, too.
func isLegrand(b []byte) bool {
	return startsLegrand(b) && uint64(binary.LittleEndian.Uint32(b))+legrandAround == uint64(len(b))
}

// legrand opens a Legrand container.
func (u *unwrapper) legrand(b []byte, depth int) (*File, error) {
	return u.inner(wrapperLegrand, 4, b[4:len(b)-17], depth)
}

// ThirdReality's container starts with the SHA-512 of the rest. 32-bit words follow: 16 at offset 64, the
// length of the rest at 68, and at 72 the offset of the image, 152.
const (
	thirdRealityDigest = 64  // bytes
	thirdRealityStart  = 152 // offset of the image
)

// isThirdReality reports whether b starts like a ThirdReality container.
func isThirdReality(b []byte) bool {
	return len(b) >= thirdRealityStart &&
		binary.LittleEndian.Uint32(b[thirdRealityDigest:]) == 16 &&
		binary.LittleEndian.Uint32(b[thirdRealityDigest+8:]) == thirdRealityStart
}

// thirdReality opens a ThirdReality container.
func (u *unwrapper) thirdReality(b []byte, depth int) (*File, error) {
	rest := uint64(binary.LittleEndian.Uint32(b[thirdRealityDigest+4:]))
	if rest < thirdRealityStart-thirdRealityDigest {
		return nil, fmt.Errorf("%w: %s container says that it has %d bytes",
			ErrWrapper, wrapperThirdReality, thirdRealityDigest+rest)
	}
	if thirdRealityDigest+rest > uint64(len(b)) {
		return nil, fmt.Errorf("%w: %s container says that it has %d bytes, there are %d",
			ErrTruncated, wrapperThirdReality, thirdRealityDigest+rest, len(b))
	}
	end := int(thirdRealityDigest + rest)
	f, err := u.inner(wrapperThirdReality, thirdRealityStart, b[thirdRealityStart:end], depth)
	if err != nil {
		return nil, err
	}
	f.Trailing += len(b) - end
	f.wrapperChecks = append(f.wrapperChecks, func() Check { return checkThirdReality(b[:end]) })
	return f, nil
}

// isHueLight recognises what follows the header in the .sbl-ota files of older Hue lights: a format of their
// own instead of elements. It starts with 2A 00, a tag that no other vendor uses.
func isHueLight(behindHeader []byte) bool {
	return bytes.HasPrefix(behindHeader, []byte{0x2A, 0x00, 0x01})
}

// search looks for a header in a container that is not known. It takes the first one whose image is all
// there. Where there is none, the error names the first header whose image is cut short.
func search(b []byte) (*File, error) {
	truncatedAt := -1
	for at := 0; ; at++ {
		next := bytes.Index(b[at:], magicBytes)
		if next < 0 {
			break
		}
		at += next
		plausible, whole := plausibleHeader(b[at:])
		if whole {
			f, err := parseBare(b[at:])
			if err != nil {
				return nil, fmt.Errorf("at offset %d: %w", at, err)
			}
			f.wrapIn(wrapperUnknown)
			f.Warnings = append(f.Warnings, fmt.Sprintf("the file does not start with an OTA header; "+
				"one was found by searching, at offset %d", at))
			return f, nil
		}
		if plausible && truncatedAt < 0 {
			truncatedAt = at
		}
	}
	if truncatedAt >= 0 {
		return nil, fmt.Errorf("%w: a header at offset %d says %d bytes, there are %d", ErrTruncated,
			truncatedAt, binary.LittleEndian.Uint32(b[truncatedAt+52:]), len(b)-truncatedAt)
	}
	return nil, fmt.Errorf("%w: %s", ErrNotOTA, describe(b))
}

// plausibleHeader reports whether b, which starts with the magic, could start with a header, and whether the
// whole image that it announces is there. It is stricter than ParseHeader, which reads headers where they are
// expected.
func plausibleHeader(b []byte) (plausible, whole bool) {
	if len(b) < fixedHeader {
		return false, false
	}
	h := Header{
		HeaderVersion: binary.LittleEndian.Uint16(b[4:]),
		HeaderLength:  binary.LittleEndian.Uint16(b[6:]),
		FieldControl:  binary.LittleEndian.Uint16(b[8:]),
		TotalSize:     binary.LittleEndian.Uint32(b[52:]),
	}
	plausible = (h.HeaderVersion == HeaderVersionZigbee || h.HeaderVersion == HeaderVersionThread) &&
		int(h.HeaderLength) >= h.fieldsLength() && h.HeaderLength <= maxHeader &&
		h.TotalSize > uint32(h.HeaderLength)
	return plausible, plausible && uint64(h.TotalSize) <= uint64(len(b))
}

// describe says what a file that is no OTA file is instead: most often something that a wrong URL led to.
func describe(b []byte) string {
	if len(b) == 0 {
		return "it is empty"
	}
	text := bytes.ToLower(bytes.TrimLeft(b[:min(len(b), 512)], "\xEF\xBB\xBF \t\r\n"))
	for _, known := range []struct{ prefix, what string }{
		{"<!doctype html", "it is a web page"},
		{"<html", "it is a web page"},
		{"<", "it is XML or HTML"},
		{"{", "it is JSON"},
		{"version https://git-lfs", "it is a Git LFS pointer: the file itself lies elsewhere"},
		{"\xEB\x17\xA6\x03", "it is bare Silicon Labs GBL firmware, without an OTA header"},
		{"\x00\x00\x00\x8C", "it is bare Silicon Labs EBL firmware, without an OTA header"},
		{"\x7FELF", "it is a program (ELF)"},
		{"Rar!", "it is a RAR archive, which cannot be opened here"},
		{"7z\xBC\xAF", "it is a 7z archive, which cannot be opened here"},
	} {
		if bytes.HasPrefix(text, []byte(known.prefix)) || bytes.HasPrefix(b, []byte(known.prefix)) {
			return known.what
		}
	}
	return fmt.Sprintf("there is no OTA header in its %d bytes, which start with % X",
		len(b), b[:min(4, len(b))])
}
