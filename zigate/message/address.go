package message

// Target is where an OTA or ZCL command goes. OTA commands know 16-bit addresses only: AddrModeShort,
// AddrModeShortNoAck or AddrModeBroadcast.
type Target struct {
	AddrMode    AddrMode
	Addr        uint16 // short address; for AddrModeBroadcast see BroadcastAddr
	SrcEndpoint uint8  // OTAEndpoint: firmware refuses others with StatusEndpointRange
	DstEndpoint uint8  // of the device
}

// OTAEndpoint is the dongle's endpoint that holds the OTA server. OTA commands must have it as their source:
// firmware answers status 5 to any other (v1 from 3.1e on also takes 3).
const OTAEndpoint uint8 = 1

// AddrMode says how a destination or source is addressed.
type AddrMode uint8

// Address modes of the dongle.
const (
	AddrModeBound      AddrMode = 0
	AddrModeGroup      AddrMode = 1
	AddrModeShort      AddrMode = 2 // short address, APS acknowledgement requested
	AddrModeIEEE       AddrMode = 3
	AddrModeBroadcast  AddrMode = 4
	AddrModeNone       AddrMode = 5 // nothing is transmitted, and that is a success
	AddrModeBoundNoAck AddrMode = 6
	AddrModeShortNoAck AddrMode = 7
	AddrModeIEEENoAck  AddrMode = 8
)

// long tells whether an address of this mode is written with 8 bytes.
func (m AddrMode) long() bool {
	return m == AddrModeIEEE || m == AddrModeIEEENoAck
}
