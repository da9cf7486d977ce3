package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// endEvents are the events that tell of an end.
var endEvents = map[upgrade.State]EventName{
	upgrade.Succeeded: EventUpgradeSucceeded,
	upgrade.Failed:    EventUpgradeFailed,
	upgrade.Cancelled: EventUpgradeCancelled,
}

// ended tells everybody how an upgrade ended.
func (us *upgrades) ended(d *device, u *upgrade.Upgrade, now time.Time) {
	us.home.ended(d)
	event := us.event(endEvents[u.State()], d, u, u.Offset())
	if u.Reason() == upgrade.ReasonNoResponse {
		event.Error = d.Unanswered()
	}
	us.outlet.happened(event)
	if u.State() == upgrade.Succeeded {
		us.log.Info("upgrade succeeded", "euid", d.EUID(), "name", d.Name(),
			"fileVersion", u.Image().ImageVersion)
		if told := u.RunningVersion(); told != nil {
			us.log.Warn("the device runs another version than before, and tells another number than its "+
				"image's file; some vendors number them differently", "euid", d.EUID(),
				"fileVersion", u.Image().ImageVersion, "runningVersion", *told)
		}
	} else {
		us.log.Warn("upgrade ended", "euid", d.EUID(), "name", d.Name(),
			"state", u.State(), "reason", u.Reason())
	}
	us.observer.UpgradeFinished(u.State(), u.Reason(), now.Sub(u.QueuedAt()))
	us.slot.dropUnusedImages()
	us.answerTickets(d, u)
	us.memberEnded(d, u, now)
}

// answerTickets gives the final answer once the end of the upgrade is on the disk; until then a crash would
// bring the upgrade back.
func (us *upgrades) answerTickets(d *device, u *upgrade.Upgrade) {
	if len(u.Tickets()) == 0 {
		return
	}
	answer := Answer{
		Status:         Success,
		Operation:      operationOf(u, d.EUID(), d.CurrentVersion()),
		RunningVersion: u.RunningVersion(),
	}
	if u.State() != upgrade.Succeeded {
		answer.Status = Failure
		answer.Reason = u.Reason()
		answer.Error = explainEnd(d, u)
	}
	us.keeper.whenSaved(func() {
		for _, ticket := range u.Tickets() {
			us.outlet.sink.UpgradeEnded(ticket, answer)
		}
		us.stepOf(d, u, upgrade.Answered{}, time.Now())
		us.saveAtOnce() // a crash before it would have the answer given again
	})
}

// explainEnd says for a person why an upgrade did not succeed.
func explainEnd(d *device, u *upgrade.Upgrade) string {
	text := u.Reason().Explain()
	if why := d.Unanswered(); why != "" && u.Reason() == upgrade.ReasonNoResponse {
		text += "; " + why
	}
	return text
}

// memberEnded releases or fails those who waited for a canary, and gives the group's answer when all have
// ended.
func (us *upgrades) memberEnded(d *device, u *upgrade.Upgrade, now time.Time) {
	g := us.groups.memberEnded(u.Group(), d.EUID(), u.State(), u.Reason())
	if g == nil {
		return
	}
	for _, other := range us.home.upgrading() {
		waiting := other.upgrade
		switch {
		case waiting.Group() != g.ID || waiting.Canary() != d.EUID():
		case u.State() == upgrade.Succeeded:
			us.step(other, upgrade.CanaryPassed{}, now)
		default:
			us.step(other, upgrade.CanaryFailed{}, now)
		}
	}
	us.finishGroup(g)
}

// finishGroup gives the answer of a group once all its members have ended.
func (us *upgrades) finishGroup(g *group) {
	if !us.groups.answerDue(g) {
		return
	}
	us.groups.answerBegun(g)
	answer := g.answer()
	us.keeper.whenSaved(func() {
		us.groups.answered(g)
		if len(g.Ticket) > 0 {
			us.outlet.sink.UpgradeEnded(g.Ticket, answer)
			us.saveAtOnce() // a crash before it would have the answer given again
		}
	})
}
