package message

// GetNetworkState (0x0009) asks for the NetworkState, which comes after the Status.
type GetNetworkState struct{}

// Type is 0x0009.
func (GetNetworkState) Type() MsgType { return typeGetNetworkState }

func (m GetNetworkState) fields(*codec) Message { return m }

// NetworkState (0x8009) is the dongle's own place in its network.
type NetworkState struct {
	Addr          uint16 // 0x0000 for a coordinator, 0xFFFF without a network
	IEEE          IEEE   // of the dongle
	PANID         uint16
	ExtendedPANID uint64
	Channel       uint8 // 11 to 26, 0 without a network
}

// Type is 0x8009.
func (NetworkState) Type() MsgType { return typeNetworkState }

func (m NetworkState) fields(c *codec) Message {
	c.u16(&m.Addr)
	c.ieee(&m.IEEE)
	c.u16(&m.PANID)
	c.u64(&m.ExtendedPANID)
	c.u8(&m.Channel)
	return m
}

// Up reports whether there is a network.
func (m NetworkState) Up() bool {
	return m.Addr != 0xFFFF && m.Channel != 0
}

// StartNetwork (0x0024) forms a network or resumes the stored one; NetworkJoined follows.
type StartNetwork struct{}

// Type is 0x0024.
func (StartNetwork) Type() MsgType { return TypeStartNetwork }

func (m StartNetwork) fields(*codec) Message { return m }

// Values of NetworkJoined.Status; others are failures.
const (
	NetworkJoinedExisting uint8 = 0
	NetworkFormed         uint8 = 1
	NetworkAlreadyUp      uint8 = 4
)

// NetworkJoined (0x8024) says that the network is up, or why not. It comes at most once per start, except
// with status NetworkAlreadyUp. Failures and NetworkAlreadyUp carry only the status.
type NetworkJoined struct {
	Status     uint8
	HasAddress bool // says that the fields below are there
	Addr       uint16
	IEEE       IEEE
	Channel    uint8
}

// Type is 0x8024.
func (NetworkJoined) Type() MsgType { return TypeNetworkJoined }

func (m NetworkJoined) fields(c *codec) Message {
	c.u8(&m.Status)
	if c.tail(&m.HasAddress, 11) {
		c.u16(&m.Addr)
		c.ieee(&m.IEEE)
		c.u8(&m.Channel)
	}
	return m
}

// SetChannelMask (0x0021) says on which channels a network may be formed.
type SetChannelMask struct {
	Mask uint32 // has bit n set for channel n, 11 to 26; a value up to 26 is the number of the only channel
}

// Type is 0x0021.
func (SetChannelMask) Type() MsgType { return typeSetChannelMask }

func (m SetChannelMask) fields(c *codec) Message {
	c.u32(&m.Mask)
	return m
}

// SetDeviceType (0x0023) says what the dongle is to be in its network.
type SetDeviceType struct {
	DeviceType uint8 // 0 coordinator
}

// Type is 0x0023.
func (SetDeviceType) Type() MsgType { return typeSetDeviceType }

func (m SetDeviceType) fields(c *codec) Message {
	c.u8(&m.DeviceType)
	return m
}

// PermitJoin (0x0049) opens or closes the network for new devices.
type PermitJoin struct {
	Addr         uint16 // network address of a router, or 0xFFFC for all of them
	Seconds      uint8  // 0 closes, 255 opens until closed
	Significance uint8  // 0
}

// Type is 0x0049.
func (PermitJoin) Type() MsgType { return typePermitJoin }

func (m PermitJoin) fields(c *codec) Message {
	c.u16(&m.Addr)
	c.u8(&m.Seconds)
	c.u8(&m.Significance)
	return m
}

// GetPermitJoin (0x0014) asks for the PermitJoinState, which comes after the Status.
type GetPermitJoin struct{}

// Type is 0x0014.
func (GetPermitJoin) Type() MsgType { return typeGetPermitJoin }

func (m GetPermitJoin) fields(*codec) Message { return m }

// PermitJoinState (0x8014) says whether new devices may join through the dongle.
type PermitJoinState struct {
	Enabled uint8 // 0 or 1
}

// Type is 0x8014.
func (PermitJoinState) Type() MsgType { return typePermitJoinState }

func (m PermitJoinState) fields(c *codec) Message {
	c.u8(&m.Enabled)
	return m
}

// GetDevices (0x0015) asks for the DeviceList, which follows the Status.
type GetDevices struct{}

// Type is 0x0015.
func (GetDevices) Type() MsgType { return TypeGetDevices }

func (m GetDevices) fields(*codec) Message { return m }

// DeviceList (0x8015) holds the dongle's neighbours only, not every device of the network. A long list of a
// v1 dongle, which discards what its transmit queue cannot hold, may never arrive.
type DeviceList struct {
	Devices []ListedDevice
}

// ListedDevice is one entry of a DeviceList.
type ListedDevice struct {
	Index       uint8 // in the dongle's table; there may be gaps
	Addr        uint16
	IEEE        IEEE
	PowerSource uint8 // 0 battery, 1 mains
	LQI         uint8 // link quality, 0 to 255
}

const listedDeviceSize = 13

// Type is 0x8015.
func (DeviceList) Type() MsgType { return typeDeviceList }

func (m DeviceList) fields(c *codec) Message {
	if c.parsing {
		m.Devices = append(m.Devices, make([]ListedDevice, c.left()/listedDeviceSize)...)
	}
	for i := range m.Devices {
		d := &m.Devices[i]
		c.u8(&d.Index)
		c.u16(&d.Addr)
		c.ieee(&d.IEEE)
		c.u8(&d.PowerSource)
		c.u8(&d.LQI)
	}
	return m
}

// Bits of DeviceAnnounce.Capability, the device's MAC capability.
const (
	CapabilityRouter       uint8 = 1 << 1
	CapabilityMains        uint8 = 1 << 2
	CapabilityRxOnWhenIdle uint8 = 1 << 3 // a device without it sleeps
)

// DeviceAnnounce (0x004D) says that a device has joined or come back, with its present network address.
// From firmware 3.1b on a join gives two: one with Rejoin from the join itself, one without from the
// device's announcement.
type DeviceAnnounce struct {
	Addr       uint16
	IEEE       IEEE
	Capability uint8
	HasRejoin  bool
	Rejoin     uint8
}

// Type is 0x004D.
func (DeviceAnnounce) Type() MsgType { return TypeDeviceAnnounce }

func (m DeviceAnnounce) fields(c *codec) Message {
	c.u16(&m.Addr)
	c.ieee(&m.IEEE)
	c.u8(&m.Capability)
	if c.tail(&m.HasRejoin, 1) {
		c.u8(&m.Rejoin)
	}
	return m
}

// Leave (0x8048) says that a device has left the network.
type Leave struct {
	IEEE   IEEE
	Rejoin uint8 // 1 if it means to come back
}

// Type is 0x8048.
func (Leave) Type() MsgType { return typeLeave }

func (m Leave) fields(c *codec) Message {
	c.ieee(&m.IEEE)
	c.u8(&m.Rejoin)
	return m
}
