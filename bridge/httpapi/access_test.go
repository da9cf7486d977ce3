package httpapi_test

import (
	"fmt"
	"net"
	"net/http"
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
