package message

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

	imageBlockRequestCommand = 0x03
	imageBlockRequestSize    = 17 // with the ZCL header, without the optional fields
	upgradeEndRequestCommand = 0x06
	upgradeEndRequestSize    = 12 // with the ZCL header
)

// QueryNextImage is a device's question for an image: what it is, what it runs, and often its hardware
// version, which nothing else tells. The dongle answers it itself; the host sees it only as a DataIndication,
// in RawModeRaw and RawModeHybrid.
type QueryNextImage struct {
	Sequence           uint8 // ZCL sequence number
	NoDefaultResponse  bool  // the frame forbids default responses
	ManufacturerCode   uint16
	ImageType          uint16
	FileVersion        uint32 // running
	HasHardwareVersion bool
	HardwareVersion    uint16
}

// ParseQueryNextImage reads the payload of a DataIndication on ClusterOTA: frame control, sequence, command
// 0x01, field control, then manufacturer, image type, version and, with field control bit 0, hardware
// version, little-endian. It is false for any other ZCL frame and for a truncated one.
func ParseQueryNextImage(zcl []byte) (QueryNextImage, bool) {
	if !isClientCommand(zcl, queryNextImageCommand, queryNextImageSize) {
		return QueryNextImage{}, false
	}
	q := QueryNextImage{
		Sequence:          zcl[1],
		NoDefaultResponse: zcl[0]&zclNoDefaultResponse != 0,
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
	control := byte(zclClusterCommand)
	fields := byte(0)
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

// ParseImageBlockRequest reads an image block request from the payload of a DataIndication on ClusterOTA, for
// firmware that shows it in no other way (RawModeRaw): frame control, sequence, command 0x03, field control,
// manufacturer, image type, version, offset, largest size, then the node address (field control bit 0) and
// the delay (bit 1), little-endian. Endpoint, cluster and address are the indication's: the caller sets them.
// It is false for any other ZCL frame and for a truncated one.
func ParseImageBlockRequest(zcl []byte) (BlockRequest, bool) {
	if !isClientCommand(zcl, imageBlockRequestCommand, imageBlockRequestSize) {
		return BlockRequest{}, false
	}
	r := BlockRequest{
		Sequence:          zcl[1],
		FieldControl:      zcl[3],
		ManufacturerCode:  binary.LittleEndian.Uint16(zcl[4:]),
		ImageType:         binary.LittleEndian.Uint16(zcl[6:]),
		FileVersion:       binary.LittleEndian.Uint32(zcl[8:]),
		Offset:            binary.LittleEndian.Uint32(zcl[12:]),
		MaxDataSize:       zcl[16],
		BlockRequestDelay: NoBlockRequestDelay,
	}
	rest := zcl[imageBlockRequestSize:]
	if r.FieldControl&BlockHasNodeAddress != 0 {
		if len(rest) < 8 {
			return BlockRequest{}, false
		}
		r.NodeAddress = IEEE(binary.LittleEndian.Uint64(rest))
		rest = rest[8:]
	}
	if r.FieldControl&BlockHasDelay != 0 {
		if len(rest) < 2 {
			return BlockRequest{}, false
		}
		r.BlockRequestDelay = binary.LittleEndian.Uint16(rest)
	}
	return r, true
}

// ParseUpgradeEndRequest reads an upgrade end request from the payload of a DataIndication on ClusterOTA:
// frame control, sequence, command 0x06, status, manufacturer, image type, version, little-endian. Endpoint,
// cluster and address are the indication's: the caller sets them. It is false for any other ZCL frame and
// for a truncated one.
func ParseUpgradeEndRequest(zcl []byte) (UpgradeEndRequest, bool) {
	if !isClientCommand(zcl, upgradeEndRequestCommand, upgradeEndRequestSize) {
		return UpgradeEndRequest{}, false
	}
	return UpgradeEndRequest{
		Sequence:         zcl[1],
		Status:           zcl[3],
		ManufacturerCode: binary.LittleEndian.Uint16(zcl[4:]),
		ImageType:        binary.LittleEndian.Uint16(zcl[6:]),
		FileVersion:      binary.LittleEndian.Uint32(zcl[8:]),
	}, true
}

// isClientCommand tells whether a ZCL frame is this cluster command of a client, with at least size bytes.
func isClientCommand(zcl []byte, command byte, size int) bool {
	return len(zcl) >= size && zcl[2] == command &&
		zcl[0]&(zclFrameTypeMask|zclManufacturerSpecific|zclServerToClient) == zclClusterCommand
}
