package message

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
)

// StatusUnsupportedAttribute is the Attribute status of a device that does not have the attribute.
const StatusUnsupportedAttribute uint8 = 0x86

// Attribute is one attribute of a device: the answer to a read (0x8100), a report (0x8102) or the answer
// to a write (0x8110).
//
// Firmware has oddities: 24-bit integers come as 4 bytes; 40-bit integers announce 5 bytes and bring none;
// long strings announce twice their length; 24- and 64-bit bitmaps, arrays and unknown types announce 0. So
// Data has the bytes that are there, up to the announced size.
type Attribute struct {
	Kind      MsgType // TypeReadAttribute, TypeReportAttribute, TypeWriteAttribute
	Sequence  uint8
	Addr      uint16
	Endpoint  uint8
	Cluster   uint16
	ID        uint16
	NoStatus  bool   // a report of early v1 builds (around 3.0e), without the status byte
	Status    uint8  // 0, or for example StatusUnsupportedAttribute
	DataType  uint8  // of ZCL; 0xFF with StatusUnsupportedAttribute
	Announced uint16 // the size field where it differs from len(Data), else 0
	Data      []byte // numbers are big-endian; strings have no length byte
}

// Type is Kind.
func (m Attribute) Type() MsgType { return m.Kind }

func (m Attribute) fields(c *codec) Message {
	c.u8(&m.Sequence)
	c.u16(&m.Addr)
	c.u8(&m.Endpoint)
	c.u16(&m.Cluster)
	c.u16(&m.ID)

	if c.parsing {
		m.NoStatus = m.Kind == TypeReportAttribute && lacksStatus(c.b)
	}
	if !m.NoStatus {
		c.u8(&m.Status)
	}

	c.u8(&m.DataType)
	size := m.Announced
	if size == 0 {
		size = uint16(min(len(m.Data), 0xFFFF))
	}
	c.u16(&size)
	c.bytes(&m.Data, min(int(size), c.left()))
	if c.parsing && int(size) != len(m.Data) {
		m.Announced = size
	}
	return m
}

// lacksStatus reports whether a report has no status byte, by the bytes after the attribute's id. They are
// status 1, type 1, size 2, data, or the same without the status. The layout whose size fits is the right
// one; where both fit, or none does, it is the first.
func lacksStatus(b []byte) bool {
	const without = 3
	const with = 4
	if len(b) >= with && with+int(binary.BigEndian.Uint16(b[2:])) == len(b) {
		return false
	}
	return len(b) >= without && without+int(binary.BigEndian.Uint16(b[1:])) == len(b)
}

// Uint returns the value of an attribute that is an unsigned number: boolean, bitmap, unsigned integer,
// enumeration, UTC time, cluster or attribute id, IEEE address. It returns false for other types, for a
// status other than 0, and without data.
func (m Attribute) Uint() (uint64, bool) {
	if !isUnsigned(m.DataType) {
		return 0, false
	}
	return m.number()
}

// number reads the data as a big-endian number of 1 to 8 bytes. It returns false for other data, and for a
// status other than 0.
func (m Attribute) number() (uint64, bool) {
	if m.Status != 0 || len(m.Data) == 0 || len(m.Data) > 8 {
		return 0, false
	}
	var v uint64
	for _, b := range m.Data {
		v = v<<8 | uint64(b)
	}
	return v, true
}

// Int returns the value of an attribute that is a signed integer. It returns false for other types, for a
// status other than 0, and without data.
func (m Attribute) Int() (int64, bool) {
	if m.DataType < firstSigned || m.DataType > lastSigned {
		return 0, false
	}
	v, ok := m.number()
	if !ok {
		return 0, false
	}
	// The sign bit is that of the type's width: 24 bits come in four bytes, the first of them zero.
	unused := 64 - 8*min(len(m.Data), int(m.DataType-firstSigned)+1)
	return int64(v<<unused) >> unused, true
}

// float returns the value of an attribute that is a floating point number of 2, 4 or 8 bytes. It returns
// false for other types, for a status other than 0, and without data.
func (m Attribute) float() (float64, bool) {
	if m.Status != 0 {
		return 0, false
	}
	switch {
	case m.DataType == dataFloat16 && len(m.Data) == 2:
		return half(binary.BigEndian.Uint16(m.Data)), true
	case m.DataType == dataFloat32 && len(m.Data) == 4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(m.Data))), true
	case m.DataType == dataFloat64 && len(m.Data) == 8:
		return math.Float64frombits(binary.BigEndian.Uint64(m.Data)), true
	}
	return 0, false
}

// half reads a floating point number of 16 bits: sign, 5 bits of exponent, 10 of fraction.
func half(b uint16) float64 {
	fraction := float64(b&0x3FF) / 1024
	exponent := int(b >> 10 & 0x1F)
	var v float64
	switch exponent {
	case 0:
		v = math.Ldexp(fraction, -14)
	case 0x1F:
		v = math.Inf(1)
		if fraction != 0 {
			v = math.NaN()
		}
	default:
		v = math.Ldexp(1+fraction, exponent-15)
	}
	if b>>15 != 0 {
		v = -v
	}
	return v
}

// Value returns the attribute's value as text: a number, a quoted text, bytes in hexadecimal, or why there
// is no value.
func (m Attribute) Value() string {
	if m.Status != 0 {
		if m.Status == StatusUnsupportedAttribute {
			return "unsupported"
		}
		return fmt.Sprintf("status 0x%02x", m.Status)
	}
	if v, ok := m.Uint(); ok {
		if m.DataType == dataIEEE {
			return IEEE(v).String()
		}
		return strconv.FormatUint(v, 10)
	}
	if v, ok := m.Int(); ok {
		return strconv.FormatInt(v, 10)
	}
	if v, ok := m.float(); ok {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	if m.DataType == dataText || m.DataType == dataLongText {
		return strconv.Quote(m.Text())
	}
	if len(m.Data) == 0 {
		return "no data"
	}
	return "0x" + hex.EncodeToString(m.Data)
}

// Text returns the value of an attribute that is a string, up to the first zero byte and without trailing
// blanks. It is empty for other types and for a status other than 0.
func (m Attribute) Text() string {
	if m.Status != 0 || m.DataType < dataOctets || m.DataType > dataLongText {
		return ""
	}
	text, _, _ := bytes.Cut(m.Data, []byte{0})
	return string(bytes.TrimRight(text, " "))
}
