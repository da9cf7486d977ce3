package library

import (
	"context"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// Names of the checks of a download's digest.
const (
	CheckSHA256 = "SHA-256" + ofTheDownload
	CheckSHA512 = "SHA-512" + ofTheDownload
	CheckSHA3   = "SHA3-256" + ofTheDownload

	ofTheDownload = " of the download"
)

// Request is an image to fetch.
type Request struct {
	// URL is http, https, file (below Options.Dir), or controller://driver/<name>/<file>.
	URL string
	// SHA256, SHA512 and SHA3 (SHA3-256) are of the whole download, before it is unwrapped, in hex of any
	// case; empty for no check.
	SHA256, SHA512, SHA3 string
	// ManufacturerCode, ImageType and FileVersion must equal the file's where they are
	// given, with Force, too.
	ManufacturerCode, ImageType *uint16
	FileVersion                 *uint32
	// Size, in bytes, must be that of the image or of the whole download; 0 for no check. Both are
	// called the size of the file by those who list images. It is not looked at where there is a
	// digest, which says more.
	Size uint32
	// Force takes the image although a digest or one of its own checks fails. The image's Checks tell which.
	Force bool
	// Progress, where it is not nil, is called as bytes arrive, from Fetch's goroutine. Total is -1 while it
	// is unknown; done falls back to zero when a broken download has to start again.
	Progress func(done, total int64)
}

// Fetch fetches an image, takes its containers off, checks it and puts it into the store. An image that is
// there already is not stored again.
//
// More than a few at a time wait for each other, but never long; see [Library.await].
//
// Errors: [ErrAccess], with [ErrTooLarge] and [ErrPolicy]; [ErrValidation]; what the disk fails with; the
// context's error, where it ended. They tell the URL, but never a user and password in it.
func (l *Library) Fetch(ctx context.Context, request Request) (Image, error) {
	u, err := parseURL(request.URL)
	if err != nil {
		return Image{}, err
	}
	done := l.await(ctx)
	defer done()
	got, err := l.get(ctx, u, request.Progress)
	if err != nil {
		return Image{}, err
	}
	return l.take(got.meant(&request), shown(u), &request)
}

const (
	fetchesAtOnce = 4
	fetchTurn     = 10 * time.Second
)

// await waits until fewer than fetchesAtOnce images are being fetched, and returns how to say that this
// one has been: a hundred images that are asked for at once are not to be in memory at once. It does not
// wait longer than fetchTurn: who is ahead may hang on a server that sends nothing, and what sends
// nothing takes no memory.
func (l *Library) await(ctx context.Context) (done func()) {
	turn := time.NewTimer(fetchTurn)
	defer turn.Stop()
	select {
	case l.fetching <- struct{}{}:
		return func() { <-l.fetching }
	case <-turn.C:
	case <-ctx.Done():
	}
	return func() {}
}

// fetched is what was got from a URL.
type fetched struct {
	bytes    []byte
	unpacked []byte // nil, or the same without a packing that a server put around it on the way
}

// meant is the download that a request means: of the two the packed one counts, unless a
// digest is of the other.
func (f *fetched) meant(request *Request) []byte {
	if f.unpacked != nil && !digestsPass(f.bytes, request) && digestsPass(f.unpacked, request) {
		return f.unpacked
	}
	return f.bytes
}

func digestsPass(download []byte, request *Request) bool {
	checks, err := checkDigests(download, request)
	return err == nil && refuse(checks, false) == nil
}

// take checks a download and puts the image in it into the store. The URL is for people.
func (l *Library) take(download []byte, url string, request *Request) (Image, error) {
	f, err := l.validate(download, request)
	if err != nil {
		return Image{}, fmt.Errorf("%w: %s: %w", ErrValidation, url, err)
	}
	return l.keep(f, url, download)
}

// validate is the function of that name, one file at a time: unpacking a container may take much memory, and
// the service has something better to do with its second processor.
func (l *Library) validate(download []byte, request *Request) (*otafile.File, error) {
	l.validating.Lock()
	defer l.validating.Unlock()
	return validate(download, request)
}

// keep puts the image of a file that was downloaded and validated into the store.
func (l *Library) keep(f *otafile.File, url string, download []byte) (Image, error) {
	image, err := l.store(f, url, downloadDigests(download))
	if err != nil {
		return Image{}, fmt.Errorf("store the image from %s: %w", url, err)
	}
	return image, nil
}

// Download returns the bytes that are at the URL (see [Request]) and keeps none of them. Of the options, Dir
// is only read, and need not exist. Errors: [ErrAccess], with [ErrTooLarge] and [ErrPolicy].
func Download(ctx context.Context, options Options, url string) ([]byte, error) {
	l, err := newLibrary(options)
	if err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	u, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	got, err := l.get(ctx, u, nil)
	return got.bytes, err
}

// get returns the bytes that are at the URL.
func (l *Library) get(ctx context.Context, u *url.URL, progress func(done, total int64)) (fetched, error) {
	if progress == nil {
		progress = func(done, total int64) {}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeouts*l.options.FetchTimeout, errTooSlow)
	defer cancel()
	switch u.Scheme {
	case "http", "https":
		return l.download(ctx, u, "", progress)
	case "file":
		b, err := l.readFile(ctx, u, progress)
		return fetched{bytes: b}, err
	case "controller":
		return l.readDriverFile(ctx, u, progress)
	}
	return fetched{}, fmt.Errorf("%w: its scheme is %q; it must be http, https, file or controller",
		ErrPolicy, u.Scheme)
}

// validate checks the download against the request and parses and verifies the OTA file in it. The digests
// become the first of the file's checks.
func validate(download []byte, request *Request) (*otafile.File, error) {
	digests, err := checkDigests(download, request)
	if err != nil {
		return nil, err
	}
	if err := refuse(digests, request.Force); err != nil {
		// Before the file is parsed: with a wrong digest, whatever is wrong with the file
		// is beside the point.
		return nil, err
	}
	f, err := otafile.Parse(download)
	if err != nil {
		return nil, err
	}
	if want := request.ManufacturerCode; want != nil && *want != f.Header.ManufacturerCode {
		return nil, fmt.Errorf("its manufacturer code is 0x%04X (%d), not 0x%04X (%d)",
			f.Header.ManufacturerCode, f.Header.ManufacturerCode, *want, *want)
	}
	if want := request.ImageType; want != nil && *want != f.Header.ImageType {
		return nil, fmt.Errorf("its image type is 0x%04X (%d), not 0x%04X (%d)",
			f.Header.ImageType, f.Header.ImageType, *want, *want)
	}
	if want := request.FileVersion; want != nil && *want != f.Header.FileVersion {
		return nil, fmt.Errorf("its file version is 0x%08X, not 0x%08X", f.Header.FileVersion, *want)
	}
	if want := request.Size; want != 0 && len(digests) == 0 && int64(want) != int64(len(f.Image)) &&
		int64(want) != int64(len(download)) {
		return nil, fmt.Errorf("it should have %d bytes, but the image has %d, the download %d",
			want, len(f.Image), len(download))
	}
	if err := refuse(f.Verify(), request.Force); err != nil {
		return nil, err
	}
	f.Checks = slices.Concat(digests, f.Checks)
	return f, nil
}

// digest is one way to take the digest of a download.
type digest struct {
	check  string // the name of the check
	prefix string // what stands before the hex where the kind is not clear otherwise
	size   int    // bytes
	sum    func(b []byte) []byte
	wanted func(*Request) string
}

// digests are the ways, by which indexes and requests say what a download must be.
func digests() []digest {
	return []digest{
		{
			CheckSHA256, "sha256:", sha256.Size, func(b []byte) []byte { s := sha256.Sum256(b); return s[:] },
			func(r *Request) string { return r.SHA256 },
		},
		{
			CheckSHA512, "sha512:", sha512.Size, func(b []byte) []byte { s := sha512.Sum512(b); return s[:] },
			func(r *Request) string { return r.SHA512 },
		},
		{
			CheckSHA3, "sha3-256:", 32, func(b []byte) []byte { s := sha3.Sum256(b); return s[:] },
			func(r *Request) string { return r.SHA3 },
		},
	}
}

// downloadDigests are all digests of a download, as in Image.Downloads.
func downloadDigests(download []byte) []string {
	var all []string
	for _, d := range digests() {
		all = append(all, d.prefix+hex.EncodeToString(d.sum(download)))
	}
	return all
}

// downloads are the digests that the request gives, as in Image.Downloads.
func (r *Request) downloads() []string {
	var given []string
	for _, d := range digests() {
		if wanted := d.wanted(r); wanted != "" {
			given = append(given, d.prefix+strings.ToLower(wanted))
		}
	}
	return given
}

func checkDigests(download []byte, request *Request) ([]otafile.Check, error) {
	var checks []otafile.Check
	for _, digest := range digests() {
		wanted := digest.wanted(request)
		if wanted == "" {
			continue
		}
		expected, err := hex.DecodeString(wanted)
		if err != nil || len(expected) != digest.size {
			return nil, fmt.Errorf("%s: the expected digest must be %d hex digits, not %q",
				digest.check, 2*digest.size, wanted)
		}
		check := otafile.Check{
			Name:     digest.check,
			Status:   otafile.Failed,
			Expected: hex.EncodeToString(expected),
			Found:    hex.EncodeToString(digest.sum(download)),
		}
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
