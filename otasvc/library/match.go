package library

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Why there is no image for a device; ask with errors.Is. The error's text tells more, for people.
var (
	// ErrNoMatch: no image fits the device.
	ErrNoMatch = errors.New("no image fits the device")
	// ErrAmbiguous: of the images that fit the device best there are several with different
	// bytes, so none is taken.
	ErrAmbiguous = errors.New("several images fit the device equally well")
)

// Source says where a [Candidate] comes from.
type Source string

// The sources of candidates. The strings are shown to people and scripts.
const (
	SourceFolder Source = "folder"
	SourceIndex  Source = "index"
)

// Device is what images are matched with.
type Device struct {
	// ManufacturerCode and ImageType are those of the device's OTA client, not of its node descriptor.
	ManufacturerCode, ImageType uint16
	HardwareVersion             *uint16 // nil: it reports none
	CurrentVersion              *uint32 // the running file version; nil: it is not known
	ModelID, ManufacturerName   string  // as the Basic cluster has them; empty: not known
	EUI64                       uint64  // 0: not known
}

// Candidate is an image that may fit devices: one in the image folder, or one that an index lists, which need
// not have been fetched. What it refers to is shared: do not change it.
type Candidate struct {
	Source           Source
	Origin           string // the file in the image folder, or the index, for people
	ManufacturerCode uint16
	ImageType        uint16
	FileVersion      uint32
	// Size is the number of bytes of the image; of one that is not stored, it is what its index says, and 0
	// where that is silent.
	Size uint32
	URL  string // where the image is, without user and password
	// SHA256 is of the image as devices get it, in lower-case hex; it is empty where it is not known before
	// the image is fetched.
	SHA256       string
	Stored       bool   // the image is in the store, under SHA256
	Title        string // the header string, as far as it prints; empty where there is none
	ReleaseNotes string // empty: none are known
	Limits

	request   Request  // how an index's image is fetched; URL may have a user and password
	downloads []string // the digests that the request gives, as in Image.Downloads
	// dir is the folder of a local index; where it is set, path counts instead of the request's URL.
	dir  string
	path string // the image below dir, or below the image folder
}

// Limits say which devices of its manufacturer code and image type an image is for. What is nil or
// empty is no limit.
type Limits struct {
	// MinHardware and MaxHardware are the strictest of an index and the file's header. A device that reports
	// no hardware version fits only an image without these limits.
	MinHardware, MaxHardware *uint16
	// MinCurrent and MaxCurrent are which running versions the image may follow on. Vendors chain images with
	// them, and devices that skip a link break; one whose version is not known does not fit.
	MinCurrent, MaxCurrent *uint32
	// ModelIDs and ManufacturerNames contain what the device must report, exactly.
	ModelIDs, ManufacturerNames []string
	// Destination is the EUI-64 of the only device that the file is for, by its header.
	Destination *uint64
	// Specificity is what an index adds to the weight of the limits above: see Weight.
	Specificity int
}

// Weight is how specific the limits are: of several images that fit a device, the one with the highest weight
// is taken. Names count most, then running versions, then hardware versions, as zigpy has it: its indexes are
// made for these weights, and a Specificity in them is a correction of their sum.
func (l *Limits) Weight() int {
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
		{l.MinHardware != nil, 1},
		{l.MaxHardware != nil, 1},
	} {
		if limit.is {
			weight += limit.weight
		}
	}
	return weight
}

// Key tells candidates apart whose SHA256 is not known yet. It stays the same when the image is fetched.
func (c *Candidate) Key() string {
	if c.Source == SourceFolder {
		return c.SHA256
	}
	if len(c.downloads) > 0 {
		return c.downloads[0]
	}
	return c.location()
}

// location is where the image is, without ambiguity.
func (c *Candidate) location() string {
	if c.dir != "" {
		return c.dir + "\x00" + c.path
	}
	return cmp.Or(c.request.URL, c.path, c.URL)
}

// sameBytes reports whether two candidates have the same image, as far as can be told without fetching them.
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

// Matcher finds the images that fit devices. It does not change, and may be used by several goroutines.
type Matcher struct {
	byKind map[kind][]weighed
}

// kind is what an image and a device must have in common at least.
type kind struct{ manufacturerCode, imageType uint16 }

type weighed struct {
	*Candidate
	weight int
}

// The values that stand for "any" in a header or an index. An image that has one is for no device in
// particular, so it is never given to one.
const (
	anyCode    = 1<<16 - 1
	anyVersion = 1<<32 - 1
)

// NewMatcher makes a matcher of candidates, which must not change any more.
func NewMatcher(candidates []Candidate) *Matcher {
	m := &Matcher{byKind: map[kind][]weighed{}}
	for i := range candidates {
		c := &candidates[i]
		if c.ManufacturerCode == anyCode || c.ImageType == anyCode || c.FileVersion == anyVersion {
			continue
		}
		k := kind{c.ManufacturerCode, c.ImageType}
		m.byKind[k] = append(m.byKind[k], weighed{c, c.Weight()})
	}
	for _, all := range m.byKind {
		slices.SortStableFunc(all, func(a, b weighed) int {
			return -cmp.Or(cmp.Compare(a.weight, b.weight), cmp.Compare(a.FileVersion, b.FileVersion))
		})
	}
	return m
}

// Match returns the image for a device: of those that fit, the most specific ones (see [Limits.Weight]); of
// these the one with the highest version. Whether it is newer than what runs is not asked. Errors:
// [ErrNoMatch]; [ErrAmbiguous] when the best are several with different bytes.
func (m *Matcher) Match(d Device) (Candidate, error) { return m.match(d, asListed) }

// All returns every image that fits a device, best first; those of the same weight and version with different
// bytes are left out, since none can be chosen.
func (m *Matcher) All(d Device) []Candidate { return m.all(d, asListed) }

// learner completes a candidate with what is known of its image besides; not ok means that
// it is for no device.
type learner func(Candidate) (completed Candidate, ok bool)

func asListed(c Candidate) (Candidate, bool) { return c, true }

func (m *Matcher) match(d Device, learn learner) (Candidate, error) {
	for group := range m.groups(d, learn) {
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

func (m *Matcher) all(d Device, learn learner) []Candidate {
	var all []Candidate
	for group := range m.groups(d, learn) {
		if group.other == nil {
			all = append(all, group.first)
		}
	}
	return all
}

// group is the candidates of one weight and version that fit a device.
type group struct {
	first Candidate
	other *Candidate // one with different bytes; nil where there is none
}

// groups yields the candidates that fit a device, best first.
func (m *Matcher) groups(d Device, learn learner) func(yield func(group) bool) {
	return func(yield func(group) bool) {
		all := m.byKind[kind{d.ManufacturerCode, d.ImageType}]
		for at := 0; at < len(all); {
			var g *group
			best := all[at]
			tied := func(at int) bool {
				return all[at].weight == best.weight && all[at].FileVersion == best.FileVersion
			}
			for ; at < len(all) && tied(at); at++ {
				if all[at].misfit(&d) != fits {
					continue
				}
				c, ok := learn(*all[at].Candidate)
				if !ok || c.misfit(&d) != fits {
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

// misfit is why an image is not for a device.
type misfit int

const (
	fits misfit = iota
	wrongDestination
	wrongModel
	wrongManufacturer
	unknownHardware
	wrongHardware
	unknownVersion
	wrongVersion
)

// misfit compares the limits with a device; manufacturer code and image type are the matcher's business.
func (l *Limits) misfit(d *Device) misfit {
	switch {
	case l.Destination != nil && (d.EUI64 == 0 || *l.Destination != d.EUI64):
		return wrongDestination
	case len(l.ModelIDs) > 0 && !slices.Contains(l.ModelIDs, d.ModelID):
		return wrongModel
	case len(l.ManufacturerNames) > 0 && !slices.Contains(l.ManufacturerNames, d.ManufacturerName):
		return wrongManufacturer
	case (l.MinHardware != nil || l.MaxHardware != nil) && d.HardwareVersion == nil:
		return unknownHardware
	case !within(l.MinHardware, d.HardwareVersion, l.MaxHardware):
		return wrongHardware
	case (l.MinCurrent != nil || l.MaxCurrent != nil) && d.CurrentVersion == nil:
		return unknownVersion
	case !within(l.MinCurrent, d.CurrentVersion, l.MaxCurrent):
		return wrongVersion
	}
	return fits
}

// within reports whether a value is inside limits, of which nil ones are none; so is a value that is nil.
func within[T cmp.Ordered](least, value, most *T) bool {
	return value == nil || (least == nil || *value >= *least) && (most == nil || *value <= *most)
}
