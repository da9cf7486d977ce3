package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// lane is one direction of the serial line: bytes take their time on it, one behind the other.
type lane struct {
	rate int       // bytes per second; 0 is unlimited
	free time.Time // when the last byte that was sent is over
}

// travel is how long it takes until n bytes are over, behind those that are on their way.
func (l *lane) travel(now time.Time, n int) time.Duration {
	if l.rate <= 0 {
		return 0
	}
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
	return l.free.Sub(now)
}

// unsent is how many bytes have still to go over.
func (l *lane) unsent(now time.Time) int {
	if busy := l.free.Sub(now); busy > 0 {
		return int(busy * time.Duration(l.rate) / time.Second)
	}
	return 0
}

// receiver is the dongle's UART as far as it listens: bytes of the host become commands.
type receiver struct {
	timeline *timeline
	power    *power
	stats    *Stats
	random   *rand.Rand
	faults   Faults
	execute  func() // runs the command that frames holds

	lane    lane
	frames  message.Receiver
	input   []byte // received, without the END that would complete a command
	damaged bool   // what frames holds was damaged on the line
}

// powerUp is the state after the start. The firmware accepts payloads that are shorter than maxLength bytes.
func (r *receiver) powerUp(maxLength uint16) {
	r.frames = message.NewReceiver(int(maxLength) - 1)
	r.input = r.input[:0]
	r.lane.free = time.Time{}
}

// endByte ends a frame.
const endByte = 0x03

// receive lets bytes travel the line to the dongle. They travel in pieces that end with END, because nothing
// happens in the receiver before one.
func (r *receiver) receive(p []byte) {
	for len(p) > 0 {
		end := slices.Index(p, endByte)
		if end < 0 {
			r.input = append(r.input, p...)
			break
		}
		r.input = append(r.input, p[:end+1]...)
		p = p[end+1:]
		r.receivePiece(r.input)
		r.input = r.input[:0]
	}
	if len(r.input) > lineLimit {
		r.input = r.input[:0]
	}
}

func (r *receiver) receivePiece(piece []byte) {
	wait := r.lane.travel(r.timeline.now, len(piece))
	damaged := false
	if r.faults.onLine() {
		if chance(r.random, r.faults.LoseToDongle) {
			r.stats.LineFaults++
			return
		}
		if chance(r.random, r.faults.Corrupt) {
			r.stats.LineFaults++
			piece = corrupt(r.random, piece)
			damaged = true
		}
	}
	if wait == 0 {
		r.feed(piece, damaged)
		return
	}
	piece = slices.Clone(piece)
	r.timeline.later(wait, func() { r.feed(piece, damaged) })
}

// feed takes bytes that have arrived, and has the commands in them executed.
func (r *receiver) feed(piece []byte, damaged bool) {
	if !r.power.up {
		return
	}
	r.damaged = damaged
	for _, b := range piece {
		execute, rejected := r.frames.Feed(b)
		if rejected {
			r.stats.FramesRejected++
		}
		if execute {
			r.execute()
		}
	}
}

// sender is the dongle's UART as far as it speaks: messages become bytes for the host.
type sender struct {
	timeline *timeline
	power    *power
	stats    *Stats
	random   *rand.Rand
	faults   Faults
	queue    int // bytes that fit between program and UART; 0 means that the program waits instead
	onFrame  func(message.Direction, message.Frame)
	toHosts  func([]byte)

	lane           lane
	written        time.Time // when the program is done with writing the last message into the queue
	payload, frame []byte    // reused for each message
}

// fillTime is how long the program of firmware v1 takes to put one byte into its transmit queue. The queue
// drains meanwhile, so that more gets through of a burst than the queue holds: about 250 bytes at 115,200
// baud, as in a log from the field that has a list of 235 bytes whole.
const fillTime = 29 * time.Microsecond

// powerUp is the state after the start.
func (s *sender) powerUp() {
	s.lane.free = time.Time{}
	s.written = time.Time{}
}

// send writes a message to the host, with the link quality behind it.
func (s *sender) send(m message.Message, lqi uint8) {
	t := m.Type()
	s.payload = message.AppendPayload(s.payload[:0], m)
	if t != message.TypeLog {
		s.payload = append(s.payload, lqi)
	}
	s.frame = message.AppendFrame(s.frame[:0], t, s.payload)
	s.stats.Sent[t]++
	if s.onFrame != nil {
		s.onFrame(message.FromDongle, message.Frame{Type: t, Payload: s.payload})
	}

	frame, wait := s.write(s.frame)

	if s.faults.onLine() {
		if chance(s.random, s.faults.LoseFromDongle) {
			s.stats.LineFaults++
			return
		}
		if chance(s.random, s.faults.Corrupt) {
			s.stats.LineFaults++
			frame = corrupt(s.random, frame)
		}
		if chance(s.random, s.faults.Duplicate) {
			s.stats.LineFaults++
			s.deliver(frame, wait)
		}
		if chance(s.random, s.faults.Late) {
			s.stats.LineFaults++
			wait += time.Duration(s.random.Float64() * float64(s.faults.LateBy))
		}
	}
	s.deliver(frame, wait)
}

// write puts a frame on the line. It returns what of the frame gets there, and how long that takes. Firmware
// v1 discards each byte that finds its transmit queue full, in the middle of a frame; v2 waits until there is
// room.
func (s *sender) write(frame []byte) (sent []byte, wait time.Duration) {
	if s.queue == 0 || s.lane.rate <= 0 {
		return frame, s.lane.travel(s.timeline.now, len(frame))
	}
	if s.written.Before(s.timeline.now) {
		s.written = s.timeline.now
	}
	sent = frame[:0]
	for _, b := range frame {
		s.written = s.written.Add(fillTime)
		if s.lane.unsent(s.written) >= s.queue {
			s.stats.OutputLost++
			continue
		}
		s.lane.travel(s.written, 1)
		sent = append(sent, b)
	}
	return sent, max(s.lane.free.Sub(s.timeline.now), 0)
}

// deliver gives a frame to the host when it is over, unless a reset comes first.
func (s *sender) deliver(frame []byte, wait time.Duration) {
	if wait == 0 {
		s.toHosts(frame)
		return
	}
	frame = slices.Clone(frame)
	s.power.after(wait, func() { s.toHosts(frame) })
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

// chance draws against a probability; it draws nothing for one that is 0.
func chance(random *rand.Rand, probability float64) bool {
	return probability > 0 && random.Float64() < probability
}
