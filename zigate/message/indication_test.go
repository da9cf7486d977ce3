package message_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// shownFrame is a frame as a data indication shows it.
func shownFrame(profile, cluster uint16, src, dst uint8, payload []byte) message.DataIndication {
	return message.DataIndication{
		Profile: profile, Cluster: cluster, SrcEndpoint: src, DstEndpoint: dst,
		SrcAddrMode: message.AddrModeNetwork, SrcAddr: 0x9021, DstAddrMode: message.AddrModeNetwork, Payload: payload,
	}
}

func zdpFrame(cluster uint16, fields ...string) message.DataIndication {
	return shownFrame(0, cluster, 0, 0, bytesOf(fields...))
}

func zclFrame(cluster uint16, fields ...string) message.DataIndication {
	return shownFrame(message.ProfileHomeAutomation, cluster, 11, 1, bytesOf(fields...))
}

// indicationCases are frames and the messages that firmware makes of them in its ordinary mode.
func indicationCases() []struct {
	name string
	in   message.DataIndication
	want []message.Message
} {
	attribute := func(kind message.MsgType, cluster, id uint16, dataType uint8, data []byte) message.Attribute {
		return message.Attribute{Kind: kind, Sequence: 0x21, Addr: 0x9021, Endpoint: 11, Cluster: cluster, ID: id, DataType: dataType, Data: data}
	}
	unsupported := attribute(message.TypeReadAttribute, 0x0019, 0x0008, 0xFF, nil)
	unsupported.Status = message.StatusUnsupportedAttribute
	return []struct {
		name string
		in   message.DataIndication
		want []message.Message
	}{
		{"device announce", zdpFrame(0x0013, "81", "2190", "04892cfeff570b00", "8e"),
			[]message.Message{message.DeviceAnnounce{Addr: 0x9021, IEEE: deviceIEEE, Capability: 0x8E}}},
		{"network address", zdpFrame(0x8000, "05", "00", "04892cfeff570b00", "2190"),
			[]message.Message{message.NwkAddrResponse{Sequence: 5, IEEE: deviceIEEE, Addr: 0x9021}}},
		{"IEEE address", zdpFrame(0x8001, "06", "00", "04892cfeff570b00", "2190"),
			[]message.Message{message.IEEEAddrResponse{Sequence: 6, IEEE: deviceIEEE, Addr: 0x9021}}},
		{"node descriptor", zdpFrame(0x8002, "07", "00", "2190", "0140", "8e", "7c11", "52", "5200", "002c", "5300", "01"),
			[]message.Message{message.NodeDescriptor{
				Sequence: 7, Addr: 0x9021, BitFields: 0x4001, MACFlags: 0x8E, ManufacturerCode: 0x117C, MaxBuffer: 0x52,
				MaxRx: 0x52, ServerMask: 0x2C00, MaxTx: 0x53, DescriptorCapability: 1,
			}}},
		{"node descriptor refused", zdpFrame(0x8002, "07", "80", "2190"),
			[]message.Message{message.NodeDescriptor{Sequence: 7, Status: 0x80, Addr: 0x9021}}},
		{"power descriptor", zdpFrame(0x8003, "08", "00", "2190", "10c1"),
			[]message.Message{message.PowerDescriptor{Sequence: 8, BitFields: 0xC110}}},
		{"simple descriptor", zdpFrame(0x8004, "09", "00", "2190", "0e", "0b", "0401", "0001", "01", "02", "00000600", "01", "1900"),
			[]message.Message{message.SimpleDescriptor{
				Sequence: 9, Addr: 0x9021, Length: 14, Endpoint: 11, Profile: 0x0104, DeviceID: 0x0100, VersionBits: 1,
				InClusters: []uint16{0, 6}, OutClusters: []uint16{0x19},
			}}},
		{"active endpoints", zdpFrame(0x8005, "0a", "00", "2190", "02", "0bf2"),
			[]message.Message{message.ActiveEndpoints{Sequence: 10, Addr: 0x9021, Endpoints: []uint8{11, 0xF2}}}},
		{"match descriptor", zdpFrame(0x8006, "0b", "00", "2190", "01", "0b"),
			[]message.Message{message.MatchDescriptor{Sequence: 11, Addr: 0x9021, Endpoints: []uint8{11}}}},
		{"cut short", zdpFrame(0x8001, "06", "00", "04892c"), nil},
		{"endpoints cut short", zdpFrame(0x8005, "0a", "00", "2190", "05", "0bf2"), nil},
		{"another ZDP frame", zdpFrame(0x8031, "06", "00"), nil},
		{"attributes", zclFrame(0x0019, "18", "21", "01", "0200", "00", "23", "30166122", "0800", "86", "0700", "00", "21", "7c11"),
			[]message.Message{
				attribute(message.TypeReadAttribute, 0x0019, 0x0002, 0x23, bytesOf("22611630")),
				unsupported,
				attribute(message.TypeReadAttribute, 0x0019, 0x0007, 0x21, bytesOf("117c")),
			}},
		{"report with text", zclFrame(0x0000, "18", "21", "0a", "0500", "42", "06", "4c4f4d303031", "0000", "22", "010203"),
			[]message.Message{
				attribute(message.TypeReportAttribute, 0x0000, 0x0005, 0x42, []byte("LOM001")),
				attribute(message.TypeReportAttribute, 0x0000, 0x0000, 0x22, bytesOf("00030201")),
			}},
		{"an array ends it", zclFrame(0x0000, "18", "21", "0a", "0500", "20", "07", "0600", "48", "20010001"),
			[]message.Message{attribute(message.TypeReportAttribute, 0x0000, 0x0005, 0x20, []byte{7})}},
		{"default response", zclFrame(0x0019, "18", "21", "0b", "00", "01"),
			[]message.Message{message.DefaultResponse{Sequence: 0x21, SrcEndpoint: 11, Cluster: 0x19, Command: 0, Status: 1}}},
		{"cluster command", zclFrame(0x0019, "01", "21", "01", "00", "7c11", "0122", "30166122"), nil},
		{"a manufacturer's own", zclFrame(0x0000, "1c", "7c11", "21", "01", "0000", "00", "20", "01"), nil},
		{"nothing", zclFrame(0x0019), nil},
	}
}

func TestIndicationMessages(t *testing.T) {
	for _, tc := range indicationCases() {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.in.Messages()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func FuzzIndicationMessages(f *testing.F) {
	for _, tc := range indicationCases() {
		f.Add(tc.in.Profile, tc.in.Cluster, tc.in.DstEndpoint, tc.in.Payload)
	}
	f.Fuzz(func(t *testing.T, profile, cluster uint16, dst uint8, payload []byte) {
		size := 0
		for _, m := range shownFrame(profile, cluster, 1, dst, payload).Messages() {
			written := message.AppendPayload(nil, m)
			if _, err := message.ParseMessage(m.Type(), written); err != nil {
				t.Errorf("%+v does not parse when written: %v", m, err)
			}
			size += len(written)
		}
		if most := 32 * (len(payload) + 1); size > most {
			t.Errorf("%d bytes of messages in a frame of %d", size, len(payload))
		}
	})
}
