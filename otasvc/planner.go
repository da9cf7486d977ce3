package otasvc

import (
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// planner shows [slot.Plan] how things stand, and has what that decides done: it tells the header slot what
// to load, and upgrades that the slot is theirs or another's. It decides nothing itself, and does not know
// where images come from nor who asked for an upgrade. It belongs to the owner goroutine.
type planner struct {
	home      *home
	dongle    *dongle
	slot      *headerSlot
	rights    *blockRights
	upgrades  *upgrades
	overlap   *overlap
	sender    *sending.Sender
	places    *places
	taking    *taking
	inventory *inventory
	log       *slog.Logger
	now       func() time.Time

	policy     slot.Policy
	minBattery int              // percent; a battery device below it is not upgraded
	restUntil  time.Time        // the planner is not asked before
	candidates []slot.Candidate // the memory of the views that follow looks at, one after the other
}

// slotPolicy is what of the policy is the planner's.
func slotPolicy(p *Policy) slot.Policy {
	return slot.Policy{
		Slice:          p.Slice,
		BlockInterval:  p.BlockInterval,
		PauseStep:      blocks.MaxHold * time.Second,
		CrowdedTimeout: sending.PutOffFor,
	}
}

// restFor is how long the planner is left alone after its decisions did not come to an end: the owner must go
// on with everything else.
const restFor = time.Second

// follow carries out what the planner decides until there is nothing to do.
func (p *planner) follow(now time.Time) {
	if now.Before(p.restUntil) {
		return
	}
	p.overlap.observe(p.home.upgrading(), now)
	most := 8 + 4*len(p.home.active) // a decision that changes nothing must not stop the owner
	for range most {
		view := p.view(p.candidates[:0], now)
		p.candidates = view.Upgrades
		decision := slot.Plan(view, now)
		if decision == nil {
			return
		}
		p.carryOut(decision, now)
	}
	p.restUntil = now.Add(restFor)
	p.log.Error("the planner of the header slot does not come to an end; please report this",
		"decisions", most)
}

// carryOut does what was decided.
func (p *planner) carryOut(decision slot.Decision, now time.Time) {
	switch dec := decision.(type) {
	case slot.Read:
		p.readImage(dec.SHA256)
	case slot.Load:
		p.slot.load(dec.Key)
	case slot.Clear:
		if dec.ForAMoment {
			p.slot.makeRoom()
		}
		p.slot.clear(nil)
	case slot.Reset:
		p.slot.forgetPages(now)
	case slot.Admit:
		for _, d := range p.devices(dec.Devices) {
			p.rights.admit(d, p.slot.image())
		}
	case slot.Offer:
		p.slot.offered(now)
		p.upgrades.step(p.home.get(dec.Device), upgrade.Offered{Version: dec.Key.Version}, now)
	case slot.Defer:
		p.slot.deferred(now)
	case slot.EndForBattery:
		p.upgrades.step(p.home.get(dec.Device), upgrade.BatteryLow{}, now)
	case slot.GiveUp:
		p.giveUp(dec.Devices, true, now)
		p.putAside(dec.Aside, now)
	case slot.BeginSwitch:
		p.beginSwitch(dec, now)
	case slot.FinishSwitch:
		p.finishSwitch(dec, now)
	case slot.CallBack:
		p.slot.calledBack()
		for _, d := range p.devices(dec.Devices) {
			p.upgrades.step(d, upgrade.CalledBack{}, now)
		}
	}
}

// next is when something may be to be done about the slot although nothing happens; zero where there is no
// such time.
func (p *planner) next(now time.Time) time.Time {
	if now.Before(p.restUntil) {
		return p.restUntil
	}
	view := p.view(p.candidates[:0], now)
	p.candidates = view.Upgrades
	return slot.Next(view, now)
}

// devices are those of a decision.
func (p *planner) devices(of []message.IEEE) []*device {
	devices := make([]*device, len(of))
	for i, euid := range of {
		devices[i] = p.home.get(euid)
	}
	return devices
}

// giveUp sends devices that were notified back to the queue, behind those that wait now; inVain says that
// they had the time to answer.
func (p *planner) giveUp(devices []message.IEEE, inVain bool, now time.Time) {
	for _, d := range p.devices(devices) {
		p.upgrades.step(d, upgrade.SlotGivenUp{InVain: inVain}, now)
	}
}

// putAside takes the slot from devices that fell silent in mid-download.
func (p *planner) putAside(devices []message.IEEE, now time.Time) {
	for _, d := range p.devices(devices) {
		p.rights.putOff(d, now) // what it was told earlier does not count for this
		p.upgrades.step(d, upgrade.PutOff{Until: now}, now)
	}
}

// beginSwitch has the devices that download told to wait with their next request.
func (p *planner) beginSwitch(dec slot.BeginSwitch, now time.Time) {
	p.giveUp(dec.GiveUp, false, now)
	for _, d := range p.devices(dec.PutOff) {
		p.rights.putOff(d, dec.Until)
	}
	p.slot.switchBegun(dec)
	p.log.Info("another image gets the header slot; the downloads under way are held meanwhile",
		"downloads", len(dec.PutOff))
}

// finishSwitch puts the devices off that have been told to wait, or had the time to ask.
func (p *planner) finishSwitch(dec slot.FinishSwitch, now time.Time) {
	p.slot.switchFinished()
	for _, d := range p.devices(dec.Devices) {
		told := putOffTold(d)
		p.upgrades.step(d, upgrade.PutOff{Until: dec.Until, Told: told}, now)
	}
}

// readImage reads an image from the store, for the upgrades that need it. One that cannot be read, because it
// is damaged or was removed from the store by somebody else, ends them.
func (p *planner) readImage(sha256 string) {
	p.slot.memory.read(sha256, func(_ *cachedImage, err error) {
		if err == nil {
			return
		}
		p.log.Error("an image cannot be read from the store; add it again", "sha256", sha256, "err", err)
		now := p.now()
		for _, d := range p.home.upgrading() {
			if d.upgrade.Image().SHA256 == sha256 {
				p.upgrades.step(d, upgrade.ImageUnavailable{}, now)
			}
		}
	})
}

// view is what is to be known of the service where something is decided about the slot. It changes nothing of
// the service. Its upgrades are appended to candidates, which is nil where the view gets memory of its own.
func (p *planner) view(candidates []slot.Candidate, now time.Time) slot.View {
	policy := p.policy
	policy.Concurrency = p.places.allowed()
	if p.dongle.acceptance.Tries() {
		policy.Concurrency = 1
	}
	for _, d := range p.home.active {
		if d.upgrade.Stage() != upgrade.StageFetching { // it cannot be offered anything yet
			candidates = append(candidates, p.candidate(d, now))
		}
	}
	return slot.View{
		Slot:     p.slot.state,
		Usable:   p.dongle.downloads(),
		NoNew:    p.dongle.badFlash,
		Empty:    p.inventory.needsSlot,
		Crowded:  p.sender.Crowded(now),
		Policy:   policy,
		Upgrades: candidates,
	}
}

// candidate is a device's upgrade, which has not ended, as far as the slot is concerned.
func (p *planner) candidate(d *device, now time.Time) slot.Candidate {
	u := d.upgrade
	battery := d.Facts().Battery
	return slot.Candidate{
		Device:       d.EUID(),
		Key:          p.slot.keyOf(d),
		Stage:        slotStage(u, now),
		Image:        p.slot.memory.state(u.Image().SHA256),
		QueuedSince:  u.QueuedSince(),
		WaitsSince:   u.WantedSince(),
		Named:        u.Group() == 0,
		DueAt:        u.DueAt(),
		NotBefore:    u.NotBefore(),
		Canary:       u.Canary(),
		Located:      d.Reachable(),
		BatteryLow:   battery != nil && int(*battery) < p.minBattery,
		InstallLater: u.KeepsLastBlock(),
		Silence:      p.rights.needs.of(d).Silence,
		Sleepy:       d.Sleepy(),
		AwakeUntil:   u.AwakeUntil(),
		Unanswered:   u.Unanswered(),
		Served:       d.rights.transfer != nil,
		Begun:        u.Begun(),
		OfferedAt:    u.OfferedAt(),
		ActiveAt:     u.ActiveAt(),
		Overlaps:     p.overlap.ignoresRefusal(d),
		LastBlock:    u.SlotIsKeptEmpty(now),
		Left:         u.Left(),
		Rate:         u.Pace(now),
		UsualRate:    p.home.usual.Of(d.EUID(), kindOf(d)),
		Held:         u.Stage().PausedByPerson(),
		Told:         putOffTold(d) || u.PutOffTold(),
		PutOffUntil:  u.PutOffUntil(),
	}
}

// slotStages say where an upgrade stands with regard to the slot.
var slotStages = map[upgrade.Stage]slot.Stage{
	upgrade.StageScheduled:     slot.Scheduled,
	upgrade.StageQueued:        slot.Queued,
	upgrade.StagePausedInQueue: slot.PausedInQueue,
	upgrade.StageNotified:      slot.Offered,
	upgrade.StageDownloading:   slot.Downloading,
	upgrade.StageFinishing:     slot.Downloading,
	upgrade.StagePaused:        slot.Paused,
	upgrade.StagePutOff:        slot.Paused,
	upgrade.StagePutOffPaused:  slot.Paused,
}

// slotStage is where an upgrade stands with regard to the slot.
func slotStage(u *upgrade.Upgrade, now time.Time) slot.Stage {
	if u.HoldsInstallation(now) {
		return slot.Withheld
	}
	return slotStages[u.Stage()]
}

// withheldBy is the device that has the image of another one's upgrade and waits to be told to install it, so
// that the other one has to wait; nil where there is none.
func (p *planner) withheldBy(d *device, now time.Time) *device {
	return p.home.get(slot.WithheldBy(p.view(nil, now), p.slot.keyOf(d)))
}

// working reports whether a header is loaded, or a device downloads or may begin to.
func (p *planner) working(now time.Time) bool {
	return p.slot.state.Key() != (slot.Key{}) || !p.quiet(now)
}

// quiet reports whether nobody downloads, and nobody can be expected to begin now.
func (p *planner) quiet(now time.Time) bool {
	if len(p.home.active) == 0 {
		return true
	}
	view := p.view(p.candidates[:0], now)
	p.candidates = view.Upgrades
	return slot.Quiet(view, now)
}

// forecast tells what is to be expected of the upgrades whose downloads have not ended, and when the last of
// those is complete.
func (p *planner) forecast(now time.Time) (places []slot.Place, end time.Time) {
	view := p.view(p.candidates[:0], now)
	p.candidates = view.Upgrades
	return slot.Forecast(view, now)
}
