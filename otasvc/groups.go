package otasvc

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
	"github.com/zigate-ota/zigate-ota/otasvc/fetching"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// group is the upgrades that one request for all devices began. It is changed by [groups] and by who begins
// the upgrades of its members.
type group struct {
	ID      uint64         `json:"id"`
	Ticket  upgrade.Ticket `json:"ticket,omitempty"`
	Members []*member      `json:"members"`
	Follow  follow         `json:"follow,omitzero"`
	// answering says that all have ended. The group is kept until that is on the disk and its answer was
	// given.
	answering bool
}

// follow is how the upgrades of a group are done that begin later than the group.
type follow struct {
	DueAt     time.Time       `json:"dueAt,omitzero"`
	Install   upgrade.Install `json:"install,omitempty"`
	InstallAt time.Time       `json:"installAt,omitzero"`
	Forced    bool            `json:"forced,omitempty"`
}

// member is one upgrade of a group.
type member struct {
	UpgradeResult
	// Image is the image's type. It is not known of members that were kept before devices were known to have
	// several OTA clients.
	Image *uint16 `json:"image,omitempty"`
	// SHA256 is empty where the image was not here when the group began; it is told by Kind and Version then.
	SHA256  string        `json:"sha256,omitempty"`
	Kind    *upgrade.Kind `json:"kind,omitempty"`
	Version uint32        `json:"version,omitempty"`
	// Waits says that the upgrade begins when the one that its device has now has ended.
	Waits bool `json:"waits,omitempty"`
}

// newMember is the upgrade of an OTA client to an image, which has not begun.
func newMember(c client, o *Offer) member {
	image := o.image()
	m := member{
		UpgradeResult: UpgradeResult{EUID: c.euid(), State: upgrade.Queued},
		Image:         &o.ImageType,
		SHA256:        image.SHA256,
		Kind:          image.Kind(),
		Version:       image.ImageVersion,
	}
	if !c.isMain() {
		m.ImageType = &o.ImageType
	}
	return m
}

// end notes how the member's upgrade ended.
func (m *member) end(how upgrade.State, why upgrade.Reason) {
	m.Waits = false
	m.State = how
	m.Reason = why
}

// is reports whether the member's upgrade is the one of a device to an image of a type.
func (m *member) is(euid message.IEEE, imageType uint16) bool {
	return m.EUID == euid && (m.Image == nil || *m.Image == imageType)
}

// isTo reports whether the member's upgrade is to an image.
func (m *member) isTo(image upgrade.Image) bool {
	to := upgrade.Tried{SHA256: m.SHA256, Kind: m.Kind, ImageVersion: m.Version}
	return to.Is(image)
}

// ended reports whether the upgrades of all members have ended.
func (g *group) ended() bool {
	return !slices.ContainsFunc(g.Members, func(m *member) bool { return !m.State.Ended() })
}

// answer is the final answer of a group whose members have all ended.
func (g *group) answer() Answer {
	answer := Answer{Status: Success, UpgradeResults: []UpgradeResult{}}
	for _, m := range g.Members {
		answer.UpgradeResults = append(answer.UpgradeResults, m.UpgradeResult)
	}
	if slices.ContainsFunc(g.Members, func(m *member) bool { return m.State != upgrade.Succeeded }) {
		answer.Status = Failure
		answer.Error = "not every device was upgraded; see results"
	}
	return answer
}

// groups is the groups whose answer was not given yet. Its methods note what the state file has to have of
// them. It does not know the upgrades, nor who is told the answer. It belongs to the owner goroutine.
type groups struct {
	byID   map[uint64]*group
	lastID uint64

	revision uint64 // counts changes of what the state file has of groups
}

// newGroups returns groups without any.
func newGroups() *groups { return &groups{byID: map[uint64]*group{}} }

// restore takes in the groups of an earlier life of the service, and the last ID that it gave to one.
func (gs *groups) restore(kept []*group, lastID uint64) {
	gs.lastID = lastID
	for _, g := range kept {
		g.Members = slices.DeleteFunc(g.Members, func(m *member) bool {
			return m == nil || m.Waits && m.Image == nil
		})
		gs.byID[g.ID] = g
	}
}

// drop takes the upgrade of a device to an image of a type out of a group: the device is not meant any more.
func (gs *groups) drop(id uint64, euid message.IEEE, imageType uint16) {
	if g := gs.byID[id]; g != nil {
		g.Members = slices.DeleteFunc(g.Members, func(m *member) bool {
			return !m.Waits && m.is(euid, imageType)
		})
		gs.changed()
	}
}

// isByPolicy reports whether a group was begun without anybody having asked for it.
func (gs *groups) isByPolicy(id uint64) bool {
	g := gs.byID[id]
	return g != nil && len(g.Ticket) == 0
}

// sorted lists the groups by ID.
func (gs *groups) sorted() []*group {
	return slices.SortedFunc(maps.Values(gs.byID), func(a, b *group) int { return cmp.Compare(a.ID, b.ID) })
}

// begin makes a group without members yet. The ticket is for its final answer; it is empty where nobody
// waits.
func (gs *groups) begin(ticket upgrade.Ticket, f follow) *group {
	gs.lastID++
	g := &group{ID: gs.lastID, Ticket: ticket, Members: []*member{}, Follow: f}
	gs.byID[g.ID] = g
	gs.changed()
	return g
}

// hasTicket reports whether the answer of a group is for a ticket, which is not empty.
func (gs *groups) hasTicket(ticket upgrade.Ticket) bool {
	for _, g := range gs.byID {
		if hasTicket([]upgrade.Ticket{g.Ticket}, ticket) {
			return true
		}
	}
	return false
}

// changed notes that what the state file has of groups is different now.
func (gs *groups) changed() { gs.revision++ }

// add makes an upgrade a member of a group. It may have ended already.
func (gs *groups) add(g *group, m member) {
	g.Members = append(g.Members, &m)
	gs.changed()
}

// waiting goes through the members whose upgrades wait for another one of their device, with their groups.
func (gs *groups) waiting() iter.Seq2[*group, *member] {
	return func(yield func(*group, *member) bool) {
		for _, g := range gs.sorted() {
			for _, m := range g.Members {
				if m.Waits && !yield(g, m) {
					return
				}
			}
		}
	}
}

// waits reports whether an upgrade of an OTA client waits for another one of its device.
func (gs *groups) waits(c client) bool {
	for _, m := range gs.waiting() {
		if m.EUID == c.euid() && c.ota.Takes(*m.Image) {
			return true
		}
	}
	return false
}

// endWaiting ends those members that wait for another upgrade of their device and that ends picks. It returns
// their groups.
func (gs *groups) endWaiting(
	ends func(*group, *member) bool, how upgrade.State, why upgrade.Reason,
) (of []*group) {
	for g, m := range gs.waiting() {
		if ends(g, m) {
			m.end(how, why)
			gs.changed()
			of = append(of, g)
		}
	}
	return of
}

// memberEnded notes how the upgrade of a device, which belonged to a group, to an image of a type ended, and
// returns the group; nil where there is none with this ID.
func (gs *groups) memberEnded(
	id uint64, euid message.IEEE, imageType uint16, how upgrade.State, why upgrade.Reason,
) *group {
	g := gs.byID[id]
	if g == nil {
		return nil
	}
	for _, m := range g.Members {
		if !m.Waits && m.is(euid, imageType) {
			m.end(how, why)
		}
	}
	gs.changed()
	return g
}

// answerDue reports whether all members of a group have ended and nobody has begun to answer for it.
func (gs *groups) answerDue(g *group) bool {
	return g.ended() && gs.byID[g.ID] != nil && !g.answering
}

// answerBegun notes that a group's answer is given as soon as the state is on the disk. It is not kept:
// after a crash the answer is given again.
func (gs *groups) answerBegun(g *group) { g.answering = true }

// answered drops a group whose answer is being given.
func (gs *groups) answered(g *group) {
	delete(gs.byID, g.ID)
	gs.changed()
}

// takeAll takes a request for every device for which an update is available. One that has its upgrades
// already, from before a restart, is not taken again.
func (o *orders) takeAll(req UpgradeRequest, respond Respond) {
	if o.groups.hasTicket(req.Ticket) {
		respond(Answer{Status: InProgress, Kept: true})
		return
	}
	if v := admission.ArrivedForAll(req.asked(), o.dongleNow()); v.Action == admission.Refuse {
		respond(Answer{Status: ServiceNotAvailable, Error: v.Sentence})
		return
	}
	wanted := func(c client, offered *Offer) bool {
		return admission.ForAll(o.memberNow(c), admissionOfferOf(c, offered))
	}
	queue := func() {
		g := o.queueGroup(req, wanted, o.now())
		if req.isKept() {
			o.keeper.answer(Answer{Status: InProgress, Kept: true}, respond)
		}
		o.upgrades.finishGroup(g) // it ends at once where there is nothing to do
	}
	o.offers.whenRead(nil, respond, func(respond Respond) {
		respond(Answer{Status: InProgress})
		o.identifyAll(queue)
	})
}

// memberNow is deviceNow for a request for all devices. Of a device that has an upgrade already, as another
// one of its OTA clients, the upgrade that is asked for follows.
func (o *orders) memberNow(c client) admission.Device {
	now := o.deviceNow(c, nil)
	now.Upgrading = c.device.active() != nil && c.isUpgraded() || o.groups.waits(c)
	return now
}

// identifyAll goes on once every device that has not said all by which images are judged has said it, or was
// asked in vain. One that sleeps is left alone, and so is one that was asked in vain before.
func (o *orders) identifyAll(then func()) {
	open := 1
	done := func() {
		if open--; open == 0 {
			then()
		}
	}
	for _, d := range o.home.sorted() {
		inVain := o.inventory.list.InVain(d.EUID()) >= inVainEnough
		if lacks(mainClient(d)) && !inVain && !d.Sleepy() && o.inventory.canAsk(d) {
			open++
			o.inventory.await(d, anything, done)
		}
	}
	done()
}

// queueGroup begins upgrades of the OTA clients that wanted picks: of one device one after the other.
func (o *orders) queueGroup(
	req UpgradeRequest, wanted func(client, *Offer) bool, now time.Time,
) *group {
	order := req.order()
	g := o.groups.begin(req.Ticket, follow{
		DueAt:     order.DueAt,
		Install:   order.Installation.When,
		InstallAt: order.Installation.At,
		Forced:    order.Forced,
	})
	for c := range clientsOf(o.home.sorted()...) {
		offered := o.offers.best(c)
		if !wanted(c, offered) {
			continue
		}
		m := newMember(c, offered)
		if c.device.active() != nil {
			m.Waits = true
		} else {
			o.beginMember(g, &m, c, offered, now)
		}
		o.groups.add(g, m)
	}
	return g
}

// beginMember begins the upgrade of a member of a group.
func (o *orders) beginMember(g *group, m *member, c client, offered *Offer, now time.Time) {
	m.Waits = false
	order := upgrade.Order{
		DueAt:        g.Follow.DueAt,
		Installation: upgrade.Installation{When: g.Follow.Install, At: g.Follow.InstallAt},
		Forced:       g.Follow.Forced,
		Group:        g.ID,
	}
	if offered.candidate == nil {
		m.State = o.upgrades.begin(c, offered, order, now).State()
		return
	}
	order.Fetch = &upgrade.Fetch{}
	u := o.upgrades.beginFetching(c, offered.image(), order, now)
	m.State = u.State()
	o.fetchMember(c, u, offered)
}

// fetchMember fetches the image of the upgrade of a member of a group; offered is nil where there is none for
// the device any more.
func (o *orders) fetchMember(c client, u *upgrade.Upgrade, offered *Offer) {
	d := c.device
	switch {
	case offered == nil:
		o.upgrades.step(d, upgrade.Refusal{
			Reason: upgrade.ReasonImageInfoNotFound,
			Why:    o.offers.noImage(c),
			Image:  u.Image(),
		}, o.now())
		return
	case offered.candidate == nil:
		o.takeMember(c, u, o.now())
		return
	}
	o.upgrades.fetches[d] = o.offers.ensure(offered, false, true, fetching.Waiter{
		Progress: func(done, total int64) { o.showProgress(d, u, done, total) },
		Done: func(_ library.Image, err error) {
			switch {
			case d.active() != u || err != nil && o.offers.owner.stopping():
			case err != nil:
				o.refuseMember(c, offered, err)
			default:
				o.takeMember(c.now(), u, o.now())
			}
		},
	})
}

// takeMember queues the upgrade of a member of a group, whose image is there. What that says of itself may
// keep it from the device: then it is not one that was meant.
func (o *orders) takeMember(c client, u *upgrade.Upgrade, now time.Time) {
	offered := o.offers.best(c)
	wanted := offered != nil && offered.SHA256 != "" &&
		admission.ForAll(o.deviceNow(c, u), admissionOfferOf(c, offered))
	if wanted && o.groups.isByPolicy(u.Group()) {
		wanted = o.wantedByPolicy(c, offered, u, now)
	}
	if wanted {
		o.upgrades.fetched(c, offered, now)
		return
	}
	o.groups.drop(u.Group(), c.euid(), u.Image().ImageType)
	o.upgrades.step(c.device, upgrade.Refusal{
		Why:    "its image is not for this device after all",
		Image:  u.Image(),
		Unseen: true,
	}, now)
}

// refuseMember ends the upgrade of a member of a group whose image could not be had. Where that was told of
// the client already, it is not told again: the policy tries again and again.
func (o *orders) refuseMember(c client, offered *Offer, err error) {
	v := notHad(err)
	image := offered.image()
	o.upgrades.step(c.device, upgrade.Refusal{
		Reason: v.Reason,
		Why:    v.Sentence,
		Image:  image,
		Unseen: c.wasRefusedFor(v.Reason, image),
	}, o.now())
}

// beginWaiting begins the upgrades of groups that have waited for another one of their device to end.
func (o *orders) beginWaiting(now time.Time) {
	for g, m := range o.groups.waiting() {
		d := o.home.get(m.EUID)
		if d != nil && d.active() != nil {
			continue
		}
		if d == nil {
			m.end(upgrade.Cancelled, upgrade.ReasonCancelled)
		} else {
			o.beginFollowing(g, m, clientFor(d, *m.Image), now)
		}
		o.groups.changed()
		o.upgrades.finishGroup(g)
	}
}

// beginFollowing begins the upgrade of a member whose turn it is, if it is still one that all means.
func (o *orders) beginFollowing(g *group, m *member, c client, now time.Time) {
	offered := o.offers.best(c)
	offer := admissionOfferOf(c, offered)
	device := o.deviceNow(c, nil)
	switch {
	case offer != nil && admission.ForAll(device, offer):
		o.beginMember(g, m, c, offered, now)
	case offer != nil && device.Version != nil && *device.Version >= offer.Version:
		m.end(upgrade.Succeeded, "") // it has got the image with the one before
	default:
		m.end(upgrade.Failed, upgrade.ReasonImageInfoNotFound)
	}
}

// autoInterval is how often the policy looks for devices to upgrade.
const autoInterval = time.Minute

// autoSoon is when it looks again where it may not begin yet.
const autoSoon = 10 * time.Second

// byPolicy begins what the policy "auto" wants: every device for which an update is available, in the window.
// A device that failed for a reason of its own is tried again after a day, or when it is back; an image that
// it refused, or whose upgrade was cancelled, is left to people.
func (o *orders) byPolicy(now time.Time) {
	if !o.policy.Auto || now.Before(o.autoAt) {
		return
	}
	o.autoAt = now.Add(autoInterval)
	if !admission.PolicyActs(o.dongleNow(), o.policy.Window, now) {
		o.autoAt = now.Add(autoSoon)
		return
	}
	wanted := func(c client, offered *Offer) bool { return o.wantedByPolicy(c, offered, nil, now) }
	due := false
	for c := range clientsOf(o.home.sorted()...) {
		due = due || wanted(c, o.offers.best(c))
	}
	if due {
		o.upgrades.finishGroup(o.queueGroup(UpgradeRequest{}, wanted, now))
	}
}

// wantedByPolicy reports whether a device is to be upgraded, as one of its OTA clients, without anybody
// having asked for it. fetching is as in deviceNow.
func (o *orders) wantedByPolicy(
	c client, offered *Offer, fetching *upgrade.Upgrade, now time.Time,
) bool {
	var before admission.Before
	if offered != nil {
		before.Unfetched = o.offers.isUnavailable(offered, now)
		before.Tried, before.Reason, before.EndedAt = c.tried(offered.image())
	}
	if before.Tried {
		before.Returned = c.device.returnedAt
		before.DongleRefuses = o.dongle.acceptance.Holds()
		before.Proven = o.home.running()[firmwareIn(offered.image())]
	}
	return admission.ByPolicy(o.deviceNow(c, fetching), admissionOfferOf(c, offered), before, now)
}
