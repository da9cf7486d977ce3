package zigate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// fakeDongle is the other end of a port. It answers what its script says, by default every command with a
// status of 0 and the questions of the handshake with an answer.
type fakeDongle struct {
	conn     net.Conn
	commands chan message.Frame // what the host sent
	out      chan []byte
	script   func(f message.Frame) (answer []byte, handled bool)
	wg       sync.WaitGroup
}

var (
	fakeVersion = message.Version{Major: 4, Minor: 0x0323}
	fakeNetwork = message.NetworkState{IEEE: 0x00158D0001ED3395, PANID: 0x73AA, ExtendedPANID: 1, Channel: 15}
)

func newFakeDongle(script func(message.Frame) ([]byte, bool)) (*fakeDongle, net.Conn) {
	host, dongle := net.Pipe()
	f := &fakeDongle{conn: dongle, commands: make(chan message.Frame, 1024), out: make(chan []byte, 1024), script: script}
	done := make(chan struct{})
	f.wg.Go(func() {
		defer close(done)
		f.read()
	})
	f.wg.Go(func() {
		for {
			select {
			case b := <-f.out:
				if _, err := dongle.Write(b); err != nil {
					return
				}
			case <-done:
				return
			}
		}
	})
	return f, host
}

func (f *fakeDongle) read() {
	var decoder message.Decoder
	buf := make([]byte, 256)
	for {
		n, err := f.conn.Read(buf)
		if err != nil {
			return
		}
		for _, frame := range frames(&decoder, buf[:n]) {
			f.commands <- frame
			answer, handled := []byte(nil), false
			if f.script != nil {
				answer, handled = f.script(frame)
			}
			if !handled {
				answer = ordinaryAnswer(frame.Type)
			}
			if len(answer) > 0 {
				f.out <- answer
			}
		}
	}
}

// close ends the dongle and waits until nothing of it runs.
func (f *fakeDongle) close() {
	f.conn.Close()
	f.wg.Wait()
}

// send sends messages, with a link quality of 0x9C.
func (f *fakeDongle) send(messages ...message.Message) {
	for _, m := range messages {
		f.out <- fromDongle(m)
	}
}

// next is the next command, which must have been sent by now.
func (f *fakeDongle) next(t *testing.T) message.Frame {
	t.Helper()
	synctest.Wait()
	select {
	case c := <-f.commands:
		return c
	default:
		t.Fatal("the host sent nothing")
		return message.Frame{}
	}
}

// expect wants the next commands to be of these types, and none besides.
func (f *fakeDongle) expect(t *testing.T, types ...message.MsgType) {
	t.Helper()
	for _, want := range types {
		if got := f.next(t); got.Type != want {
			t.Fatalf("the host sent %s, want %s", got, want)
		}
	}
	synctest.Wait()
	select {
	case c := <-f.commands:
		t.Fatalf("the host also sent %s", c)
	default:
	}
}

// handshake wants the commands of a handshake.
func (f *fakeDongle) handshake(t *testing.T) {
	t.Helper()
	f.expect(t, message.TypeGetVersion, message.TypeSetRawMode, message.GetNetworkState{}.Type())
}

// frames takes what is whole of the input, and copies it.
func frames(d *message.Decoder, input []byte) []message.Frame {
	var whole []message.Frame
	for {
		f, rest, ok := d.Feed(input)
		if !ok {
			return whole
		}
		whole = append(whole, message.Frame{Type: f.Type, Payload: bytes.Clone(f.Payload)})
		input = rest
	}
}

func fromDongle(m message.Message) []byte {
	payload := message.AppendPayload(nil, m)
	if m.Type() != message.TypeLog {
		payload = append(payload, 0x9C)
	}
	return message.AppendFrame(nil, m.Type(), payload)
}

func ok(t message.MsgType) message.Status {
	return message.Status{Request: t, Form: message.StatusFormBuffers, NPDUUsed: 1, APDUUsed: 2}
}

func ordinaryAnswer(t message.MsgType) []byte {
	answer := fromDongle(ok(t))
	switch t {
	case message.TypeGetVersion:
		answer = append(answer, fromDongle(fakeVersion)...)
	case message.GetNetworkState{}.Type():
		answer = append(answer, fromDongle(fakeNetwork)...)
	}
	return answer
}

// silentTo is a script that does not answer these commands.
func silentTo(types ...message.MsgType) func(message.Frame) ([]byte, bool) {
	return func(f message.Frame) ([]byte, bool) {
		for _, t := range types {
			if f.Type == t {
				return nil, true
			}
		}
		return nil, false
	}
}

// fakeDialer opens ports to new fake dongles.
type fakeDialer struct {
	script func(message.Frame) ([]byte, bool)
	wrap   func(net.Conn) zigate.Port // what the host sees, if not the pipe itself

	mu      sync.Mutex
	refuse  bool
	dials   []time.Time
	dongles []*fakeDongle
}

var errRefused = errors.New("refused")

func (d *fakeDialer) String() string { return "fake" }

func (d *fakeDialer) Dial(context.Context) (zigate.Port, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dials = append(d.dials, time.Now())
	if d.refuse {
		return nil, errRefused
	}
	f, host := newFakeDongle(d.script)
	d.dongles = append(d.dongles, f)
	if d.wrap != nil {
		return d.wrap(host), nil
	}
	return host, nil
}

func (d *fakeDialer) setRefuse(refuse bool) {
	d.mu.Lock()
	d.refuse = refuse
	d.mu.Unlock()
}

// last is the dongle that was dialled last.
func (d *fakeDialer) last(t *testing.T) *fakeDongle {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.dongles) == 0 {
		t.Fatal("nobody has dialled")
	}
	return d.dongles[len(d.dongles)-1]
}

func (d *fakeDialer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.dials)
}

// recorder is a Handler that notes what it is told, as text.
type recorder struct {
	reply func(req *message.ImageBlockRequest, dst []byte) []byte

	mu     sync.Mutex
	events []string
	inside bool
	infos  []zigate.Info
	errs   []error

	onConnected func()
}

// enter notes an event, and that nothing else is being handled.
func (r *recorder) enter(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inside {
		r.events = append(r.events, "CALLED TWICE AT A TIME")
	}
	r.inside = true
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

func (r *recorder) leave() {
	r.mu.Lock()
	r.inside = false
	r.mu.Unlock()
}

func (r *recorder) HandleBlockRequest(req *message.ImageBlockRequest, dst []byte) []byte {
	r.enter("block request %d", req.Offset)
	defer r.leave()
	if r.reply == nil {
		return dst
	}
	return r.reply(req, dst)
}

func (r *recorder) HandleBlockStatus(s *message.Status) {
	r.enter("block status %s %#02x", s.Request, s.Status)
	r.leave()
}

func (r *recorder) HandleMessage(m message.Message, lqi uint8) {
	r.enter("message %s lqi %#02x", m.Type(), lqi)
	r.leave()
}

func (r *recorder) HandleConnected(info zigate.Info) {
	r.enter("connected")
	r.mu.Lock()
	r.infos = append(r.infos, info)
	r.mu.Unlock()
	if r.onConnected != nil {
		r.onConnected()
	}
	r.leave()
}

func (r *recorder) HandleDisconnected(err error) {
	r.enter("disconnected")
	r.mu.Lock()
	r.errs = append(r.errs, err)
	r.mu.Unlock()
	r.leave()
}

// take is what was noted since the last call.
func (r *recorder) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func (r *recorder) lastError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errs) == 0 {
		return nil
	}
	return r.errs[len(r.errs)-1]
}

// results notes the results of commands.
type results struct {
	mu   sync.Mutex
	list []string
	errs []error
}

func (r *results) done(name string) func(message.Status, error) {
	return func(s message.Status, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		text := fmt.Sprintf("%s: %#02x", name, s.Status)
		if err != nil {
			text += " " + kindOf(err)
		}
		r.list = append(r.list, text)
		r.errs = append(r.errs, err)
	}
}

func kindOf(err error) string {
	var status *message.StatusError
	switch {
	case errors.Is(err, zigate.ErrNotConnected):
		return "not connected"
	case errors.Is(err, zigate.ErrNoAnswer):
		return "no answer"
	case errors.Is(err, zigate.ErrQueueFull):
		return "queue full"
	case errors.Is(err, zigate.ErrTooLong):
		return "too long"
	case errors.As(err, &status):
		return "refused"
	}
	return err.Error()
}

func (r *results) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

// stuckPort is a port whose writes hang until it is released, whatever Close does.
type stuckPort struct {
	net.Conn
	stuck   chan struct{} // closed: writes hang
	release chan struct{}
}

func (p *stuckPort) Write(b []byte) (int, error) {
	select {
	case <-p.stuck:
		<-p.release
		return 0, io.ErrClosedPipe
	default:
		return p.Conn.Write(b)
	}
}

// failingPort is a port whose writes fail at times.
type failingPort struct {
	net.Conn
	fails *atomic.Bool
	err   error
}

func (p *failingPort) Write(b []byte) (int, error) {
	if p.fails.Load() {
		return 0, p.err
	}
	return p.Conn.Write(b)
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// drippingPort writes a byte at a time and reads nothing every other time.
type drippingPort struct {
	net.Conn
	reads int
}

func (p *drippingPort) Write(b []byte) (int, error) { return p.Conn.Write(b[:1]) }

func (p *drippingPort) Read(b []byte) (int, error) {
	if p.reads++; p.reads%2 == 0 {
		return 0, nil
	}
	return p.Conn.Read(b[:1])
}

// observer counts.
type observer struct {
	mu          sync.Mutex
	sent        map[message.MsgType]int
	received    map[message.MsgType]int
	errors      map[string]int
	ups         []bool
	reconnected int
	npdu, apdu  uint8
	answered    int
}

func newObserver() *observer {
	return &observer{sent: map[message.MsgType]int{}, received: map[message.MsgType]int{}, errors: map[string]int{}}
}

func (o *observer) locked(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *observer) FrameSent(t message.MsgType)     { o.locked(func() { o.sent[t]++ }) }
func (o *observer) FrameReceived(t message.MsgType) { o.locked(func() { o.received[t]++ }) }
func (o *observer) FrameError(reason string)        { o.locked(func() { o.errors[reason]++ }) }
func (o *observer) Connected(up bool)               { o.locked(func() { o.ups = append(o.ups, up) }) }
func (o *observer) Reconnected()                    { o.locked(func() { o.reconnected++ }) }
func (o *observer) Buffers(npdu, apdu uint8)        { o.locked(func() { o.npdu, o.apdu = npdu, apdu }) }
func (o *observer) BlockAnswered(time.Duration)     { o.locked(func() { o.answered++ }) }
