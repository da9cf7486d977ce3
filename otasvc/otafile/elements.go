package otafile

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Tags of the elements behind the header (Zigbee Cluster Library, OTA upgrade cluster). Tags from
// TagManufacturer on belong to the manufacturer.
const (
	TagUpgradeImage   = 0x0000
	TagSignature      = 0x0001 // 50 bytes, ECDSA over curve sect163k1
	TagCertificate    = 0x0002 // 48 bytes, for TagSignature
	TagIntegrityCode  = 0x0003 // 16 bytes, see IntegrityCode
	TagPicture        = 0x0004
	TagSignature283   = 0x0005 // 80 bytes, ECDSA over curve sect283k1
	TagCertificate283 = 0x0006 // 74 bytes, for TagSignature283
	TagManufacturer   = 0xF000
)

const (
	elementHeader = 6 // bytes: a tag of 2 and a length of 4

	// maxElements bounds what a file of nothing but empty elements costs. Real files have up to 175.
	maxElements = 4096

	// telinkExtra is the number of bytes between the length and the data of the one element of some Telink
	// files. The length does not count them; they are 01 0C in all files that were seen.
	telinkExtra = 2
)

// Element is one tagged piece of the file behind the header. In real files the upgrade image may be absent,
// be there twice, or not come first.
type Element struct {
	Tag    uint16
	Offset uint32 // of the data from the header's first byte, in bytes
	Length uint32 // of the data, in bytes
}

// walk holds what was found on the way through the elements of an image.
type walk struct {
	elements []Element
	warning  string // why the elements do not add up; empty where they do
	stopped  int    // offset of the first byte that belongs to no element; the image's size where all do
}

// parseElements walks the elements of an image from at, its header length, to its end. Elements that do not
// add up to the total image size are a warning, as devices accept such files. More elements than any real
// file has are an [ErrElements].
func parseElements(image []byte, at int) (w walk, err error) {
	for len(image)-at >= elementHeader {
		e := Element{
			Tag:    binary.LittleEndian.Uint16(image[at:]),
			Offset: uint32(at + elementHeader),
			Length: binary.LittleEndian.Uint32(image[at+2:]),
		}
		left := uint64(len(image) - at - elementHeader)
		if len(w.elements) == 0 && e.Tag == TagManufacturer && uint64(e.Length)+telinkExtra == left {
			e.Offset += telinkExtra
			return walk{[]Element{e}, "", len(image)}, nil
		}
		if uint64(e.Length) > left {
			w.warning = fmt.Sprintf("the elements do not add up to the total image size: "+
				"tag 0x%04X at offset %d says %d bytes, %d are left",
				e.Tag, at, e.Length, left)
			w.stopped = at
			return w, nil
		}
		if len(w.elements) == maxElements {
			if len(bytes.Trim(image[at:], "\x00")) != 0 {
				return walk{}, fmt.Errorf("%w: more than %d", ErrElements, maxElements)
			}
			break // the rest is padding: six zeros look like an empty element
		}
		w.elements = append(w.elements, e)
		at += elementHeader + int(e.Length)
	}
	if left := len(image) - at; left != 0 {
		w.warning = fmt.Sprintf("the elements do not add up to the total image size: "+
			"%d bytes are left at offset %d", left, at)
	}
	w.stopped = at
	return w, nil
}

// data returns the element's data, a part of image.
func (e Element) data(image []byte) []byte {
	return image[e.Offset:][:e.Length:e.Length]
}
