package httpapi

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

const (
	// maxConnections bounds the connections that are open at once from this machine, and those from all
	// others: each takes a file and memory that the rest of the service needs.
	maxConnections = 256
	// spareConnections are let in from this machine beside them, for health alone: where all others are being
	// answered, whoever restarts a service that does not answer still has to be told that it is well.
	spareConnections = 16
)

// connections bounds the connections that are open. A new one takes the place of the one that has waited for
// a request for the longest time, so that connections which say nothing keep nobody out; where all others are
// being answered, the new one is closed. Those that the process itself has opened do not count.
type connections struct {
	mu        sync.Mutex
	open      map[net.Conn]*connection
	near, far crowd // from this machine and from others
	spare     crowd
}

// crowd is how many connections of a kind are open, and those of them that wait for a request, the one that
// has waited the longest first.
type crowd struct {
	open    int
	waiting list.List // of net.Conn
}

// connection is a connection that counts.
type connection struct {
	in    *crowd
	place *list.Element // among those that wait; nil while it is being answered
}

// changed counts connections; it is the ConnState of an http.Server.
func (l *connections) changed(conn net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch state {
	case http.StateNew:
		l.admit(conn)
	case http.StateClosed, http.StateHijacked:
		l.drop(conn)
	}
}

// admit counts a new connection, or closes it.
func (l *connections) admit(conn net.Conn) {
	from, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	in := &l.far
	if from.IP.IsLoopback() {
		in = &l.near
	}
	room := in.open < maxConnections || l.dismiss(in)
	if !room && in == &l.near {
		in = &l.spare
		room = in.open < spareConnections || l.dismiss(in)
	}
	if !room {
		_ = conn.Close() // nothing was sent over it; the server finds it closed
		return
	}
	if l.open == nil {
		l.open = map[net.Conn]*connection{}
	}
	in.open++
	l.open[conn] = &connection{in: in, place: in.waiting.PushBack(conn)}
}

// dismiss closes the connection that has waited for a request the longest. It reports whether there was one.
func (l *connections) dismiss(in *crowd) bool {
	longest := in.waiting.Front()
	if longest == nil {
		return false
	}
	conn, ok := longest.Value.(net.Conn)
	if !ok {
		return false
	}
	_ = conn.Close() // the server finds it closed
	l.drop(conn)
	return true
}

// drop does not count a connection any more.
func (l *connections) drop(conn net.Conn) {
	c := l.open[conn]
	if c == nil {
		return
	}
	if c.place != nil {
		c.in.waiting.Remove(c.place)
	}
	c.in.open--
	delete(l.open, conn)
}

// answering notes that a request over a connection is being answered, until done is called. spare reports
// whether the connection is for health alone.
func (l *connections) answering(conn net.Conn) (spare bool, done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.open[conn]
	if c == nil || c.place == nil {
		return false, func() {}
	}
	c.in.waiting.Remove(c.place)
	c.place = nil
	return c.in == &l.spare, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.open[conn] == c {
			c.place = c.in.waiting.PushBack(conn)
		}
	}
}

// connKey is the key of the connection in the context of a request.
type connKey struct{}

// keepConn puts the connection into the context of its requests; it is the ConnContext of an http.Server.
func keepConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// counted counts which connections are being answered, and answers over spare ones about health alone.
func (l *connections) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, ok := r.Context().Value(connKey{}).(net.Conn)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		spare, done := l.answering(conn)
		defer done()
		if spare {
			w.Header().Set("Connection", "close")
			if r.URL.Path != pathHealth && r.URL.Path != pathReadiness {
				refuse(w, &refusal{
					status: http.StatusServiceUnavailable,
					text:   "too many connections of this machine are open; close some",
				})
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// inside is the listener of the connections that the process itself opens.
type inside struct {
	arriving chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newInside() *inside {
	return &inside{arriving: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for a connection. Part of net.Listener.
func (i *inside) Accept() (net.Conn, error) {
	select {
	case conn := <-i.arriving:
		return conn, nil
	case <-i.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Part of net.Listener.
func (i *inside) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

// Addr names the listener in logs. Part of net.Listener.
func (i *inside) Addr() net.Addr { return &net.UnixAddr{Name: "inside", Net: "pipe"} }

// Dial opens a connection to the server from inside the process. It takes no place among those that others
// open, and waits until the server runs.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case s.inside.arriving <- far:
		return near, nil
	case <-s.inside.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
