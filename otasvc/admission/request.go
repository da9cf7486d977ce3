package admission

import (
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// Request is what a person asks for, as far as that decides.
type Request struct {
	AtOnce         bool    // it is to begin now
	InstallNow     bool    // the device is to install the image as soon as it has it
	FromURL        bool    // the image is named by its URL
	Version        *uint32 // the file version that is asked for; nil stands for the newest
	AllowDowngrade bool    // an image that is older than what runs is taken
	// Force takes an image of the version that runs, that failed a check, that is for other hardware
	// versions, or that the device called invalid.
	Force bool
}

// Dongle is the dongle, as far as it decides.
type Dongle struct {
	Connected bool
	For       time.Duration // it has been connected
	// Trouble is why no upgrade can be done with it, in one sentence; empty where upgrades can be done.
	Trouble string
}

// Device is a device, as far as it decides.
type Device struct {
	Name         string
	Known        bool    // it was not forgotten meanwhile
	Upgrading    bool    // it has an upgrade that has not ended
	Sleepy       bool    // it hears only when it wakes
	Excluded     bool    // a person has excluded it: it is upgraded only when it is named, with force
	Version      *uint32 // the running file version; nil while it is not known
	VersionFresh bool    // the device itself has told it since the start
}

// Underway is the upgrade that a device has already.
type Underway struct {
	Downloaded bool   // the device has the image, and waits to be told to install it
	Version    uint32 // the image's file version
}

// Offer is the image that a device would get.
type Offer struct {
	Version uint32 // the file version
	Fits    bool   // it is for devices of this kind
	// WrongHardware says in a sentence why the hardware versions that the image is for exclude the device;
	// empty where they do not, or nobody can judge that yet.
	WrongHardware string
	CalledInvalid bool // the device has called it invalid
	Here          bool // it is in the store; else it has to be fetched
	AnyVersion    bool // its version stands for any, so it is newer than none
	Doubtful      bool // something about the image needs a person's judgement
}

// Action is what is to be done next.
type Action uint8

// Everything that can be done.
const (
	// Refuse the upgrade; the verdict says why.
	Refuse Action = iota
	// Release the installation of the image that the device has.
	Release
	// Fetch the image that the request names by its URL.
	Fetch
	// Choose the image of those that there are for the device.
	Choose
	// ReadVersion of the device, and go on whatever comes of that.
	ReadVersion
	// Ensure that the image is in the store, and decide again.
	Ensure
	// Queue the upgrade.
	Queue
)

// Cause says what an upgrade is refused for.
type Cause uint8

// Every cause.
const (
	NoCause Cause = iota
	// ForReason: the reason of the verdict says it.
	ForReason
	// DongleUnusable: no upgrade can be done with the dongle now.
	DongleUnusable
	// DeviceForgotten: the device was forgotten meanwhile.
	DeviceForgotten
	// NoImage: there is no image for the device. Why not, who knows the images has to say.
	NoImage
	// NoSuchVersion: there are images for the device, but none of the version that is asked for.
	NoSuchVersion
)

// Verdict is what was decided.
type Verdict struct {
	Action Action
	Cause  Cause          // where the action is Refuse
	Reason upgrade.Reason // with ForReason
	// Sentence says for a person why; it is empty where somebody else has to say it.
	Sentence string
}

// Failed reports whether the request was refused for its image or its device, so that it is told as an
// upgrade that failed.
func (v Verdict) Failed() bool { return v.Action == Refuse && v.Reason.Refuses() }

// refuse refuses for a reason.
func refuse(r upgrade.Reason) Verdict {
	return Verdict{Cause: ForReason, Reason: r, Sentence: r.Explain()}
}

// do has something done.
func do(a Action) Verdict { return Verdict{Action: a} }

// BeginAt is when an upgrade may begin that is asked for at a time, or for the window; the zero time stands
// for now. It is false where it is asked for the window and none is configured.
func BeginAt(at time.Time, inWindow bool, window *upgrade.Window, now time.Time) (time.Time, bool) {
	if inWindow {
		if window == nil {
			return time.Time{}, false
		}
		at = window.Next(now)
	}
	if !at.After(now) {
		return time.Time{}, true
	}
	return at, true
}

// Arrived decides what is done about a request for one device when it comes. underway is the upgrade that the
// device has already, or nil.
func Arrived(r Request, d Device, underway *Underway, g Dongle) Verdict {
	switch {
	case underway != nil && !r.installs(underway):
		return refuse(upgrade.ReasonAlreadyQueued)
	case underway == nil && d.Excluded && !r.Force:
		return refuse(upgrade.ReasonExcluded)
	case g.Trouble != "" && (underway != nil || r.AtOnce):
		return unusable(g)
	case underway != nil:
		return do(Release)
	case r.FromURL:
		return do(Fetch)
	default:
		return do(Choose)
	}
}

// ArrivedForAll decides what is done about a request for all devices: it is refused, or each device is chosen
// for whose image [ForAll] is true.
func ArrivedForAll(r Request, g Dongle) Verdict {
	if g.Trouble != "" && r.AtOnce {
		return unusable(g)
	}
	return do(Choose)
}

// unusable refuses for the dongle.
func unusable(g Dongle) Verdict { return Verdict{Cause: DongleUnusable, Sentence: g.Trouble} }

// installs reports whether a request asks for nothing else than that the image which a device has is
// installed now.
func (r Request) installs(u *Underway) bool {
	sameImage := !r.FromURL && (r.Version == nil || *r.Version == u.Version)
	return u.Downloaded && r.InstallNow && r.AtOnce && sameImage
}

// Fetched decides about the image that was fetched from the URL of a request. Manufacturer code and image
// type are the image's. The action is [Choose]: the image is the offer from here on.
func Fetched(r Request, d Device, o Offer, manufacturerCode, imageType uint16) Verdict {
	switch {
	case r.Version != nil && *r.Version != o.Version:
		return wrongImage("the image at the url has version 0x%08x, not the 0x%08x asked for",
			o.Version, *r.Version)
	case !o.Fits:
		return wrongImage("the image at the url is for manufacturer 0x%04x and image type 0x%04x "+
			"and does not fit %s", manufacturerCode, imageType, d.Name)
	case o.WrongHardware != "" && !r.Force:
		return wrongHardware(o)
	}
	return do(Choose)
}

// wrongImage refuses as the image at the URL is not the one that is asked for, or not for the device.
func wrongImage(format string, args ...any) Verdict {
	return Verdict{
		Cause:    ForReason,
		Reason:   upgrade.ReasonImageValidationFailed,
		Sentence: fmt.Sprintf(format, args...),
	}
}

// Offered decides what is done next about the offer of a request, which is nil where there is none; others
// says that there are images of other versions. What the state file says of a device's version may be old, so
// the device is asked. A sleeping device is asked only where its upgrade would be refused for that version:
// it will hardly answer, and an upgrade that waits for it reads the version when it wakes. Without a question
// the verdict is that of [Admit].
func Offered(r Request, d Device, g Dongle, o *Offer, others bool) Verdict {
	if o == nil {
		if r.Version != nil && others {
			return Verdict{
				Cause:    NoSuchVersion,
				Reason:   upgrade.ReasonImageInfoNotFound,
				Sentence: fmt.Sprintf("no image of version 0x%08x is registered for this device", *r.Version),
			}
		}
		return noImage()
	}
	if o.WrongHardware != "" && !r.Force {
		return Admit(r, d, *o) // whatever it runs
	}
	refused := d.Version != nil && *d.Version >= o.Version && !r.Force
	if !d.VersionFresh && g.Connected && (!d.Sleepy || refused) {
		return do(ReadVersion)
	}
	return Admit(r, d, *o)
}

// noImage refuses as there is no image for the device.
func noImage() Verdict { return Verdict{Cause: NoImage, Reason: upgrade.ReasonImageInfoNotFound} }

// ForceIt says, behind a sentence about an image, how a person gets past that.
const ForceIt = "; say \"force\": true to install it all the same"

// wrongHardware refuses for the hardware versions that the image is for.
func wrongHardware(o Offer) Verdict {
	return Verdict{
		Cause:    ForReason,
		Reason:   upgrade.ReasonHardwareMismatch,
		Sentence: "the " + o.WrongHardware + ForceIt,
	}
}

// Admit decides whether the upgrade to an offer is queued.
func Admit(r Request, d Device, o Offer) Verdict {
	switch {
	case !d.Known:
		return Verdict{Cause: DeviceForgotten}
	case d.Upgrading:
		return refuse(upgrade.ReasonAlreadyQueued)
	case d.Excluded && !r.Force:
		return refuse(upgrade.ReasonExcluded)
	case !o.Fits:
		return noImage()
	case o.WrongHardware != "" && !r.Force:
		return wrongHardware(o)
	case d.Version != nil && *d.Version == o.Version && !r.Force:
		return refuse(upgrade.ReasonUpToDate)
	case d.Version != nil && *d.Version > o.Version && !r.AllowDowngrade:
		return refuse(upgrade.ReasonDowngradeRefused)
	case o.CalledInvalid && !r.Force:
		return refuse(upgrade.ReasonInvalidImage)
	case !o.Here:
		return do(Ensure) // and it is not cleaned away now
	}
	return do(Queue)
}
