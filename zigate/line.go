package zigate

import "sync/atomic"

// Line is how much is said between host and dongle on one connection. All methods may be called from any
// goroutine; a nil Line is one of which nothing is known.
type Line struct {
	rate           int // bytes a second in each direction; 0: no bound is known
	received, sent atomic.Uint64
}

// Rate returns how many bytes a second the line carries in each direction. It is 0 where no bound is known,
// as for TCP.
func (l *Line) Rate() int {
	if l == nil {
		return 0
	}
	return l.rate
}

// Bytes returns how many bytes have come from the dongle and gone to it since the connection was opened.
func (l *Line) Bytes() (received, sent uint64) {
	if l == nil {
		return 0, 0
	}
	return l.received.Load(), l.sent.Load()
}

// Rated is a Port that knows how many bytes a second it carries in each direction; 0 stands for no known
// bound.
type Rated interface{ ByteRate() int }

// byteRate returns the rate of a port, 0 where it does not tell one.
func byteRate(p Port) int {
	if rated, ok := p.(Rated); ok {
		return rated.ByteRate()
	}
	return 0
}

// bitsPerByte is how many bits a byte takes on a serial line: 8 of data, a start bit and a stop bit.
const bitsPerByte = 10
