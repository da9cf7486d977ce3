package message

// GetVersion (0x0010) asks for the Version, which follows the Status. It is harmless and answered
// by every firmware.
type GetVersion struct{}

// Type is 0x0010.
func (GetVersion) Type() MsgType { return TypeGetVersion }

func (m GetVersion) fields(*codec) Message { return m }

// Version (0x8010) is the firmware's version.
type Version struct {
	Major uint16 // tells the hardware, see Family
	Minor uint16 // is read as hexadecimal digits: 0x031E is 3.1e. Firmware 3.1a says 0x030F, like 3.0f
}

// Type is 0x8010.
func (Version) Type() MsgType { return TypeVersion }

func (m Version) fields(c *codec) Message {
	c.u16(&m.Major)
	c.u16(&m.Minor)
	return m
}

// RawMode says what the dongle reports about received frames. It is kept over resets and cannot be read
// back.
type RawMode uint8

const (
	// RawModeOff gives decoded messages, and a DataIndication only for frames that the firmware does not
	// decode.
	RawModeOff RawMode = 0
	// RawModeRaw gives a DataIndication instead of decoded ZCL messages: no ImageBlockRequest, no
	// UpgradeEndRequest.
	RawModeRaw RawMode = 1
	// RawModeHybrid gives a DataIndication for every frame and then the decoded message. The dongle then also
	// sends a default response for every frame that does not forbid it, which is more traffic on the radio.
	// See Version.HasHybrid for firmware that takes it for RawModeRaw.
	RawModeHybrid RawMode = 2
)

// SetRawMode (0x0002) sets the raw mode.
type SetRawMode struct {
	Mode RawMode
}

// Type is 0x0002.
func (SetRawMode) Type() MsgType { return TypeSetRawMode }

func (m SetRawMode) fields(c *codec) Message {
	number(c, &m.Mode, 1)
	return m
}

// Reset (0x0011) restarts the dongle about 20 ms after its Status. The network is kept, the
// loaded header is lost.
type Reset struct{}

// Type is 0x0011.
func (Reset) Type() MsgType { return TypeReset }

func (m Reset) fields(*codec) Message { return m }

// ErasePersistentData (0x0012) makes the dongle forget its network, for good, and restart.
type ErasePersistentData struct{}

// Type is 0x0012.
func (ErasePersistentData) Type() MsgType { return TypeErasePersistentData }

func (m ErasePersistentData) fields(*codec) Message { return m }

// RestartNotice (0x8006, 0x8007) says that the dongle has just started: the header slot is empty,
// its clock is at 0.
type RestartNotice struct {
	Kind   MsgType // TypeRestart with a network, TypeFactoryNewRestart without one
	Status uint8   // 1 with TypeRestart, 0 with TypeFactoryNewRestart
}

// Type is Kind.
func (m RestartNotice) Type() MsgType { return m.Kind }

func (m RestartNotice) fields(c *codec) Message {
	c.u8(&m.Status)
	return m
}

// SetTime (0x0016) sets the dongle's clock, which starts at 0 after a reset.
type SetTime struct {
	Seconds uint32 // since 2000-01-01 UTC
}

// Type is 0x0016.
func (SetTime) Type() MsgType { return typeSetTime }

func (m SetTime) fields(c *codec) Message {
	c.u32(&m.Seconds)
	return m
}

// GetTime (0x0017) asks for the Time, which follows the Status.
type GetTime struct{}

// Type is 0x0017.
func (GetTime) Type() MsgType { return TypeGetTime }

func (m GetTime) fields(*codec) Message { return m }

// Time (0x8017) is the dongle's clock.
type Time struct {
	Seconds uint32 // since 2000-01-01 UTC, if it was set; else since the start
}

// Type is 0x8017.
func (Time) Type() MsgType { return typeTime }

func (m Time) fields(c *codec) Message {
	c.u32(&m.Seconds)
	return m
}

// SetLogLevel (0x0001) makes a v2 dongle, or a debug build of v1, send Log messages up to a level.
type SetLogLevel struct {
	Level uint8 // 0 to 6
}

// Type is 0x0001.
func (SetLogLevel) Type() MsgType { return typeSetLogLevel }

func (m SetLogLevel) fields(c *codec) Message {
	c.u8(&m.Level)
	return m
}

// Log (0x8001) is a line of the firmware's log. It is the only message whose frame ends without a
// link-quality byte.
type Log struct {
	Level uint8 // 0 to 6
	Text  string
}

// Type is 0x8001.
func (Log) Type() MsgType { return TypeLog }

func (m Log) fields(c *codec) Message {
	c.u8(&m.Level)
	text := []byte(m.Text)
	c.rest(&text)
	if c.parsing {
		m.Text = string(text)
	}
	return m
}

// SetHeartbeat (0x0008) switches the Heartbeat of v2 dongles.
type SetHeartbeat struct {
	Enable uint8 // 0 or 1
}

// Type is 0x0008.
func (SetHeartbeat) Type() MsgType { return TypeSetHeartbeat }

func (m SetHeartbeat) fields(c *codec) Message {
	c.u8(&m.Enable)
	return m
}

// Heartbeat (0x8008) comes from v2 dongles every 60 s, if switched on or while the raw mode is RawModeRaw.
type Heartbeat struct {
	Seconds uint32 // the dongle's clock
}

// Type is 0x8008.
func (Heartbeat) Type() MsgType { return TypeHeartbeat }

func (m Heartbeat) fields(c *codec) Message {
	c.u32(&m.Seconds)
	return m
}

// SetFlowControl (0x002F) switches the RTS/CTS logic of a v1 UART and resets its FIFOs, so that bytes in
// flight may be lost. v2 accepts it without effect.
type SetFlowControl struct {
	Enable uint8 // 0 or 1
}

// Type is 0x002F.
func (SetFlowControl) Type() MsgType { return typeSetFlowControl }

func (m SetFlowControl) fields(c *codec) Message {
	c.u8(&m.Enable)
	return m
}

// PDMLoaded (0x0302) is the first message after a start. It says that the persistent data is there.
type PDMLoaded struct {
	Status uint8 // 0
}

// Type is 0x0302.
func (PDMLoaded) Type() MsgType { return TypePDMLoaded }

func (m PDMLoaded) fields(c *codec) Message {
	c.u8(&m.Status)
	return m
}

// PDMSaved is the event of a PDMEvent that says that a record was saved.
const PDMSaved uint8 = 5

// PDMEvent (0x8035) is an event of the dongle's persistent storage.
type PDMEvent struct {
	// Event is 0 for the wear count, 1 for a record that was not saved, 2 for a lack of room, 3 where there
	// is no room for the largest record (a dongle that repeats it has a storage that fails), 4 for a wrong
	// checksum, PDMSaved, 6 for a repaired header, 7 for a change of segments, 8 for a segment that is there
	// twice, 9 for another error, 10 to 15 for internal progress.
	Event  uint8
	Record uint32
}

// Type is 0x8035.
func (PDMEvent) Type() MsgType { return typePDMEvent }

func (m PDMEvent) fields(c *codec) Message {
	c.u8(&m.Event)
	c.u32(&m.Record)
	return m
}

// Problem reports whether the event means that the storage is failing and the network should be backed up
// (1 to 4, 9).
func (m PDMEvent) Problem() bool {
	return m.Event >= 1 && m.Event <= 4 || m.Event == 9
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

func (m Opaque) fields(c *codec) Message {
	c.rest(&m.Payload)
	return m
}
