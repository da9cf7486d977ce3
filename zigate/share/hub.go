package share

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// OTA is whose business OTA upgrades are.
type OTA uint8

const (
	// OTAOurs is the rule: this program upgrades. Clients see no OTA messages and no frames of the OTA
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

// Observer counts. Its methods are called from several goroutines and must be quick.
type Observer interface {
	// ShareClients tells how many clients are connected, the pseudo-terminal not among them.
	ShareClients(n int)
	// FrameFromClient counts a command of a client that went to the dongle, FrameToClient a frame
	// that went to a client.
	FrameFromClient()
	FrameToClient()
	// ShareReport counts a report.
	ShareReport(r Report)
}

// Options are what a Hub needs besides what a Dongle needs.
type Options struct {
	// Listen is where clients connect, as to a WiFi ZiGate, host:port. It is empty for no such place.
	Listen string
	// PTY is where a pseudo-terminal is linked, as a serial ZiGate. It is empty for no such place.
	PTY string
	OTA OTA
	// Allow are the networks that clients may come from besides this machine.
	Allow []netip.Prefix
	// MaxClients bounds the connections at a time; at least 1.
	MaxClients int
	Observer   Observer // may be nil
}

// Hub shares a dongle. It is the Handler and the Monitor of its Dongle, and in the place of the dongle for
// whoever is its own Handler: commands go through Submit.
type Hub struct {
	dongle   *zigate.Dongle
	handler  zigate.Handler
	opts     Options
	observer Observer
	log      *slog.Logger
	ready    chan struct{}
	addr     atomic.Pointer[net.TCPAddr]

	inbox  *mailbox.Mailbox[func()]
	number atomic.Int64 // of clients that are attached

	// Of the goroutine that reads the dongle's port.
	router router

	current    atomic.Pointer[ask] // a client's command whose status has not come
	overdue    atomic.Pointer[ask] // the last command that got none in time
	maxPayload atomic.Int32        // of a command, which the firmware decides
	start      time.Time
	lastBlock  atomic.Int64  // when a block was asked for last, since start
	seen       atomic.Uint64 // what the last status said besides, see seenStatus

	// Of the goroutine of Run.
	clients   []*client
	stopping  bool
	lastID    int
	next      int           // index of the client whose command is next
	inFlight  bool          // a client's command is
	begun     time.Duration // when the last one was sent, since start
	connected bool
	lens      lens
	v2        bool
	real      message.RawMode // that the dongle runs in
	asked     message.RawMode // that it was told last to run in
	wish      message.RawMode // of this program
	stored    message.RawMode // as a dongle of its own would have kept it for the clients
	beating   bool            // the dongle was told to send its heartbeat
	erased    bool            // the dongle has forgotten its raw mode, too
	memo      memo
	held      *held
	holdTimer *time.Timer
	retry     *time.Timer
}

// New prepares a Hub and its Dongle. The options' Handler is told everything that it would be told without
// the Hub, but for block requests while OTA is the clients'. Its HandleMessage is also called from another
// goroutine, with answers that clients have just got to what it asks. Nothing happens before the Dongle's
// Run and the Hub's.
func New(dongle zigate.Options, o Options) *Hub {
	h := &Hub{
		handler:  dongle.Handler,
		opts:     o,
		observer: o.Observer,
		log:      dongle.Logger,
		start:    time.Now(),
		ready:    make(chan struct{}),
		inbox:    mailbox.New[func()](),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.observer == nil {
		h.observer = noObserver{}
	}
	h.memo = newMemo()
	h.maxPayload.Store(message.MaxCommandPayload)
	h.router = router{hideOTA: o.OTA == OTAOurs, current: h.current.Load, overdue: h.overdue.Load}
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

// Addr is where clients connect; nil before Ready, or if they cannot over TCP.
func (h *Hub) Addr() net.Addr {
	if a := h.addr.Load(); a != nil {
		return a
	}
	return nil
}

// Run serves clients until ctx is done. It must end before the Dongle's Run, so that the dongle can
// be left as it was.
func (h *Hub) Run(ctx context.Context) error {
	doors, err := h.open()
	if err != nil {
		return err
	}
	h.holdTimer = time.NewTimer(time.Hour)
	h.retry = time.NewTimer(time.Hour)
	h.holdTimer.Stop()
	h.retry.Stop()
	defer h.holdTimer.Stop()
	defer h.retry.Stop()
	var users sync.WaitGroup
	for _, d := range doors {
		users.Go(func() { d.serve(h, &users) })
	}
	close(h.ready)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-h.inbox.Wake():
		case <-h.holdTimer.C:
			h.release()
		case <-h.retry.C:
		}
		h.work()
	}
	h.stop(doors, &users)
	h.restore()
	for _, f := range h.inbox.Close() { // whoever waits for an answer gets one
		f()
	}
	return nil
}

// work does what was posted.
func (h *Hub) work() {
	for _, f := range h.inbox.Take() {
		f()
	}
	h.feed()
}

// stop sends everybody away.
func (h *Hub) stop(doors []door, users *sync.WaitGroup) {
	h.stopping = true
	for _, d := range doors {
		d.close()
	}
	gone := make(chan struct{})
	go func() { users.Wait(); close(gone) }()
	for {
		for _, c := range h.clients {
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

// Attach serves a client over a connection of the caller's until it ends, and closes it. name is for the log.
// Run must be running.
func (h *Hub) Attach(conn io.ReadWriteCloser, name string) {
	h.attach(newClient(conn, name, false))
}

// restoreTimeout is how long a clean stop waits for the dongle to take its raw mode back.
const restoreTimeout = 2 * time.Second

// restore leaves the dongle in the mode that this program wants, which is off once it has stopped.
func (h *Hub) restore() {
	if !h.connected || h.real == h.wish {
		return
	}
	done := make(chan struct{})
	h.dongle.Submit(message.SetRawMode{Mode: h.wish}, func(message.Status, error) { close(done) })
	select {
	case <-done:
	case <-time.After(restoreTimeout):
	}
}

// HandleBlockRequest is part of zigate.Handler; this is the hot path.
func (h *Hub) HandleBlockRequest(req *message.ImageBlockRequest, dst []byte) []byte {
	if h.opts.OTA == OTATheirs {
		return dst
	}
	before := len(dst)
	dst = h.handler.HandleBlockRequest(req, dst)
	if len(dst) > before {
		now := time.Now()
		h.router.answered(req.Addr, now)
		h.lastBlock.Store(int64(now.Sub(h.start)))
	}
	return dst
}

// HandleBlockStatus is part of zigate.Handler.
func (h *Hub) HandleBlockStatus(s *message.Status) {
	h.seen.Store(seenStatus(s))
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
	h.inbox.Post(func() { h.takeUp(v) })
	h.handler.HandleConnected(info)
}

// HandleDisconnected is part of zigate.Handler.
func (h *Hub) HandleDisconnected(err error) {
	h.inbox.Post(h.lose)
	h.handler.HandleDisconnected(err)
}

// HandleStatus is part of zigate.Monitor.
func (h *Hub) HandleStatus(f message.Frame, s *message.Status, asker any, waited bool) {
	h.seen.Store(seenStatus(s))
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

// pass hands a frame to the clients.
func (h *Hub) pass(f message.Frame, owner int) {
	boot := isBoot(f.Type)
	if !boot && (owner == ourselves || h.number.Load() == 0) {
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

// isBoot tells whether a message says that the dongle starts.
func isBoot(t message.MsgType) bool {
	return t == message.TypePDMLoaded || t == message.TypeRestart || t == message.TypeFactoryNewRestart
}

// Submit sends a command of this program, see zigate.Dongle.Submit. Its raw mode is a wish: the dongle runs
// in the mode that shows what this program and all clients want to see.
func (h *Hub) Submit(cmd message.Message, done func(message.Status, error)) {
	t := cmd.Type()
	a := &ask{owner: ourselves, typ: t}
	a.read(cmd)
	watched := func(s message.Status, err error) {
		if errors.Is(err, zigate.ErrNoAnswer) {
			h.overdue.Store(a)
		}
		if done != nil {
			done(s, err)
		}
	}
	switch m := cmd.(type) {
	case message.SetRawMode:
		if !h.inbox.Post(func() {
			h.wish = m.Mode
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
	if list := questions(cmd); len(list) > 0 && h.number.Load() > 0 {
		if h.inbox.Post(func() {
			h.ask(list, true, send, func() { watched(message.Status{Request: t}, nil) })
		}) {
			return
		}
	}
	send()
}

// seenStatus keeps what statuses say about the dongle: their form, the buffers in use and
// the last APS counter.
func seenStatus(s *message.Status) uint64 {
	return uint64(s.Form)<<24 | uint64(s.APSSequence)<<16 | uint64(s.NPDUUsed)<<8 | uint64(s.APDUUsed)
}

// refusal is the status with which the dongle would answer a command that it does not know.
func (h *Hub) refusal(t message.MsgType) []byte {
	seen := h.seen.Load()
	s := message.Status{
		Status:   message.StatusUnhandled,
		Request:  t,
		Form:     message.StatusForm(seen >> 24),
		NPDUUsed: uint8(seen >> 8),
		APDUUsed: uint8(seen),
	}
	if h.v2 {
		s.APSSequence = uint8(seen >> 16)
	}
	return append(message.AppendPayload(nil, s), 0)
}

type noObserver struct{}

func (noObserver) ShareClients(int)   {}
func (noObserver) FrameFromClient()   {}
func (noObserver) FrameToClient()     {}
func (noObserver) ShareReport(Report) {}
