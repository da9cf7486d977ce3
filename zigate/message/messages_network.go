package message

import "encoding/binary"

// GetNetworkState (0x0009) asks for the NetworkState, which comes after the Status.
type GetNetworkState struct{}

// Type is 0x0009.
func (GetNetworkState) Type() MsgType { return TypeGetNetworkState }

// AppendPayload appends nothing.
func (GetNetworkState) AppendPayload(dst []byte) []byte { return dst }

// NetworkState (0x8009) is the dongle's own place in its network.
type NetworkState struct {
	Addr          uint16 // 0x0000 for a coordinator, 0xFFFF without a network
	IEEE          IEEE   // of the dongle
	PANID         uint16
	ExtendedPANID uint64
	Channel       uint8 // 11 to 26, 0 without a network
}

// Type is 0x8009.
func (NetworkState) Type() MsgType { return TypeNetworkState }

// AppendPayload appends the 21 bytes.
func (m NetworkState) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.Addr)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.IEEE))
	dst = binary.BigEndian.AppendUint16(dst, m.PANID)
	dst = binary.BigEndian.AppendUint64(dst, m.ExtendedPANID)
	return append(dst, m.Channel)
}

// Up tells whether there is a network.
func (m NetworkState) Up() bool {
	return m.Addr != 0xFFFF && m.Channel != 0
}

func parseNetworkState(r *reader) NetworkState {
	return NetworkState{
		Addr:          r.u16(),
		IEEE:          IEEE(r.u64()),
		PANID:         r.u16(),
		ExtendedPANID: r.u64(),
		Channel:       r.u8(),
	}
}

// StartNetwork (0x0024) forms a network or resumes the stored one; NetworkJoined follows.
type StartNetwork struct{}

// Type is 0x0024.
func (StartNetwork) Type() MsgType { return TypeStartNetwork }

// AppendPayload appends nothing.
func (StartNetwork) AppendPayload(dst []byte) []byte { return dst }

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
	HasAddress bool // the following fields are there
	Addr       uint16
	IEEE       IEEE
	Channel    uint8
}

// Type is 0x8024.
func (NetworkJoined) Type() MsgType { return TypeNetworkJoined }

// AppendPayload appends 12 bytes, or 1 without HasAddress.
func (m NetworkJoined) AppendPayload(dst []byte) []byte {
	dst = append(dst, m.Status)
	if !m.HasAddress {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, m.Addr)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.IEEE))
	return append(dst, m.Channel)
}

func parseNetworkJoined(r *reader) NetworkJoined {
	m := NetworkJoined{Status: r.u8()}
	if len(r.b) >= 11 {
		m.HasAddress = true
		m.Addr = r.u16()
		m.IEEE = IEEE(r.u64())
		m.Channel = r.u8()
	}
	return m
}

// SetChannelMask (0x0021) says on which channels a network may be formed.
type SetChannelMask struct {
	Mask uint32 // bit n for channel n, 11 to 26; a value up to 26 is one channel's number
}

// Type is 0x0021.
func (SetChannelMask) Type() MsgType { return TypeSetChannelMask }

// AppendPayload appends the 4 bytes.
func (m SetChannelMask) AppendPayload(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(dst, m.Mask)
}

// SetDeviceType (0x0023) says what the dongle is to be in its network.
type SetDeviceType struct {
	DeviceType uint8 // 0 coordinator
}

// Type is 0x0023.
func (SetDeviceType) Type() MsgType { return TypeSetDeviceType }

// AppendPayload appends the byte.
func (m SetDeviceType) AppendPayload(dst []byte) []byte { return append(dst, m.DeviceType) }

// PermitJoin (0x0049) opens or closes the network for new devices.
type PermitJoin struct {
	Addr         uint16 // 0xFFFC: every router
	Seconds      uint8  // 0 closes, 255 opens until closed
	Significance uint8  // 0
}

// Type is 0x0049.
func (PermitJoin) Type() MsgType { return TypePermitJoin }

// AppendPayload appends the 4 bytes.
func (m PermitJoin) AppendPayload(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, m.Addr), m.Seconds, m.Significance)
}

// GetPermitJoin (0x0014) asks for the PermitJoinState, which comes after the Status.
type GetPermitJoin struct{}

// Type is 0x0014.
func (GetPermitJoin) Type() MsgType { return TypeGetPermitJoin }

// AppendPayload appends nothing.
func (GetPermitJoin) AppendPayload(dst []byte) []byte { return dst }

// PermitJoinState (0x8014) says whether new devices may join through the dongle.
type PermitJoinState struct {
	Enabled uint8 // 0 or 1
}

// Type is 0x8014.
func (PermitJoinState) Type() MsgType { return TypePermitJoinState }

// AppendPayload appends the byte.
func (m PermitJoinState) AppendPayload(dst []byte) []byte { return append(dst, m.Enabled) }

// GetDevices (0x0015) asks for the DeviceList, which follows the Status.
type GetDevices struct{}

// Type is 0x0015.
func (GetDevices) Type() MsgType { return TypeGetDevices }

// AppendPayload appends nothing.
func (GetDevices) AppendPayload(dst []byte) []byte { return dst }

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
	LQI         uint8
}

const listedDeviceSize = 13

// Type is 0x8015.
func (DeviceList) Type() MsgType { return TypeDeviceList }

// AppendPayload appends 13 bytes a device.
func (m DeviceList) AppendPayload(dst []byte) []byte {
	for _, d := range m.Devices {
		dst = append(dst, d.Index)
		dst = binary.BigEndian.AppendUint16(dst, d.Addr)
		dst = binary.BigEndian.AppendUint64(dst, uint64(d.IEEE))
		dst = append(dst, d.PowerSource, d.LQI)
	}
	return dst
}

func parseDeviceList(r *reader) DeviceList {
	var m DeviceList
	for len(r.b) >= listedDeviceSize {
		m.Devices = append(m.Devices, ListedDevice{
			Index: r.u8(), Addr: r.u16(), IEEE: IEEE(r.u64()), PowerSource: r.u8(), LQI: r.u8(),
		})
	}
	return m
}

// Bits of DeviceAnnounce.Capability, the device's MAC capability.
const (
	CapabilityRouter       uint8 = 1 << 1
	CapabilityMains        uint8 = 1 << 2
	CapabilityRxOnWhenIdle uint8 = 1 << 3 // clear: the device sleeps
)

// DeviceAnnounce (0x004D) says that a device has joined or come back, with its present short address.
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

// AppendPayload appends 11 bytes, 12 with HasRejoin.
func (m DeviceAnnounce) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.Addr)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.IEEE))
	dst = append(dst, m.Capability)
	if m.HasRejoin {
		dst = append(dst, m.Rejoin)
	}
	return dst
}

func parseDeviceAnnounce(r *reader) DeviceAnnounce {
	m := DeviceAnnounce{Addr: r.u16(), IEEE: IEEE(r.u64()), Capability: r.u8()}
	if len(r.b) > 0 {
		m.HasRejoin = true
		m.Rejoin = r.u8()
	}
	return m
}

// Leave (0x8048) says that a device has left the network.
type Leave struct {
	IEEE   IEEE
	Rejoin uint8 // 1: it means to come back
}

// Type is 0x8048.
func (Leave) Type() MsgType { return TypeLeave }

// AppendPayload appends the 9 bytes.
func (m Leave) AppendPayload(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(m.IEEE)), m.Rejoin)
}
