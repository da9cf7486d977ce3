package otasvc

import (
	"errors"
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Requests come from any goroutine. They never block: each is carried out on the owner goroutine, and its
// answers come through respond.

// settleTimeout is how long requests wait, after a start, for the first word on whether the dongle is there.
const settleTimeout = 10 * time.Second

// request carries a request out on the owner goroutine. Right after a start the dongle is still being opened,
// while commands that the broker had kept come at once: they wait instead of being refused.
func (s *Service) request(respond Respond, f func()) {
	if !s.inbox.Post(func() { s.gate.pass(f) }) {
		respond(fail(ServiceNotAvailable, nil, "%v", errStopping))
	}
}

// requestGate holds requests back until it is known whether the dongle is there.
type requestGate struct {
	opened  bool
	waiting []func()
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
var errDeviceForgotten = errors.New("the device was forgotten")

// fail is a final answer that tells an error.
func fail(status Status, op *Operation, format string, args ...any) Answer {
	return Answer{Status: status, Operation: op, Error: fmt.Sprintf(format, args...)}
}

// failReason is a final answer that tells the reason why an upgrade is not done.
func failReason(reason Reason, op *Operation) Answer {
	return Answer{Status: Failure, Reason: reason, Operation: op, Error: reason.Explain()}
}

// withDevice finds the device that a request names and goes on with it. One that is not known yet is looked
// for on the network first, if it was named by its EUID: the dongle itself lists its neighbours only.
func (s *Service) withDevice(ref DeviceRef, respond Respond, then func(*device)) {
	if d := s.home.find(ref); d != nil {
		then(d)
		return
	}
	euid, named := ref.EUID()
	if !named {
		respond(fail(DeviceNotFound, &Operation{}, "no device is known as %q; name it by its euid, "+
			"its network address or the name you gave it", ref))
		return
	}
	op := &Operation{EUID: euid}
	if why, ok := s.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, op, "device %s is not known yet and cannot be looked for: %s",
			euid, why))
		return
	}
	respond(Answer{Status: InProgress, Operation: op})
	s.searches.Find(euid, func(found *registry.Device) {
		switch {
		case found != nil:
			then(s.home.of(found))
		case s.stopping():
			respond(fail(ServiceNotAvailable, op, "%v", errStopping))
		default:
			respond(fail(DeviceNotFound, op, "device %s does not answer on the network; "+
				"check that it has joined, is powered and, if it sleeps, awake", euid))
		}
	})
}

// offerOperation is the operation record of the image that a device would get.
func (s *Service) offerOperation(d *device) *Operation { return d.operation(s.offers.best(d.Device)) }

// ServiceStatus tells whether upgrades can be done. ref may be nil; a device that is named must be known.
func (s *Service) ServiceStatus(ref *DeviceRef, respond Respond) {
	s.request(respond, func() {
		status := func(op *Operation) {
			if why, ok := s.dongle.usable(); !ok {
				respond(fail(ServiceNotAvailable, op, "%s", why))
				return
			}
			respond(Answer{Status: ServiceAvailable, Operation: op})
		}
		if ref == nil {
			status(nil)
			return
		}
		// With the dongle away the answer is that, whichever device is meant.
		if d := s.home.find(*ref); d == nil && !s.dongle.connected {
			euid, _ := ref.EUID()
			status(&Operation{EUID: euid})
			return
		}
		s.withDevice(*ref, respond, func(d *device) { status(s.offerOperation(d)) })
	})
}

// ImageInfo tells which image a device would get now.
func (s *Service) ImageInfo(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			o := s.offers.best(d.Device)
			if o == nil {
				a := fail(ImageInfoNotFound, d.operation(nil), "%s", s.offers.noImage(d.Device))
				a.Upgrade = recordOf(d.Upgrade, time.Now())
				a.HasUpgrade = true
				respond(a)
				return
			}
			available := updateAvailable(d.Device, o)
			respond(Answer{
				Status: Success, Operation: d.operation(o), UpdateAvailable: &available, Source: o.Source,
				Upgrade: recordOf(d.Upgrade, time.Now()), HasUpgrade: true,
			})
		})
	})
}

// Cancel ends a device's upgrade.
func (s *Service) Cancel(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.upgradeOperation(d)
			if !s.upgrades.step(d, upgrade.Cancel{}, time.Now()) {
				respond(fail(Failure, op, "%s has no upgrade that could be cancelled", d.Name()))
				return
			}
			s.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// CancelAll ends every upgrade.
func (s *Service) CancelAll(respond Respond) {
	s.request(respond, func() {
		now := time.Now()
		for _, d := range s.home.sorted() {
			s.upgrades.step(d, upgrade.Cancel{}, now)
		}
		s.whenSaved(func() { respond(Answer{Status: Success}) })
	})
}

// upgradeOperation is the operation record of the upgrade under way, or of the image the device would get.
func (s *Service) upgradeOperation(d *device) *Operation {
	if u := d.active(); u != nil {
		return operationOf(u, d.EUID(), d.CurrentVersion())
	}
	return s.offerOperation(d)
}

// Pause holds a device's download with wait-for-data, until Resume or, if not 0, for d.
func (s *Service) Pause(ref DeviceRef, d time.Duration, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(dev *device) {
			op := s.upgradeOperation(dev)
			if !s.upgrades.step(dev, upgrade.Pause{For: d}, time.Now()) {
				respond(fail(Failure, op, "%s has no download that could be paused", dev.Name()))
				return
			}
			s.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// Resume lets a held download go on.
func (s *Service) Resume(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.upgradeOperation(d)
			if !s.upgrades.step(d, upgrade.Resume{}, time.Now()) {
				respond(fail(Failure, op, "%s has no paused download", d.Name()))
				return
			}
			s.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// Rename gives a device the name that is shown to people. The name must have been checked by ValidName.
func (s *Service) Rename(ref DeviceRef, name string, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.offerOperation(d)
			if err := s.home.registry.Rename(d.Device, name); err != nil {
				respond(fail(InvalidData, op, "name: %v", err))
				return
			}
			s.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// Forget drops a device that is gone.
func (s *Service) Forget(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		d := s.home.find(ref)
		if d == nil {
			euid, _ := ref.EUID()
			respond(fail(DeviceNotFound, &Operation{EUID: euid}, "no device is known as %q", ref))
			return
		}
		op := s.offerOperation(d)
		s.forget(d)
		s.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
	})
}

// listDevices asks the dongle for its neighbours. Others are met when they announce themselves or
// ask for something.
func (s *Service) listDevices() {
	s.sender.Send(message.GetDevices{}, func(_ message.Status, err error) {
		if err != nil && s.dongle.connected {
			s.log.Warn("the dongle did not list its devices; they are met when they are heard from",
				"err", err)
		}
	})
}

// forget drops a device and clears what was told of it.
func (s *Service) forget(d *device) {
	s.upgrades.step(d, upgrade.Cancel{}, time.Now())
	s.home.forget(d)
	s.offers.forget(d.Device)
	s.interviews.forget(d)
	s.teller.sink.DeviceGone(d.EUID())
}

var _ zigate.Handler = (*Service)(nil)
