package broker

import (
	"log/slog"
	"net"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// nearID is the listener of connections inside the process.
const nearID = "process"

const (
	// connectTimeout is how long a connection may take to say who it is. Mochi sets
	// deadlines only after that.
	connectTimeout = 10 * time.Second
	// maxConnections bounds those of a socket: each may take files and memory that the rest of
	// the service needs.
	maxConnections = 256
)

// listener hands connections to mochi, from a socket or from take. Mochi's own listeners lose track
// of a connection that has not said who it is yet, and wait for it for ever when they close.
type listener struct {
	id      string
	socket  net.Listener // nil: take only
	server  *mochi.Server
	clients sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

func newListener(id string, socket net.Listener, server *mochi.Server) *listener {
	return &listener{id: id, socket: socket, server: server, conns: make(map[net.Conn]struct{})}
}

func (l *listener) ID() string              { return l.id }
func (l *listener) Protocol() string        { return l.id }
func (l *listener) Init(*slog.Logger) error { return nil }

func (l *listener) Address() string {
	if l.socket == nil {
		return l.id
	}
	return l.socket.Addr().String()
}

// Serve is called by mochi in a goroutine of its own.
func (l *listener) Serve(listeners.EstablishFn) {
	if l.socket == nil {
		return
	}
	for {
		conn, err := l.socket.Accept()
		if err == nil {
			if !l.take(conn) {
				_ = conn.Close()
			}
			continue
		}
		if l.isClosed() {
			return
		}
		time.Sleep(100 * time.Millisecond) // out of file descriptors, or a client that left the queue
	}
}

// take serves one connection. It returns false where the listener is closed, or has too many.
func (l *listener) take(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.socket != nil && len(l.conns) >= maxConnections {
		return false
	}
	// It fails only where the connection is closed already, and then so does what follows.
	_ = conn.SetDeadline(time.Now().Add(connectTimeout))
	l.conns[conn] = struct{}{}
	l.clients.Go(func() {
		// The error is how the connection ended; mochi has logged what matters.
		_ = l.server.EstablishConnection(l.id, conn)
		_ = conn.Close()
		l.mu.Lock()
		delete(l.conns, conn)
		l.mu.Unlock()
	})
	return true
}

func (l *listener) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Close is called by mochi. A client that takes nothing off its connection cannot hold it up: the farewell
// has a moment, then every connection is cut. Mochi's own way to say it is passed over: it takes a read lock
// twice, and stands still for ever when a client leaves in between.
func (l *listener) Close(listeners.CloseFn) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	if l.socket != nil {
		_ = l.socket.Close()
	}
	grace := time.AfterFunc(closeGrace, l.cut)
	for _, client := range l.server.Clients.GetAll() {
		if client.Net.Listener == l.id && !client.Closed() {
			_ = l.server.DisconnectClient(client, packets.ErrServerShuttingDown)
		}
	}
	grace.Stop()
	l.cut()
	// mochi waits for its own count next, and must not do so while the first one is being counted.
	l.clients.Wait()
}

func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		_ = conn.Close()
	}
}
