package metrics

import (
	"slices"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// other is the label value for everything outside the closed sets below. It keeps the number of series
// bounded, whatever the radio or a state file of another version brings.
const other = "other"

// Directions of a frame, seen from the service.
const (
	received = "rx"
	sent     = "tx"
)

// frameTypes returns all known message types, by direction.
func frameTypes() (fromDongle, toDongle []message.MsgType) {
	for n := range 1 << 16 {
		switch t := message.MsgType(n); {
		case !t.Known():
		case t.FromDongle():
			fromDongle = append(fromDongle, t)
		default:
			toDongle = append(toDongle, t)
		}
	}
	return fromDongle, toDongle
}

// blockResults returns all answers to image block requests.
func blockResults() []blocks.Result {
	return []blocks.Result{
		blocks.Served, blocks.Held, blocks.Aborted, blocks.OutOfRange,
		blocks.WrongImage, blocks.Unsolicited, blocks.Unknown,
	}
}

// states returns all states of upgrades.
func states() []upgrade.State { return serviceWords[upgrade.State](contract.States()) }

// running reports whether a device in this state is at its download or its installation. A device that holds
// a complete image and waits to be told to install it, perhaps for days, is at neither.
func running(s upgrade.State) bool {
	switch s {
	case upgrade.Notified, upgrade.Downloading, upgrade.Paused, upgrade.Applying:
		return true
	default:
		return false
	}
}

// endings returns the reasons with which upgrades end, by final state. Their series begin at 0: else the
// first upgrade that ends for a reason would not count as an increase.
func endings() map[upgrade.State][]upgrade.Reason {
	return map[upgrade.State][]upgrade.Reason{
		upgrade.Succeeded: {upgrade.NoReason},
		upgrade.Cancelled: {upgrade.ReasonCancelled, upgrade.ReasonImageRemoved},
		upgrade.Failed: {
			upgrade.ReasonNoResponse, upgrade.ReasonStalled, upgrade.ReasonDeviceAborted,
			upgrade.ReasonInvalidImage, upgrade.ReasonRequireMoreImages, upgrade.ReasonVersionUnchanged,
			upgrade.ReasonNotRejoined, upgrade.ReasonImageInfoNotFound, upgrade.ReasonDongleLost,
			upgrade.ReasonDongleRefuses, upgrade.ReasonCanaryFailed, upgrade.ReasonBatteryLow,
		},
	}
}

// reasons returns the reasons of upgrades, and NoReason for those that succeed.
func reasons() []upgrade.Reason {
	return append(serviceWords[upgrade.Reason](contract.Reasons()), upgrade.NoReason)
}

// fetchOutcomes returns the outcomes of fetching an image.
func fetchOutcomes() []otasvc.Status {
	return []otasvc.Status{
		otasvc.Success, otasvc.ImageAccessFailed, otasvc.ImageValidationFailed, otasvc.Failure,
	}
}

// statuses returns all statuses of answers to requests.
func statuses() []otasvc.Status { return serviceWords[otasvc.Status](contract.Statuses()) }

// serviceWords converts values of the contract to the service's type, which has the same texts.
func serviceWords[T, Word ~string](words []Word) []T {
	list := make([]T, len(words))
	for i, word := range words {
		list[i] = T(word)
	}
	return list
}

// among returns the label value for a member of a closed set, and other for everything else.
func among[T ~string](set []T, value T) string {
	if slices.Contains(set, value) {
		return string(value)
	}
	return other
}
