package blocks

import (
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Image page requests ask for many blocks at once. Firmware from 3.1d on reports them as block requests whose
// fields come from the wrong places: it reads the record of the one as the record of the other. What the host
// sees is the page size as image type, the response spacing as manufacturer code, the image type as block
// request delay, and the two bytes of the manufacturer code as largest size and field control: high byte
// first on v1, low byte first on v2. The device's largest block is lost.

// pageBlock is the block for a device whose largest is not known, in bytes. It fits behind several relays,
// too.
const pageBlock = 48

// minimumSpacing keeps a page from filling the dongle's buffers.
const minimumSpacing = 20 * time.Millisecond

// Page is an image page request as it was read back.
type Page struct {
	Addr    uint16        // network address of the device
	Bytes   uint32        // that were asked for and are there
	Spacing time.Duration // that the device wants between two blocks
	First   bool          // the first page of this transfer
}

// pageFields is what can be read back from a garbled request.
type pageFields struct {
	size    uint16 // bytes asked for
	spacing time.Duration
}

// pageRequest recognises an image page request of the transfer's device. What tells is that the image type
// stands in the delay's place and the manufacturer code in those of size and field control.
func (tr *Transfer) pageRequest(req *message.ImageBlockRequest) (pageFields, bool) {
	high := uint8(tr.image.ManufacturerCode >> 8)
	low := uint8(tr.image.ManufacturerCode)
	v1 := req.MaxDataSize == high && req.FieldControl == low
	v2 := req.MaxDataSize == low && req.FieldControl == high
	if req.FileVersion != tr.image.FileVersion || req.BlockRequestDelay != tr.image.ImageType || !(v1 || v2) {
		return pageFields{}, false
	}
	return pageFields{
		size: req.ImageType, spacing: time.Duration(req.ManufacturerCode) * time.Millisecond,
	}, true
}

// page is one whose blocks are being sent, one after the other. The owner's goroutine sends them.
type page struct {
	tr       *Transfer
	target   message.Target
	sequence uint8
	offset   uint32 // of the next block
	end      uint32
	spacing  time.Duration
	asked    uint64 // lastAsked when it began: a new block request ends the page
}

// askPage has the owner's goroutine send a page.
func (s *Server) askPage(tr *Transfer, req *message.ImageBlockRequest, asked pageFields) {
	p := &page{
		tr:       tr,
		target:   targetOf(req),
		sequence: req.Sequence,
		offset:   req.Offset,
		end:      min(req.Offset+uint32(asked.size), tr.size()),
		spacing:  asked.spacing,
		asked:    tr.last.key.Load(),
	}
	s.owner.Post(func() { s.beginPage(p, time.Now()) })
}

func (s *Server) beginPage(p *page, now time.Time) {
	tr := p.tr
	tr.last.at.Store(tr.instant(now))
	first := !tr.paged
	tr.paged = true
	s.owner.PageAsked(Page{Addr: p.target.Addr, Bytes: p.end - p.offset, Spacing: p.spacing, First: first})
	if !tr.serves() || p.offset >= tr.size() {
		// It is answered as a block request would be: held, aborted, or out of range.
		req := p.request(pageBlock)
		var a answer
		s.decideTransfer(tr, &req, now, byOwner, &a)
		s.send(&a)
		return
	}
	s.pages[tr] = p // a new page replaces the one before
	s.nextPageBlock(p)
}

// request is what the device would ask for the next block with.
func (p *page) request(maxDataSize uint8) message.ImageBlockRequest {
	return message.ImageBlockRequest{
		Sequence:         p.sequence,
		Endpoint:         p.target.DstEndpoint,
		Addr:             p.target.Addr,
		Offset:           p.offset,
		MaxDataSize:      maxDataSize,
		FileVersion:      p.tr.image.FileVersion,
		ImageType:        p.tr.image.ImageType,
		ManufacturerCode: p.tr.image.ManufacturerCode,
	}
}

// nextPageBlock sends one block of a page and arranges for the next.
func (s *Server) nextPageBlock(p *page) {
	tr := p.tr
	if s.pages[tr] != p {
		return // another page has taken its place, or it was ended
	}
	if p.offset >= p.end || tr.last.key.Load() != p.asked || !tr.serves() {
		delete(s.pages, tr)
		return
	}
	asked := uint8(pageBlock)
	if known := tr.last.size.Load(); known != 0 {
		asked = uint8(known)
	}
	req := p.request(asked)
	n := min(tr.blockSize(asked, p.offset, s.limitsOf(tr)), p.end-p.offset)
	if tr.keepLast.Load() && p.offset+n == tr.size() {
		delete(s.pages, tr)
		s.owner.LastBlock(tr, req)
		return
	}
	s.note(tr, &req, 0, time.Now(), byOwner)
	s.observer.BlockRequest(Served, int(n))
	s.owner.Send(tr.block(p.target, p.sequence, p.offset, n))
	p.offset += n
	p.sequence++
	s.after(max(p.spacing, minimumSpacing), func() { s.nextPageBlock(p) })
}

// EndPage ends the page that a transfer's device is being sent, where there is one: the device has lost its
// right to blocks. The owner calls it.
func (s *Server) EndPage(tr *Transfer) { delete(s.pages, tr) }
