package sim_test

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

func TestDescriptors(t *testing.T) {
	sleeper := lampConfig()
	sleeper.IEEE, sleeper.Addr, sleeper.Endpoint, sleeper.LQI = lamp+1, 0x4F34, 3, 186
	tests := []struct {
		name string
		send message.Message
		want []message.Message
	}{
		{
			"short address", message.NwkAddrRequest{Target: 0xFFFD, IEEE: lamp},
			messages(message.NwkAddrResponse{Sequence: 1, IEEE: lamp, Addr: lampAddr}),
		},
		{
			"IEEE address", message.IEEEAddrRequest{Target: lampAddr, Addr: lampAddr},
			messages(message.IEEEAddrResponse{Sequence: 1, IEEE: lamp, Addr: lampAddr}),
		},
		{
			"node descriptor", message.NodeDescriptorRequest{Addr: lampAddr},
			messages(message.NodeDescriptor{
				Sequence: 1, Addr: lampAddr, ManufacturerCode: manufacturer, MaxRx: 0x52, MaxTx: 0x52, ServerMask: 0x2C00,
				MACFlags: 0x8E, MaxBuffer: 0x52, BitFields: 0x4001,
			}),
		},
		{
			"active endpoints", message.ActiveEndpointsRequest{Addr: 0x4F34},
			messages(message.ActiveEndpoints{Sequence: 1, Addr: 0x4F34, Endpoints: []uint8{3}}),
		},
		{
			"simple descriptor", message.SimpleDescriptorRequest{Addr: lampAddr, Endpoint: 1},
			messages(message.SimpleDescriptor{
				Sequence: 1, Addr: lampAddr, Length: 16, Endpoint: 1, Profile: 0x0104, DeviceID: 0x0100, VersionBits: 1,
				InClusters: []uint16{0x0000, 0x0003, 0x0006}, OutClusters: []uint16{0x0019},
			}),
		},
		{
			"simple descriptor of no endpoint", message.SimpleDescriptorRequest{Addr: lampAddr, Endpoint: 9},
			messages(message.SimpleDescriptor{Sequence: 1, Status: 0x83, Addr: lampAddr}),
		},
		{
			"who is an OTA client", message.MatchDescriptorRequest{Target: 0xFFFD, Profile: 0x0104, OutClusters: []uint16{0x0019}},
			messages(
				message.MatchDescriptor{Sequence: 1, Addr: lampAddr, Endpoints: []uint8{1}},
				message.MatchDescriptor{Sequence: 1, Addr: 0x4F34, Endpoints: []uint8{3}},
			),
		},
		{
			"who is an OTA server", message.MatchDescriptorRequest{Target: 0xFFFD, Profile: 0x0104, InClusters: []uint16{0x0019}},
			nil,
		},
		{
			"the dongle's neighbours", message.ManagementLQIRequest{StartIndex: 1},
			messages(message.ManagementLQI{
				Sequence: 1, Entries: 2, StartIndex: 1, HasSource: true,
				Neighbours: []message.Neighbour{{
					Addr: 0x4F34, ExtendedPANID: 0x00158D0001ED3395, IEEE: lamp + 1, Depth: 1, LQI: sleeper.LQI, Kind: 0x41,
				}},
			}),
		},
		{
			"a device's neighbours", message.ManagementLQIRequest{Target: lampAddr},
			messages(message.ManagementLQI{Sequence: 1, HasSource: true, Source: lampAddr}),
		},
		{
			"power descriptor", message.PowerDescriptorRequest{Addr: lampAddr},
			messages(message.PowerDescriptor{Sequence: 1, BitFields: 0xC110}),
		},
		{
			"bind", message.Opaque{Kind: message.TypeBind, Payload: []byte{0x00, 0x0B, 0x57, 0xFF, 0xFE, 0x2C, 0x89, 0x04, 1, 0, 6}},
			messages(message.BindResponse{Sequence: 1}),
		},
		{
			"leave", message.ManagementLeaveRequest{Addr: lampAddr, IEEE: lamp},
			messages(message.ManagementLeave{Sequence: 1}, message.Leave{IEEE: lamp}),
		},
		{
			"leave, said to somebody else", message.ManagementLeaveRequest{Addr: lampAddr, IEEE: lamp + 1},
			nil,
		},
		{
			"raw active endpoints request",
			message.RawAPS{AddrMode: 2, Addr: lampAddr, Cluster: 0x0005, Data: []byte{1, 0x21, 0x90}},
			messages(message.ActiveEndpoints{Sequence: 1, Addr: lampAddr, Endpoints: []uint8{1}}),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig(), sleeper}}, nil)
				defer l.stop()
				l.send(test.send)
				synctest.Wait()
				got := l.take()
				if s := of[message.Status](got); len(s) != 1 || s[0].Status != 0 ||
					test.send.Type() != message.TypeRawAPS && (s[0].RequestSent != 2 || s[0].Sequence != 1) {
					t.Errorf("%+v", s)
				}
				var answers []message.Message
				for _, m := range got {
					switch m.Type() {
					case message.TypeStatus, message.TypeConfirm, message.TypeAPSAck:
					default:
						answers = append(answers, m.Message)
					}
				}
				if diff := cmp.Diff(test.want, answers); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestReadAttributes(t *testing.T) {
	percent := uint8(42)
	cfg := lampConfig()
	cfg.BatteryPercent = &percent
	cfg.UnsupportedAttributes = []uint16{message.AttrOTADownloadedVersion}
	attribute := func(cluster, id uint16, kind uint8, data ...byte) message.Message {
		return message.Attribute{
			Kind: message.TypeReadAttribute, Sequence: 1, Addr: lampAddr, Endpoint: 1, Cluster: cluster, ID: id,
			DataType: kind, Data: data,
		}
	}
	unsupported := func(cluster, id uint16) message.Message {
		return message.Attribute{
			Kind: message.TypeReadAttribute, Sequence: 1, Addr: lampAddr, Endpoint: 1, Cluster: cluster, ID: id,
			Status: 0x86, DataType: 0xFF,
		}
	}
	raw := shown([]byte{0x18, 1, 0x01, 0x02, 0x00, 0x86})
	tests := []struct {
		name string
		send message.ReadAttributes
		want []message.Message
	}{
		{
			"OTA, client side",
			message.ReadAttributes{Cluster: 0x0019, Direction: 1, IDs: []uint16{0, 2, 4, 6, 7, 8, 9, 10}},
			messages(
				attribute(0x0019, 0, 0xF0, 0x00, 0x15, 0x8D, 0x00, 0x01, 0xED, 0x33, 0x95),
				attribute(0x0019, 2, 0x23, 0x20, 0x01, 0x56, 0x30),
				unsupported(0x0019, 4),
				attribute(0x0019, 6, 0x30, 0x00),
				attribute(0x0019, 7, 0x21, 0x11, 0x7C),
				attribute(0x0019, 8, 0x21, 0x11, 0x01),
				attribute(0x0019, 9, 0x21, 0x00, 0x00),
				unsupported(0x0019, 10),
			),
		},
		{"OTA, server side", message.ReadAttributes{Cluster: 0x0019, IDs: []uint16{2}}, messages(raw)},
		{
			"basic",
			message.ReadAttributes{IDs: []uint16{4, 5, 0x4000, 6}},
			messages(
				attribute(0, 4, 0x42, []byte("IKEA of Sweden")...),
				attribute(0, 5, 0x42, []byte("TRADFRI on/off switch")...),
				attribute(0, 0x4000, 0x42, []byte("32.1.86.48")...),
				attribute(0, 6, 0x42, []byte("20240131")...),
			),
		},
		{"battery", message.ReadAttributes{Cluster: 1, IDs: []uint16{0x21}}, messages(attribute(1, 0x21, 0x20, 84))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, nil)
				defer l.stop()
				test.send.Target = target(lampAddr)
				l.send(test.send)
				synctest.Wait()
				if diff := cmp.Diff(test.want, l.takeTypes()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
	t.Run("report", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, nil)
			defer l.stop()
			l.dongle.Device(lamp).SetBattery(20)
			synctest.Wait()
			reports := of[message.Attribute](l.take())
			if len(reports) != 1 || reports[0].Kind != message.TypeReportAttribute || reports[0].Data[0] != 40 {
				t.Errorf("%+v", reports)
			}
		})
	})
	t.Run("more than ten", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, nil)
			defer l.stop()
			ids := make([]uint16, 11)
			for i := range ids {
				ids[i] = 2
			}
			l.send(message.ReadAttributes{Target: target(lampAddr), Cluster: 0x0019, Direction: 1, IDs: ids})
			synctest.Wait()
			asked := l.air.fromDongle()[0]
			if len(asked) != 3+22 || asked[23] == 2 && asked[24] == 0 {
				t.Errorf("%x: the last id is not random", asked)
			}
		})
	})
}
