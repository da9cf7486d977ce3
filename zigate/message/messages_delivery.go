package message

import "encoding/binary"

// StatusForm says how much of a Status a dongle sends, as its size in bytes without link quality.
type StatusForm uint8

const (
	StatusFormShort   StatusForm = 4 // v1 up to 3.1c: status, sequence, request
	StatusFormAPS     StatusForm = 6 // v1 3.1d: and what was sent, with its APS counter
	StatusFormBuffers StatusForm = 8 // later v1, v2, openLumi: and the buffers in use
)

// Values of Status.RequestSent.
const (
	RequestSentNone uint8 = 0 // nothing, or unknown: OTA commands have this
	RequestSentZCL  uint8 = 1
	RequestSentZDP  uint8 = 2
)

// Status (0x8000) is the dongle's answer to every command that it executes: it was done, or queued for
// transmission. The type of the command is the only thing that links it to one. Frames that a dongle cannot
// read get no answer.
type Status struct {
	Status uint8 // see StatusText
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

// AppendPayload appends 4, 6 or 8 bytes as Form says; 8 for a form of 0.
func (m Status) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(append(dst, m.Status, m.Sequence), uint16(m.Request))
	if m.Form == StatusFormShort {
		return dst
	}
	dst = append(dst, m.RequestSent, m.APSSequence)
	if m.Form == StatusFormAPS {
		return dst
	}
	return append(dst, m.NPDUUsed, m.APDUUsed)
}

// Parse fills the status from a payload without its link-quality byte, without allocating for a good one. The
// error is ErrShort.
func (m *Status) Parse(payload []byte) error {
	r := reader{b: payload}
	*m = parseStatus(&r)
	if r.short {
		return shortError(TypeStatus, len(payload))
	}
	return nil
}

func parseStatus(r *reader) Status {
	m := Status{Status: r.u8(), Sequence: r.u8(), Request: MsgType(r.u16()), Form: StatusFormShort}
	if len(r.b) >= 2 {
		m.Form = StatusFormAPS
		m.RequestSent = r.u8()
		m.APSSequence = r.u8()
	}
	if len(r.b) >= 2 {
		m.Form = StatusFormBuffers
		m.NPDUUsed = r.u8()
		m.APDUUsed = r.u8()
	}
	return m
}

// Confirm (0x8012, 0x8702) says that a frame was sent to, or could not be sent to, the first hop; with an
// acknowledged address mode a 0x8702 with status 0xA7 means that no APS acknowledgement came. Every frame of
// the dongle gets one, its own answers included. 0x8012 exists from v1 3.1e on and on v2.
type Confirm struct {
	Kind        MsgType // TypeConfirm, TypeConfirmFailed
	Status      uint8   // see RadioStatusText
	SrcEndpoint uint8
	DstEndpoint uint8
	DstAddrMode AddrMode
	LongAddr    bool   // 8 address bytes: for 64-bit modes, and for all modes up to firmware 3.1a
	Addr        uint16 // unless LongAddr
	IEEE        IEEE   // if LongAddr; an address only if DstAddrMode is a 64-bit mode
	APSSequence uint8
	HasBuffers  bool // from 3.1e on
	NPDUUsed    uint8
	APDUUsed    uint8 // always 0 on v2
}

// Type is Kind.
func (m Confirm) Type() MsgType { return m.Kind }

// AppendPayload appends 7, 9, 13 or 15 bytes, as LongAddr and HasBuffers say.
func (m Confirm) AppendPayload(dst []byte) []byte {
	dst = append(dst, m.Status, m.SrcEndpoint, m.DstEndpoint, byte(m.DstAddrMode))
	if m.LongAddr {
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.IEEE))
	} else {
		dst = binary.BigEndian.AppendUint16(dst, m.Addr)
	}
	dst = append(dst, m.APSSequence)
	if m.HasBuffers {
		dst = append(dst, m.NPDUUsed, m.APDUUsed)
	}
	return dst
}

// parseConfirm decides by length: the sizes are 7 (short address), 9 (and buffers), 13 (long
// address), 15 (and buffers).
func parseConfirm(t MsgType, r *reader) Confirm {
	const withLongAddr = 13
	long := len(r.b) >= withLongAddr
	m := Confirm{
		Kind: t, Status: r.u8(), SrcEndpoint: r.u8(), DstEndpoint: r.u8(), DstAddrMode: AddrMode(r.u8()),
	}
	m.LongAddr = long || m.DstAddrMode.long()
	if m.LongAddr {
		m.IEEE = IEEE(r.u64())
	} else {
		m.Addr = r.u16()
	}
	m.APSSequence = r.u8()
	if len(r.b) >= 2 {
		m.HasBuffers = true
		m.NPDUUsed = r.u8()
		m.APDUUsed = r.u8()
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

// AppendPayload appends 7 bytes, 6 without HasAPSSequence.
func (m APSAck) AppendPayload(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(append(dst, m.Status), m.Addr)
	dst = binary.BigEndian.AppendUint16(append(dst, m.DstEndpoint), m.Cluster)
	if m.HasAPSSequence {
		dst = append(dst, m.APSSequence)
	}
	return dst
}

func parseAPSAck(r *reader) APSAck {
	m := APSAck{Status: r.u8(), Addr: r.u16(), DstEndpoint: r.u8(), Cluster: r.u16()}
	if len(r.b) > 0 {
		m.HasAPSSequence = true
		m.APSSequence = r.u8()
	}
	return m
}

// RouteDiscovery (0x8701) is the result of a search for a route.
type RouteDiscovery struct {
	Status         uint8 // see RadioStatusText
	NetworkStatus  uint8 // see NetworkStatusText
	HasDestination bool  // after 3.0f
	Destination    uint16
}

// Type is 0x8701.
func (RouteDiscovery) Type() MsgType { return TypeRouteDiscovery }

// AppendPayload appends 4 bytes, 2 without HasDestination.
func (m RouteDiscovery) AppendPayload(dst []byte) []byte {
	dst = append(dst, m.Status, m.NetworkStatus)
	if m.HasDestination {
		dst = binary.BigEndian.AppendUint16(dst, m.Destination)
	}
	return dst
}

func parseRouteDiscovery(r *reader) RouteDiscovery {
	m := RouteDiscovery{Status: r.u8(), NetworkStatus: r.u8()}
	if len(r.b) >= 2 {
		m.HasDestination = true
		m.Destination = r.u16()
	}
	return m
}

// NetworkStatus (0x8703) is a network status command about a device, from v2 dongles only.
type NetworkStatus struct {
	Addr   uint16
	Status uint8 // see NetworkStatusText
}

// Type is 0x8703.
func (NetworkStatus) Type() MsgType { return TypeNetworkStatus }

// AppendPayload appends the 3 bytes.
func (m NetworkStatus) AppendPayload(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, m.Addr), m.Status)
}

func parseNetworkStatus(r *reader) NetworkStatus {
	return NetworkStatus{Addr: r.u16(), Status: r.u8()}
}

// ExtendedStatus (0x9999) is an error of the dongle's stack.
type ExtendedStatus struct {
	Code uint8 // see ExtendedStatusText
}

// Type is 0x9999.
func (ExtendedStatus) Type() MsgType { return TypeExtendedStatus }

// AppendPayload appends the byte.
func (m ExtendedStatus) AppendPayload(dst []byte) []byte { return append(dst, m.Code) }

// Busy tells whether the code means that the host sends faster than the radio can (0x80 to 0x85).
func (m ExtendedStatus) Busy() bool { return m.Code >= 0x80 && m.Code <= 0x85 }
