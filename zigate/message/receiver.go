package message

type receiverState uint8

const (
	receiverIdle receiverState = iota
	receiverTypeHigh
	receiverTypeLow
	receiverLengthHigh
	receiverLengthLow
	receiverChecksum
	receiverData
)

// Receiver is the frame receiver of a dongle, for programs that simulate one; a host uses Decoder. It is
// not strict: only START resets it, it never compares the number of received bytes with the length, and it
// keeps its variables and its buffer from one frame to the next. So a second END executes the previous
// command again, and old bytes may complete a frame that has lost its last ones.
type Receiver struct {
	maximum  uint16 // headers with a longer length are rejected, and at END only shorter frames are executed
	state    receiverState
	escaped  bool
	surplus  bool // more payload than announced
	whole    bool // the last frame had exactly its bytes
	typ      uint16
	length   uint16
	checksum byte
	count    uint16
	// buffer is larger than the maximum because handlers read at fixed offsets, whatever the length was.
	buffer [640]byte
}

// NewReceiver returns a receiver in the state after power-up. Firmware accepts payloads of at most
// maxPayload bytes, see Version.MaxCommandPayload.
func NewReceiver(maxPayload int) Receiver {
	return Receiver{maximum: uint16(maxPayload) + 1}
}

// Feed takes one byte. It reports whether a command has to be executed now, which is Type with its Payload,
// and whether a complete frame was rejected, which a dongle does without an answer.
func (r *Receiver) Feed(b byte) (execute, rejected bool) {
	switch b {
	case startByte:
		r.count = 0
		r.escaped = false
		r.surplus = false
		r.state = receiverTypeHigh
		return false, false
	case escapeByte:
		r.escaped = true
		return false, false
	case endByte: // the escape flag stays as it is
		r.whole = r.state == receiverData && r.count == r.length && !r.escaped && !r.surplus
		r.state = receiverIdle
		execute = r.length < r.maximum && r.checksum == r.sum()
		return execute, !execute
	}

	if r.escaped {
		b ^= escapeMask
		r.escaped = false
	}
	switch r.state {
	case receiverTypeHigh:
		r.typ = uint16(b) << 8
		r.state = receiverTypeLow
	case receiverTypeLow:
		r.typ += uint16(b)
		r.state = receiverLengthHigh
	case receiverLengthHigh:
		r.length = uint16(b) << 8
		r.state = receiverLengthLow
	case receiverLengthLow:
		r.length += uint16(b)
		r.state = receiverChecksum
		if r.length > r.maximum {
			r.state = receiverIdle
			return false, true
		}
	case receiverChecksum:
		r.checksum = b
		r.state = receiverData
	case receiverData:
		if r.count < r.length {
			r.buffer[r.count] = b
			r.count++
		} else {
			r.surplus = true
		}
	}
	return false, false
}

// Type returns the type of the command to be executed.
func (r *Receiver) Type() MsgType { return MsgType(r.typ) }

// Payload returns as many bytes of Buffer as the command's length says.
func (r *Receiver) Payload() []byte { return r.buffer[:r.length] }

// Buffer returns everything that a command's handler may read: the payload, and behind it the bytes of
// earlier commands.
func (r *Receiver) Buffer() []byte { return r.buffer[:] }

// Whole reports whether the frame that the last END closed was good by itself: it had all its bytes since
// its START, and no others.
func (r *Receiver) Whole() bool { return r.whole }

// sum returns the checksum of type, length and the buffer up to the length, no matter how many bytes of it
// were received.
func (r *Receiver) sum() byte {
	sum := byte(r.typ>>8) ^ byte(r.typ) ^ byte(r.length>>8) ^ byte(r.length)
	for _, b := range r.buffer[:r.length] {
		sum ^= b
	}
	return sum
}
