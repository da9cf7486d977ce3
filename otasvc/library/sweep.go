package library

import (
	"errors"
	"fmt"
	"time"
)

// Sweep removes the stored images that nobody has referred to for a while, and returns them. The first Sweep
// that finds an image unreferenced only notes the time; one that comes unusedFor or more later removes it,
// unless it was referred to or fetched again meanwhile. What was noted survives a restart.
//
// keep is asked for every image; it names what registrations, upgrades and downloads need, and may be called
// from any goroutine. An image that comes into use after keep was asked has been through Fetch or
// [Catalog.Ensure], which take the note back, so that it stays. Images that an index or the image folder
// offers need not be kept: they can be had again. Sweep waits for the disk.
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

// touch returns a stored image, which is going to be used.
func (l *Library) touch(sha256 string) (Image, bool) {
	image, known := l.Image(sha256)
	if !known {
		return Image{}, false
	}
	if err := l.note(sha256, image.UnusedSince, time.Time{}); err != nil {
		// The note stays on the disk alone. It counts only if nobody names the image to
		// Sweep after a restart.
		l.log.Warn("cannot note that a stored image is in use", "image", sha256, "error", err)
	}
	return l.Image(sha256) // it may have been removed just before
}

// note notes since when an image has been unused, if what was noted before is still so.
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

// removeUnused removes an image, if what was noted of it is still so.
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
