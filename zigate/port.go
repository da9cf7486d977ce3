package zigate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Port carries bytes from and to a dongle. Close unblocks Read; it need not unblock Write. Read may return
// nothing without an error. Where a Port has a String method, that gives its name in logs.
type Port interface {
	io.ReadWriteCloser
}

// Dialer opens a Port, again after each failure.
type Dialer interface {
	// Dial opens the port. The error tells a person what is wrong with it.
	Dial(ctx context.Context) (Port, error)
	// String returns the port's name, such as "/dev/ttyUSB0" or "tcp://host:9999".
	String() string
}

// DefaultBaud is the speed of every released firmware, in bit/s, with 8 data bits, no parity and 1 stop bit.
const DefaultBaud = 115200

// DefaultTCPPort is the port on which a ZiGate WiFi module listens. Some units listen on 23.
const DefaultTCPPort = "9999"

// Reasons why a dongle's port cannot be opened, besides those of the operating system.
var (
	ErrInvalidPort = errors.New("not a port of a dongle: \"auto\", the path of a serial port, " +
		"or tcp://host:port expected")
	ErrNoDongle    = errors.New("no ZiGate found")
	ErrManyDongles = errors.New("more than one ZiGate found")
)

const autoSpec = "auto"

// NewDialer returns the Dialer for "auto" (the one USB serial port whose vendor and product a ZiGate may
// have and that answers like one), the path of a serial port or PTY, and tcp://host:port (port 9999 if left
// out). The baud rate, DefaultBaud if 0, is for serial ports.
func NewDialer(spec string, baud int) (Dialer, error) {
	if baud == 0 {
		baud = DefaultBaud
	}
	if baud < 0 {
		return nil, fmt.Errorf("baud rate %d: must be positive", baud)
	}
	spec = strings.TrimSpace(spec)
	switch scheme, rest, ok := strings.Cut(spec, "://"); {
	case spec == "":
		return nil, fmt.Errorf("empty: %w", ErrInvalidPort)
	case spec == autoSpec:
		return newAutoDialer(baud), nil
	case ok && scheme == "tcp":
		return newTCPDialer(spec, rest)
	case ok:
		return nil, fmt.Errorf("%q: %w", spec, ErrInvalidPort)
	}
	return serialDialer{path: spec, baud: baud}, nil
}
