package sim

import (
	"encoding/binary"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The ZCL frame control.
const (
	zclTypeMask          byte = 0x03
	zclGlobalFrame       byte = 0x00
	zclClusterFrame      byte = 0x01
	zclManufacturerBit   byte = 0x04
	zclToClientBit       byte = 0x08
	zclNoDefaultResponse byte = 0x10
)

// Commands that every cluster has.
const (
	zclReadAttributes   byte = 0x00
	zclReadResponse     byte = 0x01
	zclWriteAttributes  byte = 0x02
	zclWriteResponse    byte = 0x04
	zclConfigureReport  byte = 0x06
	zclConfigureRspd    byte = 0x07
	zclReportAttributes byte = 0x0A
	zclDefaultResponse  byte = 0x0B
)

// Statuses of ZCL.
const (
	zclSuccess           byte = 0x00
	zclFailure           byte = 0x01
	zclMalformed         byte = 0x80
	zclUnsupportedCmd    byte = 0x81
	zclUnsupportedGlobal byte = 0x82
	zclUnsupportedAttr   byte = 0x86
	zclSoftwareFailure   byte = 0xC1
)

// Clusters.
const (
	clusterBasic    = message.ClusterBasic
	clusterPower    = uint16(0x0001)
	clusterIdentify = uint16(0x0003)
	clusterOnOff    = uint16(0x0006)
	clusterOTA      = message.ClusterOTA
	profileHA       = message.ProfileHomeAutomation
)

// zclFrame is a parsed ZCL frame.
type zclFrame struct {
	control  byte
	sequence uint8
	command  byte
	payload  []byte
}

func (f zclFrame) cluster() bool            { return f.control&zclTypeMask == zclClusterFrame }
func (f zclFrame) toClient() bool           { return f.control&zclToClientBit != 0 }
func (f zclFrame) defaultResponseOff() bool { return f.control&zclNoDefaultResponse != 0 }

// parseZCL drops the manufacturer code; a frame without a complete header is none.
func parseZCL(b []byte) (zclFrame, bool) {
	if len(b) == 0 {
		return zclFrame{}, false
	}
	f := zclFrame{control: b[0]}
	b = b[1:]
	if f.control&zclManufacturerBit != 0 {
		if len(b) < 2 {
			return zclFrame{}, false
		}
		b = b[2:]
	}
	if len(b) < 2 {
		return zclFrame{}, false
	}
	f.sequence = b[0]
	f.command = b[1]
	f.payload = b[2:]
	return f, true
}

// fields takes little-endian numbers off a ZCL payload. A missing field is malformed, or all ones where the
// reader is tolerant and nothing of the field is there.
type fields struct {
	b         []byte
	tolerant  bool
	malformed bool
}

func (f *fields) take(n int) uint64 {
	if len(f.b) < n {
		if !f.tolerant || len(f.b) > 0 {
			f.malformed = true
		}
		f.b = nil
		return 1<<(8*n) - 1 // for 8 bytes the shift gives 0, and all ones again
	}
	var padded [8]byte
	copy(padded[:], f.b[:n])
	f.b = f.b[n:]
	return binary.LittleEndian.Uint64(padded[:])
}

func (f *fields) u8() uint8   { return uint8(f.take(1)) }
func (f *fields) u16() uint16 { return uint16(f.take(2)) }
func (f *fields) u32() uint32 { return uint32(f.take(4)) }
func (f *fields) u64() uint64 { return f.take(8) }

func (d *Dongle) nextZCL() uint8 {
	d.zclSeq++
	return d.zclSeq
}

// validSource tells whether a command may name this endpoint of the dongle as its source.
func (d *Dongle) validSource(endpoint uint8) bool {
	return endpoint == dongleEndpoint || contains(d.traits.sourceAliases, endpoint)
}

func contains(set string, endpoint uint8) bool {
	for i := range len(set) {
		if set[i] == endpoint {
			return true
		}
	}
	return false
}

// zclCommand sends a frame that the dongle makes for one of the host's ZCL commands.
func (d *Dongle) zclCommand(
	to message.Target, cluster uint16, toClient bool, kind byte, command byte, payload []byte,
) outcome {
	if !d.validSource(to.SrcEndpoint) {
		return done(message.StatusEndpointUnknown)
	}
	control := kind
	if toClient {
		control |= zclToClientBit
	}
	if d.noDefaultResponse {
		control |= zclNoDefaultResponse
	}
	sequence := d.nextZCL()
	status := d.transmit(to.AddrMode, to.Addr, AirFrame{
		Profile:             profileHA,
		Cluster:             cluster,
		SourceEndpoint:      to.SrcEndpoint,
		DestinationEndpoint: to.DstEndpoint,
		Payload:             append([]byte{control, sequence, command}, payload...),
	})
	if status != message.StatusOK {
		return outcome{status: status, sequence: sequence}
	}
	return outcome{sequence: sequence, sent: message.RequestSentZCL}
}

func (d *Dongle) readAttributes(m message.ReadAttributes) outcome {
	var payload []byte
	for i, id := range m.IDs {
		if i >= message.MaxReadAttributes { // firmware reads them from behind its own array
			id = uint16(d.airRandom.UintN(0x10000))
		}
		payload = binary.LittleEndian.AppendUint16(payload, id)
	}
	return d.zclCommand(m.Target, m.Cluster, m.Direction != 0, zclGlobalFrame, zclReadAttributes, payload)
}

// sendRaw is 0x0530.
func (d *Dongle) sendRaw(m message.RawAPS) outcome {
	addr := m.Addr
	mode := m.AddrMode
	switch mode {
	case message.AddrModeNetwork, message.AddrModeNetworkNoAck:
	case message.AddrModeIEEE, message.AddrModeIEEENoAck:
		v := d.byIEEE[m.IEEE]
		if v == nil {
			return done(message.StatusTransmitFailed)
		}
		addr = v.addr
		mode = message.AddrModeNetwork
		if m.AddrMode == message.AddrModeIEEENoAck {
			mode = message.AddrModeNetworkNoAck
		}
	default:
		if !d.traits.v2 {
			return done(message.StatusOK) // nothing is sent
		}
		mode = message.AddrModeNetwork
	}
	if len(m.Data) > d.traits.apdu {
		return done(message.StatusNoBuffer)
	}
	profile := m.Profile
	if d.cfg.Firmware == V1_31E && addr < firstBroadcastAddr {
		profile = profileHA
	}
	status := d.transmit(mode, addr, AirFrame{
		Profile:             profile,
		Cluster:             m.Cluster,
		SourceEndpoint:      m.SrcEndpoint,
		DestinationEndpoint: m.DstEndpoint,
		Payload:             m.Data,
	})
	o := outcome{status: status, sequence: d.apsCounter}
	if status == message.StatusOK && d.traits.rawAPSIsRequest {
		o.sent = message.RequestSentZCL
	}
	return o
}
