package message_test

import (
	"encoding/hex"
	"strings"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// messageCase is one payload, without link quality, and what it means. The cases feed the marshal test, the
// parse test and the seeds of the fuzz tests.
type messageCase struct {
	name    string
	payload []byte
	msg     message.Message
}

// bytesOf reads hexadecimal fields.
func bytesOf(fields ...string) []byte {
	b, err := hex.DecodeString(strings.Join(fields, ""))
	if err != nil {
		panic(err)
	}
	return b
}

var target = message.Target{AddrMode: message.AddrModeNetwork, Addr: 0x9021, SrcEndpoint: 1, DstEndpoint: 0x0B}

const deviceIEEE message.IEEE = 0x000B57FFFE2C8904

// headerString is "EBL x" as a header string.
func headerString(s string) (h [32]byte) {
	copy(h[:], s)
	return h
}

func commandCases() []messageCase {
	return []messageCase{
		{"set log level", bytesOf("03"), message.SetLogLevel{Level: 3}},
		{"set raw mode hybrid", bytesOf("02"), message.SetRawMode{Mode: message.RawModeHybrid}},
		{"set heartbeat", bytesOf("01"), message.SetHeartbeat{Enable: 1}},
		{"get network state", nil, message.GetNetworkState{}},
		{"get version", nil, message.GetVersion{}},
		{"reset", nil, message.Reset{}},
		{"erase persistent data", nil, message.ErasePersistentData{}},
		{"get permit join", nil, message.GetPermitJoin{}},
		{"get devices", nil, message.GetDevices{}},
		{"set time", bytesOf("264344d5"), message.SetTime{Seconds: 0x264344D5}},
		{"get time", nil, message.GetTime{}},
		{"set channel mask", bytesOf("0318c800"), message.SetChannelMask{Mask: 0x0318C800}},
		{"set device type", bytesOf("00"), message.SetDeviceType{}},
		{"start network", nil, message.StartNetwork{}},
		{"set flow control", bytesOf("01"), message.SetFlowControl{Enable: 1}},
		{"bind", bytesOf(
			"000b57fffe2c8904", // IEEE address
			"0b",               // endpoint
			"0006",             // cluster
			"03",               // destination address mode
			"00158d0001ed3395", // destination
			"01",               // destination endpoint
		), message.Bind{
			IEEE: deviceIEEE, Endpoint: 0x0B, Cluster: 0x0006, DstAddrMode: message.AddrModeIEEE,
			DstIEEE: 0x00158D0001ED3395, DstEndpoint: 1,
		}},
		{"bind to a group", bytesOf(
			"000b57fffe2c8904", // IEEE address
			"0b",               // endpoint
			"0006",             // cluster
			"01",               // destination address mode
			"0004",             // destination
			"00",               // destination endpoint
		), message.Bind{
			IEEE: deviceIEEE, Endpoint: 0x0B, Cluster: 0x0006, DstAddrMode: message.AddrModeGroup, DstAddr: 4,
		}},
		{"network address request", bytesOf(
			"fffd",             // target
			"000b57fffe2c8904", // IEEE address
			"01",               // request type
			"02",               // start index
		), message.NwkAddrRequest{Target: 0xFFFD, IEEE: deviceIEEE, RequestType: 1, StartIndex: 2}},
		{"IEEE address request", bytesOf(
			"9021", // target
			"9022", // address of interest
			"01",   // request type
			"02",   // start index
		), message.IEEEAddrRequest{Target: 0x9021, Addr: 0x9022, RequestType: 1, StartIndex: 2}},
		{"node descriptor request", bytesOf("9021"), message.NodeDescriptorRequest{Addr: 0x9021}},
		{"simple descriptor request", bytesOf(
			"7bc1", // address
			"04",   // endpoint
		), message.SimpleDescriptorRequest{Addr: 0x7BC1, Endpoint: 4}},
		{"power descriptor request", bytesOf("9021"), message.PowerDescriptorRequest{Addr: 0x9021}},
		{"active endpoints request", bytesOf("f1a5"), message.ActiveEndpointsRequest{Addr: 0xF1A5}},
		{"match descriptor request", bytesOf(
			"fffd",     // target
			"0104",     // profile
			"01",       // input count
			"0006",     // input cluster
			"02",       // output count
			"00190020", // output clusters
		), message.MatchDescriptorRequest{
			Target: 0xFFFD, Profile: message.ProfileHomeAutomation,
			InClusters: []uint16{0x0006}, OutClusters: []uint16{message.ClusterOTA, 0x0020},
		}},
		{"management leave request", bytesOf(
			"9021",             // network address
			"000b57fffe2c8904", // IEEE address
			"01",               // rejoin
			"00",               // remove children
		), message.ManagementLeaveRequest{Addr: 0x9021, IEEE: deviceIEEE, Rejoin: 1}},
		{"management LQI request", bytesOf(
			"0000", // target
			"0c",   // start index
		), message.ManagementLQIRequest{StartIndex: 12}},
		{"permit join", bytesOf(
			"fffc", // address
			"fe",   // seconds
			"01",   // significance
		), message.PermitJoin{Addr: 0xFFFC, Seconds: 254, Significance: 1}},
		{"on/off", bytesOf(
			"02",   // address mode
			"9021", // address
			"01",   // source endpoint
			"0b",   // destination endpoint
			"02",   // command
		), message.OnOff{Target: target, Command: 2}},
		{"read attributes", bytesOf(
			"02",       // address mode
			"9021",     // address
			"01",       // source endpoint
			"0b",       // destination endpoint
			"0019",     // cluster
			"01",       // direction
			"01",       // manufacturer specific
			"117c",     // manufacturer
			"02",       // count
			"00020006", // attributes
		), message.ReadAttributes{
			Target: target, Cluster: message.ClusterOTA, Direction: message.DirectionToClient,
			ManufacturerSpecific: true, Manufacturer: 0x117C,
			IDs: []uint16{message.AttrOTAFileVersion, message.AttrOTAStatus},
		}},
		{"load image header", bytesOf(
			"02",       // address mode
			"0000",     // address
			"0beef11e", // file identifier
			"0100",     // header version
			"0045",     // header length
			"0007",     // field control
			"1021",     // manufacturer code
			"0011",     // image type
			"00430024", // file version
			"0002",     // stack version
			"4c656772616e64204e4c50540000000000000000000000000000000000000000", // header string
			"00038001",         // total size
			"02",               // credential version
			"0004740000123456", // destination
			"0001",             // minimum hardware version
			"0102",             // maximum hardware version
		), message.LoadImage{
			AddrMode: message.AddrModeNetwork, FileIdentifier: message.FileIdentifier, HeaderVersion: 0x0100,
			HeaderLength: message.MaxHeaderLength, FieldControl: 7, ManufacturerCode: 0x1021, ImageType: 0x0011,
			FileVersion: 0x00430024, StackVersion: 2, HeaderString: headerString("Legrand NLPT"), TotalSize: 0x00038001,
			CredentialVersion: 2, Destination: 0x0004740000123456, MinHardwareVersion: 1, MaxHardwareVersion: 0x0102,
		}},
		{"image block response", bytesOf(
			"07",         // address mode
			"9021",       // address
			"01",         // source endpoint
			"0b",         // destination endpoint
			"42",         // sequence
			"00",         // status
			"0000003f",   // offset
			"20016630",   // file version
			"1101",       // image type
			"117c",       // manufacturer code
			"05",         // data size
			"0001020310", // data
		), message.ImageBlockResponse{
			Target:   message.Target{AddrMode: message.AddrModeNetworkNoAck, Addr: 0x9021, SrcEndpoint: 1, DstEndpoint: 0x0B},
			Sequence: 0x42, Offset: 0x3F, FileVersion: 0x20016630, ImageType: 0x1101, ManufacturerCode: 0x117C,
			Data: []byte{0, 1, 2, 3, 0x10},
		}},
		{"image block response, refused", bytesOf(
			"02",       // address mode
			"9021",     // address
			"01",       // source endpoint
			"0b",       // destination endpoint
			"42",       // sequence
			"95",       // status
			"00000000", // offset
			"20016630", // file version
			"1101",     // image type
			"117c",     // manufacturer code
			"00",       // data size
		), message.ImageBlockResponse{
			Target: target, Sequence: 0x42, Status: message.OTAAbort, FileVersion: 0x20016630, ImageType: 0x1101,
			ManufacturerCode: 0x117C,
		}},
		{"upgrade end response", bytesOf(
			"02",       // address mode
			"9021",     // address
			"01",       // source endpoint
			"0b",       // destination endpoint
			"55",       // sequence
			"ffffffff", // upgrade time
			"00000001", // current time
			"20016630", // file version
			"1101",     // image type
			"117c",     // manufacturer code
		), message.UpgradeEndResponse{
			Target: target, Sequence: 0x55, UpgradeTime: message.UpgradeTimeWait, CurrentTime: 1,
			FileVersion: 0x20016630, ImageType: 0x1101, ManufacturerCode: 0x117C,
		}},
		{"image notify", bytesOf(
			"02",       // address mode
			"9021",     // address
			"01",       // source endpoint
			"0b",       // destination endpoint
			"03",       // payload type
			"20016630", // file version
			"1101",     // image type
			"117c",     // manufacturer code
			"64",       // jitter
		), message.ImageNotify{
			Target: target, PayloadType: message.NotifyFileVersion, FileVersion: 0x20016630, ImageType: 0x1101,
			ManufacturerCode: 0x117C, QueryJitter: 100,
		}},
		{"wait for data", bytesOf(
			"02",       // address mode
			"9021",     // address
			"01",       // source endpoint
			"0b",       // destination endpoint
			"43",       // sequence
			"97",       // status
			"00000001", // current time
			"0000000a", // request time
			"01f4",     // block request delay
		), message.WaitForData{
			Target: target, Sequence: 0x43, Status: message.OTAWaitForData, CurrentTime: 1, RequestTime: 10,
			BlockRequestDelay: 500,
		}},
		{"raw APS data", bytesOf(
			"02",         // address mode
			"9021",       // address
			"01",         // source endpoint
			"0b",         // destination endpoint
			"0019",       // cluster
			"0104",       // profile
			"02",         // security
			"1e",         // radius
			"05",         // length
			"1945000064", // data
		), message.RawAPS{
			AddrMode: message.AddrModeNetwork, Addr: 0x9021, SrcEndpoint: 1, DstEndpoint: 0x0B, Cluster: message.ClusterOTA,
			Profile: message.ProfileHomeAutomation, Security: 2, Radius: 30, Data: []byte{0x19, 0x45, 0, 0, 0x64},
		}},
		{"raw APS data to an IEEE address", bytesOf(
			"08",               // address mode
			"000b57fffe2c8904", // address
			"01",               // source endpoint
			"0b",               // destination endpoint
			"0019",             // cluster
			"0104",             // profile
			"02",               // security
			"00",               // radius
			"00",               // length
		), message.RawAPS{
			AddrMode: message.AddrModeIEEENoAck, IEEE: deviceIEEE, SrcEndpoint: 1, DstEndpoint: 0x0B,
			Cluster: message.ClusterOTA, Profile: message.ProfileHomeAutomation, Security: 2,
		}},
	}
}
