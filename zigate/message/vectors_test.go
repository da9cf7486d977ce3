package message_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// vectorFile is a collection of frames, many of them captured from real dongles. It is not part
// of the repository.
const vectorFile = "../../../shared/frames.json"

type vector struct {
	Name       string            `json:"name"`
	Direction  string            `json:"direction"`
	Type       string            `json:"type"`
	Fields     map[string]string `json:"fields"`
	PayloadHex string            `json:"payload_hex"`
	FrameHex   string            `json:"frame_hex"`
}

type malformed struct {
	Name     string `json:"name"`
	InputHex string `json:"input_hex"`
	Want     []struct {
		Type       string `json:"type"`
		PayloadHex string `json:"payload_hex"`
	} `json:"expected_host_decoder"`
}

func readVectors(t *testing.T) (vectors []vector, broken []malformed) {
	t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(vectorFile))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no vectors here")
	}
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors   []vector    `json:"vectors"`
		Malformed []malformed `json:"malformed"`
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) == 0 || len(file.Malformed) == 0 {
		t.Fatal("the file holds no vectors")
	}
	return file.Vectors, file.Malformed
}

func typeOf(t *testing.T, s string) message.MsgType {
	t.Helper()
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil {
		t.Fatal(err)
	}
	return message.MsgType(n)
}

func TestVectors(t *testing.T) {
	vectors, _ := readVectors(t)
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			typ, payload, wire := typeOf(t, v.Type), bytesOf(v.PayloadHex), bytesOf(v.FrameHex)
			if got := message.AppendFrame(nil, typ, payload); !bytes.Equal(got, wire) {
				t.Errorf("AppendFrame = %x, want %x", got, wire)
			}
			var d message.Decoder
			frames := decode(&d, wire, 1)
			if diff := cmp.Diff([]message.Frame{{Type: typ, Payload: payload}}, frames); diff != "" {
				t.Fatalf("decoded, -want +got:\n%s", diff)
			}
			checkVectorMessage(t, v, frames[0])
		})
	}
}

// tooShort are commands that a host should not send: firmware would fill them up with what an
// earlier command left.
func tooShort(name string) bool {
	switch name {
	case "load_image_short_59", "image_notify_table_layout_TRAP", "cap_zigpy_test_raw_aps_req":
		return true
	}
	return false
}

func checkVectorMessage(t *testing.T, v vector, f message.Frame) {
	var m message.Message
	var err error
	fields := map[string]string{}
	payload := f.Payload
	if v.Direction == "zigate_to_host" {
		var lqi uint8
		payload, lqi, err = f.Message()
		if err != nil {
			t.Fatal(err)
		}
		m, err = message.ParseMessage(f.Type, payload)
		if f.Type != message.TypeLog {
			fields["link_quality"] = number(lqi)
		}
	} else {
		m, err = message.ParseCommand(f.Type, payload)
		if tooShort(v.Name) {
			if !errors.Is(err, message.ErrShort) {
				t.Errorf("parsed: %+v, %v; want ErrShort", m, err)
			}
			return
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := message.AppendPayload(nil, m); !bytes.Equal(got, payload) {
		t.Errorf("%+v is written as %x, want %x", m, got, payload)
	}
	addFields(t, fields, m)
	for name, want := range v.Fields {
		got, ok := fields[name]
		if !ok {
			t.Errorf("field %s is not told by %T", name, m)
		}
		if got != want {
			t.Errorf("field %s = %s, want %s", name, got, want)
		}
	}
}

func TestMalformedVectors(t *testing.T) {
	_, broken := readVectors(t)
	for _, tc := range broken {
		t.Run(tc.Name, func(t *testing.T) {
			var want []message.Frame
			for _, f := range tc.Want {
				want = append(want, message.Frame{Type: typeOf(t, f.Type), Payload: bytesOf(f.PayloadHex)})
			}
			for _, sizes := range [][]int{nil, {1}, {3, 1, 4, 1, 5}} {
				var d message.Decoder
				var got []message.Frame
				for _, f := range decode(&d, bytesOf(tc.InputHex), sizes...) {
					// A frame without link quality is well-formed, and reported here rather
					// than by the decoder.
					if _, _, err := f.Message(); err == nil {
						got = append(got, f)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("in pieces of %v, -want +got:\n%s", sizes, diff)
				}
			}
		})
	}
}

// number writes an unsigned number as the vectors do: padded to its width.
func number[T ~uint8 | ~uint16 | ~uint32 | ~uint64](v T) string {
	width := 0
	for n := ^T(0); n != 0; n >>= 4 {
		width++
	}
	digits := strconv.FormatUint(uint64(v), 16)
	return "0x" + strings.Repeat("0", width-len(digits)) + digits
}

func raw(b []byte) string { return hex.EncodeToString(b) }

func rawWords(list []uint16) string {
	var b []byte
	for _, v := range list {
		b = append(b, byte(v>>8), byte(v))
	}
	return raw(b)
}

// addFields names the message's fields as the vectors do.
func addFields(t *testing.T, f map[string]string, m message.Message) {
	switch m := m.(type) {
	case message.GetVersion, message.GetDevices, message.GetNetworkState, message.GetPermitJoin, message.GetTime,
		message.Reset, message.StartNetwork:
	case message.SetRawMode:
		f["mode"] = number(m.Mode)
	case message.SetTime:
		f["seconds_since_2000"] = number(m.Seconds)
	case message.SetChannelMask:
		f["channel_mask"] = number(m.Mask)
	case message.SetDeviceType:
		f["type"] = number(m.DeviceType)
	case message.SetFlowControl:
		f["enable"] = number(m.Enable)
	case message.PermitJoin:
		f["addr"], f["duration"], f["tc_significance"] = number(m.Addr), number(m.Seconds), number(m.Significance)
	case message.Version:
		f["major"], f["minor"] = number(m.Major), number(m.Minor)
	case message.NetworkState:
		f["addr"], f["ieee"], f["pan_id"] = number(m.Addr), number(m.IEEE), number(m.PANID)
		f["ext_pan_id"], f["channel"] = number(m.ExtendedPANID), number(m.Channel)
	case message.NetworkJoined:
		f["status"], f["addr"], f["ieee"], f["channel"] = number(m.Status), number(m.Addr), number(m.IEEE), number(m.Channel)
	case message.RestartNotice:
		f["status"] = number(m.Status)
	case message.PDMLoaded:
		f["status"] = number(m.Status)
	case message.PDMEvent:
		f["event"], f["record"] = number(m.Event), number(m.Record)
	case message.Heartbeat:
		f["seconds_since_2000"] = number(m.Seconds)
	case message.Log:
		f["level"], f["text"] = number(m.Level), raw([]byte(m.Text))
	case message.DeviceList:
		for i, d := range m.Devices {
			n := "_" + strconv.Itoa(i)
			f["index"+n], f["addr"+n], f["ieee"+n] = number(d.Index), number(d.Addr), number(d.IEEE)
			f["power"+n], f["lqi"+n] = number(d.PowerSource), number(d.LQI)
		}
	case message.DeviceAnnounce:
		f["addr"], f["ieee"], f["mac_capability"], f["rejoin"] = number(m.Addr), number(m.IEEE), number(m.Capability), number(m.Rejoin)
	case message.Leave:
		f["ieee"], f["rejoin"] = number(m.IEEE), number(m.Rejoin)
	case message.Status:
		f["status"], f["seq"], f["packet_type"] = number(m.Status), number(m.Sequence), number(m.Request)
		f["request_sent"], f["aps_seq"] = number(m.RequestSent), number(m.APSSequence)
		f["npdu_used"], f["apdu_used"] = number(m.NPDUUsed), number(m.APDUUsed)
	case message.Confirm:
		f["status"], f["src_ep"], f["dst_ep"] = number(m.Status), number(m.SrcEndpoint), number(m.DstEndpoint)
		f["dst_addr_mode"], f["dst_addr"], f["aps_seq"] = number(m.DstAddrMode), number(m.Addr), number(m.APSSequence)
		f["npdu_used"], f["apdu_used"] = number(m.NPDUUsed), number(m.APDUUsed)
	case message.APSAck:
		f["status"], f["addr"], f["dst_ep"] = number(m.Status), number(m.Addr), number(m.DstEndpoint)
		f["cluster"], f["aps_seq"] = number(m.Cluster), number(m.APSSequence)
	case message.RouteDiscovery:
		f["status"], f["nwk_status"] = number(m.Status), number(m.NetworkStatus)
	case message.NetworkStatus:
		f["addr"], f["nwk_status"] = number(m.Addr), number(m.Status)
	case message.ExtendedStatus:
		f["code"] = number(m.Code)
	default:
		addDeviceFields(t, f, m)
	}
}

// addDeviceFields names the fields of messages from and to devices.
func addDeviceFields(t *testing.T, f map[string]string, m message.Message) {
	addTarget := func(target message.Target) {
		f["addr_mode"], f["addr"] = number(target.AddrMode), number(target.Addr)
		f["src_ep"], f["dst_ep"] = number(target.SrcEndpoint), number(target.DstEndpoint)
	}
	addImage := func(version uint32, imageType, manufacturer uint16) {
		f["file_version"], f["image_type"], f["manufacturer_code"] = number(version), number(imageType), number(manufacturer)
	}
	switch m := m.(type) {
	case message.NwkAddrRequest:
		f["target_addr"], f["ieee"] = number(m.Target), number(m.IEEE)
		f["request_type"], f["start_index"] = number(m.RequestType), number(m.StartIndex)
	case message.IEEEAddrRequest:
		f["target_addr"], f["addr_of_interest"] = number(m.Target), number(m.Addr)
		f["request_type"], f["start_index"] = number(m.RequestType), number(m.StartIndex)
	case message.NwkAddrResponse:
		f["seq"], f["status"], f["ieee"], f["addr"] = number(m.Sequence), number(m.Status), number(m.IEEE), number(m.Addr)
		f["associated_count"], f["start_index"] = number(m.AssociatedCount), number(m.StartIndex)
	case message.IEEEAddrResponse:
		addDeviceFields(t, f, message.NwkAddrResponse(m))
	case message.NodeDescriptorRequest:
		f["addr"] = number(m.Addr)
	case message.ActiveEndpointsRequest:
		f["addr"] = number(m.Addr)
	case message.SimpleDescriptorRequest:
		f["addr"], f["ep"] = number(m.Addr), number(m.Endpoint)
	case message.MatchDescriptorRequest:
		f["target_addr"], f["profile"] = number(m.Target), number(m.Profile)
		f["in_count"], f["out_count"] = number(uint8(len(m.InClusters))), number(uint8(len(m.OutClusters)))
		for _, c := range m.OutClusters {
			f["out_cluster"] = number(c)
		}
	case message.NodeDescriptor:
		f["seq"], f["status"], f["addr"] = number(m.Sequence), number(m.Status), number(m.Addr)
		f["manufacturer_code"], f["max_rx"], f["max_tx"] = number(m.ManufacturerCode), number(m.MaxRx), number(m.MaxTx)
		f["server_mask"], f["descriptor_capability"] = number(m.ServerMask), number(m.DescriptorCapability)
		f["mac_flags"], f["max_buffer"], f["bit_fields"] = number(m.MACFlags), number(m.MaxBuffer), number(m.BitFields)
	case message.SimpleDescriptor:
		f["seq"], f["status"], f["addr"] = number(m.Sequence), number(m.Status), number(m.Addr)
		f["length"], f["ep"], f["profile"] = number(m.Length), number(m.Endpoint), number(m.Profile)
		f["device_id"], f["version_bits"] = number(m.DeviceID), number(m.VersionBits)
		f["in_count"], f["in_clusters"] = number(uint8(len(m.InClusters))), rawWords(m.InClusters)
		f["out_count"], f["out_clusters"] = number(uint8(len(m.OutClusters))), rawWords(m.OutClusters)
	case message.MatchDescriptor:
		f["seq"], f["status"], f["addr"] = number(m.Sequence), number(m.Status), number(m.Addr)
		f["count"], f["endpoints"] = number(uint8(len(m.Endpoints))), raw(m.Endpoints)
	case message.ActiveEndpoints:
		addDeviceFields(t, f, message.MatchDescriptor(m))
	case message.BindResponse:
		f["seq"], f["status"] = number(m.Sequence), number(m.Status)
	case message.ReadAttributes:
		addTarget(m.Target)
		f["cluster"], f["direction"] = number(m.Cluster), number(m.Direction)
		f["manufacturer_specific"] = "0x00"
		if m.ManufacturerSpecific {
			f["manufacturer_specific"] = "0x01"
		}
		f["manufacturer_code"], f["count"] = number(m.Manufacturer), number(uint8(len(m.IDs)))
		for i, id := range m.IDs {
			f["attr_"+strconv.Itoa(i+1)] = number(id)
		}
	case message.Attribute:
		f["seq"], f["addr"], f["ep"], f["cluster"] = number(m.Sequence), number(m.Addr), number(m.Endpoint), number(m.Cluster)
		f["attribute"], f["status"], f["data_type"] = number(m.ID), number(m.Status), number(m.DataType)
		f["size"], f["data"] = number(uint16(len(m.Data))), raw(m.Data)
	case message.DefaultResponse:
		f["seq"], f["src_ep"], f["cluster"] = number(m.Sequence), number(m.SrcEndpoint), number(m.Cluster)
		f["command"], f["status"] = number(m.Command), number(m.Status)
	case message.OnOff:
		addTarget(m.Target)
		f["command"] = number(m.Command)
	case message.DataIndication:
		f["status"], f["profile"], f["cluster"] = number(m.Status), number(m.Profile), number(m.Cluster)
		f["src_ep"], f["dst_ep"] = number(m.SrcEndpoint), number(m.DstEndpoint)
		f["src_addr_mode"], f["src_addr"] = number(m.SrcAddrMode), number(m.SrcAddr)
		f["dst_addr_mode"], f["dst_addr"] = number(m.DstAddrMode), number(m.DstAddr)
		f["payload"] = raw(m.Payload)
	case message.RawAPS:
		addTarget(message.Target{AddrMode: m.AddrMode, Addr: m.Addr, SrcEndpoint: m.SrcEndpoint, DstEndpoint: m.DstEndpoint})
		f["cluster"], f["profile"], f["security"] = number(m.Cluster), number(m.Profile), number(m.Security)
		f["radius"], f["length"], f["data"] = number(m.Radius), number(uint8(len(m.Data))), raw(m.Data)
	case message.LoadImage:
		f["addr_mode"], f["addr"], f["file_identifier"] = number(m.AddrMode), number(m.Addr), number(m.FileIdentifier)
		f["header_version"], f["header_length"] = number(m.HeaderVersion), number(m.HeaderLength)
		f["field_control"], f["stack_version"] = number(m.FieldControl), number(m.StackVersion)
		addImage(m.FileVersion, m.ImageType, m.ManufacturerCode)
		f["header_string"], f["total_image_size"] = raw(m.HeaderString[:]), number(m.TotalSize)
		f["security_credential_version"], f["upgrade_file_destination"] = number(m.CredentialVersion), number(m.Destination)
		f["min_hw_version"], f["max_hw_version"] = number(m.MinHardwareVersion), number(m.MaxHardwareVersion)
	case message.ImageBlockResponse:
		addTarget(m.Target)
		addImage(m.FileVersion, m.ImageType, m.ManufacturerCode)
		f["seq"], f["status"], f["file_offset"] = number(m.Sequence), number(m.Status), number(m.Offset)
		f["data_size"], f["data"] = number(uint8(len(m.Data))), raw(m.Data)
	case message.UpgradeEndResponse:
		addTarget(m.Target)
		addImage(m.FileVersion, m.ImageType, m.ManufacturerCode)
		f["seq"], f["upgrade_time"], f["current_time"] = number(m.Sequence), number(m.UpgradeTime), number(m.CurrentTime)
	case message.ImageNotify:
		addTarget(m.Target)
		addImage(m.FileVersion, m.ImageType, m.ManufacturerCode)
		f["payload_type"], f["query_jitter"] = number(m.PayloadType), number(m.QueryJitter)
	case message.WaitForData:
		addTarget(m.Target)
		f["seq"], f["status"] = number(m.Sequence), number(m.Status)
		f["current_time"], f["request_time"] = number(m.CurrentTime), number(m.RequestTime)
		f["block_request_delay_ms"] = number(m.BlockRequestDelay)
	case message.ImageBlockRequest:
		f["seq"], f["src_ep"], f["cluster"] = number(m.Sequence), number(m.Endpoint), number(m.Cluster)
		f["src_addr_mode"], f["src_addr"] = number(m.AddrMode), number(m.Addr)
		f["request_node_address"], f["file_offset"] = number(m.NodeAddress), number(m.Offset)
		addImage(m.FileVersion, m.ImageType, m.ManufacturerCode)
		f["block_request_delay"], f["max_data_size"] = number(m.BlockRequestDelay), number(m.MaxDataSize)
		f["field_control"] = number(m.FieldControl)
	case message.UpgradeEndRequest:
		f["seq"], f["src_ep"], f["cluster"] = number(m.Sequence), number(m.Endpoint), number(m.Cluster)
		f["src_addr_mode"], f["src_addr"] = number(m.AddrMode), number(m.Addr)
		addImage(m.FileVersion, m.ImageType, m.ManufacturerCode)
		f["status"] = number(m.Status)
	default:
		t.Fatalf("no fields for %T", m)
	}
}
