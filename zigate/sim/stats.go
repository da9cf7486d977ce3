package sim

import (
	"maps"
	"slices"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Stats counts what has happened since the dongle was made; resets do not clear it.
type Stats struct {
	// Received counts the commands that were executed, Sent the messages to the host. Frames lost on the way
	// to the dongle are in neither, frames lost on the way to the host are in Sent.
	Received, Sent map[message.MsgType]uint64
	// FramesRejected counts the frames of the host that the receiver dropped, which nobody is told.
	FramesRejected uint64
	// LineFaults counts the frames that Faults lost, damaged, doubled or held back.
	LineFaults uint64
	// DamagedBlocks lists the image blocks that a damaged frame brought and that went on air all the same:
	// the receiver's checksum is an XOR, and it takes bytes that are missing from the frame before. A host
	// cannot prevent them.
	DamagedBlocks []DamagedBlock
	// OutputLost counts the bytes that did not fit the transmit queue of firmware v1.
	OutputLost uint64

	// BlocksAsked counts the block requests of devices that reached the dongle, BlocksAnswered the image
	// blocks of the host that the dongle put on air.
	BlocksAsked, BlocksAnswered uint64
	// QueriesAnswered and QueriesRefused count the Query Next Image Requests that the dongle answered with an
	// image and without.
	QueriesAnswered, QueriesRefused uint64
	// DefaultResponses counts those that the dongle sent.
	DefaultResponses map[DefaultResponse]uint64
	// Refused counts the commands that the dongle answered with a status other than 0.
	Refused map[Refusal]uint64
	// AirLost counts the radio frames that did not arrive, or whose acknowledgement did not.
	AirLost uint64
	// Undelivered counts the frames of the dongle that it reported as failed.
	Undelivered uint64
	// Resets counts the resets, by command or not.
	Resets uint64
}

// DefaultResponse is a ZCL default response of the dongle on the OTA cluster: command 0x03 with status 0x98
// says that a block request does not fit the loaded header.
type DefaultResponse struct {
	Command, Status uint8
}

// DamagedBlock is the part of an image that a damaged block claimed to be.
type DamagedBlock struct {
	Offset uint32 // in bytes
	Size   int    // in bytes
}

// Refusal is a type of command with the status of 0x8000 that refused it.
type Refusal struct {
	Type   message.MsgType
	Status uint8
}

// BlocksRefused is how often the dongle told a device that no image is there for its block request.
func (s Stats) BlocksRefused() uint64 {
	return s.DefaultResponses[DefaultResponse{Command: otaBlockRequest, Status: message.OTANoImageAvailable}]
}

func newStats() *Stats {
	return &Stats{
		Received:         map[message.MsgType]uint64{},
		Sent:             map[message.MsgType]uint64{},
		DefaultResponses: map[DefaultResponse]uint64{},
		Refused:          map[Refusal]uint64{},
	}
}

// clone is a copy that does not change any more.
func (s *Stats) clone() Stats {
	c := *s
	c.Received = maps.Clone(s.Received)
	c.Sent = maps.Clone(s.Sent)
	c.DefaultResponses = maps.Clone(s.DefaultResponses)
	c.Refused = maps.Clone(s.Refused)
	c.DamagedBlocks = slices.Clone(s.DamagedBlocks)
	return c
}
