package broker

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeBuffer is how many bytes can wait in each direction before Write blocks.
const pipeBuffer = 1 << 20

// pipe returns the two ends of a connection inside the process. Unlike net.Pipe it has a buffer, as a network
// has: over net.Pipe a client and a broker that write to each other at the same moment, each from the
// goroutine that should read, would wait for each other for ever.
func pipe(near, far string) (net.Conn, net.Conn) {
	there := newStream()
	back := newStream()
	a := &pipeEnd{in: back, out: there, local: pipeAddr(near), remote: pipeAddr(far)}
	b := &pipeEnd{in: there, out: back, local: pipeAddr(far), remote: pipeAddr(near)}
	return a, b
}

// pipeAddr is the name of an end.
type pipeAddr string

// Network returns "pipe".
func (pipeAddr) Network() string { return "pipe" }

// String returns the name.
func (a pipeAddr) String() string { return string(a) }

// pipeEnd is one end of a pipe.
type pipeEnd struct {
	in, out       *stream
	local, remote pipeAddr
}

// Read reads what the other end wrote. It blocks until there is something to read or the deadline is over.
func (e *pipeEnd) Read(p []byte) (int, error) { return e.in.read(p) }

// Write blocks while the buffer is full, until the deadline is over.
func (e *pipeEnd) Write(p []byte) (int, error) { return e.out.write(p) }

// LocalAddr returns the name of this end.
func (e *pipeEnd) LocalAddr() net.Addr { return e.local }

// RemoteAddr returns the name of the other end.
func (e *pipeEnd) RemoteAddr() net.Addr { return e.remote }

// Close closes the connection. The other end reads what was written before, then io.EOF.
func (e *pipeEnd) Close() error {
	e.out.closeWriter()
	e.in.closeReader()
	return nil
}

// SetDeadline sets both deadlines. The zero time removes them.
func (e *pipeEnd) SetDeadline(t time.Time) error {
	e.in.readDeadline.set(e.in, t)
	e.out.writeDeadline.set(e.out, t)
	return nil
}

// SetReadDeadline sets the deadline of Read, also of a call that blocks now.
func (e *pipeEnd) SetReadDeadline(t time.Time) error {
	e.in.readDeadline.set(e.in, t)
	return nil
}

// SetWriteDeadline sets the deadline of Write, also of a call that blocks now.
func (e *pipeEnd) SetWriteDeadline(t time.Time) error {
	e.out.writeDeadline.set(e.out, t)
	return nil
}

// stream is one direction of a pipe.
type stream struct {
	mu            sync.Mutex
	changed       sync.Cond
	data          []byte
	writerClosed  bool
	readerClosed  bool
	readDeadline  deadline
	writeDeadline deadline
}

func newStream() *stream {
	s := &stream{}
	s.changed.L = &s.mu
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readerClosed:
			return 0, net.ErrClosed
		case s.readDeadline.passed:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(s.data) > 0:
			n := copy(p, s.data)
			s.data = s.data[n:]
			if len(s.data) == 0 {
				s.data = nil // frees the array
			}
			s.changed.Broadcast()
			return n, nil
		case s.writerClosed:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (written int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.writerClosed:
			return written, net.ErrClosed
		case s.readerClosed:
			return written, io.ErrClosedPipe
		case s.writeDeadline.passed:
			return written, os.ErrDeadlineExceeded
		}
		n := min(len(p), pipeBuffer-len(s.data))
		s.data = append(s.data, p[:n]...)
		written += n
		p = p[n:]
		if n > 0 {
			s.changed.Broadcast()
		}
		if len(p) == 0 {
			return written, nil
		}
		s.changed.Wait()
	}
}

// closeWriter ends the stream behind the bytes that wait in it.
func (s *stream) closeWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writerClosed = true
	s.writeDeadline.stop()
	s.changed.Broadcast()
}

// closeReader drops the bytes that wait; writing fails from then on.
func (s *stream) closeReader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readerClosed = true
	s.data = nil
	s.readDeadline.stop()
	s.changed.Broadcast()
}

// deadline is a read or write deadline of a stream, whose lock guards it.
type deadline struct {
	timer  *time.Timer
	count  int // number of set calls, so that an old timer that fires late does not end a newer deadline
	passed bool
}

// set sets the deadline; a zero time is none.
func (d *deadline) set(s *stream, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.stop()
	d.count++
	d.passed = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.passed = true
		s.changed.Broadcast()
		return
	}
	count := d.count
	d.timer = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.count == count {
			d.passed = true
			s.changed.Broadcast()
		}
	})
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
