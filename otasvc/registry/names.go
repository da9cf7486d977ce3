package registry

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// maxName is the length of the longest name, in characters.
const maxName = 64

// ValidName says why a name cannot be given to a device; it is empty where it can. Names that look like an
// address would make requests ambiguous, and characters that nobody sees would make two names look alike.
func ValidName(name string) string {
	if n := utf8.RuneCountInString(name); n < 1 || n > maxName {
		return fmt.Sprintf("must have 1 to %d characters", maxName)
	}
	place := 0
	for _, r := range name {
		place++
		if !nameable(r) {
			return fmt.Sprintf("must have no control or formatting characters; character %d is %U", place, r)
		}
	}

	key := nameKey(name)
	switch {
	case key == "":
		return "must have a character that is no blank"
	case key == "all" || ParseRef(name).kind != refName || ParseRef(key).kind != refName:
		return "must not be \"all\" nor look like an euid or a network address"
	}
	return ""
}

// nameable reports whether a character may stand in a name. U+FFFD may not: it is what half a surrogate pair
// or a damaged byte is read as.
func nameable(r rune) bool {
	return r != utf8.RuneError && !unicode.In(r, unicode.C, unicode.Zl, unicode.Zp)
}

// nameKey is the same for names that differ in nothing but case, blanks, and how accents are encoded.
func nameKey(name string) string {
	visible := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, name)
	// Folding can leave accents that are not composed any more.
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(visible)))
}

// names finds devices by the names that people gave them, by nameKey. Each key has one device, unless a state
// file from before that rule has names that differ only in case or blanks.
type names map[string][]*Device

// find returns the device with a name, or nil: also where several have names like it, but none just this.
func (n names) find(name string) *Device {
	like := n[nameKey(name)]
	for _, d := range like {
		if d.facts.GivenName == name {
			return d
		}
	}
	if len(like) != 1 {
		return nil
	}
	return like[0]
}

// other returns a device besides d whose name is the same but for case and blanks, or nil.
func (n names) other(d *Device, name string) *Device {
	for _, holder := range n[nameKey(name)] {
		if holder != d {
			return holder
		}
	}
	return nil
}

// add takes in a device with the name that was given to it.
func (n names) add(d *Device) {
	key := nameKey(d.facts.GivenName)
	n[key] = append(n[key], d)
}

// remove drops a device with the name that was given to it. One without a name changes nothing.
func (n names) remove(d *Device) {
	key := nameKey(d.facts.GivenName)
	n[key] = slices.DeleteFunc(n[key], func(holder *Device) bool { return holder == d })
	if len(n[key]) == 0 {
		delete(n, key)
	}
}
