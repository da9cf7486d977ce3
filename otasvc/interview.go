package otasvc

import (
	"errors"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// An interview asks a device who it is: endpoints, where its OTA client is, names, the OTA attributes. It is
// gentle: few devices at a time, one question at a time, retried later, never while the dongle is away.
const (
	interviewsAtOnce  = 3
	interviewAttempts = 4
	interviewRetry    = 30 * time.Second
	interviewPause    = 10 * time.Minute // after all attempts, before a sign of life begins them anew
	interviewSeldom   = 24 * time.Hour   // the longest pause of a device that is not heard at all
)

// The Power Configuration cluster and its BatteryPercentageRemaining, in half percents, 255 if
// unknown (ZCL 3.3).
const (
	clusterPower       uint16 = 0x0001
	attrBatteryPercent uint16 = 0x0021
)

// attrPowerSource is an attribute of the Basic cluster.
const attrPowerSource uint16 = 0x0007

type interviewState struct {
	wanted   bool
	running  bool
	attempts int
	next     time.Time
	done     []func(error) // who asked for it by request
	endedAt  time.Time
}

type interviewQueue struct {
	waiting  []*device
	running  int
	patience patience // with full buffers
}

// wantInterview puts a device on the list. Asking twice is asking once.
func (s *Service) wantInterview(d *device) {
	iv := &d.interview
	if iv.wanted && iv.attempts >= interviewAttempts { // it waits for long, and something new was seen of it
		iv.attempts = 0
		iv.next = time.Time{}
	}
	if iv.wanted || iv.running {
		return
	}
	iv.wanted = true
	iv.attempts = 0
	iv.next = time.Time{}
	s.interview.waiting = append(s.interview.waiting, d)
}

// heard brings a device's next attempt forward: it is awake now. One that sleeps listens for a moment only.
func (s *Service) heard(d *device, now time.Time) {
	iv := &d.interview
	soon := now.Add(time.Second)
	if d.Sleepy {
		soon = now
	}
	switch {
	case iv.running:
	case iv.wanted && iv.attempts >= interviewAttempts && now.Sub(iv.endedAt) <= interviewPause:
	case iv.wanted && iv.attempts >= interviewAttempts:
		s.wantInterview(d)
	case iv.wanted && iv.attempts > 0 && iv.next.After(soon):
		iv.next = soon
	case !iv.wanted && !d.Interviewed && now.Sub(iv.endedAt) > interviewPause:
		s.wantInterview(d)
	}
}

func (s *Service) dropInterview(d *device) {
	s.interview.waiting = slices.DeleteFunc(s.interview.waiting, func(o *device) bool { return o == d })
	d.interview.wanted = false
	s.endInterviewRequests(d, errDeviceForgotten)
}

// runInterviews starts those that are due: first with devices that were just heard, and so are
// awake, then with others.
func (s *Service) runInterviews(now time.Time) {
	if !s.dongle.connected {
		return
	}
	for _, d := range slices.Clone(s.interview.waiting) {
		if d.NetworkAddress == nil { // it was given to another one; nobody knows when this one is heard again
			s.endInterviewRequests(d, errNoAddress)
		}
	}
	for _, awake := range []bool{true, false} {
		for i := 0; i < len(s.interview.waiting) && s.interview.running < interviewsAtOnce; i++ {
			d := s.interview.waiting[i]
			if !d.interviewDue(now, awake) ||
				len(d.interview.done) == 0 && !s.mayBegin(&s.interview.patience, now) {
				continue // where somebody waits for the answer, it is not put off
			}
			s.interview.patience.begun(now)
			s.interview.waiting = slices.Delete(s.interview.waiting, i, i+1)
			i--
			d.interview.wanted = false
			d.interview.running = true
			d.interview.attempts++
			s.interview.running++
			s.interviewDevice(d, func(err error) { s.interviewEnded(d, err) })
		}
	}
}

// interviewDue reports whether a device is to be asked now; awake looks at those only that were just heard. A
// sleeping device is asked once without having been heard, for its parent may reach it, and then when it
// wakes, or when somebody waits for the answer: that it does not answer is one, too.
func (d *device) interviewDue(now time.Time, awake bool) bool {
	heard := now.Sub(d.LastSeen) < awakeFor
	if now.Before(d.interview.next) || d.NetworkAddress == nil || awake && !heard {
		return false
	}
	return heard || !d.Sleepy || d.interview.attempts == 0 || len(d.interview.done) > 0
}

func (s *Service) interviewEnded(d *device, err error) {
	s.interview.running--
	d.interview.running = false
	d.interview.endedAt = time.Now()
	if s.devices[d.EUID] != d {
		return
	}
	if err == nil {
		if !d.Interviewed {
			s.log.Info("a device was interviewed", "euid", d.EUID, "manufacturer", d.ManufacturerName,
				"model", d.ModelID,
				"endpoint", d.Endpoint, "sleepy", d.Sleepy, "powerSource", d.PowerSource)
		}
		d.Interviewed = true
		d.dirty = true
		s.stateDirty = true
		s.endInterviewRequests(d, nil)
		return
	}
	s.log.Debug("an interview did not succeed", "euid", d.EUID, "attempt", d.interview.attempts, "err", err)
	s.endInterviewRequests(d, err)
	if d.interview.attempts == interviewAttempts {
		s.log.Info("a device did not answer its interview; it is asked again when it is heard from, "+
			"and now and then", "euid", d.EUID, "err", err)
	}
	pause := interviewRetry
	if more := d.interview.attempts - interviewAttempts; more >= 0 {
		if d.Sleepy || d.Interviewed {
			return // one that sleeps tells when it is awake; of the other all but its version is known
		}
		// All answers were lost, or it is not there.
		pause = min(interviewPause<<min(more, 8), interviewSeldom)
	}
	d.interview.wanted = true
	d.interview.next = time.Now().Add(jitter(pause))
	s.interview.waiting = append(s.interview.waiting, d)
}

func (s *Service) endInterviewRequests(d *device, err error) {
	done := d.interview.done
	d.interview.done = nil
	for _, f := range done {
		f(err)
	}
}

// interviewDevice asks one question after the other; done gets an error when the device did not answer
// one that matters. A device that was interviewed before is only asked what it runs, unless somebody
// wants to know more.
func (s *Service) interviewDevice(d *device, done func(error)) {
	if d.Interviewed && len(d.interview.done) == 0 {
		s.readIdentity(d, done)
		return
	}
	q := &interview{s: s, d: d, addr: *d.NetworkAddress, done: done}
	s.ask(message.NodeDescriptorRequest{Addr: q.addr}, replyTimeout, func(m message.Message) bool {
		r, ok := m.(message.NodeDescriptor)
		return ok && r.Addr == q.addr
	}, q.askEndpoints)
}

// interview is one under way.
type interview struct {
	s     *Service
	d     *device
	addr  uint16
	basic uint8 // endpoint with the Basic cluster; 0: none was seen
	lost  error // a simple descriptor did not come
	done  func(error)
}

// askEndpoints goes on without the node descriptor, which is a nicety. A device that answers
// neither does not hear.
func (q *interview) askEndpoints(nodeErr error) {
	var endpoints []uint8
	q.s.ask(message.ActiveEndpointsRequest{Addr: q.addr}, replyTimeout, func(m message.Message) bool {
		r, ok := m.(message.ActiveEndpoints)
		if ok && r.Addr == q.addr {
			endpoints = r.Endpoints
		}
		return ok && r.Addr == q.addr
	}, func(err error) { // without them the OTA client is looked for at endpoint 1
		if err != nil && nodeErr != nil {
			q.done(err)
			return
		}
		q.findOTAClient(endpoints)
	})
}

// findOTAClient asks the endpoints, one after the other, for the one whose output clusters
// have the OTA cluster.
func (q *interview) findOTAClient(endpoints []uint8) {
	if len(endpoints) == 0 {
		if q.lost != nil && q.d.Endpoint == 0 {
			q.done(q.lost) // it may be on the one that was not heard of
			return
		}
		q.askNames()
		return
	}
	found := false
	q.s.ask(message.SimpleDescriptorRequest{Addr: q.addr, Endpoint: endpoints[0]}, replyTimeout,
		func(m message.Message) bool {
			r, ok := m.(message.SimpleDescriptor)
			if !ok || r.Addr != q.addr || (r.Status == 0 && r.Endpoint != endpoints[0]) {
				return false
			}
			if q.basic == 0 && slices.Contains(r.InClusters, message.ClusterBasic) {
				q.basic = endpoints[0]
			}
			found = slices.Contains(r.OutClusters, message.ClusterOTA)
			return true
		}, func(err error) {
			if err != nil {
				q.lost = err
			}
			if !found {
				q.findOTAClient(endpoints[1:])
				return
			}
			if d := q.d; d.Endpoint != endpoints[0] {
				d.Endpoint = endpoints[0]
				d.dirty = true
				q.s.stateDirty = true
			}
			q.askNames()
		})
}

// askNames reads what the device calls itself and what powers it.
func (q *interview) askNames() {
	ids := []uint16{message.AttrManufacturerName, message.AttrModel, attrPowerSource}
	q.s.readAttributesAt(q.d, q.basic, message.ClusterBasic, message.DirectionToServer, ids,
		replyTimeout, func(err error) {
			if errors.Is(err, errNoReply) && q.d.ModelID == "" {
				q.lost = err
			}
			q.askPower()
		})
}

// askPower asks a device on batteries for their charge, and one that did not tell its power source for
// its power descriptor.
func (q *interview) askPower() {
	d := q.d
	s := q.s
	if d.PowerSource == "" {
		s.ask(message.PowerDescriptorRequest{Addr: q.addr}, replyTimeout, func(m message.Message) bool {
			r, ok := m.(message.PowerDescriptor)
			if ok && r.Status == 0 {
				s.powered(d, r)
			}
			return ok // it does not say whose it is
		}, func(error) { q.askBattery() })
		return
	}
	q.askBattery()
}

func (q *interview) askBattery() {
	if q.d.Sleepy || q.d.PowerSource == powerBattery {
		// Not waited for: it has no say in who the device is.
		q.s.readAttributesAt(q.d, q.basic, clusterPower, message.DirectionToServer,
			[]uint16{attrBatteryPercent}, replyTimeout, func(error) {})
	}
	q.s.readIdentity(q.d, func(err error) {
		if err == nil {
			err = q.lost
		}
		q.done(err)
	})
}

// readIdentity reads the OTA attributes. They come through attribute.
func (s *Service) readIdentity(d *device, done func(error)) {
	ids := []uint16{message.AttrOTAFileVersion, message.AttrOTAManufacturer, message.AttrOTAImageType}
	s.readAttributes(d, message.ClusterOTA, message.DirectionToClient, ids, replyTimeout, func(err error) {
		if errors.Is(err, errNoReply) && (d.versionFresh || d.mute) {
			err = nil // what matters was told; many devices pass over attributes that they do not have
		}
		done(err)
	})
}

// What powers a device, as far as it makes a difference.
const (
	powerMains   = "mains"
	powerBattery = "battery"
	powerDC      = "dc"
)

// powerSourceName reads the Basic cluster's PowerSource (ZCL 3.2): the highest bit tells of a second one.
func powerSourceName(v uint64) string {
	switch v & 0x7F {
	case 1, 2, 5, 6: // single and three phase, and emergency supplies
		return powerMains
	case 3:
		return powerBattery
	case 4:
		return powerDC
	}
	return ""
}

// powered learns from a power descriptor.
func (s *Service) powered(d *device, m message.PowerDescriptor) {
	switch source := m.Source(); {
	case source&message.PowerMains != 0:
		s.setText(d, &d.PowerSource, powerMains)
	case source != 0:
		s.setText(d, &d.PowerSource, powerBattery)
		if d.Battery == nil && setIfNew(&d.Battery, m.Level()) {
			s.stateDirty = true
		}
	}
}

// attribute learns from an attribute, read or reported.
func (s *Service) attribute(d *device, at message.Attribute, now time.Time) {
	if at.Cluster == message.ClusterOTA && at.ID == message.AttrOTAFileVersion {
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
	case at.Cluster == message.ClusterBasic && at.ID == message.AttrManufacturerName:
		s.setText(d, &d.ManufacturerName, at.Text())
	case at.Cluster == message.ClusterBasic && at.ID == message.AttrModel:
		s.setText(d, &d.ModelID, at.Text())
	case at.Cluster == message.ClusterBasic && at.ID == attrPowerSource:
		if v, ok := at.Uint(); ok {
			s.setText(d, &d.PowerSource, powerSourceName(v))
		}
	case at.Cluster == message.ClusterOTA:
		v, ok := at.Uint()
		if !ok {
			return
		}
		switch at.ID {
		case message.AttrOTAFileVersion:
			// All ones is "not known", said by devices that have never been upgraded.
			if v != 0xFFFFFFFF {
				s.setVersion(d, uint32(v), now)
			}
		case message.AttrOTAManufacturer:
			if v != 0xFFFF && setIfNew(&d.ManufacturerCode, uint16(v)) {
				d.dirty = true
				s.stateDirty = true
			}
		case message.AttrOTAImageType:
			if v != 0xFFFF && setIfNew(&d.ImageType, uint16(v)) {
				d.dirty = true
				s.stateDirty = true
			}
		}
	}
}

func (s *Service) setText(d *device, field *string, text string) {
	if text != "" && *field != text {
		*field = text
		d.dirty = true
		s.stateDirty = true
	}
}
