package broker

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeBuffer is how many bytes wait in each direction before Write blocks.
const pipeBuffer = 1 << 20

// pipe returns the two ends of a connection inside the process. Unlike net.Pipe it buffers, as a
// network does: over net.Pipe a client and a broker that write to each other at the same moment, each
// from the goroutine that should be reading, would wait for each other for ever.
func pipe(near, far string) (net.Conn, net.Conn) {
	there := newStream()
	back := newStream()
	a := &pipeEnd{in: back, out: there, local: pipeAddr(near), remote: pipeAddr(far)}
	b := &pipeEnd{in: there, out: back, local: pipeAddr(far), remote: pipeAddr(near)}
	return a, b
}

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

type pipeEnd struct {
	in, out       *stream
	local, remote pipeAddr
}

func (e *pipeEnd) Read(p []byte) (int, error)  { return e.in.read(p) }
func (e *pipeEnd) Write(p []byte) (int, error) { return e.out.write(p) }
func (e *pipeEnd) LocalAddr() net.Addr         { return e.local }
func (e *pipeEnd) RemoteAddr() net.Addr        { return e.remote }

// Close lets the other end read what was written, then io.EOF.
func (e *pipeEnd) Close() error {
	e.out.closeWriter()
	e.in.closeReader()
	return nil
}

func (e *pipeEnd) SetDeadline(t time.Time) error {
	e.in.readDeadline.set(e.in, t)
	e.out.writeDeadline.set(e.out, t)
	return nil
}

func (e *pipeEnd) SetReadDeadline(t time.Time) error {
	e.in.readDeadline.set(e.in, t)
	return nil
}

func (e *pipeEnd) SetWriteDeadline(t time.Time) error {
	e.out.writeDeadline.set(e.out, t)
	return nil
}

// stream is one direction.
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
				s.data = nil // let the array go
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

func (s *stream) closeWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writerClosed = true
	s.writeDeadline.stop()
	s.changed.Broadcast()
}

func (s *stream) closeReader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readerClosed = true
	s.data = nil
	s.readDeadline.stop()
	s.changed.Broadcast()
}

// deadline is guarded by the lock of its stream.
type deadline struct {
	timer  *time.Timer
	count  int // of set calls: a timer that fires late must not end a newer deadline
	passed bool
}

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
