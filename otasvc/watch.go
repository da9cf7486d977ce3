package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
)

// QueryWatch is when the dongle runs in its hybrid raw mode. It then shows every frame as it came from the air, Query
// Next Image requests among them, which the dongle answers itself and tells nobody of otherwise: they name a device's
// running version and, alone of all messages, its hardware version, and show that a sleeping device is awake. Each
// frame then costs a further one on air, so the mode is for the time when nothing downloads.
type QueryWatch uint8

// When queries are watched.
const (
	WatchNever  QueryWatch = iota
	WatchIdle              // while nothing downloads
	WatchAlways            // during downloads too
)

// watchAfter is how long nothing has to be going on before the mode changes. The dongle writes each change to its flash
// memory.
const watchAfter = time.Minute

// watch is the dongle's raw mode as far as the owner knows it.
type watch struct {
	mode zigate.RawMode
	busy bool
	// idleSince is when the last download ended.
	idleSince time.Time
	retryAt   time.Time
}

// watchQueries sets the dongle's raw mode. Off comes at once, before anything downloads; hybrid comes after a while.
func (s *Service) watchQueries(now time.Time) {
	if !s.dongle.connected || s.watch.busy || now.Before(s.watch.retryAt) {
		return
	}
	working := s.slot.image != nil || len(s.slotUsers()) > 0
	after := watchAfter
	for _, d := range s.active {
		if d.mute && d.Upgrade.State == Applying {
			after = 0 // the only way to learn how its upgrade went
		}
	}
	if working {
		s.watch.idleSince = time.Time{}
	} else if s.watch.idleSince.IsZero() {
		s.watch.idleSince = now
	}
	mode := zigate.RawModeOff
	switch {
	case s.policy.QueryWatch == WatchAlways:
		mode = zigate.RawModeHybrid
	case s.policy.QueryWatch == WatchIdle && !working && s.watch.mode == zigate.RawModeHybrid:
		mode = zigate.RawModeHybrid
	case s.policy.QueryWatch == WatchIdle && !working && now.Sub(s.watch.idleSince) >= after:
		mode = zigate.RawModeHybrid
	}
	if mode != s.watch.mode {
		s.setRawMode(mode)
	}
}

func (s *Service) setRawMode(mode zigate.RawMode) {
	s.watch.busy = true
	session := s.dongle.session
	s.send(zigate.SetRawMode{Mode: mode}, func(_ zigate.Status, err error) {
		if s.dongle.session != session {
			return
		}
		s.watch.busy = false
		if err != nil {
			s.watch.retryAt = time.Now().Add(slotRetry)
			s.log.Warn("the dongle's raw mode was not set; it is tried again", "mode", mode, "err", err)
			return
		}
		s.watch.mode = mode
	})
}

// restoreTimeout is how long a clean stop waits for the dongle to take its raw mode back.
const restoreTimeout = 2 * time.Second

// restoreRawMode leaves the dongle as other software expects it: it keeps its mode over resets. The mode that it had
// before cannot be read; off is what it is sold with.
func (s *Service) restoreRawMode() {
	if !s.dongle.connected || s.watch.mode == zigate.RawModeOff {
		return
	}
	done := make(chan struct{})
	s.radio.Submit(zigate.SetRawMode{Mode: zigate.RawModeOff}, func(zigate.Status, error) { close(done) })
	select {
	case <-done:
	case <-time.After(restoreTimeout):
	}
}

// indication acts on a frame that the dongle shows as it came from the air.
func (s *Service) indication(m zigate.DataIndication, lqi uint8, now time.Time) {
	d := s.devices[m.SrcIEEE]
	if m.SrcAddrMode != zigate.AddrModeIEEE {
		d = s.byAddr[m.SrcAddr]
	}
	if d != nil {
		s.seen(d, lqi, now)
	}
	if m.Cluster != zigate.ClusterOTA {
		return
	}
	if q, ok := zigate.ParseQueryNextImage(m.Payload); ok {
		if d == nil {
			s.strayAddress(m.SrcAddr, now)
			return
		}
		s.queried(d, q, now)
		return
	}
	if end, ok := zigate.ParseUpgradeEndRequest(m.Payload); ok && d != nil {
		end.Endpoint, end.Cluster, end.AddrMode, end.Addr = m.SrcEndpoint, m.Cluster, m.SrcAddrMode, m.SrcAddr
		s.indicatedEnd(d, end, lqi)
	}
}

// queried: a device asked for an image. It says who it is, and it listens now.
func (s *Service) queried(d *device, q zigate.QueryNextImage, now time.Time) {
	s.learnIdentity(d, q.ManufacturerCode, q.ImageType)
	if q.HasHardwareVersion && setIfNew(&d.HardwareVersion, q.HardwareVersion) {
		d.dirty, s.stateDirty = true, true
	}
	s.setVersion(d, q.FileVersion, now)
	u := d.active()
	if u == nil {
		return
	}
	switch u.State {
	case Queued:
		u.runtime.awakeUntil, u.runtime.notBefore = now.Add(awakeFor), time.Time{}
	case Notified:
		if s.slot.holds(u) {
			return // the dongle has just offered it the image
		}
		u.runtime.nextNotify = now
	}
}

// awakeFor is how long a sleeping device that was heard is taken to listen: its parent keeps messages for about 7 s.
const awakeFor = 7 * time.Second

// bothWays is how long a request that was shown as a data indication may take to come as a message of its own, too. In
// the pure raw mode, which other software may have set, it never comes.
const bothWays = 100 * time.Millisecond

// indicatedBlock answers a block request that comes as data indication only; one that comes both ways is left to the
// block server. It is called on the reader goroutine, before the message of its own can have come.
func (s *Service) indicatedBlock(req zigate.BlockRequest) {
	tr := s.blocks.table.Load().byAddr[req.Addr]
	var requests uint64
	if tr != nil {
		requests = tr.requests.Load()
	}
	time.AfterFunc(bothWays, func() {
		s.inbox.postMessage(func() {
			now := s.blocks.table.Load().byAddr[req.Addr]
			if now == nil || now != tr || tr.requests.Load() != requests || s.ctx.Err() != nil {
				return // its message came, or another request did
			}
			var a blockAnswer
			s.blocks.decide(&req, time.Now(), false, &a)
			s.sendAnswer(&a)
		})
	})
}

// indicatedEnd acts on an upgrade end request that comes as data indication only. In the pure raw mode the dongle tells
// the device to wait, so the answer is ours.
func (s *Service) indicatedEnd(d *device, m zigate.UpgradeEndRequest, lqi uint8) {
	u := d.active()
	if u == nil || !u.State.holdsSlot() {
		return
	}
	time.AfterFunc(bothWays, func() {
		s.inbox.postMessage(func() {
			if d.active() == u && u.State.holdsSlot() {
				s.distrustSlot() // whatever it holds, the dongle has not told the device to install
				s.upgradeEnd(m, lqi, time.Now())
			}
		})
	})
}
