package library

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A file in the image folder says for which manufacturer code and image type it is, and nothing more of the
// product. The indexes often know more of the same file, or of others for the same devices.

// listings is what the indexes list.
type listings struct {
	indexes []*indexSource
	makers  *makers
}

// learner returns a learner that completes candidates of the image folder for a device. learn is that for any
// candidate.
func (l *listings) learner(d *Device, learn learner) learner {
	return func(c Candidate) (Candidate, bool) {
		c, ok := learn(c)
		if ok {
			c = l.bind(c, d, learn)
		}
		return c, ok
	}
}

// bind applies to an image of the folder what the indexes say. The same file in an index has that index's
// limits. Another file is bound by the steps of the vendor's chain: what must run before a version that is
// not newer must run before this one as well. What cannot be known becomes the candidate's Caution.
func (l *listings) bind(c Candidate, d *Device, learn learner) Candidate {
	if same := l.listedAs(&c, d, learn); same != nil {
		c.Limits = same.Limits.with(c.Limits)
		c.ReleaseNotes = same.ReleaseNotes
		c.Caution = c.unheardCaution(d)
		return c
	}
	sharedBy := ""
	for _, s := range l.indexes {
		var entries []*Candidate
		for _, w := range s.state.Load().matcher.byKind[kind{c.ManufacturerCode, c.ImageType}] {
			entries = append(entries, w.Candidate)
			if w.MinCurrent != nil && w.FileVersion <= c.FileVersion && l.makers.named(w.Candidate, d) {
				c.MinCurrent = stricter(c.MinCurrent, w.MinCurrent, larger[uint32])
			}
		}
		if l.makers.shared(entries, d) {
			sharedBy = cmp.Or(sharedBy, s.at.name)
		}
	}
	c.Caution = c.unheardCaution(d)
	if c.Caution == "" && sharedBy != "" {
		c.Caution = fmt.Sprintf("It is installed only when you say so: manufacturer code 0x%04X and "+
			"image type 0x%04X are those of several products, as %s lists them, and the file does not say "+
			"for which it is.",
			c.ManufacturerCode, c.ImageType, sharedBy)
	}
	return c
}

// listedAs returns an entry of an index that is the same file as an image of the folder, or nil. Of several,
// it is one that fits the device, where there is one: an index can list a file once for each product.
func (l *listings) listedAs(c *Candidate, d *Device, learn learner) *Candidate {
	var first *Candidate
	for _, s := range l.indexes {
		m := s.state.Load().matcher
		for _, w := range m.byKind[kind{c.ManufacturerCode, c.ImageType}] {
			listed, ok := learn(*w.Candidate)
			if !ok || len(listed.downloads) == 0 && listed.SHA256 == "" || !c.sameBytes(&listed) {
				continue
			}
			if m.misfit(&listed, d) == fits {
				return &listed
			}
			if first == nil {
				first = &listed
			}
		}
	}
	return first
}

// with returns the limits together with those that only the header of the image has.
func (l Limits) with(header Limits) Limits {
	l.HeaderMinHardware = header.HeaderMinHardware
	l.HeaderMaxHardware = header.HeaderMaxHardware
	l.Destination = header.Destination
	return l
}

// shared reports whether the entries that an index has for a manufacturer code and image type are for
// different products, or for one that the device is not.
func (m *makers) shared(entries []*Candidate, d *Device) bool {
	products := map[string]bool{}
	named := len(entries) == 0
	for _, e := range entries {
		products[e.product(m)] = true
		named = named || m.named(e, d)
	}
	return len(products) > 1 || !named
}

// product returns a text that is different for entries with different names.
func (c *Candidate) product(makers *makers) string {
	models := slices.Sorted(slices.Values(c.ModelIDs))
	var names []string
	for _, name := range c.ManufacturerNames {
		names = append(names, makers.of(name))
	}
	slices.Sort(names)
	return strings.Join(models, "\x00") + "\x01" + strings.Join(slices.Compact(names), "\x00")
}

// unheardCaution returns the caution about hardware versions that the device has not answered for. It is
// empty where there are none.
func (c *Candidate) unheardCaution(d *Device) string {
	if why, heard := c.JudgeHardware(*d); !heard {
		return "It is installed only when you say so: it " + why + "."
	}
	return ""
}
