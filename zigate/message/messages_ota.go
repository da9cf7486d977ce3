package message

// FileIdentifier is the number that starts every Zigbee OTA file and every LoadImage.
const FileIdentifier uint32 = 0x0BEEF11E

// MaxHeaderLength is the longest OTA header that a dongle loads: all optional fields present. It answers
// status 1 to a longer one and keeps the header loaded before.
const MaxHeaderLength = 69

// UpgradeTimeWait is the upgrade time of an UpgradeEndResponse that tells the device to wait for another
// response.
const UpgradeTimeWait uint32 = 0xFFFFFFFF

// LoadImage (0x0500) loads an OTA header into the dongle's only slot, from which it answers Query
// Next Image by itself.
//
// The slot is RAM: it is lost at every reset and cannot be read back or unloaded; a header that fits nobody
// clears it. A new load replaces the old one at once. Only the file identifier and the header length (at most
// MaxHeaderLength) are checked; on failure (status 1) the old header stays. Nothing is transmitted.
//
// The payload is 72 bytes. The fields stand at fixed places whatever the field control says: parts that the
// file's header lacks are zero.
type LoadImage struct {
	AddrMode           AddrMode // ignored by firmware; AddrModeNetwork
	Addr               uint16   // ignored by firmware; 0
	FileIdentifier     uint32   // FileIdentifier
	HeaderVersion      uint16
	HeaderLength       uint16 // as in the file
	FieldControl       uint16
	ManufacturerCode   uint16
	ImageType          uint16
	FileVersion        uint32
	StackVersion       uint16
	HeaderString       [32]byte
	TotalSize          uint32 // of the OTA file, header included, in bytes
	CredentialVersion  uint8  // field control bit 0
	Destination        IEEE   // field control bit 1
	MinHardwareVersion uint16 // field control bit 2; ignored by firmware
	MaxHardwareVersion uint16
}

// Type is 0x0500.
func (LoadImage) Type() MsgType { return TypeLoadImage }

func (m LoadImage) fields(c *codec) Message {
	number(c, &m.AddrMode, 1)
	c.u16(&m.Addr)
	c.u32(&m.FileIdentifier)
	c.u16(&m.HeaderVersion)
	c.u16(&m.HeaderLength)
	c.u16(&m.FieldControl)
	c.u16(&m.ManufacturerCode)
	c.u16(&m.ImageType)
	c.u32(&m.FileVersion)
	c.u16(&m.StackVersion)
	c.array(m.HeaderString[:])
	c.u32(&m.TotalSize)
	c.u8(&m.CredentialVersion)
	c.ieee(&m.Destination)
	c.u16(&m.MinHardwareVersion)
	c.u16(&m.MaxHardwareVersion)
	return m
}

// UpgradeEndRequest (0x8503) says that a device has finished, or given up, its download. After status 0 the
// dongle has by then answered the device itself ("install in 5 s") if the loaded header fits; if not, nobody
// has, and the host must send an UpgradeEndResponse.
type UpgradeEndRequest struct {
	Sequence         uint8 // ZCL sequence number
	Endpoint         uint8 // of the device
	Cluster          uint16
	AddrMode         AddrMode
	Addr             uint16
	FileVersion      uint32
	ImageType        uint16
	ManufacturerCode uint16
	Status           uint8 // an OTA status: OTASuccess, OTAAbort, OTAInvalidImage, OTARequireMoreImage
}

// Type is 0x8503.
func (UpgradeEndRequest) Type() MsgType { return TypeUpgradeEndRequest }

func (m UpgradeEndRequest) fields(c *codec) Message {
	c.u8(&m.Sequence)
	c.u8(&m.Endpoint)
	c.u16(&m.Cluster)
	number(c, &m.AddrMode, 1)
	c.u16(&m.Addr)
	c.u32(&m.FileVersion)
	c.u16(&m.ImageType)
	c.u16(&m.ManufacturerCode)
	c.u8(&m.Status)
	return m
}

// UpgradeEndResponse (0x0504) tells a device when to install. It does not replace the dongle's automatic
// answer; a device whose image is the loaded one gets both.
type UpgradeEndResponse struct {
	Target
	Sequence         uint8  // of the request; clients drop answers with another one
	UpgradeTime      uint32 // seconds, relative to CurrentTime, or UpgradeTimeWait
	CurrentTime      uint32 // seconds
	FileVersion      uint32
	ImageType        uint16
	ManufacturerCode uint16
}

// Type is 0x0504.
func (UpgradeEndResponse) Type() MsgType { return typeUpgradeEndResponse }

func (m UpgradeEndResponse) fields(c *codec) Message {
	c.target(&m.Target)
	c.u8(&m.Sequence)
	c.u32(&m.UpgradeTime)
	c.u32(&m.CurrentTime)
	c.u32(&m.FileVersion)
	c.u16(&m.ImageType)
	c.u16(&m.ManufacturerCode)
	return m
}

// Payload types of ImageNotify: how much the device is told.
const (
	NotifyJitter       uint8 = 0 // the jitter only, which most devices understand
	NotifyManufacturer uint8 = 1 // also the manufacturer code
	NotifyImageType    uint8 = 2 // also the image type
	NotifyFileVersion  uint8 = 3 // also the file version; many devices then ask only if theirs differs
)

// ImageNotify (0x0505) makes a device ask for an image now. The payload is 15 bytes for every payload type;
// firmware ignores those that the type does not need, answers status 3 to a type above 3, and gives the frame
// on the radio an arbitrary sequence number. A sleeping device hears it only if it polls within about 7 s.
type ImageNotify struct {
	Target
	PayloadType      uint8 // NotifyJitter to NotifyFileVersion
	FileVersion      uint32
	ImageType        uint16
	ManufacturerCode uint16
	QueryJitter      uint8 // 1 to 100: the percentage of devices that answer a broadcast
}

// Type is 0x0505.
func (ImageNotify) Type() MsgType { return TypeImageNotify }

func (m ImageNotify) fields(c *codec) Message {
	c.target(&m.Target)
	c.u8(&m.PayloadType)
	c.u32(&m.FileVersion)
	c.u16(&m.ImageType)
	c.u16(&m.ManufacturerCode)
	c.u8(&m.QueryJitter)
	return m
}
