package otafile

import (
	"errors"
	"fmt"
)

// The errors of Parse and ParseHeader; test for them with errors.Is.
var (
	// ErrNotOTA means that there is no OTA header in the input, neither bare nor in a known container.
	ErrNotOTA = errors.New("not a Zigbee OTA file")
	// ErrTruncated means that the input is shorter than its header or container says.
	ErrTruncated = errors.New("the file is cut short")
	// ErrHeader means that the fields of the OTA header contradict each other, or that its version is
	// unknown.
	ErrHeader = errors.New("the OTA header is malformed")
	// ErrWrapper means that a container was recognised, but is damaged or holds no OTA file.
	ErrWrapper = errors.New("the container around the OTA file is unusable")
	// ErrElements means that there are so many elements that the file is garbage or an attack.
	ErrElements = errors.New("the file has too many elements")
	// ErrTooLarge means that a container unpacks to more than the limits allow.
	ErrTooLarge = errors.New("the container unpacks to too much")
)

// File is a parsed OTA file. Without a container that packs, it refers to the bytes given to [Parse], which
// must not change while it is in use.
type File struct {
	Header   Header
	Elements []Element
	Wrapper  string   // the container that the OTA file came in, in words; empty when it came in none
	Image    []byte   // what a device gets: Header.TotalSize bytes from the header's first, untouched
	Trailing int      // number of bytes behind the image that its container does not account for
	Warnings []string // what is odd about the file, in sentences for people
	Checks   []Check  // the results of Verify; nil before Verify was called

	contents      []byte         // the image and the bytes that follow it
	behind        []byte         // the end of the image that belongs to no element
	wrapperChecks []func() Check // the checks of the containers, which Verify runs
}

// Parse takes the container off b, where there is one, and reads header and elements of the OTA file in it.
// It verifies no checksum: [File.Verify] does.
//
// Parse tries known containers and a header at the first byte, and only then searches b for a plausible
// header: almost half of all real files contain the magic again somewhere inside, many with a header that
// looks right.
//
// Errors: [ErrNotOTA], [ErrTruncated], [ErrHeader], [ErrElements], [ErrWrapper], [ErrTooLarge]. Their text
// says what was found and where.
func Parse(b []byte) (*File, error) {
	return newUnwrapper().openOrSearch(b, 0)
}

// parseBare reads an OTA file that starts at the first byte of b. Bytes may follow it.
func parseBare(b []byte) (*File, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	if uint64(h.TotalSize) > uint64(len(b)) {
		return nil, fmt.Errorf("%w: its header says %d bytes, there are %d",
			ErrTruncated, h.TotalSize, len(b))
	}
	f := &File{
		Header:   h,
		Image:    b[:h.TotalSize:h.TotalSize],
		Trailing: len(b) - int(h.TotalSize),
		Warnings: h.warnings(),
		contents: b,
	}
	if isHueLight(f.Image[h.HeaderLength:]) {
		f.Wrapper = wrapperHue
		f.behind = f.Image[h.HeaderLength:]
		return f, nil
	}
	w, err := parseElements(f.Image, int(h.HeaderLength))
	if err != nil {
		return nil, err
	}
	f.Elements = w.elements
	f.behind = f.Image[w.stopped:]
	if w.warning != "" {
		f.Warnings = append(f.Warnings, w.warning)
	}
	return f, nil
}

// Failed returns the checks that failed. It is empty before [File.Verify].
func (f *File) Failed() []Check {
	var failed []Check
	for _, c := range f.Checks {
		if c.Status == Failed {
			failed = append(failed, c)
		}
	}
	return failed
}
