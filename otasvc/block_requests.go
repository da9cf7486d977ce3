package otasvc

import (
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// HandleBlockRequest answers an image block request. Part of zigate.Handler; this is the hot path.
func (s *Service) HandleBlockRequest(req *message.ImageBlockRequest, dst []byte) []byte {
	return s.blocks.Answer(req, s.owner.now(), dst)
}

// HandleBlockStatus takes the dongle's acknowledgement of a block, or of wait-for-data. What it did not take
// is sent again when its buffers have fallen, unless the device has asked anew by then. Part of
// zigate.Handler.
func (s *Service) HandleBlockStatus(st *message.Status) {
	now := s.owner.now()
	s.sender.NoteStatus(st, now)
	sent, ok := s.blocks.Acknowledged(now)
	if !ok || !st.Busy() {
		return
	}
	s.blocks.Refused(sent)
	s.planner.places.refused.Add(1)
	s.sender.Resend(func(now time.Time) (message.Message, bool) {
		return s.blocks.Again(sent, now)
	})
}

// blockOwner is the owner goroutine as the block server sees it. It knows no devices, and does not judge
// requests.
type blockOwner struct {
	owner  *owner
	sender *sending.Sender
	// others take the requests that are more than a block. New sets them last, as they need the block server
	// themselves; nothing comes before Run.
	others requestTaker
}

// requestTaker takes the block requests that the block server does not finish by itself.
type requestTaker interface {
	// stray acts on a request that no transfer fits.
	stray(req message.ImageBlockRequest, result blocks.Result, now time.Time)
	// pageAsked acts on a request for whole pages.
	pageAsked(p blocks.Page)
	// lastBlock acts on a request for a last block after which the installation is to wait.
	lastBlock(tr *blocks.Transfer, req message.ImageBlockRequest, now time.Time)
}

var _ blocks.Owner = (*blockOwner)(nil)

// Wake makes the owner goroutine look at the transfers.
func (o *blockOwner) Wake() { o.owner.inbox.Signal() }

// Post runs f on the owner goroutine, unless the service stops before.
func (o *blockOwner) Post(f func()) {
	o.owner.postMessage(func() {
		if !o.owner.stopping() {
			f()
		}
	})
}

// Send sends an answer through the queue of commands.
func (o *blockOwner) Send(m message.Message) { o.sender.Send(m, nil) }

// Stray hands over a request that no transfer fits.
func (o *blockOwner) Stray(req message.ImageBlockRequest, result blocks.Result) {
	o.others.stray(req, result, o.owner.now())
}

// PageAsked hands over a request for whole pages.
func (o *blockOwner) PageAsked(p blocks.Page) { o.others.pageAsked(p) }

// LastBlock hands over a request for a last block after which the installation is to wait.
func (o *blockOwner) LastBlock(tr *blocks.Transfer, req message.ImageBlockRequest) {
	o.others.lastBlock(tr, req, o.owner.now())
}

// strays is the [requestTaker] of the service: it says whose requests they are, and does what package
// admission decides about them. It does not know how blocks are served.
type strays struct {
	home     *home
	slot     *headerSlot
	upgrades *upgrades
	orders   *orders
	hearing  *deviceHearing
	outlet   *outlet
	log      *slog.Logger
}

// pageAsked remembers that a dongle of firmware v2 is in the state in which page requests leave it.
func (s *strays) pageAsked(p blocks.Page) {
	s.slot.pageAsked()
	if d := s.home.at(p.Addr); d != nil && p.First {
		s.log.Info("a device asks for whole pages; the dongle garbles such requests, and they are put right",
			"euid", d.EUID(), "bytes", p.Bytes, "spacing", p.Spacing)
	}
}

// lastBlock has a device's upgrade decide on its last block.
func (s *strays) lastBlock(tr *blocks.Transfer, req message.ImageBlockRequest, now time.Time) {
	s.upgrades.lastBlock(tr, req, now)
}

// stray acts on an image block request that no transfer fits.
func (s *strays) stray(req message.ImageBlockRequest, result blocks.Result, now time.Time) {
	if req.FieldControl&message.BlockHasNodeAddress != 0 && req.NodeAddress != 0 {
		if d := s.home.get(req.NodeAddress); d != nil {
			s.hearing.move(d, req.Addr)
		}
	}
	d := s.home.at(req.Addr)
	if d == nil {
		s.hearing.strangerRequested(req.Addr, now)
		return
	}
	s.hearing.seen(d, 0, now)
	if result != blocks.Served {
		d.stray.note(now)
		s.learn(d, req)
	}
	offer := s.orders.offeredUnasked(d, req)
	s.carryOut(admission.Unsolicited(admission.Stray{
		Result:      result,
		HasTransfer: d.rights.transfer != nil,
		Waits:       mayGoOn(d),
		GoesOn:      s.goesOn(d, req),
		Offered:     offer != nil,
	}), d, req, offer, now)
}

// learn takes in what the request of a device tells of its OTA clients. What may be garbled tells nothing: a
// page request looks like a request for an image of another type.
func (s *strays) learn(d *device, req message.ImageBlockRequest) {
	c, exact := d.Client(req.ImageType)
	known := exact && is(c.ImageType, req.ImageType) && is(c.ManufacturerCode, req.ManufacturerCode)
	if known || s.slot.image().isFor(req.ManufacturerCode, req.ImageType) {
		d.LearnTaken(req.Endpoint, req.ManufacturerCode, req.ImageType)
	}
}

// goesOn reports whether a device that waits in the queue goes on with a download of its image, which is in
// the slot: it would begin again at 0 if it was offered the image anew. With a dongle that takes no blocks it
// does not come far.
func (s *strays) goesOn(d *device, req message.ImageBlockRequest) bool {
	if !mayGoOn(d) || s.upgrades.dongle.acceptance.Holds() {
		return false
	}
	key := s.slot.keyOf(d)
	return s.slot.image() != nil && s.slot.state.Key() == key && asksInMidImage(d, req, key.Version)
}

// carryOut does what was decided about a device's request; offer is the loaded image where the device may
// have it.
func (s *strays) carryOut(
	v admission.StrayVerdict, d *device, req message.ImageBlockRequest, offer *Offer, now time.Time,
) {
	if v.Refuse {
		s.upgrades.rights.server.Refuse(req)
	}
	if v.StillAsks {
		s.upgrades.step(d, upgrade.StillAsks{}, now)
	}
	switch v.Action {
	case admission.GoOn:
		s.upgrades.rights.admit(d, s.slot.image())
	case admission.BeginUpgrade:
		s.orders.beginUnasked(d, offer, now)
	case admission.Tell:
		s.tell(d, req, now)
	}
	if v.Answer {
		s.upgrades.rights.answer(req)
	}
}

// tell tells that a device asks for blocks that are not meant for it, now and then.
func (s *strays) tell(d *device, req message.ImageBlockRequest, now time.Time) {
	if !d.askedUnsolicited(now) {
		return
	}
	s.outlet.happened(Event{
		Name:             EventUnsolicitedRequest,
		EUID:             d.EUID(),
		ManufacturerCode: &req.ManufacturerCode,
		ImageType:        &req.ImageType,
		ImageVersion:     &req.FileVersion,
		OldImageVersion:  clientFor(d, req.ImageType).ota.CurrentVersion,
		Offset:           &req.Offset,
	})
}
