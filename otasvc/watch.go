package otasvc

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// QueryWatch is when the dongle runs in its hybrid raw mode. It then shows every frame as it came from the
// air, Query Next Image requests among them, which the dongle answers itself and tells nobody of otherwise:
// they name a device's running version and, alone of all messages, its hardware version, and show that a
// sleeping device is awake. Each frame then costs a further one on air, so the mode is for the time when
// nothing downloads.
type QueryWatch uint8

// When queries are watched.
const (
	WatchNever  QueryWatch = iota
	WatchIdle              // while nothing downloads
	WatchAlways            // during downloads too
)

// watchAfter is how long nothing has to be going on before the mode changes. The dongle writes each change
// to its flash memory.
const watchAfter = time.Minute

// watch is the dongle's raw mode as far as the owner knows it.
type watch struct {
	mode message.RawMode
	busy bool
	// touched: the dongle may have another mode than off. What became of a command whose status was
	// lost is not known.
	touched bool
	// idleSince is when the last download ended.
	idleSince time.Time
	retryAt   time.Time
}

// watchQueries sets the dongle's raw mode. Off comes at once, before anything downloads; hybrid
// comes after a while.
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
	mode := message.RawModeOff
	switch {
	case s.policy.QueryWatch == WatchAlways:
		mode = message.RawModeHybrid
	case s.policy.QueryWatch == WatchIdle && !working && s.watch.mode == message.RawModeHybrid:
		mode = message.RawModeHybrid
	case s.policy.QueryWatch == WatchIdle && !working && now.Sub(s.watch.idleSince) >= after:
		mode = message.RawModeHybrid
	}
	if mode != s.watch.mode {
		s.setRawMode(mode)
	}
}

func (s *Service) setRawMode(mode message.RawMode) {
	s.watch.busy = true
	s.watch.touched = s.watch.touched || mode != message.RawModeOff
	session := s.dongle.session
	s.send(message.SetRawMode{Mode: mode}, func(_ message.Status, err error) {
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
		s.watch.touched = mode != message.RawModeOff
	})
}

// How long a clean stop waits for the dongle to take its raw mode back, and how often it tries.
const (
	restoreTimeout = 2 * time.Second
	restoreTries   = 3
)

// restoreRawMode leaves the dongle as other software expects it: it keeps its mode over resets. The mode that
// it had before cannot be read; off is what it is sold with, and what it was set to when it was connected.
func (s *Service) restoreRawMode() {
	if !s.dongle.connected || !s.watch.touched {
		return
	}
	timeout := time.After(restoreTimeout)
	for range restoreTries {
		done := make(chan error, 1)
		s.radio.Submit(message.SetRawMode{Mode: message.RawModeOff}, func(_ message.Status, err error) {
			done <- err
		})
		select {
		case err := <-done:
			if err == nil {
				return
			}
		case <-timeout:
			s.log.Warn("the dongle did not say that it has left its hybrid raw mode")
			return
		}
	}
}

// indication acts on a frame that the dongle shows as it came from the air.
func (s *Service) indication(m message.DataIndication, lqi uint8, now time.Time) {
	d := s.indicated(m)
	if d == nil {
		s.strangerIndicated(m, now)
	} else {
		s.seen(d, lqi, now)
	}
	if s.watch.mode == message.RawModeOff && !s.watch.busy {
		// Nobody asked for it: either no handler of the firmware wants the frame, or the dongle is in the
		// pure raw mode, and nothing else will tell what is in it.
		for _, decoded := range m.Messages() {
			s.message(decoded, lqi, now)
		}
	}
	if m.Cluster != message.ClusterOTA || d == nil {
		return
	}
	if q, ok := message.ParseQueryNextImage(m.Payload); ok {
		s.askedAt(d, m)
		s.queried(d, q, now)
		return
	}
	if end, ok := message.ParseUpgradeEndRequest(m.Payload); ok {
		end.Endpoint = m.SrcEndpoint
		end.Cluster = m.Cluster
		end.AddrMode = m.SrcAddrMode
		end.Addr = m.SrcAddr
		s.indicatedEnd(d, end, lqi)
	}
}

// indicated is the device that a frame came from, or nil.
func (s *Service) indicated(m message.DataIndication) *device {
	if m.SrcAddrMode == message.AddrModeIEEE {
		return s.devices[m.SrcIEEE]
	}
	return s.byAddr[m.SrcAddr]
}

// strangersAtOnce is how many senders of frames are looked into at a time, unless they ask for an image: a
// network may have hundreds.
const strangersAtOnce = 8

// strangerIndicated: a frame came from nobody who is known yet.
func (s *Service) strangerIndicated(m message.DataIndication, now time.Time) {
	switch {
	case m.SrcAddrMode == message.AddrModeIEEE && m.SrcIEEE != 0 && m.SrcIEEE != s.dongle.info.IEEE:
		s.findDevice(m.SrcIEEE, func(*device) {})
	case m.SrcAddrMode == message.AddrModeShort:
		s.strangerHeard(m.SrcAddr, m.Cluster == message.ClusterOTA, now)
	}
}

// strangerHeard finds out who has a network address that something was heard from.
func (s *Service) strangerHeard(addr uint16, urgent bool, now time.Time) {
	if addr != coordinatorAddr && addr < firstBroadcastAddr && (urgent || len(s.strays) < strangersAtOnce) {
		s.strayAddress(addr, now)
	}
}

// The endpoints that the firmware's ZCL library can send from are 1 to this. Requests are heard on some more,
// which the dongle itself advertises as OTA servers: 11 (v1 from 3.1d on, v2) and 3 (v2).
const (
	lastEndpointV1 = 6
	lastEndpointV2 = 2
)

// askedAt notes where on the dongle a device looks for images, and on which endpoint its OTA client is.
func (s *Service) askedAt(d *device, m message.DataIndication) {
	if m.SrcEndpoint != 0 && d.Endpoint != m.SrcEndpoint {
		d.Endpoint = m.SrcEndpoint
		d.dirty = true
		s.stateDirty = true
	}
	last := uint8(lastEndpointV1)
	if s.dongle.info.Family == message.FamilyV2 {
		last = lastEndpointV2
	}
	deaf := uint8(0)
	if m.DstEndpoint > last {
		deaf = m.DstEndpoint
	}
	if d.DeafEndpoint == deaf {
		return
	}
	d.DeafEndpoint = deaf
	s.stateDirty = true
	if deaf != 0 {
		s.log.Warn(d.unanswered(), "euid", d.EUID, "name", d.name(), "dongleEndpoint", deaf)
	}
}

// unanswered says that the dongle will never answer a device, and what to do; empty where that is not so.
func (d *device) unanswered() string {
	if d.DeafEndpoint == 0 {
		return ""
	}
	return fmt.Sprintf("the device looks for images at endpoint %d of the dongle, "+
		"where the firmware hears requests and cannot answer them; "+
		"bind its OTA cluster to endpoint 1, or let it join again", d.DeafEndpoint)
}

// queried: a device asked for an image. It says who it is, and it listens now.
func (s *Service) queried(d *device, q message.QueryNextImage, now time.Time) {
	s.learnIdentity(d, q.ManufacturerCode, q.ImageType)
	if q.HasHardwareVersion && setIfNew(&d.HardwareVersion, q.HardwareVersion) {
		d.dirty = true
		s.stateDirty = true
	}
	s.setVersion(d, q.FileVersion, now)
	u := d.active()
	if u == nil {
		return
	}
	switch u.State {
	case Queued:
		u.runtime.awakeUntil = now.Add(awakeFor)
		u.runtime.notBefore = time.Time{}
	case Notified:
		if s.slot.holds(u) {
			return // the dongle has just offered it the image
		}
		u.runtime.nextNotify = now
	case Downloading:
		s.suspectReset(d, now) // it was refused a block
	}
}

// awakeFor is how long a sleeping device that was heard is taken to listen: its parent keeps
// messages for about 7 s.
const awakeFor = 7 * time.Second

// bothWays is how long a request that was shown as a data indication may take to come as a message of its
// own, too. In the pure raw mode, which other software may have set, it never comes. onceWithin is how long
// the same request in the other form is taken for a copy: devices that repeat theirs wait longer.
const (
	bothWays   = 100 * time.Millisecond
	onceWithin = time.Second
)

// indicatedBlock answers a block request that comes as data indication only; one that comes both ways is left
// to the block server. It is called on the reader goroutine.
func (s *Service) indicatedBlock(req message.BlockRequest) {
	tr := s.blocks.table.Load().byAddr[req.Addr]
	if tr == nil {
		return // the owner finds out who it is
	}
	requests := tr.requests.Load()
	if requests > 0 && tr.lastAsked.Load() == askedKey(&req) &&
		tr.instant(time.Now())-tr.lastRequest.Load() < int64(onceWithin) {
		return // its message came first
	}
	time.AfterFunc(bothWays, func() {
		s.inbox.postMessage(func() {
			now := s.blocks.table.Load().byAddr[req.Addr]
			if now == nil || now != tr || tr.requests.Load() != requests || s.ctx.Err() != nil {
				return // its message came, or another request did
			}
			s.shown.put(&req)
			var a blockAnswer
			s.blocks.decide(&req, time.Now(), false, &a)
			s.sendAnswer(&a)
		})
	})
}

// shownBlocks are the block requests that were answered when they were shown as data indications, for a
// second: their message may still come. The owner puts them in and the reader goroutine takes them out; where
// there are none, as in all modes but the pure raw one, looking costs one atomic load.
type shownBlocks struct {
	count atomic.Int32
	ring  [16]atomic.Uint64 // address, offset and sequence number; 0: free
}

func shownKey(req *message.BlockRequest) uint64 {
	return uint64(req.Addr)<<48 | askedKey(req) | 1<<47 // never 0
}

func (b *shownBlocks) put(req *message.BlockRequest) {
	key := shownKey(req)
	for i := range b.ring {
		if !b.ring[i].CompareAndSwap(0, key) {
			continue
		}
		b.count.Add(1)
		time.AfterFunc(onceWithin, func() {
			if b.ring[i].CompareAndSwap(key, 0) {
				b.count.Add(-1)
			}
		})
		return
	}
}

// take reports whether a request was answered already, once.
func (b *shownBlocks) take(req *message.BlockRequest) bool {
	if b.count.Load() == 0 {
		return false
	}
	key := shownKey(req)
	for i := range b.ring {
		if b.ring[i].CompareAndSwap(key, 0) {
			b.count.Add(-1)
			return true
		}
	}
	return false
}

// indicatedEnd acts on an upgrade end request that comes as data indication only. In the pure raw mode the
// dongle tells the device to wait, so the answer is ours.
func (s *Service) indicatedEnd(d *device, m message.UpgradeEndRequest, lqi uint8) {
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
