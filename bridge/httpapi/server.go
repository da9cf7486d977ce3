// Package httpapi serves HTTP: metrics for Prometheus, health for supervisors, and a JSON API with a page
// for people on top of it. The API has the same payloads as MQTT: records and events come from the bridge's
// feed, requests go to the bridge. It does not know how an upgrade works, nor what a record means.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/bridge"
)

const (
	headerTimeout  = 5 * time.Second  // for a request's header
	readTimeout    = 30 * time.Second // for a whole request
	idleTimeout    = 2 * time.Minute  // of a connection between two requests
	answerTimeout  = 30 * time.Second // for writing a short answer
	stopTimeout    = 2 * time.Second  // for answers under way at a stop
	maxHeaderBytes = 16 << 10
)

// Options says where the server listens and what it serves.
type Options struct {
	// Addr is host:port for TCP; the host may be left out (all interfaces), the port may be 0 (any).
	Addr string
	// Registry has the metrics that /metrics serves.
	Registry *prometheus.Registry
	// Alive returns nil while the service is alive, or why only a restart can help it, for /healthz.
	// Without the function the service counts as alive. It must not block.
	Alive func() error
	// Checks are run at each request of /readyz, in parallel with other requests. Each has a name of its
	// own.
	Checks []Check
	// Drivers serves /driver/<name>/<file>; without it that path answers 404.
	Drivers http.Handler
	Logger  *slog.Logger // may be nil

	// Feed has the records and events that the API serves; without it there is no API.
	Feed *bridge.Feed
	// Asker takes the requests of the API; its answers come over the feed.
	Asker Asker
	// Images has the images besides the registered ones.
	Images Images
	// MaxImageBytes is the largest image that is taken.
	MaxImageBytes int64
	// LogLevel is the least severe level that is logged, and can be changed; it may be nil.
	LogLevel *slog.LevelVar
	// Token is needed to change anything; where it is empty, changes are taken from this machine only.
	Token string
	// Proxies are the addresses of proxies in front. What they say of where a request comes from is believed,
	// and no request from there counts as one from this machine.
	Proxies []netip.Prefix
	// Names are what this machine is called, besides localhost, in lower case: metrics and readiness are told
	// under these, too.
	Names []string
}

// Check is one condition under which the service is ready.
type Check struct {
	Name string
	// Check returns nil, or an error that tells a person what is wrong. It must not block.
	Check func() error
}

// Server is the HTTP server.
type Server struct {
	options Options
	log     *slog.Logger
	handler http.Handler
	inside  *inside
	listens chan struct{} // closed when the server takes connections

	// epoch tells the event identifiers of this server from those of an earlier one.
	epoch                       string
	reads, changes, wrongTokens *limiter
	streams, additions          chan struct{} // each holds one value for each that is open

	connections connections

	mu   sync.Mutex
	addr net.Addr
	used bool
}

// New returns a server that does nothing until Run.
func New(options Options) *Server {
	s := &Server{
		options:     options,
		log:         options.Logger,
		inside:      newInside(),
		listens:     make(chan struct{}),
		epoch:       newID(),
		reads:       newLimiter(200, 20*time.Millisecond),
		changes:     newLimiter(100, 50*time.Millisecond),
		wrongTokens: newLimiter(10, 10*time.Second),
		streams:     make(chan struct{}, maxStreams),
		additions:   make(chan struct{}, maxAdditions),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.handler = s.connections.counted(guard(s.routes()))
	return s
}

// Ready is closed when the server takes connections.
func (s *Server) Ready() <-chan struct{} { return s.listens }

// Addr returns where the server listens, or nil before Ready.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// String names the task.
func (s *Server) String() string { return "HTTP server" }

// Run serves until ctx ends; answers under way then have two seconds left before their connections
// are cut. It returns nil then, else why the address cannot be listened on and what to do about it.
// It can be called once.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	used := s.used
	s.used = true
	s.mu.Unlock()
	if used {
		return errors.New("HTTP server: Run was called before")
	}

	listener, err := s.listen(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout, // and no WriteTimeout, which would hold for streams, too: see guard
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         s.connections.changed,
		ConnContext:       keepConn,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends streams at a stop
	}
	s.mu.Lock()
	s.addr = listener.Addr()
	s.mu.Unlock()
	close(s.listens)
	s.log.Info("HTTP server listens", "addr", listener.Addr().String())

	served := make(chan error, 2)
	var serving sync.WaitGroup
	for _, l := range []net.Listener{listener, s.inside} {
		serving.Go(func() { served <- server.Serve(l) })
	}
	select {
	case err := <-served:
		_ = server.Close()
		serving.Wait()
		return fmt.Errorf("HTTP server: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		s.log.Debug("HTTP server: cutting connections that do not end", "error", err)
		_ = server.Close()
	}
	for range 2 {
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			s.log.Debug("HTTP server: a listener failed while it was stopped", "error", err)
		}
	}
	return nil
}

func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if s.options.Addr == "" {
		// The net package takes an empty address for any port of all interfaces, which would be a surprise.
		return nil, errors.New("HTTP server: no address to listen on: set ZIGATE_OTA_HTTP_ADDR, " +
			"127.0.0.1:8501 for example")
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.options.Addr)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("HTTP server: %s is in use, perhaps by another zigate-ota: "+
			"stop what listens there, or set ZIGATE_OTA_HTTP_ADDR to another port: %w", s.options.Addr, err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("HTTP server: %s may not be listened on: set ZIGATE_OTA_HTTP_ADDR to a port "+
			"above 1023: %w", s.options.Addr, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("HTTP server: %s is no address of this machine: set ZIGATE_OTA_HTTP_ADDR to "+
			"one that is, or to 127.0.0.1 or 0.0.0.0: %w", s.options.Addr, err)
	default:
		return nil, fmt.Errorf("HTTP server: listening on %s (ZIGATE_OTA_HTTP_ADDR): %w", s.options.Addr, err)
	}
}
