package otasvc

import (
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
)

// teller is what was told to the sink.
type teller struct {
	sink   Sink
	begun  bool       // info and images were told once
	info   InfoRecord // as it was told last
	images uint64     // revision of the registrations that were told last
}

// tell tells the sink what changed.
func (s *Service) tell(now time.Time) {
	for _, known := range s.home.registry.Changed(now, s.besides) {
		d := s.home.of(known)
		if d.Upgrade != nil && d.Upgrade.Resuming(now) {
			continue
		}
		known.Told(s.besides(known), now)
		s.teller.sink.DeviceChanged(s.upgrades.told(d, now))
	}
	s.teller.tell(s.info(), &s.offers)
}

// besides is the revision of what is told with a device and is not the device's own: its upgrade, and the
// image that it would get.
func (s *Service) besides(d *registry.Device) uint64 {
	return s.home.of(d).upgradeRevision + s.offers.revision
}

// tell tells what is known of the service, and which images are registered, where it is not what was told
// last.
func (t *teller) tell(info InfoRecord, o *offers) {
	if !t.begun || t.images != o.registered {
		t.images = o.registered
		t.sink.ImagesChanged(o.list())
	}
	if !t.begun || !t.info.equal(&info) {
		t.info = info
		t.sink.InfoChanged(info)
	}
	t.begun = true
}

// equal reports whether a record says the same as another.
func (r *InfoRecord) equal(other *InfoRecord) bool {
	if differs(r.Slot, other.Slot) {
		return false
	}
	same := *r
	same.Slot = other.Slot
	return same == *other
}

// happened hands an event to the sink.
func (s *Service) happened(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	s.teller.sink.Happened(e)
}

// info is the service as others see it.
func (s *Service) info() InfoRecord {
	r := InfoRecord{
		StartedAt: s.startedAt,
		Devices:   s.home.registry.Len(),
		Images:    s.offers.registrations.Len(),
		Dongle: DongleInfo{
			Connected: s.dongle.connected,
			Port:      s.dongle.info.Port,
			Firmware:  s.dongle.info.Firmware,
			EUID:      s.dongle.info.IEEE,
			PANID:     s.dongle.info.PANID,
			Channel:   s.dongle.info.Channel,
			Error:     s.dongle.trouble(),
		},
		Slot: s.slot.shown(),
	}
	for _, d := range s.upgrades.active {
		if st := d.Upgrade.State(); st == Queued || st == Scheduled {
			r.Queued++
		} else {
			r.Active++
		}
	}
	return r
}

// record is the device as others see it.
func (s *Service) record(d *device, now time.Time) DeviceRecord {
	f := d.Facts()
	o := s.offers.best(d.Device)
	return DeviceRecord{
		EUID:             f.EUID,
		NetworkAddress:   f.NetworkAddress,
		Name:             f.Name(),
		ManufacturerName: f.ManufacturerName,
		ModelID:          f.ModelID,
		ManufacturerCode: f.ManufacturerCode,
		ImageType:        f.ImageType,
		HardwareVersion:  f.HardwareVersion,
		Endpoint:         f.Endpoint,
		Sleepy:           f.Sleepy,
		CurrentVersion:   f.CurrentVersion,
		LQI:              f.LQI,
		LastSeen:         f.LastSeen,
		UpdateAvailable:  updateAvailable(d.Device, o),
		Offer:            o,
		Upgrade:          recordOf(d.Upgrade, now),
		History:          slices.Clone(d.History),
	}
}

// operation is the operation record of an answer about a device; o is the image that the answer is about, or
// nil.
func (d *device) operation(o *Offer) *Operation {
	f := d.Facts()
	op := &Operation{
		EUID:             f.EUID,
		ManufacturerCode: f.ManufacturerCode,
		ImageType:        f.ImageType,
		OldImageVersion:  f.CurrentVersion,
	}
	if o == nil {
		return op
	}
	op.ManufacturerCode = &o.ManufacturerCode
	op.ImageType = &o.ImageType
	op.ImageVersion = &o.ImageVersion
	op.DriverTypeID = &o.DriverTypeID
	op.DriverVersion = &o.DriverVersion
	if o.URL != "" {
		op.URL = &o.URL
	}
	return op
}
