package sim

import (
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// serialLine is the host's side of the line: whoever is attached gets what the dongle sends.
type serialLine struct {
	mu     sync.Mutex
	ends   []*lineEnd
	dialed bool // an in-memory port is open
	closed bool
}

// lineEnd holds what one attached host has not read yet.
type lineEnd struct {
	mu     sync.Mutex
	unread []byte
	ready  chan struct{}
	done   chan struct{}
	closed bool
}

// unreadLimit is how many bytes wait for a host that does not read; more are lost.
const unreadLimit = 1 << 20

func (l *serialLine) attach() (*lineEnd, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrStopped
	}
	end := &lineEnd{ready: make(chan struct{}, 1), done: make(chan struct{})}
	l.ends = append(l.ends, end)
	return end, nil
}

func (l *serialLine) detach(end *lineEnd) {
	l.mu.Lock()
	l.ends = slices.DeleteFunc(l.ends, func(e *lineEnd) bool { return e == end })
	l.mu.Unlock()
	end.close()
}

// close ends the line for ever, cut only those who are attached now.
func (l *serialLine) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cut()
}

func (l *serialLine) cut() {
	l.mu.Lock()
	ends := l.ends
	l.ends = nil
	l.mu.Unlock()
	for _, end := range ends {
		end.close()
	}
}

func (l *serialLine) deliver(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, end := range l.ends {
		end.deliver(p)
	}
}

func (e *lineEnd) deliver(p []byte) {
	e.mu.Lock()
	if room := unreadLimit - len(e.unread); len(p) > room {
		p = p[:room]
	}
	e.unread = append(e.unread, p...)
	e.mu.Unlock()
	select {
	case e.ready <- struct{}{}:
	default:
	}
}

// read blocks until there is something; what was delivered before the end is still given out.
func (e *lineEnd) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		e.mu.Lock()
		n := copy(p, e.unread)
		e.unread = e.unread[:copy(e.unread, e.unread[n:])]
		closed := e.closed
		e.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if closed {
			return 0, io.EOF
		}
		select {
		case <-e.ready:
		case <-e.done:
		}
	}
}

func (e *lineEnd) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.closed = true
		close(e.done)
	}
}

// write takes bytes from a host. It never blocks: the UART always reads, and a line that nobody
// empties loses bytes.
func (d *Dongle) write(p []byte) error {
	if !d.bytes.PostUpTo(lineLimit, p...) {
		return ErrStopped
	}
	return nil
}

// endByte ends a frame.
const endByte = 0x03

// receive lets bytes travel the line to the dongle. They travel in pieces that end with END, because nothing
// happens in the receiver before one.
func (d *Dongle) receive(p []byte) {
	for len(p) > 0 {
		end := slices.Index(p, endByte)
		if end < 0 {
			d.input = append(d.input, p...)
			break
		}
		d.input = append(d.input, p[:end+1]...)
		p = p[end+1:]
		d.receivePiece(d.input)
		d.input = d.input[:0]
	}
	if len(d.input) > lineLimit {
		d.input = d.input[:0]
	}
}

func (d *Dongle) receivePiece(piece []byte) {
	wait := d.travel(&d.receiveFree, len(piece))
	damaged := false
	if f := d.cfg.Faults; f.onLine() {
		if chance(d.lineRandom, f.LoseToDongle) {
			d.stats.LineFaults++
			return
		}
		if chance(d.lineRandom, f.Corrupt) {
			d.stats.LineFaults++
			piece = corrupt(d.lineRandom, piece)
			damaged = true
		}
	}
	if wait == 0 {
		d.feed(piece, damaged)
		return
	}
	piece = slices.Clone(piece)
	d.later(wait, func() { d.feed(piece, damaged) })
}

// travel is how long it takes until n bytes are over, behind those that are on their way.
func (d *Dongle) travel(free *time.Time, n int) time.Duration {
	if d.cfg.LineRate <= 0 {
		return 0
	}
	if free.Before(d.now) {
		*free = d.now
	}
	*free = free.Add(time.Duration(n) * time.Second / time.Duration(d.cfg.LineRate))
	return free.Sub(d.now)
}

// feed gives bytes to the receiver, and executes the commands in them.
func (d *Dongle) feed(piece []byte, damaged bool) {
	if !d.up {
		return
	}
	d.damaged = damaged
	for _, b := range piece {
		execute, rejected := d.receiver.Feed(b)
		if rejected {
			d.stats.FramesRejected++
		}
		if execute {
			d.execute()
		}
	}
}

// send writes a message to the host, with the link quality behind it.
func (d *Dongle) send(m message.Message, lqi uint8) {
	t := m.Type()
	d.payload = message.AppendPayload(d.payload[:0], m)
	if t != message.TypeLog {
		d.payload = append(d.payload, lqi)
	}
	d.frame = message.AppendFrame(d.frame[:0], t, d.payload)
	d.stats.Sent[t]++
	if d.cfg.OnFrame != nil {
		d.cfg.OnFrame(message.FromDongle, message.Frame{Type: t, Payload: d.payload})
	}
	frame := d.frame

	// Firmware v1 discards what does not fit its transmit queue, in the middle of a frame; v2 waits.
	if room := d.traits.outputQueue; room > 0 && d.cfg.LineRate > 0 {
		if busy := d.sendFree.Sub(d.now); busy > 0 {
			room -= int(busy * time.Duration(d.cfg.LineRate) / time.Second)
		}
		room = max(room, 0)
		if len(frame) > room {
			d.stats.OutputLost += uint64(len(frame) - room)
			frame = frame[:room]
		}
	}
	wait := d.travel(&d.sendFree, len(frame))

	if f := d.cfg.Faults; f.onLine() {
		if chance(d.lineRandom, f.LoseFromDongle) {
			d.stats.LineFaults++
			return
		}
		if chance(d.lineRandom, f.Corrupt) {
			d.stats.LineFaults++
			frame = corrupt(d.lineRandom, frame)
		}
		if chance(d.lineRandom, f.Duplicate) {
			d.stats.LineFaults++
			d.deliver(frame, wait)
		}
		if chance(d.lineRandom, f.Late) {
			d.stats.LineFaults++
			wait += time.Duration(d.lineRandom.Float64() * float64(f.LateBy))
		}
	}
	d.deliver(frame, wait)
}

func (d *Dongle) deliver(frame []byte, wait time.Duration) {
	if wait == 0 {
		d.line.deliver(frame)
		return
	}
	frame = slices.Clone(frame)
	d.after(wait, func() { d.line.deliver(frame) })
}

// corrupt damages one place of a frame: a changed bit, a missing byte or one too many.
func corrupt(random *rand.Rand, frame []byte) []byte {
	damaged := slices.Clone(frame)
	if len(damaged) == 0 {
		return damaged
	}
	at := random.IntN(len(damaged))
	switch random.IntN(3) {
	case 0:
		damaged[at] ^= 1 << random.IntN(8)
	case 1:
		damaged = slices.Delete(damaged, at, at+1)
	default:
		damaged = slices.Insert(damaged, at, byte(random.UintN(256)))
	}
	return damaged
}
