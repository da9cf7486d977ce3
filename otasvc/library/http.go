package library

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxRedirects = 10
	maxResumes   = 8 // attempts after the first
	// Before the second resume; it doubles with each, the first is at once.
	resumeDelay   = 250 * time.Millisecond
	fetchTimeouts = 30 // a whole download may take so many times Options.FetchTimeout
	userAgent     = "zigate-ota"
)

var (
	errNoByte  = errors.New("no byte came in time")
	errTooSlow = errors.New("the download is too slow")

	// errNotModified: what is at the URL is what the condition of the download names.
	errNotModified = errors.New("it has not changed")
)

// newTransport makes the library's own transport. Downloads are rare and from all kinds of places, so
// connections are not kept.
func newTransport(authorities *x509.CertPool) http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		TLSClientConfig:       &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
		ExpectContinueTimeout: time.Second,
		DisableKeepAlives:     true,
		DisableCompression:    true, // a digest is of the bytes that lie on the server
	}
}

// download is one download over HTTP, over as many connections as it takes.
type download struct {
	client  *http.Client
	url     *url.URL
	idle    *time.Timer // ends the download's context
	timeout time.Duration
	body    *body

	// validator is what If-Range takes: a strong entity tag or a date; empty when a resume would not be safe.
	validator string
	condition revision
	revision  revision // of what came
	gzipped   bool     // the server says that it packed what came, although it was asked not to
}

// unpacked is what came, without the packing that the server says it put around it; ok is false where there
// is none. Some say so of files that lie there packed, so it is not known which of the two is meant.
func (d *download) unpacked() (b []byte, ok bool) {
	if !d.gzipped {
		return nil, false
	}
	r, err := gzip.NewReader(bytes.NewReader(d.body.data))
	if err != nil {
		return nil, false
	}
	b, err = io.ReadAll(io.LimitReader(r, d.body.max+1))
	return b, err == nil && int64(len(b)) <= d.body.max
}

// revision is what a server says about the state of a file, to ask later whether there is another
// one (RFC 9110, 13.1).
type revision struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
}

func revisionOf(response *http.Response) revision {
	return revision{ETag: response.Header.Get("ETag"), LastModified: response.Header.Get("Last-Modified")}
}

// brokenError is an error after which the download can go on with another connection.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// download gets what is at an http or https URL; see allow for trusted.
func (l *Library) download(
	ctx context.Context, u *url.URL, trusted string, progress func(done, total int64),
) (fetched, error) {
	d := &download{
		url: u, body: &body{name: shown(u), max: l.options.MaxBytes, total: -1, progress: progress},
	}
	if err := l.run(ctx, d, trusted); err != nil {
		return fetched{}, err
	}
	got := fetched{bytes: d.body.data}
	if b, ok := d.unpacked(); ok {
		got.unpacked = b
	}
	return got, nil
}

// run runs a download that has a URL, a body and perhaps a condition.
func (l *Library) run(ctx context.Context, d *download, trusted string) error {
	if err := l.allow(d.url, trusted); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.client = &http.Client{
		Transport: l.transport,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("%w: %s: it is redirected more than %d times",
					ErrAccess, d.body.name, maxRedirects)
			}
			if err := l.allow(r.URL, trusted); err != nil {
				return fmt.Errorf("%w (%s redirects there)", err, d.body.name)
			}
			return nil
		},
	}
	d.timeout = l.options.FetchTimeout
	d.idle = time.AfterFunc(d.timeout, func() { cancel(errNoByte) })
	defer d.idle.Stop()
	for resumes := 0; ; resumes++ {
		err := d.attempt(ctx, resumes > 0)
		if err == nil || err == errNotModified {
			return err
		}
		if ctx.Err() != nil {
			err = d.cause(ctx)
		}
		var broken *brokenError
		if !errors.As(err, &broken) {
			return err
		}
		if resumes == maxResumes {
			return fmt.Errorf("%w: %s: %w (given up after %d attempts)",
				ErrAccess, d.body.name, err, resumes+1)
		}
		l.log.Debug("image download broke off", "url", d.body.name, "bytes", len(d.body.data), "error", err)
		if resumes > 0 {
			select {
			case <-time.After(resumeDelay << (resumes - 1)):
			case <-ctx.Done():
				return d.cause(ctx)
			}
		}
	}
}

// cause tells why the context ended.
func (d *download) cause(ctx context.Context) error {
	switch cause := context.Cause(ctx); cause {
	case errNoByte:
		return fmt.Errorf("%w: %s: no byte came for %s, after %d",
			ErrAccess, d.body.name, d.timeout, len(d.body.data))
	default:
		return fmt.Errorf("%w: %s: %w", ErrAccess, d.body.name, cause)
	}
}

// attempt gets the download, or what is missing of it, over one connection.
func (d *download) attempt(ctx context.Context, again bool) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url.String(), nil)
	if err != nil {
		return fmt.Errorf("%w: %s: the URL is malformed", ErrAccess, d.body.name)
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept-Encoding", "identity") // a transport that was handed in might unpack otherwise
	if d.validator == "" {
		d.body.restart()
	}
	from := int64(len(d.body.data))
	if from > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		request.Header.Set("If-Range", d.validator)
	} else {
		setIf(request.Header, "If-None-Match", d.condition.ETag)
		setIf(request.Header, "If-Modified-Since", d.condition.LastModified)
	}
	d.idle.Reset(d.timeout)
	response, err := d.client.Do(request)
	if err != nil {
		return d.doError(err, again)
	}
	defer response.Body.Close() // what is not read is not wanted
	if err := d.begin(response, from, again); err != nil {
		return err
	}
	err = d.body.readFrom(ctx, &idleReader{response.Body, d})
	d.idle.Stop()
	switch {
	case errors.Is(err, ErrAccess):
		return err
	case err != nil:
		return &brokenError{
			fmt.Errorf("the connection broke after %d bytes: %s", len(d.body.data), scrub(err.Error())),
		}
	}
	return d.body.checkWhole()
}

func setIf(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// doError sorts what a request fails with. The first one's failure is final: most likely the URL is wrong,
// and who asked wants to know at once.
func (d *download) doError(err error, again bool) error {
	var about *url.Error
	if errors.As(err, &about) {
		err = about.Err // without the URL, whose user it shows
	}
	if errors.Is(err, ErrAccess) {
		return err
	}
	var unknown x509.UnknownAuthorityError
	advice := ""
	if errors.As(err, &unknown) {
		advice = "; if you trust the server, set ZIGATE_OTA_IMAGE_CA_FILE to the certificate of the " +
			"authority that signed its own"
	}
	err = errors.New(scrub(err.Error()) + advice)
	if again {
		return &brokenError{err}
	}
	return fmt.Errorf("%w: %s: %w", ErrAccess, d.body.name, err)
}

// begin decides by a response's head how its body continues what is there.
func (d *download) begin(response *http.Response, from int64, again bool) error {
	switch {
	case response.StatusCode == http.StatusOK:
		// With a range asked for: the server knows none, or the file is another one now.
		d.body.restart()
		d.body.total = response.ContentLength
		d.validator = validatorOf(response)
		d.revision = revisionOf(response)
		d.gzipped = strings.TrimPrefix(strings.ToLower(response.Header.Get("Content-Encoding")),
			"x-") == "gzip"
		return d.body.checkTotal()
	case response.StatusCode == http.StatusNotModified && from == 0 && d.condition != (revision{}):
		return errNotModified
	case response.StatusCode == http.StatusPartialContent && from > 0:
		start, total, ok := parseContentRange(response.Header.Get("Content-Range"))
		other := validatorOf(response)
		if !ok || start != from || total >= 0 && d.body.total >= 0 && total != d.body.total || other != "" &&
			other != d.validator {
			d.validator = ""
			return &brokenError{errors.New("the file on the server changed meanwhile")}
		}
		if d.body.total < 0 {
			d.body.total = total
		}
		return d.body.checkTotal()
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0:
		d.validator = ""
		return &brokenError{errors.New("the server has no such part of the file any more")}
	}
	answered := fmt.Errorf("the server answered %d %s",
		response.StatusCode, http.StatusText(response.StatusCode))
	if again && isPassing(response.StatusCode) {
		return &brokenError{answered}
	}
	return fmt.Errorf("%w: %s: %w", ErrAccess, d.body.name, answered)
}

// isPassing reports whether a status says that the server may do better in a while.
func isPassing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// validatorOf returns what a later If-Range may say of the response (RFC 9110, 13.1.5): a weak
// entity tag will not do.
func validatorOf(response *http.Response) string {
	if tag := response.Header.Get("ETag"); tag != "" {
		if strings.HasPrefix(tag, "W/") {
			return ""
		}
		return tag
	}
	return response.Header.Get("Last-Modified")
}

// parseContentRange parses "bytes 100-199/200"; total is -1 where the server does not know it.
func parseContentRange(s string) (start, total int64, ok bool) {
	s, isBytes := strings.CutPrefix(s, "bytes ")
	span, size, hasSize := strings.Cut(s, "/")
	first, _, hasLast := strings.Cut(span, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	if !isBytes || !hasSize || !hasLast || err != nil {
		return 0, 0, false
	}
	if size == "*" {
		return start, -1, true
	}
	total, err = strconv.ParseInt(size, 10, 64)
	return start, total, err == nil && total >= 0
}

// idleReader winds the download's timer up for each read.
type idleReader struct {
	r io.Reader
	d *download
}

func (r *idleReader) Read(p []byte) (int, error) {
	r.d.idle.Reset(r.d.timeout)
	n, err := r.r.Read(p)
	r.d.idle.Stop()
	return n, err
}
