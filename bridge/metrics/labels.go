package metrics

import (
	"slices"

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

func states() []otasvc.State {
	return []otasvc.State{
		otasvc.Scheduled, otasvc.Queued, otasvc.Notified, otasvc.Downloading, otasvc.Paused,
		otasvc.Downloaded, otasvc.Applying, otasvc.Succeeded, otasvc.Failed, otasvc.Cancelled,
	}
}

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

func reasons() []otasvc.Reason {
	return []otasvc.Reason{
		otasvc.NoReason, otasvc.ReasonUpToDate, otasvc.ReasonDowngradeRefused, otasvc.ReasonAlreadyQueued,
		otasvc.ReasonImageInfoNotFound, otasvc.ReasonNoResponse, otasvc.ReasonStalled,
		otasvc.ReasonDeviceAborted, otasvc.ReasonInvalidImage, otasvc.ReasonRequireMoreImages,
		otasvc.ReasonVersionUnchanged, otasvc.ReasonNotRejoined, otasvc.ReasonCancelled,
		otasvc.ReasonImageRemoved, otasvc.ReasonDongleLost, otasvc.ReasonCanaryFailed,
		otasvc.ReasonBatteryLow,
	}
}

// fetchOutcomes are how the fetch of an image can end.
func fetchOutcomes() []otasvc.Status {
	return []otasvc.Status{
		otasvc.Success, otasvc.ImageAccessFailed, otasvc.ImageValidationFailed, otasvc.Failure,
	}
}

func statuses() []otasvc.Status {
	return []otasvc.Status{
		otasvc.ServiceAvailable, otasvc.ServiceNotAvailable, otasvc.InProgress, otasvc.Success,
		otasvc.Failure, otasvc.ImageAccessFailed, otasvc.ImageValidationFailed, otasvc.DeviceNotFound,
		otasvc.InvalidData, otasvc.IncompatibleDriverVersion, otasvc.ImageInfoNotFound,
	}
}

// among is the label value for one of a closed set.
func among[T ~string](set []T, value T) string {
	if slices.Contains(set, value) {
		return string(value)
	}
	return other
}
