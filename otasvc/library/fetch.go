package library

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// Names of the checks of a download's digest.
const (
	CheckSHA256 = "SHA-256 of the download"
	CheckSHA512 = "SHA-512 of the download"
)

// Request is an image to fetch.
type Request struct {
	// URL is http, https, file (below Options.Dir), or controller://driver/<name>/<file>.
	URL string
	// SHA256 and SHA512 are of the whole download, before it is unwrapped, in hex of any case; empty for no check.
	SHA256, SHA512 string
	// ManufacturerCode and ImageType must equal the file's where they are given, with Force, too.
	ManufacturerCode, ImageType *uint16
	// Force takes the image although a digest or one of its own checks fails. The image's Checks tell which.
	Force bool
	// Progress, where it is not nil, is called as bytes arrive, from Fetch's goroutine. Total is -1 while it is unknown;
	// done falls back to zero when a broken download has to start again.
	Progress func(done, total int64)
}

// Fetch fetches an image, takes its containers off, checks it and puts it into the store. An image that is there
// already is not stored again.
//
// Errors: [ErrAccess], with [ErrTooLarge] and [ErrPolicy]; [ErrValidation]; what the disk fails with; the context's
// error, where it ended. They tell the URL, but never a user and password in it.
func (l *Library) Fetch(ctx context.Context, request Request) (Image, error) {
	u, err := parseURL(request.URL)
	if err != nil {
		return Image{}, err
	}
	download, err := l.get(ctx, u, request.Progress)
	if err != nil {
		return Image{}, err
	}
	f, err := validate(download, &request)
	if err != nil {
		return Image{}, fmt.Errorf("%w: %s: %w", ErrValidation, shown(u), err)
	}
	image, err := l.store(f, shown(u))
	if err != nil {
		return Image{}, fmt.Errorf("store the image from %s: %w", shown(u), err)
	}
	return image, nil
}

// get returns the bytes that are at the URL.
func (l *Library) get(ctx context.Context, u *url.URL, progress func(done, total int64)) ([]byte, error) {
	if progress == nil {
		progress = func(done, total int64) {}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeouts*l.options.FetchTimeout, errTooSlow)
	defer cancel()
	switch u.Scheme {
	case "http", "https":
		return l.download(ctx, u, "", progress)
	case "file":
		return l.readFile(ctx, u, progress)
	case "controller":
		return l.readDriverFile(ctx, u, progress)
	}
	return nil, fmt.Errorf("%w: its scheme is %q; it must be http, https, file or controller", ErrPolicy, u.Scheme)
}

// validate checks the download against the request and parses and verifies the OTA file in it. The digests become the
// first of the file's checks.
func validate(download []byte, request *Request) (*otafile.File, error) {
	digests, err := checkDigests(download, request)
	if err != nil {
		return nil, err
	}
	if err := refuse(digests, request.Force); err != nil {
		return nil, err // before the file is parsed: with a wrong digest, whatever is wrong with the file is beside the point
	}
	f, err := otafile.Parse(download)
	if err != nil {
		return nil, err
	}
	if want := request.ManufacturerCode; want != nil && *want != f.Header.ManufacturerCode {
		return nil, fmt.Errorf("its manufacturer code is 0x%04X (%d), not 0x%04X (%d)", f.Header.ManufacturerCode, f.Header.ManufacturerCode, *want, *want)
	}
	if want := request.ImageType; want != nil && *want != f.Header.ImageType {
		return nil, fmt.Errorf("its image type is 0x%04X (%d), not 0x%04X (%d)", f.Header.ImageType, f.Header.ImageType, *want, *want)
	}
	if err := refuse(f.Verify(), request.Force); err != nil {
		return nil, err
	}
	f.Checks = slices.Concat(digests, f.Checks)
	return f, nil
}

func checkDigests(download []byte, request *Request) ([]otafile.Check, error) {
	var checks []otafile.Check
	for _, digest := range []struct {
		name, expected string
		size           int
		sum            func() []byte
	}{
		{CheckSHA256, request.SHA256, sha256.Size, func() []byte { s := sha256.Sum256(download); return s[:] }},
		{CheckSHA512, request.SHA512, sha512.Size, func() []byte { s := sha512.Sum512(download); return s[:] }},
	} {
		if digest.expected == "" {
			continue
		}
		expected, err := hex.DecodeString(digest.expected)
		if err != nil || len(expected) != digest.size {
			return nil, fmt.Errorf("%s: the expected digest must be %d hex digits, not %q", digest.name, 2*digest.size, digest.expected)
		}
		check := otafile.Check{Name: digest.name, Status: otafile.Failed, Expected: hex.EncodeToString(expected), Found: hex.EncodeToString(digest.sum())}
		if check.Expected == check.Found {
			check.Status = otafile.Passed
		}
		checks = append(checks, check)
	}
	return checks, nil
}

// refuse makes an error of failed checks.
func refuse(checks []otafile.Check, force bool) error {
	if force {
		return nil
	}
	var failed []string
	for _, check := range checks {
		if check.Status == otafile.Failed {
			failed = append(failed, check.String())
		}
	}
	const told = 3
	if len(failed) > told {
		failed = append(failed[:told], fmt.Sprintf("and %d more", len(failed)-told))
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(failed, "; "))
}
