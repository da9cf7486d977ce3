// Package broker is a small MQTT broker inside the service, for users without one: Home Assistant and scripts
// connect to it as to any other. It knows nothing of the topics that pass through it. Retained messages,
// sessions and the messages that wait in them survive a restart. What each client and all of them may take is
// bounded; who does not read is cut off.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
)

const (
	// sessionExpiry is how long the session of a client that is away is kept. Without a limit, clients that
	// never come back would cost memory for ever.
	sessionExpiry = sessionDays * 24 * time.Hour
	sessionDays   = 7
	closeTimeout  = time.Second // for telling the clients that the broker stops
)

// ErrNotRunning is returned by Dial while Run is not running.
var ErrNotRunning = errors.New("embedded MQTT broker is not running")

// Options says where the broker listens and which clients may connect.
type Options struct {
	// Addr is host:port for TCP; the port may be 0. With an empty one the broker takes connections inside the
	// process only.
	Addr string
	// Username and Password are needed for TCP connections. With an empty Username none are needed.
	Username, Password string
	// ServiceID is the client identifier of the service, which nobody who comes over TCP may use: he would
	// get what waits for the service, and end its connection. With an empty one all identifiers are free.
	ServiceID string
	// RetainedFile is the file that keeps retained messages over a restart; its folder must exist. With an
	// empty one they are lost. Of an MQTT 5 message the topic, payload, quality of service and expiry are
	// kept.
	RetainedFile string
	// SessionsFile is the file that keeps the sessions of clients over a restart, with what they have missed;
	// its folder must exist. With it a message is acknowledged to who publishes it when each client with a
	// session has acknowledged it, or when it is on the disk, or is known not to get there: its client has no
	// room, or the disk cannot be written. With an empty one sessions are lost.
	SessionsFile string
	// Value returns what the service itself holds of a retained topic that it publishes. Where that is what
	// it has published, both hold it once. It may be nil.
	Value    func(topic string) (payload []byte, known bool)
	Observer Observer     // may be nil
	Logger   *slog.Logger // may be nil
}

// Broker is an MQTT 3.1, 3.1.1 and 5 broker.
type Broker struct {
	options Options
	log     *slog.Logger
	ready   chan struct{}

	mu   sync.Mutex
	addr net.Addr
	near *listener // takes connections inside the process; nil while Run does not run
	used bool      // Run was called
}

// New returns a broker that Run starts.
func New(options Options) *Broker {
	log := options.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Broker{options: options, log: log, ready: make(chan struct{})}
}

// Ready returns a channel that is closed when the broker takes connections.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addr returns the TCP address of the broker. It is nil before Ready, and where Options.Addr is empty.
func (b *Broker) Addr() net.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addr
}

// Dial opens a connection inside the process, which needs no password. Its only error is ErrNotRunning.
func (b *Broker) Dial() (net.Conn, error) {
	b.mu.Lock()
	near := b.near
	b.mu.Unlock()
	if near == nil {
		return nil, ErrNotRunning
	}
	client, server := pipe("client", "embedded broker")
	if !near.take(server) {
		return nil, ErrNotRunning
	}
	return client, nil
}

// Run serves until ctx ends, then closes all connections and returns nil. It can be called once. Stop the
// service's own client first, so that its last messages still arrive. The error says why the broker cannot
// start: most often its address is in use.
func (b *Broker) Run(ctx context.Context) error {
	b.mu.Lock()
	used := b.used
	b.used = true
	b.mu.Unlock()
	if used {
		return errors.New("embedded MQTT broker: Run was called before")
	}

	socket, err := b.listen(ctx)
	if err != nil {
		return err
	}
	parts, err := b.assemble(socket)
	if err != nil {
		if socket != nil {
			_ = socket.Close() // nobody has connected
		}
		return err
	}
	if err := parts.server.Serve(); err != nil {
		return fmt.Errorf("embedded MQTT broker: %w", err)
	}

	b.mu.Lock()
	b.near = parts.near
	if socket != nil {
		b.addr = socket.Addr()
	}
	b.mu.Unlock()
	close(b.ready)
	if socket != nil {
		b.log.Info("embedded MQTT broker listens", "addr", socket.Addr().String())
		b.warnOpen(socket.Addr())
	}

	// Storing goes on until all clients have gone: who publishes may wait for it.
	until, gone := context.WithCancel(context.WithoutCancel(ctx))
	defer gone()
	var keeping sync.WaitGroup
	keeping.Go(func() { parts.stored.run(until) })
	if parts.kept != nil {
		parts.kept.run(ctx)
	}
	<-ctx.Done()
	b.mu.Lock()
	b.near = nil
	b.mu.Unlock()
	err = parts.server.Close()
	parts.sessions.pumps.Wait()
	gone()
	keeping.Wait()
	parts.stored.close()
	if parts.kept != nil {
		parts.kept.save()
	}
	if err != nil {
		return fmt.Errorf("embedded MQTT broker: closing: %w", err)
	}
	return nil
}

// listen opens the socket; it is nil where the broker takes connections inside the process only.
func (b *Broker) listen(ctx context.Context) (net.Listener, error) {
	if b.options.Addr == "" {
		return nil, nil
	}
	socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.options.Addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf(
			"embedded MQTT broker: %s is in use, most likely by another MQTT broker: stop that one, "+
				"or use it by setting ZIGATE_OTA_MQTT_URL (tcp://%s), or set ZIGATE_OTA_BROKER_ADDR to "+
				"another port: %w",
			b.options.Addr, b.options.Addr, err,
		)
	}
	if err != nil {
		return nil, fmt.Errorf("embedded MQTT broker: listening on %s (ZIGATE_OTA_BROKER_ADDR): %w",
			b.options.Addr, err)
	}
	return socket, nil
}

// parts is what a broker that runs consists of.
type parts struct {
	server   *mochi.Server
	sessions *sessions
	stored   *storing
	kept     *keeper // nil where retained messages are not kept
	near     *listener
}

// assemble makes the parts, with what the files hold.
func (b *Broker) assemble(socket net.Listener) (*parts, error) {
	server := mochi.New(b.serverOptions())
	retained := newRetained(server, b.options.Value, b.log)
	sessions := newSessions(server, retained, b.options.Observer, b.log)
	retained.sessions = sessions
	access := &access{
		server: server, username: b.options.Username, password: b.options.Password,
		serviceID: b.options.ServiceID, log: b.log,
	}
	for _, hook := range []mochi.Hook{access, retained, sessions} {
		if err := server.AddHook(hook, nil); err != nil {
			return nil, fmt.Errorf("embedded MQTT broker: %w", err)
		}
	}

	p := &parts{server: server, sessions: sessions, near: newListener(nearID, nil, sessions)}
	if b.options.RetainedFile != "" {
		p.kept = newKeeper(b.options.RetainedFile, retained, b.log)
		if err := p.kept.load(time.Now()); err != nil {
			return nil, err
		}
	}
	p.stored = &storing{sessions: sessions, path: b.options.SessionsFile, serviceID: b.options.ServiceID}
	if err := p.stored.load(time.Now()); err != nil {
		return nil, err
	}

	attached := []*listener{p.near}
	if socket != nil {
		attached = append(attached, newListener("tcp", socket, sessions))
	}
	for _, l := range attached {
		if err := server.AddListener(l); err != nil {
			return nil, fmt.Errorf("embedded MQTT broker: %w", err)
		}
	}
	return p, nil
}

// serverOptions returns the options of the MQTT server.
func (b *Broker) serverOptions() *mochi.Options {
	capabilities := mochi.NewDefaultServerCapabilities()
	// 0 stands for never. Any other value deletes retained messages of that age, and the record of a device
	// that sleeps for days must stay.
	capabilities.MaximumMessageExpiryInterval = 0
	capabilities.MaximumSessionExpiryInterval = uint32(sessionExpiry / time.Second)
	capabilities.MaximumPacketSize = maxOwnPacketSize
	// Mochi's own queues carry only its own topics and wills with a delay.
	capabilities.MaximumClientWritesPending = 128
	capabilities.MaximumInflight = 1024
	// No client is told that it may send aliases, and the properties of a message need not come back with its
	// acknowledgement. Mochi would keep both, without a bound in bytes.
	capabilities.TopicAliasMaximum = 0
	capabilities.Compatibilities.NoInheritedPropertiesOnAck = true
	return &mochi.Options{
		Capabilities: capabilities,
		Logger:       slog.New(demoted{b.log.Handler()}).With("part", "broker"),
		// The unit is seconds. Each update reads the memory statistics, which stops the whole program for a
		// moment.
		SysTopicResendInterval: 60,
	}
}

// warnOpen logs a warning where anybody in the network can command the service.
func (b *Broker) warnOpen(addr net.Addr) {
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && b.options.Username == "" {
		b.log.Warn(
			"the embedded MQTT broker takes connections from the network without a password: "+
				"set ZIGATE_OTA_MQTT_USERNAME and ZIGATE_OTA_MQTT_PASSWORD, or ZIGATE_OTA_BROKER_ADDR to "+
				"127.0.0.1:1883",
			"addr", addr.String(),
		)
	}
}

// rejected is what mochi logs of each message that sessions has taken over.
const rejected = "publish packet rejected"

// demoted logs the messages of the MQTT server, about every client that connects, at debug level. Errors keep
// their level.
type demoted struct{ slog.Handler }

// Enabled reports whether messages of the level are logged, after the change of level.
func (h demoted) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, demote(level))
}

// Handle logs a message at its changed level.
func (h demoted) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == rejected {
		return nil
	}
	r.Level = demote(r.Level)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs returns a handler that adds attributes.
func (h demoted) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoted{h.Handler.WithAttrs(attrs)}
}

// WithGroup returns a handler that opens a group.
func (h demoted) WithGroup(name string) slog.Handler { return demoted{h.Handler.WithGroup(name)} }

// demote returns the level at which a message of the MQTT server is logged.
func demote(level slog.Level) slog.Level {
	if level < slog.LevelError {
		return min(level, slog.LevelDebug)
	}
	return level
}
