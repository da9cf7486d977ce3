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

// Names of the checks that compare a download's digest.
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
	// SHA256, SHA512 and SHA3 (SHA3-256) are the expected digests of the whole download, before its container
	// is taken off, in hex of any case. An empty one is not checked.
	SHA256, SHA512, SHA3 string
	// ManufacturerCode, ImageType and FileVersion must equal those of the file's header. A nil one is not
	// checked. Force does not change that.
	ManufacturerCode, ImageType *uint16
	FileVersion                 *uint32
	// Size is the expected number of bytes of the image or of the whole download: indexes give either. It is
	// not checked when it is 0 or when there is a digest.
	Size uint32
	// Force takes the image although a digest or one of its own checks fails. The image's Checks say which.
	Force bool
	// Progress is called from Fetch's goroutine as bytes arrive; it may be nil. Both numbers are bytes. total
	// is -1 while it is not known. done goes back to 0 when a broken download has to start again.
	Progress func(done, total int64)

	// index is the host of the index at a URL that lists the image; it is empty where there is none. An index
	// on the internet may not lead into the own network.
	index string
}

// Fetch fetches an image, takes its containers off, checks it and puts it into the store. An image that is
// there already is not stored again. A few images are fetched at a time; further calls wait, but at most 10
// seconds.
//
// Errors: [ErrAccess], with [ErrTooLarge] and [ErrPolicy]; [ErrValidation]; errors of the disk; the context's
// error, where it ended. Their texts show the URL without user and password.
func (l *Library) Fetch(ctx context.Context, request Request) (Image, error) {
	u, err := parseURL(request.URL)
	if err != nil {
		return Image{}, err
	}
	done := l.await(ctx)
	defer done()
	got, err := l.getFor(ctx, u, &request)
	if err != nil {
		return Image{}, err
	}
	return l.take(got.choose(&request), shown(u), &request)
}

// wanted is how bytes are to be got.
type wanted struct {
	digested bool                    // the caller compares them with a digest
	index    string                  // see [Request]
	progress func(done, total int64) // see [Request]; not nil
}

// getFor returns the bytes that a request is about. Where parts were joined that are not of one file, as the
// digest shows, everything is got anew.
func (l *Library) getFor(ctx context.Context, u *url.URL, request *Request) (fetched, error) {
	want := wanted{
		progress: request.Progress,
		digested: len(request.downloads()) > 0 && !request.Force,
		index:    request.index,
	}
	if want.progress == nil {
		want.progress = func(done, total int64) {}
	}
	got, err := l.get(ctx, u, want)
	if err != nil || !got.dated || digestsPass(got.choose(request), request) {
		return got, err
	}
	want.digested = false
	return l.get(ctx, u, want)
}

const (
	fetchesAtOnce = 4                // images that are fetched at the same time
	awaitTimeout  = 10 * time.Second // longest wait for another fetch to end
)

// await waits until fewer than fetchesAtOnce images are being fetched. This bounds the memory that a hundred
// fetches at once take. The caller calls done after its own fetch. await does not wait longer than
// awaitTimeout: the other fetches may hang on servers that send nothing, and then they take no memory.
func (l *Library) await(ctx context.Context) (done func()) {
	timeout := time.NewTimer(awaitTimeout)
	defer timeout.Stop()
	select {
	case l.fetching <- struct{}{}:
		return func() { <-l.fetching }
	case <-timeout.C:
	case <-ctx.Done():
	}
	return func() {}
}

// fetched holds the bytes that came from a URL.
type fetched struct {
	bytes    []byte
	unpacked []byte // the same without the gzip encoding that the server says it added; nil without one
	dated    bool   // parts were joined of which only a date said that they are of one file
}

// choose returns the bytes that a request is about: those that came, unless its digests are those of the
// unpacked ones.
func (f *fetched) choose(request *Request) []byte {
	if f.unpacked != nil && !digestsPass(f.bytes, request) && digestsPass(f.unpacked, request) {
		return f.unpacked
	}
	return f.bytes
}

// digestsPass reports whether a download has all digests that the request gives.
func digestsPass(download []byte, request *Request) bool {
	checks, err := checkDigests(download, request)
	return err == nil && refuse(checks, false) == nil
}

// take checks a download and puts the image in it into the store. url is kept with the image and shown in
// errors.
func (l *Library) take(download []byte, url string, request *Request) (Image, error) {
	f, err := l.validate(download, request)
	if err != nil {
		return Image{}, fmt.Errorf("%w: %s: %w", ErrValidation, url, err)
	}
	return l.keep(f, url, download)
}

// validate calls the function of that name for one file at a time: unpacking a container can take much memory
// and a whole processor, which the service needs for other things.
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

// Download returns the bytes at the URL (see [Request]) and stores nothing. Options.Dir is only read, and
// need not exist. Errors: [ErrAccess], with [ErrTooLarge] and [ErrPolicy].
func Download(ctx context.Context, options Options, url string) ([]byte, error) {
	l, err := newLibrary(options)
	if err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	u, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	got, err := l.getFor(ctx, u, &Request{})
	return got.bytes, err
}

// get returns the bytes at the URL.
func (l *Library) get(ctx context.Context, u *url.URL, want wanted) (fetched, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeouts*l.options.FetchTimeout, errTooSlow)
	defer cancel()
	switch u.Scheme {
	case "http", "https":
		return l.download(ctx, u, l.originOf(want.index), want)
	case "file":
		b, err := l.readFile(ctx, u, want.progress)
		return fetched{bytes: b}, err
	case "controller":
		return l.readDriverFile(ctx, u, want)
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
		// A wrong digest comes before anything that is wrong with the file, which is another file then.
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

// digest describes one kind of digest of a download.
type digest struct {
	check  string // the name of the check
	prefix string // names the kind in Image.Downloads, before the hex
	size   int    // bytes
	sum    func(b []byte) []byte
	wanted func(*Request) string // the digest that a request gives; empty where it gives none
}

// digests returns the kinds of digests that indexes and requests give.
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

// downloadDigests returns all digests of a download, as in Image.Downloads.
func downloadDigests(download []byte) []string {
	var all []string
	for _, d := range digests() {
		all = append(all, d.prefix+hex.EncodeToString(d.sum(download)))
	}
	return all
}

// downloads returns the digests that the request gives, as in Image.Downloads.
func (r *Request) downloads() []string {
	var given []string
	for _, d := range digests() {
		if wanted := d.wanted(r); wanted != "" {
			given = append(given, d.prefix+strings.ToLower(wanted))
		}
	}
	return given
}

// checkDigests compares a download with the digests that the request gives. The error is about a digest in
// the request that is malformed.
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

// refuse returns an error that lists the checks that failed. It returns nil where none failed, and with
// force.
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
	const most = 3
	if len(failed) > most {
		failed = append(failed[:most], fmt.Sprintf("and %d more", len(failed)-most))
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(failed, "; "))
}
