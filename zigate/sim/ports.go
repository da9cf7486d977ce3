package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/terminal"
)

// How hosts reach the dongle: in memory, over TCP, over a pseudo-terminal.

// Dialer reaches the dongle in memory, under the name that a user knows it by. One such port can be open at a
// time, like a serial device; a second one gets ErrPortInUse. Ports work inside a testing/synctest bubble.
// Writing never blocks. Reading blocks until the port is closed, cut off with Disconnect (io.EOF) or the
// dongle stops (io.EOF).
func (d *Dongle) Dialer(name string) zigate.Dialer {
	return &dialer{dongle: d, name: name}
}

// Disconnect cuts off every host on the line, as if a cable was pulled and put back. The dongle keeps
// running.
func (d *Dongle) Disconnect() {
	d.line.cut()
}

type dialer struct {
	dongle *Dongle
	name   string
}

func (d *dialer) String() string { return d.name }

// Dial opens the port. It does not wait for Run: what is written before is received when Run starts.
func (d *dialer) Dial(ctx context.Context) (zigate.Port, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	end, err := d.dongle.line.dial()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.name, err)
	}
	return &memoryPort{dongle: d.dongle, name: d.name, end: end}, nil
}

type memoryPort struct {
	dongle *Dongle
	name   string
	end    *lineEnd
	once   sync.Once
}

// ByteRate is the rate of the simulated line; it makes the port a zigate.Rated one.
func (p *memoryPort) ByteRate() int { return p.dongle.cfg.LineRate }

func (p *memoryPort) Read(b []byte) (int, error) {
	return p.end.read(b)
}

func (p *memoryPort) Write(b []byte) (int, error) {
	select {
	case <-p.end.done:
		return 0, fmt.Errorf("write to %s: %w", p.name, io.ErrClosedPipe)
	default:
	}
	if err := p.dongle.write(b); err != nil {
		return 0, fmt.Errorf("write to %s: %w", p.name, err)
	}
	return len(b), nil
}

// Close unblocks Read. A second call does nothing.
func (p *memoryPort) Close() error {
	p.once.Do(func() {
		p.dongle.line.detach(p.end)
		p.dongle.line.hangUp()
	})
	return nil
}

// ServeTCP lets hosts reach the dongle like a WiFi ZiGate: raw bytes, one host at a time. A second host is
// connected and hears nothing until the first has gone. ServeTCP returns nil when the context ends; it closes
// the listener in any case.
func (d *Dongle) ServeTCP(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	defer listener.Close()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for a host on %s: %w", listener.Addr(), err)
		}
		d.log.Info("host connected", "address", conn.RemoteAddr().String())
		if err := d.serve(ctx, conn); err != nil && ctx.Err() == nil {
			d.log.Info("host disconnected", "address", conn.RemoteAddr().String(), "reason", err)
		}
	}
}

// serve is the line for one connection, until either side or the context ends it. It closes the connection.
func (d *Dongle) serve(ctx context.Context, conn io.ReadWriteCloser) error {
	end, err := d.line.attach()
	if err != nil {
		conn.Close()
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // unblocks a writer, too
	defer stop()

	var writer sync.WaitGroup
	writer.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, err := end.read(buffer)
			if err == nil {
				_, err = conn.Write(buffer[:n])
			}
			if err != nil {
				conn.Close() // unblocks the reader below
				return
			}
		}
	})
	buffer := make([]byte, 4096)
	for err == nil {
		var n int
		n, err = conn.Read(buffer)
		if n > 0 {
			err = errors.Join(err, d.write(buffer[:n]))
		}
	}
	conn.Close()
	d.line.detach(end)
	writer.Wait()
	return err
}

// ServePTY lets hosts reach the dongle over a pseudo-terminal, as over a serial port. The terminal is in raw
// mode and stays while hosts come and go. Where link is not empty it becomes a symbolic link to the terminal:
// it replaces an earlier one and is removed at the end. ready, where it is not nil, is called with the path
// that hosts open. ServePTY returns nil when the context ends, or the dongle stops. It works on Linux only;
// elsewhere the error is errors.ErrUnsupported, and hosts have to use ServeTCP.
func (d *Dongle) ServePTY(ctx context.Context, link string, ready func(path string)) error {
	t, err := terminal.Open(link)
	if err != nil {
		return err
	}
	defer func() { _ = t.Close() }() // the terminal is given up in any case
	path := t.Path()
	d.log.Info("serial port ready", "path", path)
	if ready != nil {
		ready(path)
	}
	err = d.serve(ctx, t)
	if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("serve %s: %w", path, err)
	}
	return nil
}
