package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/zigate-ota/zigate-ota/bridge/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const loopback = "127.0.0.1:0"

// start runs a server; it is stopped at the end of the test at the latest. stop can be called more than once.
func start(t *testing.T, options httpapi.Options) (base string, stop func() error) {
	t.Helper()
	if options.Registry == nil {
		options.Registry = prometheus.NewRegistry()
	}
	if options.Addr == "" {
		options.Addr = loopback
	}
	return run(t, httpapi.New(options))
}

// running runs a server until the end of the test.
func running(t *testing.T, s *httpapi.Server) (base string) {
	t.Helper()
	base, _ = run(t, s)
	return base
}

func run(t *testing.T, s *httpapi.Server) (base string, stop func() error) {
	t.Helper()
	if s.Addr() != nil {
		t.Errorf("Addr = %v before Run", s.Addr())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = s.Run(ctx)
	}()
	stop = func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-s.Ready():
	case <-done:
		t.Fatalf("Run: %v", err)
	}
	return "http://" + s.Addr().String(), stop
}

type reply struct {
	status int
	header http.Header
	body   string
}

func do(t *testing.T, method, url string) reply {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(body)}
}

func passing() error { return nil }

func failing() error {
	return errors.New("MQTT broker not reachable: see <base>/status & the broker's log")
}

func TestRoutes(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "answer", Help: "To everything."}, func() float64 { return 42 }))
	base, _ := start(t, httpapi.Options{Registry: registry, Checks: []httpapi.Check{{Name: "dongle", Check: passing}}})
	const plain, html = "text/plain; charset=utf-8", "text/html; charset=utf-8"
	tests := []struct {
		method, path string
		status       int
		contentType  string // its beginning
		body         string // part of it
	}{
		{"GET", "/", 200, html, `<a href="readyz">`},
		{"HEAD", "/", 200, html, ""},
		{"GET", "/?x=y", 200, html, `<a href="metrics">`},
		{"GET", "/metrics", 200, "text/plain; version=0.0.4", "\nanswer 42\n"},
		{"HEAD", "/metrics", 200, "text/plain; version=0.0.4", ""},
		{"GET", "/healthz", 200, plain, "ok"},
		{"HEAD", "/healthz", 200, plain, ""},
		{"GET", "/readyz", 200, "application/json", `{"ready":true,"checks":{"dongle":{"ok":true}}}`},
		{"HEAD", "/readyz", 200, "application/json", ""},
		{"POST", "/", 405, plain, "Method Not Allowed"},
		{"POST", "/metrics", 405, plain, "Method Not Allowed"},
		{"PUT", "/healthz", 405, plain, "Method Not Allowed"},
		{"DELETE", "/readyz", 405, plain, "Method Not Allowed"},
		{"OPTIONS", "/readyz", 405, plain, "Method Not Allowed"},
		{"GET", "/index.html", 404, plain, "not found"},
		{"GET", "/metrics/", 404, plain, "not found"},
		{"GET", "/healthz/x", 404, plain, "not found"},
		{"GET", "/debug/pprof/", 404, plain, "not found"},
		{"POST", "/nothing", 404, plain, "not found"},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			got := do(t, tt.method, base+tt.path)
			if got.status != tt.status {
				t.Errorf("status %d, want %d", got.status, tt.status)
			}
			if c := got.header.Get("Content-Type"); !strings.HasPrefix(c, tt.contentType) {
				t.Errorf("Content-Type %q, want %q", c, tt.contentType)
			}
			if !strings.Contains(got.body, tt.body) {
				t.Errorf("body %q, want %q in it", got.body, tt.body)
			}
			if tt.method == "HEAD" && got.body != "" {
				t.Errorf("body %q", got.body)
			}
			if allow := got.header.Get("Allow"); tt.status == 405 && allow != "GET, HEAD" {
				t.Errorf("Allow %q", allow)
			}
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff",
				"Referrer-Policy":        "no-referrer",
				"Cache-Control":          "no-store",
			} {
				if v := got.header.Values(name); len(v) != 1 || v[0] != want {
					t.Errorf("%s %q, want %q", name, v, want)
				}
			}
			if csp := got.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
				t.Errorf("Content-Security-Policy %q", csp)
			}
		})
	}
}

func TestReadiness(t *testing.T) {
	tests := []struct {
		name   string
		checks []httpapi.Check
		status int
		want   string
	}{
		{"no checks", nil, 200, `{"ready":true,"checks":{}}`},
		{"all pass", []httpapi.Check{{"mqtt", passing}, {"dongle", passing}}, 200,
			`{"ready":true,"checks":{"dongle":{"ok":true},"mqtt":{"ok":true}}}`},
		{"one fails", []httpapi.Check{{"dongle", passing}, {"mqtt", failing}}, 503,
			`{"ready":false,"checks":{"dongle":{"ok":true},"mqtt":{"ok":false,"error":"MQTT broker not reachable: see <base>/status & the broker's log"}}}`},
		{"the first fails, the last passes", []httpapi.Check{{"mqtt", failing}, {"state", passing}}, 503,
			`{"ready":false,"checks":{"mqtt":{"ok":false,"error":"MQTT broker not reachable: see <base>/status & the broker's log"},"state":{"ok":true}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base, _ := start(t, httpapi.Options{Checks: tt.checks})
			got := do(t, "GET", base+"/readyz")
			if got.status != tt.status {
				t.Errorf("status %d, want %d", got.status, tt.status)
			}
			if d := cmp.Diff(tt.want, strings.TrimSpace(got.body)); d != "" {
				t.Errorf("body (-want +got):\n%s", d)
			}
			if !json.Valid([]byte(got.body)) {
				t.Error("body is no JSON")
			}
		})
	}
}

// TestChecksAreAskedEachTime: readiness is not remembered, and health does not depend on it.
func TestChecksAreAskedEachTime(t *testing.T) {
	answers := make(chan error, 2)
	answers <- errors.New("not yet")
	answers <- nil
	base, _ := start(t, httpapi.Options{Checks: []httpapi.Check{{"dongle", func() error { return <-answers }}}})
	for _, want := range []int{503, 200} {
		if got := do(t, "GET", base+"/healthz"); got.status != 200 {
			t.Errorf("/healthz: status %d", got.status)
		}
		if got := do(t, "GET", base+"/readyz"); got.status != want {
			t.Errorf("/readyz: status %d, want %d", got.status, want)
		}
	}
}

// TestHealth: only what a restart helps against is told by /healthz.
func TestHealth(t *testing.T) {
	for _, tt := range []struct {
		name   string
		alive  func() error
		status int
		want   string
	}{
		{"nobody says otherwise", nil, 200, "ok"},
		{"alive", passing, 200, "ok"},
		{"stuck", failing, 503, failing().Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, _ := start(t, httpapi.Options{Alive: tt.alive, Checks: []httpapi.Check{{"dongle", failing}}})
			if got := do(t, "GET", base+"/healthz"); got.status != tt.status || got.body != tt.want {
				t.Errorf("status %d, body %q", got.status, got.body)
			}
		})
	}
}

// broken is a collector whose series cannot be made.
type broken struct{ desc *prometheus.Desc }

func (b broken) Describe(ch chan<- *prometheus.Desc) { ch <- b.desc }
func (b broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(b.desc, errors.New("broken"))
}

// TestBrokenSeries: it does not take the others away.
func TestBrokenSeries(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		broken{prometheus.NewDesc("broken", "Not to be had.", nil, nil)},
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "whole", Help: "To be had."}),
	)
	base, _ := start(t, httpapi.Options{Registry: registry})
	if got := do(t, "GET", base+"/metrics"); got.status != 200 || !strings.Contains(got.body, "\nwhole 0\n") {
		t.Errorf("status %d, body %q", got.status, got.body)
	}
}

func TestHeaderLimit(t *testing.T) {
	base, _ := start(t, httpapi.Options{})
	if got := do(t, "GET", base+"/"+strings.Repeat("x", 64<<10)); got.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", got.status)
	}
}

// TestManyConnections: connections that say nothing keep nobody out, neither others nor whoever looks after the service:
// the oldest of them are closed.
func TestManyConnections(t *testing.T) {
	base, _ := start(t, httpapi.Options{})
	var open []net.Conn
	for range 600 {
		open = append(open, dial(t, base))
	}
	for _, path := range []string{"/readyz", "/healthz", "/metrics", "/"} {
		if got := do(t, http.MethodGet, base+path); got.status != http.StatusOK {
			t.Errorf("%s: status %d", path, got.status)
		}
	}
	_ = open[0].SetReadDeadline(time.Now().Add(3 * time.Second)) // before the time for a header is over
	if _, err := open[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest connection: %v, want that it is closed", err)
	}
}

// TestBusyConnections: where all connections are being answered, health is told over a few that are left for it, and the
// process itself is told it in any case.
func TestBusyConnections(t *testing.T) {
	busy := make(chan struct{})
	arrived := make(chan struct{})
	driver := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-busy
	})
	s := httpapi.New(httpapi.Options{Addr: loopback, Registry: prometheus.NewRegistry(), Drivers: driver})
	base := running(t, s)
	for range 256 {
		if _, err := io.WriteString(dial(t, base), "GET /driver/x/y HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-arrived
	}
	defer close(busy)
	for path, want := range map[string]int{"/readyz": 200, "/healthz": 200, "/metrics": 503, "/driver/x/y": 503} {
		if got := do(t, http.MethodGet, base+path); got.status != want {
			t.Errorf("%s: status %d, want %d", path, got.status, want)
		}
	}
	for range 16 {
		dial(t, base) // and says nothing
	}
	if got := do(t, http.MethodGet, base+"/readyz"); got.status != 200 {
		t.Errorf("/readyz beside silent ones: status %d", got.status)
	}
	inside := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) }}
	for range 300 {
		conn, err := s.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	res, err := (&http.Client{Transport: inside}).Get("http://inside/healthz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("from inside: status %d", res.StatusCode)
	}
}

// TestDialStops: a connection from inside is not waited for longer than wanted, nor after the end.
func TestDialStops(t *testing.T) {
	s := httpapi.New(httpapi.Options{Addr: loopback, Registry: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("before Run: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := s.Dial(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Run: %v", err)
	}
}

// TestWatchedNames: what supervisors and Prometheus read is told under names of this machine, and not to a page of somebody
// else whose name was made to lead here; who comes from elsewhere, or where there is a token, may use any name.
func TestWatchedNames(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := net.JoinHostPort(foreignAddress(t), "0")
	for _, c := range []struct {
		name    string
		options httpapi.Options
		host    string
		headers []string
		status  int
	}{
		{"an address", httpapi.Options{}, "127.0.0.1:8501", nil, 200},
		{"an IPv6 address", httpapi.Options{}, "[::1]:8501", nil, 200},
		{"another address", httpapi.Options{}, "192.168.1.5", nil, 200},
		{"localhost", httpapi.Options{}, "localhost:8501", nil, 200},
		{"the machine's name", httpapi.Options{Names: []string{"raspi", "raspi.local"}}, "Raspi:8501", nil, 200},
		{"its long name", httpapi.Options{Names: []string{"raspi", "raspi.local"}}, "raspi.local.", nil, 200},
		{"no name", httpapi.Options{}, "", nil, 400},
		{"a name led here", httpapi.Options{Names: []string{"raspi"}}, "evil.example:8501", nil, 403},
		{"a name that looks so", httpapi.Options{Names: []string{"raspi"}}, "raspi.evil.example", nil, 403},
		{"from elsewhere", httpapi.Options{Addr: elsewhere}, "prometheus-target:8501", nil, 200},
		{"with a token", httpapi.Options{Token: token}, "ota.example.com", nil, 200},
		{"by a proxy", httpapi.Options{Proxies: proxies}, "ota.example.com", []string{"X-Forwarded-For: 203.0.113.9"}, 200},
		{"by a proxy that is not named", httpapi.Options{}, "ota.example.com", []string{"X-Forwarded-For: 203.0.113.9"}, 403},
		{"as if by the proxy", httpapi.Options{Proxies: proxies}, "ota.example.com", nil, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, _ := start(t, c.options)
			for _, path := range []string{"/metrics", "/readyz"} {
				conn := dial(t, base)
				request := "GET " + path + " HTTP/1.1\r\nConnection: close\r\n"
				if c.host != "" {
					request += "Host: " + c.host + "\r\n"
				}
				for _, header := range c.headers {
					request += header + "\r\n"
				}
				if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(conn)
				if want := fmt.Sprintf("HTTP/1.1 %d ", c.status); err != nil || !strings.HasPrefix(string(b), want) {
					t.Errorf("%s: %v, %.300s", path, err, b)
				}
			}
		})
	}
}

// TestStop: neither a connection that says nothing, nor one that is kept for a next request, nor an answer
// under way holds a stop up for long, and nothing is left running.
func TestStop(t *testing.T) {
	tests := []struct {
		name  string
		leave func(t *testing.T, base string, answering <-chan struct{}) // something on the other end
	}{
		{"nobody there", func(*testing.T, string, <-chan struct{}) {}},
		{"silent connection", func(t *testing.T, base string, _ <-chan struct{}) { dial(t, base) }},
		{"half a request", func(t *testing.T, base string, _ <-chan struct{}) {
			_, err := io.WriteString(dial(t, base), "GET /healthz HTTP/1.1\r\nHost:")
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"kept connection", func(t *testing.T, base string, _ <-chan struct{}) {
			conn := dial(t, base)
			if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAtLeast(conn, make([]byte, 1024), 12); err != nil {
				t.Fatal(err)
			}
		}},
		{"answer under way", func(t *testing.T, base string, answering <-chan struct{}) {
			if _, err := io.WriteString(dial(t, base), "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			<-answering
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // some wait for the time-out
			answering, stopped := make(chan struct{}), make(chan struct{})
			base, stop := start(t, httpapi.Options{Checks: []httpapi.Check{{"slow", func() error {
				close(answering)
				<-stopped
				return nil
			}}}})
			tt.leave(t, base, answering)
			err := stop()
			close(stopped)
			if err != nil {
				t.Errorf("Run: %v", err)
			}
			if conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://")); err == nil {
				conn.Close()
				t.Error("the server still takes connections")
			}
		})
	}
}

func dial(t *testing.T, base string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestAnswerUnderWay: an answer that is quick enough is finished when the server is stopped.
func TestAnswerUnderWay(t *testing.T) {
	answering, goOn := make(chan struct{}), make(chan struct{})
	base, stop := start(t, httpapi.Options{Checks: []httpapi.Check{{"slow", func() error {
		close(answering)
		<-goOn
		return nil
	}}}})
	conn := dial(t, base)
	if _, err := io.WriteString(conn, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-answering
	stopping := make(chan struct{})
	go func() {
		defer close(stopping)
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	for { // until the stop is under way
		probe, err := net.DialTimeout("tcp", strings.TrimPrefix(base, "http://"), time.Second)
		if err != nil {
			break
		}
		probe.Close()
	}
	close(goOn)
	body, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(body), `{"ready":true`) {
		t.Errorf("answer %q, error %v", body, err)
	}
	<-stopping
}

// TestRunErrors: an address that cannot be had ends Run, and the error says what to do.
func TestRunErrors(t *testing.T) {
	taken, err := net.Listen("tcp", loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name, addr string
		want       []string
	}{
		{"in use", taken.Addr().String(), []string{taken.Addr().String() + " is in use", "ZIGATE_OTA_HTTP_ADDR to another port"}},
		{"not of this machine", "192.0.2.1:0", []string{"192.0.2.1:0 is no address of this machine", "ZIGATE_OTA_HTTP_ADDR"}},
		{"no port", "127.0.0.1", []string{"127.0.0.1", "missing port", "ZIGATE_OTA_HTTP_ADDR"}},
		{"port out of range", "127.0.0.1:99999", []string{"99999", "ZIGATE_OTA_HTTP_ADDR"}},
		{"empty", "", []string{"ZIGATE_OTA_HTTP_ADDR"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := httpapi.New(httpapi.Options{Addr: tt.addr, Registry: prometheus.NewRegistry()})
			err := s.Run(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %q", err, part)
				}
			}
			select {
			case <-s.Ready():
				t.Error("ready")
			default:
			}
			if s.Addr() != nil {
				t.Errorf("Addr = %v", s.Addr())
			}
		})
	}
}

func TestRunOnce(t *testing.T) {
	s := httpapi.New(httpapi.Options{Addr: loopback, Registry: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run with a context that is done: %v", err)
	}
	if err := s.Run(ctx); err == nil {
		t.Error("the second Run has no error")
	}
}
