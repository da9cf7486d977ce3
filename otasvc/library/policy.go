package library

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// parseURL parses the URL of a request. What the standard library says about a malformed one repeats the URL,
// password and all, so it is not passed on.
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

// shown is the URL for people and records: without user and password.
func shown(u *url.URL) string {
	if u.User == nil {
		return u.String()
	}
	bare := *u
	bare.User = nil
	return bare.String()
}

// userInfo is the user and password of a URL anywhere in a text.
var userInfo = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*:)?//[^/?#\s"]*@`)

// scrub takes users and passwords of URLs out of a text that was made elsewhere.
func scrub(text string) string {
	return userInfo.ReplaceAllString(text, "${1}//")
}

func isHTTP(u *url.URL) bool { return u.Scheme == "http" || u.Scheme == "https" }

// allow tells whether the policy lets a download go to this URL. The host of trusted, which is given without
// a port, is allowed besides those of the options: the director is where the user said it is.
func (l *Library) allow(u *url.URL, trusted string) error {
	// What is neither may have anything in any place, so it is not shown.
	if !isHTTP(u) {
		return fmt.Errorf("%w: its scheme is %q; it must be http or https", ErrPolicy, u.Scheme)
	}
	if u.Host == "" {
		return fmt.Errorf("%w: the URL has no host", ErrAccess)
	}
	host := hostName(u)
	if len(l.options.AllowedHosts) == 0 || trusted != "" && host == trusted {
		return nil
	}
	for _, pattern := range l.options.AllowedHosts {
		pattern = strings.ToLower(strings.TrimSpace(pattern))
		for _, name := range []string{host, strings.ToLower(u.Host)} {
			if matched, err := path.Match(pattern, name); err == nil && matched {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: %s: images may not come from host %q, only from %s",
		ErrPolicy, shown(u), host, strings.Join(l.options.AllowedHosts, ", "))
}

func hostName(u *url.URL) string {
	return strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
}
