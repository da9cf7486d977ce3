package httpapi

import (
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// A client may do something a number of times at once, then once every interval, and others are
// not touched by it.
func TestLimiter(t *testing.T) {
	l, now := newLimiter(3, time.Second), time.Unix(1_000_000, 0)
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i, want := range []time.Duration{0, 0, 0, time.Second, time.Second} {
		if got := l.wait(one, now); got != want {
			t.Errorf("time %d: wait %v, want %v", i, got, want)
		}
	}
	if got := l.wait(two, now); got != 0 {
		t.Errorf("another client waits %v", got)
	}
	if got := l.wait(one, now.Add(time.Second/2)); got != time.Second/2 {
		t.Errorf("half a second later: wait %v", got)
	}
	if got := l.wait(one, now.Add(time.Second)); got != 0 {
		t.Errorf("a second later: wait %v", got)
	}
	if got := l.blocked(one, now.Add(time.Second)); got == 0 {
		t.Error("and again at once")
	}
	for range 3 {
		if got := l.wait(one, now.Add(time.Hour)); got != 0 {
			t.Errorf("an hour later: wait %v", got)
		}
	}
}

// Addresses of one IPv6 network are one client.
func TestLimiterNetworks(t *testing.T) {
	l, now := newLimiter(1, time.Second), time.Unix(1_000_000, 0)
	l.wait(netip.MustParseAddr("2001:db8:1:2::1"), now)
	if got := l.wait(netip.MustParseAddr("2001:db8:1:2:ffff::9"), now); got == 0 {
		t.Error("an address of the same network does not wait")
	}
	if got := l.wait(netip.MustParseAddr("2001:db8:1:3::1"), now); got != 0 {
		t.Errorf("one of another network waits %v", got)
	}
}

// However many clients there are, what is remembered is bounded.
func TestLimiterForgets(t *testing.T) {
	l, now := newLimiter(1, time.Second), time.Unix(1_000_000, 0)
	address := netip.MustParseAddr("10.0.0.0")
	for i := range 3 * maxClients {
		address = address.Next()
		l.wait(address, now.Add(time.Duration(i)*time.Microsecond))
		if len(l.clients) > maxClients {
			t.Fatalf("%d clients are remembered", len(l.clients))
		}
	}
}

// FuzzSource holds that only a proxy that is trusted is believed, and only up to the first that is not.
func FuzzSource(f *testing.F) {
	for _, seed := range []string{"", "203.0.113.1", "x, 203.0.113.1:80", "203.0.113.1, 127.0.0.2", "[2001:db8::1]:5", ",,", "::ffff:127.0.0.1", "fe80::1%eth0"} {
		f.Add(seed)
	}
	s := New(Options{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	f.Fuzz(func(t *testing.T, said string) {
		r := &http.Request{Header: http.Header{"X-Forwarded-For": {said}}, RemoteAddr: "192.0.2.1:80"}
		if got := s.source(r); got != client(r) {
			t.Fatalf("%q of an unknown proxy is believed: %s", said, got)
		}
		r.RemoteAddr = "127.0.0.1:80"
		got := s.source(r)
		r.Header.Set(forwardedFor, "198.51.100.7, "+said)
		if again := s.source(r); !s.trusts(got) && again != got {
			t.Fatalf("%q is %s, and %s with something before it", said, got, again)
		}
		if s.isLed(r) {
			t.Fatalf("%q: what a proxy passed on is taken for this machine's", said)
		}
	})
}
