package message_test

import (
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func dongleCases() []messageCase {
	return []messageCase{
		{"version", bytesOf(
			"0005", // major
			"0324", // minor
		), message.Version{Major: 5, Minor: 0x0324}},
		{"network state", bytesOf(
			"0000",             // short address
			"00158d0001ed3395", // IEEE address
			"73aa",             // PAN id
			"1122334455667788", // extended PAN id
			"0f",               // channel
		), message.NetworkState{
			IEEE: 0x00158D0001ED3395, PANID: 0x73AA, ExtendedPANID: 0x1122334455667788, Channel: 15,
		}},
		{"network formed", bytesOf(
			"01",               // status
			"0000",             // short address
			"00158d0001ed3395", // IEEE address
			"0f",               // channel
		), message.NetworkJoined{Status: message.NetworkFormed, HasAddress: true, IEEE: 0x00158D0001ED3395, Channel: 15}},
		{"network already up", bytesOf("04"), message.NetworkJoined{Status: message.NetworkAlreadyUp}},
		{"restart", bytesOf("01"), message.RestartNotice{Kind: message.TypeRestart, Status: 1}},
		{"factory new restart", bytesOf("00"), message.RestartNotice{Kind: message.TypeFactoryNewRestart}},
		{"persistent data loaded", bytesOf("00"), message.PDMLoaded{}},
		{"persistent data event", bytesOf(
			"03",       // event
			"0000f104", // record
		), message.PDMEvent{Event: recordTooLarge, Record: 0xF104}},
		{"heartbeat", bytesOf("2f000001"), message.Heartbeat{Seconds: 0x2F000001}},
		{"time", bytesOf("2f000001"), message.Time{Seconds: 0x2F000001}},
		{"log", bytesOf(
			"06",         // level
			"68656c6c6f", // text
		), message.Log{Level: 6, Text: "hello"}},
		{"permit join state", bytesOf("01"), message.PermitJoinState{Enabled: 1}},
		{"cluster list", bytesOf("0101040000"), message.Opaque{Kind: 0x8003, Payload: bytesOf("0101040000")}},
		{"attribute list", bytesOf("01010400000000"), message.Opaque{Kind: 0x8004, Payload: bytesOf("01010400000000")}},
		{"command list", bytesOf("010104000000"), message.Opaque{Kind: 0x8005, Payload: bytesOf("010104000000")}},
		{"management LQI", bytesOf(
			"12",               // sequence number
			"00",               // status
			"28",               // entries of the table
			"01",               // entries told
			"0c",               // index of the first
			"9021",             // short address
			"00158d0001ed3395", // extended PAN id
			"000b57fffe2c8904", // IEEE address
			"01",               // depth
			"c3",               // LQI
			"51",               // router, sibling, listens
			"0000",             // source
		), message.ManagementLQI{
			Sequence: 0x12, Entries: 40, StartIndex: 12, HasSource: true,
			Neighbours: []message.Neighbour{{
				Addr: 0x9021, ExtendedPANID: 0x00158D0001ED3395, IEEE: deviceIEEE, Depth: 1, LQI: 0xC3, Kind: 0x51,
			}},
		}},
		{"device list", bytesOf(
			"00",               // index
			"9021",             // short address
			"000b57fffe2c8904", // IEEE address
			"01",               // power source
			"c3",               // LQI
			"03",               // index
			"4f34",             // short address
			"00158d00016d8d4f", // IEEE address
			"00",               // power source
			"b5",               // LQI
		), message.DeviceList{Devices: []message.ListedDevice{
			{Addr: 0x9021, IEEE: deviceIEEE, PowerSource: 1, LQI: 0xC3},
			{Index: 3, Addr: 0x4F34, IEEE: 0x00158D00016D8D4F, LQI: 0xB5},
		}}},
		{"device list, empty", nil, message.DeviceList{}},
		{"device announce", bytesOf(
			"9021",             // short address
			"000b57fffe2c8904", // IEEE address
			"8e",               // MAC capability
		), message.DeviceAnnounce{Addr: 0x9021, IEEE: deviceIEEE, Capability: 0x8E}},
		{"device announce of a join", bytesOf(
			"9021",             // short address
			"000b57fffe2c8904", // IEEE address
			"80",               // MAC capability
			"01",               // rejoin
		), message.DeviceAnnounce{Addr: 0x9021, IEEE: deviceIEEE, Capability: 0x80, HasRejoin: true, Rejoin: 1}},
		{"management leave response", bytesOf(
			"3c", // sequence
			"84", // status
		), message.ManagementLeave{Sequence: 0x3C, Status: 0x84}},
		{"leave", bytesOf(
			"000b57fffe2c8904", // IEEE address
			"01",               // rejoin
		), message.Leave{IEEE: deviceIEEE, Rejoin: 1}},
		{"bind response", bytesOf(
			"20", // sequence
			"84", // status
		), message.BindResponse{Sequence: 0x20, Status: 0x84}},
		{"network address response", bytesOf(
			"12",               // sequence
			"00",               // status
			"000b57fffe2c8904", // IEEE address
			"9021",             // short address
			"02",               // associated devices
			"0001",             // start index
			"1234",             // device
			"5678",             // device
		), message.NwkAddrResponse{
			Sequence: 0x12, IEEE: deviceIEEE, Addr: 0x9021, AssociatedCount: 2, StartIndex: 1,
			Associated: []uint16{0x1234, 0x5678},
		}},
		{"IEEE address response", bytesOf(
			"13",               // sequence
			"00",               // status
			"000b57fffe2c8904", // IEEE address
			"9021",             // short address
			"00",               // associated devices
			"0000",             // start index
		), message.IEEEAddrResponse{Sequence: 0x13, IEEE: deviceIEEE, Addr: 0x9021}},
		{"node descriptor", bytesOf(
			"38",   // sequence
			"00",   // status
			"9021", // short address
			"117c", // manufacturer code
			"0052", // largest received
			"0053", // largest sent
			"2c00", // server mask
			"01",   // descriptor capability
			"8e",   // MAC flags
			"54",   // largest buffer
			"4001", // bit fields
		), message.NodeDescriptor{
			Sequence: 0x38, Addr: 0x9021, ManufacturerCode: 0x117C, MaxRx: 0x52, MaxTx: 0x53, ServerMask: 0x2C00,
			DescriptorCapability: 1, MACFlags: 0x8E, MaxBuffer: 0x54, BitFields: 0x4001,
		}},
		{"simple descriptor", bytesOf(
			"39",           // sequence
			"00",           // status
			"9021",         // short address
			"10",           // length
			"01",           // endpoint
			"0104",         // profile
			"0202",         // device id
			"01",           // version bits
			"03",           // input count
			"000000010003", // input clusters
			"01",           // output count
			"0019",         // output cluster
		), message.SimpleDescriptor{
			Sequence: 0x39, Addr: 0x9021, Length: 16, Endpoint: 1, Profile: message.ProfileHomeAutomation,
			DeviceID: 0x0202, VersionBits: 1, InClusters: []uint16{0, 1, 3}, OutClusters: []uint16{message.ClusterOTA},
		}},
		{"power descriptor", bytesOf(
			"3b",   // sequence
			"00",   // status
			"c110", // level, present source, available sources, mode
		), message.PowerDescriptor{Sequence: 0x3B, BitFields: 0xC110}},
		{"active endpoints", bytesOf(
			"02",     // sequence
			"00",     // status
			"9021",   // short address
			"03",     // count
			"0102f2", // endpoints
		), message.ActiveEndpoints{Sequence: 2, Addr: 0x9021, Endpoints: []uint8{1, 2, 0xF2}}},
		{"match descriptor", bytesOf(
			"3a",   // sequence
			"00",   // status
			"9021", // short address
			"01",   // count
			"01",   // endpoint
		), message.MatchDescriptor{Sequence: 0x3A, Addr: 0x9021, Endpoints: []uint8{1}}},
		{"attribute read", bytesOf(
			"23",       // sequence
			"9021",     // short address
			"01",       // endpoint
			"0019",     // cluster
			"0002",     // attribute
			"00",       // status
			"23",       // data type
			"0004",     // size
			"20015630", // data
		), message.Attribute{
			Kind: message.TypeReadAttribute, Sequence: 0x23, Addr: 0x9021, Endpoint: 1, Cluster: message.ClusterOTA,
			ID: message.AttrOTAFileVersion, DataType: 0x23, Data: bytesOf("20015630"),
		}},
		{"attribute not supported", bytesOf(
			"23",   // sequence
			"9021", // short address
			"01",   // endpoint
			"0019", // cluster
			"0004", // attribute
			"86",   // status
			"ff",   // data type
			"0000", // size
		), message.Attribute{
			Kind: message.TypeReadAttribute, Sequence: 0x23, Addr: 0x9021, Endpoint: 1, Cluster: message.ClusterOTA,
			ID: message.AttrOTADownloadedVersion, Status: 0x86, DataType: 0xFF,
		}},
		{"attribute report", bytesOf(
			"62",   // sequence
			"5f4b", // short address
			"01",   // endpoint
			"0402", // cluster
			"0000", // attribute
			"00",   // status
			"29",   // data type
			"0002", // size
			"0810", // data
		), message.Attribute{
			Kind: message.TypeReportAttribute, Sequence: 0x62, Addr: 0x5F4B, Endpoint: 1, Cluster: 0x0402, DataType: 0x29,
			Data: bytesOf("0810"),
		}},
		{"attribute report without status", bytesOf(
			"62",   // sequence
			"5f4b", // short address
			"01",   // endpoint
			"0402", // cluster
			"0000", // attribute
			"29",   // data type
			"0002", // size
			"0810", // data
		), message.Attribute{
			Kind: message.TypeReportAttribute, Sequence: 0x62, Addr: 0x5F4B, Endpoint: 1, Cluster: 0x0402, NoStatus: true,
			DataType: 0x29, Data: bytesOf("0810"),
		}},
		{"attribute of 40 bits, which firmware announces only", bytesOf(
			"62",   // sequence
			"5f4b", // short address
			"01",   // endpoint
			"0402", // cluster
			"0000", // attribute
			"00",   // status
			"24",   // data type
			"0005", // size
		), message.Attribute{
			Kind: message.TypeReadAttribute, Sequence: 0x62, Addr: 0x5F4B, Endpoint: 1, Cluster: 0x0402, DataType: 0x24,
			Announced: 5,
		}},
		{"attribute written", bytesOf(
			"24",   // sequence
			"9021", // short address
			"01",   // endpoint
			"0000", // cluster
			"4000", // attribute
			"88",   // status
			"00",   // data type
			"0000", // size
		), message.Attribute{
			Kind: message.TypeWriteAttribute, Sequence: 0x24, Addr: 0x9021, Endpoint: 1, ID: message.AttrSoftwareBuild,
			Status: 0x88,
		}},
		{"default response", bytesOf(
			"45",   // sequence
			"01",   // source endpoint
			"0019", // cluster
			"03",   // command
			"98",   // status
		), message.DefaultResponse{
			Sequence: 0x45, SrcEndpoint: 1, Cluster: message.ClusterOTA, Command: 3, Status: message.OTANoImageAvailable,
		}},
		{"data indication", bytesOf(
			"00",                       // status
			"0104",                     // profile
			"0019",                     // cluster
			"01",                       // source endpoint
			"0b",                       // destination endpoint
			"02",                       // source address mode
			"9021",                     // source address
			"02",                       // destination address mode
			"0000",                     // destination address
			"012a01007c11011130560120", // ZCL
		), message.DataIndication{
			Profile: message.ProfileHomeAutomation, Cluster: message.ClusterOTA, SrcEndpoint: 1, DstEndpoint: 0x0B,
			SrcAddrMode: message.AddrModeNetwork, SrcAddr: 0x9021, DstAddrMode: message.AddrModeNetwork,
			Payload: bytesOf("012a01007c11011130560120"),
		}},
		{"data indication from an IEEE address", bytesOf(
			"00",               // status
			"0000",             // profile
			"8031",             // cluster
			"00",               // source endpoint
			"00",               // destination endpoint
			"03",               // source address mode
			"000b57fffe2c8904", // source address
			"03",               // destination address mode
			"00158d0001ed3395", // destination address
			"12",               // ZDP
		), message.DataIndication{
			Cluster: 0x8031, SrcAddrMode: message.AddrModeIEEE, SrcIEEE: deviceIEEE, DstAddrMode: message.AddrModeIEEE,
			DstIEEE: 0x00158D0001ED3395, Payload: []byte{0x12},
		}},
		{"image block request", bytesOf(
			"2c",               // sequence
			"0b",               // endpoint
			"0019",             // cluster
			"02",               // address mode
			"9021",             // address
			"000b57fffe2c8904", // node address
			"00001234",         // offset
			"20016630",         // file version
			"1101",             // image type
			"117c",             // manufacturer code
			"00fa",             // block request delay
			"40",               // maximum data size
			"03",               // field control
		), message.ImageBlockRequest{
			Sequence: 0x2C, Endpoint: 0x0B, Cluster: message.ClusterOTA, AddrMode: message.AddrModeNetwork, Addr: 0x9021,
			NodeAddress: deviceIEEE, Offset: 0x1234, FileVersion: 0x20016630, ImageType: 0x1101,
			ManufacturerCode: 0x117C, BlockRequestDelay: 250, MaxDataSize: 64,
			FieldControl: message.BlockHasNodeAddress | message.BlockHasDelay,
		}},
		{"upgrade end request", bytesOf(
			"99",       // sequence
			"0b",       // endpoint
			"0019",     // cluster
			"02",       // address mode
			"9021",     // address
			"20016630", // file version
			"1101",     // image type
			"117c",     // manufacturer code
			"96",       // status
		), message.UpgradeEndRequest{
			Sequence: 0x99, Endpoint: 0x0B, Cluster: message.ClusterOTA, AddrMode: message.AddrModeNetwork, Addr: 0x9021,
			FileVersion: 0x20016630, ImageType: 0x1101, ManufacturerCode: 0x117C, Status: message.OTAInvalidImage,
		}},
		{"status of up to 3.1c", bytesOf(
			"00",   // status
			"38",   // sequence
			"0042", // command
		), message.Status{Sequence: 0x38, Request: message.NodeDescriptorRequest{}.Type(), Form: message.StatusFormShort}},
		{"status of 3.1d", bytesOf(
			"00",   // status
			"0b",   // sequence
			"0092", // command
			"01",   // request sent
			"45",   // APS sequence
		), message.Status{
			Sequence: 0x0B, Request: message.OnOff{}.Type(), RequestSent: message.RequestSentZCL, APSSequence: 0x45,
			Form: message.StatusFormAPS,
		}},
		{"status", bytesOf(
			"14",   // status
			"00",   // sequence
			"0502", // command
			"00",   // request sent
			"7c",   // APS sequence
			"09",   // NPDUs
			"0e",   // APDUs
		), message.Status{
			Status: message.StatusNoBuffer, Request: message.ImageBlockResponse{}.Type(), APSSequence: 0x7C, NPDUUsed: 9, APDUUsed: 14,
			Form: message.StatusFormBuffers,
		}},
		{"confirm", bytesOf(
			"00",   // status
			"01",   // source endpoint
			"0b",   // destination endpoint
			"02",   // destination address mode
			"9021", // destination
			"7c",   // APS sequence
			"01",   // NPDUs
			"02",   // APDUs
		), message.Confirm{
			Kind: message.TypeConfirm, SrcEndpoint: 1, DstEndpoint: 0x0B, DstAddrMode: message.AddrModeNetwork, Addr: 0x9021,
			APSSequence: 0x7C, HasBuffers: true, NPDUUsed: 1, APDUUsed: 2,
		}},
		{"confirm to an IEEE address", bytesOf(
			"00",               // status
			"01",               // source endpoint
			"0b",               // destination endpoint
			"03",               // destination address mode
			"000b57fffe2c8904", // destination
			"7c",               // APS sequence
			"01",               // NPDUs
			"02",               // APDUs
		), message.Confirm{
			Kind: message.TypeConfirm, SrcEndpoint: 1, DstEndpoint: 0x0B, DstAddrMode: message.AddrModeIEEE, LongAddr: true,
			IEEE: deviceIEEE, APSSequence: 0x7C, HasBuffers: true, NPDUUsed: 1, APDUUsed: 2,
		}},
		{"confirm failed, 3.1b to 3.1d", bytesOf(
			"d4",   // status
			"01",   // source endpoint
			"0b",   // destination endpoint
			"02",   // destination address mode
			"320d", // destination
			"1f",   // APS sequence
		), message.Confirm{
			Kind: message.TypeConfirmFailed, Status: 0xD4, SrcEndpoint: 1, DstEndpoint: 0x0B,
			DstAddrMode: message.AddrModeNetwork, Addr: 0x320D, APSSequence: 0x1F,
		}},
		{"confirm failed, up to 3.1a", bytesOf(
			"a7",               // status
			"01",               // source endpoint
			"0b",               // destination endpoint
			"02",               // destination address mode
			"320d000000000000", // destination
			"1f",               // APS sequence
		), message.Confirm{
			Kind: message.TypeConfirmFailed, Status: 0xA7, SrcEndpoint: 1, DstEndpoint: 0x0B,
			DstAddrMode: message.AddrModeNetwork, LongAddr: true, IEEE: 0x320D000000000000, APSSequence: 0x1F,
		}},
		{"APS acknowledgement", bytesOf(
			"00",   // status
			"9021", // address
			"0b",   // destination endpoint
			"0019", // cluster
			"7c",   // APS sequence
		), message.APSAck{
			Addr: 0x9021, DstEndpoint: 0x0B, Cluster: message.ClusterOTA, HasAPSSequence: true, APSSequence: 0x7C,
		}},
		{"APS acknowledgement up to 3.1c", bytesOf(
			"00",   // status
			"9021", // address
			"0b",   // destination endpoint
			"0019", // cluster
		), message.APSAck{Addr: 0x9021, DstEndpoint: 0x0B, Cluster: message.ClusterOTA}},
		{"route discovery", bytesOf(
			"d0",   // status
			"01",   // network status
			"9021", // destination
		), message.RouteDiscovery{Status: 0xD0, NetworkStatus: 1, HasDestination: true, Destination: 0x9021}},
		{"route discovery up to 3.0f", bytesOf(
			"d0", // status
			"00", // network status
		), message.RouteDiscovery{Status: 0xD0}},
		{"network status", bytesOf(
			"9021", // address
			"0b",   // status
		), message.NetworkStatus{Addr: 0x9021, Status: 0x0B}},
		{"extended status", bytesOf("81"), message.ExtendedStatus{Code: 0x81}},
	}
}

// recordTooLarge is the event of a PDMEvent that says that the flash memory has no room for the largest record.
const recordTooLarge = 3
