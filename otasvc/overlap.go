package otasvc

import (
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// overlap says which downloads go on while the header slot is another image's. The dongle refuses each block
// of an image that it does not hold, with a default response; the block comes from the host all the same.
// Nearly all OTA clients end their download then. Telink's goes on, so a device that takes an image of its
// needs the slot only until it asks for its first block. A device that does mind is remembered, and needs the
// slot from then on. It belongs to the owner goroutine.
type overlap struct {
	allowed bool
	slot    *headerSlot
	log     *slog.Logger

	apart map[*device]apart // downloads under way while the slot is another image's
}

// apart is how a download stood when the slot became another image's.
type apart struct {
	since   time.Time
	attempt int
	again   uint32 // how often the device had begun again
}

// newOverlap returns an overlap that has seen nothing yet.
func newOverlap(allowed bool, slot *headerSlot, log *slog.Logger) *overlap {
	return &overlap{allowed: allowed, slot: slot, log: log, apart: map[*device]apart{}}
}

// ignoresRefusal reports whether a device's download goes on while the slot is another image's. One whose
// installation is to wait is no such download: it ends with the slot empty.
func (o *overlap) ignoresRefusal(d *device) bool {
	if !o.allowed || d.Facts().MindsRefusal || d.upgrade.KeepsLastBlock() {
		return false
	}
	im := o.slot.memory.get(d.upgrade.Image().SHA256)
	return im != nil && im.chip == otafile.ChipTelink
}

// observe looks for devices that do mind, among those whose downloads go on without the slot.
func (o *overlap) observe(active []*device, now time.Time) {
	for d, was := range o.apart {
		if o.minds(d, was, now) {
			o.log.Warn("a device minds that the dongle refuses its blocks while another image is loaded; "+
				"from now on its downloads have the header slot for themselves", "euid", d.EUID())
			d.SetMindsRefusal()
			delete(o.apart, d)
		} else if d.active() == nil || o.slot.holds(d) {
			delete(o.apart, d)
		}
	}
	for _, d := range active {
		u := d.upgrade
		if _, known := o.apart[d]; known || !o.isApart(d) {
			continue
		}
		o.apart[d] = apart{since: now, attempt: u.Attempt(), again: u.BeganAgain()}
	}
}

// isApart reports whether a device's download goes on without the slot.
func (o *overlap) isApart(d *device) bool {
	return d.upgrade.Stage() == upgrade.StageDownloading && d.upgrade.Begun() && o.ignoresRefusal(d) &&
		!o.slot.holds(d)
}

// minds reports whether a device behaves as if a refusal had ended its download: it looks for an image again,
// begins again, falls silent, or has failed.
func (o *overlap) minds(d *device, was apart, now time.Time) bool {
	u := d.upgrade
	switch {
	case u.Attempt() != was.attempt, u.BeganAgain() != was.again, u.QueriedAt().After(was.since):
		return true
	case u.Ended():
		return u.Reason() == upgrade.ReasonStalled || u.Reason() == upgrade.ReasonDeviceAborted
	case u.Stage() != upgrade.StageDownloading:
		return false
	}
	active := u.ActiveAt()
	if active.Before(was.since) {
		active = was.since
	}
	return now.Sub(active) > slot.SilentAfter
}
