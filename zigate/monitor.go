package zigate

import "github.com/zigate-ota/zigate-ota/zigate/message"

// Monitor gets each frame of a dongle unchanged, besides the Handler. It is for sharing the dongle with
// other programs: SubmitFrame sends their commands, and the Monitor learns which answers belong to whom.
//
// Its methods are called one at a time, from the goroutine that reads the port, like those of the Handler,
// and must neither block nor keep what they are given.
type Monitor interface {
	// HandleFrame takes every good frame that is no status, before the Handler gets its message; an image
	// block request comes after it has been answered. The payload ends with the link-quality byte, see
	// message.Frame. The frame's type need not be known to this package.
	HandleFrame(f message.Frame)
	// HandleStatus takes every status but those of block answers. asker is the value that SubmitFor or
	// SubmitFrame got with the command, nil for commands of this program. waited is false where no command
	// waits for the status, because it came late or belongs to nobody here.
	HandleStatus(f message.Frame, s *message.Status, asker any, waited bool)
}
