package sim

import (
	"encoding/binary"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Profiles in which nothing of a device's own is: that of ZDP, and the one that stands for all.
const (
	profileZDP uint16 = 0x0000
	profileAny uint16 = 0xFFFF
)

// ZDP clusters of requests; the response's has the high bit set.
const (
	zdpNwkAddr        uint16 = 0x0000
	zdpIEEEAddr       uint16 = 0x0001
	zdpNodeDescriptor uint16 = 0x0002
	zdpPower          uint16 = 0x0003
	zdpSimple         uint16 = 0x0004
	zdpActive         uint16 = 0x0005
	zdpMatch          uint16 = 0x0006
	zdpDeviceAnnounce uint16 = 0x0013
	zdpBind           uint16 = 0x0021
	zdpManagementLQI  uint16 = 0x0031
	zdpLeave          uint16 = 0x0034
	zdpResponse       uint16 = 0x8000
)

// Statuses of ZDP, and of 0x8000 for ZDP commands.
const (
	zdpSuccess          uint8 = 0x00
	zdpInvalidEndpoint  uint8 = 0x82
	zdpNotActive        uint8 = 0x83
	zdpInvalidParameter uint8 = 0xA6
	zdpInvalidRequest   uint8 = 0xC2 // the network is not up
)

// zdpMessages is what the firmware makes of a ZDP response, or of an announcement. Each function reads what
// follows the sequence number.
var zdpMessages = map[uint16]func(f *fields, sequence uint8, from uint16) message.Message{
	zdpDeviceAnnounce: func(f *fields, _ uint8, _ uint16) message.Message {
		return message.DeviceAnnounce{Addr: f.u16(), IEEE: message.IEEE(f.u64()), Capability: f.u8()}
	},
	zdpNwkAddr | zdpResponse: func(f *fields, sequence uint8, _ uint16) message.Message {
		return f.address(sequence)
	},
	zdpIEEEAddr | zdpResponse: func(f *fields, sequence uint8, _ uint16) message.Message {
		return message.IEEEAddrResponse(f.address(sequence))
	},
	zdpNodeDescriptor | zdpResponse: func(f *fields, sequence uint8, _ uint16) message.Message {
		return f.nodeDescriptor(sequence)
	},
	zdpPower | zdpResponse: func(f *fields, sequence uint8, _ uint16) message.Message {
		return f.powerDescriptor(sequence)
	},
	zdpSimple | zdpResponse: func(f *fields, sequence uint8, _ uint16) message.Message {
		return f.simpleDescriptor(sequence)
	},
	zdpActive | zdpResponse: func(f *fields, sequence uint8, _ uint16) message.Message {
		return message.ActiveEndpoints(f.endpoints(sequence))
	},
	zdpMatch | zdpResponse: func(f *fields, sequence uint8, _ uint16) message.Message {
		return f.endpoints(sequence)
	},
	zdpBind | zdpResponse: func(f *fields, sequence uint8, _ uint16) message.Message {
		return message.BindResponse{Sequence: sequence, Status: f.u8()}
	},
	zdpLeave | zdpResponse: func(f *fields, sequence uint8, _ uint16) message.Message {
		return message.ManagementLeave{Sequence: sequence, Status: f.u8()}
	},
	zdpManagementLQI | zdpResponse: func(f *fields, sequence uint8, from uint16) message.Message {
		m := message.ManagementLQI{Sequence: sequence, Status: f.u8(), HasSource: true, Source: from}
		m.Entries = f.u8()
		m.StartIndex = f.u8()
		f.u8() // devices list none
		return m
	},
}

// zdpMessage is what the firmware makes of a ZDP frame from a device: nil where it cannot read the frame.
// known is false for frames that no handler wants.
func zdpMessage(frame AirFrame) (m message.Message, known bool) {
	read, known := zdpMessages[frame.Cluster]
	if !known {
		return nil, false
	}
	f := &fields{b: frame.Payload}
	sequence := f.u8()
	m = read(f, sequence, frame.Addr)
	if f.malformed {
		return nil, true
	}
	return m, true
}

func (f *fields) address(sequence uint8) message.NwkAddrResponse {
	return message.NwkAddrResponse{
		Sequence: sequence, Status: f.u8(), IEEE: message.IEEE(f.u64()), Addr: f.u16(),
	}
}

func (f *fields) endpoints(sequence uint8) message.MatchDescriptor {
	m := message.MatchDescriptor{Sequence: sequence, Status: f.u8(), Addr: f.u16()}
	for range f.u8() {
		m.Endpoints = append(m.Endpoints, f.u8())
	}
	return m
}

func (f *fields) nodeDescriptor(sequence uint8) message.NodeDescriptor {
	m := message.NodeDescriptor{Sequence: sequence, Status: f.u8(), Addr: f.u16()}
	if m.Status != zdpSuccess {
		return m
	}
	m.BitFields = f.u16()
	m.MACFlags = f.u8()
	m.ManufacturerCode = f.u16()
	m.MaxBuffer = f.u8()
	m.MaxRx = f.u16()
	m.ServerMask = f.u16()
	m.MaxTx = f.u16()
	m.DescriptorCapability = f.u8()
	return m
}

// powerDescriptor leaves the network address out, as the firmware does.
func (f *fields) powerDescriptor(sequence uint8) message.PowerDescriptor {
	m := message.PowerDescriptor{Sequence: sequence, Status: f.u8()}
	f.u16()
	if m.Status == zdpSuccess {
		m.BitFields = f.u16()
	}
	return m
}

func (f *fields) simpleDescriptor(sequence uint8) message.SimpleDescriptor {
	m := message.SimpleDescriptor{Sequence: sequence, Status: f.u8(), Addr: f.u16(), Length: f.u8()}
	if m.Status != zdpSuccess {
		return m
	}
	m.Endpoint = f.u8()
	m.Profile = f.u16()
	m.DeviceID = f.u16()
	m.VersionBits = f.u8()
	m.InClusters = f.clusters()
	m.OutClusters = f.clusters()
	return m
}

func (f *fields) clusters() []uint16 {
	var list []uint16
	for range f.u8() {
		list = append(list, f.u16())
	}
	return list
}

func appendClusters(b []byte, clusters []uint16) []byte {
	b = append(b, uint8(len(clusters)))
	for _, c := range clusters {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return b
}
