package zigate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"go.bug.st/serial"
)

const (
	// serialReadTimeout is how long a Read of the library may block. The library's Close closes the file
	// descriptor while a reader uses it; Close here waits until the reader has returned.
	serialReadTimeout = 200 * time.Millisecond
	// serialCloseTimeout is how long Close waits for a writer, which cannot be interrupted.
	serialCloseTimeout = 300 * time.Millisecond
)

// serialDialer opens a serial port or a PTY.
type serialDialer struct {
	path string
	baud int
}

func (d serialDialer) String() string { return d.path }

func (d serialDialer) Dial(context.Context) (Port, error) {
	lock, err := lockPort(d.path)
	if err != nil {
		return nil, explainOpen(d.path, err)
	}
	port, err := serial.Open(d.path, &serial.Mode{BaudRate: d.baud})
	if err != nil {
		lock.release()
		return nil, explainOpen(d.path, err)
	}
	if err := port.SetReadTimeout(serialReadTimeout); err != nil {
		_ = port.Close()
		lock.release()
		return nil, fmt.Errorf("setting the read timeout: %w", err)
	}
	// What arrived before is stale. Not every kind of port can drop it.
	_ = port.ResetInputBuffer()
	return &serialPort{
		port:    port,
		lock:    lock,
		name:    d.path,
		baud:    d.baud,
		reading: make(chan struct{}, 1),
		writing: make(chan struct{}, 1),
	}, nil
}

func explainOpen(path string, err error) error {
	if errors.Is(err, errPortLocked) {
		return fmt.Errorf("%w: another program has %s open; a dongle serves one program at a time, "+
			"so stop the other one", err, path)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: the user of this process must be in the group that owns %s (often dialout)",
			err, path)
	}
	var portErr *serial.PortError
	if errors.As(err, &portErr) {
		switch portErr.Code() {
		case serial.PermissionDenied:
			return fmt.Errorf("%w: the user of this process must be in the group that owns %s "+
				"(often dialout)", err, path)
		case serial.PortBusy:
			return fmt.Errorf("%w: another program has %s open; a dongle serves one program at a time, "+
				"so stop the other one", err, path)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: is the dongle plugged in, and is this its path?", err)
	}
	return err
}

// serialPort makes the library's port safe to close. A descriptor that is closed while it is used may
// already belong to another file.
type serialPort struct {
	port   serial.Port
	lock   portLock
	name   string
	baud   int
	closed atomic.Bool
	// Each holds a value while a call of the library runs.
	reading, writing chan struct{}
}

func (p *serialPort) String() string { return p.name }

// ByteRate makes it a Rated port.
func (p *serialPort) ByteRate() int { return p.baud / bitsPerByte }

func (p *serialPort) Read(b []byte) (int, error) {
	p.reading <- struct{}{}
	defer func() { <-p.reading }()
	if p.closed.Load() {
		return 0, io.ErrClosedPipe
	}
	return p.port.Read(b) // after the timeout it returns nothing and no error
}

func (p *serialPort) Write(b []byte) (int, error) {
	p.writing <- struct{}{}
	defer func() { <-p.writing }()
	if p.closed.Load() {
		return 0, io.ErrClosedPipe
	}
	for {
		n, err := p.port.Write(b)
		if errors.Is(err, syscall.EINTR) {
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

// Close waits for the reader and, for a while, for a writer. Where a driver blocks a writer for ever, the
// descriptor stays open until the writer returns, so that it cannot belong to another file by then.
func (p *serialPort) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	defer p.lock.release()
	p.reading <- struct{}{}
	defer func() { <-p.reading }()
	// This ends a write that waits for room in the output buffer, and keeps Close from waiting until the
	// buffer is empty.
	_ = p.port.ResetOutputBuffer()
	timer := time.NewTimer(serialCloseTimeout)
	defer timer.Stop()
	select {
	case p.writing <- struct{}{}:
		defer func() { <-p.writing }()
	case <-timer.C:
	}
	return p.port.Close()
}
