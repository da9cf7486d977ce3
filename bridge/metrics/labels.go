package metrics

import (
	"slices"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// other is the label value for what is in none of the closed sets below, so that neither a talkative radio
// nor a state file of another version can add series without end.
const other = "other"

// Directions of a frame, seen from the service.
const (
	received = "rx"
	sent     = "tx"
)

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

func blockResults() []blocks.Result {
	return []blocks.Result{
		blocks.Served, blocks.Held, blocks.Aborted, blocks.OutOfRange,
		blocks.WrongImage, blocks.Unsolicited, blocks.Unknown,
	}
}

func states() []otasvc.State { return serviceWords[otasvc.State](contract.States()) }

// running reports whether a device in this state is at its download or its installation. One that holds a
// complete image and waits for the word, perhaps for days, is at neither.
func running(s otasvc.State) bool {
	switch s {
	case otasvc.Notified, otasvc.Downloading, otasvc.Paused, otasvc.Applying:
		return true
	default:
		return false
	}
}

// endings are the ways in which an upgrade ends, by its final state. They are counted from 0 on: the first of
// a kind would not be seen as an increase otherwise.
func endings() map[otasvc.State][]otasvc.Reason {
	return map[otasvc.State][]otasvc.Reason{
		otasvc.Succeeded: {otasvc.NoReason},
		otasvc.Cancelled: {otasvc.ReasonCancelled, otasvc.ReasonImageRemoved},
		otasvc.Failed: {
			otasvc.ReasonNoResponse, otasvc.ReasonStalled, otasvc.ReasonDeviceAborted,
			otasvc.ReasonInvalidImage, otasvc.ReasonRequireMoreImages, otasvc.ReasonVersionUnchanged,
			otasvc.ReasonNotRejoined, otasvc.ReasonImageInfoNotFound, otasvc.ReasonDongleLost,
			otasvc.ReasonCanaryFailed, otasvc.ReasonBatteryLow,
		},
	}
}

// reasons are those of upgrades; an upgrade that succeeds has none.
func reasons() []otasvc.Reason {
	return append(serviceWords[otasvc.Reason](contract.Reasons()), otasvc.NoReason)
}

// fetchOutcomes are how the fetch of an image can end.
func fetchOutcomes() []otasvc.Status {
	return []otasvc.Status{
		otasvc.Success, otasvc.ImageAccessFailed, otasvc.ImageValidationFailed, otasvc.Failure,
	}
}

func statuses() []otasvc.Status { return serviceWords[otasvc.Status](contract.Statuses()) }

// serviceWords are words of the contract in the service's type: the same words.
func serviceWords[T, Word ~string](words []Word) []T {
	list := make([]T, len(words))
	for i, word := range words {
		list[i] = T(word)
	}
	return list
}

// among is the label value for one of a closed set.
func among[T ~string](set []T, value T) string {
	if slices.Contains(set, value) {
		return string(value)
	}
	return other
}
