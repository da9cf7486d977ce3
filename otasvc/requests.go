package otasvc

import (
	"errors"
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
)

// Requests come from any goroutine. They never block: each is carried out on the owner goroutine, and its
// answers come through respond.

// settleTimeout is how long requests wait, after a start, until it is known whether the dongle is there.
const settleTimeout = 10 * time.Second

// request carries a request out on the owner goroutine. Right after a start the dongle is still being opened,
// while commands that the broker had kept come at once: they wait instead of being refused.
func (s *Service) request(respond Respond, f func()) {
	if !s.owner.inbox.Post(func() { s.gate.pass(f) }) {
		respond(fail(ServiceNotAvailable, nil, "%v", errStopping))
	}
}

// requestGate holds requests back until it is known whether the dongle is there, or that took too long. It
// does not know what they ask for.
type requestGate struct {
	deadline time.Time // from then on it is open
	opened   bool
	waiting  []func()
}

// pass carries a request out, now or when the gate is opened.
func (g *requestGate) pass(f func()) {
	if !g.opened {
		g.waiting = append(g.waiting, f)
		return
	}
	f()
}

// open carries out the requests that waited.
func (g *requestGate) open() {
	if g.opened {
		return
	}
	g.opened = true
	waiting := g.waiting
	g.waiting = nil
	for _, f := range waiting {
		f()
	}
}

// errDeviceForgotten ends what was asked of a device that has been forgotten meanwhile.
var errDeviceForgotten = errors.New("the device was forgotten meanwhile; " +
	"it is known again once it is heard from")

// fail is a final answer that tells an error.
func fail(status Status, op *Operation, format string, args ...any) Answer {
	return Answer{Status: status, Operation: op, Error: fmt.Sprintf(format, args...)}
}

// failReason is a final answer that tells the reason why an upgrade is not done.
func failReason(reason upgrade.Reason, op *Operation) Answer {
	return Answer{Status: Failure, Reason: reason, Operation: op, Error: reason.Explain()}
}

// withDevice goes on with the device that a request names, see [inquiries.find].
func (s *Service) withDevice(ref registry.Ref, respond Respond, then func(*device)) {
	s.inquiries.find(ref, respond, then)
}

// Cancel ends a device's upgrade.
func (s *Service) Cancel(ref registry.Ref, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.offers.upgradeOperation(d)
			if !s.upgrades.step(d, upgrade.Cancel{}, s.owner.now()) {
				respond(fail(Failure, op, "%s has no upgrade that could be cancelled", d.Name()))
				return
			}
			s.keeper.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// CancelAll ends every upgrade.
func (s *Service) CancelAll(respond Respond) {
	s.request(respond, func() {
		now := s.owner.now()
		for _, d := range s.home.sorted() {
			s.upgrades.step(d, upgrade.Cancel{}, now)
		}
		s.keeper.whenSaved(func() { respond(Answer{Status: Success}) })
	})
}

// Pause holds a device's download with wait-for-data, until Resume or, if not 0, for d.
func (s *Service) Pause(ref registry.Ref, d time.Duration, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(dev *device) {
			op := s.offers.upgradeOperation(dev)
			if !s.upgrades.step(dev, upgrade.Pause{For: d}, s.owner.now()) {
				respond(fail(Failure, op, "%s has no download that could be paused", dev.Name()))
				return
			}
			s.keeper.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// Resume lets a held download go on.
func (s *Service) Resume(ref registry.Ref, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.offers.upgradeOperation(d)
			if !s.upgrades.step(d, upgrade.Resume{}, s.owner.now()) {
				respond(fail(Failure, op, "%s has no paused download", d.Name()))
				return
			}
			s.keeper.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// Rename gives a device the name that is shown to people. The name must have been checked by ValidName.
func (s *Service) Rename(ref registry.Ref, name string, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.offers.operation(d)
			if err := s.home.registry.Rename(d.Device, name); err != nil {
				respond(fail(InvalidData, op, "name: %v", err))
				return
			}
			s.keeper.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// Forget drops a device that is gone.
func (s *Service) Forget(ref registry.Ref, respond Respond) {
	s.request(respond, func() {
		d := s.home.find(ref)
		if d == nil {
			euid, _ := ref.EUID()
			respond(fail(DeviceNotFound, &Operation{EUID: euid}, "no device is known as %q", ref))
			return
		}
		op := s.offers.operation(d)
		s.hearing.devices.forget(d)
		s.keeper.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
	})
}

var _ zigate.Handler = (*Service)(nil)
