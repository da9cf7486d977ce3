package library

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// parseURL parses the URL of a request. It does not return the error of the standard library, which repeats
// the URL with its password.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: the URL is malformed", ErrAccess)
	case u.Scheme == "":
		return nil, fmt.Errorf("%w: that is no URL: it must start with http://, https://, "+
			"file:// or controller://", ErrAccess)
	}
	return u, nil
}

// shown returns a URL for people and records, without user, password and query: each can hold a secret.
func shown(u *url.URL) string {
	bare := *u
	bare.User = nil
	bare.RawQuery = ""
	bare.ForceQuery = false
	return bare.String()
}

// PublicURL returns a URL for people and records, without user, password and query: each can hold a secret.
// What is no URL stays as it is, for the error about it.
func PublicURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return scrub(s)
	}
	return shown(u)
}

// hasSecrets reports whether a URL has parts that may be secret, so that the one that is shown does not say
// where the file is.
func hasSecrets(s string) bool { return PublicURL(s) != s }

// userInfo matches the start of a URL with a user or password, anywhere in a text, and query the query of
// one.
var (
	userInfo = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*:)?//[^/?#\s"]*@`)
	query    = regexp.MustCompile(`(?i)(https?://[^?#\s"]*)\?[^#\s"]*`)
)

// scrub removes users, passwords and queries of URLs from a text, such as an error of another package.
func scrub(text string) string {
	return query.ReplaceAllString(userInfo.ReplaceAllString(text, "${1}//"), "${1}")
}

func isHTTP(u *url.URL) bool { return u.Scheme == "http" || u.Scheme == "https" }

// allow returns nil where a download from this URL is allowed, else an [ErrPolicy] or [ErrAccess].
func (l *Library) allow(u *url.URL, o origin) error {
	// The URL is not shown: with another scheme, a password can be anywhere in it.
	if !isHTTP(u) {
		return fmt.Errorf("%w: its scheme is %q; it must be http or https", ErrPolicy, u.Scheme)
	}
	if u.Host == "" {
		return fmt.Errorf("%w: the URL has no host", ErrAccess)
	}
	host := hostName(u)
	if !l.allowsHost(host, strings.ToLower(u.Host)) && (o.trusted == "" || host != o.trusted) {
		return fmt.Errorf("%w: %s: images may not come from host %q, only from %s",
			ErrPolicy, shown(u), host, strings.Join(l.options.AllowedHosts, ", "))
	}
	if err := o.refuse(host); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrPolicy, shown(u), err)
	}
	return nil
}

// allowsHost reports whether the options allow a host by one of its names.
func (l *Library) allowsHost(names ...string) bool {
	if len(l.options.AllowedHosts) == 0 {
		return true
	}
	for _, pattern := range l.options.AllowedHosts {
		pattern = strings.ToLower(strings.TrimSpace(pattern))
		for _, name := range names {
			if matched, err := path.Match(pattern, name); err == nil && matched {
				return true
			}
		}
	}
	return false
}

// hostName returns the host of a URL in lower case, without port and final dot.
func hostName(u *url.URL) string { return plainHost(u.Hostname()) }

// plainHost returns a host in lower case, without a final dot.
func plainHost(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }
