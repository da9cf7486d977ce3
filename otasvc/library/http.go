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
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxRedirects = 10
	maxResumes   = 8 // attempts after the first one
	// resumeDelay is the time before the second resume. It doubles with each further one; the first resume
	// begins at once.
	resumeDelay = 250 * time.Millisecond
	// fetchTimeouts is how many times Options.FetchTimeout a whole download may take.
	fetchTimeouts = 30
	userAgent     = "zigate-ota"
)

var (
	errNoByte  = errors.New("no byte came in time")
	errTooSlow = errors.New("the download is too slow")

	// errNotModified means that the file at the URL is the one that the condition of the download names.
	errNotModified = errors.New("it has not changed")
)

// newTransport makes the transport of one download. It keeps no connections: downloads are rare and come from
// many servers. No two downloads share any, since what one may reach another may not.
func newTransport(authorities *x509.CertPool, c *connector) http.RoundTripper {
	return &http.Transport{
		Proxy:                 c.proxy,
		DialContext:           c.dial,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		TLSClientConfig:       &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
		ExpectContinueTimeout: time.Second,
		DisableKeepAlives:     true,
		DisableCompression:    true, // digests are those of the bytes on the server
	}
}

// download is one download over HTTP. It may use several connections, one after the other.
type download struct {
	client  *http.Client
	route   *connector // by which the client's own transport goes
	url     *url.URL
	origin  origin
	idle    *time.Timer   // cancels the download when it fires
	timeout time.Duration // longest time without a byte
	body    *body

	// digested says that the caller compares the bytes with a digest. Then parts are joined that a date alone
	// says to be of one file; else only a strong entity tag can say so.
	digested bool
	// validator is the value for If-Range: a strong entity tag or a date. It is empty when a resume is not
	// safe.
	validator string
	dated     bool     // parts were joined of which only a date said that they are of one file
	condition revision // the revision that is known already; zero to download in any case
	revision  revision // of the file that came
	gzipped   bool     // the server says that it added a gzip encoding, although it was asked not to
}

// unpacked returns the bytes that came without the gzip encoding that the server says it added. ok is false
// where there is none. Some servers say so of files that were packed before, so the caller decides which of
// the two is meant.
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

// revision names the state of a file on a server, for conditional requests (RFC 9110, 13.1).
type revision struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
}

// revisionOf returns the revision that a response names.
func revisionOf(response *http.Response) revision {
	return revision{ETag: response.Header.Get("ETag"), LastModified: response.Header.Get("Last-Modified")}
}

// brokenError is an error after which the download can be resumed over another connection.
type brokenError struct{ err error }

// Error returns the text of the error.
func (e *brokenError) Error() string { return e.err.Error() }

// Unwrap returns the error itself.
func (e *brokenError) Unwrap() error { return e.err }

// download gets the bytes at an http or https URL that an origin has named.
func (l *Library) download(ctx context.Context, u *url.URL, o origin, want wanted) (fetched, error) {
	d := &download{
		url:      u,
		origin:   o,
		body:     &body{name: shown(u), max: l.options.MaxBytes, total: -1, progress: want.progress},
		digested: want.digested,
	}
	if err := l.run(ctx, d); err != nil {
		return fetched{}, err
	}
	got := fetched{bytes: d.body.data, dated: d.dated}
	if b, ok := d.unpacked(); ok {
		got.unpacked = b
	}
	return got, nil
}

// run carries out a download whose URL, origin, body and condition are set.
func (l *Library) run(ctx context.Context, d *download) error {
	if err := l.allow(d.url, d.origin); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.route = &connector{resolver: l.options.Resolver}
	transport := l.options.Transport
	if transport == nil {
		transport = newTransport(l.options.Authorities, d.route)
	}
	d.client = &http.Client{
		Transport: transport,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			return l.redirected(d, r, via)
		},
	}
	d.timeout = l.options.FetchTimeout
	d.idle = time.AfterFunc(d.timeout, func() { cancel(errNoByte) })
	defer d.idle.Stop()
	for resumes := 0; ; resumes++ {
		err := d.attempt(ctx, resumes > 0)
		if err == nil || errors.Is(err, errNotModified) {
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

// redirected returns nil where a download may go on to where a server redirects it, else an [ErrAccess]. via
// are the requests before, the first one first.
func (l *Library) redirected(d *download, r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: %s: it is redirected more than %d times", ErrAccess, d.body.name, maxRedirects)
	}
	o := d.origin
	for _, before := range via {
		o = o.from(hostName(before.URL))
	}
	if err := l.allow(r.URL, o); err != nil {
		return fmt.Errorf("%w (%s redirects there)", err, d.body.name)
	}
	if r.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https" {
		return fmt.Errorf("%w: %s: the server redirects to an address without encryption (%s), "+
			"where anybody on the way could change the image; if you trust that one, give its URL",
			ErrPolicy, d.body.name, shown(r.URL))
	}
	host := hostName(r.URL)
	d.route.aim(host, o.nearest(host))
	return nil
}

// cause returns why the context ended, as an ErrAccess.
func (d *download) cause(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, errNoByte) {
		return fmt.Errorf("%w: %s: no byte came for %s, after %d",
			ErrAccess, d.body.name, d.timeout, len(d.body.data))
	}
	return fmt.Errorf("%w: %s: %w", ErrAccess, d.body.name, cause)
}

// attempt gets the download, or the missing rest of it, over one connection. again is true after the first
// attempt.
func (d *download) attempt(ctx context.Context, again bool) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url.String(), nil)
	if err != nil {
		return fmt.Errorf("%w: %s: the URL is malformed", ErrAccess, d.body.name)
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept-Encoding", "identity") // another transport could unpack otherwise
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
	host := hostName(d.url)
	d.route.aim(host, d.origin.nearest(host))
	d.idle.Reset(d.timeout)
	response, err := d.client.Do(request)
	if err != nil {
		return d.doError(err, again)
	}
	defer response.Body.Close()
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

// setIf sets a header field unless the value is empty.
func setIf(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// doError returns the error of a request that got no response. After the first attempt the download may be
// resumed; a failure of the first one is final: most likely the URL is wrong, and the caller should know at
// once.
func (d *download) doError(err error, again bool) error {
	asked := d.url.Host
	var about *url.Error
	if errors.As(err, &about) {
		err = about.Err // the text of url.Error shows the URL with its user
		if last, bad := url.Parse(about.URL); bad == nil {
			asked = last.Host // another one after a redirect
		}
	}
	if errors.Is(err, ErrAccess) {
		return err
	}
	var refused *offLimitsError
	if errors.As(err, &refused) {
		return fmt.Errorf("%w: %s: %w", ErrPolicy, d.body.name, refused)
	}
	err = errors.New(networkProblem(err, asked))
	if again {
		return &brokenError{err}
	}
	return fmt.Errorf("%w: %s: %w", ErrAccess, d.body.name, err)
}

// begin decides by the status and header of a response how its body continues the bytes that are there, from
// in number.
func (d *download) begin(response *http.Response, from int64, again bool) error {
	switch {
	case response.StatusCode == http.StatusOK:
		// After a request for a range this means that the server knows no ranges or that the file has
		// changed.
		d.body.restart()
		d.dated = false
		d.body.total = response.ContentLength
		d.validator = validatorOf(response, d.digested)
		d.revision = revisionOf(response)
		d.gzipped = strings.TrimPrefix(strings.ToLower(response.Header.Get("Content-Encoding")),
			"x-") == "gzip"
		return d.body.checkTotal()
	case response.StatusCode == http.StatusNotModified && from == 0 && d.condition != (revision{}):
		return errNotModified
	case response.StatusCode == http.StatusPartialContent && from > 0:
		start, total, ok := parseContentRange(response.Header.Get("Content-Range"))
		resized := total >= 0 && d.body.total >= 0 && total != d.body.total
		if !ok || start != from || resized || !d.continues(response) {
			d.validator = ""
			return &brokenError{errors.New("the file on the server changed meanwhile")}
		}
		if d.body.total < 0 {
			d.body.total = total
		}
		d.dated = d.dated || !isTag(d.validator)
		return d.body.checkTotal()
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0:
		d.validator = ""
		return &brokenError{errors.New("the server has no such part of the file any more")}
	}
	answered := fmt.Errorf("the server answered %d %s",
		response.StatusCode, http.StatusText(response.StatusCode))
	if again && isTemporary(response.StatusCode) {
		return &brokenError{answered}
	}
	return fmt.Errorf("%w: %s: %w", ErrAccess, d.body.name, answered)
}

// isTemporary reports whether a later request may get another status.
func isTemporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout:
		return true
	}
	return false
}

// validatorOf returns the value for a later If-Range (RFC 9110, 13.1.5). It is empty where the response has
// nothing that tells one file from another for certain. A weak entity tag does not, and must not be in
// If-Range. A date does not, since files can change within its second; with a digest it will do.
func validatorOf(response *http.Response, digested bool) string {
	tag := response.Header.Get("ETag")
	switch {
	case isTag(tag):
		return tag
	case tag == "" && digested:
		return response.Header.Get("Last-Modified")
	default:
		return ""
	}
}

// isTag reports whether a validator is a strong entity tag.
func isTag(validator string) bool { return strings.HasPrefix(validator, `"`) }

// continues reports whether a part is of the file of which the download has the beginning. A server has to
// send the entity tag with a part (RFC 9110, 15.3.7), but not the date.
func (d *download) continues(part *http.Response) bool {
	tag := part.Header.Get("ETag")
	if isTag(d.validator) {
		return tag == d.validator
	}
	date := part.Header.Get("Last-Modified")
	return tag == "" && (date == "" || date == d.validator)
}

// parseContentRange parses a Content-Range such as "bytes 100-199/200". total is -1 where the server does not
// give it. ok is false where the field is malformed.
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

// idleReader restarts the idle timer of the download for each read.
type idleReader struct {
	r io.Reader
	d *download
}

// Read reads from the response. The idle timer runs only while Read waits.
func (r *idleReader) Read(p []byte) (int, error) {
	r.d.idle.Reset(r.d.timeout)
	n, err := r.r.Read(p)
	r.d.idle.Stop()
	return n, err
}
