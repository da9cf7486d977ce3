package zigate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// listedPort is a serial port of this machine.
type listedPort struct {
	name            string
	usb             bool
	vendor, product string // of USB ports, four hexadecimal digits in any case
	text            string // the product name of a USB port; may be empty
}

const (
	// probeTries is how often a port is asked for a version, and probeWait how long it may take to answer
	// each time.
	probeTries = 2
	probeWait  = 1500 * time.Millisecond
	// leaveAlone is how long a port that did not answer like a ZiGate is not asked again, unless it is
	// plugged in anew. It belongs to another device, which may be disturbed when the port is opened and
	// written to.
	leaveAlone = 2 * time.Minute
)

// autoDialer looks for the dongle each time: it may come back under another name. Only ports with a
// USB vendor and product that ZiGate dongles have are opened, and asked for a version, which is
// harmless to a dongle.
type autoDialer struct {
	baud int
	list func() ([]listedPort, error)
	open func(ctx context.Context, path string, baud int) (Port, error)

	mu      sync.Mutex
	known   string               // the name of the port that answered last
	strange map[string]time.Time // when ports that did not answer were asked, by name
}

func newAutoDialer(baud int) *autoDialer {
	return &autoDialer{
		baud: baud,
		list: listPorts,
		open: func(ctx context.Context, path string, baud int) (Port, error) {
			return serialDialer{path: path, baud: baud}.Dial(ctx)
		},
	}
}

func (d *autoDialer) String() string { return autoSpec }

// Dial opens the port that answers like a ZiGate. It is an error where several do, because the user has to
// choose.
func (d *autoDialer) Dial(ctx context.Context) (Port, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ports, err := d.list()
	if err != nil {
		return nil, fmt.Errorf("listing serial ports: %w; set ZIGATE_OTA_DONGLE to the path of the "+
			"dongle's port", err)
	}
	candidates, err := candidatePorts(ports)
	d.forgetUnplugged(candidates)
	if err != nil {
		return nil, err
	}
	if _, ok := candidates[d.known]; ok {
		return d.open(ctx, d.known, d.baud) // the handshake finds out whether it is still there
	}
	return d.ask(ctx, candidates, ports)
}

// ask opens each candidate and returns the one that answers.
func (d *autoDialer) ask(
	ctx context.Context, candidates map[string]listedPort, ports []listedPort,
) (Port, error) {
	var found Port
	var failures, answered []string
	for _, p := range ports {
		if _, ok := candidates[p.name]; !ok {
			continue
		}
		if wait := leaveAlone - time.Since(d.strange[p.name]); wait > 0 {
			failures = append(failures, fmt.Sprintf("%s did not answer like one and is left alone for %v",
				describePort(p), wait.Round(time.Second)))
			continue
		}
		port, err := d.open(ctx, p.name, d.baud)
		if err != nil {
			failures = append(failures, err.Error())
			continue
		}
		probed, err := probe(ctx, port, p.name)
		if err != nil {
			port.Close()
			d.strange[p.name] = time.Now()
			failures = append(failures, describePort(p)+": "+err.Error())
			continue
		}
		answered = append(answered, p.name)
		if found != nil {
			port.Close()
			continue
		}
		found = probed
	}

	switch {
	case len(answered) == 1:
		d.known = answered[0]
		return found, nil
	case len(answered) > 1:
		found.Close()
		return nil, fmt.Errorf("%w: %s; set ZIGATE_OTA_DONGLE to one of them",
			ErrManyDongles, strings.Join(answered, ", "))
	}

	return nil, fmt.Errorf("%w: %s; set ZIGATE_OTA_DONGLE to the path of the dongle's port or to "+
		"tcp://host:port",
		ErrNoDongle, strings.Join(failures, "; "))
}

// forgetUnplugged forgets the ports that are gone, so that they are asked anew when they are plugged in
// again.
func (d *autoDialer) forgetUnplugged(candidates map[string]listedPort) {
	if d.strange == nil {
		d.strange = map[string]time.Time{}
	}
	for name := range d.strange {
		if _, ok := candidates[name]; !ok {
			delete(d.strange, name)
		}
	}
	if _, ok := candidates[d.known]; !ok {
		d.known = ""
	}
}

// candidatePorts returns the ports that may be a dongle's, by name. It is an error where there is none.
func candidatePorts(ports []listedPort) (map[string]listedPort, error) {
	candidates := map[string]listedPort{}
	var all []string
	for _, p := range ports {
		all = append(all, describePort(p))
		if isDongle(p) {
			candidates[p.name] = p
		}
	}
	switch {
	case len(candidates) > 0:
		return candidates, nil
	case len(all) == 0:
		return candidates, fmt.Errorf("%w: there is no serial port; plug the dongle in, "+
			"or set ZIGATE_OTA_DONGLE to its path or to tcp://host:port", ErrNoDongle)
	}
	return candidates, fmt.Errorf("%w among the serial ports: %s; set ZIGATE_OTA_DONGLE to one of them or "+
		"to tcp://host:port",
		ErrNoDongle, strings.Join(all, ", "))
}

// isDongle reports whether the port has a USB vendor and product that ZiGate dongles have. Those belong to
// the serial chips, which other devices have too.
func isDongle(p listedPort) bool {
	if !p.usb {
		return false
	}
	switch strings.ToLower(p.vendor + ":" + p.product) {
	case "10c4:ea60", // CP2102
		"067b:2303", // PL2303
		"0403:6001", // FTDI FT232, ZiGate DIN
		"0403:6015": // FTDI FT230X, ZiGate+
		return true
	}
	return false
}

func describePort(p listedPort) string {
	if !p.usb {
		return p.name + " (no USB)"
	}
	text := fmt.Sprintf("%s (USB %s:%s", p.name, strings.ToLower(p.vendor), strings.ToLower(p.product))
	if p.text != "" {
		text += ", " + p.text
	}
	return text + ")"
}

// errNoZiGate says that a port does not answer like a ZiGate.
var errNoZiGate = errors.New("it does not answer like a ZiGate")

// probe asks a port for a firmware version. It returns the port together with the bytes that followed the
// answer. After an error the port must not be used any more.
func probe(ctx context.Context, port Port, name string) (Port, error) {
	silenced := make(chan struct{})
	asked := make(chan struct{})
	ctx, cancel := context.WithTimeout(ctx, probeTries*probeWait)
	go func() {
		defer close(asked)
		question := message.AppendFrame(nil, message.TypeGetVersion, nil)
		again := time.NewTicker(probeWait)
		defer again.Stop()
		for {
			if _, err := port.Write(question); err != nil {
				return
			}
			select {
			case <-again.C:
			case <-silenced:
				return
			case <-ctx.Done():
				port.Close() // ends the reading below
				return
			}
		}
	}()
	defer func() { close(silenced); <-asked; cancel() }()

	var decoder message.Decoder
	buf := make([]byte, readBufferSize)
	for ctx.Err() == nil {
		n, err := port.Read(buf)
		for in := buf[:n]; len(in) > 0; {
			f, rest, ok := decoder.Feed(in)
			if ok && f.Type == message.TypeVersion {
				return &probedPort{Port: port, name: name, unread: append([]byte(nil), rest...)}, nil
			}
			in = rest
			if !ok {
				break
			}
		}
		if err != nil {
			break
		}
	}
	return nil, errNoZiGate
}

// probedPort is a port from which bytes behind the answer to the probe were read.
type probedPort struct {
	Port
	name   string
	unread []byte
}

func (p *probedPort) String() string { return p.name }

// ByteRate makes it a Rated port, as far as the one that was probed is.
func (p *probedPort) ByteRate() int { return byteRate(p.Port) }

func (p *probedPort) Read(b []byte) (int, error) {
	if len(p.unread) > 0 {
		n := copy(b, p.unread)
		p.unread = p.unread[n:]
		return n, nil
	}
	return p.Port.Read(b)
}
