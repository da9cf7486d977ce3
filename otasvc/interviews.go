package otasvc

import (
	"context"
	"errors"
	"iter"
	"log/slog"
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
