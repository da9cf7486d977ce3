package slot

import (
	"cmp"
	"slices"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Obstacle is why a person must not load another header now.
type Obstacle uint8

// Every obstacle.
const (
	// NoObstacle: the header may be loaded.
	NoObstacle Obstacle = iota
	// SlotInUse: the slot has to stay as it is for the next moments, for a last block or a slot switch.
	SlotInUse
	// OtherDownload: a device downloads another image, and its download would break off.
	OtherDownload
	// InstallWaits: a device has this image and is not to install it yet; with the header loaded the dongle
	// would tell it to install.
	InstallWaits
)

// Conflict says why the header of an image must not be loaded by hand now, and because of which device. The
// device is 0 where the obstacle has none.
func Conflict(v View, key Key) (Obstacle, message.IEEE) {
	if v.awaitsLastBlock() || v.Slot.Switching() {
		return SlotInUse, 0
	}
	upgrades := slices.SortedFunc(slices.Values(v.Upgrades), func(a, b Candidate) int {
		return cmp.Compare(a.Device, b.Device)
	})
	for i := range upgrades {
		c := &upgrades[i]
		switch {
		case (c.UsesSlot() || c.isPutOff() || c.Stage == PausedInQueue) && c.Key != key:
			return OtherDownload, c.Device
		case c.Stage == Withheld && c.Key == key:
			return InstallWaits, c.Device
		}
	}
	return NoObstacle, 0
}
