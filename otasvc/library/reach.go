package library

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Where a download may lead. A URL comes from whoever may send a request, from an index, or from a server
// that redirects. None of them is to reach, through this service, what only this machine or its network can
// reach.

// zone says who can reach an address. A later one is nearer.
type zone int

const (
	// zoneInternet is reached from everywhere.
	zoneInternet zone = iota
	// zoneHome is this machine, or a network of somebody's own.
	zoneHome
	// zoneBarred is nowhere that images are: the link itself, the services of a cloud for its machines,
	// groups of machines, and addresses that are none.
	zoneBarred
)

// Prefixes that the methods of netip.Addr do not tell apart.
var (
	nat64          = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052: the last 32 bits are an IPv4 address
	nat64Local     = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215: the same inside of a network
	nat64LocalLast = netip.MustParsePrefix("64:ff9b:1::/96")
	sixToFour      = netip.MustParsePrefix("2002::/16") // RFC 3056: 32 bits behind the prefix
	compatible     = netip.MustParsePrefix("::/96")     // RFC 4291, 2.5.5.1: the last 32 bits
)

// homePrefixes are networks of somebody's own besides those of netip.Addr.IsPrivate and IsLoopback.
// 198.18.0.0/15 (RFC 2544: measurements inside a network) is not among them: name servers of tunnels give its
// addresses for every name on the internet.
func homePrefixes() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("100.64.0.0/10"), // RFC 6598: behind a carrier's NAT, and overlays such as VPNs
		netip.MustParsePrefix("192.0.0.0/24"),  // RFC 6890: protocols between a home and its provider
		netip.MustParsePrefix("fec0::/10"),     // RFC 3879: once a site's own
		nat64Local,
	}
}

// barredPrefixes are addresses that no image is at, besides link-local ones, groups and the unspecified one.
func barredPrefixes() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),              // this machine, for some systems
		netip.MustParsePrefix("240.0.0.0/4"),            // reserved, and broadcast
		netip.MustParsePrefix("2001::/32"),              // Teredo hides an IPv4 address
		netip.MustParsePrefix("100.100.100.200/32"),     // metadata of Alibaba's cloud
		netip.MustParsePrefix("168.63.129.16/32"),       // of Microsoft's
		netip.MustParsePrefix("192.0.0.192/32"),         // of Oracle's
		netip.MustParsePrefix("fd00:ec2::/32"),          // of Amazon's
		netip.MustParsePrefix("fd20:ce::254/128"),       // of Google's
		netip.MustParsePrefix("fd00:42::42/128"),        // of Scaleway's
		netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // of Oracle's
	}
}

// zoneOf returns the zone of an address. An IPv6 address that stands for an IPv4 one is where that is.
func zoneOf(a netip.Addr) zone {
	a = a.WithZone("").Unmap()
	if inner, ok := embedded(a); ok {
		return zoneOf(inner)
	}
	within := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(),
		slices.ContainsFunc(barredPrefixes(), within):
		return zoneBarred
	case a.IsLoopback(), a.IsPrivate(), slices.ContainsFunc(homePrefixes(), within):
		return zoneHome
	}
	return zoneInternet
}

// embedded returns the IPv4 address that an IPv6 address stands for.
func embedded(a netip.Addr) (inner netip.Addr, ok bool) {
	if !a.Is6() || a.IsUnspecified() || a.IsLoopback() {
		return netip.Addr{}, false
	}
	b := a.As16()
	switch {
	case nat64.Contains(a), nat64LocalLast.Contains(a), compatible.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

// homeDomains end the names that only a network's own name server knows: those that are reserved for that
// (RFC 6761, RFC 6762, RFC 8375, and "internal"), and those that routers use and nobody can register.
func homeDomains() []string {
	return []string{
		".localhost", ".local", ".home.arpa", ".internal", ".localdomain", ".lan", ".home", ".intranet",
		".private", ".corp",
	}
}

// isHomeName reports whether a host is at home by its name: an address of this machine or of a private
// network, a name without a dot, or one below a domain that is in no public name server. host is in lower
// case, without port and final dot.
func isHomeName(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return zoneOf(a) == zoneHome
	}
	return !strings.Contains(host, ".") ||
		slices.ContainsFunc(homeDomains(), func(end string) bool { return strings.HasSuffix(host, end) })
}

// origin is who has named a URL: that decides whether it may lead home.
type origin struct {
	// configured are the hosts that the configuration names, in lower case. Those may be at home, whatever
	// their names, and may be a barred address where they are that address.
	configured []string
	// trusted is a host that images may come from although Options.AllowedHosts does not list it.
	trusted string
	// outside says that a server on the internet has named the URL: an index there, or one that redirects. A
	// name or an address at home does not count then.
	outside bool
}

// originOf returns the origin of the URLs that requests give. index is the host of the index at a URL that
// lists the image; it is empty where there is none.
func (l *Library) originOf(index string) origin {
	o := origin{configured: []string{hostName(l.director)}}
	for _, pattern := range l.options.AllowedHosts {
		if host := strings.TrimSpace(pattern); !strings.ContainsAny(host, `*?[\`) {
			if bare, _, err := net.SplitHostPort(host); err == nil {
				host = bare
			}
			o.configured = append(o.configured, plainHost(host))
		}
	}
	if index != "" {
		o.configured = append(o.configured, index)
		o = o.from(index)
	}
	return o
}

// from returns the origin of what a host has named.
func (o origin) from(host string) origin {
	o.outside = o.outside || !isHomeName(host)
	return o
}

// nearest returns how near the addresses of a host may be.
func (o origin) nearest(host string) zone {
	_, err := netip.ParseAddr(host)
	named := slices.Contains(o.configured, host)
	switch {
	case named && err == nil:
		return zoneBarred
	case named, isHomeName(host) && !o.outside:
		return zoneHome
	}
	return zoneInternet
}

// refuse returns why a host may not be asked, as far as its name alone tells; nil where it may. A name that
// leads home has to be looked up first, see connector.
func (o origin) refuse(host string) error {
	at := zoneInternet
	if a, err := netip.ParseAddr(host); err == nil {
		at = zoneOf(a)
	} else if isHomeName(host) {
		at = zoneHome
	}
	if at > o.nearest(host) {
		return &offLimitsError{host: host, at: at}
	}
	return nil
}

// offLimitsError says that a host is not asked because of where it is. It tells nothing of what is there,
// which was not looked at.
type offLimitsError struct {
	host string
	at   zone
}

// Error returns the text of the error, for people.
func (e *offLimitsError) Error() string {
	if e.at == zoneBarred {
		return fmt.Sprintf("the host %q leads to an address that images are not fetched from (link-local, "+
			"metadata of a cloud, multicast or none); if that is meant, give that address and name it in "+
			"ZIGATE_OTA_IMAGE_ALLOWED_HOSTS, where \"*\" beside it allows all others", e.host)
	}
	return fmt.Sprintf("the host %q leads to this machine or a private network, where only a URL with a "+
		"local name or such an address may lead, and no server on the internet; if that is meant, name the "+
		"host in ZIGATE_OTA_IMAGE_ALLOWED_HOSTS (\"*,%s\" allows all others, too)", e.host, e.host)
}

// connector opens the connections of one download. It looks at the address that is really dialled: a look-up
// before could have had another answer.
type connector struct {
	resolver *net.Resolver // nil for that of the system

	mu sync.Mutex
	// host is whom the download asks now, and nearest how near its addresses may be.
	host    string
	nearest zone
	proxies map[string]bool // host:port of the proxies that the environment names for this download
}

// aim says whom the download asks next, and how near the addresses of that host may be.
func (c *connector) aim(host string, nearest zone) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.host = host
	c.nearest = nearest
}

// proxy is the Proxy of an http.Transport. A proxy is configured, so it may be anywhere. It resolves the
// names that it is asked for, so where they lead is its own affair.
func (c *connector) proxy(r *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(r)
	if u == nil || err != nil {
		return u, err
	}
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	case u.Scheme == "https":
		port = "443"
	default:
		port = "1080" // of SOCKS
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proxies == nil {
		c.proxies = map[string]bool{}
	}
	c.proxies[net.JoinHostPort(u.Hostname(), port)] = true
	return u, nil
}

// limit returns the host that an address such as "example.com:443" names, and how near the addresses that it
// has may be. A host that the download does not ask, as far as it knows, is one on the internet.
func (c *connector) limit(addr string) (host string, nearest zone, err error) {
	host, _, err = net.SplitHostPort(addr)
	if err != nil {
		return "", zoneInternet, err
	}
	host = plainHost(host)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.proxies[addr]:
		return host, zoneBarred, nil
	case c.host == host:
		return host, c.nearest, nil
	}
	return host, zoneInternet, nil
}

// dial is the DialContext of an http.Transport.
func (c *connector) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, nearest, err := c.limit(addr)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{
		Timeout:  30 * time.Second,
		Resolver: c.resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			at := zoneBarred
			if a, err := netip.ParseAddrPort(address); err == nil {
				at = zoneOf(a.Addr())
			}
			if at > nearest {
				return &offLimitsError{host: host, at: at}
			}
			return nil
		},
	}
	conn, err := dialer.DialContext(ctx, network, addr)
	var refused *offLimitsError
	if errors.As(err, &refused) {
		return nil, refused // without the address, which net.OpError shows
	}
	return conn, err
}
