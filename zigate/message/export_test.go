package message

// AppendZCL appends the ZCL frame that ParseQueryNextImage reads.
func (q QueryNextImage) AppendZCL(dst []byte) []byte {
	control := byte(zclClusterCommand)
	if q.NoDefaultResponse {
		control |= zclNoDefaultResponse
	}
	c := codec{little: true, b: append(dst, control, q.Sequence, queryNextImageCommand)}
	q.visit(&c)
	return c.b
}
