package otasvc

import (
	"fmt"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// UpgradeRequest is a request to bring a device, or all of them, to an image.
type UpgradeRequest struct {
	Device DeviceRef
	// All means every device for which an update is available; Device, URL and ImageVersion
	// are not looked at.
	All            bool
	URL            string  // fetched and registered for the device first
	SHA256, SHA512 string  // hex; where given, must be the download's
	ImageVersion   *uint32 // nil: the newest that fits
	AllowDowngrade bool    // take an image that is older than what runs
	// Force takes an image of the version that runs, that failed a check, or that the device called invalid.
	Force     bool
	At        time.Time // zero or past: now
	Install   Install   // when it is to be installed once it is downloaded
	InstallAt time.Time // with Install "at"
	Window    bool      // wait for the configured window to open; At is not looked at
	// Ticket comes back with the final answer of an upgrade that was queued.
	Ticket Ticket
}

// Upgrade queues an upgrade. What is wrong with the request comes as a final answer through
// respond; a request that was queued gets InProgress there, and its final answer goes to
// Sink.UpgradeEnded, with its ticket.
func (s *Service) Upgrade(req UpgradeRequest, respond Respond) {
	s.request(respond, func() {
		now := time.Now()
		if req.Window {
			if s.policy.Window == nil {
				respond(fail(InvalidData, nil, "when: no upgrade window is configured; "+
					"set ZIGATE_OTA_UPGRADE_WINDOW or give a time"))
				return
			}
			req.At = s.policy.Window.Next(now)
		}
		if !req.At.After(now) {
			req.At = time.Time{}
		}
		if req.All {
			s.upgradeAll(req, respond, now)
			return
		}
		s.withDevice(req.Device, respond, func(d *device) { s.upgradeDevice(d, req, respond) })
	})
}

func (s *Service) upgradeDevice(d *device, req UpgradeRequest, respond Respond) {
	if u := d.active(); u != nil && u.State == Downloaded && req.installsHeld(u) {
		if why, ok := s.dongle.usable(); !ok {
			respond(fail(ServiceNotAvailable, u.operation(d.EUID(), d.CurrentVersion()), "%s", why))
			return
		}
		// The image is on the device already and waits for this word.
		if len(req.Ticket) > 0 {
			u.Tickets = append(u.Tickets, req.Ticket)
		}
		s.install(d, time.Now())
		op := u.operation(d.EUID(), d.CurrentVersion())
		s.whenSaved(func() { respond(Answer{Status: InProgress, Operation: op}) })
		return
	}
	if u := d.active(); u != nil {
		respond(failReason(ReasonAlreadyQueued, u.operation(d.EUID(), d.CurrentVersion())))
		return
	}
	if why, ok := s.dongle.usable(); !ok && req.At.IsZero() {
		respond(fail(ServiceNotAvailable, s.offerOperation(d), "%s", why))
		return
	}
	if req.URL == "" {
		s.upgradeTo(d, req, s.choose(d, req.ImageVersion), respond)
		return
	}
	op := d.operation(nil)
	op.URL = ptr(publicURL(req.URL))
	respond(Answer{Status: InProgress, Operation: op})
	fetch := library.Request{URL: req.URL, SHA256: req.SHA256, SHA512: req.SHA512, Force: req.Force}
	s.fetchFor(d, fetch, op, respond, func(image library.Image) {
		r := registration(image, publicURL(req.URL), "", s.offers.ownDriverVersion(d.Device, image))
		o := offerOf(r, image)
		switch {
		case req.ImageVersion != nil && *req.ImageVersion != o.ImageVersion:
			respond(fail(ImageValidationFailed, d.operation(&o), "the image at the url has version 0x%08x, "+
				"not the 0x%08x asked for", o.ImageVersion, *req.ImageVersion))
			return
		case !fits(d.Device, o):
			respond(fail(ImageValidationFailed, d.operation(&o),
				"the image at the url is for manufacturer 0x%04x and image type 0x%04x and does not fit %s",
				o.ManufacturerCode, o.ImageType, d.Name()))
			return
		}
		if err := s.offers.add(d.Device, r); err != nil {
			respond(fail(Failure, d.operation(&o), "%v", err))
			return
		}
		s.upgradeTo(d, req, &o, respond)
	})
}

// installsHeld reports whether a request is the word that a device with its image waits for: to
// install that one now.
func (r *UpgradeRequest) installsHeld(u *upgrade) bool {
	return r.Install == InstallNow && r.At.IsZero() && r.URL == "" &&
		(r.ImageVersion == nil || *r.ImageVersion == u.ImageVersion)
}

// choose is the image of the version asked for, or the one that the device would get.
func (s *Service) choose(d *device, version *uint32) *Offer {
	if version == nil {
		return s.offers.best(d.Device)
	}
	return s.offers.ofVersion(d.Device, *version)
}

// upgradeTo queues the upgrade to an image, once the device has told its running version, or has not
// answered. What the state file says of it may be old. A sleeping device is asked only where its upgrade
// would be refused for that version: it will hardly answer, and an upgrade that waits for it reads the
// version when it wakes.
func (s *Service) upgradeTo(d *device, req UpgradeRequest, o *Offer, respond Respond) {
	if o == nil {
		a := failReason(ReasonImageInfoNotFound, d.operation(nil))
		a.Error = s.offers.noImage(d.Device)
		if req.ImageVersion != nil && s.offers.best(d.Device) != nil {
			a.Error = fmt.Sprintf("no image of version 0x%08x is registered for this device",
				*req.ImageVersion)
		}
		respond(a)
		return
	}
	refused := d.CurrentVersion() != nil && *d.CurrentVersion() >= o.ImageVersion && !req.Force
	if !d.VersionFresh() && s.dongle.connected && (!d.Sleepy() || refused) {
		respond(Answer{Status: InProgress, Operation: d.operation(o)})
		s.interviews.check(d, func(error) { s.queueUpgrade(d, req, *o, respond) })
		return
	}
	s.queueUpgrade(d, req, *o, respond)
}

func (s *Service) queueUpgrade(d *device, req UpgradeRequest, o Offer, respond Respond) {
	op := d.operation(&o)
	refuse := func(r Reason) { respond(failReason(r, op)) }
	switch running := d.CurrentVersion(); {
	case !s.home.knows(d):
		respond(fail(DeviceNotFound, op, "%v", errDeviceForgotten))
	case d.active() != nil:
		refuse(ReasonAlreadyQueued)
	case !fits(d.Device, o):
		a := failReason(ReasonImageInfoNotFound, op)
		a.Error = s.offers.noImage(d.Device)
		respond(a)
	case running != nil && *running == o.ImageVersion && !req.Force:
		refuse(ReasonUpToDate)
	case running != nil && *running > o.ImageVersion && !req.AllowDowngrade:
		refuse(ReasonDowngradeRefused)
	case d.CalledInvalid(o.SHA256) && !req.Force:
		refuse(ReasonInvalidImage)
	case o.candidate != nil: // fetched where needed; and it is not cleaned away now
		respond(Answer{Status: InProgress, Operation: op})
		s.offers.ensure(d.Device, o, req.Force, op, respond, func(o Offer) { s.queueUpgrade(d, req, o, respond) })
	default:
		u := s.newUpgrade(d, o, req.At, req.Ticket, time.Now())
		u.Install = req.Install
		u.InstallAt = req.InstallAt
		answer := Answer{Status: InProgress, Operation: op}
		if s.versionToOffer(d, u) != u.ImageVersion {
			answer.Error = "the outcome is uncertain: the dongle's firmware compares versions, " +
				"so the image is offered as a newer one, which many devices refuse once they have it"
		}
		if held := s.slot.withheldBy(d, time.Now()); held != nil {
			answer.Error = fmt.Sprintf("it waits until %s, which holds the same image back, has installed it",
				held.Name())
		}
		s.whenSaved(func() { respond(answer) })
	}
}

// upgradeAll queues every device for which an update is available.
func (s *Service) upgradeAll(req UpgradeRequest, respond Respond, now time.Time) {
	if why, ok := s.dongle.usable(); !ok && req.At.IsZero() {
		respond(fail(ServiceNotAvailable, nil, "%s", why))
		return
	}
	wanted := func(d *device, o *Offer) bool { return updateAvailable(d.Device, o) && d.active() == nil }
	respond(Answer{Status: InProgress})
	s.ensureAll(wanted, func() {
		s.whenSaved(func() {})
		s.finishGroup(s.queueGroup(req, wanted, time.Now())) // ends at once where there was nothing to do
	})
}

// ensureAll fetches the images that indexes have for the devices that wanted picks; then runs
// when each was tried.
func (s *Service) ensureAll(wanted func(*device, *Offer) bool, then func()) {
	missing := map[string]library.Candidate{}
	for _, d := range s.home.sorted() {
		if o := s.offers.best(d.Device); wanted(d, o) && o.candidate != nil {
			missing[o.candidate.Key()] = *o.candidate
		}
	}
	s.offers.ensureAll(missing, then)
}

// queueGroup queues the devices that wanted picks. With a canary the first device of each image goes
// ahead of the others.
func (s *Service) queueGroup(req UpgradeRequest, wanted func(*device, *Offer) bool, now time.Time) *group {
	s.nextGroup++
	g := &group{ID: s.nextGroup, Ticket: req.Ticket, Members: []UpgradeResult{}}
	canaries := map[string]*device{}
	for _, d := range s.home.sorted() {
		o := s.offers.best(d.Device)
		if !wanted(d, o) {
			continue
		}
		if o.SHA256 == "" {
			// Its image could not be fetched.
			g.Members = append(g.Members, UpgradeResult{
				EUID: d.EUID(), State: Failed, Reason: ReasonImageInfoNotFound,
			})
			continue
		}
		u := s.newUpgrade(d, *o, req.At, nil, now)
		u.Install = req.Install
		u.InstallAt = req.InstallAt
		u.Group = g.ID
		if first := canaries[o.SHA256]; first != nil && s.policy.Canary {
			u.Canary = first.EUID()
		} else if first == nil {
			canaries[o.SHA256] = d
		}
		g.Members = append(g.Members, UpgradeResult{EUID: d.EUID(), State: u.State})
	}
	s.groups[g.ID] = g
	return g
}

// autoInterval is how often the policy looks for devices to upgrade.
const autoInterval = time.Minute

// upgradeByPolicy begins what the policy "auto" wants: every device for which an update is available, in the
// window. An image that has failed on a device, or was cancelled, is left to people from then on.
func (s *Service) upgradeByPolicy(now time.Time) {
	if !s.policy.Auto || now.Before(s.autoAt) {
		return
	}
	s.autoAt = now.Add(autoInterval)
	if _, ok := s.dongle.usable(); !ok {
		return
	}
	if s.policy.Window != nil && s.policy.Window.Next(now).After(now) {
		return
	}
	wanted := func(d *device, o *Offer) bool {
		if o != nil && s.offers.isUnavailable(o, now) {
			return false
		}
		tried := d.Upgrade != nil && (d.active() != nil || o != nil && d.Upgrade.SHA256 == o.SHA256)
		return updateAvailable(d.Device, o) && d.CurrentVersion() != nil && !tried
	}
	if !slices.ContainsFunc(s.home.sorted(), func(d *device) bool { return wanted(d, s.offers.best(d.Device)) }) {
		return
	}
	s.ensureAll(wanted, func() { s.finishGroup(s.queueGroup(UpgradeRequest{}, wanted, time.Now())) })
}
