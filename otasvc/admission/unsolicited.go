package admission

import "github.com/zigate-ota/zigate-ota/otasvc/blocks"

// Stray is an image block request of a known device for which the block server had no transfer that fits.
type Stray struct {
	Result      blocks.Result // how the block server has answered it
	HasTransfer bool          // the device has a transfer by now
	Waits       bool          // the device has an upgrade that waits for the slot, and for no other device
	GoesOn      bool          // it goes on with the image of that upgrade, which is in the slot
	Offered     bool          // the loaded image is what it asks for, and it may have it
}

// StrayAction is what follows from a stray request.
type StrayAction uint8

// What can follow.
const (
	// Ignore it: nothing is wrong, or the next request is served.
	Ignore StrayAction = iota
	// GoOn with the download: the device is served.
	GoOn
	// BeginUpgrade of the device to the loaded image.
	BeginUpgrade
	// Tell people that a device asks for an image that is not meant for it.
	Tell
)

// StrayVerdict is what was decided about a stray request.
type StrayVerdict struct {
	Action StrayAction
	// Refuse the request first: the block server has left it without an answer, and it is not to be served.
	Refuse bool
	// Answer the request, which has none yet, with its block as soon as the device may have it.
	Answer bool
	// StillAsks is to be told to the upgrade that waits: its device is busy with something else.
	StillAsks bool
}

// Unsolicited decides what follows from a stray request.
func Unsolicited(s Stray) StrayVerdict {
	unanswered := s.Result == blocks.Unknown
	switch {
	case s.Result == blocks.Served:
		return StrayVerdict{Action: Ignore}
	case s.HasTransfer && s.Result != blocks.WrongImage:
		return StrayVerdict{Action: Ignore} // it was put in place meanwhile
	case s.Waits && s.GoesOn && unanswered:
		return StrayVerdict{Action: GoOn, Answer: true}
	case s.Waits:
		return StrayVerdict{Action: Tell, Refuse: unanswered, StillAsks: true}
	case s.Offered && s.Result != blocks.WrongImage:
		return StrayVerdict{Action: BeginUpgrade, Answer: unanswered}
	default:
		return StrayVerdict{Action: Tell, Refuse: unanswered}
	}
}
