package zigate

import "github.com/zigate-ota/zigate-ota/zigate/message"

// Monitor sees what a dongle says, frame by frame as it came, besides the Handler. It is for sharing a dongle
// with other software: with SubmitFrame it passes their commands on, and here it learns what is for whom.
//
// Its methods are called one at a time, from the goroutine that reads the port, like those of the Handler,
// and must neither block nor keep what they are given.
type Monitor interface {
	// HandleFrame takes every good frame that is no status, before the Handler gets its message; an image
	// block request comes after it has been answered. The payload ends with the link-quality byte, see
	// message.Frame. It may be a frame that this package has no meaning for.
	HandleFrame(f message.Frame)
	// HandleStatus takes every status but those of block answers. asker is what SubmitFor or SubmitFrame was
	// given with the command, nil for commands of this program; waited is false if no command is known that
	// waits for it: it came late, or is somebody else's.
	HandleStatus(f message.Frame, s *message.Status, asker any, waited bool)
}
