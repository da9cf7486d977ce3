package otafile

// WithElement has Build add an element behind those that are there.
func WithElement(tag uint16, data []byte) BuildOption {
	return func(b *builder) { b.elements = append(b.elements, builtElement{tag, data}) }
}
