package otafile

import "encoding/binary"

// Build makes an OTA file out of a header and a payload, which becomes its one upgrade image element. It is
// for demonstrations and tests; real files are never put together again. HeaderVersion is 0x0100 unless h
// says otherwise; field control, header length and total size are set from what is there.
func Build(h Header, payload []byte, options ...BuildOption) []byte {
	b := builder{elements: []builtElement{{TagUpgradeImage, payload}}}
	for _, option := range options {
		option(&b)
	}
	return b.build(h)
}

// BuildOption changes what Build makes.
type BuildOption func(*builder)

// WithElement adds an element behind those that are there.
func WithElement(tag uint16, data []byte) BuildOption {
	return func(b *builder) { b.elements = append(b.elements, builtElement{tag, data}) }
}

// WithIntegrityCode ends the file with an integrity code element over everything before it.
func WithIntegrityCode() BuildOption {
	return func(b *builder) { b.integrityCode = true }
}

type builtElement struct {
	tag  uint16
	data []byte
}

type builder struct {
	elements      []builtElement
	integrityCode bool
}

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
		// Dialect A: over what stands before the element's tag. Most files that have a code do it like this.
		code := IntegrityCode(out)
		out = appendElementHeader(out, TagIntegrityCode, mmoSize)
		out = append(out, code[:]...)
	}
	return out
}

func appendElementHeader(dst []byte, tag uint16, length int) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, tag)
	return binary.LittleEndian.AppendUint32(dst, uint32(length))
}
