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

// crowds is the connections of a server that nobody has but the test.
type crowds struct{ connections }

// arrive opens connections, and returns those that were let in.
func (l *crowds) arrive(from string, n int) (let []*arrival) {
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

// still counts the connections that are open.
func still(all []*arrival) (n int) {
	for _, a := range all {
		if !a.closed {
			n++
		}
	}
	return n
}

// TestConnectionLimit: as many connections as may be are open at once, from this machine and from others; those that say
// nothing give way, the oldest first, and those that are answered do not.
func TestConnectionLimit(t *testing.T) {
	for name, from := range map[string][2]string{"others": {"192.0.2.1", "2001:db8::1"}, "this machine": {"127.0.0.1", "::ffff:127.0.0.1"}} {
		t.Run(name, func(t *testing.T) {
			var l crowds
			first := l.arrive(from[0], 10_000)
			if got := still(first); got != maxConnections || len(first) != 10_000 {
				t.Errorf("%d connections of %d are open, want %d", got, len(first), maxConnections)
			}
			if first[0].closed == false || first[len(first)-1].closed {
				t.Error("the oldest did not give way to the newest")
			}
			kept := first[len(first)-maxConnections:]
			_, done := l.answering(kept[0])
			let := l.arrive(from[1], maxConnections-1)
			if still(let) != maxConnections-1 || still(kept) != 1 || kept[0].closed {
				t.Errorf("of those that waited %d are open, and one is being answered: %v", still(kept), !kept[0].closed)
			}
			done() // it waits for a further request, and is the last to give way
			l.arrive(from[0], maxConnections-1)
			if still(let) != 0 || kept[0].closed {
				t.Errorf("it was answered just now and gave way (%v) before %d others", kept[0].closed, still(let))
			}
			l.changed(kept[0], http.StateClosed)
			l.changed(kept[0], http.StateClosed)
			if got := l.near.open + l.far.open; got != maxConnections-1 {
				t.Errorf("%d are counted", got)
			}
		})
	}
}

// TestConnectionsAnswered: where all are being answered, others are turned away, but for those of this machine that ask
// for health; connections of others take no place of this machine's.
func TestConnectionsAnswered(t *testing.T) {
	var l crowds
	answered := func(from string) (all []*arrival) {
		for range maxConnections {
			a := l.arrive(from, 1)
			if spare, _ := l.answering(a[0]); spare {
				t.Fatalf("a connection from %s is one for health alone", from)
			}
			all = append(all, a...)
		}
		return all
	}
	far := answered("192.0.2.1")
	if got := l.arrive("192.0.2.2", 10); len(got) != 0 {
		t.Errorf("%d more of other machines were let in", len(got))
	}
	near := answered("127.0.0.1")
	spare := l.arrive("127.0.0.1", 1000)
	if still(spare) != spareConnections {
		t.Errorf("%d more of this machine were let in, want %d", still(spare), spareConnections)
	}
	if isSpare, done := l.answering(spare[len(spare)-1]); !isSpare {
		t.Error("it is taken for one of many")
	} else {
		done()
	}
	if still(far) != maxConnections || still(near) != maxConnections {
		t.Error("one that was being answered was closed")
	}
	l.changed(far[0], http.StateClosed)
	if got := l.arrive("192.0.2.2", 10); still(got) != 1 {
		t.Errorf("%d were let in after one has gone", still(got))
	}
	own, other := net.Pipe()
	defer own.Close()
	defer other.Close()
	l.changed(own, http.StateNew)
	if _, err := l.open[own]; err {
		t.Error("a connection of the process itself is counted")
	}
}
