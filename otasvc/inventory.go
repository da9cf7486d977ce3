package otasvc

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// inventory has devices say who they are, in the only language that all OTA clients answer: upon an Image
// Notify a device looks for an image, and names manufacturer code, image type, file version and hardware
// version. The dongle, whose slot is empty, answers that there is none. It carries out what
// [registry.Inventory] decides. It knows no interview and no upgrade. It belongs to the owner goroutine.
type inventory struct {
	owner      *owner
	home       *home
	dongle     *dongle
	watch      *watch
	slot       *headerSlot
	interviews *registry.Schedule
	sender     *sending.Sender
	log        *slog.Logger

	list registry.Inventory
	// awaited has the devices for whose word somebody waits, by EUID.
	awaited map[message.IEEE]*awaitedWord
	sending bool      // a notification is on its way to the dongle
	lookAt  time.Time // when to look next who is to be asked
	// viewUntil is until when the dongle is to show what devices ask for.
	viewUntil time.Time
	blocked   bool // somebody downloads or is about to, or nobody can be asked with the dongle as it is
	// needsSlot says that the header slot is needed empty, also where it holds an image.
	needsSlot bool
	claimAt   time.Time // when to look next whether it is
}

// awaitedWord is a device that is to say who it is, for those who wait for that.
type awaitedWord struct {
	tries   int // that are left
	waiters []waiter
}

// waiter is somebody who waits for a device's word.
type waiter struct {
	// until is how long at most: there may be no room among all notifications, others may download, and the
	// dongle may not be ready.
	until time.Time
	// enough reports whether what the device has said by now will do where it cannot be asked. Where it will
	// not, the time for which that is so does not count.
	enough func() bool
	done   func()
}

const (
	// wordTries is how often a device is asked for whose word somebody waits, and wordLimit how long they
	// wait at most.
	wordTries = 3
	wordLimit = time.Minute
	// inventoryLook is how often it is looked who is to be asked, when nothing happens.
	inventoryLook = 10 * time.Second
	// viewFor is how long the dongle is to show queries after somebody was to be asked: each change of its
	// raw mode is written to its flash memory, and those who do not answer at once are asked again soon.
	viewFor = 90 * time.Second
	// interviewsFirst is how long those who wait for their first interview go before an inventory that nobody
	// waits for: in hybrid mode each answer comes twice, which a slow line does not bear.
	interviewsFirst = 20 * time.Second
	// claimLook is how often it is looked whether the header slot is needed that holds an image.
	claimLook = 500 * time.Millisecond
	// queryArrives is how long the header slot stays empty for a query that was just asked for. With a header
	// loaded the device would be offered an image, and have to be refused.
	queryArrives = 1500 * time.Millisecond
	// byItselfAfter is how long after a notification a query counts as one that nobody has asked for.
	byItselfAfter = 2 * time.Minute
)

// The ZCL statuses with which a device answers an Image Notify while it is busy with something else: most say
// failure, some success.
const (
	zclSuccess uint8 = 0x00
	zclFailure uint8 = 0x01
)

// await has a device asked who it is, unless it has just said that; done is called when it has said so, or
// was asked in vain, or cannot be asked now and enough says that what it has said by now will do.
func (v *inventory) await(d *device, enough func() bool, done func()) {
	now := v.owner.now()
	if now.Sub(d.Facts().QueriedAt) < queryArrives || !v.answers(d) || v.blocked && enough() {
		done()
		return
	}
	a := v.awaited[d.EUID()]
	if a == nil {
		a = &awaitedWord{tries: wordTries}
		v.awaited[d.EUID()] = a
	}
	a.waiters = append(a.waiters, waiter{until: now.Add(wordLimit), enough: enough, done: done})
	v.look()
}

// anything says that whatever a device has said by now will do.
func anything() bool { return true }

// complete has a device asked who it is, one OTA client of which has not said all by which it is judged
// whether an image fits it; then is called when it has said so, or was asked in vain, or cannot be asked now,
// and at once where nothing is missing.
func (v *inventory) complete(c client, then func()) {
	if !lacks(c) {
		then()
		return
	}
	v.await(c.device, anything, then)
}

// lacks reports whether an OTA client has not said all by which it is judged whether an image fits it.
func lacks(c client) bool {
	f := c.facts()
	hardware := f.HardwareVersion != nil || f.NoHardwareVersion
	return f.ManufacturerCode == nil || f.ImageType == nil || f.CurrentVersion == nil || !hardware
}

// canAsk reports whether a device can be asked now, as far as can be known: it answers, and nobody downloads.
func (v *inventory) canAsk(d *device) bool { return !v.blocked && v.answers(d) }

// canAskLater reports whether a device cannot be asked now, and would answer if it was.
func (v *inventory) canAskLater(d *device) bool { return v.blocked && v.answers(d) }

// answers reports whether a device would answer if it was asked, as far as can be known: it is in reach, does
// not download itself, and is not known to have no OTA client.
func (v *inventory) answers(d *device) bool {
	a := v.acquaintance(d, v.owner.now())
	possible := !v.owner.stopping() && v.home.knows(d)
	return possible && a.Reachable && !a.Occupied && a.Client != registry.ClientNone
}

// unsaid says in a sentence that a device has not said what its OTA client is, and what helps; empty where it
// has, or has none.
func (v *inventory) unsaid(c client) string {
	f := c.facts()
	none := v.acquaintance(c.device, v.owner.now()).Client == registry.ClientNone
	switch {
	case f.ManufacturerCode != nil && f.ImageType != nil, none:
		return ""
	case v.blocked:
		return c.device.Name() + " " + notSaid + ", and cannot be asked while others download or the " +
			"dongle is not ready; ask again later"
	default:
		return c.device.Name() + " " + notSaid + "; wake it or see that it is in reach, and ask again"
	}
}

// look has it looked again soon who is to be asked.
func (v *inventory) look() { v.lookAt = time.Time{} }

// heard takes a sign of life of a device, which is awake now.
func (v *inventory) heard(d *device) {
	if d.Sleepy() {
		v.look()
	}
}

// said notes that a device has looked for an image.
func (v *inventory) said(d *device, now time.Time) {
	byItself := d.active() == nil && now.Sub(d.notified.at) > byItselfAfter && !v.dongle.watchOnly
	d.SetQueried(byItself, now)
	v.list.Said(d.EUID())
	v.end(d.EUID())
}

// refused notes that a device has answered a notification with a ZCL status instead of a query. A success
// says nothing: some are busy, and from others the query comes besides.
func (v *inventory) refused(d *device, status uint8, now time.Time) {
	switch status {
	case zclSuccess:
		return
	case zclFailure:
		v.list.Busy(d.EUID(), now)
	default:
		v.list.Refused(d.EUID(), now)
	}
	v.end(d.EUID())
}

// run asks the device that is to be asked now. quiet says that nobody downloads, and nobody is about to.
func (v *inventory) run(quiet bool, now time.Time) {
	v.blocked = !quiet || v.hindered()
	v.endWaiting(now)
	v.needsSlot = !v.blocked && len(v.home.active) > 0 && v.claimsSlot(now)
	if v.blocked || !v.slot.state.IsCleared() {
		v.viewUntil = time.Time{}
		v.look()
		return
	}
	if v.sending || now.Before(v.lookAt) || len(v.awaited) == 0 && v.interviewsFirst(now) {
		return
	}
	pick, at := v.list.Next(v.acquaintances(now), now)
	v.lookAt = now.Add(inventoryLook)
	if !at.IsZero() && at.Before(v.lookAt) {
		v.lookAt = at
	}
	if pick == 0 {
		return
	}
	v.viewUntil = now.Add(viewFor)
	if !v.watch.shows() {
		v.look() // as soon as it does
		return
	}
	v.ask(v.home.get(pick))
}

// hindered reports whether nobody can be asked with the dongle as it is. One whose flash memory is in trouble
// is not to write its raw mode there.
func (v *inventory) hindered() bool {
	return !v.dongle.downloads() || !v.dongle.info.NetworkUp || v.dongle.badFlash ||
		v.slot.state.Refusals() > 0 || v.owner.stopping()
}

// claimsSlot reports whether the header slot is needed empty for a moment, although it may hold an image for
// devices that do not answer, which may be so for weeks: somebody waits for a device's word, or one is to be
// asked that has said nothing yet.
func (v *inventory) claimsSlot(now time.Time) bool {
	if len(v.awaited) > 0 || v.expects(now) {
		return true
	}
	if now.Before(v.claimAt) {
		return v.needsSlot
	}
	v.claimAt = now.Add(claimLook)
	known := func(a registry.Acquaintance) bool { return !a.SaidAt.IsZero() || v.list.InVain(a.EUID) > 0 }
	pick, _ := v.list.Next(slices.DeleteFunc(v.acquaintances(now), known), now)
	return pick != 0
}

// interviewsFirst reports whether nobody is asked for whose word nobody waits, because devices have their
// first interviews.
func (v *inventory) interviewsFirst(now time.Time) bool {
	return now.Sub(v.dongle.connectedAt) < interviewsFirst && v.interviews.FirstRound()
}

// acquaintances are those of whom it is to be decided whether they are asked.
func (v *inventory) acquaintances(now time.Time) []registry.Acquaintance {
	waits := v.interviewsFirst(now)
	all := make([]registry.Acquaintance, 0, len(v.home.devices))
	for _, d := range v.home.devices {
		if a := v.acquaintance(d, now); a.Awaited || !waits {
			all = append(all, a)
		}
	}
	return all
}

// acquaintance is what is to be known of a device for that.
func (v *inventory) acquaintance(d *device, now time.Time) registry.Acquaintance {
	u := d.active()
	busy := u != nil && !u.Stage().MayBeNotified()
	word := v.awaited[d.EUID()]
	awaited := word != nil && word.tries > 0
	f := d.Facts()
	if len(unasked(d)) > 0 {
		f.QueriedAt = time.Time{}
	}
	return f.Acquaintance(v.interviews.Tried(d.EUID()), busy || asksForBlocks(d, now), awaited)
}

// ask notifies a device, with the payload type and the jitter that all OTA clients understand.
func (v *inventory) ask(d *device) {
	if word := v.awaited[d.EUID()]; word != nil {
		word.tries--
	}
	v.sending = true
	session := v.dongle.session
	wanted := func() bool {
		return v.dongle.session == session && v.slot.state.IsCleared() && !asksForBlocks(d, v.owner.now())
	}
	to := d.target()
	to.DstEndpoint = endpointToAsk(d)
	v.sender.SendWhile(wanted, message.ImageNotify{
		Target:           to,
		PayloadType:      message.NotifyJitter,
		FileVersion:      wildcard32,
		ImageType:        wildcard16,
		ManufacturerCode: wildcard16,
		QueryJitter:      100,
	}, func(_ message.Status, err error) { v.asked(d, to.DstEndpoint, err) })
}

// endpointToAsk is where a device is asked who it is: where its main OTA client is, unless that has said all
// and there is one on another endpoint that was not asked or has not.
func endpointToAsk(d *device) uint8 {
	main := mainClient(d)
	others := unasked(d)
	switch {
	case lacks(main) && !slices.Contains(d.notified.endpoints, max(main.ota.Endpoint, 1)):
	case len(others) > 0:
		return others[0]
	case !lacks(main):
		for c := range clientsOf(d) {
			if lacks(c) && c.ota.Endpoint != 0 {
				return c.ota.Endpoint
			}
		}
	}
	return max(main.ota.Endpoint, 1)
}

// unasked are the endpoints besides that of its main OTA client at which a device has some, none of which was
// asked since the start or has been heard to look for an image.
func unasked(d *device) []uint8 {
	return slices.DeleteFunc(d.ClientEndpoints()[1:], func(endpoint uint8) bool {
		for c := range clientsOf(d) {
			if c.ota.Endpoint == endpoint && (c.ota.NoHardwareVersion || c.ota.HardwareVersion != nil) {
				return true
			}
		}
		return slices.Contains(d.notified.endpoints, endpoint)
	})
}

// asked notes what came of a notification. One whose status was lost may have been sent.
func (v *inventory) asked(d *device, endpoint uint8, err error) {
	now := v.owner.now()
	v.sending = false
	v.look()
	if err != nil && !errors.Is(err, zigate.ErrNoAnswer) {
		v.log.Debug("a device was not asked who it is", "euid", d.EUID(), "err", err)
		v.lookAt = now.Add(notifyBusy)
		return
	}
	if v.home.knows(d) {
		d.notified.at = now
		if !slices.Contains(d.notified.endpoints, endpoint) {
			d.notified.endpoints = append(d.notified.endpoints, endpoint)
		}
		v.list.Asked(d.EUID(), now)
	}
}

// expects reports whether the query of a device that was just notified is about to come.
func (v *inventory) expects(now time.Time) bool {
	return v.sending || v.list.Expects(queryArrives, now)
}

// needsView reports whether the dongle is to show what devices ask for.
func (v *inventory) needsView(now time.Time) bool { return now.Before(v.viewUntil) }

// next is when something may be to be done although nothing happens.
func (v *inventory) next() time.Time { return v.lookAt }

// endWaiting ends the waiting for those that were asked in vain, or cannot be asked any more, and that of who
// has waited for long enough.
func (v *inventory) endWaiting(now time.Time) {
	if len(v.awaited) == 0 {
		return
	}
	for _, d := range v.home.sorted() {
		a := v.awaited[d.EUID()]
		if a == nil {
			continue
		}
		inVain := a.tries == 0 && !v.sending && !v.list.AwaitsWord(d.EUID(), now)
		if inVain || !v.answers(d) {
			v.end(d.EUID())
			continue
		}
		v.endTired(d.EUID(), a, now)
	}
}

// endTired ends the waiting of those who have waited for a device's word for long enough, or need not wait.
func (v *inventory) endTired(euid message.IEEE, a *awaitedWord, now time.Time) {
	var tired []waiter
	for i := range a.waiters {
		if v.blocked {
			a.waiters[i].until = now.Add(wordLimit)
		}
	}
	a.waiters = slices.DeleteFunc(a.waiters, func(w waiter) bool {
		over := now.After(w.until) || v.blocked && w.enough()
		if over {
			tired = append(tired, w)
		}
		return over
	})
	if len(a.waiters) == 0 {
		delete(v.awaited, euid)
	}
	for _, w := range tired {
		w.done()
	}
}

// end tells those who wait for a device's word that there is no further one.
func (v *inventory) end(euid message.IEEE) {
	a := v.awaited[euid]
	delete(v.awaited, euid)
	if a == nil {
		return
	}
	for _, w := range a.waiters {
		w.done()
	}
}

// endAll ends all waiting.
func (v *inventory) endAll() {
	for _, d := range v.home.sorted() {
		v.end(d.EUID())
	}
}

// forget drops a device.
func (v *inventory) forget(d *device) {
	v.list.Forget(d.EUID())
	v.end(d.EUID())
}
