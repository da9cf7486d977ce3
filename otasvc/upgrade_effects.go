package otasvc

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// carryOut does what a device's upgrade says is to be done.
func (us *upgrades) carryOut(d *device, u *upgrade.Upgrade, effect upgrade.Effect, now time.Time) {
	switch e := effect.(type) {
	case upgrade.Changed:
		d.changed()
	case upgrade.Save:
		us.home.upgradeChanged()
		if e.AtOnce {
			us.saveAtOnce()
		}
	case upgrade.Tell:
		us.outlet.happened(us.event(EventName(e.What), d, u, e.Offset))
	case upgrade.Remark:
		us.remark(d, u, e.What)
	case upgrade.GiveUpFetch:
		us.fetches[d].Leave()
		delete(us.fetches, d)
	case upgrade.Ended:
		us.ended(d, u, now)
	case upgrade.TakenBack:
		us.takenBack(d, u)
	default:
		us.carryOutOnAir(d, u, effect, now)
	}
}

// carryOutOnAir does what concerns the device, its right to blocks, or the slot.
func (us *upgrades) carryOutOnAir(d *device, u *upgrade.Upgrade, effect upgrade.Effect, now time.Time) {
	switch e := effect.(type) {
	case upgrade.Admit:
		us.rights.admit(d, us.slot.image())
		us.rights.refreshTable() // before the device can have heard of it
	case upgrade.Withdraw:
		us.rights.withdraw(d, now)
	case upgrade.Abort:
		us.rights.abort(d, now)
	case upgrade.Judge:
		us.rights.judge(d)
	case upgrade.Notify:
		us.notify(d, u, e.First)
	case upgrade.MakeQuery:
		us.inventory.Sent(now)
		us.sendNotify(d, u, func(error) {})
	case upgrade.ReadVersion:
		us.readVersion(d, u, e.Awaited)
	case upgrade.AnswerEnd:
		us.answerEnd(d, u, e)
	case upgrade.SendLastBlock:
		us.sendLastBlock(d)
	case upgrade.LookFor:
		us.searches.Call(d.EUID())
	case upgrade.DistrustSlot:
		us.slot.distrust()
	case upgrade.DistrustImage:
		d.SetInvalid(u.Image().SHA256)
	case upgrade.Begun:
		us.downloadBegun(d, u, e.GoesOn)
	}
}

// saveAtOnce has the state written at the end of this tick, because a crash must not lose it.
func (us *upgrades) saveAtOnce() { us.keeper.whenSaved(func() {}) }

// event is an event about an upgrade with all that such events carry. offset is how many bytes of the image
// the device had when it happened.
func (us *upgrades) event(name EventName, d *device, u *upgrade.Upgrade, offset uint32) Event {
	image := u.Image()
	e := Event{
		Name:             name,
		EUID:             d.EUID(),
		ManufacturerCode: &image.ManufacturerCode,
		ImageType:        &image.ImageType,
		ImageVersion:     &image.ImageVersion,
		OldImageVersion:  u.OldVersion(),
		Reason:           u.Reason(),
		ZCLStatus:        u.ZCLStatus(),
	}
	if u.Refused() || image.Missing { // nothing of it went to the device, and there may be no image
		us.ofRefused(&e, d, u)
		return e
	}
	switch name {
	case EventDownloadStarted, EventDownloadProgress, EventDownloadPaused, EventDownloadResumed,
		EventDownloadFinished, EventUpgradeFailed, EventUpgradeCancelled:
		progress := u.ProgressAt(offset)
		e.Offset = &offset
		e.Size = &image.Size
		e.Progress = &progress
	}
	return e
}

// ofRefused leaves in an event about an upgrade that ended before its image was there what is known of that.
func (us *upgrades) ofRefused(e *Event, d *device, u *upgrade.Upgrade) {
	op := operationOf(u, d.EUID(), d.CurrentVersion())
	e.ManufacturerCode = op.ManufacturerCode
	e.ImageType = op.ImageType
	e.ImageVersion = op.ImageVersion
}

// remark is what the log says of something remarkable.
type remark struct {
	level slog.Level
	text  string
}

// remarks has the remark for everything that is remarkable.
var remarks = map[upgrade.Remarkable]remark{
	upgrade.TriedAgain: {slog.LevelWarn, "an upgrade is tried again"},
	upgrade.BeganAgain: {slog.LevelInfo, "the device began its download again"},
	upgrade.HeaderDoubted: {slog.LevelWarn, "a device has stopped asking for blocks; " +
		"in case the dongle was reset without saying so, the image header is loaded again"},
	upgrade.NotHeld: {slog.LevelWarn, "the installation could not be held: " +
		"the dongle answered the device itself"},
	upgrade.NotHoldable: {slog.LevelError, "the installation cannot be held for a device that asks by " +
		"pages with a dongle of this kind; the upgrade is cancelled"},
	upgrade.EndedEarly: {slog.LevelWarn, "the device calls its download complete before it has asked " +
		"for the whole image; what it runs after its restart decides"},
	upgrade.NeverReleased: {slog.LevelWarn, "nobody has released the installation for a month; " +
		"the upgrade is cancelled"},
	upgrade.WaitsForQuery: {slog.LevelWarn, "a device does not answer notifications; as it has been seen " +
		"to ask for images by itself, it gets its image when it does so, and is waited for, 30 days at most"},
}

// remark writes into the log.
func (us *upgrades) remark(d *device, u *upgrade.Upgrade, what upgrade.Remarkable) {
	r := remarks[what]
	us.log.Log(context.Background(), r.level, r.text, "euid", d.EUID(), "offset", u.Offset(),
		"attempt", u.Attempt())
}

// downloadBegun notes that a device asks for its image, which says what its OTA client is.
func (us *upgrades) downloadBegun(d *device, u *upgrade.Upgrade, goesOn bool) {
	image := u.Image()
	d.LearnTaken(0, image.ManufacturerCode, image.ImageType)
	if !goesOn {
		us.log.Info("download started", "euid", d.EUID(), "fileVersion", shownVersion(image.ImageVersion),
			"offset", u.Offset(), "attempt", u.Attempt())
	}
}

// notifyBusy is the pause after which a notification is sent that the dongle had no room for.
const notifyBusy = time.Second

// notify tells a device that there is an image, and its upgrade what came of that.
func (us *upgrades) notify(d *device, u *upgrade.Upgrade, first bool) {
	us.sendNotify(d, u, func(err error) {
		switch now := us.now(); {
		case sending.Busy(err), errors.Is(err, sending.ErrNotWanted):
			us.stepIf(d, u, upgrade.NotifyBusy{Again: now.Add(jitter(notifyBusy))}, now)
		case err != nil:
			us.log.Warn("an image notification was not sent; it is tried again",
				"euid", d.EUID(), "err", err)
		default:
			us.stepIf(d, u, upgrade.NotifySent{First: first}, now)
		}
	})
}

// sendNotify sends an image notify, where the device's network address is known, unless the device asks for
// blocks by then: most would begin again at 0. Payload type 0 is what most devices understand: with type 3
// many ask only if the version differs from one that they remember.
func (us *upgrades) sendNotify(d *device, u *upgrade.Upgrade, done func(error)) {
	if !d.Reachable() {
		return
	}
	image := u.Image()
	d.notified.at = us.now()
	wanted := func() bool { return !asksForBlocks(d, us.now()) }
	us.sender.SendWhile(wanted, message.ImageNotify{
		Target:           d.target(),
		PayloadType:      message.NotifyJitter,
		FileVersion:      image.ImageVersion,
		ImageType:        image.ImageType,
		ManufacturerCode: image.ManufacturerCode,
		QueryJitter:      100,
	}, func(_ message.Status, err error) { done(err) })
}

// readVersion asks a device what it runs; what it says is taken in wherever it comes from.
func (us *upgrades) readVersion(d *device, u *upgrade.Upgrade, awaited bool) {
	us.interviews.readVersion(clientOf(d, u), func(err error) {
		if !awaited {
			return
		}
		us.stepIf(d, u, upgrade.ReadingDone{}, us.now())
		if err != nil {
			us.log.Debug("the version was not read", "euid", d.EUID(), "err", err)
		}
	})
}

// answerEnd answers a device's upgrade end request, at the endpoint from which it came where that is known.
func (us *upgrades) answerEnd(d *device, u *upgrade.Upgrade, e upgrade.AnswerEnd) {
	if !d.Reachable() {
		return
	}
	image := u.Image()
	us.sender.Send(message.UpgradeEndResponse{
		Target:           d.endTarget(),
		Sequence:         e.Sequence,
		CurrentTime:      0,
		UpgradeTime:      e.UpgradeTime,
		FileVersion:      e.FileVersion,
		ImageType:        image.ImageType,
		ManufacturerCode: image.ManufacturerCode,
	}, func(_ message.Status, err error) {
		if err != nil {
			us.log.Warn("the answer to an upgrade end request was not sent; the device asks again",
				"euid", d.EUID(), "err", err)
		}
	})
}

// The dongle itself tells a device to install in 5 s while the device's header is loaded, and nothing stops
// it. So a device whose installation is to wait gets its last block only when the slot holds a header that
// fits nobody: then the dongle is silent at the upgrade end request, and the answer is ours.

// lastBlock takes a device's request for its last block. Where nothing can be done about it now, the device
// asks again.
func (us *upgrades) lastBlock(tr *blocks.Transfer, req message.ImageBlockRequest, now time.Time) {
	d := us.home.at(req.Addr)
	if d == nil || d.active() == nil || d.rights.transfer != tr || us.slot.state.IsBusy() {
		return
	}
	us.syncDevice(d, now) // it may be its first request, too
	d.askedLastBlock(req)
	us.step(d, upgrade.LastBlockAsked{SlotFixed: us.slot.state.PagesAsked()}, now)
}

// sendLastBlock empties the slot and then sends the block.
func (us *upgrades) sendLastBlock(d *device) {
	tr := d.rights.transfer
	req := d.ending.lastBlock
	send := func() { us.sender.Send(us.rights.server.Block(tr, &req), nil) }
	if us.slot.state.IsCleared() {
		send()
		return
	}
	us.slot.clear(send)
}

// endRequested acts on the device's message that its download has ended.
func (us *upgrades) endRequested(d *device, m message.UpgradeEndRequest, now time.Time) {
	u := d.active()
	if u == nil || !u.IsAbout(m.ManufacturerCode, m.ImageType, m.FileVersion) {
		us.log.Warn("a device ended a download that it was not given", "euid", d.EUID(), "status", m.Status,
			"fileVersion", shownVersion(m.FileVersion))
		return
	}
	us.syncDevice(d, now)
	if d.rights.transfer != nil && m.Status == message.OTASuccess {
		p := d.rights.transfer.Progress(now)
		us.log.Info("a device has its whole image", "euid", d.EUID(), "requests", p.Requests,
			"askedAgain", p.Again, "restarts", p.Restarts)
	}
	d.endedFrom(m.Endpoint)
	us.step(d, upgrade.EndRequested{
		Status:      m.Status,
		Sequence:    m.Sequence,
		FileVersion: m.FileVersion,
		SlotHolds:   us.slot.holds(d),
	}, now)
	d.stray.forget()
}

// endEvents are the events that tell of an end.
var endEvents = map[upgrade.State]EventName{
	upgrade.Succeeded: EventUpgradeSucceeded,
	upgrade.Failed:    EventUpgradeFailed,
	upgrade.Cancelled: EventUpgradeCancelled,
}

// ended tells everybody how an upgrade ended.
func (us *upgrades) ended(d *device, u *upgrade.Upgrade, now time.Time) {
	if u.RunsAnyVersion() { // else nobody takes that for what a device runs
		d.SetVersionOf(u.Image().ImageType, u.Image().ImageVersion)
	}
	us.home.ended(d)
	event := us.event(endEvents[u.State()], d, u, u.Offset())
	if u.State() == upgrade.Failed {
		event.Error = explainEnd(d, u)
	}
	us.outlet.happened(event)
	if u.State() == upgrade.Succeeded {
		if !d.Facts().Outdated { // it told the same version as before
			d.SetOutdated()
		}
		us.interviews.want(d) // what it says of its software for people is another now
		us.log.Info("upgrade succeeded", "euid", d.EUID(), "name", d.Name(),
			"fileVersion", shownVersion(u.Image().ImageVersion))
		if told := u.RunningVersion(); told != nil {
			us.log.Warn("the device runs another version than before, and tells another number than its "+
				"image's file; some vendors number them differently", "euid", d.EUID(),
				"fileVersion", shownVersion(u.Image().ImageVersion), "runningVersion", shownVersion(*told))
		}
	} else {
		us.log.Warn("upgrade ended", "euid", d.EUID(), "name", d.Name(),
			"state", u.State(), "reason", u.Reason(), "why", explainEnd(d, u))
	}
	us.observer.UpgradeFinished(u.State(), u.Reason(), now.Sub(u.QueuedAt()))
	us.slot.dropUnusedImages()
	us.answerTickets(d, u)
	us.memberEnded(d, u)
	us.judgeImage(d, u, now)
}

// takenBack tells those who asked for an upgrade, and nobody else, that it is over.
func (us *upgrades) takenBack(d *device, u *upgrade.Upgrade) {
	us.log.Info("no upgrade was begun", "euid", d.EUID(), "name", d.Name(),
		"reason", u.Reason(), "why", u.Why())
	us.home.takeBack(d)
	us.answerTickets(d, u)
	us.memberEnded(d, u)
}

// answerTickets gives the final answer once the end of the upgrade is on the disk; until then a crash would
// bring the upgrade back.
func (us *upgrades) answerTickets(d *device, u *upgrade.Upgrade) {
	if len(u.Tickets()) == 0 {
		return
	}
	answer := Answer{
		Status:         Success,
		Operation:      operationAbout(d, u),
		RunningVersion: u.RunningVersion(),
	}
	if u.State() != upgrade.Succeeded {
		answer.Status = Failure
		answer.Reason = u.Reason()
		answer.Error = explainEnd(d, u)
	}
	us.keeper.whenSaved(func() {
		us.give(u.Tickets(), answer, func() {
			us.stepOf(d, u, upgrade.Answered{}, us.now())
			d.beside.answered(u)
		})
	})
}

// operationAbout is the operation record of an answer about an upgrade. Where no image was found, or it was
// not fetched yet, it has the codes of the device.
func operationAbout(d *device, u *upgrade.Upgrade) *Operation {
	c := clientOf(d, u)
	op := operationOf(u, d.EUID(), c.ota.CurrentVersion)
	if u.Image().Missing {
		op.ManufacturerCode = c.ota.ManufacturerCode
		op.ImageType = c.ota.ImageType
	}
	return op
}

// give delivers a final answer to all who wait for it. told is called when they have it; until then it is in
// the state that it is owed.
func (us *upgrades) give(tickets []upgrade.Ticket, answer Answer, told func()) {
	us.owed += len(tickets)
	left := len(tickets)
	for _, ticket := range tickets {
		us.outlet.sink.UpgradeEnded(ticket, answer, func() {
			us.post(func() {
				us.owed--
				if left--; left == 0 {
					told()
					us.saveAtOnce() // a crash before it would have the answer given again
				}
			})
		})
	}
}

// explainEnd says for a person why an upgrade did not succeed; it is empty where it did, or has not ended.
func explainEnd(d *device, u *upgrade.Upgrade) string {
	text := u.Why()
	if u.Reason() != upgrade.ReasonNoResponse {
		return text
	}
	f := d.Facts()
	if why := cmp.Or(d.Unanswered(), f.AsksElsewhere()); why != "" {
		text += "; " + why
	}
	return text
}

// memberEnded gives a group's answer when all its members have ended.
func (us *upgrades) memberEnded(d *device, u *upgrade.Upgrade) {
	g := us.groups.memberEnded(u.Group(), d.EUID(), u.Image().ImageType, u.State(), u.Reason())
	if g == nil {
		return
	}
	us.finishGroup(g)
}

// cancelWaiting ends the upgrades of a device that wait for another one of it to end. It reports whether
// there were any.
func (us *upgrades) cancelWaiting(d *device) bool {
	return us.endWaiting(func(_ *group, m *member) bool {
		return m.EUID == d.EUID()
	}, upgrade.Cancelled, upgrade.ReasonCancelled)
}

// endWaiting ends those upgrades of groups that wait for another one of their device and that ends picks. It
// reports whether there were any.
func (us *upgrades) endWaiting(
	ends func(*group, *member) bool, how upgrade.State, why upgrade.Reason,
) bool {
	groups := us.groups.endWaiting(ends, how, why)
	for _, g := range groups {
		us.finishGroup(g)
	}
	return len(groups) > 0
}

// finishGroup gives the answer of a group once all its members have ended.
func (us *upgrades) finishGroup(g *group) {
	if !us.groups.answerDue(g) {
		return
	}
	us.groups.answerBegun(g)
	answer := g.answer()
	us.keeper.whenSaved(func() {
		if len(g.Ticket) == 0 {
			us.groups.answered(g)
			return
		}
		us.give([]upgrade.Ticket{g.Ticket}, answer, func() { us.groups.answered(g) })
	})
}
