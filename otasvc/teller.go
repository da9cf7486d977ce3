package otasvc

import (
	"fmt"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/queue"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// outlet is the way to the [Sink], which Run brings: nothing happens before. It does not know what it tells.
type outlet struct {
	now  func() time.Time
	sink Sink
}

// happened hands an event to the sink.
func (o *outlet) happened(e Event) {
	if e.Time.IsZero() {
		e.Time = o.now()
	}
	o.sink.Happened(e)
}

// teller tells the sink what changed since it was told last. It changes nothing but what it remembers of
// that.
type teller struct {
	outlet   *outlet
	home     *home
	offers   *offers
	upgrades *upgrades
	dongle   *dongle
	slot     *headerSlot
	outlook  *outlook

	startedAt time.Time
	begun     bool       // info and images were told once
	info      InfoRecord // as it was told last
	images    uint64     // revision of the registrations that were told last
}

// begin has everything told to a sink from now on.
func (t *teller) begin(sink Sink) { t.outlet.sink = sink }

// tell tells what changed of devices, of the service, and of the images that are registered.
func (t *teller) tell(now time.Time) {
	t.outlook.look(now)
	for _, known := range t.home.registry.Changed(now, t.besides) {
		d := t.home.of(known)
		if d.upgrade != nil && d.upgrade.Resuming(now) {
			continue
		}
		known.Told(t.besides(known), now)
		t.outlet.sink.DeviceChanged(t.record(d, now))
		t.upgrades.step(d, upgrade.RecordTold{}, now)
	}
	if !t.begun || t.images != t.offers.registered {
		t.images = t.offers.registered
		t.outlet.sink.ImagesChanged(t.offers.list())
	}
	if info := t.infoNow(); !t.begun || !t.info.equal(&info) {
		t.info = info
		t.outlet.sink.InfoChanged(info)
	}
	t.begun = true
}

// besides is the revision of what is told with a device and is not the device's own: its upgrade, and the
// image that it would get.
func (t *teller) besides(d *registry.Device) uint64 {
	return t.home.of(d).upgradeRevision + t.offers.revision
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

// infoNow is the service as others see it.
func (t *teller) infoNow() InfoRecord {
	r := InfoRecord{
		StartedAt: t.startedAt,
		Devices:   t.home.registry.Len(),
		Images:    t.offers.registrations.Len(),
		Dongle: DongleInfo{
			Connected: t.dongle.connected,
			Port:      t.dongle.info.Port,
			Firmware:  t.dongle.info.Firmware,
			EUID:      t.dongle.info.IEEE,
			PANID:     t.dongle.info.PANID,
			Channel:   t.dongle.info.Channel,
			Error:     t.dongle.trouble(),
		},
		Slot:         t.slot.shown(),
		DownloadsEnd: t.outlook.total.End(),
	}
	for _, d := range t.home.active {
		if st := d.upgrade.State(); st == upgrade.Queued || st == upgrade.Scheduled {
			r.Queued++
		} else {
			r.Active++
		}
	}
	return r
}

// record is the device as others see it.
func (t *teller) record(d *device, now time.Time) DeviceRecord {
	f := d.Facts()
	o := t.offers.best(mainClient(d))
	r := DeviceRecord{
		EUID:             f.EUID,
		NetworkAddress:   f.NetworkAddress,
		Name:             f.Name(),
		ManufacturerName: f.ManufacturerName,
		ModelID:          f.ModelID,
		ManufacturerCode: f.ManufacturerCode,
		ImageType:        f.ImageType,
		HardwareVersion:  f.HardwareVersion,
		ForPeople:        forPeople(&f),
		Endpoint:         f.Endpoint,
		CurrentVersion:   f.CurrentVersion,
		Heard:            Heard{f.Sleepy, f.Heard.LQI, f.LastSeen},
		UpdateAvailable:  isUpdate(mainClient(d), o),
		Settings:         f.Settings,
		Offer:            o,
		OtherImages:      t.otherImages(d),
		History:          toldHistory(d),
	}
	if d.upgrade != nil {
		r.Upgrade = toldUpgrade(d, d.upgrade.Telling(now))
		r.Queue = d.queue.Place()
	}
	return r
}

// toldUpgrade is a record of a device's upgrade as others see it: it says for people why it did not succeed,
// and the image type stands for an OTA client besides the main one.
func toldUpgrade(d *device, r upgrade.Record) *upgrade.Record {
	r.Error = explainEnd(d, d.upgrade)
	if upgradedClient(d).isMain() {
		r.ImageType = nil
	}
	return &r
}

// toldHistory is a device's history as others see it.
func toldHistory(d *device) []upgrade.Past {
	main := mainClient(d)
	list := slices.Clone(d.history)
	for i := range list {
		if main.had(list[i]) {
			list[i].Kind = nil
		}
	}
	return list
}

// otherImages is what is told of a device's OTA clients besides the main one; nil where it has none.
func (t *teller) otherImages(d *device) []OtherImage {
	var list []OtherImage
	for c := range clientsOf(d) {
		if c.isMain() {
			continue
		}
		o := t.offers.best(c)
		list = append(list, OtherImage{
			Endpoint:         c.ota.Endpoint,
			ManufacturerCode: c.ota.ManufacturerCode,
			ImageType:        *c.ota.ImageType,
			CurrentVersion:   c.ota.CurrentVersion,
			UpdateAvailable:  isUpdate(c, o),
			Offer:            o,
		})
	}
	return list
}

// shownVersion is a file version as people write it.
func shownVersion(version uint32) string { return fmt.Sprintf("0x%08x", version) }

// shownRunning is what a device runs as people are told of it: what the device calls it, and the file
// version.
func shownRunning(d *device) string {
	f := d.Facts()
	running := f.CurrentVersion
	if running == nil {
		return "unknown"
	}
	if build := f.Running().Software; build != "" {
		return build + " (" + shownVersion(*running) + ")"
	}
	return shownVersion(*running)
}

// forPeople is what a device says of itself that nothing but people needs.
func forPeople(f *registry.Facts) ForPeople {
	running := f.Running()
	return ForPeople{SoftwareBuild: running.Software, DateCode: running.DateCode, OtherServer: f.OtherServer}
}

// outlook has devices and service tell how the queue is expected to go on. It does not know how that is found
// out, nor what of it is worth telling.
type outlook struct {
	home    *home
	dongle  *dongle
	slot    *headerSlot
	planner *planner

	total  queue.Total
	turns  turns     // as they were at the last forecast
	lookAt time.Time // when a forecast is due although nothing happens; zero where none is
}

// turns is what decides whose turn it is, besides what changes with time: with another value everything may
// be different.
type turns struct {
	upgrades, addresses uint64 // revisions
	loaded              slot.Key
	usable, badFlash    bool
}

// look makes a forecast where something about upgrades has changed or a minute has passed, and has told what
// of it is worth that.
func (o *outlook) look(now time.Time) {
	turns := turns{
		upgrades:  o.home.upgradesRevision,
		addresses: o.home.registry.Addresses(),
		loaded:    o.slot.state.Key(),
		usable:    o.dongle.downloads(),
		badFlash:  o.dongle.badFlash,
	}
	if turns == o.turns && (o.lookAt.IsZero() || now.Before(o.lookAt)) {
		return
	}
	o.turns = turns
	o.lookAt = time.Time{}
	if len(o.home.active) == 0 {
		o.total = queue.Total{}
		return
	}

	places, end := o.planner.forecast(now)
	o.total = o.total.Follow(end, len(places), now)
	o.lookAt = now.Add(queue.TimesInterval)
	placed := make(map[message.IEEE]bool, len(places))
	for _, place := range places {
		placed[place.Device] = true
		d := o.home.get(place.Device)
		d.followQueue(place, now)
		if due := d.queue.Due(place); !due.IsZero() && due.Before(o.lookAt) {
			o.lookAt = due
		}
	}
	for euid, d := range o.home.active {
		if !placed[euid] {
			d.leaveQueue()
		}
	}
}

// operation is the operation record of an answer about a device; o is the image that the answer is about, or
// nil.
func (d *device) operation(o *Offer) *Operation {
	if o == nil {
		return mainClient(d).operation(nil)
	}
	return clientFor(d, o.ImageType).operation(o)
}

// operation is the operation record of an answer about an OTA client; o is the image that the answer is
// about, or nil.
func (c client) operation(o *Offer) *Operation {
	f := c.facts()
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
