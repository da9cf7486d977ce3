package httpapi

import (
	"net"
	"net/http"
	"testing"
)

// arrival is a connection from somewhere.
type arrival struct {
	net.Conn
	from   string
	closed bool
}

func (a *arrival) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(a.from), Port: 1} }

func (a *arrival) Close() error {
	a.closed = true
	return nil
}

// TestConnectionLimit: other machines take only so many connections, and none of those that are left for this
// machine, from which the service itself is watched.
func TestConnectionLimit(t *testing.T) {
	var l connLimit
	arrive := func(from string, n int) (let []*arrival) {
		for range n {
			a := &arrival{from: from}
			if l.changed(a, http.StateNew); a.closed {
				l.changed(a, http.StateClosed) // as the server tells it
				continue
			}
			let = append(let, a)
		}
		return let
	}
	first := arrive("192.0.2.1", 10_000)
	if len(first) != maxConnections {
		t.Errorf("%d connections of another machine were let in, want %d", len(first), maxConnections)
	}
	if got := arrive("2001:db8::1", 1); len(got) != 0 {
		t.Errorf("%d more were let in", len(got))
	}
	if got := append(arrive("127.0.0.1", 10), arrive("::1", 10)...); len(got) != 20 {
		t.Errorf("%d connections of this machine were let in beside, want 20", len(got))
	}
	if got := arrive("::ffff:127.0.0.1", 10_000); len(got) != maxConnections-20 {
		t.Errorf("%d more of this machine were let in, want %d", len(got), maxConnections-20)
	}
	l.changed(first[0], http.StateClosed)
	if got := arrive("192.0.2.2", 10); len(got) != 1 {
		t.Errorf("%d were let in after one has gone", len(got))
	}
}
