package otasvc

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// device is a device of the registry with what the service does for it.
type device struct {
	*registry.Device
	Upgrade *upgrade.Upgrade
	// History has the upgrades that have ended, the newest first.
	History []PastUpgrade
	// upgradeRevision counts changes of what is told of Upgrade and History.
	upgradeRevision uint64

	deliveryFailedAt time.Time // when a failed delivery was last told as an event
	unsolicitedAt    time.Time // when an unsolicited request was last told as an event

	// transfer is the device's right to blocks of its upgrade's image; nil where it has none.
	transfer *blocks.Transfer
	// lastBlock is its request for the last block, where the installation is to wait.
	lastBlock message.ImageBlockRequest
	// endEndpoint is where its last upgrade end request came from; 0 where none was heard.
	endEndpoint uint8
	// aborting meets the requests of a download that was ended with ABORT, until abortUntil.
	aborting   *blocks.Transfer
	abortUntil time.Time
}

// active is the device's upgrade that has not ended, or nil.
func (d *device) active() *upgrade.Upgrade {
	if d.Upgrade == nil || d.Upgrade.Ended() {
		return nil
	}
	return d.Upgrade
}

// target is where a command to the device goes; its network address must be known.
func (d *device) target() message.Target {
	to, _ := d.Target()
	return to
}

// home is the devices of the home. The registry knows who they are; here each has its upgrade beside it.
type home struct {
	registry *registry.Devices
	devices  map[message.IEEE]*device
}

func newHome() home {
	return home{registry: registry.NewDevices(), devices: map[message.IEEE]*device{}}
}

// of is the device that the registry knows as d; nil for nil.
func (h *home) of(d *registry.Device) *device {
	if d == nil {
		return nil
	}
	return h.devices[d.EUID()]
}

// get is the device with an EUID, or nil.
func (h *home) get(euid message.IEEE) *device { return h.devices[euid] }

// at is the device with a network address, or nil.
func (h *home) at(addr uint16) *device { return h.of(h.registry.At(addr)) }

// find is the device that a request names, or nil.
func (h *home) find(ref DeviceRef) *device { return h.of(h.registry.Find(ref)) }

// knows reports whether a device has not been forgotten.
func (h *home) knows(d *device) bool { return h.devices[d.EUID()] == d }

// meet is the device with an EUID, which becomes known where it is new.
func (h *home) meet(euid message.IEEE) (d *device, isNew bool) {
	known, isNew := h.registry.Meet(euid)
	if isNew {
		h.devices[euid] = &device{Device: known}
	}
	return h.devices[euid], isNew
}

// restore takes in a device of an earlier life of the service.
func (h *home) restore(kept keptDevice, now time.Time) *device {
	d := &device{Device: h.registry.Restore(kept.Facts, now), Upgrade: kept.Upgrade, History: kept.History}
	h.devices[d.EUID()] = d
	return d
}

// forget drops a device.
func (h *home) forget(d *device) {
	h.registry.Forget(d.Device)
	delete(h.devices, d.EUID())
}

// sorted lists the devices by EUID.
func (h *home) sorted() []*device { return sorted(h.devices) }

func sorted(devices map[message.IEEE]*device) []*device {
	return slices.SortedFunc(maps.Values(devices), func(a, b *device) int {
		return cmp.Compare(a.EUID(), b.EUID())
	})
}
