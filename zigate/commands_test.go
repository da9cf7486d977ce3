package zigate_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestSubmitOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(message.TypeGetDevices, message.TypeImageNotify)})
		b.submit("devices", message.GetDevices{})
		b.submit("notify", message.ImageNotify{PayloadType: 9})
		b.submit("time", message.SetTime{})
		f.expect(t, message.TypeGetDevices) // the others wait for its status
		// Something else comes before, and a status of something that nobody waits for.
		f.send(message.DeviceAnnounce{Addr: 1}, ok(message.TypeImageNotify))
		b.events("message 0x004d lqi 0x9c", "message 0x8000 lqi 0x9c")
		b.finished()
		f.send(ok(message.TypeGetDevices), message.DeviceList{})
		f.expect(t, message.TypeImageNotify)
		b.finished("devices: 0x00")
		b.events("message 0x8015 lqi 0x9c")
		refused := ok(message.TypeImageNotify)
		refused.Status = message.StatusBusy
		f.send(refused)
		f.expect(t, message.SetTime{}.Type())
		b.finished("notify: 0x03 refused", "time: 0x00")
	})
}

// A long list that a dongle writes would damage the status of the next command.
func TestQuietDuringList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(message.TypeGetDevices)})
		b.handler.reply = replyBlock
		b.submit("devices", message.GetDevices{})
		b.submit("time", message.SetTime{})
		f.expect(t, message.TypeGetDevices)
		f.send(ok(message.TypeGetDevices))
		time.Sleep(50 * time.Millisecond)
		f.expect(t)
		f.send(message.ImageBlockRequest{Offset: 64}) // blocks do not wait
		f.expect(t, message.ImageBlockResponse{}.Type())
		time.Sleep(10 * time.Millisecond)
		f.expect(t, message.SetTime{}.Type())
		b.finished("devices: 0x00", "time: 0x00")
	})
}

func TestSubmitWhenConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{refuse: true}
		b := run(t, dialer)
		b.events("disconnected")
		b.handler.onConnected = func() { b.submit("first", message.GetDevices{}) }
		dialer.setRefuse(false)
		time.Sleep(zigate.DefaultBackoffMin)
		f := dialer.last(t)
		f.expect(t, message.TypeGetVersion, message.TypeSetRawMode, message.GetNetworkState{}.Type(), message.TypeGetDevices)
		b.finished("first: 0x00")
	})
}

func TestSubmitLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := connect(t, &fakeDialer{script: silentTo(message.TypeGetDevices)})
		b.submit("too long", message.Opaque{Kind: message.TypeRawAPS, Payload: make([]byte, message.MaxCommandPayload+1)})
		b.finished("too long: 0x00 too long")
		b.submit("in flight", message.GetDevices{})
		synctest.Wait()
		for range 256 {
			b.dongle.Submit(message.GetDevices{}, nil)
		}
		b.submit("too many", message.GetDevices{})
		b.finished("too many: 0x00 queue full")
	})
}

func TestSubmitOldFirmware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := func(f message.Frame) ([]byte, bool) {
			if f.Type != message.TypeGetVersion {
				return nil, false
			}
			return fromDongle(message.Version{Major: 3, Minor: 0x031C}), true
		}
		b, _ := connect(t, &fakeDialer{script: script})
		b.submit("255", message.Opaque{Kind: message.TypeRawAPS, Payload: make([]byte, 255)})
		b.finished("255: 0x00")
		b.submit("256", message.Opaque{Kind: message.TypeRawAPS, Payload: make([]byte, 256)})
		b.finished("256: 0x00 too long")
	})
}

func TestSubmitWithoutRun(t *testing.T) {
	d := zigate.NewDongle(zigate.Options{Dialer: &fakeDialer{}, Handler: &recorder{}})
	var err error
	d.Submit(message.Reset{}, func(_ message.Status, e error) { err = e })
	if !errors.Is(err, zigate.ErrNotConnected) {
		t.Errorf("before Run: %v", err)
	}
}

func TestTimeoutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := connect(t, &fakeDialer{script: silentTo(message.TypeGetDevices)})
		b.submit("devices", message.GetDevices{})
		time.Sleep(zigate.DefaultCommandTimeout - 1)
		f.expect(t, message.TypeGetDevices)
		b.finished()
		time.Sleep(time.Nanosecond)
		f.expect(t, message.TypeGetVersion)
		b.finished("devices: 0x00 no answer")
		b.events()
		// A second time-out, not in a row.
		b.submit("devices", message.GetDevices{})
		time.Sleep(zigate.DefaultCommandTimeout)
		f.expect(t, message.TypeGetDevices, message.TypeGetVersion)
		b.finished("devices: 0x00 no answer")
		b.events()
		// The status comes after all, with nobody waiting for it.
		f.send(ok(message.TypeGetDevices))
		b.events("message 0x8000 lqi 0x9c")
	})
}

func TestTimeoutTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := &fakeDialer{script: silentTo(message.TypeGetDevices, message.SetTime{}.Type())}
		b, f := connect(t, dialer)
		b.submit("devices", message.GetDevices{})
		b.submit("time", message.SetTime{})
		b.submit("reset", message.Reset{})
		time.Sleep(2 * zigate.DefaultCommandTimeout)
		f.expect(t, message.TypeGetDevices, message.SetTime{}.Type())
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
		f.send(message.Leave{})
		b.events("message 0x8048 lqi 0x9c")
		time.Sleep(zigate.DefaultProbeInterval - 1)
		f.expect(t)
		time.Sleep(time.Nanosecond)
		f.expect(t, message.TypeGetVersion)
		b.events() // its answer is nobody's business
		time.Sleep(zigate.DefaultProbeInterval)
		f.expect(t, message.TypeGetVersion)
		// A version that was asked for is delivered.
		b.submit("version", message.GetVersion{})
		f.expect(t, message.TypeGetVersion)
		b.finished("version: 0x00")
		b.events("message 0x8010 lqi 0x9c")
	})
}

func TestProbeStatusLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := func(f message.Frame) ([]byte, bool) { return fromDongle(fakeVersion), f.Type == message.TypeGetVersion }
		b, f := connect(t, &fakeDialer{script: script})
		for range 5 {
			time.Sleep(zigate.DefaultProbeInterval)
			f.expect(t, message.TypeGetVersion)
		}
		b.events()
	})
}

func TestProbeUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		dialer := &fakeDialer{script: func(message.Frame) ([]byte, bool) { return nil, silent.Load() }}
		b, f := connect(t, dialer)
		silent.Store(true)
		time.Sleep(zigate.DefaultProbeInterval + 2*zigate.DefaultCommandTimeout)
		f.expect(t, message.TypeGetVersion, message.TypeGetVersion)
		b.events("disconnected")
		silent.Store(false)
		time.Sleep(zigate.DefaultBackoffMin)
		dialer.last(t).handshake(t)
		b.events("connected")
	})
}
