package httpapi

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// indexPage links relatively, so that it works below a path of a reverse proxy, too.
const indexPage = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>zigate-ota</title></head>
<body>
<h1>zigate-ota</h1>
<ul>
<li><a href="metrics">/metrics</a> for Prometheus</li>
<li><a href="healthz">/healthz</a> the process is alive</li>
<li><a href="readyz">/readyz</a> the service can do its work</li>
</ul>
</body>
</html>
`

// routes is what is served where. A GET pattern takes HEAD, too; other methods get 405, other paths 404.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.options.Registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(s.log.Handler(), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError, // one bad series must not take the others away
	}))
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.readiness)
	if s.options.Drivers != nil {
		mux.Handle("GET /driver/", s.options.Drivers)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "text/html; charset=utf-8", []byte(indexPage))
	})
	return mux
}

// guard sets what every answer carries, and how long it may take to write. A handler whose answer is to last, like a
// stream of events, lifts that with http.ResponseController's SetWriteDeadline.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		// It fails only where the connection is closed already, and then so does the answer.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
		next.ServeHTTP(w, r)
	})
}

// health answers 200 while the service is alive, else 503 and why not. What comes back by itself, like a dongle that was
// pulled out, is no reason for a restart and is told by readiness only.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	status, text := http.StatusOK, "ok"
	if s.options.Alive != nil {
		if err := s.options.Alive(); err != nil {
			status, text = http.StatusServiceUnavailable, err.Error()
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

// readiness answers 200 when all checks pass, else 503, with the result of each.
func (s *Server) readiness(w http.ResponseWriter, _ *http.Request) {
	result := readiness{Ready: true, Checks: make(map[string]checkResult, len(s.options.Checks))}
	for _, c := range s.options.Checks {
		if err := c.Check(); err != nil {
			result.Ready = false
			result.Checks[c.Name] = checkResult{Error: err.Error()}
			continue
		}
		result.Checks[c.Name] = checkResult{OK: true}
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // for people at a shell; it is no HTML
	if err := encoder.Encode(result); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	status := http.StatusOK
	if !result.Ready {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, "application/json", body.Bytes())
}

// answer writes a whole answer. An error means that the client has gone, which is its own business.
func answer(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = io.Copy(w, bytes.NewReader(body))
}
