package zigate

import "encoding/binary"

const (
	zclFrameTypeMask        = 0x03
	zclClusterCommand       = 0x01
	zclManufacturerSpecific = 0x04
	zclServerToClient       = 0x08
	zclNoDefaultResponse    = 0x10

	queryNextImageCommand  = 0x01
	queryHasHardware       = 0x01
	queryNextImageSize     = 12 // with the ZCL header
	queryHardwareFieldSize = 2
)

// QueryNextImage is a device's question for an image: what it is, what it runs, and often its hardware version, which
// nothing else tells. The dongle answers it itself; the host sees it only as a DataIndication, in RawModeRaw and
// RawModeHybrid.
type QueryNextImage struct {
	Sequence           uint8 // ZCL sequence number
	NoDefaultResponse  bool  // the frame forbids default responses
	ManufacturerCode   uint16
	ImageType          uint16
	FileVersion        uint32 // running
	HasHardwareVersion bool
	HardwareVersion    uint16
}

// ParseQueryNextImage reads the payload of a DataIndication on ClusterOTA: frame control, sequence, command 0x01, field
// control, then manufacturer, image type, version and, with field control bit 0, hardware version, little-endian. It is
// false for any other ZCL frame and for a truncated one.
func ParseQueryNextImage(zcl []byte) (QueryNextImage, bool) {
	if len(zcl) < queryNextImageSize {
		return QueryNextImage{}, false
	}
	control := zcl[0]
	if control&(zclFrameTypeMask|zclManufacturerSpecific|zclServerToClient) != zclClusterCommand ||
		zcl[2] != queryNextImageCommand {
		return QueryNextImage{}, false
	}
	q := QueryNextImage{
		Sequence:          zcl[1],
		NoDefaultResponse: control&zclNoDefaultResponse != 0,
		ManufacturerCode:  binary.LittleEndian.Uint16(zcl[4:]),
		ImageType:         binary.LittleEndian.Uint16(zcl[6:]),
		FileVersion:       binary.LittleEndian.Uint32(zcl[8:]),
	}
	if zcl[3]&queryHasHardware != 0 {
		if len(zcl) < queryNextImageSize+queryHardwareFieldSize {
			return QueryNextImage{}, false
		}
		q.HasHardwareVersion = true
		q.HardwareVersion = binary.LittleEndian.Uint16(zcl[queryNextImageSize:])
	}
	return q, true
}

// AppendZCL appends the ZCL frame that ParseQueryNextImage reads.
func (q QueryNextImage) AppendZCL(dst []byte) []byte {
	control, fields := byte(zclClusterCommand), byte(0)
	if q.NoDefaultResponse {
		control |= zclNoDefaultResponse
	}
	if q.HasHardwareVersion {
		fields |= queryHasHardware
	}
	dst = append(dst, control, q.Sequence, queryNextImageCommand, fields)
	dst = binary.LittleEndian.AppendUint16(dst, q.ManufacturerCode)
	dst = binary.LittleEndian.AppendUint16(dst, q.ImageType)
	dst = binary.LittleEndian.AppendUint32(dst, q.FileVersion)
	if q.HasHardwareVersion {
		dst = binary.LittleEndian.AppendUint16(dst, q.HardwareVersion)
	}
	return dst
}
