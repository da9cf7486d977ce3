package library

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// CatalogOptions say where a Catalog looks besides the image folder.
type CatalogOptions struct {
	// Indexes are the URLs (http, https) and paths of index files; the first that has an image
	// for a device wins.
	Indexes []string
	// Interval is how often a URL is asked for a newer index; 24 hours where zero. A path is
	// looked at all the time.
	Interval time.Duration
}

// Catalog finds images for devices in the image folder and in indexes. Its methods may be called from several
// goroutines. None but Run and Ensure waits for a disk or the network: they answer from what was known last.
type Catalog struct {
	library *Library
	folder  *Folder
	indexes []*indexSource
	changed chan struct{}

	mu      sync.Mutex // held for a moment only
	flights map[string]*flight
	fetched map[string]string // SHA-256 by location, of what was fetched without a digest to know it by
}

// NewCatalog makes a catalog over the library's image folder and the indexes. It knows nothing before Run.
func NewCatalog(l *Library, options CatalogOptions) (*Catalog, error) {
	k := &Catalog{
		library: l,
		changed: make(chan struct{}, 1),
		flights: map[string]*flight{},
		fetched: map[string]string{},
	}
	k.folder = NewFolder(l, k.notify)
	seen := map[string]bool{}
	for _, raw := range options.Indexes {
		at, err := parseLocation(raw)
		if err != nil {
			return nil, fmt.Errorf("index of images: %w", err)
		}
		if !seen[raw] {
			seen[raw] = true
			k.indexes = append(k.indexes,
				newIndexSource(l, at, cmp.Or(options.Interval, indexInterval), k.indexChanged))
		}
	}
	return k, nil
}

// Run watches the folder and keeps the indexes up to date until ctx is done. It must be called once.
func (k *Catalog) Run(ctx context.Context) error {
	k.library.tidyCache(k.indexes)
	var wait sync.WaitGroup
	for _, s := range k.indexes {
		wait.Go(func() { s.run(ctx) })
	}
	err := k.folder.Run(ctx)
	wait.Wait()
	return err
}

// Changed receives after what the catalog answers may have become another. Several changes may be one
// receipt. It is for one receiver, and never closed.
func (k *Catalog) Changed() <-chan struct{} { return k.changed }

func (k *Catalog) notify() {
	select {
	case k.changed <- struct{}{}:
	default: // the receiver has not heard of the last one yet
	}
}

func (k *Catalog) indexChanged() {
	k.mu.Lock()
	clear(k.fetched) // another file may be there now
	k.mu.Unlock()
	k.notify()
}

// Refresh has all indexes looked at soon. A server that was asked less than a minute ago is not asked again.
func (k *Catalog) Refresh() {
	for _, s := range k.indexes {
		s.refresh()
	}
}

// Folder returns what is in the image folder.
func (k *Catalog) Folder() *FolderState { return k.folder.State() }

// Indexes returns how the indexes are doing, in their order.
func (k *Catalog) Indexes() []IndexStatus {
	var all []IndexStatus
	for _, s := range k.indexes {
		all = append(all, s.state.Load().status)
	}
	return all
}

// Best returns the image for a device: what the image folder has, or what the first index has that has
// anything for the device, whichever is newer; the folder's where they are equally new. See
// [Matcher.Match] for the choice in each. It may be the one that runs, or an older one. ok is false where
// there is none: ask Explain why.
func (k *Catalog) Best(d Device) (best Candidate, ok bool) {
	best, err := k.match(d)
	return best, err == nil
}

func (k *Catalog) match(d Device) (Candidate, error) {
	own, ownErr := k.folder.State().matcher.match(d, k.learn)
	if errors.Is(ownErr, ErrAmbiguous) {
		return Candidate{}, ownErr
	}
	listed := Candidate{}
	listedErr := ErrNoMatch
	for _, s := range k.indexes {
		if listed, listedErr = s.state.Load().matcher.match(d, k.learn); listedErr != ErrNoMatch {
			break
		}
	}
	if ownErr == nil && (listedErr != nil || own.FileVersion >= listed.FileVersion) {
		return own, nil
	}
	return listed, listedErr
}

// All returns the images that fit a device, one of each version, newest first. Where several places have a
// version, the image folder comes before the indexes, and an index before those behind it.
func (k *Catalog) All(d Device) []Candidate {
	all := k.folder.State().matcher.all(d, k.learn)
	for _, s := range k.indexes {
		all = append(all, s.state.Load().matcher.all(d, k.learn)...)
	}
	slices.SortStableFunc(all, func(a, b Candidate) int { return -cmp.Compare(a.FileVersion, b.FileVersion) })
	return slices.CompactFunc(all, func(a, b Candidate) bool { return a.FileVersion == b.FileVersion })
}

// Explain tells why Best finds nothing for a device, as an [ErrNoMatch] or [ErrAmbiguous] whose text is for
// people; nil where it finds something.
func (k *Catalog) Explain(d Device) error {
	_, err := k.match(d)
	if err != ErrNoMatch {
		return err
	}
	why := k.folder.State().matcher.explain(d, k.learn)
	for _, s := range k.indexes {
		state := s.state.Load()
		if why == "" {
			why = state.matcher.explain(d, k.learn)
		}
	}
	if why != "" {
		return fmt.Errorf("%w: %s", ErrNoMatch, why)
	}
	places := "the image folder has none"
	if len(k.indexes) > 0 {
		places = "neither the image folder nor an index has one"
	}
	err = fmt.Errorf("%w: %s for manufacturer code 0x%04X, image type 0x%04X",
		ErrNoMatch, places, d.ManufacturerCode, d.ImageType)
	for _, s := range k.indexes {
		if status := s.state.Load().status; status.Format == "" && status.Error != "" {
			err = fmt.Errorf("%w (the index %s cannot be read: %s)", err, status.Name, status.Error)
		}
	}
	return err
}

// stored returns the image of a candidate if it is in the store.
func (k *Catalog) stored(c *Candidate) (Image, bool) {
	switch {
	case c.Source == SourceFolder:
		return k.library.Image(c.SHA256)
	case len(c.downloads) > 0:
		return k.library.imageOf(c.downloads...)
	}
	k.mu.Lock()
	sha256 := k.fetched[c.location()]
	k.mu.Unlock()
	return k.library.Image(sha256)
}

// learn completes a candidate with what is known of its image once that has been fetched: only then are the
// limits in its header known. One whose image is not what its index says is for no device.
func (k *Catalog) learn(c Candidate) (Candidate, bool) {
	image, stored := k.stored(&c)
	if !stored {
		return c, true
	}
	if c.contradicts(&image) != nil {
		return c, false
	}
	h := &image.Header
	c.SHA256 = image.SHA256
	c.Size = image.Size
	c.Stored = true
	c.Title = cmp.Or(c.Title, h.Title())
	c.MinHardware = stricter(c.MinHardware, h.MinHardwareVersion, func(a, b uint16) uint16 {
		return max(a, b)
	})
	c.MaxHardware = stricter(c.MaxHardware, h.MaxHardwareVersion, func(a, b uint16) uint16 {
		return min(a, b)
	})
	if h.Destination != nil {
		c.Destination = h.Destination
	}
	return c, true
}

func stricter(a, b *uint16, of func(a, b uint16) uint16) *uint16 {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	strict := of(*a, *b)
	return &strict
}

// contradicts tells what is wrong about an image as this candidate's.
func (c *Candidate) contradicts(image *Image) error {
	if err := c.mismatches(image); err != nil || c.request.Force {
		return err
	}
	// It may have been taken by force from elsewhere, with checks that failed. Those of the download are of
	// no interest: they were about what was asked for then.
	for _, check := range image.Checks {
		if check.Status == otafile.Failed && !strings.HasSuffix(check.Name, ofTheDownload) {
			return errors.New(check.String())
		}
	}
	return nil
}

// mismatches tells what keeps an image from being this candidate's, whatever its checks say.
func (c *Candidate) mismatches(image *Image) error {
	h := &image.Header
	switch {
	case h.ManufacturerCode != c.ManufacturerCode || h.ImageType != c.ImageType ||
		h.FileVersion != c.FileVersion:
		return fmt.Errorf("it is for manufacturer code 0x%04X, image type 0x%04X, "+
			"and has file version 0x%08X, not 0x%04X, 0x%04X and 0x%08X",
			h.ManufacturerCode, h.ImageType, h.FileVersion, c.ManufacturerCode, c.ImageType, c.FileVersion)
	case h.HeaderVersion == otafile.HeaderVersionThread:
		return errors.New("it is made for Thread devices, not Zigbee ones")
	}
	return nil
}

// With returns the candidate, to be fetched by Ensure in another way: with force a failed check of the
// image or its digest is no obstacle, as in [Request]; progress, where it is not nil, is told how the
// download goes, as there.
func (c Candidate) With(force bool, progress func(done, total int64)) Candidate {
	c.request.Force = force
	c.request.Progress = progress
	return c
}

// flight names what is fetched by Ensure for a candidate: who forces it gets what others do not.
func (c *Candidate) flight() string {
	if c.request.Force {
		return c.Key() + " by force"
	}
	return c.Key()
}

// Ensure returns the image of a candidate from the store, where it gets it first if it is not there: from the
// image folder, or from where its index says. The candidate must be as Best or All returned it. What several
// callers want at the same time is fetched once. Errors are those of [Library.Fetch].
//
// An image that turns out, by its header, not to be for a device is no error here: ask Best again.
func (k *Catalog) Ensure(ctx context.Context, c Candidate) (Image, error) {
	for {
		k.mu.Lock()
		f := k.flights[c.flight()]
		leads := f == nil
		if leads {
			f = &flight{done: make(chan struct{})}
			k.flights[c.flight()] = f
		}
		k.mu.Unlock()
		if leads {
			f.image, f.err = k.ensure(ctx, &c)
			k.mu.Lock()
			delete(k.flights, c.flight())
			k.mu.Unlock()
			close(f.done)
			return f.image, f.err
		}
		select {
		case <-ctx.Done():
			return Image{}, fmt.Errorf("%w: %s: %w", ErrAccess, c.URL, context.Cause(ctx))
		case <-f.done:
		}
		// Who led may have given up for a reason of its own.
		if !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return f.image, f.err
		}
	}
}

// flight is an Ensure under way.
type flight struct {
	done  chan struct{}
	image Image
	err   error
}

func (k *Catalog) ensure(ctx context.Context, c *Candidate) (Image, error) {
	if image, known := k.stored(c); known {
		if _, err := k.library.Load(image.SHA256); err == nil {
			if image, known := k.library.touch(image.SHA256); known {
				return k.accept(c, image)
			}
		}
	}
	image, err := k.fetch(ctx, c)
	if err != nil {
		return Image{}, err
	}
	if c.Source == SourceIndex && len(c.downloads) == 0 {
		k.mu.Lock()
		k.fetched[c.location()] = image.SHA256
		k.mu.Unlock()
	}
	k.notify()
	return k.accept(c, image)
}

func (k *Catalog) accept(c *Candidate, image Image) (Image, error) {
	if err := c.contradicts(&image); err != nil {
		return Image{}, fmt.Errorf("%w: %s: %w", ErrValidation, c.URL, err)
	}
	return image, nil
}

// fetch gets the image of a candidate into the store.
func (k *Catalog) fetch(ctx context.Context, c *Candidate) (Image, error) {
	l := k.library
	if c.Source == SourceIndex && c.dir == "" {
		return l.Fetch(ctx, c.request)
	}
	progress := c.request.Progress
	if progress == nil {
		progress = func(done, total int64) {}
	}
	b, err := l.readBelow(ctx, cmp.Or(c.dir, l.options.Dir), filepath.FromSlash(c.path), progress)
	switch {
	case errors.Is(err, ErrAccess):
		return Image{}, err
	case err != nil:
		return Image{}, fmt.Errorf("%w: %s: %w", ErrAccess, c.URL, withoutPath(err))
	case c.Source == SourceIndex:
		return l.take(b, c.URL, &c.request)
	}
	f, err := l.validate(b, &Request{})
	if err != nil {
		return Image{}, fmt.Errorf("%w: %s: %w", ErrValidation, c.URL, err)
	}
	if digestOf(f.Image) != c.SHA256 {
		return Image{}, fmt.Errorf("%w: %s: the file has changed since it was looked at; "+
			"try again in a few seconds", ErrAccess, c.URL)
	}
	return l.keep(f, c.URL, b)
}
