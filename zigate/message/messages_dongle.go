package message

import "encoding/binary"

// GetVersion (0x0010) asks for the Version, which follows the Status. It is harmless and answered
// by every firmware.
type GetVersion struct{}

// Type is 0x0010.
func (GetVersion) Type() MsgType { return TypeGetVersion }

// AppendPayload appends nothing.
func (GetVersion) AppendPayload(dst []byte) []byte { return dst }

// Version (0x8010) is the firmware's version.
type Version struct {
	Major uint16 // the hardware and firmware line, see Family
	Minor uint16 // read as hexadecimal digits: 0x031E is 3.1e. 3.1a says 0x030F, like 3.0f
}

// Type is 0x8010.
func (Version) Type() MsgType { return TypeVersion }

// AppendPayload appends the 4 bytes.
func (m Version) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.Major)
	return binary.BigEndian.AppendUint16(dst, m.Minor)
}

// RawMode says what the dongle tells about received frames. It is kept over resets and cannot be read back.
type RawMode uint8

const (
	// RawModeOff gives decoded messages; a DataIndication only for frames that no handler wants.
	RawModeOff RawMode = 0
	// RawModeRaw gives a DataIndication instead of decoded ZCL messages: no BlockRequest, no
	// UpgradeEndRequest.
	RawModeRaw RawMode = 1
	// RawModeHybrid gives a DataIndication for every frame and then the decoded message. The dongle then also
	// sends a default response for every frame that does not forbid it: more traffic on the radio.
	RawModeHybrid RawMode = 2
)

// SetRawMode (0x0002) sets the raw mode.
type SetRawMode struct {
	Mode RawMode
}

// Type is 0x0002.
func (SetRawMode) Type() MsgType { return TypeSetRawMode }

// AppendPayload appends the byte.
func (m SetRawMode) AppendPayload(dst []byte) []byte { return append(dst, byte(m.Mode)) }

// Reset (0x0011) restarts the dongle about 20 ms after its Status. The network is kept, the
// loaded header is lost.
type Reset struct{}

// Type is 0x0011.
func (Reset) Type() MsgType { return TypeReset }

// AppendPayload appends nothing.
func (Reset) AppendPayload(dst []byte) []byte { return dst }

// ErasePersistentData (0x0012) makes the dongle forget its network, for good, and restart.
type ErasePersistentData struct{}

// Type is 0x0012.
func (ErasePersistentData) Type() MsgType { return TypeErasePersistentData }

// AppendPayload appends nothing.
func (ErasePersistentData) AppendPayload(dst []byte) []byte { return dst }

// RestartNotice (0x8006, 0x8007) says that the dongle has just started: the header slot is empty,
// its clock is at 0.
type RestartNotice struct {
	Kind   MsgType // TypeRestart: with its network; TypeFactoryNewRestart: without one
	Status uint8   // 1 with TypeRestart, 0 with TypeFactoryNewRestart
}

// Type is Kind.
func (m RestartNotice) Type() MsgType { return m.Kind }

// AppendPayload appends the byte.
func (m RestartNotice) AppendPayload(dst []byte) []byte { return append(dst, m.Status) }

// SetTime (0x0016) sets the dongle's clock, which starts at 0 after a reset. See ClockSeconds.
type SetTime struct {
	Seconds uint32 // since 2000-01-01 UTC
}

// Type is 0x0016.
func (SetTime) Type() MsgType { return TypeSetTime }

// AppendPayload appends the 4 bytes.
func (m SetTime) AppendPayload(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(dst, m.Seconds)
}

// GetTime (0x0017) asks for the Time, which follows the Status.
type GetTime struct{}

// Type is 0x0017.
func (GetTime) Type() MsgType { return TypeGetTime }

// AppendPayload appends nothing.
func (GetTime) AppendPayload(dst []byte) []byte { return dst }

// Time (0x8017) is the dongle's clock.
type Time struct {
	Seconds uint32 // since 2000-01-01 UTC, if it was set; else since the start
}

// Type is 0x8017.
func (Time) Type() MsgType { return TypeTime }

// AppendPayload appends the 4 bytes.
func (m Time) AppendPayload(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(dst, m.Seconds)
}

// SetLogLevel (0x0001) makes a v2 dongle, or a debug build of v1, send Log messages up to a level.
type SetLogLevel struct {
	Level uint8 // 0 to 6
}

// Type is 0x0001.
func (SetLogLevel) Type() MsgType { return TypeSetLogLevel }

// AppendPayload appends the byte.
func (m SetLogLevel) AppendPayload(dst []byte) []byte { return append(dst, m.Level) }

// Log (0x8001) is a line of the firmware's log. It is the only message whose frame ends without a
// link-quality byte.
type Log struct {
	Level uint8 // 0 to 6
	Text  string
}

// Type is 0x8001.
func (Log) Type() MsgType { return TypeLog }

// AppendPayload appends the level and the text.
func (m Log) AppendPayload(dst []byte) []byte { return append(append(dst, m.Level), m.Text...) }

// SetHeartbeat (0x0008) switches the Heartbeat of v2 dongles.
type SetHeartbeat struct {
	Enable uint8 // 0 or 1
}

// Type is 0x0008.
func (SetHeartbeat) Type() MsgType { return TypeSetHeartbeat }

// AppendPayload appends the byte.
func (m SetHeartbeat) AppendPayload(dst []byte) []byte { return append(dst, m.Enable) }

// Heartbeat (0x8008) comes from v2 dongles every 60 s, if switched on or while the raw mode is RawModeRaw.
type Heartbeat struct {
	Seconds uint32 // the dongle's clock
}

// Type is 0x8008.
func (Heartbeat) Type() MsgType { return TypeHeartbeat }

// AppendPayload appends the 4 bytes.
func (m Heartbeat) AppendPayload(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(dst, m.Seconds)
}

// SetFlowControl (0x002F) switches the RTS/CTS logic of a v1 UART and resets its FIFOs, so that bytes in
// flight may be lost. v2 accepts it without effect.
type SetFlowControl struct {
	Enable uint8 // 0 or 1
}

// Type is 0x002F.
func (SetFlowControl) Type() MsgType { return TypeSetFlowControl }

// AppendPayload appends the byte.
func (m SetFlowControl) AppendPayload(dst []byte) []byte { return append(dst, m.Enable) }

// PDMLoaded (0x0302) is the first message after a start: the persistent data is there.
type PDMLoaded struct {
	Status uint8 // 0
}

// Type is 0x0302.
func (PDMLoaded) Type() MsgType { return TypePDMLoaded }

// AppendPayload appends the byte.
func (m PDMLoaded) AppendPayload(dst []byte) []byte { return append(dst, m.Status) }

// Events of a PDMEvent.
const (
	PDMWearCount      uint8 = 0
	PDMSaveFailed     uint8 = 1
	PDMNoSpace        uint8 = 2
	PDMRecordTooLarge uint8 = 3
	PDMChecksumFailed uint8 = 4
	PDMSaved          uint8 = 5
	PDMHeaderRepaired uint8 = 6
	PDMSwap           uint8 = 7
	PDMDuplicate      uint8 = 8
	PDMError          uint8 = 9
)

// PDMEvent (0x8035) is an event of the dongle's persistent storage.
type PDMEvent struct {
	Event  uint8 // PDMWearCount to PDMError, 10 to 15 internal progress
	Record uint32
}

// Type is 0x8035.
func (PDMEvent) Type() MsgType { return TypePDMEvent }

// AppendPayload appends the 5 bytes.
func (m PDMEvent) AppendPayload(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, m.Event), m.Record)
}

// Problem tells whether the event means that the storage is failing and the network should be
// backed up (1 to 4, 9).
func (m PDMEvent) Problem() bool {
	return m.Event >= PDMSaveFailed && m.Event <= PDMChecksumFailed || m.Event == PDMError
}

// Opaque is a message that is known by type but not decoded: the lists of clusters, attributes and commands
// that openLumi sends when it starts (0x8003 to 0x8005), and answers to management requests that v2 makes
// on its own (0x804E).
type Opaque struct {
	Kind    MsgType
	Payload []byte
}

// Type is Kind.
func (m Opaque) Type() MsgType { return m.Kind }

// AppendPayload appends the payload as it is.
func (m Opaque) AppendPayload(dst []byte) []byte { return append(dst, m.Payload...) }
