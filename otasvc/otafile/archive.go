package otafile

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

const (
	salusInfo    = "networkinfo.json" // the file of a Salus archive that names the image
	maxSalusInfo = 64 << 10           // bytes
	tarBlock     = 512                // bytes
)

// isGzip reports whether b starts like a gzip stream.
func isGzip(b []byte) bool { return bytes.HasPrefix(b, []byte{0x1F, 0x8B, 0x08}) }

// isZip reports whether b starts like a zip archive.
func isZip(b []byte) bool { return bytes.HasPrefix(b, []byte("PK\x03\x04")) }

// isTar checks the checksum of the first header: old archives have it too, but not always the text "ustar".
func isTar(b []byte) bool {
	if len(b) < tarBlock || b[0] == 0 {
		return false
	}
	var sum, want int64
	for i, c := range b[:tarBlock] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	for _, c := range bytes.Trim(b[148:156], " \x00") {
		if c < '0' || c > '7' {
			return false
		}
		want = want<<3 | int64(c-'0')
	}
	return sum == want
}

// gzip opens a compressed file, most often a tar archive.
func (u *unwrapper) gzip(b []byte, depth int) (*File, error) {
	unpacked, err := u.gunzip(b)
	if err != nil {
		return nil, fmt.Errorf("%s container: %w", wrapperGzip, sentinel(err))
	}
	f, err := u.openOrSearch(unpacked, depth+1)
	if err != nil {
		return nil, fmt.Errorf("%s container: %w", wrapperGzip, err)
	}
	switch f.Wrapper {
	case wrapperSalus:
		f.Wrapper = wrapperSalusGzip
	case wrapperTar:
		f.Wrapper = wrapperTarGzip
	default:
		f.wrapIn(wrapperGzip)
	}
	return f, nil
}

// gunzip unpacks one gzip stream, or several in a row, which belong together. It ignores bytes behind them
// that do not start like a stream.
func (u *unwrapper) gunzip(b []byte) (unpacked []byte, err error) {
	rest := bytes.NewReader(b)
	r, err := gzip.NewReader(rest)
	for ; err == nil; err = r.Reset(rest) {
		r.Multistream(false)
		stream, err := u.readAll(r)
		if err != nil {
			return nil, err
		}
		if unpacked == nil {
			unpacked = stream
		} else {
			unpacked = append(unpacked, stream...)
		}
		if !isGzip(b[len(b)-rest.Len():]) {
			return unpacked, nil
		}
		if err := u.countEntry(); err != nil { // empty streams cost no bytes, but time
			return nil, err
		}
	}
	return nil, err
}

// tar opens a tar archive with an image in it. Salus puts a networkinfo.json beside the image, with the
// image's name and MD5.
func (u *unwrapper) tar(b []byte, depth int) (*File, error) {
	var found candidates
	var info []byte
	r := tar.NewReader(bytes.NewReader(b))
	for {
		entry, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s container: %w", wrapperTar, sentinel(err))
		}
		if err := u.countEntry(); err != nil {
			return nil, fmt.Errorf("%s container: %w", wrapperTar, sentinel(err))
		}
		if entry.Typeflag != tar.TypeReg {
			continue
		}
		if path.Base(entry.Name) == salusInfo && entry.Size <= maxSalusInfo {
			if info, err = u.readAll(r); err != nil {
				return nil, fmt.Errorf("%q in %s: %w", entry.Name, wrapperTar, sentinel(err))
			}
			continue
		}
		if err := u.consider(&found, wrapperTar, entry.Name, r, depth); err != nil {
			return nil, err
		}
	}
	if info == nil {
		return found.pick(wrapperTar)
	}
	listed := readSalusInfo(info)
	found.prefer(func(name string) bool { return listed[path.Base(name)] != "" })
	f, err := found.pick(wrapperSalus)
	if err != nil {
		return nil, err
	}
	picked := found.files[0]
	if want := listed[path.Base(picked.name)]; want != "" {
		f.wrapperChecks = append(f.wrapperChecks, func() Check {
			return checkSalusArchive(want, picked.contents)
		})
	} else {
		f.Warnings = append(f.Warnings,
			fmt.Sprintf("%s does not name %q, so its digest is not known", salusInfo, picked.name))
	}
	return f, nil
}

// readSalusInfo returns the MD5, in lower-case hex, of each file that a networkinfo.json names. It returns
// nothing where b is not JSON. Salus writes {"upgrade":[{"filename":…,"checksum":…}]}. Any object that has
// a text beside a text that is an MD5 will do, since names that are not in the archive do no harm.
func readSalusInfo(b []byte) map[string]string {
	var info any
	if json.Unmarshal(b, &info) != nil {
		return nil
	}
	listed := map[string]string{}
	collectDigests(info, listed)
	return listed
}

// collectDigests adds to listed the files and digests in a JSON value and what is below it.
func collectDigests(value any, listed map[string]string) {
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			collectDigests(v, listed)
		}
	case map[string]any:
		var names, sums []string
		for key, v := range value {
			text, isText := v.(string)
			switch {
			case !isText:
				collectDigests(v, listed)
			case isMD5(text):
				names = append(names, key)
				sums = append(sums, text)
			default:
				names = append(names, text)
			}
		}
		if len(sums) == 1 { // with several it is not clear which file each belongs to
			for _, name := range names {
				listed[path.Base(strings.ReplaceAll(name, `\`, "/"))] = strings.ToLower(sums[0])
			}
		}
	}
}

// isMD5 reports whether text is an MD5 in hex.
func isMD5(text string) bool {
	sum, err := hex.DecodeString(text)
	return err == nil && len(sum) == md5.Size
}

// zip opens a zip archive with an image in it. A driver package has the image under www/, among many other
// files.
func (u *unwrapper) zip(b []byte, depth int) (*File, error) {
	// Each file of the archive has this signature in the directory. They are counted first, because reading
	// the directory takes much more memory than its bytes.
	if bytes.Count(b, []byte("PK\x01\x02")) > u.entriesLeft {
		return nil, fmt.Errorf("%s container: %w", wrapperZip, errTooManyEntries)
	}
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, fmt.Errorf("%s container: %w", wrapperZip, sentinel(err))
	}
	var found candidates
	for _, entry := range r.File {
		if err := u.countEntry(); err != nil {
			return nil, fmt.Errorf("%s container: %w", wrapperZip, sentinel(err))
		}
		const encrypted = 1
		if entry.Flags&encrypted != 0 || strings.HasSuffix(entry.Name, "/") {
			continue
		}
		contents, err := entry.Open()
		if err != nil {
			found.failed(fmt.Errorf("%q in %s: %w", entry.Name, wrapperZip, sentinel(err)))
			continue
		}
		err = u.consider(&found, wrapperZip, entry.Name, contents, depth)
		contents.Close() // nothing was written
		if err != nil {
			return nil, err
		}
	}
	underWWW := func(name string) bool {
		return slices.Contains(strings.Split(path.Dir(strings.ReplaceAll(name, `\`, "/")), "/"), "www")
	}
	if found.prefer(underWWW) {
		return found.pick(wrapperDriver)
	}
	return found.pick(wrapperZip)
}

// candidates are the OTA files that an archive holds.
type candidates struct {
	files []candidate
	err   error // why the first entry that looked like an OTA file is none
}

// candidate is one of them.
type candidate struct {
	name     string
	contents []byte
	file     *File
}

// consider adds an archive's entry to the candidates when there is an OTA file in it. It returns an error
// only when the limits are exceeded, an [ErrTooLarge].
func (u *unwrapper) consider(found *candidates, container, name string, r io.Reader, depth int) error {
	buffered := bufio.NewReaderSize(r, tarBlock)
	start, _ := buffered.Peek(tarBlock) // the next read returns the error again
	if u.containerOf(start) == nil && !bytes.HasPrefix(start, magicBytes) && !startsLegrand(start) {
		return nil
	}
	contents, err := u.readAll(buffered)
	if err == nil {
		var f *File
		if f, err = u.open(contents, depth+1); err == nil {
			found.files = append(found.files, candidate{name, contents, f})
			return nil
		}
	}
	err = fmt.Errorf("%q in %s: %w", name, container, sentinel(err))
	if errors.Is(err, ErrTooLarge) {
		return err
	}
	found.failed(err)
	return nil
}

// failed notes why an entry is no candidate. The first reason counts.
func (c *candidates) failed(err error) {
	if c.err == nil {
		c.err = err
	}
}

// prefer drops the candidates whose name is not wanted. It drops none, and returns false, where no name is
// wanted.
func (c *candidates) prefer(wanted func(name string) bool) bool {
	if !slices.ContainsFunc(c.files, func(f candidate) bool { return wanted(f.name) }) {
		return false
	}
	c.files = slices.DeleteFunc(c.files, func(f candidate) bool { return !wanted(f.name) })
	return true
}

// pick returns the one OTA file of an archive. Several files with the same image are one.
func (c *candidates) pick(container string) (*File, error) {
	if len(c.files) == 0 {
		if c.err != nil {
			return nil, c.err
		}
		return nil, fmt.Errorf("%w: there is no OTA file in the %s", ErrWrapper, container)
	}
	first := c.files[0]
	for _, other := range c.files[1:] {
		if !bytes.Equal(first.file.Image, other.file.Image) {
			return nil, fmt.Errorf("%w: there are %d OTA files in the %s, such as %q and %q: "+
				"unpack it and take the one you want",
				ErrWrapper, len(c.files), container, first.name, other.name)
		}
	}
	first.file.wrapIn(container)
	return first.file, nil
}

// readAll reads what a container unpacks to. It fails with [ErrTooLarge] when the limit is exceeded.
func (u *unwrapper) readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, u.bytesLeft+1))
	if int64(len(b)) > u.bytesLeft {
		return nil, fmt.Errorf("%w: more than %d MiB", ErrTooLarge, maxUnpacked>>20)
	}
	u.bytesLeft -= int64(len(b))
	return b, err
}

// countEntry counts one entry of an archive. It fails with [ErrTooLarge] when there are too many.
func (u *unwrapper) countEntry() error {
	if u.entriesLeft == 0 {
		return errTooManyEntries
	}
	u.entriesLeft--
	return nil
}

var errTooManyEntries = fmt.Errorf("%w: more than %d files", ErrTooLarge, maxEntries)

// sentinel wraps an error of an archive in one of this package's errors, unless it is one already.
func sentinel(err error) error {
	switch {
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrNotOTA), errors.Is(err, ErrTruncated),
		errors.Is(err, ErrHeader), errors.Is(err, ErrElements), errors.Is(err, ErrWrapper):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	return fmt.Errorf("%w: %w", ErrWrapper, err)
}
