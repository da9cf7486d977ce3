package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// upgrades is every upgrade of every device. It tells them what happens, and carries out what they say is to
// be done; what that is, package upgrade decides. It belongs to the owner goroutine.
type upgrades struct {
	s         *Service
	active    map[message.IEEE]*device // those whose upgrade has not ended
	groups    map[uint64]*group
	nextGroup uint64

	// kept counts changes of what the state file has of upgrades and groups; rights counts changes of who
	// may have blocks.
	kept    uint64
	rights  uint64
	inTable tableInputs // of the block server's table as it is
}

func newUpgrades(s *Service) upgrades {
	return upgrades{s: s, active: map[message.IEEE]*device{}, groups: map[uint64]*group{}}
}

// sorted lists the devices whose upgrade has not ended, by EUID.
func (us *upgrades) sorted() []*device { return sorted(us.active) }

// uses reports whether an upgrade that has not ended uses an image.
func (us *upgrades) uses(sha256 string) bool {
	for _, d := range us.active {
		if d.Upgrade.Image().SHA256 == sha256 {
			return true
		}
	}
	return false
}

// begin queues an upgrade of a device to an image that was offered. The order says when and for whom.
func (us *upgrades) begin(d *device, o *Offer, order upgrade.Order, now time.Time) *upgrade.Upgrade {
	order.Image = upgrade.Image{
		SHA256:           o.SHA256,
		ManufacturerCode: o.ManufacturerCode,
		ImageType:        o.ImageType,
		ImageVersion:     o.ImageVersion,
		Size:             o.Size,
		URL:              o.URL,
		DriverTypeID:     o.DriverTypeID,
		DriverVersion:    o.DriverVersion,
	}
	order.OldVersion = d.CurrentVersion()
	u := upgrade.New(order, now)
	d.Upgrade = u
	us.active[d.EUID()] = d
	us.changed(d)
	us.kept++
	us.s.log.Info("upgrade queued", "euid", d.EUID(), "name", d.Name(), "fileVersion", o.ImageVersion,
		"state", u.State())
	return u
}

// step tells a device's upgrade what happened, and does what is to be done about it. It reports whether
// anything was.
func (us *upgrades) step(d *device, e upgrade.Event, now time.Time) bool {
	u := d.active()
	if u == nil {
		return false
	}
	from := u.State()
	effects := u.Step(e, us.policy(d), now)
	if to := u.State(); to != from {
		us.s.log.Debug("upgrade", "euid", d.EUID(), "from", from, "to", to, "reason", u.Reason())
	}
	for _, effect := range effects {
		us.carryOut(d, u, effect, now)
	}
	return len(effects) > 0
}

// stepIf is step for what comes late: the device may have another upgrade by then.
func (us *upgrades) stepIf(d *device, u *upgrade.Upgrade, e upgrade.Event, now time.Time) {
	if d.Upgrade == u {
		us.step(d, e, now)
	}
}

// stepAll tells all upgrades what happened.
func (us *upgrades) stepAll(e upgrade.Event, now time.Time) {
	for _, d := range us.sorted() {
		us.step(d, e, now)
	}
}

// policy is how a device's upgrade is done.
func (us *upgrades) policy(d *device) upgrade.Policy {
	p := &us.s.policy
	return upgrade.Policy{
		NotifyInterval: p.NotifyInterval,
		NotifyAttempts: p.NotifyAttempts,
		StallTimeout:   p.StallTimeout,
		RejoinTimeout:  p.RejoinTimeout,
		BlockInterval:  p.BlockInterval,
		Retries:        p.Retries,
		Slice:          p.Slice,
		Sleepy:         d.Sleepy(),
	}
}

// facts are what a device's upgrade has to know of the world around it now.
func (us *upgrades) facts(d *device) upgrade.Facts {
	s := us.s
	return upgrade.Facts{
		Connected: s.dongle.connected,
		Hindered:  s.hindered(),
		Away:      s.dongle.away,
		Addressed: d.Reachable(),
		Slot:      us.slotFor(d),
		QueryOnly: d.Mute() && s.watch.mode == message.RawModeHybrid,
	}
}

// slotFor says what the header slot is to a device's upgrade.
func (us *upgrades) slotFor(d *device) upgrade.SlotFor {
	switch key := us.s.slot.keyOf(d); {
	case us.s.slot.state.Holds(key):
		return upgrade.SlotHolds
	case us.s.slot.state.Key() == key:
		return upgrade.SlotOurs
	default:
		return upgrade.SlotOther
	}
}

// abortMemory is for how long the requests of a download that was ended are met with ABORT, and abortSlot how
// long the slot is kept for it.
const (
	abortMemory = 10 * time.Minute
	abortSlot   = 10 * time.Second
)

// tick lets time pass for all upgrades.
func (us *upgrades) tick(now time.Time) {
	for _, d := range us.sorted() {
		us.step(d, upgrade.Tick{Facts: us.facts(d)}, now)
	}
	for _, d := range us.s.home.devices {
		if d.aborting != nil && now.After(d.abortUntil) {
			d.aborting = nil
			us.rights++
		}
	}
}

// sync turns what the block server has counted into the upgrades' progress.
func (us *upgrades) sync(now time.Time) {
	for _, d := range us.active {
		us.syncDevice(d, now)
	}
}

func (us *upgrades) syncDevice(d *device, now time.Time) {
	if d.transfer == nil {
		return
	}
	p := d.transfer.Progress(now)
	if p.Requests == 0 {
		return
	}
	d.SeenAt(p.Last)
	us.step(d, upgrade.Progress{
		Position:    p.Position,
		First:       p.First,
		Restarts:    p.Restarts,
		StartedAt:   p.Started,
		LastRequest: p.Last,
	}, now)
}

// nextLook is how soon upgrades have to be looked at again, pauseIdle at most.
func (us *upgrades) nextLook(now time.Time) time.Duration {
	pause := pauseIdle
	for _, d := range us.active {
		u := d.Upgrade
		if us.s.dongle.connected && (u.State() == Queued || u.State() == Applying || u.Stage().IsPutOff()) {
			pause = min(pause, pauseSoon) // for the slot's planner, and for what the dongle is to show
		}
		if next := u.Next(us.facts(d)); !next.IsZero() {
			pause = min(pause, max(next.Sub(now), pauseBusy))
		}
	}
	return pause
}

// restore takes up a device's upgrade where an earlier life of the service left it. A running one gets its
// image and its right to blocks back before the dongle is even opened: its device may be asking at this
// moment.
func (us *upgrades) restore(d *device, now time.Time) {
	u := d.Upgrade
	switch {
	case u == nil:
		return
	case u.Ended():
		us.answerTickets(d, u) // it ended, but its answer was not given any more
		return
	}
	us.active[d.EUID()] = d
	us.step(d, upgrade.Restored{LongestPutOff: us.s.slot.policy().LongestPutOff()}, now)
	if !u.Stage().UsesSlot() && !u.Stage().IsPutOff() {
		return
	}
	im, err := us.s.slot.memory.load(u.Image().SHA256)
	if err != nil {
		us.s.log.Error("the image of a running upgrade cannot be read", "euid", d.EUID(), "err", err)
		return // the planner has it read again, and the upgrade ends if it stays so
	}
	us.admit(d, im)
}

// serveUnsolicited gives an image to a device that asked without an upgrade, where that is configured: the
// loaded one, if that is the one it asked for.
func (us *upgrades) serveUnsolicited(d *device, req message.ImageBlockRequest, now time.Time) bool {
	s := us.s
	im := s.slot.loaded()
	if d.active() != nil || im == nil {
		return false
	}
	h := im.header
	if h.ManufacturerCode != req.ManufacturerCode || h.ImageType != req.ImageType ||
		h.FileVersion != req.FileVersion {
		return false
	}
	if o := s.offers.registeredAs(im.sha256, d.Device); o != nil {
		us.begin(d, o, upgrade.Order{}, now)
		us.admit(d, im)
		return true
	}
	return false
}

// told is a device's record as it is to be told.
func (us *upgrades) told(d *device, now time.Time) DeviceRecord {
	r := us.s.record(d, now)
	if d.Upgrade != nil {
		shown := d.Upgrade.Telling(now)
		r.Upgrade = &shown
		us.step(d, upgrade.RecordTold{}, now)
	}
	return r
}

// recordOf is an upgrade as others see it; nil where there is none.
func recordOf(u *upgrade.Upgrade, now time.Time) *UpgradeRecord {
	if u == nil {
		return nil
	}
	r := u.Record(now)
	return &r
}

// operationOf is the operation record of an answer about an upgrade; running is the version on the device
// now.
func operationOf(u *upgrade.Upgrade, euid message.IEEE, running *uint32) *Operation {
	image := u.Image()
	op := &Operation{
		EUID:             euid,
		ManufacturerCode: &image.ManufacturerCode,
		ImageType:        &image.ImageType,
		ImageVersion:     &image.ImageVersion,
		OldImageVersion:  running,
		DriverTypeID:     &image.DriverTypeID,
		DriverVersion:    &image.DriverVersion,
	}
	if image.URL != "" {
		op.URL = &image.URL
	}
	return op
}
