package slot_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// What keeps a person from loading a header.
func TestConflict(t *testing.T) {
	hour := time.Hour
	minute := start.Add(time.Minute)
	begun := slot.BeginSwitch{PutOff: devices(bulb1), Until: minute, Deadline: minute}
	tests := map[string]struct {
		slot     slot.State
		upgrades []slot.Candidate
		want     slot.Obstacle
		device   message.IEEE
	}{
		"nothing": {want: slot.NoObstacle},
		"the same image": {
			upgrades: upgrades{downloading(bulb1, bulbs, hour)}, want: slot.NoObstacle,
		},
		"one that only waits": {upgrades: upgrades{queued(plug, plugs, hour)}, want: slot.NoObstacle},
		"a download": {
			upgrades: upgrades{downloading(plug, plugs, hour)}, want: slot.OtherDownload, device: plug,
		},
		"one that was put off": {
			upgrades: upgrades{putOff(plug, plugs, hour)}, want: slot.OtherDownload, device: plug,
		},
		"one paused in the queue": {
			upgrades: upgrades{queued(plug, plugs, hour, stage(slot.PausedInQueue))},
			want:     slot.OtherDownload, device: plug,
		},
		"the image is held back": {
			upgrades: upgrades{queued(bulb1, bulbs, hour, stage(slot.Withheld))},
			want:     slot.InstallWaits, device: bulb1,
		},
		"another image is held back": {
			upgrades: upgrades{queued(plug, plugs, hour, stage(slot.Withheld))}, want: slot.NoObstacle,
		},
		"the first of several": {
			upgrades: upgrades{downloading(lamp, lamps, hour), downloading(plug, plugs, hour)},
			want:     slot.OtherDownload, device: plug,
		},
		"a slot switch": {slot: holding(bulbs, hour).SwitchBegun(begun), want: slot.SlotInUse},
		"a last block": {
			upgrades: upgrades{downloading(bulb1, bulbs, hour, lastBlock)}, want: slot.SlotInUse,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := slot.View{Slot: tt.slot, Policy: policy, Upgrades: tt.upgrades}
			got, device := slot.Conflict(v, bulbs)
			if got != tt.want || device != tt.device {
				t.Errorf("%d because of %v, want %d because of %v", got, device, tt.want, tt.device)
			}
		})
	}
}
