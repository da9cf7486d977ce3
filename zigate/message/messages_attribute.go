package message

import (
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
// Data is what is really there, up to the announced size.
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
	Data      []byte // numbers big-endian; strings without length byte
}

// Type is Kind.
func (m Attribute) Type() MsgType { return m.Kind }

// AppendPayload appends 12 bytes (11 with NoStatus) and the data.
func (m Attribute) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(append(dst, m.Sequence), m.Addr)
	dst = binary.BigEndian.AppendUint16(append(dst, m.Endpoint), m.Cluster)
	dst = binary.BigEndian.AppendUint16(dst, m.ID)
	if !m.NoStatus {
		dst = append(dst, m.Status)
	}
	size := m.Announced
	if size == 0 {
		size = uint16(min(len(m.Data), 0xFFFF))
	}
	dst = binary.BigEndian.AppendUint16(append(dst, m.DataType), size)
	return append(dst, m.Data...)
}

func parseAttribute(t MsgType, r *reader) Attribute {
	m := Attribute{Kind: t, Sequence: r.u8(), Addr: r.u16(), Endpoint: r.u8(), Cluster: r.u16(), ID: r.u16()}
	m.NoStatus = t == TypeReportAttribute && lacksStatus(r.b)
	if !m.NoStatus {
		m.Status = r.u8()
	}
	m.DataType = r.u8()
	size := r.u16()
	m.Data = r.bytes(min(int(size), len(r.b)))
	if int(size) != len(m.Data) {
		m.Announced = size
	}
	return m
}

// lacksStatus looks at the bytes after the attribute's id: type 1, size 2, data instead of status 1, type 1,
// size 2, data. The one whose size fits is right; if both do or none, the usual layout.
func lacksStatus(b []byte) bool {
	const without = 3
	const with = 4
	if len(b) >= with && with+int(binary.BigEndian.Uint16(b[2:])) == len(b) {
		return false
	}
	return len(b) >= without && without+int(binary.BigEndian.Uint16(b[1:])) == len(b)
}

// Uint is the value of an attribute that is an unsigned number: boolean, bitmap, unsigned integer,
// enumeration, UTC time, cluster or attribute id, IEEE address. It is false for other types, a status other
// than 0, and without data.
func (m Attribute) Uint() (uint64, bool) {
	if m.Status != 0 || len(m.Data) == 0 || len(m.Data) > 8 || !unsigned(m.DataType) {
		return 0, false
	}
	var v uint64
	for _, b := range m.Data {
		v = v<<8 | uint64(b)
	}
	return v, true
}

// ieeeType is the data type of an IEEE address.
const ieeeType = 0xF0

func unsigned(dataType uint8) bool {
	switch {
	case dataType >= 0x08 && dataType <= 0x0F, // data
		dataType == 0x10,                     // boolean
		dataType >= 0x18 && dataType <= 0x1F, // bitmaps
		dataType >= 0x20 && dataType <= 0x27, // unsigned integers
		dataType == 0x30, dataType == 0x31,   // enumerations
		dataType == 0xE2,                   // UTC time
		dataType == 0xE8, dataType == 0xE9, // cluster and attribute ids
		dataType == ieeeType:
		return true
	}
	return false
}

// Int is the value of an attribute that is a signed integer; it is false for other types, a status other than
// 0, and without data.
func (m Attribute) Int() (int64, bool) {
	const int8Type = 0x28
	const int64Type = 0x2F
	if m.Status != 0 || len(m.Data) == 0 || len(m.Data) > 8 || m.DataType < int8Type ||
		m.DataType > int64Type {
		return 0, false
	}
	var v uint64
	for _, b := range m.Data {
		v = v<<8 | uint64(b)
	}
	// The sign is where the type has it: 24 bits come in four bytes, the first of them zero.
	unused := 64 - 8*min(len(m.Data), int(m.DataType-int8Type)+1)
	return int64(v<<unused) >> unused, true
}

// Float is the value of an attribute that is a floating point number of 2, 4 or 8 bytes; it is false for
// other types, a status other than 0, and without data.
func (m Attribute) Float() (float64, bool) {
	if m.Status != 0 {
		return 0, false
	}
	switch {
	case m.DataType == 0x38 && len(m.Data) == 2:
		return half(binary.BigEndian.Uint16(m.Data)), true
	case m.DataType == 0x39 && len(m.Data) == 4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(m.Data))), true
	case m.DataType == 0x3A && len(m.Data) == 8:
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

// Value is the attribute in words, for people: a number, a quoted text, bytes in hexadecimal, or
// why there is none.
func (m Attribute) Value() string {
	if m.Status != 0 {
		if m.Status == StatusUnsupportedAttribute {
			return "unsupported"
		}
		return fmt.Sprintf("status 0x%02x", m.Status)
	}
	if v, ok := m.Uint(); ok {
		if m.DataType == ieeeType {
			return IEEE(v).String()
		}
		return strconv.FormatUint(v, 10)
	}
	if v, ok := m.Int(); ok {
		return strconv.FormatInt(v, 10)
	}
	if v, ok := m.Float(); ok {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	if m.DataType == 0x42 || m.DataType == 0x44 {
		return strconv.Quote(m.Text())
	}
	if len(m.Data) == 0 {
		return "no data"
	}
	return "0x" + hex.EncodeToString(m.Data)
}

// Text is the value of an attribute that is a string, up to the first zero byte and without trailing
// blanks; else empty.
func (m Attribute) Text() string {
	if m.Status != 0 || m.DataType < 0x41 || m.DataType > 0x44 {
		return ""
	}
	text := m.Data
	for i, b := range text {
		if b == 0 {
			text = text[:i]
			break
		}
	}
	for len(text) > 0 && text[len(text)-1] == ' ' {
		text = text[:len(text)-1]
	}
	return string(text)
}
