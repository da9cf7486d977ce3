package message

// Parts of a ZCL frame: frame control, sequence number and command, one byte each, then the command's fields.
const (
	zclHeaderSize = 3

	zclFrameTypeMask        = 0x03
	zclClusterCommand       = 0x01
	zclManufacturerSpecific = 0x04
	zclServerToClient       = 0x08
	zclNoDefaultResponse    = 0x10

	queryNextImageCommand    = 0x01
	imageBlockRequestCommand = 0x03
	upgradeEndRequestCommand = 0x06

	queryHasHardware = 0x01 // in the field control of a query
)

// QueryNextImage is a device's request for an image. It says what the device is, what it runs, and often
// its hardware version, which no other message has. The dongle answers it itself; the host sees it only as
// a DataIndication, in RawModeRaw and RawModeHybrid.
type QueryNextImage struct {
	Sequence           uint8 // ZCL sequence number
	NoDefaultResponse  bool  // the frame forbids default responses
	ManufacturerCode   uint16
	ImageType          uint16
	FileVersion        uint32 // running
	HasHardwareVersion bool
	HardwareVersion    uint16
}

// ParseQueryNextImage reads the payload of a DataIndication on ClusterOTA: the ZCL header with command 0x01,
// field control, then manufacturer, image type, version and, with field control bit 0, hardware version,
// little-endian. It is false for any other ZCL frame and for a truncated one.
func ParseQueryNextImage(zcl []byte) (QueryNextImage, bool) {
	c, ok := clientCommand(zcl, queryNextImageCommand)
	if !ok {
		return QueryNextImage{}, false
	}
	q := QueryNextImage{Sequence: zcl[1], NoDefaultResponse: zcl[0]&zclNoDefaultResponse != 0}
	q.visit(&c)
	if c.short {
		return QueryNextImage{}, false
	}
	return q, true
}

// visit describes the fields behind the ZCL header.
func (q *QueryNextImage) visit(c *codec) {
	var control uint8
	if q.HasHardwareVersion {
		control = queryHasHardware
	}
	c.u8(&control)
	c.u16(&q.ManufacturerCode)
	c.u16(&q.ImageType)
	c.u32(&q.FileVersion)

	if c.parsing {
		q.HasHardwareVersion = control&queryHasHardware != 0
	}
	if q.HasHardwareVersion {
		c.u16(&q.HardwareVersion)
	}
}

// ParseImageBlockRequest reads an image block request from the payload of a DataIndication on ClusterOTA, for
// firmware that shows it in no other way (RawModeRaw): the ZCL header with command 0x03, field control,
// manufacturer, image type, version, offset, largest size, then the node address (field control bit 0) and
// the delay (bit 1), little-endian. Endpoint, cluster and address are the indication's: the caller sets them.
// It is false for any other ZCL frame and for a truncated one.
func ParseImageBlockRequest(zcl []byte) (ImageBlockRequest, bool) {
	c, ok := clientCommand(zcl, imageBlockRequestCommand)
	if !ok {
		return ImageBlockRequest{}, false
	}
	r := ImageBlockRequest{Sequence: zcl[1], BlockRequestDelay: NoBlockRequestDelay}
	c.u8(&r.FieldControl)
	c.u16(&r.ManufacturerCode)
	c.u16(&r.ImageType)
	c.u32(&r.FileVersion)
	c.u32(&r.Offset)
	c.u8(&r.MaxDataSize)
	if r.FieldControl&BlockHasNodeAddress != 0 {
		c.ieee(&r.NodeAddress)
	}
	if r.FieldControl&BlockHasDelay != 0 {
		c.u16(&r.BlockRequestDelay)
	}
	if c.short {
		return ImageBlockRequest{}, false
	}
	return r, true
}

// ParseUpgradeEndRequest reads an upgrade end request from the payload of a DataIndication on ClusterOTA: the
// ZCL header with command 0x06, status, manufacturer, image type, version, little-endian. Endpoint, cluster
// and address are the indication's: the caller sets them. It is false for any other ZCL frame and for a
// truncated one.
func ParseUpgradeEndRequest(zcl []byte) (UpgradeEndRequest, bool) {
	c, ok := clientCommand(zcl, upgradeEndRequestCommand)
	if !ok {
		return UpgradeEndRequest{}, false
	}
	r := UpgradeEndRequest{Sequence: zcl[1]}
	c.u8(&r.Status)
	c.u16(&r.ManufacturerCode)
	c.u16(&r.ImageType)
	c.u32(&r.FileVersion)
	if c.short {
		return UpgradeEndRequest{}, false
	}
	return r, true
}

// clientCommand returns a codec for the fields behind the header of a ZCL frame. It returns false where the
// frame is not this command of a cluster's client.
func clientCommand(zcl []byte, command byte) (codec, bool) {
	const mask = zclFrameTypeMask | zclManufacturerSpecific | zclServerToClient
	if len(zcl) < zclHeaderSize || zcl[2] != command || zcl[0]&mask != zclClusterCommand {
		return codec{}, false
	}
	return codec{parsing: true, little: true, b: zcl[zclHeaderSize:]}, true
}
