package admission

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// IsUpdate reports whether an offer is newer than what a device runs. A version that is not known counts as
// older: the device itself decides in the end. An image whose version stands for any is for those who name
// it, one for other hardware versions for those who force it.
func IsUpdate(running *uint32, o Offer) bool {
	mayBe := !o.AnyVersion && !o.CalledInvalid && o.WrongHardware == ""
	return mayBe && (running == nil || o.Version > *running)
}

// Available reports whether an offer is an update for a device that may be installed without a person having
// named the device.
func Available(running *uint32, o Offer) bool { return IsUpdate(running, o) && !o.Doubtful }

// ForAll reports whether a device is one of those that a request for all devices means.
func ForAll(d Device, o *Offer) bool {
	return o != nil && Available(d.Version, *o) && !d.Upgrading && !d.Excluded
}

// Before is what happened with an offer's image and its device before.
type Before struct {
	Unfetched bool // the image could not be had a while ago
	Tried     bool // the device's last upgrade was to the same image, and has ended
	// Reason is why that did not succeed, and EndedAt when it ended.
	Reason  upgrade.Reason
	EndedAt time.Time
	// Returned is when the device was last heard after a long silence; zero where it was not.
	Returned time.Time
	// Proven says that a device here has been seen to run the image.
	Proven bool
	// DongleRefuses says that the dongle takes no blocks, and is not being tried again.
	DongleRefuses bool
}

// triedAgainAfter is how long after a failure of the device's own making the same image is tried again, where
// the device does not show sooner that it is back.
const triedAgainAfter = 24 * time.Hour

// mayTryAgain reports whether an image may be given to the device again without anybody having asked for it:
// what the device failed for has nothing to do with the image, and is likely to be over.
func (b Before) mayTryAgain(now time.Time) bool {
	switch b.Reason {
	case upgrade.ReasonNoResponse, upgrade.ReasonStalled, upgrade.ReasonBatteryLow,
		upgrade.ReasonDongleLost, upgrade.ReasonImageInfoNotFound:
		return b.Returned.After(b.EndedAt) || now.Sub(b.EndedAt) >= triedAgainAfter
	case upgrade.ReasonDongleRefuses: // the device has no part in it
		return !b.DongleRefuses
	case upgrade.ReasonCanaryFailed: // it was never given to this device
		return b.Proven
	default:
		return false
	}
}

// ByPolicy reports whether a device is to be upgraded to an offer, which is nil where there is none, without
// anybody having asked for it. An image that the device has refused, or whose upgrade a person has cancelled,
// is left to people.
func ByPolicy(d Device, o *Offer, before Before, now time.Time) bool {
	untried := !before.Tried || before.mayTryAgain(now)
	return ForAll(d, o) && d.Version != nil && !before.Unfetched && untried
}

// homeSpoken is how long after the dongle is there the devices of a home have said who they are. While one
// downloads nobody is asked.
const homeSpoken = 90 * time.Second

// PolicyActs reports whether upgrades are begun now that nobody has asked for: in the window, where one is
// configured, with a dongle that can be used and whose devices have had the time to say who they are.
func PolicyActs(g Dongle, window *upgrade.Window, now time.Time) bool {
	return g.Trouble == "" && g.For >= homeSpoken && (window == nil || !window.Next(now).After(now))
}
