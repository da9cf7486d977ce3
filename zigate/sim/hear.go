package sim

import (
	"encoding/binary"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// hear is a radio frame from a device that has arrived at the dongle. Everything is judged by the network
// layer's source address, like in a stack; the device itself is only needed for its link quality.
func (d *Dongle) hear(v *Device, f AirFrame) {
	if !d.up || !d.network {
		return
	}
	zdp := f.Profile == profileZDP && f.DestinationEndpoint == 0
	if d.rawMode == rawHybrid {
		d.showRaw(v, f)
		if !zdp || d.traits.hybridAnswersZDP {
			d.answerHybrid(f)
		}
	}
	if zdp {
		if d.rawMode == rawOnly && d.traits.rawHidesZDP {
			d.showRaw(v, f)
			if f.Cluster != zdpDeviceAnnounce || d.traits.rawHidesAnnounce {
				return
			}
		}
		d.hearZDP(v, f)
		return
	}
	if f.Profile != profileHA && f.Profile != profileAny {
		return
	}
	if f.DestinationEndpoint != dongleEndpoint && !contains(d.traits.aliases, f.DestinationEndpoint) {
		return
	}
	d.hearZCL(v, f)
}

// hearZCL handles a frame for endpoint 1.
func (d *Dongle) hearZCL(v *Device, f AirFrame) {
	z, ok := parseZCL(f.Payload)
	if !ok {
		return
	}
	if d.rawMode == rawOnly {
		// Repeats are recognised by the sum of sequence number and address.
		if sum := int(z.sequence) + int(f.Addr); sum != d.rawSum {
			d.rawSum = sum
			d.showRaw(v, f)
		}
	}
	tell := d.rawMode != rawOnly
	if z.cluster() {
		if f.Cluster == clusterOTA && !z.toClient() {
			d.hearOTA(otaRequest{
				addr: f.Addr, endpoint: f.SourceEndpoint, serverEndpoint: f.DestinationEndpoint,
				sequence: z.sequence, lqi: v.lqi, noResponse: z.defaultResponseOff(),
			}, z.command, z.payload, tell)
			return
		}
		d.unwanted(v, f)
		return
	}
	if !tell {
		return
	}
	if !d.hasCluster(f.Cluster, z.toClient()) || z.command == zclReadAttributes {
		d.unwanted(v, f)
		return
	}
	switch z.command {
	case zclReadResponse:
		d.tellAttributes(v, f, z, message.TypeReadAttribute, true)
	case zclReportAttributes:
		d.tellAttributes(v, f, z, message.TypeReportAttribute, false)
	case zclDefaultResponse:
		if len(z.payload) >= 2 {
			d.send(message.DefaultResponse{
				Sequence: z.sequence, SrcEndpoint: f.SourceEndpoint, Cluster: f.Cluster,
				Command: z.payload[0], Status: z.payload[1],
			}, v.lqi)
		}
	default:
		d.unwanted(v, f)
	}
}

// hasCluster tells whether endpoint 1 has an instance for frames of this direction: it is client of the usual
// clusters, and server of few.
func (d *Dongle) hasCluster(cluster uint16, toClient bool) bool {
	if toClient {
		return cluster != clusterOTA
	}
	switch cluster {
	case clusterOTA, clusterBasic, clusterIdentify:
		return true
	}
	return false
}

// unwanted shows a frame that no handler wants; in the other raw modes it was shown already.
func (d *Dongle) unwanted(v *Device, f AirFrame) {
	if d.rawMode == rawOff {
		d.showRaw(v, f)
	}
}

func (d *Dongle) showRaw(v *Device, f AirFrame) {
	d.send(message.DataIndication{
		Profile:     f.Profile,
		Cluster:     f.Cluster,
		SrcEndpoint: f.SourceEndpoint,
		DstEndpoint: f.DestinationEndpoint,
		SrcAddrMode: message.AddrModeNetwork,
		SrcAddr:     f.Addr,
		DstAddrMode: message.AddrModeNetwork,
		Payload:     f.Payload,
	}, v.lqi)
}

// answerHybrid is the default response that hybrid mode sends for every frame that does not forbid it. ZDP
// frames are taken for ZCL.
func (d *Dongle) answerHybrid(f AirFrame) {
	if len(f.Payload) < 3 || f.Payload[0]&zclNoDefaultResponse != 0 {
		return
	}
	control := zclGlobalFrame | zclNoDefaultResponse | ^f.Payload[0]&zclToClientBit
	if f.Cluster == clusterOTA {
		d.stats.DefaultResponses[DefaultResponse{Command: f.Payload[2], Status: zclSuccess}]++
	}
	d.transmit(message.AddrModeNetwork, f.Addr, AirFrame{
		Profile: f.Profile, Cluster: f.Cluster,
		SourceEndpoint: f.DestinationEndpoint, DestinationEndpoint: f.SourceEndpoint,
		Payload: []byte{control, f.Payload[1], zclDefaultResponse, f.Payload[2], zclSuccess},
	})
}

// tellAttributes sends one message for each attribute of a read response or a report.
func (d *Dongle) tellAttributes(v *Device, f AirFrame, z zclFrame, kind message.MsgType, withStatus bool) {
	b := z.payload
	for len(b) >= 3 {
		m := message.Attribute{
			Kind: kind, Sequence: z.sequence, Addr: f.Addr, Endpoint: f.SourceEndpoint, Cluster: f.Cluster,
			ID: binary.LittleEndian.Uint16(b),
		}
		b = b[2:]
		if withStatus {
			m.Status = b[0]
			b = b[1:]
		}
		if m.Status != zclSuccess {
			m.DataType = 0xFF
			d.send(m, v.lqi)
			continue
		}
		value, rest, ok := takeValue(b)
		if !ok {
			return
		}
		m.DataType = b[0]
		m.Data = value
		b = rest
		d.send(m, v.lqi)
	}
}

// takeValue takes a type and a value off a ZCL payload; numbers are turned to big-endian, 24-bit ones grow to
// four bytes as they do in firmware, strings lose their length byte.
func takeValue(b []byte) (value, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	kind := b[0]
	b = b[1:]
	if kind == typeOctets || kind == typeText {
		n := int(b[0])
		if len(b) < 1+n {
			return nil, nil, false
		}
		return b[1 : 1+n], b[1+n:], true
	}
	n := sizeOf(kind)
	if n == 0 || len(b) < n {
		return nil, nil, false
	}
	width := n
	if n == 3 {
		width = 4
	}
	value = make([]byte, width)
	for i := range n {
		value[width-1-i] = b[i]
	}
	return value, b[n:], true
}

// ZCL data types.
const (
	typeBool     byte = 0x10
	typeBitmap8  byte = 0x18
	typeUint8    byte = 0x20
	typeUint16   byte = 0x21
	typeUint24   byte = 0x22
	typeUint32   byte = 0x23
	typeUint48   byte = 0x25
	typeUint64   byte = 0x27
	typeInt8     byte = 0x28
	typeInt16    byte = 0x29
	typeEnum8    byte = 0x30
	typeEnum16   byte = 0x31
	typeFloat    byte = 0x39
	typeOctets   byte = 0x41
	typeText     byte = 0x42
	typeUTC      byte = 0xE2
	typeIEEEAddr byte = 0xF0
)

func sizeOf(kind byte) int {
	switch kind {
	case typeBool, typeBitmap8, typeUint8, typeInt8, typeEnum8:
		return 1
	case typeUint16, typeInt16, typeEnum16:
		return 2
	case typeUint24:
		return 3
	case typeUint32, typeFloat, typeUTC:
		return 4
	case typeUint48:
		return 6
	case typeUint64, typeIEEEAddr:
		return 8
	}
	return 0
}
