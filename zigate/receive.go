package zigate

import (
	"errors"
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Reasons why something received cannot be used.
const (
	ReasonGarbage   = "garbage"   // bytes outside of a frame
	ReasonTruncated = "truncated" // a frame cut short
	ReasonChecksum  = "checksum"  // a checksum that does not fit
	ReasonLength    = "length"    // more bytes than announced
	ReasonEscape    = "escape"    // an escape byte before END
	ReasonOverlong  = "overlong"  // longer than MaxPayload
	ReasonNoLQI     = "no_lqi"    // a frame without a payload
	ReasonShort     = "short"     // a message that ends before its fields
)

// FrameErrorReasons returns all reasons with which an Observer may be called.
func FrameErrorReasons() []string {
	return []string{
		ReasonGarbage, ReasonTruncated, ReasonChecksum, ReasonLength, ReasonEscape, ReasonOverlong,
		ReasonNoLQI, ReasonShort,
	}
}

// incoming is what the reader of a connection works with. Its buffers are used again for each frame, so that
// the block path allocates nothing.
type incoming struct {
	decoder message.Decoder
	errors  message.FrameErrors // those that were reported to the Observer
	request message.ImageBlockRequest
	status  message.Status
	reply   []byte
}

// read reads until the port fails or is closed.
func (c *conn) read() error {
	buf := make([]byte, readBufferSize)
	for {
		n, err := c.port.Read(buf)
		c.line.received.Add(uint64(n))
		for in := buf[:n]; len(in) > 0; {
			f, rest, ok := c.incoming.decoder.Feed(in)
			in = rest
			if !ok {
				break
			}
			select {
			case <-c.closed: // the Handler is told that the connection has ended
				return errClosed
			default:
			}
			if err := c.receive(f); err != nil {
				return err
			}
		}
		c.countErrors()
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		select {
		case <-c.closed:
			return errClosed
		default:
		}
	}
}

// receive handles one frame. The error is that of writing a reply.
func (c *conn) receive(f message.Frame) error {
	at := time.Now()
	c.heard.Store(int64(at.Sub(c.start)))
	c.d.opts.Observer.FrameReceived(f.Type)
	if tracer := c.d.tracer.Load(); tracer != nil {
		(*tracer)(message.FromDongle, f)
	}

	monitor := c.d.opts.Monitor
	if monitor != nil && f.Type != message.TypeStatus && f.Type != message.TypeImageBlockRequest {
		monitor.HandleFrame(f)
	}
	payload, lqi, err := f.Message()
	if err != nil {
		c.unusable(ReasonNoLQI, f, err)
		return nil
	}

	switch f.Type {
	case message.TypeImageBlockRequest:
		if err := c.incoming.request.Parse(payload); err != nil {
			c.unusable(ReasonShort, f, err)
			return nil
		}
		err := c.answerBlock(at)
		if monitor != nil {
			monitor.HandleFrame(f)
		}
		return err
	case message.TypeStatus:
		if err := c.incoming.status.Parse(payload); err != nil {
			c.unusable(ReasonShort, f, err)
			return nil
		}
		c.handleStatus(f, at.Sub(c.start), lqi)
		return nil
	case message.TypePDMLoaded, message.TypeRestart, message.TypeFactoryNewRestart:
		c.restarted()
	}

	m, err := message.ParseMessage(f.Type, payload)
	switch {
	case errors.Is(err, message.ErrUnknownType):
		// This is no error: the firmware may be newer than this program.
		if c.enabled() {
			c.d.log.Debug("passed over a message of an unknown type", "frame", f.String())
		}
		return nil
	case err != nil:
		c.unusable(ReasonShort, f, err)
		return nil
	}

	if c.enabled() {
		c.d.log.Debug("received", "type", f.Type, "name", f.Type.Name(), "lqi", lqi, "fields", m)
	}
	if _, listed := m.(message.DeviceList); listed {
		c.d.endQuiet()
	}
	if !c.consume(m) {
		c.d.opts.Handler.HandleMessage(m, lqi)
	}
	return nil
}

// answerBlock answers an image block request. It must not allocate, takes no lock but that of the port, and
// logs only where debug messages are wanted.
func (c *conn) answerBlock(at time.Time) error {
	reply := c.d.opts.Handler.HandleBlockRequest(&c.incoming.request, c.incoming.reply[:0])
	if cap(reply) > cap(c.incoming.reply) {
		c.incoming.reply = reply[:0] // keeps the larger buffer
	}
	if len(reply) > 0 {
		if err := c.write(reply, nil); err != nil {
			return err
		}
		c.d.opts.Observer.BlockAnswered(time.Since(at))
	}
	if c.enabled() {
		c.d.log.Debug("image block request", "fields", c.incoming.request, "reply", len(reply),
			"took", time.Since(at))
	}
	return nil
}

// handleStatus hands c.incoming.status to the command, or to the block answer, that it belongs to.
func (c *conn) handleStatus(f message.Frame, now time.Duration, lqi uint8) {
	s := &c.incoming.status
	if s.Form == message.StatusFormBuffers {
		c.d.opts.Observer.Buffers(s.NPDUUsed, s.APDUUsed)
	}
	if c.enabled() {
		c.d.log.Debug("status", "command", s.Request, "name", s.Request.Name(), "status", s.Status,
			"fields", *s)
	}
	cmd, found := c.waiting.match(s.Request, now, c.d.opts.CommandTimeout)
	if monitor := c.d.opts.Monitor; monitor != nil && (cmd != nil || !found) {
		var asker any
		if cmd != nil {
			asker = cmd.asker
		}
		monitor.HandleStatus(f, s, asker, found)
	}
	switch {
	case !found:
		c.d.opts.Handler.HandleMessage(*s, lqi)
	case cmd == nil:
		c.d.opts.Handler.HandleBlockStatus(s)
	default:
		c.d.answered(cmd, *s, now)
	}
}

// unusable counts a frame that cannot be read. Most often bytes of it were lost.
func (c *conn) unusable(reason string, f message.Frame, err error) {
	c.d.opts.Observer.FrameError(reason)
	if c.enabled() {
		c.d.log.Debug("ignored a frame of the dongle", "frame", f.String(), "err", err)
	}
}

// countErrors hands the decoder's new errors to the Observer.
func (c *conn) countErrors() {
	now := c.incoming.decoder.Errors()
	if now == c.incoming.errors {
		return
	}
	c.count(ReasonGarbage, now.Garbage-c.incoming.errors.Garbage)
	c.count(ReasonTruncated, now.Truncated-c.incoming.errors.Truncated)
	c.count(ReasonChecksum, now.Checksum-c.incoming.errors.Checksum)
	c.count(ReasonLength, now.Length-c.incoming.errors.Length)
	c.count(ReasonEscape, now.Escape-c.incoming.errors.Escape)
	c.count(ReasonOverlong, now.Overlong-c.incoming.errors.Overlong)
	c.incoming.errors = now
}

func (c *conn) count(reason string, n uint64) {
	for range n {
		c.d.opts.Observer.FrameError(reason)
	}
}
