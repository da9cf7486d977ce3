package slot

import (
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Key is what two upgrades must have in common to use the slot side by side. The zero key stands for no
// image.
type Key struct {
	SHA256  string // of the image, in hex
	Version uint32 // ZCL file version under which the dongle offers the image
}

const (
	// retryAfter is how long nothing is loaded after the dongle did not take a header.
	retryAfter = 2 * time.Second
	// resetTime is how long a dongle needs to start again.
	resetTime = 3 * time.Second
)

// content is what is known of the header in the slot.
type content uint8

const (
	unknown content = iota // nothing was loaded yet, or it is not known whether it was taken
	loaded                 // the dongle has confirmed the header of the state's key
	cleared                // the dongle has confirmed a header that fits no device
)

// State is what the dongle's header slot holds as far as is known, and what is under way with it. It is a
// value: each method that moves it returns the state afterwards and leaves its receiver as it was. The zero
// State is that of a dongle that has just started.
type State struct {
	key        Key // what is loaded or is being loaded
	content    content
	busy       bool      // a load or a clearing is under way
	retryAt    time.Time // nothing is loaded before
	refusals   int       // how often in a row the dongle did not take a header
	fresh      bool      // nobody has had anything of the header since it was sent
	madeRoom   Key       // the image that has made room for a moment and is to be loaded again
	generation int       // counts what makes the answer to an earlier load worthless
	keepUntil  time.Time // a header that nobody needs is kept until then
	// pagesAsked: version 2 of the firmware remembers an image page request, and refuses it a thousand times
	// a second as soon as another header is loaded. Only a reset lets it forget.
	pagesAsked    bool
	change        slotSwitch
	deferredSince time.Time // an offer waits for room in the dongle's buffers since then; see Deferred
}

// slotSwitch is a slot switch under way: the devices that download are being told to wait, so that another
// image can have the slot.
type slotSwitch struct {
	devices  []message.IEEE
	until    time.Time // the devices are to ask again then
	deadline time.Time // the switch ends then, whoever was told; zero means that no switch is under way
}

// Key returns the image that is loaded or is being loaded; the zero key means that there is none.
func (s State) Key() Key { return s.key }

// Holds reports whether the dongle has confirmed the header of an image.
func (s State) Holds(k Key) bool { return s.content == loaded && s.key == k }

// HoldsImage reports whether the dongle has confirmed the header of any image.
func (s State) HoldsImage() bool { return s.content == loaded }

// IsCleared reports whether the dongle has confirmed a header that fits no device.
func (s State) IsCleared() bool { return s.content == cleared }

// IsBusy reports whether a load or a clearing is under way.
func (s State) IsBusy() bool { return s.busy }

// IsEmpty reports whether nothing was loaded into the slot since the dongle started.
func (s State) IsEmpty() bool { return s.key == (Key{}) && s.content != cleared }

// Refusals returns how often in a row the dongle did not take a header.
func (s State) Refusals() int { return s.refusals }

// Generation returns a number that changes when the dongle loses its header. The answer to a load that was
// sent in another generation says nothing about the slot.
func (s State) Generation() int { return s.generation }

// PagesAsked reports whether the dongle remembers an image page request and has to be reset before another
// header is loaded.
func (s State) PagesAsked() bool { return s.pagesAsked }

// Switching reports whether a slot switch is under way.
func (s State) Switching() bool { return !s.change.deadline.IsZero() }

// TellsToWait reports whether a slot switch is under way that tells a device to wait.
func (s State) TellsToWait(device message.IEEE) bool {
	return slices.Contains(s.change.devices, device)
}

// Loading is the state after the header of an image was sent to the dongle.
func (s State) Loading(k Key) State {
	s.key = k
	s.content = unknown
	s.busy = true
	s.fresh = k != s.madeRoom
	s.madeRoom = Key{}
	return s
}

// Loaded is the state after the dongle has taken the header that was sent last.
func (s State) Loaded() State {
	s.busy = false
	s.content = loaded
	s.refusals = 0
	return s
}

// Clearing is the state after a header that fits no device was sent to the dongle.
func (s State) Clearing() State {
	s.key = Key{}
	s.content = unknown
	s.busy = true
	return s
}

// MakingRoom is the state in which the image in the slot makes room for a moment: for those who were offered
// it, it is as if it stayed.
func (s State) MakingRoom() State {
	s.madeRoom = s.key
	return s
}

// Cleared is the state after the dongle has taken the header that fits no device.
func (s State) Cleared() State {
	s.busy = false
	s.content = cleared
	s.refusals = 0
	return s
}

// Refused is the state after the dongle did not take a header, or its status was lost. Loading the same
// header again does no harm.
func (s State) Refused(now time.Time) State {
	s.busy = false
	s.refusals++
	s.retryAt = now.Add(retryAfter)
	return s
}

// Unsupported is the state after the dongle has said that it does not know the command that loads a header.
func (s State) Unsupported() State {
	s.busy = false
	return s
}

// LoadingByHand is the state after a person's load was sent: the slot holds what it held until the dongle
// answers.
func (s State) LoadingByHand() State {
	s.busy = true
	return s
}

// LoadedByHand is the state after the dongle has taken the header that a person loaded.
func (s State) LoadedByHand(k Key) State {
	s.busy = false
	s.key = k
	s.content = loaded
	return s
}

// RefusedByHand is the state after a person's load did not succeed. A dongle that has refused the header
// keeps the one that it had; without its answer it is not known what the slot holds.
func (s State) RefusedByHand(refused bool) State {
	s.busy = false
	if !refused {
		s.content = unknown
	}
	return s
}

// Lost is the state after the dongle has lost its header, or may have: it has restarted or was connected
// anew.
func (s State) Lost() State {
	s.generation++
	s.content = unknown
	s.busy = false
	s.retryAt = time.Time{}
	s.keepUntil = time.Time{}
	return s
}

// Restarted is the state after the dongle has said that it has started. Several messages say so in a row.
func (s State) Restarted() State {
	s.pagesAsked = false
	if s.IsEmpty() {
		s.retryAt = time.Time{} // there is no need to wait for it any longer
		return s
	}
	return s.Lost()
}

// Reset is the state after the dongle was told to reset itself.
func (s State) Reset(now time.Time) State {
	s = s.Lost()
	s.pagesAsked = false
	s.key = Key{}
	s.retryAt = now.Add(resetTime)
	return s
}

// Distrusted is the state in which the header is to be loaded again. The dongle cannot be asked what it
// holds, and a reset without a message leaves devices silent; loading the same header twice does no harm.
func (s State) Distrusted() State {
	if s.content == loaded {
		s.content = unknown
	}
	return s
}

// Kept is the state in which a header that nobody needs stays in the slot at least until a time.
func (s State) Kept(until time.Time) State {
	s.keepUntil = later(s.keepUntil, until)
	return s
}

// PageAsked is the state after a device has asked a dongle for a page that remembers such requests.
func (s State) PageAsked() State {
	s.pagesAsked = true
	return s
}

// SwitchBegun is the state after the devices of a decision to switch the slot are being told to wait.
func (s State) SwitchBegun(d BeginSwitch) State {
	s.change = slotSwitch{devices: d.PutOff, until: d.Until, deadline: d.Deadline}
	return s
}

// SwitchFinished is the state after the devices of the slot switch were put off.
func (s State) SwitchFinished() State {
	s.change = slotSwitch{}
	return s
}

// Deferred is the state after an offer was put off because the dongle's buffers are full.
func (s State) Deferred(now time.Time) State {
	s.deferredSince = now
	return s
}

// CalledBack is the state after downloads of the loaded image went on that had been put off.
func (s State) CalledBack() State {
	s.fresh = false
	return s
}

// Offered is the state after a device was offered the image: with full buffers the next offer waits for its
// own time.
func (s State) Offered(crowded bool, now time.Time) State {
	s.fresh = false
	s.deferredSince = time.Time{}
	if crowded {
		s.deferredSince = now
	}
	return s
}

// earlier returns the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
