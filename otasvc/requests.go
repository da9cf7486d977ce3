package otasvc

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// Requests come from any goroutine. They never block: each is carried out on the owner goroutine, and its
// answers come through respond.

// request carries a request out on the owner goroutine. Right after a start the dongle is still being opened,
// while commands that the broker had kept come at once: they wait instead of being refused.
func (s *Service) request(respond Respond, f func()) {
	if !s.owner.inbox.Post(func() { s.gate.pass(f) }) {
		respond(fail(ServiceNotAvailable, nil, "%v", errStopping))
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

// Cancel ends a device's upgrade, unless the device installs its image already.
func (s *Service) Cancel(ref registry.Ref, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.offers.upgradeOperation(d)
			switch {
			case installs(d):
				respond(failReason(upgrade.ReasonTooLate, op))
				return
			case !s.upgrades.cancel(d, s.owner.now()):
				respond(fail(Failure, op, "%s has no upgrade that could be cancelled", d.Name()))
				return
			}
			s.keeper.answer(Answer{Status: Success, Operation: op}, respond)
		})
	})
}

// installs reports whether a device installs the image of its upgrade, which nothing can stop.
func installs(d *device) bool {
	return d.upgrade != nil && d.upgrade.Stage() == upgrade.StageApplying
}

// CancelAll ends every upgrade but those of devices that install already. The answer is a failure where there
// are such devices, and names them.
func (s *Service) CancelAll(respond Respond) {
	s.request(respond, func() {
		now := s.owner.now()
		var tooLate []string
		for _, d := range s.home.sorted() {
			s.upgrades.cancel(d, now)
			if installs(d) {
				tooLate = append(tooLate, d.Name())
			}
		}
		answer := Answer{Status: Success}
		if len(tooLate) > 0 {
			answer = failReason(upgrade.ReasonTooLate, nil)
			answer.Error = "the other upgrades are cancelled; " +
				"nothing can stop devices that install already: " +
				strings.Join(tooLate, ", ")
		}
		s.keeper.answer(answer, respond)
	})
}

// Pause holds a device's download with wait-for-data, until Resume or, if not 0, for d.
func (s *Service) Pause(ref registry.Ref, d time.Duration, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(dev *device) {
			op := s.offers.upgradeOperation(dev)
			if isFetching(dev) {
				respond(fail(Failure, op, "the image for %s is still being fetched, so there is no download "+
					"that could be paused; cancel ends the upgrade", dev.Name()))
				return
			}
			if !s.upgrades.step(dev, upgrade.Pause{For: d}, s.owner.now()) {
				respond(fail(Failure, op, "%s has no download that could be paused", dev.Name()))
				return
			}
			s.keeper.answer(Answer{Status: Success, Operation: op}, respond)
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
			s.keeper.answer(Answer{Status: Success, Operation: op}, respond)
		})
	})
}

// Rename gives a device the name that is shown to people. The name must have been checked by ValidName.
func (s *Service) Rename(ref registry.Ref, name string, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.offers.operation(mainClient(d))
			if err := s.home.registry.Rename(d.Device, name); err != nil {
				respond(fail(InvalidData, op, "name: %v", err))
				return
			}
			s.keeper.answer(Answer{Status: Success, Operation: op}, respond)
		})
	})
}

// Configure sets what holds for one device alone. change gets what is set, and returns what is to be set
// instead.
func (s *Service) Configure(ref registry.Ref, change func(needs.Settings) needs.Settings, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.offers.operation(mainClient(d))
			if err := s.upgrades.configure(d, change(d.Settings()), s.owner.now()); err != nil {
				respond(fail(InvalidData, op, "%v", err))
				return
			}
			s.keeper.answer(Answer{Status: Success, Operation: op}, respond)
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
		op := s.offers.operation(mainClient(d))
		s.hearing.devices.forget(d)
		s.keeper.answer(Answer{Status: Success, Operation: op}, respond)
	})
}

// ServiceStatus tells whether upgrades can be done. ref may be nil; a device that is named must be known.
func (s *Service) ServiceStatus(ref *registry.Ref, respond Respond) {
	s.request(respond, func() { s.inquiries.status(ref, respond) })
}

// ImageInfo tells which image a device would get now. imageType names one of its OTA clients; nil stands for
// the main one.
func (s *Service) ImageInfo(ref registry.Ref, imageType *uint16, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := namedClient(d, imageType).operation(nil)
			s.offers.whenRead(op, respond, func(respond Respond) {
				respond(s.inquiries.imageInfo(namedClient(d, imageType), s.owner.now()))
			})
		})
	})
}

// Check reads a device's running version again and tells whether there is a newer image. imageType names one
// of its OTA clients; nil stands for the main one.
func (s *Service) Check(ref registry.Ref, imageType *uint16, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) { s.inquiries.check(d, imageType, respond) })
	})
}

// CheckAll reads the running version of every device.
func (s *Service) CheckAll(respond Respond) {
	s.request(respond, func() { s.inquiries.checkAll(respond) })
}

// Interview asks a device again who it is.
func (s *Service) Interview(ref registry.Ref, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) { s.inquiries.interview(d, respond) })
	})
}

// inquiries answers what people ask about devices: whether they are there, who they are, what they run, which
// image they would get. It does not know how a device is asked, and begins no upgrade. It belongs to the
// owner goroutine.
type inquiries struct {
	owner      *owner
	home       *home
	dongle     *dongle
	offers     *offers
	searches   *registry.Searches
	interviews *interviews
	takeCensus func() // finds out which devices there are
	inventory  *inventory
}

// find finds the device that a request names and goes on with it. One that is not known yet is looked for on
// the network first, if it was named by its EUID: the dongle itself lists its neighbours only.
func (q *inquiries) find(ref registry.Ref, respond Respond, then func(*device)) {
	if d := q.home.find(ref); d != nil {
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
	if why, ok := q.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, op, "device %s is not known yet and cannot be looked for: %s",
			euid, why))
		return
	}
	respond(Answer{Status: InProgress, Operation: op})
	looked := q.searches.Find(euid, func(found *registry.Device) {
		switch {
		case found != nil:
			then(q.home.of(found))
		case q.owner.stopping():
			respond(fail(ServiceNotAvailable, op, "%v", errStopping))
		default:
			respond(fail(DeviceNotFound, op, "device %s does not answer on the network; "+
				"check that it has joined, is powered and, if it sleeps, awake", euid))
		}
	})
	if !looked {
		respond(fail(Failure, op, "device %s is not known yet, and too many others are being looked for on "+
			"the network; try again in two minutes", euid))
	}
}

// status tells whether upgrades can be done: of the device that is named, or at all where ref is nil.
func (q *inquiries) status(ref *registry.Ref, respond Respond) {
	if ref == nil {
		respond(q.availability(nil))
		return
	}
	// With the dongle away the answer is that, whichever device is meant.
	if d := q.home.find(*ref); d == nil && !q.dongle.connected {
		euid, _ := ref.EUID()
		respond(q.availability(&Operation{EUID: euid}))
		return
	}
	q.find(*ref, respond, func(d *device) { respond(q.availability(q.offers.operation(mainClient(d)))) })
}

// availability says whether upgrades can be done.
func (q *inquiries) availability(op *Operation) Answer {
	if why, ok := q.dongle.usable(); !ok {
		return fail(ServiceNotAvailable, op, "%s", why)
	}
	return Answer{Status: ServiceAvailable, Operation: op}
}

// imageInfo says which image an OTA client would get.
func (q *inquiries) imageInfo(c client, now time.Time) Answer {
	o := q.offers.best(c)
	a := Answer{
		Operation:  c.operation(o),
		Upgrade:    recordOf(c.device, now),
		Queue:      c.device.queue.Place(),
		HasUpgrade: true,
	}
	if o == nil {
		a.Status = ImageInfoNotFound
		a.Error = q.offers.noImage(c)
		return a
	}
	a.Status = Success
	a.UpdateAvailable = ptr(isUpdate(c, o))
	a.Source = o.Source
	return a
}

// check reads the version of a device's OTA client and says whether there is a newer image.
func (q *inquiries) check(d *device, imageType *uint16, respond Respond) {
	op := q.offers.operation(namedClient(d, imageType))
	if why, ok := q.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, op, "%s", why))
		return
	}
	q.offers.whenRead(op, respond, func(respond Respond) {
		respond(Answer{Status: InProgress, Operation: op})
		c := &check{interviews: q.interviews, inventory: q.inventory}
		c.run(namedClient(d, imageType), func(err error) {
			respond(q.checked(c, namedClient(d, imageType), err))
		})
	})
}

// check asks devices what they run: by reading their version, and where that does not tell all by which
// images are judged, by having them say who they are. It does not know what follows.
type check struct {
	interviews *interviews
	inventory  *inventory
	// leaves has devices left alone that were notified in vain lately.
	leaves bool
}

// inVainEnough is how often a device was notified in vain that a check of all devices leaves alone.
const inVainEnough = 3

// run calls done when a device was asked as one of its OTA clients, with a nil error if that has told its
// version.
func (c *check) run(of client, done func(error)) {
	begun := c.inventory.owner.now()
	d := of.device
	c.interviews.check(of, func(err error) {
		now := of.now()
		inVain := c.leaves && c.inventory.list.InVain(d.EUID()) >= inVainEnough
		if err == nil && !now.ota.Mute && !lacks(now) || inVain {
			done(err)
			return
		}
		c.inventory.await(d, anything, func() {
			if !d.Facts().QueriedAt.Before(begun) {
				err = nil
			}
			done(err)
		})
	})
}

// failure says in a sentence why it cannot be told whether there is a newer image for an OTA client; empty
// where it can. best is the image that it would get now, or nil, and err what came of asking. One that has
// not said what it takes fails only where there is no image for it: others might be, once it has said so.
func (c *check) failure(of client, best *Offer, err error) string {
	switch {
	case err != nil:
		return fmt.Sprintf("%s did not tell its version: %v; a sleeping device has to be "+
			"woken, others to be powered and in reach", of.device.Name(), err)
	case best == nil:
		return c.inventory.unsaid(of)
	default:
		return ""
	}
}

// checked says whether there is a newer image than the version that a check has read.
func (q *inquiries) checked(by *check, c client, err error) Answer {
	o := q.offers.best(c)
	a := Answer{
		Status:          Success,
		Operation:       c.operation(o),
		UpdateAvailable: ptr(isUpdate(c, o)),
	}
	if why := by.failure(c, o, err); why != "" {
		a.Status = Failure
		a.Reason = upgrade.ReasonNoResponse
		a.Error = why
	}
	return a
}

// checksAtOnce is how many devices are asked at the same time by a check of all.
const checksAtOnce = 4

// checkAll reads the version of every device.
func (q *inquiries) checkAll(respond Respond) {
	if why, ok := q.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, nil, "%s", why))
		return
	}
	q.offers.whenRead(nil, respond, func(respond Respond) {
		respond(Answer{Status: InProgress})
		q.takeCensus()
		q.offers.refresh()
		q.checkEach(q.home.sorted(), respond)
	})
}

// checkEach reads the version of each of some devices.
func (q *inquiries) checkEach(devices []*device, respond Respond) {
	c := &checkOfAll{
		check:   check{interviews: q.interviews, inventory: q.inventory, leaves: true},
		offers:  q.offers,
		devices: devices,
		results: make([]CheckResult, len(devices)),
		open:    len(devices),
		respond: respond,
	}
	if len(devices) == 0 {
		c.end()
		return
	}
	for range min(checksAtOnce, len(devices)) {
		c.next()
	}
}

// checkOfAll is a check of all devices under way. It does not know how a device is asked.
type checkOfAll struct {
	check  check
	offers *offers

	devices []*device
	results []CheckResult // in the order of devices
	begun   int
	open    int
	respond Respond
}

// next checks the next device, and the one after it when that is done.
func (c *checkOfAll) next() {
	if c.begun == len(c.devices) {
		return
	}
	i := c.begun
	c.begun++
	d := c.devices[i]
	c.check.run(mainClient(d), func(err error) {
		c.check.interviews.readOthers(d, func() { c.checked(i, err) })
	})
}

// checked notes what came of the check of a device, and goes on with the next one.
func (c *checkOfAll) checked(i int, err error) {
	d := c.devices[i]
	c.results[i] = CheckResult{EUID: d.EUID(), Status: Success}
	for one := range clientsOf(d) {
		if isUpdate(one, c.offers.best(one)) {
			c.results[i].UpdateAvailable = true
		}
	}
	main := mainClient(d)
	if c.check.failure(main, c.offers.best(main), err) != "" {
		c.results[i].Status = Failure
	}
	if c.open--; c.open == 0 {
		c.end()
		return
	}
	c.next()
}

// end gives the answer.
func (c *checkOfAll) end() { c.respond(Answer{Status: Success, CheckResults: c.results}) }

// interview asks a device again who it is.
func (q *inquiries) interview(d *device, respond Respond) {
	op := q.offers.operation(mainClient(d))
	if why, ok := q.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, op, "%s", why))
		return
	}
	if !d.Reachable() {
		respond(fail(Failure, op, "%s cannot be asked: %v", d.Name(), registry.ErrNoAddress))
		return
	}
	respond(Answer{Status: InProgress, Operation: op})
	q.interviews.await(d, func(err error) {
		if err != nil {
			respond(fail(Failure, q.offers.operation(mainClient(d)), "%s did not answer all questions: %v",
				d.Name(), err))
			return
		}
		q.inventory.await(d, anything, func() {
			op := q.offers.operation(mainClient(d))
			if why := q.inventory.unsaid(mainClient(d)); why != "" {
				respond(fail(Failure, op, "%s", why))
				return
			}
			respond(Answer{Status: Success, Operation: op})
		})
	})
}
