package otafile

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

// Verify runs every check that exists for the file, keeps the results in Checks and returns them. Where
// several elements have the same check, there is one result for those that passed and one for those that
// failed. For many files no check is known here: then only a digest from elsewhere can show that the file is
// whole.
func (f *File) Verify() []Check {
	f.Checks = nil
	for _, check := range f.wrapperChecks {
		f.Checks = append(f.Checks, check())
	}
	f.Checks = append(f.Checks, merge(f.checkIntegrityCodes())...)
	f.Checks = append(f.Checks, merge(f.checkFirmware())...)
	if c, exists := f.checkTrailer(); exists {
		f.Checks = append(f.Checks, c)
	}
	if f.has(TagSignature) || f.has(TagSignature283) {
		f.Checks = append(f.Checks, Check{
			Name: CheckSignature, Detail: "the certificate's issuer is not known here",
		})
	}
	return f.Checks
}

// has reports whether the file has an element with this tag.
func (f *File) has(tag uint16) bool {
	for _, e := range f.Elements {
		if e.Tag == tag {
			return true
		}
	}
	return false
}

// checkIntegrityCodes compares each integrity code with the hash of what stands before it. It hashes the
// image once, however many codes there are.
func (f *File) checkIntegrityCodes() []Check {
	var checks []Check
	var hash mmoHash
	for _, e := range f.Elements {
		if e.Tag != TagIntegrityCode {
			continue
		}
		if e.Length != mmoSize {
			checks = append(checks, Check{
				Name:   CheckIntegrityCode,
				Detail: fmt.Sprintf("it is %d bytes long instead of %d", e.Length, mmoSize),
			})
			continue
		}
		checks = append(checks,
			checkIntegrityCode(&hash, f.Image, int(e.Offset)-elementHeader, [mmoSize]byte(e.data(f.Image))))
	}
	return checks
}

// checkIntegrityCode checks the integrity code of the element at an offset of the image. It accepts the three
// dialects that vendors use: A is computed over what stands before the element; B also over the element's tag
// and length; C as A, but with the message length cut to 16 bits where it does not fit.
func checkIntegrityCode(hash *mmoHash, image []byte, at int, expected [mmoSize]byte) Check {
	hash.advance(image[:at])
	standard := hash.sum(image[:at], isLong(at))
	c := compare(CheckIntegrityCode, hex.EncodeToString(expected[:]), hex.EncodeToString(standard[:]))
	if c.Status == Passed {
		return c
	}
	var dialect string
	switch {
	case hash.sum(image[:at+elementHeader], isLong(at+elementHeader)) == expected:
		dialect = "computed over the code's own tag and length, too"
	case hash.sum(image[:at], false) == expected:
		dialect = "computed with the message length cut to 16 bits"
	default:
		return c
	}
	return Check{
		Name: CheckIntegrityCode, Status: Passed, Detail: dialect, Expected: c.Expected, Found: c.Expected,
	}
}

// checkTrailer checks the four bytes that some vendors put at the end of the file: the CRC-32 of everything
// before them. Salus and others put it right behind the image; SDevices puts its complement there, after 0xFF
// bytes up to a multiple of some block size. exists is false where there is no such trailer.
func (f *File) checkTrailer() (c Check, exists bool) {
	at := len(f.contents) - 4
	if at < len(f.Image) {
		return Check{}, false
	}
	padding := f.contents[len(f.Image):at]
	if bytes.Count(padding, []byte{0xFF}) != len(padding) {
		return Check{}, false
	}
	expected := binary.LittleEndian.Uint32(f.contents[at:])
	found := crc32.ChecksumIEEE(f.contents[:at])
	// A wrong trailer is a failure only in files of these manufacturers: other trailers mean something else.
	const salus = 0x1078
	const sdevices = 0x152F
	switch {
	case len(padding) == 0 && (expected == found || f.Header.ManufacturerCode == salus):
		return compareCRC(CheckSalus, expected, found), true
	case expected == ^found || f.Header.ManufacturerCode == sdevices:
		return compareCRC(CheckSDevices, expected, ^found), true
	}
	return Check{}, false
}

// compareCRC returns a check that passes when both CRC-32 values are equal.
func compareCRC(name string, expected, found uint32) Check {
	return compare(name, fmt.Sprintf("%08x", expected), fmt.Sprintf("%08x", found))
}

// checkIKEA compares the SHA-256 of each block of the image with the digests of the container, 32 bytes each.
// Only the last block may be shorter than blockSize.
func checkIKEA(digests, image []byte, blockSize int) Check {
	for i := 0; len(image) > 0; i++ {
		block := image[:min(blockSize, len(image))]
		image = image[len(block):]
		found := sha256.Sum256(block)
		if expected := digests[i*sha256.Size:][:sha256.Size]; !bytes.Equal(expected, found[:]) {
			c := compare(CheckIKEA, hex.EncodeToString(expected), hex.EncodeToString(found[:]))
			c.Detail = fmt.Sprintf("block %d of %d", i+1, len(digests)/sha256.Size)
			return c
		}
	}
	return Check{Name: CheckIKEA, Status: Passed, Detail: fmt.Sprintf("%d blocks", len(digests)/sha256.Size)}
}

// checkThirdReality compares the SHA-512 at the start of the container with that of the rest.
func checkThirdReality(container []byte) Check {
	found := sha512.Sum512(container[sha512.Size:])
	return compare(CheckThirdReality, hex.EncodeToString(container[:sha512.Size]),
		hex.EncodeToString(found[:]))
}

// checkSalusArchive compares the MD5 that the archive names for the image file, in hex, with that of the
// file.
func checkSalusArchive(expected string, contents []byte) Check {
	found := md5.Sum(contents)
	return compare(CheckSalusArchive, expected, hex.EncodeToString(found[:]))
}
