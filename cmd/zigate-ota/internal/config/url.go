package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// decodeList decodes a list that is separated by commas. With several entries an error says which one it is
// about.
func decodeList(text string, decode func(string) (string, error)) ([]string, error) {
	var list []string
	entries := strings.Split(text, ",")
	for i, entry := range entries {
		value := ""
		err := errors.New("is empty")
		if entry = strings.TrimSpace(entry); entry != "" {
			value, err = decode(entry)
		}
		if err != nil && len(entries) > 1 {
			return nil, fmt.Errorf("entry %d of %d: %w", i+1, len(entries), err)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, nil
}

// parseURL parses an address that may not hold credentials. Its errors do not repeat the text, nor what
// [url.Parse] says about it, because both can hold a password.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	if u.User != nil {
		return nil, errors.New("holds a user name or password, which have variables of their own")
	}
	if err := checkHost(u); err != nil {
		return nil, err
	}
	if u.Fragment != "" {
		return nil, errors.New("has a fragment (#), which no server gets to see")
	}
	return u, nil
}

func checkHost(u *url.URL) error {
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); !validHost(host) && (err != nil || !ip.Is6() || ip.Zone() != "") {
		return errors.New("has no valid host")
	}
	port := u.Port()
	n, err := strconv.ParseUint(port, 10, 16)
	if port == "" && strings.HasSuffix(u.Host, ":") || port != "" && (err != nil || n == 0) {
		return errors.New("has no port from 1 to 65535")
	}
	return nil
}

func hasQuery(u *url.URL) bool { return u.RawQuery != "" || u.ForceQuery }

// hostPort returns the host and the port of u, or the given port where it has none.
func hostPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// DisplayURL returns a URL with its password and query masked. It returns a path as it is.
func DisplayURL(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return mask
	}
	if u.RawQuery != "" {
		u.RawQuery = "xxxxx"
	}
	return u.Redacted()
}

func displayURLs(list []string) string {
	shown := make([]string, len(list))
	for i, u := range list {
		shown[i] = DisplayURL(u)
	}
	return strings.Join(shown, ",")
}

// validHost reports whether the host is an IPv4 address or a name of letters, digits, dashes and underscores
// (which container networks have) in parts of 1 to 63, separated by dots.
func validHost(host string) bool {
	if len(host) > 253 {
		return false
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if part == "" || len(part) > 63 || part[0] == '-' || part[len(part)-1] == '-' {
			return false
		}
		for _, c := range part {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' ||
				c == '_') {
				return false
			}
		}
	}
	return true
}

// printable reports whether the text is UTF-8 without control characters.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}
