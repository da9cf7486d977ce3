package message

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	// ErrUnknownType says that a frame's type is none that this package knows in that direction.
	ErrUnknownType = errors.New("unknown message type")
	// ErrShort says that a payload ends before the fields that its type must have.
	ErrShort = errors.New("payload too short")
)

// Message is a typed payload, in either direction. All implementations are plain structs, used by value.
type Message interface {
	// Type is the frame's type.
	Type() MsgType
	// AppendPayload appends the fields, big-endian, without the link-quality byte that a dongle adds.
	AppendPayload(dst []byte) []byte
}

// Target is where an OTA or ZCL command goes. OTA commands know 16-bit addresses only: AddrModeShort,
// AddrModeShortNoAck or AddrModeBroadcast.
type Target struct {
	AddrMode    AddrMode
	Addr        uint16 // short address; for AddrModeBroadcast see BroadcastAddr
	SrcEndpoint uint8  // OTAEndpoint: firmware refuses others with StatusEndpointRange
	DstEndpoint uint8  // of the device
}

// OTAEndpoint is the dongle's endpoint that holds the OTA server. OTA commands must have it as their source:
// firmware answers status 5 to any other (v1 from 3.1e on also takes 3).
const OTAEndpoint uint8 = 1

// AddrMode says how a destination or source is addressed.
type AddrMode uint8

// Address modes of the dongle.
const (
	AddrModeBound      AddrMode = 0
	AddrModeGroup      AddrMode = 1
	AddrModeShort      AddrMode = 2 // short address, APS acknowledgement requested
	AddrModeIEEE       AddrMode = 3
	AddrModeBroadcast  AddrMode = 4
	AddrModeNone       AddrMode = 5 // nothing is transmitted, and that is a success
	AddrModeBoundNoAck AddrMode = 6
	AddrModeShortNoAck AddrMode = 7
	AddrModeIEEENoAck  AddrMode = 8
)

// long tells whether an address of this mode is written with 8 bytes.
func (m AddrMode) long() bool {
	return m == AddrModeIEEE || m == AddrModeIEEENoAck
}

func (t Target) append(dst []byte) []byte {
	dst = append(dst, byte(t.AddrMode))
	dst = binary.BigEndian.AppendUint16(dst, t.Addr)
	return append(dst, t.SrcEndpoint, t.DstEndpoint)
}

// ParseMessage reads what a dongle sent; payload is without the link-quality byte (see Frame.Message). Bytes
// after the last field are ignored: firmware has grown its messages before. Slices in the result are copies.
// The error is ErrUnknownType or ErrShort.
func ParseMessage(t MsgType, payload []byte) (Message, error) {
	r := reader{b: payload}
	m := parseMessage(t, &r)
	return parsed(t, m, &r, len(payload))
}

// ParseCommand reads what a host sent to a dongle. It is as lenient as ParseMessage about bytes after the
// last field, which firmware ignores, too.
func ParseCommand(t MsgType, payload []byte) (Message, error) {
	r := reader{b: payload}
	m := parseCommand(t, &r)
	return parsed(t, m, &r, len(payload))
}

func parsed(t MsgType, m Message, r *reader, size int) (Message, error) {
	if m == nil {
		return nil, fmt.Errorf("%s: %w", t, ErrUnknownType)
	}
	if r.short {
		return nil, shortError(t, size)
	}
	return m, nil
}

func shortError(t MsgType, size int) error {
	return fmt.Errorf("%s (%s) of %d bytes: %w", t, t.Name(), size, ErrShort)
}

func parseMessage(t MsgType, r *reader) Message {
	switch t {
	case TypeStatus:
		return parseStatus(r)
	case TypeImageBlockRequest:
		return parseBlockRequest(r)
	case TypeUpgradeEndRequest:
		return parseUpgradeEndRequest(r)
	case TypeConfirm, TypeConfirmFailed:
		return parseConfirm(t, r)
	case TypeAPSAck:
		return parseAPSAck(r)
	case TypeRouteDiscovery:
		return parseRouteDiscovery(r)
	case TypeNetworkStatus:
		return parseNetworkStatus(r)
	case TypeExtendedStatus:
		return ExtendedStatus{Code: r.u8()}
	case TypeVersion:
		return Version{Major: r.u16(), Minor: r.u16()}
	case TypeLog:
		return Log{Level: r.u8(), Text: string(r.rest())}
	case TypeRestart, TypeFactoryNewRestart:
		return RestartNotice{Kind: t, Status: r.u8()}
	case TypeHeartbeat:
		return Heartbeat{Seconds: r.u32()}
	case TypeTime:
		return Time{Seconds: r.u32()}
	case TypePDMLoaded:
		return PDMLoaded{Status: r.u8()}
	case TypePDMEvent:
		return PDMEvent{Event: r.u8(), Record: r.u32()}
	case TypeClusterList, TypeAttributeList, TypeCommandList, TypeManagementLQI:
		return Opaque{Kind: t, Payload: r.rest()}
	case TypeNetworkState:
		return parseNetworkState(r)
	case TypeNetworkJoined:
		return parseNetworkJoined(r)
	case TypePermitJoinState:
		return PermitJoinState{Enabled: r.u8()}
	case TypeDeviceList:
		return parseDeviceList(r)
	case TypeDeviceAnnounce:
		return parseDeviceAnnounce(r)
	case TypeLeave:
		return Leave{IEEE: IEEE(r.u64()), Rejoin: r.u8()}
	case TypeBindResponse:
		return BindResponse{Sequence: r.u8(), Status: r.u8()}
	case TypeNwkAddrResponse:
		return parseNwkAddrResponse(r)
	case TypeIEEEAddrResponse:
		return IEEEAddrResponse(parseNwkAddrResponse(r))
	case TypeNodeDescriptor:
		return parseNodeDescriptor(r)
	case TypeSimpleDescriptor:
		return parseSimpleDescriptor(r)
	case TypePowerDescriptor:
		return parsePowerDescriptor(r)
	case TypeActiveEndpoints:
		return ActiveEndpoints(parseMatchDescriptor(r))
	case TypeMatchDescriptor:
		return parseMatchDescriptor(r)
	case TypeReadAttribute, TypeReportAttribute, TypeWriteAttribute:
		return parseAttribute(t, r)
	case TypeDefaultResponse:
		return parseDefaultResponse(r)
	case TypeDataIndication:
		return parseDataIndication(r)
	}
	return nil
}

func parseCommand(t MsgType, r *reader) Message {
	switch t {
	case TypeLoadImage:
		return parseLoadImage(r)
	case TypeBlockSend:
		return parseBlockSend(r)
	case TypeUpgradeEndResponse:
		return parseUpgradeEndResponse(r)
	case TypeImageNotify:
		return parseImageNotify(r)
	case TypeWaitForData:
		return parseWaitForData(r)
	case TypeRawAPS:
		return parseRawAPS(r)
	case TypeSetLogLevel:
		return SetLogLevel{Level: r.u8()}
	case TypeSetRawMode:
		return SetRawMode{Mode: RawMode(r.u8())}
	case TypeSetHeartbeat:
		return SetHeartbeat{Enable: r.u8()}
	case TypeGetNetworkState:
		return GetNetworkState{}
	case TypeGetVersion:
		return GetVersion{}
	case TypeReset:
		return Reset{}
	case TypeErasePersistentData:
		return ErasePersistentData{}
	case TypeGetPermitJoin:
		return GetPermitJoin{}
	case TypeGetDevices:
		return GetDevices{}
	case TypeSetTime:
		return SetTime{Seconds: r.u32()}
	case TypeGetTime:
		return GetTime{}
	case TypeSetChannelMask:
		return SetChannelMask{Mask: r.u32()}
	case TypeSetDeviceType:
		return SetDeviceType{DeviceType: r.u8()}
	case TypeStartNetwork:
		return StartNetwork{}
	case TypeSetFlowControl:
		return SetFlowControl{Enable: r.u8()}
	case TypePermitJoin:
		return PermitJoin{Addr: r.u16(), Seconds: r.u8(), Significance: r.u8()}
	case TypeNwkAddrRequest:
		return NwkAddrRequest{Target: r.u16(), IEEE: IEEE(r.u64()), RequestType: r.u8(), StartIndex: r.u8()}
	case TypeIEEEAddrRequest:
		return IEEEAddrRequest{Target: r.u16(), Addr: r.u16(), RequestType: r.u8(), StartIndex: r.u8()}
	case TypeNodeDescriptorRequest:
		return NodeDescriptorRequest{Addr: r.u16()}
	case TypeActiveEndpointsRequest:
		return ActiveEndpointsRequest{Addr: r.u16()}
	case TypeSimpleDescriptorRequest:
		return SimpleDescriptorRequest{Addr: r.u16(), Endpoint: r.u8()}
	case TypePowerDescriptorRequest:
		return PowerDescriptorRequest{Addr: r.u16()}
	case TypeMatchDescriptorRequest:
		return parseMatchDescriptorRequest(r)
	case TypeReadAttributes:
		return parseReadAttributes(r)
	case TypeOnOff:
		return OnOff{Target: r.target(), Command: r.u8()}
	}
	return nil
}

// reader takes big-endian fields off a payload. Running out of bytes is remembered; what is
// read then is zero.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.short = true
		r.b = nil
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// bytes copies the next n bytes; nil for none.
func (r *reader) bytes(n int) []byte {
	return append([]byte(nil), r.take(n)...)
}

// u16s reads the next n two-byte numbers; nil for none.
func (r *reader) u16s(n int) []uint16 {
	b := r.take(2 * n)
	if len(b) == 0 {
		return nil
	}
	list := make([]uint16, n)
	for i := range list {
		list[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	return list
}

// rest copies what is left; nil for nothing.
func (r *reader) rest() []byte {
	return r.bytes(len(r.b))
}

func (r *reader) target() Target {
	return Target{AddrMode: AddrMode(r.u8()), Addr: r.u16(), SrcEndpoint: r.u8(), DstEndpoint: r.u8()}
}

// appendU16s appends the numbers without their count, which is one byte in every message:
// at most 255 of them.
func appendU16s(dst []byte, list []uint16) []byte {
	for _, v := range list {
		dst = binary.BigEndian.AppendUint16(dst, v)
	}
	return dst
}

// counted is a list as far as a count of one byte can tell.
func counted[T any](list []T) []T {
	return list[:min(len(list), 0xFF)]
}
