package otasvc

import (
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/queue"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// device is a device of the registry with what the service does for it. It knows nothing of the dongle and
// sends nothing. What is told of it is changed by its methods, which mark that it has to be told anew.
type device struct {
	*registry.Device
	upgrade *upgrade.Upgrade // nil where there never was one
	// history has the upgrades that have ended, the newest first.
	history []upgrade.Past
	beside  keptBeside
	// queue is what was told of the upgrade's place in the queue.
	queue queue.Told
	// upgradeRevision counts changes of what is told of upgrade and history.
	upgradeRevision uint64

	// learned is what its downloads have shown that it needs.
	learned needs.Learned

	returnedAt time.Time // when it was heard after a long silence, or joined; zero where it was not
	notified   notified
	told       toldEvents
	stray      strayRequest
	ending     ending

	// rights are changed by [blockRights] alone.
	rights struct {
		// transfer is the device's right to blocks of its upgrade's image; nil where it has none.
		transfer *blocks.Transfer
		// aborting meets the requests of a download that was ended with ABORT, until abortUntil.
		aborting   *blocks.Transfer
		abortUntil time.Time
	}
}

// notified is what was sent to a device to have it look for an image.
type notified struct {
	at time.Time // last
	// endpoints are those at which it was asked who it is since the start.
	endpoints []uint8
}

// ending is what a device has asked for at the end of its download.
type ending struct {
	// lastBlock is its request for the last block, where the installation is to wait.
	lastBlock message.ImageBlockRequest
	// endpoint is where its last upgrade end request came from; 0 where none was heard.
	endpoint uint8
}

// toldEvents is when events of a device were told last that come seldom.
type toldEvents struct{ deliveryFailed, unsolicited time.Time }

// keptBeside is what the state file has of a device besides.
type keptBeside struct {
	// Owed are earlier upgrades whose final answer nobody is known to have yet.
	Owed []*upgrade.Upgrade `json:"owed,omitempty"`
	// Before is the upgrade before the one whose image is being fetched: it is what the device has had last
	// where nothing comes of that.
	Before *upgrade.Upgrade `json:"before,omitempty"`
	// unknown is what a newer program has written of the device.
	unknown map[string]json.RawMessage
}

// owe notes that whoever asked for an upgrade has no final answer yet.
func (k *keptBeside) owe(u *upgrade.Upgrade) { k.Owed = append(k.Owed, u) }

// answered notes that whoever asked for an upgrade has its final answer.
func (k *keptBeside) answered(u *upgrade.Upgrade) {
	k.Owed = slices.DeleteFunc(k.Owed, func(o *upgrade.Upgrade) bool { return o == u })
}

// active is the device's upgrade that has not ended, or nil.
func (d *device) active() *upgrade.Upgrade {
	if d.upgrade == nil || d.upgrade.Ended() {
		return nil
	}
	return d.upgrade
}

// client is a device as one of its OTA clients: what images are for, and what an upgrade is judged by.
type client struct {
	device *device
	ota    registry.Client
}

// mainClient is a device as its main OTA client.
func mainClient(d *device) client { return client{d, d.Clients()[0]} }

// clientsOf goes through the OTA clients of devices, the main one of each first.
func clientsOf(devices ...*device) iter.Seq[client] {
	return func(yield func(client) bool) {
		for _, d := range devices {
			for _, ota := range d.Clients() {
				if !yield(client{d, ota}) {
					return
				}
			}
		}
	}
}

// clientFor is a device as the OTA client that an image of a type is for.
func clientFor(d *device, imageType uint16) client {
	ota, _ := d.Client(imageType)
	return client{d, ota}
}

// namedClient is a device as the OTA client that a person names by its image type; the main one where
// imageType is nil. A type that the device has not told is believed: some clients tell it nobody before they
// have an image.
func namedClient(d *device, imageType *uint16) client {
	if imageType == nil {
		return mainClient(d)
	}
	ota, _ := d.Client(*imageType)
	if ota.ImageType != nil && !ota.Takes(*imageType) {
		main := d.Clients()[0]
		ota = registry.Client{
			Endpoint:         main.Endpoint,
			ManufacturerCode: main.ManufacturerCode,
			ImageType:        imageType,
			Mute:             true, // the attributes at that endpoint are the main one's
		}
	}
	return client{d, ota}
}

// clientOf is a device as the OTA client that one of its upgrades is for.
func clientOf(d *device, u *upgrade.Upgrade) client {
	image := u.Image()
	if image.Missing && image.ImageType == 0 {
		return mainClient(d)
	}
	return namedClient(d, &image.ImageType)
}

// upgradedClient is a device as the OTA client that its upgrade is for, which it must have or have had.
func upgradedClient(d *device) client { return clientOf(d, d.upgrade) }

// now is the client as it is known by now.
func (c client) now() client { return namedClient(c.device, c.ota.ImageType) }

// euid is the device's IEEE address.
func (c client) euid() message.IEEE { return c.device.EUID() }

// facts is what is known of the device as this client.
func (c client) facts() registry.Facts { return c.device.Facts().As(c.ota) }

// isMain reports whether it is the device's main client.
func (c client) isMain() bool { return c.ota.Same(&c.device.Clients()[0]) }

// isUpgraded reports whether it is the client that the device's upgrade is for, or was, where it had one.
func (c client) isUpgraded() bool {
	if c.device.upgrade == nil {
		return false
	}
	upgraded := upgradedClient(c.device)
	return c.ota.Same(&upgraded.ota)
}

// fileVersion is the file version of the image that the client runs; nil where that is not known. It is what
// the client tells, unless its last upgrade has shown that it tells another number than the image's file.
func (c client) fileVersion() *uint32 {
	running := c.ota.CurrentVersion
	for _, past := range c.device.history {
		if past.State != upgrade.Succeeded || !c.had(past) {
			continue
		}
		if running != nil && is(past.RunningVersion, *running) {
			return past.ImageVersion
		}
		break
	}
	return running
}

// had reports whether an upgrade of the device that has ended was one of the client. Before devices were
// known to have several, it was the main one's.
func (c client) had(past upgrade.Past) bool {
	if past.Kind == nil {
		return c.isMain()
	}
	return c.ota.ImageType == nil || c.ota.Takes(past.Kind.ImageType)
}

// tried reports whether the client's last upgrade was to an image, and why it did not succeed and when it
// ended, where it has.
func (c client) tried(image upgrade.Image) (tried bool, why upgrade.Reason, endedAt time.Time) {
	if u := c.device.upgrade; u != nil {
		last, own := u.Tried()
		if last != nil && last.Is(image) {
			return true, last.Reason, last.EndedAt
		}
		if c.isUpgraded() && own {
			return false, "", time.Time{}
		}
	}
	for _, past := range c.device.history {
		if c.had(past) && past.WasTried() {
			last := past.Tried()
			return last.Is(image), last.Reason, last.EndedAt
		}
	}
	return false, upgrade.NoReason, time.Time{}
}

// wasRefusedFor reports whether the client's last upgrade was refused for a reason and an image. Those of
// other clients of the device may have come in between.
func (c client) wasRefusedFor(reason upgrade.Reason, image upgrade.Image) bool {
	for _, past := range c.device.history {
		if c.had(past) {
			return past.WasRefusedFor(reason, image)
		}
	}
	return false
}

// target is where a command to the client goes; the device's network address must be known.
func (c client) target() message.Target {
	to, _ := c.device.Target()
	to.DstEndpoint = max(c.ota.Endpoint, 1) // most have it there
	return to
}

// target is where a command to the device goes: to the OTA client of its upgrade, else to the main one. Its
// network address must be known.
func (d *device) target() message.Target {
	return toClientOf(d).target()
}

// kind is what the client takes its images as, nil while it has not told that.
func (c client) kind() *upgrade.Kind {
	if c.ota.ManufacturerCode == nil || c.ota.ImageType == nil {
		return nil
	}
	return &upgrade.Kind{ManufacturerCode: *c.ota.ManufacturerCode, ImageType: *c.ota.ImageType}
}

// kindOf is what a device takes the image of its upgrade as.
func kindOf(d *device) *upgrade.Kind {
	image := d.upgrade.Image()
	return &upgrade.Kind{ManufacturerCode: image.ManufacturerCode, ImageType: image.ImageType}
}

// changed has the device's record told anew.
func (d *device) changed() { d.upgradeRevision++ }

// owes reports whether the final answer for a ticket, which is not empty, is owed for an earlier upgrade.
func (k *keptBeside) owes(ticket upgrade.Ticket) bool {
	return slices.ContainsFunc(k.Owed, func(u *upgrade.Upgrade) bool {
		return hasTicket(u.Tickets(), ticket)
	})
}

// begin gives the device an upgrade.
func (d *device) begin(u *upgrade.Upgrade) {
	if d.upgrade != nil && len(d.upgrade.Tickets()) > 0 {
		d.beside.owe(d.upgrade)
	}
	d.upgrade = u
	d.changed()
}

// followQueue has the device's place told anew where a forecast says something that is worth it.
func (d *device) followQueue(forecast slot.Place, now time.Time) {
	told, changed := d.queue.Follow(forecast, now)
	if changed {
		d.queue = told
		d.changed()
	}
}

// leaveQueue notes that the device's upgrade has no place in the queue.
func (d *device) leaveQueue() {
	if d.queue.Place() != nil {
		d.queue = queue.Told{}
		d.changed()
	}
}

// historyLength is how many ended upgrades of a device are kept.
const historyLength = 10

// remember puts the device's upgrade, which has ended, into its history, the newest first.
func (d *device) remember() {
	d.history = slices.Insert(d.history, 0, d.upgrade.Past())
	d.history = d.history[:min(len(d.history), historyLength)]
	d.changed()
}

// deliveryEventInterval is how often the same device's failed deliveries are told as an event.
const deliveryEventInterval = time.Minute

// deliveryFailed notes that a frame did not reach the device, and reports whether an event is to tell of it.
func (d *device) deliveryFailed(now time.Time) (tell bool) {
	if now.Sub(d.told.deliveryFailed) < deliveryEventInterval {
		return false
	}
	d.told.deliveryFailed = now
	return true
}

// unsolicitedInterval is how often the same device's requests for blocks without an upgrade are told as an
// event.
const unsolicitedInterval = time.Minute

// askedUnsolicited notes that the device asked for a block without an upgrade, and reports whether an event
// is to tell of it.
func (d *device) askedUnsolicited(now time.Time) (tell bool) {
	if now.Sub(d.told.unsolicited) < unsolicitedInterval {
		return false
	}
	d.told.unsolicited = now
	return true
}

// askedLastBlock notes the device's request for its last block, which is answered when the slot is empty.
func (d *device) askedLastBlock(req message.ImageBlockRequest) { d.ending.lastBlock = req }

// endedFrom notes the endpoint that sent the device's upgrade end request; the answer goes there.
func (d *device) endedFrom(endpoint uint8) { d.ending.endpoint = endpoint }

// endTarget is where the answer to the device's upgrade end request goes: the endpoint that sent it, where
// one was heard.
func (d *device) endTarget() message.Target {
	to := d.target()
	if d.ending.endpoint != 0 {
		to.DstEndpoint = d.ending.endpoint
	}
	return to
}

// home is the devices of the home. The registry knows who they are; here each has its upgrade beside it. It
// knows who is there and decides nothing.
type home struct {
	registry *registry.Devices
	devices  map[message.IEEE]*device
	active   map[message.IEEE]*device // those whose upgrade has not ended

	usual *upgrade.UsualRates // of downloads that have ended

	// upgradesRevision counts changes of what the state file has of upgrades and histories.
	upgradesRevision uint64
}

// newHome returns a home without devices.
func newHome() *home {
	return &home{
		registry: registry.NewDevices(),
		devices:  map[message.IEEE]*device{},
		active:   map[message.IEEE]*device{},
		usual:    upgrade.NewUsualRates(),
	}
}

// of is the device that the registry knows as d; nil for nil.
func (h *home) of(d *registry.Device) *device {
	if d == nil {
		return nil
	}
	return h.devices[d.EUID()]
}

// get is the device with an EUID, or nil.
func (h *home) get(euid message.IEEE) *device { return h.devices[euid] }

// at is the device with a network address, or nil.
func (h *home) at(addr uint16) *device { return h.of(h.registry.At(addr)) }

// find is the device that a request names, or nil.
func (h *home) find(ref registry.Ref) *device { return h.of(h.registry.Find(ref)) }

// knows reports whether a device has not been forgotten.
func (h *home) knows(d *device) bool { return h.devices[d.EUID()] == d }

// meet is the device with an EUID, which becomes known where it is new.
func (h *home) meet(euid message.IEEE) (d *device, isNew bool) {
	known, isNew := h.registry.Meet(euid)
	if isNew {
		h.devices[euid] = &device{Device: known}
	}
	return h.devices[euid], isNew
}

// restore takes in a device of an earlier life of the service.
func (h *home) restore(kept keptDevice, now time.Time) *device {
	d := &device{
		Device:  h.registry.Restore(kept.Facts, now),
		upgrade: kept.Upgrade,
		history: kept.History,
		beside:  kept.keptBeside,
	}
	h.devices[d.EUID()] = d
	h.usual.NoteAll(d.EUID(), mainClient(d).kind(), d.history)
	if d.active() != nil {
		h.active[d.EUID()] = d
	}
	return d
}

// forget drops a device.
func (h *home) forget(d *device) {
	h.registry.Forget(d.Device)
	delete(h.devices, d.EUID())
	h.usual.Forget(d.EUID())
}

// begin gives a device an upgrade.
func (h *home) begin(d *device, u *upgrade.Upgrade) {
	d.begin(u)
	h.active[d.EUID()] = d
	h.upgradesRevision++
}

// beginFetching gives a device an upgrade whose image is being fetched. Nothing may come of it.
func (h *home) beginFetching(d *device, u *upgrade.Upgrade) {
	d.beside.Before = d.upgrade
	h.begin(d, u)
}

// fetched notes that the image of a device's upgrade is there: from now on it has this upgrade in any case.
func (h *home) fetched(d *device) {
	d.beside.Before = nil
	h.upgradesRevision++
}

// takeBack takes a device's upgrade, which is over, away again: the device has the one before.
func (h *home) takeBack(d *device) {
	u := d.upgrade
	d.upgrade = d.beside.Before
	d.beside.Before = nil
	d.beside.answered(d.upgrade) // it is not an earlier one any more
	if len(u.Tickets()) > 0 {
		d.beside.owe(u)
	}
	d.changed()
	delete(h.active, d.EUID())
	h.upgradesRevision++
}

// ended notes that a device's upgrade has ended.
func (h *home) ended(d *device) {
	d.leaveQueue()
	d.beside.Before = nil
	delete(h.active, d.EUID())
	d.remember()
	h.usual.Note(d.EUID(), nil, d.history[0])
	h.upgradesRevision++
}

// upgradeChanged notes that what is kept of a device's upgrade is different now, which [upgrade.Save] says.
func (h *home) upgradeChanged() { h.upgradesRevision++ }

// uses reports whether an upgrade that has not ended uses an image.
func (h *home) uses(sha256 string) bool {
	for _, d := range h.active {
		if d.upgrade.Image().SHA256 == sha256 {
			return true
		}
	}
	return false
}

// firmware is what a device runs, as devices tell it.
type firmware struct {
	upgrade.Kind
	version uint32 // the file version of the image
}

// firmwareOf is what a device runs once it has an upgrade's image.
func firmwareOf(u *upgrade.Upgrade) firmware { return firmwareIn(u.Image()) }

// firmwareIn is what a device runs once it has an image.
func firmwareIn(image upgrade.Image) firmware {
	kind := upgrade.Kind{ManufacturerCode: image.ManufacturerCode, ImageType: image.ImageType}
	return firmware{Kind: kind, version: image.ImageVersion}
}

// running is everything that devices here are known to run.
func (h *home) running() map[firmware]bool {
	run := make(map[firmware]bool, len(h.devices))
	for c := range clientsOf(slices.Collect(maps.Values(h.devices))...) {
		kind := c.kind()
		version := c.fileVersion()
		if kind != nil && version != nil {
			run[firmware{Kind: *kind, version: *version}] = true
		}
	}
	return run
}

// sorted lists the devices by EUID.
func (h *home) sorted() []*device { return sorted(h.devices) }

// upgrading lists the devices whose upgrade has not ended, by EUID.
func (h *home) upgrading() []*device { return sorted(h.active) }

// sorted lists devices by EUID.
func sorted(devices map[message.IEEE]*device) []*device {
	return slices.SortedFunc(maps.Values(devices), func(a, b *device) int {
		return cmp.Compare(a.EUID(), b.EUID())
	})
}
