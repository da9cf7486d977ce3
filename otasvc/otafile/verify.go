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

// Verify runs every check that exists for the file, keeps the results in Checks and returns them; where
// several elements have the same, there is one result for those that passed and one for those that failed. No
// check at all is common: then nothing but the transport and a digest from elsewhere vouches for the file.
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

func (f *File) has(tag uint16) bool {
	for _, e := range f.Elements {
		if e.Tag == tag {
			return true
		}
	}
	return false
}

// checkIntegrityCodes compares the integrity codes with the hash of what is before them. The image is hashed
// once, however many there are.
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

// checkIntegrityCode accepts any of the three ways in which vendors compute the code of the element at the
// given offset: over what is before the element; over that and the element's tag and length; or as the first,
// but with the message length in 16 bits although it does not fit.
func checkIntegrityCode(hash *mmoHash, image []byte, at int, expected [mmoSize]byte) Check {
	hash.advance(image[:at])
	standard := hash.sum(image[:at], isLong(at))
	c := compare(CheckIntegrityCode, hex.EncodeToString(expected[:]), hex.EncodeToString(standard[:]))
	if c.Status == Passed {
		return c
	}
	dialect := ""
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

// checkTrailer checks the four bytes that some vendors put behind the image, at the end of the file: CRC-32
// of everything before it. Salus, who is not alone in it, puts it right behind the image; SDevices puts its
// complement there, after 0xFF up to a multiple of some block size.
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
	// The manufacturers whose trailer must be right; that of others may be anything.
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

func compareCRC(name string, expected, found uint32) Check {
	return compare(name, fmt.Sprintf("%08x", expected), fmt.Sprintf("%08x", found))
}

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

func checkThirdReality(container []byte) Check {
	found := sha512.Sum512(container[sha512.Size:])
	return compare(CheckThirdReality, hex.EncodeToString(container[:sha512.Size]),
		hex.EncodeToString(found[:]))
}

func checkSalusArchive(expected string, contents []byte) Check {
	found := md5.Sum(contents)
	return compare(CheckSalusArchive, expected, hex.EncodeToString(found[:]))
}
