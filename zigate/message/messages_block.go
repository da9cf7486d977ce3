package message

import (
	"encoding/binary"
	"fmt"
)

const (
	blockRequestSize  = 31
	blockResponseSize = 20 // without data
	waitForDataSize   = 17
)

// MaxImageBlockResponseFrame is the size in bytes of the longest frame that AppendImageBlockResponse makes:
// 255 bytes of data, every byte escaped.
const MaxImageBlockResponseFrame = 2 * (headerSize + blockResponseSize + 0xFF + 1)

// Bits of ImageBlockRequest.FieldControl.
const (
	BlockHasNodeAddress uint8 = 1 << 0
	BlockHasDelay       uint8 = 1 << 1
)

// NoBlockRequestDelay is the value of ImageBlockRequest.BlockRequestDelay where the device sent none.
const NoBlockRequestDelay uint16 = 0xFFFF

// ImageBlockRequest (0x8501) is a device's request for a piece of its image. The dongle reports every one,
// whether or not it fits the loaded header, and again when the device repeats it. Where it does not fit, the
// dongle has also refused it to the device (default response 0x98).
//
// Truncated requests: v1 from 3.1d on and openLumi report them with the missing fields all ones (MaxDataSize
// 0xFF), others not at all. A page request appears as a garbled block request (v1 from 3.1d on, openLumi,
// v2): ImageType is the page size, ManufacturerCode the response spacing, BlockRequestDelay the image type,
// and MaxDataSize and FieldControl together the manufacturer code (v1 high byte first, v2 low byte first).
type ImageBlockRequest struct {
	Sequence         uint8 // ZCL sequence number, to be repeated in the answer
	Endpoint         uint8 // of the device
	Cluster          uint16
	AddrMode         AddrMode
	Addr             uint16
	NodeAddress      IEEE   // bytes of earlier messages unless FieldControl has BlockHasNodeAddress
	Offset           uint32 // in bytes, counted from the file identifier
	FileVersion      uint32
	ImageType        uint16
	ManufacturerCode uint16
	// BlockRequestDelay is the device's minimum block period in milliseconds; it is NoBlockRequestDelay
	// unless FieldControl has BlockHasDelay.
	BlockRequestDelay uint16
	MaxDataSize       uint8 // most bytes that the device takes
	FieldControl      uint8
}

// Type is 0x8501.
func (ImageBlockRequest) Type() MsgType { return TypeImageBlockRequest }

// Parse fills the request from a payload without its link-quality byte, without allocating. Bytes after the
// last field are ignored. The error is ErrShort; the request is then unchanged.
func (r *ImageBlockRequest) Parse(payload []byte) error {
	if len(payload) < blockRequestSize {
		return fmt.Errorf("image block request of %d bytes instead of %d: %w",
			len(payload), blockRequestSize, ErrShort)
	}
	p := (*[blockRequestSize]byte)(payload)
	r.Sequence = p[0]
	r.Endpoint = p[1]
	r.Cluster = binary.BigEndian.Uint16(p[2:])
	r.AddrMode = AddrMode(p[4])
	r.Addr = binary.BigEndian.Uint16(p[5:])
	r.NodeAddress = IEEE(binary.BigEndian.Uint64(p[7:]))
	r.Offset = binary.BigEndian.Uint32(p[15:])
	r.FileVersion = binary.BigEndian.Uint32(p[19:])
	r.ImageType = binary.BigEndian.Uint16(p[23:])
	r.ManufacturerCode = binary.BigEndian.Uint16(p[25:])
	r.BlockRequestDelay = binary.BigEndian.Uint16(p[27:])
	r.MaxDataSize = p[29]
	r.FieldControl = p[30]
	return nil
}

func (r ImageBlockRequest) fields(c *codec) Message {
	c.u8(&r.Sequence)
	c.u8(&r.Endpoint)
	c.u16(&r.Cluster)
	number(c, &r.AddrMode, 1)
	c.u16(&r.Addr)
	c.ieee(&r.NodeAddress)
	c.u32(&r.Offset)
	c.u32(&r.FileVersion)
	c.u16(&r.ImageType)
	c.u16(&r.ManufacturerCode)
	c.u16(&r.BlockRequestDelay)
	c.u8(&r.MaxDataSize)
	c.u8(&r.FieldControl)
	return r
}

// ImageBlockResponse (0x0502) answers an ImageBlockRequest. The dongle compares nothing with the request or
// the loaded header, stores nothing, and transmits duplicates as well. Its own limit is 83 bytes of data on
// v1 and 183 on v2 (status 0x14 above); what fits into one radio frame is about 64.
type ImageBlockResponse struct {
	Target
	Sequence uint8 // of the request; clients drop answers with another one
	// Status is OTASuccess with data, or for example OTAAbort or OTANoImageAvailable, of which only the
	// status goes on air. It must not be OTAWaitForData, whose fields firmware would fill from the wrong
	// memory; WaitForData is for that.
	Status           uint8
	Offset           uint32
	FileVersion      uint32
	ImageType        uint16
	ManufacturerCode uint16
	Data             []byte // at most 255 bytes
}

// Type is 0x0502.
func (ImageBlockResponse) Type() MsgType { return typeImageBlockResponse }

func (m ImageBlockResponse) fields(c *codec) Message {
	c.target(&m.Target)
	c.u8(&m.Sequence)
	c.u8(&m.Status)
	c.u32(&m.Offset)
	c.u32(&m.FileVersion)
	c.u16(&m.ImageType)
	c.u16(&m.ManufacturerCode)
	c.countedBytes(&m.Data)
	return m
}

// putFixed writes the fields in front of the data. It does not use the codec, because every block needs it.
func (m *ImageBlockResponse) putFixed(p *[blockResponseSize]byte, size int) {
	p[0] = byte(m.AddrMode)
	binary.BigEndian.PutUint16(p[1:], m.Addr)
	p[3] = m.SrcEndpoint
	p[4] = m.DstEndpoint
	p[5] = m.Sequence
	p[6] = m.Status
	binary.BigEndian.PutUint32(p[7:], m.Offset)
	binary.BigEndian.PutUint32(p[11:], m.FileVersion)
	binary.BigEndian.PutUint16(p[15:], m.ImageType)
	binary.BigEndian.PutUint16(p[17:], m.ManufacturerCode)
	p[19] = byte(size)
}

// AppendImageBlockResponse appends the whole escaped frame, like AppendFrame with the payload of m but
// without needing that payload, and without allocating when dst has room for 2*(27+len(m.Data)) more bytes.
func AppendImageBlockResponse(dst []byte, m *ImageBlockResponse) []byte {
	var p [blockResponseSize + 0xFF]byte
	data := counted(m.Data)
	m.putFixed((*[blockResponseSize]byte)(p[:]), len(data))
	n := blockResponseSize + copy(p[blockResponseSize:], data)
	return AppendFrame(dst, typeImageBlockResponse, p[:n])
}

// WaitForData (0x0506) answers one ImageBlockRequest with "ask again after RequestTime - CurrentTime
// seconds". It goes out at once and arms nothing in the dongle.
type WaitForData struct {
	Target
	Sequence          uint8  // of the request; clients drop answers with another one
	Status            uint8  // must be OTAWaitForData; OTASuccess would transmit memory garbage
	CurrentTime       uint32 // seconds
	RequestTime       uint32 // seconds
	BlockRequestDelay uint16 // milliseconds: the device's new minimum block period, where it supports one
}

// Type is 0x0506.
func (WaitForData) Type() MsgType { return typeWaitForData }

func (m WaitForData) fields(c *codec) Message {
	m.visit(c)
	return m
}

// visit is fields without a copy of the message, for AppendWaitForData.
func (m *WaitForData) visit(c *codec) {
	c.target(&m.Target)
	c.u8(&m.Sequence)
	c.u8(&m.Status)
	c.u32(&m.CurrentTime)
	c.u32(&m.RequestTime)
	c.u16(&m.BlockRequestDelay)
}

// AppendWaitForData appends the whole escaped frame, without allocating when dst has room for 48 more bytes.
func AppendWaitForData(dst []byte, m *WaitForData) []byte {
	// A codec's slice escapes to the heap, so the payload is written to dst first.
	c := codec{b: dst}
	m.visit(&c)
	var p [waitForDataSize]byte
	copy(p[:], c.b[len(dst):])
	return AppendFrame(dst, typeWaitForData, p[:])
}
