package otafile

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// What File.Wrapper says. For containers in containers it is the inner one, " in ", the outer one.
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

// Limits on what containers may unpack to, over all of an input's containers together. The largest real image
// has 2.1 MB; a driver package has a few hundred files.
const (
	maxUnpacked = 32 << 20
	maxEntries  = 10_000
	maxNesting  = 3
)

var magicBytes = []byte{0x1E, 0xF1, 0xEE, 0x0B}

// unwrapper takes containers off and counts what that costs.
type unwrapper struct {
	bytesLeft   int64
	entriesLeft int
}

func newUnwrapper() *unwrapper {
	return &unwrapper{bytesLeft: maxUnpacked, entriesLeft: maxEntries}
}

// open takes the containers off b, and parses the file in it.
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

// openOrSearch is open for a whole file: one that is no known container and no OTA file may be an
// unknown container.
func (u *unwrapper) openOrSearch(b []byte, depth int) (*File, error) {
	if u.containerOf(b) == nil && !bytes.HasPrefix(b, magicBytes) {
		return search(b)
	}
	return u.open(b, depth)
}

// containerOf recognises the container that b is. No container starts like an OTA file, so what does is none,
// whatever its header string or firmware look like.
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

func (f *File) wrapIn(container string) {
	if f.Wrapper == "" {
		f.Wrapper = container
		return
	}
	f.Wrapper += " in " + container
}

// ikea opens IKEA's signed files: "NGIS", then 32-bit words; at 16 the offset of the image, at 20 its size,
// at 32 the block size, at 36 the number of blocks, from 40 on a SHA-256 digest of each block; then the
// image, then a tail of 512 bytes with a signature.
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

// legrandAround is what a Legrand container has around the image: the length before it, 17 bytes behind it.
const legrandAround = 4 + 17

func startsLegrand(b []byte) bool {
	return len(b) > 4 && bytes.HasPrefix(b[4:], magicBytes)
}

func isLegrand(b []byte) bool {
	return startsLegrand(b) && uint64(binary.LittleEndian.Uint32(b))+legrandAround == uint64(len(b))
}

func (u *unwrapper) legrand(b []byte, depth int) (*File, error) {
	return u.inner(wrapperLegrand, 4, b[4:len(b)-17], depth)
}

// ThirdReality's container: 64 bytes SHA-512 of the rest; 32-bit words: at 64 16, at 68 the length of the
// rest, at 72 152, where the image starts.
const (
	thirdRealityDigest = 64
	thirdRealityStart  = 152
)

func isThirdReality(b []byte) bool {
	return len(b) >= thirdRealityStart &&
		binary.LittleEndian.Uint32(b[thirdRealityDigest:]) == 16 &&
		binary.LittleEndian.Uint32(b[thirdRealityDigest+8:]) == thirdRealityStart
}

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

// isHueLight recognises what follows the header in the .sbl-ota files of older Hue lights: no elements but a
// format of their own, in which 2A 00 would be a tag that nobody uses.
func isHueLight(behindHeader []byte) bool {
	return bytes.HasPrefix(behindHeader, []byte{0x2A, 0x00, 0x01})
}

// search looks for a header in a container that is not known. When there is none whose image is all there,
// the first that would do if more followed is told.
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

// plausibleHeader reports whether b, which starts with the magic, could start with a header, and whether
// the image that it announces is there too. It is stricter than ParseHeader, which is asked where a
// header is expected.
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

// describe tells what a file that is no OTA file is instead: most often something that a wrong URL led to.
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
