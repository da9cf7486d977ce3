package admission

import "github.com/zigate-ota/zigate-ota/otasvc/blocks"

// Stray is an image block request of a known device for which the block server had no transfer that fits.
type Stray struct {
	Result      blocks.Result // how the block server has answered it
	HasTransfer bool          // the device has a transfer by now
	Offered     bool          // the loaded image is what it asks for, and it may have it
}

// StrayAction is what follows from a stray request.
type StrayAction uint8

// What can follow.
const (
	// Ignore it: nothing is wrong, or the next request is served.
	Ignore StrayAction = iota
	// BeginUpgrade of the device to the loaded image.
	BeginUpgrade
	// Tell people that a device asks for an image that is not meant for it.
	Tell
)

// Unsolicited decides what follows from a stray request.
func Unsolicited(s Stray) StrayAction {
	switch {
	case s.Result == blocks.Served:
		return Ignore
	case s.HasTransfer && s.Result != blocks.WrongImage:
		return Ignore // it was put in place meanwhile
	case s.Result == blocks.Unsolicited && s.Offered:
		return BeginUpgrade
	default:
		return Tell
	}
}
