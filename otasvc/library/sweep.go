package library

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Allowance is what may stay in the store although nobody needs it.
type Allowance struct {
	For   time.Duration // how long
	Bytes int64         // how much at most; 0 stands for any number
}

// settled is how long an image has been unused at least before it has to go for its size: who has just
// fetched it may still be asking the device something, and need it then.
const settled = 2 * time.Minute

// Swept is what Sweep has done.
type Swept struct {
	Removed []Image
	// Surplus is how many bytes unused images have more than they may, and could not go yet.
	Surplus int64
}

// Sweep removes images from the store that have been unused for longer than allowed, and those that were
// noted as unused first where all of them have more bytes than allowed. The first Sweep that finds an image
// unused notes the time, which survives a restart. A later one removes the image, unless it was used or
// fetched again before.
//
// keep is called for every image, from the goroutine of Sweep. It reports whether a registration, an upgrade
// or a download needs the image. An image that comes into use after that call has been through Fetch or
// [Catalog.Ensure], which clear the note, so that it stays. Images that an index or the image folder offers
// need not be kept: they can be fetched again. Sweep waits for the disk.
func (l *Library) Sweep(now time.Time, keep func(sha256 string) bool, allowed Allowance) (Swept, error) {
	now = now.UTC().Truncate(time.Second)
	var done Swept
	var unused []Image // those that may go for their size
	var errs []error
	for _, image := range l.Images() {
		since := image.UnusedSince
		var err error
		switch {
		case keep(image.SHA256):
			err = cleanUp(image, l.note(image.SHA256, since, time.Time{}))
		case since.IsZero(), since.After(now): // a clock that was wrong and is right now
			err = cleanUp(image, l.note(image.SHA256, since, now))
			done.Surplus += int64(image.Size)
		case now.Sub(since) >= allowed.For:
			err = l.sweepAway(image, &done)
		default:
			done.Surplus += int64(image.Size)
			if now.Sub(since) >= settled {
				unused = append(unused, image)
			}
		}
		errs = append(errs, err)
	}

	done.Surplus = max(0, done.Surplus-allowed.Bytes)
	if allowed.Bytes == 0 {
		done.Surplus = 0
	}
	slices.SortStableFunc(unused, func(a, b Image) int {
		return cmp.Or(a.UnusedSince.Compare(b.UnusedSince), a.StoredAt.Compare(b.StoredAt))
	})
	for _, image := range unused {
		if done.Surplus == 0 {
			break
		}
		if err := l.sweepAway(image, &done); err != nil {
			errs = append(errs, err)
			continue
		}
		done.Surplus = max(0, done.Surplus-int64(image.Size))
	}
	return done, errors.Join(errs...)
}

// sweepAway removes an image that is unused still.
func (l *Library) sweepAway(image Image, done *Swept) error {
	gone, err := l.removeUnused(image.SHA256, image.UnusedSince)
	if gone {
		done.Removed = append(done.Removed, image)
	}
	return cleanUp(image, err)
}

// cleanUp returns an error with the image that it is about, or nil.
func cleanUp(image Image, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("clean up image %s: %w", image.SHA256, err)
}

// touch clears the note that an image is unused, and returns the image. The result is false where it is not
// stored.
func (l *Library) touch(sha256 string) (Image, bool) {
	image, known := l.Image(sha256)
	if !known {
		return Image{}, false
	}
	if err := l.note(sha256, image.UnusedSince, time.Time{}); err != nil {
		// The old note stays on the disk. It has an effect only if the image is unused after a restart.
		l.log.Warn("cannot note that a stored image is in use", "image", sha256, "error", err)
	}
	return l.Image(sha256) // another Sweep may have removed it just before
}

// note sets since when an image has been unused; zero stands for an image in use. It changes nothing where
// the note is no longer before.
func (l *Library) note(sha256 string, before, since time.Time) error {
	if before.Equal(since) {
		return nil
	}
	l.storing.Lock()
	defer l.storing.Unlock()
	image, known := l.Image(sha256)
	if !known || !image.UnusedSince.Equal(before) {
		return nil
	}
	image.UnusedSince = since
	l.learn(image)
	return l.writeReport(image)
}

// removeUnused removes an image that is still noted as unused since the given time.
func (l *Library) removeUnused(sha256 string, since time.Time) (bool, error) {
	l.storing.Lock()
	defer l.storing.Unlock()
	image, known := l.Image(sha256)
	if !known || !image.UnusedSince.Equal(since) {
		return false, nil
	}
	if err := l.remove(sha256); err != nil {
		return false, err
	}
	return true, nil
}
