package library

import (
	"slices"
	"strings"
	"unicode"
)

// MakerAlias are two names of one manufacturer: what an index calls it, and what its devices report.
type MakerAlias struct{ Name, Other string }

// knownAliases are the names of manufacturers that are known to differ between indexes and devices.
func knownAliases() []MakerAlias {
	return []MakerAlias{
		{"SalusControls", "SALUS"},
		{"SalusControls", "Computime"}, // who makes them for Salus, and is named by some of them
	}
}

// makers knows which names of manufacturers mean the same. It does not change.
type makers struct {
	same map[string]string // one of the names that mean the same, by each of them
}

// newMakers makes makers of the known aliases and further ones. Aliases of aliases are the same, too.
func newMakers(further []MakerAlias) *makers {
	m := &makers{same: map[string]string{}}
	for _, alias := range append(knownAliases(), further...) {
		keep := m.of(alias.Name)
		drop := m.of(alias.Other)
		m.same[plainName(alias.Name)] = keep
		m.same[plainName(alias.Other)] = keep
		for name, one := range m.same {
			if one == drop {
				m.same[name] = keep
			}
		}
	}
	return m
}

// plainName returns a name without what differs between indexes and devices for no reason: case and blanks.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == 0 {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// of returns a text that is the same for all names of a manufacturer.
func (m *makers) of(name string) string {
	name = plainName(name)
	if one, known := m.same[name]; known {
		return one
	}
	return name
}

// among reports whether one of the names in a list is one of the manufacturer's.
func (m *makers) among(list []string, name string) bool {
	wanted := m.of(name)
	for _, listed := range list {
		if wanted != "" && m.of(listed) == wanted {
			return true
		}
	}
	return false
}

// named reports whether a candidate's names are those of the device, or it has none.
func (m *makers) named(c *Candidate, d *Device) bool {
	return (len(c.ModelIDs) == 0 || slices.Contains(c.ModelIDs, d.ModelID)) &&
		(len(c.ManufacturerNames) == 0 || m.among(c.ManufacturerNames, d.ManufacturerName))
}
