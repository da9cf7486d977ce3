package otafile

import "encoding/binary"

// Build makes an OTA file out of a header and a payload, which becomes its one upgrade image element. It is
// for demonstrations and tests; real files are never put together again. A HeaderVersion of 0 becomes 0x0100.
// Build sets the field control, the header length and the total image size from what is there.
func Build(h Header, payload []byte, options ...BuildOption) []byte {
	b := builder{elements: []builtElement{{TagUpgradeImage, payload}}}
	for _, option := range options {
		option(&b)
	}
	return b.build(h)
}

// BuildOption changes what Build makes.
type BuildOption func(*builder)

// WithIntegrityCode adds, as the last element, the integrity code of everything before it.
func WithIntegrityCode() BuildOption {
	return func(b *builder) { b.integrityCode = true }
}

// builtElement is an element that is to be written.
type builtElement struct {
	tag  uint16
	data []byte
}

// builder collects what Build is to write.
type builder struct {
	elements      []builtElement
	integrityCode bool
}

// build writes the file.
func (b *builder) build(h Header) []byte {
	if h.HeaderVersion == 0 {
		h.HeaderVersion = HeaderVersionZigbee
	}
	h.FieldControl = h.presentFields()
	h.HeaderLength = uint16(h.fieldsLength())
	total := int(h.HeaderLength)
	for _, e := range b.elements {
		total += elementHeader + len(e.data)
	}
	if b.integrityCode {
		total += elementHeader + mmoSize
	}
	h.TotalSize = uint32(total)

	out := h.Append(make([]byte, 0, total))
	for _, e := range b.elements {
		out = appendElementHeader(out, e.tag, len(e.data))
		out = append(out, e.data...)
	}
	if b.integrityCode {
		// This is dialect A, over what stands before the element: most files that have a code use it.
		code := IntegrityCode(out)
		out = appendElementHeader(out, TagIntegrityCode, mmoSize)
		out = append(out, code[:]...)
	}
	return out
}

// appendElementHeader appends tag and length of an element.
func appendElementHeader(dst []byte, tag uint16, length int) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, tag)
	return binary.LittleEndian.AppendUint32(dst, uint32(length))
}
