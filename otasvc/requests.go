package otasvc

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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
	taken := s.inbox.post(func() {
		if !s.settled {
			s.unsettled = append(s.unsettled, f)
			return
		}
		f()
	})
	if !taken {
		respond(fail(ServiceNotAvailable, nil, "%v", errStopping))
	}
}

// settle carries out the requests that waited for the dongle.
func (s *Service) settle() {
	if s.settled {
		return
	}
	s.settled = true
	waiting := s.unsettled
	s.unsettled = nil
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
	if d := s.lookup(ref); d != nil {
		then(d)
		return
	}
	if ref.kind != refEUID {
		respond(fail(DeviceNotFound, &Operation{}, "no device is known as %q; name it by its euid, "+
			"its network address or the name you gave it", ref))
		return
	}
	op := &Operation{EUID: ref.euid}
	if why, ok := s.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, op, "device %s is not known yet and cannot be looked for: %s",
			ref.euid, why))
		return
	}
	respond(Answer{Status: InProgress, Operation: op})
	s.findDevice(ref.euid, func(d *device) {
		if d == nil && s.ctx.Err() != nil {
			respond(fail(ServiceNotAvailable, op, "%v", errStopping))
			return
		}
		if d == nil {
			respond(fail(DeviceNotFound, op, "device %s does not answer on the network; "+
				"check that it has joined, is powered and, if it sleeps, awake", ref.euid))
			return
		}
		then(d)
	})
}

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
		if d := s.lookup(*ref); d == nil && !s.dongle.connected {
			status(&Operation{EUID: ref.euid})
			return
		}
		s.withDevice(*ref, respond, func(d *device) { status(d.operation(s.offer(d))) })
	})
}

// ImageInfo tells which image a device would get now.
func (s *Service) ImageInfo(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			o := s.offer(d)
			if o == nil {
				a := fail(ImageInfoNotFound, d.operation(nil), "%s", s.noImage(d))
				a.Upgrade = d.Upgrade.record(time.Now())
				a.HasUpgrade = true
				respond(a)
				return
			}
			available := updateAvailable(d, o)
			respond(Answer{
				Status: Success, Operation: d.operation(o), UpdateAvailable: &available, Source: o.Source,
				Upgrade: d.Upgrade.record(time.Now()), HasUpgrade: true,
			})
		})
	})
}

// noImage says why no image fits a device.
func (s *Service) noImage(d *device) string {
	for _, r := range s.registry.For(d.EUID.String()) {
		image, ok := s.images.Image(r.SHA256)
		if !ok {
			return "the registered image is missing from the store; add it again"
		}
		o := offerOf(r, image)
		if fits(d, o) {
			continue
		}
		if d.HardwareVersion != nil && d.ManufacturerCode != nil &&
			*d.ManufacturerCode == o.ManufacturerCode &&
			d.ImageType != nil && *d.ImageType == o.ImageType {
			return fmt.Sprintf("the registered image is for other hardware versions than the device's %d",
				*d.HardwareVersion)
		}
		return fmt.Sprintf("the registered image is for manufacturer 0x%04x and image type 0x%04x, "+
			"the device asks for others",
			o.ManufacturerCode, o.ImageType)
	}
	if dev, ok := catalogDevice(d); ok && s.catalog != nil {
		if err := s.catalog.Explain(dev); err != nil {
			return "no image is registered for this device, and " + err.Error() + "; add one with add_image"
		}
	}
	return "no image is registered for this device; add one with add_image"
}

// Cancel ends a device's upgrade.
func (s *Service) Cancel(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.upgradeOperation(d)
			if !s.fire(d, triggerCancel, time.Now()) {
				respond(fail(Failure, op, "%s has no upgrade that could be cancelled", d.name()))
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
		for _, d := range s.sortedDevices() {
			s.fire(d, triggerCancel, now)
		}
		s.whenSaved(func() { respond(Answer{Status: Success}) })
	})
}

// upgradeOperation is the operation record of the upgrade under way, or of the image the device would get.
func (s *Service) upgradeOperation(d *device) *Operation {
	if u := d.active(); u != nil {
		return u.operation(d.EUID, d.CurrentVersion)
	}
	return d.operation(s.offer(d))
}

// Check reads a device's running version again and tells whether there is a newer image.
func (s *Service) Check(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			if why, ok := s.dongle.usable(); !ok {
				respond(fail(ServiceNotAvailable, d.operation(s.offer(d)), "%s", why))
				return
			}
			respond(Answer{Status: InProgress, Operation: d.operation(s.offer(d))})
			s.checkDevice(d, func(err error) {
				o := s.offer(d)
				available := updateAvailable(d, o)
				a := Answer{Status: Success, Operation: d.operation(o), UpdateAvailable: &available}
				if err != nil {
					a.Status = Failure
					a.Reason = ReasonNoResponse
					a.Error = fmt.Sprintf("%s did not tell its version: %v; a sleeping device has to be "+
						"woken, others to be powered and in reach", d.name(), err)
				}
				respond(a)
			})
		})
	})
}

// checkDevice reads the version. A device whose OTA endpoint is not known yet is asked at endpoint 1, where
// most have it, and interviewed if that does not help.
func (s *Service) checkDevice(d *device, done func(error)) {
	s.readVersion(d, func(err error) {
		if err == nil && !d.mute || d.Endpoint != 0 || d.NetworkAddress == nil || s.ctx.Err() != nil {
			done(err)
			return
		}
		s.wantInterview(d)
		d.interview.next = time.Time{}
		d.interview.done = append(d.interview.done, done)
	})
}

// checksAtOnce is how many devices are asked at the same time by a check of all.
const checksAtOnce = 4

// CheckAll reads the running version of every device.
func (s *Service) CheckAll(respond Respond) {
	s.request(respond, func() {
		if why, ok := s.dongle.usable(); !ok {
			respond(fail(ServiceNotAvailable, nil, "%s", why))
			return
		}
		respond(Answer{Status: InProgress})
		s.listDevices()
		if s.catalog != nil {
			s.catalog.Refresh()
		}
		devices := s.sortedDevices()
		results := make([]CheckResult, len(devices))
		open := len(devices)
		next := 0
		if open == 0 {
			respond(Answer{Status: Success, CheckResults: results})
			return
		}
		var begin func()
		begin = func() {
			if next == len(devices) {
				return
			}
			i := next
			d := devices[next]
			next++
			s.checkDevice(d, func(err error) {
				status := Success
				if err != nil {
					status = Failure
				}
				results[i] = CheckResult{
					EUID: d.EUID, Status: status, UpdateAvailable: updateAvailable(d, s.offer(d)),
				}
				if open--; open == 0 {
					respond(Answer{Status: Success, CheckResults: results})
					return
				}
				begin()
			})
		}
		for range min(checksAtOnce, len(devices)) {
			begin()
		}
	})
}

// Interview asks a device again who it is.
func (s *Service) Interview(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := d.operation(s.offer(d))
			if why, ok := s.dongle.usable(); !ok {
				respond(fail(ServiceNotAvailable, op, "%s", why))
				return
			}
			if d.NetworkAddress == nil {
				respond(fail(Failure, op, "%s cannot be asked: %v", d.name(), errNoAddress))
				return
			}
			respond(Answer{Status: InProgress, Operation: op})
			s.wantInterview(d)
			d.interview.next = time.Time{}
			d.interview.done = append(d.interview.done, func(err error) {
				if err != nil {
					respond(fail(Failure, d.operation(s.offer(d)), "%s did not answer all "+
						"questions: %v", d.name(), err))
					return
				}
				respond(Answer{Status: Success, Operation: d.operation(s.offer(d))})
			})
		})
	})
}

// Pause holds a device's download with wait-for-data, until Resume or, if not 0, for d.
func (s *Service) Pause(ref DeviceRef, d time.Duration, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(dev *device) {
			now := time.Now()
			op := s.upgradeOperation(dev)
			u := dev.active()
			if u == nil || u.State != Paused && !s.fire(dev, triggerHold, now) {
				respond(fail(Failure, op, "%s has no download that could be paused", dev.name()))
				return
			}
			if d <= 0 {
				d = longPatience // nothing waits for ever
			}
			u.Held = true
			u.PausedUntil = now.Add(d)
			s.setVerdict(u)
			s.happened(s.upgradeEvent(EventDownloadPaused, dev, u))
			s.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// Resume lets a held download go on.
func (s *Service) Resume(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.upgradeOperation(d)
			if !s.resume(d, time.Now()) {
				respond(fail(Failure, op, "%s has no paused download", d.name()))
				return
			}
			s.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// resume ends a pause. A download that had not begun goes back to the queue; one that is put aside for
// another image goes on when its turn comes.
func (s *Service) resume(d *device, now time.Time) bool {
	u := d.active()
	if u == nil || !u.Held {
		return false
	}
	u.Held = false
	u.PausedUntil = time.Time{}
	d.dirty = true
	s.stateDirty = true
	// It asks when its wait is over, not before: until then it is not silent.
	u.runtime.lastActivity = now.Add(maxHold * time.Second)
	if !u.AsideUntil.IsZero() {
		return true
	}
	t := triggerRelease
	if !u.runtime.begun && u.StartedAt.IsZero() {
		t = triggerYield
	}
	if !s.fire(d, t, now) {
		return false
	}
	s.setVerdict(u)
	s.happened(s.upgradeEvent(EventDownloadResumed, d, u))
	return true
}

// Rename gives a device the name that is shown to people. The name must have been checked by ValidName.
func (s *Service) Rename(ref DeviceRef, name string, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := d.operation(s.offer(d))
			for _, other := range s.devices {
				if other != d && other.GivenName == name {
					respond(fail(InvalidData, op, "name: %q is the name of device %s already; "+
						"names are unique", name, other.EUID))
					return
				}
			}
			d.GivenName = name
			d.dirty = true
			s.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
		})
	})
}

// Forget drops a device that is gone.
func (s *Service) Forget(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		d := s.lookup(ref)
		if d == nil {
			respond(fail(DeviceNotFound, &Operation{EUID: ref.euid}, "no device is known as %q", ref))
			return
		}
		op := d.operation(s.offer(d))
		s.drop(d)
		s.whenSaved(func() { respond(Answer{Status: Success, Operation: op}) })
	})
}

// sortedDevices lists the devices by EUID.
func (s *Service) sortedDevices() []*device { return sorted(s.devices) }

// sortedActive lists the devices whose upgrade has not ended, by EUID.
func (s *Service) sortedActive() []*device { return sorted(s.active) }

func sorted(devices map[message.IEEE]*device) []*device {
	return slices.SortedFunc(maps.Values(devices), func(a, b *device) int {
		return cmp.Compare(a.EUID, b.EUID)
	})
}

// ValidName reports why a name cannot be given to a device; empty: it can. Names that look like an address
// would make requests ambiguous.
func ValidName(name string) string {
	if n := len([]rune(name)); n < 1 || n > 64 {
		return "must have 1 to 64 characters"
	}
	if name == "all" || ParseDeviceRef(name).kind != refName {
		return "must not be \"all\" nor look like an euid or a network address"
	}
	return ""
}

var _ zigate.Handler = (*Service)(nil)
