package zigate

import "github.com/zigate-ota/zigate-ota/zigate/message"

// Tracer is called with every good frame, by the goroutine that reads or writes it, so frames of both
// directions may come at the same time. It must not block, and must copy what it keeps of the payload.
// Frames from the dongle end with their link-quality byte.
type Tracer func(dir message.Direction, f message.Frame)

// TraceTo hands every frame from now on to t; nil stops that.
func (d *Dongle) TraceTo(t func(dir message.Direction, f message.Frame)) {
	if t == nil {
		d.tracer.Store(nil)
		return
	}
	tracer := Tracer(t)
	d.tracer.Store(&tracer)
}
