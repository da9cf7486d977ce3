package library

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrIndex means that a file is no index of images.
var ErrIndex = errors.New("it is no index of images")

// Limits on the size of an index. The largest known one has 1.6 MB and 1,500 entries.
const (
	maxIndexBytes   = 32 << 20
	maxIndexEntries = 50_000
	maxEntryBytes   = 64 << 10
	maxNames        = 256  // model or manufacturer names of an entry
	maxNotes        = 4096 // bytes of release notes
)

// Index holds the entries of an index file.
type Index struct {
	Format   string      // the name of the format, as in formatsRead
	Entries  []Candidate // in the order of the file
	Skipped  int         // number of entries that cannot be used
	Problem  string      // what is wrong with the first of them, for people; empty when Skipped is 0
	Gateways int         // number of entries that are firmware of a maker's gateway, and so for no device

	bare []bareEntry // the entries that lack what only the image says
}

// bareEntry is an entry of an index on the disk that says where its image is and little more.
type bareEntry struct {
	number    int // its place in the file, from 1
	candidate Candidate
}

// location is where an index is: at a URL, or on the disk.
type location struct {
	name string   // for people and logs, without user, password and query
	url  *url.URL // nil for a file
	path string   // absolute path of the file
}

// parseLocation reads the URL or path of an index.
func parseLocation(raw string) (location, error) {
	scheme, _, isURL := strings.Cut(raw, "://")
	if !isURL {
		path, err := filepath.Abs(raw)
		if raw == "" || err != nil {
			return location{}, fmt.Errorf("%q is neither the URL nor the path of an index", raw)
		}
		return location{name: path, path: path}, nil
	}
	u, err := parseURL(raw)
	switch {
	case err != nil || !isHTTP(u):
		return location{}, fmt.Errorf("the URL of an index must begin with http:// or https://, not %q",
			scheme)
	case u.Host == "":
		return location{}, errors.New("the URL of an index has no host")
	}
	bare := *u
	bare.User = nil
	bare.RawQuery = ""
	bare.Fragment = ""
	return location{name: bare.String(), url: u}, nil
}

// parse reads the bytes of the index.
func (at *location) parse(b []byte) (*Index, error) {
	if len(b) > maxIndexBytes {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrIndex, maxIndexBytes)
	}
	d := json.NewDecoder(bytes.NewReader(withoutMark(b)))
	list, err := openList(d)
	if err != nil {
		return nil, err
	}
	index := &Index{Format: list.formats[0].name}
	read := list.formats[0].read
	for number := 1; d.More(); number++ {
		if number > maxIndexEntries {
			return nil, fmt.Errorf("%w: it has more than %d entries", ErrIndex, maxIndexEntries)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrIndex, number, cut(err))
		}
		if number == 1 {
			index.Format, read = list.formatOf(raw)
		}
		entry, err := read(at, raw)
		index.add(number, entry, err)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIndex, cut(err))
	}
	if len(index.Entries)+len(index.bare) == 0 && index.Skipped > 0 {
		return nil, fmt.Errorf("%w: none of its %d entries can be used; %s",
			ErrIndex, index.Skipped, index.Problem)
	}
	return index, nil
}

// withoutMark returns a text without the byte order mark that some editors put before it.
func withoutMark(b []byte) []byte { return bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF")) }

// add adds an entry, or notes why it cannot be used. number is its place in the file, from 1.
func (i *Index) add(number int, entry Candidate, err error) {
	switch {
	case errors.Is(err, errGateway):
		i.Gateways++
	case err != nil:
		i.skip(number, err)
	case entry.bare:
		i.bare = append(i.bare, bareEntry{number, entry})
	default:
		i.Entries = append(i.Entries, entry)
	}
}

// skip notes that an entry cannot be used.
func (i *Index) skip(number int, err error) {
	if i.Skipped++; i.Skipped == 1 {
		i.Problem = fmt.Sprintf("entry %d: %v", number, err)
	}
}

// openList reads to the start of the list of images and returns what formats that list can have.
func openList(d *json.Decoder) (indexList, error) {
	switch first, err := d.Token(); {
	case err != nil:
		return indexList{}, fmt.Errorf("%w: %w", ErrIndex, cut(err))
	case first == json.Delim('['):
		return arrays(), nil
	case first == json.Delim('{'):
		return objects(), skipTo(d, "firmwares")
	default:
		return indexList{}, fmt.Errorf("%w: it is neither an array nor an object; %s", ErrIndex, formatsRead)
	}
}

// skipTo reads to the start of the array that the object has under key. The error is an [ErrIndex].
func skipTo(d *json.Decoder, key string) error {
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrIndex, cut(err))
		}
		if name == key {
			if value, err := d.Token(); err != nil || value != json.Delim('[') {
				return fmt.Errorf("%w: its %q is no array", ErrIndex, key)
			}
			return nil
		}
		var other json.RawMessage
		if err := d.Decode(&other); err != nil {
			return fmt.Errorf("%w: %w", ErrIndex, cut(err))
		}
	}
	return fmt.Errorf("%w: it is an object without %q; %s", ErrIndex, key, formatsRead)
}

// cut returns an error that says in words that a file is cut short, where err means that. It returns other
// errors as they are.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is cut short")
	}
	return err
}

// listedEntry holds the fields of an entry that both formats have.
type listedEntry struct {
	manufacturerCode, imageType *uint16
	fileVersion                 *uint32
	size                        uint32
	url, path                   string
	sha256, sha512, sha3        string
	title, notes                string
	limits                      Limits
}

// missing returns what of an entry is missing that its image says as well, for people; it is empty where
// nothing is missing.
func (e *listedEntry) missing() string {
	switch {
	case e.manufacturerCode == nil:
		return "manufacturer code"
	case e.imageType == nil:
		return "image type"
	case e.fileVersion == nil:
		return "file version"
	}
	return ""
}

// candidate makes a candidate of an entry. The error says which field is missing or wrong. An index on the
// disk may leave out what the image itself says: such a candidate is bare.
func (at *location) candidate(e listedEntry) (Candidate, error) {
	missing := e.missing()
	switch {
	case missing != "" && at.url != nil:
		return Candidate{}, fmt.Errorf("it has no %s", missing)
	case e.url == "" && e.path == "":
		return Candidate{}, errors.New("it has no URL")
	}
	c := Candidate{
		Source:           SourceIndex,
		Origin:           at.name,
		ManufacturerCode: valueOf(e.manufacturerCode),
		ImageType:        valueOf(e.imageType),
		FileVersion:      valueOf(e.fileVersion),
		Size:             e.size,
		Title:            printable(e.title),
		ReleaseNotes:     shorten(e.notes, maxNotes),
		Limits:           e.limits,
		bare:             missing != "",
		request: Request{
			SHA256: strings.ToLower(e.sha256),
			SHA512: strings.ToLower(e.sha512),
			SHA3:   strings.ToLower(e.sha3),
			Size:   e.size,
		},
	}
	c.request.ManufacturerCode = e.manufacturerCode
	c.request.ImageType = e.imageType
	c.request.FileVersion = e.fileVersion
	if at.url != nil {
		c.request.index = hostName(at.url)
	}
	c.downloads = c.request.downloads()
	for _, d := range digests() {
		if wanted := d.wanted(&c.request); wanted != "" {
			if sum, err := hex.DecodeString(wanted); err != nil || len(sum) != d.size {
				return Candidate{}, fmt.Errorf("its %s must be %d hex digits", d.check, 2*d.size)
			}
		}
	}
	return c, at.locate(&c, e.url, e.path)
}

// valueOf returns the value that a pointer leads to, or zero for nil.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// locate sets where the image of an entry is, from its URL or path.
func (at *location) locate(c *Candidate, ref, path string) error {
	if at.url == nil && path == "" && !strings.Contains(ref, "://") {
		path = ref
	}
	if at.url == nil && path != "" {
		ref = "" // a copy beside the index is preferred
	}
	if ref != "" {
		u, err := url.Parse(ref)
		switch {
		case err != nil:
			return errors.New("its URL is malformed")
		case isHTTP(u) && u.Host != "":
			c.at(u)
			return nil
		case at.url == nil && u.Scheme == "file" && u.Host == "":
			path = u.Path
		case at.url != nil && u.Scheme == "":
			c.at(at.url.ResolveReference(u))
			return nil
		default:
			return fmt.Errorf("its URL is neither http, https nor relative but %q", u.Scheme)
		}
	}
	if at.url != nil {
		c.at(at.url.ResolveReference(&url.URL{Path: path}))
		return nil
	}
	return c.below(filepath.Dir(at.path), filepath.FromSlash(path))
}

// at sets the URL of the image.
func (c *Candidate) at(u *url.URL) {
	u.Fragment = ""
	c.request.URL = u.String()
	c.URL = shown(u)
}

// below sets the path of the image below the folder of its index. An absolute path that leads elsewhere
// becomes a file URL; Fetch refuses it unless it is below the image folder.
func (c *Candidate) below(dir, path string) error {
	if filepath.IsAbs(path) {
		name, below := relativeTo(dir, path)
		if !below {
			c.URL = fileURL(path)
			c.request.URL = c.URL
			return nil
		}
		path = name
	}
	if !filepath.IsLocal(path) {
		return errors.New("its path leads out of the folder of the index")
	}
	c.dir = dir
	c.path = filepath.Clean(path)
	c.URL = fileURL(filepath.Join(dir, c.path))
	return nil
}

// printable returns a text without the characters that do not print.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text))
}

// shorten cuts a text to at most most bytes, between two characters.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	const dots = "…"
	at := most - len(dots)
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	return text[:at] + dots
}
