package zigate

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	tcpDialTimeout  = 10 * time.Second
	tcpWriteTimeout = 5 * time.Second
)

// tcpDialer connects to a ZiGate WiFi module, or to another server that forwards bytes to a UART. A module
// serves one client.
type tcpDialer struct {
	address string
}

func newTCPDialer(spec, address string) (Dialer, error) {
	address = strings.TrimSuffix(address, "/")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		// There is no port, or no valid one. The default port may follow the brackets of an IPv6 address.
		host, port, err = net.SplitHostPort(address + ":" + DefaultTCPPort)
	}
	if err == nil && port == "" {
		port = DefaultTCPPort
	}
	number, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || number == 0 || host == "" {
		return nil, fmt.Errorf("%q: %w", spec, ErrInvalidPort)
	}
	return tcpDialer{address: net.JoinHostPort(host, port)}, nil
}

func (d tcpDialer) String() string { return "tcp://" + d.address }

func (d tcpDialer) Dial(ctx context.Context) (Port, error) {
	dialer := net.Dialer{
		Timeout: tcpDialTimeout,
		// A module that has lost its power sends nothing. This finds out within half a minute, even while
		// nothing is sent to it.
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
		},
	}
	conn, err := dialer.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetNoDelay(true); err != nil {
			conn.Close()
			return nil, fmt.Errorf("switching Nagle's algorithm off: %w", err)
		}
	}
	return &tcpPort{Conn: conn, name: d.String()}, nil
}

// tcpPort is a connection whose writes do not hang when the other side has stopped reading.
type tcpPort struct {
	net.Conn
	name string
}

func (p *tcpPort) String() string { return p.name }

func (p *tcpPort) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(tcpWriteTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}
