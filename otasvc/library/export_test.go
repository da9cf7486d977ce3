package library

import (
	"context"
	"net/netip"
)

// Folder is the watcher of the image folder, which outside this package belongs to a Catalog.
type Folder struct{ *folder }

// NewFolder makes a watcher of the library's image folder.
func NewFolder(l *Library, changed func()) Folder {
	return Folder{newFolder(l, newMakers(nil), changed)}
}

// Run watches the folder until ctx is done.
func (f Folder) Run(ctx context.Context) error { return f.run(ctx) }

// State returns what is in the folder.
func (f Folder) State() *FolderState { return f.current() }

// Unwatched makes a folder find changes by looking only, as on network folders: a watcher's goroutine waits
// for the system, which fake time does not know of.
func (f Folder) Unwatched() Folder {
	f.unwatched = true
	return f
}

// Unwatched is the same for the folder of a catalog.
func (k *Catalog) Unwatched() *Catalog {
	k.folder.unwatched = true
	return k
}

// Matcher finds the images that fit devices among candidates as they are listed.
type Matcher struct{ *matcher }

// NewMatcher makes a matcher of candidates.
func NewMatcher(candidates []Candidate, aliases ...MakerAlias) Matcher {
	return Matcher{newMatcher(candidates, newMakers(aliases))}
}

// Match returns the image for a device.
func (m Matcher) Match(d Device) (Candidate, error) { return m.match(d, asListed) }

// All returns every image that fits a device, best first.
func (m Matcher) All(d Device) []Candidate { return m.all(d, asListed) }

func asListed(c Candidate) (Candidate, bool) { return c, true }

// StoreDir is where the library keeps its files.
func (l *Library) StoreDir() string { return l.storeDir }

// ParseIndex reads an index as the catalog does, from a URL or the path of a file.
func ParseIndex(b []byte, location string) (*Index, error) {
	at, err := parseLocation(location)
	if err != nil {
		return nil, err
	}
	return at.parse(b)
}

// ZoneOf is the name of an address's zone.
func ZoneOf(a netip.Addr) string { return [...]string{"internet", "home", "barred"}[zoneOf(a)] }

// IsHomeName reports whether a host is at home by its name.
func IsHomeName(host string) bool { return isHomeName(host) }
