package otafile

import (
	"errors"
	"fmt"
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
	// ErrElements: there are so many elements that the file can only be an attack or garbage.
	ErrElements = errors.New("the file has too many elements")
	// ErrTooLarge: a container unpacks to more than the limits allow.
	ErrTooLarge = errors.New("the container unpacks to too much")
)

// File is a parsed OTA file. Without a container that packs, it refers to the bytes given to [Parse], which
// must not change while it is in use.
type File struct {
	Header   Header
	Elements []Element
	Wrapper  string // what was around the OTA file, for people; empty when nothing was
	Image    []byte // what a device gets: Header.TotalSize bytes from the header's first, untouched
	Trailing int    // bytes behind the image that its container does not account for
	Warnings []string
	Checks   []Check // what Verify found; nil before

	contents      []byte         // the image and what trails it
	behind        []byte         // the end of the image that belongs to no element
	wrapperChecks []func() Check // what the containers have to check
}

// Parse takes the container off b, where there is one, and reads header and elements of the OTA file in it.
// It verifies nothing: see [File.Verify].
//
// Known containers and a header at the first byte come first, and only then a search for a header that
// could be one: almost half of all real files contain the magic again somewhere inside, many with a
// header that looks right.
//
// Errors: [ErrNotOTA], [ErrTruncated], [ErrHeader], [ErrElements], [ErrWrapper], [ErrTooLarge]. They tell
// what was found and where.
func Parse(b []byte) (*File, error) {
	return newUnwrapper().openOrSearch(b, 0)
}

// parseBare reads an OTA file that starts at the first byte of b and may have bytes trailing it.
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

// Failed returns those of Checks that failed.
func (f *File) Failed() []Check {
	var failed []Check
	for _, c := range f.Checks {
		if c.Status == Failed {
			failed = append(failed, c)
		}
	}
	return failed
}
