package otasvc

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/acceptance"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// dongle is what is known of the dongle and of its network. It sends nothing, and does not know what its
// header slot holds.
type dongle struct {
	connected   bool
	noOTA       bool // the firmware does not know the OTA commands
	watchOnly   bool // another program upgrades
	badFlash    bool // its flash memory is in trouble: no upgrade begins
	acceptance  acceptance.Judgement
	info        zigate.Info
	lastError   string // why it is not connected
	connectedAt time.Time
	// goneAt is when the dongle was lost; before it was first there, when the service started.
	goneAt time.Time
	// session counts connections, so that an answer to an earlier one is told apart.
	session int

	// network and away are kept in the state file; revision counts their changes.
	network  network
	away     time.Duration // how long upgrades have not been possible
	lookedAt time.Time     // when away was last counted on
	revision uint64
}

// usable reports whether upgrades can be done now, and if not, why.
func (g *dongle) usable() (string, bool) {
	switch {
	case !g.connected:
		return "the dongle is not connected" + because(g.lastError), false
	case g.noOTA:
		return "the dongle's firmware " + g.info.Firmware +
			" has no OTA server; update the dongle's firmware", false
	case g.watchOnly:
		return "upgrades are left to the software that shares the dongle" +
			" (ZIGATE_OTA_SHARE_OTA=client)", false
	}
	return "", true
}

// downloads reports whether devices can download with it now.
func (g *dongle) downloads() bool {
	_, usable := g.usable()
	return usable && !g.acceptance.Holds()
}

const (
	flashTrouble = "the dongle reports a problem with its flash memory; back its network up before " +
		"anything else. No upgrade begins meanwhile"
	noNetwork = "the dongle has no network, so no device can reach it; start or restore its network"
	noBlocks  = "the dongle takes no blocks, so no device can download; pull it out and put it back, " +
		"or take its power away for a moment. Upgrades wait meanwhile"
)

// trouble is what is wrong with the dongle, in one sentence; it is empty where nothing is.
func (g *dongle) trouble() string {
	switch why, ok := g.usable(); {
	case !g.connected:
		return g.lastError
	case !ok:
		return why
	case g.acceptance.Refuses():
		return noBlocks
	case g.badFlash:
		return flashTrouble
	case !g.info.NetworkUp:
		return noNetwork
	}
	return ""
}

// because continues a sentence with an error, where there is one.
func because(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}

// connect notes that the dongle is there. What an earlier connection was told does not hold any more.
func (g *dongle) connect(info zigate.Info, now time.Time) {
	g.connected = true
	g.noOTA = false
	g.badFlash = false
	g.acceptance = g.acceptance.Connected()
	g.info = info
	g.lastError = ""
	g.connectedAt = now
	g.session++
}

// disconnect notes that the dongle is gone. It reports whether it was there before.
func (g *dongle) disconnect(err error, now time.Time) (lost bool) {
	if err != nil {
		g.lastError = err.Error()
	}
	if !g.connected {
		return false
	}
	g.connected = false
	g.goneAt = now
	g.session++
	return true
}

// errDongleAway ends what waits for an answer of the dongle.
var errDongleAway = errors.New("the dongle is not connected")

// noteNoOTA notes that the dongle's firmware does not know the OTA commands.
func (g *dongle) noteNoOTA() { g.noOTA = true }

// noteStorage notes what the dongle says of its flash memory, which holds its network. Trouble is over when
// it says that it has saved something. It reports whether that is news.
func (g *dongle) noteStorage(m message.PDMEvent) (news bool) {
	switch {
	case m.Problem() && !g.badFlash:
		g.badFlash = true
		return true
	case m.Event == message.PDMSaved && g.badFlash:
		g.badFlash = false
		return true
	}
	return false
}

// noteNetwork notes which network the dongle says that it has.
func (g *dongle) noteNetwork(m message.NetworkState) {
	g.info.IEEE = m.IEEE
	g.info.NetworkAddr = m.Addr
	g.info.PANID = m.PANID
	g.info.Channel = m.Channel
	g.info.NetworkUp = m.Up()
}

// setNetworkUp notes whether the dongle has a network. It reports whether that is news.
func (g *dongle) setNetworkUp(up bool) (news bool) {
	if g.info.NetworkUp == up || !g.connected {
		return false
	}
	g.info.NetworkUp = up
	return true
}

// network is what tells one Zigbee network from another: whose coordinator it is, and its PAN.
type network struct {
	Coordinator message.IEEE `json:"coordinator"`
	PANID       uint16       `json:"panId"`
}

// replaces reports whether a network is another one than that of before. A coordinator keeps its address; it
// gets another PAN id when its network is formed anew. What is not known (0) decides nothing.
func (n network) replaces(before network) bool {
	differ := func(a, b uint64) bool { return a != 0 && b != 0 && a != b }
	return differ(uint64(n.Coordinator), uint64(before.Coordinator)) ||
		differ(uint64(n.PANID), uint64(before.PANID))
}

// after is what is known of a network that was told, where another was known before: a dongle that does not
// tell one of the two numbers is no other, and keeps the one that it had.
func (n network) after(before network) network {
	if n.replaces(before) {
		return n
	}
	return network{
		Coordinator: cmp.Or(n.Coordinator, before.Coordinator),
		PANID:       cmp.Or(n.PANID, before.PANID),
	}
}

// toldNetwork is the network that the dongle says that it has.
func (g *dongle) toldNetwork() network {
	told := network{Coordinator: g.info.IEEE, PANID: g.info.PANID}
	if !g.info.NetworkUp {
		told.PANID = 0
	}
	return told
}

// keepNetwork keeps what is known of the dongle's network, for the next comparison.
func (g *dongle) keepNetwork(n network) {
	if n == g.network {
		return
	}
	g.network = n
	g.revision++
}

// A dongle that is away for seconds or hours costs an upgrade nothing: it goes on where the device asks. One
// that does not come back must not keep upgrades open for ever, though, and with another dongle comes another
// network, in which the devices are not.

// awayStep is the longest that counts between two looks at the clock: a clock that is set does not make time
// pass.
const awayStep = time.Minute

// countAway adds up how long upgrades have not been possible, over restarts of the service too. hindered says
// that no upgrade can be done with the dongle now.
func (g *dongle) countAway(hindered bool, now time.Time) {
	passed := now.Sub(g.lookedAt)
	g.lookedAt = now
	// One that comes and goes within a minute is as good as away.
	if !hindered && !g.badFlash && now.Sub(g.connectedAt) >= awayStep {
		g.away = 0
		return
	}
	before := g.away
	g.away += min(max(passed, 0), awayStep)
	if before/time.Hour != g.away/time.Hour {
		g.revision++ // a restart forgets an hour at most
	}
}

// versionToOffer is the file version under which a device is offered the image of its upgrade: the image's
// own, unless the dongle's firmware compares versions and would keep an older or equal one from the device.
// Then it is offered as one newer than what runs; the image's bytes stay as they are. Many devices refuse
// such an image in the end, which shows in how the upgrade ends.
func (g *dongle) versionToOffer(d *device) uint32 {
	version := d.upgrade.Image().ImageVersion
	running := upgradedClient(d).ota.CurrentVersion
	if running == nil || *running < version || !g.info.Version().ChecksVersion() {
		return version
	}
	return min(*running, wildcard32-2) + 1
}

// dongleHearing takes in what the dongle says of itself: that it is there or gone, was reset, has another
// network, or is in trouble. It knows no single device. It belongs to the owner goroutine.
type dongleHearing struct {
	owner      *owner
	dongle     *dongle
	slot       *headerSlot
	watch      *watch
	upgrades   *upgrades
	questions  *registry.Questions
	interviews *interviews
	inventory  *inventory
	census     *census
	sender     *sending.Sender
	outlet     *outlet
	log        *slog.Logger
}

// message acts on what the dongle says of itself.
func (h *dongleHearing) message(m message.Message, now time.Time) {
	switch m := m.(type) {
	case message.RestartNotice:
		h.restarted(m)
		h.networkUp(m.Kind == message.TypeRestart)
	case message.PDMLoaded:
		h.restarted(m)
	case message.NetworkJoined:
		// Sent at every start, but with status 4 (already on a network) also without one.
		if m.Status != message.NetworkAlreadyUp {
			h.restarted(m)
		}
		h.networkUp(m.Status == message.NetworkJoinedExisting || m.Status == message.NetworkFormed ||
			m.Status == message.NetworkAlreadyUp)
	case message.NetworkState:
		h.dongle.noteNetwork(m)
		h.compareNetwork(now) // it may have been formed anew meanwhile
	case message.ExtendedStatus:
		h.stackError(m, now)
	case message.PDMEvent:
		h.storage(m)
	}
}

// connected takes the dongle into use: what its slot holds is not known, and it lists its neighbours.
func (h *dongleHearing) connected(info zigate.Info, now time.Time) {
	h.dongle.connect(info, now)
	h.log.Info("the dongle is connected", "port", info.Port, "firmware", info.Firmware, "family", info.Family,
		"euid", info.IEEE)
	if !info.NetworkUp {
		h.log.Warn(noNetwork)
	}
	h.outlet.happened(Event{Name: EventDongleConnected})
	h.compareNetwork(now)
	h.upgrades.stepAll(upgrade.DongleBack{Away: now.Sub(h.dongle.goneAt)}, now)
	h.slot.lost()
	h.watch.reset() // the handshake has set the mode
	h.census.take()
}

// disconnected notes that the dongle is gone, or why it still is.
func (h *dongleHearing) disconnected(err error, now time.Time) {
	before := h.dongle.lastError
	if !h.dongle.disconnect(err, now) {
		if h.dongle.lastError != before { // only the error is new
			h.log.Warn("the dongle cannot be reached; it is tried again and again", "err", err)
		}
		return
	}
	if !h.owner.stopping() {
		h.log.Warn("the dongle is gone", "err", err)
	}
	event := Event{Name: EventDongleDisconnected}
	if err != nil {
		event.Error = err.Error()
	}
	h.outlet.happened(event)
	h.slot.lost()
	h.questions.Drop(errDongleAway)
	h.interviews.endAll(errDongleAway)
}

// stackError acts on an error of the dongle's stack.
func (h *dongleHearing) stackError(m message.ExtendedStatus, now time.Time) {
	h.log.Debug("an error of the dongle's stack", "code", m.Code,
		"meaning", message.ExtendedStatusText(m.Code))
	h.sender.NoteStackError(m, now)
}

// storage warns of trouble with the dongle's flash memory.
func (h *dongleHearing) storage(m message.PDMEvent) {
	switch {
	case !h.dongle.noteStorage(m):
	case h.dongle.badFlash:
		h.log.Error(flashTrouble, "event", m.Event, "record", m.Record)
	default:
		h.log.Info("the dongle has saved to its flash memory again; upgrades begin again")
	}
}

// networkUp follows whether the dongle has a network. One that has just got it says which.
func (h *dongleHearing) networkUp(up bool) {
	if !h.dongle.setNetworkUp(up) {
		return
	}
	if !up {
		h.log.Warn(noNetwork)
		return
	}
	h.log.Info("the dongle has a network now")
	h.sender.Send(message.GetNetworkState{}, nil) // its answer is a message
	h.census.take()
}

// compareNetwork ends upgrades that had begun where the dongle has another network than before: their devices
// are not there.
func (h *dongleHearing) compareNetwork(now time.Time) {
	before := h.dongle.network
	told := h.dongle.toldNetwork()
	found := told.after(before)
	h.dongle.keepNetwork(found)
	if !told.replaces(before) {
		return
	}
	h.log.Warn("the dongle was replaced, or has another network now: upgrades that had begun are ended",
		"coordinator", found.Coordinator, "panId", found.PANID, "coordinatorBefore", before.Coordinator,
		"panIdBefore", before.PANID)
	h.upgrades.stepAll(upgrade.DongleReplaced{}, now)
}

// restarted notes that a reset has emptied the header slot. Every kind of start-up message means it; several
// come in a row.
func (h *dongleHearing) restarted(m message.Message) {
	h.dongle.acceptance = h.dongle.acceptance.Restarted()
	if !h.slot.restarted() {
		return // told already, or nothing was loaded
	}
	h.log.Warn("the dongle has restarted; its image header is loaded again", "message", m.Type())
}

// taking follows whether the dongle takes blocks, and has done what follows. It reads what was counted;
// what that means package acceptance decides. It belongs to the owner goroutine.
type taking struct {
	dongle   *dongle
	slot     *headerSlot
	upgrades *upgrades
	sender   *sending.Sender
	observer Observer
	log      *slog.Logger

	told *bool // what the observer was told last; nil where it was told nothing yet
}

// look reads what was counted, and acts on it.
func (t *taking) look(now time.Time) {
	if !t.dongle.connected {
		t.tell(false)
		return
	}
	taken, refused := t.sender.Blocks()
	judged, verdict := t.dongle.acceptance.After(acceptance.Readings{
		Taken:    taken,
		Refused:  refused,
		MayReset: !t.slot.state.IsBusy(),
	}, now)
	t.dongle.acceptance = judged
	switch verdict {
	case acceptance.Doubted:
		t.upgrades.stepAll(upgrade.NoBlocks{}, now)
	case acceptance.ResetIt:
		t.log.Warn("the dongle takes no blocks; it is reset, which may help", "since", judged.RefusedSince())
		t.slot.reset(now)
		t.upgrades.stepAll(upgrade.NoBlocks{}, now)
	case acceptance.Refuses:
		t.log.Error(noBlocks, "since", judged.RefusedSince())
	case acceptance.TryIt:
		t.log.Info("one device is given blocks, to see whether the dongle takes them now")
	case acceptance.RefusesStill:
		t.log.Warn("the dongle still takes no blocks")
	case acceptance.Takes:
		t.log.Info("the dongle takes blocks again; upgrades go on")
	}
	t.tell(judged.Refuses())
	if judged.Holds() {
		t.hold(verdict == acceptance.RefusesStill, now)
	}
}

// tell tells the observer whether the dongle refuses every block, where that has changed.
func (t *taking) tell(refuses bool) {
	if is(t.told, refuses) {
		return
	}
	t.told = &refuses
	t.observer.DongleRefuses(refuses)
}

// hold ends the downloads whose blocks the dongle refuses, and has those wait in the queue again that have
// not begun. tried says that a download was begun only to see whether the dongle takes its blocks: it
// waits, too.
func (t *taking) hold(tried bool, now time.Time) {
	for _, d := range t.upgrades.home.upgrading() {
		switch {
		case d.upgrade.Stage() == upgrade.StageNotified:
			t.upgrades.step(d, upgrade.SlotGivenUp{}, now)
		case t.isRefused(d, now):
			t.upgrades.step(d, upgrade.DongleRefuses{Tried: tried}, now)
		}
	}
}

// justBefore is how much earlier than its first refusal was seen a device has asked for the block.
const justBefore = time.Second

// isRefused reports whether a device has asked for a block, and not got it, since the dongle takes none.
func (t *taking) isRefused(d *device, now time.Time) bool {
	tr := d.rights.transfer
	if tr == nil {
		return false
	}
	p := tr.Progress(now)
	since := t.dongle.acceptance.RefusedSince().Add(-justBefore)
	return p.Requests > 0 && p.WaitsUntil.IsZero() && !p.Last.Before(since)
}
