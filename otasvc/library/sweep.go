package library

import (
	"errors"
	"fmt"
	"time"
)

// Sweep removes the images that have been unused for unusedFor or longer from the store, and returns them.
// The first Sweep that finds an image unused notes the time, which survives a restart. A later one removes
// the image, unless it was used or fetched again before.
//
// keep is called for every image, from the goroutine of Sweep. It reports whether a registration, an upgrade
// or a download needs the image. An image that comes into use after that call has been through Fetch or
// [Catalog.Ensure], which clear the note, so that it stays. Images that an index or the image folder offers
// need not be kept: they can be fetched again. Sweep waits for the disk.
func (l *Library) Sweep(
	now time.Time, keep func(sha256 string) bool, unusedFor time.Duration,
) (removed []Image, err error) {
	now = now.UTC().Truncate(time.Second)
	var errs []error
	for _, image := range l.Images() {
		since := image.UnusedSince
		var err error
		switch {
		case keep(image.SHA256):
			err = l.note(image.SHA256, since, time.Time{})
		case since.IsZero(), since.After(now): // a clock that was wrong and is right now
			err = l.note(image.SHA256, since, now)
		case now.Sub(since) >= unusedFor:
			var gone bool
			if gone, err = l.removeUnused(image.SHA256, since); gone {
				removed = append(removed, image)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("clean up image %s: %w", image.SHA256, err))
		}
	}
	return removed, errors.Join(errs...)
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
