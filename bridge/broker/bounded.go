package broker

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// What one connection and all of them may take, so that no client makes the process large.
const (
	// maxPacketSize is the largest packet of a client that comes over TCP, in bytes, as mochi counts: what
	// remains behind the fixed header, and one.
	maxPacketSize = 256 << 10
	// maxOwnPacketSize is the same for the service itself, whose list of images may be long.
	maxOwnPacketSize = 4 << 20
	// maxFirstPacket is the largest first packet, a CONNECT: mochi keeps what is in it for as long as the
	// session lasts.
	maxFirstPacket = 16 << 10
	// smallPacket is up to what size in bytes a packet is read without being counted.
	smallPacket = 16 << 10
	// maxReading is how many bytes of larger packets may be read at the same time.
	maxReading = 4 << 20
	// readTimeout is how long a client may take to send a packet that is counted.
	readTimeout = 10 * time.Second
	// writeTimeout is how long a client may take for writePart bytes before it is cut off.
	writeTimeout = 10 * time.Second
	writePart    = 16 << 10
)

// Why a connection is ended.
var (
	errPacketTooLarge = errors.New("the packet is larger than 256 KiB")
	errFirstTooLarge  = errors.New("the first packet is larger than 16 KiB: no will may be that large")
	errReadingMuch    = errors.New("too many large packets are read at the same time")
	errHeader         = errors.New("the length of the packet takes more than four bytes")
)

// allowance counts bytes that several connections use together.
type allowance struct {
	mu   sync.Mutex
	left int
}

// take reports whether n more bytes may be used, and counts them.
func (a *allowance) take(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n > a.left {
		return false
	}
	a.left -= n
	return true
}

// give gives n bytes back.
func (a *allowance) give(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left += n
}

// boundedConn is a connection on which no packet is too large and no write waits for ever. Mochi makes room
// for a whole packet as soon as it knows the length, sets no deadline for writing where the client asked for
// no keep-alive, and goes on writing in mid-packet after one that failed.
type boundedConn struct {
	net.Conn
	log     *slog.Logger
	reading *allowance    // shared by all connections; nil where packets are not limited
	stuck   atomic.Bool   // the other end did not read, so the connection was closed
	left    chan struct{} // closed when mochi has done with the connection

	// These belong to the goroutine that reads and handles packets.
	frame frame
	named bool   // the first packet has begun
	id    string // the client identifier that it has; empty before it has one

	mu      sync.Mutex
	counted int // bytes taken from reading for the packet that is read or handled
	closed  bool
}

func newBoundedConn(conn net.Conn, reading *allowance, log *slog.Logger) *boundedConn {
	return &boundedConn{Conn: conn, reading: reading, log: log, left: make(chan struct{})}
}

// Read reads bytes of packets. Its error says why the connection must end: a packet is too large, or there
// are too many large ones.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.reading == nil {
		return c.Conn.Read(p)
	}
	if c.frame.left == 0 {
		c.release() // who reads on has handled what came before
	}
	n, err := c.Conn.Read(p)
	if bad := c.frame.follow(p[:n], c.admit); bad != nil {
		c.log.Warn("embedded MQTT broker: a client was cut off for what it sends", "remote",
			c.RemoteAddr().String(), "error", bad)
		return 0, bad
	}
	return n, err
}

// admit counts a packet of which the length became known. The packet before it has been handled, or is as
// small as what mochi reads ahead.
func (c *boundedConn) admit(length int) error {
	first := !c.named
	c.named = true
	switch {
	case length+1 > maxPacketSize:
		return errPacketTooLarge
	case first && length > maxFirstPacket:
		return errFirstTooLarge
	}
	c.release()
	if length <= smallPacket {
		return nil
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	if !c.reading.take(length) {
		return errReadingMuch
	}
	c.counted = length
	// An error means that the connection is closed; then the next read fails.
	_ = c.Conn.SetReadDeadline(time.Now().Add(readTimeout))
	return nil
}

// release gives back what was counted.
func (c *boundedConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counted > 0 {
		c.reading.give(c.counted)
		c.counted = 0
	}
}

// Write writes for as long as the other end reads. After an error the connection is closed: a part of a
// packet may be written.
func (c *boundedConn) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		err := c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil {
			var n int
			n, err = c.Conn.Write(p[written:min(len(p), written+writePart)])
			written += n
		}
		if err != nil {
			c.stuck.CompareAndSwap(false, errors.Is(err, os.ErrDeadlineExceeded))
			_ = c.Close()
			return written, err
		}
	}
	return written, nil
}

// SetDeadline sets the deadline for reading alone: Write sets its own. That of a large packet of which the
// rest is still to come stays: mochi may have read its beginning together with the packet before.
func (c *boundedConn) SetDeadline(t time.Time) error {
	if c.frame.left > 0 && c.frame.length > smallPacket {
		return nil
	}
	return c.SetReadDeadline(t)
}

// Close closes the connection and gives back what was counted for it.
func (c *boundedConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.release()
	return c.Conn.Close()
}

// frame follows the packets in a stream of bytes (MQTT 3.1.1, 2.2: one byte of type and flags, then the
// remaining length in one to four bytes with seven bits each, the lowest first).
type frame struct {
	header int // bytes of the fixed header seen so far
	length int
	left   int // bytes that are still to come behind the fixed header
}

// follow takes the next bytes, and tells begins the remaining length of each packet whose fixed header ends
// in them. It returns the first error of begins, or errHeader where a length is none.
func (f *frame) follow(p []byte, begins func(length int) error) error {
	for len(p) > 0 {
		if f.left > 0 {
			skip := min(f.left, len(p))
			f.left -= skip
			p = p[skip:]
			continue
		}
		b := p[0]
		p = p[1:]
		f.header++
		if f.header == 1 {
			f.length = 0
			continue
		}
		if f.header > 5 {
			return errHeader
		}
		f.length |= int(b&0x7f) << (7 * (f.header - 2))
		if b&0x80 != 0 {
			continue
		}
		f.left = f.length
		f.header = 0
		if err := begins(f.length); err != nil {
			return err
		}
	}
	return nil
}
