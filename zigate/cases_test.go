package zigate_test

import (
	"encoding/hex"
	"strings"

	"github.com/zigate-ota/zigate-ota/zigate"
)

// messageCase is one payload, without link quality, and what it means. The cases feed the marshal test, the parse test
// and the seeds of the fuzz tests.
type messageCase struct {
	name    string
	payload []byte
	msg     zigate.Message
}

// bytesOf reads hexadecimal fields.
func bytesOf(fields ...string) []byte {
	b, err := hex.DecodeString(strings.Join(fields, ""))
	if err != nil {
		panic(err)
	}
	return b
}

var target = zigate.Target{AddrMode: zigate.AddrModeShort, Addr: 0x9021, SrcEndpoint: 1, DstEndpoint: 0x0B}

const deviceIEEE zigate.IEEE = 0x000B57FFFE2C8904

// headerString is "EBL x" as a header string.
func headerString(s string) (h [32]byte) {
	copy(h[:], s)
	return h
}

func commandCases() []messageCase {
	return []messageCase{
		{"set log level", bytesOf("03"), zigate.SetLogLevel{Level: 3}},
		{"set raw mode hybrid", bytesOf("02"), zigate.SetRawMode{Mode: zigate.RawModeHybrid}},
		{"set heartbeat", bytesOf("01"), zigate.SetHeartbeat{Enable: 1}},
		{"get network state", nil, zigate.GetNetworkState{}},
		{"get version", nil, zigate.GetVersion{}},
		{"reset", nil, zigate.Reset{}},
		{"erase persistent data", nil, zigate.ErasePersistentData{}},
		{"get permit join", nil, zigate.GetPermitJoin{}},
		{"get devices", nil, zigate.GetDevices{}},
		{"set time", bytesOf("264344d5"), zigate.SetTime{Seconds: 0x264344D5}},
		{"get time", nil, zigate.GetTime{}},
		{"set channel mask", bytesOf("0318c800"), zigate.SetChannelMask{Mask: 0x0318C800}},
		{"set device type", bytesOf("00"), zigate.SetDeviceType{}},
		{"start network", nil, zigate.StartNetwork{}},
		{"set flow control", bytesOf("01"), zigate.SetFlowControl{Enable: 1}},
		{"network address request", bytesOf(
			"fffd",             // target
			"000b57fffe2c8904", // IEEE address
			"01",               // request type
			"02",               // start index
		), zigate.NwkAddrRequest{Target: 0xFFFD, IEEE: deviceIEEE, RequestType: 1, StartIndex: 2}},
		{"IEEE address request", bytesOf(
			"9021", // target
			"9022", // address of interest
			"01",   // request type
			"02",   // start index
		), zigate.IEEEAddrRequest{Target: 0x9021, Addr: 0x9022, RequestType: 1, StartIndex: 2}},
		{"node descriptor request", bytesOf("9021"), zigate.NodeDescriptorRequest{Addr: 0x9021}},
		{"simple descriptor request", bytesOf(
			"7bc1", // address
			"04",   // endpoint
		), zigate.SimpleDescriptorRequest{Addr: 0x7BC1, Endpoint: 4}},
		{"power descriptor request", bytesOf("9021"), zigate.PowerDescriptorRequest{Addr: 0x9021}},
		{"active endpoints request", bytesOf("f1a5"), zigate.ActiveEndpointsRequest{Addr: 0xF1A5}},
		{"match descriptor request", bytesOf(
			"fffd",     // target
			"0104",     // profile
			"01",       // input count
			"0006",     // input cluster
			"02",       // output count
			"00190020", // output clusters
		), zigate.MatchDescriptorRequest{
			Target: 0xFFFD, Profile: zigate.ProfileHomeAutomation,
			InClusters: []uint16{0x0006}, OutClusters: []uint16{zigate.ClusterOTA, 0x0020},
		}},
		{"permit join", bytesOf(
			"fffc", // address
			"fe",   // seconds
			"01",   // significance
		), zigate.PermitJoin{Addr: 0xFFFC, Seconds: 254, Significance: 1}},
		{"on/off", bytesOf(
			"02",   // address mode
			"9021", // address
			"01",   // source endpoint
			"0b",   // destination endpoint
			"02",   // command
		), zigate.OnOff{Target: target, Command: 2}},
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
		), zigate.ReadAttributes{
			Target: target, Cluster: zigate.ClusterOTA, Direction: zigate.DirectionToClient,
			ManufacturerSpecific: true, Manufacturer: 0x117C,
			IDs: []uint16{zigate.AttrOTAFileVersion, zigate.AttrOTAStatus},
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
		), zigate.LoadImage{
			AddrMode: zigate.AddrModeShort, FileIdentifier: zigate.FileIdentifier, HeaderVersion: 0x0100,
			HeaderLength: zigate.MaxHeaderLength, FieldControl: 7, ManufacturerCode: 0x1021, ImageType: 0x0011,
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
		), zigate.BlockSend{
			Target:   zigate.Target{AddrMode: zigate.AddrModeShortNoAck, Addr: 0x9021, SrcEndpoint: 1, DstEndpoint: 0x0B},
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
		), zigate.BlockSend{
			Target: target, Sequence: 0x42, Status: zigate.OTAAbort, FileVersion: 0x20016630, ImageType: 0x1101,
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
		), zigate.UpgradeEndResponse{
			Target: target, Sequence: 0x55, UpgradeTime: zigate.UpgradeTimeWait, CurrentTime: 1,
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
		), zigate.ImageNotify{
			Target: target, PayloadType: zigate.NotifyFileVersion, FileVersion: 0x20016630, ImageType: 0x1101,
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
		), zigate.WaitForData{
			Target: target, Sequence: 0x43, Status: zigate.OTAWaitForData, CurrentTime: 1, RequestTime: 10,
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
		), zigate.RawAPS{
			AddrMode: zigate.AddrModeShort, Addr: 0x9021, SrcEndpoint: 1, DstEndpoint: 0x0B, Cluster: zigate.ClusterOTA,
			Profile: zigate.ProfileHomeAutomation, Security: 2, Radius: 30, Data: []byte{0x19, 0x45, 0, 0, 0x64},
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
		), zigate.RawAPS{
			AddrMode: zigate.AddrModeIEEENoAck, IEEE: deviceIEEE, SrcEndpoint: 1, DstEndpoint: 0x0B,
			Cluster: zigate.ClusterOTA, Profile: zigate.ProfileHomeAutomation, Security: 2,
		}},
	}
}
