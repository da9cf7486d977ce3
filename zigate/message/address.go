package message

// Target says where an OTA or ZCL command goes. OTA commands know 16-bit addresses only: AddrModeNetwork,
// AddrModeNetworkNoAck or AddrModeBroadcast.
type Target struct {
	AddrMode    AddrMode
	Addr        uint16 // network address; with AddrModeBroadcast see there
	SrcEndpoint uint8  // OTAEndpoint: firmware refuses others with StatusEndpointRange
	DstEndpoint uint8  // of the device
}

// OTAEndpoint is the dongle's endpoint that holds the OTA server. OTA commands must have it as their source:
// firmware answers status 5 to any other (v1 from 3.1e on also takes 3).
const OTAEndpoint uint8 = 1

// AddrMode says how a destination or source is addressed.
type AddrMode uint8

// Address modes of the dongle. Two more, 0 and 6, send to what is in its binding table.
const (
	AddrModeGroup   AddrMode = 1
	AddrModeNetwork AddrMode = 2 // network address; an APS acknowledgement is requested
	AddrModeIEEE    AddrMode = 3 // IEEE address; an APS acknowledgement is requested
	// AddrModeBroadcast takes the class of those who receive from one byte of an OTA command's address, the
	// high one on v1 and the low one on v2: 0 for all, 1 for those whose receiver is on when idle, 2 for
	// routers. Network addresses of broadcasts like 0xFFFD do not work.
	AddrModeBroadcast    AddrMode = 4
	AddrModeNone         AddrMode = 5 // nothing is transmitted, and that is a success
	AddrModeNetworkNoAck AddrMode = 7 // network address, without an acknowledgement
	AddrModeIEEENoAck    AddrMode = 8 // IEEE address, without an acknowledgement
)

// long reports whether an address of this mode has 8 bytes.
func (m AddrMode) long() bool {
	return m == AddrModeIEEE || m == AddrModeIEEENoAck
}
