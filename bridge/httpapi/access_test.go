package httpapi_test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/bridge/httpapi"
)

const token = "correct-horse"

// changesOfAPI is a request for each thing that changes something.
var changesOfAPI = []struct{ method, path, body string }{
	{"POST", "/api/v1/request/upgrade", `{"deviceId":"all","x":1}`}, // for who may, it is invalid
	{"POST", "/api/v1/images?name=x.ota", "x"},
	{"DELETE", "/api/v1/images/added/x.ota", ""},
	{"PUT", "/api/v1/log-level", `{"level":"debug"}`},
}

// TestChangesFromThisMachine: without a token, changes are taken from loopback, unless something says that
// somebody else is behind them.
func TestChangesFromThisMachine(t *testing.T) {
	a := startAPI(t, nil)
	a.known()
	port := a.base[strings.LastIndexByte(a.base, ':'):]
	for _, tt := range []struct {
		name    string
		headers []string
		status  int // 0: it is let through
		text    string
	}{
		{"a script", nil, 0, ""},
		{"the page", []string{"Origin: " + a.base, "Sec-Fetch-Site: same-origin"}, 0, ""},
		{"the page as localhost", []string{"Host: localhost" + port, "Origin: http://localhost" + port}, 0, ""},
		{"the page as IPv6", []string{"Host: [::1]" + port, "Origin: http://[::1]" + port}, 0, ""},
		{"typed by hand", []string{"Sec-Fetch-Site: none"}, 0, ""},
		{"a page of another origin", []string{"Origin: https://evil.example"}, 403, "another origin"},
		{"a page on another port", []string{"Origin: http://127.0.0.1:1"}, 403, "another origin"},
		{"a page without an origin", []string{"Origin: null"}, 403, "another origin"},
		{"a page that hides its origin", []string{"Sec-Fetch-Site: cross-site"}, 403, "another origin"},
		{"a page beside ours", []string{"Sec-Fetch-Site: same-site"}, 403, "another origin"},
		{"a name led here", []string{"Host: evil.example" + port, "Origin: http://evil.example" + port}, 403, "asked under the name"},
		{"a name that looks local", []string{"Host: localhost.evil.example"}, 403, "the name"},
		{"an address as a name", []string{"Host: 127.0.0.1.evil.example"}, 403, "the name"},
		{"a proxy", []string{"X-Forwarded-For: 127.0.0.1"}, 403, "proxy"},
		{"another proxy", []string{"Forwarded: for=127.0.0.1"}, 403, "proxy"},
		{"a proxy that tells the scheme only", []string{"X-Forwarded-Proto: https"}, 403, "proxy"},
		{"a proxy that adds to what the client sent empty", []string{"X-Forwarded-For: ", "X-Forwarded-For: 192.0.2.1"}, 403, "proxy"},
		{"two origins", []string{"Origin: ", "Origin: https://evil.example"}, 403, "another origin"},
		{"a token that is not needed", []string{"Authorization: Bearer x"}, 0, ""},
	} {
		for _, c := range changesOfAPI {
			got := a.call(c.method, c.path, c.body, tt.headers...)
			refused := got.status == 403 || got.status == 401
			if tt.status == 0 && refused || tt.status != 0 && (got.status != tt.status || !strings.Contains(got.body, tt.text)) {
				t.Errorf("%s: %s %s: status %d, %s", tt.name, c.method, c.path, got.status, got.body)
			}
		}
		access := jsonObject(t, a.call("GET", "/api/v1/access", "", tt.headers...).body)
		if change, _ := access["change"].(bool); change != (tt.status == 0) {
			t.Errorf("%s: access says %v", tt.name, access)
		}
	}
	if got := a.call("GET", "/api/v1/devices", "", "Host: evil.example"); got.status != 403 {
		t.Errorf("reading under a name led here: status %d", got.status)
	}
	if got := a.call("GET", "/api/v1/devices", "", "Origin: https://evil.example"); got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("reading from a page of another origin: status %d, it may read the answer: %q", got.status, got.header.Get("Access-Control-Allow-Origin"))
	}
}

// TestChangesWithToken: with a token, it is needed from everywhere, and a foreign origin does not
// pass even with it.
func TestChangesWithToken(t *testing.T) {
	a := startAPI(t, func(o *httpapi.Options) { o.Token = token })
	a.known()
	for _, tt := range []struct {
		name    string
		headers []string
		status  int
		text    string
	}{
		{"with it", []string{"Authorization: Bearer " + token}, 0, ""},
		{"in other letters", []string{"Authorization: bearer  " + token}, 0, ""},
		{"behind a proxy", []string{"Authorization: Bearer " + token, "Host: ota.example.com", "Origin: https://ota.example.com", "X-Forwarded-For: 1.2.3.4"}, 0, ""},
		{"without", nil, 401, "needs the token"},
		{"empty", []string{"Authorization: Bearer "}, 401, "needs the token"},
		{"otherwise", []string{"Authorization: Basic " + token}, 401, "needs the token"},
		{"with it, from another origin", []string{"Authorization: Bearer " + token, "Origin: https://evil.example"}, 403, "another origin"},
	} {
		for _, c := range changesOfAPI {
			got := a.call(c.method, c.path, c.body, tt.headers...)
			refused := got.status == 403 || got.status == 401
			if tt.status == 0 && refused || tt.status != 0 && (got.status != tt.status || !strings.Contains(got.body, tt.text)) {
				t.Errorf("%s: %s %s: status %d, %s", tt.name, c.method, c.path, got.status, got.body)
			}
			if got.status == 401 && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s: WWW-Authenticate %q", tt.name, got.header.Get("WWW-Authenticate"))
			}
			if strings.Contains(got.body, token) {
				t.Errorf("%s: the token is in the answer: %s", tt.name, got.body)
			}
		}
	}
	if got := a.call("GET", "/api/v1/devices", "", "Host: ota.example.com"); got.status != 200 {
		t.Errorf("reading without the token: status %d", got.status)
	}
}

// TestWrongTokens: who guesses is stopped soon, even when the next guess would be right.
func TestWrongTokens(t *testing.T) {
	a := startAPI(t, func(o *httpapi.Options) { o.Token = token })
	for i := range 10 {
		if got := a.call("PUT", "/api/v1/log-level", "{}", fmt.Sprintf("Authorization: Bearer guess%d", i)); got.status != 401 {
			t.Errorf("guess %d: status %d", i, got.status)
		}
	}
	for _, guess := range []string{"guess", token} {
		got := a.call("PUT", "/api/v1/log-level", "{}", "Authorization: Bearer "+guess)
		if got.status != 429 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, Retry-After %q", guess, got.status, got.header.Get("Retry-After"))
		}
	}
}

// TestWrongTokensBehindAProxy: behind a proxy that the options name, who guesses is stopped alone; what a client says of
// where it comes from is believed of nobody else.
func TestWrongTokensBehindAProxy(t *testing.T) {
	for _, c := range []struct {
		name    string
		proxies string
		guesser string // headers of who guesses, and of another
		other   string
		stopped bool // whether the other is, too
	}{
		{"two clients", "127.0.0.1/32", "X-Forwarded-For: 203.0.113.1", "X-Forwarded-For: 203.0.113.2", false},
		{"with ports", "127.0.0.1/32", "X-Forwarded-For: 203.0.113.1:4711", "X-Forwarded-For: [2001:db8::1]:4711", false},
		{"one client from two ports", "127.0.0.1/32", "X-Forwarded-For: 203.0.113.1:4711", "X-Forwarded-For: 203.0.113.1:4712", true},
		{"the client invents one before", "127.0.0.1/32", "X-Forwarded-For: 198.51.100.1, 203.0.113.1", "X-Forwarded-For: 198.51.100.2,203.0.113.1", true},
		{"the client invents something", "127.0.0.1/32", "X-Forwarded-For: x, 203.0.113.1", "X-Forwarded-For: 203.0.113.1", true},
		{"two proxies", "127.0.0.1/8,10.0.0.0/8", "X-Forwarded-For: 203.0.113.1, 10.0.0.2", "X-Forwarded-For: 203.0.113.2, 10.0.0.2", false},
		{"a proxy that is not named in between", "127.0.0.1/8", "X-Forwarded-For: 203.0.113.1, 10.0.0.2", "X-Forwarded-For: 203.0.113.2, 10.0.0.2", true},
		{"no proxy is named", "", "X-Forwarded-For: 203.0.113.1", "X-Forwarded-For: 203.0.113.2", true},
		{"another proxy is named", "10.0.0.0/8", "X-Forwarded-For: 203.0.113.1", "X-Forwarded-For: 203.0.113.2", true},
		{"the proxy says nothing", "127.0.0.1/32", "X-Other: 1", "X-Other: 2", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := startAPI(t, func(o *httpapi.Options) {
				o.Token = token
				for _, p := range strings.Split(c.proxies, ",") {
					if p != "" {
						o.Proxies = append(o.Proxies, netip.MustParsePrefix(p).Masked())
					}
				}
			})
			for i := range 10 {
				if got := a.call("PUT", "/api/v1/log-level", "{}", fmt.Sprintf("Authorization: Bearer guess%d", i), c.guesser); got.status != 401 {
					t.Errorf("guess %d: status %d", i, got.status)
				}
			}
			if got := a.call("PUT", "/api/v1/log-level", "{}", "Authorization: Bearer "+token, c.guesser); got.status != 429 {
				t.Errorf("who guesses: status %d", got.status)
			}
			got := a.call("PUT", "/api/v1/log-level", `{"level":"info"}`, "Authorization: Bearer "+token, c.other)
			if (got.status == 429) != c.stopped {
				t.Errorf("the other: status %d, %s", got.status, got.body)
			}
		})
	}
}

// TestNoProxyIsThisMachine: what comes from a proxy that the options name is not taken for this machine's, whatever it says.
func TestNoProxyIsThisMachine(t *testing.T) {
	a := startAPI(t, func(o *httpapi.Options) { o.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	a.known()
	for _, headers := range [][]string{nil, {"X-Forwarded-For: 127.0.0.1"}, {"X-Forwarded-For: 203.0.113.1", "Host: ota.example.com"}, {"X-Forwarded-For: "}} {
		for _, c := range changesOfAPI {
			if got := a.call(c.method, c.path, c.body, headers...); got.status != 403 || !strings.Contains(got.body, "ZIGATE_OTA_HTTP_TOKEN") {
				t.Errorf("%q: %s %s: status %d, %s", headers, c.method, c.path, got.status, got.body)
			}
		}
	}
	for _, c := range []struct {
		headers []string
		status  int
	}{
		{nil, 200},
		{[]string{"Host: ota.example.com", "X-Forwarded-For: 203.0.113.1"}, 200},
		{[]string{"Host: ota.example.com"}, 403},
	} {
		if got := a.call("GET", "/api/v1/devices", "", c.headers...); got.status != c.status {
			t.Errorf("reading with %q: status %d", c.headers, got.status)
		}
	}
}

// TestChangesFromElsewhere: an address of this machine that others reach counts as elsewhere.
func TestChangesFromElsewhere(t *testing.T) {
	address := foreignAddress(t)
	for _, set := range []string{"", token} {
		a := startAPI(t, func(o *httpapi.Options) {
			o.Token, o.Addr = set, net.JoinHostPort(address, "0")
		})
		a.known()
		for _, c := range changesOfAPI {
			want := map[string]int{"": 403, token: 401}[set]
			if got := a.call(c.method, c.path, c.body); got.status != want {
				t.Errorf("token %q: %s %s: status %d, want %d", set, c.method, c.path, got.status, want)
			}
			if set == "" {
				continue
			}
			if got := a.call(c.method, c.path, c.body, "Authorization: Bearer "+set); got.status == 401 || got.status == 403 {
				t.Errorf("with the token: %s %s: status %d", c.method, c.path, got.status)
			}
		}
		if got := a.call("GET", "/api/v1/devices", ""); got.status != 200 {
			t.Errorf("token %q: reading: status %d", set, got.status)
		}
	}
}

// foreignAddress is an address of this machine that is no loopback address.
func foreignAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && network.IP.IsGlobalUnicast() {
			return network.IP.String()
		}
	}
	t.Skip("this machine has loopback addresses only")
	return ""
}

// TestNoAPI: without a feed there is none.
func TestNoAPI(t *testing.T) {
	base, _ := start(t, httpapi.Options{Registry: prometheus.NewRegistry()})
	for _, path := range []string{"/api/v1/info", "/api/v1/events", "/api/v1/openapi.json"} {
		if got := do(t, http.MethodGet, base+path); got.status != 404 {
			t.Errorf("%s: status %d", path, got.status)
		}
	}
}
