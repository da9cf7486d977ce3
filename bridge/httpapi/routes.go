package httpapi

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/zigate-ota/zigate-ota/bridge"
)

// route is a pattern and what serves it. A GET pattern takes HEAD, too; other methods get 405, other paths
// 404.
type route struct {
	pattern string // as for http.ServeMux
	handler http.HandlerFunc
}

// apiRoutes returns the routes of the API, as openapi.json describes them.
func (s *Server) apiRoutes() []route {
	if s.options.Feed == nil {
		return nil
	}
	routes := []route{
		{"GET /api/v1/openapi.json", s.reading(getOpenAPI)},
		{"GET /api/v1/access", s.reading(s.getAccess)},
		{"GET /api/v1/info", s.reading(s.getRecord(bridge.FeedInfo))},
		{"GET /api/v1/devices", s.reading(s.getDevices)},
		{"GET /api/v1/devices/{euid}", s.reading(s.getDevice)},
		{"GET /api/v1/queue", s.reading(s.getQueue)},
		{"GET /api/v1/images", s.reading(s.getImages)},
		{"POST /api/v1/images", s.changing(s.postImage)},
		{"DELETE /api/v1/images/added/{name}", s.changing(s.deleteImage)},
		{"GET /api/v1/events", s.reading(s.getEvents)},
		{"GET /api/v1/events/history", s.reading(s.getHistory)},
		{"POST /api/v1/request/{operation}", s.changing(s.postRequest)},
		{"GET /api/v1/responses/{id}", s.reading(s.getResponse)},
	}
	if s.options.LogLevel != nil {
		routes = append(routes,
			route{"GET /api/v1/log-level", s.reading(s.getLogLevel)},
			route{"PUT /api/v1/log-level", s.changing(s.putLogLevel)},
		)
	}
	return routes
}

// Paths that are told from others elsewhere, too.
const (
	pathHealth    = "/healthz"
	pathReadiness = "/readyz"
)

// maxScrapes is how many may read the metrics at once.
const maxScrapes = 8

// routes returns the handler of all routes.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(s.options.Registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(s.log.Handler(), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError, // one bad series must not take the others away
		// Each scrape copies everything that is measured; those above the limit get 503.
		MaxRequestsInFlight: maxScrapes,
	})
	mux.HandleFunc("GET /metrics", s.watching(metrics.ServeHTTP))
	mux.HandleFunc("GET "+pathHealth, s.health)
	mux.HandleFunc("GET "+pathReadiness, s.watching(s.readiness))
	if s.options.Drivers != nil {
		mux.Handle("GET /driver/", s.options.Drivers)
	}
	for _, r := range s.apiRoutes() {
		mux.HandleFunc(r.pattern, r.handler)
	}
	mux.Handle("GET /{$}", s.page())
	mux.Handle("GET /page/", s.page())
	return mux
}

// guard sets what every answer carries, and how long it may take to write. A handler whose answer is to last,
// like a stream of events, lifts that with http.ResponseController's SetWriteDeadline.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy",
			"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		// It fails only where the connection is closed already, and then so does the answer.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
		next.ServeHTTP(w, r)
	})
}

// health answers 200 while the service is alive, else 503 and why not. What comes back by itself, like a
// dongle that was pulled out, is no reason for a restart; only readiness reports it.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	status := http.StatusOK
	text := "ok"
	if s.options.Alive != nil {
		if err := s.options.Alive(); err != nil {
			status = http.StatusServiceUnavailable
			text = err.Error()
		}
	}
	answer(w, status, "text/plain; charset=utf-8", []byte(text))
}

type readiness struct {
	Ready  bool                   `json:"ready"`
	Checks map[string]checkResult `json:"checks"`
}

type checkResult struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// ready runs all checks.
func (s *Server) ready() readiness {
	result := readiness{Ready: true, Checks: make(map[string]checkResult, len(s.options.Checks))}
	for _, c := range s.options.Checks {
		if err := c.Check(); err != nil {
			result.Ready = false
			result.Checks[c.Name] = checkResult{Error: err.Error()}
			continue
		}
		result.Checks[c.Name] = checkResult{OK: true}
	}
	return result
}

// readiness answers 200 when all checks pass, else 503, with the result of each.
func (s *Server) readiness(w http.ResponseWriter, _ *http.Request) {
	result := s.ready()
	status := http.StatusOK
	if !result.Ready {
		status = http.StatusServiceUnavailable
	}
	answerJSON(w, status, result)
}

// answer writes a whole answer. An error means that the client has gone, and is ignored.
func answer(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = io.Copy(w, bytes.NewReader(body))
}
