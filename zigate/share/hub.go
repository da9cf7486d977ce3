package share

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/mailbox"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// OTA says which side upgrades devices.
type OTA uint8

const (
	// OTAOurs is the default: this program upgrades. Clients see no OTA messages and no frames of the OTA
	// cluster, and what they send of it is answered like a command that the dongle does not know.
	OTAOurs OTA = iota
	// OTATheirs leaves it to the clients: this program answers no device and sends no OTA command.
	OTATheirs
)

// ErrOTATheirs ends an OTA command of this program while OTA is the clients'.
var ErrOTATheirs = errors.New("OTA upgrades are left to the software that shares the dongle")

// Report is something about a client that its user should know.
type Report string

// All reports.
const (
	ReportOTACommand Report = "otaCommand" // an OTA command was not passed on
	ReportReset      Report = "reset"      // the dongle was told to restart
	ReportErase      Report = "erase"      // the dongle was told to forget its network
	ReportCutOff     Report = "cutOff"     // a client did not read
	ReportTurnedAway Report = "turnedAway" // a client was not let in
	ReportDropped    Report = "dropped"    // a command found no dongle
)

// Reports are all that an Observer may be given.
func Reports() []Report {
	return []Report{ReportOTACommand, ReportReset, ReportErase, ReportCutOff, ReportTurnedAway, ReportDropped}
}

// Observer counts what happens, for metrics. Its methods are called from several goroutines and must be
// quick.
type Observer interface {
	// ShareClients tells how many clients are connected, the pseudo-terminal not among them.
	ShareClients(n int)
	// FrameFromClient counts a command of a client that went to the dongle.
	FrameFromClient()
	// FrameToClient counts a frame that went to a client.
	FrameToClient()
	// ShareReport counts a report.
	ShareReport(r Report)
}

// Options are what a Hub needs besides what a Dongle needs.
type Options struct {
	// Listen is the address (host:port) where clients connect, as to a WiFi ZiGate. If it is empty they
	// cannot.
	Listen string
	// PTY is the path of a link to a pseudo-terminal, as a serial ZiGate. If it is empty there is none.
	PTY string
	OTA OTA
	// Allow are the networks that clients may come from besides this machine.
	Allow []netip.Prefix
	// MaxClients bounds the TCP connections at a time; it is at least 1.
	MaxClients int
	// Observer may be nil.
	Observer Observer
}

// Hub shares a dongle. It is the Handler and the Monitor of its Dongle. To this program it stands for the
// dongle: commands go through Submit, and what the dongle says comes to the Handler that New was given.
type Hub struct {
	dongle  *zigate.Dongle
	handler zigate.Handler
	opts    Options
	log     *slog.Logger
	ready   chan struct{}
	addr    atomic.Pointer[net.TCPAddr]

	// For every goroutine.
	inbox      *mailbox.Mailbox[func()] // for the goroutine of Run to call
	pending    pending
	downloads  downloads
	lastStatus lastStatus
	maxPayload atomic.Int32 // bytes of a command, which the firmware decides

	// Of the goroutine that reads the dongle's port.
	router router

	// Of the goroutine of Run, but for the clients' number.
	clients   clientList
	feeder    feeder
	connected bool
	lens      lens
	settings  settings
	memo      memo
	holder    holder
}

// New prepares a Hub and its Dongle. The options' Handler is told everything that it would be told without
// the Hub, but for block requests while OTA is the clients'. Its HandleMessage is also called from another
// goroutine, with answers that clients have just got to what it asks. Nothing happens before the Dongle's
// Run and the Hub's.
func New(dongle zigate.Options, o Options) *Hub {
	h := &Hub{
		handler:   dongle.Handler,
		opts:      o,
		log:       dongle.Logger,
		ready:     make(chan struct{}),
		inbox:     mailbox.New[func()](),
		downloads: downloads{start: time.Now()},
		memo:      newMemo(),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.opts.Observer == nil {
		h.opts.Observer = noObserver{}
	}
	h.maxPayload.Store(message.MaxCommandPayload)
	h.router = router{hideOTA: o.OTA == OTAOurs, pending: &h.pending}
	h.router.reset(message.Version{})
	dongle.Handler = h
	dongle.Monitor = h
	h.dongle = zigate.NewDongle(dongle)
	return h
}

// Dongle is the connection to the dongle. Commands to it go through Submit of the Hub.
func (h *Hub) Dongle() *zigate.Dongle { return h.dongle }

// Ready is closed when clients can connect.
func (h *Hub) Ready() <-chan struct{} { return h.ready }

// Addr is the address where clients connect. It is nil before Ready, and if there is no TCP port.
func (h *Hub) Addr() net.Addr {
	if a := h.addr.Load(); a != nil {
		return a
	}
	return nil
}

// Run serves clients until ctx is done. It must end before the Dongle's Run, so that the dongle can
// be left as it was.
func (h *Hub) Run(ctx context.Context) error {
	doors, err := h.open(ctx)
	if err != nil {
		return err
	}
	h.holder.timer = stoppedTimer()
	h.feeder.retry = stoppedTimer()
	defer h.holder.timer.Stop()
	defer h.feeder.retry.Stop()
	var users sync.WaitGroup
	for _, d := range doors {
		users.Go(func() { d.serve(h, &users) })
	}
	close(h.ready)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-h.inbox.Wake():
		case <-h.holder.timer.C:
			h.release()
		case <-h.feeder.retry.C:
		}
		h.work()
	}
	h.stop(doors, &users)
	h.restore()
	for _, f := range h.inbox.Close() { // so that nobody waits for an answer in vain
		f()
	}
	return nil
}

// stoppedTimer is a timer that fires when it was reset.
func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// work does what was posted.
func (h *Hub) work() {
	for _, f := range h.inbox.Take() {
		f()
	}
	h.feed()
}

// stop lets nobody in any more, and ends all connections.
func (h *Hub) stop(doors []door, users *sync.WaitGroup) {
	h.clients.stopping = true
	for _, d := range doors {
		d.close()
	}
	gone := make(chan struct{})
	go func() { users.Wait(); close(gone) }()
	for {
		for _, c := range h.clients.list {
			c.close()
		}
		select {
		case <-gone:
			return
		case <-h.inbox.Wake():
			for _, f := range h.inbox.Take() {
				f()
			}
		}
	}
}

// restoreTimeout is how long a clean stop waits for the dongle to take its raw mode back.
const restoreTimeout = 2 * time.Second

// restore leaves the dongle in the mode that this program wants, which is off once it has stopped.
func (h *Hub) restore() {
	if !h.connected || h.settings.running == h.settings.wish {
		return
	}
	done := make(chan struct{})
	h.dongle.Submit(message.SetRawMode{Mode: h.settings.wish}, func(message.Status, error) { close(done) })
	select {
	case <-done:
	case <-time.After(restoreTimeout):
	}
}

// HandleBlockRequest is part of zigate.Handler. It is on the hot path and does not allocate.
func (h *Hub) HandleBlockRequest(req *message.ImageBlockRequest, dst []byte) []byte {
	if h.opts.OTA == OTATheirs {
		return dst
	}
	before := len(dst)
	dst = h.handler.HandleBlockRequest(req, dst)
	if len(dst) > before {
		now := time.Now()
		h.router.answered(req.Addr, now)
		h.downloads.note(now)
	}
	return dst
}

// HandleBlockStatus is part of zigate.Handler.
func (h *Hub) HandleBlockStatus(s *message.Status) {
	h.lastStatus.note(s)
	h.handler.HandleBlockStatus(s)
}

// HandleMessage is part of zigate.Handler.
func (h *Hub) HandleMessage(m message.Message, lqi uint8) {
	h.noteMessage(m, lqi)
	h.handler.HandleMessage(m, lqi)
}

// HandleConnected is part of zigate.Handler.
func (h *Hub) HandleConnected(info zigate.Info) {
	v := info.Version()
	h.maxPayload.Store(int32(v.MaxCommandPayload()))
	h.router.reset(v)
	h.inbox.Post(func() { h.connect(v) })
	h.handler.HandleConnected(info)
}

// HandleDisconnected is part of zigate.Handler.
func (h *Hub) HandleDisconnected(err error) {
	h.inbox.Post(h.disconnect)
	h.handler.HandleDisconnected(err)
}

// HandleStatus is part of zigate.Monitor.
func (h *Hub) HandleStatus(f message.Frame, s *message.Status, asker any, waited bool) {
	h.lastStatus.note(s)
	a, _ := asker.(*ask)
	owner := h.router.status(s, a, waited, time.Now())
	ok := s.Status == message.StatusOK
	if a != nil && waited && ok &&
		(a.typ == message.TypeSetRawMode || a.typ == message.TypeErasePersistentData) {
		h.inbox.Post(func() { h.executed(a) })
	}
	h.pass(f, owner)
}

// HandleFrame is part of zigate.Monitor.
func (h *Hub) HandleFrame(f message.Frame) {
	if h.router.hideOTA && f.Type == message.TypeImageBlockRequest {
		return
	}
	h.pass(f, h.router.frame(f.Type, f.Payload, time.Now()))
}

// pass hands a frame to the goroutine that delivers it to the clients.
func (h *Hub) pass(f message.Frame, owner int) {
	boot := isBoot(f.Type)
	if !boot && (owner == ourselves || h.clients.number.Load() == 0) {
		return
	}
	t := f.Type
	payload := append([]byte(nil), f.Payload...)
	h.inbox.Post(func() {
		if boot {
			h.restarted(t)
		}
		h.deliver(t, payload, owner)
	})
}

// isBoot tells whether the dongle sends a message when it starts.
func isBoot(t message.MsgType) bool {
	return t == message.TypePDMLoaded || t == message.TypeRestart || t == message.TypeFactoryNewRestart
}

// Submit sends a command of this program, see zigate.Dongle.Submit. A raw mode is only a wish: the dongle
// runs in the mode that shows what this program and all clients want to see. An OTA command while OTA is the
// clients' ends with ErrOTATheirs.
func (h *Hub) Submit(cmd message.Message, done func(message.Status, error)) {
	t := cmd.Type()
	a := &ask{owner: ourselves, typ: t}
	a.read(cmd)
	watched := func(s message.Status, err error) {
		if errors.Is(err, zigate.ErrNoAnswer) {
			h.pending.overdue.Store(a)
		}
		if done != nil {
			done(s, err)
		}
	}
	switch m := cmd.(type) {
	case message.SetRawMode:
		if !h.inbox.Post(func() {
			h.settings.wish = m.Mode
			h.setRawMode(a, watched)
		}) {
			h.dongle.SubmitFor(a, m, watched)
		}
		return
	}
	if h.opts.OTA == OTATheirs && t.IsOTA() {
		h.inbox.Post(func() {
			watched(message.Status{}, fmt.Errorf("%s (%s): %w", t, t.Name(), ErrOTATheirs))
		})
		return
	}
	send := func() { h.dongle.SubmitFor(a, cmd, watched) }
	if list := questions(cmd); len(list) > 0 && h.clients.number.Load() > 0 {
		if h.inbox.Post(func() {
			h.ask(list, true, send, func() { watched(message.Status{Request: t}, nil) })
		}) {
			return
		}
	}
	send()
}

type noObserver struct{}

func (noObserver) ShareClients(int)   {}
func (noObserver) FrameFromClient()   {}
func (noObserver) FrameToClient()     {}
func (noObserver) ShareReport(Report) {}
