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
func ForAll(d Device, o *Offer) bool { return o != nil && Available(d.Version, *o) && !d.Upgrading }

// Before is what happened with an offer's image and its device before.
type Before struct {
	Unfetched bool // the image could not be had a while ago
	Tried     bool // the device's last upgrade was to the same image, and has ended
}

// ByPolicy reports whether a device is to be upgraded to an offer, which is nil where there is none, without
// anybody having asked for it. An image that has failed on the device, or was cancelled, is left to people.
func ByPolicy(d Device, o *Offer, before Before) bool {
	return ForAll(d, o) && d.Version != nil && !before.Unfetched && !before.Tried
}

// PolicyActs reports whether upgrades are begun now that nobody has asked for: in the window, where one is
// configured, with a dongle that can be used.
func PolicyActs(g Dongle, window *upgrade.Window, now time.Time) bool {
	return g.Trouble == "" && (window == nil || !window.Next(now).After(now))
}
