package otasvc

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// seenInterval is how often a device record is told anew when nothing but its link quality and the time it
// was last seen have changed.
const seenInterval = time.Minute

// device is what the owner knows of a device; the exported part stands in the state file.
type device struct {
	EUID             message.IEEE `json:"euid"`
	NetworkAddress   *uint16      `json:"networkAddress,omitempty"`
	GivenName        string       `json:"name,omitempty"`
	ManufacturerName string       `json:"manufacturerName,omitempty"`
	ModelID          string       `json:"modelId,omitempty"`
	// ManufacturerCode and ImageType are those of the OTA cluster: read as its attributes or seen in a
	// request. The node descriptor's manufacturer code is often another, so it is no substitute.
	ManufacturerCode *uint16   `json:"manufacturerCode,omitempty"`
	ImageType        *uint16   `json:"imageType,omitempty"`
	HardwareVersion  *uint16   `json:"hardwareVersion,omitempty"`
	Endpoint         uint8     `json:"endpoint,omitempty"`
	Sleepy           bool      `json:"sleepy,omitempty"`
	PowerSource      string    `json:"powerSource,omitempty"`
	Battery          *uint8    `json:"battery,omitempty"` // percent
	CurrentVersion   *uint32   `json:"currentVersion,omitempty"`
	LastSeen         time.Time `json:"lastSeen,omitzero"`
	Interviewed      bool      `json:"interviewed,omitempty"`
	// DeafEndpoint is the dongle's endpoint at which the device looks for images in vain; 0: none.
	DeafEndpoint uint8 `json:"deafEndpoint,omitempty"`
	// Invalid lists the images (SHA-256) that the device called invalid: they are not offered
	// again without force.
	Invalid []string `json:"invalid,omitempty"`
	Upgrade *upgrade `json:"upgrade,omitempty"`
	// History has the upgrades that have ended, the newest first.
	History []PastUpgrade `json:"history,omitempty"`

	lqi *uint8
	// largestBlock is the largest block that fits the device's route, in bytes; 0: no limit was met.
	largestBlock uint8
	dirty        bool // the record changed
	seenDirty    bool // only lqi and lastSeen changed
	publishedAt  time.Time
	interview    interviewState
	failedAt     time.Time // last deliveryFailed event
	strayAt      time.Time // last unsolicitedRequest event
	// versionFresh: CurrentVersion was told by the device since the service started, not only read
	// from the state file.
	versionFresh bool
	// mute devices do not tell their version when they are asked for it, only when they look for
	// an image themselves.
	mute  bool
	paged *transfer // whose pages were told of
	// aborting meets the requests of a download that was ended with ABORT, until abortUntil.
	aborting   *transfer
	abortUntil time.Time
}

// name is what people call the device.
func (d *device) name() string {
	if d.GivenName != "" {
		return d.GivenName
	}
	return d.EUID.String()
}

// active is the device's upgrade that has not ended, or nil.
func (d *device) active() *upgrade {
	if d.Upgrade == nil || d.Upgrade.State.Ended() {
		return nil
	}
	return d.Upgrade
}

// DeviceRef is how a request names a device.
type DeviceRef struct {
	kind refKind
	euid message.IEEE
	addr uint16
	name string
}

type refKind uint8

const (
	refName refKind = iota
	refEUID
	refAddr
)

// RefAddr names a device by its network address.
func RefAddr(addr uint16) DeviceRef { return DeviceRef{kind: refAddr, addr: addr} }

// ParseDeviceRef reads an EUID (16 hex digits, with or without 0x, colons or dashes, any case), a network
// address ("0x4f4f" or decimal) or a name.
func ParseDeviceRef(s string) DeviceRef {
	if euid, err := message.ParseIEEE(s); err == nil {
		return DeviceRef{kind: refEUID, euid: euid, name: s}
	}
	if addr, ok := parseAddr(s); ok {
		return DeviceRef{kind: refAddr, addr: addr, name: s}
	}
	return DeviceRef{kind: refName, name: s}
}

// parseAddr reads a network address. Eight or more digits are none, so that a name may be a serial number.
func parseAddr(s string) (uint16, bool) {
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		v, err := strconv.ParseUint(hex, 16, 16)
		return uint16(v), err == nil
	}
	v, err := strconv.ParseUint(s, 10, 16)
	return uint16(v), err == nil
}

// String is how the request put it.
func (r DeviceRef) String() string {
	if r.kind == refAddr && r.name == "" {
		return "0x" + strconv.FormatUint(uint64(r.addr), 16)
	}
	return r.name
}

// lookup finds a known device.
func (s *Service) lookup(r DeviceRef) *device {
	switch r.kind {
	case refEUID:
		return s.devices[r.euid]
	case refAddr:
		return s.byAddr[r.addr]
	default:
		for _, d := range s.devices {
			if d.GivenName == r.name {
				return d
			}
		}
		return nil
	}
}

// meet returns the device with this EUID, making it known where it is new.
func (s *Service) meet(euid message.IEEE) *device {
	d := s.devices[euid]
	if d == nil {
		d = &device{EUID: euid, dirty: true}
		s.devices[euid] = d
		s.infoDirty = true
		s.stateDirty = true
		s.log.Info("a new device", "euid", euid)
	}
	return d
}

// setAddr follows a device to its network address. Addresses are handed out anew by the network, so the one
// who had it before has lost it.
func (s *Service) setAddr(d *device, addr uint16) {
	if d.NetworkAddress != nil && *d.NetworkAddress == addr && s.byAddr[addr] == d {
		return
	}
	if d.NetworkAddress != nil && s.byAddr[*d.NetworkAddress] == d {
		delete(s.byAddr, *d.NetworkAddress)
	}
	if d.NetworkAddress != nil {
		s.log.Info("a device has another network address", "euid", d.EUID,
			"before", shownAddr(*d.NetworkAddress), "now", shownAddr(addr))
	}
	if before := s.byAddr[addr]; before != nil && before != d {
		before.NetworkAddress = nil
		before.dirty = true
	}
	d.NetworkAddress = &addr
	s.byAddr[addr] = d
	d.dirty = true
	s.stateDirty = true
	s.tableDirty = true
}

// shownAddr is a network address as people write it.
func shownAddr(addr uint16) string { return fmt.Sprintf("0x%04x", addr) }

// seen notes a sign of life.
func (s *Service) seen(d *device, lqi uint8, now time.Time) {
	d.LastSeen = now
	if lqi != 0 {
		d.lqi = &lqi
	}
	d.seenDirty = true
	s.heard(d, now)
	s.stirred(d, now)
}

// setVersion notes the running file version that was read from a device.
func (s *Service) setVersion(d *device, version uint32, now time.Time) {
	d.versionFresh = true
	if d.CurrentVersion == nil || *d.CurrentVersion != version {
		d.CurrentVersion = &version
		d.dirty = true
		s.stateDirty = true
	}
	s.versionRead(d, version, now)
}

// learnIdentity notes what a device says of its OTA client.
func (s *Service) learnIdentity(d *device, manufacturerCode, imageType uint16) {
	if setIfNew(&d.ManufacturerCode, manufacturerCode) {
		d.dirty = true
		s.stateDirty = true
	}
	if setIfNew(&d.ImageType, imageType) {
		d.dirty = true
		s.stateDirty = true
	}
}

func setIfNew[T comparable](p **T, v T) bool {
	if *p != nil && **p == v {
		return false
	}
	*p = &v
	return true
}

// registered lists the images registered for a device that fit it, highest version first. A device whose
// identity is not known yet fits the images that were registered for it by name.
func (s *Service) registered(d *device) []Offer {
	var fit []Offer
	for _, r := range s.registry.For(d.EUID.String()) {
		image, ok := s.images.Image(r.SHA256)
		if !ok {
			continue
		}
		if o := offerOf(r, image); fits(d, o) {
			fit = append(fit, o)
		}
	}
	slices.SortStableFunc(fit, func(a, b Offer) int { return -cmp.Compare(a.ImageVersion, b.ImageVersion) })
	return fit
}

// offer is the image that the device would get now, or nil: of those registered for it and the one that the
// image folder and the indexes have for it the newest, the registered one where they are equally new.
func (s *Service) offer(d *device) *Offer {
	var best *Offer
	if list := s.registered(d); len(list) > 0 {
		best = &list[0]
	}
	if dev, ok := catalogDevice(d); ok && s.catalog != nil {
		if c, ok := s.catalog.Best(dev); ok && (best == nil || c.FileVersion > best.ImageVersion) {
			o := offerFrom(c)
			best = &o
		}
	}
	return best
}

// offerOfVersion is the image of one version for a device, or nil.
func (s *Service) offerOfVersion(d *device, version uint32) *Offer {
	for _, o := range s.registered(d) {
		if o.ImageVersion == version {
			return &o
		}
	}
	if dev, ok := catalogDevice(d); ok && s.catalog != nil {
		for _, c := range s.catalog.All(dev) {
			if c.FileVersion == version {
				o := offerFrom(c)
				return &o
			}
		}
	}
	return nil
}

// catalogDevice is what images in the folder and in indexes are matched with; false while the device has not
// told what its OTA client is.
func catalogDevice(d *device) (library.Device, bool) {
	if d.ManufacturerCode == nil || d.ImageType == nil {
		return library.Device{}, false
	}
	return library.Device{
		ManufacturerCode: *d.ManufacturerCode,
		ImageType:        *d.ImageType,
		HardwareVersion:  d.HardwareVersion,
		CurrentVersion:   d.CurrentVersion,
		ModelID:          d.ModelID,
		ManufacturerName: d.ManufacturerName,
		EUI64:            uint64(d.EUID),
	}, true
}

func offerFrom(c library.Candidate) Offer {
	return Offer{
		ManufacturerCode: c.ManufacturerCode,
		ImageType:        c.ImageType,
		ImageVersion:     c.FileVersion,
		Size:             c.Size,
		SHA256:           c.SHA256,
		URL:              c.URL,
		Source:           Source(c.Source),
		Title:            c.Title,
		ReleaseNotes:     c.ReleaseNotes,
		MinHardware:      c.MinHardware,
		MaxHardware:      c.MaxHardware,
		candidate:        &c,
		destination:      c.Destination,
	}
}

func offerOf(r library.Registration, image library.Image) Offer {
	return Offer{
		ManufacturerCode: r.ManufacturerCode,
		ImageType:        r.ImageType,
		ImageVersion:     r.ImageVersion,
		Size:             r.Size,
		SHA256:           r.SHA256,
		URL:              r.URL,
		Source:           SourceRegistered,
		DriverTypeID:     r.DriverTypeID,
		DriverVersion:    r.DriverVersion,
		Title:            image.Header.Title(),
		MinHardware:      image.Header.MinHardwareVersion,
		MaxHardware:      image.Header.MaxHardwareVersion,
		destination:      image.Header.Destination,
	}
}

// fits reports whether an image may be given to a device: manufacturer code and image type equal, hardware
// version inside the header's limits. The dongle's OTA server checks no hardware version, so it has to be
// done here. What the device has not told is no obstacle for an image that a person chose for it.
func fits(d *device, o Offer) bool {
	if o.ManufacturerCode == wildcard16 || o.ImageType == wildcard16 || o.ImageVersion == wildcard32 {
		return false // a header with a wildcard would fit every device: it is for none in particular
	}
	if o.destination != nil && *o.destination != uint64(d.EUID) {
		return false
	}
	if d.ManufacturerCode != nil && *d.ManufacturerCode != o.ManufacturerCode {
		return false
	}
	if d.ImageType != nil && *d.ImageType != o.ImageType {
		return false
	}
	if d.HardwareVersion != nil {
		if o.MinHardware != nil && *d.HardwareVersion < *o.MinHardware {
			return false
		}
		if o.MaxHardware != nil && *d.HardwareVersion > *o.MaxHardware {
			return false
		}
	}
	return true
}

// The values that stand for "any" in an image header.
const (
	wildcard16 = 0xFFFF
	wildcard32 = 0xFFFFFFFF
)

// updateAvailable reports whether an offer is newer than what the device runs. A version that is not known
// counts as older: the device itself decides in the end.
func updateAvailable(d *device, o *Offer) bool {
	return o != nil && !slices.Contains(d.Invalid, o.SHA256) &&
		(d.CurrentVersion == nil || o.ImageVersion > *d.CurrentVersion)
}

// record is the device as others see it.
func (s *Service) record(d *device, now time.Time) DeviceRecord {
	o := s.offer(d)
	r := DeviceRecord{
		EUID:             d.EUID,
		NetworkAddress:   d.NetworkAddress,
		Name:             d.name(),
		ManufacturerName: d.ManufacturerName,
		ModelID:          d.ModelID,
		ManufacturerCode: d.ManufacturerCode,
		ImageType:        d.ImageType,
		HardwareVersion:  d.HardwareVersion,
		Endpoint:         d.Endpoint,
		Sleepy:           d.Sleepy,
		CurrentVersion:   d.CurrentVersion,
		LQI:              d.lqi,
		LastSeen:         d.LastSeen,
		UpdateAvailable:  updateAvailable(d, o),
		Offer:            o,
		Upgrade:          d.Upgrade.record(now),
		History:          slices.Clone(d.History),
	}
	return r
}

// operation is the operation record of an answer about a device; o is the image that the
// answer is about, or nil.
func (d *device) operation(o *Offer) *Operation {
	op := &Operation{
		EUID:             d.EUID,
		ManufacturerCode: d.ManufacturerCode,
		ImageType:        d.ImageType,
		OldImageVersion:  d.CurrentVersion,
	}
	if o != nil {
		op.ManufacturerCode = &o.ManufacturerCode
		op.ImageType = &o.ImageType
		op.ImageVersion = &o.ImageVersion
		op.DriverTypeID = &o.DriverTypeID
		op.DriverVersion = &o.DriverVersion
		if o.URL != "" {
			op.URL = &o.URL
		}
	}
	return op
}
