package otasvc

import (
	"cmp"
	"errors"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
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
	Device      registry.Ref
	PayloadType uint8 // message.NotifyJitter to message.NotifyFileVersion: how much of Image is told
	QueryJitter uint8 // 1 to 100; 0 stands for 100
	Image       ImageKey
}

// UpgradeEnd is an upgrade end response (0x0504) by hand, to the device's last upgrade end request.
type UpgradeEnd struct {
	Device registry.Ref
	// UpgradeTime is in seconds. Nil stands for 5 s after CurrentTime, which is what the dongle says, and
	// zigate.UpgradeTimeWait tells the device to wait.
	UpgradeTime *uint32
	CurrentTime uint32 // seconds; with 0, UpgradeTime counts from now
	Image       ImageKey
}

// WaitForData is a wait for data (0x0506) by hand, to the device's last block request that got a block.
type WaitForData struct {
	Device            registry.Ref
	RequestTime       *uint32 // seconds; nil stands for 30 s after CurrentTime
	CurrentTime       uint32  // seconds; with 0, RequestTime counts from now
	BlockRequestDelay uint16  // milliseconds
}

// byHand sends frames for people, and loads headers where no upgrade is disturbed by it. It does not know who
// asks. It belongs to the owner goroutine.
type byHand struct {
	owner     *owner
	home      *home
	dongle    *dongle
	slot      *headerSlot
	planner   *planner
	offers    *offers
	upgrades  *upgrades
	questions *registry.Questions
	sender    *sending.Sender
	outlet    *outlet
	log       *slog.Logger
}

// ImageNotify tells a device that there is an image.
func (s *Service) ImageNotify(req ImageNotify, respond Respond) {
	s.request(respond, func() {
		s.withDevice(req.Device, respond, func(d *device) { s.byHand.imageNotify(d, req, respond) })
	})
}

// imageNotify tells a device that there is an image.
func (h *byHand) imageNotify(d *device, req ImageNotify, respond Respond) {
	key := h.complete(req.Image, d, d.active())
	about := func() *Operation { return h.operationAbout(d, key) }
	// What the payload type leaves out does not go on air.
	if !key.known(int(req.PayloadType), d, about, respond) {
		return
	}
	cmd := message.ImageNotify{
		PayloadType:      req.PayloadType,
		QueryJitter:      cmp.Or(req.QueryJitter, 100),
		FileVersion:      valueOr(key.ImageVersion, wildcard32),
		ImageType:        valueOr(key.ImageType, wildcard16),
		ManufacturerCode: valueOr(key.ManufacturerCode, wildcard16),
	}
	toDevice := func(to message.Target) message.Message { cmd.Target = to; return cmd }
	d.notified.at = h.owner.now()
	h.send(namedClient(d, key.ImageType), toDevice, about, func(a Answer) {
		if a.Status == Success {
			h.outlet.happened(Event{
				Name:             EventImageNotified,
				EUID:             d.EUID(),
				ManufacturerCode: key.ManufacturerCode,
				ImageType:        key.ImageType,
				ImageVersion:     key.ImageVersion,
				OldImageVersion:  namedClient(d, key.ImageType).ota.CurrentVersion,
			})
		}
		respond(a)
	})
}

// UpgradeEnd tells a device when to install what it has downloaded.
func (s *Service) UpgradeEnd(req UpgradeEnd, respond Respond) {
	s.request(respond, func() {
		s.withDevice(req.Device, respond, func(d *device) { s.byHand.upgradeEnd(d, req, respond) })
	})
}

// upgradeEnd tells a device when to install what it has downloaded.
func (h *byHand) upgradeEnd(d *device, req UpgradeEnd, respond Respond) {
	// One that has ended counts, too: its device may be asking still.
	key := h.complete(req.Image, d, d.upgrade)
	about := func() *Operation { return h.operationAbout(d, key) }
	if !key.known(keyParts, d, about, respond) {
		return
	}
	cmd := message.UpgradeEndResponse{
		UpgradeTime:      valueOr(req.UpgradeTime, after(req.CurrentTime, upgrade.InstallIn)),
		CurrentTime:      req.CurrentTime,
		FileVersion:      *key.ImageVersion,
		ImageType:        *key.ImageType,
		ManufacturerCode: *key.ManufacturerCode,
	}
	if d.upgrade != nil {
		cmd.Sequence = d.upgrade.EndSequence()
	}
	toDevice := func(to message.Target) message.Message { cmd.Target = to; return cmd }
	h.send(namedClient(d, key.ImageType), toDevice, about, func(a Answer) {
		if a.Status == Success {
			h.installs(d, cmd, h.owner.now())
		}
		respond(a)
	})
}

// installs notes that a device which waited with its image has been told when to install it.
func (h *byHand) installs(d *device, m message.UpgradeEndResponse, now time.Time) {
	u := d.active()
	if u == nil || m.UpgradeTime == message.UpgradeTimeWait || m.FileVersion != u.OfferedVersion() ||
		!u.IsAbout(m.ManufacturerCode, m.ImageType, m.FileVersion) {
		return
	}
	seconds := m.UpgradeTime - min(m.CurrentTime, m.UpgradeTime)
	h.upgrades.step(d, upgrade.ReleasedByHand{In: time.Duration(seconds) * time.Second}, now)
}

// WaitForData tells a device to ask for its block again later. It pauses nothing: the next
// request gets a block.
func (s *Service) WaitForData(req WaitForData, respond Respond) {
	s.request(respond, func() {
		s.withDevice(req.Device, respond, func(d *device) { s.byHand.waitForData(d, req, respond) })
	})
}

// waitForData tells a device to ask for its block again later.
func (h *byHand) waitForData(d *device, req WaitForData, respond Respond) {
	cmd := message.WaitForData{
		Status:            message.OTAWaitForData,
		CurrentTime:       req.CurrentTime,
		RequestTime:       valueOr(req.RequestTime, after(req.CurrentTime, blocks.MaxHold)),
		BlockRequestDelay: req.BlockRequestDelay,
	}
	if tr := cmp.Or(d.rights.transfer, d.rights.aborting); tr != nil {
		cmd.Sequence = tr.LastSequence()
	}
	about := func() *Operation { return h.offers.upgradeOperation(d) }
	toDevice := func(to message.Target) message.Message { cmd.Target = to; return cmd }
	h.send(toClientOf(d), toDevice, about, respond)
}

// toClientOf is the OTA client to which a frame goes that is about no image: that of the device's upgrade,
// else the main one.
func toClientOf(d *device) client {
	if d.active() != nil {
		return upgradedClient(d)
	}
	return mainClient(d)
}

// send sends a frame to an OTA client, once. about is the record of the answer, as it is by then.
func (h *byHand) send(
	c client, frame func(message.Target) message.Message, about func() *Operation, respond Respond,
) {
	if why, ok := h.dongle.usable(); !ok {
		respond(fail(ServiceNotAvailable, about(), "%s", why))
		return
	}
	if d := c.device; !d.Reachable() {
		respond(fail(Failure, about(), "nothing can be sent to %s: %v", d.Name(), registry.ErrNoAddress))
		return
	}
	h.submit(frame(c.target()), func(err error) { respond(dongleAnswer(err, about())) })
}

// statusAtMost is how long a frame may wait for its status. The dongle's connection says sooner
// that there was none.
const statusAtMost = time.Hour

// submit hands a frame to the dongle, once; done runs on the owner goroutine, at the service's
// stop at the latest.
func (h *byHand) submit(cmd message.Message, done func(error)) {
	a := h.questions.Wait(h.owner.now().Add(statusAtMost), done)
	h.sender.Submit(cmd, func(_ message.Status, err error) {
		h.owner.inbox.Post(func() {
			if h.questions.End(a) {
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

// complete fills in what was not given. It is taken from u, the upgrade of the device, unless that is nil.
func (h *byHand) complete(key ImageKey, d *device, u *upgrade.Upgrade) ImageKey {
	from := ImageKey{ManufacturerCode: d.Facts().ManufacturerCode, ImageType: d.Facts().ImageType}
	if u != nil && !u.Image().Missing && u.Stage() != upgrade.StageFetching {
		// The device knows its image under the version that it was offered as.
		image := u.Image()
		from = ImageKey{&image.ManufacturerCode, &image.ImageType, ptr(h.slot.keyOf(d).Version)}
	} else if o := h.offers.best(namedClient(d, key.ImageType)); o != nil {
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
func (h *byHand) operationAbout(d *device, key ImageKey) *Operation {
	op := h.offers.upgradeOperation(d)
	if differs(op.ManufacturerCode, key.ManufacturerCode) || differs(op.ImageType, key.ImageType) ||
		differs(op.ImageVersion, key.ImageVersion) {
		op = d.operation(nil) // not the image whose address and driver are known
	}
	op.ManufacturerCode = key.ManufacturerCode
	op.ImageType = key.ImageType
	op.ImageVersion = key.ImageVersion
	return op
}

// differs reports whether two values, which may not be known, are not the same.
func differs[T comparable](a, b *T) bool { return a == nil != (b == nil) || a != nil && *a != *b }

// valueOr is a value, or another one where it is not known.
func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// copied is a copy of a value, which may not be known.
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
