package message

// codec carries out the description of a message, its method fields, in one of two ways: it appends the
// fields to a payload, or it parses them from one. Every method visits one field; appending changes none.
//
// Numbers are big-endian, as on the serial link, or little-endian, as in ZCL and ZDP frames. short is set
// where a payload ends within a field; that field and those behind it are then zero.
type codec struct {
	parsing bool
	little  bool
	short   bool
	b       []byte // the rest to be parsed, or the payload that is appended to
}

func (c *codec) u8(v *uint8)   { number(c, v, 1) }
func (c *codec) u16(v *uint16) { number(c, v, 2) }
func (c *codec) u32(v *uint32) { number(c, v, 4) }
func (c *codec) u64(v *uint64) { number(c, v, 8) }
func (c *codec) ieee(v *IEEE)  { number(c, v, 8) }

// number visits an unsigned number of size bytes.
func number[T ~uint8 | ~uint16 | ~uint32 | ~uint64](c *codec, v *T, size int) {
	if !c.parsing {
		for i := range size {
			c.b = append(c.b, byte(*v>>c.shift(i, size)))
		}
		return
	}
	*v = 0
	for i, b := range c.take(size) {
		*v |= T(b) << c.shift(i, size)
	}
}

// shift returns by how many bits the byte at i is shifted in a number of size bytes.
func (c *codec) shift(i, size int) int {
	if c.little {
		return 8 * i
	}
	return 8 * (size - 1 - i)
}

// flag visits a byte that is 0 or 1. Parsing takes everything but 0 for true.
func (c *codec) flag(v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	c.u8(&b)
	if c.parsing {
		*v = b != 0
	}
}

// array visits as many bytes as b has. Parsing copies them to b.
func (c *codec) array(b []byte) {
	if c.parsing {
		copy(b, c.take(len(b)))
	} else {
		c.b = append(c.b, b...)
	}
}

// bytes visits bytes without a count. Parsing copies the next n, nil for 0.
func (c *codec) bytes(v *[]byte, n int) {
	if c.parsing {
		*v = append([]byte(nil), c.take(n)...)
	} else {
		c.b = append(c.b, *v...)
	}
}

// u16s visits numbers of two bytes each, without a count. Parsing reads the next n, nil for 0.
func (c *codec) u16s(v *[]uint16, n int) {
	if !c.parsing {
		for i := range *v {
			c.u16(&(*v)[i])
		}
		return
	}
	*v = nil
	numbers := codec{parsing: true, little: c.little, b: c.take(2 * n)}
	for numbers.left() > 0 {
		var one uint16
		numbers.u16(&one)
		*v = append(*v, one)
	}
}

// countedBytes visits a count of one byte, and as many bytes. Only the first 255 bytes are appended.
func (c *codec) countedBytes(v *[]byte) {
	list := counted(*v)
	n := uint8(len(list))
	c.u8(&n)
	c.bytes(&list, int(n))
	if c.parsing {
		*v = list
	}
}

// countedU16s visits a count of one byte, and as many numbers of two bytes each. Only the first 255 numbers
// are appended.
func (c *codec) countedU16s(v *[]uint16) {
	list := counted(*v)
	n := uint8(len(list))
	c.u8(&n)
	c.u16s(&list, int(n))
	if c.parsing {
		*v = list
	}
}

// counted returns as much of a list as a count of one byte allows.
func counted[T any](list []T) []T {
	return list[:min(len(list), 0xFF)]
}

// rest visits the bytes up to the end of the payload. Parsing copies them, nil for none.
func (c *codec) rest(v *[]byte) { c.bytes(v, c.left()) }

// tail reports whether a message has certain fields at its end, of n bytes together. When the message is
// appended, has says so; when it is parsed, the payload's length does, and tail sets has.
func (c *codec) tail(has *bool, n int) bool {
	if c.parsing {
		*has = c.left() >= n
	}
	return *has
}

// ended reports whether the answer to a ZDP request ends before fields of n bytes together, which the
// dongle may leave out after a status that is not 0. Appending leaves nothing out.
func (c *codec) ended(status uint8, n int) bool {
	return c.parsing && status != 0 && c.left() < n
}

// address visits the mode of an address, and the address, which has 8 bytes in some modes and 2 in the
// others.
func (c *codec) address(mode *AddrMode, addr *uint16, ieee *IEEE) {
	number(c, mode, 1)
	if mode.long() {
		c.ieee(ieee)
	} else {
		c.u16(addr)
	}
}

// target visits the 5 bytes with which most commands to a device begin.
func (c *codec) target(t *Target) {
	number(c, &t.AddrMode, 1)
	c.u16(&t.Addr)
	c.u8(&t.SrcEndpoint)
	c.u8(&t.DstEndpoint)
}

// left returns how many bytes are left to be parsed.
func (c *codec) left() int { return len(c.b) }

// take returns the next n bytes, without copying them. It returns nil and sets short where there are fewer.
func (c *codec) take(n int) []byte {
	if c.left() < n {
		c.short = true
		c.b = nil
		return nil
	}
	head := c.b[:n]
	c.b = c.b[n:]
	return head
}
