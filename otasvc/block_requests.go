package otasvc

import (
	"cmp"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// HandleBlockRequest answers an image block request. Part of zigate.Handler; this is the hot path.
func (s *Service) HandleBlockRequest(req *message.ImageBlockRequest, dst []byte) []byte {
	return s.blocks.Answer(req, s.now(), dst)
}

// HandleBlockStatus takes the dongle's acknowledgement of a block. A block that it did not take is sent again
// when its buffers have fallen, unless the device has asked anew by then. Part of zigate.Handler.
func (s *Service) HandleBlockStatus(st *message.Status) {
	now := time.Now()
	s.sender.NoteStatus(st, now)
	sent, ok := s.blocks.Acknowledged(now)
	if !ok || !st.Busy() {
		return
	}
	s.sender.Resend(func(now time.Time) (message.ImageBlockResponse, bool) {
		return s.blocks.Again(sent, now)
	})
}

// blockOwner is the Service as the block server sees it.
type blockOwner struct{ *Service }

var _ blocks.Owner = blockOwner{}

// Wake makes the owner goroutine look at the transfers.
func (o blockOwner) Wake() { o.inbox.Signal() }

// Post runs f on the owner goroutine, unless the service stops before.
func (o blockOwner) Post(f func()) {
	o.inbox.PostUpTo(inboxLimit, func() {
		if o.ctx.Err() == nil {
			f()
		}
	})
}

// Send sends an answer through the queue of commands.
func (o blockOwner) Send(m message.Message) { o.sender.Send(m, nil) }

// Stray acts on a request that no transfer fits.
func (o blockOwner) Stray(req message.ImageBlockRequest, result blocks.Result) {
	hearing{o.Service}.strayRequest(req, result, o.now())
}

// PageAsked remembers that a dongle of firmware v2 is in the state in which page requests leave it.
func (o blockOwner) PageAsked(p blocks.Page) {
	o.slot.pageAsked()
	if d := o.home.at(p.Addr); d != nil && p.First {
		o.log.Info("a device asks for whole pages; the dongle garbles such requests, and they are put right",
			"euid", d.EUID(), "bytes", p.Bytes, "spacing", p.Spacing)
	}
}

// LastBlock sends a last block after which the installation is to wait.
func (o blockOwner) LastBlock(tr *blocks.Transfer, req message.ImageBlockRequest) {
	o.upgrades.lastBlock(tr, req, time.Now())
}

// tableInputs are the revisions of what the block server's table is made of.
type tableInputs struct{ addresses, strangers, rights uint64 }

// refreshTable puts a new table before the block server where what it is made of has changed.
func (us *upgrades) refreshTable() {
	s := us.s
	inputs := tableInputs{
		addresses: s.home.registry.Addresses(),
		strangers: s.strangers.Revision(),
		rights:    us.rights,
	}
	if inputs == us.inTable {
		return
	}
	us.inTable = inputs
	t := blocks.Table{
		ByAddr: make(map[uint16]*blocks.Transfer, len(us.active)),
		ByNode: make(map[message.IEEE]*blocks.Transfer, len(us.active)),
		Known:  make(map[uint16]struct{}, s.home.registry.Len()),
	}
	for addr, known := range s.home.registry.ByAddr() {
		t.Known[addr] = struct{}{}
		d := s.home.of(known)
		if tr := cmp.Or(d.transfer, d.aborting); tr != nil {
			t.ByAddr[addr] = tr
		}
	}
	for addr := range s.strangers.Refused() {
		t.Known[addr] = struct{}{}
	}
	for _, d := range us.active {
		if d.transfer != nil {
			t.ByNode[d.EUID()] = d.transfer
		}
	}
	s.blocks.SetTable(t)
}
