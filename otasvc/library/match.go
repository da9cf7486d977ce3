package library

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// The errors that say why there is no image for a device; test for them with errors.Is. Their texts tell
// people more.
var (
	// ErrNoMatch means that no image fits the device.
	ErrNoMatch = errors.New("no image fits the device")
	// ErrAmbiguous means that several images with different bytes fit the device equally well, so none is
	// taken.
	ErrAmbiguous = errors.New("several images fit the device equally well")
)

// Source says where a [Candidate] comes from.
type Source string

// The sources of candidates. The strings are shown to people and scripts.
const (
	SourceFolder Source = "folder"
	SourceIndex  Source = "index"
)

// Device holds what is known of a device to find images for it.
type Device struct {
	// ManufacturerCode and ImageType are those of the device's OTA client, not of its node descriptor.
	ManufacturerCode, ImageType uint16
	HardwareVersion             *uint16 // nil where the device has reported none
	// HardwareHeard says that the device has had the occasion to report a hardware version: it was heard to
	// ask for an image, or has one.
	HardwareHeard bool
	// AnyHardware has images found whatever hardware versions they are for: [Limits.JudgeHardware] says what
	// of them is for the device.
	AnyHardware               bool
	CurrentVersion            *uint32 // the running file version; nil while it is not known
	ModelID, ManufacturerName string  // from the Basic cluster; empty while they are not known
	EUI64                     uint64  // 0 while it is not known
}

// Candidate is an image that may fit devices: one in the image folder, or one that an index lists and that
// may not have been fetched yet. Its slices and pointers are shared, so callers must not change what they
// refer to.
type Candidate struct {
	Source           Source
	Origin           string // the name of the file in the image folder, or of the index, for people
	ManufacturerCode uint16
	ImageType        uint16
	FileVersion      uint32
	// Size is the number of bytes of the image. For an image that is not stored it is the size in the index,
	// and 0 where the index gives none.
	Size uint32
	URL  string // where the image is, without user and password
	// SHA256 is the digest of the bytes that devices get, in lower-case hex. It is empty while it is not
	// known, which can be before the image is fetched.
	SHA256       string
	Stored       bool   // the image is in the store, under SHA256
	Title        string // the printable characters of the header string; may be empty
	ReleaseNotes string // empty where the index has none
	// Caution tells why the image is offered, but should be installed only when a person says so. It is a
	// sentence for people, and empty where nothing speaks against the image.
	Caution string
	Limits

	request   Request  // how the image of an index is fetched; its URL may have a user and password
	downloads []string // the digests that the request gives, as in Image.Downloads
	// dir is the folder of an index on the disk. Where it is set, the image is read from path and not from
	// the request's URL.
	dir  string
	path string // path of the image below dir, or below the image folder
	bare bool   // codes or version are missing: they have to be read from the image
}

// Limits say which devices of its manufacturer code and image type an image is for. A field that is nil or
// empty is no limit.
//
// Of several images that fit a device, the most specific one is taken: the one whose limits weigh most. Names
// weigh most, then running versions, then hardware versions.
type Limits struct {
	// MinHardware and MaxHardware are the lowest and highest hardware version that fit, as the index has
	// them. A device that reports no hardware version fits only images without these.
	MinHardware, MaxHardware *uint16
	// HeaderMinHardware and HeaderMaxHardware are those of the file's header, where that is known. A device
	// that was heard and reports no hardware version fits images with these (Zigbee Cluster Library, OTA
	// upgrade cluster, query next image request).
	HeaderMinHardware, HeaderMaxHardware *uint16
	// MinCurrent and MaxCurrent are the lowest and highest running file version that the image may replace.
	// Vendors make chains of images with them, and devices that leave out a step break. A device whose
	// version is not known does not fit.
	MinCurrent, MaxCurrent *uint32
	// ModelIDs and ManufacturerNames list the names of which the device must report one: the model exactly,
	// the manufacturer without regard to case and blanks, or under another known name.
	ModelIDs, ManufacturerNames []string
	// Destination is the EUI-64 of the only device that the file is for, from its header.
	Destination *uint64
	// Specificity is added to the weight of the limits; it comes from the index.
	Specificity int
}

// weigh returns how specific the limits are. The numbers are those of zigpy: its indexes are made for them,
// and a Specificity in them corrects their sum.
func (l *Limits) weigh() int {
	weight := l.Specificity
	for _, limit := range []struct {
		is     bool
		weight int
	}{
		{l.Destination != nil, 10_000},
		{len(l.ManufacturerNames) > 0, 1000},
		{len(l.ModelIDs) > 0, 1000},
		{l.MinCurrent != nil, 10},
		{l.MaxCurrent != nil, 10},
		{l.MinHardware != nil || l.HeaderMinHardware != nil, 1},
		{l.MaxHardware != nil || l.HeaderMaxHardware != nil, 1},
	} {
		if limit.is {
			weight += limit.weight
		}
	}
	return weight
}

// Hardware returns the lowest and highest hardware version that fit: the stricter ones of the index and the
// file's header. A nil one is no limit.
func (l *Limits) Hardware() (least, most *uint16) {
	return stricter(l.MinHardware, l.HeaderMinHardware, larger[uint16]),
		stricter(l.MaxHardware, l.HeaderMaxHardware, smaller[uint16])
}

// HeaderLimits returns the limits that a file's header has.
func HeaderLimits(h *otafile.Header) Limits {
	var l Limits
	l.SetHeader(h)
	return l
}

// SetHeader sets the limits that a file's header has, beside those of an index.
func (l *Limits) SetHeader(h *otafile.Header) {
	l.HeaderMinHardware = h.MinHardwareVersion
	l.HeaderMaxHardware = h.MaxHardwareVersion
	if h.Destination != nil {
		l.Destination = h.Destination
	}
}

// stricter returns the stricter of two limits, nil standing for no limit.
func stricter[T any](a, b *T, of func(a, b T) T) *T {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	strict := of(*a, *b)
	return &strict
}

func larger[T cmp.Ordered](a, b T) T  { return max(a, b) }
func smaller[T cmp.Ordered](a, b T) T { return min(a, b) }

// Key returns a text that identifies the candidate, also while its SHA256 is not known. It stays the same
// when the image is fetched.
func (c *Candidate) Key() string {
	if c.Source == SourceFolder {
		return c.SHA256
	}
	if len(c.downloads) > 0 {
		return c.downloads[0]
	}
	return c.location()
}

// location returns where the image is, in a form that is different for each place. It may hold a password.
func (c *Candidate) location() string {
	if c.dir != "" {
		return c.dir + "\x00" + c.path
	}
	return cmp.Or(c.request.URL, c.path, c.URL)
}

// sameBytes reports whether two candidates are known to have the same image, without fetching them.
func (c *Candidate) sameBytes(other *Candidate) bool {
	if c.SHA256 != "" && other.SHA256 != "" {
		return c.SHA256 == other.SHA256
	}
	for _, mine := range c.downloads {
		kind, _, _ := strings.Cut(mine, ":")
		for _, others := range other.downloads {
			if strings.HasPrefix(others, kind+":") {
				return mine == others
			}
		}
	}
	return c.location() == other.location()
}

// matcher finds the images that fit devices. It does not change, and may be used by several goroutines.
type matcher struct {
	makers *makers
	byKind map[kind][]weighed // the highest weight first, then the highest file version
}

// kind is what an image and a device must have in common in any case.
type kind struct{ manufacturerCode, imageType uint16 }

// weighed is a candidate and how specific its limits are.
type weighed struct {
	*Candidate
	weight int
}

// anyVersion is the file version that stands for "any". There are images that have it, to be installed over
// whatever runs: they are found among all images, but are never the best one, which somebody could take
// without having asked for them.
//
// The manufacturer code and image type that stand for "any" need no such care: an image with these is for the
// devices that report the same, and there are some.
const anyVersion = 1<<32 - 1

// newMatcher makes a matcher of candidates, which must not change any more.
func newMatcher(candidates []Candidate, makers *makers) *matcher {
	m := &matcher{makers: makers, byKind: map[kind][]weighed{}}
	for i := range candidates {
		c := &candidates[i]
		k := kind{c.ManufacturerCode, c.ImageType}
		m.byKind[k] = append(m.byKind[k], weighed{c, c.weigh()})
	}
	for _, all := range m.byKind {
		slices.SortStableFunc(all, func(a, b weighed) int {
			return -cmp.Or(cmp.Compare(a.weight, b.weight), cmp.Compare(a.FileVersion, b.FileVersion))
		})
	}
	return m
}

// learner completes a candidate with what else is known of its image. ok is false for a candidate that fits
// no device.
type learner func(Candidate) (completed Candidate, ok bool)

// match returns the image for a device: of those that fit the most specific one, and of equally specific ones
// the one with the highest file version. It does not ask whether that is newer than the running version.
// Errors: [ErrNoMatch]; [ErrAmbiguous], where several images with different bytes are best.
func (m *matcher) match(d Device, learn learner) (Candidate, error) {
	for group := range m.groups(d, learn) {
		if group.first.FileVersion == anyVersion {
			continue
		}
		if other := group.other; other != nil {
			return Candidate{}, fmt.Errorf("%w: file version 0x%08X of manufacturer code 0x%04X, "+
				"image type 0x%04X is there with different bytes, as %s and as %s; remove one of them",
				ErrAmbiguous, group.first.FileVersion, d.ManufacturerCode, d.ImageType, group.first.URL,
				other.URL)
		}
		return group.first, nil
	}
	return Candidate{}, ErrNoMatch
}

// all returns every image that fits a device, best first. It leaves out those of the same weight and version
// with different bytes, since none of them can be chosen.
func (m *matcher) all(d Device, learn learner) []Candidate {
	var all []Candidate
	for group := range m.groups(d, learn) {
		if group.other == nil {
			all = append(all, group.first)
		}
	}
	return all
}

// group stands for the candidates of one weight and version that fit a device.
type group struct {
	first Candidate
	other *Candidate // a candidate with different bytes; nil where all have the same
}

// groups yields the groups of candidates that fit a device, best first.
func (m *matcher) groups(d Device, learn learner) func(yield func(group) bool) {
	return func(yield func(group) bool) {
		all := m.byKind[kind{d.ManufacturerCode, d.ImageType}]
		for at := 0; at < len(all); {
			var g *group
			best := all[at]
			tied := func(at int) bool {
				return all[at].weight == best.weight && all[at].FileVersion == best.FileVersion
			}
			for ; at < len(all) && tied(at); at++ {
				if m.misfit(all[at].Candidate, &d) != fits {
					continue
				}
				c, ok := learn(*all[at].Candidate)
				if !ok || m.misfit(&c, &d) != fits {
					continue
				}
				if g == nil {
					g = &group{first: c}
				} else if g.other == nil && !g.first.sameBytes(&c) {
					g.other = &c
				}
			}
			if g != nil && !yield(*g) {
				return
			}
		}
	}
}

// misfit is the limit that keeps an image from a device.
type misfit int

const (
	fits misfit = iota
	wrongDestination
	wrongModel
	wrongManufacturer
	unheardHardware
	noHardware
	wrongHardware
	unknownVersion
	wrongVersion
)

// misfit returns the first limit that the device does not meet, or fits. It does not look at manufacturer
// code and image type.
//
// A hardware version that the device has not told yet keeps images of indexes from it, since they would be
// taken at once. A file in the folder was put there by a person, so it is offered all the same; see bind.
func (m *matcher) misfit(c *Candidate, d *Device) misfit {
	switch {
	case c.Destination != nil && (d.EUI64 == 0 || *c.Destination != d.EUI64):
		return wrongDestination
	case len(c.ModelIDs) > 0 && !slices.Contains(c.ModelIDs, d.ModelID):
		return wrongModel
	case len(c.ManufacturerNames) > 0 && !m.makers.among(c.ManufacturerNames, d.ManufacturerName):
		return wrongManufacturer
	}
	if hardware := c.hardware(d); hardware != fits && !d.AnyHardware {
		if hardware != unheardHardware || c.Source == SourceIndex {
			return hardware
		}
	}
	switch {
	case (c.MinCurrent != nil || c.MaxCurrent != nil) && d.CurrentVersion == nil:
		return unknownVersion
	case !within(c.MinCurrent, d.CurrentVersion, c.MaxCurrent):
		return wrongVersion
	}
	return fits
}

// hardware returns what the limits of hardware versions are to a device: fits, unheardHardware, noHardware or
// wrongHardware.
func (l *Limits) hardware(d *Device) misfit {
	indexLimits := l.MinHardware != nil || l.MaxHardware != nil
	headerLimits := l.HeaderMinHardware != nil || l.HeaderMaxHardware != nil
	switch {
	case !indexLimits && !headerLimits:
		return fits
	case d.unheard():
		return unheardHardware
	case indexLimits && d.HardwareVersion == nil:
		return noHardware
	case !within(l.MinHardware, d.HardwareVersion, l.MaxHardware),
		!within(l.HeaderMinHardware, d.HardwareVersion, l.HeaderMaxHardware):
		return wrongHardware
	}
	return fits
}

// JudgeHardware returns why the limits of hardware versions keep an image from a device, as the end of a
// sentence about the image; it is empty where they do not. heard is false where nobody can judge that, since
// the device has not said yet which hardware version it has: why says so then.
func (l *Limits) JudgeHardware(d Device) (why string, heard bool) {
	misfit := l.hardware(&d)
	return l.explainHardware(misfit, &d), misfit != unheardHardware
}

// unheard reports whether the device has had no occasion yet to report its hardware version.
func (d *Device) unheard() bool { return d.HardwareVersion == nil && !d.HardwareHeard }

// within reports whether a value is inside limits. A limit that is nil is none. A value that is nil is
// inside.
func within[T cmp.Ordered](least, value, most *T) bool {
	return value == nil || (least == nil || *value >= *least) && (most == nil || *value <= *most)
}
