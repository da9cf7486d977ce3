package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// How often an upgrade's progress is told: when it moved by a percent or ten seconds have passed, never more
// than once a second a device.
const (
	progressStep    = 1.0
	progressMinimum = time.Second
	progressMaximum = 10 * time.Second
)

// syncTransfers turns what the block server left in the transfers' atomics into the upgrades' progress.
func (s *Service) syncTransfers(now time.Time) {
	for _, d := range s.active {
		if tr := d.Upgrade.runtime.transfer; tr != nil {
			s.syncTransfer(d, d.Upgrade, tr, now)
		}
	}
}

func (s *Service) syncTransfer(d *device, u *upgrade, tr *blocks.Transfer, now time.Time) {
	p := tr.Progress(now)
	if p.Requests == 0 {
		return
	}
	last := p.Last
	if last.After(u.runtime.lastActivity) {
		u.runtime.lastActivity = last
	}
	d.SeenAt(last)
	if !u.runtime.begun {
		s.downloadBegun(d, u, p, now)
	}
	if p.Restarts != u.runtime.restarts {
		// The device really began again: from here on rate and remaining time are those of the new run.
		u.runtime.restarts = p.Restarts
		u.StartOffset = p.First
		u.StartedAt = p.Started
		u.Offset = p.Position
		u.runtime.published = 0
		s.log.Info("the device began its download again", "euid", d.EUID(), "offset", p.Position)
		s.upgradeChanged(d)
		if p.Restarts > restartsAllowed && s.fire(d, triggerSilent, now) {
			return
		}
	}
	if p.Position > u.Offset {
		u.Offset = p.Position
	}
	s.tellProgress(d, u, now)
}

// restartsAllowed is how often a device may begin its download again within one attempt. One that falls
// silent, is told of its image and begins again, over and over, must come to an end.
const restartsAllowed = 20

// downloadBegun: the first block request of this transfer. After a restart of the service or the dongle the
// device goes on where it was, so this is not always the first of the attempt.
func (s *Service) downloadBegun(d *device, u *upgrade, p blocks.Progress, now time.Time) {
	u.runtime.begun = true
	goesOn := !u.StartedAt.IsZero()
	s.fire(d, triggerBlock, now)
	u.StartOffset = p.First
	u.StartedAt = p.Started
	u.Offset = p.First
	u.runtime.published = u.progress()
	u.runtime.publishedAt = now
	d.SetIdentity(u.ManufacturerCode, u.ImageType)
	d.upgradeRevision++
	s.whenSaved(func() {}) // at once: a crash must not make it begin twice
	if !goesOn {
		s.log.Info("download started", "euid", d.EUID(), "fileVersion", u.ImageVersion, "offset", u.Offset,
			"attempt", u.Attempt)
		s.happened(s.upgradeEvent(EventDownloadStarted, d, u))
	}
}

// resumePatience is how long nothing is said of a download that was under way when an earlier life of the
// service ended. What the state file knows of its progress may be old; the device's next request tells the
// truth, and what was said last is still retained.
const resumePatience = 30 * time.Second

// resuming reports whether a device's download goes on from before and it has not been heard yet where.
func (d *device) resuming(now time.Time) bool {
	u := d.active()
	return u != nil && u.State == Downloading && !u.runtime.begun &&
		now.Sub(u.runtime.restoredAt) < resumePatience
}

// saveStep is how far a download moves, in percent, before its progress is written to the state file.
const saveStep = 10.0

func (s *Service) tellProgress(d *device, u *upgrade, now time.Time) {
	if u.State != Downloading {
		return
	}
	moved := u.progress() - u.runtime.published
	since := now.Sub(u.runtime.publishedAt)
	if since < progressMinimum || (moved < progressStep && since < progressMaximum) {
		return
	}
	u.runtime.published = u.progress()
	u.runtime.publishedAt = now
	d.upgradeRevision++
	if u.progress()-u.runtime.saved >= saveStep {
		u.runtime.saved = u.progress()
		s.keptChanged()
	}
	if moved > 0 {
		s.happened(s.upgradeEvent(EventDownloadProgress, d, u))
	}
}

// told is a device's record as it is told. Whatever else in it changes, and however often, its progress is
// told once a second at most.
func (s *Service) told(d *device, now time.Time) DeviceRecord {
	r := s.record(d, now)
	if r.Upgrade == nil {
		return r
	}
	u := d.Upgrade
	last := d.Upgrade.runtime.shown
	goesOn := last != nil && last.State == Downloading && r.Upgrade.State == Downloading &&
		last.Attempt == r.Upgrade.Attempt && last.Offset <= r.Upgrade.Offset
	if goesOn && now.Sub(u.runtime.shownAt) < progressMinimum {
		r.Upgrade.Offset = last.Offset
		r.Upgrade.Progress = last.Progress
		r.Upgrade.BytesPerSecond = last.BytesPerSecond
		r.Upgrade.RemainingSeconds = last.RemainingSeconds
		return r
	}
	u.runtime.shown = r.Upgrade
	u.runtime.shownAt = now
	u.runtime.published = r.Upgrade.Progress
	u.runtime.publishedAt = now
	return r
}

// upgradeEvent is an event about an upgrade with all that such events carry.
func (s *Service) upgradeEvent(name EventName, d *device, u *upgrade) Event {
	e := Event{
		Name:             name,
		EUID:             d.EUID(),
		ManufacturerCode: &u.ManufacturerCode,
		ImageType:        &u.ImageType,
		ImageVersion:     &u.ImageVersion,
		OldImageVersion:  u.OldVersion,
		Reason:           u.Reason,
		ZCLStatus:        u.ZCLStatus,
	}
	switch name {
	case EventDownloadStarted, EventDownloadProgress, EventDownloadPaused, EventDownloadResumed,
		EventDownloadFinished,
		EventUpgradeFailed, EventUpgradeCancelled:
		offset := u.Offset
		size := u.Size
		progress := u.progress()
		e.Offset = &offset
		e.Size = &size
		e.Progress = &progress
	}
	return e
}

// expireUpgrades acts on what did not happen in time, so that every state has a way out. Nothing runs out
// while the dongle is away, and what ran out meanwhile begins anew: it was not the device that was silent.
func (s *Service) expireUpgrades(now time.Time) {
	for _, d := range s.active {
		u := d.Upgrade
		if u.State == Scheduled && !now.Before(u.DueAt) {
			s.fire(d, triggerDue, now)
		}
		if u.State == Queued && !d.Reachable() && s.dongle.connected {
			s.lookFor(d, u, now)
		}
		if u.Held && !u.PausedUntil.IsZero() && !now.Before(u.PausedUntil) {
			s.resume(d, now)
		}
		if u.State == Downloaded && u.installDue(now) && s.dongle.connected {
			s.install(d, now)
		}
		if u.State == Downloaded && u.Install == InstallHold && now.Sub(u.DownloadedAt) > longPatience {
			s.log.Warn("nobody has released the installation for a month; the upgrade is cancelled",
				"euid", d.EUID())
			s.fire(d, triggerCancel, now)
		}
		s.expireAway(d, u, now)
		if !s.dongle.connected {
			continue
		}
		switch u.State {
		case Notified:
			s.expireNotified(d, u, now)
		case Downloading:
			if now.Sub(u.runtime.lastActivity) > s.stallTimeout(d) {
				s.fire(d, triggerSilent, now)
			}
			s.suspectSilence(d, u, now)
		case Applying:
			s.expireApplying(d, u, now)
		}
	}
	for _, d := range s.home.devices {
		if d.aborting != nil && now.After(d.abortUntil) {
			d.aborting = nil
			s.rights++
		}
	}
}

// lostInterval is how often a device whose network address is not known is looked for while an
// upgrade waits for it.
const lostInterval = 5 * time.Minute

// lostPatience is how long a device is looked for; one that sleeps longPatience, since it may answer
// only when it wakes.
const lostPatience = time.Hour

// lookFor searches for a device whose network address was given to another one and that has not
// been heard from since.
func (s *Service) lookFor(d *device, u *upgrade, now time.Time) {
	r := &u.runtime
	if r.lostSince.IsZero() {
		r.lostSince = now
	}
	if now.Sub(r.lostSince) > lostPatience &&
		(!d.Sleepy() || now.Sub(later(u.QueuedAt, u.DueAt)) > longPatience) {
		s.fire(d, triggerSilent, now)
		return
	}
	if now.After(r.searchAt) {
		r.searchAt = now.Add(lostInterval)
		s.searches.Call(d.EUID())
	}
}

// returnGrace is the least time that a device has to be heard again once the dongle or the service is back.
const returnGrace = 30 * time.Second

// excuseSilence has the time that the dongle was away not count for any time-out: it was not the
// devices that were silent.
func (s *Service) excuseSilence(now time.Time) {
	away := now.Sub(s.dongle.goneAt)
	for _, d := range s.active {
		r := &d.Upgrade.runtime
		r.lastActivity = later(r.lastActivity.Add(away), now.Add(returnGrace-s.stallTimeout(d)))
		r.applyingSince = later(r.applyingSince.Add(away), now.Add(returnGrace-s.policy.RejoinTimeout))
	}
}

func (s *Service) stallTimeout(d *device) time.Duration {
	if d.Sleepy() {
		return max(s.policy.StallTimeout, sleepyStall)
	}
	return s.policy.StallTimeout
}

// A sleeping device is waited for until it wakes: first as any other, then with rare notifications, and with
// one each time that it is heard from, for a month at most.
const (
	sleepyNotifyInterval = 5 * time.Minute
	notifyAgain          = 10 * time.Second // after a sign of life, if the last notification is older
)

// expireNotified repeats the notification.
func (s *Service) expireNotified(d *device, u *upgrade, now time.Time) {
	if now.Before(u.runtime.nextNotify) || !s.slot.state.HoldsImage() {
		return
	}
	tired := u.runtime.notifications >= s.policy.NotifyAttempts
	patience := activePatience // a dongle that never has room for a notification must not keep it open
	if d.Sleepy() {
		patience = longPatience
	}
	if tired && !d.Sleepy() || now.Sub(u.OfferedAt) > patience {
		s.fire(d, triggerSilent, now)
		return
	}
	if u.runtime.notifications > 0 && u.runtime.notifications%distrustEvery == 0 {
		s.slot.distrust()
	}
	s.notify(d, now)
	if u.Attempt > 1 && u.runtime.notifications > 1 {
		// It may have been done with the attempt before, and nobody heard of it.
		s.interviews.readVersion(d, func(error) {})
	}
	if tired {
		u.runtime.nextNotify = now.Add(max(s.policy.NotifyInterval, sleepyNotifyInterval))
	}
}

// distrustEvery is after how many notifications without an answer the header is loaded again.
const distrustEvery = 4

// How the version is read after a download. The dongle lets the device install after 5 s; a device that
// copies its image needs minutes. Each reading costs a message on air.
const (
	firstReading    = 20 * time.Second
	readingInterval = 30 * time.Second
	readingReturned = 10 * time.Second // between readings of a device that has come back
	readingSoon     = time.Second      // after a sign of life
	// oldReadingsToBelieve: a device that is back is asked more than once before it is said to have kept its
	// old version: some announce themselves first from the boot loader's side of the installation.
	oldReadingsToBelieve = 3
	// sameVersionSettled is when a device that installs the version it runs anyway counts as done
	// without an announce.
	sameVersionSettled = time.Minute
)

// readAfter is a pause between readings that leaves room for several before the time to
// come back has run out.
func (s *Service) readAfter(d time.Duration) time.Duration {
	return max(min(d, s.policy.RejoinTimeout/6), time.Second)
}

func (s *Service) expireApplying(d *device, u *upgrade, now time.Time) {
	if now.Sub(u.runtime.applyingSince) > s.policy.RejoinTimeout {
		if u.Verify.OldReadings > 0 {
			s.fire(d, triggerOldVersion, now)
		} else {
			s.fire(d, triggerGone, now)
		}
		return
	}
	if u.runtime.nextRead.IsZero() {
		u.runtime.nextRead = u.ApplyingAt.Add(s.readAfter(firstReading))
	}
	if u.runtime.reading || now.Before(u.runtime.nextRead) {
		return
	}
	if d.Mute() && s.watch.mode == message.RawModeHybrid && d.Reachable() {
		// It says what it runs when it looks for an image; with the slot empty it finds none.
		s.sender.Send(imageNotify(d, u), nil)
	}
	u.runtime.reading = true
	s.interviews.readVersion(d, func(err error) {
		u.runtime.reading = false
		wait := s.readAfter(readingInterval)
		if u.Verify.Announced {
			wait = min(wait, readingReturned)
		} else if u.WasHeld && d.active() == u && d.Reachable() {
			// The word to install may not have reached it.
			s.endResponse(d, d.target(), u.EndSequence, u.OfferedVersion, installIn)
		}
		u.runtime.nextRead = time.Now().Add(wait)
		if err != nil {
			s.log.Debug("the version was not read", "euid", d.EUID(), "err", err)
		}
	})
}

// upgradeAnnounced: the device is (back) on the network.
func (s *Service) upgradeAnnounced(d *device, now time.Time) {
	u := d.active()
	if u == nil {
		return
	}
	switch u.State {
	case Applying:
		u.Verify = verifyProgress{Announced: true}
		u.runtime.nextRead = now.Add(readingSoon)
		s.keptChanged()
	case Downloaded:
		s.interviews.readVersion(d, func(error) {}) // it may have installed its image on its own
	case Notified, Downloading:
		// It has restarted and may have forgotten that there is an image.
		u.runtime.nextNotify = now.Add(readingSoon)
		// Or it has installed the image, and its word that it has it was lost.
		s.interviews.readVersion(d, func(error) {})
		if u.State == Downloading {
			s.notify(d, now)
		}
	}
}

// stirred: a sign of life of a device that sleeps, or that should come back.
func (s *Service) stirred(d *device, now time.Time) {
	u := d.active()
	if u != nil && u.State == Notified && d.Sleepy() && now.Sub(u.runtime.notifiedAt) > notifyAgain {
		u.runtime.nextNotify = now // it listens for a moment
	}
	if u != nil && u.State == Queued && d.Sleepy() &&
		now.Sub(u.runtime.stirredAt) > max(s.policy.Slice, sleepyNotifyInterval) {
		// It goes before others then, but once a slice only: it may have no use for the
		// image, and others wait.
		u.runtime.stirredAt = now
		u.runtime.awakeUntil = now.Add(registry.AwakeFor)
	}
	if u == nil || u.State != Applying || u.runtime.reading ||
		now.Sub(u.ApplyingAt) < s.readAfter(firstReading)/2 {
		return
	}
	if soon := now.Add(readingSoon); u.runtime.nextRead.After(soon.Add(readingReturned)) {
		u.runtime.nextRead = soon
	}
}

// versionRead: the device told which version it runs.
func (s *Service) versionRead(d *device, version uint32, now time.Time) {
	u := d.active()
	if u == nil {
		return
	}
	if u.OldVersion == nil && version != u.ImageVersion && u.State != Applying {
		u.OldVersion = &version // it was not known when the upgrade was queued
	}
	reinstall := u.OldVersion != nil && *u.OldVersion == u.ImageVersion
	switch {
	case version == u.ImageVersion && u.State == Applying:
		if !reinstall || u.Verify.Announced || now.Sub(u.ApplyingAt) > sameVersionSettled {
			s.fire(d, triggerNewVersion, now)
		}
	case version == u.ImageVersion:
		if !reinstall {
			s.fire(d, triggerNewVersion, now)
		}
	case u.State == Applying:
		u.Verify.OldReadings++
		s.keptChanged()
		if u.Verify.Announced && u.Verify.OldReadings >= oldReadingsToBelieve {
			s.fire(d, triggerOldVersion, now)
		}
	}
}

// upgradeEnd acts on the device's word that its download has ended.
func (s *Service) upgradeEnd(d *device, m message.UpgradeEndRequest, now time.Time) {
	u := d.active()
	if u == nil || m.FileVersion != u.ImageVersion && m.FileVersion != u.OfferedVersion ||
		m.ImageType != u.ImageType || m.ManufacturerCode != u.ManufacturerCode {
		s.log.Warn("a device ended a download that it was not given", "euid", d.EUID(), "status", m.Status,
			"fileVersion", m.FileVersion)
		return
	}
	s.syncTransfers(now)
	status := m.Status
	switch m.Status {
	case message.OTASuccess:
		s.downloadComplete(d, u, m, now)
	case message.OTAInvalidImage:
		u.ZCLStatus = &status
		// Else it is the version that it did not like.
		if u.OfferedVersion == u.ImageVersion {
			d.SetInvalid(u.SHA256)
		}
		s.fire(d, triggerInvalid, now)
	case message.OTARequireMoreImage:
		u.ZCLStatus = &status
		s.fire(d, triggerMore, now)
	default: // OTAAbort, and whatever else is no success
		u.ZCLStatus = &status
		s.fire(d, triggerAborted, now)
	}
}

// downloadComplete: the device has the whole image. While its header is loaded the dongle itself has told it
// to install in 5 s; otherwise the answer is ours to give, each time that the device asks.
func (s *Service) downloadComplete(d *device, u *upgrade, m message.UpgradeEndRequest, now time.Time) {
	u.EndSequence = m.Sequence
	if !s.slot.holds(d) || m.FileVersion != u.OfferedVersion {
		upgradeTime := uint32(installIn)
		if !u.installDue(now) {
			upgradeTime = waitForever
		}
		target := message.Target{
			AddrMode: message.AddrModeShort, Addr: m.Addr, SrcEndpoint: 1, DstEndpoint: m.Endpoint,
		}
		s.endResponse(d, target, m.Sequence, m.FileVersion, upgradeTime)
	} else if u.Install != InstallNow {
		// The slot should have been empty. The dongle has told the device to install: say so.
		s.log.Warn("the installation could not be held: the dongle answered the device itself",
			"euid", d.EUID())
		u.Install = InstallNow
	}
	if u.State == Applying || u.State == Downloaded {
		return // it asked again
	}
	if tr := u.runtime.transfer; tr != nil {
		p := tr.Progress(now)
		s.log.Info("a device has its whole image", "euid", d.EUID(), "requests", p.Requests,
			"askedAgain", p.Again, "restarts", p.Restarts)
	}
	status := m.Status
	u.ZCLStatus = &status
	u.Offset = u.Size
	u.DownloadedAt = now
	t := triggerComplete
	if !u.installDue(now) {
		t = triggerKept
	}
	if !s.fire(d, t, now) {
		return
	}
	s.finish = finish{}
	s.happened(s.upgradeEvent(EventDownloadFinished, d, u))
	if u.State == Applying {
		u.ApplyingAt = now
		s.happened(s.upgradeEvent(EventUpgradeApplying, d, u))
	}
}

// installIn is how many seconds after its upgrade end request a device is told to install: what the
// firmware says itself.
const installIn = 5
