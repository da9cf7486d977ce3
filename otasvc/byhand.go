package otasvc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Frames by hand are for people who debug. Each is sent once and answered with the dongle's own status:
// unlike what the service sends for itself, it is not sent again to a dongle that has no room for it.

// ImageKey says which image a frame by hand is about. What is nil comes from the device's upgrade, else from
// the image that it would get, else from what the device says of itself.
type ImageKey struct {
	ManufacturerCode, ImageType *uint16
	ImageVersion                *uint32 // ZCL file version
}

// ImageNotify is an image notify (0x0505) by hand.
type ImageNotify struct {
	Device      DeviceRef
	PayloadType uint8 // message.NotifyJitter to message.NotifyFileVersion: how much of Image is told
	QueryJitter uint8 // 1 to 100; 0: 100
	Image       ImageKey
}

// UpgradeEnd is an upgrade end response (0x0504) by hand, to the device's last upgrade end request.
type UpgradeEnd struct {
	Device DeviceRef
	// UpgradeTime is in seconds. Nil stands for 5 s after CurrentTime, which is what the dongle says, and
	// zigate.UpgradeTimeWait tells the device to wait.
	UpgradeTime *uint32
	CurrentTime uint32 // seconds; 0: UpgradeTime counts from now
	Image       ImageKey
}

// WaitForData is a wait for data (0x0506) by hand, to the device's last block request that got a block.
type WaitForData struct {
	Device            DeviceRef
	RequestTime       *uint32 // seconds; nil: 30 s after CurrentTime
	CurrentTime       uint32  // seconds; 0: RequestTime counts from now
	BlockRequestDelay uint16  // milliseconds
}

// ImageNotify tells a device that there is an image.
func (s *Service) ImageNotify(req ImageNotify, respond Respond) {
	s.request(respond, func() {
		s.withDevice(req.Device, respond, func(d *device) {
			key := s.complete(req.Image, d, d.active())
			about := func() *Operation { return s.operationAbout(d, key) }
			// What the payload type leaves out does not go on air.
			if !key.known(int(req.PayloadType), d, about, respond) {
				return
			}
			cmd := message.ImageNotify{
				PayloadType:      req.PayloadType,
				QueryJitter:      req.QueryJitter,
				FileVersion:      valueOr(key.ImageVersion, wildcard32),
				ImageType:        valueOr(key.ImageType, wildcard16),
				ManufacturerCode: valueOr(key.ManufacturerCode, wildcard16),
			}
			if cmd.QueryJitter == 0 {
				cmd.QueryJitter = 100
			}
			toDevice := func(to message.Target) message.Message { cmd.Target = to; return cmd }
			s.sendByHand(d, toDevice, about, func(a Answer) {
				if a.Status == Success {
					s.happened(Event{
						Name:             EventImageNotified,
						EUID:             d.EUID(),
						ManufacturerCode: key.ManufacturerCode,
						ImageType:        key.ImageType,
						ImageVersion:     key.ImageVersion,
						OldImageVersion:  d.CurrentVersion(),
					})
				}
				respond(a)
			})
		})
	})
}

// UpgradeEnd tells a device when to install what it has downloaded.
func (s *Service) UpgradeEnd(req UpgradeEnd, respond Respond) {
	s.request(respond, func() {
		s.withDevice(req.Device, respond, func(d *device) {
			// One that has ended counts, too: its device may be asking still.
			key := s.complete(req.Image, d, d.Upgrade)
			about := func() *Operation { return s.operationAbout(d, key) }
			if !key.known(keyParts, d, about, respond) {
				return
			}
			cmd := message.UpgradeEndResponse{
				UpgradeTime:      valueOr(req.UpgradeTime, after(req.CurrentTime, installIn)),
				CurrentTime:      req.CurrentTime,
				FileVersion:      *key.ImageVersion,
				ImageType:        *key.ImageType,
				ManufacturerCode: *key.ManufacturerCode,
			}
			if d.Upgrade != nil {
				cmd.Sequence = d.Upgrade.EndSequence
			}
			s.sendByHand(d, func(to message.Target) message.Message {
				cmd.Target = to
				return cmd
			}, about, func(a Answer) {
				if a.Status == Success {
					s.installsByHand(d, cmd, time.Now())
				}
				respond(a)
			})
		})
	})
}

// installsByHand: a device that waited with its image has been told when to install it.
func (s *Service) installsByHand(d *device, m message.UpgradeEndResponse, now time.Time) {
	u := d.active()
	if u == nil || m.UpgradeTime == waitForever || m.FileVersion != u.OfferedVersion ||
		m.ImageType != u.ImageType ||
		m.ManufacturerCode != u.ManufacturerCode || !s.fire(d, triggerApply, now) {
		return
	}
	u.Install = InstallNow
	u.WasHeld = true
	u.ApplyingAt = now
	if m.UpgradeTime > m.CurrentTime {
		u.ApplyingAt = now.Add(time.Duration(m.UpgradeTime-m.CurrentTime) * time.Second)
	}
	s.happened(s.upgradeEvent(EventUpgradeApplying, d, u))
}

// WaitForData tells a device to ask for its block again later. It pauses nothing: the next
// request gets a block.
func (s *Service) WaitForData(req WaitForData, respond Respond) {
	s.request(respond, func() {
		s.withDevice(req.Device, respond, func(d *device) {
			cmd := message.WaitForData{
				Status:            message.OTAWaitForData,
				CurrentTime:       req.CurrentTime,
				RequestTime:       valueOr(req.RequestTime, after(req.CurrentTime, blocks.MaxHold)),
				BlockRequestDelay: req.BlockRequestDelay,
			}
			tr := d.aborting
			if u := d.active(); u != nil && u.runtime.transfer != nil {
				tr = u.runtime.transfer
			}
			if tr != nil {
				cmd.Sequence = tr.LastSequence()
			}
			about := func() *Operation { return s.upgradeOperation(d) }
			s.sendByHand(d, func(to message.Target) message.Message {
				cmd.Target = to
				return cmd
			}, about, respond)
		})
	})
}

// sendByHand sends a frame to a device, once. about is the record of the answer, as it is by then.
func (s *Service) sendByHand(
	d *device, frame func(message.Target) message.Message, about func() *Operation, respond Respond,
) {
	if why, ok := s.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, about(), "%s", why))
		return
	}
	if !d.Reachable() {
		respond(fail(Failure, about(), "nothing can be sent to %s: %v", d.Name(), registry.ErrNoAddress))
		return
	}
	s.submitByHand(frame(d.target()), func(err error) { respond(dongleAnswer(err, about())) })
}

// statusAtMost is how long a frame may wait for its status. The dongle's connection says sooner
// that there was none.
const statusAtMost = time.Hour

// submitByHand hands a frame to the dongle, once; done runs on the owner goroutine, at the service's
// stop at the latest.
func (s *Service) submitByHand(cmd message.Message, done func(error)) {
	a := s.questions.Wait(time.Now().Add(statusAtMost), done)
	s.sender.Submit(cmd, func(_ message.Status, err error) {
		s.inbox.Post(func() {
			if s.questions.End(a) {
				done(err)
			}
		})
	})
}

// dongleAnswer is the final answer that says what the dongle said to a frame.
func dongleAnswer(err error, op *Operation) Answer {
	var refused *message.StatusError
	switch {
	case err == nil:
		return Answer{Status: Success, Operation: op}
	case errors.As(err, &refused):
		a := fail(Failure, op, "%v", err)
		a.DongleStatus = ptr(refused.Status.Status)
		return a
	case errors.Is(err, zigate.ErrNotConnected), errors.Is(err, errDongleAway), errors.Is(err, errStopping):
		return fail(ServiceNotAvailable, op, "%v", err)
	case errors.Is(err, zigate.ErrNoAnswer):
		return fail(Failure, op, "%v; it may have sent the frame all the same", err)
	default:
		return fail(Failure, op, "%v", err)
	}
}

// complete fills in what was not given. u is the upgrade to take it from; nil: none.
func (s *Service) complete(key ImageKey, d *device, u *upgrade) ImageKey {
	from := ImageKey{ManufacturerCode: d.Facts().ManufacturerCode, ImageType: d.Facts().ImageType}
	if u != nil {
		// The device knows its image under the version that it was offered as.
		from = ImageKey{&u.ManufacturerCode, &u.ImageType, &u.OfferedVersion}
	} else if o := s.offers.best(d.Device); o != nil {
		from = ImageKey{&o.ManufacturerCode, &o.ImageType, &o.ImageVersion}
	}
	if key.ManufacturerCode == nil {
		key.ManufacturerCode = copied(from.ManufacturerCode)
	}
	if key.ImageType == nil {
		key.ImageType = copied(from.ImageType)
	}
	if key.ImageVersion == nil {
		key.ImageVersion = copied(from.ImageVersion)
	}
	return key
}

// keyParts is the number of parts of an ImageKey.
const keyParts = 3

// known reports whether the first n of manufacturer code, image type and version are there; if not, respond
// is told which have to be given.
func (k ImageKey) known(n int, d *device, about func() *Operation, respond Respond) bool {
	var missing []string
	for i, part := range []struct {
		key    string
		absent bool
	}{
		{"mfgId", k.ManufacturerCode == nil}, {"imageTypeId", k.ImageType == nil},
		{"imageVersion", k.ImageVersion == nil},
	} {
		if i < n && part.absent {
			missing = append(missing, part.key)
		}
	}
	if len(missing) > 0 {
		respond(fail(InvalidData, about(), "%s: must be given, as %s has no image to take it from",
			strings.Join(missing, ", "), d.Name()))
	}
	return len(missing) == 0
}

// operationAbout is the operation record of an answer about an image of a device.
func (s *Service) operationAbout(d *device, key ImageKey) *Operation {
	op := s.upgradeOperation(d)
	if differs(op.ManufacturerCode, key.ManufacturerCode) || differs(op.ImageType, key.ImageType) ||
		differs(op.ImageVersion, key.ImageVersion) {
		op = d.operation(nil) // not the image whose address and driver are known
	}
	op.ManufacturerCode = key.ManufacturerCode
	op.ImageType = key.ImageType
	op.ImageVersion = key.ImageVersion
	return op
}

func differs[T comparable](a, b *T) bool { return a == nil != (b == nil) || a != nil && *a != *b }

func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return ptr(*p)
}

// after is a time in seconds some seconds after another, short of the largest, which means for ever.
func after(t, seconds uint32) uint32 {
	return uint32(min(uint64(t)+uint64(seconds), math.MaxUint32-1))
}

// LoadImage loads a header into the dongle: that of the device's upgrade, else that of the image
// which it would get.
func (s *Service) LoadImage(ref DeviceRef, respond Respond) {
	s.request(respond, func() {
		s.withDevice(ref, respond, func(d *device) {
			about := func() *Operation { return s.upgradeOperation(d) }
			if why, ok := s.dongle.usable(); !ok {
				respond(fail(ServiceNotAvailable, about(), "%s", why))
				return
			}
			if u := d.active(); u != nil {
				s.loadByHand(u.key(), about, respond)
				return
			}
			load := func(o Offer) { s.loadByHand(slotKey{o.SHA256, o.ImageVersion}, about, respond) }
			switch o := s.offers.best(d.Device); {
			case o == nil:
				respond(fail(ImageInfoNotFound, about(), "%s", s.offers.noImage(d.Device)))
			case o.candidate != nil && !o.candidate.Stored:
				respond(Answer{Status: InProgress, Operation: about()})
				s.offers.ensure(d.Device, *o, false, about(), respond, load)
			default:
				load(*o)
			}
		})
	})
}

// LoadImageFrom loads the header of the image at a URL into the dongle. The image is kept, but
// registered for nobody.
func (s *Service) LoadImageFrom(url string, respond Respond) {
	s.request(respond, func() {
		op := Operation{URL: ptr(publicURL(url))}
		if why, ok := s.dongle.usable(); !ok {
			respond(fail(ServiceNotAvailable, &op, "%s", why))
			return
		}
		respond(Answer{Status: InProgress, Operation: &op})
		s.async(func(ctx context.Context) func() {
			image, err := s.offers.images.Fetch(ctx, library.Request{URL: url})
			return func() {
				s.observer.ImageFetched(fetchStatus(err))
				if err != nil {
					respond(fail(fetchStatus(err), &op, "%v", err))
					return
				}
				h := image.Header
				op := op
				op.ManufacturerCode = &h.ManufacturerCode
				op.ImageType = &h.ImageType
				op.ImageVersion = &h.FileVersion
				s.loadByHand(slotKey{image.SHA256, h.FileVersion}, func() *Operation { return &op }, respond)
			}
		})
	})
}

// loadByHand reads an image from the store and loads its header.
func (s *Service) loadByHand(key slotKey, about func() *Operation, respond Respond) {
	if s.ctx.Err() != nil {
		respond(dongleAnswer(errStopping, about()))
		return
	}
	if im := s.cache[key.sha256]; im != nil && im.data != nil {
		s.loadHeader(im, key.version, about, respond)
		return
	}
	s.async(func(context.Context) func() {
		data, header, err := readImage(s.offers.images, key.sha256)
		return func() {
			if err != nil {
				respond(fail(Failure, about(), "the image cannot be read from the store; "+
					"add it again: %v", err))
				return
			}
			im := s.cache[key.sha256]
			if im == nil {
				im = &cachedImage{sha256: key.sha256}
				s.cache[key.sha256] = im
			}
			im.data = data
			im.header = header
			s.loadHeader(im, key.version, about, respond)
		}
	})
}

// slotPoll is how soon the slot is looked at again while the service loads it itself.
const slotPoll = 100 * time.Millisecond

// loadHeader loads a header for a person, where no upgrade is disturbed by it.
func (s *Service) loadHeader(im *cachedImage, version uint32, about func() *Operation, respond Respond) {
	refuse := func(status Status, why string) {
		s.dropUnusedImages()
		respond(fail(status, about(), "%s", why))
	}
	if why, ok := s.dongle.usable(); !ok {
		refuse(ServiceNotAvailable, why)
		return
	}
	if s.ctx.Err() != nil {
		refuse(ServiceNotAvailable, errStopping.Error())
		return
	}
	if why := s.slotNeeded(slotKey{im.sha256, version}, time.Now()); why != "" {
		refuse(Failure, why)
		return
	}
	if s.slot.busy {
		s.questions.Wait(time.Now().Add(slotPoll), func(error) { s.loadHeader(im, version, about, respond) })
		return
	}
	s.slot.busy = true
	generation := s.slot.generation
	h := im.header
	h.FileVersion = version
	s.submitByHand(loadImage(h), func(err error) {
		if s.slot.generation == generation {
			s.slot.busy = false
			s.loadedByHand(im, version, err, time.Now())
		}
		respond(dongleAnswer(err, about()))
	})
}

// slotNeeded says why another header must not be loaded now; empty: it may be.
func (s *Service) slotNeeded(key slotKey, now time.Time) string {
	if s.finishing(now) || s.turnover != nil {
		return "an upgrade needs the dongle's header slot as it is for the next moments; " +
			"try again in a minute"
	}
	for _, d := range s.sortedActive() {
		switch u := d.Upgrade; {
		case u.State.holdsSlot() && u.key() != key:
			return fmt.Sprintf("%s is being upgraded to another image, 0x%08x, whose download would break "+
				"off; cancel it or wait for its end",
				d.Name(), u.ImageVersion)
		case u.State == Downloaded && u.key() == key:
			return fmt.Sprintf("%s has this image and waits to be told to install it; "+
				"with the header loaded the dongle would tell it so by itself",
				d.Name())
		}
	}
	return ""
}

// loadedByHand notes what the slot holds after a header was loaded by hand.
func (s *Service) loadedByHand(im *cachedImage, version uint32, err error, now time.Time) {
	if err != nil {
		var refused *message.StatusError
		if !errors.As(err, &refused) { // else the dongle keeps the header that it had
			// Not known: what was there is loaded anew.
			s.slot.loaded = false
			s.slot.cleared = false
		}
		s.dropUnusedImages()
		return
	}
	if s.slot.key() != (slotKey{im.sha256, version}) {
		s.slot.since = now
	}
	s.slot.image = im
	s.slot.version = version
	s.slot.loaded = true
	s.slot.cleared = false
	s.cache[im.sha256] = im // it may have been dropped while the slot was busy
	h := im.header
	s.log.Info("image header loaded by hand", "manufacturerCode", h.ManufacturerCode,
		"imageType", h.ImageType, "fileVersion", version)
	s.happened(Event{
		Name:             EventImageLoaded,
		ManufacturerCode: &h.ManufacturerCode,
		ImageType:        &h.ImageType,
		ImageVersion:     &version,
		Size:             &h.TotalSize,
	})
	s.keepHeader(im, version, s.slot.generation, now.Add(handKeep))
}

const (
	// handKeep is how long a header that was loaded by hand stays, unless something else needs the slot.
	handKeep = 10 * time.Minute
	// handKeepStep is how far ahead it is kept at a time: when an upgrade has taken the slot meanwhile, its
	// own header must not stay behind for the rest of the ten minutes.
	handKeepStep = 5 * time.Second
)

// keepHeader keeps a header in the slot for as long as it is the one that was loaded by hand.
func (s *Service) keepHeader(im *cachedImage, version uint32, generation int, until time.Time) {
	now := time.Now()
	if s.slot.image != im || s.slot.version != version || !s.slot.loaded || s.slot.generation != generation ||
		!now.Before(until) {
		return
	}
	s.slot.keepUntil = later(s.slot.keepUntil, now.Add(2*handKeepStep))
	time.AfterFunc(handKeepStep, func() {
		s.inbox.Post(func() { s.keepHeader(im, version, generation, until) })
	})
}
