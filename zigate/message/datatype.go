package message

// Data types of ZCL attributes. Of types that follow each other by size the first and the last stand here.
const (
	firstData         uint8 = 0x08 // 8 to 64 bits
	lastData          uint8 = 0x0F
	dataBoolean       uint8 = 0x10
	firstBitmap       uint8 = 0x18 // 8 to 64 bits
	lastBitmap        uint8 = 0x1F
	firstUnsigned     uint8 = 0x20 // 8 to 64 bits
	lastUnsigned      uint8 = 0x27
	firstSigned       uint8 = 0x28 // 8 to 64 bits
	lastSigned        uint8 = 0x2F
	dataEnumeration8  uint8 = 0x30
	dataEnumeration16 uint8 = 0x31
	dataFloat16       uint8 = 0x38
	dataFloat32       uint8 = 0x39
	dataFloat64       uint8 = 0x3A
	dataOctets        uint8 = 0x41
	dataText          uint8 = 0x42
	dataLongOctets    uint8 = 0x43
	dataLongText      uint8 = 0x44
	dataTimeOfDay     uint8 = 0xE0
	dataUTCTime       uint8 = 0xE2
	dataClusterID     uint8 = 0xE8
	dataAttributeID   uint8 = 0xE9
	dataBACnetObject  uint8 = 0xEA
	dataIEEE          uint8 = 0xF0
	dataUnknown       uint8 = 0xFF
)

// isUnsigned reports whether a value of the type is a number without a sign.
func isUnsigned(dataType uint8) bool {
	switch dataType {
	case dataBoolean, dataEnumeration8, dataEnumeration16,
		dataUTCTime, dataClusterID, dataAttributeID, dataIEEE:
		return true
	}
	return dataType >= firstData && dataType <= lastData ||
		dataType >= firstBitmap && dataType <= lastUnsigned
}

// valueSize returns how many bytes a value of a type has on air, and 0 for a type without a fixed size.
func valueSize(dataType uint8) int {
	switch dataType {
	case dataBoolean, dataEnumeration8:
		return 1
	case dataEnumeration16, dataFloat16, dataClusterID, dataAttributeID:
		return 2
	case dataFloat32, dataBACnetObject:
		return 4
	case dataFloat64, dataIEEE:
		return 8
	}
	switch {
	case dataType >= firstData && dataType <= lastData, dataType >= firstBitmap && dataType <= lastSigned:
		return int(dataType&0x07) + 1
	case dataType >= dataTimeOfDay && dataType <= dataUTCTime:
		return 4
	}
	return 0
}

// value parses an attribute's value from a ZCL frame. It returns the form that decoded messages have:
// numbers big-endian, those of 24 bits in four bytes, strings without their length. It sets short for a
// type without a known size.
func (c *codec) value(dataType uint8) []byte {
	switch dataType {
	case dataOctets, dataText:
		var text []byte
		c.countedBytes(&text)
		return text
	case dataLongOctets, dataLongText:
		var size uint16
		var text []byte
		c.u16(&size)
		c.bytes(&text, int(size))
		return text
	}

	n := valueSize(dataType)
	if n == 0 {
		c.short = true
		return nil
	}

	b := c.take(n)
	if b == nil {
		return nil
	}
	width := n
	if n == 3 {
		width = 4
	}

	value := make([]byte, width)
	for i, v := range b {
		value[width-1-i] = v
	}
	return value
}
