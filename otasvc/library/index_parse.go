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
	"slices"
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
	Format  string      // "Zigbee2MQTT" or "zigpy"
	Entries []Candidate // in the order of the file
	Skipped int         // number of entries that cannot be used
	Problem string      // what is wrong with the first of them, for people; empty when Skipped is 0
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
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF"))))
	index := &Index{}
	var entryOf func(at *location, raw []byte) (Candidate, error)
	first, err := d.Token()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrIndex, cut(err))
	case first == json.Delim('['):
		index.Format = "Zigbee2MQTT"
		entryOf = zigbee2mqttEntry
	case first == json.Delim('{'):
		index.Format = "zigpy"
		entryOf = zigpyEntry
		if err := skipTo(d, "firmwares"); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%w: it is neither an array nor an object", ErrIndex)
	}
	for d.More() {
		if len(index.Entries)+index.Skipped == maxIndexEntries {
			return nil, fmt.Errorf("%w: it has more than %d entries", ErrIndex, maxIndexEntries)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrIndex, len(index.Entries)+index.Skipped+1, cut(err))
		}
		entry, err := entryOf(at, raw)
		if err == nil {
			index.Entries = append(index.Entries, entry)
			continue
		}
		if index.Skipped++; index.Skipped == 1 {
			index.Problem = fmt.Sprintf("entry %d: %v", len(index.Entries)+index.Skipped, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIndex, cut(err))
	}
	if len(index.Entries) == 0 && index.Skipped > 0 {
		return nil, fmt.Errorf("%w: none of its %d entries can be used; %s",
			ErrIndex, index.Skipped, index.Problem)
	}
	return index, nil
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
	return fmt.Errorf("%w: it is an object without %q", ErrIndex, key)
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

// zigbee2mqttEntry reads an entry of Zigbee2MQTT's format.
func zigbee2mqttEntry(at *location, raw []byte) (Candidate, error) {
	var e struct {
		FileVersion        *uint32 `json:"fileVersion"`
		FileSize           uint32  `json:"fileSize"`
		URL                string  `json:"url"`
		Path               string  `json:"path"` // zigpy's addition, for local indexes
		ImageType          *uint16 `json:"imageType"`
		ManufacturerCode   *uint16 `json:"manufacturerCode"`
		SHA512             string  `json:"sha512"`
		HeaderString       string  `json:"otaHeaderString"`
		ModelID            texts   `json:"modelId"`
		ManufacturerName   texts   `json:"manufacturerName"`
		ReleaseNotes       string  `json:"releaseNotes"`
		HardwareVersionMin *uint16 `json:"hardwareVersionMin"`
		HardwareVersionMax *uint16 `json:"hardwareVersionMax"`
		MinFileVersion     *uint32 `json:"minFileVersion"`
		MaxFileVersion     *uint32 `json:"maxFileVersion"`
	}
	if err := unmarshalEntry(raw, &e); err != nil {
		return Candidate{}, err
	}
	return at.candidate(listedEntry{
		manufacturerCode: e.ManufacturerCode,
		imageType:        e.ImageType,
		fileVersion:      e.FileVersion,
		size:             e.FileSize,
		url:              e.URL,
		path:             e.Path,
		sha512:           e.SHA512,
		title:            e.HeaderString,
		notes:            e.ReleaseNotes,
		limits: Limits{
			MinHardware: e.HardwareVersionMin, MaxHardware: e.HardwareVersionMax,
			MinCurrent: e.MinFileVersion, MaxCurrent: e.MaxFileVersion,
			ModelIDs: e.ModelID, ManufacturerNames: e.ManufacturerName,
		},
	})
}

// zigpyEntry reads an entry of zigpy's format.
func zigpyEntry(at *location, raw []byte) (Candidate, error) {
	var e struct {
		BinaryURL             string  `json:"binary_url"`
		Path                  string  `json:"path"`
		FileVersion           *uint32 `json:"file_version"`
		FileSize              uint32  `json:"file_size"`
		ImageType             *uint16 `json:"image_type"`
		ManufacturerID        *uint16 `json:"manufacturer_id"`
		Checksum              string  `json:"checksum"`
		ManufacturerNames     texts   `json:"manufacturer_names"`
		ModelNames            texts   `json:"model_names"`
		Changelog             string  `json:"changelog"`
		ReleaseNotes          string  `json:"release_notes"`
		MinHardwareVersion    *uint16 `json:"min_hardware_version"`
		MaxHardwareVersion    *uint16 `json:"max_hardware_version"`
		MinCurrentFileVersion *uint32 `json:"min_current_file_version"`
		MaxCurrentFileVersion *uint32 `json:"max_current_file_version"`
		Specificity           int32   `json:"specificity"`
	}
	if err := unmarshalEntry(raw, &e); err != nil {
		return Candidate{}, err
	}
	listed := listedEntry{
		manufacturerCode: e.ManufacturerID,
		imageType:        e.ImageType,
		fileVersion:      e.FileVersion,
		size:             e.FileSize,
		url:              e.BinaryURL,
		path:             e.Path,
		notes:            e.ReleaseNotes,
		limits: Limits{
			MinHardware: e.MinHardwareVersion, MaxHardware: e.MaxHardwareVersion,
			MinCurrent: e.MinCurrentFileVersion, MaxCurrent: e.MaxCurrentFileVersion,
			ModelIDs: e.ModelNames, ManufacturerNames: e.ManufacturerNames, Specificity: int(e.Specificity),
		},
	}
	if listed.notes == "" {
		listed.notes = e.Changelog
	}
	algorithm, sum, _ := strings.Cut(e.Checksum, ":")
	switch algorithm {
	case "sha3-256":
		listed.sha3 = sum
	case "sha256":
		listed.sha256 = sum
	case "sha512":
		listed.sha512 = sum
	case "":
	default:
		return Candidate{}, fmt.Errorf("its checksum is of the unknown kind %q", algorithm)
	}
	return at.candidate(listed)
}

// unmarshalEntry reads an entry into a struct, to which entry points.
func unmarshalEntry(raw []byte, entry any) error {
	if len(raw) > maxEntryBytes {
		return fmt.Errorf("it has %d bytes, at most %d are read", len(raw), maxEntryBytes)
	}
	if !bytes.HasPrefix(raw, []byte("{")) {
		return errors.New("it is no object")
	}
	if err := json.Unmarshal(raw, entry); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return fmt.Errorf("its %s must not be a %s", wrong.Field, wrong.Value)
		}
		return err
	}
	return nil
}

// texts is a list that an index may give as one text.
type texts []string

// UnmarshalJSON takes a string, an array of strings or null. It leaves out empty strings, which are no limit.
func (t *texts) UnmarshalJSON(b []byte) error {
	var many []string
	if bytes.HasPrefix(b, []byte(`"`)) {
		many = make([]string, 1)
		if err := json.Unmarshal(b, &many[0]); err != nil {
			return err
		}
	} else if json.Unmarshal(b, &many) != nil {
		return errors.New("one of its lists of names has an entry that is no text")
	}
	if len(many) > maxNames {
		return fmt.Errorf("it lists more than %d names", maxNames)
	}
	*t = slices.DeleteFunc(many, func(name string) bool { return name == "" })
	return nil
}

// candidate makes a candidate of an entry. The error says which field is missing or wrong.
func (at *location) candidate(e listedEntry) (Candidate, error) {
	for _, missing := range []struct {
		is   bool
		what string
	}{
		{e.manufacturerCode == nil, "manufacturer code"},
		{e.imageType == nil, "image type"},
		{e.fileVersion == nil, "file version"},
		{e.url == "" && e.path == "", "URL"},
	} {
		if missing.is {
			return Candidate{}, fmt.Errorf("it has no %s", missing.what)
		}
	}
	c := Candidate{
		Source:           SourceIndex,
		Origin:           at.name,
		ManufacturerCode: *e.manufacturerCode,
		ImageType:        *e.imageType,
		FileVersion:      *e.fileVersion,
		Size:             e.size,
		Title:            printable(e.title),
		ReleaseNotes:     shorten(e.notes, maxNotes),
		Limits:           e.limits,
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
