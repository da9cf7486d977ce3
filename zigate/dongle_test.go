package zigate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

func (b *rig) submit(name string, m zigate.Message) { b.dongle.Submit(m, b.results.done(name)) }

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

func replyBlock(req *zigate.BlockRequest, dst []byte) []byte {
	return zigate.AppendBlockSend(dst, &zigate.BlockSend{
		Target:   zigate.Target{AddrMode: req.AddrMode, Addr: req.Addr, SrcEndpoint: zigate.OTAEndpoint, DstEndpoint: req.Endpoint},
		Sequence: req.Sequence, Offset: req.Offset, FileVersion: req.FileVersion, ImageType: req.ImageType,
		ManufacturerCode: req.ManufacturerCode, Data: []byte{1, 2, 3},
	})
}

func replyWait(req *zigate.BlockRequest, dst []byte) []byte {
	return zigate.AppendWaitForData(dst, &zigate.WaitForData{Sequence: req.Sequence, Status: zigate.OTAWaitForData})
}

func TestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{}
		b := run(t, dialer, func(o *zigate.Options) { o.RawMode = zigate.RawModeHybrid })
		f := dialer.last(t)
		if got := f.next(t); got.Type != zigate.TypeGetVersion {
			t.Fatalf("first %s", got)
		}
		if got := f.next(t); got.Type != zigate.TypeSetRawMode || got.Payload[0] != byte(zigate.RawModeHybrid) {
			t.Fatalf("second %s", got)
		}
		f.expect(t, zigate.TypeGetNetworkState)
		b.events("connected")
		want := zigate.Info{
			Port: "fake", Major: 4, Minor: 0x0323, Firmware: "3.23", Family: zigate.FamilyV1, IEEE: fakeNetwork.IEEE,
			PANID: 0x73AA, Channel: 15, NetworkUp: true,
		}
		if diff := cmp.Diff(want, b.handler.infos[0]); diff != "" {
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
		script := func(f zigate.Frame) ([]byte, bool) {
			if f.Type != zigate.TypeGetNetworkState {
				return nil, false
			}
			return append(fromDongle(ok(f.Type)), fromDongle(zigate.NetworkState{Addr: 0xFFFF, IEEE: 1})...), true
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
		script := func(f zigate.Frame) ([]byte, bool) {
			if f.Type == zigate.TypeGetVersion {
				asked++
			}
			return nil, asked <= 2
		}
		dialer := &fakeDialer{script: script}
		b := run(t, dialer)
		f := dialer.last(t)
		f.expect(t, zigate.TypeGetVersion)
		b.submit("early", zigate.Reset{})
		b.finished("early: 0x00 not connected")
		time.Sleep(zigate.DefaultCommandTimeout)
		f.expect(t, zigate.TypeGetVersion)
		f.send(zigate.PDMLoaded{}, zigate.RestartNotice{Kind: zigate.TypeRestart, Status: 1})
		b.events("message 0x0302 lqi 0x9c", "message 0x8006 lqi 0x9c")
		time.Sleep(zigate.DefaultCommandTimeout)
		f.handshake(t)
		b.events("connected")
	})
}

// TestHandshakeRefusals has old firmware that knows no raw mode, and one that answers before the status.
func TestHandshakeRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := func(f zigate.Frame) ([]byte, bool) {
			switch f.Type {
			case zigate.TypeSetRawMode:
				s := ok(f.Type)
				s.Status = zigate.StatusUnhandled
				return fromDongle(s), true
			case zigate.TypeGetNetworkState:
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
		dialer := &fakeDialer{script: func(zigate.Frame) ([]byte, bool) { return nil, true }}
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

func TestSubmitOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeGetDevices, zigate.TypeImageNotify)})
		b.submit("devices", zigate.GetDevices{})
		b.submit("notify", zigate.ImageNotify{PayloadType: 9})
		b.submit("time", zigate.SetTime{})
		f.expect(t, zigate.TypeGetDevices) // the others wait for its status
		// Something else comes before, and a status of something that nobody waits for.
		f.send(zigate.DeviceAnnounce{Addr: 1}, ok(zigate.TypeImageNotify))
		b.events("message 0x004d lqi 0x9c", "message 0x8000 lqi 0x9c")
		b.finished()
		f.send(ok(zigate.TypeGetDevices), zigate.DeviceList{})
		f.expect(t, zigate.TypeImageNotify)
		b.finished("devices: 0x00")
		b.events("message 0x8015 lqi 0x9c")
		refused := ok(zigate.TypeImageNotify)
		refused.Status = zigate.StatusBusy
		f.send(refused)
		f.expect(t, zigate.TypeSetTime)
		b.finished("notify: 0x03 refused", "time: 0x00")
	})
}

func TestSubmitWhenConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{refuse: true}
		b := run(t, dialer)
		b.events("disconnected")
		b.handler.onConnected = func() { b.submit("first", zigate.GetDevices{}) }
		dialer.setRefuse(false)
		time.Sleep(zigate.DefaultBackoffMin)
		f := dialer.last(t)
		f.expect(t, zigate.TypeGetVersion, zigate.TypeSetRawMode, zigate.TypeGetNetworkState, zigate.TypeGetDevices)
		b.finished("first: 0x00")
	})
}

func TestSubmitLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := connect(t, &fakeDialer{script: silentTo(zigate.TypeGetDevices)})
		b.submit("too long", zigate.Opaque{Kind: zigate.TypeRawAPS, Payload: make([]byte, zigate.MaxCommandPayload+1)})
		b.finished("too long: 0x00 too long")
		b.submit("in flight", zigate.GetDevices{})
		synctest.Wait()
		for range 256 {
			b.dongle.Submit(zigate.GetDevices{}, nil)
		}
		b.submit("too many", zigate.GetDevices{})
		b.finished("too many: 0x00 queue full")
	})
}

// TestSubmitOldFirmware has firmware with a smaller buffer.
func TestSubmitOldFirmware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := func(f zigate.Frame) ([]byte, bool) {
			if f.Type != zigate.TypeGetVersion {
				return nil, false
			}
			return fromDongle(zigate.Version{Major: 3, Minor: 0x031C}), true
		}
		b, _ := connect(t, &fakeDialer{script: script})
		b.submit("255", zigate.Opaque{Kind: zigate.TypeRawAPS, Payload: make([]byte, 255)})
		b.finished("255: 0x00")
		b.submit("256", zigate.Opaque{Kind: zigate.TypeRawAPS, Payload: make([]byte, 256)})
		b.finished("256: 0x00 too long")
	})
}

func TestSubmitWithoutRun(t *testing.T) {
	d := zigate.NewDongle(zigate.Options{Dialer: &fakeDialer{}, Handler: &recorder{}})
	var err error
	d.Submit(zigate.Reset{}, func(_ zigate.Status, e error) { err = e })
	if !errors.Is(err, zigate.ErrNotConnected) {
		t.Errorf("before Run: %v", err)
	}
	if _, err := d.Command(t.Context(), zigate.Reset{}); !errors.Is(err, zigate.ErrNotConnected) {
		t.Errorf("Command: %v", err)
	}
}

func TestCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeGetDevices)})
		s, err := b.dongle.Command(t.Context(), zigate.SetTime{})
		if err != nil || s.Request != zigate.TypeSetTime {
			t.Errorf("Command = %+v, %v", s, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.dongle.Command(ctx, zigate.GetDevices{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Command: %v", err)
		}
		f.send(ok(zigate.TypeGetDevices))
	})
}

// TestTimeoutOnce has one command unanswered: the dongle is asked whether it is there, and stays connected.
func TestTimeoutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeGetDevices)})
		b.submit("devices", zigate.GetDevices{})
		time.Sleep(zigate.DefaultCommandTimeout - 1)
		f.expect(t, zigate.TypeGetDevices)
		b.finished()
		time.Sleep(1)
		f.expect(t, zigate.TypeGetVersion)
		b.finished("devices: 0x00 no answer")
		b.events()
		// A second time-out, not in a row.
		b.submit("devices", zigate.GetDevices{})
		time.Sleep(zigate.DefaultCommandTimeout)
		f.expect(t, zigate.TypeGetDevices, zigate.TypeGetVersion)
		b.finished("devices: 0x00 no answer")
		b.events()
		// The status comes after all, with nobody waiting for it.
		f.send(ok(zigate.TypeGetDevices))
		b.events("message 0x8000 lqi 0x9c")
	})
}

// TestTimeoutTwice has a dongle that falls silent with commands in its queue.
func TestTimeoutTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{script: silentTo(zigate.TypeGetDevices, zigate.TypeSetTime)}
		b, f := connect(t, dialer)
		b.submit("devices", zigate.GetDevices{})
		b.submit("time", zigate.SetTime{})
		b.submit("reset", zigate.Reset{})
		time.Sleep(2 * zigate.DefaultCommandTimeout)
		f.expect(t, zigate.TypeGetDevices, zigate.TypeSetTime)
		b.finished("devices: 0x00 no answer", "time: 0x00 no answer", "reset: 0x00 not connected")
		b.events("disconnected")
		if err := b.handler.lastError(); !errors.Is(err, zigate.ErrNoAnswer) {
			t.Errorf("error: %v", err)
		}
		time.Sleep(zigate.DefaultBackoffMin)
		dialer.last(t).handshake(t)
		b.events("connected")
	})
}

func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{})
		time.Sleep(20 * time.Second)
		f.send(zigate.Leave{})
		b.events("message 0x8048 lqi 0x9c")
		time.Sleep(zigate.DefaultProbeInterval - 1)
		f.expect(t)
		time.Sleep(1)
		f.expect(t, zigate.TypeGetVersion)
		b.events() // its answer is nobody's business
		time.Sleep(zigate.DefaultProbeInterval)
		f.expect(t, zigate.TypeGetVersion)
		// A version that was asked for is delivered.
		b.submit("version", zigate.GetVersion{})
		f.expect(t, zigate.TypeGetVersion)
		b.finished("version: 0x00")
		b.events("message 0x8010 lqi 0x9c")
	})
}

// TestProbeStatusLost has the answer to a probe arrive without its status.
func TestProbeStatusLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := func(f zigate.Frame) ([]byte, bool) { return fromDongle(fakeVersion), f.Type == zigate.TypeGetVersion }
		b, f := connect(t, &fakeDialer{script: script})
		for range 5 {
			time.Sleep(zigate.DefaultProbeInterval)
			f.expect(t, zigate.TypeGetVersion)
		}
		b.events()
	})
}

func TestProbeUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		dialer := &fakeDialer{script: func(zigate.Frame) ([]byte, bool) { return nil, silent.Load() }}
		b, f := connect(t, dialer)
		silent.Store(true)
		time.Sleep(zigate.DefaultProbeInterval + 2*zigate.DefaultCommandTimeout)
		f.expect(t, zigate.TypeGetVersion, zigate.TypeGetVersion)
		b.events("disconnected")
		silent.Store(false)
		time.Sleep(zigate.DefaultBackoffMin)
		dialer.last(t).handshake(t)
		b.events("connected")
	})
}

func TestClosedPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observed := newObserver()
		dialer := &fakeDialer{script: silentTo(zigate.TypeGetDevices)}
		b, f := connect(t, dialer, func(o *zigate.Options) { o.Observer = observed })
		b.submit("in flight", zigate.GetDevices{})
		b.submit("waiting", zigate.GetDevices{})
		f.expect(t, zigate.TypeGetDevices)
		f.close()
		b.finished("in flight: 0x00 not connected", "waiting: 0x00 not connected")
		b.events("disconnected")
		if err := b.handler.lastError(); err == nil || !strings.Contains(err.Error(), "fake") {
			t.Errorf("error: %v", err)
		}
		b.submit("while away", zigate.GetDevices{})
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
		b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeGetDevices)})
		b.submit("in flight", zigate.GetDevices{})
		b.submit("waiting", zigate.SetTime{})
		f.expect(t, zigate.TypeGetDevices)
		if err := b.dongle.Run(t.Context()); !errors.Is(err, zigate.ErrRunning) {
			t.Errorf("second Run: %v", err)
		}
		b.stop()
		b.finished("in flight: 0x00 not connected", "waiting: 0x00 not connected")
		b.events("disconnected")
		b.submit("after", zigate.SetTime{})
		b.finished("after: 0x00 not connected")
	})
}

func TestBlockRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observed := newObserver()
		b, f := connect(t, &fakeDialer{}, func(o *zigate.Options) { o.Observer = observed })
		b.handler.reply = replyBlock
		f.send(zigate.BlockRequest{Sequence: 7, Endpoint: 3, AddrMode: zigate.AddrModeShort, Addr: 0x9021, Offset: 64})
		sent := f.next(t)
		m, err := zigate.ParseCommand(sent.Type, sent.Payload)
		want := zigate.BlockSend{
			Target:   zigate.Target{AddrMode: zigate.AddrModeShort, Addr: 0x9021, SrcEndpoint: 1, DstEndpoint: 3},
			Sequence: 7, Offset: 64, Data: []byte{1, 2, 3},
		}
		if diff := cmp.Diff(zigate.Message(want), m); err != nil || diff != "" {
			t.Errorf("%v, -want +got:\n%s", err, diff)
		}
		b.events("block request 64", "block status 0x0502 0x00")
		if observed.answered != 1 || observed.npdu != 1 || observed.apdu != 2 {
			t.Errorf("observed %d answers, buffers %d %d", observed.answered, observed.npdu, observed.apdu)
		}
		// Nothing to say is possible, too.
		b.handler.reply = nil
		f.send(zigate.BlockRequest{Offset: 128})
		f.expect(t)
		b.events("block request 128")
		if observed.answered != 1 {
			t.Errorf("observed %d answers", observed.answered)
		}
	})
}

// TestBlockAheadOfCommands has a command that waits for its status, and more behind it, while blocks are asked for.
func TestBlockAheadOfCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeGetDevices)})
		b.handler.reply = replyBlock
		b.submit("devices", zigate.GetDevices{})
		b.submit("time", zigate.SetTime{})
		f.expect(t, zigate.TypeGetDevices)
		f.send(zigate.BlockRequest{Offset: 0}, zigate.BlockRequest{Offset: 64})
		f.expect(t, zigate.TypeBlockSend, zigate.TypeBlockSend)
		got := b.handler.take()
		slices.Sort(got)
		want := []string{"block request 0", "block request 64", "block status 0x0502 0x00", "block status 0x0502 0x00"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events -want +got:\n%s", diff)
		}
		b.finished()
		f.send(ok(zigate.TypeGetDevices))
		f.expect(t, zigate.TypeSetTime)
		b.finished("devices: 0x00", "time: 0x00")
	})
}

// TestSameTypeBothWays has wait-for-data sent as answers to block requests and as commands: statuses say only the type.
func TestSameTypeBothWays(t *testing.T) {
	refused := ok(zigate.TypeWaitForData)
	refused.Status = zigate.StatusNoBuffer
	command := zigate.WaitForData{Status: zigate.OTAWaitForData}
	request := zigate.BlockRequest{Offset: 64}

	t.Run("answer first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeWaitForData)})
			b.handler.reply = replyWait
			f.send(request)
			f.expect(t, zigate.TypeWaitForData)
			b.submit("wait", command)
			f.expect(t, zigate.TypeWaitForData)
			f.send(ok(zigate.TypeWaitForData), refused)
			b.events("block request 64", "block status 0x0506 0x00")
			b.finished("wait: 0x14 refused")
		})
	})
	t.Run("command first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeWaitForData)})
			b.handler.reply = replyWait
			b.submit("wait", command)
			f.expect(t, zigate.TypeWaitForData)
			f.send(request)
			f.expect(t, zigate.TypeWaitForData)
			f.send(ok(zigate.TypeWaitForData), refused)
			b.events("block request 64", "block status 0x0506 0x14")
			b.finished("wait: 0x00")
		})
	})
	t.Run("status of the answer lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeWaitForData)})
			b.handler.reply = replyWait
			f.send(request)
			f.expect(t, zigate.TypeWaitForData)
			time.Sleep(zigate.DefaultCommandTimeout)
			b.submit("wait", command)
			f.expect(t, zigate.TypeWaitForData)
			f.send(ok(zigate.TypeWaitForData))
			b.events("block request 64")
			b.finished("wait: 0x00")
		})
	})
	t.Run("status of the answer lost, told by the order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeWaitForData)})
			b.handler.reply = replyWait
			f.send(request)
			f.expect(t, zigate.TypeWaitForData)
			b.submit("time", zigate.SetTime{})
			f.expect(t, zigate.TypeSetTime)
			b.submit("wait", command)
			f.expect(t, zigate.TypeWaitForData)
			f.send(ok(zigate.TypeWaitForData))
			b.events("block request 64")
			b.finished("time: 0x00", "wait: 0x00")
		})
	})
	t.Run("status of the answer late", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeWaitForData)})
			b.handler.reply = replyWait
			f.send(request)
			f.expect(t, zigate.TypeWaitForData)
			time.Sleep(2 * zigate.DefaultCommandTimeout)
			f.send(ok(zigate.TypeWaitForData))
			b.events("block request 64", "block status 0x0506 0x00")
		})
	})
}

// TestManyUnansweredBlocks has a dongle that acknowledges no block at all.
func TestManyUnansweredBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(zigate.TypeBlockSend)})
		b.handler.reply = replyBlock
		for range 300 {
			f.send(zigate.BlockRequest{})
			if got := f.next(t); got.Type != zigate.TypeBlockSend {
				t.Fatalf("the host sent %s", got)
			}
		}
		b.submit("time", zigate.SetTime{})
		b.finished("time: 0x00")
	})
}

// TestSeveralFramesInReply has a Handler that answers one request with two frames.
func TestSeveralFramesInReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observed := newObserver()
		b, f := connect(t, &fakeDialer{}, func(o *zigate.Options) { o.Observer = observed })
		b.handler.reply = func(req *zigate.BlockRequest, dst []byte) []byte { return replyWait(req, replyBlock(req, dst)) }
		f.send(zigate.BlockRequest{})
		f.expect(t, zigate.TypeBlockSend, zigate.TypeWaitForData)
		b.events("block request 0", "block status 0x0502 0x00", "block status 0x0506 0x00")
		if observed.sent[zigate.TypeBlockSend] != 1 || observed.sent[zigate.TypeWaitForData] != 1 {
			t.Errorf("observed %v", observed.sent)
		}
	})
}

func TestUselessFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observed := newObserver()
		b, f := connect(t, &fakeDialer{}, func(o *zigate.Options) { o.Observer = observed })
		for _, wire := range [][]byte{
			zigate.AppendFrame(nil, 0x8999, []byte{1, 2}),                           // unknown
			zigate.AppendFrame(nil, zigate.TypeImageBlockRequest, make([]byte, 31)), // one byte short of 31 and link quality
			zigate.AppendFrame(nil, zigate.TypeStatus, make([]byte, 4)),
			zigate.AppendFrame(nil, zigate.TypeUpgradeEndRequest, make([]byte, 9)),
			zigate.AppendFrame(nil, zigate.TypeRestart, nil), // not even link quality
			bytesOf("01801002100215ab0210021f3ff0ff03"),      // checksum
			bytesOf("ffff"), // garbage
		} {
			f.out <- wire
		}
		f.send(zigate.Leave{})
		b.events("message 0x8048 lqi 0x9c")
		want := map[string]int{
			zigate.ReasonUnknownType: 1, zigate.ReasonShort: 3, zigate.ReasonNoLQI: 1, zigate.ReasonChecksum: 1,
			zigate.ReasonGarbage: 1,
		}
		if diff := cmp.Diff(want, observed.errors); diff != "" {
			t.Errorf("errors -want +got:\n%s", diff)
		}
		for reason := range observed.errors {
			if !slices.Contains(zigate.FrameErrorReasons(), reason) {
				t.Errorf("reason %q is not listed", reason)
			}
		}
		if observed.received[0x8999] != 1 {
			t.Error("the unknown type was not counted as received")
		}
		b.submit("time", zigate.SetTime{})
		b.finished("time: 0x00")
	})
}

// TestRestart has the dongle reset itself: the Handler is told, and nothing else happens.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{})
		f.send(zigate.PDMLoaded{}, zigate.NetworkJoined{Status: 0, HasAddress: true}, zigate.RestartNotice{Kind: zigate.TypeRestart, Status: 1})
		b.events("message 0x0302 lqi 0x9c", "message 0x8024 lqi 0x9c", "message 0x8006 lqi 0x9c")
		f.expect(t)
	})
}

// TestDrippingPort has partial writes, and reads of one byte or nothing.
func TestDrippingPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{wrap: func(c net.Conn) zigate.Port { return &drippingPort{Conn: c} }}
		b, f := connect(t, dialer)
		b.handler.reply = replyBlock
		f.send(zigate.BlockRequest{Offset: 1})
		f.expect(t, zigate.TypeBlockSend)
		b.submit("time", zigate.SetTime{})
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
				f.send(zigate.BlockRequest{})
				b.events("block request 0", "disconnected")
				time.Sleep(zigate.DefaultBackoffMin)
				b.handler.take()
				fails.Store(false)
				time.Sleep(time.Second)
				dialer.last(t).handshake(t)
				b.events("connected")
				fails.Store(true)
				b.submit("time", zigate.SetTime{})
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
func TestDebugLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		b, f := connect(t, &fakeDialer{}, func(o *zigate.Options) {
			o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		b.handler.reply = replyBlock
		f.send(zigate.BlockRequest{}, zigate.Leave{})
		f.out <- zigate.AppendFrame(nil, 0x8999, []byte{1, 2})
		f.expect(t, zigate.TypeBlockSend)
		for _, want := range []string{"image block request", "name=leave", "0x8999 unknown 0102", "msg=status"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("not logged: %s", want)
			}
		}
	})
}

// TestStuckWrite has a driver that never returns from a write, not even when its port is closed.
func TestStuckWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, release := make(chan struct{}), make(chan struct{})
		dialer := &fakeDialer{wrap: func(c net.Conn) zigate.Port { return &stuckPort{c, stuck, release} }}
		b, _ := connect(t, dialer)
		close(stuck)
		defer close(release)
		b.submit("one", zigate.GetDevices{})
		b.submit("two", zigate.GetDevices{})
		b.submit("three", zigate.GetDevices{})
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
		f.send(zigate.BlockRequest{})
		b.events("block request 0")
		b.submit("one", zigate.GetDevices{})
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

func TestTraceTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{})
		b.handler.reply = replyWait
		frames := make(chan string, 100)
		b.dongle.TraceTo(func(dir zigate.Direction, f zigate.Frame) {
			frames <- fmt.Sprintf("%s %s %d", dir, f.Type, len(f.Payload))
		})
		f.send(zigate.BlockRequest{})
		b.events("block request 0", "block status 0x0506 0x00")
		b.submit("time", zigate.SetTime{})
		b.finished("time: 0x00")
		b.dongle.TraceTo(nil)
		b.submit("time", zigate.SetTime{})
		b.finished("time: 0x00")
		close(frames)
		var got []string
		for s := range frames {
			got = append(got, s)
		}
		slices.Sort(got)
		want := []string{
			"received 0x8000 9", "received 0x8000 9", "received 0x8501 32", "sent 0x0016 4", "sent 0x0506 17",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("traced -want +got:\n%s", diff)
		}
	})
}
