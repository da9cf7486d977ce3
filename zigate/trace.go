package zigate

import "fmt"

// Direction is the way that a frame goes.
type Direction uint8

const (
	// FromDongle is the direction to the host.
	FromDongle Direction = iota
	// ToDongle is the direction to the dongle.
	ToDongle
)

// String is "received" or "sent".
func (d Direction) String() string {
	if d == ToDongle {
		return "sent"
	}
	return "received"
}

// Tracer sees every good frame, from the goroutine that reads or writes it: frames of both directions may come at the
// same time. It must not block, and must copy what it keeps of the payload. Frames from the dongle end with their
// link-quality byte.
type Tracer func(dir Direction, f Frame)

// TraceTo hands every frame from now on to t; nil stops that.
func (d *Dongle) TraceTo(t func(dir Direction, f Frame)) {
	if t == nil {
		d.tracer.Store(nil)
		return
	}
	tracer := Tracer(t)
	d.tracer.Store(&tracer)
}

// String describes the frame for a log: type, name and payload in hexadecimal.
func (f Frame) String() string {
	return fmt.Sprintf("%s %s %x", f.Type, f.Type.Name(), f.Payload)
}

// frameType is the type of a frame on the wire, START included; it is false for what is no frame.
func frameType(wire []byte) (MsgType, bool) {
	if len(wire) == 0 || wire[0] != startByte {
		return 0, false
	}
	var t MsgType
	i := 1
	for range 2 {
		if i+1 >= len(wire) { // at least the END must follow
			return 0, false
		}
		b := wire[i]
		i++
		if b == escapeByte {
			b = wire[i] ^ escapeMask
			i++
		}
		t = t<<8 | MsgType(b)
	}
	return t, true
}
