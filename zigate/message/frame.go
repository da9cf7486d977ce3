package message

import (
	"errors"
	"fmt"
	"slices"
)

// Bytes with a meaning on the link. Everything below escapeLimit is sent as escapeByte and the
// value XOR escapeMask.
const (
	startByte   = 0x01
	escapeByte  = 0x02
	endByte     = 0x03
	escapeMask  = 0x10
	escapeLimit = 0x10

	headerSize = 5 // type 2, length 2, checksum 1
)

const (
	// MaxPayload is the longest payload that a Decoder accepts. Firmware announces up to 1301 bytes (a full
	// list of devices on v2).
	MaxPayload = 2048
	// MaxCommandPayload is the longest payload that a dongle accepts: 269 bytes, 255 up to firmware 3.1c. It
	// drops a longer one without an answer.
	MaxCommandPayload = 269
)

// ErrNoLinkQuality says that a frame from the dongle lacks even the link-quality byte that
// ends every message.
var ErrNoLinkQuality = errors.New("frame without a link-quality byte")

// Frame is one message on the serial link, unescaped and checked.
//
// On the wire it is START 0x01, type 2, length 2, checksum 1, payload, END 0x03, where the checksum is the
// XOR of type, length and payload, and where every byte between START and END below 0x10 is escaped.
type Frame struct {
	Type    MsgType
	Payload []byte // exactly the bytes that the length field counts
}

// Message splits a frame that came from the dongle into its payload and the link-quality byte behind it.
// Firmware appends it to every message and counts it in the length; log messages (0x8001) alone have none.
// It is a radio value for messages made from a received radio frame, zero or meaningless otherwise. The
// error is ErrNoLinkQuality for an empty payload.
func (f Frame) Message() (payload []byte, lqi uint8, err error) {
	if f.Type == TypeLog {
		return f.Payload, 0, nil
	}
	last := len(f.Payload) - 1
	if last < 0 {
		return nil, 0, fmt.Errorf("%s (%s): %w", f.Type, f.Type.Name(), ErrNoLinkQuality)
	}
	return f.Payload[:last], f.Payload[last], nil
}

// String describes the frame for a log: type, name and payload in hexadecimal.
func (f Frame) String() string {
	return fmt.Sprintf("%s %s %x", f.Type, f.Type.Name(), f.Payload)
}

// AppendFrame appends the whole frame, START and END included, escaped. A payload of more than 65535 bytes,
// the most that the length field can say, is cut off. For a dongle the limit is MaxCommandPayload.
func AppendFrame(dst []byte, t MsgType, payload []byte) []byte {
	if len(payload) > 0xFFFF {
		payload = payload[:0xFFFF]
	}
	header := [headerSize]byte{byte(t >> 8), byte(t), byte(len(payload) >> 8), byte(len(payload))}
	header[4] = checksum(header[:4], payload)

	// This makes room for the worst case, so that the loops below only store.
	dst = slices.Grow(dst, 2+2*(headerSize+len(payload)))
	n := len(dst)
	out := dst[:cap(dst)]
	out[n] = startByte
	n = escapeInto(out, n+1, header[:])
	n = escapeInto(out, n, payload)
	out[n] = endByte
	return out[:n+1]
}

func escapeInto(out []byte, n int, in []byte) int {
	for _, b := range in {
		if b < escapeLimit {
			out[n] = escapeByte
			n++
			b ^= escapeMask
		}
		out[n] = b
		n++
	}
	return n
}

func checksum(header, payload []byte) byte {
	var sum byte
	for _, b := range header {
		sum ^= b
	}
	for _, b := range payload {
		sum ^= b
	}
	return sum
}

// FrameErrors counts what a Decoder dropped, by reason.
type FrameErrors struct {
	Garbage   uint64 // runs of bytes outside a frame
	Truncated uint64 // a frame that another START or an early END cut short
	Checksum  uint64 // the checksum does not fit
	Length    uint64 // more payload bytes than the length field says
	Escape    uint64 // END right after an escape byte
	Overlong  uint64 // a length field above MaxPayload
}

type decoderState uint8

const (
	outside  decoderState = iota // between frames
	skipping                     // between frames, with garbage already counted
	inside
)

// Decoder finds frames in what a host reads. The zero value is ready. It needs no gap between frames,
// resumes with the next START after bytes that are no frame, and accepts bytes 0x04 to 0x0F that were not
// escaped.
//
// It is stricter than a dongle's own receiver: a frame must have exactly as many payload bytes as its
// length field says, must not end in an escape byte, and an END without a START is ignored.
type Decoder struct {
	state   decoderState
	escaped bool
	surplus bool // there were more payload bytes than announced
	n       int  // number of decoded bytes of the frame
	want    int  // number of decoded bytes of the complete frame, when the header is known
	errors  FrameErrors
	buf     [headerSize + MaxPayload]byte
}

// Errors returns the counts since the Decoder was made.
func (d *Decoder) Errors() FrameErrors {
	return d.errors
}

// Feed takes bytes from in until one frame is complete (ok), or all of them. The rest, to be fed next, is
// what follows the frame. The payload is valid until the next call. Feed does not allocate.
func (d *Decoder) Feed(in []byte) (f Frame, rest []byte, ok bool) {
	for i, b := range in {
		switch {
		case b == startByte:
			if d.state == inside {
				d.errors.Truncated++
			}
			d.state = inside
			d.escaped = false
			d.surplus = false
			d.n = 0
			d.want = headerSize
		case d.state != inside:
			if d.state == outside {
				d.errors.Garbage++
				d.state = skipping
			}
		case b == escapeByte:
			d.escaped = true
		case b == endByte:
			d.state = outside
			if d.complete() {
				return Frame{
					Type:    MsgType(d.buf[0])<<8 | MsgType(d.buf[1]),
					Payload: d.buf[headerSize:d.n:d.n],
				}, in[i+1:], true
			}
		default:
			if d.escaped {
				b ^= escapeMask
				d.escaped = false
			}
			d.store(b)
		}
	}
	return Frame{}, nil, false
}

func (d *Decoder) store(b byte) {
	if d.n == d.want {
		d.surplus = true
		return
	}
	d.buf[d.n] = b
	d.n++
	if d.n != headerSize {
		return
	}
	length := int(d.buf[2])<<8 | int(d.buf[3])
	if length > MaxPayload {
		d.errors.Overlong++
		d.state = skipping // the rest of this frame is not counted again
		return
	}
	d.want = headerSize + length
}

// complete reports whether the frame that an END byte has just closed is good, and counts its error where
// it is not.
func (d *Decoder) complete() bool {
	switch {
	case d.escaped:
		d.errors.Escape++
	case d.n < d.want:
		d.errors.Truncated++
	case d.surplus:
		d.errors.Length++
	case checksum(d.buf[:4], d.buf[headerSize:d.n]) != d.buf[4]:
		d.errors.Checksum++
	default:
		return true
	}
	return false
}

// WireType reads the type of a frame on the wire, without decoding the rest of it. The bytes must begin
// with the frame's START. The result is false where they do not, and for a frame that ends within its type.
func WireType(wire []byte) (MsgType, bool) {
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
