package otasvc

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// asking is everything that asks devices something and waits for what they say. It does not know what
// the answers are used for.
type asking struct {
	questions  *registry.Questions
	searches   *registry.Searches
	strangers  *registry.Strangers
	interviews *interviews
	inventory  *inventory
	census     *census
}

// newAsking returns what asks devices, with nothing asked yet. What the dongle shows w says, and s what its
// header slot holds.
func newAsking(
	o *owner, h *home, w *watch, s *headerSlot, sender *sending.Sender, log *slog.Logger,
) *asking {
	questions := registry.NewQuestions(&questionSender{owner: o, sender: sender})
	possible := func() bool { return w.dongle.connected && !o.stopping() }
	v := &interviews{
		owner:     o,
		home:      h,
		questions: questions,
		schedule:  registry.NewSchedule(jitter),
		awaited:   map[message.IEEE][]func(error){},
		sender:    sender,
		log:       log,
	}
	return &asking{
		questions:  questions,
		searches:   registry.NewSearches(questions, h.registry, possible, o.now, log),
		strangers:  &registry.Strangers{},
		interviews: v,
		inventory: &inventory{
			owner:      o,
			home:       h,
			dongle:     w.dongle,
			watch:      w,
			slot:       s,
			interviews: v.schedule,
			sender:     sender,
			log:        log,
			awaited:    map[message.IEEE]*awaitedWord{},
		},
		census: &census{owner: o, home: h, questions: questions, log: log},
	}
}

// end drops everything that was asked, and tells those who wait for it why. It reports whether a question was
// open.
func (a *asking) end(err error) (open bool) {
	open = a.questions.Any()
	if open {
		a.questions.Drop(err)
	}
	a.searches.Next() // what still stands in line finds nothing
	a.interviews.endAll(err)
	a.inventory.endAll()
	return open
}

// questionSender sends questions. It is a [registry.Sender].
type questionSender struct {
	owner  *owner
	sender *sending.Sender
}

// Send sends a question as any other command.
func (q *questionSender) Send(cmd message.Message, done func(error)) {
	if q.owner.stopping() {
		q.owner.inbox.Post(func() { done(errStopping) })
		return
	}
	q.sender.Send(cmd, func(_ message.Status, err error) {
		if errors.Is(err, zigate.ErrNoAnswer) {
			err = nil // a status that was lost does not mean that the question was
		}
		done(err)
	})
}

// interviews asks devices who they are and what they run. It carries out what the schedule of interviews
// decides. Each interview is a coroutine of the owner, so that what it asks comes in the same order each
// time and it needs no lock. It knows no upgrade.
type interviews struct {
	owner     *owner
	home      *home
	questions *registry.Questions
	schedule  *registry.Schedule
	// awaited has, by EUID, what is to be called when the next interview of a device has ended.
	awaited map[message.IEEE][]func(error)
	sender  *sending.Sender
	gate    sending.Gate
	log     *slog.Logger
}

// want has a device interviewed when the schedule finds it due.
func (v *interviews) want(d *device) { v.schedule.Want(d.EUID()) }

// await has a device interviewed as soon as possible; done is called when that has ended.
func (v *interviews) await(d *device, done func(error)) {
	v.schedule.WantNow(d.EUID())
	v.awaited[d.EUID()] = append(v.awaited[d.EUID()], done)
}

// heard takes a sign of life of a device, which is awake now.
func (v *interviews) heard(d *device, now time.Time) { v.schedule.Heard(v.standing(d), now) }

// standing is what the schedule has to know of a device.
func (v *interviews) standing(d *device) registry.Standing {
	return d.Standing(len(v.awaited[d.EUID()]) > 0)
}

// run begins the interviews that are due.
func (v *interviews) run(now time.Time) {
	for euid := range v.awaited {
		if v.schedule.Waits(euid) && !v.home.get(euid).Reachable() {
			v.end(euid, registry.ErrNoAddress) // nobody knows when it is heard again
		}
	}
	for {
		crowded := v.sender.Crowded(now)
		a, needsRoom := v.next(crowded, now)
		if needsRoom {
			v.gate.Wanted(crowded, now)
		}
		if a == nil {
			return
		}
		v.schedule.Begin(a)
		v.gate.Begun(now)
		v.begin(v.home.get(a.EUID()), a)
	}
}

// next is the appointment whose interview begins now, or nil. needsRoom says that somebody is due who needs
// room in the dongle's buffers, whether there is room or not. It changes nothing.
func (v *interviews) next(crowded bool, now time.Time) (a *registry.Appointment, needsRoom bool) {
	standing := func(euid message.IEEE) registry.Standing { return v.standing(v.home.get(euid)) }
	a = v.schedule.Next(now, standing, true)
	if a == nil || standing(a.EUID()).Awaited {
		return a, false
	}
	if v.gate.Allows(crowded, now) {
		return a, true
	}
	return v.schedule.Next(now, standing, false), true
}

// begin interviews a device. One that was interviewed before is only asked what it runs, unless it was
// changed since, or somebody wants to know more.
func (v *interviews) begin(d *device, a *registry.Appointment) {
	interview := registry.Interview
	whole := !v.standing(d).Interviewed || v.standing(d).Awaited
	if !whole {
		interview = registry.ReadAgain
	}
	c := &conversation{questions: v.questions, device: d.Device, now: v.owner.now}
	var err error
	c.hold(func() { err = interview(v.owner.ctx, c) }, func() { v.ended(d, a, whole, err) })
}

// ended notes how an interview of a device ended, and tells who waits for that. One that was asked only what
// it runs, and has another version, is asked for all.
func (v *interviews) ended(d *device, a *registry.Appointment, whole bool, err error) {
	known := v.home.knows(d)
	if known && err == nil && whole {
		v.succeeded(d)
	}
	v.schedule.Ended(a, v.standing(d), err == nil, v.owner.now())
	if !known {
		return
	}
	if err == nil {
		v.wantOutdated(d)
	}
	v.end(d.EUID(), err)
	if err == nil {
		return
	}
	v.log.Debug("an interview did not succeed", "euid", d.EUID(), "attempt", a.Attempts(), "err", err)
	if a.Spent() {
		v.log.Info("a device did not answer its interview; it is asked again when it is heard from, "+
			"and now and then", "euid", d.EUID(), "err", err)
	}
}

// wantOutdated has a device interviewed anew that runs another image than when it told of itself: name, model
// and codes may be others.
func (v *interviews) wantOutdated(d *device) {
	if d.Facts().Outdated {
		v.want(d)
	}
}

// succeeded notes that a device has told all.
func (v *interviews) succeeded(d *device) {
	if f := d.Facts(); !f.Interviewed || f.Outdated {
		v.log.Info("a device was interviewed", "euid", f.EUID, "manufacturer", f.ManufacturerName,
			"model", f.ModelID, "endpoint", f.Endpoint, "sleepy", f.Sleepy, "powerSource", f.PowerSource,
			"running", shownRunning(d))
	}
	d.SetInterviewed()
}

// end tells those who wait for a device's interview how it ended.
func (v *interviews) end(euid message.IEEE, err error) {
	done := v.awaited[euid]
	delete(v.awaited, euid)
	for _, f := range done {
		f(err)
	}
}

// endAll tells everybody who waits for an interview why there is none.
func (v *interviews) endAll(err error) {
	for _, d := range v.home.sorted() {
		v.end(d.EUID(), err)
	}
}

// forget drops a device from the schedule.
func (v *interviews) forget(d *device) {
	v.schedule.Forget(d.EUID())
	v.end(d.EUID(), errDeviceForgotten)
}

// check reads the version of a device's OTA client and calls done when that has ended. One whose endpoint is
// not known yet is asked at endpoint 1, where most have it, and the device interviewed if that does not help.
func (v *interviews) check(c client, done func(error)) {
	v.readVersion(c, func(err error) {
		now := c.now()
		told := err == nil && !now.ota.Mute
		if told || now.ota.Endpoint != 0 || !c.device.Reachable() || v.owner.stopping() {
			done(err)
			return
		}
		v.await(c.device, done)
	})
}

// readOthers reads the versions of those OTA clients of a device besides the main one that tell them.
func (v *interviews) readOthers(d *device, done func()) {
	var others []client
	for c := range clientsOf(d) {
		if !c.isMain() && !c.ota.Mute {
			others = append(others, c)
		}
	}
	v.readVersions(others, done)
}

// readVersions is readVersion for one OTA client after the other.
func (v *interviews) readVersions(clients []client, done func()) {
	if len(clients) == 0 || v.owner.stopping() {
		done()
		return
	}
	v.readVersion(clients[0], func(error) { v.readVersions(clients[1:], done) })
}

// readVersion reads the running file version of a device's OTA client, which is taken in wherever it comes
// from, and calls done when the device has answered, or not.
func (v *interviews) readVersion(c client, done func(error)) {
	question, err := registry.AskVersion(c.facts())
	if err != nil {
		done(err)
		return
	}
	v.questions.Ask(question, v.owner.now(), func(_ []message.Message, err error) { done(err) })
}

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
	tries    int       // that are left
	deadline time.Time // for room among all notifications, and for the dongle to be ready
	done     []func()
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
// was asked in vain, or cannot be asked now.
func (v *inventory) await(d *device, done func()) {
	now := v.owner.now()
	if now.Sub(d.Facts().QueriedAt) < queryArrives || !v.canAsk(d) {
		done()
		return
	}
	a := v.awaited[d.EUID()]
	if a == nil {
		a = &awaitedWord{tries: wordTries, deadline: now.Add(wordLimit)}
		v.awaited[d.EUID()] = a
	}
	a.done = append(a.done, done)
	v.look()
}

// complete has a device asked who it is that has not said all by which it is judged whether an image fits it;
// then is called as with await, and at once where nothing is missing.
func (v *inventory) complete(d *device, then func()) {
	if !lacks(mainClient(d)) {
		then()
		return
	}
	v.await(d, then)
}

// lacks reports whether an OTA client has not said all by which it is judged whether an image fits it.
func lacks(c client) bool {
	f := c.facts()
	hardware := f.HardwareVersion != nil || f.NoHardwareVersion
	return f.ManufacturerCode == nil || f.ImageType == nil || f.CurrentVersion == nil || !hardware
}

// canAsk reports whether a device can be asked now, as far as can be known: nobody downloads, and it is not
// known to have no OTA client.
func (v *inventory) canAsk(d *device) bool {
	a := v.acquaintance(d, v.owner.now())
	possible := !v.blocked && !v.owner.stopping() && v.home.knows(d)
	return possible && a.Reachable && !a.Occupied && a.Client != registry.ClientNone
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
	_, usable := v.dongle.usable()
	return !usable || !v.dongle.info.NetworkUp || v.dongle.badFlash || v.slot.state.Refusals() > 0 ||
		v.owner.stopping()
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

// endWaiting ends the waiting for those that were asked in vain, or cannot be asked.
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
		if v.blocked || inVain || now.After(a.deadline) || !d.Reachable() {
			v.end(d.EUID())
		}
	}
}

// end tells those who wait for a device's word that there is no further one.
func (v *inventory) end(euid message.IEEE) {
	a := v.awaited[euid]
	delete(v.awaited, euid)
	if a == nil {
		return
	}
	for _, done := range a.done {
		done()
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

// conversation is a [registry.Asker]. The interview is a coroutine of the owner: it runs only while the owner
// waits for its next question, and waits itself while that is open. So it needs no lock, and what it asks
// comes in the same order each time. Every question ends, by its deadline at the latest, and so does the
// interview.
type conversation struct {
	questions *registry.Questions
	device    *registry.Device
	now       func() time.Time
	ask       func(registry.Question) bool // hands a question to the owner; it returns when that has ended
	answer    []message.Message
	err       error
}

// hold has a conversation from beginning to end: talk puts questions through it, and ended is called when
// talk has returned.
func (c *conversation) hold(talk, ended func()) {
	next, _ := iter.Pull(func(ask func(registry.Question) bool) {
		c.ask = ask
		talk()
	})
	var goOn func()
	goOn = func() {
		question, asks := next()
		if !asks {
			ended()
			return
		}
		c.questions.Ask(question, c.now(), func(answer []message.Message, err error) {
			c.answer = answer
			c.err = err
			goOn()
		})
	}
	goOn()
}

// Ask puts a question through the owner and waits for the answer.
func (c *conversation) Ask(ctx context.Context, q registry.Question) ([]message.Message, error) {
	if ctx.Err() != nil || !c.ask(q) {
		return nil, errStopping
	}
	return c.answer, c.err
}

// Send puts a question whose answer is not waited for.
func (c *conversation) Send(q registry.Question) {
	c.questions.Ask(q, c.now(), func([]message.Message, error) {})
}

// Facts returns what is known of the device.
func (c *conversation) Facts() registry.Facts { return c.device.Facts() }

// Change changes the device.
func (c *conversation) Change(change func(*registry.Device)) { change(c.device) }

// census finds out which devices there are. It does not know what follows: who is met is interviewed in the
// usual way.
type census struct {
	owner     *owner
	home      *home
	questions *registry.Questions
	log       *slog.Logger

	running bool
}

// take takes a census, unless one is under way.
func (c *census) take() {
	if c.running {
		return
	}
	c.running = true
	caller := &caller{
		conversation: &conversation{questions: c.questions, now: c.owner.now},
		home:         c.home,
	}
	before := c.home.registry.Len()
	var listed bool
	var err error
	caller.conversation.hold(func() { listed, err = registry.Census(c.owner.ctx, caller) }, func() {
		c.running = false
		if err == nil && !listed {
			c.log.Warn("the dongle's list of devices did not come whole; devices with an OTA client were "+
				"called instead, others are met when they are heard from",
				"found", c.home.registry.Len()-before)
		}
	})
}

// caller is a [registry.Caller].
type caller struct {
	conversation *conversation
	home         *home
}

// Ask puts a question and waits for the answer.
func (c *caller) Ask(ctx context.Context, q registry.Question) ([]message.Message, error) {
	return c.conversation.Ask(ctx, q)
}

// Knows reports whether a device is known at a network address.
func (c *caller) Knows(addr uint16) bool { return c.home.at(addr) != nil }
