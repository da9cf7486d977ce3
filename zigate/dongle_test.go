package zigate_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a running Dongle with everything around it.
type rig struct {
	t       *testing.T
	dongle  *zigate.Dongle
	dialer  *fakeDialer
	handler *recorder
	results results
	stop    context.CancelFunc
	ended   chan error
}

// run starts a Dongle, which ends with the test, and hands it over before its handshake.
func run(t *testing.T, dialer *fakeDialer, options ...func(*zigate.Options)) *rig {
	b := &rig{t: t, dialer: dialer, handler: &recorder{}, ended: make(chan error, 1)}
	opts := zigate.Options{Dialer: dialer, Handler: b.handler}
	for _, o := range options {
		o(&opts)
	}
	b.dongle = zigate.NewDongle(opts)
	ctx, cancel := context.WithCancel(t.Context())
	b.stop = cancel
	go func() { b.ended <- b.dongle.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-b.ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		b.ended <- nil
		for _, f := range dialer.dongles {
			f.close()
		}
	})
	return b
}

// connect runs a Dongle and waits for its handshake.
func connect(t *testing.T, dialer *fakeDialer, options ...func(*zigate.Options)) (*rig, *fakeDongle) {
	t.Helper()
	b := run(t, dialer, options...)
	f := dialer.last(t)
	f.handshake(t)
	b.events("connected")
	return b, f
}

func (b *rig) submit(name string, m message.Message) { b.dongle.Submit(m, b.results.done(name)) }

// events wants exactly these since the last call.
func (b *rig) events(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.handler.take()); diff != "" {
		b.t.Fatalf("events -want +got:\n%s", diff)
	}
}

// finished wants exactly these results since the last call.
func (b *rig) finished(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.results.take()); diff != "" {
		b.t.Fatalf("results -want +got:\n%s", diff)
	}
}

func replyBlock(req *message.ImageBlockRequest, dst []byte) []byte {
	return message.AppendImageBlockResponse(dst, &message.ImageBlockResponse{
		Target:   message.Target{AddrMode: req.AddrMode, Addr: req.Addr, SrcEndpoint: message.OTAEndpoint, DstEndpoint: req.Endpoint},
		Sequence: req.Sequence, Offset: req.Offset, FileVersion: req.FileVersion, ImageType: req.ImageType,
		ManufacturerCode: req.ManufacturerCode, Data: []byte{1, 2, 3},
	})
}

func replyWait(req *message.ImageBlockRequest, dst []byte) []byte {
	return message.AppendWaitForData(dst, &message.WaitForData{Sequence: req.Sequence, Status: message.OTAWaitForData})
}

func TestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{}
		b := run(t, dialer, func(o *zigate.Options) { o.RawMode = message.RawModeHybrid })
		f := dialer.last(t)
		if got := f.next(t); got.Type != message.TypeGetVersion {
			t.Fatalf("first %s", got)
		}
		if got := f.next(t); got.Type != message.TypeSetRawMode || got.Payload[0] != byte(message.RawModeHybrid) {
			t.Fatalf("second %s", got)
		}
		f.expect(t, message.GetNetworkState{}.Type())
		b.events("connected")
		want := zigate.Info{
			Port: "fake", Major: 4, Minor: 0x0323, Firmware: "3.23", Family: message.FamilyV1, IEEE: fakeNetwork.IEEE,
			PANID: 0x73AA, Channel: 15, NetworkUp: true,
		}
		got := b.handler.infos[0]
		if received, sent := got.Line.Bytes(); received == 0 || sent == 0 || got.Line.Rate() != 0 {
			t.Errorf("the line: %d bytes received, %d sent, rate %d", received, sent, got.Line.Rate())
		}
		got.Line = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("info -want +got:\n%s", diff)
		}
		if got := b.handler.infos[0].Version(); got != fakeVersion {
			t.Errorf("version %+v", got)
		}
		if got := b.dongle.String(); got != "fake" {
			t.Errorf("String = %q", got)
		}
	})
}

func TestHandshakeWithoutNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := func(f message.Frame) ([]byte, bool) {
			if f.Type != (message.GetNetworkState{}).Type() {
				return nil, false
			}
			return append(fromDongle(ok(f.Type)), fromDongle(message.NetworkState{Addr: 0xFFFF, IEEE: 1})...), true
		}
		b, _ := connect(t, &fakeDialer{script: script})
		if b.handler.infos[0].NetworkUp {
			t.Error("the network is up")
		}
	})
}

// TestHandshakeWhileBooting has the first two questions unanswered, then boot messages, then answers.
func TestHandshakeWhileBooting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		script := func(f message.Frame) ([]byte, bool) {
			if f.Type == message.TypeGetVersion {
				asked++
			}
			return nil, asked <= 2
		}
		dialer := &fakeDialer{script: script}
		b := run(t, dialer)
		f := dialer.last(t)
		f.expect(t, message.TypeGetVersion)
		b.submit("early", message.Reset{})
		b.finished("early: 0x00 not connected")
		time.Sleep(zigate.DefaultCommandTimeout)
		f.expect(t, message.TypeGetVersion)
		f.send(message.PDMLoaded{}, message.RestartNotice{Kind: message.TypeRestart, Status: 1})
		b.events("message 0x0302 lqi 0x9c", "message 0x8006 lqi 0x9c")
		time.Sleep(zigate.DefaultCommandTimeout)
		f.handshake(t)
		b.events("connected")
	})
}

// TestHandshakeRefusals has old firmware that knows no raw mode, and one that answers before the status.
func TestHandshakeRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := func(f message.Frame) ([]byte, bool) {
			switch f.Type {
			case message.TypeSetRawMode:
				s := ok(f.Type)
				s.Status = message.StatusUnhandled
				return fromDongle(s), true
			case message.GetNetworkState{}.Type():
				return append(fromDongle(fakeNetwork), fromDongle(ok(f.Type))...), true
			}
			return nil, false
		}
		connect(t, &fakeDialer{script: script})
	})
}

// TestHandshakeFails has nobody at the other end.
func TestHandshakeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{script: func(message.Frame) ([]byte, bool) { return nil, true }}
		b := run(t, dialer)
		time.Sleep(4*zigate.DefaultCommandTimeout + zigate.DefaultBackoffMin)
		b.events("disconnected")
		if err := b.handler.lastError(); !errors.Is(err, zigate.ErrNoAnswer) {
			t.Errorf("error: %v", err)
		}
		if n := dialer.count(); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
}

// TestSubmitOldFirmware has firmware with a smaller buffer.
// TestTimeoutOnce has one command unanswered: the dongle is asked whether it is there, and stays connected.
// TestTimeoutTwice has a dongle that falls silent with commands in its queue.
// TestProbeStatusLost has the answer to a probe arrive without its status.
func TestClosedPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observed := newObserver()
		dialer := &fakeDialer{script: silentTo(message.TypeGetDevices)}
		b, f := connect(t, dialer, func(o *zigate.Options) { o.Observer = observed })
		b.submit("in flight", message.GetDevices{})
		b.submit("waiting", message.GetDevices{})
		f.expect(t, message.TypeGetDevices)
		f.close()
		b.finished("in flight: 0x00 not connected", "waiting: 0x00 not connected")
		b.events("disconnected")
		if err := b.handler.lastError(); err == nil || !strings.Contains(err.Error(), "fake") {
			t.Errorf("error: %v", err)
		}
		b.submit("while away", message.GetDevices{})
		b.finished("while away: 0x00 not connected")
		time.Sleep(zigate.DefaultBackoffMin)
		dialer.last(t).handshake(t)
		b.events("connected")
		if diff := cmp.Diff([]bool{false, true, false, true}, observed.ups); diff != "" || observed.reconnected != 1 {
			t.Errorf("reconnected %d times, up -want +got:\n%s", observed.reconnected, diff)
		}
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{refuse: true}
		b := run(t, dialer)
		time.Sleep(5 * time.Minute)
		b.stop()
		synctest.Wait()
		limit := zigate.DefaultBackoffMin
		for i := 1; i < len(dialer.dials); i++ {
			pause := dialer.dials[i].Sub(dialer.dials[i-1])
			if pause < limit/2-1 || pause > limit {
				t.Errorf("pause %d is %s, want %s to %s", i, pause, limit/2, limit)
			}
			limit = min(2*limit, zigate.DefaultBackoffMax)
		}
		if n := len(dialer.dials); n < 12 {
			t.Errorf("%d attempts in 5 minutes", n)
		}
		events := b.handler.take()
		if len(events) != len(dialer.dials) || slices.Contains(events, "connected") {
			t.Errorf("%d attempts, events %q", len(dialer.dials), events)
		}
		if err := b.handler.lastError(); !errors.Is(err, errRefused) {
			t.Errorf("error: %v", err)
		}
	})
}

// TestBackoffStartsAgain loses the port many times: each time it is opened again soon.
func TestBackoffStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{}
		b, f := connect(t, dialer)
		for range 20 {
			f.close()
			b.events("disconnected")
			time.Sleep(zigate.DefaultBackoffMin)
			f = dialer.last(t)
			f.handshake(t)
			b.events("connected")
		}
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(message.TypeGetDevices)})
		b.submit("in flight", message.GetDevices{})
		b.submit("waiting", message.SetTime{})
		f.expect(t, message.TypeGetDevices)
		if err := b.dongle.Run(t.Context()); !errors.Is(err, zigate.ErrRunning) {
			t.Errorf("second Run: %v", err)
		}
		b.stop()
		b.finished("in flight: 0x00 not connected", "waiting: 0x00 not connected")
		b.events("disconnected")
		b.submit("after", message.SetTime{})
		b.finished("after: 0x00 not connected")
	})
}

// TestBlockAheadOfCommands has a command that waits for its status, and more behind it, while blocks are
// asked for. TestSameTypeBothWays has wait-for-data sent as answers to block requests and as commands:
// statuses say only the type. TestManyUnansweredBlocks has a dongle that acknowledges no block at all.
// TestSeveralFramesInReply has a Handler that answers one request with two frames. TestRestart has the dongle
// reset itself: the Handler is told, and nothing else happens. TestDrippingPort has partial writes, and reads
// of one byte or nothing.
func TestDrippingPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{wrap: func(c net.Conn) zigate.Port { return &drippingPort{Conn: c} }}
		b, f := connect(t, dialer)
		b.handler.reply = replyBlock
		f.send(message.ImageBlockRequest{Offset: 1})
		f.expect(t, message.ImageBlockResponse{}.Type())
		b.submit("time", message.SetTime{})
		b.finished("time: 0x00")
	})
}

// TestFailedWrite has a port that can be read but not written any more.
func TestFailedWrite(t *testing.T) {
	broken := errors.New("broken")
	for name, result := range map[string]error{"error": broken, "nothing written": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fails atomic.Bool
				dialer := &fakeDialer{wrap: func(c net.Conn) zigate.Port { return &failingPort{c, &fails, result} }}
				b, f := connect(t, dialer)
				b.handler.reply = replyBlock
				fails.Store(true)
				f.send(message.ImageBlockRequest{})
				b.events("block request 0", "disconnected")
				time.Sleep(zigate.DefaultBackoffMin)
				b.handler.take()
				fails.Store(false)
				time.Sleep(time.Second)
				dialer.last(t).handshake(t)
				b.events("connected")
				fails.Store(true)
				b.submit("time", message.SetTime{})
				b.events("disconnected")
				b.finished("time: 0x00 not connected")
				if err := b.handler.lastError(); !errors.Is(err, result) && result != nil {
					t.Errorf("error: %v", err)
				}
			})
		})
	}
}

// TestDebugLog has everything logged.
// TestStuckWrite has a driver that never returns from a write, not even when its port is closed.
func TestStuckWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, release := make(chan struct{}), make(chan struct{})
		dialer := &fakeDialer{wrap: func(c net.Conn) zigate.Port { return &stuckPort{c, stuck, release} }}
		b, _ := connect(t, dialer)
		close(stuck)
		defer close(release)
		b.submit("one", message.GetDevices{})
		b.submit("two", message.GetDevices{})
		b.submit("three", message.GetDevices{})
		// Nothing is answered, so the connection is given up, although the write still hangs.
		time.Sleep(2*zigate.DefaultCommandTimeout + time.Second)
		b.finished("one: 0x00 no answer", "two: 0x00 no answer", "three: 0x00 not connected")
		b.events("disconnected")
		before := time.Now()
		b.stop()
		err := <-b.ended
		b.ended <- err
		if took := time.Since(before); took > time.Second {
			t.Errorf("Run returned after %s", took)
		}
	})
}

// TestStuckBlockAnswer has the reader itself hang in a write.
func TestStuckBlockAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, release := make(chan struct{}), make(chan struct{})
		dialer := &fakeDialer{wrap: func(c net.Conn) zigate.Port { return &stuckPort{c, stuck, release} }}
		b, f := connect(t, dialer)
		b.handler.reply = replyBlock
		close(stuck)
		defer close(release)
		f.send(message.ImageBlockRequest{})
		b.events("block request 0")
		b.submit("one", message.GetDevices{})
		before := time.Now()
		b.stop()
		err := <-b.ended
		b.ended <- err
		if took := time.Since(before); took > time.Second {
			t.Errorf("Run returned after %s", took)
		}
		b.finished("one: 0x00 not connected")
		b.events("disconnected")
	})
}
