package zigate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.bug.st/serial"
	"go.bug.st/serial/enumerator"
)

const (
	// serialReadTimeout is how often a reader looks up from its port. The library's Close gives the file descriptor
	// back under a reader's feet; Close here waits for the reader to look up first.
	serialReadTimeout = 200 * time.Millisecond
	// serialCloseTimeout is how long Close waits for a writer, which nothing can interrupt.
	serialCloseTimeout = 300 * time.Millisecond
)

// serialDialer opens a serial port or a PTY.
type serialDialer struct {
	path string
	baud int
}

func (d serialDialer) String() string { return d.path }

func (d serialDialer) Dial(context.Context) (Port, error) {
	port, err := serial.Open(d.path, &serial.Mode{BaudRate: d.baud})
	if err != nil {
		return nil, explainOpen(d.path, err)
	}
	if err := port.SetReadTimeout(serialReadTimeout); err != nil {
		port.Close()
		return nil, fmt.Errorf("setting the read time-out: %w", err)
	}
	// What arrived before belongs to nobody. Not every kind of port can do this.
	_ = port.ResetInputBuffer()
	return &serialPort{
		port:    port,
		name:    d.path,
		reading: make(chan struct{}, 1),
		writing: make(chan struct{}, 1),
	}, nil
}

func explainOpen(path string, err error) error {
	var portErr *serial.PortError
	if errors.As(err, &portErr) {
		switch portErr.Code() {
		case serial.PermissionDenied:
			return fmt.Errorf("%w: the user of this process must be in the group that owns %s (often dialout)", err, path)
		case serial.PortBusy:
			return fmt.Errorf("%w: another program has %s open", err, path)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: is the dongle plugged in, and is this its path?", err)
	}
	return err
}

// serialPort makes the library's port safe to close: a descriptor that is closed while somebody uses it may by then
// belong to another file.
type serialPort struct {
	port   serial.Port
	name   string
	closed atomic.Bool
	// Held (a value inside) while a call of the library runs.
	reading, writing chan struct{}
}

func (p *serialPort) String() string { return p.name }

func (p *serialPort) Read(b []byte) (int, error) {
	p.reading <- struct{}{}
	defer func() { <-p.reading }()
	if p.closed.Load() {
		return 0, io.ErrClosedPipe
	}
	return p.port.Read(b) // nothing and no error after the time-out
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

// Close waits for the reader and, for a while, for a writer. A writer that a driver holds for ever keeps a descriptor
// that nobody else can get, so that it cannot do harm when it wakes.
func (p *serialPort) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	p.reading <- struct{}{}
	defer func() { <-p.reading }()
	// Frees a writer that waits for room in the output buffer, and keeps close from waiting until it has drained.
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

// usbIDs are the USB vendors and products of ZiGate dongles.
var usbIDs = [...]struct{ vendor, product, chip string }{
	{"10C4", "EA60", "CP2102"},
	{"067B", "2303", "PL2303"},
	{"0403", "6001", "FTDI, ZiGate DIN"},
}

// autoDialer looks for the dongle each time: it may come back under another name.
type autoDialer struct {
	baud int
	list func() ([]*enumerator.PortDetails, error)
}

func (d autoDialer) String() string { return autoSpec }

func (d autoDialer) Dial(ctx context.Context) (Port, error) {
	ports, err := d.list()
	if err != nil {
		return nil, fmt.Errorf("listing serial ports: %w; set ZIGATE_OTA_DONGLE to the path of the dongle's port", err)
	}
	path, err := choosePort(ports)
	if err != nil {
		return nil, err
	}
	return serialDialer{path: path, baud: d.baud}.Dial(ctx)
}

func listPorts() ([]*enumerator.PortDetails, error) {
	return enumerator.GetDetailedPortsList()
}

func choosePort(ports []*enumerator.PortDetails) (string, error) {
	var found, all []string
	for _, p := range ports {
		if p.Name == "" { // the library lists a port whose details it cannot find without its name
			continue
		}
		all = append(all, describePort(p))
		if isDongle(p) {
			found = append(found, p.Name)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%w: %s; set ZIGATE_OTA_DONGLE to one of them", ErrManyDongles, strings.Join(found, ", "))
	case len(all) == 0:
		return "", fmt.Errorf("%w: there is no serial port; plug the dongle in, or set ZIGATE_OTA_DONGLE to its path or to tcp://host:port", ErrNoDongle)
	}
	return "", fmt.Errorf("%w among the serial ports: %s; set ZIGATE_OTA_DONGLE to one of them or to tcp://host:port",
		ErrNoDongle, strings.Join(all, ", "))
}

func isDongle(p *enumerator.PortDetails) bool {
	for _, id := range usbIDs {
		if p.IsUSB && strings.EqualFold(p.VID, id.vendor) && strings.EqualFold(p.PID, id.product) {
			return true
		}
	}
	return false
}

func describePort(p *enumerator.PortDetails) string {
	if !p.IsUSB {
		return p.Name + " (no USB)"
	}
	text := fmt.Sprintf("%s (USB %s:%s", p.Name, strings.ToLower(p.VID), strings.ToLower(p.PID))
	if p.Product != "" {
		text += ", " + p.Product
	}
	return text + ")"
}
