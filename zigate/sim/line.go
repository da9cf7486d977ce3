package sim

import (
	"io"
	"slices"
	"sync"
)

// hostLine is the hosts' side of the serial line: everybody who is attached gets what the dongle sends. Its
// methods may be called from any goroutine.
type hostLine struct {
	mu     sync.Mutex
	ends   []*lineEnd // of the hosts that are attached
	dialed bool       // an in-memory port is open
	closed bool       // for ever
}

// lineEnd is the line of one attached host, with the bytes that it has not read yet.
type lineEnd struct {
	mu     sync.Mutex
	unread []byte
	ready  chan struct{} // has a value when there is something to read
	done   chan struct{} // is closed with the line
	closed bool
}

// unreadLimit is how many bytes wait for a host that does not read; more are lost.
const unreadLimit = 1 << 20

// attach connects a host. The error is ErrStopped.
func (l *hostLine) attach() (*lineEnd, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrStopped
	}
	end := &lineEnd{ready: make(chan struct{}, 1), done: make(chan struct{})}
	l.ends = append(l.ends, end)
	return end, nil
}

// detach ends the connection of one host.
func (l *hostLine) detach(end *lineEnd) {
	l.mu.Lock()
	l.ends = slices.DeleteFunc(l.ends, func(e *lineEnd) bool { return e == end })
	l.mu.Unlock()
	end.close()
}

// close cuts everybody off, for ever.
func (l *hostLine) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cut()
}

// cut ends the connections of those who are attached now.
func (l *hostLine) cut() {
	l.mu.Lock()
	ends := l.ends
	l.ends = nil
	l.mu.Unlock()
	for _, end := range ends {
		end.close()
	}
}

func (l *hostLine) deliver(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, end := range l.ends {
		end.deliver(p)
	}
}

func (e *lineEnd) deliver(p []byte) {
	e.mu.Lock()
	if room := unreadLimit - len(e.unread); len(p) > room {
		p = p[:room]
	}
	e.unread = append(e.unread, p...)
	e.mu.Unlock()
	select {
	case e.ready <- struct{}{}:
	default:
	}
}

// read blocks until there is something to read. After the end it still returns what was delivered before,
// and then io.EOF.
func (e *lineEnd) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		e.mu.Lock()
		n := copy(p, e.unread)
		e.unread = e.unread[:copy(e.unread, e.unread[n:])]
		closed := e.closed
		e.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if closed {
			return 0, io.EOF
		}
		select {
		case <-e.ready:
		case <-e.done:
		}
	}
}

func (e *lineEnd) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.closed = true
		close(e.done)
	}
}

// dial takes the one place for an in-memory port. The error is ErrPortInUse while another port has it.
func (l *hostLine) dial() (*lineEnd, error) {
	l.mu.Lock()
	busy := l.dialed
	l.dialed = true
	l.mu.Unlock()
	if busy {
		return nil, ErrPortInUse
	}
	end, err := l.attach()
	if err != nil {
		l.hangUp()
	}
	return end, err
}

// hangUp gives the place of the in-memory port back.
func (l *hostLine) hangUp() {
	l.mu.Lock()
	l.dialed = false
	l.mu.Unlock()
}
