package sim

// Bytes with a meaning to the receiver.
const (
	startByte  = 0x01
	escapeByte = 0x02
	endByte    = 0x03
	escapeMask = 0x10
)

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

// receiver is the dongle's frame receiver. It is not a strict decoder: nothing but START resets it, the number of
// received bytes is never compared with the length, and what an earlier frame left in its variables and in its buffer
// takes part in the next one. So a second END executes the previous command again, and a frame that lost its last bytes
// may be completed by old ones. The zero value with a maximum is the state after power-up.
type receiver struct {
	maximum  uint16 // declared: longer headers are rejected, and at END only shorter frames are executed
	state    receiverState
	escaped  bool
	typ      uint16
	length   uint16
	checksum byte
	count    uint16
	// buffer is larger than the maximum because handlers read at fixed offsets, whatever the length was.
	buffer [640]byte
}

// feed takes one byte and tells whether a command has to be executed now: typ, with the payload in buffer[:length] and
// leftovers behind it. A complete frame that does not fit is not executed, and nobody is told.
func (r *receiver) feed(b byte) (execute, rejected bool) {
	switch b {
	case startByte:
		r.count, r.escaped, r.state = 0, false, receiverTypeHigh
		return false, false
	case escapeByte:
		r.escaped = true
		return false, false
	case endByte: // the escape flag stays as it is
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
		}
	}
	return false, false
}

// sum covers type, length and the buffer up to the length, no matter how many bytes were received into it.
func (r *receiver) sum() byte {
	sum := byte(r.typ>>8) ^ byte(r.typ) ^ byte(r.length>>8) ^ byte(r.length)
	for _, b := range r.buffer[:r.length] {
		sum ^= b
	}
	return sum
}
