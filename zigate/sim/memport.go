package sim

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/zigate-ota/zigate-ota/zigate"
)

// Dialer reaches the dongle in memory, under the name that a user knows it by. One such port can be open at a
// time, like a serial device; a second one gets ErrPortInUse. Ports work inside a testing/synctest bubble.
// Writing never blocks. Reading blocks until the port is closed, cut off with Disconnect (io.EOF) or the
// dongle stops (io.EOF).
func (d *Dongle) Dialer(name string) zigate.Dialer {
	return &dialer{dongle: d, name: name}
}

// Disconnect cuts whoever is connected to the line, as if a cable was pulled and put back. The
// dongle keeps running.
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
	line := &d.dongle.line
	line.mu.Lock()
	busy := line.dialed
	line.dialed = true
	line.mu.Unlock()
	if busy {
		return nil, fmt.Errorf("open %s: %w", d.name, ErrPortInUse)
	}
	end, err := line.attach()
	if err != nil {
		line.hangUp()
		return nil, fmt.Errorf("open %s: %w", d.name, err)
	}
	return &memoryPort{dongle: d.dongle, name: d.name, end: end}, nil
}

func (l *serialLine) hangUp() {
	l.mu.Lock()
	l.dialed = false
	l.mu.Unlock()
}

type memoryPort struct {
	dongle *Dongle
	name   string
	end    *lineEnd
	once   sync.Once
}

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
