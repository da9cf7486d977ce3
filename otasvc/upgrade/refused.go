package upgrade

import (
	"fmt"
	"time"
)

// Refused is an upgrade that was refused for its image or its device, see [Reason.Refuses]: it has failed
// before it began. The order has what is known of the image. why is one sentence for a person; empty stands
// for the reason's own. Its final answers are due as those of any other. last is the device's upgrade before,
// or nil: what was tried with the device is remembered.
func Refused(o Order, reason Reason, why string, last *Upgrade, now time.Time) *Upgrade {
	o.Group = 0
	u := &Upgrade{
		order:          o,
		stage:          StageFailed,
		outcome:        outcome{reason: reason, refused: true, sentence: why},
		queuedAt:       now,
		endedAt:        now,
		tries:          tries{attempt: 1},
		offeredVersion: o.ImageVersion,
	}
	if last != nil {
		u.outcome.before, _ = last.Tried()
	}
	return u
}

// Tried is an image that a device was to take.
type Tried struct {
	SHA256       string    `json:"sha256"`         // as in [Image]
	Kind         *Kind     `json:"kind,omitempty"` // nil where it is not known
	ImageVersion uint32    `json:"imageVersion,omitempty"`
	Reason       Reason    `json:"reason,omitempty"` // why that did not succeed
	EndedAt      time.Time `json:"endedAt,omitzero"` // zero where it has not ended
}

// Tried is the image that the device was last to take: that of the upgrade, or of the one before if this one
// was refused, or no image was found for it yet. It is nil where there was none. own says that it is that of
// the upgrade.
func (u *Upgrade) Tried() (tried *Tried, own bool) {
	if u.Refused() || u.stage == StageFetching || u.order.Missing {
		return u.outcome.before, false
	}
	tried = triedImage(&u.order.Image)
	tried.Reason = u.outcome.reason
	tried.EndedAt = u.endedAt
	return tried, true
}

// triedImage is an image as one that a device is to take.
func triedImage(image *Image) *Tried {
	return &Tried{SHA256: image.SHA256, Kind: image.Kind(), ImageVersion: image.ImageVersion}
}

// Is reports whether two images are the same one, see [Tried.Is].
func (i *Image) Is(other Image) bool { return triedImage(i).Is(other) }

// Tried is the image that the device was to take.
func (p *Past) Tried() *Tried {
	t := &Tried{SHA256: p.SHA256, Kind: p.Kind, Reason: p.Reason, EndedAt: p.EndedAt}
	if p.ImageVersion != nil {
		t.ImageVersion = *p.ImageVersion
	}
	return t
}

// WasTried reports whether the device was to take an image: one was found for it, and not refused.
func (p *Past) WasTried() bool {
	unfound := p.SHA256 == "" && p.Kind == nil
	return !p.wasRefused() && !unfound
}

// wasRefused reports whether the upgrade was refused, see [Refused].
func (p *Past) wasRefused() bool { return p.StartedAt.IsZero() && p.Reason.Refuses() }

// Is reports whether it is an image. As long as one of the two was not fetched, it is where they are for the
// same devices and have the same file version.
func (t *Tried) Is(image Image) bool {
	if t.SHA256 != "" && image.SHA256 != "" {
		return t.SHA256 == image.SHA256
	}
	kind := image.Kind()
	return t.Kind != nil && kind != nil && *t.Kind == *kind && t.ImageVersion == image.ImageVersion
}

// Refused reports whether the upgrade was refused, so that the device was never asked to take the image.
func (u *Upgrade) Refused() bool { return u.outcome.refused }

// Why is one sentence for a person on why the upgrade did not succeed, or does not go as it was asked for; it
// is empty where neither is so.
func (u *Upgrade) Why() string {
	switch {
	case u.outcome.sentence != "":
		return u.outcome.sentence
	case u.stage == StageDownloaded:
		return u.HeldTooShort()
	default:
		return u.outcome.reason.Explain()
	}
}

// HeldTooShort says for a person that the device will not keep its image for as long as was asked for; it is
// empty where it will.
func (u *Upgrade) HeldTooShort() string {
	i := &u.order.Installation
	from := u.downloadedAt
	if from.IsZero() {
		from = u.WantedSince()
	}
	held := i.When == InstallHold || i.When == InstallAt && i.At.Sub(from) > i.HoldLimit
	if i.HoldLimit == 0 || !held {
		return ""
	}
	return fmt.Sprintf("the device installs the image by itself %d hours after its download, whatever it is "+
		"told: the firmware for its chip does not wait any longer", int(i.HoldLimit.Hours()))
}

// WasRefusedFor reports whether the upgrade was refused for a reason and an image: who was told of that
// learns nothing from another refusal like it.
func (p *Past) WasRefusedFor(reason Reason, image Image) bool {
	return p.wasRefused() && p.Reason == reason && p.Tried().Is(image)
}

// Refuses reports whether a request that is refused for this reason is an upgrade that failed, which
// everybody is told of: the reason says something of the image or the device. A request that is refused for
// another reason is answered, and nothing else comes of it.
func (r Reason) Refuses() bool {
	switch r {
	case ReasonImageAccessFailed, ReasonImageValidationFailed, ReasonImageInfoNotFound,
		ReasonHardwareMismatch, ReasonInvalidImage, ReasonDowngradeRefused, ReasonBatteryLow, ReasonExcluded:
		return true
	default:
		return false
	}
}
