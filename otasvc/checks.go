package otasvc

import (
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Check reads a device's running version again and tells whether there is a newer image.
func (s *Service) Check(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			if why, ok := s.dongle.usable(); !ok {
				respond(fail(ServiceNotAvailable, s.offerOperation(d), "%s", why))
				return
			}
			respond(Answer{Status: InProgress, Operation: s.offerOperation(d)})
			s.checkDevice(d, func(err error) {
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

// checkDevice reads the version. A device whose OTA endpoint is not known yet is asked at endpoint 1, where
// most have it, and interviewed if that does not help.
func (s *Service) checkDevice(d *device, done func(error)) {
	s.readVersion(d, func(err error) {
		told := err == nil && !d.Mute()
		if told || d.Endpoint() != 0 || !d.Reachable() || s.stopping() {
			done(err)
			return
		}
		s.interviews.await(d, done)
	})
}

// readVersion reads the running file version; done is called when the device has answered, or not.
func (s *Service) readVersion(d *device, done func(error)) {
	question, err := registry.AskVersion(d.Facts())
	if err != nil {
		done(err)
		return
	}
	s.questions.Ask(question, time.Now(), func(_ []message.Message, err error) { done(err) })
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
		s.offers.refresh()
		devices := s.home.sorted()
		c := &checkOfAll{
			service: s,
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
	})
}

// checkOfAll is a check of all devices under way.
type checkOfAll struct {
	service *Service
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
	c.service.checkDevice(d, func(err error) {
		c.results[i] = CheckResult{
			EUID:            d.EUID(),
			Status:          Success,
			UpdateAvailable: updateAvailable(d.Device, c.service.offers.best(d.Device)),
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

func (c *checkOfAll) end() { c.respond(Answer{Status: Success, CheckResults: c.results}) }

// Interview asks a device again who it is.
func (s *Service) Interview(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			op := s.offerOperation(d)
			if why, ok := s.dongle.usable(); !ok {
				respond(fail(ServiceNotAvailable, op, "%s", why))
				return
			}
			if !d.Reachable() {
				respond(fail(Failure, op, "%s cannot be asked: %v", d.Name(), registry.ErrNoAddress))
				return
			}
			respond(Answer{Status: InProgress, Operation: op})
			s.interviews.await(d, func(err error) {
				if err != nil {
					respond(fail(Failure, s.offerOperation(d), "%s did not answer all questions: %v", d.Name(), err))
					return
				}
				respond(Answer{Status: Success, Operation: s.offerOperation(d)})
			})
		})
	})
}
