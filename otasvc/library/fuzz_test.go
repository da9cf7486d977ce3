package library

import (
	"bytes"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// FuzzDigests holds that a digest passes only if it is the download's, and that one that cannot
// be read is refused.
func FuzzDigests(f *testing.F) {
	download := []byte("download")
	all := downloadDigests(download)
	for _, given := range all {
		_, sum, _ := strings.Cut(given, ":")
		f.Add(download, sum, "", "")
		f.Add(download, "", strings.ToUpper(sum), "")
		f.Add([]byte(nil), sum, sum, sum)
	}
	f.Add(download, "zz", "", " ")
	f.Fuzz(func(t *testing.T, download []byte, sha256, sha512, sha3 string) {
		request := Request{SHA256: sha256, SHA512: sha512, SHA3: sha3}
		checks, err := checkDigests(download, &request)
		if err != nil {
			if len(checks) != 0 {
				t.Fatalf("checks %v beside %v", checks, err)
			}
			return
		}
		given := request.downloads()
		if len(given) != len(checks) {
			t.Fatalf("%d digests, %d checks", len(given), len(checks))
		}
		own := strings.Join(downloadDigests(download), " ")
		for i, check := range checks {
			if passed := check.Status == otafile.Passed; passed != strings.Contains(own, given[i]) || check.Expected == "" || check.Found == "" {
				t.Fatalf("%s: %+v", given[i], check)
			}
		}
		if refused := refuse(checks, false); (refused == nil) != digestsPass(download, &request) || refuse(checks, true) != nil {
			t.Fatalf("%v", refused)
		}
	})
}

// FuzzContentRange holds that what is read of a Content-Range can be used as it is.
func FuzzContentRange(f *testing.F) {
	for _, seed := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes */10", "bytes -5-9/10", "bytes 9223372036854775808-/1", "bytes 1-2/-3", "items 0-1/2", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		start, total, ok := parseContentRange(s)
		if ok && (start < 0 || total < -1) {
			t.Fatalf("%q: %d of %d", s, start, total)
		}
	})
}

// FuzzPaths holds that no path of a request leads out of the folder that it is to be below of, and that
// nothing that is said of a URL has its password in it.
func FuzzPaths(f *testing.F) {
	for _, seed := range []string{"Lamp/a.zigbee", "../x", "a/../../b", "%2e%2e/%2e%2e/etc/passwd", `a\..\b`, "a//b", "/a/b", "a/b/", "\x00/a", "a/\x00", ".../a", "C:/a"} {
		f.Add(seed)
	}
	l, err := newLibrary(Options{Dir: f.TempDir(), AllowedHosts: []string{"example.com"}, Transport: noTransport{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if name, ok := parseDriverPath(path); ok && !strings.HasPrefix(filepath.Join("/driver", name), "/driver/") {
			t.Fatalf("%q leads to %q", path, name)
		}
		if u, err := url.Parse("file://" + l.options.Dir + "/" + path); err == nil {
			if name, below := l.belowDir(u.Path); below && !strings.HasPrefix(filepath.Join("/images", name)+"/", "/images/") {
				t.Fatalf("%q leads to %q", path, name)
			}
		}
		for _, raw := range []string{path, "http://me:hunter2@" + path, "https://me:hunter2@example.com/" + path, "controller://driver/" + path, "file://" + path} {
			u, err := parseURL(raw)
			if err == nil {
				_, err = l.getFor(t.Context(), u, &Request{})
			}
			switch {
			case err == nil:
				t.Fatalf("%q was had", raw)
			case !errors.Is(err, ErrAccess):
				t.Fatalf("%q: %v", raw, err)
			case !strings.Contains(path, "hunter2") && strings.Contains(err.Error(), "hunter2"):
				t.Fatalf("%q: %v shows the password", raw, err)
			}
		}
	})
}

type noTransport struct{}

func (noTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("there is no network")
}

// FuzzPackage holds that a driver package, whatever is in it, gives nothing larger than allowed
// and costs no crash.
func FuzzPackage(f *testing.F) {
	f.Add([]byte("PK\x03\x04"))
	f.Add([]byte("PK\x05\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(bytes.Repeat([]byte("PK\x01\x02"), 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, _, err := fromPackage(b, "Lamp.c4z", "a.zigbee", 1000)
		if err == nil && len(content) > 1000 {
			t.Fatalf("%d bytes", len(content))
		}
	})
}

// FuzzZones holds that an IPv6 address which stands for an IPv4 one is where that is, and that no host is nearer than its
// addresses may be.
func FuzzZones(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "169.254.169.254", "10.1.2.3", "1.1.1.1", "0.0.0.0", "255.255.255.255", "localhost", "nas.local", "example.com", "::1", "fe80::1%lo", "①.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		for _, o := range []origin{{}, {outside: true}} {
			a, err := netip.ParseAddr(host)
			if err == nil && o.refuse(host) == nil && zoneOf(a) > o.nearest(host) {
				t.Fatalf("%q is let through to %s", host, a)
			}
			if o.outside && o.nearest(host) != zoneInternet || o.nearest(host) == zoneBarred {
				t.Fatalf("%q may be at %d", host, o.nearest(host))
			}
			if err != nil || !a.Is4() {
				continue
			}
			b := a.As4()
			for _, in := range []netip.Addr{
				netip.AddrFrom16(a.As16()),
				netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}),
				netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b, 0, 1, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}),
				netip.AddrFrom16([16]byte{0x20, 0x02, b[0], b[1], b[2], b[3], 15: 1}),
			} {
				if zoneOf(in) != zoneOf(a) {
					t.Fatalf("%s is at %d, %s at %d", in, zoneOf(in), a, zoneOf(a))
				}
			}
		}
	})
}
