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

// Receiver is the frame receiver of a dongle, for those who play one. It is no strict decoder: nothing but
// START resets it, the number of received bytes is never compared with the length, and what an earlier
// frame left in its variables and in its buffer takes part in the next one. So a second END executes the
// previous command again, and a frame that lost its last bytes may be completed by old ones. For what a
// host receives there is Decoder.
type Receiver struct {
	maximum  uint16 // declared: longer headers are rejected, and at END only shorter frames are executed
	state    receiverState
	escaped  bool
	surplus  bool // more payload than announced
	whole    bool // the frame that was closed last had all its bytes, and no others
	typ      uint16
	length   uint16
	checksum byte
	count    uint16
	// buffer is larger than the maximum because handlers read at fixed offsets, whatever the length was.
	buffer [640]byte
}

// NewReceiver is the state after power-up. Firmware accepts payloads of at most maxPayload bytes, see
// Version.MaxCommandPayload.
func NewReceiver(maxPayload int) Receiver {
	return Receiver{maximum: uint16(maxPayload) + 1}
}

// Feed takes one byte and tells whether a command has to be executed now: Type, with its Payload
// and leftovers behind it in Buffer. A complete frame that does not fit is rejected: not executed,
// and nobody is told.
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

// Type is the type of the command to be executed.
func (r *Receiver) Type() MsgType { return MsgType(r.typ) }

// Payload is as many bytes of Buffer as the command's length says.
func (r *Receiver) Payload() []byte { return r.buffer[:r.length] }

// Buffer is all that a command's handler may read: the payload, and behind it what earlier commands left.
func (r *Receiver) Buffer() []byte { return r.buffer[:] }

// Whole tells whether the frame that the last END closed was a good one by itself: everything it needs since
// its START, nothing beyond, nothing of an earlier frame.
func (r *Receiver) Whole() bool { return r.whole }

// sum covers type, length and the buffer up to the length, no matter how many bytes were received into it.
func (r *Receiver) sum() byte {
	sum := byte(r.typ>>8) ^ byte(r.typ) ^ byte(r.length>>8) ^ byte(r.length)
	for _, b := range r.buffer[:r.length] {
		sum ^= b
	}
	return sum
}
