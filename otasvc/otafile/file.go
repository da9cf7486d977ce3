package otafile

import (
	"errors"
)

// What Parse and ParseHeader fail with; ask with errors.Is.
var (
	// ErrNotOTA: there is no OTA header in the input, bare or in any known container.
	ErrNotOTA = errors.New("not a Zigbee OTA file")
	// ErrTruncated: the input ends before what its header or container announces.
	ErrTruncated = errors.New("the file is cut short")
	// ErrHeader: there is an OTA header, but its fields contradict each other or its version is unknown.
	ErrHeader = errors.New("the OTA header is malformed")
	// ErrWrapper: a container was recognised, but it is damaged or holds no OTA file.
	ErrWrapper = errors.New("the container around the OTA file is unusable")
	// ErrTooLarge: a container unpacks to more than the limits allow.
	ErrTooLarge = errors.New("the container unpacks to too much")
)

// Tags of the elements behind the header (Zigbee Cluster Library, OTA upgrade cluster). Tags from TagManufacturer on
// belong to the manufacturer.
const (
	TagUpgradeImage   = 0x0000
	TagSignature      = 0x0001 // ECDSA over curve sect163k1
	TagCertificate    = 0x0002 // for TagSignature
	TagIntegrityCode  = 0x0003 // 16 bytes of AES-MMO
	TagPicture        = 0x0004
	TagSignature283   = 0x0005 // ECDSA over curve sect283k1
	TagCertificate283 = 0x0006 // for TagSignature283
	TagManufacturer   = 0xF000
)

// Element is one tagged piece of the file behind the header.
type Element struct {
	Tag    uint16
	Offset uint32 // of the element's data from the header's first byte; tag and length are the six bytes before, or two more in some Telink files
	Length uint32 // of the data, in bytes
}

// File is a parsed OTA file. It refers to the bytes given to Parse, which must not change while it is in use.
type File struct {
	Header   Header
	Elements []Element
	Wrapper  string // what was around the OTA file, for people; empty when nothing was
	Image    []byte // what a device gets: Header.TotalSize bytes from the header's first, untouched
	Trailing int    // bytes behind the image that belong neither to it nor to its container
	Warnings []string
	Checks   []Check // what Verify found; nil before
}

// Status is the outcome of a check.
type Status int

// Outcomes of a check.
const (
	NotVerifiable Status = iota // there is something to check, but no way to do it, such as a key that only the vendor has
	Passed
	Failed
)

// Check is one verification of a file's integrity.
type Check struct {
	Name     string `json:"name"` // short and stable, such as "Silicon Labs GBL CRC-32"
	Status   Status `json:"status"`
	Detail   string `json:"detail,omitempty"`   // a sentence for people, where there is more to say
	Expected string `json:"expected,omitempty"` // as the file or the caller says it, in hex
	Found    string `json:"found,omitempty"`    // as computed, in hex
}

// Parse takes the container off b, where there is one, and reads header and elements of the OTA file in it.
// It verifies nothing: see Verify.
//
// Errors: [ErrNotOTA], [ErrTruncated], [ErrHeader], [ErrWrapper], [ErrTooLarge]. They tell what was found and where.
func Parse(b []byte) (*File, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	if int(h.TotalSize) > len(b) {
		return nil, ErrTruncated
	}
	return &File{Header: h, Image: b[:h.TotalSize], Trailing: len(b) - int(h.TotalSize)}, nil
}

// Verify runs every check that exists for the file, keeps the results in Checks and returns them.
func (f *File) Verify() []Check { return f.Checks }

// Failed returns the checks that failed.
func (f *File) Failed() []Check {
	var failed []Check
	for _, c := range f.Checks {
		if c.Status == Failed {
			failed = append(failed, c)
		}
	}
	return failed
}
