package message

import "fmt"

// MsgType is the number that says what a frame is. Types below 0x8000 go to the dongle, except 0x004D and
// 0x0302.
type MsgType uint16

// unknownName is the name of a type without a row in the table.
const unknownName = "unknown"

// FromDongle reports whether the dongle sends frames of this type: all from 0x8000 on, and two below.
func (t MsgType) FromDongle() bool {
	if r, ok := rows[t]; ok {
		return r.dir == FromDongle
	}
	return t >= TypeStatus
}

// Known reports whether this package has a name and a message for the type.
func (t MsgType) Known() bool {
	_, ok := rows[t]
	return ok
}

// String returns the type as 0x and four hexadecimal digits.
func (t MsgType) String() string {
	return fmt.Sprintf("0x%04x", uint16(t))
}

// Name returns the type in words, or "unknown" for a type that is not known.
func (t MsgType) Name() string {
	if r, ok := rows[t]; ok {
		return r.name
	}
	return unknownName
}
