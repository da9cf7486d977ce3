package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Image page requests ask for many blocks at once. Firmware from 3.1d on reports them as block requests whose
// fields come from the wrong places: it reads the record of the one as the record of the other. What the host
// sees is the page size as image type, the response spacing as manufacturer code, the image type as block
// request delay, and the two bytes of the manufacturer code as largest size and field control: high byte
// first on v1, low byte first on v2. The device's largest block is lost.

// pageRequest is what can be read back from such a message.
type pageRequest struct {
	size    uint16        // bytes asked for
	spacing time.Duration // between two blocks
}

// pageBlock is the block for a device whose largest is not known: what fits behind several relays, too.
const pageBlock = 48

// pageRequest recognises an image page request of the transfer's device. What tells is that the image type
// stands in the delay's place and the manufacturer code in those of size and field control.
func (tr *transfer) pageRequest(req *message.BlockRequest) (pageRequest, bool) {
	high := uint8(tr.manufacturerCode >> 8)
	low := uint8(tr.manufacturerCode)
	v1 := req.MaxDataSize == high && req.FieldControl == low
	v2 := req.MaxDataSize == low && req.FieldControl == high
	if req.FileVersion != tr.version || req.BlockRequestDelay != tr.imageType || !(v1 || v2) {
		return pageRequest{}, false
	}
	return pageRequest{
		size: req.ImageType, spacing: time.Duration(req.ManufacturerCode) * time.Millisecond,
	}, true
}

// pager sends the blocks of a page, one after the other.
type pager struct {
	tr       *transfer
	target   message.Target
	sequence uint8
	offset   uint32 // of the next block
	end      uint32
	spacing  time.Duration
	asked    uint64 // lastAsked when it began: a new block request ends the page
}

// postPage hands a page request to the owner. Part of the block server: called on the reader goroutine.
func (s *Service) postPage(tr *transfer, req *message.BlockRequest, p pageRequest) {
	pg := pager{
		tr: tr, target: targetOf(req), sequence: req.Sequence, offset: req.Offset, spacing: p.spacing,
		end: min(req.Offset+uint32(p.size), uint32(len(tr.image))), asked: tr.lastAsked.Load(),
	}
	s.inbox.postMessage(func() { s.beginPage(&pg, time.Now()) })
}

func (s *Service) beginPage(pg *pager, now time.Time) {
	tr := pg.tr
	if s.dongle.info.Family == message.FamilyV2 {
		s.dongle.pageAsked = true
	}
	tr.lastRequest.Store(tr.instant(now))
	if d := s.home.at(pg.target.Addr); d != nil && d.paged != tr {
		d.paged = tr
		s.log.Info("a device asks for whole pages; the dongle garbles such requests, and they are put right",
			"euid", d.EUID(),
			"bytes", pg.end-pg.offset, "spacing", pg.spacing)
	}
	if verdict(tr.verdict.Load()) != serve || pg.offset >= uint32(len(tr.image)) {
		// Answered as a block request would be: held, aborted, or out of range.
		req := message.BlockRequest{
			Sequence:         pg.sequence,
			Endpoint:         pg.target.DstEndpoint,
			Addr:             pg.target.Addr,
			Offset:           pg.offset,
			MaxDataSize:      pageBlock,
			FileVersion:      tr.version,
			ImageType:        tr.imageType,
			ManufacturerCode: tr.manufacturerCode,
		}
		var a blockAnswer
		s.blocks.decideTransfer(tr, &req, now, false, &a)
		s.sendAnswer(&a)
		return
	}
	if s.pages == nil {
		s.pages = map[*transfer]*pager{}
	}
	s.pages[tr] = pg // a new page replaces the one before
	s.nextPageBlock(pg)
}

// nextPageBlock sends one block of a page and arranges for the next.
func (s *Service) nextPageBlock(pg *pager) {
	tr := pg.tr
	if s.pages[tr] != pg {
		return
	}
	if pg.offset >= pg.end || tr.lastAsked.Load() != pg.asked || verdict(tr.verdict.Load()) != serve ||
		s.ctx.Err() != nil {
		delete(s.pages, tr)
		return
	}
	asked := uint8(pageBlock)
	if known := tr.lastSize.Load(); known != 0 {
		asked = uint8(known)
	}
	n := min(tr.blockSize(asked, s.policy.BlockSize, pg.offset), pg.end-pg.offset)
	req := message.BlockRequest{
		Sequence:    pg.sequence,
		Endpoint:    pg.target.DstEndpoint,
		Addr:        pg.target.Addr,
		Offset:      pg.offset,
		MaxDataSize: asked,
	}
	if tr.keepLast && pg.offset+n == uint32(len(tr.image)) {
		delete(s.pages, tr)
		s.lastBlock(tr, req, time.Now())
		return
	}
	s.blocks.note(tr, &req, 0, time.Now(), false)
	s.observer.BlockRequest(BlockServed, int(n))
	s.send(tr.block(pg.target, pg.sequence, pg.offset, n), func(message.Status, error) {})
	pg.offset += n
	pg.sequence++
	time.AfterFunc(max(pg.spacing, minimumSpacing), func() { s.inbox.post(func() { s.nextPageBlock(pg) }) })
}

// minimumSpacing keeps a page from filling the dongle's buffers.
const minimumSpacing = 20 * time.Millisecond

// sendAnswer sends what the block server decided through the command queue.
func (s *Service) sendAnswer(a *blockAnswer) {
	if m := a.message(); m != nil {
		s.send(m, func(message.Status, error) {})
	}
}
