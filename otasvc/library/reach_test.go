package library_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

func TestZones(t *testing.T) {
	for zone, addresses := range map[string][]string{
		"internet": {"1.1.1.1", "93.184.216.34", "172.32.0.1", "192.169.0.1", "100.128.0.1", "198.18.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "64:ff9b:1::1.1.1.1", "2002:101:101::1"},
		"home": {
			"127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "192.0.0.8",
			"::1", "fd12:3456::1", "fc00::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:192.168.1.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::192.168.0.1",
			"64:ff9b:1:ffff::1.1.1.1", "2002:7f00:1::1", "2002:c0a8:101::1", "::127.0.0.1",
		},
		"barred": {
			"0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254",
			"64:ff9b:1::169.254.169.254", "2002:a9fe:a9fe::1", "224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1", "240.0.0.1", "255.255.255.255", "2001::1",
			"100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "fd00:42::42", "64:ff9b::0.0.0.0", "::169.254.169.254",
		},
	} {
		for _, address := range addresses {
			if got := library.ZoneOf(netip.MustParseAddr(address)); got != zone {
				t.Errorf("%s: %s, want %s", address, got, zone)
			}
		}
	}
	if got := library.ZoneOf(netip.Addr{}); got != "barred" {
		t.Errorf("no address at all: %s", got)
	}
}

func TestHomeNames(t *testing.T) {
	for name, home := range map[string]bool{
		"localhost": true, "director": true, "nas.local": true, "ota.home.arpa": true, "ota.internal": true, "nas.lan": true, "x.localhost": true,
		"127.0.0.1": true, "192.168.1.5": true, "::1": true, "fd00::1": true, "2130706433": true,
		"example.com": false, "local.example.com": false, "localhost.example.com": false, "127.0.0.1.nip.io": false, "lan.evil.org": false, "notlocal": true,
		"evillocal.org": false, "1.1.1.1": false, "169.254.169.254": false, "fe80::1": false, "127.1": false,
	} {
		if got := library.IsHomeName(name); got != home {
			t.Errorf("%s: %v, want %v", name, got, home)
		}
	}
}

// nameServer is a name server of which every answer can be told.
type nameServer map[string][]string // addresses by name, without a final dot

// resolver starts the name server and returns what asks it.
func (n nameServer) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		query := make([]byte, 512)
		for {
			size, from, err := server.ReadFrom(query)
			if err != nil {
				return
			}
			server.WriteTo(n.answer(query[:size]), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// answer makes the response to a query (RFC 1035, 4.1).
func (n nameServer) answer(query []byte) []byte {
	var labels []string
	at := 12
	for query[at] != 0 {
		labels = append(labels, string(query[at+1:at+1+int(query[at])]))
		at += 1 + int(query[at])
	}
	kind := binary.BigEndian.Uint16(query[at+1:])
	response := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[12:at+5]...)
	for _, text := range n[strings.ToLower(strings.Join(labels, "."))] {
		address := netip.MustParseAddr(text)
		if kind != map[bool]uint16{true: 1, false: 28}[address.Is4()] {
			continue
		}
		response[7]++
		response = append(response, 0xC0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(address.AsSlice())))
		response = append(response, address.AsSlice()...)
	}
	if _, known := n[strings.ToLower(strings.Join(labels, "."))]; !known {
		response[3] |= 3 // no such name
	}
	return response
}

// TestWhereImagesMayComeFrom: what only this machine or its network reaches is had only under a name of theirs, or where
// the configuration names the host; and what is looked at is the address that is dialled, at each redirect.
func TestWhereImagesMayComeFrom(t *testing.T) {
	image := testImage(3000, 1)
	var asked atomic.Int64
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		w.Write(image)
	})
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resolver := nameServer{
		"evil.example": {"127.0.0.1"}, "mapped.example": {"::ffff:127.0.0.1"}, "six.example": {"::1"}, "zero.example": {"0.0.0.0"}, "link.example": {"169.254.7.8"},
		"many.example": {"169.254.7.8", "127.0.0.1"}, "front.example": {"127.0.0.1"}, "nas.local": {"127.0.0.1"}, "nas.test-of-ours.lan": {"127.0.0.1"},
		"linked.local": {"169.254.7.7"}, "other.example": {"127.0.0.1"},
	}.resolver(t)
	at := func(host, to string) string {
		if to != "" {
			to = "?to=" + url.QueryEscape(to)
		}
		return "http://" + host + ":" + port + "/image.ota" + to
	}
	const home, barred = "this machine or a private network", "images are not fetched from"
	front := library.Options{DirectorURL: "http://front.example"}
	listed := library.Options{AllowedHosts: []string{"front.example", "*.example", "127.0.0.?", "nas.*"}}
	for _, c := range []struct {
		name, url string
		options   library.Options
		asked     int64
		says      string // empty where it is had
	}{
		{"an address of this machine", at("127.0.0.1", ""), library.Options{}, 1, ""},
		{"localhost", at("localhost", ""), library.Options{}, 1, ""},
		{"a name of the network", at("nas.local", ""), library.Options{}, 1, ""},
		{"another one", at("NAS.test-of-ours.lan.", ""), library.Options{}, 1, ""},
		{"a public name led here", at("evil.example", ""), library.Options{}, 0, home},
		{"in other letters", at("EVIL.Example.", ""), library.Options{}, 0, home},
		{"as an IPv6 address", at("six.example", ""), library.Options{}, 0, home},
		{"as a mapped one", at("mapped.example", ""), library.Options{}, 0, home},
		{"as no address", at("zero.example", ""), library.Options{}, 0, barred},
		{"to a link", at("link.example", ""), library.Options{}, 0, barred},
		{"one of several", at("many.example", ""), library.Options{}, 0, "leads to"},
		{"a name of the network led to a link", at("linked.local", ""), library.Options{}, 0, barred},
		{"an address of a link", "http://169.254.7.8/latest/", library.Options{}, 0, barred},
		{"no address", at("0.0.0.0", ""), library.Options{}, 0, barred},
		{"no IPv6 address", at("[::]", ""), library.Options{}, 0, barred},
		{"a link", "http://[fe80::1%25lo]:" + port + "/", library.Options{}, 0, barred},

		{"a host that the configuration names", at("front.example", ""), front, 1, ""},
		{"it redirects here", at("front.example", at("127.0.0.1", "")), front, 1, home},
		{"to localhost", at("front.example", at("localhost", "")), front, 1, home},
		{"to a name of the network", at("front.example", at("nas.local", "")), front, 1, home},
		{"to a public name that leads here", at("front.example", at("evil.example", "")), front, 1, home},
		{"to digits in other letters", at("front.example", at("①②⑦.⓪.⓪.①", "")), front, 1, ""},
		{"to itself", at("front.example", at("front.example", "")), front, 2, ""},
		{"to itself and here", at("front.example", at("front.example", at("127.0.0.1", ""))), front, 2, home},
		{"the network redirects within", at("nas.local", at("127.0.0.1", "")), front, 2, ""},
		{"out, and in again", at("nas.local", at("front.example", at("nas.local", ""))), front, 2, home},
		{"the network redirects to a link", at("nas.local", "http://169.254.7.8/"), front, 1, barred},

		{"a host in the list", at("front.example", ""), listed, 1, ""},
		{"one that a pattern takes in", at("other.example", ""), listed, 0, home},
		{"a host in the list redirects to a pattern", at("front.example", at("127.0.0.1", "")), listed, 1, home},
		{"a host in the list redirects home by name", at("front.example", at("nas.local", "")), listed, 1, home},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked.Store(0)
			c.options.Resolver = resolver
			l := open(t, c.options)
			got, err := l.Fetch(t.Context(), library.Request{URL: c.url})
			switch {
			case c.says != "":
				checkError(t, err, library.ErrPolicy, c.says)
				checkError(t, err, library.ErrAccess)
			case strings.Contains(c.url, "%E2%91%A0"):
				checkError(t, err, library.ErrAccess) // whatever the transport makes of such a host
			default:
				checkFetched(t, l, got, err, image)
			}
			if n := asked.Load(); n != c.asked {
				t.Errorf("the server was asked %d times, want %d", n, c.asked)
			}
		})
	}
}

// TestRefusedAddressTellsNothing: whether something listens at an address that is refused, and what, makes no difference.
func TestRefusedAddressTellsNothing(t *testing.T) {
	here := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "teapot", http.StatusTeapot) })
	gone := httptest.NewServer(nil)
	gone.Close()
	l := open(t, library.Options{Resolver: nameServer{"evil.example": {"127.0.0.1"}}.resolver(t)})
	var told []string
	for _, server := range []*httptest.Server{here, gone} {
		_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
		_, err := l.Fetch(t.Context(), library.Request{URL: "http://evil.example:" + port + "/"})
		checkError(t, err, library.ErrPolicy)
		told = append(told, strings.ReplaceAll(err.Error(), port, "PORT"))
	}
	if told[0] != told[1] || strings.Contains(told[0], "127.0.0.1") {
		t.Errorf("%q and %q", told[0], told[1])
	}
}

// TestRedirectToNobody: the server that does not answer is named, not the one that redirects to it.
func TestRedirectToNobody(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	here := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, gone.URL, http.StatusFound) })
	_, err := open(t, library.Options{}).Fetch(t.Context(), library.Request{URL: here.URL + "/image.ota"})
	checkError(t, err, library.ErrAccess, "nothing listens at "+strings.TrimPrefix(gone.URL, "http://"))
}

// TestNoWebServer: what something that is no web server says is not repeated.
func TestNoWebServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "SSH-2.0-Secret_9.9\r\n")
			conn.Close()
		}
	}()
	_, err = open(t, library.Options{}).Fetch(t.Context(), library.Request{URL: "http://" + listener.Addr().String() + "/"})
	checkError(t, err, library.ErrAccess, "does not answer as a web server does")
	if strings.Contains(err.Error(), "Secret") {
		t.Errorf("%q repeats what was said", err)
	}
}

// TestProxyAtHome: a proxy that the environment names may be anywhere.
func TestProxyAtHome(t *testing.T) {
	image := testImage(3000, 1)
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(image) })
	if os.Getenv("LIBRARY_TEST_PROXIED") == "" {
		// The environment's proxies are read once in a process, so this takes one of its own.
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyAtHome$")
		again.Env = append(os.Environ(), "LIBRARY_TEST_PROXIED="+proxy.URL, "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
		if said, err := again.CombinedOutput(); err != nil {
			t.Errorf("%v:\n%s", err, said)
		}
		return
	}
	l := open(t, library.Options{})
	got, err := l.Fetch(t.Context(), library.Request{URL: "http://images.example/image.ota"})
	checkFetched(t, l, got, err, image)
	_, err = l.Fetch(t.Context(), library.Request{URL: "http://169.254.7.8/"})
	checkError(t, err, library.ErrPolicy)
}

// TestIndexLeadsHome: an index on the internet does not lead to what is at home; one at home, or on the disk, may.
func TestIndexLeadsHome(t *testing.T) {
	image := testImage(3000, 1)
	for _, c := range []struct {
		index, url string
		had        bool
	}{
		{indexURL, "https://example.com/image.ota", true},
		{indexURL, "http://192.168.1.1/image.ota", false},
		{indexURL, "http://127.0.0.1:8501/image.ota", false},
		{indexURL, "http://router/image.ota", false},
		{indexURL, "http://nas.local/image.ota", false},
		{indexURL, "http://169.254.7.8/image.ota", false},
		{"http://nas.local/index.json", "http://nas.local/image.ota", true},
		{"http://192.168.1.5/index.json", "http://nas.local/image.ota", true},
		{"http://192.168.1.5/index.json", "https://example.com/image.ota", true},
		{"http://192.168.1.5/index.json", "http://169.254.7.8/image.ota", false},
		{"", "http://192.168.1.5/image.ota", true},
	} {
		t.Run(c.index+" "+c.url, func(t *testing.T) {
			dir := t.TempDir()
			entry := fmt.Appendf(nil, `[{"fileVersion":%d,"imageType":66,"manufacturerCode":4660,"url":%q}]`, 0x01020304, c.url)
			s := &site{files: map[string][]byte{c.index: entry, c.url: image}}
			if c.index == "" {
				c.index = writeFile(t, entry, dir, "index.json")
			}
			inCatalog(t, t.TempDir(), library.Options{Transport: s}, library.CatalogOptions{Indexes: []string{c.index}}, func(t *testing.T, l *library.Library, k *library.Catalog, log *recorder) {
				best, ok := k.Best(device())
				if !ok {
					t.Fatal("the index has nothing")
				}
				got, err := k.Ensure(t.Context(), best)
				if c.had {
					checkFetched(t, l, got, err, image)
					return
				}
				checkError(t, err, library.ErrPolicy)
			})
		})
	}
}
