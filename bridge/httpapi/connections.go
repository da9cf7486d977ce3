package httpapi

import (
	"net"
	"net/http"
	"sync/atomic"
)

// maxConnections bounds the connections that are open at once from this machine, and those from all others:
// each takes a file and memory that the rest of the service needs. Whoever watches over the service does it
// from this machine, and must not find the places taken by others.
const maxConnections = 256

// connLimit closes connections that are too many.
type connLimit struct{ near, far atomic.Int64 } // open

// changed is a ConnState of an http.Server.
func (l *connLimit) changed(conn net.Conn, state http.ConnState) {
	open := &l.far
	if from, ok := conn.RemoteAddr().(*net.TCPAddr); ok && from.IP.IsLoopback() {
		open = &l.near
	}
	switch state {
	case http.StateNew:
		if open.Add(1) > maxConnections {
			_ = conn.Close() // nothing was said over it; the server finds it closed
		}
	case http.StateClosed, http.StateHijacked:
		open.Add(-1)
	}
}
