package message

import (
	"encoding/binary"
	"fmt"
)

const (
	blockRequestSize = 31
	blockSendSize    = 20 // without data
	waitForDataSize  = 17
)

// MaxBlockSendFrame is the size in bytes of the longest frame that AppendBlockSend makes: 255 bytes of data,
// every byte escaped.
const MaxBlockSendFrame = 2 * (headerSize + blockSendSize + 0xFF + 1)

// Bits of BlockRequest.FieldControl.
const (
	BlockHasNodeAddress uint8 = 1 << 0
	BlockHasDelay       uint8 = 1 << 1
)

// NoBlockRequestDelay is what BlockRequest.BlockRequestDelay is when the device sent none.
const NoBlockRequestDelay uint16 = 0xFFFF

// BlockRequest (0x8501) is a device's request for a piece of its image. The dongle reports every one, whether
// or not it fits the loaded header, and again when the device repeats it. Where it does not fit, the dongle
// has also refused it to the device (default response 0x98).
//
// Truncated requests: v1 from 3.1d on and openLumi report them with the missing fields all ones (MaxDataSize
// 0xFF), others not at all. A page request appears as a garbled block request (v1 from 3.1d on, openLumi,
// v2): ImageType is the page size, ManufacturerCode the response spacing, BlockRequestDelay the image type,
// and MaxDataSize and FieldControl together the manufacturer code (v1 high byte first, v2 low byte first).
type BlockRequest struct {
	Sequence         uint8 // ZCL sequence number, to be repeated in the answer
	Endpoint         uint8 // of the device
	Cluster          uint16
	AddrMode         AddrMode
	Addr             uint16
	NodeAddress      IEEE   // leftovers of earlier messages unless FieldControl has BlockHasNodeAddress
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
func (BlockRequest) Type() MsgType { return TypeImageBlockRequest }

// Parse fills the request from a payload without its link-quality byte, without allocating. Bytes after the
// last field are ignored. The error is ErrShort; the request is then unchanged.
func (r *BlockRequest) Parse(payload []byte) error {
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

func parseBlockRequest(r *reader) BlockRequest {
	var m BlockRequest
	if p := r.take(blockRequestSize); p != nil {
		_ = m.Parse(p) // cannot fail: the size is right
	}
	return m
}

// AppendPayload appends the 31 bytes.
func (r BlockRequest) AppendPayload(dst []byte) []byte {
	dst = append(dst, r.Sequence, r.Endpoint)
	dst = binary.BigEndian.AppendUint16(dst, r.Cluster)
	dst = append(dst, byte(r.AddrMode))
	dst = binary.BigEndian.AppendUint16(dst, r.Addr)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.NodeAddress))
	dst = binary.BigEndian.AppendUint32(dst, r.Offset)
	dst = binary.BigEndian.AppendUint32(dst, r.FileVersion)
	dst = binary.BigEndian.AppendUint16(dst, r.ImageType)
	dst = binary.BigEndian.AppendUint16(dst, r.ManufacturerCode)
	dst = binary.BigEndian.AppendUint16(dst, r.BlockRequestDelay)
	return append(dst, r.MaxDataSize, r.FieldControl)
}

// BlockSend (0x0502) answers a BlockRequest. The dongle compares nothing with the request or the loaded
// header, stores nothing, and transmits duplicates as well. Its own limit is 83 bytes of data on v1 and 183
// on v2 (status 0x14 above); what fits into one radio frame is about 64.
type BlockSend struct {
	Target
	Sequence uint8 // of the request; clients drop answers with another one
	// Status is OTASuccess with data, or for example OTAAbort or OTANoImageAvailable, of which only the
	// status goes on air. Never OTAWaitForData: firmware would fill its fields from the wrong memory. That is
	// what WaitForData is for.
	Status           uint8
	Offset           uint32
	FileVersion      uint32
	ImageType        uint16
	ManufacturerCode uint16
	Data             []byte // at most 255 bytes
}

// Type is 0x0502.
func (BlockSend) Type() MsgType { return TypeBlockSend }

// AppendPayload appends 20 bytes and the data.
func (m BlockSend) AppendPayload(dst []byte) []byte {
	data := counted(m.Data)
	var fixed [blockSendSize]byte
	m.putFixed(&fixed, len(data))
	return append(append(dst, fixed[:]...), data...)
}

func (m *BlockSend) putFixed(p *[blockSendSize]byte, size int) {
	m.Target.put((*[5]byte)(p[:]))
	p[5] = m.Sequence
	p[6] = m.Status
	binary.BigEndian.PutUint32(p[7:], m.Offset)
	binary.BigEndian.PutUint32(p[11:], m.FileVersion)
	binary.BigEndian.PutUint16(p[15:], m.ImageType)
	binary.BigEndian.PutUint16(p[17:], m.ManufacturerCode)
	p[19] = byte(size)
}

// AppendBlockSend appends the whole escaped frame, like AppendFrame with the payload of m but without needing
// that payload, and without allocating when dst has room for 2*(27+len(m.Data)) more bytes.
func AppendBlockSend(dst []byte, m *BlockSend) []byte {
	var p [blockSendSize + 0xFF]byte
	data := counted(m.Data)
	m.putFixed((*[blockSendSize]byte)(p[:]), len(data))
	n := blockSendSize + copy(p[blockSendSize:], data)
	return AppendFrame(dst, TypeBlockSend, p[:n])
}

func parseBlockSend(r *reader) BlockSend {
	m := BlockSend{
		Target:           r.target(),
		Sequence:         r.u8(),
		Status:           r.u8(),
		Offset:           r.u32(),
		FileVersion:      r.u32(),
		ImageType:        r.u16(),
		ManufacturerCode: r.u16(),
	}
	m.Data = r.bytes(int(r.u8()))
	return m
}

// WaitForData (0x0506) answers one BlockRequest with "ask again after RequestTime - CurrentTime seconds". It
// goes out at once and arms nothing in the dongle.
type WaitForData struct {
	Target
	Sequence          uint8  // of the request; clients drop answers with another one
	Status            uint8  // must be OTAWaitForData; OTASuccess would transmit memory garbage
	CurrentTime       uint32 // seconds
	RequestTime       uint32 // seconds
	BlockRequestDelay uint16 // milliseconds: the device's new minimum block period, where it supports one
}

// Type is 0x0506.
func (WaitForData) Type() MsgType { return TypeWaitForData }

// AppendPayload appends the 17 bytes.
func (m WaitForData) AppendPayload(dst []byte) []byte {
	var p [waitForDataSize]byte
	m.put(&p)
	return append(dst, p[:]...)
}

func (m *WaitForData) put(p *[waitForDataSize]byte) {
	m.Target.put((*[5]byte)(p[:]))
	p[5] = m.Sequence
	p[6] = m.Status
	binary.BigEndian.PutUint32(p[7:], m.CurrentTime)
	binary.BigEndian.PutUint32(p[11:], m.RequestTime)
	binary.BigEndian.PutUint16(p[15:], m.BlockRequestDelay)
}

// AppendWaitForData appends the whole escaped frame, without allocating when dst has room for 48 more bytes.
func AppendWaitForData(dst []byte, m *WaitForData) []byte {
	var p [waitForDataSize]byte
	m.put(&p)
	return AppendFrame(dst, TypeWaitForData, p[:])
}

func parseWaitForData(r *reader) WaitForData {
	return WaitForData{
		Target:            r.target(),
		Sequence:          r.u8(),
		Status:            r.u8(),
		CurrentTime:       r.u32(),
		RequestTime:       r.u32(),
		BlockRequestDelay: r.u16(),
	}
}

func (t Target) put(p *[5]byte) {
	p[0] = byte(t.AddrMode)
	binary.BigEndian.PutUint16(p[1:], t.Addr)
	p[3] = t.SrcEndpoint
	p[4] = t.DstEndpoint
}
