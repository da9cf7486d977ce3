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

// nearID is the identifier of the listener for connections inside the process.
const nearID = "process"

const (
	// connectTimeout is how long a client may take to send its CONNECT. Mochi sets deadlines only after that.
	connectTimeout = 10 * time.Second
	// maxConnections is the largest number of TCP connections: each takes a file descriptor and memory that
	// the rest of the service needs.
	maxConnections = 256
)

// listener hands connections to mochi, from a socket or from take. Mochi's own listeners do not know of
// connections whose CONNECT has not come yet, and wait for them for ever when they close.
type listener struct {
	id      string
	socket  net.Listener // nil where connections come from take alone
	server  *mochi.Server
	log     *slog.Logger
	left    func(*boundedConn) // told when mochi has done with a connection
	reading *allowance         // for all connections; nil where what they send is not limited
	clients sync.WaitGroup     // one for each connection

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

func newListener(id string, socket net.Listener, sessions *sessions) *listener {
	l := &listener{
		id: id, socket: socket, server: sessions.server, left: sessions.left, log: sessions.log,
		conns: make(map[net.Conn]struct{}),
	}
	if socket != nil {
		l.reading = &allowance{left: maxReading}
	}
	return l
}

// ID returns the identifier that mochi notes for each client of the listener.
func (l *listener) ID() string { return l.id }

// Protocol returns the identifier again; mochi only shows it.
func (l *listener) Protocol() string { return l.id }

// Init does nothing; the socket is open already.
func (l *listener) Init(*slog.Logger) error { return nil }

// Address returns the address of the socket, or the identifier where there is none.
func (l *listener) Address() string {
	if l.socket == nil {
		return l.id
	}
	return l.socket.Addr().String()
}

// Serve accepts connections from the socket until it is closed. Mochi calls it in a goroutine of its own.
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
		// Accept also fails when there are no file descriptors left, or when a client has gone already.
		time.Sleep(100 * time.Millisecond)
	}
}

// take serves one connection in a goroutine of its own. It returns false where the listener is closed or has
// too many connections; the caller then closes the connection.
func (l *listener) take(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.socket != nil && len(l.conns) >= maxConnections {
		return false
	}
	// An error means that the connection is closed already; then the next read fails too.
	_ = conn.SetDeadline(time.Now().Add(connectTimeout))
	l.conns[conn] = struct{}{}
	l.clients.Go(func() {
		bounded := newBoundedConn(conn, l.reading, l.log)
		// The error says how the connection ended, which mochi has logged.
		_ = l.server.EstablishConnection(l.id, bounded)
		_ = bounded.Close()
		l.left(bounded)
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

// Close tells the clients that the broker stops and closes all connections. Mochi calls it. A client that
// does not read cannot delay it: after closeTimeout every connection is cut. The function that mochi passes
// is not used: it takes a read lock twice, which is a deadlock when a client leaves in between.
func (l *listener) Close(listeners.CloseFn) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	if l.socket != nil {
		_ = l.socket.Close()
	}
	timeout := time.AfterFunc(closeTimeout, l.cut)
	for _, client := range l.server.Clients.GetAll() {
		if client.Net.Listener == l.id && !client.Closed() {
			disconnect(l.server, client, packets.ErrServerShuttingDown)
		}
	}
	timeout.Stop()
	l.cut()
	// Mochi waits for its own count of clients next, which must not happen while the first client is counted.
	l.clients.Wait()
}

// disconnect ends the connection of a client, and says why where it speaks MQTT 5. A client of MQTT 3 takes a
// DISCONNECT from a server for a mistake, after which some do not connect again (mosquitto_sub among them).
func disconnect(server *mochi.Server, client *mochi.Client, why packets.Code) {
	if client.Properties.ProtocolVersion < 5 {
		client.Stop(why)
		return
	}
	// The error is the reason again, or that the connection is closed already.
	_ = server.DisconnectClient(client, why)
}

// cut closes all connections.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		_ = conn.Close()
	}
}
