package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// fire moves a device's upgrade along the state table and does what the new state asks for. It reports
// whether the upgrade moved.
func (s *Service) fire(d *device, t trigger, now time.Time) bool {
	u := d.active()
	if u == nil {
		return false
	}
	from := u.State
	st, ok := nextStep(from, t, u.Attempt <= s.policy.Retries)
	if !ok {
		return false
	}
	u.State = st.next
	u.Reason = st.reason
	s.upgradeChanged(d)
	s.log.Debug("upgrade", "euid", d.EUID(), "from", from, "to", u.State, "reason", u.Reason)
	switch {
	case u.State.Ended():
		s.ended(d, u, from, now)
	case u.State == Queued && t != triggerDue:
		s.requeued(d, u, t, now)
	case u.State == Applying:
		u.runtime.applyingSince = now
		s.withdraw(u)
	case u.State == Downloaded:
		s.withdraw(u)
	}
	return true
}

// retryDelay lets a device that gave up recover before it is offered the image again.
const retryDelay = 10 * time.Second

// requeued: the upgrade waits for the slot again.
func (s *Service) requeued(d *device, u *upgrade, t trigger, now time.Time) {
	s.withdraw(u)
	u.AsideUntil = time.Time{}
	u.AsideTold = false
	if t == triggerYield {
		return
	}
	if t == triggerSilent {
		s.slot.distrust()
	}
	u.Attempt++
	u.StartedAt = time.Time{}
	u.StartOffset = 0
	u.Offset = 0
	u.ZCLStatus = nil
	u.OfferedAt = time.Time{}
	u.DownloadedAt = time.Time{}
	u.ApplyingAt = time.Time{}
	u.WasHeld = false
	u.Verify = verifyProgress{}
	u.runtime = upgradeRuntime{notBefore: now.Add(retryDelay), yieldedAt: u.runtime.yieldedAt}
	s.log.Warn("an upgrade is tried again", "euid", d.EUID(), "attempt", u.Attempt, "of", s.policy.Retries+1)
	if u.Held {
		s.fire(d, triggerHold, now) // only the word to go on lets the next attempt begin
	}
}

// withdraw takes a device's right to blocks away.
func (s *Service) withdraw(u *upgrade) {
	if tr := u.runtime.transfer; tr != nil {
		s.blocks.EndPage(tr)
		u.runtime.transfer = nil
		s.rights++
	}
	u.runtime.begun = false
}

// abortMemory is for how long the requests of a download that was ended are met with ABORT, and abortSlot how
// long the slot is kept for it.
const (
	abortMemory = 10 * time.Minute
	abortSlot   = 10 * time.Second
)

// ended tells everybody how an upgrade ended.
func (s *Service) ended(d *device, u *upgrade, from State, now time.Time) {
	tr := u.runtime.transfer
	if tr != nil && (from == Downloading || from == Paused) && u.State != Succeeded {
		tr.Abort()
		d.aborting = tr
		d.abortUntil = now.Add(abortMemory)
		s.slot.keep(now.Add(abortSlot))
	}
	s.withdraw(u)
	u.EndedAt = now
	delete(s.active, d.EUID())
	if u.State == Succeeded {
		u.Offset = u.Size
	}
	d.remember(u)
	name := map[State]EventName{
		Succeeded: EventUpgradeSucceeded, Failed: EventUpgradeFailed, Cancelled: EventUpgradeCancelled,
	}[u.State]
	event := s.upgradeEvent(name, d, u)
	if u.Reason == ReasonNoResponse {
		event.Error = d.Unanswered()
	}
	s.happened(event)
	if u.State == Succeeded {
		s.log.Info("upgrade succeeded", "euid", d.EUID(), "name", d.Name(), "fileVersion", u.ImageVersion)
	} else {
		s.log.Warn("upgrade ended", "euid", d.EUID(), "name", d.Name(), "state", u.State, "reason", u.Reason)
	}
	s.observer.UpgradeFinished(u.State, u.Reason, now.Sub(u.QueuedAt))
	s.slot.dropUnusedImages()
	s.answerTicket(d, u)
	s.groupMemberEnded(d, u, now)
}

// answerTicket gives the final answer once the end of the upgrade is on the disk; until then a crash would
// bring the upgrade back.
func (s *Service) answerTicket(d *device, u *upgrade) {
	if len(u.Tickets) == 0 {
		return
	}
	answer := Answer{Status: Success, Operation: u.operation(d.EUID(), d.CurrentVersion())}
	if u.State != Succeeded {
		answer.Status = Failure
		answer.Reason = u.Reason
		answer.Error = explainEnd(d, u)
	}
	s.whenSaved(func() {
		tickets := u.Tickets
		u.Tickets = nil
		s.keptChanged()
		for _, ticket := range tickets {
			s.teller.sink.UpgradeEnded(ticket, answer)
		}
		s.whenSaved(func() {}) // at once: a crash before it would have the answer given again
	})
}

// explainEnd says for a person why an upgrade did not succeed.
func explainEnd(d *device, u *upgrade) string {
	text := u.Reason.Explain()
	if why := d.Unanswered(); why != "" && u.Reason == ReasonNoResponse {
		text += "; " + why
	}
	return text
}

// group is the upgrades that one request for all devices began.
type group struct {
	ID      uint64          `json:"id"`
	Ticket  Ticket          `json:"ticket,omitempty"`
	Members []UpgradeResult `json:"members"`
	// answering: all have ended; the group is kept until that is on the disk and its answer was given.
	answering bool
}

// groupMemberEnded releases or fails those who waited for a canary, and gives the group's answer
// when all have ended.
func (s *Service) groupMemberEnded(d *device, u *upgrade, now time.Time) {
	g := s.groups[u.Group]
	if g == nil {
		return
	}
	for i := range g.Members {
		if g.Members[i].EUID == d.EUID() {
			g.Members[i].State = u.State
			g.Members[i].Reason = u.Reason
		}
	}
	for _, other := range s.home.devices {
		w := other.active()
		if w == nil || w.Group != g.ID || w.Canary != d.EUID() {
			continue
		}
		if u.State == Succeeded {
			w.Canary = 0
			s.keptChanged()
		} else {
			s.fire(other, triggerCanary, now)
		}
	}
	s.finishGroup(g)
}

func (s *Service) finishGroup(g *group) {
	answer := Answer{Status: Success, UpgradeResults: g.Members}
	for _, m := range g.Members {
		if !m.State.Ended() {
			return
		}
		if m.State != Succeeded {
			answer.Status = Failure
			answer.Error = "not every device was upgraded; see results"
		}
	}
	if s.groups[g.ID] == nil || g.answering {
		return
	}
	g.answering = true
	s.whenSaved(func() {
		delete(s.groups, g.ID)
		s.keptChanged()
		if len(g.Ticket) > 0 {
			s.teller.sink.UpgradeEnded(g.Ticket, answer)
			s.whenSaved(func() {}) // at once: a crash before it would have the answer given again
		}
	})
}

// newUpgrade queues an upgrade of a device to an offered image.
func (s *Service) newUpgrade(d *device, o Offer, dueAt time.Time, ticket Ticket, now time.Time) *upgrade {
	u := &upgrade{
		State:            Queued,
		SHA256:           o.SHA256,
		ManufacturerCode: o.ManufacturerCode,
		ImageType:        o.ImageType,
		ImageVersion:     o.ImageVersion,
		Size:             o.Size,
		URL:              o.URL,
		DriverTypeID:     o.DriverTypeID,
		DriverVersion:    o.DriverVersion,
		OldVersion:       d.CurrentVersion(),
		QueuedAt:         now,
		DueAt:            dueAt,
		Attempt:          1,
		OfferedVersion:   o.ImageVersion,
	}
	if dueAt.After(now) {
		u.State = Scheduled
	}
	if len(ticket) > 0 {
		u.Tickets = []Ticket{ticket}
	}
	d.Upgrade = u
	s.active[d.EUID()] = d
	s.upgradeChanged(d)
	s.log.Info("upgrade queued", "euid", d.EUID(), "name", d.Name(), "fileVersion", u.ImageVersion,
		"state", u.State)
	return u
}

// serveUnsolicited gives an image to a device that asked without an upgrade, where that is configured: the
// loaded one, if that is the one it asked for.
func (s *Service) serveUnsolicited(d *device, req message.BlockRequest, now time.Time) bool {
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
		s.newUpgrade(d, *o, time.Time{}, nil, now)
		s.admit(d, im)
		return true
	}
	return false
}
