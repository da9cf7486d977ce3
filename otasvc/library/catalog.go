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
	// Indexes are the URLs (http, https) and paths of index files. The first one that has an image for a
	// device wins.
	Indexes []string
	// Interval is the time between two requests for an index at a URL; 0 stands for 24 hours. Index files on
	// the disk are looked at every few seconds.
	Interval time.Duration
	// MakerAliases are names of manufacturers that mean the same, besides those that are known.
	MakerAliases []MakerAlias
}

// Catalog finds images for devices in the image folder and in indexes. Its methods may be called from several
// goroutines. Only Run, Ensure, Add and RemoveAdded wait for a disk or the network; the others answer from
// what was known last.
type Catalog struct {
	library  *Library
	folder   *folder
	listings listings
	changed  chan struct{}
	reading  *reading

	mu      sync.Mutex // held for a moment only
	flights map[string]*flight
	fetched map[string]string // SHA-256 by location, for images whose index names no digest
}

// NewCatalog makes a catalog of the library's image folder and the indexes. It is empty until Run has read
// them. The error names an index whose URL or path is wrong.
func NewCatalog(l *Library, options CatalogOptions) (*Catalog, error) {
	k := &Catalog{
		library:  l,
		listings: listings{makers: newMakers(options.MakerAliases)},
		changed:  make(chan struct{}, 1),
		flights:  map[string]*flight{},
		fetched:  map[string]string{},
	}
	k.folder = newFolder(l, k.listings.makers, k.notify)
	seen := map[string]bool{}
	for _, raw := range options.Indexes {
		at, err := parseLocation(raw)
		if err != nil {
			return nil, fmt.Errorf("index of images: %w", err)
		}
		if !seen[raw] {
			seen[raw] = true
			interval := cmp.Or(options.Interval, indexInterval)
			k.listings.indexes = append(k.listings.indexes,
				newIndexSource(l, k.listings.makers, at, interval, k.indexChanged))
		}
	}
	k.reading = newReading(1 + len(k.listings.indexes))
	k.folder.wasRead = k.reading.place()
	for _, s := range k.listings.indexes {
		s.wasRead = k.reading.place()
	}
	return k, nil
}

// Run watches the folder and keeps the indexes up to date until ctx is done. It must be called once.
func (k *Catalog) Run(ctx context.Context) error {
	k.library.tidyCache(k.listings.indexes)
	var wait sync.WaitGroup
	for _, s := range k.listings.indexes {
		wait.Go(func() { s.run(ctx) })
	}
	err := k.folder.run(ctx)
	wait.Wait()
	return err
}

// Changed returns a channel that has a value after the catalog's answers may have changed. One value may
// stand for several changes. The channel is for one receiver and is never closed.
func (k *Catalog) Changed() <-chan struct{} { return k.changed }

// Read returns a channel that is closed once the image folder and each index were read for the first time, or
// could not be. What is known of an index from an earlier start counts.
func (k *Catalog) Read() <-chan struct{} { return k.reading.over }

// notify puts a value into Changed.
func (k *Catalog) notify() {
	select {
	case k.changed <- struct{}{}:
	default: // the receiver has not taken the last one yet
	}
}

// indexChanged is called when an index has changed.
func (k *Catalog) indexChanged() {
	k.mu.Lock()
	clear(k.fetched) // another file may be at the same location now
	k.mu.Unlock()
	k.notify()
}

// Refresh makes Run read all indexes soon, and does not wait for that. A server that was asked less than a
// minute ago is not asked again.
func (k *Catalog) Refresh() {
	for _, s := range k.listings.indexes {
		s.refresh()
	}
}

// Folder returns what is in the image folder.
func (k *Catalog) Folder() *FolderState { return k.folder.current() }

// Indexes returns the status of each index, in the order of the options.
func (k *Catalog) Indexes() []IndexStatus {
	var all []IndexStatus
	for _, s := range k.listings.indexes {
		all = append(all, s.state.Load().status)
	}
	return all
}

// Best returns the image for a device: that of the image folder, or that of the first index that has one for
// the device, whichever has the higher file version. Where both are equal it is the folder's. In each place
// the most specific image wins (see [Limits]), then the highest file version. The image may be older than the
// one that runs, or the same. An image with a Caution gives way to an update without one. ok is false where
// there is none; Explain tells why.
func (k *Catalog) Best(d Device) (best Candidate, ok bool) {
	best, err := k.match(d)
	return best, err == nil
}

// match does what Best does, with the error that Explain is about.
func (k *Catalog) match(d Device) (Candidate, error) {
	own, ownErr := k.folder.current().matcher.match(d, k.listings.learner(&d, k.learn))
	if errors.Is(ownErr, ErrAmbiguous) {
		return Candidate{}, ownErr
	}
	listed := Candidate{}
	listedErr := ErrNoMatch
	for _, s := range k.listings.indexes {
		listed, listedErr = s.state.Load().matcher.match(d, k.learn)
		if !errors.Is(listedErr, ErrNoMatch) {
			break
		}
	}
	switch {
	case ownErr != nil:
		return listed, listedErr
	case listedErr == nil && listed.FileVersion > own.FileVersion:
		return listed, nil
	case listedErr == nil && own.Caution != "" && newer(&listed, &d):
		return listed, nil
	}
	return own, nil
}

// newer reports whether a candidate is an update for a device. A version that is not known counts as older.
func newer(c *Candidate, d *Device) bool {
	return d.CurrentVersion == nil || c.FileVersion > *d.CurrentVersion
}

// All returns the images that fit a device, one of each file version, the highest version first. Where
// several places have a version, images without a Caution come first, then the image folder, then the indexes
// in their order.
func (k *Catalog) All(d Device) []Candidate {
	all := k.folder.current().matcher.all(d, k.listings.learner(&d, k.learn))
	for _, s := range k.listings.indexes {
		all = append(all, s.state.Load().matcher.all(d, k.learn)...)
	}
	slices.SortStableFunc(all, func(a, b Candidate) int {
		return cmp.Or(
			-cmp.Compare(a.FileVersion, b.FileVersion),
			cmp.Compare(min(1, len(a.Caution)), min(1, len(b.Caution))),
		)
	})
	return slices.CompactFunc(all, func(a, b Candidate) bool { return a.FileVersion == b.FileVersion })
}

// WhyNot returns the images that are for the device's manufacturer code and image type and do not fit it,
// with what keeps each from it: those of the image folder first, then those of the indexes in their order.
func (k *Catalog) WhyNot(d Device) []Misfit {
	all := k.folder.current().matcher.misfits(d, k.listings.learner(&d, k.learn))
	for _, s := range k.listings.indexes {
		all = append(all, s.state.Load().matcher.misfits(d, k.learn)...)
	}
	return all
}

// mostExplained is how many images a sentence tells of that do not fit a device.
const mostExplained = 3

// Explain returns why Best finds nothing for a device: an [ErrNoMatch] or [ErrAmbiguous] with a text for
// people. It returns nil where Best finds an image.
func (k *Catalog) Explain(d Device) error {
	_, err := k.match(d)
	if !errors.Is(err, ErrNoMatch) {
		return err
	}
	if misfits := k.WhyNot(d); len(misfits) > 0 {
		var why []string
		for _, m := range misfits[:min(mostExplained, len(misfits))] {
			why = append(why, m.String())
		}
		if more := len(misfits) - mostExplained; more > 0 {
			why = append(why, fmt.Sprintf("and %d more do not fit either", more))
		}
		return fmt.Errorf("%w: %s", ErrNoMatch, strings.Join(why, "; "))
	}
	places := "the image folder has none"
	if len(k.listings.indexes) > 0 {
		places = "neither the image folder nor an index has one"
	}
	err = fmt.Errorf("%w: %s for manufacturer code 0x%04X, image type 0x%04X",
		ErrNoMatch, places, d.ManufacturerCode, d.ImageType)
	for _, s := range k.listings.indexes {
		switch status := s.state.Load().status; {
		case status.Format != "":
		case status.Error != "":
			err = fmt.Errorf("%w (the index %s cannot be read: %s)", err, status.Name, status.Error)
		default:
			err = fmt.Errorf("%w (the index %s has not been read yet)", err, status.Name)
		}
	}
	return err
}

// stored returns the image of a candidate from the store; the result is false where it is not there.
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

// learn completes a candidate whose image has been fetched with what the image says: the limits in its header
// are not known before. The result is false for a candidate whose image is not what its index says; it fits
// no device then.
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
	c.SetHeader(h)
	return c, true
}

// contradicts returns why the image cannot be taken for this candidate, or nil.
func (c *Candidate) contradicts(image *Image) error {
	if err := c.mismatches(image); err != nil || c.request.Force {
		return err
	}
	// The image may have been stored by force for another request, with checks that failed. The checks of the
	// download's digests do not count: they compared it with what that request wanted.
	for _, check := range image.Checks {
		if check.Status == otafile.Failed && !strings.HasSuffix(check.Name, ofTheDownload) {
			return errors.New(check.String())
		}
	}
	return nil
}

// mismatches returns in what the image differs from what the candidate says, or nil. It does not look at
// checks.
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

// With returns a copy of the candidate for Ensure. With force, Ensure takes the image although one of its
// checks or digests fails. progress, which may be nil, is called as bytes arrive. See [Request] for both.
func (c Candidate) With(force bool, progress func(done, total int64)) Candidate {
	c.request.Force = force
	c.request.Progress = progress
	return c
}

// flight returns the key of Catalog.flights. A fetch by force has a key of its own, since it takes images
// that others refuse.
func (c *Candidate) flight() string {
	if c.request.Force {
		return c.Key() + " by force"
	}
	return c.Key()
}

// Ensure returns the image of a candidate from the store. It first gets an image that is not there: from the
// image folder, or from where its index says. The candidate must be as Best or All returned it. When several
// callers want the same image at the same time, it is fetched once. Errors are those of [Library.Fetch].
//
// The header of the image may show that it is not for the device after all. That is no error here; Best
// leaves the image out from then on.
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
		// The caller that fetched may have stopped because its own context ended; then this one tries.
		if !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return f.image, f.err
		}
	}
}

// flight is a fetch by Ensure that others may wait for.
type flight struct {
	done  chan struct{}
	image Image
	err   error
}

// ensure does what Ensure does, for one caller.
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

// accept returns the image, or an [ErrValidation] where it is not the candidate's.
func (k *Catalog) accept(c *Candidate, image Image) (Image, error) {
	if err := c.contradicts(&image); err != nil {
		return Image{}, fmt.Errorf("%w: %s: %w", ErrValidation, c.URL, err)
	}
	return image, nil
}

// fetch gets the image of a candidate, puts it into the store and returns it.
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
