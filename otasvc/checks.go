package otasvc

import (
	"fmt"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
)

// Check reads a device's running version again and tells whether there is a newer image.
func (s *Service) Check(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			if why, ok := s.dongle.usable(); !ok {
				respond(fail(ServiceNotAvailable, s.offers.operation(d), "%s", why))
				return
			}
			respond(Answer{Status: InProgress, Operation: s.offers.operation(d)})
			s.asking.interviews.check(d, func(err error) {
				o := s.offers.best(d.Device)
				available := updateAvailable(d.Device, o)
				a := Answer{Status: Success, Operation: d.operation(o), UpdateAvailable: &available}
				if err != nil {
					a.Status = Failure
					a.Reason = ReasonNoResponse
					a.Error = fmt.Sprintf("%s did not tell its version: %v; a sleeping device has to be "+
						"woken, others to be powered and in reach", d.Name(), err)
				}
				respond(a)
			})
		})
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
		s.hearing.ofDongle.listDevices()
		s.offers.refresh()
		devices := s.home.sorted()
		c := &checkOfAll{
			interviews: s.asking.interviews,
			offers:     s.offers,
			devices:    devices,
			results:    make([]CheckResult, len(devices)),
			open:       len(devices),
			respond:    respond,
		}
		if len(devices) == 0 {
			c.end()
			return
		}
		for range min(checksAtOnce, len(devices)) {
			c.next()
		}
	})
}

// checkOfAll is a check of all devices under way. It does not know how a device is asked.
type checkOfAll struct {
	interviews *interviews
	offers     *offers

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
	c.interviews.check(d, func(err error) {
		c.results[i] = CheckResult{
			EUID:            d.EUID(),
			Status:          Success,
			UpdateAvailable: updateAvailable(d.Device, c.offers.best(d.Device)),
		}
		if err != nil {
			c.results[i].Status = Failure
		}
		if c.open--; c.open == 0 {
			c.end()
			return
		}
		c.next()
	})
}

// end gives the answer.
func (c *checkOfAll) end() { c.respond(Answer{Status: Success, CheckResults: c.results}) }

// Interview asks a device again who it is.
func (s *Service) Interview(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.offers.operation(d)
			if why, ok := s.dongle.usable(); !ok {
				respond(fail(ServiceNotAvailable, op, "%s", why))
				return
			}
			if !d.Reachable() {
				respond(fail(Failure, op, "%s cannot be asked: %v", d.Name(), registry.ErrNoAddress))
				return
			}
			respond(Answer{Status: InProgress, Operation: op})
			s.asking.interviews.await(d, func(err error) {
				if err != nil {
					respond(fail(Failure, s.offers.operation(d), "%s did not answer all questions: %v",
						d.Name(), err))
					return
				}
				respond(Answer{Status: Success, Operation: s.offers.operation(d)})
			})
		})
	})
}
