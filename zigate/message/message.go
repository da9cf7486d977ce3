package message

import (
	"errors"
	"fmt"
)

var (
	// ErrUnknownType says that this package does not know a frame's type in that direction.
	ErrUnknownType = errors.New("unknown message type")
	// ErrShort says that a payload ends before the fields that its type must have.
	ErrShort = errors.New("payload too short")
)

// Message is a typed payload, in either direction: one of the structs of this package, used by value.
type Message interface {
	// Type returns the frame's type.
	Type() MsgType
	// fields describes the payload: it visits the fields in the order in which they are sent, without the
	// link-quality byte that a dongle adds. It returns the message with the visited fields, which is the
	// parsed message where the codec parses.
	fields(c *codec) Message
}

// AppendPayload appends a message's payload, without the link-quality byte that a dongle adds.
func AppendPayload(dst []byte, m Message) []byte {
	c := codec{b: dst}
	m.fields(&c)
	return c.b
}

// ParseMessage reads what a dongle sent; payload is without the link-quality byte (see Frame.Message). Bytes
// after the last field are ignored: firmware has grown its messages before. Slices in the result are copies.
// The error is ErrUnknownType or ErrShort.
func ParseMessage(t MsgType, payload []byte) (Message, error) {
	return parse(FromDongle, t, payload)
}

// ParseCommand reads what a host sent to a dongle. It is as lenient as ParseMessage about bytes after the
// last field, which firmware ignores, too.
func ParseCommand(t MsgType, payload []byte) (Message, error) {
	return parse(ToDongle, t, payload)
}

func parse(dir Direction, t MsgType, payload []byte) (Message, error) {
	r, ok := rows[t]
	if !ok || r.dir != dir {
		return nil, fmt.Errorf("%s: %w", t, ErrUnknownType)
	}
	c := codec{parsing: true, b: payload}
	m := r.message.fields(&c)
	if c.short {
		return nil, shortError(t, len(payload))
	}
	return m, nil
}

func shortError(t MsgType, size int) error {
	return fmt.Errorf("%s (%s) of %d bytes: %w", t, t.Name(), size, ErrShort)
}
