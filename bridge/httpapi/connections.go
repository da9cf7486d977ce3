package httpapi

import (
	"net"
	"net/http"
	"sync/atomic"
)

// maxConnections bounds the connections that are open at once from this machine, and those from all others:
// each takes a file and memory that the rest of the service needs. Health checks come from this machine,
// and clients from elsewhere must not take their places.
const maxConnections = 256

// connLimit closes the connections above the limit. It counts those that are open, from this machine and
// from others.
type connLimit struct{ near, far atomic.Int64 }

// changed counts connections; it is the ConnState of an http.Server.
func (l *connLimit) changed(conn net.Conn, state http.ConnState) {
	open := &l.far
	if from, ok := conn.RemoteAddr().(*net.TCPAddr); ok && from.IP.IsLoopback() {
		open = &l.near
	}
	switch state {
	case http.StateNew:
		if open.Add(1) > maxConnections {
			_ = conn.Close() // nothing was sent over it; the server finds it closed
		}
	case http.StateClosed, http.StateHijacked:
		open.Add(-1)
	}
}
