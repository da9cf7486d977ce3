package otasvc

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// blockRights is who may have blocks: it gives devices their transfers and takes them away, and keeps the
// block server's table up to date. It knows neither why a device may have blocks nor how an upgrade goes on.
// It belongs to the owner goroutine.
type blockRights struct {
	home      *home
	strangers *registry.Strangers
	slot      *headerSlot
	server    *blocks.Server
	needs     *deviceNeeds
	log       *slog.Logger
	// servesUnasked: a device without an upgrade may be given one because it asks for blocks.
	servesUnasked bool

	// awayUntil is until when devices are told to wait because the service stops; zero while it does not.
	awayUntil time.Time

	revision uint64      // counts changes of who may have blocks
	inTable  tableInputs // of the block server's table as it is
}

// tableInputs are the revisions of what the block server's table is made of.
type tableInputs struct{ addresses, strangers, rights, upgrades uint64 }

// set changes what a device may have.
func (r *blockRights) set(d *device, transfer, aborting *blocks.Transfer) {
	d.rights.transfer = transfer
	d.rights.aborting = aborting
	r.revision++
}

// abortMemory is for how long the requests of a download that was ended are met with ABORT, and abortSlot how
// long the slot is kept for it.
const (
	abortMemory = 10 * time.Minute
	abortSlot   = 10 * time.Second
)

// admit makes the transfer that the block server works on, for the image of a device's upgrade.
func (r *blockRights) admit(d *device, im *cachedImage) {
	u := d.upgrade
	image := u.Image()
	tr := blocks.NewTransfer(blocks.Image{
		Bytes:            im.data,
		ManufacturerCode: image.ManufacturerCode,
		ImageType:        image.ImageType,
		FileVersion:      u.OfferedVersion(),
	})
	if u.KeepsLastBlock() {
		tr.KeepLast()
	}
	r.set(d, tr, nil)
	r.limit(d)
	r.judge(d)
}

// withdraw takes a device's right to blocks away. One that stands in the queue again may still ask for them,
// and goes on then: the slot is kept for it for a while.
func (r *blockRights) withdraw(d *device, now time.Time) {
	if d.rights.transfer == nil {
		return
	}
	if mayGoOn(d) {
		r.slot.keep(now.Add(asksFor))
	}
	r.server.EndPage(d.rights.transfer)
	r.noteLast(d, now)
	if p := d.rights.transfer.Progress(now); p.InVain {
		d.learned = needs.Learned{LargestBlock: p.Tried} // the next attempt goes on with it
	}
	r.set(d, nil, d.rights.aborting)
}

// mayGoOn reports whether a device stands in the queue with its upgrade and waits for no other device. Should
// it ask for blocks, it may be going on with what it had begun: it must not be refused before that was looked
// into.
func mayGoOn(d *device) bool {
	u := d.active()
	return u != nil && u.Stage() == upgrade.StageQueued && u.Canary() == 0
}

// midImage is from which offset on a device is in the middle of an image, in bytes. Who begins looks at the
// header first.
const midImage = 1024

// asksInMidImage reports whether a request of a device, for which mayGoOn, goes on with a download of its
// image, which is offered under a file version. One that was not offered the image, and begins because the
// dongle offers it to everybody, waits for its turn.
func asksInMidImage(d *device, req message.ImageBlockRequest, version uint32) bool {
	image := d.upgrade.Image()
	return req.ManufacturerCode == image.ManufacturerCode && req.ImageType == image.ImageType &&
		req.FileVersion == version && (d.upgrade.Attempt() > 1 || req.Offset >= midImage)
}

// asksFor is how long a device that has asked for a block is taken to be about to ask for the next one. A
// request that was lost is repeated after 3 to 11 s.
const asksFor = 20 * time.Second

// strayRequest is when a device last asked for a block to which it had no right, or no more.
type strayRequest struct{ at time.Time }

// note notes a request.
func (s *strayRequest) note(at time.Time) {
	if at.After(s.at) {
		s.at = at
	}
}

// forget notes that the device has said that its download is over.
func (s *strayRequest) forget() { s.at = time.Time{} }

// asksForBlocks reports whether a device has asked for a block lately, so that nothing must be offered to it.
func asksForBlocks(d *device, now time.Time) bool {
	last := d.stray.at
	if tr := d.rights.transfer; tr != nil {
		if p := tr.Progress(now); p.Requests > 0 && p.Last.After(last) {
			last = p.Last
		}
	}
	return !last.IsZero() && now.Sub(last) < asksFor
}

// noteLast notes when a device, which is about to lose its transfer, has last asked for a block.
func (r *blockRights) noteLast(d *device, now time.Time) {
	if p := d.rights.transfer.Progress(now); p.Requests > 0 {
		d.stray.note(p.Last)
	}
}

// answer answers a request that got no answer when it came, because its device has got its right to blocks
// only since then.
func (r *blockRights) answer(req message.ImageBlockRequest) {
	r.refreshTable()
	r.server.AnswerLate(req)
}

// abort has the requests of a download that was ended met with ABORT for a while.
func (r *blockRights) abort(d *device, now time.Time) {
	tr := d.rights.transfer
	if tr == nil {
		return
	}
	tr.Abort()
	r.noteLast(d, now)
	r.set(d, tr, tr)
	d.rights.abortUntil = now.Add(abortMemory)
	r.slot.keep(now.Add(abortSlot))
}

// expire forgets downloads that were ended a while ago.
func (r *blockRights) expire(now time.Time) {
	for _, d := range r.home.devices {
		if d.rights.aborting != nil && now.After(d.rights.abortUntil) {
			r.set(d, d.rights.transfer, nil)
		}
	}
}

// judge tells the block server whether a device gets blocks or is to wait. One that is just being told to
// wait for another image is left to that.
func (r *blockRights) judge(d *device) {
	tr := d.rights.transfer
	if tr == nil || r.slot.state.TellsToWait(d.EUID()) {
		return
	}
	v := d.upgrade.Verdict()
	switch {
	case !r.awayUntil.IsZero() && (v.Kind != upgrade.PutThemOff || v.Until.Before(r.awayUntil)):
		tr.PutOff(r.awayUntil)
	case v.Kind == upgrade.PutThemOff:
		tr.PutOff(v.Until)
	case v.Kind == upgrade.HoldThem:
		tr.Hold(v.Until)
	default:
		tr.Serve()
	}
}

// goAway has every device told, with its next request, to wait until a time: the service stops, and a device
// that is not answered for long gives up. One that was told to wait for longer, or is just being told so, is
// left to that.
func (r *blockRights) goAway(until time.Time) {
	r.awayUntil = until
	for _, d := range r.home.active {
		r.judge(d)
	}
}

// anyAsks reports whether a device will ask for a block before a time, as far as it can be known: it has
// asked lately, and does not wait.
func (r *blockRights) anyAsks(before, now time.Time) bool {
	for _, d := range r.home.active {
		tr := d.rights.transfer
		if tr == nil || !asksForBlocks(d, now) {
			continue
		}
		if p := tr.Progress(now); p.Requests > 0 && p.WaitsUntil.Before(before) {
			return true
		}
	}
	return false
}

// putOff has the block server tell a device to wait until a time with its next request, where it has a
// transfer.
func (r *blockRights) putOff(d *device, until time.Time) {
	if tr := d.rights.transfer; tr != nil {
		tr.PutOff(until)
	}
}

// putOffTold reports whether a device has been told to wait for another image.
func putOffTold(d *device) bool { return d.rights.transfer != nil && d.rights.transfer.PutOffTold() }

// limit has the blocks for a device keep to what it needs.
func (r *blockRights) limit(d *device) {
	tr := d.rights.transfer
	if tr == nil {
		return
	}
	l := r.needs.of(d)
	tr.Limit(blocks.Limits{Largest: l.LargestBlock, Least: l.LeastBlock, Interval: l.BlockInterval})
}

// shrinkBlocks makes a device's blocks smaller, as a frame for it did not fit its route: it asks for the
// block again and gets a smaller one.
func (r *blockRights) shrinkBlocks(d *device, now time.Time) {
	tr := d.rights.transfer
	if tr == nil {
		return
	}
	largest := r.needs.of(d).LargestBlock
	if last := tr.Progress(now).LastBlock; last != 0 {
		largest = min(largest, last) // it was that one that did not fit
	}
	if learned, smaller := d.learned.Shrunk(largest); smaller {
		d.learned = learned
		r.limit(d)
		r.log.Info("blocks for a device are made smaller to fit its route", "euid", d.EUID(),
			"bytes", learned.LargestBlock)
	}
}

// learnBlocks keeps which blocks get through to a device, where larger ones were seen not to.
func (r *blockRights) learnBlocks(d *device, p blocks.Progress) {
	if learned := d.learned.GotThrough(p.GetsThrough); learned != d.learned {
		d.learned = learned
		r.log.Info("a device asked for the same block again and again, until it got a smaller one",
			"euid", d.EUID(), "bytes", p.GetsThrough, "offset", p.Position)
	}
}

// refreshTable puts a new table before the block server where what it is made of has changed.
func (r *blockRights) refreshTable() {
	inputs := tableInputs{
		addresses: r.home.registry.Addresses(),
		strangers: r.strangers.Revision(),
		rights:    r.revision,
		upgrades:  r.home.upgradesRevision,
	}
	if inputs == r.inTable {
		return
	}
	r.inTable = inputs
	t := blocks.Table{
		ByAddr: make(map[uint16]*blocks.Transfer, len(r.home.active)),
		ByNode: make(map[message.IEEE]*blocks.Transfer, len(r.home.active)),
		Known:  make(map[uint16]struct{}, r.home.registry.Len()),
	}
	for addr, known := range r.home.registry.ByAddr() {
		d := r.home.of(known)
		tr := cmp.Or(d.rights.transfer, d.rights.aborting)
		if tr != nil {
			t.ByAddr[addr] = tr
		}
		if tr != nil || !mayGoOn(d) && !(r.servesUnasked && d.active() == nil) {
			t.Known[addr] = struct{}{}
		}
	}
	for addr := range r.strangers.Refused() {
		t.Known[addr] = struct{}{}
	}
	for _, d := range r.home.active {
		if d.rights.transfer != nil {
			t.ByNode[d.EUID()] = d.rights.transfer
		}
	}
	r.server.SetTable(t)
}

// deviceNeeds says what devices need of their downloads. It decides nothing: package needs does.
type deviceNeeds struct {
	all    needs.Defaults
	memory *imageMemory
}

// newNeeds returns the needs of devices under a policy for all.
func newNeeds(p *Policy, memory *imageMemory) *deviceNeeds {
	return &deviceNeeds{
		all: needs.Defaults{
			BlockSize:      p.BlockSize,
			BlockInterval:  p.BlockInterval,
			StallTimeout:   p.StallTimeout,
			NotifyAttempts: p.NotifyAttempts,
		},
		memory: memory,
	}
}

// of is what a device needs now: for the image of its upgrade, where it has one.
func (n *deviceNeeds) of(d *device) needs.Limits { return n.with(d, d.Settings()) }

// with is what a device would need if a person had set this for it.
func (n *deviceNeeds) with(d *device, set needs.Settings) needs.Limits {
	f := d.Facts()
	kind := needs.Kind{ManufacturerCode: f.ManufacturerCode}
	if u := d.active(); u != nil && !u.Image().Missing {
		image := u.Image()
		kind.ManufacturerCode = &image.ManufacturerCode
		if im := n.memory.get(image.SHA256); im != nil {
			kind.Chip = im.chip
		}
	}
	return needs.Of(set, d.learned, kind, n.all)
}
