package otasvc

import (
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
	"github.com/zigate-ota/zigate-ota/otasvc/canary"
	"github.com/zigate-ota/zigate-ota/otasvc/fetching"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// upgrades is every upgrade of every device. It tells them what happens, and carries out what they say is to
// be done; what that is, package upgrade decides. It does not know who asked for an upgrade, nor when the
// header slot becomes whose. It belongs to the owner goroutine.
type upgrades struct {
	policy *Policy
	now    func() time.Time

	home       *home
	groups     *groups
	dongle     *dongle
	slot       *headerSlot
	watch      *watch
	rights     *blockRights
	interviews *interviews
	inventory  *registry.Inventory
	searches   *registry.Searches
	sender     *sending.Sender
	keeper     *keeper
	outlet     *outlet
	observer   Observer
	log        *slog.Logger

	// fetches are where upgrades wait for their images to be fetched.
	fetches map[*device]*fetching.Waiting

	// post runs something on the owner goroutine, unless that has ended.
	post func(...func()) bool
	owed int // final answers that were given and that nobody is known to have yet
}

// begin queues an upgrade of a device, as one of its OTA clients, to an image that was offered. The order
// says when and for whom.
func (us *upgrades) begin(c client, o *Offer, order upgrade.Order, now time.Time) *upgrade.Upgrade {
	order.Image = o.image()
	order.OldVersion = c.ota.CurrentVersion
	order.ToldAs = toldAs(c, o)
	order.Installation.HoldLimit = us.holdLimit(o)
	us.home.begin(c.device, upgrade.New(order, now))
	return us.begun(c.device, now)
}

// toldAs is the version that an OTA client tells when it runs the image of an offer, where that is another
// than the file's and an earlier upgrade has shown it; nil otherwise.
func toldAs(c client, o *Offer) *uint32 {
	if is(c.fileVersion(), o.ImageVersion) && !is(c.ota.CurrentVersion, o.ImageVersion) {
		return c.ota.CurrentVersion
	}
	return nil
}

// holdLimit is how long a device keeps the image of an offer that it is told not to install yet; 0 stands for
// as long as it is told.
func (us *upgrades) holdLimit(o *Offer) time.Duration {
	image, ok := us.slot.memory.store.Image(o.SHA256)
	if !ok {
		return 0
	}
	return needs.HoldLimit(image.Chip)
}

// begun follows up on a device's upgrade that stands in the queue, or waits for its time, from now on.
func (us *upgrades) begun(d *device, now time.Time) *upgrade.Upgrade {
	if asksForBlocks(d, now) {
		us.step(d, upgrade.StillAsks{}, now)
	}
	u := d.upgrade
	us.log.Info("upgrade queued", "euid", d.EUID(), "name", d.Name(),
		"fileVersion", shownVersion(u.Image().ImageVersion), "running", shownRunning(d), "state", u.State())
	return u
}

// beginFetching begins an upgrade of a device, as one of its OTA clients, whose image is fetched first. The
// device must have no upgrade under way. image is what is known of it; the order says when, for whom, and
// what was asked for.
func (us *upgrades) beginFetching(
	c client, image upgrade.Image, order upgrade.Order, now time.Time,
) *upgrade.Upgrade {
	d := c.device
	order.Image = image
	order.OldVersion = c.ota.CurrentVersion
	u := upgrade.NewFetching(order, d.upgrade, now)
	us.home.beginFetching(d, u)
	us.log.Info("an upgrade begins with its image being fetched or chosen",
		"euid", d.EUID(), "name", d.Name(), "url", image.URL)
	return u
}

// fetched has the upgrade of a device, as one of its OTA clients, go on to the image of an offer, which was
// fetched for it.
func (us *upgrades) fetched(c client, o *Offer, now time.Time) *upgrade.Upgrade {
	d := c.device
	us.step(d, upgrade.ImageFetched{
		Image:      o.image(),
		OldVersion: c.ota.CurrentVersion,
		ToldAs:     toldAs(c, o),
		HoldLimit:  us.holdLimit(o),
	}, now)
	us.home.fetched(d)
	delete(us.fetches, d)
	return us.begun(d, now)
}

// isFetching reports whether the image of a device's upgrade is being fetched.
func isFetching(d *device) bool {
	return d.upgrade != nil && d.upgrade.Stage() == upgrade.StageFetching
}

// refused enters an upgrade of a device, as one of its OTA clients, that was refused for its image or the
// device, and tells everybody. The device must have no upgrade under way.
func (us *upgrades) refused(
	c client, image upgrade.Image, order upgrade.Order, reason upgrade.Reason, why string, now time.Time,
) {
	d := c.device
	order.Image = image
	order.OldVersion = c.ota.CurrentVersion
	u := upgrade.Refused(order, reason, why, d.upgrade, now)
	us.home.begin(d, u)
	us.ended(d, u, now)
}

// step tells a device's upgrade what happened, and does what is to be done about it. It reports whether
// anything was.
func (us *upgrades) step(d *device, e upgrade.Event, now time.Time) bool {
	u := d.active()
	if u == nil {
		return false
	}
	return us.stepOf(d, u, e, now)
}

// stepOf is step for an upgrade that the device may have had before, or that has ended.
func (us *upgrades) stepOf(d *device, u *upgrade.Upgrade, e upgrade.Event, now time.Time) bool {
	from := u.State()
	effects := u.Step(e, us.policyFor(d), now)
	if to := u.State(); to != from {
		if to == upgrade.Applying {
			image := u.Image()
			d.SetInstalled(image.ImageType, image.ImageVersion)
		}
		us.log.Debug("upgrade", "euid", d.EUID(), "from", from, "to", to, "reason", u.Reason())
	}
	for _, effect := range effects {
		us.carryOut(d, u, effect, now)
	}
	return len(effects) > 0
}

// versionTold tells a device's upgrade which version an OTA client of the device has told, where it is the
// client that the upgrade is for.
func (us *upgrades) versionTold(d *device, by registry.Client, now time.Time) {
	if d.active() == nil {
		return
	}
	if c := upgradedClient(d); c.ota.Same(&by) {
		us.step(d, upgrade.VersionRead{Version: *by.CurrentVersion}, now)
	}
}

// cancel ends a device's upgrade, and those that follow it. It reports whether there was any.
func (us *upgrades) cancel(d *device, now time.Time) bool {
	follow := us.cancelWaiting(d)
	return us.step(d, upgrade.Cancel{}, now) || follow
}

// stepIf is step for what comes late: the device may have another upgrade by then.
func (us *upgrades) stepIf(d *device, u *upgrade.Upgrade, e upgrade.Event, now time.Time) {
	if d.upgrade == u {
		us.step(d, e, now)
	}
}

// stepAll tells all upgrades what happened.
func (us *upgrades) stepAll(e upgrade.Event, now time.Time) {
	for _, d := range us.home.upgrading() {
		us.step(d, e, now)
	}
}

// policyFor is how a device's upgrade is done.
func (us *upgrades) policyFor(d *device) upgrade.Policy {
	p := us.policy
	limits := us.rights.needs.of(d)
	return upgrade.Policy{
		NotifyInterval: p.NotifyInterval,
		NotifyAttempts: limits.NotifyAttempts,
		StallTimeout:   limits.StallTimeout,
		StallSet:       limits.StallSet,
		Silence:        limits.Silence,
		RejoinTimeout:  p.RejoinTimeout,
		BlockInterval:  limits.BlockInterval,
		Retries:        p.Retries,
		Slice:          p.Slice,
		Sleepy:         d.Sleepy(),
		AsksByItself:   d.Facts().AsksByItself && d.Facts().DeafEndpoint == 0,
	}
}

// configure sets what holds for a device alone, from now on, and for the download under way, too. An upgrade
// that has not begun is cancelled where it does not go past an exclusion. The error says what is wrong with
// the settings; then nothing is changed.
func (us *upgrades) configure(d *device, set needs.Settings, now time.Time) error {
	limits := us.rights.needs.with(d, set)
	if err := limits.Check(); err != nil {
		return err
	}
	d.Configure(set)
	us.rights.limit(d)
	if set.Excludes() {
		us.cancelWaiting(d)
	}
	if u := d.active(); u != nil && set.Excludes() && !u.Forced() && waits(u) {
		us.step(d, upgrade.Cancel{}, now)
	}
	us.log.Info("a device was configured", "euid", d.EUID(), "name", d.Name(), "excluded", set.Excludes(),
		"blockSize", limits.LargestBlock, "blockInterval", limits.BlockInterval,
		"stallTimeout", limits.StallTimeout, "notifyAttempts", limits.NotifyAttempts)
	return nil
}

// waits reports whether an upgrade waits for its image, for its time, or for its turn.
func waits(u *upgrade.Upgrade) bool {
	switch u.State() {
	case upgrade.Fetching, upgrade.Scheduled, upgrade.Queued:
		return true
	default:
		return false
	}
}

// facts are what a device's upgrade has to know of the world around it now.
func (us *upgrades) facts(d *device) upgrade.Facts {
	return upgrade.Facts{
		Connected: us.dongle.connected,
		Hindered:  us.slot.hindered(),
		Away:      us.dongle.away,
		Addressed: d.Reachable(),
		Slot:      us.slotFor(d),

		QueryOnly:   upgradedClient(d).ota.Mute,
		QueriesShow: us.watch.shows(),
		QueryAt:     us.inventory.Room(us.now()),
	}
}

// slotFor says what the header slot is to a device's upgrade.
func (us *upgrades) slotFor(d *device) upgrade.SlotFor {
	switch key := us.slot.keyOf(d); {
	case us.slot.state.Holds(key):
		return upgrade.SlotHolds
	case us.slot.state.Key() == key:
		return upgrade.SlotOurs
	default:
		return upgrade.SlotOther
	}
}

// tick lets time pass for all upgrades.
func (us *upgrades) tick(now time.Time) {
	for _, d := range us.home.upgrading() {
		us.step(d, upgrade.Tick{Facts: us.facts(d)}, now)
	}
	us.rights.expire(now)
}

// sync turns what the block server has counted into the upgrades' progress.
func (us *upgrades) sync(now time.Time) {
	for _, d := range us.home.active {
		us.syncDevice(d, now)
	}
}

// syncDevice is sync for one device.
func (us *upgrades) syncDevice(d *device, now time.Time) {
	if d.rights.transfer == nil {
		return
	}
	p := d.rights.transfer.Progress(now)
	if p.Requests == 0 {
		return
	}
	d.SeenAt(p.Last)
	us.rights.learnBlocks(d, p)
	us.step(d, upgrade.Progress{
		Position:    p.Position,
		First:       p.First,
		Restarts:    p.Restarts,
		StartedAt:   p.Started,
		LastRequest: p.Last,
		WaitsUntil:  p.WaitsUntil,
	}, now)
}

// followCanaries has each image that no device here is known to run given to one device first.
func (us *upgrades) followCanaries(now time.Time) {
	roles := us.canaryRoles(now)
	for euid, d := range us.home.active {
		role := roles[euid]
		if role.StepBack {
			us.step(d, upgrade.SlotGivenUp{InVain: true}, now)
		}
		if d.upgrade.Canary() != role.Leader {
			us.step(d, upgrade.WaitsFor{Device: role.Leader}, now)
		}
	}
}

// canaryRoles says who goes first with which image, and who waits. It changes nothing.
func (us *upgrades) canaryRoles(now time.Time) map[message.IEEE]canary.Role {
	if !us.policy.Canary || len(us.home.active) < 2 {
		return nil
	}
	run := us.home.running()
	candidates := make([]canary.Candidate, 0, len(us.home.active))
	for _, d := range us.home.active {
		if !isFetching(d) { // it has no image yet
			candidates = append(candidates, us.canaryCandidate(d, run, now))
		}
	}
	return canary.Roles(candidates, now)
}

// canaryCandidate is a device's upgrade, which has not ended, as far as it decides who goes first. run is
// what devices here run.
func (us *upgrades) canaryCandidate(d *device, run map[firmware]bool, now time.Time) canary.Candidate {
	u := d.upgrade
	f := d.Facts()
	c := canary.Candidate{
		Device:     d.EUID(),
		Image:      u.Image().SHA256,
		Standing:   canaryStanding(u),
		Proven:     run[firmwareOf(u)],
		Reachable:  d.Reachable(),
		Awake:      !f.Sleepy || now.Sub(f.LastSeen) < registry.AwakeFor,
		Mains:      !f.Sleepy,
		BatteryLow: f.Battery != nil && int(*f.Battery) < us.policy.MinBattery,
		InVain:     u.NotifiedInVain(),
		Stumbled:   u.Setback() != upgrade.NoReason && !canary.SpeaksAgainst(u.Setback()),
		LastSeen:   f.LastSeen,
		Since:      u.WantedSince(),
	}
	if f.Heard.LQI != nil {
		c.LQI = *f.Heard.LQI
	}
	return c
}

// canaryStanding is how far an upgrade has come, as far as it decides who goes first. One whose device gave
// an attempt up goes on leading: what becomes of its further attempts says whether the image is good.
func canaryStanding(u *upgrade.Upgrade) canary.Standing {
	begun := u.Begun() || canary.SpeaksAgainst(u.Setback())
	switch stage := u.Stage(); {
	case u.Forced(), stage == upgrade.StageScheduled, stage.PausedByPerson() && !begun:
		return canary.Elsewhere
	case begun:
		return canary.Begun
	case stage == upgrade.StageQueued:
		return canary.Waiting
	case stage == upgrade.StageNotified:
		return canary.Offered
	default:
		return canary.Begun
	}
}

// judgeHardware ends the upgrade of a device that has told its hardware version, where the header of its
// image is for other ones: nobody could judge that before.
func (us *upgrades) judgeHardware(d *device, now time.Time) {
	u := d.active()
	if u == nil {
		return
	}
	image, ok := us.slot.memory.store.Image(u.Image().SHA256)
	if !ok {
		return
	}
	limits := library.HeaderLimits(&image.Header)
	if why := wrongHardware(upgradedClient(d), Offer{limits: limits}); why != "" {
		us.step(d, upgrade.WrongHardware{Why: "the " + why + admission.ForceIt}, now)
	}
}

// judgeImage ends the upgrades of those that wait for a device whose end speaks against their image.
func (us *upgrades) judgeImage(d *device, u *upgrade.Upgrade, now time.Time) {
	if !us.policy.Canary || u.Forced() || u.Refused() || !canary.SpeaksAgainst(u.Reason()) {
		return
	}
	if us.home.running()[firmwareOf(u)] {
		return
	}
	bad := u.Image()
	for _, other := range us.home.upgrading() {
		image := other.upgrade.Image()
		if image.Is(bad) && !other.upgrade.Forced() && other != d {
			us.step(other, upgrade.CanaryFailed{}, now)
		}
	}
	us.endWaiting(func(g *group, m *member) bool {
		return m.isTo(bad) && !g.Follow.Forced
	}, upgrade.Failed, upgrade.ReasonCanaryFailed)
}

// awaitQuery reports whether there is an upgrade of which nothing but a query of its device can say how it
// went.
func (us *upgrades) awaitQuery() bool {
	for _, d := range us.home.active {
		if upgradedClient(d).ota.Mute && d.upgrade.State() == upgrade.Applying {
			return true
		}
	}
	return false
}

// nextLook is how soon upgrades have to be looked at again, pauseIdle at most.
func (us *upgrades) nextLook(now time.Time) time.Duration {
	pause := pauseIdle
	for _, d := range us.home.active {
		u := d.upgrade
		if us.dongle.connected && u.State() == upgrade.Applying {
			pause = min(pause, pauseSoon) // for what the dongle is to show
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
	for _, earlier := range d.beside.Owed {
		us.answerTickets(d, earlier)
	}
	switch before := d.beside.Before; {
	case !isFetching(d):
		d.beside.Before = nil
	case before != nil: // its final answer is owed as one of those above
		us.stepOf(d, before, upgrade.Answered{}, now)
	}
	u := d.upgrade
	switch {
	case u == nil:
		return
	case u.Ended():
		us.answerTickets(d, u) // it ended, but its answer was not given any more
		return
	}
	us.step(d, upgrade.Restored{LongestWait: slot.LongestWait}, now)
	if !u.Stage().UsesSlot() && !u.Stage().IsPutOff() {
		return
	}
	im, err := us.slot.memory.load(u.Image().SHA256)
	if err != nil {
		us.log.Error("the image of a running upgrade cannot be read", "euid", d.EUID(), "err", err)
		return // the planner has it read again, and the upgrade ends if it stays so
	}
	us.rights.admit(d, im)
}

// recordOf is a device's upgrade as others see it; nil where there is none.
func recordOf(d *device, now time.Time) *upgrade.Record {
	if d.upgrade == nil {
		return nil
	}
	return toldUpgrade(d, d.upgrade.Record(now))
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
	if image.Missing {
		op.ManufacturerCode = nil
		op.ImageType = nil
		op.DriverTypeID = nil
		op.DriverVersion = nil
	}
	if image.NoVersion {
		op.ImageVersion = nil
	}
	if image.URL != "" {
		op.URL = &image.URL
	}
	return op
}
