package otasvc

import (
	"errors"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
)

// An interview asks a device who it is: endpoints, where its OTA client is, names, the OTA attributes. It is gentle: few
// devices at a time, one question at a time, retried later, never while the dongle is away.
const (
	interviewsAtOnce  = 3
	interviewAttempts = 4
	interviewRetry    = 30 * time.Second
	interviewPause    = 10 * time.Minute // after all attempts, before a sign of life begins them anew
)

// The Power Configuration cluster and its BatteryPercentageRemaining, in half percents, 255 if unknown (ZCL 3.3).
const (
	clusterPower       uint16 = 0x0001
	attrBatteryPercent uint16 = 0x0021
)

type interviewState struct {
	wanted   bool
	running  bool
	attempts int
	next     time.Time
	done     []func(error) // who asked for it by request
	endedAt  time.Time
}

type interviewQueue struct {
	waiting []*device
	running int
}

// wantInterview puts a device on the list. Asking twice is asking once.
func (s *Service) wantInterview(d *device) {
	iv := &d.interview
	if iv.wanted || iv.running {
		return
	}
	iv.wanted, iv.attempts, iv.next = true, 0, time.Time{}
	s.interview.waiting = append(s.interview.waiting, d)
}

// heard brings a device's next attempt forward: it is awake now.
func (s *Service) heard(d *device, now time.Time) {
	iv := &d.interview
	switch {
	case iv.running:
	case iv.wanted && iv.attempts > 0 && iv.next.After(now.Add(time.Second)):
		iv.next = now.Add(time.Second)
	case !iv.wanted && !d.Interviewed && now.Sub(iv.endedAt) > interviewPause:
		s.wantInterview(d)
	}
}

func (s *Service) dropInterview(d *device) {
	s.interview.waiting = slices.DeleteFunc(s.interview.waiting, func(o *device) bool { return o == d })
	d.interview.wanted = false
	s.endInterviewRequests(d, errDeviceForgotten)
}

// runInterviews starts those that are due.
func (s *Service) runInterviews(now time.Time) {
	if !s.dongle.connected || s.crowded(now) {
		return
	}
	for i := 0; i < len(s.interview.waiting) && s.interview.running < interviewsAtOnce; i++ {
		d := s.interview.waiting[i]
		if now.Before(d.interview.next) || d.NetworkAddress == nil {
			continue
		}
		s.interview.waiting = slices.Delete(s.interview.waiting, i, i+1)
		i--
		d.interview.wanted, d.interview.running = false, true
		d.interview.attempts++
		s.interview.running++
		s.interviewDevice(d, func(err error) { s.interviewEnded(d, err) })
	}
}

func (s *Service) interviewEnded(d *device, err error) {
	s.interview.running--
	d.interview.running, d.interview.endedAt = false, time.Now()
	if s.devices[d.EUID] != d {
		return
	}
	if err == nil {
		d.Interviewed, d.dirty, s.stateDirty = true, true, true
		s.endInterviewRequests(d, nil)
		return
	}
	s.log.Debug("an interview did not succeed", "euid", d.EUID, "attempt", d.interview.attempts, "err", err)
	if d.interview.attempts >= interviewAttempts {
		// It is asked again when it announces itself or is heard from.
		s.endInterviewRequests(d, err)
		return
	}
	if len(d.interview.done) > 0 {
		s.endInterviewRequests(d, err)
	}
	d.interview.wanted = true
	d.interview.next = time.Now().Add(jitter(interviewRetry))
	s.interview.waiting = append(s.interview.waiting, d)
}

func (s *Service) endInterviewRequests(d *device, err error) {
	done := d.interview.done
	d.interview.done = nil
	for _, f := range done {
		f(err)
	}
}

// interviewDevice asks one question after the other; done gets an error when the device did not answer one that matters.
func (s *Service) interviewDevice(d *device, done func(error)) {
	addr := *d.NetworkAddress
	s.ask(zigate.NodeDescriptorRequest{Addr: addr}, replyTimeout, func(m zigate.Message) bool {
		r, ok := m.(zigate.NodeDescriptor)
		return ok && r.Addr == addr
	}, func(error) { // its node descriptor is a nicety: go on without
		var endpoints []uint8
		s.ask(zigate.ActiveEndpointsRequest{Addr: addr}, replyTimeout, func(m zigate.Message) bool {
			r, ok := m.(zigate.ActiveEndpoints)
			if ok && r.Addr == addr {
				endpoints = r.Endpoints
			}
			return ok && r.Addr == addr
		}, func(error) { // without them the OTA client is looked for at endpoint 1
			s.findOTAClient(d, addr, endpoints, func() { s.readIdentity(d, done) })
		})
	})
}

// findOTAClient asks the endpoints, one after the other, for the one whose output clusters have the OTA cluster.
func (s *Service) findOTAClient(d *device, addr uint16, endpoints []uint8, then func()) {
	if len(endpoints) == 0 {
		then()
		return
	}
	found := false
	s.ask(zigate.SimpleDescriptorRequest{Addr: addr, Endpoint: endpoints[0]}, replyTimeout, func(m zigate.Message) bool {
		r, ok := m.(zigate.SimpleDescriptor)
		if !ok || r.Addr != addr || (r.Status == 0 && r.Endpoint != endpoints[0]) {
			return false
		}
		found = slices.Contains(r.OutClusters, zigate.ClusterOTA)
		return true
	}, func(error) {
		if !found {
			s.findOTAClient(d, addr, endpoints[1:], then)
			return
		}
		if d.Endpoint != endpoints[0] {
			d.Endpoint, d.dirty, s.stateDirty = endpoints[0], true, true
		}
		then()
	})
}

// readIdentity reads names and the OTA attributes. They come through attribute.
func (s *Service) readIdentity(d *device, done func(error)) {
	basic := []uint16{zigate.AttrManufacturerName, zigate.AttrModel}
	s.readAttributes(d, zigate.ClusterBasic, zigate.DirectionToServer, basic, replyTimeout, func(error) {
		if d.Sleepy {
			// Not waited for: it has no say in who the device is.
			s.readAttributes(d, clusterPower, zigate.DirectionToServer, []uint16{attrBatteryPercent}, replyTimeout, func(error) {})
		}
		ota := []uint16{zigate.AttrOTAFileVersion, zigate.AttrOTAManufacturer, zigate.AttrOTAImageType}
		s.readAttributes(d, zigate.ClusterOTA, zigate.DirectionToClient, ota, replyTimeout, func(err error) {
			if errors.Is(err, errNoReply) && (d.CurrentVersion != nil || d.mute) {
				err = nil // what matters was told; many devices pass over attributes that they do not have
			}
			done(err)
		})
	})
}

// attribute learns from an attribute, read or reported.
func (s *Service) attribute(d *device, at zigate.Attribute, now time.Time) {
	if at.Cluster == zigate.ClusterOTA && at.ID == zigate.AttrOTAFileVersion {
		d.mute = at.Status != 0
	}
	if at.Status != 0 {
		return
	}
	switch {
	case at.Cluster == clusterPower && at.ID == attrBatteryPercent:
		if v, ok := at.Uint(); ok && v <= 200 {
			if setIfNew(&d.Battery, uint8(v/2)) {
				s.stateDirty = true
			}
		}
	case at.Cluster == zigate.ClusterBasic && at.ID == zigate.AttrManufacturerName:
		s.setText(d, &d.ManufacturerName, at.Text())
	case at.Cluster == zigate.ClusterBasic && at.ID == zigate.AttrModel:
		s.setText(d, &d.ModelID, at.Text())
	case at.Cluster == zigate.ClusterOTA:
		v, ok := at.Uint()
		if !ok {
			return
		}
		switch at.ID {
		case zigate.AttrOTAFileVersion:
			// All ones is "not known", said by devices that have never been upgraded.
			if v != 0xFFFFFFFF {
				s.setVersion(d, uint32(v), now)
			}
		case zigate.AttrOTAManufacturer:
			if v != 0xFFFF && setIfNew(&d.ManufacturerCode, uint16(v)) {
				d.dirty, s.stateDirty = true, true
			}
		case zigate.AttrOTAImageType:
			if v != 0xFFFF && setIfNew(&d.ImageType, uint16(v)) {
				d.dirty, s.stateDirty = true, true
			}
		}
	}
}

func (s *Service) setText(d *device, field *string, text string) {
	if text != "" && *field != text {
		*field, d.dirty, s.stateDirty = text, true, true
	}
}
