package message

// StatusForm says how much of a Status a dongle sends, as its size in bytes without link quality.
type StatusForm uint8

// Every form of a Status.
const (
	StatusFormShort   StatusForm = 4 // v1 up to 3.1c: status, sequence, request
	StatusFormAPS     StatusForm = 6 // v1 3.1d: also what was sent, with its APS counter
	StatusFormBuffers StatusForm = 8 // later v1, v2, openLumi: also the buffers in use
)

// Values of Status.RequestSent.
const (
	RequestSentNone uint8 = 0 // nothing was sent, or the firmware does not say what, as after OTA commands
	RequestSentZCL  uint8 = 1
	RequestSentZDP  uint8 = 2
)

// Status (0x8000) is the dongle's answer to every command that it executes. It says that the command was
// done or queued for transmission, or why not. Only the command's type links it to the command. Frames that
// a dongle cannot read get no answer.
type Status struct {
	Status uint8 // see Text
	// Sequence is that of ZCL or ZDP commands, and the APS counter for RawAPS; it is 0 otherwise, OTA
	// commands included.
	Sequence    uint8
	Request     MsgType // of the command
	RequestSent uint8
	// APSSequence is the counter of the APS frame just queued. On v1 it is 0 unless RequestSent says what; on
	// v2 it is always the last one used.
	APSSequence uint8
	NPDUUsed    uint8 // of 14 (v1) or 19 (v2)
	APDUUsed    uint8 // of 14 (v1) or 18 (v2)
	Form        StatusForm
}

// Type is 0x8000.
func (Status) Type() MsgType { return TypeStatus }

func (m Status) fields(c *codec) Message {
	m.visit(c)
	return m
}

// visit is fields without a copy of the status, for Parse.
func (m *Status) visit(c *codec) {
	c.u8(&m.Status)
	c.u8(&m.Sequence)
	number(c, &m.Request, 2)
	if c.parsing {
		m.Form = statusForm(c.left())
	}
	if m.Form == StatusFormShort {
		return
	}

	c.u8(&m.RequestSent)
	c.u8(&m.APSSequence)
	if m.Form == StatusFormAPS {
		return
	}

	c.u8(&m.NPDUUsed)
	c.u8(&m.APDUUsed)
}

// statusForm returns the form of a Status for the number of bytes behind the request.
func statusForm(left int) StatusForm {
	switch {
	case left >= 4:
		return StatusFormBuffers
	case left >= 2:
		return StatusFormAPS
	}
	return StatusFormShort
}

// Parse fills the status from a payload without its link-quality byte. It does not allocate for a good one.
// The error is ErrShort.
func (m *Status) Parse(payload []byte) error {
	c := codec{parsing: true, b: payload}
	*m = Status{}
	m.visit(&c)
	if c.short {
		return shortError(TypeStatus, len(payload))
	}
	return nil
}

// Confirm (0x8012, 0x8702) says that a frame was sent to, or could not be sent to, the first hop. With an
// acknowledged address mode a 0x8702 with status 0xA7 means that no APS acknowledgement came. Every frame of
// the dongle gets one, its own answers included. 0x8012 exists from v1 3.1e on and on v2.
type Confirm struct {
	Kind        MsgType // TypeConfirm, TypeConfirmFailed
	Status      uint8   // see RadioStatusText
	SrcEndpoint uint8
	DstEndpoint uint8
	DstAddrMode AddrMode
	LongAddr    bool   // the address has 8 bytes: always up to firmware 3.1a, later for IEEE addresses
	Addr        uint16 // unless LongAddr
	IEEE        IEEE   // if LongAddr; it is an IEEE address only if DstAddrMode says so
	APSSequence uint8
	HasBuffers  bool // from 3.1e on
	NPDUUsed    uint8
	APDUUsed    uint8 // always 0 on v2
}

// Type is Kind.
func (m Confirm) Type() MsgType { return m.Kind }

// fields tells the layouts apart by their lengths: 7 bytes with a network address, 9 with buffers, too, 13
// with 8 bytes of address, 15 with buffers, too.
func (m Confirm) fields(c *codec) Message {
	const withLongAddr = 13
	if c.parsing {
		m.LongAddr = c.left() >= withLongAddr
	}
	c.u8(&m.Status)
	c.u8(&m.SrcEndpoint)
	c.u8(&m.DstEndpoint)
	number(c, &m.DstAddrMode, 1)

	if c.parsing && m.DstAddrMode.long() {
		m.LongAddr = true
	}
	if m.LongAddr {
		c.ieee(&m.IEEE)
	} else {
		c.u16(&m.Addr)
	}

	c.u8(&m.APSSequence)
	if c.tail(&m.HasBuffers, 2) {
		c.u8(&m.NPDUUsed)
		c.u8(&m.APDUUsed)
	}
	return m
}

// APSAck (0x8011) says that the device has received a frame. It exists from firmware 3.1b on.
type APSAck struct {
	Status         uint8
	Addr           uint16
	DstEndpoint    uint8
	Cluster        uint16
	HasAPSSequence bool // from 3.1d on
	APSSequence    uint8
}

// Type is 0x8011.
func (APSAck) Type() MsgType { return TypeAPSAck }

func (m APSAck) fields(c *codec) Message {
	c.u8(&m.Status)
	c.u16(&m.Addr)
	c.u8(&m.DstEndpoint)
	c.u16(&m.Cluster)
	if c.tail(&m.HasAPSSequence, 1) {
		c.u8(&m.APSSequence)
	}
	return m
}

// RouteDiscovery (0x8701) is the result of a search for a route.
type RouteDiscovery struct {
	Status         uint8 // see RadioStatusText
	NetworkStatus  uint8 // as in NetworkStatus.Status
	HasDestination bool  // after 3.0f
	Destination    uint16
}

// Type is 0x8701.
func (RouteDiscovery) Type() MsgType { return typeRouteDiscovery }

func (m RouteDiscovery) fields(c *codec) Message {
	c.u8(&m.Status)
	c.u8(&m.NetworkStatus)
	if c.tail(&m.HasDestination, 2) {
		c.u16(&m.Destination)
	}
	return m
}

// NetworkStatus (0x8703) is a network status command about a device, from v2 dongles only.
type NetworkStatus struct {
	Addr   uint16
	Status uint8 // of the Zigbee network layer: for example 0x02 link failure, 0x0D address conflict
}

// Type is 0x8703.
func (NetworkStatus) Type() MsgType { return typeNetworkStatus }

func (m NetworkStatus) fields(c *codec) Message {
	c.u16(&m.Addr)
	c.u8(&m.Status)
	return m
}

// ExtendedStatus (0x9999) is an error of the dongle's stack.
type ExtendedStatus struct {
	Code uint8 // see ExtendedStatusText
}

// Type is 0x9999.
func (ExtendedStatus) Type() MsgType { return typeExtendedStatus }

func (m ExtendedStatus) fields(c *codec) Message {
	c.u8(&m.Code)
	return m
}

// Busy reports whether the code means that the host sends faster than the radio can (0x80 to 0x85).
func (m ExtendedStatus) Busy() bool { return m.Code >= 0x80 && m.Code <= 0x85 }
